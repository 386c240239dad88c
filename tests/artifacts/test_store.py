"""The store: content by digest, damage noticed, garbage removed and nothing else."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.artifacts.contents import age, blobs, damage, damage_tree, lose
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import CONTENTS, Corrupt, Store
from trimtab.artifacts.tree import Entry, Tree
from trimtab.base.errors import Terminal

HOUR = 3600.0


def can_mount() -> bool:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    script = "mount -t tmpfs -o size=1m tmpfs /mnt"
    return subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True).returncode == 0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def saved(store: Store, **files: bytes) -> Tree:
    tree = Tree.of([Entry(path, store.put(data), len(data)) for path, data in files.items()])
    store.save(tree)
    return tree


def test_content_is_read_back_by_its_digest(store: Store):
    assert store.read(store.put(b"hello")) == b"hello"
    assert store.read(store.put(b"")) == b""


def test_the_same_content_is_written_once(store: Store):
    sha256 = store.put(b"hello")
    damage(store, sha256, b"jello")
    assert store.put(b"hello") == sha256
    with pytest.raises(Corrupt):
        store.read(sha256)


def test_damage_is_noticed_and_healed_by_the_next_put(store: Store):
    sha256 = store.put(b"hello")
    damage(store, sha256, b"jello")
    with pytest.raises(Corrupt, match=sha256):
        store.read(sha256)
    assert store.put(b"hello") == sha256
    assert store.read(sha256) == b"hello"


def test_many_contents_are_kept_together_and_found_together(store: Store):
    contents = [b"%d" % number for number in range(3000)]
    names = store.put_all([*contents, b"7"])
    assert [store.read(name) for name in names] == [*contents, b"7"]
    assert len(blobs(store)) == 3000
    lose(store, names[1], names[2])
    asked = [(name, len(data)) for name, data in zip(names, contents, strict=False)]
    assert store.keep_all([*asked, (names[0], 2)]) == set(names) - {names[1], names[2]}
    assert not store.keep(names[0], 2)


def test_a_file_that_was_damaged_on_disk_is_begun_anew(store: Store):
    """Over its whole length, or from its middle on: what was in it is missing then, and nothing else happens."""
    for start in (0, 20_000):
        name = store.put_all([b"%d" % number * 1000 for number in range(100)])[50]
        store = Store(store.root)  # nothing of it is in a cache
        file = store.root / CONTENTS
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with file.open("r+b") as written:
            written.seek(start)
            written.write(b"garbage" * ((file.stat().st_size - start) // 7))
        store = Store(store.root)
        with pytest.raises(Corrupt, match="fetched again"):
            store.read(name)
        assert store.read(store.put(b"new")) == b"new"


def test_nobody_else_can_read_it(store: Store):
    store.put(b"hello")
    modes = {path.name: path.stat().st_mode & 0o777 for path in store.root.iterdir() if path.is_file()}
    assert modes.keys() == {CONTENTS, f"{CONTENTS}-wal", f"{CONTENTS}-shm"}
    assert set(modes.values()) == {0o600}


def test_room_goes_back_to_the_disk(store: Store):
    store.put_all([os.urandom(1000) for _ in range(5000)])
    with closing(sqlite3.connect(store.root / CONTENTS)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = (store.root / CONTENTS).stat().st_size
        assert store.collect([], min_age_s=-1).blobs == 5000
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert (store.root / CONTENTS).stat().st_size < before // 10


def test_what_was_lost_is_counted_until_somebody_looks(store: Store):
    tree = saved(store, a=b"1", b=b"2")
    snapshot = Snapshot(store, tree, "r")
    before = store.losses
    assert snapshot.is_whole()
    lose(store, tree.entries[0].sha256)
    with pytest.raises(Corrupt):
        snapshot.read(tree.entries[0].path)
    assert store.losses == before + 1
    assert not snapshot.is_whole()


def test_a_collection_leaves_alone_what_is_named(store: Store):
    named, other = store.put(b"named"), store.put(b"other")
    age(store, 2 * HOUR)
    store.collect([], contents=[named])
    assert blobs(store) == {named}
    assert other != named


@pytest.mark.skipif(not can_mount(), reason="a small file system needs root and mount(8)")
def test_on_a_full_disk_a_collection_makes_room_and_so_does_a_new_start(tmp_path: Path):
    """In a mount namespace of its own: a store that fills the disk, twice."""
    program = f"""if True:
        import errno, os
        from pathlib import Path
        from trimtab.artifacts.store import Corrupt, Store

        def fill(store):
            try:
                while True:
                    store.put_all([os.urandom(4000) for _ in range(100)])
            except OSError as problem:
                assert problem.errno == errno.ENOSPC, problem

        root = Path({str(tmp_path)!r}) / "disk" / "store"
        store = Store(root)
        fill(store)
        losses = store.losses
        store.collect([], min_age_s=-1)
        print(store.read(store.put(b"fits again")) == b"fits again")
        fill(store)
        store = Store(root)
        store.collect([], min_age_s=-1)
        print(store.read(store.put(b"fits again")) == b"fits again")
    """
    (tmp_path / "disk").mkdir()
    script = 'mount -t tmpfs -o size=16m tmpfs "$1" && shift && exec "$@"'
    argv = ["unshare", "-m", "sh", "-c", script, "sh", str(tmp_path / "disk"), sys.executable, "-c", program]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("True\nTrue\n", 0), done.stderr


def test_many_threads_and_another_process_use_it_at_once(store: Store):
    other = f"""if True:
        from pathlib import Path
        from trimtab.artifacts.store import Store
        store = Store(Path({str(store.root)!r}))
        for number in range(300):
            assert store.read(store.put(b"%d" % number)) == b"%d" % number
    """
    process = subprocess.Popen([sys.executable, "-c", other])
    with ThreadPoolExecutor(12) as pool:
        names = list(pool.map(lambda number: store.put(b"%d" % number), range(1000)))
        assert list(pool.map(store.read, names)) == [b"%d" % number for number in range(1000)]
    assert process.wait(60) == 0


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
    damage_tree(store, tree.digest, b'"a"', b'"b"')
    with pytest.raises(Corrupt, match="damaged"):
        store.load(tree.digest)


def test_collection_removes_what_no_live_tree_refers_to(store: Store):
    live, dead = saved(store, a=b"shared", b=b"live"), saved(store, a=b"shared", b=b"dead")
    age(store, 2 * HOUR)
    collected = store.collect([live.digest])
    assert (collected.blobs, collected.trees) == (1, 1)
    assert [store.read(entry.sha256) for entry in live.entries] == [b"shared", b"live"]
    with pytest.raises(Corrupt):
        store.load(dead.digest)


def test_collection_spares_the_work_of_writers(store: Store):
    """A blob just written, one just found to be there already, and those of a tree that is not published yet."""
    old = saved(store, a=b"old", b=b"found")
    unpublished = saved(store, c=b"unpublished")
    age(store, 2 * HOUR)
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
    damage_tree(store, live.digest, b"[", b"damaged")
    age(store, 2 * HOUR)
    with pytest.raises(Corrupt):
        store.collect([live.digest])
    assert store.read(live.entries[0].sha256) == b"live"


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
