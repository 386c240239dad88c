"""Registries and token servers that lie, lead astray, or do not end."""

import base64
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from tests.registry.double import ELSEWHERE, Double, Rewired, running
from tests.registry.server import CONTENT, MANIFEST, descriptor, digest, manifest
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Terminal
from trimtab.remotes.oci import registry as registry_module
from trimtab.remotes.oci.credentials import Logins
from trimtab.remotes.oci.manifest import Descriptor, Manifest
from trimtab.remotes.oci.reference import Repository, parse_repository
from trimtab.remotes.oci.registry import Registry
from trimtab.remotes.oci.wire import Access, NotThere, PullFailed, Wire
from trimtab.remotes.outbound import AuthenticationFailed, Outbound

BODY = manifest([descriptor(b"layer", CONTENT)])
PASSWORD, TOKEN = "s3cret", "t0ken"
BASIC = "Basic " + base64.b64encode(b"reader:s3cret").decode()
LATEST = "own /v2/app/manifests/latest"
BLOB = Descriptor(CONTENT, digest(b"layer"), 5, {})
BLOB_PATH = f"GET own /v2/app/blobs/{BLOB.digest}"


@pytest.fixture
async def double() -> AsyncIterator[Double]:
    async with running(Double()) as double:
        yield double


@pytest.fixture
async def wire(double: Double) -> AsyncIterator[Wire]:
    transport = Rewired(double)
    yield Wire(Outbound(transport, SystemClock()), SystemClock())
    await transport.close()


@pytest.fixture
def registry(wire: Wire) -> Registry:
    return Registry(wire)


@pytest.fixture
def repository(double: Double) -> Repository:
    return parse_repository(f"oci://{double.host}/app", insecure=True)


def logins(*hosts: str, password: str = PASSWORD, **more: str) -> Logins:
    entry = {"username": "reader", "password": password, **more}
    return Logins.parse(json.dumps({"auths": dict.fromkeys(hosts, entry)}).encode())


