"""Every hostile archive of SECURITY.md, 1.3, on the way that a real one takes: downloaded, checked, taken apart.

Each row says what is done to an archive that is good otherwise. It is refused, or the one thing is left out and listed;
in no case is there a file outside the store, or half a snapshot inside it.
"""

import gzip
import hashlib
import io
import tarfile
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.artifacts.contents import trees
from tests.artifacts.test_archive import member, patched, tarred
from trimtab.api.source import Artifact
from trimtab.artifacts.archive import DEFAULT_LIMITS, BadArchive
from trimtab.artifacts.fetch import fetch_artifact
from trimtab.artifacts.store import CONTENTS, Store
from trimtab.base.http import AiohttpTransport

GOOD = (member("good.yaml"), b"good: 1\n")


def row(name: str, build: Callable[[], bytes], words: str) -> object:
    return pytest.param(build, words, id=name)


def one(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"x", form: int = tarfile.GNU_FORMAT, **fields: object):
    """An archive of a good file and one more member."""
    return lambda: tarred(GOOD, (member(name, kind, **fields), data), form=form)


def several(*names: str) -> Callable[[], bytes]:
    return lambda: tarred(GOOD, *((member(name), b"x") for name in names))


def through_a_link() -> bytes:
    return tarred((member("l", tarfile.SYMTYPE, linkname=".."), b""), (member("l/evil"), b"x"))


def streamed(pieces: Iterator[bytes]) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(piece) for piece in pieces) + packer.flush()


def many_members() -> bytes:
    return streamed(member(f"f{number}").tobuf() for number in range(200_000))


def large_pax() -> bytes:
    def pieces() -> Iterator[bytes]:
        yield member("x", tarfile.XHDTYPE, size=64 << 20).tobuf()
        yield from (b"0" * (1 << 20) for _ in range(64))

    return streamed(pieces())


def headers_without_end() -> bytes:
    return streamed(member("g", tarfile.XGLTYPE).tobuf() for _ in range(100_000))


def bomb(name: str) -> Callable[[], bytes]:
    """More than the limit in one file, or in the padding behind the end."""

    def pieces() -> Iterator[bytes]:
        if name == "file":
            yield member("a", size=200 << 20).tobuf()
        elif name == "many files":
            for number in range(4):
                yield member(f"f{number}", size=40 << 20).tobuf()
                yield from (b"\0" * (1 << 20) for _ in range(40))
        yield from (b"\0" * (1 << 20) for _ in range(200))

    return lambda: streamed(pieces())


SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1099511627776"}
NUL = {"path": "a\0b"}
HUGE = b"\x80" + b"\0" * 4 + (1 << 40).to_bytes(7, "big")

