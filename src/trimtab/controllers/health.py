"""From the verdicts of objects to the health of an app. Pure."""

from collections.abc import Mapping
from enum import Enum, auto
from typing import NamedTuple

from trimtab.health.verdict import Verdict
from trimtab.manifests.refs import Ref


class Health(Enum):
    """How an app is doing."""

    GOOD = auto()
    PENDING = auto()
    BAD = auto()


class Judgement(NamedTuple):
    """The health of an app and, unless it is good, which objects stand in the way and why."""

    health: Health
    message: str = ""


def judge(verdicts: Mapping[Ref, Verdict]) -> Judgement:
    """One bad object makes the app bad at once; otherwise it is pending while any object is."""
    bad = {ref: verdict for ref, verdict in verdicts.items() if verdict.bad}
    if bad:
        return Judgement(Health.BAD, _words(bad))
    pending = {ref: verdict for ref, verdict in verdicts.items() if not verdict.good}
    return Judgement(Health.PENDING, _words(pending)) if pending else Judgement(Health.GOOD)


def _words(verdicts: Mapping[Ref, Verdict]) -> str:
    shown = [f"{ref}: {verdict.message or verdict.state}" for ref, verdict in list(verdicts.items())[:10]]
    more = f" and {len(verdicts) - 10} more" if len(verdicts) > 10 else ""
    return "; ".join(shown) + more
