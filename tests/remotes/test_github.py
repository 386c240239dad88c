"""GitHub Apps: statements that a double of the endpoint checks, tokens that expire, and a git server for them."""

import base64
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.remotes.forge import Forge
from tests.remotes.world import Authority, Repository
from tests.runtime.clocks import ManualClock
from trimtab.api.source import GitRef, GitRepositorySpec
from trimtab.artifacts.store import Store
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Transient
from trimtab.base.http import AiohttpTransport
from trimtab.cluster.gitserver import GitServer
from trimtab.remotes.git import github
from trimtab.remotes.git.credentials import AuthenticationFailed, Credentials
from trimtab.remotes.git.github import App, Apps
from trimtab.sources.git import GitSource, GitSpec

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key, form=serialization.PrivateFormat.TraditionalOpenSSL, encryption=None) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, form, encryption or serialization.NoEncryption())


PEM = pem(KEY)


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    transport = AiohttpTransport()
    yield transport
    await transport.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def forge(authority: Authority, clock: ManualClock) -> AsyncIterator[Forge]:
    async with Forge(authority.context, KEY.public_key(), now=clock.now) as forge:
        yield forge


@pytest.fixture
def apps(transport: AiohttpTransport, clock: ManualClock) -> Apps:
    return Apps(transport, clock)


def app(forge: Forge, authority: Authority, **changes: bytes | None) -> App:
    data: dict[str, bytes | None] = {
        "githubAppID": b"1234",
        "githubAppInstallationID": b"42",
        "githubAppPrivateKey": PEM,
        "githubAppBaseURL": f"{forge.url}/".encode(),
        "ca.crt": authority.ca,
        **changes,
    }
    return App.from_secret({key: value for key, value in data.items() if value is not None}, "Secret x")


async def test_a_token_is_asked_for_once_and_again_shortly_before_it_expires(forge, authority, apps, clock):
    one = app(forge, authority)
    first = await apps.credentials(one)
    assert (first.username, forge.good(first.password)) == ("x-access-token", True)
    clock.jump(54 * 60)
    assert (await apps.credentials(one)).password == first.password
    assert forge.asked == ["POST /api/v3/app/installations/42/access_tokens"]
    assert forge.bodies == [{"permissions": {"contents": "read"}}]
    clock.jump(61)
    second = await apps.credentials(one)
    assert second.password != first.password
    assert forge.good(second.password)
    assert second.digest == first.digest, "the same account: what it fetched before is still its own"


async def test_what_reads_cannot_write_and_what_writes_is_a_token_of_its_own(forge, authority, apps):
    app_ = app(forge, authority)
    reads = await apps.credentials(app_)
    writes = await apps.credentials(app_, writes=True)
    assert (await apps.credentials(app_), await apps.credentials(app_, writes=True)) == (reads, writes)
    assert reads.password != writes.password
    assert reads.digest != writes.digest
    assert forge.bodies == [{"permissions": {"contents": "read"}}, {"permissions": {"contents": "write"}}]
    apps.forget(writes.account)
    assert (await apps.credentials(app_)).password == reads.password
    assert (await apps.credentials(app_, writes=True)).password != writes.password


async def test_a_token_that_was_refused_is_asked_for_anew(forge, authority, apps):
    one = app(forge, authority)
    first = await apps.credentials(one)
    apps.forget(first.account)
    assert (await apps.credentials(one)).password != first.password


async def test_the_installation_is_found_by_its_owner(forge, authority, apps):
    forge.installations |= {"43": "user-one"}
    for owner, asked in (
        (b"acme", ["GET /api/v3/orgs/acme/installation", "POST /api/v3/app/installations/42/access_tokens"]),
        (
            b"user-one",
            [
                "GET /api/v3/orgs/user-one/installation",
                "GET /api/v3/users/user-one/installation",
                "POST /api/v3/app/installations/43/access_tokens",
            ],
        ),
    ):
        forge.asked.clear()
        one = app(forge, authority, githubAppInstallationID=None, githubAppInstallationOwner=owner)
        assert forge.good((await apps.credentials(one)).password)
        assert forge.asked == asked
    with pytest.raises(AuthenticationFailed, match="not installed there"):
        await apps.credentials(
            app(forge, authority, githubAppInstallationID=None, githubAppInstallationOwner=b"nobody")
        )


