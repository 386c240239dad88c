"""What is managed is counted, and what is not comes out as manifests that make no difference."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.apply.test_apply import config, deployment
from tests.cli.conftest import Command, allowed, as_user_of
from tests.e2e.world import until
from trimtab.cluster.plane import ControlPlane

SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}
SERVICE |= {"spec": {"selector": {"app": "web"}, "ports": [{"port": 80}], "type": "ClusterIP"}}
JOB = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"}}
JOB |= {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}
CLAIM = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}}
CLAIM |= {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"password": "hush-hush"}}


@pytest.fixture
def place(kubectl: Callable[..., str], namespace: Callable[[], str]) -> str:
    name = namespace()
    kubectl("create", "namespace", name)
    return name


def test_a_namespace_that_grew_by_hand_is_counted_exported_deleted_and_made_anew(
    trimtab: Command, kubectl: Callable[..., str], place: str, tmp_path: Path
) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "settings.yaml").write_text(json.dumps(config("settings")))
    assert trimtab("apply", str(app), "--app", "shop", "-n", place, "--yes").returncode == 0
    for body in (deployment(), SERVICE, JOB, CLAIM, SECRET):
        kubectl("apply", "-n", place, "-f", "-", stdin=json.dumps(body))
    orphan = config("orphan")
    orphan["metadata"]["labels"] = {"apply.trimtab.dev/name": "gone", "apply.trimtab.dev/namespace": place}
    kubectl("apply", "-n", place, "--server-side", "-f", "-", stdin=json.dumps(orphan))
    until(lambda: "web-" in kubectl("get", "pods", "-n", place, "-o", "name"), "the Deployment has a Pod")

    counted = trimtab("coverage", "-n", place, "-o", "json")
    assert counted.returncode == 0, counted.stderr
    told = json.loads(counted.stdout)
    roots = {(one["kind"], one["name"], one["share"], one["by"]) for one in told["objects"] if not one["owned"]}
    assert roots == {
        ("ConfigMap", "orphan", "orphaned", f"app {place}/gone, which is gone"),
        *((kind, name, "unmanaged", "kubectl apply") for kind, name in (("Deployment", "web"), ("Service", "web"))),
        *((kind, name, "unmanaged", "kubectl apply") for kind, name in (("Job", "once"), ("Secret", "db"))),
        ("PersistentVolumeClaim", "data", "unmanaged", "kubectl apply"),
    }
    assert (told["managed"], told["orphaned"]) == (1, 1)
    assert trimtab("coverage", "-n", place, "--least", "90").returncode == 2

    exported = tmp_path / "exported"
    done = trimtab("export", "--unmanaged", "-n", place, "-d", str(exported))
    assert (done.returncode, "1 Secrets" in done.stderr) == (0, True), done.stderr
    names = {"deployment-web.yaml", "service-web.yaml", "job-once.yaml", "persistentvolumeclaim-data.yaml"}
    assert {file.name for file in exported.iterdir()} == {*names, "kustomization.yaml"}
    assert not any(b"hush-hush" in file.read_bytes() for file in exported.iterdir())
    same = trimtab("diff", str(exported), "-n", place)
    assert (same.returncode, same.stdout) == (0, "")

    before = {name: (exported / name).read_text() for name in names}
    kubectl("delete", "-n", place, "--wait=true", "-k", str(exported))
    kubectl("apply", "-n", place, "-k", str(exported))
    again = tmp_path / "again"
    assert trimtab("export", "--unmanaged", "-n", place, "-d", str(again)).returncode == 0
    assert {name: (again / name).read_text() for name in names} == before
    assert trimtab("export", "--unmanaged", "-n", place, "-d", str(again)).returncode == 1


def test_a_secret_is_a_placeholder_or_itself_and_only_if_asked_for(
    trimtab: Command, kubectl: Callable[..., str], place: str
) -> None:
    kubectl("apply", "-n", place, "-f", "-", stdin=json.dumps(SECRET))
    hollow = trimtab("export", "--unmanaged", "-n", place, "secrets", "--secrets", "placeholder")
    assert (hollow.returncode, "hush" in hollow.stdout, "password: " in hollow.stdout) == (0, False, True)
    full = trimtab("export", "--unmanaged", "-n", place, "secrets", "--secrets", "include")
    assert (full.returncode, "aHVzaC1odXNo" in full.stdout, "clear text" in full.stderr) == (0, True, True)


def test_where_nothing_counts_the_place_is_named_and_no_share_of_it(trimtab: Command, place: str) -> None:
    done = trimtab("coverage", "-n", place)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"nothing that counts in namespace {place}: -n names another, -A looks in all" in done.stderr
    assert "%" not in done.stderr


def test_what_may_not_be_listed_is_unknown(
    served: ControlPlane, kubectl: Callable[..., str], place: str, tmp_path: Path
) -> None:
    kubectl("create", "role", "few", "-n", place, "--verb=get,list", "--resource=configmaps,secrets")
    kubectl("create", "rolebinding", "few", "-n", place, "--role=few", f"--user=few-{place}")
    kubectl("create", "clusterrole", f"few-{place}", "--verb=get", "--resource=namespaces")
    kubectl("create", "clusterrolebinding", f"few-{place}", f"--clusterrole=few-{place}", f"--user=few-{place}")
    allowed(kubectl, f"few-{place}", "list", "configmaps", "-n", place)
    allowed(kubectl, f"few-{place}", "get", "namespaces")
    file = tmp_path / "few.kubeconfig"
    file.write_bytes(served.kubeconfig_for(f"few-{place}"))
    kubectl("create", "configmap", "there", "-n", place)
    done = as_user_of(file, "coverage", "-n", place, "--list")
    assert done.returncode == 3
    assert "Deployment.apps in" in done.stderr
    assert "ConfigMap/there" in done.stdout


def test_an_object_of_ours_is_exported_as_it_was_declared(trimtab: Command, cluster: Any) -> None:
    cluster.source("shop")
    cluster.app("shop")
    cluster.ready("kustomization", "shop")
    done = trimtab("export", "ks", "shop", "-n", cluster.namespace)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("---\napiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata:\n")
    assert not any(word in done.stdout for word in ("status:", "uid:", "managedFields", "resourceVersion"))
    every = trimtab("export", "source", "git", "--all", "-n", cluster.namespace)
    assert (every.returncode, "https://git.example.org/shop" in every.stdout) == (0, True)
    assert trimtab("export", "ks", "-n", cluster.namespace).returncode == 1
