"""Who else wants what an app applies or is about to delete, where no controller knows of it (ENGINE.md §6 and P1).

Between apps of `trimtab apply` nobody plans for all of them. So each looks at the records of the others: of an app that
comes from the same repository and has not been at this revision yet, its directory says what it desires now.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from trimtab.api import names
from trimtab.api.gvk import HELM_RELEASE, KUSTOMIZATION
from trimtab.api.kustomize import Kustomization
from trimtab.base.abreast import abreast
from trimtab.base.errors import Terminal, Transient, TrimtabError
from trimtab.controllers.applyrecords import About, ApplyRecord, ApplyRecords, head_of
from trimtab.controllers.reading import look
from trimtab.diff import fields
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, NotFound, StaleGroup, UnknownKind, Unreachable
from trimtab.manifests.refs import Body, Gvk, Key, Ref
from trimtab.targets.kubernetes.apply import read
from trimtab.targets.kubernetes.desired import MANAGER, PREFIX, Desired, Owner

RELEASE_PREFIX: Final = names.RELEASE_OWNER_NAME.removesuffix("name")
_REFUSALS: Final = (ApiError, UnknownKind, StaleGroup, Unreachable)
_SHOWN: Final = 10

Planned = Callable[[ApplyRecord], Awaitable[set[Ref]]]
"""What an app of the same repository desires at our revision. Raises TrimtabError where that cannot be told."""


class Elsewhere(NamedTuple):
    """Of what is to be deleted: what other apps desire, by app; and why nothing may be deleted at all, if so."""

    wanted: Mapping[Ref, Key]
    held: str = ""


@dataclass(slots=True)
class Rivals:
    """Looks around for the app `key`, which is `about` to be at a revision. What `heir_of` has is ours to take.

    Records are what whoever may write a Secret says of himself: those of `disregarded` are not heard before deletions.
    """

    client: Client
    records: ApplyRecords
    key: Key
    about: About
    planned: Planned
    heir_of: Key | None = None
    disregarded: frozenset[Key] = frozenset()
    _desires: dict[Key, set[Ref] | None] = field(default_factory=dict)
    _lists: dict[Key, set[Ref] | None] = field(default_factory=dict)

    def fresh(self) -> "Rivals":
        """The same, with nothing in mind of what was found before."""
        return Rivals(self.client, self.records, self.key, self.about, self.planned, self.heir_of, self.disregarded)

    async def check_name(self) -> None:
        """Raise Terminal where a Kustomization has the name: two would take themselves for one app."""
        if await self._kustomization(self.key) is not None:
            raise Terminal(
                names.Reason.CONFLICT,
                f"{self.key} is a Kustomization, which its controller applies: choose another name for the app, or "
                f"delete the Kustomization first (with `spec.deletionPolicy: Orphan` its objects stay, and are taken "
                "over)",
            )

    # --- before applying

    async def contest(self, items: Sequence[Desired]) -> None:
        """Return if `items` may be applied; raises Terminal that names what others hold, and who."""
        held: dict[Ref, str] = {}

        async def one(item: Desired) -> None:
            live = await read(self.client, item)
            if live is not None and item.wanted and (holder := await self._holder(item.ref, live)):
                held[item.ref] = holder

        try:
            await abreast(one, items)
        except _REFUSALS as failure:
            words = f"whether somebody else manages what is to be applied cannot be known: {failure}"
            raise Transient(names.Reason.RECONCILIATION_FAILED, words) from failure
        if held:
            lines = [f"{ref} is managed by {holder}" for ref, holder in sorted(held.items())[:_SHOWN]]
            more = f" and {len(held) - _SHOWN} more" if len(held) > _SHOWN else ""
            raise Terminal(
                names.Reason.CONFLICT,
                f"nothing is applied: {'; '.join(lines)}{more}. Remove it from one of the two, there first",
            )

    async def _holder(self, ref: Ref, live: Body) -> str:
        """Who manages a live object and wants to keep it; labels on what was never applied mean nothing (P9)."""
        if fields.owned_entry(live, MANAGER) is not None:
            if (owner := Owner.of(live, PREFIX)) is not None and await self._lists_it(owner.key, ref):
                return f"Kustomization {owner.key}"
            owner = Owner.of(live, names.APPLIED)
            if (
                owner is not None
                and owner.key not in (self.key, self.heir_of)
                and await self._desired_by(owner.key, ref)
            ):
                return f"app {owner.key} of `trimtab apply`"
        if fields.owned_entry(live, names.HELM_MANAGER) is not None:
            owner = Owner.of(live, RELEASE_PREFIX)
            if owner is not None and await self._is_there(HELM_RELEASE, owner.key):
                return f"HelmRelease {owner.key}"
        return ""

    async def _lists_it(self, key: Key, ref: Ref) -> bool:
        """Whether the Kustomization `key` is alive and has `ref` on record, or may have."""
        if key not in self._lists:
            ks = await self._kustomization(key)
            self._lists[key] = set() if ks is None else await self._listed(ks)
        listed = self._lists[key]
        return listed is None or ref in listed

    async def _listed(self, ks: Kustomization) -> set[Ref] | None:
        """What `ks` has on record; None where that cannot be trusted."""
        reading = await look(self.client, ks, apart=False)
        refs = {found for line in reading.lines if (found := reading.ref_of(line)) is not None}
        return None if reading.problem else refs

    async def _desired_by(self, key: Key, ref: Ref) -> bool:
        """Whether the app `key` desires `ref`, or may: one whose record cannot be trusted may desire anything."""
        if key not in self._desires:
            record = await self.records.read(key)
            try:
                self._desires[key] = None if record.problem else await self._desired(record)
            except TrimtabError:
                self._desires[key] = record.wished
        desired = self._desires[key]
        return desired is None or ref in desired

    # --- before deleting

    async def elsewhere(self, refs: Sequence[Ref]) -> Elsewhere:
        """Which of `refs` other apps desire."""
        try:
            records = await self.records.within_reach(self.key.namespace)
        except _REFUSALS as failure:
            return Elsewhere({}, f"deletions are held: what other apps desire cannot be read: {failure}")
        wanted: dict[Ref, Key] = {}
        for record in records:
            if record.key in (self.key, self.heir_of) or record.key in self.disregarded:
                continue
            if record.problem and self._near(record):
                words = f"deletions are held: the record of app {record.key} cannot be trusted. {_way_out(record.key)}"
                return Elsewhere({}, words)
            try:
                desired = await self._desired(record)
            except TrimtabError as failure:
                words = (
                    f"deletions are held: app {record.key} comes from the same repository, and what it desires at "
                    f"{self.about.revision} is not known ({failure}). Apply it first, then this one again. "
                    f"{_way_out(record.key)}"
                )
                return Elsewhere({}, words)
            wanted |= dict.fromkeys(desired & set(refs), record.key)
        return Elsewhere(wanted)

    def _near(self, record: ApplyRecord) -> bool:
        """Whether what another app has is our concern even if nobody can tell what that is."""
        fed_alike = bool(self.about.source) and record.about.source == self.about.source
        return fed_alike or record.key.namespace == self.key.namespace

    async def _desired(self, record: ApplyRecord) -> set[Ref]:
        """What another app desires at our revision. Raises TrimtabError where nobody can tell."""
        theirs, ours = record.about, self.about
        fed_alike = bool(ours.source) and theirs.source == ours.source
        if not fed_alike or theirs.revision == ours.revision:
            return record.wished
        if not theirs.plain:
            raise Transient(names.Reason.PROGRESSING, "its build takes more than its directory")
        return await self.planned(record)

    # --- look

    async def _kustomization(self, key: Key) -> Kustomization | None:
        """The Kustomization `key`, if there is one and it stays. Raises Transient where nobody can tell."""
        try:
            resource = await self.client.discovery.find(KUSTOMIZATION)
            found = await self.client.get(resource, key.name, key.namespace, type=Kustomization)
        except (NotFound, UnknownKind):
            return None
        except (ApiError, StaleGroup, Unreachable) as failure:
            words = f"whether there is a Kustomization {key} cannot be known: {failure}"
            raise Transient(names.Reason.RECONCILIATION_FAILED, words) from failure
        return None if found.metadata.deleted else found

    async def _is_there(self, gvk: Gvk, key: Key) -> bool:
        try:
            body = await self.client.get(await self.client.discovery.find(gvk), key.name, key.namespace)
        except (NotFound, UnknownKind):
            return False
        return not body["metadata"].get("deletionTimestamp")


def _way_out(key: Key) -> str:
    return f"If there is no such app, delete Secret {head_of(key)}, or say --disregard {key}"
