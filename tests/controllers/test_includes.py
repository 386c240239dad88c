"""Which GitRepositories go into which others: who is told, and what goes round in a circle."""

from types import SimpleNamespace

import pytest

from trimtab.api.meta import LocalRef, ObjectMeta
from trimtab.api.source import Artifact, GitInclude, GitRepository, GitRepositorySpec, GitRepositoryStatus
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.tree import Tree
from trimtab.base.errors import Terminal
from trimtab.controllers.includes import Includes, differ, find_loop
from trimtab.controllers.index import Published, SourceId, SourceIndex
from trimtab.controllers.producing import IncludeUnavailable
from trimtab.kube.informer import Applied, Deleted
from trimtab.manifests.refs import Key


def key(name: str) -> Key:
    return Key("ns", name)


def repository(name: str, *included: str, to: str = "", **status) -> GitRepository:
    include = tuple(GitInclude(repository=LocalRef(name=one), to_path=to) for one in included)
    return GitRepository(
        metadata=ObjectMeta(name=name, namespace="ns"),
        spec=GitRepositorySpec(url="https://h/x", interval="5m", include=include),
        status=GitRepositoryStatus(**status),
    )


def artifact(revision: str = "main@sha1:1", digest: str = "sha256:1") -> Artifact:
    return Artifact(
        path="p", url="http://h/p", revision=revision, digest=digest, last_update_time="2026-01-01T00:00:00Z"
    )


class World:
    """The objects as an informer tells them, and the artifacts that are on the disk."""

    def __init__(self) -> None:
        self.store: dict[Key, GitRepository] = {}
        self.handlers = []
        self.index = SourceIndex()
        self.woken: list[str] = []
        self.disk: dict[Key, object] = {}
        publisher = SimpleNamespace(restore=lambda kind, key, artifact: self.disk.get(key))
        self.includes = Includes(self.index, publisher)
        self.includes.follow(self, lambda key: self.woken.append(key.name))

    def add_handler(self, handler) -> None:
        self.handlers.append(handler)

    def apply(self, *items: GitRepository) -> list[str]:
        """Tell of `items`, and return who was woken."""
        self.woken.clear()
        for item in items:
            old = self.store.get(item.key)
            self.store[item.key] = item
            for handler in self.handlers:
                handler(Applied(old, item))
        return sorted(self.woken)

    def delete(self, name: str) -> list[str]:
        self.woken.clear()
        old = self.store.pop(key(name))
        for handler in self.handlers:
            handler(Deleted(old))
        return sorted(self.woken)

    def publish(self, name: str, of: Artifact) -> list[str]:
        self.woken.clear()
        self.index.put(SourceId("GitRepository", key(name)), Published(of, Snapshot(None, Tree.of([]), of.revision)))
        return sorted(self.woken)


@pytest.fixture
def world() -> World:
    return World()


def test_whoever_includes_is_told_when_it_moves_comes_or_goes(world):
    world.apply(repository("one", "base"), repository("two", "base", "other"), repository("three"))
    assert world.apply(repository("base")) == ["one", "two"]
    assert world.publish("base", artifact()) == ["one", "two"]
    assert world.publish("base", artifact()) == []
    assert world.publish("base", artifact(digest="sha256:2")) == ["one", "two"]
    assert world.publish("other", artifact()) == ["two"]
    world.index.put(SourceId("OCIRepository", key("base")), Published(artifact(digest="sha256:3"), None))
    assert world.woken == ["two"]
    world.apply(repository("one"))
    assert world.publish("base", artifact(digest="sha256:4")) == ["two"]
    assert world.delete("two") == []
    assert world.publish("base", artifact(digest="sha256:5")) == []


def test_whoever_includes_what_is_deleted_is_told(world):
    world.apply(repository("base"), repository("one", "base"))
    assert world.delete("base") == ["one"]


def test_what_is_included_twice_is_told_of_once(world):
    world.apply(repository("one", "base", "base", to="x"))
    assert world.publish("base", artifact()) == ["one"]


@pytest.mark.parametrize(
    ("others", "loop"),
    [
        ([repository("a", "a")], "a includes a"),
        ([repository("a", "b"), repository("b", "a")], "a includes b includes a"),
        (
            [repository("a", "x", "b"), repository("b", "c"), repository("c", "a"), repository("x")],
            "a includes b includes c includes a",
        ),
    ],
)
def test_a_circle_is_refused_and_named(world, others, loop):
    world.apply(*others)
    with pytest.raises(Terminal, match=f"circle: {loop}"):
        world.includes.check(others[0])


def test_a_circle_further_on_is_not_ones_own(world):
    world.apply(repository("a", "b"), repository("b", "c"), repository("c", "b"))
    assert find_loop(world.store[key("a")], world.store) == []
    assert find_loop(world.store[key("c")], world.store) == [key("c"), key("b"), key("c")]


def test_all_of_a_circle_are_told_when_one_of_them_ends_it(world):
    world.apply(repository("a", "b"), repository("b", "c"), repository("c", "a"))
    assert world.apply(repository("c")) == ["a", "b"]


def test_a_name_in_another_namespace_is_another_repository(world):
    world.apply(repository("a", "b"))
    other = repository("b", "a")
    stranger = GitRepository(metadata=ObjectMeta(name="b", namespace="other"), spec=other.spec)
    assert world.apply(stranger) == []
    assert find_loop(world.store[key("a")], world.store) == []


def test_what_is_not_there_yet_is_waited_for(world):
    item = repository("a", "base")
    world.apply(item)
    with pytest.raises(IncludeUnavailable, match="ns/base, which does not exist") as caught:
        world.includes.collect(item)
    assert (caught.value.reason, caught.value.after) == ("NotFound", 300.0)
    world.apply(repository("base"))
    with pytest.raises(IncludeUnavailable, match="ns/base, which has no artifact yet") as caught:
        world.includes.collect(item)
    assert caught.value.reason == "NoArtifact"
    world.publish("base", artifact())
    assert [one.artifact for one in world.includes.collect(item)] == [artifact()]


def test_what_was_deleted_is_not_there_though_its_artifact_still_is(world):
    item = repository("a", "base")
    world.apply(item, repository("base"))
    world.publish("base", artifact())
    world.delete("base")
    with pytest.raises(IncludeUnavailable, match="does not exist"):
        world.includes.collect(item)


def test_after_a_restart_the_last_artifact_is_read_from_the_disk(world):
    item = repository("a", "base")
    world.apply(item, repository("base", artifact=artifact()))
    with pytest.raises(IncludeUnavailable, match="no artifact yet"):
        world.includes.collect(item)
    world.disk[key("base")] = snapshot = object()
    assert world.includes.collect(item) == (Published(artifact(), snapshot),)


@pytest.mark.parametrize("path", ["../x", "a/../../b", ".git"])
def test_paths_that_lead_out_are_refused_with_the_field(world, path):
    with pytest.raises(Terminal, match=r"spec\.include\[0\]\.toPath") as caught:
        world.includes.check(repository("a", "b", to=path))
    assert caught.value.reason == "InvalidPath"


def test_very_many_are_refused(world):
    with pytest.raises(Terminal, match="names 101 repositories; the limit is 100"):
        world.includes.check(repository("a", *(f"r{number}" for number in range(101))))


def test_only_other_contents_make_another_artifact():
    one, two = Published(artifact(), None), Published(artifact(digest="sha256:2"), None)
    assert not differ([artifact()], [one])
    assert differ([artifact()], [two])
    assert differ([artifact()], [])
    assert differ([], [one])
    assert differ([artifact(), artifact(digest="sha256:2")], [two, one])
