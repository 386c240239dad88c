"""The way to a provider: certificates, redirects, long and slow answers. Real TLS and real HTTP on loopback."""

import asyncio
import datetime as dt
import hashlib
import hmac
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from tests.notify.ground import event
from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport
from trimtab.cluster import pki
from trimtab.cluster.layout import Layout
from trimtab.notify.notice import Notice
from trimtab.notify.outbox import _told
from trimtab.notify.provider import MOST_ANSWER, Answer, Delivered, NoAnswer, Refused, Request, Retry, Settings, judge
from trimtab.notify.providers.table import TABLE
from trimtab.notify.wire import ProviderWire
from trimtab.remotes.outbound import Outbound

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[..., Awaitable[str]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> pki.Authority:
    layout = Layout(tmp_path_factory.mktemp("pki"))
    (layout.root / "pki").mkdir()
    return pki.authority(layout)


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    runners: list[web.AppRunner] = []

    async def start(handler: Handler, pair: pki.Pair | None = None) -> str:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        context = None
        if pair is not None:
            (tmp_path / "pem").write_bytes(pair.certificate + pair.key)
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(tmp_path / "pem")
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        scheme = "https" if pair is not None else "http"
        return f"{scheme}://127.0.0.1:{runner.addresses[0][1]}/hook"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def out() -> AsyncIterator[Outbound]:
    transport = AiohttpTransport()
    yield Outbound(transport, SystemClock())
    await transport.close()


async def fine(_request: web.Request) -> web.StreamResponse:
    return web.Response(text="ok")


async def ask(out: Outbound, url: str, **settings: object) -> Answer | Retry | Refused:
    one = Settings(type="generic", address=url, **{"timeout_s": 60.0, **settings})
    try:
        return await ProviderWire(out, one).ask(Request(url=url, headers={"Authorization": "Bearer t"}, body=b"{}"))
    except NoAnswer as failure:
        return failure.outcome


async def test_a_private_authority_is_trusted_where_it_is_given(serve: Serve, out: Outbound, authority) -> None:
    url = await serve(fine, authority.server("x", ["127.0.0.1"]))
    answer = await ask(out, url, ca=authority.pem)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body) == (200, b"ok")
    without = await ask(out, url)
    assert isinstance(without, Retry)
    assert "certificate verify failed" in without.why
    assert "/hook" not in without.why, "with many providers the path is the secret"


async def test_a_wrong_host_and_an_expired_certificate_are_not_spoken_to(
    serve: Serve, out: Outbound, authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = await ask(out, await serve(fine, authority.server("x", ["example.org"])), ca=authority.pem)
    assert isinstance(wrong, Retry)
    assert "127.0.0.1" in wrong.why
    monkeypatch.setattr(pki, "_now", lambda: dt.datetime.now(dt.UTC) - dt.timedelta(days=400))
    old = authority.server("x", ["127.0.0.1"])
    expired = await ask(out, await serve(fine, old), ca=authority.pem)
    assert isinstance(expired, Retry)
    assert "expired" in expired.why


async def test_certificates_that_are_none_wait_for_the_owner(serve: Serve, out: Outbound, authority) -> None:
    url = await serve(fine, authority.server("x", ["127.0.0.1"]))
    found = await ask(out, url, ca=b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----")
    assert isinstance(found, Retry)
    assert "ca.crt in the Secret is not a certificate" in found.why


async def test_a_redirect_gets_no_token_and_is_refused_with_the_way_out(serve: Serve, out: Outbound) -> None:
    reached: list[str] = []

    async def other(request: web.Request) -> web.StreamResponse:
        reached.append(request.headers.get("Authorization", ""))
        return web.Response()

    elsewhere = await serve(other)

    async def redirecting(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": elsewhere})

    answer = await ask(out, await serve(redirecting))
    assert isinstance(answer, Answer)
    outcome = judge(answer)
    assert isinstance(outcome, Refused)
    assert "write the final address into the Provider" in outcome.why
    assert reached == []


async def test_who_is_asked_for_patience_does_not_stop_another_at_the_same_service(serve: Serve, out: Outbound) -> None:
    async def busy(request: web.Request) -> web.StreamResponse:
        return web.Response(status=429, headers={"Retry-After": "300"}) if "busy" in request.path else web.Response()

    url = await serve(busy)
    first = await ask(out, f"{url}/busy", namespace="a", name="chat")
    assert isinstance(first, Answer)
    assert first.status == 429
    held = await ask(out, f"{url}/busy", namespace="a", name="chat")
    assert isinstance(held, Retry)
    assert held.after is not None
    other = await ask(out, f"{url}/fine", namespace="b", name="chat")
    assert isinstance(other, Answer)
    assert other.status == 200


async def test_three_megabytes_of_an_answer_are_not_read(serve: Serve, out: Outbound) -> None:
    async def long(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x" * (3 << 20))

    answer = await ask(out, await serve(long))
    assert isinstance(answer, Answer)
    assert len(answer.body) == MOST_ANSWER
    assert judge(answer) == Delivered()


async def test_an_answer_that_does_not_come_in_time_is_tried_again(serve: Serve, out: Outbound) -> None:
    async def slow(_request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(1)
        return web.Response()

    found = await ask(out, await serve(slow), timeout_s=0.2)
    assert isinstance(found, Retry)
    assert "timed out" in found.why


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://169.254.169.254/latest", "link-local or metadata"),
        ("ftp://host/x", "not one of http or https"),
        ("https:///x", "not one of http or https"),
        ("https://user:password@host/x", "a user or a password"),
        ("", "not one of http or https"),
    ],
)
async def test_an_address_that_is_not_gone_to_waits_for_the_owner(out: Outbound, url: str, words: str) -> None:
    found = await ask(out, url)
    assert isinstance(found, Retry)
    assert words in found.why
    assert "password@" not in found.why


@pytest.mark.parametrize("name", ["X-\nInjected", "X"], ids=["name", "value"])
async def test_a_header_cannot_bring_along_another(out: Outbound, name: str) -> None:
    wire = ProviderWire(out, Settings(type="generic"))
    with pytest.raises(NoAnswer) as refused:
        await wire.ask(Request(url="http://127.0.0.1:1/", headers={name: "a\r\nInjected: 1"}))
    assert isinstance(refused.value.outcome, Refused)


async def test_what_is_delivered_is_flux_s_event_signed_where_that_is_asked_for(serve: Serve, out: Outbound) -> None:
    seen: list[tuple[dict[str, str], bytes]] = []

    async def take(request: web.Request) -> web.StreamResponse:
        seen.append((dict(request.headers), await request.read()))
        return web.Response(status=202)

    url = await serve(take)
    notice = Notice(event=event("hello"), key="k1", fields={"revision": "r"}, summary="s")
    settings = Settings(type="generic-hmac", address=url, token="t", headers={"X-Own": "1"}, timeout_s=60.0)
    assert await _told(TABLE["generic-hmac"], notice, settings, ProviderWire(out, settings)) == Delivered()
    headers, body = seen[0]
    assert headers["X-Signature"] == "sha256=" + hmac.new(b"t", body, hashlib.sha256).hexdigest()
    assert headers["gotk-component"] == "kustomize-controller"
    assert (headers["Idempotency-Key"], headers["X-Own"]) == ("k1", "1")
    assert b'"metadata":{"revision":"r","summary":"s"}' in body
