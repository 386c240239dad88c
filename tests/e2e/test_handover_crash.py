"""Hand-over with a crash between: whatever runs first and wherever the process dies, no object is deleted."""

import random
import time

import pytest

from tests.e2e.test_handover import ORDERS, owner, recorded, two
from tests.e2e.test_main_job import config
from tests.e2e.test_prune import child, gone, names, there
from tests.e2e.test_restart import own
from tests.e2e.world import until

__all__ = ["own"]

SEED = 20261124


def killed_while(own, chance, commit_and_poke, kills=3):
    """Let the controller begin with a commit, and kill it at a moment of chance, several times."""
    commit_and_poke()
    for _ in range(kills):
        time.sleep(chance.random() * 1.5)
        own.controller.kill()
        own.controller.start()


def cycles(own, ns, apps, count=10):
    """Passes of all apps, one after the other."""
    for _ in range(count):
        for name in apps:
            moment = own.poke_app(ns, name)
            until(lambda n=name, m=moment: own.get_app(ns, n)["status"].get("lastHandledReconcileAt") == m, "a pass")


@pytest.mark.parametrize("order", ORDERS, ids=["free", "b-first", "a-first"])
def test_p1_a_file_moved_between_two_apps_survives_kills_in_between(own, ns, order):
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    own.controller.start()
    files = {"a/x.yaml": config("x"), "a/own.yaml": config("own-a"), "b/own.yaml": config("own-b")}
    repo, commit = two(own, ns, files, order)
    own.ready(ns, "a", commit)
    own.ready(ns, "b", commit)
    before = there(own, ns)
    commit = repo.commit({"a/x.yaml": None, "b/x.yaml": config("x", colour="b")})
    killed_while(own, chance, lambda: own.poke(ns))
    own.ready(ns, "a", commit)
    own.ready(ns, "b", commit)
    until(lambda: owner(own, ns) == "b", "it has moved")
    until(lambda: "x" not in recorded(own, ns, "a"), "who had it before lets go")
    assert there(own, ns) == before, "every uid is as it was"
    version = own.api.get(f"/api/v1/namespaces/{ns}/configmaps/x")["metadata"]["resourceVersion"]
    cycles(own, ns, ("a", "b"))
    assert own.api.get(f"/api/v1/namespaces/{ns}/configmaps/x")["metadata"]["resourceVersion"] == version


def test_p1_a_renamed_app_survives_kills_in_between(own, ns):
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    own.controller.start()
    inner = {f"inner/{name}.yaml": config(name) for name in names(14)}
    repo = own.repo(ns)
    commit = repo.commit({"app/child.yaml": child(ns, "before", "./inner"), **inner})
    own.source(ns, repo.url)
    own.app(ns, "shop", "./app")
    own.ready(ns, "shop", commit)
    own.ready(ns, "before", commit)
    before = there(own, ns)
    commit = repo.commit({"app/child.yaml": child(ns, "after", "./inner")})
    killed_while(own, chance, lambda: own.poke(ns))
    own.ready(ns, "after", commit)
    gone(own, ns, "before", 60)
    assert there(own, ns) == before, "every uid is as it was"
    assert recorded(own, ns, "after") == set(before)
    until(lambda: {owner(own, ns, name) for name in before} == {"after"}, "they carry the new name")
