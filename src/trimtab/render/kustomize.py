"""The kustomize program as a confined worker: it sees copies of one app's files and nothing else.

The directory is private and gone afterwards, the environment holds no variable of ours and no PATH, so there is no git
to start; memory, processor time, wall time and output are bounded. What it may read was decided before (closure.py).
"""

import asyncio
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from trimtab.base.errors import Terminal, Transient
from trimtab.base.process import Completed, Limits, OutputTooLarge, ProcessTimeout, run

WORKERS: Final = 2
TIMEOUT_S: Final = 90.0
MAX_OUTPUT: Final = 64 << 20
MAX_MESSAGE: Final = 2_000

# Go reserves about 1.5 GiB of addresses before it uses any; measured, this leaves a heap of 1 GiB.
_LIMITS: Final = Limits(memory_bytes=2_560 << 20, cpu_s=120, file_bytes=1 << 20)
_ENVIRONMENT: Final = {"PATH": "", "GOMEMLIMIT": "900MiB", "GOMAXPROCS": "2", "GOTRACEBACK": "none"}
_PREFIX: Final = "build-"
_STALE_S: Final = 3_600.0

_CRASH = re.compile(r"^(?:panic|fatal error|runtime): .*", re.MULTILINE)
_CONFIG = re.compile(r"(with config): `.*?`", re.DOTALL)
_DUMPED = re.compile(r"(?:map\[\S*?\]\S* ?\{|map\[|\{\{|&[a-z]+\.[A-Z]\w*\{|\[patch: \").*", re.DOTALL)


class Kustomize:
    """Runs `kustomize build`, at most `workers` at a time."""

    def __init__(self, program: Path, work_dir: Path, *, workers: int = WORKERS, timeout: float = TIMEOUT_S) -> None:
        self.program = program
        self._work_dir = work_dir
        self._timeout = timeout
        self._slots = asyncio.Semaphore(workers)
        work_dir.mkdir(parents=True, exist_ok=True)
        _sweep(work_dir)

    @property
    def identity(self) -> str:
        """Differs when another program would run."""
        status = self.program.stat()
        return f"{self.program}:{status.st_size}:{status.st_mtime_ns}"

    async def build(self, directory: str, contents: Mapping[str, bytes]) -> bytes:
        """The YAML that kustomize makes of `directory` in a tree of `contents`, by path.

        Raises Terminal with reason BuildFailed for what the files are to blame for, Transient if the worker was killed
        or could not be started.
        """
        async with self._slots:
            place = Path(await asyncio.to_thread(self._prepare, contents))
            try:
                return await self._run(place, directory)
            finally:
                await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    def _prepare(self, contents: Mapping[str, bytes]) -> str:
        place = tempfile.mkdtemp(prefix=_PREFIX, dir=self._work_dir)
        tree = Path(place, "tree")
        Path(place, "home").mkdir(mode=0o700)
        tree.mkdir(mode=0o700)
        for path, data in contents.items():
            target = tree / path
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            target.write_bytes(data)
        return place

    async def _run(self, place: Path, directory: str) -> bytes:
        tree = place / "tree"
        shown = directory or "the root of the artifact"
        home = str(place / "home")
        try:
            done = await run(
                [self.program, "build", "--load-restrictor", "LoadRestrictionsNone", "."],
                env={**_ENVIRONMENT, "HOME": home, "TMPDIR": home},
                cwd=tree / directory,
                timeout=self._timeout,
                max_output=MAX_OUTPUT,
                limits=_LIMITS,
            )
        except ProcessTimeout:
            raise Transient(
                "BuildFailed", f"kustomize took longer than {self._timeout:g} s to build {shown} and was stopped"
            ) from None
        except OutputTooLarge:
            raise Terminal(
                "BuildFailed", f"the build of {shown} is larger than {MAX_OUTPUT >> 20} MiB; split it"
            ) from None
        except OSError as error:
            raise Transient("BuildFailed", f"kustomize cannot be started: {error.strerror or error}") from error
        if done.code == 0:
            return done.stdout
        raise _failure(done, tree, shown)


def _failure(done: Completed, tree: Path, shown: str) -> Terminal | Transient:
    said = done.stderr.decode(errors="replace")
    if done.code < 0:
        return Transient("BuildFailed", f"kustomize was killed by signal {-done.code} while building {shown}")
    if crash := _CRASH.search(said):
        return Terminal("BuildFailed", f"kustomize crashed while building {shown}: {clean(crash[0], tree)}")
    return Terminal("BuildFailed", f"kustomize cannot build {shown}: {clean(said, tree)}")


def clean(message: str, tree: Path) -> str:
    """What kustomize said, in one line: paths relative to the artifact, no dumps of objects, no warnings."""
    lines = [line for line in message.splitlines() if not line.startswith(("# Warning", "Flag "))]
    text = "\n".join(lines).strip().removeprefix("Error: ")
    for root in {str(tree), str(tree.resolve())}:
        text = text.replace(root + "/", "").replace(root, "the root of the artifact")
    # The text of objects and patches may be secret, and says nothing that the file's name does not.
    text = _DUMPED.sub("…", _CONFIG.sub(r"\1 …", text))
    text = text.strip().partition("\n")[0].strip()
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


def _sweep(work_dir: Path) -> None:
    """Remove what a killed process left behind."""
    for left in work_dir.glob(_PREFIX + "*"):
        try:
            stale = left.stat().st_mtime < time.time() - _STALE_S
        except FileNotFoundError:
            continue
        if stale:
            shutil.rmtree(left, ignore_errors=True)
