"""Publishing, serving and fetching: what one process publishes another can read, and nobody else can find."""

import asyncio
import hashlib
import io
import os
import re
import tarfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from yarl import URL

from tests.artifacts.contents import age, blobs, lose, trees
from trimtab.api.source import Artifact
from trimtab.artifacts.fetch import fetch_artifact
from trimtab.artifacts.publish import LEFT_OUT, Form, Publisher
from trimtab.artifacts.serve import app
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Corrupt, Store
from trimtab.artifacts.tree import Entry, Tree
from trimtab.base.errors import Terminal, Transient
from trimtab.base.http import AiohttpTransport, Request
from trimtab.manifests.refs import Key

KEY = Key("flux-system", "apps")
KIND = "GitRepository"


class Noon:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Noon:
    return Noon()


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    transport = AiohttpTransport()
    yield transport
    await transport.close()


async def serving(application: web.Application) -> tuple[web.AppRunner, str]:
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


@pytest.fixture
async def source(tmp_path: Path, clock: Noon) -> AsyncIterator[tuple[Store, Publisher]]:
    store = Store(tmp_path / "source")
    runner, base = await serving(app(store))
    yield store, Publisher(store, base, clock)
    await runner.cleanup()


def snapshot(store: Store, revision: str, *, left_out: tuple[str, ...] = (), **files: bytes) -> Snapshot:
    tree = Tree.of([Entry(path, store.put(data), len(data)) for path, data in files.items()], left_out)
    store.save(tree)
    return Snapshot(store, tree, revision)


def archives(store: Store) -> list[str]:
    return sorted(path.name for path in store.root.glob("published/*/*/*/*.tar.gz") if not path.is_symlink())


async def status(transport: AiohttpTransport, url: str, method: str = "GET") -> int:
    response = await transport.send(Request(method, URL(url)))
    await response.read()
    return response.status


async def test_another_process_reads_what_was_published(source, transport, tmp_path: Path):
    store, publisher = source
    ours = snapshot(store, "main@sha1:1", left_out=("link",), a=b"1", b=b"2")
    artifact = await publisher.publish(KIND, KEY, ours)
    theirs = await fetch_artifact(transport, artifact, Store(tmp_path / "consumer"))
    assert theirs.revision == "main@sha1:1"
    assert theirs.read("a") == b"1"
    assert [entry.path for entry in theirs.tree.entries] == ["a", "b"]


async def test_another_process_knows_what_was_left_out_and_says_so(source, transport, tmp_path: Path):
    store, publisher = source
    artifact = await publisher.publish(KIND, KEY, snapshot(store, "r", left_out=("base", "new\nline"), a=b"1"))
    theirs = await fetch_artifact(transport, artifact, Store(tmp_path / "consumer"))
    assert theirs.tree.left_out == ("base", "new\\nline")
    with pytest.raises(Terminal, match="base is a link"):
        theirs.read("base/kustomization.yaml")
    many = tuple(f"links/{number:05}" for number in range(2000))
    artifact = await publisher.publish(KIND, KEY, snapshot(store, "r", left_out=many, a=b"1"))
    told = artifact.metadata[LEFT_OUT]
    assert len(told) < 5000
    theirs = await fetch_artifact(transport, artifact, Store(tmp_path / "consumer"))
    assert theirs.tree.left_out == many[: len(theirs.tree.left_out)]
    assert told.endswith(f"… and {2000 - len(theirs.tree.left_out)} more")


async def test_what_is_there_is_not_hidden_by_words_about_it(source, transport, tmp_path: Path):
    store, publisher = source
    artifact = await publisher.publish(KIND, KEY, snapshot(store, "r", a=b"1"))
    lying = msgspec.structs.replace(artifact, metadata={LEFT_OUT: "a\nother"})
    theirs = await fetch_artifact(transport, lying, Store(tmp_path / "consumer"))
    assert (theirs.read("a"), theirs.tree.left_out) == (b"1", ("other",))


