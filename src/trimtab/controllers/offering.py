"""What those that take artifacts need to know of an object that offers one, of whatever kind it is."""

from typing import Protocol, TypeVar

from trimtab.api.meta import ObjectMeta
from trimtab.api.source import Artifact
from trimtab.manifests.conditions import Condition, find
from trimtab.manifests.refs import Key
from trimtab.runtime.events import ObjectRef


class _Observation(Protocol):
    @property
    def conditions(self) -> tuple[Condition, ...]: ...


class _Status(_Observation, Protocol):
    @property
    def artifact(self) -> Artifact | None: ...


class Observed(Protocol):
    """An object whose status says how it goes."""

    @property
    def metadata(self) -> ObjectMeta: ...
    @property
    def status(self) -> _Observation: ...


class Named(Protocol):
    """An object of ours."""

    @property
    def api_version(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def metadata(self) -> ObjectMeta: ...
    @property
    def key(self) -> Key: ...


class Offering(Named, Protocol):
    """A source, whoever looks after it."""

    @property
    def status(self) -> _Status: ...


Offered = TypeVar("Offered", bound=Offering)


def about(item: Named) -> ObjectRef:
    """`item` as events name it."""
    return ObjectRef(
        api_version=item.api_version,
        kind=item.kind,
        namespace=item.metadata.namespace,
        name=item.metadata.name,
        uid=item.metadata.uid,
        resource_version=item.metadata.resource_version,
    )


def current(item: Observed) -> bool:
    """Whether the status is about the object as it is now.

    A producer of ExternalArtifacts need not say which generation it looked at; what it says holds for every one then.
    """
    observed = getattr(item.status, "observed_generation", None)
    if observed is None:
        ready = find(item.status.conditions, "Ready")
        observed = (ready.observed_generation if ready else 0) or item.metadata.generation
    return bool(observed == item.metadata.generation)
