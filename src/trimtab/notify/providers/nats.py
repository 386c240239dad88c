"""The type `nats`: the event in Flux's JSON, published to a subject. The address is `nats://host` or `tls://host`.

Speaks through the wire alone, so that addresses are checked and certificates are those of the Provider.
"""

import re
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from trimtab.notify import event as events
from trimtab.notify.notice import Notice
from trimtab.notify.provider import Delivered, Misconfigured, Outcome, Refused, Retry, Settings, Wire
from trimtab.notify.providers import answers
from trimtab.notify.providers.nkeys import signer_of

_PORT: Final = 4222
_MOST_LINES: Final = 20
_SUBJECT: Final = re.compile(r"[A-Za-z0-9_$/:-]+(?:\.[A-Za-z0-9_$/:-]+)*")
_WRONG: Final = "an address of type nats is nats://host:4222, or tls://host:4222 where nothing may go without TLS"


async def send(notice: Notice, settings: Settings, wire: Wire) -> Outcome:
    """One message. The key is its Nats-Msg-Id, by which a stream of JetStream knows a repeat."""
    scheme, host, port = server_of(settings)
    subject, signer = subject_of(settings), signer_of(settings.secret)
    told = events.encode(events.told(notice.event, notice.text, notice.fields, notice.summary))
    reader, writer = await wire.connect(host, port, tls=False)
    try:
        first = (await _line(reader)).partition(b" ")
        if first[0].upper() != b"INFO":
            return Retry("what answers there does not speak NATS")
        info = msgspec.json.decode(first[2])
        offers = info if isinstance(info, dict) else {}
        secure = scheme == "tls" or offers.get("tls_required") is True
        if secure:
            if reader._buffer:  # type: ignore[attr-defined]  # noqa: SLF001 - there is no other way to see it
                return Retry("the server said more than it was asked to before TLS")
            await wire.secure(writer, host)
        elif settings.password or settings.token or signer is not None:
            return Refused(
                "a password, a token or a signature is not sent without TLS: use tls://, or a server that asks for TLS"
            )
        if isinstance(most := offers.get("max_payload"), int) and len(told) > most:
            return Refused(f"the server takes {most} bytes, and the event has {len(told)}")
        said = _connect(settings, secure=secure)
        if signer is not None:
            if not isinstance(nonce := offers.get("nonce"), str) or not nonce:
                return Refused("the server asks for no signature: it knows of no keys, take `nkey` and `creds` out")
            said |= signer.said(nonce)
        writer.write(b"CONNECT " + msgspec.json.encode(said) + b"\r\n")
        writer.write(_published(subject, notice.key, told, headers=offers.get("headers") is True))
        writer.write(b"PING\r\n")
        await writer.drain()
        return await _answered(reader, writer)
    except (OSError, EOFError, ValueError, RecursionError) as failure:
        return Retry(f"the server broke off: {answers.shown(str(failure))}")
    finally:
        writer.close()


def server_of(settings: Settings) -> tuple[str, str, int]:
    """Scheme, host and port. Raises Misconfigured."""
    try:
        parts = urlsplit(settings.needed("address"))
        port = parts.port
    except ValueError:
        raise Misconfigured(_WRONG) from None
    if parts.scheme not in ("nats", "tls") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise Misconfigured(_WRONG)
    if parts.username or parts.password:
        raise Misconfigured("a user does not belong into the address: set `username` and `password` in the Secret")
    return parts.scheme, parts.hostname, port or _PORT


def subject_of(settings: Settings) -> str:
    """The subject of spec.channel. Raises Misconfigured."""
    subject = settings.needed("channel", "set spec.channel to the subject")
    if not _SUBJECT.fullmatch(subject) or len(subject) > 255:
        raise Misconfigured("spec.channel is not a subject that can be published to, such as cluster.events")
    return subject


def _connect(settings: Settings, *, secure: bool) -> dict[str, Any]:
    said: dict[str, Any] = {
        "verbose": False,
        "pedantic": False,
        "tls_required": secure,
        "name": "trimtab",
        "lang": "python",
        "version": "1",
        "protocol": 1,
        "echo": False,
        "headers": True,
        "no_responders": False,
    }
    if settings.token:
        said["auth_token"] = settings.token
    elif settings.username and settings.password:
        said |= {"user": settings.username, "pass": settings.password}
    return said


def _published(subject: str, key: str, told: bytes, *, headers: bool) -> bytes:
    if not headers:
        return b"PUB %b %d\r\n%b\r\n" % (subject.encode(), len(told), told)
    head = b"NATS/1.0\r\nNats-Msg-Id: %b\r\n\r\n" % key.encode()
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (subject.encode(), len(head), len(head) + len(told), head, told)


async def _answered(reader: Any, writer: Any) -> Outcome:
    for _ in range(_MOST_LINES):
        line = await _line(reader)
        match line.partition(b" ")[0].upper():
            case b"PONG":
                return Delivered()
            case b"PING":
                writer.write(b"PONG\r\n")
                await writer.drain()
            case b"-ERR":
                words = answers.shown(line[5:].decode("utf-8", "replace"))
                denied = "permissions violation" in words.lower() or "authorization" in words.lower()
                return Refused(f"the server refuses: {words}") if denied else Retry(f"the server says {words}")
            case b"INFO" | b"+OK":
                continue
            case _:
                return Retry("the server says what makes no sense")
    return Retry("the server does not say whether it took it")


async def _line(reader: Any) -> bytes:
    raw: bytes = await reader.readline()
    if not raw.endswith(b"\n"):
        raise EOFError("no whole line")
    return raw.rstrip(b"\r\n")
