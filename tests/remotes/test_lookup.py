"""Names are looked up beside all other work: a name server that does not answer holds up only who asks it."""

import asyncio
import os
import socket
import threading
from collections import Counter
from typing import Any

import pytest

from trimtab.remotes import lookup as looking
from trimtab.remotes.lookup import lookup
from trimtab.remotes.reach import Unresolved, addresses


class Resolver:
    """In the place of the system's: says nothing of `*.silent` until it is let go, and knows all other names."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.asked: Counter[str] = Counter()

    def __call__(self, host: str, port: int, *, flags: int = 0, **_: Any) -> list[Any]:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not an address")
        self.asked[host] += 1
        if host.endswith(".silent"):
            self.let_go.wait(60)
        if host.startswith("no-"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, 1, 6, "", (ip, port)) for ip in ("9.9.9.9", "9.9.9.9", "9.9.9.1")]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Any:
    found = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", found)
    yield found
    found.let_go.set()


async def test_names_that_nobody_answers_for_hold_up_neither_other_names_nor_other_work(resolver: Resolver) -> None:
    crowd = (os.cpu_count() or 1) + 10
    silent = [asyncio.create_task(lookup(f"host-{number}.silent", 443)) for number in range(crowd)]
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        assert await lookup("git.example", 443) == ("9.9.9.9", "9.9.9.1")
        assert await asyncio.to_thread(lambda: "work") == "work"
    assert not any(one.done() for one in silent)
    resolver.let_go.set()
    assert set(await asyncio.gather(*silent)) == {("9.9.9.9", "9.9.9.1")}


async def test_one_name_is_asked_for_once_at_a_time_and_who_gives_up_takes_nobody_along(resolver: Resolver) -> None:
    first, second = (asyncio.create_task(lookup("slow.silent", 443)) for _ in range(2))
    while not resolver.asked["slow.silent"]:
        await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    resolver.let_go.set()
    assert await second == ("9.9.9.9", "9.9.9.1")
    assert resolver.asked == {"slow.silent": 1}
    await lookup("slow.silent", 443)
    assert resolver.asked == {"slow.silent": 2}, "an answer is not kept"


async def test_a_name_that_does_not_exist_is_told_to_all_who_ask_and_asked_for_again(resolver: Resolver) -> None:
    wanted = [lookup("no-such.silent", 443) for _ in range(3)]
    asking = asyncio.gather(*wanted, return_exceptions=True)
    await asyncio.sleep(0)
    resolver.let_go.set()
    assert [str(one) for one in await asking] == ["[Errno -2] Name or service not known"] * 3
    with pytest.raises(
        Unresolved, match=r"^the host no-such\.silent cannot be resolved: Name or .*check the spelling$"
    ):
        await addresses("no-such.silent", 443)


async def test_patience_with_a_name_server_ends(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "PATIENCE_S", 0.01)
    told = r"^the host gone\.silent cannot be resolved: no name server has answered; check the DNS of the cluster$"
    with pytest.raises(Unresolved, match=told):
        await addresses("gone.silent", 443)


async def test_where_there_can_be_no_more_threads_it_is_tried_again(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as narrow:
        narrow.setattr(threading.Thread, "start", full)
        with pytest.raises(RuntimeError):
            await lookup("git.example", 443)
    assert await lookup("git.example", 443) == ("9.9.9.9", "9.9.9.1")


@pytest.mark.parametrize(("host", "ip"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("127.1", "127.0.0.1")])
async def test_for_an_address_nobody_is_asked(host: str, ip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "Thread", None)
    assert await lookup(host, 443) == (ip,)


async def test_a_name_that_is_no_name_is_refused_in_words(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(Unresolved, match=r"cannot be resolved: .*label"):
        await addresses("a" * 100 + ".example", 443)
