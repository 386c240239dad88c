"""What a provider is made with and answers: settings, requests, outcomes. See the words of the package."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple, Protocol, TypeAlias

from trimtab.base.errors import Terminal
from trimtab.notify.notice import Notice

MOST_ANSWER: Final = 1 << 20
"""Bytes of an answer that are read; of a longer one it is known only that it was longer."""
KEY_HEADER: Final = "Idempotency-Key"
TOLD_HEADER: Final = "Trimtab-Phase"
"""On every event that is passed on, so that nobody takes it for a new one."""


class Misconfigured(Terminal):
    """The Provider, or its Secret, says something that cannot work. Told on the Provider; nothing is sent."""

    def __init__(self, message: str) -> None:
        super().__init__("ValidationFailed", message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the owner wrote: the spec of the Provider, and over it what its Secrets say. Repr shows no secrets."""

    type: str
    namespace: str = ""
    name: str = ""
    uid: str = ""
    address: str = field(default="", repr=False)
    """Of the Secret if it has one: with some providers the address is the secret."""
    channel: str = ""
    username: str = ""
    token: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca: bytes = field(default=b"", repr=False)
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    proxy: str = field(default="", repr=False)
    timeout_s: float = 15.0
    commit_status_expr: str = ""
    secret: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """The whole Secret, for what only one provider knows (such as `githubAppID`)."""

    def needed(self, name: str, way_out: str = "") -> str:
        """The setting `name`. Raises Misconfigured if it is empty."""
        found = getattr(self, name)
        if not isinstance(found, str) or not found.strip():
            hint = way_out or (
                f"set `{name}` in the Secret of spec.secretRef"
                if name in ("token", "password")
                else f"set spec.{name}, or `{name}` in the Secret of spec.secretRef"
            )
            raise Misconfigured(f"a Provider of type {self.type} needs a {name}: {hint}")
        return found.strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent over HTTP. The address may be a secret: it is in no message."""

    method: str = "POST"
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


class Answer(NamedTuple):
    """What came back: headers with names in lower case, and the beginning of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    retry_after: float | None = None
    """Seconds that the other side asks us to wait, if it does."""


class Delivered(NamedTuple):
    """It is there. `known` says that the other side had it already."""

    known: bool = False


class Retry(NamedTuple):
    """It is not there and may be later: in `after` seconds at the earliest, if the other side says so."""

    why: str
    after: float | None = None


class Refused(NamedTuple):
    """It will not be taken, however often it is sent."""

    why: str


Outcome: TypeAlias = Delivered | Retry | Refused


class NoAnswer(Exception):
    """There is no answer, or none that is taken; `outcome` says what follows."""

    def __init__(self, outcome: Retry | Refused) -> None:
        super().__init__(outcome.why)
        self.outcome = outcome


class Order(NamedTuple):
    """What apprise is to tell: by the module of the scheme, to the address, which is a secret."""

    scheme: str
    module: str
    address: str
    title: str
    body: str
    kind: str

    def __repr__(self) -> str:
        return f"<Order {self.scheme}>"


class Wire(Protocol):
    """The way out, for providers that need a conversation."""

    def now(self) -> datetime:
        """The time, for signatures that say when they were made."""
        ...

    async def ask(self, request: Request) -> Answer:
        """Send one request and read the answer. Raises NoAnswer."""
        ...

    async def connect(self, host: str, port: int, *, tls: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to a checked address, with the certificates of the Provider. Close it. Raises NoAnswer."""
        ...

    async def deliver(self, order: Order) -> Outcome:
        """Have apprise tell it; its requests go this way. Raises Misconfigured."""
        ...

    async def secure(self, writer: asyncio.StreamWriter, host: str) -> None:
        """Go on in TLS on a connection that began without (STARTTLS), by the same certificates. Raises NoAnswer."""
        ...


Compose: TypeAlias = Callable[[Notice, Settings], Request | Sequence[Request]]
Judge: TypeAlias = Callable[[Answer], Outcome]
Sign: TypeAlias = Callable[[Request, Settings, datetime], Request]
Send: TypeAlias = Callable[[Notice, Settings, Wire], Awaitable[Outcome]]


class Composed(NamedTuple):
    """A provider that is told by requests. `sign` adds what says when each is sent; a repeat differs in it alone."""

    compose: Compose
    judge: Judge
    sign: Sign = lambda request, _settings, _now: request


class Conversing(NamedTuple):
    """A provider that is told in a conversation."""

    send: Send


Provider: TypeAlias = Composed | Conversing


def judge(answer: Answer) -> Outcome:
    """What a status means where the other side has no words of its own."""
    status = answer.status
    if 200 <= status < 300:
        return Delivered()
    if status in (408, 425, 429) or status >= 500:
        return Retry(f"the server answered {status}", answer.retry_after)
    if 300 <= status < 400:
        return Refused(
            f"the server answered {status} and sends us elsewhere: write the final address into the Provider"
        )
    way_out = " Correct the token or the rights it has" if status in (401, 403) else ""
    return Refused(f"the server answered {status}.{way_out}" if way_out else f"the server answered {status}")


def json_request(url: str, body: bytes, headers: Mapping[str, str] | None = None, *, method: str = "POST") -> Request:
    """A request whose body is JSON."""
    return Request(method=method, url=url, headers={"Content-Type": "application/json", **(headers or {})}, body=body)
