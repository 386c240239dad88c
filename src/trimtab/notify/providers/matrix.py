"""The type `matrix`: a message into a room, by the access token of a user."""

from typing import Final
from urllib.parse import quote

from trimtab.notify.notice import Notice
from trimtab.notify.provider import Answer, Outcome, Request, Settings
from trimtab.notify.providers import answers
from trimtab.notify.providers.asking import below, post
from trimtab.notify.providers.saying import plain
from trimtab.notify.text import octets, shortened

_MOST_TEXT: Final = 32_000
"""Bytes. An event has 65,536 in all, and JSON makes them more."""


def compose(notice: Notice, settings: Settings) -> Request:
    """One text that mentions nobody. The key is the transaction: a repeat is known as one there."""
    room = settings.needed("channel", "set spec.channel to the id of the room, such as !abc:example.org")
    headers = {"Authorization": f"Bearer {settings.needed('token')}"}
    body = {
        "msgtype": "m.text",
        "body": shortened(plain(notice), _MOST_TEXT, size=octets),
        "m.mentions": {},
    }
    path = f"/_matrix/client/v3/rooms/{quote(room, safe='')}/send/m.room.message/{notice.key}"
    return post(notice, below(settings.needed("address"), path), body, headers, method="PUT")


def judge(answer: Answer) -> Outcome:
    """How long to wait is in the body, in milliseconds."""
    said = answers.fields(answer)
    wait = answers.seconds(said.get("retry_after_ms"), scale=0.001)
    return answers.worded(answers.patient(answer, wait), said.get("error"))
