import asyncio
import time

import pytest
from aiohttp.test_utils import TestClient, TestServer

from trimtab.base.telemetry import Telemetry
from trimtab.runtime import server
from trimtab.runtime.server import Pulse

from .clocks import settle


@pytest.fixture
async def ask():
    """`await ask(path, checks, …)` starts the server and asks it: status and text."""
    clients = []

    async def ask(path: str, checks=None, **options) -> tuple[int, str]:
        client = TestClient(TestServer(server.app(checks or {}, **options)))
        clients.append(client)
        await client.start_server()
        response = await client.get(path)
        return response.status, await response.text()

    yield ask
    for client in clients:
        await client.close()


async def test_ready_when_every_check_is(ask):
    status, text = await ask("/readyz", {"leases": lambda: None, "watches": lambda: None})
    assert (status, text) == (200, "[+]leases ok\n[+]watches ok\nok\n")


async def test_not_ready_lists_every_check_with_what_is_wrong(ask):
    status, text = await ask("/readyz", {"leases": lambda: None, "watches": lambda: "silent for 40 s"})
    assert (status, text) == (503, "[+]leases ok\n[-]watches silent for 40 s\nfailed\n")


async def test_a_check_that_fails_itself_is_a_failed_check(ask):
    def broken() -> str | None:
        raise KeyError("oops")

    status, text = await ask("/readyz", {"watches": broken, "leases": lambda: None})
    assert status == 503
    assert "[-]watches could not be checked: KeyError('oops')" in text
    assert "[+]leases ok" in text


async def test_alive_though_not_ready(ask):
    status, _ = await ask("/healthz", {"watches": lambda: "silent"})
    assert status == 200


async def test_not_alive_when_a_supervisor_died(ask):
    async def supervisor() -> None:
        raise RuntimeError("out of luck")

    task = asyncio.ensure_future(supervisor())
    await settle()
    status, text = await ask("/healthz", alive={"supervisor": server.running(task)})
    assert status == 503
    assert "ended: out of luck" in text


async def test_alive_while_the_supervisor_runs(ask):
    task = asyncio.ensure_future(asyncio.Event().wait())
    status, text = await ask("/healthz", alive={"supervisor": server.running(task)})
    assert (status, text) == (200, "[+]loop ok\n[+]supervisor ok\nok\n")
    task.cancel()


async def test_metrics_are_served_as_prometheus_reads_them(ask):
    telemetry = Telemetry()
    telemetry.leading("kustomize-controller-leader-election", True)
    status, text = await ask("/metrics", telemetry=telemetry)
    assert status == 200
    assert 'trimtab_leading{lease="kustomize-controller-leader-election"} 1.0' in text


async def test_nothing_else_is_served_and_nothing_is_taken(ask):
    assert (await ask("/"))[0] == 404


async def test_a_block_of_the_loop_is_held_against_the_process_for_a_while(clock):
    pulse = Pulse(clock)
    clock.jump(1)
    pulse.beat()
    assert pulse.check() is None
    clock.jump(1 + 5.1)
    pulse.beat()
    assert pulse.check() == "the event loop stood still for 5.1 s"
    for _ in range(31):
        clock.jump(1)
        pulse.beat()
    assert pulse.check() is None


async def test_a_pulse_that_stopped_is_noticed_without_a_beat(clock):
    pulse = Pulse(clock)
    clock.jump(7)
    assert "has not turned for 6.0 s" in (pulse.check() or "")


async def test_a_real_block_is_noticed(clock):
    from trimtab.base.clock import SystemClock

    pulse = Pulse(SystemClock(), blocked_s=0.2)
    task = asyncio.ensure_future(pulse.run())
    await asyncio.sleep(0.01)
    time.sleep(1.3)
    await asyncio.sleep(0.01)
    assert "stood still" in (pulse.check() or "")
    task.cancel()
