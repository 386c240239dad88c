"""Telling a forge of a commit: look at what it knows, and say only what is new.

The forges differ in words alone, which are in a `Dialect` each. A token goes to the API of the forge that the address
names, over https, and nowhere else.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import msgspec

from trimtab.base.errors import Terminal
from trimtab.notify.notice import Notice
from trimtab.notify.provider import (
    Answer,
    Delivered,
    Misconfigured,
    Outcome,
    Refused,
    Request,
    Retry,
    Send,
    Settings,
    Wire,
)
from trimtab.notify.providers import answers
from trimtab.notify.providers.status import State, Status, status_of
from trimtab.remotes.git.address import Address, parse_address


class Said(NamedTuple):
    """A status as the forge has it, in its own words."""

    state: str
    description: str


Look: TypeAlias = Callable[[Address, Settings, Status], Request]
Found: TypeAlias = Callable[[Any, Status], Said | None]
Tell: TypeAlias = Callable[[Address, Settings, Status, Notice], tuple[Request, Said]]


class Dialect(NamedTuple):
    """How one kind of forge is spoken to.

    `look` asks for what is known, `found` reads the latest status of that name in the answer, `tell` makes the request
    that sets it and says what will then be found. `known` says of a refusal that it was so already.
    """

    look: Look
    found: Found
    tell: Tell
    known: Callable[[Answer], bool] = lambda _answer: False


def sender(dialect: Dialect) -> Send:
    """The provider that speaks `dialect`."""

    async def send(notice: Notice, settings: Settings, wire: Wire) -> Outcome:
        status = status_of(notice, settings)
        if status is None:
            return Delivered()
        address = address_of(settings)
        try:
            request, wanted = dialect.tell(address, settings, status, notice)
            looked = await wire.ask(dialect.look(address, settings, status))
        except ValueError as failure:
            raise Misconfigured(f"the address of the Provider: {failure}") from None
        match judge(looked):
            case Retry() as outcome:
                return outcome
            case Refused() as outcome if looked.status != 404:
                return outcome
            case Delivered():
                said = dialect.found(body(looked), status)
                # What goes on does not take back what was decided: nobody would decide it again.
                if said == wanted or (said is not None and status.state is State.PENDING):
                    return Delivered(known=True)
        answer = await wire.ask(request)
        return Delivered(known=True) if dialect.known(answer) else judge(answer)

    return send


def address_of(settings: Settings) -> Address:
    """The repository that the Provider names. Raises Misconfigured."""
    try:
        address = parse_address(settings.needed("address", "set spec.address to that of the repository"))
    except Misconfigured:
        raise
    except Terminal as failure:
        raise Misconfigured(f"the address of the Provider: {failure.message}") from None
    if address.scheme == "http":
        raise Misconfigured("the address of the Provider must be https://, for a token goes there")
    return address


def token_of(settings: Settings) -> str:
    """The token of the Secret. Raises Misconfigured."""
    apps = "githubAppID" in settings.secret
    return settings.needed(
        "token",
        "a GitHub App signs in at GitHub alone: set `token` in the Secret of spec.secretRef"
        if apps
        else "set `token` in the Secret of spec.secretRef",
    )


def host_of(address: Address) -> str:
    """Where the forge is on the web. What is said of ssh says nothing of it: the usual port."""
    return f"https://{address.authority if address.scheme == 'https' else address.host}"


def judge(answer: Answer) -> Outcome:
    """What an answer of a forge means, with its words."""
    outcome = answers.forge(answer)
    if isinstance(outcome, Delivered) and answer.status == 203:
        return Refused("the server answered 203, a page to sign in: correct the token")
    said = answers.fields(answer)
    return answers.worded(outcome, said.get("message") or said.get("error"))


def body(answer: Answer) -> Any:
    """The body as JSON; None for what is none, or too long to be read whole."""
    try:
        return msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, RecursionError):
        return None


def items(found: Any, *path: str) -> list[dict[str, Any]]:
    """The objects in a list, below the keys of `path`; nothing where there are none."""
    for step in path:
        found = found.get(step) if isinstance(found, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
