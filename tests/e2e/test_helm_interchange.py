"""Releases that pass between us and the real helm, and from Flux to us: to each of them it is one and the same."""

import base64
import gzip
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.releases import PODINFO, Home, chart, objects
from tests.e2e.test_helm_release import hook
from tests.e2e.world import World, condition, until

OURS = ("helm.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/namespace")
EXTRA = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra}\ndata: {stays: a, goes: b}\n"
FORCED = ("--server-side=true", "--force-conflicts")
KINDS = (
    ("/api/v1", "configmaps"),
    ("/api/v1", "services"),
    ("/apis/apps/v1", "deployments"),
    ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
    ("/apis/policy/v1", "poddisruptionbudgets"),
)


@pytest.fixture
def home(world: World) -> Iterator[Home]:
    home = Home(world, "exchange")
    yield home
    world.let_go(home.ns)


def podinfo(home: Home) -> None:
    if not PODINFO.is_dir():
        pytest.skip("the folder shared/realworld is not beside the checkout")
    files = {f"podinfo/{path.relative_to(PODINFO)}": path.read_bytes() for path in PODINFO.rglob("*") if path.is_file()}
    home.charts(files)  # type: ignore[arg-type]  # a repository takes bytes as well


def records(home: Home, name: str = "app") -> dict[int, Any]:
    """What helm keeps of every revision."""
    path = f"/api/v1/namespaces/{home.ns}/secrets?labelSelector=owner%3Dhelm,name%3D{name}"
    found = home.api.get(path)["items"]
    return {
        one["version"]: one
        for item in found
        for one in [json.loads(gzip.decompress(base64.b64decode(base64.b64decode(item["data"]["release"]))))]
    }


def history(home: Home) -> list[tuple[int, str]]:
    return [(one["revision"], one["status"]) for one in home.helm_json("history", "app")]


def live(home: Home, plural: str, name: str) -> Any:
    prefix = next(prefix for prefix, kind in KINDS if kind == plural)
    return home.api.get(f"{prefix}/namespaces/{home.ns}/{plural}/{name}")


def without_ours(body: Any) -> Any:
    labels = body["metadata"].get("labels") or {}
    kept = {key: value for key, value in labels.items() if key not in OURS}
    return {**body, "metadata": {**body["metadata"], "labels": kept}}


def differing(wished: Any, found: Any, path: str = "") -> list[str]:
    """Where `found` does not have all that `wished` has."""
    if isinstance(wished, dict) and isinstance(found, dict):
        return [line for key, value in wished.items() for line in differing(value, found.get(key), f"{path}/{key}")]
    if isinstance(wished, list) and isinstance(found, list) and len(wished) == len(found):
        pairs = enumerate(zip(wished, found, strict=True))
        return [line for place, (one, other) in pairs for line in differing(one, other, f"{path}/{place}")]
    return [] if wished == found or wished is None else [f"{path}: {wished!r} is {found!r}"]


def agree(home: Home, values: Any) -> None:
    """helm, the status and the cluster say the same of the release."""
    status = home.get()["status"]
    newest = status["history"][0]
    [listed] = home.helm_json("list")
    assert (listed["name"], listed["revision"], listed["status"], listed["chart"], listed["app_version"]) == (
        newest["name"],
        str(newest["version"]),
        newest["status"],
        f"{newest['chartName']}-{newest['chartVersion']}",
        newest["appVersion"],
    )
    told = {one["revision"]: one["status"] for one in home.helm_json("history", "app")}
    seen = {one["version"]: one["status"] for one in status["history"]}
    assert {version: told[version] for version in seen} == seen
    assert home.helm_json("get", "values", "app") == (values or None)
    assert home.helm("get", "notes", "app") == ""  # `helm template` renders none, so none are on record

    manifest = objects(home.helm("get", "manifest", "app"))
    ids = {(one["kind"], one["metadata"]["name"]) for one in manifest}
    inventory = {tuple(entry["id"].split("_")[::-1][i] for i in (0, 2)) for entry in status["inventory"]["entries"]}
    assert ids == inventory
    found = {
        (item_kind(plural), item["metadata"]["name"]): {
            "apiVersion": prefix.removeprefix("/apis/").removeprefix("/api/"),
            "kind": item_kind(plural),
            **item,
        }
        for prefix, plural in KINDS
        for item in home.api.get(f"{prefix}/namespaces/{home.ns}/{plural}?labelSelector={OURS[0]}%3Dapp")["items"]
    }
    assert found.keys() == ids
    for one in manifest:
        assert not differing(one, found[one["kind"], one["metadata"]["name"]])
    hooks = objects(home.helm("get", "hooks", "app"))
    assert all(OURS[0] in one["metadata"]["labels"] for one in hooks)


def item_kind(plural: str) -> str:
    return {
        "configmaps": "ConfigMap",
        "services": "Service",
        "deployments": "Deployment",
        "horizontalpodautoscalers": "HorizontalPodAutoscaler",
        "poddisruptionbudgets": "PodDisruptionBudget",
    }[plural]


