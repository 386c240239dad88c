"""Flux's own example of a platform repository, as it is published: both of its clusters, and what becomes of a commit.

Changed are the addresses of the charts, which are served here, and `insecure: true` with them, since the registry on
loopback speaks plain HTTP. The test adds what the repository leaves to the bootstrap: the GitRepository `flux-system`
and the root Kustomization. Charts of others are stand-ins; podinfo's is the real one.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.charts.world import ChartServer, tgz
from tests.e2e import standins
from tests.e2e.releases import PODINFO, RELEASES
from tests.e2e.world import APPS, EXTENSIONS, SOURCES, ApiFailure, Repo, World, condition, until
from tests.registry.server import RegistryServer
from trimtab.cluster.plane import ControlPlane

EXAMPLE = Path(__file__).parents[2].parent / "shared" / "realworld" / "flux2-kustomize-helm-example"
pytestmark = [
    pytest.mark.skipif(not EXAMPLE.is_dir(), reason="the folder shared/realworld is not beside the checkout"),
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

HOME = "flux-system"
GROUPS = ("cert-manager.io", "gateway.networking.k8s.io")
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NAMESPACES = ("cert-manager", "envoy-gateway-system", "podinfo")
ISSUER = "/apis/cert-manager.io/v1/clusterissuers/letsencrypt"
CLASS = "/apis/gateway.networking.k8s.io/v1/gatewayclasses/envoy"
GATEWAY = "/apis/gateway.networking.k8s.io/v1/namespaces/envoy-gateway-system/gateways/envoy"
ROUTE = "/apis/gateway.networking.k8s.io/v1/namespaces/podinfo/httproutes/podinfo"
ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
READY = {
    f"{APPS}/namespaces/{HOME}/kustomizations": {HOME, "infra-controllers", "infra-configs", "apps"},
    f"{EXTENSIONS}/namespaces/{HOME}/artifactgenerators": {HOME},
    f"{SOURCES}/namespaces/{HOME}/externalartifacts": {"infrastructure", "apps"},
    f"{SOURCES}/namespaces/cert-manager/ocirepositories": {"cert-manager"},
    f"{SOURCES}/namespaces/envoy-gateway-system/ocirepositories": {"gateway-helm"},
    f"{SOURCES}/namespaces/podinfo/helmrepositories": {"podinfo"},
    f"{SOURCES}/namespaces/podinfo/helmcharts": {"podinfo-podinfo"},
    f"{RELEASES}/namespaces/cert-manager/helmreleases": {"cert-manager"},
    f"{RELEASES}/namespaces/envoy-gateway-system/helmreleases": {"envoy-gateway"},
    f"{RELEASES}/namespaces/podinfo/helmreleases": {"podinfo"},
}
SERVER = {
    "staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
    "production": "https://acme-v02.api.letsencrypt.org/directory",
}
PODINFO_VERSION = {"staging": "7.0.0-beta.1", "production": "6.14.1"}
"""Staging takes prereleases, as its range says."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("registry"))
    server.start()
    for version in ("0.9.0", "1.20.1", "2.0.0"):
        standins.push(server, "jetstack/charts/cert-manager", f"v{version}", standins.cert_manager(version))
    for version in ("1.7.3", "1.8.0-rc.0", "1.8.0-rc.1"):
        standins.push(server, "envoyproxy/gateway-helm", f"v{version}", standins.gateway(version))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChartServer]:
    server = ChartServer(tmp_path_factory.mktemp("charts"))
    server.publish(*(("podinfo", version, podinfo(version)) for version in PODINFO_VERSION.values()))
    server.start()
    yield server
    server.close()


def podinfo(version: str) -> bytes:
    """The real chart, under `version`."""
    files = {f"podinfo/{path.relative_to(PODINFO)}": path.read_bytes() for path in PODINFO.rglob("*") if path.is_file()}
    said = files["podinfo/Chart.yaml"].decode()
    files["podinfo/Chart.yaml"] = re.sub(r"(?m)^version: .*$", f"version: {version}", said).encode()
    return tgz(files)


