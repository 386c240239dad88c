"""The type `smtp`: an e-mail. The address is `smtps://host`, `smtp://host` (with STARTTLS) or `smtp+insecure://host`.

Speaks through the wire alone, so that addresses are checked and certificates are those of the Provider.
"""

import base64
import re
from email.header import Header
from email.utils import format_datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from trimtab.notify import event as events
from trimtab.notify.notice import Notice
from trimtab.notify.provider import Delivered, Misconfigured, Outcome, Refused, Retry, Settings, Wire
from trimtab.notify.providers import answers
from trimtab.notify.providers.saying import bad, details, line
from trimtab.notify.text import cut, shortened

_PORTS: Final = {"smtps": 465, "smtp": 587, "smtp+insecure": 25}
_MOST_TEXT: Final = 39_000
_MOST_SUBJECT: Final = 200
_MOST_TO: Final = 50
_MOST_LINES: Final = 100
_MAILBOX: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_WRONG: Final = "an address of type smtp is smtps://host, smtp://host (with STARTTLS) or smtp+insecure://host"


class Server(NamedTuple):
    """Where mail is given."""

    scheme: str
    host: str
    port: int


class _Said(Exception):
    """The server did not do what it was asked to."""

    def __init__(self, outcome: Retry | Refused) -> None:
        super().__init__(outcome.why)
        self.outcome = outcome


async def send(notice: Notice, settings: Settings, wire: Wire) -> Outcome:
    """One message to all of spec.channel. The key is its Message-ID: a repeat is known as one there."""
    server = server_of(settings)
    to = recipients(settings)
    sender = sender_of(settings, to)
    message = mail(notice, sender, to)
    reader, writer = await wire.connect(server.host, server.port, tls=server.scheme == "smtps")
    try:
        talk = _Talk(reader, writer)
        await talk.expect(220)
        offers = await talk.greet()
        if server.scheme == "smtp":
            if "STARTTLS" not in offers:
                return Refused("the mail server does not offer STARTTLS: use smtps://, or smtp+insecure:// without TLS")
            await talk.say("STARTTLS", 220)
            if reader._buffer:  # type: ignore[attr-defined]  # noqa: SLF001 - there is no other way to see it
                # Whoever sits between could speak for the server within TLS.
                return Retry("the mail server said more than it was asked to before TLS")
            await wire.secure(writer, server.host)
            offers = await talk.greet()
        if settings.password:
            await talk.sign_in(settings, offers)
        await talk.say(f"MAIL FROM:<{sender}>", 250)
        for one in to:
            # One who is not known there keeps all from being told: the Provider is to be corrected.
            await talk.say(f"RCPT TO:<{one}>", 250, 251)
        await talk.say("DATA", 354)
        await talk.say_all(message)
        # It is theirs now, whatever becomes of the farewell.
        return Delivered()
    except _Said as failure:
        return failure.outcome
    except (OSError, EOFError, ValueError) as failure:
        return Retry(f"the mail server broke off: {answers.shown(str(failure))}")
    finally:
        writer.close()


def server_of(settings: Settings) -> Server:
    """The server that the Provider names. Raises Misconfigured."""
    try:
        parts = urlsplit(settings.needed("address"))
        port = parts.port
    except ValueError:
        raise Misconfigured(_WRONG) from None
    if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
        raise Misconfigured(_WRONG)
    if parts.username or parts.password:
        raise Misconfigured("a user does not belong into the address: set `username` and `password` in the Secret")
    if settings.password and parts.scheme == "smtp+insecure":
        raise Misconfigured("a password is not sent without TLS: use smtps:// or smtp://")
    if settings.password and not settings.username:
        raise Misconfigured("a password needs a user: set `username` in the Secret of spec.secretRef")
    return Server(parts.scheme, parts.hostname, port or _PORTS[parts.scheme])


def recipients(settings: Settings) -> list[str]:
    """Who is written to. Raises Misconfigured."""
    channel = settings.needed("channel", "set spec.channel to the mailboxes, separated by commas")
    found = [one.strip() for one in channel.split(",") if one.strip()]
    if wrong := [one for one in found if not _MAILBOX.fullmatch(one)]:
        raise Misconfigured(f"spec.channel: {wrong[0][:80]!a} is not a mailbox such as ops@example.org")
    if len(found) > _MOST_TO:
        raise Misconfigured(f"spec.channel: {_MOST_TO} mailboxes at most")
    return found


