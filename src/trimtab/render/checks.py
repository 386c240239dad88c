"""What can be said of built objects without a server."""

from collections.abc import Sequence
from typing import Final

from trimtab.base.errors import Terminal
from trimtab.manifests.refs import Manifest, Ref
from trimtab.render.scopes import CLUSTER_SCOPED

MAX_NAME: Final = 253
MAX_LABEL: Final = 63
_LABELS: Final = frozenset({("", "Namespace"), ("", "Service")})
"""Kinds whose name is a DNS label."""
MAX_SHOWN: Final = 5


def check(manifests: Sequence[Manifest]) -> None:
    """Raise Terminal for two objects of one identity and for names the server refuses, naming each and its file."""
    seen: dict[Ref, Manifest] = {}
    problems: list[str] = []
    for manifest in manifests:
        ref = manifest.ref
        # No namespace and `default` may be one place, and a cluster-scoped object has none; kustomize sees it so too.
        nowhere = ref.namespace == "default" or (manifest.body["apiVersion"], ref.kind) in CLUSTER_SCOPED
        key = ref._replace(namespace="") if nowhere else ref
        if (first := seen.setdefault(key, manifest)) is not manifest:
            problems.append(f"{ref} is written twice, at {first.origin} and at {manifest.origin}; remove one")
        limit = MAX_LABEL if (ref.group, ref.kind) in _LABELS else MAX_NAME
        for what, text, most in (("name", ref.name, limit), ("namespace", ref.namespace, MAX_LABEL)):
            if len(text) > most:
                problems.append(
                    f"{manifest.origin}: the {what} of {ref.kind} {_short(ref.name)} has {len(text)} characters, "
                    f"{most} are allowed"
                )
    if problems:
        more = f"; and {len(problems) - MAX_SHOWN} more" if len(problems) > MAX_SHOWN else ""
        raise Terminal("BuildFailed", "; ".join(problems[:MAX_SHOWN]) + more)


def _short(name: str) -> str:
    return name if len(name) <= MAX_LABEL else name[: MAX_LABEL - 1] + "…"
