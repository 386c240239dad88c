"""The type `pagerduty`: Events API v2. What begins triggers an incident, and its end resolves it."""

from typing import Any, Final

from trimtab.notify.notice import Notice, Phase
from trimtab.notify.provider import Answer, Outcome, Request, Settings
from trimtab.notify.providers import answers
from trimtab.notify.providers.asking import below, post
from trimtab.notify.providers.saying import details, line
from trimtab.notify.text import cut, shortened

_ADDRESS: Final = "https://events.pagerduty.com"
_MOST_SUMMARY: Final = 1024
_MOST_TEXT: Final = 30_000


def compose(notice: Notice, settings: Settings) -> Request:
    """An alert event for a state; a change event for what only happened, since nobody would resolve it."""
    # Flux has the key in spec.channel, where everybody who reads the Provider sees it; a Secret is taken first.
    key = settings.token or settings.needed(
        "channel", "set `token` in the Secret of spec.secretRef (or spec.channel) to the integration key"
    )
    address = settings.address or _ADDRESS
    event = notice.event
    payload: dict[str, Any] = {
        "summary": cut(line(notice), _MOST_SUMMARY),
        "source": f"{notice.cluster}/{notice.title}" if notice.cluster else notice.title,
        "timestamp": event.timestamp,
        "custom_details": {**details(notice), "message": shortened(notice.text, _MOST_TEXT)},
    }
    links = [{"href": link.url, "text": link.title} for link in notice.links]
    if notice.phase is Phase.ONCE:
        body: dict[str, Any] = {"routing_key": key, "payload": payload, "links": links}
        return post(notice, below(address, "/v2/change/enqueue"), body)
    body = {
        "routing_key": key,
        "event_action": "resolve" if notice.phase is Phase.CLOSED else "trigger",
        "dedup_key": notice.state,
        "client": "Trimtab",
        "links": links,
        "payload": {
            **payload,
            "severity": "error",
            "component": event.involved_object.name,
            "group": event.involved_object.namespace,
            "class": event.reason,
        },
    }
    return post(notice, below(address, "/v2/enqueue"), body)


def judge(answer: Answer) -> Outcome:
    """By its status, with its words."""
    return answers.worded(answers.patient(answer, None), answers.fields(answer).get("message"))
