"""Charts from web servers, registries and git, as artifacts: found, followed, verified, and held when they turn bad."""

import base64
import gzip
import hashlib
import io
import json
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.buckets.store import Moto
from tests.charts.world import ChartServer, Listed, chart, chart_files, index, listed
from tests.e2e.world import SOURCES, Api, Controller, World, condition, until
from tests.registry.server import RegistryServer, descriptor, manifest
from tests.registry.signing import Signer, payload, sign
from tests.remotes.listener import Listener
from trimtab.manifests.yaml import load

CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ChartServer]:
    server = ChartServer(tmp_path / "served")
    server.start()
    yield server
    server.close()


@pytest.fixture
def private(tmp_path: Path) -> Iterator[ChartServer]:
    server = ChartServer(tmp_path / "private", password="right")
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    server = Moto()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("registry"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("locked"), private=True)
    server.start()
    yield server
    server.stop()


def place(ns: str, kind: str, name: str = "") -> str:
    plural = {"HelmRepository": "helmrepositories", "HelmChart": "helmcharts"}[kind]
    return f"{SOURCES}/namespaces/{ns}/{plural}{name and '/'}{name}"


def create(world: World, ns: str, kind: str, name: str, **spec: Any) -> None:
    body = {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": kind, "metadata": {"name": name, "namespace": ns}}
    world.api.create(place(ns, kind), {**body, "spec": spec})


def repository(world: World, ns: str, url: str, **spec: Any) -> None:
    create(world, ns, "HelmRepository", "charts", url=url, **{"interval": "60m", **spec})


def helm_chart(world: World, ns: str, **spec: Any) -> None:
    source = {"kind": "HelmRepository", "name": "charts"}
    create(world, ns, "HelmChart", "app", **{"chart": "app", "interval": "60m", "sourceRef": source, **spec})


def change(world: World, ns: str, kind: str, name: str, **spec: Any) -> None:
    world.api.merge(place(ns, kind, name), {"spec": spec})


def look(world: World, ns: str, kind: str, name: str) -> None:
    """Ask for a look, and wait until it is over."""
    moment = world._request(place(ns, kind, name))
    until(lambda: get(world, ns, kind, name)["status"].get("lastHandledReconcileAt") == moment, lambda: why(world, ns))


def get(world: World, ns: str, kind: str, name: str) -> Any:
    return world.api.get(place(ns, kind, name))


def why(world: World, ns: str) -> str:
    kinds = ("HelmRepository", "HelmChart")
    return json.dumps(
        [item.get("status") for kind in kinds for item in world.api.get(place(ns, kind))["items"]], indent=1
    )


def ready(world: World, ns: str, kind: str, name: str, revision: str) -> Any:
    def reached() -> Any:
        item = get(world, ns, kind, name)
        there = (item["status"].get("artifact") or {}).get("revision") == revision
        current = item["status"].get("observedGeneration") == item["metadata"]["generation"]
        return item if there and current and condition(item, "Ready").get("status") == "True" else None

    return until(reached, lambda: why(world, ns), 60)


def failed(world: World, ns: str, kind: str, name: str, reason: str, *words: str) -> str:
    def reached() -> str | None:
        found = condition(get(world, ns, kind, name), "Ready")
        wanted = found.get("status") == "False" and found["reason"] == reason
        return found["message"] if wanted and all(word in found["message"] for word in words) else None

    message: str = until(reached, lambda: why(world, ns), 60)
    return message


def app_at(world: World, ns: str, revision: str) -> Any:
    return ready(world, ns, "HelmChart", "app", revision)


def app_failed(world: World, ns: str, reason: str, *words: str) -> str:
    return failed(world, ns, "HelmChart", "app", reason, *words)


def secret(world: World, ns: str, name: str, data: dict[str, bytes]) -> None:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    world.api.create(f"/api/v1/namespaces/{ns}/secrets", {"metadata": {"name": name}, "data": encoded})


def fetched(item: Any) -> bytes:
    """What the artifact's address serves, checked against the digest in the status."""
    artifact = item["status"]["artifact"]
    with urllib.request.urlopen(artifact["url"], timeout=30) as answer:
        data: bytes = answer.read()
    assert artifact["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert artifact["size"] == len(data)
    return data


def files(packed: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar.getmembers()}  # type: ignore[union-attr]


def values_of(packed: bytes) -> Any:
    [document] = load(files(packed)["app/values.yaml"], "values.yaml")
    return document.value


def push(server: RegistryServer, name: str, version: str, packed: bytes) -> str:
    """What `helm push` does; the digest of the manifest."""
    server.blob(name, b"{}")
    server.blob(name, packed)
    return server.tag(name, version.replace("+", "_"), manifest([descriptor(packed, CONTENT)]))


# Web servers


def test_an_index_and_a_chart_are_published_byte_for_byte(world: World, ns: str, server: ChartServer) -> None:
    packed = chart("app", "1.2.3")
    made = server.publish(("app", "1.0.0", chart("app", "1.0.0")), ("app", "1.2.3", packed))
    repository(world, ns, server.url)
    helm_chart(world, ns)
    revision = f"sha256:{hashlib.sha256(made).hexdigest()}"
    item = ready(world, ns, "HelmRepository", "charts", revision)
    assert item["status"]["artifact"]["path"].startswith(f"helmrepository/{ns}/charts/index-")
    assert item["status"]["artifact"]["path"].endswith(".yaml")
    assert item["status"]["url"] == item["status"]["artifact"]["url"]
    assert fetched(item) == made
    found = app_at(world, ns, "1.2.3")
    assert fetched(found) == packed
    status = found["status"]
    assert status["artifact"]["path"].startswith(f"helmchart/{ns}/app/app-1.2.3-")
    assert status["artifact"]["path"].endswith(".tgz")
    assert status["observedChartName"] == "app"
    assert status["observedSourceArtifactRevision"] == revision
    stored = condition(found, "ArtifactInStorage")
    assert (stored["reason"], stored["message"]) == ("ChartPullSucceeded", "pulled 'app' chart with version '1.2.3'")


def test_a_new_version_comes_as_soon_as_the_index_has_it_and_one_beyond_the_range_does_not(
    world: World, ns: str, server: ChartServer
) -> None:
    old = ("app", "1.0.0", chart("app", "1.0.0"))
    server.publish(old)
    repository(world, ns, server.url)
    helm_chart(world, ns, version="1.x")
    app_at(world, ns, "1.0.0")
    server.publish(old, ("app", "1.10.0", chart("app", "1.10.0")), ("app", "2.0.0", chart("app", "2.0.0")))
    # The chart itself is looked at hourly: what brings it back is its source.
    look(world, ns, "HelmRepository", "charts")
    app_at(world, ns, "1.10.0")
    asked = len(server.of("app-1.10.0.tgz"))
    look(world, ns, "HelmRepository", "charts")
    look(world, ns, "HelmChart", "app")
    assert server.of("index.yaml")[-1].status == 304
    assert len(server.of("app-1.10.0.tgz")) == asked == 1
    assert not server.of("app-2.0.0.tgz")
    change(world, ns, "HelmChart", "app", version="2.0.0")
    app_at(world, ns, "2.0.0")


def test_while_the_server_is_down_the_last_artifacts_stay_and_after_it_the_new_ones_come(
    world: World, ns: str, server: ChartServer
) -> None:
    server.publish(("app", "1.0.0", chart("app", "1.0.0")))
    repository(world, ns, server.url, interval="2s")
    helm_chart(world, ns)
    before = app_at(world, ns, "1.0.0")
    server.stop()
    told = failed(world, ns, "HelmRepository", "charts", "IndexationFailed", server.url)
    assert "cannot connect" in told
    assert fetched(get(world, ns, "HelmRepository", "charts"))
    assert get(world, ns, "HelmChart", "app")["status"]["artifact"] == before["status"]["artifact"]
    server.publish(("app", "1.1.0", chart("app", "1.1.0")))
    server.start()
    app_at(world, ns, "1.1.0")


def test_credentials_of_a_secret_open_a_private_repository_and_a_repaired_secret_is_enough(
    world: World, ns: str, private: ChartServer
) -> None:
    private.publish(("app", "1.0.0", chart("app", "1.0.0")))
    secret(world, ns, "login", {"username": b"reader", "password": b"wr0ng"})
    repository(world, ns, private.url, secretRef={"name": "login"})
    helm_chart(world, ns)
    told = failed(world, ns, "HelmRepository", "charts", "AuthenticationFailed", "check the Secret")
    assert "wr0ng" not in told
    app_failed(world, ns, "NoSourceArtifact", f"HelmRepository {ns}/charts has no artifact yet")
    right = base64.b64encode(b"right").decode()
    world.api.merge(f"/api/v1/namespaces/{ns}/secrets/login", {"data": {"password": right}})
    look(world, ns, "HelmRepository", "charts")
    app_at(world, ns, "1.0.0")
    assert "wr0ng" not in world.controller.log
    world.api.merge(f"/api/v1/namespaces/{ns}/secrets/login", {"data": {"password": None}})
    look(world, ns, "HelmRepository", "charts")
    failed(world, ns, "HelmRepository", "charts", "AuthenticationFailed", "not both username and password")


def test_values_files_are_merged_in_their_order_and_their_change_changes_the_version(
    world: World, ns: str, server: ChartServer
) -> None:
    server.publish(("app", "1.0.0+build", chart("app", "1.0.0+build")))
    (server.root / "app-1.0.0+build.tgz").rename(server.root / "app-1.0.0+build.tgz")
    repository(world, ns, server.url)
    helm_chart(world, ns, valuesFiles=["values.yaml", "values-prod.yaml"])
    found = app_at(world, ns, "1.0.0+1")
    assert values_of(fetched(found)) == {"replicas": 3, "image": {"repository": "app", "tag": "stable"}, "list": [3]}
    [metadata] = load(files(fetched(found))["app/Chart.yaml"], "Chart.yaml")
    assert metadata.value["version"] == "1.0.0+1"
    assert found["status"]["observedValuesFiles"] == ["values.yaml", "values-prod.yaml"]
    stored = condition(found, "ArtifactInStorage")
    assert (stored["reason"], stored["message"]) == (
        "ChartPackageSucceeded",
        "packaged 'app' chart with version '1.0.0+1' and merged values files values.yaml, values-prod.yaml",
    )
    change(world, ns, "HelmChart", "app", valuesFiles=["values-prod.yaml", "nothing.yaml"])
    app_failed(world, ns, "ValuesFilesError", "there is no values file 'nothing.yaml'")
    assert condition(get(world, ns, "HelmChart", "app"), "BuildFailed")["status"] == "True"
    for outside in ("../index.yaml", "/etc/hostname", "templates/../../index.yaml"):
        change(world, ns, "HelmChart", "app", valuesFiles=["values-prod.yaml", outside])
        app_failed(world, ns, "ValuesFilesError", f"there is no values file '{outside}'")
    change(world, ns, "HelmChart", "app", valuesFiles=["values-prod.yaml", "nothing.yaml"])
    change(world, ns, "HelmChart", "app", ignoreMissingValuesFiles=True)
    found = app_at(world, ns, "1.0.0+7")
    assert values_of(fetched(found)) == {"replicas": 3, "image": {"tag": "stable"}, "list": [3]}
    assert found["status"]["observedValuesFiles"] == ["values-prod.yaml"]
    assert not condition(found, "BuildFailed")


def test_what_is_wrong_with_a_chart_is_named_and_the_last_good_one_stays(
    world: World, ns: str, server: ChartServer
) -> None:
    good = ("app", "1.0.0", chart("app", "1.0.0"))
    server.publish(good)
    repository(world, ns, server.url)
    helm_chart(world, ns, version=">=1.0.0")
    before = app_at(world, ns, "1.0.0")["status"]["artifact"]
    listener = Listener()
    try:
        traversal = gzip.compress(_tar("../../evil", b"x"))
        cases: list[tuple[Listed, bytes | None, str, str]] = [
            (listed("app", "1.1.0", b"other"), chart("app", "1.1.0"), "ChartPullError", "the index promises"),
            (listed("app", "1.1.1", traversal), traversal, "ChartPullError", "not a plain path"),
            (listed("app", "1.1.2", chart("..", "1.1.2")), chart("..", "1.1.2"), "ChartPullError", "not a plain path"),
            (
                listed("app", "1.1.3", chart("app", "6.6.6")),
                chart("app", "6.6.6"),
                "ChartPullError",
                "says that its version is 6.6.6",
            ),
            (
                listed("app", "1.1.4", chart("other", "1.1.4")),
                chart("other", "1.1.4"),
                "ChartPullError",
                "says that its name is other",
            ),
            (Listed("app", "1.1.5", None, None), None, "ChartPullError", "no address"),
            (
                Listed("app", "1.1.6", "http://169.254.169.254/latest/app.tgz", None),
                None,
                "ChartPullError",
                "link-local",
            ),
            (
                Listed("app", "1.1.7", f"http://localhost:{listener.port}/app.tgz", None),
                None,
                "ChartPullError",
                "never contacted",
            ),
            (listed("app", "1.1.8", b""), b"x" * ((10 << 20) + 1), "ChartPullError", "more than 10 MiB"),
            (listed("app", "1.1.9", b""), None, "ChartPullError", "no such file (404)"),
        ]
        for entry, packed, reason, words in cases:
            if packed is not None:
                server.write(f"app-{entry.version}.tgz", packed)
            server.write("index.yaml", index([listed(*good), entry]))
            look(world, ns, "HelmRepository", "charts")
            app_failed(world, ns, reason, words, str(entry.version) if "http" not in str(entry.url) else "")
            item = get(world, ns, "HelmChart", "app")
            assert item["status"]["artifact"] == before, entry
            assert condition(item, "FetchFailed")["status"] == "True"
            assert condition(item, "ArtifactInStorage")["status"] == "True"
        assert listener.accepted == 0
    finally:
        listener.close()
    # What has no version is no version: the good one is chosen again.
    server.write("index.yaml", index([listed(*good), Listed("app", None, "app.tgz", None)]))
    look(world, ns, "HelmRepository", "charts")
    app_at(world, ns, "1.0.0")
    left = get(world, ns, "HelmRepository", "charts")["status"]["artifact"]["metadata"]["trimtab.dev/left-out"]
    assert left == "1 entries of the index, such as 'app': it has no version"
    # And what is no index takes nothing away.
    for data, words in (
        (b"<html>", "not a map"),
        (b"a: &a [*a, *a]\n" * 3, "there twice"),
        (b"\0" * (51 << 20), "more than"),
    ):
        server.write("index.yaml", data)
        look(world, ns, "HelmRepository", "charts")
        failed(world, ns, "HelmRepository", "charts", "IndexationFailed", words)
    assert fetched(app_at(world, ns, "1.0.0")) == good[2]


def _tar(name: str, data: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"chart": "nothing"}, "InvalidChartReference", "has no such chart of the name 'nothing'"),
        ({"version": "9.x"}, "InvalidChartReference", "has no version that '9.x' admits among 1"),
        ({"version": "not a range"}, "InvalidChartReference", "not a semver range"),
        ({"sourceRef": {"kind": "HelmRepository", "name": "nobody"}}, "SourceUnavailable", "nobody does not exist"),
        ({"sourceRef": {"kind": "GitRepository", "name": "nobody"}}, "SourceUnavailable", "nobody does not exist"),
        ({"sourceRef": {"kind": "Bucket", "name": "nobody"}}, "SourceUnavailable", "nobody does not exist"),
        ({"verify": {"secretRef": {"name": "k"}}}, "VerificationError", "is not a registry"),
        ({"verify": {"provider": "notation", "secretRef": {"name": "k"}}}, "VerificationError", "is not a registry"),
    ],
)
def test_what_cannot_be_found_or_is_not_served_is_named(
    world: World, ns: str, server: ChartServer, spec: dict[str, Any], reason: str, words: str
) -> None:
    server.publish(("app", "1.0.0", chart("app", "1.0.0")))
    repository(world, ns, server.url)
    helm_chart(world, ns, **spec)
    app_failed(world, ns, reason, words)
    assert "artifact" not in get(world, ns, "HelmChart", "app")["status"]


