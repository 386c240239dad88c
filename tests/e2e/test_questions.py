"""Has it converged, why is it so, what has it been through, and converge now: asked beside running controllers."""

import json

import pytest
from click.testing import CliRunner

from tests.e2e.releases import Home, chart
from tests.e2e.test_main_job import config, deployment, settings, workload
from tests.e2e.world import APPS, World, until
from trimtab.cli.main import cli


class Shop:
    """One app of a Deployment and a ConfigMap, and the command line beside it."""

    def __init__(self, world: World, plane) -> None:
        self.world, self.plane = world, plane
        self.ns = world.namespace("questions")
        self.repo = world.repo(self.ns)
        self.first = self.repo.commit({"app/web.yaml": deployment(), "app/settings.yaml": config()}, "Open the shop")
        world.source(self.ns, self.repo.url)
        world.app(self.ns, "shop", "./app")
        world.ready(self.ns, "shop")

    def push(self, files, message: str) -> str:
        commit = self.repo.commit(files, message)
        self.world.poke(self.ns)
        return commit

    def ask(self, *arguments: str, kubeconfig=None):
        """The command in this process: to start one costs more than most of what it does."""
        env = {"KUBECONFIG": str(kubeconfig or self.world.controller.kubeconfig)}
        done = CliRunner(env=env).invoke(cli, [*arguments, "-n", self.ns])
        assert isinstance(done.exception, SystemExit | None), done.exception
        return done

    def merge(self, name: str, patch) -> None:
        self.world.api.merge(f"{APPS}/namespaces/{self.ns}/kustomizations/{name}", patch)


@pytest.fixture(scope="module")
def shop(world, plane):
    shop = Shop(world, plane)
    yield shop
    world.let_go(shop.ns)


