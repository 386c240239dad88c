import asyncio
from collections.abc import Callable

import pytest

from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Telemetry
from trimtab.kube.client import Client
from trimtab.runtime import events
from trimtab.runtime.events import EVENTS, ObjectRef, Recorder

from .clocks import ManualClock

GIT = "source.toolkit.fluxcd.io/v1"


def about(home: str, name: str = "web", **more: str) -> ObjectRef:
    return ObjectRef(
        api_version="kustomize.toolkit.fluxcd.io/v1",
        kind="Kustomization",
        namespace=home,
        name=name,
        **{"uid": f"uid-of-{name}", "resource_version": "7", **more},
    )


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
def recorder(client, clock, telemetry) -> Recorder:
    """Not started: what is recorded waits."""
    return Recorder(client, "kustomize-controller", clock, telemetry=telemetry)


@pytest.fixture
async def started(recorder):
    tasks = Tasks("test")
    recorder.start(tasks)
    yield recorder
    await tasks.close()


async def written(client: Client, home: str) -> list[dict]:
    return (await client.list(EVENTS, home)).items


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def until_written(recorder: Recorder, clock: ManualClock | None = None) -> None:
    """With `clock`, time passes meanwhile, so that retries have their turn."""
    async with asyncio.timeout(60):
        while len(recorder):
            await (clock.advance(0.1) if clock else asyncio.sleep(0))
            await asyncio.sleep(0.01)


async def until_idle(recorder: Recorder) -> None:
    """The writer has done what can be done now."""
    await until(lambda: not len(recorder._queue) and not recorder._queue.in_flight)


async def test_an_event_looks_as_flux_writes_it(started, client, home, kubectl):
    annotations = {"kustomize.toolkit.fluxcd.io/revision": "main@sha1:abc"}
    started.record(about(home), "Normal", "ReconciliationSucceeded", "Applied revision: main@sha1:abc", annotations)
    await until_written(started)
    [event] = await written(client, home)
    assert event["metadata"]["name"].startswith("web.")
    assert event["metadata"]["annotations"] == annotations
    assert event["involvedObject"] == {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "namespace": home,
        "name": "web",
        "uid": "uid-of-web",
        "resourceVersion": "7",
    }
    assert (event["type"], event["reason"], event["count"]) == ("Normal", "ReconciliationSucceeded", 1)
    assert event["source"]["component"] == event["reportingComponent"] == "kustomize-controller"
    assert event["firstTimestamp"] == event["lastTimestamp"]
    assert "Applied revision: main@sha1:abc" in kubectl("events", "-n", home)


async def test_repeats_are_folded_into_one_event_with_a_count(started, client, home, clock, wire):
    for _ in range(3):
        started.record(about(home), "Warning", "BuildFailed", "no such file")
    await until_idle(started)
    [event] = await written(client, home)
    assert event["count"] == 3
    wire.requests.clear()
    for version in range(5):
        started.record(about(home, resource_version=f"{version}"), "Warning", "BuildFailed", "no such file")
        await clock.advance(50)
    await until_idle(started)
    assert wire.writes() == []  # five minutes are not over
    await clock.advance(51)
    await until_written(started)
    [event] = await written(client, home)
    assert event["count"] == 8
    assert event["lastTimestamp"] > event["firstTimestamp"]
    assert len(wire.writes()) == 1


async def test_what_is_repeated_while_it_is_being_written_is_folded_too(started, client, home, clock, wire):
    wire.open.clear()
    started.record(about(home), "Warning", "BuildFailed", "a")
    await until(lambda: bool(started._queue.in_flight))
    started.record(about(home), "Warning", "BuildFailed", "a")
    wire.open.set()
    await until_idle(started)
    assert [event["count"] for event in await written(client, home)] == [1]
    assert len(started) == 1
    await clock.advance(events.FOLD_S)
    await until_written(started)
    assert [event["count"] for event in await written(client, home)] == [2]


async def test_another_message_reason_or_object_is_another_event(started, client, home):
    started.record(about(home), "Warning", "BuildFailed", "a")
    started.record(about(home), "Warning", "BuildFailed", "b")
    started.record(about(home), "Warning", "ArtifactFailed", "a")
    started.record(about(home, "db"), "Warning", "BuildFailed", "a")
    started.record(about(home, uid="made anew"), "Warning", "BuildFailed", "a")
    await until_written(started)
    assert len(await written(client, home)) == 5


async def test_a_repeat_after_the_server_forgot_the_event_is_a_new_one(started, client, home, clock):
    started.record(about(home), "Warning", "BuildFailed", "a")
    await until_written(started)
    [event] = await written(client, home)
    await client.delete(EVENTS, event["metadata"]["name"], home)
    await clock.advance(3600)
    started.record(about(home), "Warning", "BuildFailed", "a")
    await until_written(started)
    [again] = await written(client, home)
    assert again["count"] == 1
    assert again["metadata"]["name"] != event["metadata"]["name"]


async def test_nothing_is_lost_or_doubled_by_a_wire_that_breaks(started, client, home, clock, wire, telemetry):
    wire.lose_answers = 1
    started.record(about(home), "Normal", "Progressing", "answer lost")
    await until(lambda: wire.lose_answers == 0)
    assert len(started) == 1  # as far as it knows
    await until_written(started, clock)
    wire.cut = True
    wire.requests.clear()
    started.record(about(home), "Normal", "Progressing", "wire cut")
    await until(lambda: len(wire.requests) == 1)
    wire.cut = False
    await until_written(started, clock)
    assert sorted(event["message"] for event in await written(client, home)) == ["answer lost", "wire cut"]
    assert b"trimtab_events_dropped_total{" not in await telemetry.render()


