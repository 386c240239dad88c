"""A source in git, end to end: real git servers over http, https and ssh; commits that move, lie, and break off."""

import asyncio
import contextlib
import hashlib
import os
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.artifacts.contents import blobs, lose
from tests.remotes.test_address import REFUSED_NAMES
from tests.remotes.world import Authority, Repository, Sshd
from trimtab.api.meta import LocalRef
from trimtab.api.source import GitRef, GitRepositorySpec
from trimtab.artifacts.store import Corrupt, Store
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Terminal, Transient
from trimtab.base.http import AiohttpTransport
from trimtab.cluster.gitserver import GitServer
from trimtab.remotes.git import git as hardened_git
from trimtab.remotes.git import mirror as mirrors
from trimtab.sources import checkout
from trimtab.sources.git import ANONYMOUS, AuthenticationFailed, Credentials, GitSource, GitSpec, Head
from trimtab.sources.targets import target_of


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    transport = AiohttpTransport()
    yield transport
    await transport.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitServer]:
    async with GitServer(tmp_path / "repositories") as server:
        yield server


@pytest.fixture
def repository(server: GitServer) -> Repository:
    return Repository.create(server.root / "apps.git")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def source(tmp_path: Path, store: Store, transport: AiohttpTransport) -> GitSource:
    return GitSource(tmp_path / "cache", store, transport, SystemClock())


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if not Sshd.available():
        pytest.skip("no sshd on this machine: apt-get install openssh-server")
    sshd = Sshd.start(tmp_path_factory.mktemp("sshd"))
    yield sshd
    sshd.stop()


def spec(
    url: str, *, timeout: str = "60s", ignore: str | None = None, sparse: tuple[str, ...] = (), **ref: str
) -> GitSpec:
    return GitSpec.from_api(
        GitRepositorySpec(
            url=url,
            interval="1m",
            timeout=timeout,
            ignore=ignore,
            sparse_checkout=sparse,
            ref=GitRef(**(ref or {"branch": "main"})),
        )
    )


def paths(snapshot) -> list[str]:
    return [entry.path for entry in snapshot.tree.entries]


async def got(source: GitSource, wanted: GitSpec, credentials: Credentials = ANONYMOUS, previous=None):
    return await source.fetch(wanted, credentials, await source.look(wanted, credentials), previous)


# What is followed


async def test_a_branch(server, repository, source):
    commit = repository.commit({"a.yaml": b"1", "d/b.yaml": b"2"})
    snapshot = await got(source, spec(server.url("apps")))
    assert snapshot.revision == f"main@sha1:{commit}"
    assert {path: snapshot.read(path) for path in paths(snapshot)} == {"a.yaml": b"1", "d/b.yaml": b"2"}


async def test_every_kind_of_reference_and_its_revision(server, repository, source):
    first = repository.commit({"a": b"1"})
    repository.git("tag", "-a", "-m", "x", "v1.0", first)
    second = repository.commit({"a": b"2"})
    repository.git("update-ref", "refs/pull/7/head", first)
    url = server.url("apps")
    for ref, revision in (
        ({"branch": "main"}, f"main@sha1:{second}"),
        ({"tag": "v1.0"}, f"v1.0@sha1:{first}"),
        ({"tag": "v1.0", "branch": "main"}, f"v1.0@sha1:{first}"),
        ({"name": "refs/heads/main", "tag": "v1.0"}, f"refs/heads/main@sha1:{second}"),
        ({"name": "refs/pull/7/head"}, f"refs/pull/7/head@sha1:{first}"),
        ({"name": "refs/tags/v1.0"}, f"refs/tags/v1.0@sha1:{first}"),
        ({"commit": first, "name": "refs/heads/main"}, f"sha1:{first}"),
        ({"commit": first, "branch": "main"}, f"main@sha1:{first}"),
    ):
        snapshot = await got(source, spec(url, **ref))
        assert snapshot.revision == revision
        assert snapshot.read("a") == (b"2" if second in revision else b"1")


async def test_a_range_of_versions_takes_the_highest_tag(server, repository, source):
    commit = repository.commit({"a": b"1"})
    for tag in ("v1.2.0", "v1.10.0", "v2.0.0", "junk"):
        repository.git("tag", "-a", "-m", "x", tag, commit)
    assert (await got(source, spec(server.url("apps"), semver=">=1.0.0 <2.0.0"))).revision == f"v1.10.0@sha1:{commit}"
    with pytest.raises(Transient, match=r"'>=3\.0\.0'.*v2\.0\.0"):
        await source.look(spec(server.url("apps"), semver=">=3.0.0"))


async def test_the_default_branch_is_master_as_in_flux():
    assert GitSpec.from_api(GitRepositorySpec(url="https://h/x", interval="1m")).target == target_of(
        GitRef(branch="master")
    )