async def test_the_artifact_has_the_form_of_flux(source, transport):
    store, publisher = source
    artifact = await publisher.publish(KIND, KEY, snapshot(store, "main@sha1:1", left_out=("link",), a=b"1"))
    directory, _, name = artifact.path.rpartition("/")
    assert directory == "gitrepository/flux-system/apps"
    assert name.endswith(".tar.gz")
    assert artifact.url.endswith(artifact.path)
    assert artifact.last_update_time == "2026-01-01T12:00:00Z"
    assert artifact.metadata == {LEFT_OUT: "link"}
    response = await transport.send(Request("GET", URL(artifact.url)))
    body = await response.read()
    assert artifact.digest == f"sha256:{hashlib.sha256(body).hexdigest()}"
    assert artifact.size == len(body) == int(response.headers["Content-Length"])
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as tar:
        assert tar.getnames() == ["a"]
    latest = store.root / "published" / directory / "latest.tar.gz"
    assert os.readlink(latest) == name  # noqa: PTH115


async def test_addresses_cannot_be_guessed_and_nothing_else_is_served(source, transport, tmp_path: Path):
    store, publisher = source
    artifact = await publisher.publish(KIND, KEY, snapshot(store, "main@sha1:1", a=b"1"))
    base = artifact.url.removesuffix(artifact.path)
    directory = artifact.path.rpartition("/")[0]
    record = artifact.path.removesuffix(".tar.gz") + ".json"
    for path in ("", directory, f"{directory}/", f"{directory}/latest.tar.gz", record, "../publish.key", "publish.key"):
        assert await status(transport, base + path) == 404
    for path in ("gitrepository/flux-system/../../publish.key", "gitrepository/%2e%2e/%2e%2e/publish.key"):
        assert await status(transport, base + path) == 404
    assert await status(transport, artifact.url, "HEAD") == 200
    assert await status(transport, artifact.url, "PUT") == 405
    assert (store.root / "publish.key").stat().st_mode & 0o777 == 0o600
    other = Store(tmp_path / "other")
    elsewhere = await Publisher(other, "http://x", Noon()).publish(KIND, KEY, snapshot(other, "main@sha1:1", a=b"1"))
    assert elsewhere.path != artifact.path
    assert elsewhere.digest == artifact.digest


async def test_publishing_the_same_again_changes_nothing(source, clock: Noon):
    store, publisher = source
    wanted = snapshot(store, "main@sha1:1", a=b"1")
    artifact = await publisher.publish(KIND, KEY, wanted)
    clock.moment += timedelta(hours=1)
    assert await publisher.publish(KIND, KEY, wanted) == artifact


async def test_a_commit_without_effect_moves_the_revision_and_keeps_the_file(source):
    store, publisher = source
    first = await publisher.publish(KIND, KEY, snapshot(store, "main@sha1:1", a=b"1"))
    second = await publisher.publish(KIND, KEY, snapshot(store, "main@sha1:2", a=b"1"))
    assert (second.path, second.digest, second.revision) == (first.path, first.digest, "main@sha1:2")
    assert len(archives(store)) == 1


async def test_superseded_archives_stay_a_minute_and_never_more_than_two(source, clock: Noon, transport):
    store, publisher = source
    first = await publisher.publish(KIND, KEY, snapshot(store, "main@sha1:1", a=b"1"))
    clock.moment += timedelta(days=1)
    second = await publisher.publish(KIND, KEY, snapshot(store, "main@sha1:2", a=b"2"))
    assert await status(transport, first.url) == 200
    clock.moment += timedelta(seconds=61)
    await publisher.collect()
    assert await status(transport, first.url) == 404
    assert await status(transport, second.url) == 200
    for number in range(5):
        clock.moment += timedelta(seconds=1)
        await publisher.publish(KIND, KEY, snapshot(store, f"main@sha1:{number}", a=b"more%d" % number))
    assert len(archives(store)) == 2


async def test_collection_keeps_what_others_have_published_while_it_is_on_offer(source):
    store, publisher = source
    taken = snapshot(store, "main@sha1:1", a=b"of others")
    store.save(taken.tree)

    age(store, 7200)
    await publisher.collect([taken.tree.digest])
    assert taken.read("a") == b"of others"
    age(store, 7200)
    await publisher.collect()
    with pytest.raises(Corrupt):
        taken.read("a")