async def test_a_refused_event_is_dropped_and_counted(started, home, telemetry):
    started.record(about("no-such-namespace"), "Normal", "Progressing", "x")
    await until_written(started)
    assert b'trimtab_events_dropped_total{cause="refused",type="Normal"} 1.0' in await telemetry.render()


async def test_the_oldest_normal_event_goes_first_when_too_many_wait(client, clock, home, telemetry):
    recorder = Recorder(client, "kustomize-controller", clock, telemetry=telemetry, max_unwritten=3)
    recorder.record(about(home, "w1"), "Warning", "R", "w1")
    recorder.record(about(home, "n1"), "Normal", "R", "n1")
    recorder.record(about(home, "n2"), "Normal", "R", "n2")
    recorder.record(about(home, "w2"), "Warning", "R", "w2")
    recorder.record(about(home, "w3"), "Warning", "R", "w3")
    recorder.record(about(home, "w4"), "Warning", "R", "w4")
    tasks = Tasks("test")
    recorder.start(tasks)
    await until_written(recorder)
    assert [event["message"] for event in await written(client, home)] == ["w2", "w3", "w4"]
    text = await telemetry.render()
    assert b'trimtab_events_dropped_total{cause="backlog",type="Normal"} 2.0' in text
    assert b'trimtab_events_dropped_total{cause="backlog",type="Warning"} 1.0' in text
    await tasks.close()


async def test_memory_stays_bounded_while_nothing_can_be_written(recorder, clock):
    for number in range(5000):
        recorder.record(about("apps", f"app-{number}"), "Warning", "BuildFailed", f"{number}")
    assert len(recorder) == events.MAX_UNWRITTEN
    assert len(recorder._series) == events.MAX_UNWRITTEN
    assert len(recorder._queue._items) == events.MAX_UNWRITTEN
    assert len(recorder._queue._ready) < 3 * events.MAX_UNWRITTEN


async def test_one_object_cannot_flood_and_keeps_room_for_warnings(recorder, clock, home):
    for number in range(100):
        recorder.record(about(home), "Normal", "Progressing", f"step {number}")
    assert len(recorder) == events.BURST * 3 / 4
    recorder.record(about(home), "Warning", "BuildFailed", "but this matters")
    assert len(recorder) == events.BURST * 3 / 4 + 1
    recorder.record(about(home, "db"), "Normal", "Progressing", "another object")
    assert len(recorder) == events.BURST * 3 / 4 + 2
    clock.jump(events.REFILL_S * 2)
    recorder.record(about(home), "Normal", "Progressing", "later")
    assert len(recorder) == events.BURST * 3 / 4 + 3


async def test_messages_are_cut_to_what_a_server_takes_and_hold_no_secrets_or_escapes(started, client, home):
    started.record(about(home), "Warning", "BuildFailed", "ä" * 5000)
    started.record(about(home, "n" * 253), "Warning", "A", "two\nlines \x1b[2J https://bot:hunter2@example.com")
    await until_written(started)
    first, second = sorted(await written(client, home), key=lambda event: event["reason"], reverse=True)
    assert len(first["message"].encode()) <= 1024
    assert first["message"].endswith("ä…")
    assert second["message"] == r"two" + "\n" + r"lines \x1b[2J https://bot:***@example.com"


async def test_stop_writes_what_is_left_folded_repeats_included(started, client, home):
    started.record(about(home), "Warning", "BuildFailed", "a")
    await until_written(started)
    started.record(about(home), "Warning", "BuildFailed", "a")
    started.record(about(home), "Normal", "Progressing", "b")
    await started.stop(5)
    assert sorted((event["message"], event["count"]) for event in await written(client, home)) == [("a", 2), ("b", 1)]


async def test_stop_does_not_hang_on_a_server_that_is_gone(started, wire, home):
    wire.cut = True
    started.record(about(home), "Normal", "Progressing", "b")
    await asyncio.wait_for(started.stop(0.2), 60)


async def test_what_is_normal_waits_for_a_calm_moment_and_a_warning_does_not(
    started, client, home, clock, monkeypatch
) -> None:
    busy = True
    monkeypatch.setattr(Client, "calm", property(lambda _: not busy))
    started.record(about(home), "Normal", "Progressing", "ConfigMap/x created")
    started.record(about(home), "Warning", "HealthCheckFailed", "it is not ready")
    await until(lambda: len(started) == 1)
    for _ in range(20):
        await clock.advance(1.0)
    assert [event["type"] for event in await written(client, home)] == ["Warning"]
    busy = False
    await until_written(started, clock)
    assert {event["type"] for event in await written(client, home)} == {"Normal", "Warning"}


async def test_what_is_normal_waits_no_longer_than_it_takes_to_grow_old(
    started, client, home, clock, monkeypatch
) -> None:
    monkeypatch.setattr(Client, "calm", property(lambda _: False))
    started.record(about(home), "Normal", "Progressing", "ConfigMap/x created")
    for _ in range(int(events.OLD_S) - 1):
        await clock.advance(1.0)
    assert len(started) == 1
    await clock.advance(events._RECHECK_S[1] + 1)
    await until_written(started, clock)
