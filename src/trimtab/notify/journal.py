"""What waits to be told, on disk: nothing is acknowledged before it is here, nothing leaves before it was delivered.

One SQLite file whose transactions have reached the disk when they are over. That an event is done and which notices it
became is one transaction, so that a process that is killed leaves either the event or its notices, never both and
never neither. It is bounded: what is too much goes, progress before anything else, and is counted.

Does I/O: its methods block, call them in a thread. They raise OSError; a damaged file is as good as lost, and begun
anew.
"""

import logging
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from trimtab.artifacts.database import Damaged, Database

log = logging.getLogger(__name__)

MOST_EVENTS: Final = 20_000
MOST_NOTICES: Final = 5_000
"""Of one provider."""
MOST_BYTES: Final = 64 << 20
"""Of all events, and of the notices of one provider."""
MOST_BYTES_IN_ALL: Final = 512 << 20
"""Of the notices of all providers: how many there are is up to tenants, and the disk is everybody's."""
MOST_BYTES_AT_ONCE: Final = 2 << 20
"""Of the notices that a worker has in memory; one at least."""
MOST_STORIES: Final = 50_000
_SCHEMA: Final = """
    create table if not exists events (
        seq integer primary key autoincrement, id text not null unique, rank integer not null, body blob not null
    );
    create index if not exists events_by_rank on events (rank, seq);
    create table if not exists notices (
        seq integer primary key autoincrement, key text not null unique, provider text not null, subject text not null,
        rank integer not null, since real not null, tries integer not null default 0, body blob not null
    );
    create index if not exists notices_in_order on notices (provider, subject, seq);
    create index if not exists notices_by_rank on notices (provider, rank, seq);
    create table if not exists seen (id text primary key, at real not null) without rowid;
    create index if not exists seen_at on seen (at);
    create table if not exists stories (
        alert text not null, subject text not null, at real not null, body blob not null, primary key (alert, subject)
    ) without rowid;
    create index if not exists stories_of on stories (subject);
    create index if not exists stories_at on stories (at);
"""

T = TypeVar("T")


class Entry(NamedTuple):
    """An event to be kept. `id` is the same whenever the same is said again; `rank` 0 is progress, which goes first."""

    id: str
    rank: int
    body: bytes


class Waiting(NamedTuple):
    """An event that nobody has looked at yet."""

    seq: int
    body: bytes


class Due(NamedTuple):
    """A notice for a provider."""

    key: str
    provider: str
    subject: str
    rank: int
    body: bytes


class Head(NamedTuple):
    """The first notice about a subject that a provider has not got yet."""

    seq: int
    subject: str
    since: float
    tries: int
    body: bytes


class Kept(NamedTuple):
    """How a batch was taken: for each entry whether it is new, and how many others had to go for it."""

    new: tuple[bool, ...]
    dropped: int


class StoryRow(NamedTuple):
    """What an Alert has told about a subject; an empty body is nothing any more."""

    alert: str
    subject: str
    body: bytes


class _Size:
    """How much there is of something: asked of the file once, and counted from then on."""

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.bytes = size

    def add(self, size: int, count: int = 1) -> None:
        self.count += count
        self.bytes += size * count


