"""The kustomize program as a confined worker: it sees copies of one app's files and nothing else.

What it may read was decided before (closure.py).
"""

import asyncio
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

from trimtab.base.confined import TIMEOUT_S, WORKERS, Bounds, Confined, Task, without_place
from trimtab.base.errors import Terminal, Transient
from trimtab.render.memory import Opened, in_memory, place_of

MAX_MESSAGE: Final = 2_000

_ROOT: Final = "the root of the artifact"
_TELLING: Final = 4
"""So many characters in a row of a decrypted file are not told."""
_NO_DIRECTORY = re.compile(r": must build at directory: not a valid directory: .*lstat /memfd:.*")
"""What follows on why a file cannot be read that is in memory only."""
_CONFIG = re.compile(r"(with config): `.*?`", re.DOTALL)
_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|`[^`]*`")
_DUMPED = re.compile(r"(?:map\[\S*?\]\S* ?\{|map\[|\{\{|&[a-z]+\.[A-Z]\w*\{|\[patch: \").*", re.DOTALL)


class Kustomize:
    """Runs `kustomize build`, at most `workers` at a time; `began` is called for every process."""

    def __init__(
        self,
        program: Path,
        work_dir: Path,
        *,
        workers: int = WORKERS,
        timeout: float = TIMEOUT_S,
        began: Callable[[], None] = lambda: None,
    ) -> None:
        self._began = began
        self._confined = Confined(
            program, work_dir, reason="BuildFailed", bounds=Bounds(workers=workers, timeout_s=timeout)
        )
        self._turns = asyncio.Semaphore(workers)

    @property
    def identity(self) -> str:
        """Differs when another program would run."""
        return self._confined.identity

    async def build(
        self,
        directory: str,
        contents: Mapping[str, bytes],
        *,
        secret: Mapping[str, Opened] = MappingProxyType({}),
        fleeting: Mapping[str, bytes] = MappingProxyType({}),
    ) -> bytes:
        """The YAML that kustomize makes of `directory` in a tree of `contents`, by path.

        What is `secret` is in that tree too, and in memory only; so is what is `fleeting`, of which messages may tell,
        since who asks for it knows what to leave out of them.

        Raises Terminal with reason BuildFailed for what the files are to blame for, Transient if the worker was killed
        or could not be started.
        """
        shown = directory or _ROOT
        async with AsyncExitStack() as stack:
            held = {**fleeting, **{path: opened.plain for path, opened in secret.items()}}
            if held:
                # Descriptors are few: whoever waits for a turn holds none.
                await stack.enter_async_context(self._turns)
            descriptors = stack.enter_context(_held(held))

            def fill(tree: Path) -> None:
                for path, data in contents.items():
                    _target(tree, path).write_bytes(data)
                for path, descriptor in descriptors.items():
                    _target(tree, path).symlink_to(place_of(descriptor))

            task = Task(
                ("build", "--load-restrictor", "LoadRestrictionsNone", "."),
                fill,
                _digest(directory, {**contents, **fleeting}, secret),
                f"build {shown}",
                directory,
                inherited=tuple(descriptors.values()),
            )
            self._began()
            done, tree = await self._confined.run(task)
        if done.code == 0:
            return done.stdout
        said = _fit(clean(done.stderr.decode(errors="replace"), tree), secret.values())
        raise Terminal("BuildFailed", f"kustomize cannot build {shown}: {said}")


def clean(message: str, tree: Path) -> str:
    """What kustomize said, in one line: paths relative to the artifact, no dumps of objects, no warnings."""
    lines = [line for line in message.splitlines() if not line.startswith(("# Warning", "Flag "))]
    text = "\n".join(lines).strip().removeprefix("Error: ")
    text = without_place(_NO_DIRECTORY.sub("", text), tree, _ROOT)
    # The text of objects and patches may be secret, and says nothing that the file's name does not.
    text = _DUMPED.sub("…", _CONFIG.sub(r"\1 …", text))
    text = text.strip().partition("\n")[0].strip()
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


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


@contextmanager
def _held(contents: Mapping[str, bytes]) -> Iterator[Mapping[str, int]]:
    try:
        with in_memory(contents) as descriptors:
            yield descriptors
    except OSError as problem:
        words = f"decrypted files cannot be kept in memory: {problem.strerror or problem}"
        raise Transient("BuildFailed", words) from problem


def _target(tree: Path, path: str) -> Path:
    target = tree / path
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return target


def _digest(directory: str, contents: Mapping[str, bytes], secret: Mapping[str, Opened]) -> str:
    """Tells one input from another; of what is secret by how it is kept."""
    whole = hashlib.sha256(directory.encode())
    for path, data in sorted([*contents.items(), *((path, opened.sealed) for path, opened in secret.items())]):
        whole.update(f"\0{path}\0{len(data)}\0".encode())
        whole.update(data)
    return whole.hexdigest()
