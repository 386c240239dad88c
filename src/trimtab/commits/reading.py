"""Commits in the mirror as snapshots and as a log."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from trimtab.base.errors import Terminal
from trimtab.commits.snapshot import Entry, Logged, Snapshot, parse_entries
from trimtab.remotes.git.git import Git
from trimtab.remotes.git.history import History
from trimtab.remotes.git.mirror import Mirror
from trimtab.remotes.git.names import check_commit

MOST_FILES: Final = 100_000
MOST_BYTES: Final = 256 << 20
MOST_LISTED: Final = 2_000
_PERSON: Final = re.compile(r"([^<\n]*<[^>\n]*>) (\d+) [+-]\d+")


class Reader:
    """Reads a mirror, which is locked. Everything raises what Git.run raises.

    What it has read it keeps, once for all commits; the limit of bytes is for all of it.
    """

    def __init__(self, mirror: Mirror, git: Git, *, timeout: float) -> None:
        self._mirror = mirror
        self._git = git
        self._timeout = timeout
        self._blobs: dict[str, bytes] = {}

    async def snapshot(
        self, commit: str, reads: Callable[[str], bool], past: Mapping[str, Snapshot] | None = None
    ) -> Snapshot:
        """`commit`, with the contents of the files that `reads` names. Raises HostilePath, Terminal beyond limits."""
        listed = await self._ask("ls-tree", ["-r", "-l", "-z", "--full-tree", f"{check_commit(commit)}^{{commit}}"])
        entries = parse_entries(listed)
        wanted = {path: entry for path, entry in entries.items() if entry.regular and reads(path)}
        self._within_limits(commit, wanted)
        return Snapshot(commit, entries, await self.contents(wanted), past or {})

    async def contents(self, wanted: Mapping[str, Entry]) -> dict[str, bytes]:
        """The contents of files, by path."""
        sizes = {entry.oid: entry.size for entry in wanted.values() if entry.oid not in self._blobs}
        async for batch in self._mirror.contents(self._git, sizes, timeout=self._timeout):
            self._blobs |= {oid: bytes(data) for oid, data in batch}
        return {path: self._blobs[entry.oid] for path, entry in wanted.items()}

    async def log(self, head: str, most: int, path: str = "") -> list[Logged]:
        """The last commits up to `head`, newest first, as far as was fetched; with `path`, those that touch it."""
        only = ["--", f":(literal){path}"] if path else []
        said = await self._ask("rev-list", [f"--max-count={min(most, MOST_LISTED)}", check_commit(head), *only])
        oids = said.decode().split()
        raw = await History(self._mirror, self._git, timeout=self._timeout).contents(oids)
        return [_logged(oid, content) for oid, content in zip(oids, raw, strict=True)]

    async def has(self, commit: str) -> bool:
        """Whether `commit` is here, with all its files."""
        return await History(self._mirror, self._git, timeout=self._timeout).has(commit)

    async def descends(self, head: str, ancestor: str) -> bool:
        """Whether `ancestor` is in the past of `head`, as far as that was fetched."""
        return await History(self._mirror, self._git, timeout=self._timeout).descends(head, ancestor)

    async def _ask(self, verb: str, arguments: list[str]) -> bytes:
        return await self._mirror.ask(self._git, verb, arguments, timeout=self._timeout)

    def _within_limits(self, commit: str, wanted: Mapping[str, Entry]) -> None:
        known = {oid: len(blob) for oid, blob in self._blobs.items()}
        kept = sum((known | {entry.oid: entry.size for entry in wanted.values()}).values())
        # the same content at many paths is kept once, and looked into at each of them
        size = max(kept, sum(entry.size for entry in wanted.values()))
        if len(wanted) > MOST_FILES or size > MOST_BYTES:
            others = ", with what differs in the commits it is compared with" if known else ""
            raise Terminal(
                "UpdateFailed",
                f"commit {commit[:12]} has {len(wanted)} files of {size} bytes to look into{others}; the limits are "
                f"{MOST_FILES} and {MOST_BYTES}: name a directory with less in it",
            )


def _logged(oid: str, raw: bytes) -> Logged:
    head, _, message = raw.partition(b"\n\n")
    parents: list[str] = []
    author, at = "", 0
    for line in head.decode(errors="replace").split("\n"):
        name, _, value = line.partition(" ")
        if name == "parent":
            parents.append(value)
        elif name == "author" and (match := _PERSON.fullmatch(value)):
            author = match[1].strip()
        elif name == "committer" and (match := _PERSON.fullmatch(value)):
            at = int(match[2])
    return Logged(oid, tuple(parents), author, at, message.decode(errors="replace"))
