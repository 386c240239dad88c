"""What waits is bounded, for each provider and for all of them, on disk and in memory."""

from pathlib import Path

from trimtab.notify import journal as journals
from trimtab.notify.journal import Due, Entry, Journal, StoryRow


def put(journal: Journal, provider: str, count: int, *, size: int = 1000) -> int:
    """How many had to go for `count` notices of `size` bytes."""
    start = journal.pending()[1]
    notices = [
        Due(f"{provider} {number}", provider, f"Kustomization/apps/{number}", 1, b"x" * size)
        for number in range(start, start + count)
    ]
    return journal.dispatched(0, notices, (), 0.0)


def waiting(journal: Journal, provider: str) -> int:
    return len(journal.heads(provider, 1000))


def test_all_providers_together_are_bounded_and_who_has_most_gives_way(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db", most_bytes_in_all=20_000)
    assert put(journal, "shop/chat", 5) == 0
    assert sum(put(journal, f"greedy/{number}", 2) for number in range(20)) == 25
    assert waiting(journal, "shop/chat") == 5, "many small ones of one namespace do not crowd out another"
    assert journal.pending() == (0, 20)
    # Also after a restart, when the sizes are asked of the file.
    again = Journal(tmp_path / "journal.db", most_bytes_in_all=20_000)
    assert put(again, "shop/chat", 1) == 1
    assert (again.pending()[1], waiting(again, "shop/chat")) == (20, 6)
    again.forget("shop/chat")
    assert put(again, "shop/other", 6) == 0


def test_of_long_notices_fewer_are_in_memory(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(journals, "MOST_BYTES_AT_ONCE", 2500)
    journal = Journal(tmp_path / "journal.db")
    put(journal, "shop/chat", 5)
    put(journal, "shop/long", 2, size=9000)
    assert (waiting(journal, "shop/chat"), waiting(journal, "shop/long")) == (3, 1)


def test_what_an_alert_told_goes_with_it_and_nothing_else(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    rows = [StoryRow(alert, subject, b"{}") for alert in ("apps/one", "apps/two", "") for subject in "ab"]
    journal.dispatched(0, (), rows, 0.0)
    assert journal.alerts() == {"apps/one", "apps/two"}
    journal.forget_alert("apps/one")
    assert {(row.alert, row.subject) for row in journal.told(100)} == {
        (alert, subject) for alert in ("apps/two", "") for subject in "ab"
    }


def test_an_event_that_had_to_go_while_it_was_looked_at_is_not_told_as_well(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db", most_events=1)
    journal.accept([Entry("first", 0, b"first")], 0.0)
    [first] = journal.waiting(10)
    assert journal.accept([Entry("second", 0, b"second")], 0.0).dropped == 1
    notice = Due("first", "shop/chat", "Kustomization/apps/a", 1, b"x")
    assert journal.dispatched(first.seq, [notice], [StoryRow("apps/one", "a", b"{}")], 0.0) == 0
    assert (journal.pending(), journal.alerts()) == ((1, 0), set())
    [second] = journal.waiting(10)
    journal.dispatched(second.seq, [notice], (), 0.0)
    assert journal.pending() == (0, 1)
