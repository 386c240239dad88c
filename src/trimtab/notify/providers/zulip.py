"""The type `zulip`: a message into a topic of a channel, by a bot."""

from typing import Final
from urllib.parse import urlencode

from trimtab.notify.notice import Notice
from trimtab.notify.provider import KEY_HEADER, Answer, Misconfigured, Outcome, Request, Settings
from trimtab.notify.providers import answers
from trimtab.notify.providers.asking import basic, below
from trimtab.notify.providers.escaping import fenced
from trimtab.notify.providers.saying import plain
from trimtab.notify.text import cut

_MOST_TOPIC: Final = 60
_MOST_TEXT: Final = 9000
"""Zulip takes 10,000 characters."""


def compose(notice: Notice, settings: Settings) -> Request:
    """One block of text: Zulip knows no way to escape a mention or a link elsewhere."""
    channel, _, topic = settings.needed("channel", "set spec.channel to `channel/topic`").partition("/")
    password = settings.password or settings.token
    if not settings.username or not password:
        raise Misconfigured(
            "a Provider of type zulip needs the e-mail address of the bot and its key: set `username` and `password` "
            "in the Secret of spec.secretRef"
        )
    form = {
        "type": "stream",
        "to": channel,
        "topic": cut(topic or notice.title, _MOST_TOPIC),
        "content": fenced(plain(notice), _MOST_TEXT),
    }
    return Request(
        url=below(settings.needed("address"), "/api/v1/messages"),
        headers={
            "Content-Type": "application/x-www-form-urlencoded",
            KEY_HEADER: notice.key,
            **basic(settings.username, password),
        },
        body=urlencode(form).encode(),
    )


def judge(answer: Answer) -> Outcome:
    """How long to wait is in the body, with fractions."""
    said = answers.fields(answer)
    return answers.worded(answers.patient(answer, answers.seconds(said.get("retry-after"))), said.get("msg"))
