"""What was seen of repositories, kept on disk: tags, doubts about them, and when images were created.

A cache and nothing more: what is lost is asked for again, and while it is not there nobody chooses anything. Bounded:
one list for each ImageRepository, compressed, and so many times of creation.
"""

import zlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from trimtab.artifacts.database import Damaged, Database
from trimtab.manifests.refs import Key

MOST_TIMES: Final = 200_000
_LONGEST_LISTING: Final = 32 << 20
_SCHEMA = """
    create table if not exists lists (
        key text primary key, uid text not null, image text not null, scanned real not null,
        etag text not null, digest text not null, doubts blob not null, tags blob not null
    ) without rowid;
    create table if not exists times (digest text primary key, created real);
    create table if not exists pushed (
        uid text not null, tag text not null, digest text not null, primary key (uid, tag)
    ) without rowid;
"""


class Seen(NamedTuple):
    """What the last look at a repository left. `etag` and `digest` tell its list from another, `scanned` is when."""

    uid: str
    image: str
    scanned: datetime
    etag: str
    digest: str
    doubts: Mapping[str, float]


class TagStore:
    """One file. Its methods block: call them in a thread. They raise OSError; what is damaged is as good as lost."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = Database(path, _SCHEMA)

    def seen(self, key: Key) -> Seen | None:
        """What is known of the ImageRepository `key`, without its tags."""
        try:
            with self._database.reading() as connection:
                row = connection.execute(
                    "select uid, image, scanned, etag, digest, doubts from lists where key = ?", (str(key),)
                ).fetchone()
        except Damaged:
            return None
        if row is None:
            return None
        uid, image, scanned, etag, digest, doubts = row
        try:
            read = msgspec.json.decode(doubts, type=dict[str, float])
        except msgspec.DecodeError:
            return None
        return Seen(uid, image, datetime.fromtimestamp(scanned, UTC), etag, digest, read)

    def tags(self, key: Key, uid: str) -> frozenset[str] | None:
        """The tags in force of the ImageRepository `key`, or None if they were lost."""
        try:
            with self._database.reading() as connection:
                row = connection.execute("select uid, tags from lists where key = ?", (str(key),)).fetchone()
        except Damaged:
            return None
        if row is None or row[0] != uid:
            return None
        unpacking = zlib.decompressobj()
        try:
            text = unpacking.decompress(row[1], _LONGEST_LISTING).decode()
        except (zlib.error, UnicodeDecodeError):
            return None
        if unpacking.unconsumed_tail:
            return None
        return frozenset(text.split("\n")) if text else frozenset()

    def keep(self, key: Key, seen: Seen, tags: Iterable[str]) -> None:
        """Remember a look: all of it, or nothing. What is known of tags that are not there any more is forgotten.

        So is what is known of all tags, where they were those of another image.
        """
        there = frozenset(tags)
        packed = zlib.compress("\n".join(sorted(there)).encode(), 1)
        row = (*seen[:2], seen.scanned.timestamp(), seen.etag, seen.digest, msgspec.json.encode(seen.doubts), packed)
        try:
            with self._database.writing() as connection:
                before = connection.execute("select image from lists where key = ?", (str(key),)).fetchone()
                same = before is None or before[0] == seen.image
                connection.execute("insert or replace into lists values (?, ?, ?, ?, ?, ?, ?, ?)", (str(key), *row))
                known = connection.execute("select tag from pushed where uid = ?", (seen.uid,)).fetchall()
                gone = [(seen.uid, tag) for (tag,) in known if not same or tag not in there]
                connection.executemany("delete from pushed where uid = ? and tag = ?", gone)
        except Damaged:
            return

    def touch(self, key: Key, scanned: datetime) -> None:
        """Remember when it was looked last, where nothing was new."""
        self._write(("update lists set scanned = ? where key = ?", (scanned.timestamp(), str(key))))

    def forget(self, key: Key) -> None:
        """An ImageRepository is gone."""
        self._write(
            ("delete from pushed where uid = (select uid from lists where key = ?)", (str(key),)),
            ("delete from lists where key = ?", (str(key),)),
        )

    def keep_only(self, keys: Iterable[Key]) -> None:
        """Forget all ImageRepositories but these, as some may have gone while nobody looked."""
        with_keys = [(str(key),) for key in keys]
        try:
            with self._database.writing() as connection:
                connection.execute("create temp table if not exists there (key text primary key)")
                connection.execute("delete from there")
                connection.executemany("insert or ignore into there values (?)", with_keys)
                connection.execute("delete from lists where key not in (select key from there)")
                connection.execute("delete from pushed where uid not in (select uid from lists)")
        except Damaged:
            return

    def pushed(self, uid: str, tags: Iterable[str]) -> dict[str, tuple[str, datetime | None]]:
        """Digest and time of creation of those of `tags` that were looked up; the time is None where none is said."""
        found = {}
        try:
            with self._database.reading() as connection:
                for tag in tags:
                    row = connection.execute(
                        "select pushed.digest, times.created from pushed join times using (digest) "
                        "where uid = ? and tag = ?",
                        (uid, tag),
                    ).fetchone()
                    if row is not None:
                        found[tag] = (row[0], _moment(row[1]))
        except Damaged:
            return {}
        return found

    def created(self, digest: str) -> tuple[datetime | None] | None:
        """When the image was created, if that was looked up: what is behind a digest never changes."""
        try:
            with self._database.reading() as connection:
                row = connection.execute("select created from times where digest = ?", (digest,)).fetchone()
        except Damaged:
            return None
        return None if row is None else (_moment(row[0]),)

    def note(self, uid: str, tag: str, digest: str, created: datetime | None) -> None:
        """Remember what a tag stands for, and when that was created."""
        self._write(
            ("insert or replace into times values (?, ?)", (digest, created and created.timestamp())),
            ("insert or replace into pushed values (?, ?, ?)", (uid, tag, digest)),
            ("delete from times where rowid <= (select max(rowid) from times) - ?", (MOST_TIMES,)),
        )

    def _write(self, *statements: tuple[str, tuple[object, ...]]) -> None:
        try:
            with self._database.writing() as connection:
                for statement, values in statements:
                    connection.execute(statement, values)
        except Damaged:
            return


def _moment(created: float | None) -> datetime | None:
    return None if created is None else datetime.fromtimestamp(created, UTC)
