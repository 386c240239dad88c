"""What is remembered from look to look: when a head was first seen, which keys were trusted, what must follow what."""

import base64
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from tests.crypto.signing import SshPair, Work, needs_ssh

from trimtab.api.meta import ObjectMeta
from trimtab.api.source import GitRepository, GitRepositorySpec, GitRepositoryStatus
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Tree
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Terminal, Transient
from trimtab.base.http import AiohttpTransport
from trimtab.cluster.gitserver import GitServer
from trimtab.controllers import verification
from trimtab.controllers.producing import Withheld
from trimtab.controllers.verification import Verification, demanded
from trimtab.kube.client import Client
from trimtab.manifests.refs import Gvk
from trimtab.sources.git import ANONYMOUS, GitSource, GitSpec

JANUARY, MARCH = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
UNTIL_FEBRUARY = 'valid-before="20260201Z"'


class Calendar(SystemClock):
    """The machine's clock, except for what day it is."""

    day = JANUARY

    def now(self) -> datetime:
        return self.day


@pytest.fixture(scope="module")
def alice(tmp_path_factory) -> SshPair:
    return SshPair.create(tmp_path_factory.mktemp("keys") / "alice")


class Bench:
    """A repository on a server, keys in a cluster, and a status that goes from look to look."""

    def __init__(
        self, client: Client, namespace: str, server: GitServer, source: GitSource, bare: Path, work: Work
    ) -> None:
        self.client, self.server, self.bare, self.work = client, server, bare, work
        self.calendar = Calendar()
        self.source = source
        self.verification = Verification(client, source, self.calendar)
        self.namespace = namespace
        self.status = GitRepositoryStatus()

    async def keys(self, *lines: bytes) -> None:
        resource = await self.client.discovery.find(Gvk("", "v1", "Secret"))
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "keys"},
            "data": {"allowed_signers": base64.b64encode(b"".join(lines)).decode()},
        }
        await self.client.apply(resource, "keys", self.namespace, body, field_manager="test")

    async def look(self, mode: str = "HEAD", ref=None, **annotations: str) -> str:
        """The commit that may be published. Raises Withheld; either way the status remembers."""
        self.work.git("push", "-q", "--force", "--all", str(self.bare))
        self.work.git("push", "-q", "--force", "--tags", str(self.bare))
        item = repository(self.namespace, self.server.url("apps"), mode, ref or {"branch": "main"}, annotations)
        spec = GitSpec.from_api(item.spec)
        head = await self.source.look(spec)
        try:
            head, trust = await self.verification.check(item, self.status, spec, ANONYMOUS, head)
        except Withheld as refusal:
            self.status = msgspec.structs.replace(self.status, **refusal.remember)
            raise
        self.status = msgspec.structs.replace(self.status, **verification.remembered(item, trust))
        return head.commit


def repository(namespace: str, url: str, mode: str, ref: dict[str, str], annotations: dict[str, str]) -> GitRepository:
    spec = {"url": url, "interval": "1m", "ref": ref, "verify": {"mode": mode, "secretRef": {"name": "keys"}}}
    metadata = ObjectMeta(name="repo", namespace=namespace, annotations=annotations)
    return GitRepository(metadata=metadata, spec=msgspec.convert(spec, GitRepositorySpec))


@pytest.fixture
async def bench(client: Client, home: str, tmp_path: Path) -> AsyncIterator[Bench]:
    transport = AiohttpTransport()
    async with GitServer(tmp_path / "served") as server:
        bare = await server.create("apps")
        source = GitSource(tmp_path / "cache", Store(tmp_path / "store"), transport, SystemClock())
        yield Bench(client, home, server, source, bare, Work.create(tmp_path / "work"))
    await transport.close()


@needs_ssh
async def test_a_commit_stays_good_after_its_key_expired_if_it_was_seen_before(bench, alice):
    await bench.keys(alice.allowed(options=UNTIL_FEBRUARY))
    commit = bench.work.commit(alice)
    assert await bench.look() == commit
    bench.calendar.day = MARCH
    await bench.keys(alice.allowed(options=UNTIL_FEBRUARY), b"# judge it again\n")
    assert await bench.look() == commit
    assert bench.status.trust.seen == "2026-01-01T00:00:00Z"
    late = bench.work.commit(alice, date="2026-01-01T00:00:00Z")
    with pytest.raises(Withheld, match="was valid until 2026-02-01"):
        await bench.look()
    assert (bench.status.trust.held, bench.status.trust.held_seen) == (late, "2026-03-01T00:00:00Z")


@needs_ssh
async def test_a_commit_that_was_held_is_judged_by_when_it_was_first_seen(bench, alice, tmp_path):
    other = SshPair.create(tmp_path / "other")
    await bench.keys(other.allowed())
    commit = bench.work.commit(alice)
    with pytest.raises(Withheld, match="not among the trusted"):
        await bench.look()
    bench.calendar.day = MARCH
    await bench.keys(alice.allowed(options=UNTIL_FEBRUARY))
    assert await bench.look() == commit
    bench.status = GitRepositoryStatus()
    with pytest.raises(Withheld, match="was valid until"):
        await bench.look()