def test_a_chart_waits_for_its_repository_and_comes_with_it(world: World, ns: str, server: ChartServer) -> None:
    server.publish(("app", "1.0.0", chart("app", "1.0.0")))
    helm_chart(world, ns)
    app_failed(world, ns, "SourceUnavailable", "does not exist: create it")
    repository(world, ns, server.url)
    app_at(world, ns, "1.0.0")


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"url": "https://user:s3cret@charts.example.org"}, "URLInvalid", "spec.secretRef"),
        ({"url": "oci://charts.example.org/x"}, "URLInvalid", "type: oci"),
        ({"url": "http://169.254.169.254/latest"}, "URLInvalid", "never contacted"),
        ({"url": "https://127.0.0.1:1/x", "provider": "aws"}, "FeatureGateDisabled", "spec.provider aws"),
    ],
)
def test_a_repository_that_makes_no_sense_is_refused(
    world: World, ns: str, spec: dict[str, Any], reason: str, words: str
) -> None:
    create(world, ns, "HelmRepository", "charts", **spec)
    told = failed(world, ns, "HelmRepository", "charts", reason, words)
    assert "s3cret" not in told
    assert condition(get(world, ns, "HelmRepository", "charts"), "Stalled")["status"] == "True"


# Registries


def test_a_registry_is_static_and_its_charts_are_pulled_by_tag_and_range(
    world: World, ns: str, registry: RegistryServer
) -> None:
    one, two, three = chart("app", "1.0.0"), chart("app", "1.2.0+b.1"), chart("app", "2.0.0")
    for version, packed in (("1.0.0", one), ("1.2.0+b.1", two), ("2.0.0", three)):
        push(registry, "shop/app", version, packed)
    registry.tag("shop/app", "latest", manifest([descriptor(three, CONTENT)]))
    repository(world, ns, f"oci://{registry.host}/shop", type="oci", insecure=True)
    helm_chart(world, ns, version="1.x")
    assert fetched(app_at(world, ns, "1.2.0+b.1")) == two
    assert get(world, ns, "HelmRepository", "charts")["status"] == {"observedGeneration": -1}
    assert "finalizers" not in get(world, ns, "HelmRepository", "charts")["metadata"]
    change(world, ns, "HelmChart", "app", version="1.0.0")
    assert fetched(app_at(world, ns, "1.0.0")) == one
    change(world, ns, "HelmChart", "app", version="*")
    assert fetched(app_at(world, ns, "2.0.0")) == three
    # The same version pushed again is another chart.
    again = chart("app", "2.0.0", {"templates/new.yaml": "kind: New\n"})
    push(registry, "shop/app", "2.0.0", again)
    look(world, ns, "HelmChart", "app")
    assert fetched(get(world, ns, "HelmChart", "app")) == again
    change(world, ns, "HelmChart", "app", version="3.x")
    app_failed(world, ns, "InvalidChartReference", "none of 4 tags is a version that '3.x' admits")
    change(world, ns, "HelmChart", "app", version="3.0.0")
    app_failed(world, ns, "ChartPullError", "manifests/3.0.0")
    assert fetched(get(world, ns, "HelmChart", "app")) == again


