"""The type `opsgenie`: what begins creates an alert, and its end closes it, by an alias."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from trimtab.notify.notice import Notice, Phase
from trimtab.notify.provider import Answer, Outcome, Request, Settings
from trimtab.notify.providers import answers
from trimtab.notify.providers.asking import below, post
from trimtab.notify.providers.saying import details, line
from trimtab.notify.text import cut, shortened

_ADDRESS: Final = "https://api.opsgenie.com"
_MOST_MESSAGE: Final = 130
_MOST_TEXT: Final = 15_000
_MOST_DETAIL: Final = 300
_MOST_DETAILS: Final = 20


def compose(notice: Notice, settings: Settings) -> Request | Sequence[Request]:
    """Only what somebody has to look at is an alert: a success is told to nobody here."""
    if notice.phase is Phase.ONCE and not notice.event.error:
        return ()
    headers = {"Authorization": f"GenieKey {settings.needed('token')}"}
    address = below(settings.address or _ADDRESS, "/v2/alerts")
    if notice.phase is Phase.CLOSED:
        body: dict[str, object] = {"source": "Trimtab", "note": shortened(notice.text, _MOST_TEXT)}
        path = f"/{quote(notice.state, safe='')}/close"
        return post(notice, below(address, path, "identifierType=alias"), body, headers)
    involved = notice.event.involved_object
    found = list(details(notice).items())[:_MOST_DETAILS]
    body = {
        "message": cut(line(notice), _MOST_MESSAGE),
        "alias": notice.state or notice.key,
        "description": shortened(notice.text, _MOST_TEXT),
        "details": {cut(name, _MOST_DETAIL): cut(value, _MOST_DETAIL) for name, value in found},
        "entity": cut(f"{involved.kind}/{involved.namespace}/{involved.name}", 512),
        "source": "Trimtab",
        "tags": [cut(notice.event.severity, 50), cut(notice.event.reason, 50)],
        "priority": "P5" if notice.phase is Phase.ONCE else "P3",
    }
    return post(notice, address, body, headers)


def judge(answer: Answer) -> Outcome:
    """By its status, with its words."""
    return answers.worded(answers.patient(answer, None), answers.fields(answer).get("message"))
