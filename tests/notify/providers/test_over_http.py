"""All providers over HTTP, against a double that leads astray, never ends, or is signed by somebody unknown."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.notify.providers.notices import NOTICES, SETTINGS
from tests.notify.providers.sink import Sink, delivered
from tests.remotes.world import Authority
from trimtab.notify.provider import Delivered, Outcome, Refused, Retry, Settings
from trimtab.notify.providers.table import TABLE

TELEGRAM = "https://api.telegram.org"
FORGES = {
    **dict.fromkeys(("github", "gitlab", "gitea", "bitbucket"), "https://git.example/acme/fleet"),
    "bitbucketserver": "https://git.example/scm/acme/fleet.git",
    "azuredevops": "https://git.example/acme/infra/_git/fleet",
    **{name: "https://git.example/acme/fleet" for name in TABLE if name.endswith("requestcomment")},
}
ALL = {
    **SETTINGS,
    **{
        name: Settings(type=name, namespace="shop", name="tell", uid="u-1", address=address, token="forge-token")
        for name, address in FORGES.items()
    },
}
NAMES = sorted(ALL)
OPENED = replace(NOTICES["opened"], fields={**NOTICES["opened"].fields, "change_request": "12"})


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("ca"))


@pytest.fixture
async def sink(signed: Authority) -> AsyncIterator[Sink]:
    async with Sink(signed.context) as running:
        yield running


def _there(name: str, sink: Sink, ca: bytes, *, timeout_s: float = 10.0) -> Settings:
    settings = ALL[name]
    return replace(settings, address=sink.here(settings.address or TELEGRAM), ca=ca, timeout_s=timeout_s)


def _says_no_secret(outcome: Outcome, settings: Settings) -> None:
    assert isinstance(outcome, Retry | Refused)
    for secret in (settings.token, settings.password, settings.channel):
        assert not secret or secret not in outcome.why


def test_all_that_speak_http_are_in_these_tests() -> None:
    assert TABLE.keys() - ALL.keys() <= {"smtp", "nats", "apprise"}


@pytest.mark.parametrize("name", NAMES)
async def test_a_private_authority_is_trusted_where_it_is_given(name: str, sink: Sink, signed: Authority) -> None:
    assert await delivered(OPENED, _there(name, sink, signed.ca)) == Delivered()
    assert sink.requests
    sink.requests.clear()
    settings = _there(name, sink, b"")
    outcome = await delivered(OPENED, settings)
    assert isinstance(outcome, Retry)
    assert "certificate" in outcome.why
    assert not sink.requests
    _says_no_secret(outcome, settings)


@pytest.mark.parametrize("name", NAMES)
async def test_nothing_is_sent_where_a_redirect_leads(name: str, sink: Sink, signed: Authority) -> None:
    async with Sink(signed.context) as other:
        sink.mode = f"https://localhost:{other.port}/elsewhere"
        settings = _there(name, sink, signed.ca)
        outcome = await delivered(OPENED, settings)
        assert isinstance(outcome, Refused)
        assert "elsewhere" in outcome.why
        assert len(sink.requests) == 1
        assert not other.requests
        _says_no_secret(outcome, settings)


@pytest.mark.parametrize("name", NAMES)
async def test_an_answer_of_three_mebibytes_is_not_read_to_its_end(name: str, sink: Sink, signed: Authority) -> None:
    sink.mode = "large"
    outcome = await delivered(OPENED, _there(name, sink, signed.ca))
    # A status is a status, however long what follows.
    assert isinstance(outcome, Delivered | Refused)


@pytest.mark.parametrize("name", NAMES)
async def test_who_does_not_answer_in_time_is_asked_again_later(name: str, sink: Sink, signed: Authority) -> None:
    sink.mode = "slow"
    settings = _there(name, sink, signed.ca, timeout_s=0.1)
    outcome = await delivered(OPENED, settings)
    assert isinstance(outcome, Retry)
    assert "timed out" in outcome.why
    _says_no_secret(outcome, settings)
