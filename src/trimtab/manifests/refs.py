"""Names of things: kinds, objects, and the places they were written."""

from typing import Any, NamedTuple, TypeAlias

Body: TypeAlias = dict[str, Any]
"""A raw Kubernetes object, decoded from JSON."""


class Gvk(NamedTuple):
    """Group, version and kind. The core group is the empty string."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @classmethod
    def of(cls, api_version: str, kind: str) -> "Gvk":
        group, _, version = api_version.rpartition("/")
        return cls(group, version, kind)

    def __str__(self) -> str:
        return f"{self.kind} {self.api_version}"


class Ref(NamedTuple):
    """The identity of an object within a cluster. Versions are not part of it; cluster-scoped: namespace empty."""

    group: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, body: Body) -> "Ref":
        """The identity written in `body`, which must have apiVersion, kind and metadata.name."""
        metadata = body["metadata"]
        group = str(body["apiVersion"]).rpartition("/")[0]
        return cls(group, body["kind"], metadata.get("namespace") or "", metadata["name"])

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)


class Key(NamedTuple):
    """Namespace and name of one of our own objects."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Origin(NamedTuple):
    """Where an object was written: file (relative to the artifact), line (from 1) and document (from 1)."""

    file: str
    line: int = 0
    document: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Manifest(NamedTuple):
    """A desired object and where it was written."""

    body: Body
    origin: Origin

    @property
    def ref(self) -> Ref:
        return Ref.of(self.body)

    @property
    def gvk(self) -> Gvk:
        return Gvk.of(self.body["apiVersion"], self.body["kind"])
