"""Finding and building the binaries we run: a control plane to test and to demonstrate on, and the renderers.

Honoured in this order: `KUBEBUILDER_ASSETS`, PATH (both only if the version fits), the user's cache. What none of them
has is built once from pinned Go modules into `$XDG_CACHE_HOME/trimtab/<family>-<version>-<digest of the pins>/`. Every
binary appears there under its name only when it is complete, so a build that was killed goes on where it stopped.
"""

import asyncio
import contextlib
import fcntl
import functools
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from trimtab.base import process
from trimtab.base.errors import Terminal
from trimtab.toolchain import golang
from trimtab.toolchain.families import FAMILIES, Companion, Family, FamilyName, Tool, Version

_BUILD_S = 3600.0
_HEARTBEAT_S = 5.0


class Step(NamedTuple):
    """How far a build is: `tool` is number `number` of `of`, at work for `elapsed_s` seconds."""

    tool: str
    number: int
    of: int
    elapsed_s: float
    done: bool = False

    def __str__(self) -> str:
        verb = "built" if self.done else "building"
        return f"{verb} {self.tool} ({self.number} of {self.of}), {self.elapsed_s:.0f} s"


def cache_root() -> Path:
    """Where binaries are kept for all versions of the project: `$XDG_CACHE_HOME/trimtab`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "trimtab"


def cache_of(family: FamilyName) -> Path:
    """Where the binaries of this family at exactly these pins are kept."""
    return cache_root() / FAMILIES[family].label


def find(family: FamilyName) -> Mapping[str, Path] | None:
    """The binaries of `family` by name, or None if one of them still has to be built."""
    found = _search(FAMILIES[family])
    return found if len(found) == len(FAMILIES[family].tools) else None


def present(family: FamilyName) -> Mapping[str, Path]:
    """Those binaries of `family` that are there, by name: for whoever can do with some of them."""
    return _search(FAMILIES[family])


async def ensure(
    family: FamilyName,
    *,
    progress: Callable[[str], None] | None = None,
    watch: Callable[[Step], None] | None = None,
) -> Mapping[str, Path]:
    """The binaries of `family` by name, built now if they are missing (minutes, the first time).

    `progress` gets a line every few seconds, `watch` the same as a value. Raises Terminal with the compiler's words.
    """
    wanted = FAMILIES[family]
    say = progress or _silent

    def report(step: Step) -> None:
        say(str(step))
        if watch:
            watch(step)

    if found := find(family):
        return found
    home = cache_of(family)
    home.mkdir(parents=True, exist_ok=True)
    async with _alone(home.parent / f"{wanted.name}.lock", say):
        found = _search(wanted)
        if missing := [tool for tool in wanted.tools if tool.name not in found]:
            go = await golang.ensure(cache_root(), say)
            say(f"building {len(missing)} binaries into {home}; this happens once per version")
            for number, tool in enumerate(missing, start=1):
                await _build(go, wanted, tool, home, Step(tool.name, number, len(missing), 0.0), report)
        return _search(wanted)


def _search(family: Family) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for tool in family.tools:
        path = next((place for place in _elsewhere(tool) if _fits(tool, place)), None)
        cached = cache_root() / family.label / tool.name
        if path is None and _complete(tool, cached):
            path = cached
        if path is not None:
            found[tool.name] = path
    return found


def _elsewhere(tool: Tool) -> Iterator[Path]:
    for folder in (os.environ.get("KUBEBUILDER_ASSETS"), os.environ.get("PATH", "")):
        if folder and (path := shutil.which(tool.name, path=folder)):
            yield Path(path).absolute()


def _fits(tool: Tool, path: Path) -> bool:
    if not _complete(tool, path):
        return False
    version = _version(path, tool.version_args, path.stat().st_mtime_ns)
    return version is not None and tool.fits(version)


def _complete(tool: Tool, path: Path) -> bool:
    files = (
        (path.parent / tool.companion.folder / Path(file).name for file in tool.companion.files)
        if tool.companion
        else ()
    )
    return os.access(path, os.X_OK) and all(file.is_file() for file in files)


@functools.lru_cache(maxsize=64)
def _version(path: Path, arguments: tuple[str, ...], _changed_ns: int) -> Version | None:
    # Not through base.process: finding is synchronous, short, and happens before any loop has work to do.
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "/")}
    try:
        said = subprocess.run([path, *arguments], capture_output=True, env=environment, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(rb"v?(\d+)\.(\d+)\.(\d+)", said.stdout)
    return (int(match[1]), int(match[2]), int(match[3])) if said.returncode == 0 and match else None


async def _build(go: Path, family: Family, tool: Tool, home: Path, start: Step, report: Callable[[Step], None]) -> None:
    started = time.monotonic()

    async def beat() -> None:
        while True:
            report(start._replace(elapsed_s=time.monotonic() - started))
            await asyncio.sleep(_HEARTBEAT_S)

    with tempfile.TemporaryDirectory(dir=home, prefix=f".{tool.name}-") as scratch:
        fresh = Path(scratch) / tool.name
        try:
            async with asyncio.TaskGroup() as group:
                heart = group.create_task(beat())
                await _compile(go, family, tool, fresh)
                if tool.companion:
                    # Before the binary: a binary in its place means that everything it needs is in its place.
                    await _copy_companion(go, family, tool.companion, home)
                heart.cancel()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures.exceptions[0].__cause__
        fresh.replace(home / tool.name)
    report(start._replace(elapsed_s=time.monotonic() - started, done=True))


async def _compile(go: Path, family: Family, tool: Tool, target: Path) -> None:
    flags = ["-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", f"-s -w {tool.ldflags}".strip()]
    await _go(go, family, ["build", "-o", str(target), *flags, tool.package], f"building {tool.name}")


async def _copy_companion(go: Path, family: Family, companion: Companion, home: Path) -> None:
    said = await _go(go, family, ["list", "-m", "-f", "{{.Dir}}", companion.module], f"finding {companion.module}")
    origin = Path(said.decode().strip())
    folder = home / companion.folder
    folder.mkdir(exist_ok=True)
    for file in companion.files:
        # The bytes only: files of the module cache are read-only, and a cache nobody can delete is a nuisance.
        (folder / Path(file).name).write_bytes((origin / file).read_bytes())


async def _go(go: Path, family: Family, arguments: list[str], doing: str) -> bytes:
    try:
        done = await process.run([go, *arguments], env=golang.environment(), cwd=family.module, timeout=_BUILD_S)
    except (OSError, process.ProcessTimeout) as failure:
        raise Terminal("ToolchainBuildFailed", f"{doing} with {go}: {failure}") from failure
    if done.code != 0:
        words = "\n".join(done.stderr.decode(errors="replace").strip().splitlines()[-12:])
        raise Terminal(
            "ToolchainBuildFailed",
            f"{doing} from {family.module / 'go.mod'} failed:\n{words}\n"
            "sources come through Go's module proxy (GOPROXY, HTTPS_PROXY); what is finished is kept for the next try",
        )
    return done.stdout


@contextlib.asynccontextmanager
async def _alone(path: Path, say: Callable[[str], None]) -> AsyncIterator[None]:
    """Hold the lock at `path`. The kernel drops it with the process, so a crash leaves nothing to clean."""
    with path.open("a") as file:
        waited = 0
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if waited % 20 == 0:
                    say(f"another process is building here ({path.name}), waiting for it: {waited / 2:.0f} s")
                waited += 1
                await asyncio.sleep(0.5)
        yield


def _silent(_line: str) -> None:
    pass
