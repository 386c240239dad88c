"""The prune property of ENGINE.md §5, over random sequences of what people and the world do.

At every step nothing is deleted that is wanted, that is in no inventory, or without preconditions (the monitor on the
wire refuses it and counts it); in the end what is ours is in exactly one inventory, and that is what is wanted.
`make test` makes a few sequences, `make sweep` many (TRIMTAB_SEQUENCES says how many).
"""

import asyncio
import os
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.faults.scenarios import config_map
from tests.faults.stage import Stage
from tests.faults.transport import Target
from tests.faults.world import World
from trimtab.manifests import codec

SEQUENCES = int(os.environ.get("TRIMTAB_SEQUENCES") or 2)
SEED = int(os.environ.get("TRIMTAB_SEED") or 628166)
APPS = ("a", "b")
STEPS = (
    *("edit", "rename", "move", "remove", "add", "crash", "crash and lose the cache"),
    *("deny", "empty", "break", "another cluster"),
)


class Story:
    """One sequence: what each app wants, by name, and the files that say so."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world = world
        self._chance = chance
        self._fresh = 0
        self._files: set[str] = set()
        self._clusters = 0
        self.wanted: dict[str, dict[str, str]] = {app: {} for app in APPS}
        for app in APPS * 3:
            self._add(app)

    def _add(self, app: str) -> str:
        self._fresh += 1
        name = f"o{self._fresh}"
        self.wanted[app][name] = "1"
        return name

    async def tell(self, *, empty: str = "", broken: str = "") -> str:
        """Commit what is wanted, or nothing (`empty`), or nonsense (`broken`) for one app. Both keep what they have."""
        home = self._world.home
        files: dict[str, str | bytes | None] = {}
        for app, objects in self.wanted.items():
            names = sorted(objects) if app != empty else []
            files[f"{app}/kustomization.yaml"] = codec.encode({"resources": [f"{name}.yaml" for name in names]})
            for name in names:
                files[f"{app}/{name}.yaml"] = codec.encode(config_map(home, name, objects[name]))
        if broken:
            files[f"{broken}/kustomization.yaml"] = "resources: [not-there.yaml]"
        # A name is never used again: what may still be deleted later can then never be wanted again.
        self._world.desired |= {Target("", "configmaps", home, name) for o in self.wanted.values() for name in o}
        gone: dict[str, str | bytes | None] = dict.fromkeys(self._files - files.keys())
        head = await asyncio.to_thread(self._world._repo.commit, files | gone, "step")
        self._files = set(files)
        self._world.commits[head] = head
        self._world.desired = {Target("", "configmaps", home, n) for o in self.wanted.values() for n in o}
        return head

    async def step(self, what: str) -> None:
        """Do it, and wait until everybody has had their say."""
        world, (app, other) = self._world, self._chance.sample(APPS, 2)
        names = sorted(self.wanted[app])
        name = self._chance.choice(names) if names else ""
        match what:
            case "edit" if name:
                self.wanted[app][name] = str(self._fresh)
                self._fresh += 1
            case "rename" if name:
                del self.wanted[app][name]
                self._add(app)
            case "move" if name:
                self.wanted[other][name] = self.wanted[app].pop(name)
            case "remove" if len(names) > 1:
                del self.wanted[app][name]
            case "add":
                self._add(app)
            case "crash":
                await world.again()
            case "crash and lose the cache":
                await world.again(lose_cache=True)
            case "deny" if len(names) > 1:
                world.wire.forbidden = name
                del self.wanted[app][name]
                self.wanted[app][names[0] if names[0] != name else names[1]] = str(self._fresh)
            case "another cluster":
                self._clusters += 1
                world.wire.cluster = f"00000000-0000-0000-0000-{self._clusters:012}"
                await world.again()
        harmed = what in ("empty", "break", "deny")
        head = await self.tell(empty=app if what == "empty" else "", broken=app if what == "break" else "")
        await world.poke()
        await world.fetched(head)
        if harmed:
            await world.quiet()
            world.wire.forbidden = ""
            head = await self.tell()
            await world.poke()
        for each in APPS:
            await world.ready(each, head)
        await world.quiet()
        assert not world.wire.violations, f"{what}: {world.wire.violations}"
        problems = (await world.ending()).problems
        assert not problems, f"{what}: {problems}"


async def _run(kubeconfig: Path, steps: list[str], number: int) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        async with Stage(kubeconfig, Path(directory)) as stage:
            world = await stage.bare(f"property-{number}", [config_map("property", "any")])
            story = Story(world, random.Random(number))
            await world.clear()
            world.begin()
            await story.tell()
            await world.source()
            for app in APPS:
                await world.app(app, app)
            await world.live()
            for step in steps:
                await story.step(step)


@pytest.mark.slow
@pytest.mark.timeout(120 + SEQUENCES * 120)
def test_nothing_that_is_wanted_is_ever_deleted_and_nothing_is_lost(
    kubeconfig: Path, capsys: pytest.CaptureFixture[str]
):
    numbers = iter(range(10_000))
    with capsys.disabled():
        print(f" TRIMTAB_SEED={SEED} ", end="", flush=True)

    @seed(SEED)
    @settings(
        max_examples=SEQUENCES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(st.sampled_from(STEPS), min_size=5, max_size=8))
    def property_(steps: list[str]) -> None:
        asyncio.run(_run(kubeconfig, steps, next(numbers)))

    property_()
