"""The way out: what is sent where, to whom credentials are shown, and who gets no packet at all."""

import gzip
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from tests.registry.double import ELSEWHERE, Double, Rewired, running
from tests.remotes.listener import Listener
from tests.remotes.scripted import Answer, Scripted, sent_on
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Terminal, Transient
from trimtab.base.http import AiohttpTransport, Request, TransportError
from trimtab.cluster.layout import Layout
from trimtab.cluster.pki import Authority, authority
from trimtab.remotes.helm.repository import Access
from trimtab.remotes.outbound import Astray, AuthenticationFailed, Outbound, Unanswered, Way, body, told
from trimtab.remotes.reach import NotAllowed

HOME = "https://9.9.9.1/index"
AWAY = "https://9.9.9.2/"
SECRETS = {
    "Authorization": "Bearer s3cret",
    "authorization": "Basic s3cret",
    "Cookie": "session=s3cret",
    "PRIVATE-TOKEN": "s3cret",
    "X-Registry-Auth": "s3cret",
    "X-Amz-Security-Token": "s3cret",
    "Proxy-Authorization": "Basic s3cret",
    "X-Whatever-They-Thought-Of": "s3cret",
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A certificate and its key, in one file each."""
    made = trusted(tmp_path_factory.mktemp("pair")).client("reader")
    return made.certificate, made.key


def trusted(directory: Path) -> Authority:
    """An authority of the test's own."""
    (directory / "pki").mkdir()
    return authority(Layout(directory))


def outbound(*answers: Answer, **more: Any) -> tuple[Outbound, Scripted]:
    transport = Scripted(*answers)
    return Outbound(transport, SystemClock(), **more), transport


def get(url: str = HOME, headers: Mapping[str, str] | None = None) -> Request:
    return Request("GET", URL(url), headers or {})


def addressed(transport: Scripted) -> list[str]:
    """Where the requests went, by what the other side believes to be called."""
    return [f"{one.url.scheme}://{one.headers['Host']}{one.url.path}" for one in transport.sent]


# Redirects


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    ("home", "location"),
    [
        (HOME, AWAY),
        (HOME, "https://9.9.9.1:8443/"),
        (HOME, "//9.9.9.2/"),
        ("http://9.9.9.1/index", "https://9.9.9.1/index"),
    ],
    ids=["host", "port", "scheme-relative", "upgrade"],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_header_of_somebodys_own_goes_to_another_origin(
    name: str, home: str, location: str, status: int
) -> None:
    out, transport = outbound(sent_on(location, status), Answer())
    headers = {name: SECRETS[name], "Accept": "text/yaml", "If-None-Match": '"1"'}
    followed = await out.follow(get(home, headers), Way())
    assert followed.response.status == 200
    first, second = transport.sent
    assert first.headers[name] == SECRETS[name]
    assert "s3cret" not in repr(second)
    assert {"Accept", "If-None-Match"} <= second.headers.keys()


async def test_at_home_they_stay_with_the_request() -> None:
    out, transport = outbound(sent_on("/other"), Answer())
    await out.follow(get(headers=SECRETS), Way())
    assert addressed(transport) == ["https://9.9.9.1/index", "https://9.9.9.1/other"]
    assert all(request.headers["PRIVATE-TOKEN"] == "s3cret" for request in transport.sent)


async def test_who_was_elsewhere_and_is_sent_back_asks_as_nobody() -> None:
    out, transport = outbound(sent_on(AWAY), sent_on(HOME), Answer())
    await out.follow(get(headers=SECRETS), Way())
    assert addressed(transport) == [HOME, AWAY, HOME]
    assert "s3cret" not in repr(transport.sent[1:])


async def test_the_certificate_for_a_server_is_not_shown_to_another(pair: tuple[bytes, bytes]) -> None:
    out, transport = outbound(sent_on(AWAY), Answer())
    await out.follow(get(), Way(certificate=pair[0], key=pair[1]))
    assert transport.sent[0].tls is not None
    assert transport.sent[1].tls is None


@pytest.mark.parametrize(
    ("home", "location", "words"),
    [
        (HOME, "http://9.9.9.1/index", "only https"),
        (HOME, "http://9.9.9.2/", "only https"),
        ("http://9.9.9.1/index", "http://9.9.9.2/", "only https"),
        ("http://9.9.9.1/index", "http://9.9.9.1:8080/", "only https"),
        (HOME, "file:///etc/passwd", "only https|not an address"),
        (HOME, "ftp://9.9.9.2/", "only https"),
        (HOME, "https://user:pass@9.9.9.2/", "not an address"),
        (HOME, "https://9.9.9.1@9.9.9.2/", "not an address"),
        (HOME, "https://9.9.9.2:99999/", "not an address"),
        (HOME, "https://9.9.9.2%00/", "not an address"),
        (HOME, "https://①②⑦.0.0.1/", "not an address"),
        (HOME, "https://h/" + "a" * 9000, "not an address"),
        (HOME, "", "not an address"),
        (HOME, "https://169.254.169.254/latest/", "link-local"),
        (HOME, "https://[::ffff:169.254.169.254]/", "link-local"),
        (HOME, "https://[64:ff9b::a9fe:a9fe]/", "link-local"),
        (HOME, "https://[2002:a9fe:a9fe::]/", "link-local"),
        (HOME, "https://192.0.0.192/", "metadata"),
        (HOME, "https://127.0.0.1/", "private"),
        (HOME, "https://127.1/", "private"),
        (HOME, "https://0x7f.1/", "private"),
        (HOME, "https://2130706433/", "private"),
        (HOME, "https://0177.0.0.1/", "private"),
        (HOME, "https://0/", "not the address of a host"),
        (HOME, "https://100.64.0.1/", "private"),
        (HOME, "https://10.0.0.1/", "private"),
        (HOME, "https://localhost/", "private"),
        ("https://10.0.0.1/", "https://10.0.0.2/", "private"),
    ],
)
async def test_a_redirect_to_what_is_not_gone_to_is_named_and_gets_no_packet(
    home: str, location: str, words: str
) -> None:
    out, transport = outbound(sent_on(location), Answer())
    with pytest.raises(Astray, match=words) as refused:
        await out.follow(get(home), Way())
    assert len(transport.sent) == 1
    assert str(refused.value).isascii()


async def test_once_on_https_there_is_no_way_back() -> None:
    out, transport = outbound(sent_on("https://9.9.9.1/index"), sent_on("http://9.9.9.1/index"), Answer())
    with pytest.raises(Astray, match="only https"):
        await out.follow(get("http://9.9.9.1/index"), Way())
    assert len(transport.sent) == 2


async def test_the_private_host_that_the_owner_wrote_may_redirect_within_itself() -> None:
    out, transport = outbound(sent_on("https://10.0.0.1/there"), Answer())
    await out.follow(get("http://10.0.0.1/here"), Way())
    assert addressed(transport) == ["http://10.0.0.1/here", "https://10.0.0.1/there"]


async def test_after_three_redirects_the_last_answer_is_what_there_is() -> None:
    out, transport = outbound(*(sent_on(f"/{n}") for n in range(9)))
    followed = await out.follow(get(), Way())
    assert (followed.response.status, len(transport.sent)) == (302, 4)


async def test_the_address_of_a_redirect_is_sent_as_it_was_written() -> None:
    out, transport = outbound(sent_on("https://9.9.9.2/a%2Fb?sig=%2B%2f&x=a+b#part"), Answer())
    followed = await out.follow(get(), Way())
    assert str(followed.url) == str(transport.sent[1].url) == "https://9.9.9.2/a%2Fb?sig=%2B%2f&x=a+b"


@pytest.fixture
async def double() -> AsyncIterator[Double]:
    async with running(Double()) as double:
        yield double


async def test_what_a_redirect_says_beside_its_address_is_neither_unpacked_nor_read_to_the_end(double: Double) -> None:
    bomb = gzip.compress(b"\0" * (64 << 20), 1)
    double.answer("GET own /a", status=302, body=bomb, Location="/b", Content_Encoding="gzip")
    double.answer("GET own /b", body=bomb, Content_Encoding="gzip")
    transport = Rewired(double)
    out = Outbound(transport, SystemClock())
    _, response = await out.follow(get(f"http://{double.host}/a"), Way())
    # as it came, so that its size is what a limit counts
    assert await body(response, 1 << 20) == bomb
    assert all(one.headers["Accept-Encoding"] == "identity" for one in double.seen)
    await transport.close()


async def test_nothing_is_asked_for_in_a_compressed_form_whatever_the_transport_would_say() -> None:
    out, transport = outbound(Answer())
    await out.send(get(headers={"Accept-Encoding": "br"}), Way(), own=True)
    assert transport.sent[0].headers["Accept-Encoding"] == "identity"


async def test_a_redirect_without_an_end_is_cut_off() -> None:
    endless = sent_on("/b", endless=True)
    out, _ = outbound(endless, Answer())
    assert (await out.follow(get(), Way())).response.status == 200
    assert endless.closed
    assert endless.taken <= 256 << 10


async def test_an_answer_beyond_the_limit_is_refused_by_the_limit(double: Double) -> None:
    double.answer("GET own /big", body=b"x" * 1001)
    transport = Rewired(double)
    _, response = await Outbound(transport, SystemClock()).follow(get(f"http://{double.host}/big"), Way())
    with pytest.raises(Unanswered, match="more than 1000 bytes"):
        await body(response, 1000)
    await transport.close()


# Addresses


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    transport = AiohttpTransport()
    yield transport
    await transport.close()


LOOPBACK = ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "①②⑦.0.0.1", "localhost", "0"]


