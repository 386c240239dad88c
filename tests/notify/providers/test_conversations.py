"""Mail and NATS, over real connections to doubles of their servers."""

import base64
import json
from dataclasses import replace
from email import message_from_bytes, policy
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.notify.providers.lines import Mail, Subjects
from tests.notify.providers.notices import HOSTILE, NOTICES
from tests.notify.providers.sink import delivered
from tests.remotes.world import Authority
from trimtab.notify.provider import Delivered, Misconfigured, Refused, Retry, Settings


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("ca"))


def mailing(scheme: str, port: int, **more: Any) -> Settings:
    told = {"channel": "ops@example.org, dev@example.org", "username": "bot@example.net", "timeout_s": 60.0, **more}
    return Settings(type="smtp", namespace="shop", name="mail", address=f"{scheme}://127.0.0.1:{port}", **told)


def publishing(scheme: str, port: int, **more: Any) -> Settings:
    told = {"channel": "cluster.events", "timeout_s": 60.0, **more}
    return Settings(type="nats", namespace="shop", name="nats", address=f"{scheme}://127.0.0.1:{port}", **told)


@pytest.mark.parametrize("scheme", ["smtps", "smtp"])
async def test_mail_goes_over_tls_after_signing_in(scheme: str, signed: Authority) -> None:
    async with Mail(signed.context, implicit=scheme == "smtps") as mail:
        settings = mailing(scheme, mail.port, password="s3cret", ca=signed.ca)
        assert await delivered(NOTICES["opened"], settings) == Delivered()
    assert mail.secured
    assert mail.signed_in == "\0bot@example.net\0s3cret"
    assert mail.heard[-4:] == [
        "MAIL FROM:<bot@example.net>",
        "RCPT TO:<ops@example.org>",
        "RCPT TO:<dev@example.org>",
        "DATA",
    ]
    assert not any(
        line.startswith("AUTH") for line in mail.heard[: mail.heard.index("STARTTLS") if scheme == "smtp" else 0]
    )
    read = message_from_bytes(mail.message.removesuffix(b".\r\n"), policy=policy.default)
    assert read["Subject"] == "✖ kustomization/checkout.shop: Deployment/shop/checkout: image"
    assert read["To"] == "ops@example.org, dev@example.org"
    assert read["Message-ID"] == f"<{'a' * 32}@example.net>"
    assert read["References"] == f"<{'5' * 32}@example.net>"
    assert read["Date"] == "Thu, 26 Nov 2026 20:15:30 +0000"
    assert read.get_content().startswith("Deployment/shop/checkout: image\ncannot be pulled\n\nrevision: main@sha1:")


async def test_no_message_ends_a_mail_or_writes_a_header(signed: Authority) -> None:
    words = f"x\r\n.\r\nMAIL FROM:<evil@example.org>\r\nBcc: evil@example.org\r\n{HOSTILE}" + "ü" * 39_000
    async with Mail(signed.context) as mail:
        outcome = await delivered(replace(NOTICES["once"], message=words), mailing("smtp", mail.port, ca=signed.ca))
    assert outcome == Delivered()
    assert mail.message.count(b"\r\n.\r\n") == 1
    read = message_from_bytes(mail.message, policy=policy.default)
    assert read["Bcc"] is None
    assert "evil@example.org" in base64.b64decode(mail.message.split(b"\r\n\r\n")[1]).decode()
    assert all(len(line) <= 998 for line in mail.message.split(b"\r\n"))


async def test_a_mail_server_without_tls_or_of_somebody_unknown_gets_no_password(signed: Authority) -> None:
    async with Mail(signed.context, offers=("AUTH PLAIN",)) as mail:
        outcome = await delivered(NOTICES["once"], mailing("smtp", mail.port, password="s3cret", ca=signed.ca))
        assert isinstance(outcome, Refused)
        assert "STARTTLS" in outcome.why
    async with Mail(signed.context) as mail:
        outcome = await delivered(NOTICES["once"], mailing("smtp", mail.port, password="s3cret"))
        assert isinstance(outcome, Retry)
        assert not mail.signed_in
    with pytest.raises(Misconfigured):
        await delivered(NOTICES["once"], mailing("smtp+insecure", 25, password="s3cret"))


