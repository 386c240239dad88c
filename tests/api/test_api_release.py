"""The definition of HelmRelease on a real API server."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from trimtab.api.helmrelease import HelmRelease
from trimtab.manifests.codec import encode
from trimtab.manifests.refs import Body

SAMPLE = Path(__file__).parent / "golden" / "helmrelease.json"
Kubectl = Callable[..., str]

REF: Body = {"chartRef": {"kind": "HelmChart", "name": "c"}}
CHART: Body = {"chart": {"spec": {"chart": "c", "sourceRef": {"kind": "HelmRepository", "name": "r"}}}}


@pytest.fixture
def home(served: Kubectl, namespace: Callable[[], str]) -> str:
    name = namespace()
    served("create", "namespace", name)
    return name


def release(namespace: str, spec: Body, name: str = "a") -> str:
    body = {
        "apiVersion": "helm.toolkit.fluxcd.io/v2",
        "kind": "HelmRelease",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"interval": "10m", **spec},
    }
    return encode(body).decode()


def test_the_definition_is_structural_and_has_flux_s_names(served: Kubectl) -> None:
    live = json.loads(served("get", "crd", "helmreleases.helm.toolkit.fluxcd.io", "-ojson"))
    conditions = {one["type"]: one["status"] for one in live["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert "NonStructuralSchema" not in conditions
    assert live["spec"]["names"]["shortNames"] == ["hr"]
    assert live["spec"]["names"]["categories"] == ["all", "fluxcd", "fluxcd-appliers"]


def test_the_server_keeps_every_field(served: Kubectl, home: str) -> None:
    sample = json.loads(SAMPLE.read_text())
    sample["metadata"]["namespace"] = home
    text = encode(sample).decode()
    served("apply", "--server-side", "-f", "-", stdin=text)
    served("replace", "--subresource=status", "-f", "-", stdin=text)
    answer = served("get", "hr", sample["metadata"]["name"], "-n", home, "-ojson")
    live = json.loads(answer)
    assert live["spec"] == sample["spec"]
    assert live["status"] == sample["status"]
    assert json.loads(msgspec.json.encode(msgspec.json.decode(answer, type=HelmRelease).spec)) == sample["spec"]


def test_a_new_release_has_the_defaults_of_the_design(served: Kubectl, home: str) -> None:
    served("create", "-f", "-", stdin=release(home, CHART | {"uninstall": {}}))
    live = json.loads(served("get", "hr", "a", "-n", home, "-ojson"))
    assert live["status"] == {"observedGeneration": -1}
    assert live["spec"]["chart"]["spec"]["version"] == "*"
    assert live["spec"]["chart"]["spec"]["reconcileStrategy"] == "ChartVersion"
    assert live["spec"]["uninstall"] == {"deletionPropagation": "background"}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({}, "either chart or chartRef must be set"),
        (REF | CHART, "either chart or chartRef must be set"),
        (REF | {"releaseName": "x" * 54}, "spec.releaseName: Too long"),
        (REF | {"install": {"crds": "Replace"}}, "spec.install.crds: Unsupported value"),
        (
            REF | {"upgrade": {"strategy": {"name": "RemediateOnFailure", "retryInterval": "1m"}}},
            ".retryInterval can only be set when .name is 'RetryOnFailure'",
        ),
        (REF | {"valuesFrom": [{"kind": "Secret", "name": "a", "targetPath": "a=b"}]}, "should match"),
        (REF | {"driftDetection": {"mode": "on"}}, "spec.driftDetection.mode: Unsupported value"),
        ({"chartRef": {"kind": "GitRepository", "name": "a"}}, "spec.chartRef.kind: Unsupported value"),
    ],
)
def test_what_cannot_work_is_refused_in_words_that_name_the_field(served: Kubectl, spec: Body, says: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        served("create", "--dry-run=server", "-f", "-", stdin=release("default", spec))
    assert says in str(refused.value)


def test_a_name_that_cannot_be_a_label_is_refused(served: Kubectl) -> None:
    served("create", "--dry-run=server", "-f", "-", stdin=release("default", REF, "x" * 63))
    with pytest.raises(subprocess.CalledProcessError, match="no more than 63 characters"):
        served("create", "--dry-run=server", "-f", "-", stdin=release("default", REF, "x" * 64))
