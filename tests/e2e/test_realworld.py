"""Real public repositories, as their owners keep them, on a bare API server."""

import base64
import re
import shutil
import subprocess
import time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.world import until
from trimtab.manifests.yaml import load
from trimtab.toolchain import binaries

SHARED = Path(__file__).parents[2].parent / "shared" / "realworld"
pytestmark = [
    pytest.mark.skipif(not SHARED.is_dir(), reason="the folder shared/realworld is not beside the checkout"),
    pytest.mark.slow,
    pytest.mark.timeout(240),
]

CONVERGES = [
    ("podinfo", "kustomize"),
    ("podinfo", "deploy/overlays/dev"),
    ("podinfo", "deploy/overlays/production"),
    ("podinfo", "deploy/overlays/staging"),
    ("microservices-demo", "kustomize"),
    ("microservices-demo", "kustomize/base"),
    ("microservices-demo", "kustomize/tests/memorystore-with-all-components"),
    ("microservices-demo", "kustomize/tests/spanner-with-all-components"),
    ("microservices-demo", "kubernetes-manifests"),
]
HEALTHY = [("podinfo", "kustomize"), ("microservices-demo", "kubernetes-manifests")]
REFUSED = {
    ("microservices-demo", "release"): ["ServiceEntry", "VirtualService", "Gateway", "HTTPRoute"],
    ("microservices-demo", "istio-manifests"): ["ServiceEntry", "VirtualService", "Gateway"],
    ("microservices-demo", "kustomize/tests/service-mesh-istio-with-all-components"): ["ServiceEntry"],
    ("flux2-kustomize-helm-example", "infrastructure/configs"): ["ClusterIssuer", "GatewayClass"],
}
QUANTITY = re.compile(r"^([0-9.]+)(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")
FACTORS = {"m": "0.001", "k": "1e3", "M": "1e6", "G": "1e9", "T": "1e12"} | {
    "Ki": str(2**10),
    "Mi": str(2**20),
    "Gi": str(2**30),
    "Ti": str(2**40),
}


def declared(repository: str, path: str, namespace: str, tmp: Path) -> list[dict[str, Any]]:
    """What kustomize itself makes of a path (or the plain files), in `namespace` where none is given."""
    found = binaries.find("render")
    assert found
    root = SHARED / repository / path
    if any((root / name).exists() for name in ("kustomization.yaml", "kustomization.yml", "Kustomization")):
        done = subprocess.run([found["kustomize"], "build", str(root)], capture_output=True, check=True)
        documents = load(done.stdout, "build")
    else:
        documents = [item for file in sorted(root.rglob("*.yaml")) for item in load(file.read_bytes(), file.name)]
    return [item.value for item in documents if item.value]


def equal(wanted: Any, live: Any) -> bool:
    """Equal as the API means it: a quantity in another unit is the same quantity."""
    if wanted == live:
        return True
    try:
        return quantity(wanted) == quantity(live)
    except (ValueError, InvalidOperation):
        return False


def quantity(value: Any) -> Decimal:
    match = QUANTITY.match(str(value))
    if not match:
        raise ValueError(value)
    return Decimal(match[1]) * Decimal(FACTORS.get(match[2] or "", "1"))


def missing(wanted: Any, live: Any, path: str = "") -> list[str]:
    """The declared fields that are not so."""
    if isinstance(wanted, dict):
        if wanted and not isinstance(live, dict):
            return [path]
        return [
            line
            for key, value in wanted.items()
            if value is not None and not (path == ".metadata" and key in ("namespace", "creationTimestamp"))
            for line in missing(value, (live or {}).get(key), f"{path}.{key}")
        ]
    if isinstance(wanted, list):
        if len(wanted) != len(live or []):
            return [f"{path}: {wanted!r} != {live!r}"]
        return [line for i, item in enumerate(wanted) for line in missing(item, live[i], f"{path}[{i}]")]
    return [] if equal(wanted, live) else [f"{path}: {wanted!r} != {live!r}"]


PLURALS = {"NetworkPolicy": "networkpolicies", "Ingress": "ingresses"}


def address(body: dict[str, Any], namespace: str) -> str:
    api, kind = body["apiVersion"], body["kind"]
    root = f"/apis/{api}" if "/" in api else f"/api/{api}"
    plural = PLURALS.get(kind, kind.lower() + "s")
    scope = (
        "" if kind in ("Namespace", "ClusterRole") else f"/namespaces/{body['metadata'].get('namespace', namespace)}"
    )
    return f"{root}{scope}/{plural}/{body['metadata']['name']}"


def fold(body: dict[str, Any]) -> dict[str, Any]:
    if "stringData" in body:
        data = {key: base64.b64encode(value.encode()).decode() for key, value in body.pop("stringData").items()}
        body["data"] = {**body.get("data", {}), **data}
    return body


