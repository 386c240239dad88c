"""From pieces to a commit in the mirror: blobs, a tree, the commit itself, and the proof that nothing else changed."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import Final, NamedTuple

from trimtab.commits.changes import Piece, index_lines
from trimtab.commits.message import Message, Person
from trimtab.commits.signing import Signer
from trimtab.remotes.git.git import Git, GitFailed
from trimtab.remotes.git.mirror import Mirror
from trimtab.remotes.git.names import check_commit
from trimtab.remotes.git.objects import BadObject, parse_commit

MOST_DIFF: Final = 1 << 20
_ABREAST: Final = 4


class Words(NamedTuple):
    """All of a commit but its tree and its parent."""

    message: Message
    author: Person
    committer: Person
    at: datetime
    signer: Signer | None


class Maker:
    """Writes objects into a mirror, which is locked. Everything raises what Git.run raises."""

    def __init__(self, mirror: Mirror, git: Git, *, timeout: float) -> None:
        self._mirror = mirror
        self._git = git
        self._timeout = timeout

    async def tree(self, parent: str, pieces: Sequence[Piece]) -> str:
        """The tree of `parent` with `pieces` in it."""
        oids = await self._blobs(pieces)
        # In the git's own home, which goes with it, and is wiped where the process was killed.
        index = str(Path(self._git.environment["HOME"]) / f"index-{token_hex(8)}")
        git = replace(self._git, environment={**self._git.environment, "GIT_INDEX_FILE": index})
        await self._ask("read-tree", [f"{check_commit(parent)}^{{tree}}"], git=git)
        await self._ask("update-index", ["-z", "--index-info"], stdin=index_lines(list(pieces), oids), git=git)
        return check_commit((await self._ask("write-tree", [], git=git)).decode().strip())

    async def tree_of(self, commit: str) -> str:
        """The tree of a commit."""
        said = await self._ask("rev-parse", ["--verify", "--end-of-options", f"{check_commit(commit)}^{{tree}}"])
        return check_commit(said.decode().strip())

    async def changed(self, before: str, after: str) -> tuple[str, ...]:
        """The paths in which two trees or commits differ, sorted."""
        said = await self._ask("diff-tree", ["-r", "-z", "--no-renames", "--name-only", before, after])
        return tuple(sorted(name.decode(errors="surrogateescape") for name in said.split(b"\0")[:-1]))

    async def diff(self, before: str, after: str) -> str:
        """What differs, for people."""
        said = await self._ask("diff-tree", ["-r", "-p", "--no-ext-diff", "--no-textconv", before, after])
        text = said[:MOST_DIFF].decode(errors="replace")
        return text if len(said) <= MOST_DIFF else f"{text}\n… and {len(said) - MOST_DIFF} bytes more\n"

    async def commit(self, tree: str, parent: str, words: Words) -> str:
        """The commit. It is signed if there is a signer, or not made. Raises SigningFailed and Terminal too."""
        seconds = int(words.at.timestamp())
        head = (
            f"tree {check_commit(tree)}\nparent {check_commit(parent)}\n"
            f"author {words.author.line(seconds)}\ncommitter {words.committer.line(seconds)}\n"
        ).encode()
        body = b"\n" + str(words.message).encode()
        signature = b""
        if words.signer is not None:
            armored = await asyncio.to_thread(words.signer.sign, head + body)
            signature = b"gpgsig " + armored.rstrip(b"\n").replace(b"\n", b"\n ") + b"\n"
        raw = head + signature + body
        try:
            read = parse_commit(raw)
        except BadObject as problem:
            raise GitFailed("commit", f"what was made cannot be read: {problem}") from problem
        if (read.signature is None) is not (words.signer is None) or read.payload != head + body:
            raise GitFailed("commit", "what was made is not what was signed")
        return check_commit(
            (await self._ask("hash-object", ["-t", "commit", "-w", "--stdin"], stdin=raw)).decode().strip()
        )

    async def _blobs(self, pieces: Sequence[Piece]) -> dict[str, str]:
        slots = asyncio.Semaphore(_ABREAST)

        async def put(path: str, data: bytes) -> tuple[str, str]:
            async with slots:
                # No filters and no conversion of line ends: what was edited is what is kept, byte for byte.
                said = await self._ask("hash-object", ["-w", "--no-filters", "--stdin"], stdin=data)
                return path, check_commit(said.decode().strip())

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(put(piece.path, piece.data)) for piece in pieces if piece.data is not None]
        return dict(task.result() for task in tasks)

    async def _ask(self, verb: str, arguments: Sequence[str], *, stdin: bytes = b"", git: Git | None = None) -> bytes:
        return await self._mirror.ask(git or self._git, verb, arguments, stdin=stdin, timeout=self._timeout)
