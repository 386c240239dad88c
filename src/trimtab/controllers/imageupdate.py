"""The story of an ImageUpdateAutomation: what policies chose is written into a repository, as commits."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from trimtab.api import names
from trimtab.api.gvk import IMAGE_UPDATE_AUTOMATION
from trimtab.api.image import ImagePolicy
from trimtab.api.imageupdate import ImageUpdateAutomation, ImageUpdateAutomationStatus
from trimtab.api.names import ConditionType, Reason
from trimtab.api.requests import requester
from trimtab.api.source import GitRepository
from trimtab.audit.record import Actor
from trimtab.base.clock import Clock, rfc3339
from trimtab.base.errors import Terminal, Transient, TrimtabError
from trimtab.base.traces import NO_TRACES, Traces, span
from trimtab.commits import ReadOnly, Refused, Repository, Writers
from trimtab.commits.changes import inside
from trimtab.commits.signing import Signer
from trimtab.controllers import progress, upshot
from trimtab.controllers.access import Access
from trimtab.controllers.auditing import NOBODY, Auditor
from trimtab.controllers.automation import Automation
from trimtab.controllers.journeys import Writings
from trimtab.controllers.offering import about
from trimtab.controllers.state import ObjectState
from trimtab.controllers.voice import Voice
from trimtab.controllers.wanted import Wanted
from trimtab.controllers.writeaccess import WriteAccess
from trimtab.controllers.writingback import LOOKBACK, Proposal, Pushed, Ran, Run
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError
from trimtab.kube.informer import Informer
from trimtab.manifests.conditions import find, truth
from trimtab.manifests.refs import Key
from trimtab.remotes.forges.dialects import Wish
from trimtab.remotes.forges.pulls import Pulls
from trimtab.runtime.controller import LEAST_INTERVAL_S, Again, Done, Result
from trimtab.runtime.events import Recorder
from trimtab.runtime.finalizers import drop, ensure
from trimtab.runtime.shares import Crowded, Shares
from trimtab.sources.git import GitSpec

log = logging.getLogger(__name__)

UP_TO_DATE: Final = "repository up-to-date"
_SAY_AGAIN_S: Final = 600.0
"""So often at most a run that found nothing is told in the status: at rest nothing is written."""
_PATIENCE_S: Final = 300.0
"""So long at least nothing is sent where the server refused, unless there is something new to send."""
_LONGEST_BACKOFF_S: Final = 300.0
_SHARE: Final = 10
"""Automations that write to one server, or those of one namespace, at a time: the other workers are for the others."""
_LONGEST_PASS_S: Final = 600.0
_TIMEOUTS: Final = 3
"""So many conversations that last as long as spec.timeout of the source allows have to fit into a pass."""
_MOST_PASS_S: Final = 1500.0
_REVISION: Final = "image.toolkit.fluxcd.io/revision"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the controller of ImageUpdateAutomations works with.

    `live` reads the policies of a namespace from the server, where several processes share the automations.
    """

    client: Client
    objects: Informer[ImageUpdateAutomation]
    policies: Informer[ImagePolicy]
    sources: Informer[GitRepository]
    access: Access
    writing: WriteAccess
    writers: Writers
    pulls: Pulls
    recorder: Recorder
    clock: Clock
    auditor: Auditor | None = None
    traces: Traces = NO_TRACES
    live: Callable[[str], Awaitable[Iterable[ImagePolicy]]] | None = None


@dataclass(slots=True)
class _Known:
    """What is remembered of one automation: the status last written, and under which terms all was as it should be.

    `read_only` is a credential that could not write, and what was said: it is not tried again at once.
    """

    uid: str
    status: ImageUpdateAutomationStatus
    settled: tuple[Any, ...] | None = None
    told_at: float = float("-inf")
    read_only: tuple[str, float, ReadOnly] | None = None
    strange: list[str] = field(default_factory=list)
    shared: bool = False
    switches: dict[str, str] = field(default_factory=dict)


