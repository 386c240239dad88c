"""The story of a write: look, edit, commit, push; and again from the start where somebody was faster."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient
from trimtab.base.process import OutputTooLarge, ProcessTimeout
from trimtab.commits.changes import Changes, inside, judged
from trimtab.commits.errors import Contended, ReadOnly, Refused
from trimtab.commits.making import Maker, Words
from trimtab.commits.message import CHANGE, Message, Person, trailers_of
from trimtab.commits.outcome import Already, Nothing, Outcome, Planned, Written
from trimtab.commits.pushing import OWN, Fate, Push, Told, arguments, extra_target, option_words, told
from trimtab.commits.reading import Reader
from trimtab.commits.signing import Signer
from trimtab.commits.snapshot import Logged, Snapshot
from trimtab.commits.way import Way
from trimtab.remotes.git.git import Git, GitFailed, hardened
from trimtab.remotes.git.mirror import HostilePath, Mirror
from trimtab.remotes.git.names import COMMIT, check_ref

log = logging.getLogger(__name__)

Edit: TypeAlias = Callable[[Snapshot], Changes]
LOOKBACK: Final = 20
"""So many commits come along with a head, and are looked through for what was done already."""

_WAIT_S: Final = 600.0  # for others that use the mirror; each of them has its own timeout
_PAUSE_S: Final = 0.05
_HEADS: Final = "refs/heads/"


def nothing(_: str) -> bool:
    """Reads no file."""
    return False


@dataclass(frozen=True, slots=True)
class Order:
    """What kind of a commit is wanted.

    `message` is what it says, unless the edit says it. `reads` says whose contents the edit gets, `past` which other
    commits (full ids) it gets as well, `within` is the directory outside of which nothing changes. `change` is the id
    of the change: if one of the last commits has made it, there is no other. The committer is the author unless there
    is another. `dry` writes nothing anywhere.
    """

    message: Message
    author: Person
    reads: Callable[[str], bool] = nothing
    committer: Person | None = None
    signer: Signer | None = None
    within: str = ""
    change: str = ""
    past: Sequence[str] = ()
    push: Push = field(default_factory=Push)
    attempts: int = 5
    dry: bool = False


@dataclass(frozen=True, slots=True)
class _Ground:
    """What a commit is made on, and where it goes: `expected` is where that branch is now, empty if it is not there."""

    head: str
    branch: str
    expected: str


class Writer:
    """Writes to one branch of one repository. One at a time for each mirror, so share it by `Writers`."""

    def __init__(
        self,
        way: Way,
        branch: str,
        mirror: Mirror,
        private: Path,
        clock: Clock,
        *,
        lookback: int,
        memory: asyncio.Semaphore,
    ) -> None:
        try:
            self.branch = check_ref(branch)
        except ValueError as problem:
            raise Terminal("UpdateFailed", f"the branch {problem}") from problem
        self._way = way
        self._mirror = mirror
        self._private = private
        self._clock = clock
        self._lookback = lookback
        self._memory = memory

    async def head(self) -> str:
        """The commit that the branch is at. One small request. Raises Transient if there is no such branch."""
        return self._there(await self._way.heads([_HEADS + self.branch]))

    async def recent(self, most: int = LOOKBACK, path: str = "", branch: str = "") -> list[Logged]:
        """The last commits of the branch (or of another), newest first, as far back as comes along with its head."""
        return (await self.touching([path], most, branch))[path]

    async def touching(self, paths: Iterable[str], most: int = LOOKBACK, branch: str = "") -> dict[str, list[Logged]]:
        """For each of `paths` what `recent` says of it. The server is asked once for all of them."""
        name = self._target(Push(branch))
        async with self._at_work() as git:
            heads = await self._way.heads([_HEADS + name])
            head = await self._brought(self._there(heads, name), name)
            reader = self._reader(git)
            return {path: await reader.log(head, most, path) for path in dict.fromkeys(paths)}

    async def further(self, most: int) -> list[Logged]:
        """`recent`, and further back than comes along with a head: what is missing of the history is fetched."""
        async with self._at_work() as git:
            head = self._there(await self._way.heads([_HEADS + self.branch]))
            head = await self._fetched(head, self.branch, self.branch, exact=False, depth=most, deeper=True)
            return await self._reader(git).log(head, most)

    async def probe(self) -> None:
        """Ask whether the branch could be pushed to, and send nothing. Raises ReadOnly, AuthenticationFailed, …

        What a rule of the server says of a commit is known only when there is one.
        """
        async with self._at_work() as git:
            head = (await self._ground(git, self.branch)).head
            ground = _Ground(head, self.branch, head)
            self._judged(await self._pushed(Written(head, head, self.branch, ()), ground, "", ["--dry-run"]), ground)

    async def write(self, edit: Edit, order: Order) -> Outcome:
        """Have what `edit` asks for on the branch, as one commit. The package says what is raised.

        Where it raises, nothing was written, but for an answer that got lost and a branch that cannot be asked then.
        """
        target = self._target(order.push)
        extra = extra_target(order.push.refspec, target)
        options = option_words(order.push.options)
        within = inside(order.within)
        async with self._at_work() as git:
            said = ""
            for attempt in range(1, max(1, order.attempts) + 1):
                if attempt > 1:
                    await self._clock.sleep(_PAUSE_S * attempt * (0.5 + random.random()))  # noqa: S311 - a pause
                ground = await self._ground(git, target)
                async with self._memory:  # who waits for a server does so outside
                    made = await self._made(git, ground, edit, order, within)
                if not isinstance(made, Written):
                    return made
                verdict = await self._pushed(made, ground, extra, options)
                match verdict.fate:
                    case Fate.DONE:
                        notes = (verdict.note,) if verdict.note else ()
                        return Written(made.commit, made.parent, target, made.paths, attempt, notes)
                    case Fate.MOVED:
                        said = verdict.said
                        log.info("%s: %s moved while a commit was made for it: %s", self._way.name, target, said)
                    case Fate.FAILED if await self._arrived(made.commit, target):
                        return Written(made.commit, made.parent, target, made.paths, attempt)
                    case _:
                        self._judged(verdict, ground)
        raise Contended(
            f"{self._way.name}: {target} moved {order.attempts} times while a commit was made for it, which is tried "
            f"again later. The last answer: {said}"
        )

    async def _made(self, git: Git, ground: _Ground, edit: Edit, order: Order, within: str) -> Outcome:
        """A commit in the mirror that says what to push; or why there is none."""
        reader, maker = self._reader(git), Maker(self._mirror, git, timeout=self._way.timeout_s)
        if order.change:
            for made in await reader.log(ground.expected or ground.head, self._lookback):
                if (CHANGE, order.change) in trailers_of(made.message):
                    return Already(made.commit, ground.expected or ground.head, ground.branch)
        past: dict[str, Snapshot] = {}
        for number, one in enumerate(order.past):
            past[one] = await reader.snapshot(await self._past(git, one, f"past {number}"), order.reads)
        snapshot = await reader.snapshot(ground.head, order.reads, past)
        changes = await asyncio.to_thread(edit, snapshot)
        pieces = judged(snapshot, changes, within)
        if not pieces:
            return Nothing(ground.head, ground.branch)
        tree = await maker.tree(ground.head, pieces)
        paths = await maker.changed(ground.head, tree)
        if not paths:
            return Nothing(ground.head, ground.branch)
        if surprise := set(paths) - {piece.path for piece in pieces}:
            raise GitFailed("write-tree", f"{min(surprise)!a} would change, and was not meant to")
        if ground.expected not in ("", ground.head) and tree == await maker.tree_of(ground.expected):
            return Nothing(ground.expected, ground.branch)
        message = changes.message or order.message
        if order.change:
            message = Message(message.text, (*message.trailers, (CHANGE, order.change)))
        if order.dry:
            shown = await maker.diff(ground.head, tree)
            return Planned(ground.head, ground.branch, paths, str(message), shown)
        words = Words(message, order.author, order.committer or order.author, self._clock.now(), order.signer)
        commit = await maker.commit(tree, ground.head, words)
        return Written(commit, ground.head, ground.branch, paths)

    async def _ground(self, git: Git, target: str) -> _Ground:
        """Where the branch is, and where the one is that is pushed to."""
        names = list(dict.fromkeys([_HEADS + self.branch, _HEADS + target]))
        heads = await self._way.heads(names)
        head = await self._brought(self._there(heads), self.branch)
        expected = heads.get(_HEADS + target, "")
        if target == self.branch:
            return _Ground(head, target, head)
        if not expected:
            return _Ground(head, target, "")
        expected = await self._brought(expected, target)
        if target.startswith(OWN) or await self._reader(git).descends(head, expected):
            return _Ground(head, target, expected)  # ours to make anew, or merged: it goes on from the head
        return _Ground(expected, target, expected)

    async def _past(self, git: Git, commit: str, slot: str) -> str:
        """Have a commit of the past in the mirror, by its id alone."""
        if not COMMIT.fullmatch(commit):
            raise Terminal("UpdateFailed", f"{commit[:80]!a} is not the full id of a commit")
        if await self._reader(git).has(commit):
            return commit  # it came along with the head
        return await self._fetched(commit, self.branch, slot, exact=True, depth=1)

    async def _brought(self, commit: str, branch: str) -> str:
        """Have `commit` and what was before it in the mirror; or what `branch` is at by now."""
        return await self._fetched(commit, branch, branch, exact=False, depth=self._lookback)

    async def _fetched(
        self, commit: str, branch: str, slot: str, *, exact: bool, depth: int, deeper: bool = False
    ) -> str:
        try:
            async with self._way.git() as (git, url):
                return await self._mirror.fetch(
                    git,
                    url,
                    commit,
                    _HEADS + branch,
                    slot=slot,
                    exact=exact,
                    depth=depth,
                    deeper=deeper,
                    timeout=self._way.timeout_s,
                )
        except (GitFailed, ProcessTimeout, OutputTooLarge) as problem:
            raise self._way.failed(problem) from problem

    async def _pushed(self, made: Written, ground: _Ground, extra: str, options: list[str]) -> Told:
        async with self._way.git(writing=True) as (git, url):
            words = arguments(url, made.commit, ground.branch, ground.expected, extra, options)
            try:
                done = await self._mirror.call(git, "push", words, timeout=self._way.timeout_s)
            except (GitFailed, ProcessTimeout, OutputTooLarge) as problem:
                return Told(Fate.FAILED, problem.said if isinstance(problem, GitFailed) else str(problem))
        return told(done, ground.branch)

    def _judged(self, verdict: Told, ground: _Ground) -> None:
        """Raise what the verdict is for whoever wants to write."""
        match verdict.fate:
            case Fate.READ_ONLY:
                raise ReadOnly(
                    f"{self._way.name}: the credentials may read and not write. The server said: {verdict.said}. "
                    "Give them the right to write here, or use others that have it"
                )
            case Fate.REFUSED:
                raise Refused(
                    f"{self._way.name}: the branch {ground.branch} does not take the commit. The server said: "
                    f"{verdict.said}. Allow it there, or push to another branch"
                )
            case Fate.FAILED:
                raise self._way.failed(GitFailed("push", verdict.said))

    async def _arrived(self, commit: str, target: str) -> bool:
        try:
            return (await self._way.heads([_HEADS + target])).get(_HEADS + target) == commit
        except Transient:
            return False

    def _target(self, push: Push) -> str:
        try:
            return check_ref(push.branch or self.branch)
        except ValueError as problem:
            raise Terminal("UpdateFailed", f"the branch {problem}") from problem

    def _there(self, heads: Mapping[str, str], branch: str = "") -> str:
        name = branch or self.branch
        if found := heads.get(_HEADS + name):
            return found
        raise Transient(
            "GitOperationFailed", f"{self._way.name}: there is no branch {name}; push a first commit, or name another"
        )

    def _reader(self, git: Git) -> Reader:
        return Reader(self._mirror, git, timeout=self._way.timeout_s)

    @asynccontextmanager
    async def _at_work(self) -> AsyncIterator[Git]:
        """Have the mirror for oneself, and a git that speaks to nobody; what goes wrong is said of the address."""
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(_WAIT_S):
                    await stack.enter_async_context(self._mirror.locked())
            except TimeoutError as problem:
                raise self._way.failed(ProcessTimeout(f"others used the mirror for {_WAIT_S:g} s")) from problem
            try:
                yield await stack.enter_async_context(hardened(self._private))
            except (GitFailed, ProcessTimeout, OutputTooLarge) as problem:
                raise self._way.failed(problem) from problem
            except OSError as problem:
                raise Transient("StorageOperationFailed", f"the mirror of {self._way.name}: {problem}") from problem
            except HostilePath as problem:
                raise Terminal("UpdateFailed", f"{self._way.name}: {problem}; nothing is written there") from problem
