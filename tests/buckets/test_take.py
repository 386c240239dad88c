"""Taking from a bucket of moto: what comes, what it costs, and what is left out."""

import dataclasses
from typing import Any

import msgspec
import pytest
from moto.core.authorization import enable_iam_authentication

from tests.artifacts.contents import lose
from tests.buckets.conftest import Counting
from tests.buckets.store import Moto
from trimtab.api.bucket import BucketSpec
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Terminal, Transient
from trimtab.remotes.outbound import Outbound
from trimtab.remotes.s3 import storage
from trimtab.remotes.s3.listing import Object
from trimtab.sources import bucket as bucket_module
from trimtab.sources.bucket import Access, AuthenticationFailed, BucketFailed, BucketSource, Keys, Wanted

ANYBODY = Access()
SIGNED = Access(keys=Keys("reader", "s3cret"))


def wanted(moto: Moto, name: str, **fields: Any) -> Wanted:
    body = {"endpoint": moto.host, "bucketName": name, "interval": "1m", "insecure": True, **fields}
    return Wanted.from_api(msgspec.convert(body, BucketSpec))


def files(snapshot: Snapshot) -> dict[str, bytes]:
    return {entry.path: snapshot.read(entry.path) for entry in snapshot.tree.entries}


def test_no_timeout_holds_a_slot_for_longer_than_ten_minutes(moto: Moto) -> None:
    assert wanted(moto, "any", timeout="30s").bound_s == 30
    assert wanted(moto, "any", timeout="99h").bound_s == 600


