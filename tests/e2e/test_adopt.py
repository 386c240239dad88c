"""`trimtab adopt` beside a running controller: what was done by hand becomes what git says."""

import subprocess

import pytest

from tests.cli.conftest import command_line
from tests.e2e.test_main_job import config, deployment
from tests.e2e.world import until

WHO = {"GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.org"}


def adopt(world, *words):
    command, env = command_line(world.controller.kubeconfig, "adopt", *words)
    return subprocess.run(command, env=env | WHO, capture_output=True, text=True, timeout=120)


def git(repo, *words):
    done = subprocess.run(["git", "--git-dir", repo.bare, *words], capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def replicas(world, ns):
    return world.api.get(f"/apis/apps/v1/namespaces/{ns}/deployments/web")["spec"]["replicas"]


@pytest.mark.cluster
def test_a_scale_by_hand_becomes_a_commit_that_changes_one_value(world, ns, kubectl):
    repo = world.repo(ns)
    web = deployment().replace("replicas: 2", "replicas: 2  # two are enough").replace("\n", "\r\n").encode()
    head = repo.commit({"app/web.yaml": web, "app/settings.yaml": config()})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app", annotations={"trimtab.dev/drift": "alert"})
    world.ready(ns, "shop", head)
    kubectl("-n", ns, "scale", "deployment", "web", "--replicas=5")
    kubectl("-n", ns, "label", "configmap", "settings", "mine=yes")
    done = adopt(world, f"Deployment/{ns}/web")
    assert done.returncode == 0, done.stderr
    commit = done.stdout.strip()
    assert git(repo, "rev-parse", "main").decode().strip() == commit
    assert git(repo, "diff", "--name-only", head, commit) == b"app/web.yaml\n"
    assert git(repo, "show", f"{commit}:app/web.yaml") == web.replace(b"replicas: 2 ", b"replicas: 5 ")
    said = git(repo, "log", "-1", "--format=%B", commit).decode()
    assert f"Adopt spec.replicas of Deployment/{ns}/web\n\n  spec.replicas: 2 → 5 (app/web.yaml:" in said
    assert f"Trimtab-Adopt: Deployment/{ns}/web\nTrimtab-App: Kustomization/{ns}/shop\n" in said
    assert "Trimtab-Changed-By: kubectl" in said
    world.poke(ns)
    world.ready(ns, "shop", commit)
    assert replicas(world, ns) == 5
    # A label that git does not declare is no difference.
    again = adopt(world, "cm/settings", "-n", ns)
    assert (again.returncode, again.stdout) == (0, "")
    assert "nothing to adopt" in again.stderr


@pytest.mark.cluster
def test_what_was_corrected_already_can_still_be_adopted(world, ns):
    repo = world.repo(ns)
    repo.commit({"app/settings.yaml": config()})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app")
    world.ready(ns, "shop")
    path = f"/api/v1/namespaces/{ns}/configmaps/settings"
    world.api.merge(f"{path}?fieldManager=painter", {"data": {"colour": "blue"}})
    until(lambda: world.get_app(ns, "shop")["status"].get("drift"), "it is on record")
    assert "--corrected" in adopt(world, "cm/settings", "-n", ns).stderr
    done = adopt(world, "cm/settings", "-n", ns, "--corrected")
    assert done.returncode == 0, done.stderr
    world.poke(ns)
    world.ready(ns, "shop", done.stdout.strip())
    until(lambda: world.api.get(path)["data"]["colour"] == "blue", "git's new value is applied")