async def test_collection_keeps_what_is_published_and_what_is_still_being_read(source, clock: Noon):
    store, publisher = source
    reading = snapshot(store, "main@sha1:1", a=b"being read")
    await publisher.publish(KIND, KEY, reading)
    current = snapshot(store, "main@sha1:2", a=b"current")
    await publisher.publish(KIND, KEY, current)
    clock.moment += timedelta(seconds=61)
    age(store, 7200)
    await publisher.collect()
    assert reading.read("a") == b"being read"
    assert current.read("a") == b"current"
    age(store, 7200)
    await publisher.collect()
    assert current.read("a") == b"current"
    with pytest.raises(Corrupt):
        reading.read("a")


async def test_a_file_that_gets_its_name_during_a_collection_does_not_end_it(source, clock: Noon, monkeypatch):
    store, publisher = source
    await publisher.publish(KIND, KEY, snapshot(store, "main@sha1:1", a=b"1"))
    await publisher.publish(KIND, KEY, snapshot(store, "main@sha1:2", a=b"2"))
    listed = Path.iterdir

    def beside_a_writer(directory: Path) -> Iterator[Path]:
        yield directory / ".new-0123456789abcdef"
        yield from listed(directory)

    monkeypatch.setattr(Path, "iterdir", beside_a_writer)
    clock.moment += timedelta(seconds=61)
    await publisher.collect()
    assert len(archives(store)) == 1


async def test_a_restarted_process_finds_its_snapshots(source, clock: Noon):
    store, publisher = source
    artifact = await publisher.publish(KIND, KEY, snapshot(store, "main@sha1:1", a=b"1"))
    restarted = Publisher(Store(store.root), "http://127.0.0.1:1", clock)
    found = restarted.restore(KIND, KEY, artifact)
    assert found is not None
    assert found.read("a") == b"1"
    assert restarted.restore(KIND, KEY, msgspec.structs.replace(artifact, digest="sha256:" + "0" * 64)) is None
    assert restarted.restore(KIND, Key("flux-system", "other"), artifact) is None
    assert (await restarted.publish(KIND, KEY, found)).path == artifact.path


async def test_forgetting_removes_the_archives(source, transport):
    store, publisher = source
    artifact = await publisher.publish(KIND, KEY, snapshot(store, "main@sha1:1", a=b"1"))
    await publisher.forget(KIND, KEY)
    assert await status(transport, artifact.url) == 404
    assert archives(store) == []
    await publisher.forget(KIND, KEY)


@pytest.mark.parametrize("key", [Key("..", "a"), Key("a", "../b"), Key("", "a"), Key("a", "b/c"), Key("A", "b")])
async def test_names_cannot_leave_the_directory(source, key: Key):
    store, publisher = source
    with pytest.raises(ValueError, match="path"):
        await publisher.publish(KIND, key, snapshot(store, "r", a=b"1"))


async def test_content_lost_from_the_store_is_not_published(source):
    store, publisher = source
    wanted = snapshot(store, "main@sha1:1", a=b"1")
    sha256 = wanted.tree.entries[0].sha256
    lose(store, sha256)
    with pytest.raises(Corrupt):
        await publisher.publish(KIND, KEY, wanted)
    assert archives(store) == []


async def test_a_wrong_digest_is_not_unpacked(source, transport, tmp_path: Path):
    store, publisher = source
    artifact = await publisher.publish(KIND, KEY, snapshot(store, "main@sha1:1", a=b"1"))
    lying = msgspec.structs.replace(artifact, digest="sha256:" + "0" * 64)
    consumer = Store(tmp_path / "consumer")
    with pytest.raises(Transient, match=r"not what the source's status promises") as caught:
        await fetch_artifact(transport, lying, consumer)
    # What lies at an address that somebody else chose is not told, not even by its digest.
    assert artifact.digest.partition(":")[2] not in str(caught.value)
    assert caught.value.reason == "ArtifactFailed"
    assert not blobs(consumer)
    assert not trees(consumer)


@pytest.mark.parametrize("digest", ["", "md5:" + "0" * 32, "sha256:xyz", "sha256:../../x", "blake3:" + "0" * 64])
async def test_digests_that_cannot_be_checked_are_refused(transport, tmp_path: Path, digest: str):
    artifact = Artifact(path="p", url="http://127.0.0.1:1/x", revision="r", digest=digest, last_update_time="")
    with pytest.raises(Terminal, match="cannot be checked"):
        await fetch_artifact(transport, artifact, Store(tmp_path))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://h/x", "http:///x", "http://user@h/x"])
