"""Looking at repositories on a real static server: what is asked, who is shown credentials, and what is refused."""

import gzip
import hashlib
import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.artifacts.contents import blobs, lose
from tests.charts.world import ChartServer, Listed, chart, index, listed
from tests.registry.double import ELSEWHERE, Double, Rewired, running
from tests.remotes.listener import Listener
from tests.remotes.world import Authority
from trimtab.api.helm import HelmRepositorySpec
from trimtab.artifacts.store import Store
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Terminal, Transient
from trimtab.remotes.helm import catalogue
from trimtab.remotes.outbound import Outbound
from trimtab.sources.helm import Access, HelmSource, HelmSpec, Looked

READER = Access(username="reader", password="right")


def spec_of(url: str, **fields: Any) -> HelmSpec:
    return HelmSpec.from_api(msgspec.convert({"url": url, **fields}, HelmRepositorySpec))


async def pull(source: HelmSource, server: ChartServer, looked: Looked, access: Access | None = None) -> Any:
    found = await source.catalogue(looked.snapshot)
    entry = catalogue.choose(found.versions("app"), "*")
    assert entry is not None
    return await source.pull(spec_of(server.url), access or Access(), entry, f"app {entry.version}")


def test_no_timeout_holds_a_slot_for_longer_than_ten_minutes() -> None:
    assert spec_of("https://h/x", timeout="30s").bound_s == 30
    assert spec_of("https://h/x", timeout="99h").bound_s == 600


async def test_an_index_is_kept_with_its_digest_as_revision_and_its_charts_are_found(
    server: ChartServer, source: HelmSource
) -> None:
    packed = chart("app", "1.2.3")
    made = server.publish(("app", "1.2.3", packed))
    looked = await source.look(spec_of(server.url + "/"), Access(), None, None)
    assert looked.snapshot.revision == f"sha256:{hashlib.sha256(made).hexdigest()}"
    assert looked.snapshot.store.read(looked.archive) == made
    found = await source.catalogue(looked.snapshot)
    assert [one.version for one in found.versions("app")] == ["1.2.3"]
    pulled = await pull(source, server, looked)
    assert looked.snapshot.store.read(pulled.archive) == packed
    assert "app/templates/config.yaml" in {entry.path for entry in pulled.tree.entries}


