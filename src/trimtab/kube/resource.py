"""A kind as a server serves it, and the paths of its objects."""

from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from trimtab.manifests.refs import Gvk

_SAFE = ":@"  # RBAC names carry colons


class Resource(NamedTuple):
    """Where the objects of a kind live in the API."""

    gvk: Gvk
    plural: str
    namespaced: bool
    verbs: frozenset[str] = frozenset()

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """The path of an object, or without `name` of its collection; a namespace of cluster-scoped kinds is ignored.

        Raises ValueError for a name without the namespace it needs: the path would mean something else.
        """
        group, version, _ = self.gvk
        parts = [f"/apis/{group}/{version}" if group else f"/api/{version}"]
        if self.namespaced and namespace:
            parts.append(f"namespaces/{_segment(namespace)}")
        elif self.namespaced and name:
            raise ValueError(f"{self.gvk.kind} {name!r} needs a namespace")
        parts.append(self.plural)
        if name:
            parts.append(_segment(name))
        if subresource:
            parts.append(_segment(subresource))
        return "/".join(parts)

    def __str__(self) -> str:
        return f"{self.plural}.{self.gvk.group}" if self.gvk.group else self.plural


@lru_cache(maxsize=1024)
def _segment(text: str) -> str:
    # Dots alone would be resolved away by whatever stands between us and the server.
    if text in {".", ".."}:
        raise ValueError(f"{text!r} cannot be the name of an object")
    return quote(text, safe=_SAFE)
