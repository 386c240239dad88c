"""`trimtab apply --watch`: the simplest agent. It pulls, converges, and brings back what drifts."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Final

from trimtab.base.errors import TrimtabError
from trimtab.cli.apply.applying import Asked, Run, running, until_told
from trimtab.cli.connect import Code, Failure
from trimtab.controllers import carrying
from trimtab.controllers.proposing import Proposal
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, StaleGroup, UnknownKind, Unreachable
from trimtab.targets.contract import Effect

LEAST_INTERVAL_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 300.0
_REFUSALS: Final = (ApiError, UnknownKind, StaleGroup, Unreachable)


async def stay(client: Client, asked: Asked, interval_s: float) -> Code:
    """Apply, look for changes every `interval_s`, and bring back what drifts, until SIGTERM or SIGINT."""
    return await until_told(lambda: _stay(client, asked, interval_s), told=Code.OK)


async def _stay(client: Client, asked: Asked, interval_s: float) -> Code:
    async with running(client, asked) as run:
        if not asked.yes:
            proposal = await run.propose()
            run.show(proposal)
            carrying.admit(proposal)
            run.ask(proposal)
        run.app.interval_s = interval_s
        return await run.alone.run(lambda: Agent(run, interval_s).work(), float("inf"), again=True)


@dataclass(slots=True)
class Agent:
    """Applies what changes, and brings back what drifts, at the interval or at once."""

    run: Run
    interval_s: float
    standing: Proposal | None = None
    _failures: int = field(default=0)
    _said: str = field(default="")

    async def work(self) -> Code:
        """For ever. What goes wrong is said, and tried again; what was good last stays enforced meanwhile."""
        while True:
            try:
                await self._look()
                self._failures, self._said = 0, ""
            except (TrimtabError, Failure, *_REFUSALS) as failure:
                self._failures += 1
                if (words := str(failure)) != self._said:
                    self._said = words
                    self.run.say("✗", words)
                with contextlib.suppress(TrimtabError, *_REFUSALS):
                    await self._heal(always=True)
            await self._rest()

    async def _look(self) -> None:
        """A pass: over everything if something is declared anew, else over what was disturbed."""
        run, known = self.run, self.run.rendered
        if self.standing is not None and not self._failures:
            place = await run.look()
            rendered = await place.render()
            if f"{place.revision or rendered.digest} {rendered.digest}" == known and not self._again():
                await self._heal()
                return
        run.app.disturbed.clear()  # whatever it was, a pass over everything sees it
        proposal = await run.propose()
        carrying.admit(proposal)
        standing, self.standing = self.standing, proposal
        settled = standing is not None and proposal.quiet and proposal.on_record and not self._failures
        if settled and standing is not None and proposal.departure == standing.departure:
            return  # what is held stays so, and was told
        if not proposal.quiet:
            run.show(proposal)
        await run.carry_out(proposal, stay=True)

    def _again(self) -> bool:
        """Deletions that are held, or left to others, may go by now."""
        departure = self.standing.departure if self.standing is not None else None
        return departure is not None and bool(departure.held or departure.handed)

    async def _heal(self, *, always: bool = False) -> None:
        app = self.run.app
        if self.standing is None or not (always or app.disturbed.is_set() or app.unwatched(self.standing.items)):
            return
        for outcome in await carrying.heal(self.run.app, self.standing, lambda _outcome: None):
            if outcome.drift is not None or outcome.effect in (Effect.CREATED, Effect.CONFIGURED):
                self.run.say("►", str(outcome.drift or outcome))

    async def _rest(self) -> None:
        """Wait for the next look; drift ends it, but after a failure not at once."""
        seconds = self.interval_s
        if self._failures:
            seconds = min(max(seconds, 2.0 ** min(self._failures, 20)), max(_LONGEST_PAUSE_S, seconds))
            await self.run.app.clock.sleep(LEAST_INTERVAL_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.run.app.disturbed.wait()
