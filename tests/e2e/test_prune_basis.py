"""P5: what is deleted fits the artifact, the render and the record of this moment, or nothing is."""

import threading

from tests.e2e.test_main_job import config, deployment
from tests.e2e.test_prune import (
    annotate,
    app_path,
    configs,
    digest_in,
    entries,
    held,
    names,
    push,
    start,
    there,
    warned,
)
from tests.e2e.webhook import asked_before
from tests.e2e.world import condition, until
from trimtab.targets.kubernetes import inventory


def test_p5_what_a_newer_artifact_desires_again_is_not_deleted_by_the_pass_of_the_older_one(world, ns, tmp_path):
    repo = start(world, ns, {**configs("again", "stays"), "app/web.yaml": deployment()})
    uid = there(world, ns)["again"]
    deleting, go_on = threading.Event(), threading.Event()

    def see(_request):
        deleting.set()
        assert go_on.wait(25)

    with asked_before(world.api, tmp_path, ns, "DELETE", "apps/deployments", see):
        # the Deployment goes first; while the server has not answered, there is a newer commit
        repo.commit({"app/web.yaml": None, "app/again.yaml": None})
        until(lambda: deleting.is_set() or not world.poke(ns), "the deletion of the Deployment has begun")
        commit = repo.commit(configs("again"))
        world.poke(ns)
        until(lambda: commit in world.get_source(ns)["status"]["artifact"]["revision"], "the newer commit is there")
        go_on.set()
        world.ready(ns, "shop", commit)
    assert there(world, ns)["again"] == uid
    until(lambda: not there(world, ns, "deployments", "apis/apps/v1"), "what really left is gone")


def recorded(lines):
    return {"entries": lines, "checksum": inventory.checksum(lines)}


def test_p5_an_inventory_that_somebody_else_changed_is_read_again_before_anything_is_deleted(world, ns):
    repo = start(world, ns, configs(*names(4)))
    lines = [line for line in entries(world, ns) if "_c0_" not in line["id"]]
    world.api.merge(f"{app_path(ns)}/status", {"status": {"inventory": recorded(lines)}})
    commit = repo.commit(dict.fromkeys(configs("c0", "c1")))
    world.poke(ns)
    world.ready(ns, "shop", commit)
    until(lambda: "c1" not in there(world, ns), "what is on record and left goes")
    assert set(there(world, ns)) == {"c0", "c2", "c3"}, "what is no longer on record stays"
    warned(world, ns, "Orphaned", f"ConfigMap/{ns}/c0")


def test_p5_an_inventory_that_is_spoilt_under_a_running_controller_makes_the_app_read_only(world, ns):
    repo = start(world, ns, configs(*names(3)))
    world.api.merge(f"{app_path(ns)}/status", {"status": {"inventory": {"checksum": "sha256:0"}}})
    repo.commit({"app/c0.yaml": None, "app/new.yaml": config("new")})
    world.poke(ns)
    world.failed(ns, "shop", "ReadOnly", "checksum")
    assert set(there(world, ns)) >= {"c0", "c1", "c2"}


def test_p5_an_inventory_that_is_taken_away_deletes_nothing_and_is_made_anew(world, ns):
    repo = start(world, ns, configs(*names(3)))
    world.api.merge(f"{app_path(ns)}/status", {"status": {"inventory": None}})
    commit = repo.commit({"app/c0.yaml": None})
    world.poke(ns)
    world.ready(ns, "shop", commit)
    warned(world, ns, "Orphaned", f"ConfigMap/{ns}/c0")
    assert set(there(world, ns)) == {"c0", "c1", "c2"}
    until(lambda: {line["id"].split("_")[1] for line in entries(world, ns)} == {"c1", "c2"}, "the list is made anew")


def test_p4_an_approved_prune_that_was_cut_off_goes_on_without_asking_again(world, ns, tmp_path):
    leaving = names(24)
    repo = start(world, ns, configs(*leaving, "stays"))
    push(world, ns, repo, dict.fromkeys(configs(*leaving)))
    message = held(world, ns, words="24 deletions")
    passed, cut, dead = [], threading.Event(), threading.Event()

    def see(request):
        if len(passed) < 4 or dead.is_set():
            passed.append(request["name"])
            return True
        cut.set()
        dead.wait(25)
        return False

    with asked_before(world.api, tmp_path, ns, "DELETE", "/configmaps", see):
        annotate(world, ns, approve_prune=digest_in(message))
        until(cut.is_set, "some are deleted, and the others are about to be")
        world.controller.kill()
        dead.set()
        left = set(there(world, ns)) - {"stays"}
        assert len(left) > 10, "more than the budget would let go unasked"
        world.controller.start()
        # the Lease of the killed one has to run out first
        until(lambda: set(there(world, ns)) == {"stays"}, lambda: world.get_app(ns, "shop")["status"], 90)
    world.ready(ns, "shop")
    until(lambda: "approved" not in world.get_app(ns, "shop")["status"], "what is through is not remembered")
    assert not condition(world.get_app(ns, "shop"), "PruneHeld")
