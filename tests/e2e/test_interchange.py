"""Artifacts between controllers: Flux's rules read ours, we read Flux's, and both sides know what was left out."""

import gzip
import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.artifacts import flux_reader, flux_writer
from tests.e2e.test_main_job import config, settings
from tests.e2e.test_oci import get, look
from tests.e2e.test_oci import source as oci_source
from tests.e2e.world import SOURCES, Controller, World, condition, until
from tests.registry.server import CONTENT, RegistryServer, archive, descriptor, manifest

KINDS = {"GitRepository": "gitrepositories", "OCIRepository": "ocirepositories"}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("registry"))
    server.start()
    yield server
    server.stop()


def stored(world: World, ns: str, get: Any, revision: str) -> Any:
    def reached() -> Any:
        item = get(world, ns)
        at = ((item["status"].get("artifact") or {}).get("revision") or "").endswith(revision)
        return item if at and condition(item, "Ready").get("status") == "True" else None

    return until(reached, lambda: f"not stored: {get(world, ns)}", 60)


def git(world: World, ns: str) -> Any:
    return world.get_source(ns)


def latest(world: World, item: Any) -> Path:
    """The link that Flux keeps beside the archives."""
    meta = item["metadata"]
    published = world.controller.directory / "data/store/published" / item["kind"].lower()
    return published / meta["namespace"] / meta["name"] / "latest.tar.gz"


def test_flux_reads_what_we_make_of_a_repository(world: World, ns: str) -> None:
    repo = world.repo(ns)
    long = "/".join(["directory-with-a-long-name"] * 6) + "/ä.yaml"
    files = {"app/settings.yaml": config(), "run.sh": "#!/bin/sh\n", long: "x", "picture.png": "x"}
    (repo.work / "run.sh").parent.mkdir(parents=True, exist_ok=True)
    (repo.work / "run.sh").write_text("")
    (repo.work / "run.sh").chmod(0o755)
    (repo.work / "link").symlink_to("/etc/passwd")
    (repo.work / "loop").symlink_to("loop")
    first = repo.commit(files)
    world.source(ns, repo.url)
    item = stored(world, ns, git, first)
    fetched = flux_reader.fetch(item)
    assert fetched.files == {name: text.encode() for name, text in files.items() if name != "picture.png"}
    assert fetched.executable == {"run.sh"}
    said = item["status"]["artifact"]["metadata"]
    assert said.pop("trimtab.dev/committed").endswith("Z")
    assert said == {
        "trimtab.dev/left-out": "link\nloop",
        "trimtab.dev/author": "t",
        "trimtab.dev/subject": "change",
    }
    assert item["status"]["artifact"]["revision"] == f"main@sha1:{first}"
    assert latest(world, item).read_bytes() == fetched.archive

    second = repo.commit({"app/settings.yaml": config(colour="blue")})
    world.poke(ns)
    item = stored(world, ns, git, second)
    again = flux_reader.fetch(item)
    assert again.files["app/settings.yaml"] == config(colour="blue").encode()
    assert latest(world, item).read_bytes() == again.archive


def test_flux_reads_what_we_make_of_an_artifact_in_a_registry(world: World, ns: str, registry: RegistryServer) -> None:
    files: dict[str, str | bytes] = {"settings.yaml": config(), "deep/er/b.txt": b"\0\xff"}
    layer = archive(files)
    pushed = registry.push("interchange", "latest", files, {"org.opencontainers.image.source": "https://x.example"})
    oci_source(world, ns, f"oci://{registry.host}/interchange")
    item = stored(world, ns, get, pushed)
    fetched = flux_reader.fetch(item)
    assert fetched.files == {"settings.yaml": config().encode(), "deep/er/b.txt": b"\0\xff"}
    assert item["status"]["artifact"]["metadata"] == {"org.opencontainers.image.source": "https://x.example"}
    assert latest(world, item).read_bytes() == fetched.archive

    copy = {"layerSelector": {"mediaType": CONTENT, "operation": "copy"}}
    world.api.merge(f"{SOURCES}/namespaces/{ns}/ocirepositories/repo", {"spec": copy})
    until(
        lambda: get(world, ns)["status"]["artifact"]["digest"] == f"sha256:{hashlib.sha256(layer).hexdigest()}",
        "the layer is published as it is",
    )


def linked() -> bytes:
    """A layer in which a manifest is a link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("settings.yaml", "more.yaml"):
            info = tarfile.TarInfo(name)
            if name == "settings.yaml":
                info.type, info.linkname = tarfile.SYMTYPE, "more.yaml"
                tar.addfile(info)
            else:
                data = config("more").encode()
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return gzip.compress(out.getvalue())


@pytest.mark.parametrize("kind", KINDS)
def test_a_manifest_that_became_a_link_is_named_and_deletes_nothing(
    world: World, ns: str, registry: RegistryServer, kind: str
) -> None:
    """Flux drops the link in silence, and then prunes what the file held."""
    if kind == "GitRepository":
        repo = world.repo(ns)
        good = repo.commit({"settings.yaml": config(), "more.yaml": config("more")})
        world.source(ns, repo.url)
    else:
        good = registry.push("linked", "latest", {"settings.yaml": config(), "more.yaml": config("more")})
        oci_source(world, ns, f"oci://{registry.host}/linked")
    world.app(ns, "app", sourceRef={"kind": kind, "name": "repo"})
    world.ready(ns, "app", good)

    if kind == "GitRepository":
        (repo.work / "settings.yaml").unlink()
        (repo.work / "settings.yaml").symlink_to("more.yaml")
        repo.push()
        world.poke(ns)
    else:
        layer = linked()
        registry.blob("linked", layer)
        registry.tag("linked", "latest", manifest([descriptor(layer, CONTENT)]))
        look(world, ns)
    told = world.failed(ns, "app", "BuildFailed", "settings.yaml is a link")
    assert "spec.ignore" in told
    assert settings(world, ns) is not None
    item = world.api.get(f"{SOURCES}/namespaces/{ns}/{KINDS[kind]}/repo")
    assert item["status"]["artifact"]["metadata"]["trimtab.dev/left-out"] == "settings.yaml"
    world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/settings", {"data": {"colour": "green"}})
    until(lambda: settings(world, ns)["data"] == {"colour": "red"}, "the last good state is enforced")


class Shelf(http.server.BaseHTTPRequestHandler):
    """The file server of somebody else's source controller."""

    archives: dict[str, bytes] = {}  # noqa: RUF012 - one for each test, set by the fixture

    def do_GET(self) -> None:
        body = self.archives.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Type", "application/gzip")
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: Any) -> None:
        return


