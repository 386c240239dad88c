"""The story of an ImagePolicy: choose one of the tags that its repository has, and say which, and why it is another.

What was chosen stays when anything goes wrong, and while the policy is on hold: nothing is ever chosen for want of
something better.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import msgspec

from trimtab.api import annotations, names
from trimtab.api.gvk import IMAGE_POLICY
from trimtab.api.image import ImagePolicy, ImagePolicyStatus, ImageRef, ImageRepository, ReflectionPolicy
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient, TrimtabError, Waiting
from trimtab.controllers import progress, registryaccess
from trimtab.controllers.access import Access
from trimtab.controllers.scans import Scan, Scans
from trimtab.controllers.state import ObjectState
from trimtab.controllers.voice import Voice
from trimtab.images.ages import Ages
from trimtab.images.choosing import Choice, Rules
from trimtab.images.reflection import known_digest
from trimtab.images.scanning import Scanner, ScanSpec
from trimtab.images.tagstore import TagStore
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError
from trimtab.kube.informer import Applied, Event, Informer
from trimtab.manifests.conditions import find, truth
from trimtab.manifests.refs import Key
from trimtab.runtime.controller import Again, Done, Result
from trimtab.runtime.events import Recorder
from trimtab.runtime.finalizers import drop, ensure
from trimtab.runtime.shares import Crowded, Shares

LEAST_INTERVAL_S = 60.0
"""So often at most a registry is asked for the digest of a tag without news, whatever the policy says."""
_LOOK_AGAIN_S = 60.0
_PATIENCE_S = 3600.0
_LONGEST_PASS_S = 600.0
"""What was learnt of images until then is kept, so that the next pass goes on from there."""
_SHARE = 50
"""Policies that ask one registry, or those of one namespace that ask any, at a time: the rest is for the others."""
_AT_ONCE = 8
"""Lists of tags that are in memory at a time."""
_HOLDS = (names.Annotation.LOCK, names.Annotation.HOLD)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the controller works with. `abroad` asks for a repository that another process scans, where there are."""

    client: Client
    objects: Informer[ImagePolicy]
    repositories: Informer[ImageRepository]
    scanner: Scanner
    store: TagStore
    scans: Scans
    access: Access
    recorder: Recorder
    clock: Clock
    abroad: Callable[[Key], Awaitable[ImageRepository | None]] | None = None


@dataclass(slots=True)
class _Known:
    uid: str
    status: ImagePolicyStatus
    strangers: list[str] = field(default_factory=list)


