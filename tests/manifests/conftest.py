"""The shared cases, and the programs whose reading ours must equal."""

import os
import shutil
from pathlib import Path

import pytest

CONFORMANCE = Path(__file__).parents[2].parent / "shared" / "conformance"


@pytest.fixture(scope="session")
def conformance():
    if not CONFORMANCE.is_dir():
        pytest.skip(f"no conformance cases at {CONFORMANCE}")
    return CONFORMANCE


def binary(name):
    try:
        from trimtab.toolchain.binaries import find
    except ImportError:
        found = None
    else:
        family = find("render" if name == "kustomize" else "controlplane") or {}
        found = family.get(name)
    assets = os.environ.get("KUBEBUILDER_ASSETS", "")
    found = found or shutil.which(name) or shutil.which(name, path=assets)
    if not found:
        pytest.skip(f"no {name} found; `make setup` builds it")
    return Path(found)


@pytest.fixture(scope="session")
def kustomize():
    return binary("kustomize")


@pytest.fixture(scope="session")
def kubectl():
    return binary("kubectl")
