"""Previews to be told, and bodies to be judged."""

from datetime import UTC, datetime
from typing import Any

from trimtab.diff.compare import Difference
from trimtab.diff.report import Finding, State
from trimtab.manifests.refs import Key, Origin, Ref
from trimtab.preview.verdict import Judgement, Preview, Step, Verdict, gathered

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def step(*judgements: Judgement, name: str = "web", state: State = State.DIFFERS, **more: Any) -> Step:
    differences = tuple(Difference(*one) for one in more.pop("differences", ()))
    origin = Origin(more.pop("file", "apps/web.yaml"), 3, 1)
    finding = Finding(Ref("apps", "Deployment", "shop", name), state, origin, "", differences, (), Key("team", "shop"))
    return Step(finding, judgements, **more)


def preview(*steps: Step, unasked: tuple[str, ...] = (), about: str = "apps/shop") -> Preview:
    return gathered(about, "what is live", "the working tree", AT, steps, unasked)


def deployment(replicas: int = 3, **pod: Any) -> dict[str, Any]:
    labels = {"app": "web"}
    container = {"name": "web", "image": "registry.example.org/web:1", **pod.pop("container", {})}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], **pod}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": spec,
    }


MISSING = Judgement(Verdict.IMAGE_MISSING, "web:9 is not in its registry", path="spec.x", image="web:9")
