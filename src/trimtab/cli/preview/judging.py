"""Every object of a change, judged: what the server says, what it leans on, its images, its Pods, and what leaves."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from trimtab.api.kustomize import Kustomization
from trimtab.base.abreast import abreast
from trimtab.cli.apply import departing
from trimtab.cli.apply.departing import App, Departing
from trimtab.cli.diff import against
from trimtab.cli.preview.imagery import Asked, Imagery
from trimtab.cli.preview.previewed import Unit
from trimtab.diff.compare import compare
from trimtab.diff.mask import MASK, shown
from trimtab.diff.report import Finding, State
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import NO_ANSWER, NotFound, UnknownKind
from trimtab.manifests.refs import Body, Key, Ref
from trimtab.preview import needs
from trimtab.preview.disruption import disruption
from trimtab.preview.needs import pod_of
from trimtab.preview.verdict import Declared, Judgement, Step, Verdict
from trimtab.targets.kubernetes import previewing
from trimtab.targets.kubernetes.desired import PREFIX, Desired, Owner
from trimtab.targets.kubernetes.gate import Providers
from trimtab.targets.kubernetes.previewing import Looked, Terms
from trimtab.targets.kubernetes.surroundings import Change, Surroundings

_NO_REGISTRY: Final = "no registry is asked: whether the images exist is not known"
_AT_ONCE: Final = 8
"""So many apps are looked at side by side; the requests among them are bounded further by the client."""


class Part(NamedTuple):
    """What one unit wishes. `base` is what it wished before, None where that is not asked; `live` the app there is."""

    unit: Unit
    wish: against.Wanted
    items: tuple[Desired, ...]
    sealed: tuple[Step, ...]
    base: Mapping[Ref, Desired] | None
    live: Kustomization | None

    def declared(self, item: Desired) -> Declared | None:
        """How `item` compares with what was declared before."""
        if self.base is None:
            return None
        old = self.base.get(item.ref)
        if old is None:
            return Declared.ADDED
        return Declared.SAME if old.payload == item.payload else Declared.CHANGED

    @property
    def removed(self) -> list[Desired]:
        """What was declared before and is no more."""
        now = {item.ref for item in self.items} | {step.finding.ref for step in self.sealed}
        return [item for ref, item in (self.base or {}).items() if ref not in now]


class Found(NamedTuple):
    """What was found out, and what could not be."""

    steps: list[Step]
    unasked: list[str]


def sealed(finding: Finding, *, as_before: bool) -> Step:
    """An object that stays encrypted. Where it is declared `as_before`, nothing is asked of it."""
    if as_before:
        note = "it is encrypted, and declared as in the base"
        return Step(finding._replace(state=State.SKIPPED, note=note), declared=Declared.SAME)
    return Step(finding._replace(note=""), (Judgement(Verdict.UNKNOWN, finding.note),))


def hidden(text: str, wish: against.Wanted) -> str:
    """`text`, why all of `wish` is refused, without the values that come from Secrets."""
    if any(made in text for made in wish.rendered.made):
        return "it is refused, in words with a value of a Secret: `trimtab build` says them where it may be seen"
    return against.hiding(wish).text(text)


async def alone(parts: Sequence[Part], beside: Sequence[Part], imagery: Imagery | None) -> Found:
    """What can be known of `parts` without a cluster: of what is declared on both sides, and of images.

    `beside` is what comes with the same change and is not asked about.
    """
    everything = [*parts, *beside]
    change = _change(everything)
    definitions = Providers.of([item for part in everything for item in part.items]).definitions
    twice = conflicts(everything)

    async def one(pair: tuple[Part, Desired]) -> Step:
        part, item = pair
        before = _before(part, item)
        differences = compare(before, item.body) if before is not None else []
        state = State.MISSING if before is None else State.DIFFERS if differences else State.SAME
        judgements = [*twice.get((part.unit.key, item.ref), ()), *change.complaints(item.body, item.ref.namespace)]
        if complaint := definitions.complaint(item):
            judgements.append(Judgement(Verdict.REFUSED_SCHEMA, item.told(complaint)))
        judgements += disruption(before, item.body)
        judgements += await _of_images(item, before, imagery)
        told = shown(item.ref.kind, differences, secret=item.secret)
        finding = Finding(item.ref, state, item.origin, differences=told, app=part.unit.key)
        return _told(part, Step(finding, tuple(judgements), part.declared(item)), item)

    steps = await abreast(one, [(part, item) for part in parts for item in part.items])
    for part in parts:
        for item in part.removed:
            finding = Finding(item.ref, State.EXTRA, item.origin, app=part.unit.key)
            judgement = Judgement(Verdict.PRUNED, "it is declared no more")
            steps.append(_told(part, Step(finding, (judgement,), Declared.REMOVED), item))
    new = any(_new_images(item, _before(part, item)) for part in parts for item in part.items)
    return Found(steps, [_NO_REGISTRY] if imagery is None and new else [])


async def in_cluster(
    client: Client,
    parts: Sequence[Part],
    beside: Sequence[Part],
    imagery: Imagery | None,
    *,
    as_account: bool,
    timeout_s: float,
    until: float,
) -> Found:
    """What a cluster says of `parts`. Never raises for what it says: what it does not say is unknown.

    `as_account`: an app with an account of its own is judged by the rights of that one.
    """
    terms = Terms(timeout_s=timeout_s, until=until)
    return await _InCluster(client, parts, [*parts, *beside], imagery, terms, as_account).found()


class _Object(NamedTuple):
    """An object of a part, as far as it was looked at."""

    part: Part
    looked: Looked


@dataclass(slots=True)
class _InCluster:
    client: Client
    parts: Sequence[Part]
    everything: Sequence[Part]
    imagery: Imagery | None
    terms: Terms
    as_account: bool
    more: dict[int, list[Judgement]] = field(default_factory=dict)

    async def found(self) -> Found:
        """All steps."""
        objects = await self._looked()
        change = _change(self.everything)
        left = await self._left()
        change.leaving = {step.finding.ref for step in left if step.verdict in (Verdict.PRUNED, Verdict.HELD)}
        around = Surroundings(self.client, change)
        alive = [one for one in objects if one.looked.finding.state is not State.SKIPPED]
        twice = conflicts(self.everything)
        for one in alive:
            self._of(one).extend(self._owned(one))
            self._of(one).extend(twice.get((one.part.unit.key, one.looked.item.ref), ()))
        pods = [one for one in alive if one.looked.after is not None and pod_of(one.looked.after) is not None]
        missing = await around.missing([(one.looked.item.ref, one.looked.item.body) for one in alive])
        self._add(alive, missing)
        room, unasked = await around.room(
            [(one.looked.item.ref, one.looked.live, one.looked.after) for one in pods if not one.looked.fails]
        )
        self._add(pods, room)
        restarting = []
        for one in pods:
            if not one.looked.fails and (found := disruption(one.looked.live, one.looked.after)):
                self._of(one).extend(found)
                restarting.append((one.looked.item.ref, one.looked.item.body))
        self._add(pods, await around.evictions(restarting))
        for one, judgements in zip(alive, await abreast(self._images, alive), strict=True):
            self._of(one).extend(judgements)
        if self.imagery is None and any(_new_images(one.looked.item, self._known(one)) for one in alive):
            unasked.append(_NO_REGISTRY)
        steps = [self._step(one) for one in objects]
        return Found([*steps, *left, *self._suspended(steps)], unasked)

    async def _images(self, one: _Object) -> list[Judgement]:
        return await _of_images(one.looked.item, self._known(one), self.imagery)

    @staticmethod
    def _known(one: _Object) -> Body | None:
        """The object as it is, or was declared: whose images are there already."""
        return one.looked.live if one.looked.live is not None else _before(one.part, one.looked.item)

    async def _looked(self) -> list[_Object]:
        items = [item for part in self.everything for item in part.items]
        with contextlib.suppress(*NO_ANSWER):  # what has no answer is said of each object
            await self.client.discovery.refresh()
        brought = await previewing.providers(self.client, items, self.terms.until)

        async def one(part: Part) -> list[_Object]:
            unit = part.unit
            stamped, force = unit.key is not None, unit.spec is not None and unit.spec.force
            terms = self.terms._replace(app=unit.key, stamped=stamped, force=force, account=self._account(unit))
            looked = await previewing.look(self.client, part.items, brought, terms)
            return [_Object(part, found) for found in looked]

        return [found for those in await abreast(one, self.parts, _AT_ONCE) for found in those]

    def _account(self, unit: Unit) -> str:
        """The user in whose name `unit` is applied; empty where that is not asked, or it is the controller's."""
        if not self.as_account or unit.key is None or unit.spec is None or not unit.spec.service_account_name:
            return ""
        return f"system:serviceaccount:{unit.key.namespace}:{unit.spec.service_account_name}"

    def _of(self, one: _Object) -> list[Judgement]:
        return self.more.setdefault(id(one.looked), [])

    def _add(self, objects: Iterable[_Object], found: Mapping[Ref, Sequence[Judgement]]) -> None:
        for one in objects:
            self._of(one).extend(found.get(one.looked.item.ref, ()))

    def _owned(self, one: _Object) -> list[Judgement]:
        """Whose the live object is, where that is an app that is not looked into."""
        owner = Owner.of(one.looked.live) if one.looked.live is not None else None
        mine = one.part.unit.key
        if (
            owner is None
            or mine is None
            or owner.key == mine
            or owner.key in {part.unit.key for part in self.everything}
        ):
            return []
        words = f"it is of the app {owner.key}, which is not looked into: if that still declares it, the two conflict"
        return [Judgement(Verdict.WARNING, words)]

    def _step(self, one: _Object) -> Step:
        judgements = (*one.looked.judgements, *self.more.get(id(one.looked), ()))
        item = one.looked.item
        return _told(one.part, Step(one.looked.finding, judgements, one.part.declared(item)), item)

    # --- what leaves

    async def _left(self) -> list[Step]:
        wished = {
            part.unit.key: frozenset(item.ref for item in part.items) | {step.finding.ref for step in part.sealed}
            for part in self.everything
            if part.unit.key is not None
        }
        looking = Departing(self.client, wished)
        steps: list[Step] = []
        for part in self.parts:
            if part.live is None:
                removed = part.removed
                found = zip(removed, await abreast(self._undeclared, removed), strict=True)
                steps += [_told(part, step, item) for item, step in found if step is not None]
                continue
            entries = await looking.recorded(part.live)
            if isinstance(entries, str):
                finding = Finding(departing.of_app(part.live.key), State.UNKNOWN, app=part.live.key)
                steps.append(Step(finding, (Judgement(Verdict.UNKNOWN, entries),)))
            else:
                left = await looking.of(App(part.live, part.unit.app or part.live, entries))
                steps += [_placed(step, part) for step in left]
        return steps

    async def _undeclared(self, item: Desired) -> Step | None:
        """What was declared in files that no app is known to build; None if it is not there."""
        try:
            resource = await self.client.discovery.find(item.gvk)
            live: Body = await self.client.get(resource, item.ref.name, item.ref.namespace)
        except (NotFound, UnknownKind):
            return None
        except (*NO_ANSWER, StaleGroup) as failure:
            judgement = Judgement(Verdict.UNKNOWN, str(failure))
            return Step(Finding(item.ref, State.UNKNOWN, item.origin), (judgement,), Declared.REMOVED)
        owner = Owner.of(live, PREFIX)
        words = f"it is of the app {owner.key}, which decides" if owner else "it stays: no app is known that deletes it"
        finding = Finding(item.ref, State.EXTRA, item.origin)
        return Step(finding, (Judgement(Verdict.KEPT, words),), Declared.REMOVED)

    def _suspended(self, steps: Sequence[Step]) -> list[Step]:
        """Apps that would do nothing of what they are asked for."""
        changing: set[Key | None] = {
            step.finding.app for step in steps if step.finding.state not in (State.SAME, State.SKIPPED)
        }
        found = []
        for part in self.parts:
            unit = part.unit
            if unit.key is None or unit.spec is None or not unit.spec.suspend or unit.key not in changing:
                continue
            words = "it is suspended: nothing of this is applied before it is resumed"
            finding = Finding(departing.of_app(unit.key), State.SAME, unit.origin, app=unit.key)
            found.append(Step(finding, (Judgement(Verdict.HELD, words),)))
        return found