async def test_two_accounts_have_two_tokens(forge, authority, apps):
    forge.installations |= {"43": "other"}
    one, two = app(forge, authority), app(forge, authority, githubAppInstallationID=b"43")
    first, second = await apps.credentials(one), await apps.credentials(two)
    assert first.password != second.password
    assert first.digest != second.digest


async def test_what_the_server_says_is_told_and_the_key_is_not(forge, authority, apps):
    stranger = pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    for changes, says in (
        ({"githubAppPrivateKey": stranger}, "could not be decoded.*check githubAppID and githubAppPrivateKey"),
        ({"githubAppID": b"999"}, "Integration not found"),
        ({"githubAppInstallationID": b"7"}, "not installed there"),
    ):
        with pytest.raises(AuthenticationFailed, match=says) as caught:
            await apps.credentials(app(forge, authority, **changes))
        key = (changes.get("githubAppPrivateKey") or PEM).decode().splitlines()[1]
        assert key not in str(caught.value)
    assert not forge.tokens


async def test_a_clock_that_is_half_a_minute_wrong_does_no_harm(forge, authority, apps, clock):
    for wrong in (-30, 30):
        forge.now = lambda wrong=wrong: clock.now() + timedelta(seconds=wrong)
        apps.forget(app(forge, authority).account)
        assert await apps.credentials(app(forge, authority))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda: web.Response(status=302, headers={"Location": "https://127.0.0.1:1/"}), "answered 302"),
        (lambda: web.Response(status=500, text="oops"), "answered 500"),
        (lambda: web.Response(status=201, text="<html>"), "not understood"),
        (lambda: web.json_response({"token": "a"}, status=201), "not understood"),
        (
            lambda: web.json_response({"token": "", "expires_at": "2027-01-01T00:00:00Z"}, status=201),
            "cannot be a token",
        ),
        (lambda: web.json_response({"token": "a\r\nX: y", "expires_at": "2027-01-01T00:00:00Z"}), "cannot be a token"),
        (lambda: web.json_response({"token": "a" * 5000, "expires_at": "2027-01-01T00:00:00Z"}), "cannot be a token"),
        (lambda: web.Response(status=201, body=b"x" * (1 << 20)), "bytes"),
        (lambda: web.json_response({"message": "\x1b[2J evil" + "x" * 1000}, status=401), r"\\x1b\[2J evil"),
    ],
)
async def test_answers_that_are_none(forge, authority, apps, answer, says):
    forge.says = answer()
    with pytest.raises(Transient, match=says) as caught:
        await apps.credentials(app(forge, authority))
    assert len(str(caught.value)) < 900


async def test_patience_that_is_asked_for_is_kept(forge, authority, apps):
    for status in (403, 429, 503):
        forge.says = web.json_response({"message": "slow down"}, status=status, headers={"Retry-After": "70"})
        with pytest.raises(Transient, match="slow down") as caught:
            await apps.credentials(app(forge, authority))
        assert caught.value.retry_after == 70.0


