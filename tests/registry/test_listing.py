"""Lists of tags that are asked for again and again: as little as possible is asked and read, and nothing is guessed."""

import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tests.registry.double import ELSEWHERE, Double, Rewired, running
from tests.runtime.clocks import ManualClock
from trimtab.remotes.oci.credentials import Logins
from trimtab.remotes.oci.reference import Repository, parse_repository
from trimtab.remotes.oci.registry import Registry
from trimtab.remotes.oci.wire import Access, PullFailed, TooMany, Wire
from trimtab.remotes.outbound import Outbound

LIST = "GET own /v2/app/tags/list"


@pytest.fixture
async def double() -> AsyncIterator[Double]:
    async with running(Double()) as double:
        yield double


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def registry(double: Double, clock: ManualClock) -> AsyncIterator[Registry]:
    transport = Rewired(double)
    yield Registry(Wire(Outbound(transport, clock), clock))
    await transport.close()


@pytest.fixture
def repository(double: Double) -> Repository:
    return parse_repository(f"oci://{double.host}/app", insecure=True)


async def test_a_list_that_is_the_same_is_not_read_again(
    double: Double, registry: Registry, repository: Repository
) -> None:
    double.answer(LIST, body=b'{"tags": ["a", "a:b", "b"]}')
    first = await registry.listed(repository, Access())
    assert first is not None
    assert (first.tags, first.strange, first.etag) == (["a", "b"], 1, "")
    assert await registry.listed(repository, Access(), digest=first.digest) is None
    assert "If-None-Match" not in double.seen[-1].headers
    double.answer(LIST, body=b'{"tags": ["a", "b", "c"]}')
    second = await registry.listed(repository, Access(), digest=first.digest)
    assert second is not None
    assert second.tags == ["a", "b", "c"]


async def test_a_registry_with_etags_is_asked_whether_it_is_another_list(
    double: Double, registry: Registry, repository: Repository
) -> None:
    async def conditional(request: web.Request) -> web.StreamResponse:
        if request.headers.get("If-None-Match") == '"1"':
            return web.Response(status=304)
        return web.json_response({"tags": ["a"]}, headers={"ETag": '"1"'})

    double.routes[LIST] = conditional
    first = await registry.listed(repository, Access())
    assert first is not None
    assert first.etag == '"1"'
    assert await registry.listed(repository, Access(), etag=first.etag) is None
    double.answer(LIST, status=304)
    with pytest.raises(PullFailed, match="304"):
        await registry.listed(repository, Access())


async def test_what_the_first_of_several_pages_is_called_says_nothing_of_the_others(
    double: Double, registry: Registry, repository: Repository
) -> None:
    async def paged(request: web.Request) -> web.StreamResponse:
        if "last" in request.query:
            return web.json_response({"tags": ["b"]}, headers={"ETag": '"2"'})
        link = '</v2/app/tags/list?last=a>; rel="next"'
        return web.json_response({"tags": ["a"]}, headers={"ETag": '"1"', "Link": link})

    double.routes[LIST] = paged
    found = await registry.listed(repository, Access())
    assert found is not None
    assert (found.tags, found.etag) == (["a", "b"], "")


async def test_a_page_that_is_missing_is_an_error_and_never_a_shorter_list(
    double: Double, registry: Registry, repository: Repository
) -> None:
    async def paged(request: web.Request) -> web.StreamResponse:
        if "last" in request.query:
            return web.Response(status=500)
        return web.json_response({"tags": ["a"]}, headers={"Link": '</v2/app/tags/list?last=a>; rel="next"'})

    double.routes[LIST] = paged
    with pytest.raises(PullFailed, match="the registry answered 500"):
        await registry.listed(repository, Access())


async def test_a_token_that_ran_out_is_renewed_without_a_request_that_is_bound_to_be_refused(
    double: Double, registry: Registry, repository: Repository, clock: ManualClock
) -> None:
    issued: list[str] = []

    async def token(_: web.Request) -> web.StreamResponse:
        issued.append(f"t{len(issued)}")
        return web.json_response({"token": issued[-1], "expires_in": 300})

    async def guarded(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") == f"Bearer {issued[-1] if issued else ''}":
            return web.json_response({"tags": ["a"]})
        challenge = f'Bearer realm="http://{double.host}/token",service="reg"'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    double.routes |= {LIST: guarded, "GET own /token": token}
    for _ in range(6):
        await registry.listed(repository, Access())
        clock.jump(60)
    assert [one.path.rpartition("/")[2] for one in double.seen] == [
        *("list", "token", "list"),
        *["list"] * 3,
        *("token", "list"),
        "list",
    ]
    issued.append("revoked")
    assert await registry.listed(repository, Access()) is not None
    assert issued[-1] == "t3", "a token that is refused before its time is asked for anew"


async def test_who_asked_too_much_hears_it_and_nobody_asks_again_before_the_time(
    double: Double, registry: Registry, repository: Repository, clock: ManualClock
) -> None:
    double.answer(
        LIST, status=429, Retry_After="30", body=json.dumps({"errors": [{"code": "TOOMANYREQUESTS"}]}).encode()
    )
    with pytest.raises(TooMany) as refused:
        await registry.listed(repository, Access())
    assert refused.value.retry_after == 30
    other = parse_repository(f"oci://{double.host}/other", insecure=True)
    with pytest.raises(PullFailed, match="asked us to wait 30 s more"):
        await registry.listed(other, Access())
    assert len(double.seen) == 1
    with pytest.raises(PullFailed, match="there is no such thing"):
        await registry.listed(other, Access(logins=Logins.parse(b'{"auths": {"x": {"username": "a"}}}')))
    clock.jump(31)
    double.answer(LIST, body=b'{"tags": ["a"]}')
    assert await registry.listed(repository, Access()) is not None


async def test_a_list_that_lies_elsewhere_is_asked_for_there_without_credentials(
    double: Double, registry: Registry, repository: Repository
) -> None:
    async def moved(request: web.Request) -> web.StreamResponse:
        if "Authorization" not in request.headers:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        return web.Response(status=307, headers={"Location": f"https://{ELSEWHERE}/v2/app/tags/list"})

    double.routes[LIST] = moved
    double.answer(f"GET {ELSEWHERE} /v2/app/tags/list", body=b'{"tags": ["a"]}')
    config = {"auths": {double.host: {"username": "reader", "password": "right"}}}
    access = Access(logins=Logins.parse(json.dumps(config).encode()))
    assert await registry.tags(repository, access) == ["a"]
    [there] = double.asked(ELSEWHERE)
    assert "Authorization" not in there.headers
    double.answer(LIST, status=307, Location="http://169.254.169.254/v2/app/tags/list")
    with pytest.raises(PullFailed):
        await registry.listed(repository, access)
    assert len(double.asked(ELSEWHERE)) == 1