def conflicts(parts: Sequence[Part]) -> dict[tuple[Key | None, Ref], list[Judgement]]:
    """What more than one app of the change declares."""
    wishing: dict[Ref, list[Part]] = {}
    for part in parts:
        for item in part.items:
            wishing.setdefault(item.ref, []).append(part)
    found: dict[tuple[Key | None, Ref], list[Judgement]] = {}
    for ref, those in wishing.items():
        for part in those if len(those) > 1 else ():
            others = ", ".join(str(other.unit.key or "the files themselves") for other in those if other is not part)
            words = f"it is declared by {others} too: only one can own it"
            found.setdefault((part.unit.key, ref), []).append(Judgement(Verdict.CONFLICT, words))
    return found


def _change(parts: Sequence[Part]) -> Change:
    bodies = {item.ref: item.body for part in parts for item in part.items}
    removed = {item.ref for part in parts for item in part.removed} - bodies.keys()
    shut = {step.finding.ref for part in parts for step in part.sealed}
    return Change(bodies, removed, shut)


def _placed(step: Step, part: Part) -> Step:
    """`step` of an object that left, with the place where the base declares it."""
    old = (part.base or {}).get(step.finding.ref)
    if old is None:
        return step._replace(declared=None)
    return step._replace(finding=step.finding._replace(origin=old.origin), declared=Declared.REMOVED)


