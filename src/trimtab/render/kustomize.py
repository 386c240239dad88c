"""The kustomize program as a confined worker: it sees copies of one app's files and nothing else.

What it may read was decided before (closure.py).
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from trimtab.base.confined import TIMEOUT_S, WORKERS, Bounds, Confined, Task, without_place
from trimtab.base.errors import Terminal

MAX_MESSAGE: Final = 2_000

_CONFIG = re.compile(r"(with config): `.*?`", re.DOTALL)
_DUMPED = re.compile(r"(?:map\[\S*?\]\S* ?\{|map\[|\{\{|&[a-z]+\.[A-Z]\w*\{|\[patch: \").*", re.DOTALL)


class Kustomize:
    """Runs `kustomize build`, at most `workers` at a time."""

    def __init__(self, program: Path, work_dir: Path, *, workers: int = WORKERS, timeout: float = TIMEOUT_S) -> None:
        self._confined = Confined(
            program, work_dir, reason="BuildFailed", bounds=Bounds(workers=workers, timeout_s=timeout)
        )

    @property
    def identity(self) -> str:
        """Differs when another program would run."""
        return self._confined.identity

    async def build(self, directory: str, contents: Mapping[str, bytes]) -> bytes:
        """The YAML that kustomize makes of `directory` in a tree of `contents`, by path.

        Raises Terminal with reason BuildFailed for what the files are to blame for, Transient if the worker was killed
        or could not be started.
        """

        def fill(tree: Path) -> None:
            for path, data in contents.items():
                target = tree / path
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                target.write_bytes(data)

        shown = directory or "the root of the artifact"
        arguments = ("build", "--load-restrictor", "LoadRestrictionsNone", ".")
        task = Task(arguments, fill, _digest(directory, contents), f"build {shown}", directory)
        done, tree = await self._confined.run(task)
        if done.code == 0:
            return done.stdout
        said = clean(done.stderr.decode(errors="replace"), tree)
        raise Terminal("BuildFailed", f"kustomize cannot build {shown}: {said}")


def clean(message: str, tree: Path) -> str:
    """What kustomize said, in one line: paths relative to the artifact, no dumps of objects, no warnings."""
    lines = [line for line in message.splitlines() if not line.startswith(("# Warning", "Flag "))]
    text = "\n".join(lines).strip().removeprefix("Error: ")
    text = without_place(text, tree, "the root of the artifact")
    # The text of objects and patches may be secret, and says nothing that the file's name does not.
    text = _DUMPED.sub("…", _CONFIG.sub(r"\1 …", text))
    text = text.strip().partition("\n")[0].strip()
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


def _digest(directory: str, contents: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256(directory.encode())
    for path in sorted(contents):
        whole.update(f"\0{path}\0{len(contents[path])}\0".encode())
        whole.update(contents[path])
    return whole.hexdigest()
