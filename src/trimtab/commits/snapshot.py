"""What an edit gets to see: the entries of one commit, and the contents that were asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from trimtab.remotes.git.mirror import HostilePath, check_path

LINK: Final = "120000"
SUBMODULE: Final = "160000"
FILE: Final = "100644"
PROGRAM: Final = "100755"
_MODES: Final = frozenset({LINK, SUBMODULE, FILE, PROGRAM, "100664"})


class Entry(NamedTuple):
    """A path in a commit: a file, a link or a submodule, by git's mode and id. A submodule has no size."""

    mode: str
    oid: str
    size: int = 0

    @property
    def regular(self) -> bool:
        """Whether it is a file, executable or not."""
        return self.mode not in (LINK, SUBMODULE)


class Logged(NamedTuple):
    """A commit of the past. `author` is name and address, `message` all it says, `at` the time of its committer."""

    commit: str
    parents: tuple[str, ...]
    author: str
    at: int
    message: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A commit: what is at each path, and the contents of the files that were asked for.

    `past` are the other commits that were asked for, by the name that was used. Paths that are no text are not here,
    and stay as they are.
    """

    commit: str
    entries: Mapping[str, Entry]
    contents: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    past: Mapping[str, "Snapshot"] = field(default_factory=dict)

    def under(self, directory: str) -> list[str]:
        """The paths below `directory`, sorted; all of them for an empty one. Of a file, the file."""
        inside = f"{directory}/" if directory else ""
        return sorted(path for path in self.entries if path.startswith(inside) or path == directory)


def parse_entries(listed: bytes) -> dict[str, Entry]:
    """What `git ls-tree -r -l -z` says. Raises HostilePath for names that must never reach a file system."""
    found: dict[str, Entry] = {}
    for line in listed.split(b"\0")[:-1]:
        head, _, name = line.partition(b"\t")
        mode, _, oid, size = head.decode().split()
        path = check_path(name)
        if mode not in _MODES:
            raise HostilePath(f"{path!a} has the mode {mode}")
        if path is not None:
            found[path] = Entry(mode, oid, int(size) if size.isdecimal() else 0)
    return found
