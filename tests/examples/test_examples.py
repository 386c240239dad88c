"""The example repository is complete and correct: everything renders, is accepted, and refers to what is there."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimtab.api.image import ImagePolicy, ImageRepository
from trimtab.api.imageupdate import ImageUpdateAutomation
from trimtab.cli.demo import repository as demo_repository
from trimtab.cli.demo import root as demo_root
from trimtab.commits import Entry, Snapshot
from trimtab.controllers.automation import Automation
from trimtab.controllers.bumping import Bumping
from trimtab.controllers.wanted import Wanted
from trimtab.manifests.yaml import load, manifests_of
from trimtab.toolchain import binaries

ROOT = demo_repository.examples()
OVERLAYS = sorted(path.parent.relative_to(ROOT).as_posix() for path in ROOT.rglob("kustomization.yaml"))
TENANTS = ("team-atlas", "team-borealis")


def bodies(text: bytes, file: str) -> list[dict[str, Any]]:
    return [manifest.body for manifest in manifests_of(load(text, file))]


def apps() -> Iterator[dict[str, Any]]:
    yield from (body for body in of_the_cluster() if body["kind"] == "Kustomization")


def of_the_cluster() -> Iterator[dict[str, Any]]:
    for path in sorted((ROOT / demo_root.PATH).glob("*.yaml")):
        yield from bodies(path.read_bytes(), path.name)


def rendered(directory: str) -> list[dict[str, Any]]:
    """What the directory holds: by the real kustomize, or as it is written."""
    path = ROOT / directory
    if not (path / "kustomization.yaml").exists():
        return [body for file in sorted(path.rglob("*.yaml")) for body in bodies(file.read_bytes(), file.name)]
    found = binaries.find("render")
    if found is None:
        pytest.fail("kustomize is not built; run `make setup` first", pytrace=False)
    done = subprocess.run([found["kustomize"], "build", str(path)], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return bodies(done.stdout, directory)


@pytest.mark.parametrize("directory", [*OVERLAYS, "infrastructure"])
def test_every_directory_renders_to_objects(directory: str) -> None:
    assert rendered(directory)


def test_every_app_names_a_path_that_exists() -> None:
    assert [app["spec"]["path"] for app in apps() if not (ROOT / app["spec"]["path"]).is_dir()] == []


def test_every_app_comes_from_the_source_that_the_demo_creates() -> None:
    source = demo_root.source("http://127.0.0.1/shop.git")
    named = {(app["metadata"]["namespace"], app["spec"]["sourceRef"]["name"]) for app in apps()}
    assert named == {(source["metadata"]["namespace"], source["metadata"]["name"])}


def test_every_source_of_variables_exists_and_tells_of_changes_at_once() -> None:
    named = {
        (ref["kind"], app["metadata"]["namespace"], ref["name"])
        for app in apps()
        for ref in app["spec"].get("postBuild", {}).get("substituteFrom", [])
    }
    watched = {
        (body["kind"], body["metadata"]["namespace"], body["metadata"]["name"])
        for body in of_the_cluster()
        if body["metadata"].get("labels", {}).get("reconcile.fluxcd.io/watch") == "Enabled"
    }
    assert named
    assert named <= watched


def test_dependencies_exist_and_form_no_circle() -> None:
    waits_for = {
        app["metadata"]["name"]: {needed["name"] for needed in app["spec"].get("dependsOn", [])} for app in apps()
    }
    assert set().union(*waits_for.values()) <= set(waits_for)
    done: set[str] = set()
    while len(done) < len(waits_for):
        free = {name for name, needed in waits_for.items() if needed <= done} - done
        assert free, f"nobody among {set(waits_for) - done} can start"
        done |= free


def test_every_yaml_file_belongs_to_something_that_is_deployed() -> None:
    listed = {file for overlay in OVERLAYS for file in _listed(ROOT / overlay)}
    plain = set((ROOT / "infrastructure").glob("*.yaml")) | set((ROOT / demo_root.PATH).glob("*.yaml"))
    plain |= set((ROOT / "images").glob("*.yaml"))  # applied by hand: see below
    plain |= set((ROOT / "helm").rglob("*.yaml"))  # applied one by one: tests/e2e/test_helm_examples.py
    unused = set(ROOT.rglob("*.yaml")) - listed - plain - set(ROOT.rglob("kustomization.yaml"))
    assert sorted(unused) == []


def test_the_example_of_images_writes_one_line_and_says_so() -> None:
    repository, policy, automation = bodies((ROOT / "images" / "automation.yaml").read_bytes(), "automation.yaml")
    assert msgspec.convert(repository, ImageRepository).spec.image == "ghcr.io/acme/shop"
    chosen = {"latestRef": {"name": repository["spec"]["image"], "tag": "1.4.2"}}
    item = msgspec.convert(automation, ImageUpdateAutomation)
    wanted = Wanted.among(
        [msgspec.convert(policy | {"status": chosen}, ImagePolicy)], "flux-system", Automation.of(item).selects
    )
    path, data = "clusters/production/app.yaml", (ROOT / "images" / "app.yaml").read_bytes()
    bump = Bumping(item.key, Automation.of(item), "clusters/production", wanted.images)
    changes = bump(Snapshot("c" * 40, {path: Entry("100644", "0" * 40)}, {path: data}))
    assert changes.contents == {path: data.replace(b"shop:1.4.1", b"shop:1.4.2")}
    assert bump.last is not None
    assert bump.last.message is not None
    assert bump.last.message.text == "Use ghcr.io/acme/shop:1.4.2\n\n- Deployment shop in clusters/production/app.yaml"


def test_the_api_server_accepts_every_object(kubectl: Callable[..., str]) -> None:
    created = ["platform", *TENANTS]
    definition = ROOT / "infrastructure" / "crd-maintenancewindows.yaml"
    try:
        for name in created:
            kubectl("create", "namespace", name)
        kubectl("create", "--filename", str(definition))
        kubectl("wait", "--for=condition=Established", "--timeout=60s", "--filename", str(definition))
        _dry_run(kubectl, rendered("infrastructure"))
        _dry_run(kubectl, rendered("tenants"))
        for app in apps():
            if namespace := app["spec"].get("targetNamespace"):
                _dry_run(kubectl, [_placed(body, namespace) for body in rendered(app["spec"]["path"])])
    finally:
        kubectl("delete", "--ignore-not-found", "--filename", str(definition))
        kubectl("delete", "--ignore-not-found", "--wait=false", "namespace", *created)


def _dry_run(kubectl: Callable[..., str], objects: list[dict[str, Any]]) -> None:
    from trimtab.manifests.emit import to_yaml

    text = "---\n".join(to_yaml(body) for body in objects)
    kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename", "-", stdin=text)


def _placed(body: dict[str, Any], namespace: str) -> dict[str, Any]:
    return {**body, "metadata": {**body["metadata"], "namespace": namespace}}


def _listed(directory: Path) -> Iterator[Path]:
    for document in load((directory / "kustomization.yaml").read_bytes(), "kustomization.yaml"):
        for name in [*document.value.get("resources", []), *(p.get("path") for p in document.value.get("patches", []))]:
            if name:
                yield (directory / name).resolve()
