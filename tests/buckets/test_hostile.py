"""Servers of buckets that lie, lead astray, or do not end: a double on loopback."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus
from xml.sax.saxutils import escape

import msgspec
import pytest
from aiohttp import web
from yarl import URL

from tests.buckets.test_listing import BOMB
from tests.registry.double import ELSEWHERE, Double, Rewired, running
from trimtab.api.bucket import BucketSpec
from trimtab.artifacts.store import Store
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Terminal, Transient
from trimtab.remotes.outbound import Outbound
from trimtab.remotes.s3 import storage
from trimtab.sources.bucket import (
    Access,
    AuthenticationFailed,
    BucketSource,
    Keys,
    Ldap,
    Wanted,
    Way,
    parse_endpoint,
)

LIST, OBJECT = "GET own /apps", "GET own /apps/a.yaml"
ACCESS = Access(keys=Keys("AKIDREADER", "s3cret"))


@pytest.fixture
async def double() -> AsyncIterator[Double]:
    async with running(Double()) as double:
        yield double


@pytest.fixture
async def source(double: Double, tmp_path: Path) -> AsyncIterator[BucketSource]:
    transport = Rewired(double)
    yield BucketSource(Store(tmp_path / "store"), Outbound(transport, SystemClock()), SystemClock())
    await transport.close()


def wanted(double: Double, **fields: Any) -> Wanted:
    body = {"endpoint": double.host, "bucketName": "apps", "interval": "1m", "insecure": True, **fields}
    return Wanted.from_api(msgspec.convert(body, BucketSpec))


def listed(*objects: tuple[str, str, int], then: str = "") -> bytes:
    contents = "".join(
        f"<Contents><Key>{quote_plus(key)}</Key><ETag>&quot;{tag}&quot;</ETag><Size>{size}</Size></Contents>"
        for key, tag, size in objects
    )
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{then}</NextContinuationToken>" if then else ""
    return f"<ListBucketResult><EncodingType>url</EncodingType>{more}{contents}</ListBucketResult>".encode()


ONE = listed(("a.yaml", "e1", 5))


def complaint(code: str, message: str = "no", **more: str) -> bytes:
    rest = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in more.items())
    return f"<Error><Code>{code}</Code><Message>{escape(message)}</Message>{rest}</Error>".encode()


async def refused(source: BucketSource, double: Double, words: str, **fields: Any) -> Transient:
    with pytest.raises(Transient, match=words) as failed:
        await source.take(wanted(double, **fields), ACCESS, None)
    assert failed.value.message.startswith(f"bucket apps at {double.host}: ")
    assert "s3cret" not in failed.value.message
    return failed.value


# Lists


@pytest.mark.parametrize("then", ["same", "another"])
@pytest.mark.parametrize("full", [True, False], ids=["full", "empty"])
async def test_a_list_without_an_end_is_given_up(
    double: Double, source: BucketSource, then: str, full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "MAX_PAGES", 10)

    async def handler(request: web.Request) -> web.StreamResponse:
        page = len(double.seen)
        objects = ((f"{page}.yaml", "e", 1),) if full else ()
        return web.Response(body=listed(*objects, then="t" if then == "same" else f"t{page}"))

    double.routes[LIST] = handler
    await refused(source, double, "the list has no end")
    assert len(double.seen) <= 11


async def test_a_key_that_is_there_twice_or_was_not_asked_for_is_refused(double: Double, source: BucketSource) -> None:
    double.answer(LIST, body=listed(("a.yaml", "e", 1), ("a.yaml", "f", 1)))
    await refused(source, double, r"'a\.yaml' twice")
    double.answer(LIST, body=listed(("a.yaml", "e", 1), ("other/b.yaml", "f", 1)))
    await refused(source, double, r"'a\.yaml' twice, or in spite of spec\.prefix", prefix="other/")
    assert {one.path for one in double.seen} == {"/apps"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (f"{BOMB}]><ListBucketResult>&j;</ListBucketResult>".encode(), "declares a document type"),
        (b"<ListBucketResult><Contents>", "not XML"),
        (b"<html>Sign in</html>", "not ListBucketResult"),
        (listed(("..", "e", 1)), "not a plain path"),
        (listed(("a", "e", 60 << 20), ("b", "f", 60 << 20)), "bytes of objects; the limit is"),
        (listed((".sourceignore", "e", 300 << 10)), r"\.sourceignore has 307200 bytes"),
    ],
    ids=["bomb", "half", "html", "dots", "bytes", "ignore-file"],
)
async def test_a_list_that_cannot_be_one_is_refused_and_nothing_is_fetched(
    double: Double, source: BucketSource, body: bytes, words: str
) -> None:
    double.answer(LIST, body=body)
    start = time.process_time()
    await refused(source, double, words)
    assert time.process_time() - start < 1
    assert [one.path for one in double.seen] == ["/apps"]


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 65536)


async def test_a_body_without_an_end_is_cut_off(double: Double, source: BucketSource) -> None:
    double.routes[LIST] = endless
    await refused(source, double, "more than 16777216 bytes")
    double.answer(LIST, body=ONE)
    double.routes[OBJECT] = endless
    await refused(source, double, "more than 5 bytes")


async def cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(len(ONE))})
    await response.prepare(request)
    await response.write(ONE[:4])
    assert request.transport
    request.transport.abort()
    return response


async def test_a_connection_that_is_cut_leaves_nothing_and_the_next_pass_succeeds(
    double: Double, source: BucketSource
) -> None:
    double.routes[LIST] = cut
    await refused(source, double, "GET http")
    double.answer(LIST, body=ONE)
    double.routes[OBJECT] = cut
    await refused(source, double, "GET http")
    double.answer(OBJECT, body=b"right")
    snapshot = await source.take(wanted(double), ACCESS, None)
    assert snapshot.read("a.yaml") == b"right"


async def test_a_server_that_says_nothing_is_given_up_in_time(double: Double, source: BucketSource) -> None:
    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(90)
        return web.Response()

    double.routes[LIST] = silent
    start = time.monotonic()
    await refused(source, double, "timed out|not done after", timeout="300ms")
    assert time.monotonic() - start < 60


async def test_the_order_of_the_list_is_nothing_and_every_etag_is_something(
    double: Double, source: BucketSource
) -> None:
    double.answer("GET own /apps/a.yaml", body=b"aaaaa")
    double.answer("GET own /apps/b/c.yaml", body=b"ccc")
    objects = [("a.yaml", "e1", 5), ("b/c.yaml", "e2", 3)]
    double.answer(LIST, body=listed(*objects))
    first = await source.take(wanted(double), ACCESS, None)
    double.answer(LIST, body=listed(*reversed(objects)))
    assert await source.take(wanted(double), ACCESS, first) is first
    seen = {first.revision}
    for other in (
        [objects[0]],
        [("a.yaml", "e2", 5), ("b/c.yaml", "e1", 3)],
        [("a.yaml", "e3", 5), objects[1]],
        [*objects, ("empty", "e4", 0)],
    ):
        double.answer(LIST, body=listed(*other))
        double.answer("GET own /apps/empty")
        seen.add((await source.take(wanted(double), ACCESS, first)).revision)
    assert len(seen) == 5


# Contents


@pytest.mark.parametrize(
    ("body", "words"), [(b"four", "4 bytes, and 5 were listed"), (b"", "0 bytes"), (b"sixsix", "more than 5 bytes")]
)
async def test_a_content_of_another_size_than_listed_is_not_used(
    double: Double, source: BucketSource, body: bytes, words: str
) -> None:
    double.answer(LIST, body=ONE)
    double.answer(OBJECT, body=body)
    await refused(source, double, words)


async def test_a_server_that_ignores_the_condition_is_found_out_by_the_etag(
    double: Double, source: BucketSource
) -> None:
    double.answer(LIST, body=ONE)
    double.answer(OBJECT, body=b"other", ETag='"e2"')
    await refused(source, double, "was changed while it was read")
    assert all(one.headers["If-Match"] == '"e1"' for one in double.seen if one.path != "/apps")


async def test_a_content_is_kept_as_it_comes_and_never_unpacked(double: Double, source: BucketSource) -> None:
    double.answer(LIST, body=ONE)
    double.answer(OBJECT, body=b"\x1f\x8bzip", Content_Encoding="gzip")
    assert (await source.take(wanted(double), ACCESS, None)).read("a.yaml") == b"\x1f\x8bzip"
    assert all(one.headers["Accept-Encoding"] == "identity" for one in double.seen)


# Elsewhere


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("location", [f"https://{ELSEWHERE}/apps", "http://169.254.169.254/latest/", "/apps?x"])
async def test_a_redirect_is_told_and_not_followed(
    double: Double, source: BucketSource, status: int, location: str
) -> None:
    body = complaint("PermanentRedirect", Endpoint="apps.s3.eu-west-1.amazonaws.com")
    double.answer(LIST, status=status, body=body, Location=location, x_amz_bucket_region="eu-west-1")
    failed = await refused(source, double, r"elsewhere \(.*correct spec\.endpoint and spec\.region")
    assert "in the region 'eu-west-1' at 'apps.s3.eu-west-1.amazonaws.com'" in failed.message
    assert len(double.seen) == 1
    double.answer(LIST, body=ONE)
    double.answer(OBJECT, status=status, Location=location)
    await refused(source, double, "elsewhere")
    assert double.asked(ELSEWHERE) == []


async def test_a_signature_for_the_wrong_region_says_which_is_the_right_one(
    double: Double, source: BucketSource
) -> None:
    double.answer(LIST, status=400, body=complaint("AuthorizationHeaderMalformed", Region="eu-central-1"))
    await refused(source, double, r"in the region 'eu-central-1'")
    assert "/us-east-1/s3/aws4_request" in double.seen[0].headers["Authorization"]
    await refused(source, double, "eu-central-1", region="eu-west-2")
    assert "/eu-west-2/s3/aws4_request" in double.seen[1].headers["Authorization"]


# Refusals


@pytest.mark.parametrize(
    ("status", "body", "reason", "words"),
    [
        (403, complaint("SignatureDoesNotMatch", StringToSign="s3cret AKID"), "AuthenticationFailed", "Signature"),
        (403, complaint("InvalidAccessKeyId", AWSAccessKeyId="AKIDREADER"), "AuthenticationFailed", "refuses these"),
        (403, b"", "AuthenticationFailed", r"check the Secret of spec\.secretRef"),
        (401, b"<html>", "AuthenticationFailed", "refuses these credentials"),
        (404, complaint("NoSuchBucket"), "BucketOperationFailed", r"no such bucket \(404\)"),
        (500, complaint("InternalError", "a\x7f\x80b"), "BucketOperationFailed", r"answered 500: InternalError a\\x7f"),
        (501, f"{BOMB}]><Error>&j;</Error>".encode(), "BucketOperationFailed", "answered 501$"),
        (200, complaint("InternalError"), "BucketOperationFailed", "'Error', not ListBucketResult"),
    ],
)
async def test_what_the_server_says_is_told_and_nothing_else_of_it(
    double: Double, source: BucketSource, status: int, body: bytes, reason: str, words: str
) -> None:
    double.answer(LIST, status=status, body=body)
    failed = await refused(source, double, words)
    assert failed.reason == reason
    assert "AKID" not in failed.message


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (429, "TooManyRequests"), (503, "Busy")])
async def test_a_server_that_asks_for_patience_is_not_asked_again_before(
    double: Double, source: BucketSource, status: int, code: str
) -> None:
    double.answer(LIST, status=status, body=complaint(code), Retry_After="100")
    failed = await refused(source, double, f"{status}.*{code}")
    assert failed.retry_after == 100
    failed = await refused(source, double, "asked us to wait")
    assert failed.retry_after
    assert len(double.seen) == 1


async def test_a_metadata_address_is_refused_whoever_wrote_it(source: BucketSource, double: Double) -> None:
    for host in ("169.254.169.254", "2852039166", "[::ffff:169.254.169.254]", "192.0.0.192"):
        with pytest.raises(Terminal, match="never contacted") as failed:
            await source.take(wanted(double, endpoint=host), ACCESS, None)
        assert failed.value.reason == "URLInvalid"
    assert double.seen == []


# Keys for a while


def made(access: str = "TEMPORARY", session: str = "t0ken", until: str = "2099-01-01T00:00:00Z") -> bytes:
    return (
        '<AssumeRoleWithLDAPIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
        "<AssumeRoleWithLDAPIdentityResult><Credentials>"
        f"<AccessKeyId>{access}</AccessKeyId><SecretAccessKey>k3y</SecretAccessKey>"
        f"<SessionToken>{session}</SessionToken><Expiration>{until}</Expiration>"
        "</Credentials></AssumeRoleWithLDAPIdentityResult></AssumeRoleWithLDAPIdentityResponse>"
    ).encode()


@pytest.fixture
def who(double: Double) -> Ldap:
    return Ldap(parse_endpoint(f"http://{double.host}/sts", insecure=True), "ada", "pa&ss wörd")


async def test_keys_for_a_while_are_asked_for_once_and_used_with_their_token(
    double: Double, source: BucketSource, who: Ldap
) -> None:
    double.answer("POST own /sts", body=made())
    double.answer(LIST, body=listed())
    for _ in range(2):
        keys = await source.keys(who, Way())
        await source.take(wanted(double), Access(keys=keys), None)
    [asked] = [one for one in double.seen if one.path == "/sts"]
    assert asked.query == {}
    assert "Action=AssumeRoleWithLDAPIdentity" in asked.body
    assert "LDAPUsername=ada&LDAPPassword=pa%26ss+w%C3%B6rd" in asked.body
    used = [one.headers for one in double.seen if one.path == "/apps"]
    assert all(one["x-amz-security-token"] == "t0ken" for one in used)
    assert all("Credential=TEMPORARY/" in one["Authorization"] for one in used)
    assert all("x-amz-security-token" in one["Authorization"] for one in used)


async def test_keys_serve_only_those_with_the_same_name_and_password(
    double: Double, source: BucketSource, who: Ldap
) -> None:
    double.answer("POST own /sts", body=made())
    await source.keys(who, Way())
    double.answer("POST own /sts", status=403, body=complaint("AccessDenied"))
    with pytest.raises(AuthenticationFailed, match=r"check the Secret of spec\.sts\.secretRef") as failed:
        await source.keys(Ldap(who.endpoint, "ada", "guessed"), Way())
    assert "guessed" not in failed.value.message
    assert (await source.keys(who, Way())).access == "TEMPORARY"


@pytest.mark.parametrize("until", ["2020-01-01T00:00:00Z", "soon", "", "2099-01-01T00:00:00"])
async def test_keys_whose_end_is_near_or_unknown_are_not_kept(
    double: Double, source: BucketSource, who: Ldap, until: str
) -> None:
    double.answer("POST own /sts", body=made(until=until))
    await source.keys(who, Way())
    await source.keys(who, Way())
    assert len(double.seen) == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<x/>",
        made(access=""),
        made(access="a b"),
        made(session="a\r\nX: y"),
        made(session="x" * 5000),
        BOMB.encode(),
    ],
)
async def test_what_cannot_be_keys_is_not_used_as_such(
    double: Double, source: BucketSource, who: Ldap, body: bytes
) -> None:
    double.answer("POST own /sts", body=body)
    with pytest.raises(Transient, match=r"spec\.sts\.endpoint http.*(cannot be read|cannot be keys)") as failed:
        await source.keys(who, Way())
    assert failed.value.reason == "AuthenticationFailed"
    assert "k3y" not in failed.value.message


async def test_a_password_is_not_taken_along_by_a_redirect(double: Double, source: BucketSource, who: Ldap) -> None:
    double.answer("POST own /sts", status=307, Location=f"https://{ELSEWHERE}/sts")
    with pytest.raises(Transient, match="answered 307"):
        await source.keys(who, Way())
    assert double.asked(ELSEWHERE) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://minio.store/", "plain http"),
        ("https://u:s3cret@minio.store/", "without credentials"),
        ("ftp://minio.store/", "not an http"),
        ("https:///x", "not an http"),
        ("https://①②⑦.0.0.1/", "not an http"),
    ],
)
def test_an_endpoint_for_keys_that_would_give_the_password_away_is_refused(text: str, words: str) -> None:
    with pytest.raises(Terminal, match=words) as failed:
        parse_endpoint(text, insecure=False)
    assert failed.value.reason == "InvalidSTSConfiguration"
    assert "s3cret" not in failed.value.message


def test_an_endpoint_for_keys_may_be_http_where_the_store_is() -> None:
    assert parse_endpoint("http://minio.store:9000", insecure=True) == URL("http://minio.store:9000")


def test_nothing_secret_is_printed() -> None:
    printed = repr((ACCESS, Ldap(URL("http://h"), "ada", "s3cret")))
    assert "s3cret" not in printed
    assert "AKID" not in printed