async def test_what_is_said_before_tls_is_not_taken_for_what_is_said_within(signed: Authority) -> None:
    async with Mail(signed.context, says={"STARTTLS": "220 go ahead\r\n250-forged\r\n250 AUTH PLAIN"}) as mail:
        outcome = await delivered(NOTICES["once"], mailing("smtp", mail.port, password="s3cret", ca=signed.ca))
    assert outcome == Retry("the mail server said more than it was asked to before TLS")


REPLIES = {
    "later": ({"RCPT": "451 try again later"}, Retry),
    "unknown": ({"RCPT": "550 no such mailbox"}, Refused),
    "denied": ({"AUTH": "535 authentication failed"}, Refused),
    "full": ({".": "452 no room"}, Retry),
    "busy": ({"": "421 too many"}, Retry),
    "nonsense": ({"": "HTTP/1.1 400 Bad Request"}, Retry),
    "long": ({"": "220 " + "x" * 200_000}, Retry),
    "endless": ({"": "\r\n".join(["220-x"] * 200)}, Retry),
}


@pytest.mark.parametrize("case", sorted(REPLIES))
async def test_replies_of_a_mail_server_are_told_apart(case: str, signed: Authority) -> None:
    says, expected = REPLIES[case]
    async with Mail(signed.context, implicit=True, says=says) as mail:
        outcome = await delivered(NOTICES["once"], mailing("smtps", mail.port, password="s3cret", ca=signed.ca))
    assert isinstance(outcome, expected)
    assert "s3cret" not in outcome.why


BAD_MAIL = {
    "no channel": {"channel": ""},
    "a header": {"channel": "ops@example.org>\r\nDATA"},
    "no mailbox": {"channel": "ops"},
    "http": {"address": "https://mail.example"},
    "a user in it": {"address": "smtps://u:p@mail.example"},
    "a path": {"address": "smtps://mail.example/x"},
    "a port": {"address": "smtps://mail.example:x"},
    "a sender": {"secret": {"from": b"x\r\nBcc: y@z"}},
}


@pytest.mark.parametrize("case", sorted(BAD_MAIL))
async def test_what_cannot_be_mailed_is_told_to_the_owner(case: str) -> None:
    with pytest.raises(Misconfigured):
        await delivered(NOTICES["once"], replace(mailing("smtps", 465), **BAD_MAIL[case]))


@pytest.mark.parametrize("headers", [True, False], ids=["with headers", "without headers"])
async def test_an_event_is_published_with_its_key(headers: bool, signed: Authority) -> None:
    async with Subjects(signed.context, headers=headers) as nats:
        assert await delivered(NOTICES["opened"], publishing("nats", nats.port)) == Delivered()
    ((command, body),) = nats.published
    if headers:
        head, _, body = body.partition(b"\r\n\r\n")
        assert head == b"NATS/1.0\r\nNats-Msg-Id: " + b"a" * 32
        assert command == b"HPUB cluster.events %d %d" % (len(head) + 4, len(head) + 4 + len(body))
    told = json.loads(body)
    assert told["involvedObject"]["name"] == "checkout"
    assert told["metadata"]["summary"] == "checkout of the shop"


async def test_nats_gets_a_password_over_tls_only(signed: Authority) -> None:
    async with Subjects(signed.context) as nats:
        outcome = await delivered(NOTICES["once"], publishing("nats", nats.port, token="t0ken"))
        assert isinstance(outcome, Refused)
        assert not nats.connected
    async with Subjects(signed.context, demands_tls=True) as nats:
        settings = publishing("tls", nats.port, username="u", password="s3cret", ca=signed.ca)
        assert await delivered(NOTICES["once"], settings) == Delivered()
        assert nats.secured
        assert (nats.connected["user"], nats.connected["pass"]) == ("u", "s3cret")
    async with Subjects(signed.context, demands_tls=True) as nats:
        outcome = await delivered(NOTICES["once"], publishing("tls", nats.port, username="u", password="s3cret"))
        assert isinstance(outcome, Retry)
        assert not nats.connected


