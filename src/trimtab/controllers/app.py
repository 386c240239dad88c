"""What the controller remembers of one Kustomization between two passes. Everything here can be lost."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from trimtab.api.kustomize import Kustomization
from trimtab.api.kustomizestatus import ApprovedPrune, DriftRecord, FetchedBase, KustomizationStatus, lines_of
from trimtab.api.names import Reason
from trimtab.base.errors import Terminal
from trimtab.controllers.auditing import NOBODY, Provenance
from trimtab.controllers.hiding import NOTHING, Hiding
from trimtab.controllers.history import Trial
from trimtab.controllers.place import Place
from trimtab.manifests.refs import Key, Ref
from trimtab.render.plaintext import Exposed
from trimtab.targets.kubernetes import inventory
from trimtab.targets.kubernetes.desired import Desired
from trimtab.targets.kubernetes.inventory import Entry
from trimtab.targets.kubernetes.target import KubernetesTarget

MOST_REMEMBERED = 5_000
"""So many approved deletions are remembered over a crash: with more, the status would grow too long."""
UNREAD = "it is kept in Secrets that were not read yet"
"""The `problem` of an app whose own pass has not begun."""


@dataclass(frozen=True, slots=True)
class Build:
    """A rendered and prepared state. `inputs` is the digest of all that went in: equal inputs need no new build.

    `plaintext` are the Secrets of it that stand in git in clear text. `beside` are the directories outside its own that
    files were read in.
    """

    inputs: str
    digest: str
    items: tuple[Desired, ...]
    plaintext: tuple[Exposed, ...] = ()
    beside: frozenset[str] = frozenset()

    @property
    def refs(self) -> set[Ref]:
        """The objects it consists of."""
        return {item.ref for item in self.items}


class Attempt(NamedTuple):
    """What is being tried: another value starts another deadline."""

    generation: int
    inputs: str
    requested_at: str


class Held(NamedTuple):
    """Why deletions are held."""

    reason: str
    message: str


@dataclass(slots=True)
class App:
    """One Kustomization.

    `status` is the last one written, without its inventory: the truth until somebody else writes. `inventory` is what
    the app owns as known now, `recorded` the checksum of the list that was written last.
    `cluster` is the one that the list is about, `place` the one that the objects go to, once it is known.
    `parts` are the Secrets that hold parts of that list, by their checksums; `headed`: a Secret has all of it, as the
    status cannot; `untidy`: there may be Secrets that nothing refers to any more.
    `imported`: Flux wrote some of it. `resolved`: what has no uid there was looked at.
    `problem` is why the recorded inventory cannot be trusted: until it is repaired nothing is done for the app.
    `good` is the last build that passed the gate: it stays enforced while a newer one is refused; `passed` are the
    digests of objects that passed for `build`.
    `revision` is the revision whose state is applied and as healthy as asked, in memory at once; empty while it is not.
    `postponed` says that something may be deleted as soon as something else is gone; `granted` are the deletions that
    `approval`, the annotation, has approved and that may still be under way.
    `uncontested` is the build that no other app holds anything of. `waits_since` says since when deletions wait for
    other apps to plan, `deferred` after how many seconds they are looked at again while nothing is said about that.
    `stale` says that somebody else has changed what is on record: it is read again.
    `seen` is the status that all this was read from, at `version`, until the server has confirmed that it is the one
    it has: the first view of a process may be an old one.
    `crossed` is what was written about the same time as `status`: the server may have either, in any part.
    `strange` is what was told about annotations without a meaning, `exposed` the digest of the build whose Secrets in
    clear text were told of (None: not looked at yet). `hiding` knows what is never told.
    `bases` are the fetched bases that `build` was made of.
    `wished` is what it desires at the revision and generation of `plan`, where other processes have to know that.
    `trial` is how far the attempt came; `tried`: this pass got beyond the build, so what becomes of it is its outcome.
    `provenance` is whose wish `build` is, `enforced` whose `good` is, `switches` what is on record of the loop itself.
    `drift` is what is told of drift in the status, `unresolved` since when (Unix seconds) objects differ and stay so.
    `began`, `pending_since`, `waits_since` and `silent_since`, the first failure that was not told, are monotonic
    seconds.
    """

    key: Key
    uid: str
    status: KustomizationStatus
    inventory: dict[Ref, Entry]
    recorded: str
    cluster: str = ""
    place: Place | None = None
    problem: str = ""
    stale: bool = False
    seen: KustomizationStatus | None = None
    crossed: KustomizationStatus | None = None
    version: str = ""
    parts: dict[str, str] = field(default_factory=dict)
    headed: bool = False
    untidy: bool = False
    imported: bool = False
    resolved: bool = False
    recording: asyncio.Lock = field(default_factory=asyncio.Lock)
    build: Build | None = None
    bases: tuple[FetchedBase, ...] = ()
    good: Build | None = None
    passed: set[str] = field(default_factory=set)
    revision: str = ""
    held: Held | None = None
    postponed: bool = False
    approval: str = ""
    granted: frozenset[str] = frozenset()
    uncontested: Build | None = None
    waits_since: float | None = None
    deferred: float | None = None
    strange: list[str] = field(default_factory=list)
    exposed: str | None = None
    hiding: Hiding = NOTHING
    attempt: Attempt | None = None
    wished: frozenset[Ref] | None = None
    plan: tuple[str, int] = ("", 0)
    trial: Trial = field(default_factory=Trial)
    tried: bool = False
    provenance: Provenance = NOBODY
    enforced: Provenance = NOBODY
    switches: dict[str, str] = field(default_factory=dict)
    drift: tuple[DriftRecord, ...] = ()
    unresolved: dict[Ref, float] = field(default_factory=dict)
    began: float = 0.0
    pending_since: float | None = None
    silent_since: float | None = None

    @classmethod
    def unread(cls, ks: Kustomization) -> "App":
        """The app before anybody read what is on record of it."""
        status = msgspec.structs.replace(ks.status, inventory=None)
        app = cls(key=ks.key, uid=ks.metadata.uid, status=status, inventory={}, recorded="", drift=ks.status.drift)
        app.bases = ks.status.remote_bases
        app.seen, app.version = ks.status, ks.metadata.resource_version
        if (approved := ks.status.approved) is not None:
            app.approval, app.granted = approved.digest, frozenset(approved.objects)
        return app

    @property
    def approved(self) -> ApprovedPrune | None:
        """What the status has to say of approved deletions. A set that is too long for it is asked for again."""
        if not self.granted or len(self.granted) > MOST_REMEMBERED:
            return None
        return ApprovedPrune(digest=self.approval, objects=tuple(sorted(self.granted)))

    @classmethod
    def of(cls, ks: Kustomization) -> "App":
        """What the object's own status tells. Never raises: an inventory that cannot be read there is a `problem`."""
        app, listed = cls.unread(ks), ks.status.inventory
        lines = lines_of(listed.entries) if listed else []
        try:
            found = inventory.read(lines)
        except ValueError as failure:
            app.problem = str(failure)
            return app
        if listed is not None and any(inventory.holder_of(ref, ks.key.namespace) for ref in found):
            app.problem = UNREAD
        elif listed is not None:
            app.problem = inventory.problem(listed.format, listed.checksum, lines)
            app.cluster = listed.cluster
        app.inventory = {} if app.problem else found
        return app

    @property
    def at(self) -> Place:
        """The cluster that its objects go to; only after it is known."""
        assert self.place is not None  # noqa: S101 - every pass begins with it
        return self.place

    @property
    def target(self) -> KubernetesTarget:
        """The same as a target."""
        return self.at.target

    def settle(self, place: Place) -> dict[Ref, Entry]:
        """From now on the objects go to `place`. What is left behind in another cluster is returned and let go (P10).

        What was built and judged for one cluster, or under other credentials, is worth nothing for the next.
        """
        if self.place is place:
            return {}
        before, self.place = self.place, place
        if before is not None:
            for ref in self.inventory:
                before.target.tracker.forget(ref, self.key)
            self.build = self.good = self.uncontested = self.attempt = None
            self.passed.clear()
        behind: dict[Ref, Entry] = {}
        if not place.holds(self.cluster) and not self.problem:
            # a list that was made in another cluster says nothing about this one
            behind, self.inventory, self.recorded = self.inventory, {}, ""
            self.parts, self.untidy = {}, self.untidy or bool(self.parts)
        self.cluster = place.cluster
        return behind

    def identify(self, items: Iterable[Desired]) -> None:
        """Put the uids that `items` have now into the inventory; of what was never ours there is none."""
        for item in items:
            tracked = self.target.tracker.get(item.ref)
            if tracked is not None and tracked.baseline is not None and tracked.app == self.key:
                self.inventory[item.ref] = Entry(item.ref, item.gvk.version, tracked.baseline.uid)

    def check(self) -> None:
        """Raise Terminal while the inventory cannot be trusted (ENGINE.md, P13)."""
        if self.problem:
            raise Terminal(
                Reason.READ_ONLY,
                f"status.inventory cannot be trusted: {self.problem}. Nothing is applied, corrected or deleted until "
                f"`trimtab repair inventory {self.key.name} -n {self.key.namespace}` has built it anew, or it is "
                "restored and a reconcile is asked for",
            )
