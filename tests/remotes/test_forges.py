"""Pull requests: one for each branch, at each kind of forge, and a token that goes nowhere else."""

import dataclasses
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from yarl import URL

from tests.remotes.pull_forge import NAMES, TOKEN, PullForge
from tests.remotes.world import Authority
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Transient
from trimtab.base.http import AiohttpTransport
from trimtab.remotes.forges.dialects import DIALECTS, Wish
from trimtab.remotes.forges.pulls import Forge, Pulls
from trimtab.remotes.git.address import parse_address
from trimtab.remotes.outbound import AuthenticationFailed, Outbound, Way

WISH = Wish("trimtab/shop", "main", "Update shop to 1.2", "what\nand why")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("ca"))


@pytest.fixture(params=sorted(NAMES))
async def double(request: pytest.FixtureRequest, authority: Authority) -> AsyncIterator[PullForge]:
    async with PullForge(request.param, authority.context) as double:
        yield double


@pytest.fixture
async def pulls() -> AsyncIterator[Pulls]:
    transport = AiohttpTransport()
    yield Pulls(Outbound(transport, SystemClock()))
    await transport.close()


@pytest.fixture
def forge(double: PullForge, authority: Authority) -> Forge:
    dialect = DIALECTS[double.kind]
    project = dialect.project(parse_address("ssh://git@forge.example/acme/shop.git"))
    return Forge(dialect, URL(double.url), project, "Secret ns/token", TOKEN, Way(ca=authority.ca))


async def test_a_pull_request_is_opened_once_and_then_kept_up_to_date(
    double: PullForge, pulls: Pulls, forge: Forge
) -> None:
    first = await pulls.ensure(forge, WISH)
    assert first is not None
    assert (first.number, first.news) == (7, True)
    assert first.url.startswith("https://forge.example/acme/shop/")
    assert [(one["head"], one["base"], one["title"], one["body"]) for one in double.pulls] == [tuple(WISH)]
    double.asked.clear()
    assert await pulls.ensure(forge, WISH) == first._replace(news=False)
    assert double.asked == ["GET"]
    again = await pulls.ensure(forge, WISH._replace(title="Update shop to 1.3"))
    assert again is not None
    assert (again.number, double.pulls[0]["title"], len(double.pulls)) == (7, "Update shop to 1.3", 1)
    other = await pulls.ensure(forge, WISH._replace(base="release"))
    assert other is not None
    assert (other.number, len(double.pulls)) == (8, 2)


async def test_what_somebody_closed_is_not_opened_again_but_for_something_else(
    double: PullForge, pulls: Pulls, forge: Forge
) -> None:
    await pulls.ensure(forge, WISH)
    double.pulls[0]["closed"] = True
    left = await pulls.ensure(forge, WISH)
    assert left is not None
    assert (left.number, left.news, len(double.pulls)) == (7, False, 1)
    again = await pulls.ensure(forge, WISH._replace(title="Update shop to 1.3"))
    assert again is not None
    assert (again.number, again.news) == (8, True)
    assert (double.pulls[0]["title"], double.pulls[1]["title"]) == (WISH.title, "Update shop to 1.3")
    assert await pulls.ensure(forge, WISH._replace(title="Update shop to 1.3")) == again._replace(news=False)


async def test_a_branch_of_that_name_in_somebody_s_copy_is_not_ours(
    double: PullForge, pulls: Pulls, forge: Forge
) -> None:
    theirs = {"number": 7, "head": WISH.head, "base": WISH.base, "title": "Free coffee", "body": "", "copy": True}
    double.pulls += [theirs, {**theirs, "number": 8, "closed": True}]
    ours = await pulls.ensure(forge, WISH)
    assert ours is not None
    assert (ours.number, ours.news, len(double.pulls)) == (9, True, 3)
    assert await pulls.ensure(forge, WISH) == ours._replace(news=False)
    assert {one["title"] for one in double.pulls[:2]} == {"Free coffee"}


async def test_whose_answer_was_lost_is_found_again(double: PullForge, pulls: Pulls, forge: Forge) -> None:
    await pulls.ensure(forge, WISH)
    double.hides = 1
    again = await pulls.ensure(forge, WISH)
    assert again is not None
    assert (again.number, len(double.pulls)) == (7, 1)


async def test_where_nothing_differs_there_is_nothing_to_ask_for(double: PullForge, pulls: Pulls, forge: Forge) -> None:
    double.branches.clear()
    assert await pulls.ensure(forge, WISH) is None
    assert double.pulls == []


async def test_a_token_that_is_not_taken_is_told_with_its_secret(pulls: Pulls, forge: Forge) -> None:
    with pytest.raises(AuthenticationFailed, match=r"does not take the token of Secret ns/token \(401\)") as failure:
        await pulls.ensure(dataclasses.replace(forge, token="other"), WISH)
    assert "other" not in str(failure.value)
    with pytest.raises(AuthenticationFailed, match="no repository acme/none that the token of Secret ns/token may see"):
        await pulls.ensure(dataclasses.replace(forge, project="acme/none"), WISH)
    assert TOKEN not in repr(forge)


async def test_a_token_goes_to_no_other_place_and_not_in_the_clear(
    double: PullForge, pulls: Pulls, forge: Forge
) -> None:
    double.says = web.Response(status=307, headers={"Location": "https://127.0.0.1:1/elsewhere"})
    with pytest.raises(Transient, match="it redirects, and a token is not taken along"):
        await pulls.ensure(forge, WISH)
    assert double.asked == ["GET"]
    plain = dataclasses.replace(forge, api=forge.api.with_scheme("http"))
    with pytest.raises(AuthenticationFailed, match="must be https://"):
        await pulls.ensure(plain, WISH)


async def test_what_is_no_answer_of_a_forge_is_said_to_be_none(double: PullForge, pulls: Pulls, forge: Forge) -> None:
    double.says = web.Response(text="<html>sign in</html>")
    with pytest.raises(Transient, match="an answer that is not understood"):
        await pulls.ensure(forge, WISH)
    double.says = web.Response(text='[{"number": "7"}]')
    with pytest.raises(Transient, match="an answer that is not understood"):
        await pulls.ensure(forge, WISH)


async def test_patience_that_is_asked_for_is_passed_on(double: PullForge, pulls: Pulls, forge: Forge) -> None:
    double.says = web.json_response({"message": "slow\ndown"}, status=429, headers={"Retry-After": "30"})
    with pytest.raises(Transient, match=r"asks for patience \(429\): slow\\ndown") as failure:
        await pulls.ensure(forge, WISH)
    assert failure.value.retry_after == 30


@pytest.mark.parametrize(
    ("kind", "address", "api", "project"),
    [
        ("github", "https://github.com/acme/shop.git", "https://api.github.com", "acme/shop"),
        ("github", "ssh://git@github.com/acme/shop", "https://api.github.com", "acme/shop"),
        ("github", "https://ghe.example:8443/acme/shop", "https://ghe.example:8443/api/v3", "acme/shop"),
        ("gitlab", "https://gitlab.com/a/b/c.git", "https://gitlab.com/api/v4", "a%2Fb%2Fc"),
        ("gitea", "ssh://git@code.example:2222/acme/shop.git", "https://code.example/api/v1", "acme/shop"),
        ("forgejo", "https://codeberg.org/acme/shop", "https://codeberg.org/api/v1", "acme/shop"),
    ],
)
def test_the_api_is_found_from_the_address_of_the_repository(kind: str, address: str, api: str, project: str) -> None:
    dialect = DIALECTS[kind]
    assert (str(dialect.api(parse_address(address))), dialect.project(parse_address(address))) == (api, project)