class ImagePolicies:
    """Reconciles every ImagePolicy. `wake` queues one of them that has news, `again` one that there was no room for."""

    def __init__(self, world: Surroundings, wake: Callable[[Key], None], again: Callable[[Key], None]) -> None:
        self._world = world
        self._voice = Voice(world.client, world.recorder, IMAGE_POLICY, names.REFLECTOR_MANAGER)
        self._wake = wake
        self._ages = Ages(world.scanner, world.store)
        self._known: dict[Key, _Known] = {}
        self._of: dict[Key, set[Key]] = {}
        self._shares = Shares[Key](_SHARE, again)
        self._memory = asyncio.Semaphore(_AT_ONCE)

    def hear(self, event: Event[ImagePolicy]) -> None:
        """Remember which policies choose from which repository."""
        if event.old is not None:
            self._of.get(event.old.repository_key, set()).discard(event.old.key)
        if isinstance(event, Applied):
            self._of.setdefault(event.new.repository_key, set()).add(event.new.key)

    def moved(self, repository: Key) -> None:
        """A repository has other tags, or allows others to choose from it."""
        for key in self._of.get(repository, ()):
            self._wake(key)

    async def chosen(self, repository: ImageRepository) -> frozenset[str]:
        """The tags that were chosen of it, by those who may choose from it."""
        found: dict[str, set[str]] = {}
        for key in self._of.get(repository.key, ()):
            if (ref := self._latest(key)) is not None and ref.name == repository.spec.image:
                found.setdefault(key.namespace, set()).add(ref.tag)
        tags: set[str] = set()
        for namespace, chosen in found.items():
            try:
                await self._world.access.check_images(namespace, repository.key, repository.spec.access_from)
            except Terminal:
                continue
            tags |= chosen
        return frozenset(tags)

    def backoff_cap(self, key: Key) -> float:
        """The longest wait between two tries: an answer of the registry is asked for as often as its tags."""
        item = self._world.objects.store.get(key)
        repository = self._world.repositories.store.get(item.repository_key) if item else None
        return max(repository.spec.interval_s, _LOOK_AGAIN_S) if repository else _LOOK_AGAIN_S

    def state(self, key: Key) -> ObjectState | None:
        """How `key` is doing; None if it is gone."""
        item, known = self._world.objects.store.get(key), self._known.get(key)
        if item is None:
            return None
        condition = find(known.status.conditions, names.ConditionType.READY) if known else None
        ready = truth(condition)
        latest = known.status.latest_ref if known else None
        interval_s = max(item.spec.interval_s, LEAST_INTERVAL_S) if _reflects_always(item) else float("inf")
        return ObjectState(ready, latest.tag if latest else "", item.spec.suspend, interval_s)

    async def reconcile(self, key: Key) -> Result:
        """One pass. What it raises decides when the next one is; the status says the same before."""
        item = self._world.objects.store.get(key)
        if item is None:
            self._known.pop(key, None)
            return Done()
        resource = await self._world.client.discovery.find(IMAGE_POLICY)
        if item.metadata.deleted:
            await drop(self._world.client, resource, item.metadata, names.FINALIZER)
            self._known.pop(key, None)
            return Done()
        if item.spec.suspend:
            return Done()
        known = self._remember(item)
        if names.FINALIZER not in item.metadata.finalizers:
            await ensure(self._world.client, resource, item.metadata, names.FINALIZER)
        try:
            return await self._in_time(item, known)
        except Crowded:
            raise  # nothing was asked: there is nothing to tell
        except TrimtabError as failure:
            await self._tell_failure(item, known, failure)
            if failure.reason == names.Reason.ACCESS_DENIED:
                return Again(_LOOK_AGAIN_S)  # nobody tells of the labels of a namespace
            raise
        except ApiError as refusal:
            told = Transient(names.Reason.READ_OPERATION_FAILED, str(refusal))
            await self._tell_failure(item, known, told)
            raise told from refusal

    async def _in_time(self, item: ImagePolicy, known: _Known) -> Result:
        deadline = asyncio.timeout(_LONGEST_PASS_S)
        try:
            async with deadline:
                return await self._pass(item, known)
        except TimeoutError as problem:
            if not deadline.expired():
                raise
            words = (
                f"ImagePolicy {item.key}: the registry has not said all that was asked in {_LONGEST_PASS_S:g} s. What "
                "it said is kept, and it is asked for the rest; fewer tags, by spec.filterTags, are fewer questions"
            )
            raise Transient(names.Reason.READ_OPERATION_FAILED, words) from problem

    async def _pass(self, item: ImagePolicy, known: _Known) -> Result:
        if found := annotations.complaints(IMAGE_POLICY.kind, item.metadata.annotations):
            words = f"the annotation {'; and '.join(found)}. Correct it, or remove it"
            raise Terminal(names.Reason.INVALID_POLICY, f"ImagePolicy {item.key}: {words}")
        known.strangers = self._voice.strangers(item, known.strangers)
        if _reflects_always(item) and not item.spec.interval:
            words = "spec.interval is missing: it says how often the digest is looked up, with Always"
            raise Terminal(names.Reason.INTERVAL_NOT_CONFIGURED, f"ImagePolicy {item.key}: {words}")
        other = item.repository_key
        repository = self._world.repositories.store.get(other)
        away = await self._world.abroad(other) if repository is None and self._world.abroad is not None else None
        seen = repository if repository is not None else away
        await self._world.access.check_images(item.metadata.namespace, other, seen.spec.access_from if seen else None)
        Rules.of(item)  # nonsense is told also while there is nothing to choose from
        scan = self._world.scans.get(other)
        if repository is None:
            words = _elsewhere(item, away) if away is not None else f"ImageRepository {other} does not exist"
            raise _waiting(names.Reason.DEPENDENCY_NOT_READY, words)
        if scan is None or scan.image != repository.spec.image:
            said = f": {repository.ready.message}" if repository.ready is not None else ""
            words = f"ImageRepository {other} has not been looked at with success yet{said}"
            raise _waiting(names.Reason.DEPENDENCY_NOT_READY, words)
        choice = await self._choose(item, repository, scan)
        held = next((name for name in _HOLDS if name in item.metadata.annotations), None)
        if held is not None:
            await self._tell_held(item, known, scan, choice, held)
            return Done()
        if choice.tag is None:
            raise _waiting(names.Reason.FAILURE, f"ImagePolicy {item.key}: {_nothing(choice)}")
        digest = await self._digest(item, repository, scan, choice.tag)
        latest = ImageRef(name=scan.image, tag=choice.tag, digest=digest)
        await self._tell(item, known, latest)
        return Again(max(item.spec.interval_s, LEAST_INTERVAL_S)) if _reflects_always(item) else Done()

    async def _choose(self, item: ImagePolicy, repository: ImageRepository, scan: Scan) -> Choice:
        world, other = self._world, item.repository_key
        wanted: list[str] = []
        try:
            rules = Rules.of(item, exclusions=scan.exclusions)
            if rules.by_age:
                async with self._memory:
                    wanted = await asyncio.to_thread(rules.in_question, await self._tags(item, scan))
                spec = ScanSpec.from_api(repository.spec)
                access = await registryaccess.of(world.client, repository, spec.timeout_s)
                with self._asking(item, spec):
                    ages = await self._ages.of(scan.uid, spec, access, wanted)
                rules = Rules.of(item, exclusions=scan.exclusions, created=ages)
            async with self._memory:
                tags = await self._tags(item, scan)
                if rules.by_age:  # of what came meanwhile nothing is known yet: it has us called again
                    tags -= set(await asyncio.to_thread(rules.in_question, tags)) - set(wanted)
                return await asyncio.to_thread(rules.choose, tags)
        except OSError as problem:
            words = f"the tags of ImageRepository {other} cannot be read: {problem}; look at the disk"
            raise Transient(names.Reason.STORAGE_OPERATION_FAILED, words) from problem

    async def _tags(self, item: ImagePolicy, scan: Scan) -> frozenset[str]:
        world, other = self._world, item.repository_key
        tags = await asyncio.to_thread(world.store.tags, other, scan.uid)
        if tags is None:
            world.scans.lost(other)
            words = f"the tags of ImageRepository {other} were lost from the cache; it is looked at again"
            raise _waiting(names.Reason.DEPENDENCY_NOT_READY, words)
        latest = self._latest(item.key)
        if latest is not None and latest.name == scan.image and latest.tag in scan.unlisted:
            return tags | {latest.tag}  # it was there for us, and for nobody else
        return tags

    def _asking(self, item: ImagePolicy, spec: ScanSpec) -> AbstractContextManager[None]:
        """Room to ask the registry. Raises Crowded."""
        host = f"registry {spec.repository.origin.raw_authority}"
        return self._shares.of(item.key, host, f"a registry in namespace {item.metadata.namespace}")

    async def _digest(self, item: ImagePolicy, repository: ImageRepository, scan: Scan, tag: str) -> str:
        known = known_digest(item.spec.digest_reflection_policy, self._latest(item.key), scan.image, tag)
        if known is not None:
            return known
        spec = ScanSpec.from_api(repository.spec)
        access = await registryaccess.of(self._world.client, repository, spec.timeout_s)
        with self._asking(item, spec):
            return await self._world.scanner.digest(spec, access, tag)

    def _latest(self, key: Key) -> ImageRef | None:
        if (known := self._known.get(key)) is not None:
            return known.status.latest_ref
        item = self._world.objects.store.get(key)
        return item.status.latest_ref if item is not None else None

    def _remember(self, item: ImagePolicy) -> _Known:
        known = self._known.get(item.key)
        if known is None or known.uid != item.metadata.uid:
            known = self._known[item.key] = _Known(item.metadata.uid, item.status)
        return known

    async def _tell(self, item: ImagePolicy, known: _Known, latest: ImageRef) -> None:
        before = known.status
        news = before.latest_ref != latest
        previous = before.latest_ref if news else before.observed_previous_ref
        message = f"Latest image tag for {latest.name} resolved to {_told(latest)}"
        if previous is not None:
            message += f" (previously {previous.name}:{_told(previous)})"
        status = msgspec.structs.replace(before, latest_ref=latest, observed_previous_ref=previous)
        status = progress.ready(
            status, item.metadata.generation, names.Reason.SUCCEEDED, message, self._world.clock.now()
        )
        if await self._write(item, known, status) and news:
            self._voice.say(item, "Normal", names.Reason.SUCCEEDED, message)

    async def _tell_held(self, item: ImagePolicy, known: _Known, scan: Scan, choice: Choice, by: str) -> None:
        """What was chosen stays, and what would be chosen is told."""
        latest = known.status.latest_ref
        why = item.metadata.annotations[by]
        word = "locked" if by == names.Annotation.LOCK else "on hold"
        if latest is None:
            words = f"ImagePolicy {item.key} is {word}, and nothing was chosen yet: {why}"
            raise _waiting(names.Reason.ON_HOLD, words)
        message = f"Latest image tag for {latest.name} stays {_told(latest)}: {word}: {why}"
        if choice.tag is not None and (choice.tag, scan.image) != (latest.tag, latest.name):
            message += f" ({scan.image}:{choice.tag} would be chosen)"
        status = progress.ready(
            known.status, item.metadata.generation, names.Reason.SUCCEEDED, message, self._world.clock.now()
        )
        news = find(status.conditions, "Ready") != find(known.status.conditions, "Ready")
        if await self._write(item, known, status) and news:
            self._voice.say(item, "Normal", names.Reason.ON_HOLD, message)

    async def _tell_failure(self, item: ImagePolicy, known: _Known, failure: TrimtabError) -> None:
        stalled, message = isinstance(failure, Terminal), failure.message
        if (latest := known.status.latest_ref) is not None:
            message += f"; {latest.name}:{_told(latest)} stays chosen"
        now, generation = self._world.clock.now(), item.metadata.generation
        status = progress.failed(known.status, generation, failure.reason, message, now, stalled=stalled)
        news = find(status.conditions, "Ready") != find(known.status.conditions, "Ready")
        if await self._write(item, known, status) and news and failure.reason != names.Reason.DEPENDENCY_NOT_READY:
            self._voice.say(item, "Warning", failure.reason, message)

    async def _write(self, item: ImagePolicy, known: _Known, status: ImagePolicyStatus) -> bool:
        requested = item.metadata.requested_at or status.last_handled_reconcile_at
        status = msgspec.structs.replace(status, last_handled_reconcile_at=requested)
        if not await self._voice.write(item, known.status, status):
            return False
        known.status = status
        return True


