"""The type `telegram`: a message of a bot into a chat. The token is part of the address there."""

from typing import Final

from trimtab.notify.notice import Notice
from trimtab.notify.provider import Answer, Misconfigured, Outcome, Request, Settings
from trimtab.notify.providers import answers
from trimtab.notify.providers.asking import below, post
from trimtab.notify.providers.escaping import defused
from trimtab.notify.providers.saying import plain
from trimtab.notify.text import shortened, units

_ADDRESS: Final = "https://api.telegram.org"
_MOST_TEXT: Final = 4096
_IN_TOKEN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_-")


def compose(notice: Notice, settings: Settings) -> Request:
    """Plain text, without a preview of what it names."""
    token = settings.needed("token")
    if not _IN_TOKEN.issuperset(token):
        raise Misconfigured("`token` in the Secret of spec.secretRef is no token of a bot, such as 123456:ABC-def")
    channel = settings.needed("channel", "set spec.channel to the id of the chat, or to @name of the channel")
    chat, _, thread = channel.partition(":")
    body: dict[str, object] = {
        "chat_id": chat,
        "text": shortened(defused(plain(notice)), _MOST_TEXT, size=units),
        "link_preview_options": {"is_disabled": True},
    }
    if thread:
        body["message_thread_id"] = thread
    return post(notice, below(settings.address or _ADDRESS, f"/bot{token}/sendMessage"), body)


def judge(answer: Answer) -> Outcome:
    """How long to wait is in the body."""
    said = answers.fields(answer)
    more = said.get("parameters")
    wait = answers.seconds(more.get("retry_after")) if isinstance(more, dict) else None
    return answers.worded(answers.patient(answer, wait), said.get("description"))