@pytest.mark.parametrize(
    ("error", "expected"),
    [("Authorization Violation", Refused), ("Permissions Violation for Publish", Refused), ("Slow Consumer", Retry)],
)
async def test_errors_of_nats_are_told_apart(error: str, expected: type, signed: Authority) -> None:
    async with Subjects(signed.context, error=error) as nats:
        outcome = await delivered(NOTICES["once"], publishing("nats", nats.port))
    assert isinstance(outcome, expected)
    assert error in outcome.why


async def test_nats_is_not_given_more_than_it_takes(signed: Authority) -> None:
    async with Subjects(signed.context, most=100) as nats:
        assert isinstance(await delivered(NOTICES["once"], publishing("nats", nats.port)), Refused)
        assert not nats.published


@pytest.mark.parametrize("channel", ["", "a b", "a.*", "a.>", "a\r\nPUB b 1", "a..b", ".a"])
async def test_a_subject_is_one_that_can_be_published_to(channel: str) -> None:
    with pytest.raises(Misconfigured):
        await delivered(NOTICES["once"], publishing("nats", 4222, channel=channel))


# A pair that the documentation of NATS has as its example.
SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
PUBLIC = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
CREDS = f"""-----BEGIN NATS USER JWT-----
eyJ0eXAi.eyJqdGki.c2ln
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
{SEED}
------END USER NKEY SEED------
"""


@pytest.mark.parametrize("secret", [{"nkey": SEED.encode()}, {"creds": CREDS.encode()}], ids=["nkey", "creds"])
async def test_a_key_of_nats_signs_what_the_server_asks_for_and_over_tls_only(
    secret: dict[str, bytes], signed: Authority
) -> None:
    async with Subjects(signed.context, demands_tls=True, nonce="n0nce") as nats:
        assert (
            await delivered(NOTICES["once"], publishing("tls", nats.port, secret=secret, ca=signed.ca)) == Delivered()
        )
    said = nats.connected
    signature = base64.urlsafe_b64decode(f"{said['sig']}==")
    raw = base64.b32decode(PUBLIC)
    Ed25519PublicKey.from_public_bytes(raw[1:33]).verify(signature, b"n0nce")
    assert said.get("nkey") == (PUBLIC if "nkey" in secret else None)
    assert said.get("jwt") == (None if "nkey" in secret else "eyJ0eXAi.eyJqdGki.c2ln")
    assert SEED not in repr(said)
    async with Subjects(signed.context, nonce="n0nce") as nats:
        assert isinstance(await delivered(NOTICES["once"], publishing("nats", nats.port, secret=secret)), Refused)
        assert not nats.connected
    async with Subjects(signed.context, demands_tls=True) as nats:
        outcome = await delivered(NOTICES["once"], publishing("tls", nats.port, secret=secret, ca=signed.ca))
        assert isinstance(outcome, Refused)


@pytest.mark.parametrize(
    "secret",
    [
        {"nkey": b"s3cret"},
        {"nkey": f"{SEED[:-1]}A".encode()},
        {"nkey": PUBLIC.encode()},
        {"nkey": b"\xff"},
        {"creds": SEED.encode()},
        {"creds": CREDS.encode(), "nkey": SEED.encode()},
    ],
    ids=["none", "a typing error", "a public key", "no text", "no token", "both"],
)
async def test_what_is_no_key_of_nats_is_refused_without_showing_it(secret: dict[str, bytes]) -> None:
    with pytest.raises(Misconfigured) as caught:
        await delivered(NOTICES["once"], publishing("tls", 4222, secret=secret))
    assert SEED[:20] not in caught.value.message
    assert "s3cret" not in caught.value.message