def guarded(double: Double, realm: str, token: str = TOKEN, route: str = f"GET {LATEST}") -> None:
    """Serve the manifest to whoever shows `token`, and send everybody else to `realm`."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") == f"Bearer {token}":
            return web.Response(body=BODY, headers={"Content-Type": MANIFEST})
        challenge = f'Bearer realm="{realm}",service="reg",scope="repository:other:push"'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    double.routes[route] = handler


async def pull(registry: Registry, repository: Repository, access: Access | None = None) -> Manifest:
    found = await registry.manifest(repository, access or Access(), "latest")
    assert isinstance(found, Manifest)
    return found


# Tokens


async def test_a_token_is_fetched_once_for_pulling_this_repository_and_then_reused(
    double: Double, registry: Registry, repository: Repository
) -> None:
    guarded(double, f"http://{double.host}/token")
    double.answer("GET own /token", body=b'{"access_token": "t0ken", "expires_in": 300}')
    access = Access(logins=logins(double.host))
    for _ in range(2):
        assert (await pull(registry, repository, access)).digest == digest(BODY)
    [asked] = [one for one in double.seen if one.path == "/token"]
    assert asked.query == {"scope": "repository:app:pull", "service": "reg", "client_id": "trimtab"}
    assert asked.headers["Authorization"] == BASIC


async def test_an_identity_token_is_exchanged_in_the_body_of_a_request_not_in_its_address(
    double: Double, registry: Registry, repository: Repository
) -> None:
    guarded(double, f"http://{double.host}/token")
    double.answer("POST own /token", body=b'{"access_token": "t0ken"}')
    await pull(registry, repository, Access(logins=logins(double.host, identitytoken="refresh")))
    [asked] = [one for one in double.seen if one.path == "/token"]
    assert asked.query == {}
    assert "refresh_token=refresh" in asked.body
    assert "Authorization" not in asked.headers


async def test_a_realm_elsewhere_is_asked_without_a_name_for_what_is_public(
    double: Double, registry: Registry, repository: Repository
) -> None:
    guarded(double, f"https://{ELSEWHERE}/token")
    double.answer(f"GET {ELSEWHERE} /token", body=b'{"token": "t0ken"}')
    await pull(registry, repository)
    [asked] = double.asked(ELSEWHERE)
    assert "Authorization" not in asked.headers


async def test_credentials_are_not_shown_to_a_realm_on_another_host(
    double: Double, registry: Registry, repository: Repository
) -> None:
    guarded(double, f"https://{ELSEWHERE}/token")
    double.answer(f"GET {ELSEWHERE} /token", body=b'{"token": "t0ken"}')
    with pytest.raises(AuthenticationFailed, match=f"add an entry for {ELSEWHERE}"):
        await pull(registry, repository, Access(logins=logins(double.host)))
    assert double.asked(ELSEWHERE) == []


async def test_the_same_credentials_for_the_realms_host_in_the_secret_allow_it(
    double: Double, registry: Registry, repository: Repository
) -> None:
    guarded(double, f"https://{ELSEWHERE}/token")
    double.answer(f"GET {ELSEWHERE} /token", body=b'{"token": "t0ken"}')
    await pull(registry, repository, Access(logins=logins(double.host, ELSEWHERE)))
    [asked] = double.asked(ELSEWHERE)
    assert asked.headers["Authorization"] == BASIC


async def test_a_registry_cannot_have_a_token_made_with_the_credentials_of_another(
    double: Double, registry: Registry, repository: Repository
) -> None:
    guarded(double, f"https://{ELSEWHERE}/token")
    both = {
        "auths": {
            double.host: {"username": "reader", "password": "mine"},
            ELSEWHERE: {"username": "reader", "password": "s3cret"},
        }
    }
    with pytest.raises(AuthenticationFailed, match="not shown to another host"):
        await pull(registry, repository, Access(logins=Logins.parse(json.dumps(both).encode())))
    assert double.asked(ELSEWHERE) == []


@pytest.mark.parametrize(
    "realm",
    [
        "http://169.254.169.254/latest/",
        "https://169.254.169.254/latest/",
        "https://127.0.0.2/",
        "https://127.2/",
        "https://10.0.0.1/",
        "https://localhost:1/",
    ],
)
async def test_a_realm_in_a_network_nearby_is_named_and_gets_no_packet(
    double: Double, registry: Registry, repository: Repository, realm: str
) -> None:
    guarded(double, realm)
    with pytest.raises((AuthenticationFailed, PullFailed), match="sends us"):  # Rewired fails on any other place
        await pull(registry, repository)
    assert [one.path for one in double.seen] == ["/v2/app/manifests/latest"]


async def test_a_name_that_resolves_to_a_private_address_is_no_realm(
    double: Double, registry: Registry, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(host: str, *_: Any) -> tuple[str, ...]:
        return ("127.0.0.1" if host == "127.0.0.1" else "10.1.2.3",)

    monkeypatch.setattr("trimtab.remotes.reach.lookup", resolve)
    guarded(double, "https://auth.example/token")
    with pytest.raises(
        PullFailed, match=r"for a token to https://auth\.example: auth\.example is 10\.1\.2\.3, a private"
    ):
        await pull(registry, repository)


async def test_a_registry_that_is_never_content_is_asked_twice_and_not_for_ever(
    double: Double, registry: Registry, repository: Repository
) -> None:
    guarded(double, f"http://{double.host}/token", token="another")
    double.answer("GET own /token", body=b'{"token": "t0ken"}')
    with pytest.raises(AuthenticationFailed):
        await pull(registry, repository, Access(logins=logins(double.host)))
    assert len(double.seen) == 3


@pytest.mark.parametrize(
    "body",
    [b"{}", b"<html>", b'{"token": "a\\r\\nX: y"}', b'{"token": "a\\u0007b"}', b'{"token": "' + b"a" * 100_000 + b'"}'],
)
async def test_what_cannot_be_a_token_is_not_used_as_one(
    double: Double, registry: Registry, repository: Repository, body: bytes
) -> None:
    guarded(double, f"http://{double.host}/token")
    double.answer("GET own /token", body=body)
    with pytest.raises(PullFailed, match="token"):
        await pull(registry, repository)


async def test_a_realm_that_redirects_is_not_followed(
    double: Double, registry: Registry, repository: Repository
) -> None:
    guarded(double, f"http://{double.host}/token")
    double.answer("GET own /token", status=302, Location=f"https://{ELSEWHERE}/token")
    with pytest.raises(PullFailed, match="answered 302"):
        await pull(registry, repository, Access(logins=logins(double.host)))
    assert double.asked(ELSEWHERE) == []


async def test_a_token_serves_only_those_with_the_same_secrets(
    double: Double, registry: Registry, repository: Repository
) -> None:
    guarded(double, f"http://{double.host}/token")

    async def token(request: web.Request) -> web.StreamResponse:
        return web.json_response({"token": "t0ken" if request.headers.get("Authorization") == BASIC else "anonymous"})

    double.routes["GET own /token"] = token
    await pull(registry, repository, Access(logins=logins(double.host)))
    for other in (Access(), Access(logins=logins(double.host, password="guessed"))):
        with pytest.raises(AuthenticationFailed):
            await pull(registry, repository, other)


# Redirects


async def test_contents_may_come_from_elsewhere_and_credentials_do_not_go_there(
    double: Double, registry: Registry, repository: Repository
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != BASIC:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        return web.Response(status=307, headers={"Location": f"https://{ELSEWHERE}/store?signature=abc"})

    double.routes[BLOB_PATH] = handler
    double.answer(f"GET {ELSEWHERE} /store", body=b"layer")
    out = io.BytesIO()
    await registry.blob(repository, Access(logins=logins(double.host, ELSEWHERE)), BLOB, out, 100)
    assert out.getvalue() == b"layer"
    [asked] = double.asked(ELSEWHERE)
    assert not {"Authorization", "Cookie"} & asked.headers.keys()
    assert asked.query == {"signature": "abc"}


async def test_elsewhere_may_not_ask_for_credentials(
    double: Double, registry: Registry, repository: Repository
) -> None:
    double.answer(BLOB_PATH, status=307, Location=f"https://{ELSEWHERE}/store?signature=abc")
    double.answer(f"GET {ELSEWHERE} /store", status=401, WWW_Authenticate='Basic realm="x"')
    with pytest.raises(PullFailed, match=r"https://9\.9\.9\.9/store: the registry answered 401"):
        await registry.blob(repository, Access(logins=logins(double.host, ELSEWHERE)), BLOB, io.BytesIO(), 100)
    assert [one.headers.get("Authorization") for one in double.asked(ELSEWHERE)] == [None]


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("https://169.254.169.254/latest/meta-data", "link-local"),
        ("https://10.0.0.1/", "private"),
        ("https://127.1/", "private"),
        ("https://[::1]/", "private"),
        (f"http://{ELSEWHERE}/", "only https"),
        ("file:///etc/passwd", "only https|not an address"),
        ("https://user:pass@9.9.9.9/", "not an address"),
        ("https://a%00.example/", "not an address"),
        ("", "not an address"),
    ],
)
async def test_a_redirect_into_a_network_nearby_or_off_https_is_named_and_not_followed(
    double: Double, registry: Registry, repository: Repository, location: str, words: str
) -> None:
    double.answer(BLOB_PATH, status=302, Location=location)
    with pytest.raises(PullFailed, match=words):
        await registry.blob(repository, Access(), BLOB, io.BytesIO(), 100)
    assert len(double.seen) == 1


async def test_redirects_in_a_circle_end(double: Double, registry: Registry, repository: Repository) -> None:
    double.answer(BLOB_PATH, status=302, Location=f"http://{double.host}/v2/app/blobs/{BLOB.digest}")
    with pytest.raises(PullFailed, match="answered 302"):
        await registry.blob(repository, Access(), BLOB, io.BytesIO(), 100)
    assert len(double.seen) == 4


# Contents


async def test_a_digest_that_lies_is_named_and_nothing_is_used(
    double: Double, registry: Registry, repository: Repository
) -> None:
    promised = "sha256:" + "b" * 64
    double.answer(f"HEAD {LATEST}", Docker_Content_Digest=promised)
    assert await registry.digest(repository, Access(), "latest") == promised
    double.answer(f"GET own /v2/app/manifests/{promised}", body=BODY, Content_Type=MANIFEST)
    with pytest.raises(PullFailed, match=f"has the digest {digest(BODY)}, and '{promised}' was promised"):
        await registry.manifest(repository, Access(), promised)
    actual = digest(BODY)
    headers = {"Content_Type": MANIFEST, "Docker_Content_Digest": promised}
    double.answer(f"GET own /v2/app/manifests/{actual}", body=BODY, **headers)
    with pytest.raises(PullFailed, match=f"has the digest {actual}, and '{promised}' was promised"):
        await registry.manifest(repository, Access(), actual)


@pytest.mark.parametrize("said", ["sha256:../../x", "sha512:" + "a" * 128, "x"])
async def test_a_digest_of_another_kind_never_becomes_part_of_an_address(
    double: Double, registry: Registry, repository: Repository, said: str
) -> None:
    double.answer(f"HEAD {LATEST}", Docker_Content_Digest=said)
    with pytest.raises(PullFailed, match="not a sha256 digest"):
        await registry.digest(repository, Access(), "latest")


async def test_a_registry_that_says_no_digest_is_asked_for_the_manifest_itself(
    double: Double, registry: Registry, repository: Repository
) -> None:
    double.answer(f"HEAD {LATEST}")
    double.answer(f"GET {LATEST}", body=BODY, Content_Type=MANIFEST)
    assert await registry.digest(repository, Access(), "latest") == digest(BODY)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"layex", f"has the digest {digest(b'layex')}"),
        (b"laye", "4 bytes"),
        (b"layer!", "larger than the 5 bytes promised"),
    ],
)
async def test_content_that_is_not_what_its_digest_and_size_say_is_named(
    double: Double, registry: Registry, repository: Repository, body: bytes, words: str
) -> None:
    double.answer(BLOB_PATH, body=body)
    with pytest.raises(PullFailed, match=words):
        await registry.blob(repository, Access(), BLOB, io.BytesIO(), 100)


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": MANIFEST})
    await response.prepare(request)
    while True:
        await response.write(b" " * 65536)


async def test_a_body_without_an_end_is_cut_off(double: Double, registry: Registry, repository: Repository) -> None:
    double.routes |= {BLOB_PATH: endless, f"GET {LATEST}": endless, "GET own /v2/app/tags/list": endless}
    out = io.BytesIO()
    with pytest.raises(PullFailed, match="larger than the 5 bytes"):
        await registry.blob(repository, Access(), BLOB, out, 100)
    assert out.tell() == 0
    with pytest.raises(PullFailed, match="more than 4194304 bytes"):
        await registry.manifest(repository, Access(), "latest")
    with pytest.raises(PullFailed, match="more than 16777216 bytes"):
        await registry.tags(repository, Access())


async def test_a_layer_beyond_the_limit_is_not_even_asked_for(
    double: Double, registry: Registry, repository: Repository
) -> None:
    with pytest.raises(PullFailed, match="the limit is 4"):
        await registry.blob(repository, Access(), BLOB, io.BytesIO(), 4)
    assert double.seen == []


# Tags


def paged(double: Double, total: int) -> None:
    """`total` tags, as many a page as are asked for."""

    async def handler(request: web.Request) -> web.StreamResponse:
        n, last = int(request.query["n"]), int(request.query.get("last", "-1"))
        end = min(last + n, total - 1)
        headers = {"Link": f'</v2/app/tags/list?n={n}&last={end}>; rel="next"'} if end < total - 1 else {}
        return web.json_response({"tags": [f"1.0.{i}" for i in range(last + 1, end + 1)]}, headers=headers)

    double.routes["GET own /v2/app/tags/list"] = handler


async def test_a_hundred_thousand_tags_are_all_read_page_by_page(
    double: Double, registry: Registry, repository: Repository
) -> None:
    paged(double, 100_000)
    tags = await registry.tags(repository, Access())
    assert (len(tags), tags[0], tags[-1], len(double.seen)) == (100_000, "1.0.0", "1.0.99999", 100)


async def test_more_tags_than_the_limit_are_an_error_and_never_a_part_of_them(
    double: Double, registry: Registry, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "MAX_TAGS", 5_000)
    paged(double, 10_000)
    with pytest.raises(PullFailed, match=r"more than 5000 tags; name one by spec\.ref\.tag"):
        await registry.tags(repository, Access())
    assert len(double.seen) == 6


async def test_a_list_without_an_end_is_given_up(
    double: Double, registry: Registry, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "MAX_PAGES", 10)

    async def handler(request: web.Request) -> web.StreamResponse:
        after = int(request.query.get("last", "0")) + 1
        return web.json_response({"tags": ["a"]}, headers={"Link": f'</v2/app/tags/list?last={after}>; rel="next"'})

    double.routes["GET own /v2/app/tags/list"] = handler
    with pytest.raises(PullFailed, match="no end"):
        await registry.tags(repository, Access())
    assert len(double.seen) == 10
    double.answer("GET own /v2/app/tags/list", body=b'{"tags": null}', Link="</v2/app/tags/list?n=1000>; rel=next")
    with pytest.raises(PullFailed, match="no end"):
        await registry.tags(repository, Access())
    assert len(double.seen) == 11


@pytest.mark.parametrize(
    "link",
    [
        f"<https://{ELSEWHERE}/v2/app/tags/list?last=a>; rel=next",
        "</v2/other/tags/list?last=a>; rel=next",
        "<//9.9.9.9/v2/app/tags/list>; rel=next",
        "<http://u:p@127.0.0.1/v2/app/tags/list>; rel=next",
        "rubbish",
    ],
)
async def test_the_next_page_is_one_of_the_same_list_or_none(
    double: Double, registry: Registry, repository: Repository, link: str
) -> None:
    double.answer("GET own /v2/app/tags/list", body=b'{"tags": ["a"]}', Link=link)
    with pytest.raises(PullFailed, match="not the same list"):
        await registry.tags(repository, Access())
    assert len(double.seen) == 1


async def test_what_cannot_be_a_tag_is_not_taken_for_one(
    double: Double, registry: Registry, repository: Repository
) -> None:
    double.answer("GET own /v2/app/tags/list", body=b'{"tags": ["good", "../x", "a b", "-x", "", "good"]}')
    assert await registry.tags(repository, Access()) == ["good"]


# Patience


async def test_who_asks_for_patience_gets_it_without_another_request(
    double: Double, registry: Registry, repository: Repository
) -> None:
    double.answer(f"GET {LATEST}", status=429, body=b'{"errors":[{"code":"TOOMANYREQUESTS"}]}', Retry_After="1200")
    with pytest.raises(PullFailed, match=r"429.*TOOMANYREQUESTS") as told:
        await pull(registry, repository)
    assert told.value.retry_after == 1200
    with pytest.raises(PullFailed, match="asked us to wait"):
        await pull(registry, repository)
    assert len(double.seen) == 1


async def test_a_proxy_of_somebody_else_cannot_hold_up_those_who_go_there_themselves(
    double: Double, registry: Registry, repository: Repository
) -> None:
    answers = iter([web.Response(status=429, headers={"Retry-After": "3600"})])

    async def handler(_: web.Request) -> web.StreamResponse:
        return next(answers, None) or web.Response(body=BODY, headers={"Content-Type": MANIFEST})

    double.routes[f"GET {LATEST}"] = handler
    through = Access(proxy=URL(f"http://{double.host}"))
    with pytest.raises(PullFailed, match="429"):
        await pull(registry, repository, through)
    with pytest.raises(PullFailed, match="asked us to wait"):
        await pull(registry, repository, through)
    assert (await pull(registry, repository)).digest == digest(BODY)


# Words and ways


async def test_what_is_not_there_is_named_and_words_of_the_other_side_cannot_move_the_cursor(
    double: Double, registry: Registry, repository: Repository
) -> None:
    with pytest.raises(NotThere, match=r"/v2/app/manifests/latest.*404.*MANIFEST_UNKNOWN") as told:
        await pull(registry, repository)
    assert "\x1b" not in told.value.message


async def test_a_registry_at_a_metadata_address_is_refused_whoever_wrote_it(registry: Registry) -> None:
    for host in ("169.254.169.254", "[fe80::1]", "2852039166"):
        for access in (Access(), Access(proxy=URL("http://127.0.0.1:1"))):
            with pytest.raises(Terminal, match="never contacted"):
                await pull(registry, parse_repository(f"oci://{host}/app"), access)


async def test_a_proxy_at_a_metadata_address_gets_no_packet(registry: Registry, repository: Repository) -> None:
    with pytest.raises(
        PullFailed, match=r"spec\.proxySecretRef: 169\.254\.169\.254 is 169\.254\.169\.254, a link-local"
    ):
        await pull(registry, repository, Access(proxy=URL("http://u:s3cret@169.254.169.254/")))


async def test_the_password_of_a_proxy_is_not_told(double: Double, registry: Registry) -> None:
    double.routes.clear()
    proxy = URL(f"http://u:s3cret@{double.host}")
    for url, insecure in (("oci://9.9.9.9/app", False), ("oci://9.9.9.9/app", True)):
        with pytest.raises(PullFailed) as told:
            await pull(registry, parse_repository(url, insecure=insecure), Access(proxy=proxy))
        assert "s3cret" not in told.value.message
    assert any("Proxy-Authorization" in one.headers for one in double.seen)


async def test_through_a_proxy_a_redirect_to_an_address_nearby_is_refused_too(
    double: Double, registry: Registry, repository: Repository
) -> None:
    access = Access(proxy=URL(f"http://{double.host}"))
    for place in ("https://10.0.0.1/", "https://127.1/", "https://localhost/"):
        double.answer(BLOB_PATH, status=302, Location=place)
        with pytest.raises(PullFailed, match="private"):
            await registry.blob(repository, access, BLOB, io.BytesIO(), 100)
