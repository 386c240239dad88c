"""Questions about the commits in a mirror: what is in them, which come after which, and who descends from whom."""

import re
from collections.abc import Sequence
from enum import StrEnum

from trimtab.remotes.git.git import Git, GitFailed
from trimtab.remotes.git.mirror import Mirror
from trimtab.remotes.git.names import check_commit

STEPS = (32, 1024, 65_536)
"""So many generations are fetched, one number after the other, to tell whether one commit descends from another: nearly
always the old one is among the last few, and only for the answer "no" is a whole history needed."""
_BATCH = 500
_MOST_BYTES = 64 << 20
_HEAD_CHARS = 100
_BLAMED = re.compile(rb"^([0-9a-f]{40}) \d+ \d+", re.MULTILINE)


class Descent(StrEnum):
    """How a commit is related to an earlier one. UNKNOWN: its history is too long, or could not be had."""

    DESCENDS = "descends"
    DIVERGED = "diverged"
    UNKNOWN = "unknown"


class TooLong(Exception):
    """More history than is looked at."""


class History:
    """What is known of the past of a commit. Use it while the mirror is locked.

    Everything raises what Git.run raises.
    """

    def __init__(self, mirror: Mirror, git: Git, *, timeout: float) -> None:
        self._mirror = mirror
        self._git = git
        self._timeout = timeout

    async def contents(self, oids: Sequence[str]) -> list[bytes]:
        """The commits and tags as they are stored. Raises GitFailed if one is missing, TooLong if they are huge."""
        found: list[bytes] = []
        for start in range(0, len(oids), _BATCH):
            batch = oids[start : start + _BATCH]
            said = await self._ask("cat-file", ["--batch"], stdin="".join(f"{oid}\n" for oid in batch).encode())
            at = 0
            for oid in batch:
                head, _, _ = said[at : at + _HEAD_CHARS].partition(b"\n")
                name, kind, *size = head.decode(errors="replace").split(" ")
                if name != oid or kind not in ("commit", "tag") or not size:
                    raise GitFailed("cat-file", f"object {oid} is {kind}, not a commit or a tag")
                start_of, end_of = at + len(head) + 1, at + len(head) + 1 + int(size[0])
                found.append(said[start_of:end_of])
                at = end_of + 1
            if sum(map(len, found)) > _MOST_BYTES:
                raise TooLong(f"more than {_MOST_BYTES} bytes of commits")
        return found

    @property
    def cut(self) -> frozenset[str]:
        """The commits whose parents were not fetched."""
        shallow = self._mirror.path / "shallow"
        return frozenset(shallow.read_text().split()) if shallow.exists() else frozenset()

    async def whole(self, head: str) -> bool:
        """Whether all of the past of `head` is here. Others who share the mirror may have left theirs cut."""
        if not (cut := self.cut):
            return True
        said = await self._ask("rev-list", [check_commit(head)])
        return cut.isdisjoint(said.decode().split())

    async def descends(self, head: str, ancestor: str) -> bool:
        """Whether `ancestor` is in the past of `head`. One that is not here is not, as far as was looked."""
        if head == ancestor:
            return True
        if not await self.has(ancestor):
            return False
        said = await self._ask("rev-list", ["--max-count=1", check_commit(ancestor), f"^{check_commit(head)}"])
        return not said.strip()

    async def begins(self, head: str, digits: str) -> bool:
        """Whether the id of a commit in the past of `head`, as far as that is here, begins with `digits`."""
        said = await self._ask("rev-list", [check_commit(head)])
        return any(oid.startswith(digits) for oid in said.decode().split())

    async def first_parents(self, head: str) -> list[str]:
        """`head` and its first parents, as far as they are here."""
        return (await self._ask("rev-list", ["--first-parent", check_commit(head)])).decode().split()

    async def last_change(self, head: str, path: str, first: int, last: int) -> str:
        """The newest commit that wrote one of the lines from `first` to `last` of the file at `path` in `head`.

        It may be one of `cut`: then it is that commit or one before it. Needs a mirror with files. Raises ValueError.
        """
        if path.startswith(":") or "\0" in path or not 0 < first <= last:
            raise ValueError(f"{path[:80]!a}: not a file in a commit")
        lines = f"-L{first},{last}"
        said = await self._ask("blame", ["--porcelain", lines, check_commit(head), "--", path])
        found = dict.fromkeys(match[1].decode() for match in _BLAMED.finditer(said))
        if not found:
            raise GitFailed("blame", f"nothing is known of lines {first} to {last} of {path}")
        newest = await self._ask("rev-list", ["--topo-order", "--max-count=1", *map(check_commit, found)])
        return check_commit(newest.decode().strip())

    async def last_touch(self, head: str, directory: str) -> str:
        """The newest commit that changed something in `directory` of `head`; see `last_change`."""
        place = ["--", f":(literal){directory}"] if directory else []
        said = await self._ask("rev-list", ["--max-count=1", check_commit(head), *place])
        if not said.strip():
            raise GitFailed("rev-list", f"nothing is known of {directory}")
        return check_commit(said.decode().strip())

    async def between(self, head: str, base: str, *, first_parent: bool, most: int) -> list[str]:
        """The commits in the past of `head`, itself in front, without `base` and the past of that; all without a base.

        Raises TooLong where the beginning cannot be reached, or there are more than `most`.
        """
        options = ["--first-parent"] if first_parent else []
        known = [f"^{base}"] if base and await self.has(base) else []
        said = await self._ask("rev-list", [*options, f"--max-count={most + 1}", check_commit(head), *known])
        found = said.decode().split()
        if len(found) > most:
            raise TooLong(f"more than {most} commits")
        if not self.cut.isdisjoint(found):
            raise TooLong("its beginning is further back than is fetched")
        return list(dict.fromkeys([head, *found]))

    async def has(self, oid: str) -> bool:
        """Whether this commit was fetched."""
        said = await self._ask("cat-file", ["--batch-check"], stdin=f"{check_commit(oid)}\n".encode())
        return said.split(b" ")[1:2] == [b"commit"]

    async def _ask(self, verb: str, arguments: Sequence[str], *, stdin: bytes = b"") -> bytes:
        return await self._mirror.ask(self._git, verb, arguments, stdin=stdin, timeout=self._timeout)
