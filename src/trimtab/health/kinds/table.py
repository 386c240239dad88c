"""Whose rule is whose."""

from collections.abc import Iterator
from typing import Final

from trimtab.health.kinds import (
    argo,
    cluster_api,
    crossplane,
    databases,
    flux,
    gloo,
    kruise,
    messaging,
    network,
    numaproj,
    operators,
    platform,
    promoter,
    secrets,
)
from trimtab.health.kinds.contract import KindRule

_FAMILIES: Final = (
    argo,
    cluster_api,
    crossplane,
    databases,
    flux,
    gloo,
    kruise,
    messaging,
    network,
    numaproj,
    operators,
    platform,
    promoter,
    secrets,
)
TABLE: Final[dict[tuple[str, str], KindRule]] = {
    key: rule for family in _FAMILIES for key, rule in family.RULES.items()
}


def find(group: str, kind: str) -> KindRule | None:
    """The rule of a kind: its own, that of its group, then that of a group whose name ends alike."""
    return next((TABLE[key] for key in _keys(group, kind) if key in TABLE), None)


def _keys(group: str, kind: str) -> Iterator[tuple[str, str]]:
    yield group, kind
    yield group, "*"
    rest = group
    while "." in rest:
        rest = rest.partition(".")[2]
        yield f"*.{rest}", kind
        yield f"*.{rest}", "*"