class Journal:
    """The file. `seen_s`: what was said so many seconds ago is the same again."""

    def __init__(
        self,
        path: Path,
        *,
        seen_s: float = 300.0,
        most_events: int = MOST_EVENTS,
        most_notices: int = MOST_NOTICES,
        most_bytes: int = MOST_BYTES,
        most_bytes_in_all: int = MOST_BYTES_IN_ALL,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = Database(path, _SCHEMA, durable=True)
        self._seen_s = seen_s
        self._most_events = most_events
        self._most_notices = most_notices
        self._most_bytes = most_bytes
        self._most_bytes_in_all = most_bytes_in_all
        self._lock = threading.Lock()
        self._events: _Size | None = None
        self._notices: dict[str, _Size] | None = None

    def fresh(self) -> bool:
        """Whether nothing was ever told from here: it is the first time, or the file was lost."""
        return self._read(lambda connection: _one(connection, "select count(*) from stories") == 0)

    def accept(self, entries: Sequence[Entry], now: float) -> Kept:
        """Keep what is new. When this returns, it is on disk. `now` is the wall time."""

        def work(connection: sqlite3.Connection) -> Kept:
            connection.execute("delete from seen where at < ? or at > ?", (now - self._seen_s, now + self._seen_s))
            new = tuple(self._accept(connection, entry, now) for entry in entries)
            return Kept(new, self._make_room(connection))

        return self._write(work)

    def waiting(self, most: int) -> list[Waiting]:
        """The oldest events that nobody has looked at."""

        def work(connection: sqlite3.Connection) -> list[Waiting]:
            rows = connection.execute("select seq, body from events order by seq limit ?", (most,))
            return [Waiting(*row) for row in rows]

        return self._read(work)

    def dispatched(self, seq: int, notices: Iterable[Due], stories: Iterable[StoryRow], now: float) -> int:
        """The event `seq` is done, and became `notices`. How many others had to go for them.

        An event that had to go itself while it was looked at is counted as dropped already: nothing is told of it.
        `seq` 0: what becomes notices without an event.
        """
        due, told = list(notices), list(stories)

        def work(connection: sqlite3.Connection) -> int:
            if seq:
                row = connection.execute("select length(body) from events where seq = ?", (seq,)).fetchone()
                if row is None:
                    return 0
                events = self._sized(connection)
                connection.execute("delete from events where seq = ?", (seq,))
                events.add(row[0], -1)
            for story in told:
                self._tell(connection, story, now)
            return sum(self._add(connection, one, now) for one in due)

        return self._write(work)

    def stories(self, subject: str) -> dict[str, bytes]:
        """What was told about `subject`, by Alert."""
        query = "select alert, body from stories where subject = ?"
        return self._read(lambda connection: dict(connection.execute(query, (subject,)).fetchall()))

    def alerts(self) -> set[str]:
        """The Alerts that have told anything."""
        query = "select distinct alert from stories where alert != ''"
        return self._read(lambda connection: {row[0] for row in connection.execute(query)})

    def forget_alert(self, alert: str) -> None:
        """The Alert is gone, and what it has told with it: one that is called so later is another."""
        self._write(lambda connection: connection.execute("delete from stories where alert = ?", (alert,)))

    def told(self, most: int) -> list[StoryRow]:
        """What Alerts have told, the latest first."""
        query = "select alert, subject, body from stories order by at desc limit ?"
        return self._read(lambda connection: [StoryRow(*row) for row in connection.execute(query, (most,))])

    def providers(self) -> list[str]:
        """Whom something waits for."""
        query = "select distinct provider from notices"
        return self._read(lambda connection: [row[0] for row in connection.execute(query)])

    def heads(self, provider: str, most: int, without: Iterable[str] = ()) -> list[Head]:
        """For each subject the first notice, oldest first: order is kept for an object, not among objects.

        Fewer where they are long.
        """
        excluded = list(without)[:500]
        marks = ",".join("?" * len(excluded))
        query = f"""
            select seq, subject, since, tries, body from notices where seq in (
                select min(seq) from notices where provider = ? and subject not in ({marks}) group by subject
                order by min(seq) limit ?
            ) order by seq
        """  # noqa: S608 - nothing but question marks

        def work(connection: sqlite3.Connection) -> list[Head]:
            found, size = [], 0
            for row in connection.execute(query, (provider, *excluded, most)):
                found.append(Head(*row))
                size += len(found[-1].body)
                if size > MOST_BYTES_AT_ONCE:
                    break
            return found

        return self._read(work)

    def done(self, seq: int) -> None:
        """The notice was delivered, or nobody will take it: it is not sent again, whatever happens."""

        def work(connection: sqlite3.Connection) -> None:
            row = connection.execute("select provider, length(body) from notices where seq = ?", (seq,)).fetchone()
            if row is not None:
                size = self._of(connection, row[0])
                connection.execute("delete from notices where seq = ?", (seq,))
                size.add(row[1], -1)

        self._write(work)

    def tried(self, seq: int) -> None:
        """The notice was sent in vain once more."""
        self._write(lambda connection: connection.execute("update notices set tries = tries + 1 where seq = ?", (seq,)))

    def pending(self) -> tuple[int, int]:
        """How many events and notices there are."""

        def work(connection: sqlite3.Connection) -> tuple[int, int]:
            return _one(connection, "select count(*) from events"), _one(connection, "select count(*) from notices")

        return self._read(work)

    def forget(self, provider: str, *, before: float = float("inf")) -> int:
        """The provider is gone, and what waits for it since `before` (wall time). How many that were."""

        def work(connection: sqlite3.Connection) -> int:
            self._notices = None
            query = "delete from notices where provider = ? and since < ?"
            return connection.execute(query, (provider, before)).rowcount

        return self._write(work)

    def _accept(self, connection: sqlite3.Connection, entry: Entry, now: float) -> bool:
        if connection.execute("select 1 from seen where id = ?", (entry.id,)).fetchone() is not None:
            return False
        size = self._sized(connection)
        connection.execute("insert or replace into seen values (?, ?)", (entry.id, now))
        query = "insert or ignore into events (id, rank, body) values (?, ?, ?)"
        if connection.execute(query, entry).rowcount != 1:
            return False
        size.add(len(entry.body))
        return True

    def _make_room(self, connection: sqlite3.Connection) -> int:
        size = self._sized(connection)
        dropped = 0
        while size.count > self._most_events or size.bytes > self._most_bytes:
            row = connection.execute("select seq, length(body) from events order by rank, seq limit 1").fetchone()
            connection.execute("delete from events where seq = ?", (row[0],))
            size.add(row[1], -1)
            dropped += 1
        return dropped

    def _add(self, connection: sqlite3.Connection, due: Due, now: float) -> int:
        size = self._of(connection, due.provider)
        query = "insert or ignore into notices (key, provider, subject, rank, since, body) values (?, ?, ?, ?, ?, ?)"
        row = (due.key, due.provider, due.subject, due.rank, now, due.body)
        if connection.execute(query, row).rowcount != 1:
            return 0
        size.add(len(due.body))
        dropped = 0
        while size.count > self._most_notices or size.bytes > self._most_bytes:
            self._drop_oldest(connection, due.provider)
            dropped += 1
        while sum(one.bytes for one in self._sizes(connection).values()) > self._most_bytes_in_all:
            self._drop_oldest(connection, self._longest(connection))
            dropped += 1
        return dropped

    def _drop_oldest(self, connection: sqlite3.Connection, provider: str) -> None:
        query = "select seq, length(body) from notices where provider = ? order by rank, seq limit 1"
        oldest, length = connection.execute(query, (provider,)).fetchone()
        connection.execute("delete from notices where seq = ?", (oldest,))
        self._of(connection, provider).add(length, -1)

    def _longest(self, connection: sqlite3.Connection) -> str:
        """Of the namespace that has most, the provider that has most: nobody crowds out another by having many."""
        sizes = self._sizes(connection)
        of_namespace: dict[str, int] = {}
        for provider, size in sizes.items():
            namespace = provider.partition("/")[0]
            of_namespace[namespace] = of_namespace.get(namespace, 0) + size.bytes
        return max(sizes, key=lambda one: (of_namespace[one.partition("/")[0]], sizes[one].bytes))

    def _tell(self, connection: sqlite3.Connection, story: StoryRow, now: float) -> None:
        if not story.body:
            query = "delete from stories where alert = ? and subject = ?"
            connection.execute(query, (story.alert, story.subject))
            return
        row = (story.alert, story.subject, now, story.body)
        connection.execute("insert or replace into stories values (?, ?, ?, ?)", row)
        # sqlite counts a table by walking it: the bound need not be met exactly
        if (
            zlib.crc32(story.subject.encode()) % 64 == 0
            and (count := _one(connection, "select count(*) from stories")) > MOST_STORIES
        ):
            query = (
                "delete from stories where (alert, subject) in (select alert, subject from stories order by at limit ?)"
            )
            connection.execute(query, (count - MOST_STORIES,))

    def _sized(self, connection: sqlite3.Connection) -> _Size:
        if self._events is None:
            query = "select count(*), coalesce(sum(length(body)), 0) from events"
            self._events = _Size(*connection.execute(query).fetchone())
        return self._events

    def _of(self, connection: sqlite3.Connection, provider: str) -> _Size:
        return self._sizes(connection).setdefault(provider, _Size(0, 0))

    def _sizes(self, connection: sqlite3.Connection) -> dict[str, _Size]:
        if self._notices is None:
            query = "select provider, count(*), sum(length(body)) from notices group by provider"
            self._notices = {provider: _Size(count, size) for provider, count, size in connection.execute(query)}
        return self._notices

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            try:
                return self._written(work)
            except Damaged as failure:
                log.error("%s: what waited to be told is lost; what is so now is told again", failure)
                return self._written(work)

    def _written(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with self._database.writing() as connection:
                return work(connection)
        except BaseException:
            # what was counted may not have come to be
            self._events, self._notices = None, None
            raise

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with self._database.reading() as connection:
                return work(connection)
        except Damaged as failure:
            log.error("%s: what waited to be told is lost; what is so now is told again", failure)
            self._events, self._notices = None, None
            with self._database.reading() as connection:
                return work(connection)


def _one(connection: sqlite3.Connection, query: str) -> int:
    count: int = connection.execute(query).fetchone()[0]
    return count
