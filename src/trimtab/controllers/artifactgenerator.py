"""The story of one ArtifactGenerator: take what its sources hold, compose, publish what changed, clear what left."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import msgspec

from trimtab.api import names
from trimtab.api.external import ExternalArtifact
from trimtab.api.generator import ArtifactGenerator, ArtifactGeneratorStatus, Product
from trimtab.api.gvk import ARTIFACT_GENERATOR
from trimtab.api.source import Artifact
from trimtab.artifacts.compose import compose
from trimtab.artifacts.publish import Publisher
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Tree
from trimtab.base.abreast import abreast
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient, TrimtabError, Waiting
from trimtab.controllers import outputs, progress, supported
from trimtab.controllers.access import Access
from trimtab.controllers.index import Published, SourceId, SourceIndex
from trimtab.controllers.outputs import Wanted
from trimtab.controllers.products import KIND, Products, Taken, is_of, maker
from trimtab.controllers.state import ObjectState
from trimtab.controllers.voice import Voice
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, StaleGroup, UnknownKind
from trimtab.kube.informer import Applied, Event, Informer
from trimtab.manifests import codec
from trimtab.manifests.conditions import find, truth
from trimtab.manifests.refs import Key
from trimtab.runtime.controller import Again, Done, Result
from trimtab.runtime.events import Recorder
from trimtab.runtime.finalizers import drop, ensure

LOOK_S = 3600.0
"""How often all is looked at though no event asks for it: what was published may have been lost from disk."""
BACKOFF_CAP_S = 300.0
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the controller works with. `artifacts` are all ExternalArtifacts there are, whoever made them."""

    client: Client
    objects: Informer[ArtifactGenerator]
    artifacts: Informer[ExternalArtifact]
    publisher: Publisher
    store: Store
    index: SourceIndex
    access: Access
    recorder: Recorder
    clock: Clock


class _Composed(NamedTuple):
    """One artifact that is wanted, and its tree, or why there is none."""

    wanted: Wanted
    tree: Tree | None
    problem: str = ""


@dataclass(slots=True)
class _Known:
    """What is remembered of one generator: the status last written, and what is published because of it.

    `current` are those that this process has published itself, under its own address. `composed` came of `inputs`;
    `strange` is what was told about annotations without a meaning.
    """

    uid: str
    status: ArtifactGeneratorStatus
    made: dict[Key, Published]
    current: set[Key] = field(default_factory=set)
    inputs: str = ""
    composed: tuple[_Composed, ...] = ()
    strange: list[str] = field(default_factory=list)


