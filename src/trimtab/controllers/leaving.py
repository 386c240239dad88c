"""A release on record, and its end: what was begun of it goes, and every step is written down before and after."""

from collections.abc import Sequence
from typing import Final

from trimtab.api.helmactions import Uninstall
from trimtab.api.names import Reason
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal
from trimtab.base.traces import span
from trimtab.controllers.release import Outrun, Site, failed
from trimtab.controllers.releaserecords import ReleaseRecords
from trimtab.controllers.rollout import Refused, Rollout, since_deployed
from trimtab.helm import output, record, revision
from trimtab.helm.hooks import HookFailed, Hooks, Superseded
from trimtab.helm.memory import Memory
from trimtab.helm.output import Event
from trimtab.helm.record import Hook, Record, Status
from trimtab.manifests.refs import Ref
from trimtab.targets.kubernetes.inventory import Entry

_PROPAGATION: Final = {"background": "Background", "foreground": "Foreground", "orphan": "Orphan"}
_ENDS: Final = (Event.PRE_DELETE, Event.POST_DELETE)
_REMEMBERED: Final = 20
"""So many revisions the status tells of where there is no limit to the records."""


class Leaving:
    """A release of which only the records have to be known. `history`, the newest first, and `memory` move along."""

    def __init__(
        self, site: Site, records: ReleaseRecords, clock: Clock, history: Sequence[Record], memory: Memory
    ) -> None:
        self.history = list(history)
        self.memory = memory
        self._site = site
        self._records = records
        self._clock = clock
        self._rollout = Rollout(site, clock)

    async def uninstall(self) -> None:
        """Delete the objects and, unless they are to be kept, the records of the release.

        Raises ActionFailed, and Transient for hooks that may not do what they would.
        """
        spec = self._site.hr.spec.uninstall or Uninstall()
        deadline = self._deadline(spec.timeout_s(self._site.hr.spec.timeout_s))
        newest = self.history[0]
        if newest.status != Status.UNINSTALLING:
            description = "Deletion in progress (or silently failed)"
            newest = await self._write(record.settled(newest, Status.UNINSTALLING, description))
            self.memory = self.memory.made(newest, self._limit)
        try:
            ends = [one for event in _ENDS for one in output.running(newest.hooks or (), event)]
            if ends and not spec.disable_hooks:
                await self._rollout.admit(ends)  # those of what makes a revision were, before it was on record
            entries = await self._entries()
            await self._hooks(Event.PRE_DELETE, deadline, disabled=spec.disable_hooks)
            propagation = _PROPAGATION.get(spec.deletion_propagation, "Background")
            wait = not spec.disable_wait
            await self._rollout.remove(list(entries.values()), deadline, wait=wait, propagation=propagation)
            await self._hooks(Event.POST_DELETE, deadline, disabled=spec.disable_hooks)
        except (Refused, HookFailed, Terminal) as problem:
            raise failed(Reason.UNINSTALL_FAILED, self._told(problem)) from problem
        except Superseded as moved:
            raise Outrun from moved
        self._site.release.let_go()
        self._site.release.inventory = {}
        if spec.keep_history:
            done = record.settled(
                self.history[0], Status.UNINSTALLED, "Uninstallation complete", deleted=self._clock.now()
            )
            await self._write(done)
        else:
            # the newest last: what is left after a crash is a release that is being uninstalled still
            for old in reversed(self.history):
                await self._records.delete(old)
            self.history = []
        self.memory = self.memory.without_release()

    async def sweep(self) -> None:
        """Delete what is known to be in the cluster of a release whose records are gone, or are going. No hooks run.

        Raises ActionFailed.
        """
        spec, release = self._site.hr.spec.uninstall or Uninstall(), self._site.release
        deadline = self._deadline(spec.timeout_s(self._site.hr.spec.timeout_s))
        propagation = _PROPAGATION.get(spec.deletion_propagation, "Background")
        try:
            entries = list(release.inventory.values())
            await self._rollout.remove(entries, deadline, wait=not spec.disable_wait, propagation=propagation)
        except Refused as problem:
            raise failed(Reason.UNINSTALL_FAILED, self._told(problem)) from problem
        release.let_go()
        release.inventory = {}

    async def _hooks(self, event: Event, deadline: float, *, disabled: bool) -> None:
        hooks = output.running(self.history[0].hooks or (), event)
        if hooks and not disabled:
            left, hide = max(deadline - self._clock.monotonic(), 0.0), self._site.release.hiding.text
            runner = Hooks(self._site.client, self._clock, self.history[0], timeout_s=left, hide=hide)
            try:
                with span("hooks", event=event.value):
                    await runner.run(event, hooks, self._ran, self._site.outdated)
            except (HookFailed, Superseded):
                await self._write(self.history[0])
                raise
            # Not in a `finally`: whoever is being ended writes nothing more, and its end must not be lost in a failure.
            await self._write(self.history[0])

    async def _ran(self, hook: Hook) -> None:
        """How a hook goes is part of the record, which is written when its event is over."""
        self.history[0] = revision.with_hook(self.history[0], hook)

    async def _entries(self) -> dict[Ref, Entry]:
        """What of the release is, or may be, in the cluster, with the uids that are known."""
        found = await self._rollout.entries(since_deployed(self.history))
        return {ref: self._site.release.inventory.get(ref, entry) for ref, entry in found.items()}

    async def _write(self, changed: Record) -> Record:
        """Write one of the records anew."""
        await self._records.update(changed)
        self.history = [changed if one.version == changed.version else one for one in self.history]
        return changed

    @property
    def storage(self) -> str:
        """The namespace of the records, which may be no longer the one that is wished."""
        return self._records.namespace

    @property
    def _limit(self) -> int:
        return self._site.hr.spec.history_limit or _REMEMBERED

    def _deadline(self, seconds: float) -> float:
        return self._clock.monotonic() + seconds

    def _told(self, problem: Exception) -> str:
        return self._site.release.hiding.text(str(problem))
