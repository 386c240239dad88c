"""The definitions of the kinds of images on a real API server."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from trimtab.api import crd as definitions
from trimtab.api.crd import crd
from trimtab.manifests.codec import encode
from trimtab.manifests.refs import Body

GOLDEN = Path(__file__).parent / "golden"
DEFINITIONS = [one for one in definitions.DEFINITIONS if one.category == "fluxcd-images"]
Kubectl = Callable[..., str]

POLICY: Body = {"imageRepositoryRef": {"name": "app"}, "policy": {"semver": {"range": "*"}}}
REPOSITORY: Body = {"image": "ghcr.io/acme/app", "interval": "1m"}
AUTOMATION: Body = {"sourceRef": {"name": "fleet"}, "interval": "1m"}


@pytest.fixture(scope="module")
def served(kubectl: Kubectl) -> Kubectl:
    bodies = [crd(definition) for definition in DEFINITIONS]
    names = [f"crd/{body['metadata']['name']}" for body in bodies]
    kubectl(
        "apply",
        "--server-side",
        "-f",
        "-",
        stdin=encode({"apiVersion": "v1", "kind": "List", "items": bodies}).decode(),
    )
    kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
    return kubectl


@pytest.fixture
def home(served: Kubectl, namespace: Callable[[], str]) -> str:
    name = namespace()
    served("create", "namespace", name)
    return name


def written(kind: str, namespace: str, spec: Body) -> str:
    metadata = {"name": "a", "namespace": namespace}
    return encode(
        {"apiVersion": "image.toolkit.fluxcd.io/v1", "kind": kind, "metadata": metadata, "spec": spec}
    ).decode()


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda one: one.gvk.kind)
def test_the_server_keeps_every_field(served: Kubectl, home: str, definition) -> None:
    sample = json.loads((GOLDEN / f"{definition.gvk.kind.lower()}.json").read_text())
    sample["metadata"]["namespace"] = home
    text = encode(sample).decode()
    served("apply", "--server-side", "-f", "-", stdin=text)
    served("replace", "--subresource=status", "-f", "-", stdin=text)
    answer = served("get", definition.plural, sample["metadata"]["name"], "-n", home, "-ojson")
    live = json.loads(answer)
    assert live["spec"] == sample["spec"]
    assert live["status"] == sample["status"]
    decoded = msgspec.json.decode(answer, type=definition.struct)
    assert json.loads(msgspec.json.encode(decoded.status)) == sample["status"]


@pytest.mark.parametrize(
    ("kind", "spec", "defaults"),
    [
        ("ImageRepository", REPOSITORY, {"exclusionList": ["^.*\\.sig$"], "provider": "generic"}),
        ("ImagePolicy", POLICY, {"digestReflectionPolicy": "Never"}),
        (
            "ImageUpdateAutomation",
            AUTOMATION,
            {"update": {"strategy": "Setters"}, "sourceRef": {"name": "fleet", "kind": "GitRepository"}},
        ),
    ],
)
def test_a_new_object_has_the_defaults_of_flux(
    served: Kubectl, home: str, kind: str, spec: Body, defaults: Body
) -> None:
    served("create", "-f", "-", stdin=written(kind, home, spec))
    live = json.loads(served("get", kind, "a", "-n", home, "-ojson"))
    assert live["status"] == {"observedGeneration": -1}
    assert live["spec"] == spec | defaults


@pytest.mark.parametrize(
    ("kind", "spec", "says"),
    [
        ("ImagePolicy", POLICY | {"interval": "1m"}, "spec.interval is only accepted when"),
        (
            "ImagePolicy",
            POLICY | {"digestReflectionPolicy": "Always"},
            "spec.interval must be set when spec.digestReflectionPolicy is set to 'Always'",
        ),
        ("ImagePolicy", POLICY | {"digestReflectionPolicy": "Sometimes"}, "Unsupported value"),
        ("ImagePolicy", POLICY | {"policy": {"numerical": {"order": "up"}}}, "spec.policy.numerical.order"),
        ("ImageRepository", REPOSITORY | {"exclusionList": ["x"] * 26}, "spec.exclusionList: Too many"),
        ("ImageRepository", REPOSITORY | {"timeout": "1h"}, "spec.timeout"),
        ("ImageUpdateAutomation", AUTOMATION | {"update": {"strategy": "Guess"}}, "spec.update.strategy"),
        (
            "ImageUpdateAutomation",
            AUTOMATION | {"git": {"commit": {"author": {"email": "a@b"}}, "push": {"refspec": "+a:b"}}},
            "spec.git.push.refspec",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_words_that_name_the_field(
    served: Kubectl, kind: str, spec: Body, says: str
) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        served("create", "--dry-run=server", "-f", "-", stdin=written(kind, "default", spec))
    assert says in str(refused.value)