def test_a_private_registry_is_read_with_a_name_and_a_password(world: World, ns: str, locked: RegistryServer) -> None:
    packed = chart("app", "1.0.0")
    push(locked, "private/app", "1.0.0", packed)
    secret(world, ns, "login", {"username": b"reader", "password": b"wr0ng"})
    repository(world, ns, f"oci://{locked.host}/private", type="oci", insecure=True, secretRef={"name": "login"})
    helm_chart(world, ns)
    assert "wr0ng" not in app_failed(world, ns, "AuthenticationFailed", "refuses these credentials")
    right = base64.b64encode(b"right").decode()
    world.api.merge(f"/api/v1/namespaces/{ns}/secrets/login", {"data": {"password": right}})
    look(world, ns, "HelmChart", "app")
    assert fetched(app_at(world, ns, "1.0.0")) == packed


def test_a_chart_that_is_not_signed_by_us_is_held(world: World, ns: str, registry: RegistryServer) -> None:
    ours, theirs = Signer(), Signer()
    secret(world, ns, "keys", {"team.pub": ours.public})

    def signed(version: str, signer: Signer) -> str:
        pushed = push(registry, "signed/app", version, chart("app", version))
        words = payload(pushed)
        sign(registry, "signed/app", pushed, (words, signer.layer(words)))
        return pushed

    first = signed("1.0.0", ours)
    repository(world, ns, f"oci://{registry.host}/signed", type="oci", insecure=True)
    helm_chart(world, ns, version="*", verify={"provider": "cosign", "secretRef": {"name": "keys"}})
    found = app_at(world, ns, "1.0.0")
    verified = condition(found, "SourceVerified")
    assert (verified["status"], verified["message"]) == ("True", "1.0.0 is signed by the key team.pub")
    before = found["status"]["artifact"]
    second = signed("1.1.0", theirs)
    look(world, ns, "HelmChart", "app")
    told = app_failed(world, ns, "VerificationError", second, "team.pub")
    assert "revision '1.0.0' stays in force" in told
    assert first not in told
    assert get(world, ns, "HelmChart", "app")["status"]["artifact"] == before
    signed("1.1.0", ours)
    look(world, ns, "HelmChart", "app")
    app_at(world, ns, "1.1.0")


