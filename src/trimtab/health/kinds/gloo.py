"""Gloo: each controller reports a state, in words or, before 1.9, as the number of one."""

from collections.abc import Iterator
from typing import Final

from trimtab.health.context import Context
from trimtab.health.kinds.contract import NO_STATUS, Rules
from trimtab.health.shape import section
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Body

_STATES: Final = {
    "Pending": State.Suspended,
    "Accepted": State.Current,
    "Rejected": State.Failed,
    "Warning": State.Failed,
}
_NUMBERED: Final = tuple(_STATES)
_GRAVITY: Final = (State.Failed, State.Unknown, State.Suspended, State.Current)


def reported(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001 - a rule's signature
    """The gravest of the reports. Pending means that no proxy has asked for it, which nobody waits for."""
    verdicts = [_verdict(report) for report in _reports(section(body, "status"))]
    if not verdicts:
        return NO_STATUS
    return min(verdicts, key=lambda each: _GRAVITY.index(each.state))


def _reports(status: Body) -> Iterator[Body]:
    if "state" in status:
        yield status
    for name in section(status, "statuses"):
        yield section(status, "statuses", name)


def _verdict(report: Body) -> Verdict:
    state = report.get("state", 0)
    if isinstance(state, int) and 0 <= state < len(_NUMBERED):
        state = _NUMBERED[state]
    text = f"{report.get('reportedBy') or 'the controller'} says {state}"
    if report.get("reason"):
        text += f": {report['reason']}"
    return Verdict(_STATES.get(str(state), State.Unknown), text)


RULES: Final[Rules] = {
    ("gloo.solo.io", "*"): reported,
    ("gateway.solo.io", "*"): reported,
    ("enterprise.gloo.solo.io", "*"): reported,
}
