"""Submodules, end to end: real repositories on real servers, and commits that name what they should not."""

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.remotes.proxies import proxy
from tests.remotes.world import Authority, Repository, Sshd
from trimtab.api.source import GitRef, GitRepositorySpec
from trimtab.artifacts.store import Store
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Terminal, Transient
from trimtab.base.http import AiohttpTransport
from trimtab.cluster.gitserver import GitServer
from trimtab.remotes.proxy import from_secret
from trimtab.sources.git import ANONYMOUS, Credentials, GitSource, GitSpec


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
def source(tmp_path: Path, transport: AiohttpTransport) -> GitSource:
    return GitSource(tmp_path / "cache", Store(tmp_path / "store"), transport, SystemClock())


@pytest.fixture
def create(server: GitServer) -> Callable[[str], Repository]:
    return lambda name: Repository.create(server.root / f"{name}.git")


def spec(
    url: str, *, recurse: bool = True, ignore: str | None = None, sparse: tuple[str, ...] = (), timeout: str = "20s"
) -> GitSpec:
    return GitSpec.from_api(
        GitRepositorySpec(
            url=url,
            interval="1m",
            timeout=timeout,
            ref=GitRef(branch="main"),
            recurse_submodules=recurse,
            ignore=ignore,
            sparse_checkout=sparse,
        )
    )


def link(repository: Repository, modules: dict[str, tuple[str, str]], files: dict[str, bytes] | None = None) -> str:
    """Commit `files`, and gitlinks by path (address, commit) with their .gitmodules, instead of all that was there."""
    text = "".join(
        f'[submodule "m{number}"]\n\tpath = {path}\n\turl = {url}\n'
        for number, (path, (url, _)) in enumerate(modules.items())
    )
    files = {".gitmodules": text.encode(), **(files or {})}
    return commit(repository, files, {path: oid for path, (_, oid) in modules.items()})


def commit(repository: Repository, files: dict[str, bytes], links: dict[str, str]) -> str:
    data = [b"commit refs/heads/main\ncommitter A <a@example.org> 1700000000 +0000\ndata 1\nx\n"]
    if repository.has("refs/heads/main"):
        data.append(b"from refs/heads/main^0\n")
    data.append(b"deleteall\n")
    for path, content in files.items():
        data.append(b"M 100644 inline %b\ndata %d\n%b\n" % (path.encode(), len(content), content))
    data += [f"M 160000 {oid} {path}\n".encode() for path, oid in links.items()]
    repository.git("fast-import", "--quiet", "--force", stdin=b"".join(data))
    return repository.git("rev-parse", "refs/heads/main")


async def got(source: GitSource, wanted: GitSpec, credentials: Credentials = ANONYMOUS, previous=None):
    return await source.fetch(wanted, credentials, await source.look(wanted, credentials), previous)


def files(snapshot) -> dict[str, bytes]:
    return {entry.path: snapshot.read(entry.path) for entry in snapshot.tree.entries}


# What comes


async def test_submodules_are_left_out_and_listed_unless_they_are_wanted(server, create, source):
    lib = create("lib").commit({"x": b"1"})
    shop = create("shop")
    link(shop, {"vendor/lib": ("../lib.git", lib)}, {"a": b"2"})
    plain = await got(source, spec(server.url("shop"), recurse=False))
    assert (files(plain), plain.tree.left_out) == ({"a": b"2"}, ("vendor/lib",))
    assert not any("lib" in request for request in server.requests)
    whole = await got(source, spec(server.url("shop")))
    assert (files(whole), whole.tree.left_out) == ({"a": b"2", "vendor/lib/x": b"1"}, ())
    assert whole.revision == f"main@sha1:{shop.git('rev-parse', 'main')}"


async def test_exactly_the_commit_that_is_pinned_comes_and_no_other(server, create, source):
    lib = create("lib")
    first, middle, _last = (lib.commit({"x": b"%d" % number}) for number in range(3))
    shop = create("shop")
    for pinned, content in ((middle, b"1"), (first, b"0")):
        link(shop, {"lib": ("../lib.git", pinned)})
        assert files(await got(source, spec(server.url("shop")))) == {"lib/x": content}


async def test_submodules_of_submodules_and_of_themselves(server, create, source):
    deep = create("deep")
    inner = deep.commit({"d": b"4"})
    middle = link(create("middle"), {"down": ("../deep.git", inner)}, {"m": b"3"})
    outer = link(create("outer"), {"mid": (server.url("middle"), middle)}, {"o": b"2"})
    shop = create("shop")
    old = shop.commit({"old": b"0"})
    link(shop, {"out": ("../outer.git", outer), "before": ("./../shop.git", old)}, {"s": b"1"})
    assert files(await got(source, spec(server.url("shop")))) == {
        "s": b"1",
        "before/old": b"0",
        "out/o": b"2",
        "out/mid/m": b"3",
        "out/mid/down/d": b"4",
    }


