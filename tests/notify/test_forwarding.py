"""What has no room on its way to another process."""

from tests.notify.ground import event
from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport
from trimtab.notify import forwarding
from trimtab.notify.event import parse
from trimtab.notify.forwarding import Forwarding


def test_in_a_burst_progress_goes_first_and_the_oldest_of_it(monkeypatch) -> None:
    monkeypatch.setattr(forwarding, "MOST", 4)
    dropped: list[tuple[str, int]] = []
    posting = Forwarding("http://127.0.0.1:1/", AiohttpTransport(), SystemClock(), lambda *what: dropped.append(what))
    posting.hear(event("failed", severity="error", reason="BuildFailed"))
    posting.hear(event("Applied revision: a", reason="ReconciliationSucceeded"))
    for number in range(5):
        posting.hear(event(f"progress {number}"))
    assert [parse(one.body).message for one in posting._waiting] == [
        "failed",
        "Applied revision: a",
        "progress 3",
        "progress 4",
    ]
    for number in range(3):
        posting.hear(event(f"failed {number}", severity="error", reason="BuildFailed"))
    assert [parse(one.body).message for one in posting._waiting] == [
        "Applied revision: a",
        "failed 0",
        "failed 1",
        "failed 2",
    ]
    assert dropped == [("forwarding", 1)] * 6
