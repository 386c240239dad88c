"""Mail, given to a server that is not ours: aiosmtpd, on loopback, with STARTTLS or TLS at once, and signing in."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from email import message_from_bytes, policy
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from msgspec import structs

from tests.notify.providers.notices import HOSTILE, NOTICES
from tests.notify.providers.sink import delivered, told
from tests.remotes.world import Authority
from trimtab.notify.provider import Delivered, Misconfigured, Outcome, Refused, Settings

# It asks asyncio for what newer Pythons call old, and takes TLS that it did not begin itself for none.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Requiring AUTH while not requiring TLS")
SECRET = "s3cret"


@dataclass
class Postbox:
    """What the server was given. It refuses who is not `bot@example.net`, and mail to `nobody@…`."""

    port: int = 0
    mail: list[Envelope] = field(default_factory=list)
    secured: list[bool] = field(default_factory=list)
    tried: list[LoginPassword] = field(default_factory=list)

    def sign_in(self, _server: SMTP, _session: Session, _envelope: Envelope, _way: str, said: Any) -> AuthResult:
        self.tried.append(said)
        return AuthResult(success=said == LoginPassword(b"bot@example.net", SECRET.encode()), handled=False)

    async def handle_RCPT(  # noqa: N802 - its name for it
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address.startswith("nobody@"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 known"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.secured.append(session.ssl is not None or _server.transport.get_extra_info("sslcontext") is not None)
        self.mail.append(envelope)
        return "250 taken"


Serve = Callable[..., Awaitable[Postbox]]


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("ca"))


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:

        async def start(*, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None) -> Postbox:
            box = Postbox()

            def protocol() -> SMTP:
                secure = starttls is not None or tls is not None
                return SMTP(
                    box,
                    hostname="mail.example",
                    tls_context=starttls,
                    require_starttls=starttls is not None,
                    auth_required=secure,
                    # It knows of no TLS but that which it began itself.
                    auth_require_tls=starttls is not None,
                    authenticator=box.sign_in,
                    loop=loop,
                )

            server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=tls)
            stack.callback(server.close)
            box.port = server.sockets[0].getsockname()[1]
            return box

        yield start


def mailing(scheme: str, port: int, **more: Any) -> Settings:
    said: dict[str, Any] = {
        "username": "bot@example.net",
        "password": SECRET,
        "channel": "ops@example.org, dev@example.org",
    }
    said |= {"timeout_s": 60.0, **more}
    return Settings(type="smtp", namespace="shop", name="mail", address=f"{scheme}://127.0.0.1:{port}", **said)


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_a_mail_is_taken_after_tls_and_signing_in(scheme: str, serve: Serve, signed: Authority) -> None:
    box = await serve(**{"tls" if scheme == "smtps" else "starttls": signed.context})
    assert await told(NOTICES["opened"], mailing(scheme, box.port, ca=signed.ca)) == Delivered()
    (envelope,) = box.mail
    assert box.secured == [True]
    assert box.tried == [LoginPassword(b"bot@example.net", SECRET.encode())]
    assert envelope.mail_from == "bot@example.net"
    assert envelope.rcpt_tos == ["ops@example.org", "dev@example.org"]
    read = message_from_bytes(envelope.content, policy=policy.default)
    assert not read.defects
    assert read["From"] == "bot@example.net"
    assert read["To"] == "ops@example.org, dev@example.org"
    assert read["Subject"] == "✖ kustomization/checkout.shop: Deployment/shop/checkout: image"
    assert read["Message-ID"] == f"<{'a' * 32}@example.net>"
    assert read["References"] == f"<{'5' * 32}@example.net>"
    assert read["Auto-Submitted"] == "auto-generated"
    assert read.get_content_type() == "text/plain"
    assert read.get_content().startswith("Deployment/shop/checkout: image\ncannot be pulled\n\nrevision: main@sha1:")


async def test_what_strangers_write_is_the_text_of_one_mail_and_nothing_else(serve: Serve, signed: Authority) -> None:
    words = f"x\r\n.\r\nMAIL FROM:<evil@example.org>\r\nBcc: evil@example.org\r\n\r\n{HOSTILE}\n.\n..\n" + "ü€😀" * 9000
    named = structs.replace(NOTICES["once"].event.involved_object, name="a\r\nBcc: evil@example.org")
    box = await serve(starttls=signed.context)
    for notice in (
        replace(NOTICES["once"], message=words),
        replace(NOTICES["once"], event=structs.replace(NOTICES["once"].event, involved_object=named)),
    ):
        assert await told(notice, mailing("smtp", box.port, ca=signed.ca)) == Delivered()
    first, second = (message_from_bytes(one.content, policy=policy.default) for one in box.mail)
    for read in (first, second):
        assert not read.defects
        assert read["Bcc"] is None
        assert read["To"] == "ops@example.org, dev@example.org"
    assert first.get_content().startswith("x\r\n.\r\nMAIL FROM:<evil@example.org>\r\nBcc: ")
    assert first["Subject"] == "✔ kustomization/checkout.shop: x"
    assert "Bcc: evil@example.org" in second["Subject"]
    assert all(len(line) <= 998 for one in box.mail for line in one.content.split(b"\r\n"))


async def test_a_password_is_not_said_without_tls(serve: Serve, signed: Authority) -> None:
    box = await serve()
    outcome = await told(NOTICES["once"], mailing("smtp", box.port, ca=signed.ca))
    assert isinstance(outcome, Refused)
    assert "STARTTLS" in outcome.why
    with pytest.raises(Misconfigured, match="without TLS"):
        await delivered(NOTICES["once"], mailing("smtp+insecure", box.port))
    assert not box.tried
    assert not box.mail
    # Who wants no password may be told without TLS, if the owner says so.
    assert await told(NOTICES["once"], mailing("smtp+insecure", box.port, password="")) == Delivered()
    assert box.secured == [False]


@pytest.mark.parametrize(
    "more",
    [{"password": "wr0ng"}, {"channel": "ops@example.org, nobody@example.org"}],
    ids=["password", "mailbox"],
)
async def test_a_refusal_is_told_in_the_words_of_the_server_and_without_a_secret(
    more: dict[str, str], serve: Serve, signed: Authority
) -> None:
    box = await serve(starttls=signed.context)
    outcome: Outcome = await told(NOTICES["once"], mailing("smtp", box.port, ca=signed.ca, **more))
    assert isinstance(outcome, Refused)
    assert ("answered 535" if "password" in more else "answered 550: no such mailbox") in outcome.why
    assert "wr0ng" not in outcome.why
    assert not box.mail


LED_ASTRAY = {
    "a command in a mailbox": {"channel": "ops@example.org>\r\nRCPT TO:<evil@example.org"},
    "a header in a mailbox": {"channel": "ops@example.org\r\nBcc: evil@example.org"},
    "a bare line feed": {"channel": "ops@example.org\nevil@example.org"},
    "another alphabet": {"channel": "öps@example.org"},
    "a sender with a header": {"secret": {"from": b"x@example.net\r\nBcc: evil@example.org"}},
    "a sender with options": {"secret": {"from": b"x@example.net> BODY=8BITMIME <"}},
}


@pytest.mark.parametrize("case", sorted(LED_ASTRAY))
async def test_an_address_with_more_in_it_is_told_to_the_owner_and_not_to_the_server(
    case: str, serve: Serve, signed: Authority
) -> None:
    box = await serve(starttls=signed.context)
    with pytest.raises(Misconfigured):
        await delivered(NOTICES["once"], mailing("smtp", box.port, ca=signed.ca, **LED_ASTRAY[case]))
    assert not box.tried
    assert not box.mail
