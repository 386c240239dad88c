"""Cut off at any byte, and a full disk: the pass fails with a cause, leaves nothing half, and the next one succeeds."""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.artifacts.contents import lose, pages_of, trees
from tests.registry.conftest import public
from tests.registry.server import RegistryServer
from tests.registry.test_pull import files, spec_of
from tests.sources.test_git import got, repository, server, source, spec, store, transport
from trimtab.artifacts.database import Database
from trimtab.artifacts.store import Store
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Transient
from trimtab.remotes.oci.wire import Access
from trimtab.remotes.outbound import Outbound
from trimtab.sources.git import ANONYMOUS, GitSource
from trimtab.sources.oci import OciSource

__all__ = ["public", "repository", "server", "source", "store", "transport"]


class Cut:
    """A wire to a server on loopback that hands over so many bytes of answers in all, and then hangs up."""

    def __init__(self, target: int) -> None:
        self.target, self.left, self.passed, self.port = target, 1 << 40, 0, 0

    def allow(self, number: int = 1 << 40) -> None:
        self.left, self.passed = number, 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            back, forth = await asyncio.open_connection("127.0.0.1", self.target)
            asking = asyncio.ensure_future(self._copy(reader, forth))
            while data := await back.read(4096):
                data = data[: self.left]
                self.left -= len(data)
                self.passed += len(data)
                writer.write(data)
                await writer.drain()
                if not self.left:
                    break
            asking.cancel()
            forth.close()
        writer.close()

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()


@contextlib.asynccontextmanager
async def cut(port: int) -> AsyncIterator[Cut]:
    wire = Cut(port)
    listening = await asyncio.start_server(wire.handle, "127.0.0.1", 0)
    wire.port = listening.sockets[0].getsockname()[1]
    yield wire
    listening.close()


async def test_a_fetch_that_is_cut_off_anywhere_is_told_and_the_next_one_succeeds(
    server, repository, source, store, tmp_path: Path
) -> None:
    repository.commit({f"d{number}/{number}": os.urandom(2000) for number in range(60)})
    async with cut(server.port) as wire:
        wanted = spec(server.url("apps").replace(str(server.port), str(wire.port)))
        last = await got(source, wanted)
        whole = wire.passed
        assert whole > 100_000
        for step in range(12):
            commit = repository.commit({"n": b"%d" % step, "big": os.urandom(60_000)})
            wire.allow(60_000 * step // 11 + step)
            with pytest.raises(Transient) as failure:
                await got(source, wanted, previous=last.tree)
            assert failure.value.reason == "GitOperationFailed"
            assert len(last.tree.entries) == 60 + (2 if step else 0)
            assert last.read("d0/0"), "what was there is there"
            wire.allow()
            last = await got(source, wanted, previous=last.tree)
            assert last.revision == f"main@sha1:{commit}"
            assert last.read("n") == b"%d" % step
    assert not list(tmp_path.glob("cache/private/*"))


async def test_a_pull_that_is_cut_off_anywhere_is_told_and_the_next_one_succeeds(
    public: RegistryServer, transport, store: Store
) -> None:
    content = {"a.yaml": os.urandom(40_000), "b.yaml": b"b"}
    oci = OciSource(store, Outbound(transport, SystemClock()), SystemClock())
    pushed = public.push("cut", "latest", content)
    async with cut(public.port) as wire:
        cutting = spec_of(public, "cut", url=f"oci://127.0.0.1:{wire.port}/cut")
        for step in range(12):
            wire.allow(45_000 * step // 12 + step)
            with pytest.raises(Transient) as failure:
                await oci.fetch(cutting, Access(), await oci.look(cutting, Access()))
            assert failure.value.reason == "OCIArtifactPullFailed"
            assert not trees(store), "there is no part of a snapshot"
        wire.allow()
        head = await oci.look(cutting, Access())
        assert head.digest == pushed
        assert files(await oci.fetch(cutting, Access(), head)) == content


async def test_a_tag_that_moves_between_the_look_and_the_pull_gives_what_was_seen(
    public: RegistryServer, transport, store: Store
) -> None:
    oci, moving = OciSource(store, Outbound(transport, SystemClock()), SystemClock()), spec_of(public, "moving")
    first = public.push("moving", "latest", {"a": "1"})
    head = await oci.look(moving, Access())
    public.push("moving", "latest", {"a": "2"})
    pulled = await oci.fetch(moving, Access(), head)
    assert (pulled.snapshot.revision, files(pulled)) == (f"latest@{first}", {"a": b"1"})


@pytest.fixture
def leave(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Leave room for so many more pages of the store's file, as a full disk would."""
    limit, take = 1 << 30, Database._take

    def taking(database: Database) -> sqlite3.Connection:
        connection = take(database)
        connection.execute(f"PRAGMA max_page_count = {limit}")
        return connection

    def leave(pages: int) -> None:
        nonlocal limit
        limit = pages_of(store) + pages

    monkeypatch.setattr(Database, "_take", taking)
    return leave


async def test_a_full_disk_is_told_and_the_next_pass_succeeds(
    server, repository, source: GitSource, public: RegistryServer, transport, store: Store, leave: Callable[[int], None]
) -> None:
    repository.commit({f"{number}": os.urandom(9000) for number in range(9)})
    public.push("full", "latest", {f"{number}": os.urandom(9000) for number in range(9)})
    oci = OciSource(store, Outbound(transport, SystemClock()), SystemClock())
    wanted, pulled = spec(server.url("apps")), spec_of(public, "full")
    head, digest = await source.look(wanted), await oci.look(pulled, Access())
    for room in (0, 1, 5, 9):
        for attempt in (
            lambda: source.fetch(wanted, ANONYMOUS, head, None),
            lambda: oci.fetch(pulled, Access(), digest),
        ):
            leave(room)
            with pytest.raises(Transient, match="No space left on device") as failure:
                await attempt()
            assert failure.value.reason == "StorageOperationFailed"
            leave(1 << 20)
            assert not trees(store), "there is no part of a snapshot"
            lose(store)
            store.collect([])  # gives the room back
    assert len((await source.fetch(wanted, ANONYMOUS, head, None)).tree.entries) == 9
    assert len((await oci.fetch(pulled, Access(), digest)).snapshot.tree.entries) == 9
