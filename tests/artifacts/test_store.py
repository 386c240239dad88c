"""The store: content by digest, damage noticed, garbage removed and nothing else."""

import os
import threading
import time
from pathlib import Path

import pytest

from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Corrupt, Store
from trimtab.artifacts.tree import Entry, Tree
from trimtab.base.errors import Terminal

HOUR = 3600.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def blob_path(store: Store, sha256: str) -> Path:
    return store.root / "blobs" / sha256[:2] / sha256[2:]


def age(path: Path, seconds: float) -> None:
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


def age_all(store: Store, seconds: float) -> None:
    for file in store.root.rglob("*"):
        if file.is_file():
            age(file, seconds)


def saved(store: Store, **files: bytes) -> Tree:
    tree = Tree.of([Entry(path, store.put(data), len(data)) for path, data in files.items()])
    store.save(tree)
    return tree


def test_content_is_read_back_by_its_digest(store: Store):
    assert store.read(store.put(b"hello")) == b"hello"
    assert store.read(store.put(b"")) == b""


def test_the_same_content_is_written_once(store: Store):
    sha256 = store.put(b"hello")
    inode = blob_path(store, sha256).stat().st_ino
    store.put(b"hello")
    assert blob_path(store, sha256).stat().st_ino == inode


def test_damage_is_noticed_and_healed_by_the_next_put(store: Store):
    sha256 = store.put(b"hello")
    blob_path(store, sha256).write_bytes(b"jello")
    with pytest.raises(Corrupt, match=sha256):
        store.read(sha256)
    assert store.put(b"hello") == sha256
    assert store.read(sha256) == b"hello"


def test_a_file_cut_off_by_a_power_failure_is_written_again(store: Store):
    sha256 = store.put(b"hello")
    blob_path(store, sha256).write_bytes(b"")
    store.put(b"hello")
    assert store.read(sha256) == b"hello"


def test_missing_content_says_what_happens_next(store: Store):
    with pytest.raises(Corrupt, match="fetched again"):
        store.read("0" * 64)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "0" * 63 + "\n", "0" * 64 + "/.."])
def test_only_digests_are_names(store: Store, name: str):
    with pytest.raises(ValueError, match="not a SHA-256"):
        store.read(name)


def test_trees_survive_and_damaged_ones_are_noticed(store: Store):
    tree = saved(store, a=b"1")
    assert store.load(tree.digest) == tree
    path = store.root / "trees" / tree.digest[:2] / tree.digest[2:]
    path.write_bytes(path.read_bytes().replace(b'"a"', b'"b"'))
    with pytest.raises(Corrupt, match="damaged"):
        store.load(tree.digest)


def test_collection_removes_what_no_live_tree_refers_to(store: Store):
    live, dead = saved(store, a=b"shared", b=b"live"), saved(store, a=b"shared", b=b"dead")
    age_all(store, 2 * HOUR)
    collected = store.collect([live.digest])
    assert (collected.blobs, collected.trees) == (1, 1)
    assert [store.read(entry.sha256) for entry in live.entries] == [b"shared", b"live"]
    with pytest.raises(Corrupt):
        store.load(dead.digest)


def test_collection_spares_the_work_of_writers(store: Store):
    """A blob just written, one just found to be there already, and those of a tree that is not published yet."""
    old = saved(store, a=b"old", b=b"found")
    unpublished = saved(store, c=b"unpublished")
    age_all(store, 2 * HOUR)
    fresh = store.put(b"fresh")
    found = store.put(b"found")
    store.save(unpublished)
    store.collect([])
    assert store.read(fresh) == b"fresh"
    assert store.read(found) == b"found"
    assert store.read(unpublished.entries[0].sha256) == b"unpublished"
    with pytest.raises(Corrupt):
        store.read(old.entries[0].sha256)


def test_a_live_tree_that_cannot_be_read_stops_the_collection(store: Store):
    live = saved(store, a=b"live")
    (store.root / "trees" / live.digest[:2] / live.digest[2:]).write_bytes(b"damaged")
    age_all(store, 2 * HOUR)
    with pytest.raises(Corrupt):
        store.collect([live.digest])
    assert store.read(live.entries[0].sha256) == b"live"


def test_leftovers_of_killed_writers_go(store: Store):
    left = store.root / "blobs" / "00" / ".new-0123"
    left.write_bytes(b"half")
    store.collect([])
    assert left.exists()
    age(left, 2 * HOUR)
    store.collect([])
    assert not left.exists()


def test_writers_and_collections_at_once_lose_nothing(store: Store):
    stop = threading.Event()

    def collect() -> None:
        while not stop.is_set():
            store.collect([], min_age_s=60)

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        for number in range(300):
            tree = saved(store, a=b"%d" % (number % 50), b=b"%d" % number)
            assert all(store.read(entry.sha256) for entry in tree.entries)
    finally:
        stop.set()
        collector.join()


def test_a_file_that_a_writer_renames_during_a_collection_stops_nothing(store: Store, monkeypatch: pytest.MonkeyPatch):
    tree = saved(store, a=b"a")
    listed = Store._files

    def vanishing(kind: Path):
        temporary = kind / "00" / ".new-0"
        temporary.write_bytes(b"")
        for found in listed(kind):
            temporary.unlink(missing_ok=True)
            yield found

    monkeypatch.setattr(Store, "_files", staticmethod(vanishing))
    store.collect([], min_age_s=60)
    assert store.load(tree.digest) == tree


def test_snapshot_writes_what_was_asked_for(store: Store, tmp_path: Path):
    entries = [Entry("a/x.yaml", store.put(b"x"), 1), Entry("a/run", store.put(b"r"), 1, True)]
    snapshot = Snapshot(store, Tree.of([*entries, Entry("b/y", store.put(b"y"), 1)], ["a/link"]), "main@sha1:0")
    dest = tmp_path / "out"
    dest.mkdir()
    snapshot.materialise(dest, ["a"])
    assert sorted(str(path.relative_to(dest)) for path in dest.rglob("*") if path.is_file()) == ["a/run", "a/x.yaml"]
    assert os.access(dest / "a/run", os.X_OK)
    assert (dest / "a/x.yaml").stat().st_mode & 0o111 == 0
    snapshot.materialise(dest, ["b/y"])
    assert (dest / "b/y").read_bytes() == b"y"
    with pytest.raises(FileNotFoundError):
        snapshot.materialise(dest, ["c"])
    with pytest.raises(Terminal, match="a/link is a link"):
        snapshot.read("a/link")


def test_materialise_follows_no_link_planted_at_the_destination(store: Store, tmp_path: Path):
    snapshot = Snapshot(store, Tree.of([Entry("a", store.put(b"x"), 1)]), "r")
    dest = tmp_path / "out"
    dest.mkdir()
    (dest / "a").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError):
        snapshot.materialise(dest)
    assert not (tmp_path / "victim").exists()
