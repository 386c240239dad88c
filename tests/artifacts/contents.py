"""What disks and time do to a store: contents that are lost, damaged, or old."""

import sqlite3
from contextlib import closing
from typing import Any

from trimtab.artifacts.store import CONTENTS, Store


def blobs(store: Store) -> set[str]:
    """The contents that are there, by SHA-256."""
    return _names(store, "SELECT sha256 FROM blobs")


def trees(store: Store) -> set[str]:
    """The digests of the indexes that are there."""
    return _names(store, "SELECT sha256 FROM trees")


def lose(store: Store, *sha256: str) -> None:
    """Take contents away; all of them, if none is named."""
    for name in sha256 or blobs(store):
        assert _run(store, "DELETE FROM blobs WHERE sha256 = ?", bytes.fromhex(name))[1] == 1


def damage(store: Store, sha256: str, data: bytes) -> None:
    """Put something else in its place, of the same size by its record."""
    assert _run(store, "UPDATE blobs SET data = ? WHERE sha256 = ?", data, bytes.fromhex(sha256))[1] == 1


def damage_tree(store: Store, digest: str, old: bytes, new: bytes) -> None:
    name = bytes.fromhex(digest)
    [(data,)], _ = _run(store, "SELECT data FROM trees WHERE sha256 = ?", name)
    assert old in data
    _run(store, "UPDATE trees SET data = ? WHERE sha256 = ?", data.replace(old, new), name)


def age(store: Store, seconds: float) -> None:
    """Let so much time go by since anything of it was used."""
    _run(store, "UPDATE blobs SET used = used - ?", seconds)
    _run(store, "UPDATE trees SET used = used - ?", seconds)


def pages_of(store: Store) -> int:
    """How large its file is, in pages that are in use."""
    [(pages,)], _ = _run(store, "SELECT page_count - freelist_count FROM pragma_page_count(), pragma_freelist_count()")
    return pages


def _names(store: Store, statement: str) -> set[str]:
    return {name.hex() for (name,) in _run(store, statement)[0]}


def _run(store: Store, statement: str, *values: object) -> tuple[list[tuple[Any, ...]], int]:
    with closing(sqlite3.connect(store.root / CONTENTS, isolation_level=None)) as connection:
        found = connection.execute(statement, values)
        return found.fetchall(), found.rowcount
