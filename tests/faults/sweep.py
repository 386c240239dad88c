"""Every request of a scenario, harmed in every way, and the end compared with that of an undisturbed run."""

import asyncio
import contextlib
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.faults.scenarios import Scenario
from tests.faults.transport import Call, Fault, Mode
from tests.faults.views import Distortion, View
from tests.faults.world import Ending, Stuck, World
from trimtab.manifests.refs import Body

LONGEST_S = 300.0
_STUCK = "stuck: "


class Reference(NamedTuple):
    """The undisturbed run."""

    calls: tuple[tuple[Call, str], ...]
    objects: Mapping[str, Body]
    created: Mapping[str, int]
    deleted: Mapping[str, int]
    written: Mapping[str, int]


@dataclass
class Verdict:
    """What came of one run. `reached` says whether the fault happened: another order may leave no place for it."""

    scenario: str
    fault: str
    reached: bool
    problems: tuple[str, ...]
    seconds: float
    violations: int = 0

    @property
    def survived(self) -> bool:
        return not self.problems

    @property
    def late(self) -> bool:
        """Whether it was only not over in time, which on a busy machine says nothing yet."""
        return bool(self.problems) and all(problem.startswith(_STUCK) for problem in self.problems)


@dataclass
class Trial:
    """One run of a scenario in a world: with a fault, with a distorted view, or with neither.

    `restart` ends it with one more death; whoever is started again finds the disk empty with `lose_cache`.
    """

    scenario: Scenario
    world: World
    fault: Fault | None = None
    view: View = field(default_factory=View)
    restart: bool = False
    lose_cache: bool = False

    async def run(self) -> Ending:
        """Raises Stuck if it does not get to its end. The wire keeps what was counted."""
        try:
            return await self._run()
        finally:
            await self.world.die()

    async def _run(self) -> Ending:
        world = self.world
        await world.clear()
        wire = world.begin()
        wire.view = self.view
        await self.scenario.prepare(world)
        wire.armed, wire.fault = True, self.fault
        mourning = asyncio.Lock()
        undertaker = asyncio.ensure_future(self._undertake(mourning))
        try:
            await self.scenario.act(world)
            await world.quiet()
            while wire.died.is_set():
                await asyncio.sleep(0.01)
            async with mourning:
                undertaker.cancel()
            if self.restart:
                await world.again(lose_cache=self.lose_cache)
            if self.restart or wire.deaths:
                await world.awake()
                await world.rested()
                await world.quiet()
        finally:
            undertaker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await undertaker
        return await world.ending()

    async def _undertake(self, mourning: asyncio.Lock) -> None:
        """Who dies is started again."""
        while True:
            await self.world.wire.died.wait()
            async with mourning:
                await self.world.revive(lose_cache=self.lose_cache)


async def learn(scenario: Scenario, world: World) -> Reference:
    """Run undisturbed, and number what is said."""
    ending = await Trial(scenario, world).run()
    wire = world.wire
    problems = [*ending.problems, *wire.violations]
    if problems:
        raise Stuck(f"{scenario.name} undisturbed: {'; '.join(problems)}")
    return Reference(tuple(wire.calls), ending.objects, dict(wire.created), dict(wire.deleted), dict(wire.written))


async def judge(trial: Trial, reference: Reference) -> Verdict:
    """Run it, and say what is wrong with the end."""
    began = time.monotonic()
    problems: list[str] = []
    try:
        async with asyncio.timeout(LONGEST_S):
            ending = await trial.run()
    except Stuck as stuck:
        problems.append(f"{_STUCK}{stuck}")
    except TimeoutError:
        problems.append(f"{_STUCK}not at its end after {LONGEST_S:g} s")
    except Exception as failure:  # noqa: BLE001 - one run that fails in its own way must not end all others
        problems.append(f"failed: {failure!r}")
    else:
        problems += ending.problems
        problems += _differences(reference.objects, ending.objects)
    wire = trial.world.wire
    problems += [f"refused: {violation}" for violation in wire.violations]
    # A life that begins anew applies everything once: there is nothing yet to compare with.
    rebirth = int(trial.restart)
    for what, before, now, spare in (
        ("created", reference.created, wire.created, 1),
        ("deleted", reference.deleted, wire.deleted, 1),
        ("written", reference.written, wire.written, trial.scenario.spare + rebirth),
    ):
        problems += [
            f"{path} was {what} {count} times, undisturbed {before.get(path, 0)} times"
            for path, count in now.items()
            if count > before.get(path, 0) + spare
        ]
    name = name_of(trial.fault or trial.view)
    reached = wire.fired or trial.fault is None
    seconds = time.monotonic() - began
    return Verdict(trial.scenario.name, name, reached, tuple(problems), seconds, len(wire.violations))


def _differences(reference: Mapping[str, Body], ending: Mapping[str, Body]) -> list[str]:
    return [
        f"{identity} differs: {ending[identity]} instead of {body}"
        for identity, body in reference.items()
        if identity in ending and ending[identity] != body
    ]


def name_of(how: Fault | View) -> str:
    """What is done to a run, in words that find it again."""
    return f"{how.mode} at {how.call}" if isinstance(how, Fault) else f"{how.distortion} (seed {how.seed})"


def chance_of(seed: int, scenario: Scenario, how: Fault | View) -> random.Random:
    """The dice of one run, which fall the same whatever else is run."""
    return random.Random(f"{seed} {scenario.name} {name_of(how)}")


def plan(reference: Reference) -> list[Fault]:
    """All faults for one scenario."""
    return [Fault(call, mode) for call, _ in reference.calls for mode in Mode]


def views(seed: int, times: int) -> list[View]:
    """Distorted views, each kind several times."""
    kinds = [kind for kind in Distortion if kind is not Distortion.NONE]
    return [View(kind, seed * 100 + number) for number in range(times) for kind in kinds]


def trial_of(scenario: Scenario, world: World, how: Fault | View, chance: random.Random) -> Trial:
    """One run. Who died has had a restart; of the others a part gets one at the end. Some disks are lost with it."""
    lose_cache = chance.random() < scenario.forgets
    if isinstance(how, View):
        # what a view remembers is of one run only
        view = View(how.distortion, how.seed)
        return Trial(scenario, world, view=view, restart=True, lose_cache=lose_cache)
    restart = how.mode not in (Mode.DIE_BEFORE, Mode.DIE_AFTER) and chance.random() < 0.25
    return Trial(scenario, world, how, restart=restart, lose_cache=lose_cache)
