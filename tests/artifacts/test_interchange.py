"""Interchange with Flux: its rules read what we pack, and we read what it packs."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.artifacts import flux_reader, flux_writer
from trimtab.artifacts.archive import Member, read_archive
from trimtab.artifacts.tarball import Packed, write_archive
from trimtab.artifacts.tree import Entry, without_collisions

LONG = "/".join(["a-rather-long-name-of-a-directory"] * 7) + "/file.yaml"
names = st.lists(
    st.text(alphabet="aB.\\é-_ ", min_size=1, max_size=30).filter(lambda n: n.strip(".")), min_size=1, max_size=5
)
trees = st.dictionaries(names.map("/".join), st.binary(max_size=1500), max_size=6)


@settings(deadline=None)
@given(trees)
def test_whatever_a_source_holds_flux_reads_what_we_pack_of_it(wanted: dict[str, bytes]) -> None:
    kept, _ = without_collisions([Entry(path, "0" * 64, 0) for path in wanted if not _both(path, wanted)])
    files = {entry.path: wanted[entry.path] for entry in kept}
    out = io.BytesIO()
    write_archive(out, (Packed(path, data, len(data) % 2 == 1) for path, data in files.items()))
    assert flux_reader.unpack(out.getvalue()) == (files, {path for path, data in files.items() if len(data) % 2 == 1})


@pytest.mark.parametrize("note", [False, True])
def test_what_flux_packs_is_read_with_its_modes(note: bool) -> None:
    files = {"a.yaml": b"1", "deep/er/b.sh": b"#!", LONG: b"long", "ü/ö.yaml": b"2", "empty": b""}
    packed = flux_writer.pack(files, executable=frozenset({"deep/er/b.sh"}), note=note)
    assert flux_reader.unpack(packed)[0] == files
    found = {found.path: found for found in read_archive(io.BytesIO(packed)) if isinstance(found, Member)}
    assert {path: one.data for path, one in found.items()} == files
    assert [path for path, one in found.items() if one.executable] == ["deep/er/b.sh"]


def _both(path: str, paths: dict[str, bytes]) -> bool:
    """Whether it would be a file and a directory, which no source can hold."""
    return any(other.startswith(path + "/") or path.startswith(other + "/") for other in paths)
