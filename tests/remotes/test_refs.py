"""References over smart HTTP: real servers, and servers that lie."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from tests.remotes.world import Authority, Repository
from trimtab.base.errors import Terminal, Transient
from trimtab.base.http import AiohttpTransport
from trimtab.cluster.gitserver import GitServer
from trimtab.remotes.git.address import Address, parse_address
from trimtab.remotes.git.credentials import ANONYMOUS, AuthenticationFailed, Credentials
from trimtab.remotes.git.pktline import Mark, decode, encode
from trimtab.remotes.git.refs import RefReader, ls_refs

ADVERTISEMENT = {"Content-Type": "application/x-git-upload-pack-advertisement"}
RESULT = {"Content-Type": "application/x-git-upload-pack-result"}
OID = "1" * 40


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    transport = AiohttpTransport()
    yield transport
    await transport.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitServer]:
    async with GitServer(tmp_path / "repositories") as server:
        yield server


@pytest.fixture
def repository(server: GitServer) -> Repository:
    return Repository.create(server.root / "apps.git")


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def forge() -> AsyncIterator[Callable[[Handler], Awaitable[Address]]]:
    """A server that answers whatever a test wants."""
    runners: list[web.AppRunner] = []

    async def start(handler: Handler) -> Address:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(application, access_log=None)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return parse_address(f"http://127.0.0.1:{runner.addresses[0][1]}/x")

    yield start
    for runner in runners:
        await runner.cleanup()


async def test_branches_and_tags_are_read_and_tags_peeled(server, repository, transport):
    commit = repository.commit({"a": b"1"})
    repository.git("tag", "-a", "-m", "x", "v1", commit)
    repository.git("tag", "light", commit)
    found = await ls_refs(parse_address(server.url("apps")), ANONYMOUS, transport, ["refs/heads/main", "refs/tags/"])
    assert found["refs/heads/main"] == commit
    assert found["refs/tags/v1^{}"] == commit
    assert found["refs/tags/v1"] != commit
    assert found["refs/tags/light"] == commit
    assert "HEAD" not in found


async def test_an_unchanged_poll_costs_one_request(server, repository, transport):
    commit = repository.commit({"a": b"1"})
    reader = RefReader(transport)
    address = parse_address(server.url("apps"))
    await reader.read(address, ANONYMOUS, ["refs/heads/main"])
    assert len(server.requests) == 2
    server.requests.clear()
    found = await reader.read(address, ANONYMOUS, ["refs/heads/main"])
    assert found.commit("refs/heads/main") == commit
    assert list(server.requests) == ["POST /apps.git/git-upload-pack"]


async def test_a_server_that_forgets_the_new_protocol_is_asked_again(forge, transport):
    modern = True

    async def answer(request: web.Request) -> web.Response:
        if request.method == "POST":
            if not modern:
                return web.Response(status=400)
            return web.Response(headers=RESULT, body=encode([f"{OID} refs/heads/main\n".encode(), Mark.FLUSH]))
        service = [b"# service=git-upload-pack\n", Mark.FLUSH]
        if modern:
            return web.Response(headers=ADVERTISEMENT, body=encode([*service, b"version 2\n", Mark.FLUSH]))
        old = f"{'2' * 40} HEAD\0symref=HEAD:refs/heads/main\n".encode()
        lines = [old, f"{'2' * 40} refs/heads/main\n".encode(), Mark.FLUSH]
        return web.Response(headers=ADVERTISEMENT, body=encode([*service, *lines]))

    address = await forge(answer)
    reader = RefReader(transport)
    assert (await reader.read(address, ANONYMOUS, ["refs/heads/"])).commit("refs/heads/main") == OID
    modern = False
    assert (await reader.read(address, ANONYMOUS, ["refs/heads/"])).commit("refs/heads/main") == "2" * 40


async def test_an_empty_repository_has_no_references(server, repository, transport):
    assert await ls_refs(parse_address(server.url("apps")), ANONYMOUS, transport, ["refs/heads/"]) == {}


async def test_a_repository_that_is_not_there(server, transport):
    with pytest.raises(Transient, match="no such repository") as caught:
        await ls_refs(parse_address(server.url("nope")), ANONYMOUS, transport, ["refs/heads/"])
    assert caught.value.reason == "GitOperationFailed"


async def test_a_host_that_does_not_answer(transport):
    with pytest.raises(Transient, match=r"127\.0\.0\.1:1/x.*onnect") as caught:
        await ls_refs(parse_address("http://127.0.0.1:1/x"), ANONYMOUS, transport, ["refs/heads/"])
    assert caught.value.reason == "GitOperationFailed"


async def test_a_name_that_does_not_resolve(transport):
    with pytest.raises(Transient, match=r"no-such-host\.invalid cannot be resolved"):
        await ls_refs(parse_address("https://no-such-host.invalid/x"), ANONYMOUS, transport, ["refs/heads/"])


async def test_metadata_services_are_never_contacted(transport):
    for host in ("169.254.169.254", "0xa9fea9fe", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]"):
        with pytest.raises(Terminal, match="never contacted"):
            await ls_refs(parse_address(f"http://{host}/x"), ANONYMOUS, transport, ["refs/heads/"])


async def test_signing_in_over_tls_with_an_own_ca(tmp_path, transport):
    authority = Authority.create(tmp_path)
    async with GitServer(tmp_path / "r", accounts={"bot": "s3cret"}, tls=authority.context) as server:
        commit = Repository.create(server.root / "apps.git").commit({"a": b"1"})
        for host in ("127.0.0.1", "localhost"):
            address = parse_address(server.url("apps").replace("127.0.0.1", host))
            good = Credentials(username="bot", password="s3cret", ca=authority.ca)
            assert (await ls_refs(address, good, transport, ["refs/heads/"]))["refs/heads/main"] == commit
        for bad in (Credentials(ca=authority.ca), Credentials(username="bot", password="no", ca=authority.ca)):
            with pytest.raises(AuthenticationFailed, match=r"spec\.secretRef") as caught:
                await ls_refs(address, bad, transport, ["refs/heads/"])
            assert caught.value.reason == "AuthenticationFailed"
        with pytest.raises(Transient, match="certificate"):
            await ls_refs(address, Credentials(username="bot", password="s3cret"), transport, ["refs/heads/"])


async def test_credentials_never_travel_over_plain_http(forge, transport):
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=401)

    address = await forge(answer)
    for credentials in (Credentials(username="a", password="b"), Credentials(bearer="t")):
        with pytest.raises(AuthenticationFailed, match="plain http"):
            await RefReader(transport).read(address, credentials, ["refs/heads/"])
    assert asked == []


async def test_a_redirect_within_the_origin_is_followed_and_remembered(server, repository, transport, forge):
    commit = repository.commit({"a": b"1"})
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.path}")
        if request.path.startswith("/x/"):
            raise web.HTTPMovedPermanently(f"/x.git/info/refs?{request.query_string}")
        if request.method == "GET":
            return web.Response(
                headers=ADVERTISEMENT,
                body=encode([b"# service=git-upload-pack\n", Mark.FLUSH, b"version 2\n", Mark.FLUSH]),
            )
        return web.Response(headers=RESULT, body=encode([f"{commit} refs/heads/main\n".encode(), Mark.FLUSH]))

    reader = RefReader(transport)
    address = await forge(answer)
    found = await reader.read(address, ANONYMOUS, ["refs/heads/"])
    assert found.remote.address.path == "/x.git"
    await reader.read(address, ANONYMOUS, ["refs/heads/"])
    assert asked == ["GET /x/info/refs", "GET /x.git/info/refs", *["POST /x.git/git-upload-pack"] * 2]


async def test_a_redirect_to_another_host_is_refused_and_not_contacted(forge, transport):
    contacted = asyncio.Event()

    async def victim(request: web.Request) -> web.Response:
        contacted.set()
        return web.Response()

    elsewhere = await forge(victim)

    async def answer(request: web.Request) -> web.Response:
        raise web.HTTPFound(f"{elsewhere.url}/info/refs?service=git-upload-pack")

    with pytest.raises(Terminal, match="another origin") as caught:
        await RefReader(transport).read(await forge(answer), ANONYMOUS, ["refs/heads/"])
    assert caught.value.reason == "URLInvalid"
    assert not contacted.is_set()


async def test_a_second_redirect_is_refused(forge, transport):
    async def answer(request: web.Request) -> web.Response:
        raise web.HTTPFound(f"/more{request.path}")

    with pytest.raises(Transient, match="second time"):
        await RefReader(transport).read(await forge(answer), ANONYMOUS, ["refs/heads/"])


@pytest.mark.parametrize(
    ("status", "headers", "body", "says"),
    [
        (200, {"Content-Type": "text/html"}, b"<html>", "not a git repository"),
        (200, ADVERTISEMENT, b"zzzz", "not in git's protocol"),
        (200, ADVERTISEMENT, b"00ff", "cut off"),
        (200, ADVERTISEMENT, encode([b"ERR go away\n"]), "go away"),
        (200, ADVERTISEMENT, encode([b"x" * 40 + b" refs/heads/main\n"]), "not in git's protocol"),
        (500, {}, b"", "answered 500"),
        (429, {"Retry-After": "7"}, b"", "answered 429"),
        (403, {}, b"", "wants credentials"),
    ],
)
async def test_answers_that_are_none(forge, transport, status: int, headers: dict[str, str], body: bytes, says: str):
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers, body=body)

    with pytest.raises(Transient, match=says) as caught:
        await RefReader(transport).read(await forge(answer), ANONYMOUS, ["refs/heads/"])
    assert caught.value.retry_after == (7.0 if status == 429 else None)


async def test_a_list_without_end_is_cut_off(forge, transport, monkeypatch):
    monkeypatch.setattr("trimtab.remotes.git.refs.MAX_ANSWER", 1 << 16)

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=ADVERTISEMENT)
        await response.prepare(request)
        for number in range(10_000):
            await response.write(encode([f"{OID} refs/heads/{number}\n".encode()]))
        return response

    with pytest.raises(Transient, match="larger than"):
        await RefReader(transport).read(await forge(answer), ANONYMOUS, ["refs/heads/"])


async def test_a_server_that_stalls_is_given_up(forge, transport):
    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    with pytest.raises(Transient, match="timed out"):
        await RefReader(transport).read(await forge(answer), ANONYMOUS, ["refs/heads/"], timeout=0.3)


def test_packets_round_trip():
    packets = [b"a", Mark.DELIMITER, b"b", Mark.FLUSH]
    assert list(decode(encode(packets))) == packets


def test_credentials_are_never_printed():
    credentials = Credentials.from_secret({"username": b"bot", "password": b"s3cret", "bearerToken": b"t0ken"})
    assert "s3cret" not in repr(credentials)
    assert "t0ken" not in repr(credentials)


def test_secrets_that_cannot_be_used_say_why():
    for data, says in (
        ({"password": b"\xff"}, "password"),
        ({"bearerToken": b"a\nb"}, "more than one line"),
        ({"githubAppID": b"1"}, "provider is not github"),
    ):
        with pytest.raises(AuthenticationFailed, match=says):
            Credentials.from_secret(data)
    with pytest.raises(AuthenticationFailed, match="identity"):
        ANONYMOUS.check(parse_address("ssh://git@h/x"))
    with pytest.raises(AuthenticationFailed, match="known_hosts"):
        Credentials(identity=b"x").check(parse_address("ssh://git@h/x"))
