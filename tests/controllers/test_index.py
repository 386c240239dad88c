"""What sources have published, as the controllers of one process know it."""

import pytest

from trimtab.api.source import Artifact
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.tree import Entry, Tree
from trimtab.controllers.index import Published, SourceId, SourceIndex
from trimtab.manifests.refs import Key

REPO = SourceId("GitRepository", Key("ns", "repo"))


@pytest.fixture
def index():
    return SourceIndex()


def publish(index, revision, **contents):
    tree = Tree.of(Entry(path.replace("_", "/"), sha * 64, 1) for path, sha in contents.items())
    artifact = Artifact(path="p", url="u", revision=revision, digest=revision, last_update_time="t")
    index.put(REPO, Published(artifact, Snapshot(None, tree, revision)))


def test_listeners_can_ask_which_directories_the_new_revision_touches(index):
    heard = []
    index.on_change(lambda source: heard.append(index.touched(source)))
    publish(index, "r1", apps_a_x="1", apps_b_x="1")
    publish(index, "r2", apps_a_x="1", apps_b_x="2")
    publish(index, "r2", apps_a_x="1", apps_b_x="2")
    index.drop(REPO)
    assert index.touched(REPO) is None
    publish(index, "r3", apps_a_x="3")
    assert heard == [None, {"", "apps", "apps/b"}, None]
