"""`trimtab diff --serve` as a process: what it serves of a real API server, and of one that is not there."""

import json
import re
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import command_line
from trimtab.cluster.plane import ControlPlane

DEADLINE_S = 300.0


class Serving:
    """A running process, and what it serves."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stderr is not None
        self.told = process.stderr.readline()
        found = re.search(r"http://[^/]+:\d+/", self.told)
        assert found, self.told + (process.stderr.read() if process.poll() is not None else "")
        self.url = found[0]

    def get(self, path: str) -> str:
        try:
            with urllib.request.urlopen(self.url + path, timeout=60) as answer:
                text: str = answer.read().decode()
        except urllib.error.HTTPError as answer:
            text = answer.read().decode()
        return text

    def until(self, verdict: str) -> dict[str, Any]:
        """The report, once the log says that it has this verdict."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if f": {verdict}: " in line:
                report: dict[str, Any] = json.loads(self.get("report.json"))
                assert report["verdict"] == verdict
                return report
        pytest.fail(f"the process ended, or was ended for being late, and never said {verdict}")


@contextmanager
def serving(kubeconfig: Path, directory: Path, *arguments: str) -> Iterator[Serving]:
    arguments = ("diff", str(directory), "--serve", "--every", "5s", "--addr", "127.0.0.1:0", *arguments)
    command, env = command_line(kubeconfig, *arguments)
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        late = threading.Timer(DEADLINE_S, process.kill)
        late.start()
        try:
            yield Serving(process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            late.cancel()
            process.kill()


@pytest.fixture
def app(kubectl: Callable[..., str], namespace: Callable[[], str], tmp_path: Path) -> tuple[Path, str]:
    """A directory with one ConfigMap, which is applied in a namespace of its own."""
    place = namespace()
    kubectl("create", "namespace", place)
    metadata = {"name": "settings", "namespace": place}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"colour": "blue"}}
    directory = tmp_path / "app"
    directory.mkdir()
    (directory / "settings.yaml").write_text(json.dumps(body))
    kubectl("apply", "-f", str(directory))
    return directory, place


def test_a_change_in_the_cluster_and_one_in_the_files_are_noticed(
    plane: ControlPlane, kubectl: Callable[..., str], app: tuple[Path, str]
) -> None:
    directory, place = app
    with serving(plane.kubeconfig, directory) as served:
        served.until("same")
        assert 'trimtab_diff_objects{state="same"} 1.0' in served.get("metrics")
        assert served.get("readyz") == "ok\n"
        kubectl("-n", place, "patch", "configmap", "settings", "-p", '{"data":{"colour":"red"}}')
        [finding] = served.until("differs")["findings"]
        assert [change["path"] for change in finding["differences"]] == ["data.colour"]
        assert "There are differences" in served.get("")
        assert 'trimtab_diff_objects{state="differs"} 1.0' in served.get("metrics")
        file = directory / "settings.yaml"
        file.write_text(file.read_text().replace("blue", "red"))
        served.until("same")


def test_what_cannot_be_reached_is_unknown_and_never_a_success(
    plane: ControlPlane, app: tuple[Path, str], tmp_path: Path
) -> None:
    directory, _ = app
    elsewhere = tmp_path / "kubeconfig"
    elsewhere.write_text(plane.kubeconfig.read_text().replace(plane.server, "https://127.0.0.1:1"))
    with serving(elsewhere, directory) as served:
        report = served.until("unknown")
        assert report["counts"]["unknown"] == 1
        metrics = served.get("metrics")
        assert "trimtab_diff_last_success_timestamp_seconds 0.0" in metrics
        assert 'trimtab_diff_objects{state="same"} 0.0' in metrics
        assert "Not everything could be compared" in served.get("")


@pytest.mark.parametrize(
    "arguments",
    [("--every", "1s"), ("--every", "often"), ("--offline",), ("-o", "json"), ("--addr", "256.1.1.1:80")],
    ids=" ".join,
)
def test_what_makes_no_sense_is_refused_at_once(
    plane: ControlPlane, app: tuple[Path, str], arguments: tuple[str, ...]
) -> None:
    command, env = command_line(plane.kubeconfig, "diff", str(app[0]), "--serve", *arguments)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