async def test_ignore_files_are_remembered_but_few_of_them(
    moto: Moto, source: BucketSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def get(_self: Any, _place: Any, _access: Any, one: Object) -> bytes:
        asked.append(one.etag)
        return one.etag.encode()

    monkeypatch.setattr(storage.Storage, "get", get)
    for number in (*range(200), 199):
        one = Object(".sourceignore", str(number), 3)
        assert await source._ignore_file(wanted(moto, "any"), ANYBODY, None, one) == str(number).encode()
        assert len(source._ignores) <= 64
    assert len(asked) == 200


@pytest.mark.parametrize("access", [ANYBODY, SIGNED], ids=["anybody", "signed"])
async def test_the_files_come_with_their_whole_keys_and_a_revision(
    moto: Moto, source: BucketSource, transport: Counting, access: Access, request: pytest.FixtureRequest
) -> None:
    odd = {"a.yaml": b"kind: A\n", "deep/er/b c+%&ü.yaml": b"kind: B\n", "empty": b"", "dir/": b""}
    name = moto.bucket(f"whole-{request.node.callspec.id}", odd)
    snapshot = await source.take(wanted(moto, name), access, None)
    assert files(snapshot) == {key: content for key, content in odd.items() if key != "dir/"}
    assert snapshot.revision.startswith("sha256:")
    assert len(snapshot.revision) == 71
    assert all(("Authorization" in one.headers) is (access is SIGNED) for one in transport.sent)


async def test_an_unchanged_bucket_costs_the_list_and_nothing_more(
    moto: Moto, source: BucketSource, transport: Counting, tmp_path: Any
) -> None:
    name = moto.bucket("unchanged", {f"{n}.yaml": str(n) for n in range(20)} | {".sourceignore": "*.md\n", "x.md": "x"})
    first = await source.take(wanted(moto, name), ANYBODY, None)
    transport.sent.clear()
    assert await source.take(wanted(moto, name), ANYBODY, first) is first
    assert transport.keys() == [""]

    # And in a process that remembers nothing but what it published.
    anew = BucketSource(Store(tmp_path / "store"), Outbound(transport, SystemClock()), SystemClock())
    restored = Snapshot(first.store, first.store.load(first.tree.digest), first.revision)
    transport.sent.clear()
    assert await anew.take(wanted(moto, name), ANYBODY, restored) is restored
    assert transport.keys() == [""]


async def test_only_what_changed_is_fetched(moto: Moto, source: BucketSource, transport: Counting) -> None:
    name = moto.bucket("changed", {f"{n}.yaml": str(n) for n in range(9)})
    first = await source.take(wanted(moto, name), ANYBODY, None)
    moto.put(name, "3.yaml", "three")
    moto.put(name, "new.yaml", "new")
    moto.remove(name, "5.yaml")
    transport.sent.clear()
    second = await source.take(wanted(moto, name), ANYBODY, first)
    assert sorted(transport.keys()) == ["", "3.yaml", "new.yaml"]
    assert second.revision != first.revision
    expected = {f"{n}.yaml": str(n).encode() for n in range(9) if n != 5} | {"3.yaml": b"three", "new.yaml": b"new"}
    assert files(second) == expected


async def test_a_content_that_is_lost_from_the_cache_is_fetched_again(
    moto: Moto, source: BucketSource, transport: Counting
) -> None:
    name = moto.bucket("lost", {"a.yaml": "a", "b.yaml": "b"})
    first = await source.take(wanted(moto, name), ANYBODY, None)
    lost = first.tree.get("a.yaml")
    assert lost
    lose(first.store, lost.sha256)
    moto.put(name, "b.yaml", "bb")
    transport.sent.clear()
    second = await source.take(wanted(moto, name), ANYBODY, first)
    assert sorted(transport.keys()) == ["", "a.yaml", "b.yaml"]
    assert files(second) == {"a.yaml": b"a", "b.yaml": b"bb"}


async def test_the_same_keys_and_etags_in_another_bucket_are_not_the_same_content(
    moto: Moto, source: BucketSource, transport: Counting
) -> None:
    one, other = (moto.bucket(name, {"a.yaml": "a"}) for name in ("same-one", "same-other"))
    first = await source.take(wanted(moto, one), ANYBODY, None)
    transport.sent.clear()
    second = await source.take(wanted(moto, other), ANYBODY, first)
    assert second.revision != first.revision
    assert transport.keys() == ["", "a.yaml"]


async def test_a_prefix_is_asked_of_the_server_and_keys_stay_whole(
    moto: Moto, source: BucketSource, transport: Counting
) -> None:
    name = moto.bucket("prefixed", {"apps/a.yaml": "a", "apps/x.md": "x", "apps2.yaml": "b", "z": "z"})
    first = await source.take(wanted(moto, name, prefix="apps/"), ANYBODY, None)
    assert files(first) == {"apps/a.yaml": b"a", "apps/x.md": b"x"}
    assert {one.url.query["prefix"] for one in transport.sent if "list-type" in one.url.query} == {
        "apps/",
        ".sourceignore",
    }
    # The ignore file of the whole bucket counts, as in Flux.
    moto.put(name, ".sourceignore", "*.md\n")
    transport.sent.clear()
    second = await source.take(wanted(moto, name, prefix="apps/"), ANYBODY, first)
    assert files(second) == {"apps/a.yaml": b"a"}
    assert transport.keys() == ["", "", ".sourceignore"]
    transport.sent.clear()
    assert await source.take(wanted(moto, name, prefix="apps/"), ANYBODY, second) is second
    assert transport.keys() == ["", ""]


async def test_what_is_ignored_is_not_fetched_and_its_changes_are_none(
    moto: Moto, source: BucketSource, transport: Counting
) -> None:
    name = moto.bucket("ignored", {"a.yaml": "a", "logo.png": "p", "notes.txt": "n"})
    default = await source.take(wanted(moto, name), ANYBODY, None)
    assert files(default) == {"a.yaml": b"a", "notes.txt": b"n"}
    assert sorted(transport.keys()) == ["", "a.yaml", "notes.txt"]
    moto.put(name, "logo.png", "q")
    assert await source.take(wanted(moto, name), ANYBODY, default) is default
    chosen = await source.take(wanted(moto, name, ignore="*.txt\n"), ANYBODY, default)
    assert files(chosen) == {"a.yaml": b"a", "logo.png": b"q"}
    moto.put(name, ".sourceignore", "a.yaml\n")
    after = await source.take(wanted(moto, name, ignore="*.txt\n!a.yaml\n"), ANYBODY, chosen)
    assert set(files(after)) == {".sourceignore", "a.yaml", "logo.png"}


async def test_keys_that_differ_only_in_case_are_left_out_and_listed(moto: Moto, source: BucketSource) -> None:
    name = moto.bucket("case", {"a.yaml": "a", "A.yaml": "A", "b.yaml": "b"})
    snapshot = await source.take(wanted(moto, name), ANYBODY, None)
    assert files(snapshot) == {"b.yaml": b"b"}
    assert snapshot.tree.left_out == ("A.yaml", "a.yaml")
    with pytest.raises(Terminal, match="differs from another only in case"):
        snapshot.read("a.yaml")
    # The revision says that they are there.
    moto.remove(name, "A.yaml")
    moto.remove(name, "a.yaml")
    assert (await source.take(wanted(moto, name), ANYBODY, snapshot)).revision != snapshot.revision


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["a/../../evil"], "not a plain path"),
        (["../evil"], "not a plain path"),
        (["/abs"], "not a relative path|not a plain path"),
        (["./a"], "not a plain path"),
        (["a//b"], "not a plain path"),
        (["a\\..\\b"], "not a plain path"),
        (["a\\b"], "not a plain path"),
        (["a\nb"], "control character"),
        (["a", "a/b"], "both a file and a directory"),
        (["/".join("d" * 65)], "65 directories"),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_a_key_that_cannot_be_a_path_refuses_the_bucket_by_name_and_nothing_is_fetched(
    moto: Moto, source: BucketSource, transport: Counting, keys: list[str], words: str, request: Any
) -> None:
    name = moto.bucket(f"bad-{abs(hash(tuple(keys)))}")
    for key in (*keys, "good.yaml"):
        # moto's path-style server would resolve some of these itself
        moto_put(moto, name, key)
    with pytest.raises(BucketFailed, match=rf"bucket {name} at .*the key .*({words})"):
        await source.take(wanted(moto, name), ANYBODY, None)
    assert transport.keys() == [""]


