"""The type `slack`: a webhook of a channel, or chat.postMessage with the token of a bot."""

from typing import Final
from urllib.parse import urlsplit

from trimtab.notify.notice import Notice
from trimtab.notify.provider import Answer, Delivered, Misconfigured, Outcome, Refused, Request, Retry, Settings
from trimtab.notify.provider import judge as by_status
from trimtab.notify.providers import answers
from trimtab.notify.providers.asking import post
from trimtab.notify.providers.saying import bad, details
from trimtab.notify.text import cut, shortened

_MOST_TEXT: Final = 30_000
_MOST_FIELDS: Final = 20
_MOST_FIELD: Final = 2_000
_API: Final = "/api/chat.postMessage"
_AGAIN: Final = frozenset({"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable"})


def compose(notice: Notice, settings: Settings) -> Request:
    """One message with an attachment in the colour of the severity, and the metadata as its fields."""
    address = settings.needed("address")
    if urlsplit(address).path == _API and not (settings.channel and settings.token):
        raise Misconfigured(
            "chat.postMessage of Slack needs a channel and the token of a bot: set spec.channel, and `token` in the "
            "Secret of spec.secretRef"
        )
    attachment = {
        "color": "danger" if bad(notice) else "good",
        "author_name": escape(notice.title),
        "text": escape(shortened(notice.text, _MOST_TEXT, size=_length)),
        "mrkdwn_in": [],
        "fields": [
            {"title": escape(cut(name, _MOST_FIELD)), "value": escape(cut(value, _MOST_FIELD)), "short": False}
            for name, value in list(details(notice).items())[:_MOST_FIELDS]
        ],
    }
    body: dict[str, object] = {"attachments": [attachment], "parse": "none", "link_names": False}
    if settings.channel:
        body["channel"] = settings.channel
    if settings.username:
        body["username"] = settings.username
    body["metadata"] = {"event_type": "trimtab", "event_payload": {"key": notice.key, "phase": notice.phase.value}}
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if settings.token:
        headers["Authorization"] = f"Bearer {settings.token}"
    return post(notice, address, body, headers)


def judge(answer: Answer) -> Outcome:
    """Its API answers 200 and says in the body what went wrong."""
    outcome = by_status(answer)
    if not isinstance(outcome, Delivered):
        return outcome
    said = answers.fields(answer)  # a webhook answers `ok`, which is nothing
    if said.get("ok") is not False:
        return outcome
    why = ascii(str(said.get("error", "")))[:100]
    if str(said.get("error")) in _AGAIN:
        return Retry(f"Slack says {why}", answer.retry_after)
    return Refused(f"Slack says {why}")


def escape(text: str) -> str:
    """`text` as Slack shows it and nothing else: no mention, no link, no channel."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _length(text: str) -> int:
    """As Slack counts it."""
    return len(escape(text))
