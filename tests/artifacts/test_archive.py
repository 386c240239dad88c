"""Archives: what we write everybody can read; what others write is taken only if it is harmless."""

import gzip
import io
import os
import tarfile
import time
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.artifacts.archive import BadArchive, Limits, Link, Member, read_archive
from trimtab.artifacts.tarball import Packed, write_archive

LONG = "directory/" * 12 + "file.yaml"


def packed(*files: Packed) -> bytes:
    out = io.BytesIO()
    write_archive(out, files)
    return out.getvalue()


def read(data: bytes, limits: Limits | None = None) -> list[Member | Link]:
    return list(read_archive(io.BytesIO(data), limits or Limits()))


def tarred(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info, data in members:
            info.size = info.size or len(data)
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(out.getvalue(), 1)


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def patched(name: str, at: int, value: bytes) -> bytes:
    """An archive of one file whose header has `value` at `at`, with a checksum that is right."""
    block = bytearray(member(name).tobuf())
    block[at : at + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return gzip.compress(bytes(block) + b"\0" * 1024)


files = st.builds(
    Packed,
    path=st.lists(
        st.text(alphabet="aäé-_.0😀b", min_size=1, max_size=40).filter(lambda p: p.strip(".")), min_size=1, max_size=6
    ).map("/".join),
    data=st.binary(max_size=2000),
    executable=st.booleans(),
)


@settings(deadline=None)
@given(st.lists(files, max_size=8, unique_by=lambda file: file.path.split("/")[0]))
def test_what_is_written_is_read_back(wanted: list[Packed]):
    assert read(packed(*wanted)) == [Member(file.path, file.data, file.executable) for file in wanted]


@settings(deadline=None)
@given(st.lists(files, max_size=8, unique_by=lambda file: file.path.split("/")[0]))
def test_the_standard_library_reads_what_we_write(wanted: list[Packed]):
    with tarfile.open(fileobj=io.BytesIO(packed(*wanted)), mode="r:gz") as tar:
        found = {
            info.name: (tar.extractfile(info).read(), bool(info.mode & 0o100), info.uid, info.mtime) for info in tar
        }
    assert found == {file.path: (file.data, file.executable, 0, 0) for file in wanted}


def test_the_same_files_give_the_same_bytes():
    first = packed(Packed("a", b"1"), Packed(LONG, b"2"))
    time.sleep(1.1)
    assert packed(Packed("a", b"1"), Packed(LONG, b"2")) == first


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_common_formats_are_read(form: int):
    long = "d" * 60 + "/" + "e" * 60 + "/file.yaml"
    data = tarred(
        (member("./", tarfile.DIRTYPE), b""),
        (member("apps", tarfile.DIRTYPE, mode=0o755), b""),
        (member("apps/run.sh", mode=0o755), b"run"),
        (member(long), b"long"),
        form=form,
    )
    assert read(data) == [Member("apps/run.sh", b"run", True), Member(long, b"long", False)]


def test_links_are_left_out_and_named():
    data = tarred((member("l", tarfile.SYMTYPE, linkname="../../etc/passwd"), b""), (member("a"), b"x"))
    assert read(data) == [Link("l"), Member("a", b"x", False)]


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/../../evil",
        "/abs",
        "..",
        "a/..",
        "..\\evil",
        "a\\..\\b",
        "\\evil",
        "a//b",
        "a/./b",
        "a\nb",
        "a\x1b[2J",
    ],
)
def test_names_that_are_not_plain_are_refused(name: str):
    with pytest.raises(BadArchive):
        read(tarred((member(name), b"x")))


@pytest.mark.parametrize(
    "kind", [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE, b"S", b"V"]
)
def test_everything_but_files_directories_and_links_is_refused(kind: bytes):
    with pytest.raises(BadArchive):
        read(tarred((member("a", kind, linkname="/etc/hostname"), b"")))


@pytest.mark.parametrize("mode", [0o4777, 0o2755, 0o6644])
def test_set_id_bits_are_refused(mode: int):
    with pytest.raises(BadArchive, match="set-id"):
        read(tarred((member("a", mode=mode), b"x")))


def test_a_name_with_a_nul_in_it_is_refused():
    with pytest.raises(BadArchive, match="NUL"):
        read(patched("a", 0, b"a\0b"))
    with pytest.raises(BadArchive, match="control character"):
        read(tarred((member("a", pax_headers={"path": "a\0b"}), b""), form=tarfile.PAX_FORMAT))


