"""The story of an ImageRepository: ask for its tags, believe what came as far as that is safe, keep it, and say so."""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Set
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from trimtab.api import names
from trimtab.api.gvk import IMAGE_REPOSITORY
from trimtab.api.image import ImageRepository, ImageRepositoryStatus, ScanResult
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient, TrimtabError
from trimtab.controllers import progress, registryaccess, scanresult, supported
from trimtab.controllers.scans import Scan, Scans
from trimtab.controllers.state import ObjectState
from trimtab.controllers.voice import Voice
from trimtab.images.believing import CONFIRM_AFTER_S, Believed, believe
from trimtab.images.filters import Exclusions
from trimtab.images.scanning import Later, Scanner, ScanSpec
from trimtab.images.tagstore import Seen, TagStore
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError
from trimtab.kube.informer import Informer
from trimtab.manifests.conditions import find, truth
from trimtab.manifests.refs import Key
from trimtab.remotes.oci.reference import TAG
from trimtab.remotes.oci.registry import Listed
from trimtab.remotes.oci.wire import Access
from trimtab.runtime.controller import LEAST_INTERVAL_S, Again, Done, Result
from trimtab.runtime.events import Recorder
from trimtab.runtime.finalizers import drop, ensure
from trimtab.runtime.shares import Crowded, Shares