class Foreign:
    """A source controller that is not ours: it packs, serves, and writes the status."""

    def __init__(self, world: World, ns: str, address: str) -> None:
        self.world, self.ns, self.address = world, ns, address

    def create(self, kind: str) -> None:
        spec = {"url": "oci://registry.example/x" if kind == "OCIRepository" else "https://git.example/x"}
        self.world.api.create(
            f"{SOURCES}/namespaces/{self.ns}/{KINDS[kind]}",
            {
                "apiVersion": "source.toolkit.fluxcd.io/v1",
                "kind": kind,
                "metadata": {"name": "repo", "namespace": self.ns, "finalizers": ["finalizers.fluxcd.io"]},
                "spec": {**spec, "interval": "60m"},
            },
        )

    def publish(self, kind: str, revision: str, data: bytes, metadata: dict[str, str] | None = None) -> None:
        path = f"{kind.lower()}/{self.ns}/repo/{revision.rpartition(':')[2]}.tar.gz"
        Shelf.archives[f"/{path}"] = data
        artifact = {
            "path": path,
            "url": f"{self.address}/{path}",
            "revision": revision,
            "digest": f"sha256:{hashlib.sha256(data).hexdigest()}",
            "size": len(data),
            "lastUpdateTime": "2026-01-01T00:00:00Z",
            **({"metadata": metadata} if metadata else {}),
        }
        condition = {
            "type": "Ready",
            "status": "True",
            "reason": "Succeeded",
            "message": f"stored artifact for revision '{revision}'",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "observedGeneration": 1,
        }
        self.world.api.merge(
            f"{SOURCES}/namespaces/{self.ns}/{KINDS[kind]}/repo/status",
            {"status": {"artifact": artifact, "conditions": [condition], "observedGeneration": 1}},
        )

    def gone(self, kind: str) -> None:
        path = f"{SOURCES}/namespaces/{self.ns}/{KINDS[kind]}/repo"
        self.world.api.merge(path, {"metadata": {"finalizers": None}})
        self.world.api.delete(path)


@pytest.fixture
def foreign(world: World, ns: str, kubeconfig: Path, tmp_path: Path) -> Iterator[Foreign]:
    """The session's controller gives way to one for apps alone; the sources are somebody else's."""
    Shelf.archives = {}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shelf)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    world.controller.stop()
    apps = Controller(kubeconfig, tmp_path / "apps", "--controllers", "kustomize")
    apps.start()
    other = Foreign(world, ns, f"http://127.0.0.1:{server.server_address[1]}")
    yield other
    for kind, plural in KINDS.items():
        if world.api.get(f"{SOURCES}/namespaces/{ns}/{plural}/repo"):
            other.gone(kind)
    assert apps.stop() == 0
    assert "Traceback" not in apps.log
    server.shutdown()
    server.server_close()
    world.controller.start()


@pytest.mark.parametrize("kind", KINDS)
def test_what_fluxs_source_controller_writes_is_fetched_checked_and_applied(
    foreign: Foreign, world: World, ns: str, kind: str
) -> None:
    foreign.create(kind)
    world.app(ns, "app", "./deploy", sourceRef={"kind": kind, "name": "repo"})
    first = {"deploy/settings.yaml": config().encode(), "deploy/deep/more.yaml": config("more").encode()}
    prefix = "latest@sha256:" if kind == "OCIRepository" else "main@sha1:"
    origin = {"org.opencontainers.image.revision": "v1@sha1:abc"} if kind == "OCIRepository" else None
    foreign.publish(kind, f"{prefix}{'1' * 40}", flux_writer.pack(first), origin)
    found = world.ready(ns, "app", "1" * 40)
    assert settings(world, ns)["data"] == {"colour": "red"}
    if origin:
        assert found["status"]["lastAppliedOriginRevision"] == "v1@sha1:abc"

    second = flux_writer.pack({"deploy/settings.yaml": config(colour="blue").encode()})
    foreign.publish(kind, f"{prefix}{'2' * 40}", second)
    world.ready(ns, "app", "2" * 40)
    assert settings(world, ns)["data"] == {"colour": "blue"}
    assert settings(world, ns, "more") is None, "what left the artifact is pruned"

    # What was left out is told by the metadata, where the one who publishes says it.
    third = flux_writer.pack({"deploy/other.yaml": config("other").encode()})
    foreign.publish(kind, f"{prefix}{'3' * 40}", third, {"trimtab.dev/left-out": "deploy/settings.yaml"})
    world.failed(ns, "app", "BuildFailed", "deploy/settings.yaml is a link")
    assert settings(world, ns)["data"] == {"colour": "blue"}

    world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/settings", {"data": {"colour": "green"}})
    until(lambda: settings(world, ns)["data"] == {"colour": "blue"}, "the last good state is enforced", 60)
