"""Charts of releases from everywhere they may come from, releases that go elsewhere, and the commands for them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.buckets.store import Moto
from tests.charts.world import ChartServer, tgz
from tests.e2e import test_remote, test_tenancy
from tests.e2e.releases import RELEASES, Home, chart
from tests.e2e.test_external_artifact import Producer
from tests.e2e.test_helm_release import hook
from tests.e2e.test_helm_sources import CONTENT, push
from tests.e2e.world import SOURCES, Api, World, condition, until
from tests.registry.server import RegistryServer, archive, descriptor, digest, manifest
from trimtab.cluster.plane import ControlPlane

far_plane, far = test_remote.far_plane, test_remote.far
SHARED = {"metadata": {"labels": {"trimtab.dev/shared-sources": "true"}}}
API = {"apiVersion": "source.toolkit.fluxcd.io/v1"}


@pytest.fixture
def home(world: World) -> Iterator[Home]:
    home = Home(world, "charts")
    yield home
    world.let_go(home.ns)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ChartServer]:
    server = ChartServer(tmp_path / "served")
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("registry"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    server = Moto()
    yield server
    server.stop()


def packed(version: str, colour: str = "blue") -> bytes:
    files = {
        "values.yaml": f"colour: {colour}\nmore: ''\nbroken: []\n",
        "values-prod.yaml": "colour: prod\n",
    }
    return tgz(chart(version, files=files))


def source(home: Home, plural: str, kind: str, name: str, ns: str = "", **spec: Any) -> None:
    ns = ns or home.ns
    body = {**API, "kind": kind, "metadata": {"name": name, "namespace": ns}, "spec": {"interval": "60m", **spec}}
    home.api.create(f"{SOURCES}/namespaces/{ns}/{plural}", body)


def of(kind: str, name: str, ns: str = "", **spec: Any) -> dict[str, Any]:
    """`spec.chart` of a release whose chart is in that source."""
    ref = {"kind": kind, "name": name, **({"namespace": ns} if ns else {})}
    return {"chart": {"spec": {"chart": "app", "sourceRef": ref, **spec}}}


def release(home: Home, name: str = "app", **spec: Any) -> None:
    """A release, of a chart from anywhere."""
    body = {"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": {"name": name}}
    wish = {"interval": "60m", **{key: value for key, value in spec.items() if value is not None}}
    home.api.create(f"{RELEASES}/namespaces/{home.ns}/helmreleases", {**body, "spec": wish})


def helm_chart(home: Home, ns: str = "", name: str = "app") -> Any:
    return home.api.get(f"{SOURCES}/namespaces/{ns or home.ns}/helmcharts/{home.ns}-{name}")


def released(home: Home, version: str, colour: str, revision: int = 0) -> Any:
    """Wait until the chart is released in that version and with that colour."""
    item = home.ready(revision=revision)
    newest = until(
        lambda: next((one for one in home.get()["status"]["history"][:1] if one["chartVersion"] == version), None),
        lambda: home.why("app"),
    )
    assert home.data("app") == {"colour": colour}
    assert [one["chart"] for one in home.helm_json("list")] == [f"app-{version}"]
    assert newest["status"] == "deployed"
    return item


def test_the_helm_chart_of_a_release_is_made_changed_and_deleted_with_it(home: Home, server: ChartServer) -> None:
    versions = ("1.0.0", "1.2.0", "2.0.0")
    server.publish(*(("app", version, packed(version, f"blue-{version}")) for version in versions))
    source(home, "helmrepositories", "HelmRepository", "web", url=server.url)
    spec = of("HelmRepository", "web", version="1.x", valuesFiles=["values.yaml", "values-prod.yaml"], interval="7m")
    spec["chart"]["metadata"] = {"labels": {"team": "a"}, "annotations": {"note": "b"}}
    release(home, **spec)
    released(home, "1.2.0+1", "prod", 1)
    made = helm_chart(home)
    assert made["metadata"]["annotations"] == {"note": "b"}
    owner = {"helm.toolkit.fluxcd.io/name": "app", "helm.toolkit.fluxcd.io/namespace": home.ns}
    assert made["metadata"]["labels"] == {"team": "a", **owner}
    assert (made["spec"]["version"], made["spec"]["interval"]) == ("1.x", "7m")

    spec["chart"]["metadata"] = {"labels": {"team": None}, "annotations": None}
    spec["chart"]["spec"] |= {"version": "2.x", "valuesFiles": None}
    home.change(**spec)
    released(home, "2.0.0", "blue-2.0.0", 2)
    again = helm_chart(home)
    assert again["metadata"]["uid"] == made["metadata"]["uid"]
    assert again["metadata"]["labels"] == owner
    assert "annotations" not in again["metadata"]
    assert again["spec"]["version"] == "2.x"
    assert "valuesFiles" not in again["spec"]

    # another object's chart takes its place
    ref = {"kind": "HelmRepository", "name": "web"}
    source(home, "helmcharts", "HelmChart", "shared", chart="app", version="1.0.0", sourceRef=ref)
    home.change(chart=None, chartRef={"kind": "HelmChart", "name": "shared"})
    released(home, "1.0.0", "blue-1.0.0", 3)
    of_chart = ["HelmRepository web", "HelmChart shared", "HelmRelease app"]
    assert asked(trimtab(home, "reconcile", "hr", "app", "--with-source")) == of_chart
    until(lambda: helm_chart(home) is None, lambda: home.why("app"))
    assert "helmChart" not in home.get()["status"]
    home.api.delete(home.path())
    home.gone()
    assert home.api.get(f"{SOURCES}/namespaces/{home.ns}/helmcharts/shared") is not None


def test_a_helm_chart_that_never_got_ready_goes_as_well(home: Home) -> None:
    for name in ("gone", "changed"):
        release(home, name, **of("GitRepository", "nowhere"))
        home.failed(name, "ArtifactFailed")
        assert helm_chart(home, name=name) is not None
    home.api.delete(home.path("gone"))
    home.gone("gone")
    until(lambda: helm_chart(home, name="gone") is None, "its HelmChart is gone")
    home.change("changed", chart=None, chartRef={"kind": "HelmChart", "name": "another"})
    until(lambda: helm_chart(home, name="changed") is None, lambda: home.why("changed"))


def test_a_new_version_in_a_repository_is_released_when_the_repository_is_looked_at(
    home: Home, server: ChartServer
) -> None:
    server.publish(("app", "1.0.0", packed("1.0.0")))
    source(home, "helmrepositories", "HelmRepository", "web", url=server.url)
    release(home, **of("HelmRepository", "web", version=">=1.0.0 <2.0.0"))
    released(home, "1.0.0", "blue", 1)
    server.publish(*(("app", version, packed(version, "new")) for version in ("1.0.0", "1.1.0", "2.0.0")))
    done = trimtab(home, "reconcile", "hr", "app", "--with-source")
    assert asked(done) == ["HelmRepository web", f"HelmChart {home.ns}-app", "HelmRelease app"]
    assert done.stderr.splitlines()[-1] == "✔ released chart version 1.1.0"
    released(home, "1.1.0", "new", 2)


def test_a_chart_in_a_registry_is_released_through_a_helm_repository(home: Home, registry: RegistryServer) -> None:
    push(registry, f"{home.ns}/app", "1.0.0", packed("1.0.0"))
    url = f"oci://{registry.host}/{home.ns}"
    source(home, "helmrepositories", "HelmRepository", "oci", url=url, type="oci", insecure=True)
    release(home, **of("HelmRepository", "oci", version="*"))
    released(home, "1.0.0", "blue", 1)
    push(registry, f"{home.ns}/app", "1.1.0", packed("1.1.0", "new"))
    done = trimtab(home, "reconcile", "hr", "app", "--with-source")
    assert done.returncode == 0, done.stderr
    released(home, "1.1.0", "new", 2)


@pytest.mark.parametrize("operation", ["copy", "extract"])
def test_a_tag_that_moves_makes_a_new_revision(home: Home, registry: RegistryServer, operation: str) -> None:
    def tagged(data: bytes) -> str:
        registry.blob(home.ns, b"{}")
        registry.blob(home.ns, data)
        return registry.tag(home.ns, "latest", manifest([descriptor(data, CONTENT)]))

    first = tagged(packed("1.0.0"))
    selector = {"mediaType": CONTENT, "operation": operation}
    url = f"oci://{registry.host}/{home.ns}"
    source(home, "ocirepositories", "OCIRepository", "repo", url=url, insecure=True, layerSelector=selector)
    release(home, chartRef={"kind": "OCIRepository", "name": "repo"})
    item = released(home, f"1.0.0+{first.partition(':')[2][:12]}", "blue", 1)
    assert item["status"]["history"][0]["ociDigest"] == first
    assert item["status"]["lastAttemptedRevisionDigest"] == first
    assert "helmChart" not in item["status"]
    second = tagged(packed("1.0.0", "moved"))
    assert asked(trimtab(home, "reconcile", "hr", "app", "--with-source")) == ["OCIRepository repo", "HelmRelease app"]
    item = released(home, f"1.0.0+{second.partition(':')[2][:12]}", "moved", 2)
    assert [one["ociDigest"] for one in item["status"]["history"]] == [second, first]


def test_a_chart_is_what_a_producer_of_artifacts_made(home: Home) -> None:
    producer = Producer(home.world, home.ns)
    try:
        producer.create()
        data = archive({path.removeprefix("app/"): text for path, text in chart("1.0.0").items()})
        producer.files["/1.tar.gz"] = data
        producer.say("made", "latest@sha256:" + "1" * 64, url=f"{producer.url}/1.tar.gz", digest=digest(data))
        release(home, chartRef={"kind": "ExternalArtifact", "name": "made"})
        item = home.ready(revision=1)
        assert home.data("app") == {"colour": "blue"}
        assert item["status"]["history"][0]["chartVersion"].startswith("1.0.0+")
    finally:
        producer.stop()


def test_a_chart_is_packed_from_a_bucket(home: Home, moto: Moto) -> None:
    bucket = moto.bucket("charts", {f"charts/{path}": text for path, text in chart("1.0.0").items()})
    source(home, "buckets", "Bucket", "store", endpoint=moto.host, bucketName=bucket, insecure=True)
    release(home, **of("Bucket", "store", chart="./charts/app"))
    released(home, "1.0.0", "blue", 1)


def test_a_source_of_another_namespace_is_used_where_that_namespace_says_so(home: Home) -> None:
    home.charts(chart())
    other = Home(home.world, "elsewhere")
    home.api.merge(f"/api/v1/namespaces/{home.ns}", SHARED)
    try:
        for spec in (
            of("GitRepository", "repo", home.ns),
            {"chartRef": {"kind": "OCIRepository", "name": "repo", "namespace": home.ns}},
        ):
            name = "shared" if "chart" in spec else "reffed"
            release(other, name, **spec)
        other.ready("shared", revision=1)
        other.failed("reffed", "ArtifactFailed", "does not exist")  # it may be named, but is not there
        assert helm_chart(other, home.ns, "shared") is not None
        release(home, "spy", **of("GitRepository", "repo", other.ns))
        home.failed("spy", "AccessDenied", f"sources of namespace {other.ns} may not be used")
        assert home.api.get(f"{SOURCES}/namespaces/{other.ns}/helmcharts")["items"] == []
        release(home, "ref", chartRef={"kind": "HelmChart", "name": "c", "namespace": other.ns})
        home.failed("ref", "AccessDenied", f"sources of namespace {other.ns} may not be used")
        other.api.delete(other.path("shared"))
        other.gone("shared")
        until(lambda: helm_chart(other, home.ns, "shared") is None, "its HelmChart is gone")
    finally:
        home.world.let_go(other.ns)


# Elsewhere, and in the name of others


def test_a_release_goes_to_another_cluster_with_its_records(home: Home, far: Api, far_plane: ControlPlane) -> None:
    home.charts(chart())
    far.create("/api/v1/namespaces", {"metadata": {"name": home.ns}})
    kube = test_remote.kubeconfig(home.world, home.ns, far_plane.kubeconfig.read_bytes())
    home.release(kubeConfig=kube, driftDetection={"mode": "enabled"})
    home.ready(revision=1)
    there = f"/api/v1/namespaces/{home.ns}"
    assert far.get(f"{there}/configmaps/app")["data"] == {"colour": "blue"}
    assert far.get(f"{there}/secrets/sh.helm.release.v1.app.v1") is not None
    assert home.data("app") is None
    assert home.helm_json("list") == []
    far.merge(f"{there}/configmaps/app", {"data": {"colour": "changed"}})
    until(lambda: far.get(f"{there}/configmaps/app")["data"] == {"colour": "blue"}, lambda: home.why("app"))
    home.change(values={"colour": "red"})
    home.ready(revision=2)
    assert far.get(f"{there}/configmaps/app")["data"] == {"colour": "red"}
    home.api.delete(home.path())
    home.gone()
    assert far.get(f"{there}/configmaps/app") is None
    assert far.get(f"{there}/secrets/sh.helm.release.v1.app.v2") is None


def test_a_release_acts_in_the_name_of_its_account_alone(home: Home) -> None:
    home.charts(chart())
    rules = [{"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["*"]}]
    rbac = f"{test_tenancy.RBAC}/namespaces/{home.ns}"
    home.api.create(f"/api/v1/namespaces/{home.ns}/serviceaccounts", {"metadata": {"name": "deployer"}})
    home.api.create(f"{rbac}/roles", {"metadata": {"name": "deployer"}, "rules": rules})
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "deployer"}
    subject = {"kind": "ServiceAccount", "name": "deployer", "namespace": home.ns}
    body = {"metadata": {"name": "deployer"}, "roleRef": ref, "subjects": [subject]}
    home.api.create(f"{rbac}/rolebindings", body)
    home.release(serviceAccountName="deployer")
    home.ready(revision=1)
    home.change(storageNamespace="kube-system")
    home.failed(words=f"system:serviceaccount:{home.ns}:deployer")
    assert home.data("app") == {"colour": "blue"}
    home.change(storageNamespace=None)
    home.ready(revision=1)
    home.api.delete(home.path())
    home.gone()
    assert home.data("app") is None


@pytest.mark.parametrize("field", ["storageNamespace", "targetNamespace"])
def test_a_release_moves_with_what_belongs_to_it(home: Home, field: str) -> None:
    home.charts(chart())
    other = home.world.namespace("moved")
    home.release(releaseName="app")
    home.ready(revision=1)
    home.change(**{field: other})
    records, objects = (other, home.ns) if field == "storageNamespace" else (home.ns, other)

    def there(kind: str, name: str, ns: str) -> Any:
        return home.api.get(f"/api/v1/namespaces/{ns}/{kind}/{name}")

    until(lambda: there("secrets", "sh.helm.release.v1.app.v1", records), lambda: home.why("app"))
    until(lambda: there("configmaps", "app", objects), lambda: home.why("app"))
    home.ready(revision=1)
    assert home.get()["status"]["storageNamespace"] == records
    assert home.get()["status"]["history"][0]["namespace"] == objects
    if field == "storageNamespace":
        assert there("secrets", "sh.helm.release.v1.app.v1", home.ns) is None
    else:
        assert there("configmaps", "app", home.ns) is None
    home.api.delete(home.path())
    home.gone()
    assert there("secrets", "sh.helm.release.v1.app.v1", records) is None
    assert there("configmaps", "app", objects) is None


# The commands


def trimtab(home: Home, *arguments: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "KUBECONFIG": str(home.world.controller.kubeconfig), "NO_COLOR": ""}
    command = [sys.executable, "-m", "trimtab.cli.main", *arguments, "-n", home.ns]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


def asked(done: "subprocess.CompletedProcess[str]") -> list[str]:
    """Which objects were looked at, in their order."""
    assert done.returncode == 0, done.stderr
    lines = [line.removeprefix("► annotating ") for line in done.stderr.splitlines() if line.startswith("►")]
    return [line.partition(" in ")[0] for line in lines]


def test_the_commands_know_releases(home: Home) -> None:
    home.charts(chart(files={"templates/pre.yaml": hook("pre", "pre-upgrade")}))
    home.release()
    home.ready(revision=1)
    listed = trimtab(home, "get", "hr").stdout.splitlines()
    assert listed[0].split() == ["NAME", "REVISION", "SUSPENDED", "READY", "MESSAGE"]
    words = f"Helm install succeeded for release {home.ns}/app.v1 with chart app@1.0.0"
    assert listed[1].split(maxsplit=4) == ["app", "1.0.0", "False", "True", words]

    assert trimtab(home, "suspend", "hr", "app").returncode == 0
    home.change(values={"colour": "red"})
    assert trimtab(home, "reconcile", "hr", "app").returncode == 1
    assert home.data("app") == {"colour": "blue"}
    done = trimtab(home, "resume", "hr", "app")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "✔ released chart version 1.0.0")
    assert home.data("app") == {"colour": "red"}

    assert trimtab(home, "reconcile", "hr", "app", "--force").returncode == 0
    assert len(home.helm_json("history", "app")) == 3

    home.change(values={"colour": "green", "broken": ["pre"]})
    until(lambda: condition(home.get(), "Stalled"), lambda: home.why("app"))
    done = trimtab(home, "reconcile", "hr", "app", "--reset")
    assert done.returncode == 2
    assert "UpgradeFailed" in done.stderr
    assert [one["status"] for one in home.helm_json("history", "app")][-2:] == ["failed", "failed"]
    annotations = home.get()["metadata"]["annotations"]
    asked = annotations["reconcile.fluxcd.io/requestedAt"]
    assert annotations["reconcile.fluxcd.io/resetAt"] == asked == home.get()["status"]["lastHandledResetAt"]
    assert "for HelmReleases" in trimtab(home, "reconcile", "source", "git", "repo", "--force").stderr