async def test_a_new_commit_of_the_superproject_asks_for_what_is_new_alone(server, create, source):
    lib = create("lib").commit({"x": b"1"})
    shop = create("shop")
    link(shop, {"lib": ("../lib.git", lib)}, {"a": b"1"})
    wanted = spec(server.url("shop"))
    first = await got(source, wanted)
    link(shop, {"lib": ("../lib.git", lib)}, {"a": b"2"})
    server.requests.clear()
    second = await got(source, wanted, previous=first.tree)
    assert files(second) == {"a": b"2", "lib/x": b"1"}
    assert not any("lib" in request for request in server.requests)


async def test_rules_and_directories_count_from_the_root_of_the_whole(server, create, source):
    lib = create("lib").commit(
        {"charts/c.yaml": b"1", "docs/d.md": b"2", "logo.png": b"3", ".sourceignore": b"charts/"}
    )
    link(create("shop"), {"vendor/lib": ("../lib.git", lib)}, {"a": b"4", ".sourceignore": b"*.md"})
    url = server.url("shop")
    assert set(files(await got(source, spec(url)))) == {
        "a",
        ".sourceignore",
        "vendor/lib/charts/c.yaml",
        "vendor/lib/.sourceignore",
    }
    assert set(files(await got(source, spec(url, ignore="vendor/lib/docs/")))) >= {"a", "vendor/lib/logo.png"}
    for inside in ("vendor", "vendor/lib", "vendor/lib/charts"):
        assert "vendor/lib/charts/c.yaml" in files(await got(source, spec(url, sparse=(inside,))))
    only = await got(source, spec(url, ignore="/*\n!/vendor/lib/charts"))
    assert set(files(only)) == {"vendor/lib/charts/c.yaml"}


async def test_what_is_left_out_is_not_asked_for(server, create, source):
    shop = create("shop")
    link(shop, {"private/x": ("https://nobody.invalid/x", "1" * 40), "y": ("../gone.git", "2" * 40)}, {"a": b"1"})
    for wanted in (spec(server.url("shop"), ignore="private/\n/y"), spec(server.url("shop"), sparse=("deploy",))):
        snapshot = await got(source, wanted)
        assert set(files(snapshot)) <= {"a"}
    assert not any("gone" in request for request in server.requests)


async def test_a_link_that_nobody_declared_is_left_out_and_listed(server, create, source):
    commit(create("shop"), {"a": b"1"}, {"lost": "1" * 40})
    snapshot = await got(source, spec(server.url("shop")))
    assert snapshot.tree.left_out == ("lost",)
    with pytest.raises(Terminal, match="lost is a link"):
        snapshot.read("lost/x")


async def test_names_that_collide_across_repositories_are_left_out(server, create, source):
    lib = create("lib").commit({"x": b"1"})
    link(create("shop"), {"lib": ("../lib.git", lib)}, {"LIB/x": b"2", "a": b"3"})
    snapshot = await got(source, spec(server.url("shop")))
    assert files(snapshot) == {"a": b"3"}
    assert snapshot.tree.left_out == ("LIB/x", "lib/x")


# What is refused; the last artifact is the caller's, and nothing of it changes


async def test_a_submodule_that_cannot_be_had_fails_the_whole_and_is_named(server, create, source):
    lib = create("lib")
    lib.commit({"x": b"1"})
    shop = create("shop")
    for modules, says in (
        ({"lib": ("../gone.git", "1" * 40)}, "submodule 'lib' of .*no such repository"),
        ({"lib": ("../lib.git", "1" * 40)}, "submodule 'lib' of .* at commit 1111.*not there.*have it pushed"),
        ({"lib": ("../../x", "1" * 40)}, "the path has a part"),
        ({"lib": ("file:///etc", "1" * 40)}, "file:// is not supported"),
        ({"lib": ("ssh://git@127.0.0.1/x", "1" * 40)}, "ssh needs a private key"),
    ):
        link(shop, modules, {"a": b"1"})
        with pytest.raises(Transient, match=says):
            await got(source, spec(server.url("shop")))
    link(shop, {}, {"a": b"1"})
    assert files(await got(source, spec(server.url("shop")))) == {"a": b"1"}


