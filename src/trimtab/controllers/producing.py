"""What the controller of sources and those who know one kind of them agree on."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

from trimtab.api import names
from trimtab.api.bucket import BucketStatus
from trimtab.api.helm import HelmChartStatus, HelmRepositoryStatus
from trimtab.api.oci import OCIRepositoryStatus
from trimtab.api.source import GitRepositoryStatus
from trimtab.artifacts.publish import ARCHIVE, Form
from trimtab.artifacts.snapshot import Snapshot
from trimtab.base.errors import Transient, Waiting
from trimtab.controllers.offering import Named
from trimtab.manifests.refs import Gvk

Status: TypeAlias = GitRepositoryStatus | OCIRepositoryStatus | BucketStatus | HelmRepositoryStatus | HelmChartStatus


class _Spec(Protocol):
    @property
    def suspend(self) -> bool: ...
    @property
    def interval_s(self) -> float: ...


class SourceObject(Named, Protocol):
    """What the objects of all kinds of sources have in common."""

    @property
    def spec(self) -> _Spec: ...
    @property
    def status(self) -> Status: ...


Source = TypeVar("Source", bound=SourceObject)
_Read_contra = TypeVar("_Read_contra", bound=SourceObject, contravariant=True)


@dataclass(frozen=True, slots=True)
class Produced:
    """What one pass brought. `metadata` goes into the artifact, `archive` is a content to publish as it is.

    `form` says what the published file is called; `reason` and `message` are those of Ready, where they are particular.
    `observed` are the fields of the status that say what the artifact was made with; `verified` says who signed it;
    `history` is asked once all is done, and has words if what came does not follow from what was there before.
    """

    snapshot: Snapshot
    metadata: Mapping[str, str] = field(default_factory=dict)
    archive: str = ""
    observed: Mapping[str, Any] = field(default_factory=dict)
    verified: str = ""
    history: Callable[[], Awaitable[str]] | None = None
    form: Form = ARCHIVE
    reason: str = names.Reason.SUCCEEDED
    message: str = ""


class Static(Exception):
    """The object only says where something is: there is nothing to produce from it, and nothing to say of it."""


class Withheld(Transient):
    """What came is refused for what it is, and what was there before stays in force.

    It is looked at again at the interval; with `again` as soon as after any failure. `hopeless` says that what is
    followed cannot become good as it is. `remember` goes into the status; `regained` is behind the artifact, where it
    was lost.
    """

    def __init__(
        self,
        message: str,
        *,
        remember: Mapping[str, Any] | None = None,
        hopeless: bool = False,
        again: bool = False,
    ) -> None:
        super().__init__(names.Reason.VERIFICATION_ERROR, message, hopeless=hopeless)
        self.again = again
        self.remember: Mapping[str, Any] = remember or {}
        self.regained: Snapshot | None = None


class IncludeUnavailable(Waiting):
    """Another source that goes into the artifact has none; looked at again when it publishes."""


class Producer(Protocol[_Read_contra]):
    """What is particular to a kind of source."""

    gvk: Gvk

    def check(self, item: _Read_contra) -> None:
        """Raise Terminal for what is not served, or makes no sense, and Static where there is nothing to produce."""
        ...

    async def produce(self, item: _Read_contra, status: Status, held: Snapshot | None) -> Produced:
        """What `item` means now. `held` is behind the artifact in `status`: if it is that still, it comes back.

        Raises TrimtabError, ApiError.
        """
        ...
