"""What a discovery document says, indexed. No I/O.

The documents are those of aggregated discovery (apidiscovery.k8s.io v2, and v2beta1 where a server has nothing newer).
"""

from collections.abc import Iterable

import msgspec

from trimtab.kube.errors import ServerError
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Gvk

ACCEPT = ",".join(
    f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList" for version in ("v2", "v2beta1")
)


class _ResponseKind(msgspec.Struct, frozen=True):
    kind: str = ""


class _Served(msgspec.Struct, frozen=True, rename="camel"):
    resource: str
    scope: str = ""
    response_kind: _ResponseKind | None = None
    singular_resource: str = ""
    verbs: tuple[str, ...] | None = None
    short_names: tuple[str, ...] | None = None


class Version(msgspec.Struct, frozen=True):
    """A version of a group; `freshness` is Stale when the server behind it did not answer."""

    version: str
    resources: tuple[_Served, ...] | None = None
    freshness: str = ""


class _GroupName(msgspec.Struct, frozen=True):
    name: str = ""


class Group(msgspec.Struct, frozen=True):
    """An API group, its versions in the server's order of preference."""

    metadata: _GroupName = _GroupName()
    versions: tuple[Version, ...] | None = None


class _List(msgspec.Struct, frozen=True):
    kind: str
    items: tuple[Group, ...] | None = None


_decode = msgspec.json.Decoder(_List).decode


def read_groups(document: bytes, server: str) -> tuple[Group, ...]:
    """The groups of a discovery document. Raises ServerError where it is none."""
    try:
        said = _decode(document)
    except msgspec.DecodeError as failure:
        raise ServerError(200, "AnswerNotUnderstood", f"discovery of {server}: {failure}") from failure
    if said.kind != "APIGroupDiscoveryList":
        raise ServerError(
            200,
            "AnswerNotUnderstood",
            f"{server} does not speak aggregated discovery: Kubernetes 1.27 or newer is needed",
        )
    return said.items or ()


class Kinds:
    """The kinds that a server serves, in its order of preference. Never changed, only replaced."""

    def __init__(self, groups: Iterable[Group]) -> None:
        self._by_gvk: dict[Gvk, Resource] = {}
        self._by_kind: dict[tuple[str, str], Resource] = {}
        self._by_name: dict[str, Resource] = {}
        self.stale: set[tuple[str, str]] = set()
        self.names: set[str] = set()
        short: list[tuple[str, Resource]] = []
        for group in groups:
            for version in group.versions or ():
                if version.freshness == "Stale":
                    self.stale.add((group.metadata.name, version.version))
                for served in version.resources or ():
                    resource = _resource(group.metadata.name, version.version, served)
                    self._add(resource, served.singular_resource)
                    short += [(name, resource) for name in served.short_names or ()]
        for name, resource in short:  # a plural or a kind goes before somebody else's short name
            self._by_name.setdefault(name, resource)

    def _add(self, resource: Resource, singular: str) -> None:
        group, version, kind = resource.gvk
        self._by_gvk.setdefault(resource.gvk, resource)
        self._by_kind.setdefault((group, kind), resource)
        self.names.add(f"{resource.plural}.{group}")
        for name in {resource.plural, singular or kind.lower(), kind.lower()}:
            for form in (name, f"{name}.{group}", f"{name}.{version}.{group}", f"{name}.{version}"):
                self._by_name.setdefault(form, resource)

    def get(self, gvk: Gvk) -> Resource | None:
        """Where objects of this kind live, if it is served."""
        return self._by_gvk.get(gvk)

    def preferred(self, group: str, kind: str) -> Resource | None:
        """The version of a kind that the server prefers."""
        return self._by_kind.get((group, kind))

    def all(self) -> tuple[Resource, ...]:
        """Every kind, in the version that the server prefers."""
        return tuple(self._by_kind.values())

    def served(self) -> tuple[Resource, ...]:
        """Every kind in every version that is served, the preferred ones first."""
        return tuple(self._by_gvk.values())

    def by_name(self, text: str) -> Resource | None:
        """The kind behind a plural, singular, kind or short name, with or without version and group."""
        return self._by_name.get(text.lower().rstrip("."))

    def words_for_missing(self, gvk: Gvk) -> str:
        """Why `gvk` is not there, and what is there instead."""
        text = f"the cluster serves no {gvk}"
        versions = [other.version for other in self._by_gvk if (other.group, other.kind) == (gvk.group, gvk.kind)]
        groups = [str(other.gvk) for (_, kind), other in self._by_kind.items() if kind == gvk.kind]
        if versions:
            return f"{text}; of this kind it serves {', '.join(versions)}"
        if groups:
            return f"{text}; it serves {', '.join(groups)}"
        return f"{text}; is its CustomResourceDefinition installed?"


def _resource(group: str, version: str, served: _Served) -> Resource:
    kind = served.response_kind.kind if served.response_kind is not None else ""
    gvk = Gvk(group, version, kind)
    return Resource(gvk, served.resource, served.scope == "Namespaced", frozenset(served.verbs or ()))