def sender_of(settings: Settings, to: list[str]) -> str:
    """Who writes: `from` of the Secret, or the user if that is a mailbox, or trimtab at the first recipient's place."""
    named = settings.secret.get("from", b"").decode("utf-8", "replace").strip() or settings.username
    if _MAILBOX.fullmatch(named):
        return named
    if "from" in settings.secret:
        raise Misconfigured("`from` in the Secret of spec.secretRef is not a mailbox such as trimtab@example.org")
    return f"trimtab@{to[0].rpartition('@')[2]}"


def mail(notice: Notice, sender: str, to: list[str]) -> bytes:
    """The message: plain text, in UTF-8 by base64, so that no line can end it or be a header."""
    moment = events.instant(notice.event.timestamp)
    subject = cut(f"{'✖' if bad(notice) else '✔'} {line(notice)}", _MOST_SUBJECT)
    rows = [f"{name}: {value}" for name, value in details(notice).items()]
    text = "\n".join([shortened(notice.text, _MOST_TEXT), "", *rows, ""])
    headers = {
        "From": sender,
        "To": ", ".join(to),
        "Subject": Header(subject, "utf-8", maxlinelen=76).encode(linesep="\r\n"),
        "Date": format_datetime(moment) if moment is not None else "",
        "Message-ID": f"<{notice.key}@{sender.rpartition('@')[2]}>",
        "Auto-Submitted": "auto-generated",
        "MIME-Version": "1.0",
        "Content-Type": 'text/plain; charset="utf-8"',
        "Content-Transfer-Encoding": "base64",
    }
    if notice.state:
        headers["References"] = f"<{notice.state}@{sender.rpartition('@')[2]}>"
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
    body = base64.encodebytes(text.encode("utf-8", "replace")).replace(b"\n", b"\r\n")
    return head.encode("ascii") + b"\r\n" + body


class _Talk:
    """The lines of a conversation, each of them bounded by the reader."""

    def __init__(self, reader: Any, writer: Any) -> None:
        self._reader = reader
        self._writer = writer

    async def expect(self, *codes: int) -> list[str]:
        """The lines of the next reply. Raises _Said if it has another code."""
        lines: list[str] = []
        while len(lines) < _MOST_LINES:
            raw = await self._reader.readline()
            if not raw.endswith(b"\n"):
                raise EOFError("no whole line")
            text = raw.decode("utf-8", "replace").rstrip("\r\n")
            if len(text) < 3 or not text[:3].isascii() or not text[:3].isdecimal():
                raise ValueError("no reply of SMTP")
            lines.append(text[4:])
            if text[3:4] != "-":
                code = int(text[:3])
                if code in codes:
                    return lines
                words = f"the mail server answered {code}: {answers.shown(' '.join(lines))}"
                # 4xx is for now; whoever may not sign in at the moment may later.
                raise _Said(Refused(words) if 500 <= code < 600 else Retry(words))
        raise ValueError("a reply without an end")

    async def say(self, words: str, *codes: int) -> list[str]:
        self._writer.write(words.encode("ascii") + b"\r\n")
        await self._writer.drain()
        return await self.expect(*codes)

    async def greet(self) -> frozenset[str]:
        """What the server offers."""
        lines = await self.say("EHLO [127.0.0.1]", 250)
        return frozenset(line_.upper().strip() for line_ in lines[1:])

    async def sign_in(self, settings: Settings, offers: frozenset[str]) -> None:
        methods = {word for offer in offers if offer.startswith("AUTH") for word in offer.replace("=", " ").split()[1:]}
        user, password = settings.username.encode(), settings.password.encode()
        if "PLAIN" in methods:
            await self.say("AUTH PLAIN " + base64.b64encode(b"\0" + user + b"\0" + password).decode(), 235)
        elif "LOGIN" in methods:
            await self.say("AUTH LOGIN", 334)
            await self.say(base64.b64encode(user).decode(), 334)
            await self.say(base64.b64encode(password).decode(), 235)
        else:
            raise _Said(Refused("the mail server offers neither PLAIN nor LOGIN to sign in"))

    async def say_all(self, message: bytes) -> None:
        """The message and its end. What begins with a dot would be taken for it: base64 and our headers have none."""
        self._writer.write(message.rstrip(b"\r\n") + b"\r\n.\r\n")
        await self._writer.drain()
        await self.expect(250)
