"""The kustomize program as a confined worker: it sees copies of one app's files and nothing else.

The directory is private and gone afterwards, the environment holds no variable of ours and no PATH, so there is no git
to start; memory, processor time, wall time and output are bounded. What it may read was decided before (closure.py).
"""

import asyncio
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from trimtab.base.errors import Terminal, Transient
from trimtab.base.process import Completed, Limits, OutputTooLarge, ProcessTimeout, run
from trimtab.render.memory import Opened, in_memory, place_of

WORKERS: Final = 2
TIMEOUT_S: Final = 90.0
MAX_OUTPUT: Final = 64 << 20
MAX_MESSAGE: Final = 2_000

# Go reserves about 1.5 GiB of addresses before it uses any; measured, this leaves a heap of 1 GiB.
_LIMITS: Final = Limits(memory_bytes=2_560 << 20, cpu_s=120, file_bytes=1 << 20)
_ENVIRONMENT: Final = {"PATH": "", "GOMEMLIMIT": "900MiB", "GOMAXPROCS": "2", "GOTRACEBACK": "none"}
_PREFIX: Final = "build-"
_ROOT: Final = "the root of the artifact"
_TELLING: Final = 4
"""So many characters in a row of a decrypted file are not told."""
_STALE_S: Final = 3_600.0

_CRASH = re.compile(r"^(?:panic|fatal error|runtime): .*", re.MULTILINE)
_CONFIG = re.compile(r"(with config): `.*?`", re.DOTALL)
_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|`[^`]*`")
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

    async def build(
        self, directory: str, contents: Mapping[str, bytes], *, secret: Mapping[str, Opened] = MappingProxyType({})
    ) -> bytes:
        """The YAML that kustomize makes of `directory` in a tree of `contents`, by path.

        What is `secret` is in that tree too, and in memory only.

        Raises Terminal with reason BuildFailed for what the files are to blame for, Transient if the worker was killed
        or could not be started.
        """
        async with self._slots:
            with in_memory({path: opened.plain for path, opened in secret.items()}) as descriptors:
                place = Path(await asyncio.to_thread(self._prepare, contents, descriptors))
                try:
                    done = await self._run(place, directory, tuple(descriptors.values()))
                finally:
                    await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
        if done.code == 0:
            return done.stdout
        raise _failure(done, place / "tree", directory or _ROOT, secret.values())

    def _prepare(self, contents: Mapping[str, bytes], secret: Mapping[str, int]) -> str:
        place = tempfile.mkdtemp(prefix=_PREFIX, dir=self._work_dir)
        tree = Path(place, "tree")
        Path(place, "home").mkdir(mode=0o700)
        tree.mkdir(mode=0o700)
        for path, data in contents.items():
            target = tree / path
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            target.write_bytes(data)
        for path, descriptor in secret.items():
            target = tree / path
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            target.symlink_to(place_of(descriptor))
        return place

    async def _run(self, place: Path, directory: str, inherited: tuple[int, ...]) -> Completed:
        tree = place / "tree"
        shown = directory or _ROOT
        home = str(place / "home")
        try:
            return await run(
                [self.program, "build", "--load-restrictor", "LoadRestrictionsNone", "."],
                env={**_ENVIRONMENT, "HOME": home, "TMPDIR": home},
                cwd=tree / directory,
                timeout=self._timeout,
                max_output=MAX_OUTPUT,
                limits=_LIMITS,
                pass_fds=inherited,
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


def _failure(done: Completed, tree: Path, shown: str, secret: Iterable[Opened]) -> Terminal | Transient:
    said = done.stderr.decode(errors="replace")
    if done.code < 0:
        return Transient("BuildFailed", f"kustomize was killed by signal {-done.code} while building {shown}")
    if crash := _CRASH.search(said):
        return Terminal(
            "BuildFailed", f"kustomize crashed while building {shown}: {_fit(clean(crash[0], tree), secret)}"
        )
    return Terminal("BuildFailed", f"kustomize cannot build {shown}: {_fit(clean(said, tree), secret)}")


def _fit(message: str, secret: Iterable[Opened]) -> str:
    """`message`, as far as it cannot hold what was decrypted: kustomize quotes the lines it stumbles over."""
    files = list(secret)
    if not files:
        return message
    bare = _QUOTED.sub("…", message)
    pieces = {bare[at : at + _TELLING].encode() for at in range(len(bare) - _TELLING + 1)}
    if any(piece in file.plain and piece not in file.sealed for piece in pieces for file in files):
        return "what it says is left out, since it quotes a decrypted file"
    return bare


def clean(message: str, tree: Path) -> str:
    """What kustomize said, in one line: paths relative to the artifact, no dumps of objects, no warnings."""
    lines = [line for line in message.splitlines() if not line.startswith(("# Warning", "Flag "))]
    text = "\n".join(lines).strip().removeprefix("Error: ")
    for root in {str(tree), str(tree.resolve())}:
        text = text.replace(root + "/", "").replace(root, _ROOT)
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