class OldServer(GitServer):
    """Speaks only the first protocol, and so hands out nothing by id but the tips."""

    async def _git(self, *arguments, stdin=b"", environment=None):
        return await super()._git(*arguments, stdin=stdin, environment={**(environment or {}), "GIT_PROTOCOL": ""})


async def test_servers_that_know_only_the_old_protocol(tmp_path, source):
    async with OldServer(tmp_path / "r") as server:
        repository = Repository.create(server.root / "apps.git")
        first, second = repository.commit({"a": b"1"}), repository.commit({"a": b"2"})
        third = repository.commit({"a": b"3"})
        url = server.url("apps")
        assert (await got(source, spec(url))).revision == f"main@sha1:{third}"
        for commit, content in ((second, b"2"), (first, b"1")):
            snapshot = await got(source, spec(url, branch="main", commit=commit))
            assert snapshot.revision == f"main@sha1:{commit}"
            assert snapshot.read("a") == content
        with pytest.raises(Transient, match="name the branch"):
            await got(source, spec(url, commit="ab" * 20))
        with pytest.raises(Transient):
            await got(source, spec(url, branch="main", commit="ab" * 20))


async def test_a_commit_needs_no_look(server, repository, source):
    commit = repository.commit({"a": b"1"})
    assert await source.look(spec(server.url("apps"), commit=commit)) == Head(f"sha1:{commit}", commit, "")
    assert not server.requests


async def test_a_missing_branch_names_what_there_is(server, repository, source):
    repository.commit({"a": b"1"})
    repository.commit({"a": b"1"}, branch="develop")
    with pytest.raises(Transient, match="branch 'mian' not found; the remote has main, develop") as caught:
        await source.look(spec(server.url("apps"), branch="mian"))
    assert caught.value.reason == "GitOperationFailed"


async def test_a_branch_whose_name_begins_another_one(server, repository, source):
    repository.commit({"a": b"1"}, branch="main-old")
    with pytest.raises(Transient, match="not found; the remote has main-old"):
        await source.look(spec(server.url("apps")))


async def test_a_branch_and_a_tag_of_the_same_name_are_two_things(server, repository, source):
    first, second = repository.commit({"a": b"1"}), repository.commit({"a": b"2"})
    repository.git("update-ref", "refs/tags/main", first)
    assert (await got(source, spec(server.url("apps"), branch="main"))).revision.endswith(second)
    assert (await got(source, spec(server.url("apps"), tag="main"))).revision.endswith(first)


async def test_a_branch_named_like_a_commit_is_a_branch(server, repository, source):
    name = "ab" * 20
    commit = repository.commit({"a": b"1"}, branch=name)
    assert (await got(source, spec(server.url("apps"), branch=name))).revision == f"{name}@sha1:{commit}"


async def test_a_tag_on_something_that_is_no_commit_is_an_error(server, repository, source):
    repository.commit({"a": b"1"})
    repository.git("update-ref", "refs/tags/odd", repository.blob(b"x"))
    with pytest.raises(Transient) as caught:
        await got(source, spec(server.url("apps"), tag="odd"))
    assert caught.value.reason == "GitOperationFailed"


# New commits


async def test_a_new_commit_reads_only_what_changed(server, repository, source, store):
    repository.commit({f"apps/{number}.yaml": b"%d" % number for number in range(50)})
    wanted = spec(server.url("apps"))
    first = await got(source, wanted)
    written = blobs(store)
    commit = repository.commit({"apps/7.yaml": b"changed"})
    second = await got(source, wanted, previous=first.tree)
    assert second.revision == f"main@sha1:{commit}"
    assert len(blobs(store) - written) == 1
    assert second.read("apps/7.yaml") == b"changed"
    assert second.tree.closure(["apps/8.yaml"]) == first.tree.closure(["apps/8.yaml"])


async def test_contents_the_store_lost_are_read_again(server, repository, source, store):
    repository.commit({"a": b"1", "b": b"2"})
    wanted = spec(server.url("apps"))
    first = await got(source, wanted)
    sha256 = first.tree.entries[0].sha256
    lose(store, sha256)
    with pytest.raises(Corrupt):
        first.read("a")
    assert (await got(source, wanted, previous=first.tree)).read("a") == b"1"


async def test_a_commit_that_is_here_already_is_not_fetched_again(server, repository, source):
    repository.commit({"a.yaml": b"1", "b.md": b"2"})
    wanted = spec(server.url("apps"))
    head = await source.look(wanted)
    await source.fetch(wanted, ANONYMOUS, head)
    server.requests.clear()
    narrower = spec(server.url("apps"), ignore="*.md")
    assert paths(await source.fetch(narrower, ANONYMOUS, head)) == ["a.yaml"]
    assert not server.requests


async def test_history_that_was_rewritten_is_followed(server, repository, source):
    repository.commit({"a": b"1", "gone": b"x"})
    wanted = spec(server.url("apps"))
    await got(source, wanted)
    repository.git("update-ref", "-d", "refs/heads/main")
    commit = repository.commit({"a": b"2"})
    snapshot = await got(source, wanted)
    assert snapshot.revision == f"main@sha1:{commit}"
    assert paths(snapshot) == ["a"]


