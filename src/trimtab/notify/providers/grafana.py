"""The type `grafana`: annotations on the dashboards of Grafana."""

from typing import Final

from trimtab.notify.notice import Notice
from trimtab.notify.provider import Answer, Outcome, Request, Settings
from trimtab.notify.providers import answers
from trimtab.notify.providers.asking import authorization, below, post
from trimtab.notify.providers.escaping import html
from trimtab.notify.providers.saying import details, seconds
from trimtab.notify.text import cut, shortened

_MOST_TEXT: Final = 10_000
_MOST_TAGS: Final = 20
_MOST_TAG: Final = 100
"""Grafana refuses a longer one."""


def compose(notice: Notice, settings: Settings) -> Request:
    """One annotation at the time of the event, tagged as Flux tags it."""
    event, involved = notice.event, notice.event.involved_object
    tags = [
        "flux",
        event.reporting_controller,
        f"kind: {involved.kind}",
        f"name: {involved.name}",
        f"namespace: {involved.namespace}",
        f"severity: {event.severity}",
        *(f"{name}: {value}" for name, value in details(notice).items()),
    ]
    body = {
        "time": int(seconds(notice) * 1000),
        "text": html(shortened(f"{notice.title}: {notice.text}", _MOST_TEXT)),
        "tags": [cut(tag, _MOST_TAG) for tag in tags[:_MOST_TAGS]],
    }
    headers = {**settings.headers, **authorization(settings)}
    return post(notice, below(settings.needed("address"), "/api/annotations"), body, headers)


def judge(answer: Answer) -> Outcome:
    """By its status, with its words."""
    return answers.worded(answers.patient(answer, None), answers.fields(answer).get("message"))