class Platform:
    """The repository, served, and the cluster that follows it."""

    def __init__(self, world: World, registry: RegistryServer, charts: ChartServer, cluster: str) -> None:
        self.world, self.api, self.cluster = world, world.api, cluster
        self.repo: Repo = world.repo(f"example-{cluster}")
        addresses = {
            "https://stefanprodan.github.io/podinfo": charts.url,
            "oci://quay.io/": f"oci://{registry.host}/",
            "oci://docker.io/": f"oci://{registry.host}/",
        }
        files: dict[str, str | bytes | None] = {}
        for path in EXAMPLE.rglob("*"):
            name = path.relative_to(EXAMPLE)
            if path.is_file() and name.parts[0] != ".git":
                files[str(name)] = (
                    served_here(path.read_text(), addresses) if path.suffix == ".yaml" else path.read_bytes()
                )
        self.commit = self.first = self.repo.commit(files, "Import")

    def bootstrap(self) -> None:
        """What `flux bootstrap` creates beside the controllers."""
        self.world.source(HOME, self.repo.url, HOME)
        source = {"kind": "GitRepository", "name": HOME}
        self.world.app(HOME, HOME, f"./clusters/{self.cluster}", targetNamespace=None, timeout=None, sourceRef=source)

    def get(self, path: str) -> Any:
        """The object or list; None also while its kind is only being set up."""
        try:
            return self.api.get(path)
        except ApiFailure as failure:
            if failure.code == 429:
                return None
            raise

    def change(self, file: str, old: str, new: str) -> None:
        said = (self.repo.work / file).read_text()
        assert old in said
        self.commit = self.repo.commit({file: said.replace(old, new)}, f"{old} becomes {new}")
        self.world.poke(HOME, HOME)

    def settled(self, timeout: float = 60.0) -> None:
        """Wait until all of it is Ready, the apps at the newest commit."""
        until(lambda: not self.missing(), self.why, timeout)

    def missing(self) -> list[str]:
        """What is not as it should be."""
        self.accept()
        found: list[str] = []
        for path, names in READY.items():
            items = {item["metadata"]["name"]: item for item in (self.get(path) or {"items": []})["items"]}
            found += [f"{path}/{name} is there" for name in items.keys() - names]
            found += [
                f"{path}/{name}: {self.complaint(items.get(name))}" for name in names if self.complaint(items.get(name))
            ]
        return found

    def complaint(self, item: Any) -> str:
        if item is None:
            return "is not there"
        status, ready = item.get("status") or {}, condition(item, "Ready")
        if ready.get("status") != "True" or status.get("observedGeneration", 0) not in (
            0,
            item["metadata"]["generation"],
        ):
            return f"{ready.get('reason')}: {ready.get('message')}"
        if item["kind"] == "Kustomization":
            # No commit of these tests touches the infrastructure, so its artifact stays the one of the first.
            wanted = self.first if item["metadata"]["name"].startswith("infra-") else self.commit
            at = [status.get("lastAppliedRevision", ""), status.get("lastAppliedOriginRevision", "")]
            return "" if any(wanted in one for one in at) else f"is at {at}"
        return ""

    def accept(self) -> None:
        """A double of Envoy Gateway: it takes each route, and says so."""
        route = self.get(ROUTE)
        if route is None:
            return
        generation = route["metadata"]["generation"]
        said = {"lastTransitionTime": "2026-01-01T00:00:00Z", "message": "", "observedGeneration": generation}
        parent = {
            "parentRef": route["spec"]["parentRefs"][0],
            "controllerName": "gateway.envoyproxy.io/gatewayclass-controller",
            "conditions": [
                {**said, "type": kind, "reason": kind, "status": "True"} for kind in ("Accepted", "ResolvedRefs")
            ],
        }
        if (route.get("status") or {}).get("parents") != [parent]:
            self.api.merge(f"{ROUTE}/status", {"status": {"parents": [parent]}})

    def image(self, name: str) -> str:
        found = self.api.get(f"/apis/apps/v1/namespaces/podinfo/deployments/{name}")
        return str(found["spec"]["template"]["spec"]["containers"][0]["image"])

    def revision(self, namespace: str, name: str) -> Any:
        """The newest revision of a release."""
        return self.api.get(f"{RELEASES}/namespaces/{namespace}/helmreleases/{name}")["status"]["history"][0]

    def left(self) -> list[str]:
        """What is still there of it all."""
        lists = [*READY, DEFINITIONS, ROLES]
        found = [
            f"{path}/{item['metadata']['name']}"
            for path in lists
            for item in (self.get(path) or {"items": []})["items"]
            if path not in (DEFINITIONS, ROLES)
            or item["metadata"]["name"].endswith("cert-manager.io")
            or item["metadata"]["name"] in ("cert-manager-controller", "envoy-gateway-controller")
        ]
        singles = [ISSUER, CLASS, *(f"/api/v1/namespaces/{name}" for name in NAMESPACES)]
        return found + [path for path in singles if self.get(path) is not None]

    def why(self) -> str:
        log = self.world.controller.log[-4000:].splitlines()
        return json.dumps({"missing": self.missing(), "left": self.left(), "log": log}, indent=1)

    def clear(self) -> None:
        """Take away what a failed test has left, and what a chart never deletes."""
        for path in READY:
            for item in (self.get(path) or {"items": []})["items"]:
                self.api.merge(f"{path}/{item['metadata']['name']}", {"metadata": {"finalizers": None}})
                self.api.delete(f"{path}/{item['metadata']['name']}")
        self.api.delete(f"{SOURCES}/namespaces/{HOME}/gitrepositories/{HOME}")
        for name in NAMESPACES:
            self.api.delete(f"/api/v1/namespaces/{name}")
        until(lambda: all(self.api.get(f"/api/v1/namespaces/{n}") is None for n in NAMESPACES), "namespaces go", 60)
        for item in self.api.get(DEFINITIONS)["items"]:
            if item["spec"]["group"] in GROUPS:
                self.api.delete(f"{DEFINITIONS}/{item['metadata']['name']}")