@pytest.mark.parametrize("host", LOOPBACK)
async def test_where_private_addresses_are_denied_none_gets_a_packet_however_it_is_written(
    listener: Listener, transport: AiohttpTransport, host: str
) -> None:
    out = Outbound(transport, SystemClock(), deny_private=True)
    url = f"http://{host}:{listener.port}/"
    with pytest.raises(NotAllowed, match="never contacted"):
        await out.send(get(url), Way(), own=True)
    with pytest.raises(Unanswered, match=r"proxySecretRef.*never contacted"):
        await out.send(get("http://9.9.9.9/"), Way(proxy=URL(url)), own=True)
    assert listener.accepted == 0


@pytest.mark.parametrize("host", LOOPBACK)
async def test_nobody_but_the_owner_sends_us_to_a_private_address(
    listener: Listener, transport: AiohttpTransport, host: str
) -> None:
    out = Outbound(transport, SystemClock())
    for way in (Way(), Way(proxy=URL(f"http://127.0.0.1:{listener.port}"))):
        with pytest.raises(Astray, match="never contacted"):
            await out.send(get(f"http://{host}:{listener.port}/"), way, own=False)
    assert listener.accepted == 0


async def test_the_listener_would_have_noticed(listener: Listener, transport: AiohttpTransport) -> None:
    out = Outbound(transport, SystemClock())
    with pytest.raises(Unanswered):
        await out.send(get(f"http://127.1:{listener.port}/"), Way(), own=True)
    assert listener.accepted > 0