def test_a_repository_that_becomes_a_registry_forgets_its_index(
    world: World, ns: str, server: ChartServer, registry: RegistryServer
) -> None:
    server.publish(("app", "1.0.0", chart("app", "1.0.0")))
    push(registry, "become/app", "2.0.0", chart("app", "2.0.0"))
    repository(world, ns, server.url)
    helm_chart(world, ns)
    app_at(world, ns, "1.0.0")
    change(world, ns, "HelmRepository", "charts", url=f"oci://{registry.host}/become", type="oci", insecure=True)
    app_at(world, ns, "2.0.0")
    item = until(
        lambda: (
            (found := get(world, ns, "HelmRepository", "charts"))["status"].keys() == {"observedGeneration"} and found
        ),
        lambda: why(world, ns),
    )
    assert "finalizers" not in item["metadata"]


# Git


def below(directory: str, inner: dict[str, str | bytes]) -> dict[str, str | bytes]:
    return {f"{directory}/{path}": content for path, content in inner.items()}


def test_a_directory_in_git_is_packed_and_a_change_without_a_new_version_makes_none(world: World, ns: str) -> None:
    repo = world.repo(ns)
    repo.commit({**below("charts/app", chart_files("app", "1.0.0")), "env/prod.yaml": "replicas: 5\n"})
    world.source(ns, repo.url)
    source = {"kind": "GitRepository", "name": "repo"}
    helm_chart(world, ns, chart="./charts/app", sourceRef=source)
    found = app_at(world, ns, "1.0.0")
    assert condition(found, "ArtifactInStorage")["reason"] == "ChartPackageSucceeded"
    first = found["status"]["artifact"]
    assert set(files(fetched(found))) == {f"app/{path}" for path in chart_files("app", "1.0.0")}
    commit = repo.commit({"charts/app/templates/more.yaml": "kind: More\n"})
    world.poke(ns)
    until(
        lambda: commit in get(world, ns, "HelmChart", "app")["status"]["observedSourceArtifactRevision"],
        lambda: why(world, ns),
    )
    assert get(world, ns, "HelmChart", "app")["status"]["artifact"] == first
    repo.commit({"charts/app/Chart.yaml": chart_files("app", "1.1.0")["Chart.yaml"]})
    world.poke(ns)
    assert "app/templates/more.yaml" in files(fetched(app_at(world, ns, "1.1.0")))
    # By the revision, every commit counts; and values files are those of the repository.
    change(
        world,
        ns,
        "HelmChart",
        "app",
        reconcileStrategy="Revision",
        valuesFiles=["charts/app/values.yaml", "env/prod.yaml"],
    )
    commit = repo.commit({"charts/app/templates/more.yaml": "kind: Other\n"})
    world.poke(ns)
    found = app_at(world, ns, f"1.1.0+{commit[:12]}.2")
    assert values_of(fetched(found))["replicas"] == 5
    assert files(fetched(found))["app/templates/more.yaml"] == b"kind: Other\n"


