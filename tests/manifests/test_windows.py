"""Windows of time: when each is open, by the clock of its own zone."""

from datetime import UTC, datetime

import pytest

from trimtab.manifests.windows import Windows

BERLIN = "0 18 * * fri 60h Europe/Berlin"


def until(text: str, now: str) -> str:
    found = Windows.parse(text).open_until(datetime.fromisoformat(now).replace(tzinfo=UTC))
    return found[0].isoformat(timespec="minutes").removesuffix("+00:00") if found else ""


@pytest.mark.parametrize(
    ("text", "now", "closes"),
    [
        (BERLIN, "2026-11-27T16:59", ""),  # a Friday, in winter
        (BERLIN, "2026-11-27T17:00", "2026-11-30T05:00"),
        (BERLIN, "2026-11-30T04:59", "2026-11-30T05:00"),
        (BERLIN, "2026-11-30T05:00", ""),
        (BERLIN, "2026-07-03T16:00", "2026-07-06T04:00"),  # in summer an hour earlier
        ("30 1,13 * * * 1h UTC", "2026-01-01T14:29", "2026-01-01T14:30"),
        ("*/15 * * * * 5m UTC", "2026-01-01T14:34", "2026-01-01T14:35"),
        ("*/15 * * * * 5m UTC", "2026-01-01T14:36", ""),
        ("0 0 24 dec * 192h UTC", "2026-12-31T12:00", "2027-01-01T00:00"),
        ("0 0 13 * fri 24h UTC", "2026-11-06T12:00", "2026-11-07T00:00"),  # a Friday, or the 13th
        ("0 0 13 * fri 24h UTC", "2026-10-13T12:00", "2026-10-14T00:00"),
        ("0 0 * * 7 24h UTC", "2026-11-29T12:00", "2026-11-30T00:00"),
        (f"{BERLIN}; 0 12 * * sat 90h UTC", "2026-11-28T13:00", "2026-12-02T06:00"),
        ("", "2026-11-28T13:00", ""),
    ],
)
def test_a_window_is_open_from_its_start_for_its_duration(text: str, now: str, closes: str) -> None:
    assert until(text, now) == closes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 18 * * fri 60h", "five fields of cron"),
        ("0 18 * * fri 60h Mars/Base", "time zone 'Mars/Base' is not known"),
        ("60 18 * * fri 60h UTC", "from 0 to 59"),
        ("5-1 18 * * fri 60h UTC", "goes backwards"),
        ("0 18 * * fri 9999h UTC", "up to 366 days"),
        pytest.param(";".join(["0 18 * * fri 60h UTC"] * 51), "51 windows are more than the 50", id="too many"),
    ],
)
def test_what_is_no_window_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Windows.parse(text)