async def test_an_index_that_did_not_change_costs_one_conditional_request_and_is_not_read(
    server: ChartServer, source: HelmSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish(("app", "1.0.0", chart("app", "1.0.0")))
    first = await source.look(spec_of(server.url), Access(), None, None)

    async def unread(_data: bytes) -> bytes:
        raise AssertionError("the index was read again")

    monkeypatch.setattr("trimtab.sources.helm.reading.read", unread)
    again = await source.look(spec_of(server.url), Access(), first.snapshot, first.validators)
    assert again.snapshot is first.snapshot
    assert [one.status for one in server.of("index.yaml")] == [200, 304]
    assert "If-None-Match" in server.of("index.yaml")[1].headers
    # One byte for byte the same under another name costs the bytes, and is not read either.
    server.write("index.yaml", (server.root / "index.yaml").read_bytes())
    same = await source.look(spec_of(server.url), Access(), first.snapshot, first.validators._replace(etag='"old"'))
    assert same.snapshot is first.snapshot


@pytest.mark.parametrize(("age_s", "status"), [(3600, 304), (0, 200)])
async def test_a_server_without_etags_is_asked_by_time_unless_that_is_too_young_to_tell_two_apart(
    server: ChartServer, source: HelmSource, age_s: int, status: int
) -> None:
    server.publish(("app", "1.0.0", chart("app", "1.0.0")))
    then = time.time() - age_s
    os.utime(server.root / "index.yaml", (then, then))
    first = await source.look(spec_of(server.url), Access(), None, None)
    again = await source.look(spec_of(server.url), Access(), first.snapshot, first.validators._replace(etag=""))
    assert again.snapshot is first.snapshot
    assert [one.status for one in server.of("index.yaml")] == [200, status]


async def test_the_same_index_of_several_objects_is_read_once(
    server: ChartServer, source: HelmSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish(("app", "1.0.0", chart("app", "1.0.0")))
    first = await source.look(spec_of(server.url), Access(), None, None)

    async def unread(_data: bytes) -> bytes:
        raise AssertionError("the index was read again")

    monkeypatch.setattr("trimtab.sources.helm.reading.read", unread)
    other = await source.look(spec_of(server.url + "/"), Access(username="x", password="y"), None, None)
    assert (other.snapshot, other.archive) == (first.snapshot, first.archive)


async def test_a_changed_index_is_fetched_and_so_is_one_whose_contents_were_lost(
    server: ChartServer, source: HelmSource, store: Store
) -> None:
    server.publish(("app", "1.0.0", chart("app", "1.0.0")))
    first = await source.look(spec_of(server.url), Access(), None, None)
    server.publish(("app", "1.0.0", chart("app", "1.0.0")), ("app", "1.1.0", chart("app", "1.1.0")))
    second = await source.look(spec_of(server.url), Access(), first.snapshot, first.validators)
    assert second.snapshot.revision != first.snapshot.revision
    lost = second.snapshot.tree.entries[0].sha256
    lose(store, lost)
    third = await source.look(spec_of(server.url), Access(), second.snapshot, second.validators)
    assert third.snapshot.revision == second.snapshot.revision
    assert lost in blobs(store)
    assert [one.status for one in server.of("index.yaml")] == [200, 200, 200]


async def test_a_packed_answer_is_unpacked_and_a_bomb_is_not(server: ChartServer, source: HelmSource) -> None:
    made = index([Listed("app", "1.0.0", "app-1.0.0.tgz", None)])
    server.write("index.yaml", gzip.compress(made))
    server.headers["/charts/index.yaml"] = {"Content-Encoding": "gzip"}
    looked = await source.look(spec_of(server.url), Access(), None, None)
    assert looked.snapshot.read("index.yaml") == made
    server.write("index.yaml", gzip.compress(b"\0" * (51 << 20)))
    with pytest.raises(Transient, match="an answer of more than 52428800 bytes"):
        await source.look(spec_of(server.url), Access(), None, None)
    server.write("index.yaml", gzip.compress(made)[:-20])
    with pytest.raises(Transient, match="broke off"):
        await source.look(spec_of(server.url), Access(), None, None)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<html>", "the index is refused: .*not a map"),
        (b"apiVersion: v1\nentries: {a: [\n", "the index is refused: it is not YAML"),
        (b"\0" * ((50 << 20) + 1), "more than 52428800 bytes"),
    ],
)
async def test_what_is_no_index_is_refused_and_named(
    server: ChartServer, source: HelmSource, data: bytes, words: str
) -> None:
    server.write("index.yaml", data)
    with pytest.raises(Transient, match=words) as refused:
        await source.look(spec_of(server.url), Access(), None, None)
    assert refused.value.reason == "IndexationFailed"
    assert server.url in refused.value.message


async def test_an_index_that_is_not_there_or_not_for_us_says_what_to_do(
    server: ChartServer, private: ChartServer, source: HelmSource
) -> None:
    with pytest.raises(Transient, match=r"index\.yaml: there is no such file \(404\)"):
        await source.look(spec_of(server.url), Access(), None, None)
    private.publish(("app", "1.0.0", chart("app", "1.0.0")))
    for access in (Access(), Access(username="reader", password="wr0ng")):
        with pytest.raises(Transient, match=r"refuses us \(401\); check the Secret") as refused:
            await source.look(spec_of(private.url), access, None, None)
        assert refused.value.reason == "AuthenticationFailed"
        assert "wr0ng" not in refused.value.message
    looked = await source.look(spec_of(private.url), READER, None, None)
    await pull(source, private, looked, READER)


