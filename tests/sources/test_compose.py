"""One snapshot of several: what lies over what, and what cannot lie together."""

from pathlib import Path

import pytest

from tests.artifacts.contents import blobs
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Entry, Tree
from trimtab.base.errors import Terminal, Transient
from trimtab.sources import compose as composing
from trimtab.sources.compose import Overlay, compose, inside


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def snapshot(store: Store, files: dict[str, bytes], left_out: tuple[str, ...] = ()) -> Snapshot:
    entries = [Entry(path, store.put(data), len(data), path.endswith(".sh")) for path, data in files.items()]
    tree = Tree.of(entries, left_out)
    store.save(tree)
    return Snapshot(store, tree, "main@sha1:" + "1" * 40)


def files(found: Snapshot) -> dict[str, bytes]:
    return {entry.path: found.read(entry.path) for entry in found.tree.entries}


def over(other: Snapshot, to: str = "base", start: str = "") -> Overlay:
    return Overlay("base", other, inside(start, "fromPath"), inside(to, "toPath"))


def test_what_is_included_lies_on_top_and_the_last_one_highest(store):
    own = snapshot(store, {"a": b"own", "base/x": b"own", "base/kept": b"own"})
    first = snapshot(store, {"x": b"1", "run.sh": b"1", "d/y": b"1"})
    second = snapshot(store, {"x": b"2"})
    found = compose(own, [over(first), over(second)], None)
    assert files(found) == {
        "a": b"own",
        "base/x": b"2",
        "base/kept": b"own",
        "base/run.sh": b"1",
        "base/d/y": b"1",
    }
    assert found.tree.get("base/run.sh").executable
    assert found.revision == own.revision
    assert store.load(found.tree.digest) == found.tree
    assert found.tree.digest == compose(own, [over(first), over(second)], None).tree.digest


def test_no_content_is_written(store):
    own, other = snapshot(store, {"a": b"1"}), snapshot(store, {"b": b"2"})
    before = blobs(store)
    compose(own, [over(other)], None)
    assert blobs(store) == before


def test_a_directory_or_a_file_of_it_goes_where_it_is_said(store):
    own = snapshot(store, {"a": b"own"})
    other = snapshot(store, {"deploy/prod/x": b"1", "deploy/prodigal": b"2", "README": b"3"})
    assert files(compose(own, [over(other, "./vendor/base/", "./deploy/prod/")], None)) == {
        "a": b"own",
        "vendor/base/x": b"1",
    }
    assert files(compose(own, [over(other, "docs/README.txt", "README")], None))["docs/README.txt"] == b"3"
    assert files(compose(own, [over(other, "/", "/deploy")], None)).keys() == {"a", "prod/x", "prodigal"}


def test_the_rules_of_the_whole_hold_for_what_is_laid_into_it(store):
    own = snapshot(store, {"a": b"1", ".sourceignore": b"*.md\n"})
    other = snapshot(store, {"x.yaml": b"1", "x.md": b"2", "logo.png": b"3", "private/x": b"4"}, ("link.md", "link"))
    found = compose(own, [over(other)], None)
    assert files(found).keys() == {"a", ".sourceignore", "base/x.yaml", "base/private/x"}
    assert found.tree.left_out == ("base/link",)
    assert files(compose(own, [over(other)], "/base/private/")).keys() == {
        "a",
        ".sourceignore",
        "base/x.yaml",
        "base/logo.png",
    }


def test_what_was_left_out_is_still_listed_and_may_be_filled(store):
    own = snapshot(store, {"a": b"1"}, ("base/x", "link"))
    other = snapshot(store, {"x": b"1"}, ("sub/link", "other"))
    found = compose(own, [over(other, "base")], None)
    assert found.tree.left_out == ("base/other", "base/sub/link", "link")
    assert compose(own, [over(snapshot(store, {"sub/x": b"1"}, ("sub/l", "o")), "b", "sub")], None).tree.left_out == (
        "b/l",
        "base/x",
        "link",
    )


def test_names_that_collide_by_case_are_left_out(store):
    found = compose(snapshot(store, {"Base/x": b"1", "a": b"2"}), [over(snapshot(store, {"x": b"1"}))], None)
    assert files(found) == {"a": b"2"}
    assert found.tree.left_out == ("Base/x", "base/x")


@pytest.mark.parametrize(
    ("own", "other", "to"),
    [
        ({"base": b"file"}, {"x": b"1"}, "base"),
        ({"base/x/y": b"1"}, {"x": b"file"}, "base"),
        ({"a": b"1"}, {"x": b"1"}, "a/b/c"),
    ],
)
def test_a_file_and_a_directory_do_not_fit_in_one_place(store, own, other, to):
    with pytest.raises(Transient, match="a file and a directory; change its toPath") as caught:
        compose(snapshot(store, own), [over(snapshot(store, other), to)], None)
    assert caught.value.reason == "InvalidPath"


def test_what_is_not_there_is_named(store):
    own, other = snapshot(store, {"a": b"1"}), snapshot(store, {"x": b"1"}, ("link",))
    with pytest.raises(Transient, match=r"GitRepository base at main@sha1:1.*'gone'.*no such file or directory"):
        compose(own, [over(other, "b", "gone")], None)
    with pytest.raises(Transient, match=r"'link/x'.*link is a link"):
        compose(own, [over(other, "b", "link/x")], None)


def test_all_together_are_within_the_limits_of_an_artifact(store, monkeypatch):
    own, other = snapshot(store, {"a": b"1" * 60}), snapshot(store, {"x": b"1" * 60})
    monkeypatch.setattr(composing, "MAX_BYTES", 100)
    with pytest.raises(Transient, match="2 files of 120 bytes; the limits are 50000 and 100"):
        compose(own, [over(other)], None)
    monkeypatch.setattr(composing, "MAX_BYTES", 1000)
    monkeypatch.setattr(composing, "MAX_FILES", 1)
    with pytest.raises(Transient, match="2 files"):
        compose(own, [over(other)], None)
    monkeypatch.setattr(composing, "MAX_FILES", 10)
    deep = snapshot(store, {"/".join("d" * 40) + "/x": b"1"})
    with pytest.raises(Transient, match="too long"):
        compose(own, [over(deep, "/".join("t" * 40))], None)


@pytest.mark.parametrize(
    "path", ["..", "../x", "a/../../b", "a/..", ".git", "a/.GIT/hooks", "a\0b", "a\nb", "a\\..\\b"]
)
def test_paths_that_lead_out_are_refused(path: str):
    with pytest.raises(Terminal, match=r"spec\.include\[0\]\.toPath") as caught:
        inside(path, "spec.include[0].toPath")
    assert caught.value.reason == "InvalidPath"
