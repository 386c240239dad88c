"""Services by apprise: told over our own wire by a process without a network, or refused by name."""

import asyncio
import importlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import apprise as package
import pytest
from aiohttp import web

from tests.notify.ground import event
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Transient
from trimtab.base.http import AiohttpTransport
from trimtab.notify import apprising
from trimtab.notify.apprising import Apprising
from trimtab.notify.notice import Notice, Phase
from trimtab.notify.provider import Answer, Delivered, Misconfigured, Order, Outcome, Refused, Retry, Settings
from trimtab.notify.providers.apprise import MOST_TEXT, address_of, send
from trimtab.notify.providers.apprise_services import MODULES
from trimtab.notify.wire import ProviderWire
from trimtab.remotes.outbound import Outbound

NOTICE = Notice(event=event("it is healthy"), key="k", fields={"revision": "main@sha1:0a1b"})
TOKEN = "s3cr3t-token"


@pytest.fixture
async def out() -> AsyncIterator[Outbound]:
    transport = AiohttpTransport()
    yield Outbound(transport, SystemClock())
    await transport.close()


class Service:
    """A double of a service that takes notices in JSON."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, str], bytes]] = []
        self.status, self.headers = 200, dict[str, str]()
        self.port = 0

    async def handle(self, request: web.Request) -> web.Response:
        self.told.append((request.path, dict(request.headers), await request.read()))
        return web.Response(status=self.status, headers=self.headers, text="ok")


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    found = Service()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.port = runner.addresses[0][1]
    yield found
    await runner.cleanup()


@pytest.fixture
def telling(tmp_path: Path) -> Apprising:
    return Apprising(tmp_path / "apprise")


def settings(address: str, **more: object) -> Settings:
    given = {"type": "apprise", "address": address, "secret": {"address": address.encode()}, "timeout_s": 60.0, **more}
    return Settings(**given)  # type: ignore[arg-type]


async def tell(out: Outbound, telling: Apprising, address: str, notice: Notice = NOTICE) -> Outcome:
    one = settings(address)
    return await send(notice, one, ProviderWire(out, one, telling))


async def test_a_notice_arrives_with_its_text_its_kind_and_nothing_that_calls_a_room(
    out: Outbound, telling: Apprising, service: Service
) -> None:
    opened = replace(NOTICE, event=event("@everyone [look](https://evil.example) " + "x" * 40_000, severity="error"))
    outcome = await tell(out, telling, f"json://{TOKEN}@127.0.0.1:{service.port}/hook?-shop=fleet", opened)
    assert outcome == Delivered()
    ((path, headers, body),) = service.told
    told = json.loads(body)
    assert path == "/hook"
    assert headers["Authorization"].startswith("Basic ")
    assert (told["title"], told["type"]) == (opened.title, "failure")
    assert "@everyone" not in told["message"]
    assert "](" not in told["message"]
    assert MOST_TEXT <= len(told["message"]) < MOST_TEXT + 100
    assert told["attachments"] == []


async def test_what_becomes_of_it_is_judged_as_that_of_every_provider(
    out: Outbound, telling: Apprising, service: Service
) -> None:
    address = f"json://127.0.0.1:{service.port}/{TOKEN}"
    service.status, service.headers = 503, {"Retry-After": "7"}
    outcome = await tell(out, telling, address)
    assert isinstance(outcome, Retry)
    assert outcome.after == 7.0
    service.status, service.headers = 307, {"Location": f"http://127.0.0.1:{service.port}/elsewhere"}
    out._held.clear()
    outcome = await tell(out, telling, address)
    assert isinstance(outcome, Refused)
    assert "sends us elsewhere" in outcome.why
    assert TOKEN not in outcome.why
    assert [path for path, _, _ in service.told] == [f"/{TOKEN}"] * 2


async def test_an_address_that_is_never_contacted_is_not_contacted(out: Outbound, telling: Apprising) -> None:
    outcome = await tell(out, telling, f"json://169.254.169.254/{TOKEN}")
    assert isinstance(outcome, Retry)
    assert "never contacted" in outcome.why
    assert TOKEN not in outcome.why


async def test_the_rest_of_an_address_that_apprise_does_not_take_is_told_without_it(
    out: Outbound, telling: Apprising
) -> None:
    with pytest.raises(Misconfigured, match="apprise takes for pover") as caught:
        await tell(out, telling, "pover://not-enough")
    assert "not-enough" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        *(f"{scheme}://host/{TOKEN}" for scheme in ("syslog", "rsyslog", "dbus", "macosx", "windows", "gnome", "glib")),
        *(
            f"{scheme}://host/{TOKEN}"
            for scheme in ("file", "memory", "http", "https", "mailto", "mqtt", "irc", "exec")
        ),
        f"discord://1/{TOKEN}?template=/etc/passwd",
        f"slack://{TOKEN}?%74emplate=file:///etc/passwd",
        f"json://host/{TOKEN}?Verify=no",
        f"json://host/{TOKEN}?redirect=yes",
        f"json://host/{TOKEN}?attach=file:///etc/passwd",
        f"json://host/{TOKEN} json://other",
        f"json://host/{TOKEN}\njson://other",
        f"json:host/{TOKEN}",
        "json://host/" + TOKEN * 1000,
    ],
    ids=lambda address: address.replace(TOKEN, "t")[:40].encode("unicode_escape").decode(),
)
def test_what_is_hostile_is_refused_by_name_and_not_shown(address: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        address_of(settings(address))
    assert TOKEN not in str(caught.value)


def test_an_address_outside_of_the_secret_is_refused() -> None:
    with pytest.raises(Misconfigured, match="is a secret"):
        address_of(replace(settings(f"json://host/{TOKEN}"), secret={}))


async def test_a_template_that_hides_from_us_is_found_where_apprise_reads_it(
    out: Outbound, telling: Apprising, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab.notify.providers.apprise.parse_qsl", lambda *_, **__: [])
    with pytest.raises(Misconfigured):
        await tell(out, telling, "discord://123456789012345678/abcdefghijklmnop?template=/etc/hostname")


async def test_without_the_extra_the_provider_says_what_to_install(
    out: Outbound, telling: Apprising, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apprising, "find_spec", lambda _name: None)
    with pytest.raises(Misconfigured, match=re.escape("pip install 'trimtab[apprise]'")):
        await tell(out, telling, "json://host/x")


async def test_an_end_of_the_story_is_a_success(telling: Apprising) -> None:
    orders = []

    async def deliver(order: object) -> Outcome:
        orders.append(order)
        return Delivered()

    await send(replace(NOTICE, phase=Phase.CLOSED), settings("json://host/x"), SimpleNamespace(deliver=deliver))  # type: ignore[arg-type]
    assert orders[0].kind == "success"
    assert "host" not in repr(orders[0])


def test_every_service_in_the_table_is_one_of_apprise_and_speaks_http_alone() -> None:
    known = {}
    for module in sorted(set(MODULES.values())):
        found = importlib.import_module(f"apprise.plugins.{module}")
        assert not re.search(
            r"^\s*(?:import|from)\s+(?:socket|smtplib|ssl|subprocess|ctypes|http|urllib3|paho|slixmpp|paramiko)\b",
            Path(str(found.__file__)).read_text(),
            re.MULTILINE,
        ), module
        for one in vars(found).values():
            if isinstance(one, type) and issubclass(one, package.NotifyBase) and one.__module__ == found.__name__:
                for names in (one.protocol, one.secure_protocol):
                    known |= dict.fromkeys((names,) if isinstance(names, str) else names or (), module)
    assert {scheme: module for scheme, module in MODULES.items() if known.get(scheme) != module} == {}


async def through(door: apprising._Door) -> bytes:
    """A request of the program, as the door answers it."""

    async def read() -> bytes:
        await asyncio.sleep(0)
        return b'{"method":"POST","url":"http://host","headers":{},"body":""}'

    path = SimpleNamespace(raw_path=f"/{door._token}")
    answer = await door._handle(SimpleNamespace(method="POST", rel_url=path, read=read))  # type: ignore[arg-type]
    assert isinstance(answer.body, bytes)
    return answer.body


async def test_the_program_does_not_learn_where_it_is_sent_to() -> None:
    async def ask(_request: object) -> Answer:
        return Answer(307, {"location": "http://elsewhere"})

    door = apprising._Door(SimpleNamespace(ask=ask))  # type: ignore[arg-type]
    assert await through(door) == b"{}"
    assert isinstance(door.outcome, Refused)


async def test_more_requests_than_a_notice_needs_are_not_sent() -> None:
    door = apprising._Door(SimpleNamespace(ask=None))  # type: ignore[arg-type]
    door._left = 0
    assert await through(door) == b"{}"
    assert isinstance(door.outcome, Refused)


async def test_notices_that_come_together_share_the_bounds_of_one(telling: Apprising, monkeypatch) -> None:
    made: list[object] = []

    class Busy:
        def __init__(self, *_: object, **__: object) -> None:
            made.append(self)

        async def run(self, _task: object) -> None:
            raise Transient("AppriseFailed", "busy")

    monkeypatch.setattr(apprising, "Confined", Busy)
    order = Order("json", "custom_json", "json://localhost", "title", "body", "info")
    told = await asyncio.gather(*(telling.deliver(order, SimpleNamespace()) for _ in range(3)))  # type: ignore[arg-type]
    assert told == [Retry("busy")] * 3
    assert len(made) == 1
