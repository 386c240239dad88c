"""Fixtures for releases: the real helm, and charts made of a few lines of text."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from trimtab.artifacts.store import Store
from trimtab.helm.template import Capabilities, Template, Wish
from trimtab.helm.values import compose
from trimtab.render.local import snapshot_of_directory
from trimtab.sources.charts import chart as charts
from trimtab.sources.charts.chart import Chart
from trimtab.toolchain import binaries

SHARED = Path(__file__).parents[3] / "shared"


@pytest.fixture(scope="session")
def helm_binary() -> Path:
    found = binaries.present("render").get("helm")
    if found is None:
        pytest.skip("helm is not built; `make setup` builds it")
    return found


@pytest.fixture
def helm(helm_binary: Path, tmp_path: Path) -> Callable[..., str]:
    """`helm("show", "chart", …)`: what the real helm prints; fails the test with its words."""
    home = {name: str(tmp_path / "helm") for name in ("HOME", "HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")}

    def run(*arguments: str | Path, stdin: str = "") -> str:
        done = subprocess.run(
            [helm_binary, *arguments],
            env={"PATH": os.environ["PATH"], **home},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, f"helm {' '.join(map(str, arguments))}: {done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def write_chart(root: Path, templates: dict[str, str], *, name: str = "app", values: str = "", more: str = "") -> Path:
    """A chart in `root`; `templates` are files by their path in it, those without a slash are templates."""
    files = {
        "Chart.yaml": f"apiVersion: v2\nname: {name}\nversion: 1.0.0\nappVersion: '2.0'\n{more}",
        "values.yaml": values,
    }
    files |= {path.lstrip("/") if "/" in path else f"templates/{path}": text for path, text in templates.items()}
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return root


CAPABILITIES = Capabilities("v1.36.3", ("v1", "apps/v1", "example.com/v1/Widget"))


def config(value: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{{{ .Release.Name }}}}\ndata:\n  seen: {value}\n"


def wish(values=None, **fields) -> Wish:
    return Wish(
        **{
            "name": "me",
            "namespace": "apps",
            "values": compose([], values or {}),
            "capabilities": CAPABILITIES,
            **fields,
        }
    )


async def seen(rendering) -> str:
    rendering = await rendering
    [manifest] = rendering.manifests
    return manifest.body["data"]["seen"]


@pytest.fixture
def chart_at(store: Store) -> Callable[[Path], Chart]:
    return lambda path: charts.of_directory(snapshot_of_directory(store, path, revision="x"), "")


@pytest.fixture
def template(helm_binary: Path, tmp_path: Path) -> Template:
    return Template(helm_binary, tmp_path / "work")


@pytest.fixture
def render(template, store, chart_at, tmp_path):
    """`await render({"a.yaml": …})`: the rendering of a chart of those templates."""

    async def make(templates, values=None, *, template=template, lookup=None, **fields):
        options = {name: fields.pop(name) for name in ("name_", "more", "defaults") if name in fields}
        root = write_chart(
            tmp_path / "app", templates, values=options.get("defaults", ""), more=options.get("more", "")
        )
        return await template.render(store, chart_at(root), wish(values, **fields), lookup)

    return make