async def test_a_name_is_looked_up_once_and_the_connection_goes_to_what_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter(["9.9.9.9", "169.254.169.254", "169.254.169.254"])

    async def resolve(*_: Any) -> tuple[str, ...]:
        return (next(answers),)

    monkeypatch.setattr("trimtab.remotes.reach.lookup", resolve)
    out, transport = outbound(Answer(), Answer())
    await out.send(get("https://rebinding.example/x"), Way(), own=True)
    [sent] = transport.sent
    assert (sent.url.host, sent.headers["Host"]) == ("9.9.9.9", "rebinding.example")
    with pytest.raises(NotAllowed, match="link-local"):
        await out.send(get("https://rebinding.example/x"), Way(), own=True)
    assert len(transport.sent) == 1


async def test_a_redirect_to_the_same_name_is_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["9.9.9.9", "169.254.169.254"])

    async def resolve(*_: Any) -> tuple[str, ...]:
        return (next(answers),)

    monkeypatch.setattr("trimtab.remotes.reach.lookup", resolve)
    out, transport = outbound(sent_on("/again"), Answer())
    with pytest.raises(NotAllowed, match="link-local"):
        await out.follow(get("https://rebinding.example/x"), Way())
    assert len(transport.sent) == 1


@pytest.mark.parametrize("own_pair", [False, True])
async def test_the_certificate_is_judged_by_the_name_and_not_by_the_address(
    monkeypatch: pytest.MonkeyPatch, own_pair: bool, pair: tuple[bytes, bytes]
) -> None:
    async def resolve(*_: Any) -> tuple[str, ...]:
        return ("9.9.9.9",)

    monkeypatch.setattr("trimtab.remotes.reach.lookup", resolve)
    out, transport = outbound(Answer())
    await out.send(
        get("https://charts.example/x"), Way(certificate=pair[0], key=pair[1]) if own_pair else Way(), own=True
    )
    assert transport.sent[0].tls_server_name == "charts.example"


