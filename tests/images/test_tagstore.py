"""The cache of tags: what was kept comes back, what is damaged or too large is as good as lost, and it is bounded."""

import zlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from trimtab.images import tagstore
from trimtab.images.tagstore import Seen, TagStore
from trimtab.manifests.refs import Key

KEY, MOMENT = Key("shop", "app"), datetime(2026, 1, 1, tzinfo=UTC)
SEEN = Seen("uid", "ghcr.io/acme/app", MOMENT, '"1"', "digest", {"1.0.0": 5.0})


@pytest.fixture
def store(tmp_path: Path) -> TagStore:
    return TagStore(tmp_path / "images" / "tags.db")


def test_what_was_seen_comes_back_in_another_process(store: TagStore, tmp_path: Path) -> None:
    store.keep(KEY, SEEN, ["1.0.0", "1.1.0"])
    again = TagStore(tmp_path / "images" / "tags.db")
    assert (again.seen(KEY), again.tags(KEY, "uid")) == (SEEN, {"1.0.0", "1.1.0"})
    later = datetime(2026, 1, 2, tzinfo=UTC)
    again.touch(KEY, later)
    assert store.seen(KEY) == SEEN._replace(scanned=later)
    assert store.tags(KEY, "another uid") is None
    store.keep(KEY, SEEN, [])
    assert store.tags(KEY, "uid") == frozenset()
    store.forget(KEY)
    assert (store.seen(KEY), store.tags(KEY, "uid")) == (None, None)


def test_only_what_is_there_is_kept(store: TagStore) -> None:
    other = Key("shop", "other")
    for key, uid in ((KEY, "uid"), (other, "other")):
        store.keep(key, SEEN._replace(uid=uid), ["1.0.0"])
        store.note(uid, "1.0.0", "sha256:a", MOMENT)
    store.keep_only([other])
    assert (store.seen(KEY), store.pushed("uid", ["1.0.0"])) == (None, {})
    assert store.pushed("other", ["1.0.0", "2.0.0"]) == {"1.0.0": ("sha256:a", MOMENT)}


def test_what_was_looked_up_of_a_tag_goes_with_it(store: TagStore) -> None:
    for tag in ("1.0.0", "1.1.0"):
        store.note("uid", tag, f"sha256:{tag}", MOMENT)
        store.note("other", tag, f"sha256:{tag}", MOMENT)
    store.keep(KEY, SEEN, ["1.1.0"])
    assert set(store.pushed("uid", ["1.0.0", "1.1.0"])) == {"1.1.0"}
    assert set(store.pushed("other", ["1.0.0", "1.1.0"])) == {"1.0.0", "1.1.0"}
    assert store.created("sha256:1.0.0") == (MOMENT,), "what is behind a digest stays known"
    store.keep(KEY, SEEN._replace(image="ghcr.io/acme/other"), ["1.1.0"])
    assert store.pushed("uid", ["1.1.0"]) == {}, "that was another image"


def test_a_damaged_file_is_as_good_as_none(store: TagStore, tmp_path: Path) -> None:
    store.keep(KEY, SEEN, [f"1.0.{number}" for number in range(20_000)])
    for file in (tmp_path / "images").glob("tags.db*"):
        file.write_bytes(b"\0" * 100_000)
    again = TagStore(tmp_path / "images" / "tags.db")
    assert (again.seen(KEY), again.tags(KEY, "uid")) == (None, None)
    again.keep(KEY, SEEN, ["1.0.0"])
    assert again.tags(KEY, "uid") == {"1.0.0"}


def test_a_list_that_unpacks_to_more_than_there_can_be_is_lost(
    store: TagStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.keep(KEY, SEEN, ["x" * 100_000])
    monkeypatch.setattr(tagstore, "_LONGEST_LISTING", 10_000)
    assert store.tags(KEY, "uid") is None
    monkeypatch.setattr(zlib, "compress", lambda _data, _level: b"rubbish")
    store.keep(KEY, SEEN, ["a"])
    assert store.tags(KEY, "uid") is None


def test_times_are_remembered_by_content_and_the_oldest_make_room(
    store: TagStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tagstore, "MOST_TIMES", 3)
    for number in range(5):
        store.note("uid", f"1.0.{number}", f"sha256:{number}", None if number == 4 else MOMENT)
    assert store.created("sha256:3") == (MOMENT,)
    assert store.created("sha256:4") == (None,)
    assert store.created("sha256:0") is None
    assert store.pushed("uid", ["1.0.0", "1.0.4"]) == {"1.0.4": ("sha256:4", None)}
