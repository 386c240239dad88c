"""A rollback, applied by the loop, and drift that is corrected towards it: the cluster stays where it was brought."""

import os
import subprocess
import time

import pytest

from tests.cli.conftest import command_line
from tests.e2e.test_main_job import config, deployment, settings
from tests.e2e.world import until

STAYS_S = float(os.environ.get("TRIMTAB_STAYS_S", "2"))
WHO = {"GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.org"}


def rollback(world, ns, *words):
    command, env = command_line(world.controller.kubeconfig, "rollback", "shop", "-n", ns, *words)
    return subprocess.run(command, env=env | WHO, capture_output=True, text=True, timeout=120)


def web(world, ns):
    return world.api.get(f"/apis/apps/v1/namespaces/{ns}/deployments/web")


@pytest.mark.cluster
def test_after_a_rollback_the_cluster_stays_at_the_former_state_whatever_drifts(world, ns):
    repo = world.repo(ns)
    good = repo.commit({"app/web.yaml": deployment(), "app/settings.yaml": config()})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app", force=True)
    world.ready(ns, "shop", good)
    bad = repo.commit({"app/web.yaml": None, "app/settings.yaml": config(colour="blue"), "app/new.yaml": config("new")})
    world.poke(ns)
    world.ready(ns, "shop", bad)
    assert settings(world, ns)["data"]["colour"] == "blue"
    assert web(world, ns) is None
    done = rollback(world, ns)
    assert done.returncode == 0, done.stderr
    world.poke(ns)
    world.ready(ns, "shop", done.stdout.strip())
    assert settings(world, ns)["data"]["colour"] == "red"
    assert web(world, ns) is not None
    assert world.api.get(f"/api/v1/namespaces/{ns}/configmaps/new") is None
    generation, drifts, end = web(world, ns)["metadata"]["generation"], 0, time.monotonic() + STAYS_S
    while time.monotonic() < end:
        drifts += 1
        # Another one each time, and 40 in all: more of one, or more than 60 in ten minutes, would be a fight.
        field = f"fieldManager=painter-{drifts}"
        world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/settings?{field}", {"data": {"colour": f"blue {drifts}"}})
        until(lambda: settings(world, ns)["data"]["colour"] == "red", "the edit is healed")
        calm = time.monotonic() + max(0.3, STAYS_S / 40)
        while time.monotonic() < calm:
            assert settings(world, ns)["data"]["colour"] == "red"
            assert web(world, ns)["metadata"]["generation"] == generation
            time.sleep(0.1)
    print(f"{drifts} edits healed in {STAYS_S:g} s")
    app = world.ready(ns, "shop", done.stdout.strip())
    assert app["status"]["history"][0]["metadata"]["revision"].endswith(done.stdout.strip())
