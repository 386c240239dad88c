"""One SQLite file as a place for contents: https://sqlite.org. What goes wrong in it is an OSError, or Damaged.

Twenty thousand small files cost a file system seconds, of which nearly all is the making of names; in one file they are
a tenth of a second, a transaction is whole or is not there after a crash, and nothing half-written is left. Nobody
waits for the disk: what a power cut does to the file is noticed as damage, and what was in it is fetched again. What
cannot be fetched again is `durable`: then a transaction has reached the disk when it is over.
"""

import errno
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

_PAGE_BYTES = 8192
_CACHE_KIB = 1024  # of each connection
_IDLE = 4
_BUSY_S = 60.0  # for another writer's transaction
_LOG_BYTES = 16 << 20  # of the write-ahead log, between transactions
_DAMAGE = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT))
_ERRNOS = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_BUSY: errno.EBUSY,
    sqlite3.SQLITE_LOCKED: errno.EBUSY,
}


class Damaged(Exception):
    """The file is not what was written to it. It was removed, and a new one is begun: what was in it is gone."""


class Database:
    """Connections to one file, for any number of threads: each has one of its own while it works.

    `schema` is run on every new connection, so it says `if not exists`.
    """

    def __init__(self, path: Path, schema: str, *, durable: bool = False) -> None:
        self._path = path
        self._synchronous = "FULL" if durable else "OFF"
        self._schema = schema
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._file = 0
        weakref.finalize(self, _close_all, self._idle)
        try:
            with self.reading():
                pass
        except Damaged:
            pass
        except OSError as problem:
            if problem.errno != errno.ENOSPC:
                raise
            self.begin_anew()  # what fills the disk may be the file itself
            with self.reading():
                pass

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection; each statement sees what was committed before it. Raises OSError and Damaged."""
        file = self._file
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(closing(self._take()))
                yield connection
            except sqlite3.DatabaseError as problem:
                stack.close()
                code = (getattr(problem, "sqlite_errorcode", None) or sqlite3.SQLITE_IOERR) & 0xFF
                if code in _DAMAGE:
                    self._remove(file)
                    raise Damaged(f"{self._path} was damaged on disk: {problem}") from problem
                number = _ERRNOS.get(code, errno.EIO)
                raise OSError(number, f"{os.strerror(number)} ({problem})", str(self._path)) from problem
            stack.pop_all()  # it is whole, and is used again
        self._give_back(connection, file)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of the block, or nothing if it raises. Raises as `reading`."""
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    def begin_anew(self) -> None:
        """Remove the file, and with it all that is in it."""
        self._remove(self._file)

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        # SQLite gives its other files the mode of this one. An existing one is never opened here: closing it would
        # drop the locks that other connections of this process have on it.
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with ExitStack() as stack:
            connection = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            stack.callback(connection.close)
            connection.executescript(
                f"""
                PRAGMA page_size = {_PAGE_BYTES};
                PRAGMA auto_vacuum = INCREMENTAL;
                PRAGMA journal_mode = WAL;
                PRAGMA synchronous = {self._synchronous};
                PRAGMA cache_size = -{_CACHE_KIB};
                PRAGMA journal_size_limit = {_LOG_BYTES};
                PRAGMA trusted_schema = OFF;
                {self._schema}
                """
            )
            stack.pop_all()
        return connection

    def _give_back(self, connection: sqlite3.Connection, file: int) -> None:
        with self._lock:
            if file == self._file and len(self._idle) < _IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def _remove(self, file: int) -> None:
        with self._lock:
            if file != self._file:
                return  # by another thread already
            self._file += 1
            _close_all(self._idle)
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)


def _close_all(idle: list[sqlite3.Connection]) -> None:
    while idle:
        idle.pop().close()
