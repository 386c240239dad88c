"""All providers against servers that are signed by somebody unknown, lead astray, say too much, or never end.

A row for every type, and for every form of a type that goes another way. Real TLS on loopback; the servers are doubles.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import pytest

from tests.notify.providers.lines import Mail, Subjects
from tests.notify.providers.notices import NOTICES, SETTINGS
from tests.notify.providers.sink import Sink, told
from tests.remotes.world import Authority
from trimtab.notify.provider import MOST_ANSWER, Delivered, Outcome, Refused, Retry, Settings
from trimtab.notify.providers.table import TABLE

Server: TypeAlias = Sink | Mail | Subjects


class Row(NamedTuple):
    """One form of a type. `scheme` is that of the address; `large` is what becomes of an answer that is long."""

    settings: Settings
    scheme: str = "https"
    large: type[Delivered] | type[Refused] | type[Retry] = Delivered
    address: str = ""
    """Where the address is not one: PLACE in it stands for host and port."""


def _forge(name: str, path: str = "/acme/fleet") -> Row:
    settings = Settings(
        type=name, namespace="shop", name="tell", uid="u-1", address=f"https://git.example{path}", token="forge-token"
    )
    # Comments have to be read whole to find ours: without them there would be one more each time.
    return Row(settings, large=Refused if name.endswith("comment") else Delivered)


def _lines(name: str, channel: str) -> Settings:
    return Settings(type=name, namespace="shop", name="tell", channel=channel, username="bot", password="line-password")


EVENT_HUB = "Endpoint=sb://PLACE/;SharedAccessKeyName=send;SharedAccessKey=hub-secret;EntityPath=events"
ROWS: dict[str, Row] = {
    **{name: Row(settings) for name, settings in SETTINGS.items()},
    "apprise": Row(
        Settings(type="apprise", namespace="shop", name="tell", secret={"address": b"of the Secret"}),
        address="jsons://PLACE/secret-path",
    ),
    "azureeventhub": Row(SETTINGS["azureeventhub"], address=EVENT_HUB),
    "googlepubsub": Row(SETTINGS["googlepubsub"], address="https://PLACE/v1/projects/acme-prod"),
    "lark, signed": Row(replace(SETTINGS["lark"], token="lark-secret")),
    "slack, webhook": Row(
        Settings(type="slack", namespace="shop", name="tell", address="https://hooks.example/services/T/B/secret-path")
    ),
    "alertmanager, token": Row(replace(SETTINGS["alertmanager"], username="", password="", token="am-token")),
    **{name: _forge(name) for name in ("github", "gitlab", "gitea", "bitbucket")},
    "bitbucketserver": _forge("bitbucketserver", "/scm/acme/fleet.git"),
    "azuredevops": _forge("azuredevops", "/acme/infra/_git/fleet"),
    **{name: _forge(name) for name in TABLE if name.endswith("requestcomment")},
    "smtp": Row(_lines("smtp", "ops@example.org"), "smtp", Retry),
    "smtp, TLS at once": Row(_lines("smtp", "ops@example.org"), "smtps", Retry),
    "nats": Row(_lines("nats", "cluster.events"), "tls", Retry),
}
BY_HTTP = sorted(name for name, row in ROWS.items() if row.scheme == "https")
BY_LINES = sorted(ROWS.keys() - set(BY_HTTP))
NAMES = sorted(ROWS)
OPENED = replace(NOTICES["opened"], fields={**NOTICES["opened"].fields, "change_request": "12"})
IN_TIME_S = 60.0
"""What is to end by itself ends before this. No measure: the machine may be busy."""


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("ca"))


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as held:
        yield held


def _server(name: str, tls: object) -> Server:
    match ROWS[name].scheme:
        case "smtp" | "smtps" as scheme:
            return Mail(tls, implicit=scheme == "smtps")
        case "tls":
            return Subjects(tls, demands_tls=True)
        case _:
            return Sink(tls)


def _there(name: str, server: Server, ca: bytes, *, timeout_s: float = 60.0) -> Settings:
    row = ROWS[name]
    if row.address:
        address = row.address.replace("PLACE", f"127.0.0.1:{server.port}")
    elif isinstance(server, Sink):
        address = server.here(row.settings.address or "https://api.example")
    else:
        address = f"{row.scheme}://127.0.0.1:{server.port}"
    return replace(row.settings, address=address, ca=ca, timeout_s=timeout_s)


def _heard(server: Server) -> bool:
    """Whether anything was said to it that is ours to keep."""
    match server:
        case Sink():
            return bool(server.requests)
        case Mail():
            return bool(server.message or server.signed_in)
        case Subjects():
            return bool(server.published or server.connected)


def _says_no_secret(outcome: Outcome, settings: Settings) -> None:
    assert isinstance(outcome, Retry | Refused)
    for secret in (settings.token, settings.password, "secret-path", "hub-secret"):
        assert not secret or secret not in outcome.why


def test_every_type_has_a_row() -> None:
    assert {row.settings.type for row in ROWS.values()} == TABLE.keys()


@pytest.mark.parametrize("name", NAMES)
async def test_a_private_authority_is_trusted_where_it_is_given(
    name: str, signed: Authority, stack: AsyncExitStack
) -> None:
    server = await stack.enter_async_context(_server(name, signed.context))
    unknown = _there(name, server, b"")
    outcome = await told(OPENED, unknown)
    assert isinstance(outcome, Retry), outcome
    assert "certificate verify failed" in outcome.why
    assert not _heard(server)
    _says_no_secret(outcome, unknown)
    assert await told(OPENED, _there(name, server, signed.ca)) == Delivered()
    assert _heard(server)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", ["wrong host", "expired"])
async def test_a_certificate_of_another_host_or_of_the_past_is_not_spoken_to_though_its_authority_is_given(
    name: str, case: str, signed: Authority, stack: AsyncExitStack, contexts: dict[str, object]
) -> None:
    server = await stack.enter_async_context(_server(name, contexts[case]))
    settings = _there(name, server, signed.ca)
    outcome = await told(OPENED, settings)
    assert isinstance(outcome, Retry), outcome
    assert {"wrong host": "not valid for '127.0.0.1'", "expired": "has expired"}[case] in outcome.why
    assert not _heard(server)
    _says_no_secret(outcome, settings)


@pytest.fixture(scope="module")
def contexts(signed: Authority, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    directory = tmp_path_factory.mktemp("certificates")
    return {
        "wrong host": signed.serving(directory, host="example.org"),
        "expired": signed.serving(directory, expired=True),
    }


@pytest.mark.parametrize("name", BY_HTTP)
async def test_nothing_is_sent_where_a_redirect_leads(name: str, signed: Authority, stack: AsyncExitStack) -> None:
    sink, other = [await stack.enter_async_context(Sink(signed.context)) for _ in range(2)]
    sink.mode = f"https://localhost:{other.port}/elsewhere"
    settings = _there(name, sink, signed.ca)
    outcome = await told(OPENED, settings)
    assert isinstance(outcome, Refused)
    assert "sends us elsewhere" in outcome.why
    assert len(sink.requests) == 1
    assert not other.requests
    _says_no_secret(outcome, settings)


@pytest.mark.parametrize("name", BY_LINES)
async def test_another_server_that_is_named_in_lines_is_not_gone_to(
    name: str, signed: Authority, stack: AsyncExitStack
) -> None:
    server, other = [await stack.enter_async_context(_server(name, signed.context)) for _ in range(2)]
    match server:
        case Mail():
            server.says["RCPT"] = f"551 not here; try <ops@localhost:{other.port}>"
        case Subjects():
            server.elsewhere = f"localhost:{other.port}"
    outcome = await told(OPENED, _there(name, server, signed.ca))
    assert isinstance(outcome, Refused if isinstance(server, Mail) else Delivered)
    assert not _heard(other)


@pytest.mark.parametrize("name", NAMES)
async def test_an_answer_of_three_mebibytes_is_not_read_to_its_end(
    name: str, signed: Authority, stack: AsyncExitStack
) -> None:
    server = await stack.enter_async_context(_server(name, signed.context))
    match server:
        case Sink():
            server.mode = "large"
        case Mail():
            server.says[""] = "220 " + "x" * (3 << 20)
        case Subjects():
            server.first = b"INFO " + b"x" * (3 << 20) + b"\r\n"
    seen: list[int] = []
    outcome = await told(OPENED, _there(name, server, signed.ca), seen)
    # A status is a status, however long what follows; a line that does not end is none.
    assert isinstance(outcome, ROWS[name].large), outcome
    assert all(size <= MOST_ANSWER for size in seen)


@pytest.mark.parametrize("name", ["generic", "github", "githubpullrequestcomment"])
async def test_an_answer_without_an_end_is_let_go_of(name: str, signed: Authority, stack: AsyncExitStack) -> None:
    sink = await stack.enter_async_context(Sink(signed.context, mode="endless"))
    async with asyncio.timeout(IN_TIME_S):
        assert isinstance(await told(OPENED, _there(name, sink, signed.ca)), ROWS[name].large)
    # What the system holds on the way is not ours to bound.
    assert sink.sent < len(sink.requests) * (32 << 20)


@pytest.mark.parametrize("name", NAMES)
async def test_who_answers_drop_by_drop_is_left_in_time(name: str, signed: Authority, stack: AsyncExitStack) -> None:
    server = await stack.enter_async_context(_server(name, signed.context))
    if isinstance(server, Sink):
        server.mode = "drip"
    else:
        server.drips = True
    # A conversation has four times the time of one exchange.
    settings = _there(name, server, signed.ca, timeout_s=0.1 if isinstance(server, Sink) else 0.05)
    async with asyncio.timeout(IN_TIME_S):
        outcome = await told(OPENED, settings)
    assert isinstance(outcome, Retry)
    assert "timed out" in outcome.why or "within the time" in outcome.why
    _says_no_secret(outcome, settings)
