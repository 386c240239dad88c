"""What the tests of HelmReleases share: charts in a repository, releases, and the real helm to ask."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.e2e.world import SOURCES, World, condition, until
from trimtab.manifests.yaml import load
from trimtab.toolchain import binaries

RELEASES = "/apis/helm.toolkit.fluxcd.io/v2"

CONFIG = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
  labels:
    app.kubernetes.io/managed-by: {{ .Release.Service }}
data:
  colour: {{ .Values.colour | quote }}
{{- with .Values.more }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ $.Release.Name }}-more
data:
  more: {{ . | quote }}
{{- end }}
"""


def chart(version: str = "1.0.0", name: str = "app", files: Mapping[str, str] | None = None) -> dict[str, str]:
    """The files of a small chart, below a directory of its name."""
    own = {
        "Chart.yaml": f"apiVersion: v2\nname: {name}\nversion: {version}\nappVersion: '9'\n",
        "values.yaml": "colour: blue\nmore: ''\nbroken: []\n",
        "templates/config.yaml": CONFIG,
        **(files or {}),
    }
    return {f"{name}/{path}": text for path, text in own.items()}


class Home:
    """One namespace with one repository of charts."""

    def __init__(self, world: World, stem: str) -> None:
        self.world = world
        self.api = world.api
        self.ns = world.namespace(stem)
        self.repo = world.repo(self.ns)

    def charts(self, *charts: Mapping[str, str]) -> None:
        self.repo.commit({path: text for files in charts for path, text in files.items()})
        if self.world.get_source(self.ns) is None:
            self.world.source(self.ns, self.repo.url)
        else:
            self.world.poke(self.ns)

    def release(
        self,
        name: str = "app",
        chart: str = "app",
        annotations: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        **spec: Any,
    ) -> None:
        source = {"kind": "GitRepository", "name": "repo"}
        wish = {"interval": "60m", "chart": {"spec": {"chart": chart, "sourceRef": source}}, **spec}
        self.api.create(
            f"{RELEASES}/namespaces/{self.ns}/helmreleases",
            {
                "apiVersion": "helm.toolkit.fluxcd.io/v2",
                "kind": "HelmRelease",
                "metadata": {
                    "name": name,
                    "namespace": self.ns,
                    "annotations": dict(annotations or {}),
                    "labels": dict(labels or {}),
                },
                "spec": wish,
            },
        )

    def path(self, name: str = "app") -> str:
        return f"{RELEASES}/namespaces/{self.ns}/helmreleases/{name}"

    def get(self, name: str = "app") -> Any:
        return self.api.get(self.path(name))

    def change(self, name: str = "app", **spec: Any) -> None:
        self.api.merge(self.path(name), {"spec": spec})

    def ask(self, name: str = "app", *also: str) -> None:
        """Ask for a pass, and wait until it is over; `also` are the annotations to set to the same moment."""
        moment = self.world._request(self.path(name))
        if also:
            self.api.merge(self.path(name), {"metadata": {"annotations": dict.fromkeys(also, moment)}})
        until(lambda: self.get(name)["status"].get("lastHandledReconcileAt") == moment, lambda: self.why(name))

    def ready(self, name: str = "app", revision: int = 0, timeout: float = 40.0) -> Any:
        """Wait until it is Ready, as the spec is now, and at `revision` if one is given."""

        def reached() -> Any:
            item = self.get(name)
            status = item.get("status") or {}
            current = status.get("observedGeneration") == item["metadata"]["generation"]
            at = not revision or (status.get("history") or [{}])[0].get("version") == revision
            return item if current and at and condition(item, "Ready").get("status") == "True" else None

        return until(reached, lambda: f"{name} is not ready: {self.why(name)}", timeout)

    def failed(self, name: str = "app", reason: str = "", words: str = "", timeout: float = 40.0) -> Any:
        """Wait until Ready is False, with `reason` and `words` in its message."""

        def reached() -> Any:
            item = self.get(name)
            found = condition(item, "Ready")
            wanted = found.get("status") == "False" and reason in found["reason"] and words in found["message"]
            return item if wanted else None

        return until(reached, lambda: f"{name} did not fail so: {self.why(name)}", timeout)

    def gone(self, name: str = "app") -> None:
        until(lambda: self.get(name) is None, lambda: f"{name} stays: {self.why(name)}", 60)

    def why(self, name: str) -> str:
        charts = self.api.get(f"{SOURCES}/namespaces/{self.ns}/helmcharts")["items"]
        seen = {"release": self.get(name), "charts": [item.get("status") for item in charts]}
        return json.dumps({**seen, "log": self.world.controller.log[-3000:].splitlines()}, indent=1)

    def data(self, name: str) -> Any:
        """The data of a ConfigMap; None if there is none."""
        found = self.api.get(f"/api/v1/namespaces/{self.ns}/configmaps/{name}")
        return found and found["data"]

    def helm(self, *arguments: str, code: int = 0) -> str:
        """What the real helm says."""
        program = binaries.present("render")["helm"]
        done = subprocess.run(
            [program, *arguments, "--kubeconfig", str(self.world.controller.kubeconfig), "-n", self.ns],
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"], "HOME": str(self.repo.work)},
        )
        assert done.returncode == code, done.stderr
        return done.stdout

    def helm_json(self, *arguments: str) -> Any:
        return json.loads(self.helm(*arguments, "-o", "json"))


def objects(text: str) -> list[Any]:
    return [document.value for document in load(text.encode(), "manifest", dialect="kubernetes")]


PODINFO = Path(__file__).parents[2].parent / "shared" / "realworld" / "podinfo" / "charts" / "podinfo"
