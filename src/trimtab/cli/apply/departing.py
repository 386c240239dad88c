"""What an app has on record and no longer wishes: what would be deleted, and whether that would be held (ENGINE.md §5).

The guards are those of the controller (`controllers.pruning`), asked in the same order, as far as they can be from
here: what only a running controller remembers (what was approved before, a hand-over in progress) is not known.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from trimtab.api import names
from trimtab.api.gvk import KUSTOMIZATION
from trimtab.api.kustomize import Kustomization
from trimtab.base.abreast import abreast
from trimtab.cli.connect import DEFAULT_NAMESPACE
from trimtab.controllers import freeze
from trimtab.controllers.handover import app_key
from trimtab.controllers.pruning import budget_of
from trimtab.controllers.reading import look
from trimtab.diff.report import Finding, State
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import ApiError, NotFound, UnknownKind, Unreachable
from trimtab.manifests.refs import Body, Gvk, Key, Ref
from trimtab.preview import disruption
from trimtab.preview.verdict import Judgement, Step, Verdict
from trimtab.targets.kubernetes import budget, precious, prune
from trimtab.targets.kubernetes.budget import Candidate
from trimtab.targets.kubernetes.desired import PREFIX, Owner
from trimtab.targets.kubernetes.inventory import Entry, Inventory

_REFUSALS: Final = (ApiError, UnknownKind, StaleGroup, Unreachable)
_CONFIG_MAP: Final = Gvk("", "v1", "ConfigMap")


class App(NamedTuple):
    """An app as it is in the cluster, `live`, and as it will be."""

    live: Kustomization
    will: Kustomization
    entries: Inventory


class _There(NamedTuple):
    """An object that leaves, as it is in the cluster; `problem`: that is not known."""

    entry: Entry
    live: Body | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Departing:
    """Looks at what apps leave behind. `wished` is what each app of the change wishes."""

    client: Client
    wished: Mapping[Key, Collection[Ref]]
    install_namespace: str = DEFAULT_NAMESPACE

    async def recorded(self, ks: Kustomization) -> Inventory | str:
        """What `ks` has on record, or why that is not known."""
        try:
            reading = await look(self.client, ks, apart=False)
            entries = reading.entries()
        except (ValueError, *_REFUSALS) as failure:
            return f"its inventory cannot be read: {failure}"
        return f"its inventory cannot be trusted: {reading.problem}" if reading.problem else entries

    async def of(self, app: App) -> list[Step]:
        """What leaves `app`, object by object."""
        wished = self.wished.get(app.live.key, ())
        deletions = prune.leaving(app.entries, set(wished))
        there = [
            one for one in await abreast(self._look, [deletion.entry for deletion in deletions]) if one is not None
        ]
        if not there:
            return []
        if why := self._stays(app, wished):
            return [self._step(app, one, Judgement(Verdict.KEPT, f"it stays: {why}")) for one in there]
        steps: list[Step] = []
        going: list[_There] = []
        owner = Owner(PREFIX, app.live.key)
        for one in there:
            if one.live is None:
                steps.append(self._step(app, one, Judgement(Verdict.UNKNOWN, one.problem)))
            elif other := next((key for key, refs in self.wished.items() if one.entry.ref in refs), None):
                steps.append(self._step(app, one, Judgement(Verdict.KEPT, f"it goes over to {other}")))
            elif released := prune.not_ours(one.live, one.entry, owner):
                steps.append(self._step(app, one, Judgement(Verdict.KEPT, f"it is let go: {released}")))
            elif prune.untouchable(one.entry.ref, self.install_namespace):
                words = "it stays: a namespace that is never deleted"
                steps.append(self._step(app, one, Judgement(Verdict.KEPT, words)))
            else:
                going.append(one)
        return [*steps, *await self._going(app, owner, going)]

    @staticmethod
    def _stays(app: App, wished: Collection[Ref]) -> str:
        """Why nothing at all is deleted."""
        if not app.will.spec.prune:
            return "spec.prune is false"
        if not wished and app.will.metadata.annotations.get(names.Annotation.ALLOW_EMPTY) != "true":
            return "nothing is left, and an empty render deletes nothing"
        return ""

    async def _going(self, app: App, owner: Owner, going: Sequence[_There]) -> list[Step]:
        """What is deleted, unless it is held."""
        if not going:
            return []
        if why := await self._frozen(app):
            return [self._step(app, one, Judgement(Verdict.HELD, why)) for one in going]
        leaving = {one.entry.ref for one in going}
        judged = await abreast(lambda one: self._candidate(one, owner, leaving), going)
        later = {one.ref for one in judged if one.later}
        decision = budget.decide(
            [one.candidate for one in judged if not one.later],
            len(app.entries.keys() | set(self.wished.get(app.live.key, ()))),
            budget_of(app.will),
            approval=app.will.metadata.annotations.get(names.Annotation.APPROVE_PRUNE, ""),
        )
        held = {candidate.ref: candidate for candidate in decision.held}
        steps: list[Step] = []
        for one in going:
            ref = one.entry.ref
            if ref in held:
                why = held[ref].precious or decision.why
                way_out = f"to approve exactly these {len(held)}, set the annotation {names.Annotation.APPROVE_PRUNE}"
                words = f"its deletion is held: {why}; {way_out}: {decision.digest}"
                steps.append(self._step(app, one, Judgement(Verdict.HELD, words)))
            elif ref in later:
                words = "it is deleted once what is of its kind is gone"
                steps.append(self._step(app, one, Judgement(Verdict.PRUNED, words)))
            else:
                judgements = [Judgement(Verdict.PRUNED, "it is deleted"), *disruption.disruption(one.live, None)]
                steps.append(self._step(app, one, *judgements))
        return steps

    async def _frozen(self, app: App) -> str:
        if unknown := ", ".join(app.will.metadata.unknown_annotations()):
            return f"deletions are held: the annotations {unknown} are not known to this version"
        try:
            resource = await self.client.discovery.find(_CONFIG_MAP)
            await self.client.get(resource, freeze.NAME, self.install_namespace)
        except NotFound:
            return ""
        except _REFUSALS:
            return ""  # the rights of whoever asks are not those of the controller
        return f"ConfigMap {self.install_namespace}/{freeze.NAME} freezes all deletions"

    async def _candidate(self, one: _There, owner: Owner, leaving: Collection[Ref]) -> "_Judged":
        ref = one.entry.ref
        seen = precious.Look()
        if precious.may_be(ref):
            seen = await precious.look(self.client, one.entry, owner, self.install_namespace, leaving)
        along, why = await self._along(one, set())
        candidate = Candidate(ref, one.entry.uid, seen.why or why, tuple(along))
        return _Judged(ref, candidate, seen.later)

    async def _along(self, one: _There, seen: set[Key]) -> tuple[list[Ref], str]:
        """What an app that is deleted takes along, and what of that is precious."""
        key = app_key(one.entry.ref)
        if key is None or one.live is None or key in seen:
            return [], ""
        seen.add(key)
        try:
            child = msgspec.convert(one.live, Kustomization)
        except msgspec.ValidationError as wrong:
            return [], f"what it owns is not known: {wrong}"
        if child.spec.suspend or not child.spec.prunes_on_deletion:
            return [], ""
        entries = await self.recorded(child)
        if isinstance(entries, str):
            return [], entries
        elsewhere = {ref for other, refs in self.wished.items() if other != key for ref in refs}
        along = [ref for ref in entries if ref not in elsewhere]
        why = next((f"it owns {ref}, which may hold data" for ref in along if precious.may_be(ref)), "")
        for ref in along:
            if app_key(ref) is not None and (inner := await self._look(entries[ref])) is not None:
                more, inside = await self._along(inner, seen)
                along, why = [*along, *more], why or inside
        return along, why

    async def _look(self, entry: Entry) -> _There | None:
        """An object that leaves; None if it is gone already."""
        try:
            resource = await prune.served(self.client, entry)
            return _There(entry, await self.client.get(resource, entry.ref.name, entry.ref.namespace))
        except (NotFound, UnknownKind):
            return None
        except _REFUSALS as failure:
            return _There(entry, problem=str(failure))

    @staticmethod
    def _step(app: App, one: _There, *judgements: Judgement) -> Step:
        state = State.UNKNOWN if one.live is None else State.EXTRA
        return Step(Finding(one.entry.ref, state, app=app.live.key), judgements)


class _Judged(NamedTuple):
    ref: Ref
    candidate: Candidate
    later: bool


def of_app(key: Key) -> Ref:
    """The object that an app itself is."""
    return Ref(KUSTOMIZATION.group, KUSTOMIZATION.kind, key.namespace, key.name)