async def test_a_certificate_is_trusted_by_the_ca_of_the_secret_only(tmp_path: Path, source: HelmSource) -> None:
    authority = Authority.create(tmp_path)
    server = ChartServer(tmp_path / "tls", tls=authority.context)
    server.start()
    try:
        server.publish(("app", "1.0.0", chart("app", "1.0.0")))
        with pytest.raises(Transient, match="certificate verify failed"):
            await source.look(spec_of(server.url), Access(), None, None)
        access = Access(ca=authority.ca)
        looked = await source.look(spec_of(server.url), access, None, None)
        await pull(source, server, looked, access)
        with pytest.raises(Transient, match=r"ca\.crt in the Secret is not a certificate"):
            await source.look(spec_of(server.url), Access(ca=b"nonsense"), None, None)
    finally:
        server.close()


async def test_credentials_stay_at_the_repository_s_own_origin(
    private: ChartServer, server: ChartServer, source: HelmSource
) -> None:
    """Another port of the same host is another origin: it is gone to, and shown nothing."""
    packed = chart("app", "1.0.0")
    server.publish(("app", "1.0.0", packed))
    private.write("index.yaml", index([listed("app", "1.0.0", packed, f"{server.url}/app-1.0.0.tgz")]))
    looked = await source.look(spec_of(private.url), READER, None, None)
    await pull(source, private, looked, READER)
    assert "Authorization" not in server.of("app-1.0.0.tgz")[0].headers
    passing = Access(username="reader", password="right", pass_credentials=True)
    await pull(source, private, looked, passing)
    assert "Authorization" in server.of("app-1.0.0.tgz")[1].headers


@pytest.mark.parametrize("by", ["index", "redirect"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "[::1]", "127.1"])
async def test_another_private_host_is_never_called_because_the_server_says_so(
    private: ChartServer, source: HelmSource, by: str, host: str
) -> None:
    listener = Listener()
    try:
        elsewhere = f"{'http' if by == 'index' else 'https'}://{host}:{listener.port}/app-1.0.0.tgz"
        packed = chart("app", "1.0.0")
        private.publish(("app", "1.0.0", packed))
        if by == "index":
            private.write("index.yaml", index([listed("app", "1.0.0", packed, elsewhere)]))
        else:
            private.redirects["/charts/app-1.0.0.tgz"] = elsewhere
        looked = await source.look(spec_of(private.url), READER, None, None)
        for access in (READER, Access(username="reader", password="right", pass_credentials=True)):
            with pytest.raises(Transient, match=r"the server sends us to https?://.*never contacted") as refused:
                await pull(source, private, looked, access)
            assert refused.value.reason == "ChartPullError"
        private.redirects["/charts/index.yaml"] = f"https://{host}:{listener.port}/index.yaml"
        with pytest.raises(Transient, match=r"sends us to https://.*never contacted"):
            await source.look(spec_of(private.url), READER, None, None)
        assert listener.accepted == 0
    finally:
        listener.close()


async def test_metadata_and_link_local_addresses_are_never_called(private: ChartServer, source: HelmSource) -> None:
    packed = chart("app", "1.0.0")
    for place in ("http://169.254.169.254/latest/", "http://[fe80::1]/x", "http://100.100.100.200/x"):
        private.write("index.yaml", index([listed("app", "1.0.0", packed, place)]))
        looked = await source.look(spec_of(private.url), READER, None, None)
        with pytest.raises(Transient, match="never contacted"):
            await pull(source, private, looked, READER)
    with pytest.raises(Terminal, match="never contacted") as refused:
        await source.look(spec_of("http://169.254.169.254/latest"), Access(), None, None)
    assert refused.value.reason == "URLInvalid"