def test_a_packaged_chart_in_git_is_published_byte_for_byte_unless_its_values_are_others(world: World, ns: str) -> None:
    packed = chart("app", "1.0.0")
    repo = world.repo(ns)
    repo.commit({"dist/app-1.0.0.tgz": packed, "env/prod.yaml": "replicas: 5\n"})
    world.source(ns, repo.url)
    helm_chart(world, ns, chart="dist/app-1.0.0.tgz", sourceRef={"kind": "GitRepository", "name": "repo"})
    assert fetched(app_at(world, ns, "1.0.0")) == packed
    change(world, ns, "HelmChart", "app", valuesFiles=["env/prod.yaml"])
    assert values_of(fetched(app_at(world, ns, "1.0.0+2"))) == {"replicas": 5}


def test_a_directory_in_a_bucket_is_packed_by_the_digest_of_its_contents(world: World, ns: str, moto: Moto) -> None:
    name = moto.bucket("charts", below("charts/app", chart_files("app", "1.0.0")))
    body = {"endpoint": moto.host, "bucketName": name, "interval": "60m", "insecure": True}
    kind = {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "Bucket"}
    world.api.create(f"{SOURCES}/namespaces/{ns}/buckets", {**kind, "metadata": {"name": "store"}, "spec": body})
    source = {"kind": "Bucket", "name": "store"}
    helm_chart(world, ns, chart="charts/app", sourceRef=source, reconcileStrategy="Revision")

    def revision() -> str:
        found = world.api.get(f"{SOURCES}/namespaces/{ns}/buckets/store")["status"].get("artifact") or {}
        return str(found.get("revision", ""))

    first = until(revision, lambda: why(world, ns))
    app_at(world, ns, f"1.0.0+{first.removeprefix('sha256:')[:12]}")
    moto.put(name, "charts/app/templates/more.yaml", "kind: More\n")
    world._request(f"{SOURCES}/namespaces/{ns}/buckets/store")
    second = until(lambda: (now := revision()) != first and now, lambda: why(world, ns))
    found = app_at(world, ns, f"1.0.0+{second.removeprefix('sha256:')[:12]}")
    assert files(fetched(found))["app/templates/more.yaml"] == b"kind: More\n"


