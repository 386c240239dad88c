"""The type `googlechat`: the webhook of a space, told by a card."""

from typing import Any, Final

from trimtab.notify.notice import Notice
from trimtab.notify.provider import Request, Settings
from trimtab.notify.providers.asking import post
from trimtab.notify.providers.escaping import html
from trimtab.notify.providers.saying import bad, details
from trimtab.notify.text import cut, octets, shortened

_MOST_TEXT: Final = 2500
"""Bytes, before characters are written as entities. Google takes 32 KB in all."""
_MOST_FIELDS: Final = 10
_MOST_FIELD: Final = 150


def compose(notice: Notice, settings: Settings) -> Request:
    """One card. A card is no text of a person: nobody is mentioned in it."""
    text = html(shortened(notice.text, _MOST_TEXT, size=octets)).replace("\n", "<br>")
    colour = "#d73a49" if bad(notice) else "#1a7f37"
    widgets: list[dict[str, Any]] = [{"textParagraph": {"text": f'<font color="{colour}">●</font> {text}'}}]
    widgets += [
        {
            "decoratedText": {
                "topLabel": cut(name, _MOST_FIELD),
                "text": html(cut(value, _MOST_FIELD)),
                "wrapText": True,
            }
        }
        for name, value in list(details(notice).items())[:_MOST_FIELDS]
    ]
    card = {
        "header": {"title": cut(notice.title, _MOST_FIELD), "subtitle": cut(notice.event.reason, _MOST_FIELD)},
        "sections": [{"widgets": widgets}],
    }
    headers = {"Content-Type": "application/json; charset=UTF-8"}
    return post(notice, settings.needed("address"), {"cardsV2": [{"cardId": notice.key, "card": card}]}, headers)
