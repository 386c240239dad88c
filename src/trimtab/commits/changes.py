"""What an edit asks for, judged against the commit it was made on: nothing but that, and nothing outside. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from trimtab.base.errors import Terminal
from trimtab.commits.message import Message
from trimtab.commits.snapshot import FILE, LINK, SUBMODULE, Entry, Snapshot
from trimtab.remotes.git.mirror import HostilePath, check_path

MOST_PATHS: Final = 20_000
MOST_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Changes:
    """`contents` of files that are there, files to be `created`, and, for reverts, entries `restored`: None is removed.

    `message` is what the commit says, where only the edit knows it.
    """

    contents: Mapping[str, bytes] = field(default_factory=dict)
    created: Mapping[str, bytes] = field(default_factory=dict)
    restored: Mapping[str, Entry | None] = field(default_factory=dict)
    message: Message | None = None


class Piece(NamedTuple):
    """One path as it is to be: new `data` in the mode `mode`, or an entry that exists, or nothing at all."""

    path: str
    mode: str = ""
    data: bytes | None = None
    entry: Entry | None = None


def inside(path: str) -> str:
    """A directory of the repository as people write it (`./clusters/prod/`), in git's words; the root is empty.

    Raises Terminal for one that is outside.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    cleaned = "/".join(parts)
    try:
        good = not cleaned or (check_path(cleaned.encode()) is not None and "\0" not in cleaned)
    except (HostilePath, UnicodeEncodeError):
        good = False
    if not good:
        raise Terminal("UpdateFailed", f"the path {path[:200]!a} is not a directory inside the repository")
    return cleaned


def judged(snapshot: Snapshot, changes: Changes, within: str) -> list[Piece]:
    """What really changes, sorted by path. Raises Terminal for anything that must not be done; then nothing is."""
    pieces: dict[str, Piece] = {}
    for path, data in changes.contents.items():
        entry = _file(snapshot, path)
        if data != snapshot.contents.get(path):
            pieces[path] = Piece(path, entry.mode, data)
    for path, data in changes.created.items():
        _free(snapshot, path)
        pieces[path] = Piece(path, FILE, data)
    for path, wanted in changes.restored.items():
        if wanted != snapshot.entries.get(path):
            pieces[path] = Piece(path, entry=wanted)
    asked = [*changes.contents, *changes.created, *changes.restored]
    if len(set(asked)) != len(asked):
        raise _refused("the same path is asked to be two things")
    for path in asked:
        _plain(path, within)
    _limited(pieces)
    _disjoint(snapshot, pieces)
    return sorted(pieces.values())


def index_lines(pieces: list[Piece], oids: Mapping[str, str]) -> bytes:
    """The input of `git update-index -z --index-info`; `oids` are the ids of the new contents, by path."""
    gone: list[bytes] = []
    there: list[bytes] = []
    for piece in pieces:
        name = piece.path.encode()
        if piece.data is not None:
            there.append(b"%b %b\t%b\0" % (piece.mode.encode(), oids[piece.path].encode(), name))
        elif piece.entry is not None:
            there.append(b"%b %b\t%b\0" % (piece.entry.mode.encode(), piece.entry.oid.encode(), name))
        else:
            gone.append(b"0 %b\t%b\0" % (b"0" * 40, name))
    return b"".join(gone + there)  # in this order a directory may take the place of a file


def _file(snapshot: Snapshot, path: str) -> Entry:
    entry = snapshot.entries.get(path)
    if entry is None:
        raise _refused(f"{path!a} is not a file of commit {snapshot.commit[:12]}{_behind(snapshot, path)}")
    if not entry.regular:
        what = "a link" if entry.mode == LINK else "a submodule"
        raise _refused(f"{path!a} is {what}: edit what it points to")
    return entry


def _free(snapshot: Snapshot, path: str) -> None:
    if path in snapshot.entries:
        raise _refused(f"{path!a} is there already, and was to be created")
    if reason := _behind(snapshot, path):
        raise _refused(f"{path!a} cannot be created{reason}")
    if any(other.startswith(f"{path}/") for other in snapshot.entries):
        raise _refused(f"{path!a} cannot be created: it is a directory")


def _behind(snapshot: Snapshot, path: str) -> str:
    parts = path.split("/")
    for end in range(1, len(parts)):
        above = "/".join(parts[:end])
        if (entry := snapshot.entries.get(above)) is not None:
            what = {LINK: "a link", SUBMODULE: "a submodule"}.get(entry.mode, "a file")
            return f": {above!a} is {what}"
    return ""


def _plain(path: str, within: str) -> None:
    try:
        plain = check_path(path.encode()) == path
    except (HostilePath, UnicodeEncodeError):
        plain = False
    if not plain or any(ord(char) < 0x20 for char in path):
        raise _refused(f"{path[:200]!a} is not a plain path")
    if within and not path.startswith(f"{within}/") and path != within:
        raise _refused(f"{path!a} is outside of {within!a}, and nothing outside is changed")


def _limited(pieces: Mapping[str, Piece]) -> None:
    size = sum(len(piece.data or b"") for piece in pieces.values())
    if len(pieces) > MOST_PATHS or size > MOST_BYTES:
        raise _refused(
            f"{len(pieces)} files and {size} bytes would change at once; the limits are {MOST_PATHS} and {MOST_BYTES}"
        )


def _disjoint(snapshot: Snapshot, pieces: Mapping[str, Piece]) -> None:
    """What is written is not below another path that stays or is written."""
    for path, piece in pieces.items():
        if piece.data is None and piece.entry is None:
            continue
        parts = path.split("/")
        for end in range(1, len(parts)):
            above = "/".join(parts[:end])
            other = pieces.get(above)
            stays = above in snapshot.entries and other is None
            if stays or (other is not None and (other.data is not None or other.entry is not None)):
                raise _refused(f"{path!a} is below {above!a}, which is not a directory")


def _refused(why: str) -> Terminal:
    return Terminal("UpdateFailed", f"nothing is committed: {why}")