async def test_the_revision_reported_is_the_one_that_came(server, repository, source):
    """The branch was rewritten after the look, and the commit seen then is gone from the server."""
    repository.commit({"a": b"1"})
    wanted = spec(server.url("apps"))
    head = await source.look(wanted)
    repository.git("update-ref", "-d", "refs/heads/main")
    commit = repository.commit({"a": b"2"})
    repository.git("-c", "gc.pruneExpire=now", "gc", "-q", "--prune=now")
    snapshot = await source.fetch(wanted, ANONYMOUS, head)
    assert snapshot.revision == f"main@sha1:{commit}"
    assert snapshot.read("a") == b"2"


async def test_many_commits_do_not_pile_up_in_the_mirror(server, repository, source, tmp_path, monkeypatch):
    monkeypatch.setattr(mirrors, "_MAX_PACKS", 3)
    wanted = spec(server.url("apps"))
    previous = None
    for number in range(8):
        repository.commit({"a": b"%d" % number, f"f{number}": b"x"})
        snapshot = await got(source, wanted, previous=previous and previous.tree)
        previous = snapshot
    assert len(paths(snapshot)) == 9
    assert snapshot.read("a") == b"7"
    assert len(list(tmp_path.glob("cache/mirrors/*.git/objects/pack/*.pack"))) <= 5


async def test_two_sources_of_one_repository_at_once(server, repository, source):
    one, two = repository.commit({"a": b"1"}), repository.commit({"b": b"2"}, branch="other")
    url = server.url("apps")
    found = await asyncio.gather(*(got(source, spec(url, branch=branch)) for branch in ("main", "other", "main")))
    assert [snapshot.revision for snapshot in found] == [f"main@sha1:{one}", f"other@sha1:{two}", f"main@sha1:{one}"]


async def test_branches_share_one_mirror_and_what_fails_for_one_does_not_disturb_the_others(
    server, repository, source, tmp_path
):
    url = server.url("apps")
    for number in range(3):
        one = repository.commit({"a": b"%d" % number})
        two = repository.commit({"b": b"%d" % number}, branch="other")
        wanted = (spec(url), spec(url, branch="other"), spec(url, commit="1" * 40))
        first, second, third = await asyncio.gather(*(got(source, each) for each in wanted), return_exceptions=True)
        assert (first.revision, first.read("a")) == (f"main@sha1:{one}", b"%d" % number)
        assert (second.revision, second.read("b")) == (f"other@sha1:{two}", b"%d" % number)
        assert isinstance(third, Transient)
    assert len(list(tmp_path.glob("cache/mirrors/*.git"))) == 1


# What is in a commit


async def test_links_submodules_and_case_collisions_are_left_out_and_listed(server, repository, source):
    blob = repository.blob(b"x")
    commit = repository.commit({"x": b"1"})
    tree = repository.tree(
        f"100644 blob {blob}\ta.yaml",
        f"100644 blob {blob}\tCase",
        f"100644 blob {blob}\tcase",
        f"120000 blob {repository.blob(b'../../etc/passwd')}\tlink",
        f"100755 blob {blob}\trun.sh",
        f"160000 commit {commit}\tsub",
    )
    repository.commit_tree(tree)
    snapshot = await got(source, spec(server.url("apps")))
    assert paths(snapshot) == ["a.yaml", "run.sh"]
    assert snapshot.tree.left_out == ("Case", "case", "link", "sub")
    assert snapshot.tree.get("run.sh").executable
    with pytest.raises(Terminal, match="link is a link"):
        snapshot.read("link")


@pytest.mark.parametrize("name", ["..", ".git", ".GIT", "."])
async def test_hostile_names_make_the_commit_unusable_and_keep_the_last_one(server, repository, source, tmp_path, name):
    repository.commit({"a": b"1"})
    wanted = spec(server.url("apps"))
    good = await got(source, wanted)
    repository.commit_tree(repository.tree(f"100644 blob {repository.blob(b'x')}\t{name}"))
    for _ in range(2):
        with pytest.raises(Transient) as caught:
            await got(source, wanted)
        assert caught.value.reason == "GitOperationFailed"
    assert good.read("a") == b"1"
    repository.commit({"a": b"2"}, replace=True)
    assert (await got(source, wanted)).read("a") == b"2"


async def test_attributes_change_nothing(server, repository, source):
    text = b"x $Format:%H$ $Id$\r\n\xff\xfe"
    repository.commit(
        {
            ".gitattributes": b"* export-subst ident eol=crlf\nsecret.yaml export-ignore\n*.yaml filter=evil",
            "secret.yaml": text,
        }
    )
    snapshot = await got(source, spec(server.url("apps")))
    assert snapshot.read("secret.yaml") == text
    assert paths(snapshot) == ["secret.yaml"]


