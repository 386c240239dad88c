"""Bodies come from files: whatever is in them, nothing here breaks on it."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.preview.conftest import MISSING, preview, step
from trimtab.manifests.refs import Ref
from trimtab.preview import disruption, needs, room
from trimtab.preview.markdown import LONGEST, markdown
from trimtab.preview.room import Defaults

FIELDS = (
    *("spec", "template", "metadata", "labels", "containers", "initContainers", "volumes", "env", "envFrom", "name"),
    *("image", "resources", "requests", "limits", "cpu", "memory", "replicas", "selector", "matchLabels", "secretRef"),
    *("matchExpressions", "operator", "values", "key", "projected", "sources", "secret", "items", "overhead", "status"),
    *("hard", "used", "type", "default", "allocatable", "disruptionsAllowed", "parallelism", "strategy", "reference"),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "x", "1Gi", "500m", "In", "Container", "1e999"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=30,
)
KINDS = st.sampled_from(["Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod", "Ingress", "Namespace"])


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    pods = draw(VALUES)
    containers = draw(st.lists(VALUES, max_size=2))
    spec = draw(VALUES)
    if isinstance(spec, dict) and draw(st.booleans()):
        inner = {**pods, "containers": containers} if isinstance(pods, dict) else pods
        spec = {**spec, "template": {"metadata": draw(VALUES), "spec": inner}}
    return {
        "apiVersion": "apps/v1",
        "kind": draw(KINDS),
        "metadata": {"name": "x"},
        "spec": spec,
        "status": draw(VALUES),
    }


@settings(max_examples=60)
@given(bodies(), bodies(), VALUES)
def test_nothing_breaks_on_what_is_malformed(one: dict[str, Any], other: dict[str, Any], value: Any) -> None:
    needs.needs(one, "shop")
    needs.images(one)
    needs.pull_secrets(one)
    needs.brings(one)
    disruption.disruption(one, other)
    disruption.unevictable(one, [other, {"spec": value, "status": {"disruptionsAllowed": 0}}])
    defaults = room.defaults_of([other, {"spec": value}])
    ref = Ref("apps", "Deployment", "shop", "x")
    grown = [room.growth(ref, one, other, given) for given in (Defaults(), defaults)]
    room.exceeded([one, {"spec": value, "status": value}], [found for found in grown if found is not None])
    room.too_large(one, [other, {"status": value}], defaults)


@settings(max_examples=15)
@given(st.text(max_size=200), st.text(max_size=200), st.integers(0, 200))
def test_a_comment_is_one_whatever_is_in_it(name: str, words: str, many: int) -> None:
    steps = [step(MISSING._replace(message=words * 50), name=f"{name}{number}") for number in range(many)]
    assert len(markdown(preview(*steps, unasked=(words,), about=name))) <= LONGEST