def test_a_link_cannot_become_a_directory():
    data = tarred((member("l", tarfile.SYMTYPE, linkname=".."), b""), (member("l/evil"), b"x"))
    with pytest.raises(BadArchive, match="both"):
        read(data)


@pytest.mark.parametrize("names", [["a", "a"], ["a", "a/b"], ["a/b", "a"]])
def test_names_that_are_there_twice_are_refused(names: list[str]):
    with pytest.raises(BadArchive):
        read(tarred(*((member(name), b"x") for name in names)))


@pytest.mark.parametrize(
    "size",
    [b"77777777777\0", b"\x80" + b"\0" * 4 + (1 << 40).to_bytes(7, "big"), b"\xff" * 12, b"-0000000001\0", b"0x10\0"],
)
def test_sizes_that_lie_are_refused_before_anything_is_read(size: bytes):
    with pytest.raises(BadArchive):
        read(patched("a", 124, size))


def test_sparse_files_are_refused():
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1099511627776"}
    with pytest.raises(BadArchive, match="sparse"):
        read(tarred((member("a", pax_headers=headers), b"x"), form=tarfile.PAX_FORMAT))


def test_limits_hold_while_streaming():
    with pytest.raises(BadArchive, match="members"):
        read(tarred(*((member(f"f{n}"), b"") for n in range(12))), Limits(members=10))
    with pytest.raises(BadArchive, match="bytes of files"):
        read(tarred((member("a"), b"x" * 600), (member("b"), b"x" * 600)), Limits(bytes=1000))
    with pytest.raises(BadArchive, match="directories"):
        read(tarred((member("d/" * 70 + "f"), b"")))
    with pytest.raises(BadArchive, match="extended header"):
        read(tarred((member("a", pax_headers={"comment": "x" * 70_000}), b""), form=tarfile.PAX_FORMAT))


def test_two_hundred_thousand_empty_members_are_refused_quickly():
    data = packed(*(Packed(f"f{n}", b"") for n in range(200_000)))
    started = time.process_time()
    with pytest.raises(BadArchive, match="members"):
        read(data)
    assert time.process_time() - started < 10


def test_a_bomb_does_not_fill_the_memory():
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    header = member("a", size=64 << 20).tobuf()
    pieces = [packer.compress(header)] + [packer.compress(b"\0" * (1 << 20)) for _ in range(64)] + [packer.flush()]
    data = b"".join(pieces)
    tracemalloc.start()
    with pytest.raises(BadArchive):
        read(data, Limits(bytes=10 << 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 << 20


def test_data_behind_the_end_is_refused():
    good = packed(Packed("a", b"x"))
    for more in (good, gzip.compress(b"", mtime=0), b"\0", b"x"):
        with pytest.raises(BadArchive, match="behind"):
            read(good + more)
    inner = gzip.decompress(good)
    with pytest.raises(BadArchive, match="behind"):
        read(gzip.compress(inner + b"x" * 512))


@pytest.mark.parametrize(
    "data", [b"", b"x", b"\x1f\x8b", gzip.compress(b"", mtime=0), gzip.compress(b"x" * 512, mtime=0), os.urandom(2000)]
)
def test_what_is_no_archive_is_refused(data: bytes):
    with pytest.raises(BadArchive):
        read(data)


@given(st.integers(min_value=0))
def test_a_cut_off_archive_is_refused(at: int):
    whole = packed(Packed("a", b"x" * 3000), Packed("b/c", os.urandom(100)))
    with pytest.raises(BadArchive):
        read(whole[: at % len(whole)])


@settings(max_examples=300, deadline=None)
@given(st.integers(min_value=0, max_value=2047), st.binary(min_size=1, max_size=20))
def test_damage_anywhere_never_gets_past_as_another_error(at: int, noise: bytes):
    inner = bytearray(gzip.decompress(packed(Packed("a/b", b"x" * 700), Packed(LONG, b"y"))))
    inner[at : at + len(noise)] = noise
    try:
        found = read(gzip.compress(bytes(inner), 1))
    except BadArchive:
        return
    assert all(".." not in one.path.split("/") and not one.path.startswith("/") for one in found)
