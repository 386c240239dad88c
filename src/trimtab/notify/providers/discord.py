"""The type `discord`: a webhook of a channel."""

from typing import Final

from trimtab.notify.notice import Notice
from trimtab.notify.provider import Answer, Outcome, Request, Settings
from trimtab.notify.providers import answers
from trimtab.notify.providers.asking import post
from trimtab.notify.providers.escaping import markdown
from trimtab.notify.providers.saying import bad, details
from trimtab.notify.text import cut, shortened

_RED: Final = 0xD73A49
_GREEN: Final = 0x2EB67D
_MOST_TITLE: Final = 256
_MOST_TEXT: Final = 3000
"""Discord allows 4096, and 6000 in all."""
_MOST_FIELDS: Final = 10
_MOST_NAME: Final = 60
_MOST_VALUE: Final = 200


def compose(notice: Notice, settings: Settings) -> Request:
    """One embed. Nobody is mentioned, whatever the text says."""
    fields = [
        {"name": cut(markdown(name), _MOST_NAME), "value": cut(markdown(value), _MOST_VALUE) or "-", "inline": False}
        for name, value in list(details(notice).items())[:_MOST_FIELDS]
    ]
    embed = {
        "title": cut(markdown(notice.title), _MOST_TITLE),
        "description": shortened(markdown(notice.text), _MOST_TEXT),
        "color": _RED if bad(notice) else _GREEN,
        "fields": fields,
        "timestamp": notice.event.timestamp,
    }
    body: dict[str, object] = {"embeds": [embed], "allowed_mentions": {"parse": []}}
    if settings.username:
        body["username"] = cut(settings.username, 80)
    # Flux takes the door that is made for Slack; ours is beside it.
    return post(notice, settings.needed("address").removesuffix("/slack"), body)


def judge(answer: Answer) -> Outcome:
    """Its waits have fractions, and are in the body."""
    said = answers.fields(answer)
    return answers.worded(answers.patient(answer, answers.seconds(said.get("retry_after"))), said.get("message"))
