"""What is told once, what is opened and closed, and how repeats are folded. Pure."""

from collections.abc import Sequence

import pytest

from tests.notify.ground import event
from trimtab.notify.event import Event
from trimtab.notify.meaning import Effect, Topic, meaning
from trimtab.notify.notice import Notice, Phase
from trimtab.notify.story import MOST_OTHERS, Story, read, turn, write

FAILED = event("no such file", severity="error", reason="BuildFailed")


def stood(revision: str) -> Event:
    return event(f"Applied revision: {revision}", reason="ReconciliationSucceeded", metadata={"revision": revision})


def told(events: Sequence[tuple[float, Event]], *, news: bool = True) -> list[str]:
    story = Story()
    found = []
    for now, one in events:
        after = turn(
            read(write(story)),
            meaning(one),
            kind=one.involved_object.kind,
            words=one.reason + one.message,
            revision=one.revision,
            now=now,
            news=news or one.error,
        )
        story = after.story
        found += [f"{now:g} {telling.phase} {telling.topic or '-'} ×{telling.times}" for telling in after.told]
    return found


def test_a_revision_is_told_once() -> None:
    assert told([(0, stood("a")), (1, stood("a")), (2, stood("b")), (9999, stood("b"))]) == [
        "0 once - ×1",
        "2 once - ×1",
    ]


def test_a_failure_is_opened_and_closed_by_the_success_after_it() -> None:
    found = told([(0, stood("a")), (1, FAILED), (2, stood("b")), (3, stood("b"))])
    assert found == ["0 once - ×1", "1 opened failure ×1", "2 closed failure ×1"]


def test_the_success_of_an_old_revision_after_a_failure_is_its_end() -> None:
    assert told([(0, stood("a")), (1, FAILED), (2, stood("a"))])[-1] == "2 closed failure ×1"


def test_who_asked_for_errors_only_hears_of_their_end_and_of_nothing_else() -> None:
    found = told([(0, stood("a")), (1, FAILED), (2, stood("b")), (3, stood("c"))], news=False)
    assert found == ["1 opened failure ×1", "2 closed failure ×1"]


def test_repeats_are_counted_and_told_in_growing_distances() -> None:
    events = [(float(second), FAILED) for second in range(0, 1000, 25)]
    assert told(events) == ["0 opened failure ×1", "300 repeated failure ×12", "900 repeated failure ×24"]


def test_another_failure_of_what_fails_is_news() -> None:
    other = event("refused", severity="error", reason="ReconciliationFailed")
    assert told([(0, FAILED), (70, other), (80, FAILED)]) == ["0 opened failure ×1", "70 repeated failure ×1"]


def test_a_failure_whose_words_are_never_the_same_is_told_in_growing_distances() -> None:
    def failure(second: int) -> Event:
        return event(f"timed out after {second} s", severity="error", reason="ReconciliationFailed")

    found = told([(float(second), failure(second)) for second in range(0, 24 * 3600, 60)])
    assert found[:3] == ["0 opened failure ×1", "60 repeated failure ×1", "180 repeated failure ×2"]
    assert len(found) < 30


def test_drift_that_is_left_has_an_end_and_drift_that_is_corrected_just_happened() -> None:
    answers = {answer: {"drift-answer": answer} for answer in ("reported", "corrected")}
    left, corrected = (
        event("web differs", severity="error", reason="DriftDetected", metadata=answers[answer])
        for answer in ("reported", "corrected")
    )
    gone = event("as declared again", reason="NoDriftDetected")
    found = told([(0, corrected), (1, left), (2, stood("a")), (3, gone), (4, gone)])
    assert found == ["0 once - ×1", "1 opened drift ×1", "2 once - ×1", "3 closed drift ×1"]


def drift(message: str, answer: str = "reported", left: int = 0) -> Event:
    metadata = {"drift-answer": answer, **({"drift-left": str(left)} if left else {})}
    reason = "NoDriftDetected" if answer == "returned" else "DriftDetected"
    severity = "info" if answer == "returned" else "error"
    return event(message, severity=severity, reason=reason, metadata=metadata)


def test_drift_of_several_objects_is_told_at_once_and_ends_with_the_last_of_them() -> None:
    web, settings = drift("web differs", left=1), drift("settings differs", left=2)
    first, last = drift("web is back", "returned", left=1), drift("settings is back", "returned")
    found = told([(0, web), (1, web), (2, settings), (3, settings), (4, first), (5, last)])
    assert found == ["0 opened drift ×1", "2 repeated drift ×2", "4 once - ×1", "5 closed drift ×1"]


def test_drift_that_is_another_every_time_is_folded_like_everything_else() -> None:
    found = told([(float(second), drift(f"it is {second}")) for second in range(60)])
    assert len(found) == 1 + MOST_OTHERS


def test_what_a_status_says_of_a_state_that_is_told_is_nothing_new() -> None:
    derived = event(
        "in other words",
        severity="error",
        reason="BuildFailed",
        metadata={"topic": "failure"},
        controller="notification-controller",
    )
    assert told([(0, derived), (999, derived)]) == ["0 opened failure ×1"]
    assert told([(0, FAILED), (999, derived)]) == ["0 opened failure ×1"]


@pytest.mark.parametrize(
    ("one", "effect", "topic"),
    [
        (event(severity="error", reason="VerificationError", kind="GitRepository"), Effect.OPENS, Topic.REVISION_HELD),
        (event(severity="error", reason="GitOperationFailed", kind="GitRepository"), Effect.OPENS, Topic.SOURCE),
        (event(severity="error", reason="HealthCheckFailed"), Effect.OPENS, Topic.FAILURE),
        (event(severity="error", reason="UnknownAnnotation"), Effect.HAPPENS, None),
        (event(severity="error", reason="PlaintextSecret"), Effect.HAPPENS, None),
        (event(reason="Progressing"), Effect.HAPPENS, None),
        (
            event(
                severity="error",
                reason="PruneHeld",
                metadata={"topic": "prune-held"},
                controller="notification-controller",
            ),
            Effect.OPENS,
            Topic.PRUNE_HELD,
        ),
        # Only we say which state an event is about.
        (event(reason="Progressing", metadata={"topic": "prune-held"}), Effect.HAPPENS, None),
    ],
    ids=lambda value: value.reason if isinstance(value, Event) else str(value),
)
def test_what_an_event_means(one: Event, effect: Effect, topic: Topic | None) -> None:
    assert meaning(one)[:2] == (effect, topic)


def test_a_folded_notice_says_how_often_and_in_which_time() -> None:
    notice = Notice(event=FAILED, key="k", phase=Phase.REPEATED, count=12, over_s=300.0)
    assert notice.text == "no such file (×12 in 5m)"


def test_a_story_that_cannot_be_read_begins_anew() -> None:
    assert read(b"{") == read(b"") == Story()