def _before(part: Part, item: Desired) -> Body | None:
    old = (part.base or {}).get(item.ref)
    return old.body if old is not None else None


def _new_images(item: Desired, before: Body | None) -> list[needs.Image]:
    known = {image.name for image in needs.images(before)} if before is not None else set()
    return [image for image in needs.images(item.body) if image.name not in known]


async def _of_images(item: Desired, before: Body | None, imagery: Imagery | None) -> list[Judgement]:
    """What is to be said of the images of `item` that are new. Of what holds a secret no registry is told anything."""
    new = _new_images(item, before) if imagery is not None else []
    if imagery is None or not new:
        return []
    if item.secret:
        words = "its images are not asked for: a value of a Secret is in the object, and might be in their names"
        return [Judgement(Verdict.UNKNOWN, words, path=new[0].path)]
    return await imagery.judge([Asked(image, item.body, item.ref.namespace) for image in new])


def _told(part: Part, step: Step, item: Desired) -> Step:
    """`step` of `item` without values that come from Secrets.

    Whoever opens a pull request may put such a value anywhere, also where an object has its name. Of what holds one
    nothing that looks like it is told, however short it is.
    """
    hiding = against.hiding(part.wish, secret=item.secret)
    if hiding.empty and not item.secret:
        return step
    values = part.wish.variables.values
    short = [values[name] for name in part.wish.variables.confidential if values.get(name)] if item.secret else []
    short += part.wish.rendered.made if item.secret else ()

    def veiled(text: str) -> str:
        text = hiding.text(text)
        return MASK if any(value in text for value in short) else text

    [finding] = against.hidden([step.finding], part.wish)
    finding = finding._replace(ref=Ref(*map(veiled, finding.ref)), note=veiled(finding.note))
    judgements = tuple(
        one._replace(message=veiled(one.message), path=veiled(one.path), image=veiled(one.image))
        for one in step.judgements
    )
    return step._replace(finding=finding, judgements=judgements)
