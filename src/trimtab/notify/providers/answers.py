"""What services answer beside a status: JSON with a code, and how long to wait, each in its own way."""

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from trimtab.notify.provider import Answer, Delivered, Outcome, Refused, Retry
from trimtab.notify.provider import judge as by_status

_LONGEST_S: Final = 3600.0
_PATIENCE_S: Final = 60.0
_MOST_WORDS: Final = 200


def fields(answer: Answer) -> Mapping[str, Any]:
    """The body, if it is an object of JSON; else nothing."""
    try:
        said = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def seconds(value: Any, *, scale: float = 1.0) -> float | None:
    """A time that somebody else wrote, in seconds: an hour at most, None for what is no time."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value) * scale
    except (ValueError, OverflowError):
        return None
    return min(found, _LONGEST_S) if math.isfinite(found) and found >= 0 else None


def patient(answer: Answer, wait_s: float | None) -> Outcome:
    """What the status says, where a wait is written elsewhere than in Retry-After. The longer one holds."""
    outcome = by_status(answer)
    if isinstance(outcome, Retry):
        waits = [one for one in (outcome.after, wait_s) if one is not None]
        return Retry(outcome.why, max(waits) if waits else None)
    return outcome


def worded(outcome: Outcome, words: Any) -> Outcome:
    """The outcome with what the other side says is wrong."""
    said = shown(words)
    if not said or isinstance(outcome, Delivered):
        return outcome
    why = f"{outcome.why}: {said}"
    return Retry(why, outcome.after) if isinstance(outcome, Retry) else Refused(why)


def shown(words: Any) -> str:
    """Words of the other side, in one line of ASCII."""
    return ascii(words[:_MOST_WORDS])[1:-1] if isinstance(words, str) else ""


def forge(answer: Answer) -> Outcome:
    """What the status of a forge says: too many requests are 403 at GitHub, and not always with Retry-After."""
    spent = answer.headers.get("x-ratelimit-remaining") == "0"
    if answer.status == 403 and (spent or answer.retry_after is not None):
        return Retry("the server asks for patience (403)", answer.retry_after or _PATIENCE_S)
    return patient(answer, None)
