"""The type `githubdispatch`: starts workflows that listen for `repository_dispatch`."""

from typing import Final

from trimtab.base.errors import Terminal
from trimtab.notify import event as events
from trimtab.notify.notice import Notice
from trimtab.notify.provider import Answer, Misconfigured, Outcome, Request, Settings
from trimtab.notify.providers import answers
from trimtab.notify.providers.asking import post
from trimtab.notify.providers.forge import token_of
from trimtab.notify.text import cut, shortened
from trimtab.remotes.forges.dialects import DIALECTS
from trimtab.remotes.git.address import parse_address

_MOST_TYPE: Final = 100
_MOST_TEXT: Final = 30_000


def compose(notice: Notice, settings: Settings) -> Request:
    """One dispatch, whose payload is the event in Flux's JSON, with the key beside it."""
    dialect = DIALECTS["github"]
    token = token_of(settings)
    try:
        address = parse_address(settings.needed("address"))
        url = f"{dialect.api(address)}/repos/{dialect.project(address)}/dispatches"
    except (Terminal, ValueError) as failure:
        raise Misconfigured(f"the address of the Provider: {failure}") from None
    text = shortened(notice.text, _MOST_TEXT)
    event = events.told(notice.event, text, notice.fields, notice.summary)
    # GitHub takes ten keys there; Flux's are eight.
    payload = {**events.to_builtins(event), "idempotencyKey": notice.key}
    involved = event.involved_object
    body = {
        "event_type": cut(f"{involved.kind}/{involved.name}.{involved.namespace}", _MOST_TYPE),
        "client_payload": payload,
    }
    return post(notice, url, body, dialect.headers(token))


def judge(answer: Answer) -> Outcome:
    """Too many requests are 403 as well as 429."""
    return answers.worded(answers.forge(answer), answers.fields(answer).get("message"))