async def test_a_server_whose_certificate_has_its_name_alone_is_reached_at_its_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, transport: AiohttpTransport
) -> None:
    # What the system trusts, as long as no Secret says more: an authority of the test's own takes its place.
    ours = trusted(tmp_path)
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", ssl.create_default_context(cadata=ours.pem.decode()))

    async def resolve(*_: Any) -> tuple[str, ...]:
        return ("127.0.0.1",)

    async with serving(ours, tmp_path, "charts.example") as port:
        monkeypatch.setattr("trimtab.remotes.reach.lookup", resolve)
        out = Outbound(transport, SystemClock())
        response = await out.send(get(f"https://charts.example:{port}/"), Way(), own=True)
        assert await body(response, 1000) == f"charts.example:{port}".encode()
        with pytest.raises(Unanswered, match=r"(?i)certificate.*other\.example"):
            await out.send(get(f"https://other.example:{port}/"), Way(), own=True)


@asynccontextmanager
async def serving(ours: Authority, directory: Path, name: str) -> AsyncIterator[int]:
    """A server on loopback that says which host it was asked for; its certificate is for `name`."""
    pair = ours.server(name, [name])
    pem = directory / "server.pem"
    pem.write_bytes(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    async def host(request: web.Request) -> web.StreamResponse:
        return web.Response(text=request.host)

    app = web.Application()
    app.router.add_get("/", host)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    served: Any = site._server
    try:
        yield served.sockets[0].getsockname()[1]
    finally:
        await runner.cleanup()


async def test_the_next_of_several_addresses_is_tried_when_one_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: Any) -> tuple[str, ...]:
        return ("9.9.9.1", "9.9.9.2")

    monkeypatch.setattr("trimtab.remotes.reach.lookup", resolve)
    transport = Scripted(Answer(), unreachable=("9.9.9.1",))
    response = await Outbound(transport, SystemClock()).send(get("https://two.example/"), Way(), own=True)
    assert (response.status, [one.url.host for one in transport.sent]) == (200, ["9.9.9.1", "9.9.9.2"])


# Patience


@pytest.mark.parametrize("status", [429, 503])
async def test_who_asks_for_patience_is_not_asked_again_before_and_others_are(status: int) -> None:
    out, transport = outbound(Answer(status, {"Retry-After": "100"}), Answer(), Answer())
    response = await out.send(get(), Way(), own=True)
    assert out.retry_after(response) == 100
    with pytest.raises(Unanswered, match="asked us to wait") as held:
        await out.send(get(), Way(), own=True)
    assert held.value.retry_after is not None
    assert 90 < held.value.retry_after <= 100
    await out.send(get(AWAY), Way(), own=True)
    # over another way it may be somebody else who said so
    await out.send(get(), Way(proxy=URL("http://9.9.9.9:1")), own=True)
    assert len(transport.sent) == 3


