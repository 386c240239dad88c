"""Ways to a repository: proxies, and servers that want a certificate of the client. Both in process and by git."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from yarl import URL

from tests.remotes.proxies import proxy
from tests.remotes.world import Authority, Repository
from trimtab.api.source import GitRef, GitRepositorySpec
from trimtab.artifacts.store import Store
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Terminal, Transient
from trimtab.base.http import AiohttpTransport
from trimtab.cluster.gitserver import GitServer
from trimtab.remotes.git import git as hardened_git
from trimtab.remotes.proxy import from_secret
from trimtab.sources.git import AuthenticationFailed, Credentials, GitSource, GitSpec


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    transport = AiohttpTransport()
    yield transport
    await transport.close()


@pytest.fixture
def source(tmp_path: Path, transport: AiohttpTransport) -> GitSource:
    return GitSource(tmp_path / "cache", Store(tmp_path / "store"), transport, SystemClock())


def spec(url: str) -> GitSpec:
    return GitSpec.from_api(GitRepositorySpec(url=url, interval="1m", timeout="20s", ref=GitRef(branch="main")))


async def got(source: GitSource, wanted: GitSpec, credentials: Credentials):
    return await source.fetch(wanted, credentials, await source.look(wanted, credentials))


def over(port: int, login: str = "") -> Credentials:
    user, _, password = login.partition(":")
    data = {"address": f"http://127.0.0.1:{port}".encode(), "username": user.encode(), "password": password.encode()}
    return Credentials(proxy=from_secret(data, "Secret x"))


async def test_http_by_way_of_a_proxy_that_looks_the_name_up(tmp_path, source):
    """Nothing but the proxy knows the name: neither the look nor git goes there directly."""
    async with GitServer(tmp_path / "r") as server, proxy("bot:p@ss w/ö:rd") as way:
        Repository.create(server.root / "apps.git").commit({"a": b"1"})
        way.leads["git.nowhere.invalid:8080"] = server.port
        snapshot = await got(source, spec("http://git.nowhere.invalid:8080/apps.git"), over(way.port, way.login))
        assert snapshot.read("a") == b"1"
        assert any(line.startswith("GET http://git.nowhere.invalid:8080/apps.git/info/refs") for line in way.asked)
        assert any("git-upload-pack" in line for line in way.asked)
        assert all(way.shown), "credentials for the proxy are shown at once, to nobody else"


async def test_https_by_way_of_a_proxy_that_is_shown_nothing_of_the_servers_credentials(tmp_path, source):
    authority = Authority.create(tmp_path)
    async with (
        GitServer(tmp_path / "r", accounts={"bot": "s3cret"}, tls=authority.context) as server,
        proxy("me:p4ss") as way,
    ):
        Repository.create(server.root / "apps.git").commit({"a": b"1"})
        credentials = Credentials(username="bot", password="s3cret", ca=authority.ca).over(
            over(way.port, way.login).proxy
        )
        wanted = spec(f"https://127.0.0.1:{server.port}/apps.git")
        way.leads[f"127.0.0.1:{server.port}"] = server.port
        assert (await got(source, wanted, credentials)).read("a") == b"1"
        assert set(way.asked) == {f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"}
        assert len(way.asked) >= 2, "the look and git"


async def test_the_password_of_a_proxy_is_in_no_argument_no_environment_and_no_message(tmp_path, source, monkeypatch):
    seen: list[str] = []
    real = hardened_git.run

    async def spy(argv, **options):
        seen.extend(map(str, [*argv, *options["env"].values()]))
        return await real(argv, **options)

    monkeypatch.setattr(hardened_git, "run", spy)
    async with GitServer(tmp_path / "r") as server, proxy("bot:s3cret") as way:
        Repository.create(server.root / "apps.git").commit({"a": b"1"})
        way.leads["git.nowhere.invalid:80"] = way.leads["git.nowhere.invalid"] = server.port
        wanted = spec("http://git.nowhere.invalid/apps.git")
        await got(source, wanted, over(way.port, "bot:s3cret"))
        head = await source.look(wanted, over(way.port, "bot:s3cret"))
        assert seen
        assert not any("s3cret" in word for word in seen)
        for attempt in (
            source.look(wanted, over(way.port, "bot:wr0ng")),
            source.fetch(wanted, over(way.port, "bot:wr0ng"), head),
        ):
            with pytest.raises(AuthenticationFailed, match=r"spec\.proxySecretRef") as caught:
                await attempt
            assert "wr0ng" not in str(caught.value)
        way.leads.clear()
        for attempt in (
            source.look(wanted, over(way.port, way.login)),
            source.fetch(wanted, over(way.port, way.login), head),
        ):
            with pytest.raises(Transient) as failed:
                await attempt
            assert "s3cret" not in str(failed.value)
            assert "bot" not in str(failed.value)


async def test_what_is_written_as_an_address_is_judged_before_the_proxy_is_asked(source):
    async with proxy() as way:
        for host in ("169.254.169.254", "[::ffff:169.254.169.254]", "0xa9fea9fe"):
            with pytest.raises(Terminal, match="never contacted"):
                await source.look(spec(f"http://{host}/x"), over(way.port))
        assert not way.asked


async def test_a_proxy_at_a_metadata_address_gets_no_packet(source):
    credentials = Credentials(proxy=URL("http://u:s3cret@169.254.169.254:3128"))
    with pytest.raises(
        Transient, match=r"the proxy http://169\.254\.169\.254:3128 of spec\.proxySecretRef.*never"
    ) as caught:
        await source.look(spec("http://git.nowhere.invalid/x"), credentials)
    assert "s3cret" not in str(caught.value)


async def test_what_a_proxy_says_of_a_server_does_not_lead_those_who_go_there_themselves(tmp_path, source):
    """A proxy of somebody's own answers for the server, and sends to another path."""
    async with GitServer(tmp_path / "r") as honest, GitServer(tmp_path / "evil") as evil, proxy() as way:
        Repository.create(honest.root / "apps.git").commit({"a": b"honest"})
        Repository.create(evil.root / "apps.git").commit({"a": b"forged"})
        way.leads[f"127.0.0.1:{honest.port}"] = evil.port
        wanted = spec(honest.url("apps"))
        assert (await got(source, wanted, over(way.port))).read("a") == b"forged"
        assert (await got(source, wanted, Credentials())).read("a") == b"honest"


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"address": b"socks5://h:1080"},
        {"address": b"https://h:3128"},
        {"address": b"http://"},
        {"address": b"h:3128"},
        {"address": b"http://h:3128/path"},
        {"address": b"http://h:3128?x"},
        {"address": b"\xff"},
        {"address": b"http://h:99999"},
        {"address": b"http://h:3128", "username": b"a\nb"},
        {"address": b"http://h:3128", "username": b"\xff"},
    ],
)
def test_proxies_that_are_none_are_refused(data: dict[str, bytes]):
    with pytest.raises(Transient, match="Secret x: address must be http://host:port") as caught:
        from_secret(data, "Secret x")
    assert caught.value.reason == "AuthenticationFailed"


