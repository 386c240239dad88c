"""Fixtures for rendering: a real kustomize, and artifacts made of a few lines of text."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.manifests.yaml import load, manifests_of
from trimtab.render.local import snapshot_of_directory
from trimtab.render.render import Renderer
from trimtab.toolchain import binaries

SHARED = Path(__file__).parents[3] / "shared"


def find_kustomize() -> Path | None:
    """The toolchain's kustomize, else one in KUBEBUILDER_ASSETS or on PATH."""
    if found := binaries.present("render").get("kustomize"):
        return found
    places = os.pathsep.join([os.environ.get("KUBEBUILDER_ASSETS", ""), os.environ["PATH"]])
    on_path = shutil.which("kustomize", path=places)
    return Path(on_path) if on_path else None


@pytest.fixture(scope="session")
def kustomize() -> Path:
    found = find_kustomize()
    if found is None:
        pytest.skip("kustomize is not installed")
    return found


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def renderer(kustomize: Path, tmp_path: Path) -> Renderer:
    return Renderer(None, kustomize, tmp_path / "work")


@pytest.fixture
def artifact(store: Store, tmp_path_factory) -> Callable[[Mapping[str, str]], Snapshot]:
    """Make a snapshot of files given by path and text."""

    def make(files: Mapping[str, str]) -> Snapshot:
        root = tmp_path_factory.mktemp("artifact")
        write(root, files)
        return snapshot_of_directory(store, root, revision="main@sha1:abc")

    return make


def write(root: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def kustomize_build(kustomize: Path, directory: Path) -> list[dict[str, Any]]:
    """What kustomize itself makes of `directory`, in the order of its resources."""
    done = subprocess.run(
        [kustomize, "build", "--reorder", "none", "--load-restrictor", "LoadRestrictionsNone", directory],
        env={"HOME": "/nonexistent", "PATH": ""},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    return [one.body for one in manifests_of(load(done.stdout, "kustomize", dialect="kubernetes"))]


CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}
"""


def config_map(name: str) -> str:
    return CONFIG_MAP.format(name=name)