async def test_replaced_objects_are_not_believed(server, repository, source):
    repository.commit({"a": b"honest"})
    repository.git("replace", repository.blob(b"honest"), repository.blob(b"forged"))
    assert (await got(source, spec(server.url("apps")))).read("a") == b"honest"


async def test_ignore_rules_and_sparse_checkout(server, repository, source):
    repository.commit(
        dict.fromkeys(("a/x.yaml", "a/logo.png", "a/.github/ci.yaml", "b/y.yaml", "b/keep.md", "root.yaml"), b"x")
        | {".sourceignore": b"keep.md\n"}
    )
    url = server.url("apps")
    assert paths(await got(source, spec(url))) == [".sourceignore", "a/x.yaml", "b/y.yaml", "root.yaml"]
    assert paths(await got(source, spec(url, sparse=("./a", "b/")))) == ["a/x.yaml", "b/y.yaml"]
    assert paths(await got(source, spec(url, ignore="/*\n!/a"))) == ["a/.github/ci.yaml", "a/logo.png", "a/x.yaml"]


async def test_limits_of_size_and_number(server, repository, source, monkeypatch):
    repository.commit({"a": b"x" * 5000, "b": b"y" * 6000})
    monkeypatch.setattr(checkout, "MAX_BYTES", 10_000)
    with pytest.raises(Transient, match="11000 bytes of files; the limit is 10000"):
        await got(source, spec(server.url("apps")))
    assert paths(await got(source, spec(server.url("apps"), ignore="b"))) == ["a"]
    monkeypatch.setattr(checkout, "MAX_FILES", 1)
    with pytest.raises(Transient, match="2 files; the limit is 1"):
        await got(source, spec(server.url("apps")))


async def test_a_pack_that_is_too_large_is_cut_off(server, repository, source, monkeypatch):
    repository.commit({"a": os.urandom(3 << 20)})
    monkeypatch.setattr(hardened_git, "_PACK_BYTES", 1 << 20)
    with pytest.raises(Transient) as caught:
        await got(source, spec(server.url("apps")))
    assert caught.value.reason == "GitOperationFailed"


@pytest.mark.parametrize("path", ["d/" * 64 + "f", "/".join("n" * 250 for _ in range(17))], ids=["depth", "length"])
async def test_paths_and_depths_beyond_the_limits_make_the_commit_unusable(server, repository, source, path):
    repository.commit({"a": b"1"})
    good = await got(source, spec(server.url("apps")))
    repository.commit({path: b"x"})
    with pytest.raises(Transient, match="longer than 4096 bytes or deeper than 64 directories"):
        await got(source, spec(server.url("apps")))
    assert good.read("a") == b"1"
    repository.commit({"d/" * 63 + "f": b"2", "a": b"3"}, replace=True)
    assert (await got(source, spec(server.url("apps")))).read("a") == b"3"


async def test_a_hundred_thousand_references_cost_one_look(server, repository, source):
    commit = repository.commit({"a": b"1"})
    lines = "".join(f"{commit} refs/tags/v0.0.{number}\n" for number in range(100_000))
    (repository.path / "packed-refs").write_text("# pack-refs with: peeled fully-peeled sorted \n" + lines)
    assert (await source.look(spec(server.url("apps")))).commit == commit
    with pytest.raises(Transient, match="branch 'gone' not found"):
        await source.look(spec(server.url("apps"), branch="gone"))
    head = await source.look(spec(server.url("apps"), semver="0.x"))
    assert head.revision == f"v0.0.99999@sha1:{commit}"


def delta_bomb(copies: int) -> bytes:
    """A pack of two objects: 16 MiB of zeros, and a delta that copies them so many times."""
    base = b"\0" * (16 << 20)

    def varint(number: int) -> bytes:
        out = bytearray()
        while number >= 0x80:
            out.append(number & 0x7F | 0x80)
            number >>= 7
        return bytes([*out, number])

    def head(kind: int, size: int) -> bytes:
        first, size = kind << 4 | size & 0xF, size >> 4
        return bytes([first]) if not size else bytes([first | 0x80]) + varint(size)

    step = 0xFFFFFF
    # copy from offset 0: only the three bytes of the size are there
    delta = varint(len(base)) + varint(step * copies) + b"\xf0\xff\xff\xff" * copies
    first = head(3, len(base)) + zlib.compress(base, 9)
    offset, back = len(first), b""
    back = bytes([offset & 0x7F])
    offset >>= 7
    while offset:
        offset -= 1
        back = bytes([offset & 0x7F | 0x80]) + back
        offset >>= 7
    body = b"PACK" + (2).to_bytes(4, "big") * 2 + first + head(6, len(delta)) + back + zlib.compress(delta, 9)
    return body + hashlib.sha1(body, usedforsecurity=False).digest()


