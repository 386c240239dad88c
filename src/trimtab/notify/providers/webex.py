"""The type `webex`: a message into a room, by the token of a bot."""

from typing import Final

from trimtab.notify.notice import Notice
from trimtab.notify.provider import Answer, Outcome, Request, Settings
from trimtab.notify.providers import answers
from trimtab.notify.providers.asking import post
from trimtab.notify.providers.saying import plain
from trimtab.notify.text import octets, shortened

_ADDRESS: Final = "https://webexapis.com/v1/messages"
_MOST_TEXT: Final = 7000
"""Bytes. Webex takes 7439 before it encrypts them."""


def compose(notice: Notice, settings: Settings) -> Request:
    """Plain text: what is special to Markdown there has no meaning in it."""
    room = settings.needed("channel", "set spec.channel to the id of the room")
    headers = {"Authorization": f"Bearer {settings.needed('token')}"}
    body = {"roomId": room, "text": shortened(plain(notice), _MOST_TEXT, size=octets)}
    return post(notice, settings.address or _ADDRESS, body, headers)


def judge(answer: Answer) -> Outcome:
    """By its status, with its words."""
    return answers.worded(answers.patient(answer, None), answers.fields(answer).get("message"))