async def test_only_plain_http_addresses_are_followed(transport, tmp_path: Path, url: str):
    artifact = Artifact(path="p", url=url, revision="r", digest="sha256:" + "0" * 64, last_update_time="")
    with pytest.raises(Terminal, match="address"):
        await fetch_artifact(transport, artifact, Store(tmp_path))


async def test_redirects_and_refusals_are_reported_and_not_followed(transport, tmp_path: Path):
    followed = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/target":
            followed.set()
        if request.path == "/moved":
            raise web.HTTPFound("/target")
        raise web.HTTPNotFound

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner, base = await serving(application)
    for path, code in (("/moved", "302"), ("/gone", "404")):
        artifact = Artifact(path="p", url=base + path, revision="r", digest="sha256:" + "0" * 64, last_update_time="")
        with pytest.raises(Transient, match=code):
            await fetch_artifact(transport, artifact, Store(tmp_path))
    assert not followed.is_set()
    await runner.cleanup()


async def test_an_unreachable_source_is_tried_again(transport, tmp_path: Path):
    artifact = Artifact(
        path="p", url="http://127.0.0.1:1/x", revision="r", digest="sha256:" + "0" * 64, last_update_time=""
    )
    with pytest.raises(Transient) as caught:
        await fetch_artifact(transport, artifact, Store(tmp_path))
    assert caught.value.reason == "ArtifactFailed"


async def test_a_single_file_is_published_as_it_is_under_a_name_that_says_what_it_is(source, clock: Noon, transport):
    store, publisher = source
    index = snapshot(store, "sha256:1", **{"index.yaml": b"apiVersion: v1\n"})
    form = Form(".yaml", "index.yaml", "index")
    content = index.tree.entries[0].sha256
    artifact = await publisher.publish("HelmRepository", KEY, index, archive=content, form=form)
    assert re.fullmatch(r"helmrepository/flux-system/apps/index-[0-9a-f]{64}\.yaml", artifact.path)
    assert artifact.digest == f"sha256:{content}"
    response = await transport.send(Request("GET", URL(artifact.url)))
    assert await response.read() == b"apiVersion: v1\n"
    assert response.headers["Content-Type"] == "application/yaml"
    assert await publisher.publish("HelmRepository", KEY, index, archive=content, form=form) == artifact
    restarted = Publisher(Store(store.root), "http://127.0.0.1:1", clock)
    restored = restarted.restore("HelmRepository", KEY, artifact)
    assert restored is not None
    assert restored.read("index.yaml") == b"apiVersion: v1\n"


async def test_a_file_of_another_name_takes_the_place_of_the_one_before_and_of_its_link(source, clock: Noon, transport):
    store, publisher = source
    made = []
    for name, version in (("app", "1.0.0"), ("app", "1.1.0+7"), ("other-app", "2.0.0")):
        chart = snapshot(store, version, **{f"{name}/Chart.yaml": version.encode()})
        form = Form(".tgz", f"{name}-latest.tgz", f"{name}-{version}")
        content = store.put(b"packed " + version.encode())
        made.append(await publisher.publish("HelmChart", KEY, chart, archive=content, form=form))
        clock.moment += timedelta(seconds=61)
    directory = store.root / "published/helmchart/flux-system/apps"
    assert [await status(transport, one.url) for one in made] == [404, 200, 200]
    assert [path.name for path in directory.iterdir() if path.is_symlink()] == ["other-app-latest.tgz"]
    assert "app-1.1.0+7-" in made[1].path
    response = await transport.send(Request("GET", URL(made[1].url)))
    assert await response.read() == b"packed 1.1.0+7"
    await publisher.collect()
    assert [await status(transport, one.url) for one in made] == [404, 404, 200]
    await publisher.forget("HelmChart", KEY)
    assert not directory.exists()


@pytest.mark.parametrize("stem", ["../x", "a/b", ".x", "a b", "a\n", "-x"])
async def test_a_name_that_leads_elsewhere_is_never_written(source, stem: str):
    store, publisher = source
    with pytest.raises(ValueError, match="cannot be the name"):
        await publisher.publish("HelmChart", KEY, snapshot(store, "1", a=b"1"), form=Form(".tgz", "latest.tgz", stem))
