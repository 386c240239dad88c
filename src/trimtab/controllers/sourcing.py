"""The story that every source has in common: produce a snapshot, publish it, say so; hold the last one if it fails."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic

import msgspec

from trimtab.api import names
from trimtab.api.source import Artifact
from trimtab.artifacts.publish import ARCHIVE, Form, Publisher
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Corrupt
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient, TrimtabError
from trimtab.base.traces import NO_TRACES, Traces, found, held, span
from trimtab.controllers import progress
from trimtab.controllers.auditing import Auditor
from trimtab.controllers.index import Published, SourceId, SourceIndex
from trimtab.controllers.journeys import Arrivals
from trimtab.controllers.lookback import Lookback
from trimtab.controllers.producing import (
    IncludeUnavailable,
    Produced,
    Producer,
    Source,
    Static,
    Status,
    Withheld,
)
from trimtab.controllers.state import ObjectState
from trimtab.controllers.voice import Voice
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError
from trimtab.kube.informer import Informer
from trimtab.manifests.conditions import find, truth
from trimtab.manifests.refs import Key
from trimtab.runtime.controller import LEAST_INTERVAL_S, Again, Done, Result
from trimtab.runtime.events import Recorder
from trimtab.runtime.finalizers import drop, ensure
from trimtab.runtime.shares import Crowded, Shares

_SHARE = 24
"""Sources of one namespace that are asked for at a time: the other workers are for the others."""
_FAILURES = (
    names.ConditionType.FETCH_FAILED,
    names.ConditionType.INCLUDE_UNAVAILABLE,
    names.ConditionType.STORAGE_OPERATION_FAILED,
    names.ConditionType.BUILD_FAILED,
)
_OF_STORAGE = frozenset(
    {names.Reason.STORAGE_OPERATION_FAILED, names.Reason.ARCHIVE_OPERATION_FAILED, names.Reason.INVALID_PATH}
)


@dataclass(frozen=True, slots=True)
class Surroundings(Generic[Source]):
    """What the controller of one kind of source works with. Without a `lookback` it looks back at once."""

    client: Client
    objects: Informer[Source]
    publisher: Publisher
    index: SourceIndex
    recorder: Recorder
    clock: Clock
    traces: Traces = NO_TRACES
    auditor: Auditor | None = None
    lookback: Lookback | None = None


@dataclass(slots=True)
class _Known:
    """What is remembered of one source: the status last written, and the tree behind its artifact.

    `digest` says which artifact that is: one revision may have several, after one another.
    `strange` is what was told about annotations without a meaning; `static`: there is nothing to look at.
    `losses` is what the store had lost when the snapshot was whole. `unverified` is why the last pass held what came.
    `switches` are what is on record of suspensions and requests.
    """

    uid: str
    status: Any
    snapshot: Snapshot | None
    digest: str
    strange: list[str] = field(default_factory=list)
    static: bool = False
    losses: int = -1
    unverified: str = ""
    switches: dict[str, str] = field(default_factory=dict)


class Sources(Generic[Source]):
    """Reconciles every source of one kind. `wake` gives one another pass, which had no turn before."""

    def __init__(self, world: Surroundings[Source], producer: Producer[Source], wake: Callable[[Key], None]) -> None:
        self._world = world
        self._voice = Voice(world.client, world.recorder, producer.gvk, names.SOURCE_MANAGER)
        self._producer = producer
        self._kind = producer.gvk.kind
        self._known: dict[Key, _Known] = {}
        self._arrivals = Arrivals(world.traces, world.clock)
        self._shares = Shares[Key](_SHARE, wake)

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
        artifact = known.status.artifact if known else None
        revision = artifact.revision if artifact else ""
        interval_s = float("inf") if known is not None and known.static else item.spec.interval_s
        verified = find(known.status.conditions, names.ConditionType.SOURCE_VERIFIED) if known else None
        return ObjectState(
            ready,
            revision,
            item.spec.suspend,
            interval_s,
            revision_held=verified is not None and verified.status == "False",
            unverified=known.unverified if known else "",
        )

    async def reconcile(self, key: Key) -> Result:
        """One pass. What it raises decides when the next one is; the status says the same before."""
        item = self._world.objects.store.get(key)
        if item is None:
            self._forget(key)
            return Done()
        known = self._remember(item)
        known.unverified = ""
        if item.metadata.deleted:
            return await self._finalize(item)
        self._offer(key, known)
        if self._world.auditor is not None:
            handled = known.status.last_handled_reconcile_at
            self._world.auditor.observe(item, known.switches, handled, suspended=item.spec.suspend)
        if item.spec.suspend:
            return Done()
        with self._arrivals.watching(item, lambda: _revision(known.status)):
            return await self._attempt(item, known)

    async def _attempt(self, item: Source, known: _Known) -> Result:
        try:
            return await self._pass(item, known)
        except Static:
            return await self._clear(item, known)
        except Crowded:
            raise  # nothing was asked: there is nothing to tell
        except TrimtabError as failure:
            if isinstance(failure, Corrupt):
                known.snapshot = None
            if isinstance(failure, Withheld):
                await self._regain(item, known, failure.regained)
            await self._tell_failure(item, known, failure)
            if isinstance(failure, Withheld) and not failure.again:
                held(failure)
                return Again(max(item.spec.interval_s, LEAST_INTERVAL_S))
            raise
        except ApiError as refusal:
            told = Transient(names.Reason.READ_OPERATION_FAILED, str(refusal))
            await self._tell_failure(item, known, told)
            raise told from refusal

    async def _pass(self, item: Source, known: _Known) -> Result:
        self._producer.check(item)
        known.static = False
        known.strange = self._voice.strangers(item, known.strange)
        if names.FINALIZER not in item.metadata.finalizers:
            resource = await self._world.client.discovery.find(self._producer.gvk)
            await ensure(self._world.client, resource, item.metadata, names.FINALIZER)
        try:
            with self._shares.of(item.key, f"a source in namespace {item.metadata.namespace}"):
                await self._check(known)
                produced = await self._producer.produce(item, known.status, known.snapshot)
        except OSError as problem:
            words = f"what was fetched cannot be kept: {problem}; look at the disk"
            raise Transient(names.Reason.STORAGE_OPERATION_FAILED, words) from problem
        found(produced.snapshot.revision, item.metadata.uid)
        with span("artifact"):
            artifact = await self._publish(item, produced.snapshot, produced.metadata, produced.archive, produced.form)
        known.snapshot, known.digest = produced.snapshot, artifact.digest
        await self._tell(item, known, artifact, produced)
        self._offer(item.key, known)
        if produced.history is not None:
            step = partial(self._look_back, item, produced.history)
            if self._world.lookback is None:
                await step()
            else:
                self._world.lookback.add(item.key, step)
        return Again(max(item.spec.interval_s, LEAST_INTERVAL_S))

    async def _look_back(self, item: Source, history: Callable[[], Awaitable[str]]) -> None:
        if words := await history():
            self._voice.say(item, "Warning", names.Reason.HISTORY_REWRITTEN, words)

    async def _check(self, known: _Known) -> None:
        """Hold nothing of which the store has lost a part: somebody who reads it has found that, not we."""
        snapshot = known.snapshot
        if snapshot is None or known.losses == snapshot.store.losses:
            return
        losses = snapshot.store.losses
        if await asyncio.to_thread(snapshot.is_whole):
            known.losses = losses
        else:
            known.snapshot = None

    async def _publish(
        self,
        item: Source,
        snapshot: Snapshot,
        metadata: Mapping[str, str],
        archive: str = "",
        form: Form = ARCHIVE,
    ) -> Artifact:
        try:
            return await self._world.publisher.publish(
                self._kind, item.key, snapshot, metadata=metadata, archive=archive, form=form
            )
        except OSError as problem:
            raise Transient(
                names.Reason.ARCHIVE_OPERATION_FAILED, f"the artifact cannot be kept: {problem}; look at the disk"
            ) from problem

    async def _clear(self, item: Source, known: _Known) -> Result:
        """Take back what was there when the object was not static yet."""
        await self._finalize(item)
        said = {field.name for field in msgspec.structs.fields(known.status)} - {"observed_generation"}
        empty = type(known.status)()
        await self._write(
            item, known, msgspec.structs.replace(known.status, **{name: getattr(empty, name) for name in said})
        )
        known.snapshot, known.digest, known.static = None, "", True
        self._known[item.key] = known
        return Done()

    async def _regain(self, item: Source, known: _Known, snapshot: Snapshot | None) -> None:
        artifact = known.status.artifact
        if snapshot is None or artifact is None or snapshot.revision != artifact.revision:
            return
        artifact = await self._publish(item, snapshot, artifact.metadata)
        known.snapshot, known.digest = snapshot, artifact.digest
        await self._write(item, known, msgspec.structs.replace(known.status, artifact=artifact))
        self._offer(item.key, known)

    def _remember(self, item: Source) -> _Known:
        known = self._known.get(item.key)
        if known is None or known.uid != item.metadata.uid:
            artifact = item.status.artifact
            snapshot = self._world.publisher.restore(self._kind, item.key, artifact) if artifact else None
            digest = artifact.digest if artifact and snapshot else ""
            known = self._known[item.key] = _Known(item.metadata.uid, item.status, snapshot, digest)
        return known

    def _offer(self, key: Key, known: _Known) -> None:
        """The last artifact stays in force, also while the remote cannot be reached."""
        artifact, snapshot = known.status.artifact, known.snapshot
        if artifact is None or snapshot is None:
            return
        if (artifact.digest, artifact.revision) == (known.digest, snapshot.revision):
            self._world.index.put(SourceId(self._kind, key), Published(artifact, snapshot))

    async def _tell(self, item: Source, known: _Known, artifact: Artifact, produced: Produced) -> None:
        now, generation = self._world.clock.now(), item.metadata.generation
        message = produced.message or f"stored artifact for revision '{artifact.revision}'"
        status = progress.ready(known.status, generation, produced.reason, message, now)
        status = progress.flagged(
            status, names.ConditionType.ARTIFACT_IN_STORAGE, generation, produced.reason, message, now
        )
        for condition in _FAILURES:
            status = progress.unflagged(status, condition)
        status = progress.unflagged(status, names.ConditionType.SOURCE_VERIFIED)
        if produced.verified:
            status = progress.flagged(
                status,
                names.ConditionType.SOURCE_VERIFIED,
                generation,
                names.Reason.SUCCEEDED,
                f"{artifact.revision} {produced.verified}",
                now,
            )
        status = msgspec.structs.replace(
            status,
            artifact=artifact,
            last_handled_reconcile_at=item.metadata.requested_at or status.last_handled_reconcile_at,
            **produced.observed,
        )
        if "url" in status.__struct_fields__:
            status = msgspec.structs.replace(status, url=artifact.url)
        news = known.status.artifact is None or known.status.artifact.revision != artifact.revision
        await self._write(item, known, status)
        if news:
            self._voice.say(item, "Normal", names.Reason.NEW_ARTIFACT, message)
            self._record(item, artifact, names.Reason.NEW_ARTIFACT, produced.verified)

    async def _tell_failure(self, item: Source, known: _Known, failure: TrimtabError) -> None:
        now, generation = self._world.clock.now(), item.metadata.generation
        stalled = isinstance(failure, Terminal) or (isinstance(failure, Transient) and failure.hopeless)
        message = failure.message
        if failure.reason == names.Reason.VERIFICATION_ERROR:
            known.unverified = "keys" if isinstance(failure, Withheld) and failure.again else "refused"
            artifact = known.status.artifact
            message += f"; revision '{artifact.revision}' stays in force" if artifact else "; there is no artifact yet"
        status = progress.failed(known.status, generation, failure.reason, message, now, stalled=stalled)
        if failure.reason == names.Reason.VERIFICATION_ERROR:
            status = progress.denied(
                status, names.ConditionType.SOURCE_VERIFIED, generation, failure.reason, message, now
            )
            told = None
        else:
            told = _condition_of(failure)
            status = progress.flagged(status, told, generation, failure.reason, message, now)
        for condition in _FAILURES:
            if condition is not told:
                status = progress.unflagged(status, condition)
        if isinstance(failure, Withheld):
            status = msgspec.structs.replace(status, **failure.remember)
        news = find(status.conditions, "Ready") != find(known.status.conditions, "Ready")
        requested = item.metadata.requested_at or status.last_handled_reconcile_at
        status = msgspec.structs.replace(status, last_handled_reconcile_at=requested)
        if await self._write(item, known, status) and news:
            self._voice.say(item, "Warning", failure.reason, message)
            if failure.reason == names.Reason.VERIFICATION_ERROR:
                self._record(item, known.status.artifact, failure.reason, message)

    def _record(self, item: Source, artifact: Artifact | None, result: str, message: str) -> None:
        """Put on record what came, and whose signature it bears; or that it is held for what it is."""
        if self._world.auditor is not None:
            source = SourceId(self._kind, item.key)
            self._world.auditor.settled(item, self._world.auditor.of_artifact(source, artifact), result, message)

    async def _write(self, item: Source, known: _Known, status: Any) -> bool:
        if not await self._voice.write(item, known.status, status):
            return False
        known.status = status
        return True

    async def _finalize(self, item: Source) -> Result:
        await self._world.publisher.forget(self._kind, item.key)
        resource = await self._world.client.discovery.find(self._producer.gvk)
        await drop(self._world.client, resource, item.metadata, names.FINALIZER)
        self._forget(item.key)
        return Done()

    def _forget(self, key: Key) -> None:
        self._known.pop(key, None)
        self._arrivals.forget(key)
        self._world.index.drop(SourceId(self._kind, key))


def _revision(status: Status) -> str:
    return status.artifact.revision if status.artifact is not None else ""


def _condition_of(failure: TrimtabError) -> names.ConditionType:
    """Which step of the way did not succeed."""
    if isinstance(failure, IncludeUnavailable):
        return names.ConditionType.INCLUDE_UNAVAILABLE
    if failure.reason in names.OF_BUILDING:
        return names.ConditionType.BUILD_FAILED
    stored = failure.reason in _OF_STORAGE
    return names.ConditionType.STORAGE_OPERATION_FAILED if stored else names.ConditionType.FETCH_FAILED