@pytest.fixture(scope="module")
def watcher(shop, tmp_path_factory):
    """The kubeconfig of a user who may look at our kinds, and at nothing that they apply."""
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    groups = ["kustomize.toolkit.fluxcd.io", "source.toolkit.fluxcd.io"]
    rules = [{"apiGroups": groups, "resources": ["*"], "verbs": ["get", "list", "watch"]}]
    subject = {"kind": "User", "name": shop.ns, "apiGroup": "rbac.authorization.k8s.io"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": shop.ns}
    shop.world.api.create(f"{rbac}/clusterroles", {"metadata": {"name": shop.ns}, "rules": rules})
    bound = {"metadata": {"name": shop.ns}, "roleRef": role, "subjects": [subject]}
    shop.world.api.create(f"{rbac}/clusterrolebindings", bound)
    file = tmp_path_factory.mktemp("watcher") / "kubeconfig"
    file.write_bytes(shop.plane.kubeconfig_for(shop.ns))
    return file


def test_a_wait_ends_when_the_pushed_commit_is_live_and_a_later_commit_counts_for_an_earlier_one(shop):
    commit = shop.push({"app/web.yaml": deployment(tag="2")}, "Second edition")
    done = shop.ask("wait", "shop", "--revision", commit, "-o", "json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["outcome"], told["revision"]) == (0, "reached", f"main@sha1:{commit}"), done.stdout
    assert [stage["state"] for stage in told["stages"]] == ["done"] * 4
    assert all(stage["at"] for stage in told["stages"][:3])
    live = workload(shop.world, shop.ns)
    assert live["status"]["observedGeneration"] == live["metadata"]["generation"]
    assert live["status"]["updatedReplicas"] == live["status"]["availableReplicas"] == 2
    earlier = shop.ask("wait", "shop", "--revision", shop.first[:7])
    assert (earlier.exit_code, earlier.stderr) == (0, "")
    assert earlier.stdout.startswith(
        f"kustomization {shop.ns}/shop is healthy at main@sha1:{commit[:8]}, which contains {shop.first[:7]}\n"
    )


def in_vain(shop, *words):
    """What a wait says that is given up. Who has seen nothing yet, as the machine stood still, is given longer."""
    done = shop.ask("wait", *words, "--timeout", "2s")
    return done if done.exit_code != 3 else shop.ask("wait", *words, "--timeout", "20s")


def test_a_wait_for_what_is_not_there_says_so_and_is_not_ready(shop):
    missing = in_vain(shop, "shop", "--revision", "0000000")
    assert missing.exit_code == 2
    assert "does not contain 0000000" in missing.stdout
    nobody = in_vain(shop, "nobody")
    assert nobody.exit_code == 2
    assert "does not exist (yet)" in nobody.stderr


def test_an_app_whose_object_does_not_become_healthy_is_not_converged_although_it_is_ready(shop):
    stuck = deployment("stuck", 1).replace("    spec:\n", "    spec:\n      nodeSelector: {nowhere: 'true'}\n")
    shop.repo.commit({"stuck/web.yaml": stuck}, "No place for it")
    shop.world.poke(shop.ns)
    shop.world.app(shop.ns, "stuck", "./stuck")
    shop.world.ready(shop.ns, "stuck")
    done = in_vain(shop, "stuck")
    assert done.exit_code == 2, done.stdout
    assert f"Deployment/{shop.ns}/stuck  InProgress" in done.stdout
    assert shop.ask("wait", "stuck", "--for", "applied").exit_code == 0


def test_who_may_not_look_at_the_objects_is_told_unknown_and_never_healthy(shop, watcher):
    done = shop.ask("wait", "shop", kubeconfig=watcher)
    assert done.exit_code == 3, done.stdout
    assert "cannot be looked at" in done.stdout
    assert shop.ask("why", "deployment/web", kubeconfig=watcher).exit_code == 3


def test_history_has_every_state_with_its_commit_and_git_has_what_was_skipped(shop):
    start = shop.push({"app/settings.yaml": config(colour="blue")}, "Paint it blue")
    shop.world.ready(shop.ns, "shop", start)
    shop.repo.commit({"other.txt": "x"}, "Nothing of the shop")
    broken = shop.push({"app/settings.yaml": config(colour="[1]")}, "Paint it broken")
    shop.world.failed(shop.ns, "shop", "ValidationFailed")
    told = json.loads(shop.ask("history", "shop", "--commits", "-o", "json").stdout)
    rows = [(one["subject"], one["outcome"]) for one in told["entries"]]
    assert rows[:3] == [
        ("Paint it broken", "ValidationFailed"),
        ("Nothing of the shop", "skipped"),
        ("Paint it blue", "ReconciliationSucceeded"),
    ]
    assert rows[-1] == ("Open the shop", "ReconciliationSucceeded")
    blue, first = told["entries"][2], told["entries"][-1]
    assert (blue["author"], blue["changes"], blue["current"]) == ("t", "1 configured", True)
    assert blue["objects"] == [f"~ConfigMap/{shop.ns}/settings"]
    assert first["changes"] == "2 created"
    assert told["entries"][0]["revision"] == f"main@sha1:{broken}"
    app = shop.ask("why", "shop")
    assert app.exit_code == 2
    assert "way out" in app.stdout
    assert "app/settings.yaml:1" in app.stdout
    torn = shop.push({"app/settings.yaml": "a: [b"}, "Tear it")
    shop.world.failed(shop.ns, "shop", "BuildFailed")
    newest = json.loads(shop.ask("history", "shop", "-o", "json").stdout)["entries"][0]
    assert (newest["revision"], newest["outcome"], newest["recorded"], newest["subject"]) == (
        f"main@sha1:{torn}",
        "BuildFailed",
        True,
        "Tear it",
    )
    shop.world.ready(shop.ns, "shop", shop.push({"app/settings.yaml": config(colour="green")}, "Paint it green"))


def test_why_leads_from_a_pod_to_the_lines_and_the_commit_that_declare_it(shop):
    commit = shop.push({"app/web.yaml": deployment(tag="3")}, "Third edition")
    assert shop.ask("wait", "shop", "--revision", commit).exit_code == 0
    pods = f"/api/v1/namespaces/{shop.ns}/pods"
    pod = until(
        lambda: next((one for one in shop.world.api.get(pods)["items"] if one["metadata"]["name"][:4] == "web-"), None),
        "there is a Pod",
    )
    told = json.loads(shop.ask("why", f"pod/{pod['metadata']['name']}", "-o", "json").stdout)
    assert [one["kind"] for one in told["madeBy"]] == ["ReplicaSet", "Deployment"]
    assert told["app"]["name"] == "shop"
    assert (told["origin"]["file"], told["origin"]["line"]) == ("app/web.yaml", 1)
    assert (told["commit"]["id"], told["commit"]["subject"], told["commit"]["author"]) == (commit, "Third edition", "t")
    assert told["applied"]["by"] == "kustomize-controller"
    text = shop.ask("why", f"cm/{shop.ns}/settings").stdout
    assert "Paint it green" in text
    assert "drift     none" in text


def test_what_is_only_told_of_is_undone_once_when_somebody_asks_for_it_and_who_asked_is_known(shop):
    shop.merge("shop", {"metadata": {"annotations": {"trimtab.dev/drift": "alert"}}})
    place = f"/api/v1/namespaces/{shop.ns}/configmaps/settings"
    shop.world.api.merge(place, {"data": {"colour": "pink"}})
    until(lambda: shop.world.get_app(shop.ns, "shop")["status"].get("drift"), "the drift is told of")
    why = shop.ask("why", "cm/settings")
    assert why.exit_code == 2
    assert 'data.colour: "pink" → "green"' in why.stdout
    assert shop.ask("reconcile", "shop").exit_code == 0
    assert settings(shop.world, shop.ns)["data"]["colour"] == "pink"
    assert shop.ask("reconcile", "shop", "--correct", "--with-source").exit_code == 0
    assert settings(shop.world, shop.ns)["data"]["colour"] == "green"
    app = shop.world.get_app(shop.ns, "shop")["metadata"]["annotations"]
    by, _, token = app["trimtab.dev/requested-by"].rpartition(" at ")
    assert (by != "", token) == (True, app["reconcile.fluxcd.io/requestedAt"])
    assert f"for a reconcile by {by}" in shop.ask("why", "shop").stdout
    events = f"/api/v1/namespaces/{shop.ns}/events"

    def asked():
        found = shop.world.api.get(events)["items"]
        return [one for one in found if one["reason"] == "ReconcileRequested" and by in one["message"]]

    until(
        lambda: {one["involvedObject"]["kind"] for one in asked()} == {"Kustomization", "GitRepository"}, "it is told"
    )
    # asked for once: what is changed after that is only told of again
    shop.world.api.merge(place, {"data": {"colour": "pink"}})
    assert shop.ask("reconcile", "shop").exit_code == 0
    assert settings(shop.world, shop.ns)["data"]["colour"] == "pink"


def test_what_is_in_the_way_is_followed_through_dependencies_to_the_way_out(shop):
    shop.world.app(shop.ns, "base", "./nowhere")
    shop.world.app(shop.ns, "above", "./stuck", dependsOn=[{"name": "base"}], targetNamespace=None)
    shop.world.failed(shop.ns, "above", "DependencyNotReady")
    done = shop.ask("why", "above", "-o", "json")
    assert done.exit_code == 2
    blockers = json.loads(done.stdout)["blockers"]
    assert [one["object"]["name"] for one in blockers] == ["above", "base"]
    assert "nowhere" in blockers[1]["why"]
    assert blockers[1]["wayOut"]
    shop.merge("base", {"spec": {"suspend": True}})
    until(lambda: "trimtab resume base" in shop.ask("why", "above").stdout, "the way out is to resume it")
    stopped = shop.ask("wait", "base")
    assert stopped.exit_code == 2
    assert "is suspended" in stopped.stdout


def test_a_release_is_waited_for_by_the_version_of_its_chart_and_has_a_history(world, plane):
    home = Home(world, "questions-hr")
    home.charts(chart("1.0.0"))
    home.release()
    shop = Shop.__new__(Shop)
    shop.world, shop.ns, shop.plane = world, home.ns, plane
    try:
        done = shop.ask("wait", "helmrelease", "app", "--revision", "1.0.0", "--timeout", "60s")
        assert done.exit_code == 0, done.stdout + done.stderr
        told = shop.ask("history", "helmrelease", "app").stdout.splitlines()
        assert [cell.strip() for cell in told[1].split("\t")][:2] == ["v1 (now)", "app@1.0.0"]
        why = shop.ask("why", "cm/app")
        assert "in the chart app@1.0.0" in why.stdout
    finally:
        world.let_go(home.ns)


def test_what_the_cluster_does_not_know_is_an_error_that_says_what_it_knows(shop):
    for arguments, words in (("nonsense/x", "ours are"), ("deployment/nobody", "no app has one on record")):
        done = shop.ask("why", arguments)
        assert done.exit_code == 1
        assert words in done.stderr
