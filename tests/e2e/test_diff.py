"""`trimtab diff` and `preview` beside running controllers: what they say of an app is what those then do."""

import os
import subprocess
import sys

import pytest

from tests.e2e.test_main_job import config, deployment, settings, workload
from tests.e2e.world import until


@pytest.fixture
def diff(world, ns):
    def run(*arguments):
        env = {**os.environ, "KUBECONFIG": str(world.controller.kubeconfig), "NO_COLOR": ""}
        command = [sys.executable, "-m", "trimtab", "diff", "shop", "-n", ns, *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout

    return run


@pytest.fixture
def preview(world, ns, shop):
    def run():
        env = {**os.environ, "KUBECONFIG": str(world.controller.kubeconfig), "NO_COLOR": ""}
        command = [sys.executable, "-m", "trimtab", "preview", "--app", f"{ns}/shop", "--no-images"]
        done = subprocess.run(command, cwd=shop.work, env=env, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout

    return run


@pytest.fixture
def shop(world, ns):
    """An app that is ready, and suspended so that nothing is undone while it is compared."""
    repo = world.repo(ns)
    repo.commit({"app/web.yaml": deployment(), "app/settings.yaml": config(), "app/old.yaml": config("old")})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app", wait=True)
    world.ready(ns, "shop")
    suspend(world, ns, True)
    return repo


def suspend(world, ns, on):
    world.api.merge(
        f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/shop", {"spec": {"suspend": on}}
    )


def test_what_the_controller_has_applied_does_not_differ_and_a_scaling_is_one_path(world, ns, shop, diff):
    assert diff("--orphans") == (0, "")
    world.api.merge(f"/apis/apps/v1/namespaces/{ns}/deployments/web", {"spec": {"replicas": 5}})
    assert diff() == (2, f"~ Deployment/{ns}/web (app/web.yaml:1)\n    spec.replicas: 5 → 2\n")


def test_what_is_told_of_a_new_commit_is_what_the_controller_then_does(world, ns, shop, diff, preview):
    assert preview() == (0, "")
    shop.commit(
        {"app/settings.yaml": config(colour="blue"), "app/old.yaml": None, "app/new.yaml": config("new")}, "next"
    )
    before = world.get_source(ns)["status"]["artifact"]["revision"]
    world.poke(ns)
    until(lambda: world.get_source(ns)["status"]["artifact"]["revision"] != before, "the commit is fetched")
    code, told = diff()
    assert (code, told.splitlines()) == (
        2,
        [
            f"+ ConfigMap/{ns}/new (app/new.yaml:1): only in git",
            f"- ConfigMap/{ns}/old: only in the cluster: it left git: the app deletes it",
            f"~ ConfigMap/{ns}/settings (app/settings.yaml:1)",
            '    data.colour: "red" → "blue"',
        ],
    )
    held = "it is suspended: nothing of this is applied before it is resumed"
    code, told = preview()
    assert (code, told.splitlines()) == (
        2,
        [
            f"= Kustomization/{ns}/shop: no change [held]",
            f"    ✗ held: {held}",
            f"- ConfigMap/{ns}/old: left what is declared [pruned]",
            "    ! pruned: it is deleted",
            f"+ ConfigMap/{ns}/new (app/new.yaml:1): is new",
            f"~ ConfigMap/{ns}/settings (app/settings.yaml:1): changes",
            '    data.colour: "red" → "blue"',
        ],
    )
    suspend(world, ns, False)
    until(lambda: settings(world, ns, "old") is None, "what was told is done")
    world.ready(ns, "shop", world.get_source(ns)["status"]["artifact"]["revision"].rpartition(":")[2])
    assert settings(world, ns, "new")
    assert workload(world, ns)
    assert diff() == (0, "")
    assert preview() == (0, "")