class Generators:
    """Reconciles every ArtifactGenerator."""

    def __init__(self, world: Surroundings) -> None:
        self._world = world
        self._voice = Voice(world.client, world.recorder, ARTIFACT_GENERATOR, names.WATCHER_MANAGER)
        self._known: dict[Key, _Known] = {}
        self._products = Products(world.client, world.artifacts.store, world.publisher, world.index, world.clock)

    def state(self, key: Key) -> ObjectState | None:
        """How `key` is doing; None if it is gone."""
        item, known = self._world.objects.store.get(key), self._known.get(key)
        if item is None:
            return None
        condition = find(known.status.conditions, names.ConditionType.READY) if known else None
        ready = truth(condition)
        return ObjectState(ready, "", _disabled(item), LOOK_S)

    def makes(self, key: Key) -> bool:
        """Whether the ExternalArtifact `key` is of a generator here: then it is offered by this controller."""
        item = self._world.artifacts.store.get(key)
        owner = maker(item) if item else None
        generator = self._world.objects.store.get(owner) if owner else None
        return item is not None and generator is not None and is_of(item, generator)

    def taking(self, source: SourceId) -> list[Key]:
        """The generators that take files from `source`."""
        return [
            key
            for key, item in self._world.objects.store.items()
            if any((one.kind, one.key_from(key.namespace)) == source for one in item.spec.sources)
        ]

    def disturbed(self, event: Event[ExternalArtifact]) -> list[Key]:
        """The generators that `event` concerns: their product was changed, or what was in their way is gone."""
        if not isinstance(event, Applied):
            name, namespace = event.old.key.name, event.old.key.namespace
            return [
                key
                for key, known in self._known.items()
                if key.namespace == namespace and any(composed.wanted.name == name for composed in known.composed)
            ]
        owner = maker(event.new) or (maker(event.old) if event.old is not None else None)
        generator, known = (self._world.objects.store.get(owner), self._known.get(owner)) if owner else (None, None)
        if owner is None or generator is None or known is None:
            return []
        made = known.made.get(event.new.key)
        fits = made is not None and self._products.fits(generator, event.new, made.artifact)
        return [] if fits and self._world.index.get(SourceId(KIND, event.new.key)) == made else [owner]

    async def reconcile(self, key: Key) -> Result:
        """One pass. What it raises decides when the next one is; the status says the same before."""
        item = self._world.objects.store.get(key)
        if item is None:
            self._known.pop(key, None)
            return Done()
        known = self._remember(item)
        if item.metadata.deleted:
            return await self._finalize(item, known)
        for product, published in known.made.items():
            if self.makes(product):
                self._world.index.put(SourceId(KIND, product), published)
        try:
            return await self._pass(item, known)
        except TrimtabError as failure:
            await self._tell_failure(item, known, failure)
            if failure.reason == names.Reason.ACCESS_DENIED:
                return Again(LOOK_S)  # nobody tells of what a namespace allows
            raise
        except (ApiError, UnknownKind, StaleGroup) as refusal:
            told = Transient(names.Reason.RECONCILIATION_FAILED, str(refusal))
            await self._tell_failure(item, known, told)
            raise told from refusal

    async def _pass(self, item: ArtifactGenerator, known: _Known) -> Result:
        known.strange = self._voice.strangers(item, known.strange)
        if _disabled(item):
            await self._tell_disabled(item, known)
            return Done()
        supported.check_generator(item)
        # Patterns that people write take a while to compile, and others are served meanwhile.
        await asyncio.to_thread(outputs.check, item.spec)
        self._check_circle(item)
        resource = await self._world.client.discovery.find(ARTIFACT_GENERATOR)
        await ensure(self._world.client, resource, item.metadata, names.GENERATOR_FINALIZER)
        sources = await self._sources(item)
        seen = _digest(sources)
        inputs = codec.digest([item.metadata.generation, seen])
        if known.inputs != inputs:
            known.composed = await asyncio.to_thread(_compose, item, sources, self._world.store)
            known.inputs = inputs
        anew = known.status.observed_generation != item.metadata.generation
        problems = await abreast(partial(self._make, item, known, sources, anew), known.composed)
        moved = await self._clear(item, known)
        await self._tell(item, known, seen, [problem for problem in problems if problem], moved)
        return Again(LOOK_S)

    # --- sources

    async def _sources(self, item: ArtifactGenerator) -> dict[str, Published]:
        """What each source holds now, by alias. Raises Terminal (AccessDenied), Waiting (SourceFetchFailed)."""
        own = item.metadata.namespace
        found: dict[str, Published] = {}
        missing: list[str] = []
        for one in item.spec.sources:
            key = one.key_from(own)
            if key.namespace != own:
                await self._world.access.check_source(own, key.namespace)
            source = SourceId(one.kind, key)
            published = self._world.index.get(source)
            if published is None:
                why = self._world.index.problem(source) or "see the status of that object"
                missing.append(f"{source} has no artifact yet: {why}")
            else:
                found[one.alias] = published
        if missing:
            raise Waiting(names.Reason.SOURCE_FETCH_FAILED, "; ".join(missing[:_SHOWN]))
        return found

    def _check_circle(self, item: ArtifactGenerator) -> None:
        """Raise Terminal for artifacts that are made of themselves: they would grow for ever."""
        stack, seen = [(item.key, [str(item.key)])], set[Key]()
        while stack:
            key, path = stack.pop()
            generator = self._world.objects.store.get(key)
            for one in generator.spec.sources if generator else ():
                made = self._world.artifacts.store.get(one.key_from(key.namespace)) if one.kind == KIND else None
                owner = maker(made) if made else None
                if owner == item.key:
                    circle = " → ".join([*path, str(owner)])
                    raise Terminal(
                        names.Reason.VALIDATION_FAILED, f"the sources of generators go in a circle: {circle}"
                    )
                if owner is not None and owner not in seen:
                    seen.add(owner)
                    stack.append((owner, [*path, str(owner)]))

    # --- products

    async def _make(
        self,
        item: ArtifactGenerator,
        known: _Known,
        sources: Mapping[str, Published],
        anew: bool,
        composed: _Composed,
    ) -> Terminal | Transient | None:
        """Publish one artifact and say so in its object; why that did not work, for one must not stop the others."""
        wanted, tree = composed.wanted, composed.tree
        if tree is None:
            return Terminal(names.Reason.BUILD_FAILED, f"{wanted.name}: {composed.problem}")
        key = Key(item.metadata.namespace, wanted.name)
        try:
            live = await self._products.claim(item, wanted.name)
            artifact = await self._publish(known, key, wanted, tree, sources, anew=anew)
            await self._products.write(item, key, live, wanted.labels, artifact, anew=anew)
        except Taken as failure:
            known.made.pop(key, None)
            return failure
        except (Terminal, Transient) as failure:
            return failure
        except (ApiError, UnknownKind, StaleGroup) as refusal:
            return Transient(names.Reason.RECONCILIATION_FAILED, f"{wanted.name}: {refusal}")
        except OSError as problem:
            words = f"{wanted.name} cannot be kept: {problem}; look at the disk"
            return Transient(names.Reason.STORAGE_OPERATION_FAILED, words)
        self._world.index.put(SourceId(KIND, key), known.made[key])
        return None

    async def _publish(
        self, known: _Known, key: Key, wanted: Wanted, tree: Tree, sources: Mapping[str, Published], *, anew: bool
    ) -> Artifact:
        """What is untouched stays as it was published, origin and all: a commit elsewhere moves nothing of it."""
        before = None if anew else known.made.get(key)
        revision = sources[wanted.revision].artifact.revision if wanted.revision else f"latest@sha256:{tree.digest}"
        metadata = _origin(wanted, sources)
        if before is not None and (before.snapshot.tree.digest, before.artifact.revision) == (tree.digest, revision):
            if key in known.current and self._world.publisher.serves(before.artifact):
                return before.artifact
            kept = before.artifact.metadata.get(names.ORIGIN_REVISION)
            metadata = {names.ORIGIN_REVISION: kept} if kept else {}
        snapshot = Snapshot(self._world.store, tree, revision)
        artifact = await self._world.publisher.publish(KIND, key, snapshot, metadata=metadata)
        known.made[key] = Published(artifact, snapshot)
        known.current.add(key)
        return artifact

    async def _clear(self, item: ArtifactGenerator, known: _Known) -> list[str]:
        """Delete what is not wanted any more; the names of what is."""
        wanted = {Key(item.metadata.namespace, composed.wanted.name) for composed in known.composed}
        gone = await self._products.clear(item, known.made, wanted)
        known.made = {key: published for key, published in known.made.items() if key in wanted}
        return [key.name for key in gone]

    async def _finalize(self, item: ArtifactGenerator, known: _Known) -> Result:
        if names.GENERATOR_FINALIZER not in item.metadata.finalizers:
            return Done()
        try:
            await self._products.clear(item, known.made, frozenset())
        except (ApiError, StaleGroup) as refusal:
            raise Transient(names.Reason.RECONCILIATION_FAILED, str(refusal)) from refusal
        resource = await self._world.client.discovery.find(ARTIFACT_GENERATOR)
        await drop(self._world.client, resource, item.metadata, names.GENERATOR_FINALIZER)
        self._known.pop(item.key, None)
        return Done()

    def _remember(self, item: ArtifactGenerator) -> _Known:
        known = self._known.get(item.key)
        if known is None or known.uid != item.metadata.uid:
            made: dict[Key, Published] = {}
            for product in item.status.inventory:
                current = self._world.publisher.current(KIND, product.key)
                if product.namespace == item.metadata.namespace and current is not None:
                    artifact, snapshot = current
                    if artifact.digest == product.digest:
                        made[product.key] = Published(artifact, snapshot)
            known = self._known[item.key] = _Known(item.metadata.uid, item.status, made)
        return known

    # --- what is told

    async def _tell(
        self, item: ArtifactGenerator, known: _Known, seen: str, problems: list[Terminal | Transient], gone: list[str]
    ) -> None:
        """Raises what is told, where some of the artifacts could not be made."""
        inventory = tuple(Product.of(key, known.made[key].artifact) for key in sorted(known.made))
        before = {product.key: product.digest for product in known.status.inventory}
        moved = [product.name for product in inventory if before.get(product.key) != product.digest]
        status = msgspec.structs.replace(known.status, inventory=inventory)
        if not problems:
            message = f"made {len(inventory)} artifact{'s' if len(inventory) != 1 else ''}"
            status = progress.ready(
                status, item.metadata.generation, names.Reason.SUCCEEDED, message, self._world.clock.now()
            )
            status = msgspec.structs.replace(
                status,
                observed_sources_digest=seen,
                last_handled_reconcile_at=item.metadata.requested_at or status.last_handled_reconcile_at,
            )
        await self._write(item, known, status)
        if moved:
            self._voice.say(item, "Normal", names.Reason.NEW_ARTIFACT, f"published anew: {_listed(moved)}")
        if gone:
            self._voice.say(
                item, "Normal", "ArtifactDeleted", f"deleted, as nothing asks for it any more: {_listed(gone)}"
            )
        if problems:
            stuck = all(isinstance(problem, Terminal) for problem in problems)
            words = "; ".join(problem.message for problem in problems[:_SHOWN])
            more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
            kept = len(known.composed) - len(problems)
            raise (Terminal if stuck else Transient)(
                problems[0].reason, f"{words}{more}. The others ({kept}) are made; of these the last one stays in force"
            )

    async def _tell_failure(self, item: ArtifactGenerator, known: _Known, failure: TrimtabError) -> None:
        stalled = isinstance(failure, Terminal)
        now, generation = self._world.clock.now(), item.metadata.generation
        status = progress.failed(known.status, generation, failure.reason, failure.message, now, stalled=stalled)
        requested = item.metadata.requested_at or status.last_handled_reconcile_at
        status = msgspec.structs.replace(status, last_handled_reconcile_at=requested)
        news = find(status.conditions, "Ready") != find(known.status.conditions, "Ready")
        if await self._write(item, known, status) and news:
            self._voice.say(item, "Warning", failure.reason, failure.message)

    async def _tell_disabled(self, item: ArtifactGenerator, known: _Known) -> None:
        """What was told before stays told; one that was never looked at says why."""
        if find(known.status.conditions, names.ConditionType.READY) is None:
            words = f"the annotation {names.GENERATOR_RECONCILE} suspends it: nothing is made until it is removed"
            reason, now = names.Reason.RECONCILIATION_DISABLED, self._world.clock.now()
            await self._write(item, known, progress.ready(known.status, item.metadata.generation, reason, words, now))

    async def _write(self, item: ArtifactGenerator, known: _Known, status: ArtifactGeneratorStatus) -> bool:
        if not await self._voice.write(item, known.status, status):
            return False
        known.status = status
        return True