REFUSED = [
    row("dot-dot", one("../evil1"), "not a plain path"),
    row("dot-dot inside", one("a/../../evil"), "not a plain path"),
    row("dot-dot at the end", one("a/.."), "not a plain path"),
    row("absolute", one("/abs"), "not a relative path"),
    row("backslashes", one("..\\evil"), "not a plain path"),
    row("drive", one("\\\\host\\share"), "not a relative path"),
    row("through a link", through_a_link, "both a file and a directory"),
    row("hard link", one("h", tarfile.LNKTYPE, b"", linkname="/etc/hostname"), "neither a file nor a directory"),
    row("hard link inside", one("h", tarfile.LNKTYPE, b"", linkname="good.yaml"), "neither a file nor a directory"),
    row("FIFO", one("f", tarfile.FIFOTYPE, b""), "neither a file nor a directory"),
    row("character device", one("c", tarfile.CHRTYPE, b"", devmajor=1, devminor=3), "neither a file nor a directory"),
    row("block device", one("b", tarfile.BLKTYPE, b""), "neither a file nor a directory"),
    row("setuid", one("s", mode=0o4777), "set-id"),
    row("setgid", one("s", mode=0o2755), "set-id"),
    row("NUL in the name", lambda: patched("a", 0, b"a\0b"), "NUL"),
    row("NUL in the long name", one("a", form=tarfile.PAX_FORMAT, pax_headers=NUL), "control character"),
    row("line feed in the name", one("a\nb"), "control character"),
    row("terminal sequence in the name", one("a\x1b[2J"), "control character"),
    row("duplicate file", several("a", "a"), "there twice"),
    row("file, then directory", several("a", "a/b"), "both a file and a directory"),
    row("directory, then file", several("a/b", "a"), "there twice"),
    row("size without a body", lambda: patched("a", 124, HUGE), "more than 104857600 bytes of files"),
    row("negative size", lambda: patched("a", 124, b"\xff" * 12), "impossible number"),
    row("body cut off", lambda: patched("a", 124, b"00000777777\0"), "ends in the middle"),
    row("GNU sparse", one("a", b"S"), "neither a file nor a directory"),
    row("sparse in pax", one("a", form=tarfile.PAX_FORMAT, pax_headers=SPARSE), "sparse"),
    row("200,000 members", many_members, "more than 50000 members"),
    row("pax header of 64 MiB", large_pax, "the limit is 65536"),
    row("headers without end", headers_without_end, "more extended headers"),
    row("second gzip stream", lambda: one("a")() + gzip.compress(b"more"), "data behind its end"),
    row("second archive", lambda: one("a")() + one("b")(), "data behind its end"),
    row("bomb in a file", bomb("file"), "more than 104857600 bytes of files"),
    row("bomb in many files", bomb("many files"), "more than 104857600 bytes of files"),
    row("bomb behind the end", bomb("padding"), "padded without end"),
    row("depth", one("d/" * 64 + "f"), "65 directories; the limit is 64"),
    row("length of a path", one("/".join("n" * 250 for _ in range(17))), "more than 4096 bytes"),
    row("name that is no text", lambda: patched("a", 0, b"\xff\xfe"), "not UTF-8"),
    row("not compressed", lambda: gzip.decompress(one("a")()), "not gzip"),
    row("nothing", lambda: b"", "ends in the middle"),
]


class Web:
    """A server of one archive."""

    def __init__(self) -> None:
        self.data = b""

    async def answer(self, _: web.Request) -> web.Response:
        return web.Response(body=self.data)

    def artifact(self, data: bytes) -> Artifact:
        self.data = data
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        return Artifact(path="p", url=self.url, revision="main@sha1:1", digest=digest, last_update_time="")