class ImageUpdates:
    """Reconciles every ImageUpdateAutomation. `wake` queues one of them."""

    def __init__(self, world: Surroundings, wake: Callable[[Key], None]) -> None:
        self._world = world
        self._voice = Voice(world.client, world.recorder, IMAGE_UPDATE_AUTOMATION, names.AUTOMATION_MANAGER)
        self._known: dict[Key, _Known] = {}
        self._shares = Shares[Key](_SHARE, wake)
        self._writings = Writings(world.traces, world.clock)

    def backoff_cap(self, key: Key) -> float:
        """The longest wait between two tries: the interval, and not so long that a Secret is repaired in vain."""
        item = self._world.objects.store.get(key)
        return min(_interval(item), _LONGEST_BACKOFF_S) if item else 60.0

    def state(self, key: Key) -> ObjectState | None:
        """How `key` is doing; None if it is gone."""
        item, known = self._world.objects.store.get(key), self._known.get(key)
        if item is None:
            return None
        status = known.status if known else item.status
        condition = find(status.conditions, ConditionType.READY)
        ready = truth(condition)
        return ObjectState(ready, status.last_push_commit, item.spec.suspend, _interval(item))

    def concerned(self, policy: ImagePolicy) -> list[Key]:
        """The automations that may have to write what `policy` chose."""
        return [key for key in self._world.objects.store if key.namespace == policy.metadata.namespace]

    def on(self, source: Key) -> list[Key]:
        """The automations that write to `source`."""
        return [item.key for item in self._world.objects.store.values() if item.source_key == source]

    async def reconcile(self, key: Key) -> Result:
        """One pass. What it raises decides when the next one is; the status says the same before."""
        item = self._world.objects.store.get(key)
        if item is None:
            self._known.pop(key, None)
            return Done()
        if item.metadata.deleted:
            resource = await self._world.client.discovery.find(IMAGE_UPDATE_AUTOMATION)
            await drop(self._world.client, resource, item.metadata, names.FINALIZER)
            return Done()
        known = self._remember(item)
        if self._world.auditor is not None:
            handled = known.status.last_handled_reconcile_at
            self._world.auditor.observe(item, known.switches, handled, suspended=item.spec.suspend)
        if item.spec.suspend:
            return Done()
        known.strange = self._voice.strangers(item, known.strange)
        try:
            automation = Automation.of(item)
            if names.FINALIZER not in item.metadata.finalizers:
                resource = await self._world.client.discovery.find(IMAGE_UPDATE_AUTOMATION)
                await ensure(self._world.client, resource, item.metadata, names.FINALIZER)
            source = await self._source(item)
            spec = GitSpec.from_api(source.spec)
            sides = (f"the git server {spec.address.host}", f"git in namespace {item.metadata.namespace}")
            with self._shares.of(item.key, *sides), self._writings.watching(item):
                return await self._in_time(item, known, automation, source, spec)
        except Crowded:
            raise  # nothing was asked: there is nothing to tell
        except TrimtabError as failure:
            known.settled = None
            await self._tell_failure(item, known, failure)
            if failure.reason == Reason.ACCESS_DENIED:
                return Again(_interval(item))  # nobody tells of what a namespace allows
            if isinstance(failure, Refused):
                raise Transient(
                    failure.reason, failure.message, retry_after=max(_interval(item), _PATIENCE_S), hopeless=True
                ) from failure
            raise
        except ApiError as refusal:
            told = Transient(Reason.READ_OPERATION_FAILED, str(refusal))
            await self._tell_failure(item, known, told)
            raise told from refusal

    async def _in_time(
        self, item: ImageUpdateAutomation, known: _Known, automation: Automation, source: GitRepository, spec: GitSpec
    ) -> Result:
        limit_s = min(max(_LONGEST_PASS_S, _TIMEOUTS * spec.timeout_s), _MOST_PASS_S)
        deadline = asyncio.timeout(limit_s)
        try:
            async with deadline:
                return await self._pass(item, known, automation, source)
        except TimeoutError as problem:
            if not deadline.expired():
                raise
            words = (
                f"{spec.address}: not done after {limit_s:g} s, and begun anew: what was pushed is not pushed again. "
                "See why the server answers slowly; spec.timeout of "
                f"GitRepository {source.key} bounds each conversation"
            )
            raise Transient(Reason.GIT_OPERATION_FAILED, words) from problem

    async def _pass(
        self, item: ImageUpdateAutomation, known: _Known, automation: Automation, source: GitRepository
    ) -> Result:
        world, now = self._world, self._world.clock.now()
        if (open_ := automation.windows.open_until(now)) is not None:
            until, window = open_
            words = f"no commits until {rfc3339(until)}: the window {window} of {names.Annotation.FREEZE} is open"
            await self._tell_idle(item, known, words)
            return Again(min(_interval(item), max((until - now).total_seconds(), LEAST_INTERVAL_S)))
        with span("choose") as choosing:
            wanted = Wanted.among(world.policies.store.values(), item.metadata.namespace, automation.selects)
            choosing.say(images=len(wanted.images))
        repository = await world.writing.repository(item, automation, source)
        self._check_read_only(item, known, repository)
        self._tell_shared(item, known, automation, source)
        branch = automation.branch(source)
        writer = world.writers.of(repository, branch, lookback=LOOKBACK)
        terms = (item.metadata.generation, _notes(item), source.spec, wanted, branch)
        if known.settled is not None and known.settled[:-1] == terms and known.settled[-1] == await writer.head():
            await self._tell_idle(item, known, UP_TO_DATE)
            return Again(_interval(item))
        if world.live is not None:
            # who had it before may have written a choice that our watch has not told of: an older one would undo it
            wanted = Wanted.among(
                await world.live(item.metadata.namespace), item.metadata.namespace, automation.selects
            )
            terms = (item.metadata.generation, _notes(item), source.spec, wanted, branch)
        signer = await world.writing.signer(item, automation)
        run = Run(
            item.key,
            automation,
            writer,
            signer,
            inside(automation.path),
            wanted.images,
            upshot.still_held(known.status, wanted),
            wanted.released,
            upshot.observed(known.status, branch),
        )
        try:
            with span("commit"):
                ran = await run.carry_out()
        except ReadOnly as failure:
            assert repository.write is not None  # noqa: S101 - it always has one here
            known.read_only = (repository.write.digest, world.clock.monotonic(), failure)
            raise
        except TrimtabError as failure:
            if failure.reason == Reason.AUTHENTICATION_FAILED:
                world.writing.refused(repository)
            raise
        for push in ran.pushed:
            self._writings.pushed(source, push.written.branch, push.written.commit)
            self._tell_push(item, push)
            self._record(item, automation, signer, spec_url=source.spec.url, push=push)
        try:
            with span("propose", branches=len(ran.proposals)) if ran.proposals else nullcontext():
                await self._propose(item, automation, source, branch, ran.proposals)
        except TrimtabError:
            await self._write(item, known, upshot.after(known.status, wanted, branch, ran, now))  # what was pushed, was
            raise
        await self._tell(item, known, wanted, branch, ran)
        known.settled = (*terms, ran.head) if ran.head else None
        return Again(_interval(item))

    async def _source(self, item: ImageUpdateAutomation) -> GitRepository:
        """The repository that is written to. Raises Terminal (AccessDenied) and Transient (SourceManagerFailed)."""
        key = item.source_key
        await self._world.access.check_source(item.metadata.namespace, key.namespace)
        source: GitRepository | None = self._world.sources.store.get(key)
        if source is None:
            raise Transient(
                Reason.SOURCE_MANAGER_FAILED, f"GitRepository {key} does not exist: create it, or change spec.sourceRef"
            )
        return source

    async def _propose(
        self,
        item: ImageUpdateAutomation,
        automation: Automation,
        source: GitRepository,
        branch: str,
        proposals: tuple[Proposal, ...],
    ) -> None:
        """See to it that there is a pull request for each branch that waits."""
        if not automation.forge or not proposals:
            return
        forge = await self._world.writing.forge(item, automation, source)
        for proposal in proposals:
            title, _, rest = proposal.message.text.partition("\n")
            trailers = "\n".join(f"{key}: {value}" for key, value in proposal.message.trailers)
            body = "\n\n".join(part for part in (rest.strip(), trailers) if part)
            opened = await self._world.pulls.ensure(forge, Wish(proposal.branch, branch, title, body))
            if opened is not None and opened.news:
                where = f" at {opened.url}" if opened.url else ""
                words = f"pull request {opened.number} from '{proposal.branch}' to '{branch}' is open{where}"
                self._voice.say(item, "Normal", Reason.PULL_REQUEST_OPENED, words)

    def _check_read_only(self, item: ImageUpdateAutomation, known: _Known, repository: Repository) -> None:
        """Raise again what a credential that cannot write was answered with: without asking again for a while."""
        if known.read_only is None or repository.write is None:
            return
        digest, at, failure = known.read_only
        asked = item.metadata.requested_at not in ("", known.status.last_handled_reconcile_at)
        age = self._world.clock.monotonic() - at
        if digest == repository.write.digest and age < _PATIENCE_S and not asked:
            raise ReadOnly(failure.message)
        known.read_only = None

    # --- what is said

    async def _tell(self, item: ImageUpdateAutomation, known: _Known, wanted: Wanted, branch: str, ran: Ran) -> None:
        now, generation = self._world.clock.now(), item.metadata.generation
        status = progress.ready(known.status, generation, Reason.SUCCEEDED, UP_TO_DATE, now)
        status = msgspec.structs.replace(status, last_automation_run_time=rfc3339(now))
        status = upshot.after(status, wanted, branch, ran, now)
        status = upshot.noted(status, generation, wanted, ran, now)
        for words in upshot.freshly_undone(known.status, wanted, ran):
            self._voice.say(item, "Warning", Reason.REVERTED, words)
        await self._write(item, known, status)
        known.told_at = self._world.clock.monotonic()

    async def _tell_idle(self, item: ImageUpdateAutomation, known: _Known, message: str) -> None:
        now, monotonic = self._world.clock.now(), self._world.clock.monotonic()
        ready = find(known.status.conditions, ConditionType.READY)
        asked = item.metadata.requested_at not in ("", known.status.last_handled_reconcile_at)
        said = ready is not None and ready.true and ready.message == message
        if said and not asked and monotonic - known.told_at < _SAY_AGAIN_S:
            return
        status = progress.ready(known.status, item.metadata.generation, Reason.SUCCEEDED, message, now)
        await self._write(item, known, msgspec.structs.replace(status, last_automation_run_time=rfc3339(now)))
        known.told_at = monotonic

    async def _tell_failure(self, item: ImageUpdateAutomation, known: _Known, failure: TrimtabError) -> None:
        now = self._world.clock.now()
        stalled = isinstance(failure, Terminal) or (isinstance(failure, Transient) and failure.hopeless)
        status = progress.failed(
            known.status, item.metadata.generation, failure.reason, failure.message, now, stalled=stalled
        )
        news = find(status.conditions, "Ready") != find(known.status.conditions, "Ready")
        if await self._write(item, known, status) and news:
            self._voice.say(item, "Warning", failure.reason, failure.message)
            if self._world.auditor is not None:
                self._world.auditor.settled(item, NOBODY, failure.reason, failure.message)

    def _tell_push(self, item: ImageUpdateAutomation, push: Pushed) -> None:
        written = push.written
        log.info("pushed %s to %s: %s", written.commit[:7], written.branch, ", ".join(written.paths))
        words = f"pushed commit '{written.commit[:7]}' to branch '{written.branch}'\n{push.message.text}"
        revision = {_REVISION: f"{written.branch}@sha1:{written.commit}"}
        self._world.recorder.record(about(item), "Normal", Reason.SUCCEEDED, words, revision)
        for note in written.notes:
            self._voice.say(item, "Warning", Reason.GIT_OPERATION_FAILED, note)

    def _record(
        self, item: ImageUpdateAutomation, automation: Automation, signer: Signer | None, *, spec_url: str, push: Pushed
    ) -> None:
        if self._world.auditor is None:
            return
        asked = item.metadata.requested_at not in ("", self._known[item.key].status.last_handled_reconcile_at)
        actor = Actor(
            author=" ".join(filter(None, automation.author)),
            signer=signer.fingerprint if signer is not None else "",
            requester=requester(item.metadata.annotations) if asked else "",
        )
        written, words = push.written, push.message.text.partition("\n")[0]
        self._world.auditor.committed(
            item, actor, spec_url, written.branch, Reason.SUCCEEDED, written.commit, written.paths, words
        )

    def _tell_shared(
        self, item: ImageUpdateAutomation, known: _Known, automation: Automation, source: GitRepository
    ) -> None:
        """Say once that what reads the repository also writes to it."""
        if automation.write_secret or source.spec.secret_ref is None or known.shared:
            return
        known.shared = True
        words = (
            f"Secret {source.metadata.namespace}/{source.spec.secret_ref.name} reads the repository and also writes "
            f"to it: name one that only this automation has with {names.Annotation.WRITE_SECRET}"
        )
        self._voice.say(item, "Normal", Reason.SHARED_CREDENTIAL, words)

    def _remember(self, item: ImageUpdateAutomation) -> _Known:
        known = self._known.get(item.key)
        if known is None or known.uid != item.metadata.uid:
            known = self._known[item.key] = _Known(item.metadata.uid, item.status)
        return known

    async def _write(self, item: ImageUpdateAutomation, known: _Known, status: ImageUpdateAutomationStatus) -> bool:
        requested = item.metadata.requested_at or status.last_handled_reconcile_at
        status = msgspec.structs.replace(status, last_handled_reconcile_at=requested)
        if not await self._voice.write(item, known.status, status):
            return False
        known.status = status
        return True


def _notes(item: ImageUpdateAutomation) -> dict[str, str]:
    return {key: value for key, value in item.metadata.annotations.items() if key.startswith(names.OURS)}


def _interval(item: ImageUpdateAutomation) -> float:
    return max(item.spec.interval_s, LEAST_INTERVAL_S)
