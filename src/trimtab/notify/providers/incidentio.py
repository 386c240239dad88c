"""The type `incident.io`: an HTTP alert source. What begins fires an alert, and its end resolves it, by one key."""

from collections.abc import Sequence
from typing import Any, Final

from trimtab.notify.notice import Notice, Phase
from trimtab.notify.provider import Answer, Outcome, Request, Settings
from trimtab.notify.providers import answers
from trimtab.notify.providers.asking import post
from trimtab.notify.providers.saying import details, line
from trimtab.notify.text import cut, shortened

_MOST_TITLE: Final = 300
_MOST_TEXT: Final = 15_000
_MOST_VALUE: Final = 300
_MOST_VALUES: Final = 30


def compose(notice: Notice, settings: Settings) -> Request | Sequence[Request]:
    """Only what somebody has to look at is an alert: a success is told to nobody here."""
    if notice.phase is Phase.ONCE and not notice.event.error:
        return ()
    address = settings.needed("address", "set `address` in the Secret of spec.secretRef to that of the alert source")
    headers = {"Authorization": f"Bearer {settings.needed('token')}"}
    event = notice.event
    told = {
        **dict(list(details(notice).items())[:_MOST_VALUES]),
        "severity": event.severity,
        "reason": event.reason,
        "kind": event.involved_object.kind,
        "namespace": event.involved_object.namespace,
        "name": event.involved_object.name,
    }
    body: dict[str, Any] = {
        "title": cut(line(notice), _MOST_TITLE),
        "status": "resolved" if notice.phase is Phase.CLOSED else "firing",
        "deduplication_key": notice.state or notice.key,
        "description": shortened(notice.text, _MOST_TEXT),
        "metadata": {cut(name, _MOST_VALUE): cut(value, _MOST_VALUE) for name, value in told.items()},
    }
    if notice.links:
        body["source_url"] = notice.links[0].url
    return post(notice, address, body, headers)


def judge(answer: Answer) -> Outcome:
    """By its status, with its words."""
    return answers.worded(answers.patient(answer, None), answers.fields(answer).get("message"))