@needs_ssh
async def test_what_is_verified_is_not_fetched_or_judged_again_until_something_changes(bench, alice):
    await bench.keys(alice.allowed())
    commit = bench.work.commit(alice)
    await bench.look()
    [past] = bench.work.path.parent.glob("cache/mirrors/*-history.git")
    shutil.rmtree(past)
    bench.server.requests.clear()
    assert await bench.look() == commit
    fetches = [request for request in bench.server.requests if "upload-pack" in request and request.startswith("POST")]
    assert len(fetches) == 1, "the look itself"


@needs_ssh
async def test_the_commit_in_force_is_judged_again_when_the_keys_change(bench, alice, tmp_path):
    await bench.keys(alice.allowed())
    commit = bench.work.commit(alice)
    await bench.look()
    await bench.keys(SshPair.create(tmp_path / "other").allowed())
    with pytest.raises(Withheld, match=f"'{commit}' failed: the key"):
        await bench.look()
    await bench.keys(alice.allowed())
    assert await bench.look() == commit


@needs_ssh
async def test_what_must_be_signed_is_judged_again_when_it_changes(bench, alice):
    await bench.keys(alice.allowed())
    bench.work.address = "ceo@example.org"
    bench.work.commit(alice)
    await bench.look()
    with pytest.raises(Withheld, match="committed it"):
        await bench.look(**{"trimtab.dev/signer-matches-committer": "true"})


@needs_ssh
async def test_a_signed_tag_of_a_higher_version_may_come_from_a_branch_of_its_own(bench, alice):
    await bench.keys(alice.allowed())
    base = bench.work.commit(alice)
    bench.work.commit(alice)
    bench.work.tag("v1.0.0", alice)
    await bench.look("TagAndHEAD", {"semver": "*"})
    bench.work.git("checkout", "-q", "-b", "release", base)
    higher = bench.work.commit(alice)
    bench.work.tag("v1.1.0", alice)
    assert await bench.look("TagAndHEAD", {"semver": "*"}) == higher
    bench.work.git("push", "-q", str(bench.bare), ":refs/tags/v1.1.0")
    bench.work.git("tag", "-d", "v1.1.0")
    with pytest.raises(Withheld, match="does not follow"):
        await bench.look("TagAndHEAD", {"semver": "*"})


@needs_ssh
async def test_a_version_that_nobody_signed_does_not_make_an_old_commit_new(bench, alice):
    await bench.keys(alice.allowed())
    old = bench.work.commit(alice)
    bench.work.commit(alice)
    bench.work.tag("v1.0.0", alice)
    await bench.look("HEAD", {"semver": "*"})
    bench.work.tag("v9.9.9", None, old)
    with pytest.raises(Withheld, match="does not follow"):
        await bench.look("HEAD", {"semver": "*"})


@needs_ssh
async def test_files_of_another_commit_than_the_one_that_was_verified_are_not_published(bench, alice, tmp_path):
    await bench.keys(alice.allowed())
    bench.work.commit(alice)
    await bench.look()
    spec = GitSpec.from_api(repository("x", bench.server.url("apps"), "HEAD", {"branch": "main"}, {}).spec)
    other = Snapshot(Store(tmp_path / "other"), Tree.of([], []), f"main@sha1:{'1' * 40}")
    with pytest.raises(Transient, match="went on"):
        verification.words(bench.status.trust, other, spec)


@pytest.mark.parametrize(
    ("mode", "annotations", "words"),
    [
        ("Tag", {"trimtab.dev/verify": "strict"}, "use TagAndHEAD"),
        ("Tag", {"trimtab.dev/verify": "first-parent"}, "use TagAndHEAD"),
        ("Tip", {}, "'Tip' is not known"),
        ("", {"trimtab.dev/verify": "strict"}, ""),
        ("head", {}, ""),
    ],
)
def test_a_demand_that_does_not_fit_together_is_refused(mode, annotations, words):
    item = repository("x", "https://h/x", mode, {"branch": "main"}, annotations)
    if not words:
        assert str(demanded(item)).startswith("HEAD")
        return
    with pytest.raises(Terminal, match=words):
        demanded(item)


@pytest.mark.parametrize("name", ["verify", "signer-matches-committer"])
def test_an_annotation_that_demands_signatures_without_keys_is_refused(name):
    value = "strict" if name == "verify" else "true"
    item = repository("x", "https://h/x", "HEAD", {"branch": "main"}, {f"trimtab.dev/{name}": value})
    item = msgspec.structs.replace(item, spec=msgspec.structs.replace(item.spec, verify=None))
    with pytest.raises(Terminal, match=f"trimtab.dev/{name} needs spec.verify"):
        demanded(item)
