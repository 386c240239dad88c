"""The type `rocket`: an incoming webhook of Rocket.Chat."""

import re
from typing import Final

from trimtab.notify.notice import Notice
from trimtab.notify.provider import Answer, Delivered, Outcome, Refused, Request, Settings
from trimtab.notify.providers import answers
from trimtab.notify.providers.asking import post
from trimtab.notify.providers.escaping import defused
from trimtab.notify.providers.saying import bad, details
from trimtab.notify.text import cut, shortened

_MOST_TEXT: Final = 5000
_MOST_FIELDS: Final = 20
_MOST_FIELD: Final = 500
_WAIT: Final = re.compile(r"wait (\d{1,6}) seconds")


def compose(notice: Notice, settings: Settings) -> Request:
    """One attachment. Nobody is mentioned, and a link shows where it leads."""
    attachment = {
        "color": "#d73a49" if bad(notice) else "#2eb67d",
        "author_name": defused(notice.title),
        "text": shortened(defused(notice.text), _MOST_TEXT),
        "fields": [
            {"title": cut(defused(name), _MOST_FIELD), "value": cut(defused(value), _MOST_FIELD), "short": False}
            for name, value in list(details(notice).items())[:_MOST_FIELDS]
        ],
    }
    body: dict[str, object] = {"attachments": [attachment], "parseUrls": False}
    if settings.channel:
        body["channel"] = settings.channel
    if settings.username:
        body["username"] = settings.username
    return post(notice, settings.needed("address"), body)


def judge(answer: Answer) -> Outcome:
    """Success is in the body too; how long to wait is in a sentence."""
    said = answers.fields(answer)
    words = said.get("error") or said.get("message")
    found = _WAIT.search(words) if isinstance(words, str) else None
    outcome = answers.patient(answer, answers.seconds(found[1]) if found else None)
    if isinstance(outcome, Delivered) and said.get("success") is False:
        outcome = Refused("Rocket.Chat did not take it")
    return answers.worded(outcome, words)