async def test_a_delta_that_unpacks_to_gigabytes_is_stopped(server, repository, tmp_path):
    """A pack of some kilobytes, taken in by git with the limits that every fetch has."""
    pack = delta_bomb(200)
    assert len(pack) < 60_000
    async with hardened_git.hardened(tmp_path / "private") as git:
        with pytest.raises(hardened_git.GitFailed):
            await git.run("index-pack", ["--stdin", "--strict"], repository=repository.path, stdin=pack)
        small = delta_bomb(2)
        await git.run("index-pack", ["--stdin"], repository=repository.path, stdin=small)


async def test_contents_larger_than_a_batch_and_equal_contents(server, repository, source, monkeypatch):
    monkeypatch.setattr(mirrors, "_BATCH_BYTES", 1000)
    files = {f"f{number}": b"%d" % number * 300 for number in range(20)} | {"same": b"0" * 300, "empty": b""}
    repository.commit(files | {"big": b"z" * 50_000})
    snapshot = await got(source, spec(server.url("apps")))
    assert {path: snapshot.read(path) for path in paths(snapshot)} == files | {"big": b"z" * 50_000}


# Things that break


async def test_an_interrupted_fetch_leaves_nothing_empty_behind(server, repository, source, store, transport, tmp_path):
    repository.commit({f"d{number}/{number}": os.urandom(2000) for number in range(500)})
    wanted = spec(server.url("apps"))
    head = await source.look(wanted)
    for moment in (0.01, 0.03, 0.06, 0.1):
        task = asyncio.ensure_future(source.fetch(wanted, ANONYMOUS, head))
        await asyncio.sleep(moment)
        task.cancel()
        try:
            finished = await task
        except asyncio.CancelledError:
            continue
        assert len(paths(finished)) == 500
    another = GitSource(tmp_path / "cache", store, transport, SystemClock())
    assert len(paths(await got(another, wanted))) == 500
    assert not list(tmp_path.glob("cache/private/*"))