def _compose(item: ArtifactGenerator, sources: Mapping[str, Published], store: Store) -> tuple[_Composed, ...]:
    snapshots = {alias: published.snapshot for alias, published in sources.items()}
    found: list[_Composed] = []
    for wanted in outputs.plan(item.spec, {alias: snapshot.tree for alias, snapshot in snapshots.items()}):
        try:
            found.append(_Composed(wanted, compose(wanted.steps, snapshots, store)))
        except Terminal as failure:
            found.append(_Composed(wanted, None, failure.message))
    return tuple(found)


def _digest(sources: Mapping[str, Published]) -> str:
    held = {alias: [published.artifact.digest, published.artifact.revision] for alias, published in sources.items()}
    return codec.digest(held)


def _origin(wanted: Wanted, sources: Mapping[str, Published]) -> dict[str, str]:
    if not wanted.origin:
        return {}
    artifact: Artifact = sources[wanted.origin].artifact
    return {names.ORIGIN_REVISION: artifact.metadata.get(names.ORIGIN_REVISION) or artifact.revision}


def _disabled(item: ArtifactGenerator) -> bool:
    return item.metadata.annotations.get(names.GENERATOR_RECONCILE, "").lower() == names.DISABLED


def _listed(found: list[str]) -> str:
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(sorted(found)[:_SHOWN]) + more
