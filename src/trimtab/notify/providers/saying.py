"""What a notice says, in the pieces that most services take."""

from trimtab.base.traces import TRACEPARENT
from trimtab.notify import event as events
from trimtab.notify.notice import Notice, Phase


def bad(notice: Notice) -> bool:
    """Whether it is told in red: an error that has not ended."""
    return notice.event.error and notice.phase is not Phase.CLOSED


def details(notice: Notice) -> dict[str, str]:
    """Name and value of what is told beside the text: metadata, the summary of the Alert, the cluster, links.

    The place in a trace is for machines, and means nothing to people.
    """
    found = {name: value for name, value in notice.fields.items() if name != TRACEPARENT}
    if notice.summary:
        found["summary"] = notice.summary
    if notice.cluster:
        found["cluster"] = notice.cluster
    return {**found, **{link.title: link.url for link in notice.links}}


def plain(notice: Notice) -> str:
    """All of it as lines of text."""
    mark = "✖" if bad(notice) else "✔" if notice.phase is Phase.CLOSED else "•"
    lines = [f"{mark} {notice.title}", notice.text]
    return "\n".join([*lines, *(f"{name}: {value}" for name, value in details(notice).items())])


def line(notice: Notice) -> str:
    """The title and the first line of the text."""
    return f"{notice.title}: {notice.text.strip().partition(chr(10))[0]}"


def seconds(notice: Notice) -> float:
    """When it happened, in seconds of Unix."""
    moment = events.instant(notice.event.timestamp)
    return moment.timestamp() if moment is not None else 0.0
