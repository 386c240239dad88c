"""The type `lark`: the webhook of a bot in a group of Lark, or of Feishu."""

import base64
import hashlib
import hmac
from dataclasses import replace
from datetime import datetime
from typing import Final

import msgspec

from trimtab.notify.notice import Notice
from trimtab.notify.provider import Answer, Delivered, Outcome, Refused, Request, Retry, Settings
from trimtab.notify.providers import answers
from trimtab.notify.providers.asking import post
from trimtab.notify.providers.saying import bad, details
from trimtab.notify.text import cut, octets, shortened

_MOST_TEXT: Final = 8000
"""Bytes. Lark takes 20 KB in all."""
_MOST_FIELDS: Final = 10
_MOST_FIELD: Final = 200
_TOO_OFTEN: Final = frozenset({9499, 11232, 11233})


def compose(notice: Notice, settings: Settings) -> Request:
    """One card of plain text: nobody is mentioned in it."""
    texts = [shortened(notice.text, _MOST_TEXT, size=octets)]
    texts += [cut(f"{name}: {value}", _MOST_FIELD) for name, value in list(details(notice).items())[:_MOST_FIELDS]]
    card = {
        "config": {"wide_screen_mode": True},
        "header": {
            "title": {"tag": "plain_text", "content": cut(notice.title, _MOST_FIELD)},
            "template": "red" if bad(notice) else "turquoise",
        },
        "elements": [{"tag": "div", "text": {"tag": "plain_text", "content": text}} for text in texts],
    }
    return post(notice, settings.needed("address"), {"msg_type": "interactive", "card": card})


def sign(request: Request, settings: Settings, now: datetime) -> Request:
    """Where the bot demands a signature: by the token, over the time alone."""
    if not settings.token:
        return request
    moment = str(int(now.timestamp()))
    # As Lark has it: what is signed is the key, and nothing is the text.
    digest = hmac.new(f"{moment}\n{settings.token}".encode(), b"", hashlib.sha256).digest()
    signed = {"timestamp": moment, "sign": base64.b64encode(digest).decode()}
    return replace(request, body=msgspec.json.encode({**signed, **msgspec.json.decode(request.body)}))


def judge(answer: Answer) -> Outcome:
    """It answers 200 whatever happens; a code that is not 0 is a failure."""
    said = answers.fields(answer)
    code = said.get("code", said.get("StatusCode", 0))
    outcome = answers.patient(answer, answers.seconds(answer.headers.get("x-ogw-ratelimit-reset")))
    if isinstance(outcome, Delivered) and code != 0:
        why = f"Lark answered the code {answers.shown(str(code))}"
        outcome = Retry(why, answer.retry_after) if code in _TOO_OFTEN else Refused(why)
    return answers.worded(outcome, said.get("msg"))
