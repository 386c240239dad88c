"""The type `zoom`: the incoming webhook of a channel of Zoom Team Chat."""

from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from trimtab.notify.notice import Notice
from trimtab.notify.provider import Answer, Misconfigured, Outcome, Request, Settings
from trimtab.notify.providers import answers
from trimtab.notify.providers.asking import post
from trimtab.notify.providers.saying import details
from trimtab.notify.text import cut, shortened

_MOST_TEXT: Final = 2500
"""Zoom takes 4096 characters in all."""
_MOST_FIELDS: Final = 6
_MOST_FIELD: Final = 100
_MOST_HEAD: Final = 200


def compose(notice: Notice, settings: Settings) -> Request:
    """One message in parts; none of them is read as Markdown. The token is what Zoom calls one of verification."""
    body: list[dict[str, Any]] = [{"type": "message", "text": shortened(notice.text, _MOST_TEXT)}]
    if told := list(details(notice).items())[:_MOST_FIELDS]:
        items = [{"key": cut(name, _MOST_FIELD), "value": cut(value, _MOST_FIELD)} for name, value in told]
        body.append({"type": "fields", "items": items})
    head = {"text": cut(notice.title, _MOST_HEAD), "sub_head": {"text": cut(notice.event.severity, _MOST_FIELD)}}
    headers = {"Authorization": settings.needed("token")}
    return post(notice, _whole(settings.needed("address")), {"content": {"head": head, "body": body}}, headers)


def judge(answer: Answer) -> Outcome:
    """By its status, with its words."""
    return answers.worded(answers.patient(answer, None), answers.fields(answer).get("message"))


def _whole(address: str) -> str:
    """The address that takes a message in parts, unless it says already what it takes."""
    try:
        parts = urlsplit(address)
    except ValueError:
        raise Misconfigured("the address of the Provider is none: take that of the incoming webhook") from None
    if any(name == "format" for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        return address
    query = "&".join(one for one in (parts.query, "format=full") if one)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