async def test_metadata_services_are_not_asked(forge, authority, apps):
    with pytest.raises(AuthenticationFailed, match="never contacted"):
        await apps.credentials(app(forge, authority, githubAppBaseURL=b"https://169.254.169.254"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"githubAppID": None}, "githubAppID is missing"),
        ({"githubAppID": b"\xff"}, "githubAppID is not plain text"),
        ({"githubAppID": b"1 2"}, "githubAppID is missing, or is not"),
        ({"githubAppInstallationID": None}, "exactly one of"),
        ({"githubAppInstallationOwner": b"acme"}, "exactly one of"),
        ({"githubAppInstallationID": b"../x"}, "not a number"),
        ({"githubAppInstallationID": None, "githubAppInstallationOwner": b"a/../b"}, "not the name of an account"),
        ({"githubAppPrivateKey": None}, "not a private key"),
        ({"githubAppPrivateKey": PEM[:200]}, "not a private key"),
        ({"githubAppPrivateKey": PEM + b"x" * 4096}, "more than 4096"),
        ({"githubAppBaseURL": b"http://ghe.example.org"}, "must be https"),
        ({"githubAppBaseURL": b"https://u:p@h"}, "githubAppBaseURL is refused"),
        ({"githubAppBaseURL": b"https://h/x?y"}, "githubAppBaseURL is refused"),
    ],
)
def test_secrets_that_are_none_say_why(forge, authority, changes, says):
    with pytest.raises(AuthenticationFailed, match=f"Secret x: .*{says}") as caught:
        app(forge, authority, **changes)
    assert PEM.decode().splitlines()[1] not in str(caught.value)


def test_keys_of_other_kinds_are_refused(forge, authority):
    locked = serialization.BestAvailableEncryption(b"x")
    for key in (
        pem(ec.generate_private_key(ec.SECP256R1())),
        pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)),  # noqa: S505
        pem(KEY, serialization.PrivateFormat.PKCS8, locked),
    ):
        with pytest.raises(AuthenticationFailed, match="githubAppPrivateKey is not"):
            app(forge, authority, githubAppPrivateKey=key)
    assert app(forge, authority, githubAppPrivateKey=pem(KEY, serialization.PrivateFormat.PKCS8))


def test_a_key_too_large_to_be_checked_in_no_time_is_refused(forge, authority, monkeypatch):
    monkeypatch.setattr(github, "_LARGEST_KEY_BITS", 2048)
    large = pem(rsa.generate_private_key(public_exponent=65537, key_size=2056))
    with pytest.raises(AuthenticationFailed, match="2056 bits, more than 2048"):
        app(forge, authority, githubAppPrivateKey=large)


def test_a_key_is_read_once_and_not_for_every_look(forge, authority):
    """It is checked when it is read, which takes longer than a look may."""
    assert app(forge, authority).key is app(forge, authority).key


def test_nothing_of_an_app_is_printed(forge, authority):
    assert PEM.decode().splitlines()[1] not in repr(app(forge, authority))
    assert "_key" not in repr(app(forge, authority))


def test_the_statement_is_a_json_web_token(forge, authority, clock):
    head, body, _ = app(forge, authority).statement(clock.now()).split(".")
    now = int(clock.now().timestamp())
    assert json.loads(base64.urlsafe_b64decode(head + "==")) == {"alg": "RS256", "typ": "JWT"}
    assert json.loads(base64.urlsafe_b64decode(body + "==")) == {"iat": now - 60, "exp": now + 540, "iss": "1234"}


async def test_git_signs_in_with_the_token_and_keeps_one_mirror(forge, authority, apps, clock, transport, tmp_path):
    class Private(GitServer):
        def _signed_in(self, request):
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            name, _, password = base64.b64decode(token).decode().partition(":")
            return "app" if scheme == "Basic" and name == "x-access-token" and forge.good(password) else None

    source = GitSource(tmp_path / "cache", Store(tmp_path / "store"), transport, SystemClock())
    async with Private(tmp_path / "r", tls=authority.context) as server:
        repository = Repository.create(server.root / "apps.git")
        spec = GitSpec.from_api(
            GitRepositorySpec(url=server.url("apps"), interval="1m", provider="github", ref=GitRef(branch="main"))
        )
        for number in range(3):
            commit = repository.commit({"a": b"%d" % number})
            credentials = await apps.credentials(app(forge, authority))
            snapshot = await source.fetch(spec, credentials, await source.look(spec, credentials))
            assert (snapshot.revision, snapshot.read("a")) == (f"main@sha1:{commit}", b"%d" % number)
            clock.jump(3600)
        assert len(forge.tokens) == 3
        assert len(list(tmp_path.glob("cache/mirrors/*.git"))) == 1
        with pytest.raises(AuthenticationFailed):
            await source.look(spec, credentials)
    assert isinstance(credentials, Credentials)