async def test_limits_of_depth_and_number(server, create, source):
    below = create("r0").commit({"x": b"1"})
    for number in range(1, 5):
        below = link(create(f"r{number}"), {"sub": (f"../r{number - 1}.git", below)})
        if number <= 3:
            assert f"{'sub/' * number}x" in files(await got(source, spec(server.url(f"r{number}"))))
    with pytest.raises(Transient, match="'sub/sub/sub/sub' is beyond the limit: submodules 3 levels deep"):
        await got(source, spec(server.url("r4")))
    lib = create("lib").commit({"x": b"1"})
    shop = create("shop")
    link(shop, {f"m{number:02}": ("../lib.git", lib) for number in range(20)})
    assert len(files(await got(source, spec(server.url("shop"))))) == 20
    link(shop, {f"m{number:02}": ("../lib.git", lib) for number in range(21)})
    with pytest.raises(Transient, match="'m20' is beyond the limit: 20 submodules"):
        await got(source, spec(server.url("shop")))


async def test_all_together_are_within_the_limits_of_an_artifact(server, create, source, monkeypatch):
    monkeypatch.setattr("trimtab.sources.checkout.MAX_BYTES", 10_000)
    lib = create("lib").commit({"x": b"x" * 6000})
    shop = create("shop")
    link(shop, {"lib": ("../lib.git", lib)}, {"a": b"a" * 3000})
    assert len(files(await got(source, spec(server.url("shop"))))) == 2
    link(shop, {"lib": ("../lib.git", lib)}, {"a": b"a" * 5000})
    with pytest.raises(Transient, match="bytes of files; the limit is 10000"):
        await got(source, spec(server.url("shop")))


@pytest.mark.parametrize(
    "text",
    [
        b"[include]\n\tpath = /etc/passwd\n",
        b'[submodule "../../modules/evil"]\n\tpath = lib\n\turl = ../lib.git\n',
        b'[submodule "x"]\n\tpath = ../lib\n\turl = ../lib.git\n',
        b'[submodule "x"]\n\tpath = lib\r\r\n\turl = ../lib.git\n',
        b'[submodule "x"]\n\tpath = lib\n\turl = --upload-pack=touch owned\n',
    ],
)
async def test_hostile_declarations_are_refused_and_nothing_is_contacted(server, create, source, text):
    lib = create("lib").commit({"x": b"1"})
    commit(create("shop"), {".gitmodules": text, "a": b"1"}, {"lib": lib})
    # Either git's own check, when it comes, or ours, when it is read.
    with pytest.raises(Transient, match="gitmodules"):
        await got(source, spec(server.url("shop")))
    assert not any("lib" in request for request in server.requests)


async def test_declarations_in_a_link_are_none(server, create, source):
    """CVE-2018-11235 and its kin: .gitmodules that is a symbolic link is not followed."""
    lib = create("lib").commit({"x": b"1"})
    shop = create("shop")
    tree = shop.tree(
        f"120000 blob {shop.blob(b'elsewhere')}\t.gitmodules",
        f"100644 blob {shop.blob(b'[submodule')}\telsewhere",
        f"160000 commit {lib}\tlib",
    )
    shop.commit_tree(tree)
    # git's own check refuses such a commit when it is fetched.
    with pytest.raises(Transient, match="gitmodules"):
        await got(source, spec(server.url("shop")))


@pytest.fixture
def listening() -> AsyncIterator[tuple[int, Callable[[], bool]]]:
    """A port on loopback that nobody may contact, and whether somebody did."""
    with socket.socket() as trap:
        trap.bind(("127.0.0.1", 0))
        trap.listen()
        trap.setblocking(False)

        def contacted() -> bool:
            try:
                trap.accept()[0].close()
            except BlockingIOError:
                return False
            return True

        yield trap.getsockname()[1], contacted


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f.1"])
async def test_a_submodule_never_leads_to_another_place_in_a_private_network(server, create, source, listening, host):
    port, contacted = listening
    link(create("shop"), {"lib": (f"http://{host}:{port}/lib.git", "1" * 40)})
    with pytest.raises(Transient, match="a private address"):
        await got(source, spec(server.url("shop")))
    assert not contacted()


async def test_a_submodule_of_a_submodule_is_judged_by_what_the_owner_wrote(server, create, source, listening):
    port, contacted = listening
    middle = link(create("middle"), {"x": (f"http://127.0.0.1:{port}/x", "1" * 40)})
    link(create("shop"), {"mid": ("../middle.git", middle)})
    with pytest.raises(Transient, match=r"submodule 'mid/x' of .*a private address"):
        await got(source, spec(server.url("shop")))
    assert not contacted()


