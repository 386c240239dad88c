"""The same questions to the real helm: what a directory packs to, and what a range means."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.charts.test_chart import below, of_packed, snapshot, unpacked
from tests.charts.world import ChartServer, chart, chart_files, index, listed
from tests.remotes.test_helm_index import VERSIONS
from trimtab.artifacts.store import Store
from trimtab.manifests.yaml import load
from trimtab.remotes.helm import catalogue
from trimtab.remotes.helm import index as indexes
from trimtab.remotes.helm.catalogue import Entry
from trimtab.sources.charts import chart as charts
from trimtab.sources.charts.package import package
from trimtab.toolchain import binaries

Helm = Any


@pytest.fixture
def helm(tmp_path: Path) -> Helm:
    """`helm("show", "chart", …)`: what it prints, or None where it refuses."""
    binary = binaries.present("render").get("helm")
    if binary is None:
        pytest.skip("helm is not built; `make setup` builds it")
    home = {name: str(tmp_path / "helm") for name in ("HOME", "HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")}

    def run(*arguments: str) -> str | None:
        env = {"PATH": os.environ["PATH"], **home}
        done = subprocess.run([binary, *arguments], env=env, capture_output=True, text=True, timeout=60)
        return done.stdout if done.returncode == 0 else None

    return run


IGNORED = {
    ".helmignore": "# of this test\n*.md\n/docs\nci/\nsub/*.txt\nsecret-?.yaml\n[a-c].conf\n",
    "README.md": "x",
    "sub/NOTES.md": "x",
    "docs": "a file",
    "sub/docs": "stays",
    "ci/values.yaml": "x",
    "sub/ci/values.yaml": "x",
    "sub/one.txt": "x",
    "sub/deep/one.txt": "stays",
    "secret-1.yaml": "x",
    "secret-10.yaml": "stays",
    "b.conf": "x",
    "d.conf": "stays",
    "templates/.hidden.yaml": "x",
    ".hidden": "stays",
}


@pytest.mark.parametrize("more", [{}, IGNORED], ids=["plain", "ignored"])
def test_helm_packs_the_same_files(helm: Helm, store: Store, tmp_path: Path, more: dict[str, str]) -> None:
    files = {**chart_files("app", "1.0.0"), **more}
    for path, content in files.items():
        target = tmp_path / "app" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert helm("package", str(tmp_path / "app"), "-d", str(tmp_path)) is not None
    theirs = unpacked((tmp_path / "app-1.0.0.tgz").read_bytes())
    found = charts.of_directory(snapshot(store, below("x/app", files)), "x/app")
    ours = unpacked(store.read(package(store, found, version="1.0.0").archive))
    assert set(ours) == set(theirs)
    # Helm writes its metadata anew; the rest is byte for byte the same.
    assert {name for name in ours if ours[name] != theirs[name]} <= {"app/Chart.yaml"}
    assert of_packed(store, (tmp_path / "app-1.0.0.tgz").read_bytes()).metadata.name == "app"


def test_helm_reads_what_we_pack(helm: Helm, store: Store, tmp_path: Path) -> None:
    found = charts.of_directory(snapshot(store, chart_files("app", "1.0.0")), "")
    made = package(store, found, version="1.0.0+3", values={"replicas": 3, "image": {"tag": "stable"}})
    packed = tmp_path / "app.tgz"
    packed.write_bytes(store.read(made.archive))
    [document] = load(helm("show", "chart", str(packed)).encode(), "helm")
    assert document.value["version"] == "1.0.0+3"
    [document] = load(helm("show", "values", str(packed)).encode(), "helm")
    assert document.value == {"replicas": 3, "image": {"tag": "stable"}}
    assert "name: me" in helm("template", "me", str(packed))


def test_we_read_the_index_that_helm_writes(helm: Helm, tmp_path: Path) -> None:
    for version in ("1.0.0", "1.1.0+b"):
        (tmp_path / f"app-{version}.tgz").write_bytes(chart("app", version))
    for form in ((), ("--json",)):
        assert helm("repo", "index", str(tmp_path), *form) is not None
        found = catalogue.decode(indexes.parse((tmp_path / "index.yaml").read_bytes())).versions("app")
        assert {(one.version, one.url) for one in found} == {
            ("1.0.0", "app-1.0.0.tgz"),
            ("1.1.0+b", "app-1.1.0+b.tgz"),
        }
        assert all(len(one.digest) == 64 and one.created for one in found)


RANGES = """
    |*|1.x|1|1.2|1.2.x|~1.2.0|^1.0.0|^0.9|>=1.0.0 <1.10.0|>=1.0.0, <1.10.0|1.0.0 - 1.2.2|>1.10.0|>1.10.0-0|2.0.0-rc.1
    |>=2.0.0-0 <2.1.0-0|^2.0.0-rc.1|>=3.0.0|3.0.0-alpha|*-0|2.1.0|v2.1.0|9.9.9|!=v2.1.0
"""


@pytest.mark.parametrize("wanted", [one.strip() for one in RANGES.split("|")])
def test_helm_chooses_the_same_version(helm: Helm, server: ChartServer, wanted: str) -> None:
    versions = [version for version in VERSIONS if version != "latest"]
    packed = {version: chart("app", version) for version in versions}
    for version, data in packed.items():
        server.write(f"app-{version}.tgz", data)
    server.write("index.yaml", index(listed("app", version, packed[version]) for version in versions))
    said = helm("show", "chart", "app", "--repo", server.url, *(("--version", wanted) if wanted else ()))
    chosen = catalogue.choose([Entry(version) for version in versions], wanted)
    assert (json.loads(json.dumps(load(said.encode(), "helm")[0].value))["version"] if said else None) == (
        chosen.version if chosen else None
    )