def helm_would(home: Home, values: Any) -> tuple[list[Any], list[tuple[Any, ...]]]:
    """What helm itself would record of podinfo: the objects, and the hooks."""
    path = home.repo.work / "values.json"
    path.write_text(json.dumps(values))
    made = home.helm_json("install", "app", str(PODINFO), "-f", str(path), "--dry-run=server", "--hide-notes")
    path.unlink()
    return objects(made["manifest"]), [hook_of(one) for one in made.get("hooks") or ()]


def hook_of(one: Any) -> tuple[Any, ...]:
    [body] = objects(one["manifest"])
    body["metadata"]["name"] = name = body["metadata"]["name"][:-5]  # the rest is random
    assert one["name"].startswith(name)
    named = (name, one["kind"], one["path"], one["events"], one.get("weight"), one.get("delete_policies"))
    return (*named, without_ours(body))


def as_helm_records(home: Home, values: Any, wished: tuple[list[Any], list[tuple[Any, ...]]]) -> None:
    newest = records(home)[max(records(home))]
    manifest, hooks = wished
    assert [without_ours(one) for one in objects(newest["manifest"])] == manifest
    assert sorted(map(hook_of, newest["hooks"]), key=repr) == sorted(hooks, key=repr)
    assert (newest.get("config") or {}) == values


def test_podinfo_is_one_release_to_helm_and_to_us_from_its_install_to_its_end(home: Home) -> None:
    podinfo(home)
    first: dict[str, Any] = {"replicaCount": 2, "ui": {"color": "#34577c"}, "hpa": {"enabled": True}}
    second = {**first, "ui": {"color": "#ffffff"}, "hpa": {"enabled": False}, "faults": {"delay": True}}
    wished = {1: helm_would(home, first), 2: helm_would(home, second)}
    remediation = {"retries": 0, "remediateLastFailure": True}
    upgrade = {"remediation": remediation}
    home.release(chart="podinfo", values=first, upgrade=upgrade, uninstall={"keepHistory": True})
    item = home.ready(revision=1)
    assert item["status"]["history"][0]["action"] == "install"
    agree(home, first)
    as_helm_records(home, first, wished[1])
    assert live(home, "horizontalpodautoscalers", "app-podinfo") is not None

    home.change(values=second)
    item = home.ready(revision=2)
    agree(home, second)
    as_helm_records(home, second, wished[2])
    assert live(home, "horizontalpodautoscalers", "app-podinfo") is None
    assert [one["action"] for one in item["status"]["history"]] == ["upgrade", "install"]

    home.change(values={"nodeSelector": {"nowhere": "true"}, "replicaCount": 3}, upgrade={"timeout": "4s"})
    until(lambda: condition(home.get(), "Stalled"), lambda: home.why("app"), 60)
    agree(home, second)
    as_helm_records(home, second, wished[2])
    assert history(home) == [(1, "superseded"), (2, "superseded"), (3, "failed"), (4, "deployed")]
    told = {one["version"]: one["action"] for one in home.get()["status"]["history"]}
    assert told == {1: "install", 2: "upgrade", 3: "upgrade", 4: "rollback"}
    assert live(home, "deployments", "app-podinfo")["spec"]["replicas"] == 2

    home.api.delete(home.path())
    home.gone()
    assert [one["status"] for one in home.helm_json("list")] == ["uninstalled"]
    assert history(home)[-1] == (4, "uninstalled")
    assert all(live(home, plural, "app-podinfo") is None for _, plural in KINDS)


@pytest.mark.parametrize("way", ["--server-side=true", "--server-side=false"])
def test_a_release_of_helm_is_adopted_as_it_stands(home: Home, way: str) -> None:
    home.repo.commit(chart(files={"templates/extra.yaml": EXTRA}))
    home.helm("install", "app", str(home.repo.work / "app"), "--set", "more=yes,colour=red", way)
    uids = {name: live(home, "configmaps", name)["metadata"]["uid"] for name in ("app", "extra")}
    home.charts(chart("1.1.0", files={"templates/extra.yaml": EXTRA.replace(", goes: b", "")}))
    home.release(values={"colour": "green"})
    home.ready(revision=2)
    agree(home, {"colour": "green"})
    assert history(home) == [(1, "superseded"), (2, "deployed")]
    assert {name: live(home, "configmaps", name)["metadata"]["uid"] for name in uids} == uids
    assert home.data("app-more") is None
    assert home.data("extra") == {"stays": "a"}
    managers = {entry["manager"] for entry in live(home, "configmaps", "extra")["metadata"]["managedFields"]}
    assert managers == {"helm-controller"}