_SHARE = 50
"""Looks at one registry, or those of one namespace, at a time: the other workers are for the others."""
_MOST_ASKED = 50
_SPREAD = 0.1
_SPREAD_OF_FIRST = 0.5


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the controller works with. `chosen` tells the tags that ImagePolicies chose of a repository."""

    client: Client
    objects: Informer[ImageRepository]
    scanner: Scanner
    store: TagStore
    scans: Scans
    chosen: Callable[[ImageRepository], Awaitable[frozenset[str]]]
    recorder: Recorder
    clock: Clock


@dataclass(slots=True)
class _Known:
    """What is remembered of one: the status last written, what the last look left, and when the next is due.

    `told` says that the status is about what the last look left.
    """

    uid: str
    status: ImageRepositoryStatus
    seen: Seen | None
    due: float
    kept_at: datetime | None
    told: bool = False
    alarming: frozenset[str] = frozenset()
    strange_names: int = 0
    looked: bool = False
    strangers: list[str] = field(default_factory=list)


class ImageRepositories:
    """Reconciles every ImageRepository."""

    def __init__(
        self, world: Surroundings, wake: Callable[[Key], None], chance: Callable[[], float] = random.random
    ) -> None:
        """`wake` queues one that found no room beside others that ask the same registry."""
        self._world = world
        self._shares = Shares[Key](_SHARE, wake)
        self._voice = Voice(world.client, world.recorder, IMAGE_REPOSITORY, names.REFLECTOR_MANAGER)
        self._chance = chance
        self._known: dict[Key, _Known] = {}
        self._lost: set[Key] = set()
        world.scans.on_loss(self._lost.add)

    def backoff_cap(self, key: Key) -> float:
        """The longest wait between two tries: the interval."""
        item = self._world.objects.store.get(key)
        return max(item.spec.interval_s, LEAST_INTERVAL_S) if item else 60.0

    def state(self, key: Key) -> ObjectState | None:
        """How `key` is doing; None if it is gone."""
        item, known = self._world.objects.store.get(key), self._known.get(key)
        if item is None:
            return None
        condition = find(known.status.conditions, names.ConditionType.READY) if known else None
        ready = truth(condition)
        result = known.status.last_scan_result if known else None
        return ObjectState(ready, result.revision if result else "", item.spec.suspend, item.spec.interval_s)

    async def reconcile(self, key: Key) -> Result:
        """One pass. What it raises decides when the next one is; the status says the same before."""
        item = self._world.objects.store.get(key)
        if item is None:
            await self._forget(key)
            return Done()
        if item.metadata.deleted:
            await self._forget(key)
            resource = await self._world.client.discovery.find(IMAGE_REPOSITORY)
            await drop(self._world.client, resource, item.metadata, names.FINALIZER)
            return Done()
        known = await self._remember(item)
        await self._offer(item, known)
        if item.spec.suspend:
            return Done()
        if (wait := self._wait(item, known)) > 0:
            return Again(wait)
        try:
            return await self._pass(item, known)
        except Later as patience:
            # Nothing is known to be wrong with it. Not all of them at the same moment.
            return Again(patience.after * (1 + _SPREAD * self._chance()))
        except Crowded:
            raise  # nothing was asked: there is nothing to tell
        except TrimtabError as failure:
            await self._tell_failure(item, known, failure)
            raise
        except ApiError as refusal:
            told = Transient(names.Reason.READ_OPERATION_FAILED, str(refusal))
            await self._tell_failure(item, known, told)
            raise told from refusal

    async def _pass(self, item: ImageRepository, known: _Known) -> Result:
        supported.check_image_repository(item)
        known.strangers = self._voice.strangers(item, known.strangers)
        spec = ScanSpec.from_api(item.spec)
        exclusions = _exclusions(item)
        if names.FINALIZER not in item.metadata.finalizers:
            resource = await self._world.client.discovery.find(IMAGE_REPOSITORY)
            await ensure(self._world.client, resource, item.metadata, names.FINALIZER)
        sides = f"registry {spec.repository.origin.raw_authority}", f"a registry in namespace {item.metadata.namespace}"
        try:
            with self._shares.of(item.key, *sides):
                access = await registryaccess.of(self._world.client, item, spec.timeout_s)
                await self._look(item, known, spec, access, exclusions)
        except OSError as problem:
            words = f"the tags cannot be kept: {problem}; look at the disk"
            raise Transient(names.Reason.STORAGE_OPERATION_FAILED, words) from problem
        after = self._next(item, known)
        known.due = self._world.clock.monotonic() + after
        return Again(after)

    async def _look(
        self, item: ImageRepository, known: _Known, spec: ScanSpec, access: Access, exclusions: Exclusions
    ) -> None:
        world, seen, held = self._world, known.seen, frozenset[str]()
        if item.key in self._lost:
            seen = None
        if seen is not None and seen.doubts:
            kept = await asyncio.to_thread(world.store.tags, item.key, item.metadata.uid)
            seen, held = (seen, kept) if kept is not None else (None, held)
        asked = (seen.etag, seen.digest) if seen is not None else ("", "")
        listed = await world.scanner.tags(spec, access, etag=asked[0], digest=asked[1])
        now = world.clock.now()
        if listed is None and seen is not None and not seen.doubts:
            known.seen = seen._replace(scanned=now)
            if known.kept_at is None or (now - known.kept_at).total_seconds() >= scanresult.TELL_EVERY_S:
                await asyncio.to_thread(world.store.touch, item.key, now)
                known.kept_at = now
            await self._tell(item, known, spec, None, now)
            return
        if seen is not None and not seen.doubts:
            kept = await asyncio.to_thread(world.store.tags, item.key, item.metadata.uid)
            held = kept or held
        doubts = dict(seen.doubts) if seen else {}
        tags = frozenset(listed.tags) if listed is not None else held - doubts.keys()
        known.strange_names = listed.strange if listed is not None else known.strange_names
        chosen = await self._chosen(item, exclusions)
        believed = believe(held, doubts, tags, chosen, now.timestamp())
        if believed.ask:
            asked_for = sorted(believed.ask)[:_MOST_ASKED]
            absent = {tag for tag in asked_for if await world.scanner.is_gone(spec, access, tag)}
            believed = believed.without(absent)
        looked = _seen(item, listed, seen, believed, now)
        await asyncio.to_thread(world.store.keep, item.key, looked, believed.tags)
        known.seen, known.told = looked, False
        known.kept_at = now
        self._lost.discard(item.key)
        result = await asyncio.to_thread(scanresult.result_of, believed.tags, exclusions, now)
        await self._put(item, known)
        missing = believed.tags & believed.doubts.keys()
        await self._tell(item, known, spec, result, now, missing, chosen & missing, empty=not tags)

    async def _chosen(self, item: ImageRepository, exclusions: Exclusions) -> frozenset[str]:
        """What must not leave unasked. What is left out now has been taken out of the choice by a person."""
        chosen = await self._world.chosen(item)
        return frozenset(tag for tag in chosen if TAG.fullmatch(tag) and not exclusions.judge(tag))

    def _wait(self, item: ImageRepository, known: _Known) -> float:
        """Seconds until a look is due: a label that somebody set is no reason for one."""
        status, ready = known.status, find(known.status.conditions, names.ConditionType.READY)
        asked = item.metadata.requested_at and item.metadata.requested_at != status.last_handled_reconcile_at
        if asked or known.seen is None or item.key in self._lost or ready is None or not ready.true:
            return 0.0
        if status.observed_generation != item.metadata.generation:
            return 0.0
        return known.due - self._world.clock.monotonic()

    def _next(self, item: ImageRepository, known: _Known) -> float:
        """Seconds until the next look: the interval at most, and never all at the same moment."""
        interval_s = max(item.spec.interval_s, LEAST_INTERVAL_S)
        if known.seen is not None and known.seen.doubts:
            return min(interval_s, CONFIRM_AFTER_S + self._chance())
        spread = _SPREAD if known.looked else _SPREAD_OF_FIRST
        known.looked = True
        return interval_s * (1 - spread * self._chance())

    async def _remember(self, item: ImageRepository) -> _Known:
        known = self._known.get(item.key)
        if known is None or known.uid != item.metadata.uid:
            try:
                seen = await asyncio.to_thread(self._world.store.seen, item.key)
            except OSError:
                seen = None  # it is asked for again
            if seen is not None and seen.uid != item.metadata.uid:
                seen = None
            now = self._world.clock.now()
            age = (now - seen.scanned).total_seconds() if seen else 0.0
            left = max(item.spec.interval_s - max(age, 0.0), 0.0) * (1 - _SPREAD * self._chance())
            due = self._world.clock.monotonic() + left
            known = _Known(item.metadata.uid, item.status, seen, due, seen.scanned if seen else None)
            self._known[item.key] = known
        if known.seen is not None and known.seen.image != _image(item):
            known.seen = None  # of another repository: nothing of it counts
        return known

    async def _offer(self, item: ImageRepository, known: _Known) -> None:
        """What was found stays in force, also while nobody looks, or the registry cannot be reached."""
        if known.seen is None:
            self._world.scans.drop(item.key)
        elif item.key not in self._lost:
            await self._put(item, known)

    async def _put(self, item: ImageRepository, known: _Known) -> None:
        if (seen := known.seen) is None:
            return
        doubts = hashlib.sha256(msgspec.json.encode(sorted(seen.doubts))).hexdigest() if seen.doubts else ""
        unlisted = await self._world.chosen(item) & seen.doubts.keys() if seen.doubts else frozenset()
        scan = Scan(item.metadata.uid, item.spec.image, seen.digest + doubts, item.spec.exclusions, unlisted)
        self._world.scans.put(item.key, scan)

    async def _tell(
        self,
        item: ImageRepository,
        known: _Known,
        spec: ScanSpec,
        result: ScanResult | None,
        now: datetime,
        missing: Set[str] = frozenset(),
        alarming: frozenset[str] = frozenset(),
        *,
        empty: bool = False,
    ) -> None:
        """Say how it went; `missing` are the tags in force that were not listed, `alarming` those that are chosen."""
        generation, before = item.metadata.generation, known.status
        requested = item.metadata.requested_at or before.last_handled_reconcile_at
        last = before.last_scan_result
        if result is None and not (known.told and last and before.observed_exclusion_list == item.spec.exclusions):
            tags = await asyncio.to_thread(self._world.store.tags, item.key, item.metadata.uid)
            result = await asyncio.to_thread(scanresult.result_of, tags or frozenset(), _exclusions(item), now)
        result = scanresult.written(last, result, now, asked=requested != before.last_handled_reconcile_at)
        if empty and missing:
            message = scanresult.emptied(spec.repository, len(missing))
            reason = names.Reason.READ_OPERATION_FAILED
            status = progress.failed(before, generation, reason, message, now, stalled=False)
        else:
            message = scanresult.message(result, missing, known.strange_names)
            status = progress.ready(before, generation, names.Reason.SUCCEEDED, message, now)
        status = msgspec.structs.replace(
            status,
            canonical_image_name=spec.canonical,
            last_scan_result=result,
            observed_exclusion_list=item.spec.exclusions,
            last_handled_reconcile_at=requested,
        )
        wrote = await self._write(item, known, status)
        known.told = True
        if wrote and (last is None or last.revision != result.revision):
            self._voice.say(item, "Normal", names.Reason.SUCCEEDED, message)
        elif wrote and alarming - known.alarming:
            self._voice.say(item, "Warning", names.Reason.TAGS_MISSING, message)
        known.alarming = alarming

    async def _tell_failure(self, item: ImageRepository, known: _Known, failure: TrimtabError) -> None:
        now, message = self._world.clock.now(), failure.message
        last = known.status.last_scan_result if known.seen is not None else None
        if last is not None and not isinstance(failure, Terminal):
            message += f"; the {last.tag_count:,} tags of {last.scan_time} stay in force"
        status = progress.failed(
            known.status,
            item.metadata.generation,
            failure.reason,
            message,
            now,
            stalled=isinstance(failure, Terminal),
        )
        news = find(status.conditions, "Ready") != find(known.status.conditions, "Ready")
        requested = item.metadata.requested_at or status.last_handled_reconcile_at
        status = msgspec.structs.replace(status, last_handled_reconcile_at=requested)
        if await self._write(item, known, status) and news:
            self._voice.say(item, "Warning", failure.reason, message)

    async def _write(self, item: ImageRepository, known: _Known, status: ImageRepositoryStatus) -> bool:
        if not await self._voice.write(item, known.status, status):
            return False
        known.status = status
        return True

    async def _forget(self, key: Key) -> None:
        self._known.pop(key, None)
        self._world.scans.drop(key)
        self._lost.discard(key)
        await asyncio.to_thread(self._world.store.forget, key)


def _image(item: ImageRepository) -> str:
    """What tags belong to: the name, and the way it is spoken to."""
    return f"{'http' if item.spec.insecure else 'https'} {item.spec.image}"


def _seen(item: ImageRepository, listed: Listed | None, before: Seen | None, believed: Believed, now: datetime) -> Seen:
    etag, digest = (listed.etag, listed.digest) if listed else (before.etag, before.digest) if before else ("", "")
    return Seen(item.metadata.uid, _image(item), now, etag, digest, believed.doubts)


def _exclusions(item: ImageRepository) -> Exclusions:
    try:
        return Exclusions(item.spec.exclusions)
    except ValueError as problem:
        raise Terminal(names.Reason.VALIDATION_FAILED, f"ImageRepository {item.key}: {problem}") from None
