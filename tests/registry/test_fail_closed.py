"""A registry that fails, or lies, while signatures are looked for: what is not verified is not used."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.registry.double import ELSEWHERE, Double, Rewired, running
from tests.registry.notation_double import Issued, envelope, policy
from tests.registry.server import CONTENT, INDEX, MANIFEST, descriptor, digest, manifest
from tests.registry.signing import Signer
from tests.registry.sigstore_double import ISSUER, Instance, KeylessSigner
from trimtab.api.oci import OCIRepositorySpec
from trimtab.artifacts.store import Store
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Transient
from trimtab.crypto import cosign, notation
from trimtab.crypto.identity import Identity
from trimtab.crypto.notation import Policy
from trimtab.remotes.oci import registry as registry_module
from trimtab.remotes.oci.wire import Access
from trimtab.remotes.outbound import Outbound
from trimtab.sources.oci import Head, OciSource, OciSpec
from trimtab.sources.signatures import Demand, Identities, Keys, Notary

pytest.importorskip("sigstore", reason="the package sigstore is not installed: pip install trimtab[sigstore]")
BODY = manifest([descriptor(b"layer", CONTENT)])
OF = digest(BODY)
HEAD = Head("latest", OF)
TAG, FALLBACK, REFERRERS = (
    f"GET own /v2/app/manifests/{OF.replace(':', '-')}.sig",
    f"GET own /v2/app/manifests/{OF.replace(':', '-')}",
    f"GET own /v2/app/referrers/{OF}",
)


class Case:
    """A demand, and what would meet it."""

    def __init__(self, demand: Demand, content: bytes, kind: str, layer: str) -> None:
        self.demand, self.content, self.kind, self.layer = demand, content, kind, layer

    @property
    def attached(self) -> bytes:
        body = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": self.kind,
            "layers": [descriptor(self.content, self.layer)],
        }
        return json.dumps(body).encode()


def cases() -> dict[str, Case]:
    signer, instance, root = Signer(), Instance(), Issued.create(ca=True)
    keyless = KeylessSigner(instance)
    identities = Identities((Identity.parse(ISSUER, "https://.+"),), instance.trusted_root())
    notary = Notary(Policy.of({"trustpolicy.json": policy(), "root.crt": root.pem}, "any/app"))
    bundle = json.dumps(keyless.bundle(OF)).encode()
    return {
        "keys": Case(Keys({"team.pub": signer.public}), b"{}", cosign.BUNDLE, cosign.BUNDLE),
        "identities": Case(identities, bundle, cosign.BUNDLE, cosign.BUNDLE),
        "notary": Case(notary, envelope(Issued.create(root), OF), notation.ARTIFACT_TYPE, notation.JWS),
    }


CASES = cases()


@pytest.fixture
async def double() -> AsyncIterator[Double]:
    async with running(Double()) as double:
        yield double


@pytest.fixture
async def source(double: Double, tmp_path: Path) -> AsyncIterator[OciSource]:
    transport = Rewired(double)
    yield OciSource(Store(tmp_path), Outbound(transport, SystemClock()), SystemClock())
    await transport.close()


def spec(double: Double, timeout: str = "60s") -> OciSpec:
    return OciSpec.from_api(
        OCIRepositorySpec(url=f"oci://{double.host}/app", interval="1m", insecure=True, timeout=timeout)
    )


def serve(double: Double, case: Case, route: str = REFERRERS, kind: str = "") -> None:
    """Serve what meets the demand, by the API of referrers or under the tag that stands in for it."""
    attached = case.attached
    entry = descriptor(attached, MANIFEST, artifactType=kind or case.kind)
    other = descriptor(b"{}", MANIFEST, artifactType="application/other")
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [other, entry]}).encode()
    double.answer(route, body=index, Content_Type=INDEX)
    double.answer(f"GET own /v2/app/manifests/{digest(attached)}", body=attached, Content_Type=MANIFEST)
    double.answer(f"GET own /v2/app/blobs/{digest(case.content)}", body=case.content)


@pytest.mark.parametrize("name", ["identities", "notary"])
@pytest.mark.parametrize("route", [REFERRERS, FALLBACK])
async def test_what_is_attached_is_found_by_the_api_and_by_the_tag_that_stands_in(
    double: Double, source: OciSource, name: str, route: str
) -> None:
    serve(double, CASES[name], route)
    assert await source.verify(spec(double), Access(), HEAD, CASES[name].demand)
    assert not [one for one in double.seen if one.query], "no filter is asked for that a registry might not apply"


async def test_a_list_that_says_the_type_of_the_empty_configuration_is_looked_into(
    double: Double, source: OciSource
) -> None:
    """Some clients that keep the list themselves write that, where the registry has no API for it."""
    serve(double, CASES["identities"], FALLBACK, "application/vnd.oci.empty.v1+json")
    assert await source.verify(spec(double), Access(), HEAD, CASES["identities"].demand)
    serve(double, CASES["notary"], FALLBACK, "application/vnd.oci.empty.v1+json")
    with pytest.raises(Transient, match="not signed"):
        await source.verify(spec(double), Access(), HEAD, CASES["identities"].demand)


@pytest.mark.parametrize("name", CASES)
async def test_nothing_there_is_not_signed(double: Double, source: OciSource, name: str) -> None:
    with pytest.raises(Transient, match="it is not signed") as refusal:
        await source.verify(spec(double), Access(), HEAD, CASES[name].demand)
    assert refusal.value.reason == "VerificationError"


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("status", [429, 500, 502, 401, 403, "hang", "cut", "html"])
@pytest.mark.parametrize("part", ["list", "fallback", "manifest", "content"])
async def test_a_registry_that_fails_has_proven_nothing(
    double: Double, source: OciSource, name: str, status: int | str, part: str
) -> None:
    case = CASES[name]
    serve(double, case, FALLBACK if part == "fallback" else REFERRERS)
    route = {
        "list": REFERRERS,
        "fallback": FALLBACK,
        "manifest": f"GET own /v2/app/manifests/{digest(case.attached)}",
        "content": f"GET own /v2/app/blobs/{digest(case.content)}",
    }[part]

    async def answer(request: web.Request) -> web.StreamResponse:
        if status == "hang":
            await asyncio.sleep(2)
        if status == "cut":
            assert request.transport is not None
            request.transport.close()
        if isinstance(status, int):
            return web.Response(status=status)
        return web.Response(body=b"<html>", headers={"Content-Type": "text/html"})

    double.routes[route] = answer
    with pytest.raises(Transient) as failure:
        await source.verify(spec(double, "1s" if status == "hang" else "20s"), Access(), HEAD, case.demand)
    assert "not signed" not in failure.value.message, "nobody knows that"


@pytest.mark.parametrize("status", [429, 500, "html"])
async def test_the_older_tag_fails_closed_as_well(double: Double, source: OciSource, status: int | str) -> None:
    if isinstance(status, int):
        double.answer(TAG, status=status)
    else:
        double.answer(TAG, body=b"<html>", Content_Type="text/html")
    for name in ("keys", "identities"):
        with pytest.raises(Transient) as refusal:
            await source.verify(spec(double), Access(), HEAD, CASES[name].demand)
        assert refusal.value.reason == "OCIArtifactPullFailed"


async def test_lists_of_what_refers_end_and_stay_on_the_registry(
    double: Double, source: OciSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "_MAX_REFERRER_PAGES", 3)
    empty = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()
    path = f"/v2/app/referrers/{OF}"
    for link, words in (
        (f"<https://{ELSEWHERE}{path}>; rel=next", "not the same list"),
        ("</v2/other/referrers/x>; rel=next", "not the same list"),
        (f"<{path}>; rel=next", "has no end"),
    ):
        double.answer(REFERRERS, body=empty, Content_Type=INDEX, Link=link)
        with pytest.raises(Transient, match=words):
            await source.verify(spec(double), Access(), HEAD, CASES["notary"].demand)
    assert double.asked(ELSEWHERE) == []
    many = [descriptor(b"%d" % number, MANIFEST, artifactType=notation.ARTIFACT_TYPE) for number in range(65)]
    body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": many}).encode()
    double.answer(REFERRERS, body=body, Content_Type=INDEX)
    with pytest.raises(Transient, match="65 signatures refer to it; the limit is 64"):
        await source.verify(spec(double), Access(), HEAD, CASES["notary"].demand)


async def test_a_second_page_is_read(double: Double, source: OciSource) -> None:
    case = CASES["notary"]
    serve(double, case)
    full: Any = double.routes[REFERRERS]
    empty = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()

    async def paged(request: web.Request) -> web.StreamResponse:
        if request.query.get("page"):
            return await full(request)
        headers = {"Content-Type": INDEX, "Link": f'</v2/app/referrers/{OF}?page=2>; rel="next"'}
        return web.Response(body=empty, headers=headers)

    double.routes[REFERRERS] = paged
    assert await source.verify(spec(double), Access(), HEAD, case.demand)


async def test_a_content_beyond_the_limit_is_not_read(double: Double, source: OciSource) -> None:
    case = CASES["notary"]
    big = Case(case.demand, b"x" * (2 << 20), case.kind, case.layer)
    serve(double, big)
    with pytest.raises(Transient, match="the limit is 1048576"):
        await source.verify(spec(double), Access(), HEAD, big.demand)
    assert not [one for one in double.seen if "/blobs/" in one.path]


async def test_a_good_signature_of_another_digest_is_not_taken_for_this_one(double: Double, source: OciSource) -> None:
    for name in ("identities", "notary"):
        serve(double, CASES[name])
        serve_path = f"GET own /v2/app/referrers/sha256:{'0' * 64}"
        double.routes[serve_path] = double.routes[REFERRERS]
        with pytest.raises(Transient, match="not a signature of this digest"):
            await source.verify(spec(double), Access(), Head("latest", "sha256:" + "0" * 64), CASES[name].demand)