def test_dependencies_come_from_beside_from_a_repository_and_from_a_registry(
    world: World, ns: str, server: ChartServer, registry: RegistryServer
) -> None:
    server.publish(("web", "1.5.0", chart("web", "1.5.0")), ("web", "2.0.0", chart("web", "2.0.0")))
    push(registry, "deps/oci", "3.1.0", chart("oci", "3.1.0"))
    repository(world, ns, server.url)
    create(world, ns, "HelmRepository", "registry", url=f"oci://{registry.host}/deps", type="oci", insecure=True)
    wants = [
        {"name": "lib", "version": "^1", "repository": "file://../lib"},
        {"name": "web", "version": "1.x", "repository": server.url},
        {"name": "oci", "version": "3.x", "repository": f"oci://{registry.host}/deps"},
        {"name": "vendored", "version": "1.0.0", "repository": "https://nowhere.invalid"},
    ]
    repo = world.repo(ns)
    repo.commit(
        {
            **below("app", chart_files("app", "1.0.0", dependencies=wants)),
            "app/charts/vendored-1.0.0.tgz": chart("vendored", "1.0.0"),
            **below("lib", chart_files("lib", "1.2.0")),
        }
    )
    ready(world, ns, "HelmRepository", "charts", get_revision(server))
    world.source(ns, repo.url)
    helm_chart(world, ns, chart="app", sourceRef={"kind": "GitRepository", "name": "repo"})
    there = files(fetched(app_at(world, ns, "1.0.0")))
    for name, version in (("lib", "1.2.0"), ("web", "1.5.0"), ("oci", "3.1.0")):
        [document] = load(there[f"app/charts/{name}/Chart.yaml"], name)
        assert document.value["version"] == version
    assert "app/charts/vendored-1.0.0.tgz" in there