def moto_put(moto: Moto, bucket: str, key: str) -> None:
    from moto.s3.models import s3_backends

    s3_backends["123456789012"]["aws"].put_object(bucket, key, b"x")


async def test_pages_are_read_to_the_end(
    moto: Moto, source: BucketSource, transport: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_PAGE", 3)
    name = moto.bucket("paged", {f"{n:02}.yaml": str(n) for n in range(10)})
    snapshot = await source.take(wanted(moto, name), SIGNED, None)
    assert len(files(snapshot)) == 10
    assert transport.keys().count("") == 4


async def test_more_objects_or_bytes_than_the_limits_are_an_error_and_never_a_part(
    moto: Moto, source: BucketSource, transport: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = moto.bucket("many", {f"{n}.yaml": "12345" for n in range(6)})
    monkeypatch.setattr(storage, "MAX_OBJECTS", 5)
    with pytest.raises(BucketFailed, match=r"more than 5 objects; choose a part by spec\.prefix"):
        await source.take(wanted(moto, name), ANYBODY, None)
    monkeypatch.undo()
    limits = dataclasses.replace(bucket_module.DEFAULT_LIMITS, bytes=29)
    monkeypatch.setattr(bucket_module, "DEFAULT_LIMITS", limits)
    with pytest.raises(BucketFailed, match="30 bytes of objects; the limit is 29"):
        await source.take(wanted(moto, name), ANYBODY, None)
    assert transport.keys() == ["", ""]


async def test_what_is_not_public_is_read_by_those_who_sign_only(moto: Moto, source: BucketSource) -> None:
    name = moto.bucket("private")
    moto.put(name, "a.yaml", "a", public=False)
    with pytest.raises(
        AuthenticationFailed, match=r"object 'a\.yaml': the server wants cred.*Secret in spec\.secretRef"
    ):
        await source.take(wanted(moto, name), ANYBODY, None)
    assert files(await source.take(wanted(moto, name), SIGNED, None)) == {"a.yaml": b"a"}


async def test_a_server_that_checks_signatures_takes_ours_and_none_with_another_secret(
    moto: Moto, source: BucketSource
) -> None:
    files_ = {"a.yaml": "a", "deep/er/b c+%&ü~.yaml": "b"}
    name = moto.bucket("checked")
    for key, content in files_.items():
        moto.put(name, key, content, public=False)
    access, key = moto.reader()
    with enable_iam_authentication():
        snapshot = await source.take(wanted(moto, name, prefix=""), Access(keys=Keys(access, key)), None)
        prefixed = await source.take(wanted(moto, name, prefix="deep/"), Access(keys=Keys(access, key)), None)
        for keys in (Keys(access, key + "x"), Keys("AKIDNOBODY", key)):
            with pytest.raises(AuthenticationFailed, match="refuses these credentials") as failed:
                await source.take(wanted(moto, name), Access(keys=keys), None)
            assert key not in failed.value.message
    assert files(snapshot) == {key: content.encode() for key, content in files_.items()}
    assert set(files(prefixed)) == {"deep/er/b c+%&ü~.yaml"}


async def test_a_bucket_that_is_not_there_is_named(moto: Moto, source: BucketSource) -> None:
    with pytest.raises(BucketFailed, match=r"bucket nowhere at .* no such bucket \(404\).*NoSuchBucket"):
        await source.take(wanted(moto, "nowhere"), ANYBODY, None)


async def test_what_changes_between_the_list_and_the_content_is_listed_again(
    moto: Moto, source: BucketSource, transport: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = moto.bucket("racing", {"a.yaml": "1"})
    real, moves = storage.Storage.objects, iter(["2"])

    async def then_somebody_writes(self: Any, *arguments: Any) -> Any:
        found = await real(self, *arguments)
        for content in moves:
            moto.put(name, "a.yaml", content)
            break
        return found

    monkeypatch.setattr(storage.Storage, "objects", then_somebody_writes)
    snapshot = await source.take(wanted(moto, name), ANYBODY, None)
    assert files(snapshot) == {"a.yaml": b"2"}
    assert transport.keys() == ["", "a.yaml", "", "a.yaml"]
    assert transport.sent[1].headers["If-Match"].startswith('"')


async def test_what_is_removed_between_the_list_and_the_content_is_no_file(
    moto: Moto, source: BucketSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = moto.bucket("leaving", {"a.yaml": "1", "b.yaml": "2"})
    real = storage.Storage.objects

    async def then_somebody_removes(self: Any, *arguments: Any) -> Any:
        found = await real(self, *arguments)
        moto.remove(name, "a.yaml")
        return found

    monkeypatch.setattr(storage.Storage, "objects", then_somebody_removes)
    assert files(await source.take(wanted(moto, name), ANYBODY, None)) == {"b.yaml": b"2"}


async def test_a_bucket_that_never_rests_is_given_up_for_now(
    moto: Moto, source: BucketSource, transport: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = moto.bucket("restless", {"a.yaml": "0"})
    real, count = storage.Storage.objects, iter(range(1, 99))

    async def then_somebody_writes(self: Any, *arguments: Any) -> Any:
        found = await real(self, *arguments)
        moto.put(name, "a.yaml", str(next(count)))
        return found

    monkeypatch.setattr(storage.Storage, "objects", then_somebody_writes)
    with pytest.raises(BucketFailed, match=r"object 'a\.yaml' was changed"):
        await source.take(wanted(moto, name), ANYBODY, None)
    assert transport.keys() == ["", "a.yaml"] * 3


async def test_a_full_disk_leaves_no_snapshot_and_the_next_pass_succeeds(
    moto: Moto, source: BucketSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = moto.bucket("full", {"a.yaml": "a"})

    def full(*_: Any) -> str:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "put", full)
        with pytest.raises(Transient, match="No space left") as failed:
            await source.take(wanted(moto, name), ANYBODY, None)
    assert failed.value.reason == "StorageOperationFailed"
    assert files(await source.take(wanted(moto, name), ANYBODY, None)) == {"a.yaml": b"a"}