KILLED = """
import asyncio, sys
from pathlib import Path
from trimtab.api.source import GitRef, GitRepositorySpec
from trimtab.artifacts.store import Store
from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport
from trimtab.sources.git import ANONYMOUS, GitSource, GitSpec

async def main(root, url):
    source = GitSource(root / "cache", Store(root / "store"), AiohttpTransport(), SystemClock())
    spec = GitSpec.from_api(GitRepositorySpec(url=url, interval="1m", ref=GitRef(branch="main")))
    print("ready", flush=True)
    while True:
        await source.fetch(spec, ANONYMOUS, await source.look(spec))

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


async def test_sigkill_at_any_time_and_start_again(server, repository, source, tmp_path):
    wanted = spec(server.url("apps"))
    for number in range(6):
        commit = repository.commit({f"d{n}/{n}": os.urandom(1000) for n in range(100)} | {"n": b"%d" % number})
        argv = [sys.executable, "-c", KILLED, str(tmp_path), server.url("apps")]
        victim = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        await victim.stdout.readline()
        await asyncio.sleep(0.02 * number)
        victim.kill()
        await victim.wait()
        if number % 2:
            snapshot = await got(source, wanted)
            assert snapshot.revision == f"main@sha1:{commit}"
            assert len(paths(snapshot)) == 101
            assert snapshot.read("n") == b"%d" % number


async def test_locks_of_a_killed_git_do_not_stop_the_next_fetch(server, repository, source, tmp_path):
    repository.commit({"a": b"1"})
    wanted = spec(server.url("apps"))
    await got(source, wanted)
    [mirror] = tmp_path.glob("cache/mirrors/*.git")
    [kept] = mirror.glob("refs/kept/*")
    for lock in (mirror / "shallow.lock", mirror / "packed-refs.lock", mirror / "config.lock", Path(f"{kept}.lock")):
        lock.write_bytes(b"")
    (mirror / "objects/pack/tmp_pack_abc").write_bytes(b"half")
    commit = repository.commit({"a": b"2"})
    assert (await got(source, wanted)).revision == f"main@sha1:{commit}"
    assert not list(mirror.rglob("*.lock"))


async def test_a_damaged_mirror_is_made_anew(server, repository, source, tmp_path):
    repository.commit({"a": b"1", "b": b"2"})
    wanted = spec(server.url("apps"))
    await got(source, wanted)
    [mirror] = tmp_path.glob("cache/mirrors/*.git")
    (mirror / "HEAD").unlink()
    repository.commit({"a": b"3"})
    assert (await got(source, wanted)).read("a") == b"3"


async def test_lost_objects_are_an_error_first_and_healed_by_the_next_try(server, repository, source, tmp_path):
    repository.commit({"a": b"1", "b": b"2"})
    wanted = spec(server.url("apps"))
    await got(source, wanted)
    for pack in tmp_path.glob("cache/mirrors/*.git/objects/pack/*"):
        pack.unlink()
    with pytest.raises(Transient):
        await got(source, wanted)
    assert paths(await got(source, wanted)) == ["a", "b"]
    for pack in tmp_path.glob("cache/mirrors/*.git/objects/pack/*.pack"):
        pack.chmod(0o600)
        pack.write_bytes(b"damaged")
    repository.commit({"c": b"3"})
    with contextlib.suppress(Transient):
        await got(source, wanted)
    assert paths(await got(source, wanted)) == ["a", "b", "c"]


async def test_damage_that_only_a_fetch_notices_is_healed_by_the_next_one(server, repository, source, tmp_path):
    repository.commit({"a": b"1"})
    wanted = spec(server.url("apps"))
    await got(source, wanted)
    [mirror] = tmp_path.glob("cache/mirrors/*.git")
    (mirror / "shallow").write_bytes(b"garbage\n")
    repository.commit({"a": b"2"})
    with pytest.raises(Transient):
        await got(source, wanted)
    assert (await got(source, wanted)).read("a") == b"2"


async def test_a_server_that_went_away_during_the_fetch(server, repository, source):
    repository.commit({"a": b"1"})
    wanted = spec(server.url("apps"))
    head = await source.look(wanted)
    await server.stop()
    with pytest.raises(Transient, match=r"127\.0\.0\.1") as caught:
        await source.fetch(wanted, ANONYMOUS, head)
    assert caught.value.reason == "GitOperationFailed"
    await server.start()
    assert (await source.fetch(wanted, ANONYMOUS, head)).read("a") == b"1"


async def test_a_timeout_is_named(server, repository, source):
    repository.commit({"a": b"1"})
    head = await source.look(spec(server.url("apps")))
    with pytest.raises(Transient, match=r"spec\.timeout"):
        await source.fetch(spec(server.url("apps"), timeout="1ms"), ANONYMOUS, head)


async def test_keys_of_killed_processes_are_wiped(tmp_path, store, transport):
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = tmp_path / "cache/private" / f"{gone.pid}-abc"
    left.mkdir(parents=True)
    (left / "identity").write_bytes(b"secret")
    GitSource(tmp_path / "cache", store, transport, SystemClock())
    assert not left.exists()


async def test_unused_mirrors_are_removed(server, repository, source, tmp_path):
    repository.commit({"a": b"1"})
    await got(source, spec(server.url("apps")))
    assert await source.sweep() == 0
    assert await source.sweep(unused_s=-10) == 1
    assert not list(tmp_path.glob("cache/mirrors/*.git"))
    assert paths(await got(source, spec(server.url("apps")))) == ["a"]


# Signing in


async def test_https_with_a_password_and_an_own_ca(tmp_path, source):
    authority = Authority.create(tmp_path)
    async with GitServer(tmp_path / "r", accounts={"bot": "s3cret"}, tls=authority.context) as server:
        repository = Repository.create(server.root / "apps.git")
        repository.commit({"a": b"1"})
        good = Credentials.from_secret({"username": b"bot", "password": b"s3cret", "ca.crt": authority.ca})
        for host in ("127.0.0.1", "localhost"):
            wanted = spec(server.url("apps").replace("127.0.0.1", host))
            assert (await got(source, wanted, good)).read("a") == b"1"
        repository.commit({"a": b"2"})
        assert (await got(source, wanted, good)).read("a") == b"2"
        head = await source.look(wanted, good)
        bad = Credentials.from_secret({"username": b"bot", "password": b"wrong", "ca.crt": authority.ca})
        for attempt in (source.look(wanted, bad), source.fetch(wanted, bad, head)):
            with pytest.raises(AuthenticationFailed) as caught:
                await attempt
            assert "wrong" not in str(caught.value)


async def test_what_one_credential_may_read_is_not_shown_to_another(tmp_path, source):
    authority = Authority.create(tmp_path)
    async with GitServer(tmp_path / "r", accounts={"bot": "s3cret"}, tls=authority.context) as server:
        Repository.create(server.root / "apps.git").commit({"a": b"1"})
        wanted = spec(server.url("apps"))
        good = Credentials(username="bot", password="s3cret", ca=authority.ca)
        head = await source.look(wanted, good)
        await source.fetch(wanted, good, head)
        with pytest.raises(AuthenticationFailed):
            await source.fetch(wanted, Credentials(ca=authority.ca), head)


async def test_git_gets_no_secret_in_arguments_environment_or_files(tmp_path, source, sshd, monkeypatch):
    seen: list[str] = []
    real = hardened_git.run

    async def spy(argv, **options):
        seen.extend(map(str, argv))
        seen.extend(options["env"].values())
        seen.extend(path.read_text() for path in tmp_path.glob("cache/private/*/*"))
        return await real(argv, **options)

    monkeypatch.setattr(hardened_git, "run", spy)
    authority = Authority.create(tmp_path)
    async with GitServer(tmp_path / "r", accounts={"bot": "s3cret"}, tls=authority.context) as server:
        Repository.create(server.root / "apps.git").commit({"a": b"1"})
        credentials = Credentials(username="bot", password="s3cret", ca=authority.ca)
        await got(source, spec(server.url("apps")), credentials)
    repository = Repository.create(tmp_path / "r/locked.git")
    repository.commit({"a": b"1"})
    secret = {"identity": sshd.locked_identity, "password": sshd.passphrase, "known_hosts": sshd.known_hosts}
    await got(source, spec(ssh_url(sshd, repository)), Credentials.from_secret(secret))
    assert any("ssh" in word for word in seen)
    secrets = [credentials.authorization, "s3cret", sshd.passphrase.decode(), sshd.locked_identity.decode()[100:140]]
    assert not [word for word in seen if any(secret in word for secret in secrets)]


async def test_where_no_file_can_be_in_memory_keys_are_in_a_private_directory(tmp_path, source, sshd, monkeypatch):
    def missing(_data):
        raise OSError("no such files")

    monkeypatch.setattr(hardened_git, "hold", missing)
    authority = Authority.create(tmp_path)
    async with GitServer(tmp_path / "r", accounts={"bot": 's3c"r\\et'}, tls=authority.context) as server:
        repository = Repository.create(server.root / "apps.git")
        repository.commit({"a": b"1"})
        credentials = Credentials(username="bot", password='s3c"r\\et', ca=authority.ca)
        assert (await got(source, spec(server.url("apps")), credentials)).read("a") == b"1"
    secret = {"identity": sshd.locked_identity, "password": sshd.passphrase, "known_hosts": sshd.known_hosts}
    wanted = spec(ssh_url(sshd, repository))
    assert (await got(source, wanted, Credentials.from_secret(secret))).read("a") == b"1"
    assert not list(tmp_path.glob("cache/private/*")), "they go when git is done"


def ssh_url(sshd: Sshd, repository: Repository) -> str:
    user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
    return f"ssh://{user}@127.0.0.1:{sshd.port}{repository.path}"


async def test_ssh_with_a_key_and_known_hosts(sshd, tmp_path, source):
    repository = Repository.create(tmp_path / "r/apps.git")
    commit = repository.commit({"a": b"1"})
    repository.git("tag", "-a", "-m", "x", "v1", commit)
    wanted = spec(ssh_url(sshd, repository))
    plain = Credentials.from_secret({"identity": sshd.identity, "known_hosts": sshd.known_hosts})
    locked = Credentials.from_secret(
        {"identity": sshd.locked_identity, "password": sshd.passphrase, "known_hosts": sshd.known_hosts}
    )
    for credentials in (plain, locked):
        snapshot = await got(source, wanted, credentials)
        assert snapshot.revision == f"main@sha1:{commit}"
        assert snapshot.read("a") == b"1"
    assert (await got(source, spec(ssh_url(sshd, repository), tag="v1"), plain)).revision == f"v1@sha1:{commit}"
    with pytest.raises(Transient, match="branch 'mian' not found; the remote has main"):
        await source.look(spec(ssh_url(sshd, repository), branch="mian"), plain)
    assert not list(tmp_path.glob("cache/private/*"))


async def test_ssh_refuses_what_it_cannot_trust(sshd, tmp_path, source):
    repository = Repository.create(tmp_path / "r/apps.git")
    repository.commit({"a": b"1"})
    wanted = spec(ssh_url(sshd, repository))
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    other_key, other_public = (tmp_path / "other").read_bytes(), (tmp_path / "other.pub").read_bytes()
    changed = f"[127.0.0.1]:{sshd.port} ".encode() + other_public
    for secret, says in (
        ({"identity": sshd.identity}, "known_hosts"),
        ({"identity": sshd.identity, "known_hosts": b"\n"}, "known_hosts"),
        ({"identity": sshd.identity, "known_hosts": b"elsewhere " + sshd.host_key}, "known_hosts"),
        ({"identity": sshd.identity, "known_hosts": changed}, "known_hosts"),
        ({"identity": sshd.identity, "known_hosts": b"@revoked * " + sshd.host_key}, "known_hosts"),
        ({"identity": other_key, "known_hosts": sshd.known_hosts}, "signing in failed"),
        ({"identity": b"junk", "known_hosts": sshd.known_hosts}, "signing in failed"),
        ({"identity": sshd.locked_identity, "known_hosts": sshd.known_hosts}, "passphrase"),
        ({"identity": sshd.locked_identity, "password": b"no", "known_hosts": sshd.known_hosts}, "passphrase"),
        ({"known_hosts": sshd.known_hosts}, "identity"),
    ):
        with pytest.raises(AuthenticationFailed, match=says):
            await source.look(wanted, Credentials.from_secret(secret))


async def test_ssh_knows_the_host_by_hashed_and_wildcard_lines_too(sshd, tmp_path, source):
    Repository.create(tmp_path / "r/apps.git").commit({"a": b"1"})
    wanted = spec(ssh_url(sshd, Repository(tmp_path / "r/apps.git")))
    hashed = tmp_path / "hashed"
    hashed.write_bytes(sshd.known_hosts)
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(hashed)], check=True, capture_output=True)
    assert hashed.read_bytes().startswith(b"|1|")
    for known in (hashed.read_bytes(), b"* " + sshd.host_key, b"other,[127.0.0.1]:* " + sshd.host_key):
        secret = {"identity": sshd.identity, "known_hosts": known}
        assert (await got(source, wanted, Credentials.from_secret(secret))).read("a") == b"1"
    for known in (
        b"[127.0.0.1]:1 " + sshd.host_key,
        b"@cert-authority * " + sshd.host_key,
        b"*,!*127.0.0.* " + sshd.host_key,
    ):
        secret = {"identity": sshd.identity, "known_hosts": known}
        with pytest.raises(AuthenticationFailed, match="known_hosts"):
            await source.look(wanted, Credentials.from_secret(secret))


async def test_a_host_key_that_changed_is_never_taken_and_waits_for_a_person(sshd, tmp_path, source):
    wanted = spec(ssh_url(sshd, Repository.create(tmp_path / "r/apps.git")))
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    changed = f"[127.0.0.1]:{sshd.port} ".encode() + (tmp_path / "other.pub").read_bytes()
    for _ in range(2):
        with pytest.raises(AuthenticationFailed, match="Compare the keys") as refusal:
            await source.look(wanted, Credentials.from_secret({"identity": sshd.identity, "known_hosts": changed}))
        assert refusal.value.hopeless


@pytest.mark.parametrize(
    ("kind", "more"),
    [(("rsa", "-b", "1024"), ""), (("rsa", "-b", "2048"), "HostKeyAlgorithms ssh-rsa\n")],
    ids=["1024 bits", "SHA-1"],
)
async def test_a_host_that_proves_itself_by_a_weak_key_is_refused(tmp_path, source, kind, more):
    if not Sshd.available():
        pytest.skip("no sshd on this machine: apt-get install openssh-server")
    (tmp_path / "d").mkdir()
    weak = Sshd.start(tmp_path / "d", kind, more)
    try:
        wanted = spec(ssh_url(weak, Repository.create(tmp_path / "r/apps.git")))
        with pytest.raises(AuthenticationFailed, match="too weak") as refusal:
            await source.look(
                wanted, Credentials.from_secret({"identity": weak.identity, "known_hosts": weak.known_hosts})
            )
        assert refusal.value.hopeless
    finally:
        weak.stop()


# What is asked for


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_a_reference_that_git_would_take_for_an_option_or_an_expression_is_refused(name: str):
    """Flux's field by field; what is refused here never becomes an argument."""
    for ref in ({"branch": name}, {"tag": name}, {"name": f"refs/heads/{name}"}, {"name": name}, {"commit": name}):
        if not name:
            continue
        if ref.get("name", "").startswith("refs/") and (name.startswith("-") or name == "@"):
            continue  # inside a full name these are letters like others
        with pytest.raises(Terminal) as caught:
            spec("https://h/x", **ref)
        assert caught.value.reason == "URLInvalid"


