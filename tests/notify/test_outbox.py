"""Delivery: in order for an object, again until it is there, and nobody waits for somebody else's provider."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.notify.ground import answering, event, until
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Transient
from trimtab.base.tasks import Tasks
from trimtab.notify.journal import Due, Head, Journal
from trimtab.notify.notice import Notice
from trimtab.notify.outbox import Gone, Outbox, Post
from trimtab.notify.provider import Conversing, Delivered, Outcome, Refused, Retry, Settings, Wire

Behave = Callable[[str, Notice], Outcome]


class Office:
    """An outbox whose providers are functions."""

    def __init__(
        self, path: Path, behave: Behave, *, keep_s: float = 3600.0, gone_s: float = 600.0, idle_s: float = 30.0
    ) -> None:
        self.journal = Journal(path / "journal.db")
        self.tasks = Tasks("test")
        self.sent: list[tuple[str, str, float]] = []
        self.complaints: list[tuple[str, str, str]] = []
        self.dropped: list[tuple[str, int]] = []
        self.read: list[str] = []
        self.failing: set[str] = set()
        self.gone: set[str] = set()
        self.secrets: dict[str, Any] = {}
        self._behave = behave
        clock = SystemClock()

        async def send(notice: Notice, settings: Settings, _wire: Wire) -> Outcome:
            self.sent.append((settings.name, notice.event.message, clock.monotonic()))
            return behave(settings.name, notice)

        async def settings(provider: str) -> Settings:
            self.read.append(provider)
            if provider in self.gone:
                raise Gone
            if provider in self.failing:
                raise Transient("ReadFailed", "the Secret cannot be read")
            return Settings(type="generic", name=provider, **self.secrets)

        post = Post(
            settings=settings,
            wire=answering(None),
            table={"generic": Conversing(send)},
            told=lambda *_: None,
            complain=lambda *words: self.complaints.append(words),
            dropped=lambda *what: self.dropped.append(what),
        )
        self.outbox = Outbox(
            self.journal, post, clock, pace=100, pause_s=(0.01, 0.05), keep_s=keep_s, gone_s=gone_s, idle_s=idle_s
        )
        self._number = 0

    def put(self, provider: str, subject: str, message: str, *, at: float | None = None) -> None:
        self._number += 1
        notice = Notice(event=event(message), key=str(self._number))
        due = Due(notice.key, provider, subject, 1, msgspec.json.encode(notice))
        now = SystemClock().now().timestamp() if at is None else at
        self.journal.dispatched(0, [due], [], now)
        self.outbox.wake([provider])

    def start(self) -> None:
        self.tasks.keep(lambda: self.outbox.run(self.tasks), name="outbox")

    def told(self, provider: str) -> list[str]:
        return [message for name, message, _ in self.sent if name == provider]

    async def empty(self) -> None:
        await until(lambda: self.journal.pending()[1] == 0)


@pytest.fixture
async def opened(tmp_path: Path):
    offices: list[Office] = []

    def open_(behave: Behave, **options: float) -> Office:
        offices.append(Office(tmp_path, behave, **options))
        offices[-1].start()
        return offices[-1]

    yield open_
    for office in offices:
        await office.tasks.close()


async def test_about_an_object_the_first_is_delivered_before_the_second(opened) -> None:
    tries = iter([Retry("not now"), Retry("not now"), *[Delivered()] * 9])
    office = opened(lambda _provider, _notice: next(tries))
    for message in ("first", "second", "third"):
        office.put("p", "Kustomization/apps/a", message)
    await office.empty()
    assert office.told("p") == ["first", "first", "first", "second", "third"]


async def test_one_that_is_never_taken_holds_up_no_other_object(opened) -> None:
    office = opened(lambda _provider, notice: Retry("500") if notice.event.message == "poison" else Delivered())
    office.put("p", "Kustomization/apps/a", "poison")
    for number in range(5):
        office.put("p", f"Kustomization/apps/{number}", str(number))
    await until(lambda: set("01234") <= set(office.told("p")) and office.journal.pending()[1] == 1)


async def test_a_dead_provider_holds_up_no_other(opened) -> None:
    def behave(provider: str, _notice: Notice) -> Outcome:
        return Retry("cannot connect") if provider == "dead" else Delivered()

    office = opened(behave)
    for number in range(20):
        office.put("dead", f"Kustomization/apps/{number}", str(number))
        office.put("alive", f"Kustomization/apps/{number}", str(number))
    await until(lambda: len(office.told("alive")) == 20)
    await until(lambda: office.journal.providers() == ["dead"])


async def test_it_is_not_tried_before_the_other_side_says_so(opened) -> None:
    answers = iter([Retry("slow down", after=0.6), Delivered(), Delivered()])
    office = opened(lambda _provider, _notice: next(answers))
    office.put("p", "a", "first")
    await until(lambda: office.sent)
    office.put("p", "b", "second")
    await office.empty()
    assert office.sent[1][2] - office.sent[0][2] >= 0.59


async def test_what_is_refused_is_told_to_the_owner_and_left(opened) -> None:
    office = opened(lambda _provider, _notice: Refused("the server answered 400"))
    office.put("p", "a", "first")
    await office.empty()
    assert office.told("p") == ["first"]
    assert ("p", "NotificationRefused", "the server answered 400") in office.complaints


async def test_what_could_not_be_delivered_for_a_day_is_given_up(opened) -> None:
    office = opened(lambda _provider, _notice: Retry("503"), keep_s=10.0)
    office.put("p", "a", "old", at=SystemClock().now().timestamp() - 11)
    await office.empty()
    assert [reason for _, reason, _ in office.complaints] == ["NotificationGivenUp"]
    assert office.dropped == [("old", 1)], "an alert is told as well"


async def test_what_waits_for_a_secret_for_a_day_is_given_up_as_well(opened) -> None:
    office = opened(lambda _provider, _notice: Delivered(), keep_s=10.0)
    office.failing.add("p")
    office.put("p", "a", "old", at=SystemClock().now().timestamp() - 11)
    await office.empty()
    assert office.dropped == [("old", 1)]
    assert office.sent == []


async def test_a_secret_that_cannot_be_read_is_waited_for(opened) -> None:
    office = opened(lambda _provider, _notice: Delivered())
    office.failing.add("p")
    office.put("p", "a", "first")
    await until(lambda: office.complaints)
    assert office.sent == []
    office.failing.clear()
    await office.empty()
    assert office.told("p") == ["first"]


async def test_a_provider_that_comes_later_is_told_and_one_that_does_not_is_forgotten(opened) -> None:
    office = opened(lambda _provider, _notice: Delivered(), gone_s=0.2)
    office.gone.update({"late", "never"})
    now = SystemClock().now().timestamp()
    office.put("late", "a", "first", at=now + 3600)
    office.put("never", "a", "first", at=now - 3600)
    office.put("never", "b", "just now", at=now + 3600)
    await until(lambda: office.dropped == [("gone", 1)])
    assert office.journal.pending()[1] == 2, "what is new waits its own ten minutes"
    office.gone.discard("late")
    office.outbox.changed("late")
    await until(lambda: office.journal.providers() == ["never"])
    assert [name for name, _, _ in office.sent] == ["late"]


async def test_a_module_that_fails_over_an_answer_does_not_stop_the_line(opened, caplog) -> None:
    def behave(_provider: str, notice: Notice) -> Outcome:
        if notice.event.message == "odd":
            raise KeyError("ok")
        return Delivered()

    office = opened(behave)
    office.put("p", "a", "odd")
    office.put("p", "a", "next")
    await office.empty()
    assert office.told("p") == ["odd", "next"]
    assert "makes no sense to us (KeyError)" in office.complaints[0][2]


async def test_what_was_delivered_while_the_disk_was_full_is_not_told_again(opened, monkeypatch) -> None:
    office = opened(lambda _provider, _notice: Delivered())
    done, failures = office.journal.done, iter([OSError(28, "No space left on device")] * 2)

    def full(seq: int) -> None:
        if (failure := next(failures, None)) is not None:
            raise failure
        done(seq)

    monkeypatch.setattr(office.journal, "done", full)
    office.put("p", "a", "first")
    await office.empty()
    assert office.told("p") == ["first"]


@pytest.mark.parametrize("outcome", [Refused, Retry], ids=lambda one: one.__name__)
async def test_a_service_that_repeats_a_secret_does_not_have_it_told(opened, outcome: Callable[[str], Outcome]) -> None:
    office = opened(
        lambda _provider, _notice: outcome("no such hook /services/T1/B2 (tok-123, pass-1, Basic aGVhZGVy)")
    )
    address = "https://hooks.example/services/T1/B2"
    office.secrets = {
        "address": address,
        "token": "tok-123",
        "password": "pass-1",
        "headers": {"Authorization": "Basic aGVhZGVy"},
        "secret": {"address": address.encode()},
    }
    office.put("p", "a", "first")
    await until(lambda: office.complaints)
    assert office.complaints[0][2] == "no such hook *** (***, ***, ***)"


async def test_a_burst_reads_the_secrets_of_a_provider_a_few_times_and_wakes_nobody_else(opened, monkeypatch) -> None:
    office = opened(lambda _provider, _notice: Delivered())
    asked: list[tuple[str, int]] = []
    heads = office.journal.heads

    def noted(provider: str, *more: Any) -> list[Head]:
        found = heads(provider, *more)
        asked.append((provider, len(found)))
        return found

    monkeypatch.setattr(office.journal, "heads", noted)
    office.put("quiet", "a", "first")
    await until(lambda: ("quiet", 0) in asked)  # whoever has told all looks once more whether there is anything
    asked.clear()
    began = time.monotonic()
    for number in range(200):
        office.put("busy", f"Kustomization/apps/{number}", str(number))
    await office.empty()
    assert len(office.told("busy")) == 200
    assert office.read.count("busy") < 10 + (time.monotonic() - began) / 2
    assert "quiet" not in {provider for provider, _ in asked}
    office.put("quiet", "a", "second")
    await office.empty()
    assert office.told("quiet") == ["first", "second"]


async def test_who_is_told_nothing_any_more_costs_nothing_and_is_told_what_comes(opened) -> None:
    office = opened(lambda _provider, _notice: Delivered(), idle_s=0.05)
    office.put("p", "a", "first")
    await office.empty()
    await until(lambda: not office.outbox._lines)
    office.put("p", "a", "second")
    await office.empty()
    assert office.told("p") == ["first", "second"]


async def test_who_is_waited_for_is_not_forgotten_meanwhile(opened) -> None:
    answers = iter([Retry("slow down", after=0.3), Delivered()])
    office = opened(lambda _provider, _notice: next(answers), idle_s=0.05)
    office.put("p", "a", "first")
    await office.empty()
    assert office.told("p") == ["first", "first"]
