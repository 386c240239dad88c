"""The commands against a real API server: what they print, what they write, and how they exit."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cluster, Command, allowed, command_line
from trimtab.cluster.plane import ControlPlane
from trimtab.manifests.inventory import encode_id
from trimtab.manifests.refs import Ref

COMMIT = "67e2c98ac4b5a7f2a1d7c8e9f00112233445566a"
REVISION = f"main@sha1:{COMMIT}"
GIT, APP = "gitrepository", "kustomization"


def artifact() -> dict[str, Any]:
    return {
        "path": "gitrepository/x/shop/a.tar.gz",
        "url": "http://127.0.0.1/gitrepository/x/shop/a.tar.gz",
        "revision": REVISION,
        "digest": "sha256:" + "0" * 64,
        "lastUpdateTime": "2026-01-01T00:00:00Z",
        "size": 1,
    }


@pytest.fixture
def shop(cluster: Cluster) -> Cluster:
    """A source, an app that is ready and one that is not."""
    cluster.source("shop")
    cluster.ready(GIT, "shop", message=f"stored artifact for revision '{REVISION}'", artifact=artifact())
    cluster.app("web")
    cluster.ready(APP, "web", message=f"Applied revision: {REVISION}", lastAppliedRevision=REVISION)
    cluster.app("bad")
    cluster.ready(APP, "bad", "False", "app.yaml:3: found a tab")
    return cluster


def columns(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("\t")] for line in text.splitlines() if line]


def test_get_lists_the_apps_with_the_columns_of_flux(trimtab: Command, shop: Cluster) -> None:
    done = trimtab("get", "ks", "-n", shop.namespace)
    assert (done.returncode, done.stderr) == (0, "")
    assert columns(done.stdout) == [
        ["NAME", "REVISION", "SUSPENDED", "READY", "MESSAGE"],
        ["bad", "", "False", "False", "app.yaml:3: found a tab"],
        ["web", "main@sha1:67e2c98a", "False", "True", "Applied revision: main@sha1:67e2c98a"],
    ]


def test_get_all_lists_sources_and_apps_by_kind_and_name(trimtab: Command, shop: Cluster) -> None:
    done = trimtab("get", "all", "-n", shop.namespace, "--no-header")
    assert [row[0] for row in columns(done.stdout)] == ["gitrepository/shop", "kustomization/bad", "kustomization/web"]


def test_get_in_all_namespaces_says_the_namespace_first(trimtab: Command, shop: Cluster) -> None:
    rows = columns(trimtab("get", "ks", "-A").stdout)
    assert rows[0][:2] == ["NAMESPACE", "NAME"]
    assert [shop.namespace, "web"] in [row[:2] for row in rows]


def test_get_selects_by_condition(trimtab: Command, shop: Cluster) -> None:
    done = trimtab("get", "ks", "-n", shop.namespace, "--status-selector", "ready=false", "--no-header")
    assert [row[0] for row in columns(done.stdout)] == ["bad"]


def test_get_one_as_json_is_the_object_without_managed_fields(trimtab: Command, shop: Cluster) -> None:
    done = trimtab("get", "ks", "web", "-n", shop.namespace, "-o", "json")
    body = json.loads(done.stdout)
    live = shop.get(APP, "web")
    assert body == live
    assert "managedFields" not in body["metadata"]


def test_what_get_prints_as_yaml_can_be_applied_again(trimtab: Command, shop: Cluster) -> None:
    done = trimtab("get", "all", "-n", shop.namespace, "-o", "yaml")
    applied = shop.kubectl("apply", "--dry-run=server", "-f", "-", stdin=done.stdout)
    assert applied.count("(server dry run)") == 3


def test_get_of_a_missing_object_exits_with_1_and_names_the_way_out(trimtab: Command, shop: Cluster) -> None:
    done = trimtab("get", "ks", "nobody", "-n", shop.namespace)
    assert done.returncode == 1
    assert f"no Kustomization nobody in namespace {shop.namespace}" in done.stderr
    assert "-A" in done.stderr


def test_get_where_there_is_nothing_is_no_failure(trimtab: Command, served: ControlPlane) -> None:
    done = trimtab("get", "all", "-n", "nowhere")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nowhere" in done.stderr


def test_get_watch_prints_what_changes(served: ControlPlane, shop: Cluster) -> None:
    command, env = command_line(served.kubeconfig, "get", "ks", "-n", shop.namespace, "--watch")
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        try:
            first = [watching.stdout.readline() for _ in range(3)]
            shop.ready(APP, "bad", message="Applied revision: now")
            changed = columns(watching.stdout.readline())
        finally:
            watching.terminate()
    assert {row[0] for row in columns("".join(first))} == {"NAME", "bad", "web"}
    assert changed == [["bad", "", "False", "True", "Applied revision: now"]]


def test_an_unreachable_cluster_is_unknown_and_not_empty(
    trimtab: Command, served: ControlPlane, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "kubeconfig"
    elsewhere.write_text(served.kubeconfig.read_text().replace(served.server, "https://127.0.0.1:1"))
    done = trimtab("get", "all", kubeconfig=elsewhere)
    assert (done.returncode, done.stdout) == (3, "")
    assert "127.0.0.1:1" in done.stderr


def test_a_user_without_rights_learns_what_is_forbidden(trimtab: Command, served: ControlPlane, tmp_path: Path) -> None:
    stranger = tmp_path / "kubeconfig"
    stranger.write_bytes(served.kubeconfig_for("stranger"))
    done = trimtab("get", "ks", kubeconfig=stranger)
    assert (done.returncode, done.stdout) == (3, "")
    assert 'User "stranger" cannot list resource "kustomizations"' in done.stderr


def test_suspend_and_resume_set_and_remove_the_field(trimtab: Command, shop: Cluster) -> None:
    done = trimtab("suspend", "web", "-n", shop.namespace)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines() == [
        f"► suspending kustomization web in {shop.namespace} namespace",
        "✔ kustomization suspended",
    ]
    assert shop.get(APP, "web")["spec"]["suspend"] is True
    assert columns(trimtab("get", "ks", "web", "-n", shop.namespace, "--no-header").stdout)[0][2] == "True"
    assert trimtab("resume", "web", "-n", shop.namespace, "--no-wait").returncode == 0
    assert shop.get(APP, "web")["spec"].get("suspend", False) is False


def test_suspend_all_of_a_kind_leaves_the_others(trimtab: Command, shop: Cluster) -> None:
    assert trimtab("suspend", "--all", "-n", shop.namespace).returncode == 0
    assert [shop.get(APP, name)["spec"].get("suspend") for name in ("web", "bad")] == [True, True]
    assert not shop.get(GIT, "shop")["spec"].get("suspend")


def test_reconcile_waits_for_the_echo_of_its_own_request(served: ControlPlane, shop: Cluster) -> None:
    command, env = command_line(served.kubeconfig, "reconcile", "web", "-n", shop.namespace)
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as reconciling:
        assert reconciling.stderr is not None
        told = [reconciling.stderr.readline() for _ in range(3)]
        token = shop.get(APP, "web")["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"]
        shop.ready(APP, "web", lastAppliedRevision=REVISION, lastHandledReconcileAt=token)
        told += reconciling.stderr.readlines()
    assert reconciling.returncode == 0
    assert [line.strip() for line in told] == [
        f"► annotating Kustomization web in {shop.namespace} namespace",
        "✔ Kustomization annotated",
        "◎ waiting for Kustomization reconciliation",
        f"✔ applied revision {REVISION}",
    ]


def test_reconcile_that_fails_exits_with_2_and_the_reason(served: ControlPlane, shop: Cluster) -> None:
    command, env = command_line(served.kubeconfig, "reconcile", "source", "git", "shop", "-n", shop.namespace)
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as reconciling:
        assert reconciling.stderr is not None
        for _ in range(3):
            reconciling.stderr.readline()
        token = shop.get(GIT, "shop")["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"]
        shop.ready(GIT, "shop", "False", "authentication required", lastHandledReconcileAt=token)
        told = reconciling.stderr.read()
    assert reconciling.returncode == 2
    assert f"✗ GitRepository {shop.namespace}/shop: BuildFailed: authentication required" in told


def test_reconcile_that_nobody_answers_exits_with_2_in_time(trimtab: Command, shop: Cluster) -> None:
    done = trimtab("reconcile", "web", "-n", shop.namespace, "--timeout", "500ms")
    assert done.returncode == 2
    assert "Kustomization web is not ready after 0.5 s" in done.stderr


def test_reconcile_of_a_suspended_app_names_the_command_that_resumes_it(trimtab: Command, shop: Cluster) -> None:
    trimtab("suspend", "web", "-n", shop.namespace)
    done = trimtab("reconcile", "web", "-n", shop.namespace)
    assert done.returncode == 1
    assert f"trimtab resume kustomization web -n {shop.namespace}" in done.stderr


def test_tree_shows_every_object_with_its_state_and_opens_nested_apps(trimtab: Command, shop: Cluster) -> None:
    namespace = shop.namespace
    shop.kubectl("-n", namespace, "create", "configmap", "settings")
    inventory(shop, "web", [Ref("", "ConfigMap", namespace, "settings"), Ref("", "Secret", namespace, "gone")])
    shop.app("root")
    inventory(shop, "root", [Ref("kustomize.toolkit.fluxcd.io", "Kustomization", namespace, "web")])
    done = trimtab("tree", "root", "-n", namespace)
    assert done.returncode == 0
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines == [
        f"Kustomization/{namespace}/root Current main@sha1:67e2c98a",
        f"└── Kustomization/{namespace}/web Current main@sha1:67e2c98a",
        f"├── ConfigMap/{namespace}/settings Current",
        f"└── Secret/{namespace}/gone NotFound is not in the cluster",
    ]
    compact = trimtab("tree", "root", "-n", namespace, "--compact").stdout
    assert len(compact.splitlines()) == 2


def test_tree_as_json_nests_the_objects(trimtab: Command, shop: Cluster) -> None:
    shop.kubectl("-n", shop.namespace, "create", "configmap", "settings")
    inventory(shop, "web", [Ref("", "ConfigMap", shop.namespace, "settings")])
    root = json.loads(trimtab("tree", "web", "-n", shop.namespace, "-o", "json").stdout)
    assert [(child["kind"], child["name"], child["state"]) for child in root["children"]] == [
        ("ConfigMap", "settings", "Current")
    ]


def test_tree_that_may_not_look_says_unknown_and_exits_with_3(
    trimtab: Command, served: ControlPlane, shop: Cluster, kubectl: Callable[..., str], tmp_path: Path
) -> None:
    inventory(shop, "web", [Ref("", "Secret", shop.namespace, "password")])
    name = f"apps-only-{shop.namespace}"
    kubectl("create", "role", name, "-n", shop.namespace, "--verb=get", "--resource=kustomizations")
    kubectl("create", "rolebinding", name, "-n", shop.namespace, f"--role={name}", "--user=reader")
    allowed(kubectl, "reader", "get", "kustomizations", "-n", shop.namespace)
    reader = tmp_path / "kubeconfig"
    reader.write_bytes(served.kubeconfig_for("reader"))
    done = trimtab("tree", "web", "-n", shop.namespace, kubeconfig=reader)
    assert done.returncode == 3
    assert "Unknown" in done.stdout
    assert 'User "reader" cannot get resource "secrets"' in done.stdout


def inventory(cluster: Cluster, name: str, refs: list[Ref]) -> None:
    entries = [{"id": encode_id(ref), "v": "v1"} for ref in refs]
    cluster.ready(APP, name, lastAppliedRevision=REVISION, inventory={"entries": entries})