@pytest.mark.parametrize(
    ("ref", "says"),
    [
        ({"branch": "--upload-pack=x"}, "spec.ref"),
        ({"branch": "a..b"}, "spec.ref"),
        ({"tag": "v1:x"}, "spec.ref"),
        ({"name": "main"}, "full name"),
        ({"name": "refs/heads/+*"}, "spec.ref"),
        ({"commit": "main"}, "40 hexadecimal"),
        ({"commit": "0" * 40}, "40 hexadecimal"),
    ],
)
def test_references_that_are_refused(ref: dict[str, str], says: str):
    with pytest.raises(Terminal, match=says) as caught:
        spec("https://h/x", **ref)
    assert caught.value.reason == "URLInvalid"


@pytest.mark.parametrize("directory", ["", "/etc", "../x", "a/../b", "."])
def test_sparse_directories_stay_inside(directory: str):
    with pytest.raises(Terminal, match="sparseCheckout"):
        spec("https://h/x", sparse=(directory,))


def test_what_is_not_supported_is_refused_and_not_ignored():
    with pytest.raises(Terminal, match="provider: azure"):
        GitSpec.from_api(GitRepositorySpec(url="https://h/x", interval="1m", provider="azure"))


def test_what_does_not_fit_together_is_refused():
    proxy = LocalRef(name="proxy")
    with pytest.raises(Terminal, match="ssh does not go over a proxy"):
        GitSpec.from_api(GitRepositorySpec(url="ssh://git@h/x", interval="1m", proxy_secret_ref=proxy))
    for url in ("ssh://git@h/x", "http://h/x"):
        with pytest.raises(Terminal, match="by https only; write https://h/x"):
            GitSpec.from_api(GitRepositorySpec(url=url, interval="1m", provider="github"))
