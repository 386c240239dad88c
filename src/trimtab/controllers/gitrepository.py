"""The story of one GitRepository: look at the remote, fetch what is new, publish it, say so."""

import base64
from dataclasses import dataclass, field

import msgspec

from trimtab.api import annotations, names
from trimtab.api.gvk import GIT_REPOSITORY
from trimtab.api.source import Artifact, GitRepository, GitRepositoryStatus
from trimtab.artifacts.publish import Publisher
from trimtab.artifacts.snapshot import Snapshot
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient, TrimtabError
from trimtab.controllers import progress, rewinds, supported
from trimtab.controllers.index import Published, SourceId, SourceIndex
from trimtab.controllers.state import ObjectState
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, NotFound
from trimtab.kube.informer import Informer
from trimtab.manifests.conditions import find
from trimtab.manifests.refs import Gvk, Key
from trimtab.runtime.controller import Again, Done, Result
from trimtab.runtime.events import EventType, ObjectRef, Recorder
from trimtab.runtime.finalizers import drop, ensure
from trimtab.runtime.status import merge_difference, patch_status
from trimtab.sources.git import Credentials, GitSource, GitSpec

KIND = "GitRepository"
LEAST_INTERVAL_S = 1.0
"""An interval of `0s` passes admission, as in Flux; it must not become a busy loop."""
_SECRET = Gvk("", "v1", "Secret")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the controller works with."""

    client: Client
    objects: Informer[GitRepository]
    source: GitSource
    publisher: Publisher
    index: SourceIndex
    recorder: Recorder
    clock: Clock


@dataclass(slots=True)
class _Known:
    """What is remembered of one repository: the status last written, and the tree behind its artifact.

    `strange` is what was told about annotations without a meaning.
    """

    uid: str
    status: GitRepositoryStatus
    snapshot: Snapshot | None
    strange: list[str] = field(default_factory=list)


class GitRepositories:
    """Reconciles every GitRepository."""

    def __init__(self, world: Surroundings) -> None:
        self._world = world
        self._known: dict[Key, _Known] = {}

    def backoff_cap(self, key: Key) -> float:
        """The longest wait between two tries: the interval."""
        repository = self._world.objects.store.get(key)
        return max(repository.spec.interval_s, LEAST_INTERVAL_S) if repository else 60.0

    def state(self, key: Key) -> ObjectState | None:
        """How `key` is doing; None if it is gone."""
        repository, known = self._world.objects.store.get(key), self._known.get(key)
        if repository is None:
            return None
        condition = find(known.status.conditions, names.ConditionType.READY) if known else None
        ready = None if condition is None or condition.status == "Unknown" else condition.true
        artifact = known.status.artifact if known else None
        revision = artifact.revision if artifact else ""
        return ObjectState(ready, revision, repository.spec.suspend, repository.spec.interval_s)

    async def reconcile(self, key: Key) -> Result:
        """One pass. What it raises decides when the next one is; the status says the same before."""
        repository = self._world.objects.store.get(key)
        if repository is None:
            self._forget(key)
            return Done()
        known = self._remember(repository)
        if repository.metadata.deleted:
            return await self._finalize(repository)
        self._offer(key, known)
        if repository.spec.suspend:
            return Done()
        try:
            return await self._pass(repository, known)
        except TrimtabError as failure:
            await self._tell_failure(repository, known, failure)
            raise
        except ApiError as refusal:
            told = Transient(names.Reason.READ_OPERATION_FAILED, str(refusal))
            await self._tell_failure(repository, known, told)
            raise told from refusal

    async def _pass(self, repository: GitRepository, known: _Known) -> Result:
        supported.check_git(repository)
        self._tell_strangers(repository, known)
        if names.FINALIZER not in repository.metadata.finalizers:
            resource = await self._world.client.discovery.find(GIT_REPOSITORY)
            await ensure(self._world.client, resource, repository.metadata, names.FINALIZER)
        credentials = await self._credentials(repository)
        spec = GitSpec.from_api(repository.spec)
        head = await self._world.source.look(spec, credentials)
        artifact = before = known.status.artifact
        if (
            known.snapshot is None
            or artifact is None
            or artifact.revision != head.revision
            or self._asks_else(repository, known.status)
        ):
            previous = known.snapshot.tree if known.snapshot else None
            known.snapshot = await self._world.source.fetch(spec, credentials, head, previous)
        artifact = await self._world.publisher.publish(KIND, repository.key, known.snapshot)
        await self._tell(repository, known, artifact)
        self._offer(repository.key, known)
        # nobody waits for this answer
        if words := await rewinds.words(self._world.source, spec, credentials, before, artifact.revision):
            self._event(repository, "Warning", names.Reason.HISTORY_REWRITTEN, words)
        return Again(max(repository.spec.interval_s, LEAST_INTERVAL_S))

    def _remember(self, repository: GitRepository) -> _Known:
        known = self._known.get(repository.key)
        if known is None or known.uid != repository.metadata.uid:
            artifact = repository.status.artifact
            snapshot = self._world.publisher.restore(KIND, repository.key, artifact) if artifact else None
            known = self._known[repository.key] = _Known(repository.metadata.uid, repository.status, snapshot)
        return known

    def _offer(self, key: Key, known: _Known) -> None:
        """The last artifact stays in force, also while the remote cannot be reached."""
        if known.snapshot is not None and known.status.artifact is not None:
            self._world.index.put(SourceId(KIND, key), Published(known.status.artifact, known.snapshot))

    def _asks_else(self, repository: GitRepository, status: GitRepositoryStatus) -> bool:
        """The same commit would give another artifact: what is left out has changed."""
        spec = repository.spec
        return (spec.ignore, spec.sparse_checkout) != (status.observed_ignore, status.observed_sparse_checkout)

    async def _credentials(self, repository: GitRepository) -> Credentials:
        reference = repository.spec.secret_ref
        if reference is None:
            return Credentials.from_secret({})
        resource = await self._world.client.discovery.find(_SECRET)
        try:
            secret = await self._world.client.get(resource, reference.name, repository.metadata.namespace)
        except NotFound:
            raise Transient(
                names.Reason.AUTHENTICATION_FAILED,
                f"Secret {repository.metadata.namespace}/{reference.name} does not exist: create it, "
                "or change spec.secretRef",
            ) from None
        return Credentials.from_secret(
            {name: base64.b64decode(value) for name, value in (secret.get("data") or {}).items()}
        )

    async def _tell(self, repository: GitRepository, known: _Known, artifact: Artifact) -> None:
        now, generation = self._world.clock.now(), repository.metadata.generation
        message = f"stored artifact for revision '{artifact.revision}'"
        status = progress.ready(known.status, generation, names.Reason.SUCCEEDED, message, now)
        status = progress.flagged(
            status, names.ConditionType.ARTIFACT_IN_STORAGE, generation, names.Reason.SUCCEEDED, message, now
        )
        status = progress.unflagged(status, names.ConditionType.FETCH_FAILED)
        status = msgspec.structs.replace(
            status,
            artifact=artifact,
            observed_ignore=repository.spec.ignore,
            observed_sparse_checkout=repository.spec.sparse_checkout,
            last_handled_reconcile_at=repository.metadata.requested_at or status.last_handled_reconcile_at,
        )
        news = known.status.artifact is None or known.status.artifact.revision != artifact.revision
        await self._write(repository, known, status)
        if news:
            self._event(repository, "Normal", names.Reason.NEW_ARTIFACT, message)

    async def _tell_failure(self, repository: GitRepository, known: _Known, failure: TrimtabError) -> None:
        now, generation = self._world.clock.now(), repository.metadata.generation
        status = progress.failed(
            known.status, generation, failure.reason, failure.message, now, stalled=isinstance(failure, Terminal)
        )
        status = progress.flagged(
            status, names.ConditionType.FETCH_FAILED, generation, failure.reason, failure.message, now
        )
        requested = repository.metadata.requested_at or status.last_handled_reconcile_at
        status = msgspec.structs.replace(status, last_handled_reconcile_at=requested)
        if await self._write(repository, known, status):
            self._event(repository, "Warning", failure.reason, failure.message)

    async def _write(self, repository: GitRepository, known: _Known, status: GitRepositoryStatus) -> bool:
        change = merge_difference(msgspec.to_builtins(known.status), msgspec.to_builtins(status))
        if not change:
            return False
        resource = await self._world.client.discovery.find(GIT_REPOSITORY)
        try:
            await patch_status(self._world.client, resource, repository.key, change, manager=names.SOURCE_MANAGER)
        except NotFound:
            return False
        known.status = status
        return True

    def _tell_strangers(self, repository: GitRepository, known: _Known) -> None:
        strange = annotations.strangers(KIND, repository.metadata.annotations)
        if strange and strange != known.strange:
            self._event(repository, "Warning", annotations.UNKNOWN, "; ".join(strange))
        known.strange = strange

    def _event(self, repository: GitRepository, type_: EventType, reason: str, message: str) -> None:
        involved = ObjectRef(
            api_version=repository.api_version,
            kind=repository.kind,
            namespace=repository.metadata.namespace,
            name=repository.metadata.name,
            uid=repository.metadata.uid,
            resource_version=repository.metadata.resource_version,
        )
        self._world.recorder.record(involved, type_, reason, message, {})

    async def _finalize(self, repository: GitRepository) -> Result:
        await self._world.publisher.forget(KIND, repository.key)
        resource = await self._world.client.discovery.find(GIT_REPOSITORY)
        await drop(self._world.client, resource, repository.metadata, names.FINALIZER)
        self._forget(repository.key)
        return Done()

    def _forget(self, key: Key) -> None:
        self._known.pop(key, None)
        self._world.index.drop(SourceId(KIND, key))
