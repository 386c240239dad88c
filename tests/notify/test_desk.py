"""From events to notices: kept on disk first, folded, bounded in a burst, with the words of a template."""

import asyncio
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from tests.notify.ground import Ground, alert, event, until
from trimtab.base.tasks import Tasks
from trimtab.notify import outbox as outboxes
from trimtab.notify.desk import Full
from trimtab.notify.notice import Notice, Phase


def notices(ground: Ground, provider: str = "apps/sink") -> list[Notice]:
    """What waits for a provider: the first about each object."""
    heads = ground.journal.heads(provider, 20_000)
    return [outboxes._decoder.decode(head.body) for head in heads]


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def settled(ground: Ground) -> None:
    await until(lambda: not ground.desk._arriving and ground.journal.pending()[0] == 0)


@pytest.fixture
async def tasks():
    tasks = Tasks("test")
    yield tasks
    await tasks.close()


def start(ground: Ground, tasks: Tasks) -> None:
    ground.desk.start(tasks)
    tasks.keep(ground.desk.dispatch, name="dispatch")


async def test_what_was_said_a_moment_ago_is_not_taken_again(tmp_path: Path, tasks: Tasks) -> None:
    ground = Ground(tmp_path, [alert()])
    start(ground, tasks)
    assert await ground.desk.take(event("a"))
    assert not await ground.desk.take(event("a", timestamp="2026-11-26T22:01:00Z"))
    assert await ground.desk.take(event("a", metadata={"revision": "other"}))
    await settled(ground)
    await until(lambda: ground.moved == 2)  # what is on disk is told of a moment later
    assert not await ground.desk.take(event("a")), "also when it was told already"
    # Of a failure that is said again and again it is counted how often.
    failure = event("no such file", severity="error", reason="BuildFailed")
    assert [await ground.desk.take(failure) for _ in range(13)] == [True] + [False] * 12
    [folded] = ground.desk._folded.values()
    await settled(ground)
    ground.desk.hear(folded.told(ground.clock.now()))
    # What is heard is not on disk yet: nothing waits there before it is, and after it was told.
    await until(lambda: b'"count":12' in b"".join(ground.journal.stories("Kustomization/apps/shop").values()))
    await settled(ground)
    assert len(ground.journal.stories("Kustomization/apps/shop")) == 1


async def test_a_notice_has_what_the_alert_adds_and_a_key_of_its_own_for_each_alert(
    tmp_path: Path, tasks: Tasks
) -> None:
    two = [alert(eventMetadata={"x": "1"}, summary="s"), alert("more", providerRef={"name": "other"})]
    ground = Ground(tmp_path, two)
    start(ground, tasks)
    await ground.desk.take(event(metadata={"kustomize.toolkit.fluxcd.io/revision": "r"}))
    await settled(ground)
    [one], [other] = notices(ground), notices(ground, "apps/other")
    assert (one.fields, one.summary, one.cluster, one.alert) == ({"x": "1", "revision": "r"}, "s", "here", "apps/all")
    assert one.key != other.key
    assert one.phase is Phase.ONCE


async def test_a_template_has_the_last_word_and_one_that_fails_is_told_of(tmp_path: Path, tasks: Tasks) -> None:
    ground = Ground(tmp_path, [alert()])
    ground.template = '{{ .Event.Object.Name }} in {{ .Cluster }}: {{ .Event.Message }} {{ index .Fields "team" }}'
    ground.annotations = {"event.toolkit.fluxcd.io/team": "shop"}
    start(ground, tasks)
    await ground.desk.take(event("hello", name="a"))
    await settled(ground)
    ground.template = "{{ .Nonsense }}"
    await settled(ground)
    await ground.desk.take(event("raw", name="b"))
    await settled(ground)
    ground.template = "{{ range 100000000 }}x{{ end }}"
    await ground.desk.take(event("raw", name="c"))
    await settled(ground)
    assert [one.text for one in notices(ground)] == ["a in here: hello shop", "raw", "raw"]
    assert [(name, reason) for name, reason, _ in ground.complaints] == [("apps/all", "TemplateFailed")] * 2
    assert all("raw message is told" in words for _, _, words in ground.complaints)


@pytest.mark.parametrize(("sets_status", "told"), [(True, 2), (False, 1)])
async def test_a_forge_hears_of_each_commit_that_fails_in_the_same_way(
    tmp_path: Path, tasks: Tasks, sets_status: bool, told: int
) -> None:
    ground = Ground(tmp_path, [alert()])
    ground.desk._world = replace(ground.desk._world, status_of=lambda _alert: sets_status)
    start(ground, tasks)
    for commit in ("a" * 40, "b" * 40):
        failure = event(
            "no such file", severity="error", reason="BuildFailed", metadata={"revision": f"main@sha1:{commit}"}
        )
        assert await ground.desk.take(failure)
    await settled(ground)
    assert ground.journal.pending() == (0, told)


async def test_an_event_that_was_kept_is_told_by_the_next_process(tmp_path: Path) -> None:
    first = Tasks("first")
    ground = Ground(tmp_path, [alert()])
    ground.desk.start(first)  # and nobody looks at what is kept
    assert await ground.desk.take(event())
    await first.close()
    second = Tasks("second")
    again = Ground(tmp_path, [alert()])
    start(again, second)
    await settled(again)
    assert len(notices(again)) == 1
    await second.close()


async def test_ten_thousand_events_in_a_burst_are_bounded_and_progress_goes_first(tmp_path: Path, tasks: Tasks) -> None:
    ground = Ground(tmp_path, [alert()], most_events=800, most_notices=500)
    failure = event("no such file", severity="error", reason="BuildFailed", name="broken")
    before = resident()
    ground.desk.start(tasks)
    taken = 0
    for number in range(10_000):
        if number == 100:
            assert await ground.desk.take(failure)
        while True:
            try:
                ground.desk.hear(event(f"{number} " + "x" * 500, name=f"app-{number % 50}"))
            except Full:
                await asyncio.sleep(0)
                continue
            break
        taken += 1
        if number % 1000 == 999:
            await asyncio.sleep(0)
    await until(lambda: not ground.desk._arriving)
    tasks.keep(ground.desk.dispatch, name="dispatch")
    await settled(ground)
    assert taken == 10_000
    assert resident() - before < 64 << 20
    events, waiting = ground.journal.pending()
    assert (events, waiting) == (0, 500)
    await until(lambda: sum(count for _, count in ground.dropped) == 10_001 - 500)
    assert "Kustomization/apps/broken" in {head.subject for head in ground.journal.heads("apps/sink", 100)}


async def test_what_has_no_room_on_its_way_to_the_disk_is_refused_or_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab.notify.desk.MOST_ARRIVING", 2)
    ground = Ground(tmp_path, [alert()])
    for number in range(5):
        ground.desk.hear(event(str(number)))
    assert ground.dropped == [("arriving", 1)] * 3
    with pytest.raises(Full):
        await ground.desk.take(event("more"))