async def test_a_public_place_is_shown_nothing_but_with_pass_credentials_and_never_by_a_redirect(store: Store) -> None:
    packed = chart("app", "1.0.0")
    async with running(Double()) as double:
        transport = Rewired(double)
        source = HelmSource(store, Outbound(transport, SystemClock()))
        direct = index([listed("app", "1.0.0", packed, f"https://{ELSEWHERE}/app.tgz")])
        double.answer("GET own /index.yaml", body=direct)
        double.answer(f"GET {ELSEWHERE} /app.tgz", body=packed)
        double.answer("GET own /sent/index.yaml", body=index([listed("app", "1.0.0", packed, "on.tgz")]))
        double.answer("GET own /sent/on.tgz", status=302, Location=f"https://{ELSEWHERE}/app.tgz")
        try:
            for place in ("", "/sent"):
                spec = spec_of(f"http://{double.host}{place}")
                looked = await source.look(spec, READER, None, None)
                found = await source.catalogue(looked.snapshot)
                for passing in (False, True):
                    access = Access(username="reader", password="right", pass_credentials=passing)
                    before = len(double.asked(ELSEWHERE))
                    await source.pull(spec, access, found.versions("app")[0], "app")
                    [asked] = double.asked(ELSEWHERE)[before:]
                    assert ("Authorization" in asked.headers) is (passing and not place)
        finally:
            await transport.close()


async def test_from_https_nothing_is_fetched_over_plain_http(tmp_path: Path, source: HelmSource) -> None:
    authority = Authority.create(tmp_path)
    server = ChartServer(tmp_path / "tls", tls=authority.context)
    server.start()
    listener = Listener()
    try:
        plain = f"http://127.0.0.1:{listener.port}/app-1.0.0.tgz"
        server.write("index.yaml", index([listed("app", "1.0.0", b"", plain)]))
        access = Access(ca=authority.ca, username="reader", password="right", pass_credentials=True)
        looked = await source.look(spec_of(server.url), access, None, None)
        with pytest.raises(Transient, match="only https is followed"):
            await pull(source, server, looked, access)
        assert listener.accepted == 0
    finally:
        server.close()
        listener.close()


async def test_a_chart_is_taken_only_if_it_is_what_the_index_promises(server: ChartServer, source: HelmSource) -> None:
    packed = chart("app", "1.0.0")
    server.publish(("app", "1.0.0", packed))
    looked = await source.look(spec_of(server.url), Access(), None, None)
    server.write("app-1.0.0.tgz", chart("app", "1.0.0", {"templates/evil.yaml": "kind: Evil\n"}))
    with pytest.raises(Transient, match=f"has the digest [0-9a-f]+, and the index promises {looked_digest(packed)}"):
        await pull(source, server, looked)
    for digest, words in (("md5:0", "promises md5:0"), (None, None)):
        server.write("index.yaml", index([Listed("app", "1.0.0", "app-1.0.0.tgz", digest)]))
        looked = await source.look(spec_of(server.url), Access(), None, None)
        if words:
            with pytest.raises(Transient, match=words):
                await pull(source, server, looked)
        else:
            await pull(source, server, looked)
    server.write("index.yaml", index([Listed("app", "1.0.0", None, None)]))
    looked = await source.look(spec_of(server.url), Access(), None, None)
    with pytest.raises(Transient, match="the index has no address for it"):
        await pull(source, server, looked)


def looked_digest(packed: bytes) -> str:
    return hashlib.sha256(packed).hexdigest()


async def test_a_chart_of_more_than_ten_mebibytes_is_refused(server: ChartServer, source: HelmSource) -> None:
    server.publish(("app", "1.0.0", b"x" * ((10 << 20) + 1)))
    looked = await source.look(spec_of(server.url), Access(), None, None)
    with pytest.raises(Transient, match="the chart has more than 10 MiB"):
        await pull(source, server, looked)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://user:s3cret@charts.example.org/x", r"credentials do not belong here"),
        ("oci://charts.example.org/x", "type: oci"),
        ("ftp://charts.example.org/x", "expected http"),
        ("https://", "not the address"),
        ("https:///charts", "not the address"),
        ("https://a b/charts", "not the address"),
        ("https://charts.example.org\\@evil.example/x", "not the address|do not belong"),
        ("https://charts.example.org/x#y", "fragment"),
        ("https://charts.example.org/\x1b[2J", "not the address"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused_before_anything_is_asked(url: str, words: str) -> None:
    with pytest.raises(Terminal, match=words) as refused:
        spec_of(url)
    assert refused.value.reason == "URLInvalid"
    assert "s3cret" not in refused.value.message
    assert "\x1b" not in refused.value.message
