"""What every source has in common, where it goes wrong: a disk that is full, and one revision with several contents."""

import contextlib
import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trimtab.api.gvk import GIT_REPOSITORY
from trimtab.api.source import GitRepository
from trimtab.artifacts.publish import Publisher
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Entry, Tree
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Transient
from trimtab.controllers.index import SourceId, SourceIndex
from trimtab.controllers.producing import Produced, Static, Withheld
from trimtab.controllers.sourcing import Sources, Surroundings
from trimtab.kube.client import Client
from trimtab.manifests.refs import Key
from trimtab.runtime.controller import Done


class Full(Publisher):
    """A publisher whose disk is full when a test says so."""

    full = False

    async def publish(self, *arguments: Any, **options: Any) -> Any:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return await super().publish(*arguments, **options)


class Producing:
    """Gives what the test says, always at the same revision."""

    gvk = GIT_REPOSITORY

    def __init__(self, store: Store) -> None:
        self.store, self.content = store, b"1"

    def check(self, item: GitRepository) -> None:
        return

    async def produce(self, item: GitRepository, status: Any, held: Snapshot | None) -> Produced:
        tree = Tree.of([Entry("a", self.store.put(self.content), len(self.content))])
        return Produced(Snapshot(self.store, tree, "main@sha1:" + "1" * 40))


async def test_a_full_disk_is_told_and_the_last_artifact_stays_with_its_own_contents(
    client: Client, home: str, tmp_path: Path
) -> None:
    store, index = Store(tmp_path), SourceIndex()
    publisher, producer = Full(store, "http://h", SystemClock()), Producing(store)
    key, told = Key(home, "repo"), list[str]()
    resource = await client.discovery.find(GIT_REPOSITORY)
    spec = {"url": "https://h/x", "interval": "1m"}
    body = {"apiVersion": GIT_REPOSITORY.api_version, "kind": GIT_REPOSITORY.kind, "spec": spec}
    await client.create(resource, {**body, "metadata": {"name": "repo", "namespace": home}}, home)
    objects = SimpleNamespace(store={key: await client.get(resource, "repo", home, type=GitRepository)})
    recorder = SimpleNamespace(record=lambda involved, type_, reason, message, metadata: told.append(reason))
    sources = Sources(
        Surroundings(client, objects, publisher, index, recorder, SystemClock()), producer, lambda _key: None
    )

    async def status() -> Any:
        return (await client.get(resource, "repo", home, type=GitRepository)).status

    await sources.reconcile(key)
    first = (await status()).artifact
    publisher.full, producer.content = True, b"2"
    for _ in range(2):
        with pytest.raises(Transient, match="No space left"):
            await sources.reconcile(key)
    now = await status()
    assert {(one.type, one.status, one.reason) for one in now.conditions} == {
        ("Reconciling", "True", "ProgressingWithRetry"),
        ("Ready", "False", "ArchiveOperationFailed"),
        ("StorageOperationFailed", "True", "ArchiveOperationFailed"),
        ("ArtifactInStorage", "True", "Succeeded"),
    }
    published = index.get(SourceId("GitRepository", key))
    assert now.artifact == published.artifact == first
    assert published.snapshot.read("a") == b"1"
    publisher.full = False
    await sources.reconcile(key)
    published = index.get(SourceId("GitRepository", key))
    assert (await status()).artifact == published.artifact != first
    assert published.snapshot.read("a") == b"2"
    assert {one.type for one in (await status()).conditions} == {"Ready", "ArtifactInStorage"}
    assert told == ["NewArtifact", "ArchiveOperationFailed"]


async def test_who_has_nothing_to_look_at_is_not_missed_and_is_looked_at_again_once_there_is(
    client: Client, home: str, tmp_path: Path
) -> None:
    """The watchdog asks for every object whether it was looked at in time."""
    store, key = Store(tmp_path), Key(home, "repo")
    resource = await client.discovery.find(GIT_REPOSITORY)
    body = {"apiVersion": GIT_REPOSITORY.api_version, "kind": GIT_REPOSITORY.kind}
    body |= {"metadata": {"name": "repo", "namespace": home}, "spec": {"url": "https://h/x", "interval": "1m"}}
    await client.create(resource, body, home)
    objects = SimpleNamespace(store={key: await client.get(resource, "repo", home, type=GitRepository)})
    recorder = SimpleNamespace(record=lambda *_: None)
    producer, publisher = Producing(store), Publisher(store, "http://h", SystemClock())
    sources = Sources(
        Surroundings(client, objects, publisher, SourceIndex(), recorder, SystemClock()), producer, lambda _key: None
    )
    check, producer.check = producer.check, raising(Static())  # type: ignore[method-assign]
    for _ in range(2):
        assert await sources.reconcile(key) == Done()
        assert sources.state(key).interval_s == float("inf")
    producer.check = check  # type: ignore[method-assign]
    await sources.reconcile(key)
    assert sources.state(key).interval_s == 60.0


async def test_a_revision_that_is_held_is_so_until_a_good_one_comes_and_refused_by_the_looks_that_saw_it(
    client: Client, home: str, tmp_path: Path
) -> None:
    store, key = Store(tmp_path), Key(home, "repo")
    resource = await client.discovery.find(GIT_REPOSITORY)
    body = {"apiVersion": GIT_REPOSITORY.api_version, "kind": GIT_REPOSITORY.kind}
    body |= {"metadata": {"name": "repo", "namespace": home}, "spec": {"url": "https://h/x", "interval": "1m"}}
    await client.create(resource, body, home)
    objects = SimpleNamespace(store={key: await client.get(resource, "repo", home, type=GitRepository)})
    recorder = SimpleNamespace(record=lambda *_: None)
    producer, publisher = Producing(store), Publisher(store, "http://h", SystemClock())
    sources = Sources(
        Surroundings(client, objects, publisher, SourceIndex(), recorder, SystemClock()), producer, lambda _key: None
    )
    check, seen = producer.check, []
    for failure in (
        Withheld("it is not signed"),
        Withheld("no keys", again=True),
        Transient("GitFailed", "away"),
        None,
    ):
        producer.check = raising(failure) if failure else check  # type: ignore[method-assign]
        with contextlib.suppress(Transient):
            await sources.reconcile(key)
        state = sources.state(key)
        seen.append((state.revision_held, state.unverified))
    assert seen == [(True, "refused"), (True, "keys"), (True, ""), (False, "")]


def raising(failure: Exception) -> Any:
    def check(_item: GitRepository) -> None:
        raise failure

    return check