def asks(repository: ImageRepository) -> tuple[object, ...]:
    """What a person may change of a repository that decides whether it may be chosen from, and with which rights."""
    return repository.metadata.uid, repository.metadata.generation


def _waiting(reason: str, message: str) -> Waiting:
    """For what somebody tells of when it happens: other tags, another repository, another policy."""
    return Waiting(reason, message, after=_PATIENCE_S)


def _elsewhere(item: ImagePolicy, repository: ImageRepository) -> str:
    """Why nothing can be chosen from what another process scans: its tags are kept there."""

    def shard(labels: Mapping[str, str]) -> str:
        value = labels.get(names.SHARD_LABEL)
        return f"has {names.SHARD_LABEL}={value}" if value is not None else f"has no label {names.SHARD_LABEL}"

    return (
        f"ImageRepository {repository.key} is looked after by another process, which has its tags: it "
        f"{shard(repository.metadata.labels)}, and this policy {shard(item.metadata.labels)}. Give both the same labels"
    )


def _reflects_always(item: ImagePolicy) -> bool:
    return item.spec.digest_reflection_policy == ReflectionPolicy.ALWAYS


def _told(ref: ImageRef) -> str:
    return f"{ref.tag} with digest {ref.digest}" if ref.digest else ref.tag


def _nothing(choice: Choice) -> str:
    """Why there is no tag, with the first that were dropped."""
    shown = "; ".join(f"{one.tag}: {one.why}" for one in choice.dropped[:3])
    return f"{choice.why}. `trimtab images choose` explains it" + (f" ({shown})" if shown else "")