async def test_a_server_that_demands_a_certificate_of_the_client(tmp_path, source):
    authority = Authority.create(tmp_path, demanding=True)
    certificate, key = authority.client()
    async with GitServer(tmp_path / "r", tls=authority.context) as server:
        repository = Repository.create(server.root / "apps.git")
        repository.commit({"a": b"1"})
        good = Credentials.from_secret({"ca.crt": authority.ca, "tls.crt": certificate, "tls.key": key})
        old = Credentials.from_secret({"caFile": authority.ca, "certFile": certificate, "keyFile": key})
        for credentials in (good, old):
            for host in ("127.0.0.1", "localhost"):
                wanted = spec(server.url("apps").replace("127.0.0.1", host))
                assert (await got(source, wanted, credentials)).read("a") == b"1"
        commit = repository.commit({"a": b"2"})
        head = await source.look(wanted, good)
        assert head.commit == commit
        stranger = Authority.create(tmp_path, demanding=True).client()
        for bad in (
            Credentials(ca=authority.ca),
            Credentials(ca=authority.ca, certificate=stranger[0], key=stranger[1]),
        ):
            for attempt in (source.look(wanted, bad), source.fetch(wanted, bad, head)):
                with pytest.raises(Transient) as caught:
                    await attempt
                assert "BEGIN" not in str(caught.value)
    assert not list(tmp_path.glob("cache/private/*"))


async def test_certificates_that_cannot_be_used_say_which(tmp_path, source):
    authority = Authority.create(tmp_path)
    certificate, key = authority.client()
    for data in ({"tls.crt": certificate}, {"tls.key": key}):
        with pytest.raises(AuthenticationFailed, match=r"tls\.crt and tls\.key"):
            Credentials.from_secret(data)
    wanted = spec("https://127.0.0.1:1/x")
    other = authority.client()[1]
    for data, says in (
        ({"tls.crt": certificate, "tls.key": other}, r"tls\.crt and tls\.key"),
        ({"tls.crt": b"junk", "tls.key": key}, r"tls\.crt and tls\.key"),
        ({"ca.crt": b"junk"}, r"ca\.crt"),
        ({"ca.crt": b"\xff"}, r"ca\.crt"),
    ):
        with pytest.raises(AuthenticationFailed, match=says) as caught:
            await source.look(wanted, Credentials.from_secret(data))
        assert "PRIVATE" not in str(caught.value)


async def test_git_itself_does_not_ask_the_remote_for_what_is_missing(tmp_path, source):
    """Mirrors without files are partial, and git knows where the rest is: it would go there by a way of its own."""
    async with GitServer(tmp_path / "r") as server:
        repository = Repository.create(server.root / "apps.git")
        repository.git("config", "uploadpack.allowFilter", "true")
        repository.commit({"a": b"1"})
        wanted = spec(server.url("apps"))
        head = await source.look(wanted)
        async with source.history(wanted, Credentials(), head) as (_, history):
            [mirror] = tmp_path.glob("cache/mirrors/*-history.git")
            assert "promisor" in (mirror / "config").read_text()
            server.requests.clear()
            assert not await history.descends(head.commit, "1" * 40)
            assert not server.requests
