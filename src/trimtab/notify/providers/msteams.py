"""The type `msteams`: the webhook of a workflow, told by an Adaptive Card."""

from typing import Any, Final

from trimtab.notify.notice import Notice
from trimtab.notify.provider import Answer, Delivered, Outcome, Refused, Request, Retry, Settings
from trimtab.notify.provider import judge as by_status
from trimtab.notify.providers.asking import post
from trimtab.notify.providers.escaping import markdown
from trimtab.notify.providers.saying import bad, details
from trimtab.notify.text import cut, octets, shortened

_MOST_TEXT: Final = 12_000
"""Bytes. Teams takes 28 KB in all."""
_MOST_FIELDS: Final = 20
_MOST_FIELD: Final = 200
_FAILED: Final = b"Webhook message delivery failed"


def compose(notice: Notice, settings: Settings) -> Request:
    """One card: the title in the colour of the severity, the text, the metadata as facts."""
    text = shortened(markdown(notice.text), _MOST_TEXT, size=octets).replace("\n", "\n\n")
    body: list[dict[str, Any]] = [
        {
            "type": "TextBlock",
            "text": cut(markdown(notice.title), _MOST_FIELD),
            "weight": "Bolder",
            "size": "Medium",
            "color": "Attention" if bad(notice) else "Good",
            "wrap": True,
        },
        {"type": "TextBlock", "text": text, "wrap": True},
    ]
    facts = [
        {"title": cut(markdown(name), _MOST_FIELD), "value": cut(markdown(value), _MOST_FIELD)}
        for name, value in list(details(notice).items())[:_MOST_FIELDS]
    ]
    if facts:
        body.append({"type": "FactSet", "facts": facts})
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
        "msteams": {"width": "Full"},
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return post(notice, settings.needed("address"), {"type": "message", "attachments": [attachment]})


def judge(answer: Answer) -> Outcome:
    """The older webhooks answer 200 also when nothing came of it."""
    outcome = by_status(answer)
    if isinstance(outcome, Delivered) and _FAILED in answer.body:
        if b"429" in answer.body:
            return Retry("Teams says that there are too many messages", answer.retry_after)
        return Refused("Teams says that it did not deliver the message: make a workflow, and write its address")
    return outcome