@pytest.fixture
async def served() -> AsyncIterator[Web]:
    double = Web()
    application = web.Application()
    application.router.add_get("/{path:.*}", double.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    double.url = f"http://127.0.0.1:{runner.addresses[0][1]}/a.tar.gz"
    yield double
    await runner.cleanup()


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    transport = AiohttpTransport()
    yield transport
    await transport.close()


def everything(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() or path.is_symlink()}


@pytest.mark.parametrize(("build", "words"), REFUSED)
async def test_a_hostile_archive_is_refused_by_name_and_leaves_nothing(
    served: Web, transport: AiohttpTransport, tmp_path: Path, build: Callable[[], bytes], words: str
) -> None:
    (tmp_path / "store").mkdir()
    store = Store(tmp_path / "store")
    artifact = served.artifact(build())
    started = time.process_time()
    with pytest.raises(BadArchive, match=words) as refusal:
        await fetch_artifact(transport, artifact, store)
    assert time.process_time() - started < 10
    assert refusal.value.reason == "ArtifactFailed"
    assert "\x1b" not in refusal.value.message
    left = everything(tmp_path)
    assert all(path.startswith(f"store/{CONTENTS}") for path in left), left
    assert not trees(store), "there is no part of a snapshot"


LEFT_OUT = [
    pytest.param([("l", "good.yaml")], ("l",), id="link inside"),
    pytest.param([("l", "../../etc/passwd")], ("l",), id="link outside"),
    pytest.param([("l", "/etc/passwd")], ("l",), id="absolute link"),
    pytest.param([("l", "nowhere")], ("l",), id="dangling link"),
    pytest.param([("l", "l")], ("l",), id="looping link"),
    pytest.param([("A", ""), ("a", "")], ("A", "a"), id="case"),
    pytest.param([("A", ""), ("a/b", "")], ("A", "a/b"), id="case of a directory"),
    pytest.param([("dir/Ä", ""), ("dir/ä", "")], ("dir/Ä", "dir/ä"), id="case beyond ASCII"),
    pytest.param([("a\\b", "")], ("a\\b",), id="backslash inside"),
    pytest.param([("a../b", "")], ("a../b",), id="directory that ends in two dots"),
]


@pytest.mark.parametrize(("members", "left_out"), LEFT_OUT)
async def test_links_and_names_that_collide_are_left_out_and_listed(
    served: Web,
    transport: AiohttpTransport,
    tmp_path: Path,
    members: list[tuple[str, str]],
    left_out: tuple[str, ...],
) -> None:
    more = [
        (member(name, tarfile.SYMTYPE if target else tarfile.REGTYPE, linkname=target), b"" if target else b"x")
        for name, target in members
    ]
    snapshot = await fetch_artifact(transport, served.artifact(tarred(GOOD, *more)), Store(tmp_path))
    assert [entry.path for entry in snapshot.tree.entries] == ["good.yaml"]
    assert snapshot.tree.left_out == left_out
    (tmp_path / "out").mkdir()
    snapshot.materialise(tmp_path / "out")
    assert everything(tmp_path / "out") == {"good.yaml"}


async def test_directories_may_have_any_mode(served: Web, transport: AiohttpTransport, tmp_path: Path) -> None:
    """In a volume with a group of its own every new directory has the set-group-id bit, and Flux packs it so."""
    data = tarred((member("apps", tarfile.DIRTYPE, mode=0o2777), b""), (member("apps/a.yaml", mode=0o640), b"x"))
    snapshot = await fetch_artifact(transport, served.artifact(data), Store(tmp_path))
    assert [(entry.path, entry.executable) for entry in snapshot.tree.entries] == [("apps/a.yaml", False)]


async def test_what_is_just_within_the_limits_is_taken(
    served: Web, transport: AiohttpTransport, tmp_path: Path
) -> None:
    limits = DEFAULT_LIMITS
    assert (limits.bytes, limits.members, limits.depth, limits.pax_bytes) == (100 << 20, 50_000, 64, 64 << 10)
    deep, long = "d/" * 63 + "f", "/".join("n" * 250 for _ in range(16))
    headers = {"comment": "x" * 65_000}
    data = tarred(
        (member(deep), b"1"),
        (member(long), b"2"),
        (member("noted", pax_headers=headers), b"3"),
        form=tarfile.PAX_FORMAT,
    )
    snapshot = await fetch_artifact(transport, served.artifact(data), Store(tmp_path))
    assert {entry.path for entry in snapshot.tree.entries} == {deep, long, "noted"}

    def pieces() -> Iterator[bytes]:
        yield member("large", size=100 << 20).tobuf()
        yield from (b"\0" * (1 << 20) for _ in range(100))
        yield b"\0" * 1024

    snapshot = await fetch_artifact(transport, served.artifact(streamed(pieces())), Store(tmp_path))
    assert [entry.size for entry in snapshot.tree.entries] == [100 << 20]


def long_names() -> bytes:
    """More names that need a header of their own than half of the limit."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for number in range(30_000):
            tar.addfile(member(f"ä{number}"))
    return gzip.compress(out.getvalue(), 1)


async def test_long_names_do_not_count_twice(served: Web, transport: AiohttpTransport, tmp_path: Path) -> None:
    snapshot = await fetch_artifact(transport, served.artifact(long_names()), Store(tmp_path))
    assert len(snapshot.tree.entries) == 30_000