def get_revision(server: ChartServer) -> str:
    return f"sha256:{hashlib.sha256((server.root / 'index.yaml').read_bytes()).hexdigest()}"


@pytest.mark.parametrize(
    ("address", "reason", "words"),
    [
        ("http://127.0.0.1:{port}/charts", "DependencyBuildError", "make a HelmRepository with this address"),
        ("https://127.0.0.1:{port}/charts", "URLInvalid", "never contacted"),
        ("https://localhost:{port}/charts", "URLInvalid", "never contacted"),
        ("oci://127.0.0.1:{port}/charts", "URLInvalid", "never contacted"),
        ("https://169.254.169.254/charts", "URLInvalid", "never contacted"),
        ("s3://bucket/charts", "DependencyBuildError", "only https, oci and file"),
        ("@stable", "DependencyBuildError", "only https, oci and file"),
        ("alias:stable", "DependencyBuildError", "only https, oci and file"),
        ("file://../../other", "DependencyBuildError", "not inside the artifact"),
        ("", "DependencyBuildError", "names no repository for it"),
    ],
)
def test_a_chart_in_git_does_not_send_us_where_its_owner_could_not(
    world: World, ns: str, address: str, reason: str, words: str
) -> None:
    listener = Listener()
    try:
        wants = [{"name": "dep", "version": "1.0.0", "repository": address.format(port=listener.port)}]
        repo = world.repo(ns)
        repo.commit(below("app", chart_files("app", "1.0.0", dependencies=wants)))
        world.source(ns, repo.url)
        helm_chart(world, ns, chart="app", sourceRef={"kind": "GitRepository", "name": "repo"})
        told = app_failed(world, ns, reason, words)
        assert "dep 1.0.0" in told
        assert listener.accepted == 0
    finally:
        listener.close()