async def test_what_a_proxy_says_in_the_name_of_a_server_holds_nobody_else_up() -> None:
    out, _ = outbound(Answer(503, {"Retry-After": "100"}), Answer())
    proxied = Way(proxy=URL("http://9.9.9.9:1"))
    await out.send(get(), proxied, own=True)
    with pytest.raises(Unanswered, match="asked us to wait"):
        await out.send(get(), proxied, own=True)
    assert (await out.send(get(), Way(), own=True)).status == 200


async def test_what_is_said_to_one_holds_nobody_up_who_asks_with_other_credentials() -> None:
    out, transport = outbound(Answer(429, {"Retry-After": "100"}), Answer(), Answer())
    await out.send(get(), Access(username="a", password="x"), own=True)
    assert (await out.send(get(), Access(username="b", password="x"), own=True)).status == 200
    assert (await out.send(get(), Way(), own=True)).status == 200
    with pytest.raises(Unanswered, match="asked us to wait"):
        await out.send(get(), Access(username="a", password="x"), own=True)
    assert len(transport.sent) == 3


async def test_nobody_is_held_up_for_longer_than_minutes() -> None:
    out, _ = outbound(Answer(503, {"Retry-After": "3600"}))
    await out.send(get(), Way(), own=True)
    with pytest.raises(Unanswered, match="asked us to wait") as held:
        await out.send(get(), Way(), own=True)
    assert held.value.retry_after is not None
    assert held.value.retry_after <= 300


@pytest.mark.parametrize(
    ("said", "seconds"), [("999999999", 3600), ("x", None), ("-5", None), ("", None), ("9" * 400, None), ("²", None)]
)
async def test_patience_has_an_end_and_nonsense_is_none(said: str, seconds: float | None) -> None:
    out, _ = outbound(Answer(503, {"Retry-After": said}))
    assert out.retry_after(await out.send(get(), Way(), own=True)) == seconds


# Words


class Failed(Transient):
    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__("Failed", message, retry_after=retry_after)


@pytest.mark.parametrize(
    ("raised", "error", "reason"),
    [
        (NotAllowed("x is 169.254.169.254"), Terminal, "URLInvalid"),
        (Astray("the server sends us away"), Failed, "Failed"),
        (Unanswered("silence", retry_after=7), Failed, "Failed"),
        (TransportError("cut"), Failed, "Failed"),
    ],
)
def test_what_goes_wrong_on_the_way_is_told_with_the_name_of_who_went(
    raised: Exception, error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=r"^charts: ") as failed, told("charts", Failed):
        raise raised
    assert failed.value.reason == reason  # type: ignore[attr-defined]
    assert getattr(failed.value, "retry_after", None) == getattr(raised, "retry_after", None)


@pytest.mark.parametrize("way", [Way(ca=b"rubbish"), Way(certificate=b"rubbish"), Way(key=b"rubbish")])
async def test_certificates_that_cannot_be_used_are_a_matter_of_the_secret(way: Way) -> None:
    out, transport = outbound(Answer())
    with pytest.raises(AuthenticationFailed, match="in the Secret"), told("charts", Failed):
        await out.send(get(), way, own=True)
    assert transport.sent == []


def test_a_way_does_not_print_its_secrets() -> None:
    way = Way(ca=b"s3cret", certificate=b"s3cret", key=b"s3cret", proxy=URL("http://u:s3cret@h:1"))
    assert "s3cret" not in repr(way)
    assert "s3cret" not in way.identity


async def test_bodies_elsewhere_are_what_the_double_says(double: Double) -> None:
    double.answer("GET own /a", status=307, Location=f"https://{ELSEWHERE}/b")

    async def there(request: web.Request) -> web.StreamResponse:
        return web.Response(text=",".join(sorted(request.headers)))

    double.routes[f"GET {ELSEWHERE} /b"] = there
    transport = Rewired(double)
    out = Outbound(transport, SystemClock())
    _, response = await out.follow(get(f"http://{double.host}/a", SECRETS), Way())
    assert await body(response, 1000) == b"Accept,Accept-Encoding,Host,User-Agent"
    await transport.close()