def served_here(text: str, addresses: dict[str, str]) -> str:
    """A file with our addresses in place of the remote ones."""
    for old, new in addresses.items():
        text = text.replace(old, new)
    return re.sub(r"(?m)^( *)(url: oci://127\.0\.0\.1.*)$", r"\1\2\n\1insecure: true", text)


@pytest.fixture
def platform(
    world: World, registry: RegistryServer, charts: ChartServer, request: pytest.FixtureRequest
) -> Iterator[Platform]:
    found = Platform(world, registry, charts, request.param)
    yield found
    found.clear()


def deletions(plane: ControlPlane, since: int) -> list[str]:
    """The addresses of what was deleted by request, in that order, as the audit log from byte `since` on has them."""
    with plane.audit_log.open("rb") as log:
        log.seek(since)
        events = [json.loads(line) for line in log if b'"verb":"delete"' in line and line.endswith(b"\n")]
    done = [one for one in events if one["stage"] == "ResponseComplete" and one["responseStatus"]["code"] < 300]
    return [one["requestURI"].partition("?")[0] for one in done]


@pytest.mark.parametrize("platform", ["staging", "production"], indirect=True)
def test_the_example_becomes_ready_follows_a_commit_and_goes_in_order(platform: Platform, plane: ControlPlane) -> None:
    api, cluster = platform.api, platform.cluster
    platform.bootstrap()
    platform.settled()

    # Ranges, with the tags of each registry: the highest that fits, and prereleases where they are asked for.
    assert platform.revision("cert-manager", "cert-manager")["chartVersion"].startswith("1.20.1+")
    assert platform.revision("envoy-gateway-system", "envoy-gateway")["chartVersion"].startswith("1.8.0-rc.1+")
    assert platform.revision("podinfo", "podinfo")["chartVersion"] == PODINFO_VERSION[cluster]
    # Patches of the cluster, values of the base and of the cluster, and the chart's own.
    assert api.get(ISSUER)["spec"]["acme"]["server"] == SERVER[cluster]
    assert api.get(ROUTE)["spec"]["hostnames"] == [f"podinfo.{cluster}"]
    assert platform.image("podinfo-redis") == "public.ecr.aws/docker/library/redis:8.6.2"
    assert platform.image("podinfo") == "ghcr.io/stefanprodan/podinfo:6.14.1"
    config = api.get("/api/v1/namespaces/cert-manager/configmaps/cert-manager")["data"]["config.yaml"]
    assert config.strip() == "enableGatewayAPI: true"
    assert api.get(GATEWAY)["spec"]["gatewayClassName"] == "envoy"

    # A tag of an image in the base, and then a value of the cluster.
    platform.change("apps/base/podinfo/release.yaml", "tag: 8.6.2", "tag: 8.6.3")
    until(lambda: platform.image("podinfo-redis").endswith(":8.6.3"), platform.why, 60)
    platform.settled()
    assert platform.revision("podinfo", "podinfo")["version"] == 2
    assert platform.revision("cert-manager", "cert-manager")["version"] == 1
    platform.change(f"apps/{cluster}/podinfo-values.yaml", f"podinfo.{cluster}", f"www.podinfo.{cluster}")
    until(lambda: api.get(ROUTE)["spec"]["hostnames"] == [f"www.podinfo.{cluster}"], platform.why, 60)
    platform.settled()

    # The root goes, and all that came with it; but for the definitions in `crds/`, which nobody deletes.
    since = plane.audit_log.stat().st_size
    api.delete(f"{APPS}/namespaces/{HOME}/kustomizations/{HOME}")
    until(lambda: not platform.left(), platform.why, 120)
    assert api.get(f"{DEFINITIONS}/httproutes.gateway.networking.k8s.io") is not None
    order = [
        "/apis/apps/v1/namespaces/podinfo/deployments/podinfo",
        "/api/v1/namespaces/podinfo/secrets/sh.helm.release.v1.podinfo.v3",
        "/api/v1/namespaces/podinfo",
        ISSUER,
        "/apis/apps/v1/namespaces/cert-manager/deployments/cert-manager",
        "/api/v1/namespaces/cert-manager/secrets/sh.helm.release.v1.cert-manager.v1",
        "/api/v1/namespaces/cert-manager",
    ]
    deleted = deletions(plane, since)
    assert [path for path in deleted if path in order] == order
    jobs = [path for path in deleted if path.endswith("/jobs/cert-manager-leave")]
    assert jobs, "the hook before the end of cert-manager has not run"
