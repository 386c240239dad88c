"""What an edit may ask for: each refusal, without a repository."""

import pytest

from trimtab.base.errors import Terminal
from trimtab.commits import Changes, Entry, Snapshot
from trimtab.commits.changes import index_lines, inside, judged

OID, OTHER = "1" * 40, "2" * 40
SNAPSHOT = Snapshot(
    "c" * 40,
    {
        "prod/a.yaml": Entry("100644", OID, 2),
        "prod/run": Entry("100755", OID, 2),
        "prod/link": Entry("120000", OID, 2),
        "prod/sub": Entry("160000", OID),
        "b.yaml": Entry("100644", OID, 2),
    },
    {"prod/a.yaml": b"a\n", "prod/run": b"r\n", "b.yaml": b"b\n"},
)


def test_the_mode_of_a_file_stays_and_what_is_equal_is_no_change():
    pieces = judged(SNAPSHOT, Changes({"prod/run": b"R\n", "prod/a.yaml": b"a\n"}), "prod")
    assert [(piece.path, piece.mode, piece.data) for piece in pieces] == [("prod/run", "100755", b"R\n")]
    assert index_lines(pieces, {"prod/run": OTHER}) == f"100755 {OTHER}\tprod/run\0".encode()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (Changes({"b.yaml": b""}), "outside of 'prod'"),
        (Changes({"prod/none.yaml": b""}), "is not a file of commit"),
        (Changes({"prod/link": b""}), "is a link"),
        (Changes({"prod/link/a.yaml": b""}), "'prod/link' is a link"),
        (Changes({"prod/sub": b""}), "is a submodule"),
        (Changes(created={"prod/a.yaml": b""}), "is there already"),
        (Changes(created={"prod/sub/x": b""}), "'prod/sub' is a submodule"),
        (Changes(created={"prod/a.yaml/x": b""}), "'prod/a.yaml' is a file"),
        (Changes(created={"prod": b""}), "it is a directory"),
        (Changes(created={"prod/../b2": b""}), "not a plain path"),
        (Changes(created={"prod/.GIT/hooks": b""}), "not a plain path"),
        (Changes(created={"prod/a\nb": b""}), "not a plain path"),
        (Changes(created={"prodigal/x": b""}), "outside of 'prod'"),
        (Changes({"prod/a.yaml": b"1"}, restored={"prod/a.yaml": None}), "two things"),
        (Changes(restored={"prod/run/x": Entry("100644", OID, 2)}), "which is not a directory"),
        (Changes(restored={"b.yaml": None}), "outside of 'prod'"),
        (Changes(created={"prod/big": b"x" * (65 << 20)}), "limits"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_must_not_be_done_is_refused(changes: Changes, why: str):
    with pytest.raises(Terminal, match="nothing is committed") as refusal:
        judged(SNAPSHOT, changes, "prod")
    assert why in str(refusal.value)


def test_a_directory_may_take_the_place_of_a_file_that_goes():
    restored = {"prod/run": None, "prod/run/x": Entry("100644", OTHER, 2)}
    lines = index_lines(judged(SNAPSHOT, Changes(restored=restored), "prod"), {}).split(b"\0")
    assert [line.split(b"\t")[1] for line in lines[:-1]] == [b"prod/run", b"prod/run/x"]
    assert lines[0].startswith(b"0 ")


@pytest.mark.parametrize("path", ["../x", "a/../../x", ".git", "a/.git/x", "a\0b", "\ud800"], ids=ascii)
def test_a_directory_outside_the_repository_is_refused(path: str):
    with pytest.raises(Terminal, match="not a directory inside"):
        inside(path)


def test_a_directory_is_read_as_people_write_it():
    assert [inside(path) for path in ("./", "", "./a//b/", "/a")] == ["", "", "a/b", "a"]