@pytest.fixture
def served(world, ns):
    """A function that serves one of the repositories from the git server."""

    def serve(repository: str):
        repo = world.repo(ns)
        shutil.copytree(SHARED / repository, repo.work, dirs_exist_ok=True)
        repo.push()
        world.source(ns, repo.url)
        return repo

    return serve


def own_namespace(objects: list[dict[str, Any]]) -> bool:
    return any(body["kind"] == "Namespace" for body in objects)


@pytest.mark.parametrize(("repository", "path"), CONVERGES, ids=[f"{r}/{p}" for r, p in CONVERGES])
def test_a_real_path_converges_stays_quiet_heals_and_goes_away(world, ns, served, tmp_path, repository, path):
    objects = declared(repository, path, ns, tmp_path)
    served(repository)
    world.app(ns, "real", path, targetNamespace=None if own_namespace(objects) else ns)
    world.ready(ns, "real", timeout=120)
    live = {}
    for body in objects:
        where = address(body, ns)
        live[where] = world.api.get(where)
        assert live[where] is not None, where
        assert missing(fold(body), live[where]) == [], where
    assert len(world.get_app(ns, "real")["status"]["inventory"]["entries"]) == len(objects)

    # a second pass writes nothing
    before = applied_generations(world, live)
    moment = world.poke_app(ns, "real")
    until(lambda: world.get_app(ns, "real")["status"].get("lastHandledReconcileAt") == moment, "the second pass")
    assert applied_generations(world, live) == before

    # a manual scale and a manual deletion are healed
    where = next(where for where in live if "/deployments/" in where)
    wanted = live[where]["spec"]["replicas"]
    declares = any(address(body, ns) == where and body["spec"].get("replicas") is not None for body in objects)
    if declares:
        world.api.merge(where, {"spec": {"replicas": wanted + 3}})
        until(lambda: world.api.get(where)["spec"]["replicas"] == wanted, "the scale is healed", 10)
    service = next(where for where in live if "/services/" in where)
    uid = live[service]["metadata"]["uid"]
    world.api.delete(service)
    until(lambda: (world.api.get(service) or {"metadata": {"uid": uid}})["metadata"]["uid"] != uid, "it is back", 10)

    world.api.delete(f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/real")
    until(lambda: world.get_app(ns, "real") is None, "the app is gone", 60)
    until(lambda: all(gone(world, where) for where in live), "its objects are gone", 60)


def applied_generations(world, live):
    """What our writes would move: the generation, and the entry of our manager. Controllers move the rest."""

    def ours(body):
        entries = [e for e in body["metadata"]["managedFields"] if e["manager"] == "kustomize-controller"]
        return body["metadata"].get("generation"), [(e["time"], e["fieldsV1"]) for e in entries]

    return {where: ours(world.api.get(where)) for where in live}


def gone(world, where):
    body = world.api.get(where)
    return body is None or "deletionTimestamp" in body["metadata"]


@pytest.mark.parametrize(("repository", "path"), HEALTHY, ids=[f"{r}/{p}" for r, p in HEALTHY])
def test_a_real_path_becomes_healthy(world, ns, served, repository, path):
    served(repository)
    world.app(ns, "real", path, wait=True, timeout="150s")
    world.ready(ns, "real", timeout=160)


@pytest.mark.parametrize(("repository", "path"), list(REFUSED), ids=[f"{r}/{p}" for r, p in REFUSED])
def test_what_a_bare_server_does_not_know_is_a_clear_error_and_nothing_is_applied(world, ns, served, repository, path):
    served(repository)
    world.app(ns, "real", path)
    message = world.failed(ns, "real", "ValidationFailed", timeout=60)
    for kind in REFUSED[repository, path]:
        assert kind in message
    time.sleep(0.5)
    assert not world.api.get(f"/api/v1/namespaces/{ns}/services")["items"]


def test_removing_the_file_of_a_real_app_removes_its_objects(world, ns, served):
    repo = served("microservices-demo")
    world.app(ns, "real", "kubernetes-manifests")
    world.ready(ns, "real", timeout=120)
    files = SHARED / "microservices-demo" / "kubernetes-manifests"
    kustomization = (files / "kustomization.yaml").read_text()
    commit = repo.commit(
        {
            "kubernetes-manifests/adservice.yaml": None,
            "kubernetes-manifests/kustomization.yaml": kustomization.replace(" - adservice.yaml\n", ""),
        }
    )
    world.poke(ns)
    world.ready(ns, "real", commit, timeout=120)
    until(lambda: gone(world, f"/apis/apps/v1/namespaces/{ns}/deployments/adservice"), "it is pruned")
    assert world.api.get(f"/apis/apps/v1/namespaces/{ns}/deployments/frontend")