def test_what_helm_does_to_a_release_of_ours_is_noticed_and_brought_back(home: Home) -> None:
    home.charts(chart())
    home.release(values={"colour": "green"})
    home.ready(revision=1)
    home.helm("upgrade", "app", str(home.repo.work / "app"), "--set", "colour=red,more=yes", *FORCED)
    assert home.data("app-more") == {"more": "yes"}
    home.ask()
    home.ready(revision=3)
    assert (home.data("app"), home.data("app-more")) == ({"colour": "green"}, None)
    agree_on = [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    assert history(home) == agree_on
    home.helm("rollback", "app", "2", *FORCED)
    assert home.data("app") == {"colour": "red"}
    home.ask()
    home.ready(revision=5)
    assert (home.data("app"), home.data("app-more")) == ({"colour": "green"}, None)
    home.helm("uninstall", "app")
    assert home.data("app") is None
    home.ask()
    home.ready(revision=1)
    agree(home, {"colour": "green"})


def test_an_upgrade_by_helm_that_was_killed_locks_nothing_for_longer_than_the_timeout(home: Home) -> None:
    home.charts(chart(files={"templates/pre.yaml": hook("pre", "pre-upgrade").replace("Seconds: 1", "Seconds: 600")}))
    home.release(timeout="15s")
    home.ready(revision=1)
    arguments = ["upgrade", "app", str(home.repo.work / "app"), "--set", "broken={pre},colour=red", *FORCED]
    killed = start_helm(home, *arguments)
    until(lambda: records(home).get(2, {}).get("info", {}).get("status") == "pending-upgrade", "it has begun")
    killed.send_signal(signal.SIGKILL)
    killed.wait(10)
    home.ask()
    waiting = condition(home.get(), "Ready")
    assert "revision 2 is pending-upgrade by somebody else" in waiting["message"] or waiting["status"] == "True"
    home.ready(revision=3)
    assert history(home) == [(1, "superseded"), (2, "failed"), (3, "deployed")]
    agree(home, {})


def start_helm(home: Home, *arguments: str) -> subprocess.Popen[bytes]:
    from trimtab.toolchain import binaries

    program = binaries.present("render")["helm"]
    return subprocess.Popen(
        [program, *arguments, "--kubeconfig", str(home.world.controller.kubeconfig), "-n", home.ns],
        env={"PATH": os.environ["PATH"], "HOME": str(home.repo.work)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def of_flux(home: Home, generation: int) -> dict[str, Any]:
    """A status as Flux's helm-controller leaves it: digests made its own way, and what we know no more of."""
    digest = "sha256:" + "c" * 64
    moment = "2026-11-01T10:00:00Z"
    good = {"lastTransitionTime": moment, "observedGeneration": generation, "status": "True"}
    words = f"Helm install succeeded for release {home.ns}/app.v1 with chart app@1.0.0"
    told = [{**good, "type": kind, "reason": "InstallSucceeded", "message": words} for kind in ("Ready", "Released")]
    seen = {
        "digest": digest,
        "configDigest": digest,
        "name": "app",
        "namespace": home.ns,
        "version": 1,
        "status": "deployed",
        "chartName": "app",
        "chartVersion": "1.0.0",
        "appVersion": "9",
        "firstDeployed": moment,
        "lastDeployed": moment,
    }
    return {
        "observedGeneration": generation,
        "observedPostRenderersDigest": digest,
        "observedCommonMetadataDigest": digest,
        "lastAttemptedGeneration": generation,
        "lastAttemptedReleaseAction": "install",
        "lastAttemptedRevision": "1.0.0",
        "lastAttemptedConfigDigest": digest,
        "helmChart": f"{home.ns}/{home.ns}-app",
        "storageNamespace": home.ns,
        "conditions": told,
        "history": [seen],
    }


def test_a_release_of_flux_is_taken_over_without_a_new_revision(home: Home) -> None:
    home.charts(chart())
    patch = json.dumps([{"op": "add", "path": "/data/added", "value": "yes"}])
    renderer = {"kustomize": {"patches": [{"target": {"kind": "ConfigMap", "name": "app"}, "patch": patch}]}}
    spec = {"postRenderers": [renderer], "commonMetadata": {"labels": {"team": "a"}}}
    home.release(suspend=True, values={"colour": "green"}, **spec)
    home.helm("install", "app", str(home.repo.work / "app"), "--set", "colour=green", "--server-side=false")
    as_helm_3(home, "app")
    labels = {OURS[0]: "app", OURS[1]: home.ns}
    home.api.merge(f"/api/v1/namespaces/{home.ns}/configmaps/app", {"metadata": {"labels": labels}})
    before = live(home, "configmaps", "app")
    # the generation that it has once it is no longer suspended
    home.api.merge(f"{home.path()}/status", {"status": of_flux(home, 2)})
    home.change(suspend=None)
    home.ask()
    item = home.ready(revision=1)
    assert history(home) == [(1, "deployed")]
    assert live(home, "configmaps", "app")["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert item["status"]["history"][0]["digest"] != "sha256:" + "c" * 64
    home.ask()
    assert history(home) == [(1, "deployed")]
    home.change(values={"colour": "red"})
    home.ready(revision=2)
    assert home.data("app") == {"colour": "red", "added": "yes"}
    assert live(home, "configmaps", "app")["metadata"]["uid"] == before["metadata"]["uid"]


def as_helm_3(home: Home, name: str) -> None:
    """Write the record anew as Helm 3 did, which knew of one way to apply only."""
    record = records(home, name)[1]
    record.pop("apply_method", None)
    data = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(record).encode()))).decode()
    home.api.merge(f"/api/v1/namespaces/{home.ns}/secrets/sh.helm.release.v1.{name}.v1", {"data": {"release": data}})
