"""What the controller remembers of one HelmRelease between two passes, and what one pass works with."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from trimtab.api.helmrelease import HelmRelease
from trimtab.api.helmreleasestatus import HelmReleaseStatus
from trimtab.api.kustomizestatus import lines_of
from trimtab.api.names import HELM_MANAGER, Reason
from trimtab.base.errors import Transient
from trimtab.controllers.auditing import NOBODY, Attestor, Provenance
from trimtab.controllers.charting import PREFIX, Wanted
from trimtab.controllers.hiding import NOTHING, Hiding
from trimtab.controllers.place import Place
from trimtab.helm.memory import Wish
from trimtab.helm.policy import Policy
from trimtab.helm.record import Record
from trimtab.helm.values import Values
from trimtab.kube.client import Client
from trimtab.manifests.refs import Key, Ref
from trimtab.targets.kubernetes import inventory
from trimtab.targets.kubernetes.desired import Desired, Owner
from trimtab.targets.kubernetes.inventory import Entry


class Mark(NamedTuple):
    """What a release was settled for: as long as all of it is the same, nothing has to be asked or done."""

    generation: int
    chart: str
    version: str
    values: str
    cluster: str
    drift: str
    records: frozenset[tuple[str, str]]


@dataclass(slots=True)
class Release:
    """One HelmRelease. Everything here can be lost.

    `status` is the last one written, `draft` the one to be written next. `settled` is what it was settled for. `items`
    are the objects of the revision that is `kept` watch over, while drift is looked for; `inventory` is what is known
    to be in the cluster. `unresolved` says since when (Unix seconds) objects differ and stay so. `tried` is when the
    last attempt ended, `began` when the present wish came up, in monotonic seconds.
    `provenance` is whose wish it is, `witness` attests to what is written for it, if there is a ledger.
    `confirmed`: the server has said, since we run, that it has this status. `pulse` is set by every news of one of its
    objects; while `busy`, somebody waits for that.
    """

    key: Key
    uid: str
    status: HelmReleaseStatus
    draft: HelmReleaseStatus
    place: Place | None = None
    settled: Mark | None = None
    items: tuple[Desired, ...] = ()
    kept: str = ""
    inventory: dict[Ref, Entry] = field(default_factory=dict)
    unresolved: dict[Ref, float] = field(default_factory=dict)
    hiding: Hiding = NOTHING
    tried: float | None = None
    began: float | None = None
    provenance: Provenance = NOBODY
    witness: Attestor | None = None
    busy: bool = False
    confirmed: bool = False
    disturbed: bool = False
    forgiven: tuple[int, str] = (0, "")
    pulse: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def of(cls, hr: HelmRelease) -> "Release":
        """What the object itself tells."""
        found = cls(hr.key, hr.metadata.uid, hr.status, hr.status)
        listed = hr.status.inventory
        with contextlib.suppress(ValueError):  # the records have it all; this one only knows the uids
            found.inventory = inventory.read(lines_of(listed.entries)) if listed is not None else {}
        return found

    @property
    def at(self) -> Place:
        """The cluster that its objects go to; only after it is known."""
        assert self.place is not None  # noqa: S101 - every pass begins with it
        return self.place

    @property
    def revision(self) -> str:
        """The version of the chart that is released and as wished; nothing while it is not."""
        return self.settled.version if self.settled is not None else ""

    def let_go(self, but: Collection[Ref] = ()) -> None:
        """Watch over its objects no longer, `but` these."""
        for item in self.items if self.place is not None else ():
            if item.ref not in but:
                self.at.target.tracker.forget(item.ref, self.key)
        self.items, self.kept = (), ""


@dataclass(frozen=True, slots=True)
class Site:
    """Whose release, which one, by namespace and name, and in whose name it is acted on.

    `outdated` says whether the wish is another one by now. `admit` raises for objects that it may not apply there.
    """

    hr: HelmRelease
    release: Release
    client: Client
    of: Key
    outdated: Callable[[], bool]
    admit: Callable[[Iterable[Desired]], Awaitable[None]]

    @property
    def owner(self) -> Owner:
        """Whose the objects are."""
        return Owner(PREFIX, self.hr.key, HELM_MANAGER, self.of)


@dataclass(frozen=True, slots=True)
class Case(Site):
    """The same, and what is wished."""

    wanted: Wanted
    values: Values
    wish: Wish
    policy: Policy


def kept(site: Site, newest: Record) -> str:
    """What the objects that are watched over are of: the record `newest`, seen with the spec as it is."""
    return f"{site.hr.metadata.generation} {newest.version}"


class ActionFailed(Transient):
    """An action on a release failed, which is on record: what follows is the policy's to say.

    `reason` is that of the action, as InstallFailed.
    """


class Outrun(Exception):
    """The wish became another one while something was waited for: the next pass looks at it."""


def failed(reason: Reason, message: str) -> ActionFailed:
    """An action failed."""
    return ActionFailed(reason, message)