def test_what_is_wrong_in_git_is_named_and_a_commit_puts_it_right(world: World, ns: str) -> None:
    repo = world.repo(ns)
    good = below("app", chart_files("app", "1.0.0"))
    repo.commit(good)
    (repo.work / "app" / "Chart.lock").symlink_to("/root/.bashrc")
    repo.push()
    world.source(ns, repo.url)
    helm_chart(world, ns, chart="app", sourceRef={"kind": "GitRepository", "name": "repo"})
    app_failed(world, ns, "ChartPackageError", "app/Chart.lock is a link", "was left out of the artifact")
    assert condition(get(world, ns, "HelmChart", "app"), "Stalled")["status"] == "True"
    (repo.work / "app" / "Chart.lock").unlink()
    repo.push()
    world.poke(ns)
    app_at(world, ns, "1.0.0")
    for content, words in (
        ("apiVersion: v2\nname: ../../test\nversion: 1.0.0\n", "the name '../../test'"),
        ('apiVersion: v2\nname: app\nversion: "1.0\\e[2J"\n', "the version '1.0\\x1b[2J'"),
        ("apiVersion: v2\nname: app\n", "the version that is missing"),
    ):
        repo.commit({"app/Chart.yaml": content})
        world.poke(ns)
        app_failed(world, ns, "ChartPackageError", words)
        assert get(world, ns, "HelmChart", "app")["status"]["artifact"]["revision"] == "1.0.0"
    change(world, ns, "HelmChart", "app", chart="../elsewhere")
    app_failed(world, ns, "InvalidChartReference", "does not lead into the source")
    change(world, ns, "HelmChart", "app", chart="nothing")
    app_failed(world, ns, "InvalidChartReference", "there is nothing at 'nothing'")


def test_deleted_objects_take_their_files_along_and_a_chart_outlives_its_repository(
    world: World, ns: str, server: ChartServer
) -> None:
    server.publish(("app", "1.0.0", chart("app", "1.0.0")))
    repository(world, ns, server.url)
    helm_chart(world, ns)
    app_at(world, ns, "1.0.0")
    published = world.controller.directory / "data/store/published"
    for kind, name in (("HelmRepository", "charts"), ("HelmChart", "app")):
        assert list((published / kind.lower() / ns / name).iterdir())
        world.api.delete(place(ns, kind, name))
        until(lambda kind=kind, name=name: get(world, ns, kind, name) is None, lambda: why(world, ns))
        assert not (published / kind.lower() / ns / name).exists()
        if kind == "HelmRepository":
            app_failed(world, ns, "SourceUnavailable", "charts does not exist")
            assert fetched(get(world, ns, "HelmChart", "app")) == (server.root / "app-1.0.0.tgz").read_bytes()


@pytest.fixture
def own(world: World, api: Api, kubeconfig: Path, git_root: Path, git_url: str, tmp_path: Path) -> Iterator[World]:
    """A second controller would share the Leases, so this one runs without, in place of the session's."""
    world.controller.stop()
    controller = Controller(kubeconfig, tmp_path / "own", "--no-leader-elect")
    yield World(api, git_url, git_root, controller)
    controller.kill()
    world.controller.start()


def test_after_a_kill_nothing_is_fetched_again_but_one_index(own: World, ns: str, server: ChartServer) -> None:
    server.publish(("app", "1.0.0", chart("app", "1.0.0")))
    own.controller.start()
    repository(own, ns, server.url)
    helm_chart(own, ns, valuesFiles=["values-prod.yaml"])
    before = app_at(own, ns, "1.0.0+1")
    index_before = get(own, ns, "HelmRepository", "charts")
    own.controller.kill()
    server.asked.clear()
    own.controller.start()
    look(own, ns, "HelmRepository", "charts")
    look(own, ns, "HelmChart", "app")
    after = get(own, ns, "HelmChart", "app")
    assert after["status"]["artifact"] == before["status"]["artifact"]
    assert get(own, ns, "HelmRepository", "charts")["status"]["artifact"] == index_before["status"]["artifact"]
    assert condition(after, "Ready") == condition(before, "Ready")
    assert not server.of("app-1.0.0.tgz")
    # What the server calls its index is remembered in memory only; its bytes are the same, so they are not read.
    assert [one.status for one in server.of("index.yaml")] in ([200], [200, 304])
    assert "Traceback" not in own.controller.log
