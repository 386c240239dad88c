"""Windows of time that come again: `cron duration timezone`, several by semicolons. Pure.

`0 18 * * fri 60h Europe/Berlin` opens on Fridays at six in the evening there, and is open for sixty hours. As in cron,
where both the day of the month and that of the week are named, one of them is enough.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from trimtab.base.durations import parse_duration

LONGEST: Final = timedelta(days=366)
MOST: Final = 50
_FIELDS: Final = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_NAMES: Final[dict[int, tuple[str, ...]]] = {
    3: ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    4: ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}


class Window(NamedTuple):
    """When it opens, in the zone's own time, and for how long."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    lasts: timedelta
    zone: ZoneInfo | None
    text: str

    def open_until(self, now: datetime) -> datetime | None:
        """When the one that is open at `now` closes; None if none is."""
        started = next(self._starts(now), None)
        return started + self.lasts if started is not None else None

    def _starts(self, now: datetime) -> Iterator[datetime]:
        """The starts whose window is open at `now`, the last one first."""
        zone = self.zone or UTC
        earliest = now - self.lasts
        day = now.astimezone(zone).date() + timedelta(days=1)  # where clocks are put back, the day may be another
        while day >= earliest.astimezone(zone).date() - timedelta(days=1):
            if self._is_on(day.month, day.day, day.isoweekday() % 7):
                for hour in self.hours:
                    for minute in self.minutes:
                        start = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).astimezone(UTC)
                        if earliest < start <= now:
                            yield start
            day -= timedelta(days=1)

    def _is_on(self, month: int, day: int, weekday: int) -> bool:
        by_month, by_week = day in self.days, weekday in self.weekdays
        return month in self.months and (by_month or by_week if self.either_day else by_month and by_week)


class Windows(NamedTuple):
    """Several windows."""

    windows: tuple[Window, ...]

    @classmethod
    def parse(cls, text: str) -> "Windows":
        """What `text` says; nothing is no window. Raises ValueError."""
        parts = [part for part in text.split(";") if part.strip()]
        if len(parts) > MOST:  # each costs time whenever it is asked whether it is open
            raise ValueError(f"{len(parts):,} windows are more than the {MOST} that are looked at")
        return cls(tuple(map(_window, parts)))

    def open_until(self, now: datetime) -> tuple[datetime, str] | None:
        """When the last of those that are open at `now` closes, and which that is; None if none is."""
        found = [(until, one.text) for one in self.windows if (until := one.open_until(now)) is not None]
        return max(found) if found else None


def _window(text: str) -> Window:
    words = text.split()
    if len(words) != 7:
        raise ValueError(f"{text.strip()!a} is not five fields of cron, a duration and a time zone")
    *cron, duration, zone = words
    minutes, hours, days, months, weekdays = (_field(place, field) for place, field in enumerate(cron))
    lasts = timedelta(seconds=parse_duration(duration))
    if not timedelta() < lasts <= LONGEST:
        raise ValueError(f"{duration} is not a duration of up to {LONGEST.days} days")
    return Window(
        tuple(sorted(minutes, reverse=True)),
        tuple(sorted(hours, reverse=True)),
        days,
        months,
        frozenset(day % 7 for day in weekdays),
        not cron[2].startswith("*") and not cron[4].startswith("*"),
        lasts,
        _zone(zone),
        text.strip(),
    )


def _zone(name: str) -> ZoneInfo | None:
    if name in ("UTC", "Etc/UTC"):
        return None  # known also where there is no list of zones
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"the time zone {name!a} is not known here; UTC always is") from None


def _field(place: int, field: str) -> frozenset[int]:
    least, most = _FIELDS[place]
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        if slash and not (step.isdecimal() and int(step) > 0):
            raise ValueError(f"{part!a} is no field of cron")
        first, dash, last = span.partition("-")
        begin = least if span == "*" else _number(place, first)
        end = most if span == "*" or (slash and not dash) else _number(place, last) if dash else begin
        if begin > end:
            raise ValueError(f"{part!a} goes backwards")
        found |= set(range(begin, end + 1, int(step) if slash else 1))
    return frozenset(found)


def _number(place: int, word: str) -> int:
    least, most = _FIELDS[place]
    if word.lower() in _NAMES.get(place, ()):
        return _NAMES[place].index(word.lower()) + least
    if word.isdecimal() and len(word) < 3 and least <= int(word) <= most:
        return int(word)
    raise ValueError(f"{word!a} is not from {least} to {most}")
