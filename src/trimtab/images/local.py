"""A directory on disk: its YAML files are read, and those that change are written, each at once and never half.

Links are not followed, neither to files nor to directories: what is outside is never read and never written, and what
is inside is met at its own place.
"""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from trimtab.base.errors import Terminal
from trimtab.images.sweep import may_be_edited
from trimtab.manifests.yaml import MAX_BYTES

_SKIPPED: Final = frozenset({".git"})


def read(path: Path) -> Iterator[tuple[str, bytes]]:
    """The YAML files below `path`, or the one file that it is, by their names below it, sorted. Raises OSError.

    Of a file that is too large as much is read as shows that it is.
    """
    if path.is_file():
        yield path.name, _content(path)
        return
    for name in sorted(_walk(path)):
        yield name, _content(path / name)


def write(root: Path, name: str, before: bytes, after: bytes) -> None:
    """Put `after` in the place of the file `name`. Raises Terminal if it is no longer what was read, and OSError."""
    file = root / name if root.is_dir() else root
    if _content(file) != before:
        raise Terminal("UpdateFailed", f"{name} was changed by somebody else meanwhile: run this again")
    mode = stat.S_IMODE(file.lstat().st_mode)
    descriptor, temporary = tempfile.mkstemp(prefix=".trimtab-", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as written:
            written.write(after)
            os.fchmod(written.fileno(), mode)
        Path(temporary).replace(file)
    finally:
        Path(temporary).unlink(missing_ok=True)  # nothing of that name is left where it took the place of the file


def _walk(root: Path) -> Iterator[str]:
    for place, directories, names in os.walk(root, followlinks=False):
        directories[:] = sorted(name for name in directories if name not in _SKIPPED)
        for name in names:
            if may_be_edited(name) and stat.S_ISREG((Path(place) / name).lstat().st_mode):
                yield (Path(place) / name).relative_to(root).as_posix()


def _content(file: Path) -> bytes:
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        return opened.read(MAX_BYTES + 1)