async def test_by_way_of_a_proxy_a_submodule_does_not_lead_into_a_private_network_either(server, create, source):
    link(create("shop"), {"lib": ("http://10.0.0.7/lib.git", "1" * 40)})
    async with proxy() as way:
        way.leads["git.nowhere.invalid"] = server.port
        credentials = Credentials(proxy=from_secret({"address": f"http://127.0.0.1:{way.port}".encode()}, "x"))
        with pytest.raises(Transient, match="a private address"):
            await got(source, spec("http://git.nowhere.invalid/shop.git"), credentials)
        assert way.asked
        assert not any("10.0.0.7" in line for line in way.asked)


async def test_credentials_go_to_the_same_origin_and_to_nobody_else(tmp_path, source):
    authority = Authority.create(tmp_path)
    accounts = {"bot": "s3cret"}
    seen: list[str] = []

    class Watched(GitServer):
        async def _serve(self, request):
            seen.append(request.headers.get("Authorization", ""))
            return await super()._serve(request)

    async with (
        GitServer(tmp_path / "r", accounts=accounts, tls=authority.context) as server,
        Watched(tmp_path / "other") as elsewhere,
        proxy() as way,
    ):
        lib = Repository.create(server.root / "lib.git").commit({"x": b"1"})
        other = Repository.create(elsewhere.root / "lib.git").commit({"y": b"2"})
        shop = Repository.create(server.root / "shop.git")
        credentials = Credentials(username="bot", password="s3cret", ca=authority.ca)
        link(shop, {"lib": ("../lib.git", lib)})
        assert files(await got(source, spec(server.url("shop")), credentials)) == {"lib/x": b"1"}
        # By way of a proxy a public name can be had on this machine.
        way.leads |= {f"127.0.0.1:{server.port}": server.port, "git.nowhere.invalid": elsewhere.port}
        through = credentials.over(from_secret({"address": f"http://127.0.0.1:{way.port}".encode()}, "x"))
        link(shop, {"lib": ("http://git.nowhere.invalid/lib.git", other)})
        assert files(await got(source, spec(server.url("shop")), through)) == {"lib/y": b"2"}
        assert seen
        assert not any(seen)


@pytest.mark.skipif(not Sshd.available(), reason="no sshd on this machine: apt-get install openssh-server")
async def test_by_ssh_with_the_key_of_the_repository(tmp_path, source):
    sshd = Sshd.start(tmp_path)
    try:
        lib = Repository.create(tmp_path / "r/lib.git")
        pinned = lib.commit({"x": b"1"})
        lib.commit({"x": b"2"})
        shop = Repository.create(tmp_path / "r/shop.git")
        user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
        at = f"ssh://{user}@127.0.0.1:{sshd.port}{tmp_path}/r"
        credentials = Credentials.from_secret({"identity": sshd.identity, "known_hosts": sshd.known_hosts})
        for url in ("../lib.git", f"{at}/lib.git"):
            link(shop, {"lib": (url, pinned)})
            assert files(await got(source, spec(f"{at}/shop.git"), credentials)) == {"lib/x": b"1"}
        # The host is the same and the port is not: the key is somebody else's there.
        link(shop, {"lib": (f"{user}@127.0.0.1:{tmp_path.name}/lib.git", pinned)})
        with pytest.raises(Transient, match=r"submodule 'lib' of .*ssh needs a private key"):
            await got(source, spec(f"{at}/shop.git"), credentials)
    finally:
        sshd.stop()


async def test_a_server_that_hands_out_nothing_by_id_is_named(tmp_path, source):
    class Old(GitServer):
        async def _git(self, *arguments, stdin=b"", environment=None):
            return await super()._git(*arguments, stdin=stdin, environment={**(environment or {}), "GIT_PROTOCOL": ""})

    async with Old(tmp_path / "r") as server:
        lib = Repository.create(server.root / "lib.git")
        old, new = lib.commit({"x": b"1"}), lib.commit({"x": b"2"})
        shop = Repository.create(server.root / "shop.git")
        link(shop, {"lib": ("../lib.git", new)})
        assert files(await got(source, spec(server.url("shop")))) == {"lib/x": b"2"}
        link(shop, {"lib": ("../lib.git", old)})
        with pytest.raises(Transient, match="hands out none by its id"):
            await got(source, spec(server.url("shop")))


async def test_two_that_contain_each_other_do_not_wait_for_each_other(server, create, source):
    one, two = create("one"), create("two")
    first = one.commit({"x": b"1"})
    link(two, {"one": ("../one.git", first)})
    link(one, {"two": ("../two.git", two.git("rev-parse", "main"))})
    async with asyncio.timeout(60):
        found = await asyncio.gather(*(got(source, spec(server.url(name))) for name in ("one", "two") * 3))
    assert {frozenset(files(snapshot)) for snapshot in found} == {frozenset({"two/one/x"}), frozenset({"one/x"})}
