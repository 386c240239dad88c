"""The definitions on a real API server: what it makes of them, and what it refuses in which words."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimtab.api.bucket import Bucket
from trimtab.api.crd import crds
from trimtab.api.external import ExternalArtifact
from trimtab.api.generator import ArtifactGenerator
from trimtab.api.helm import HelmChart, HelmRepository
from trimtab.api.kustomize import Kustomization
from trimtab.api.notification import Alert, Provider
from trimtab.api.oci import OCIRepository
from trimtab.api.receiver import Receiver
from trimtab.api.source import GitRepository
from trimtab.manifests.codec import clone, encode
from trimtab.manifests.refs import Body

GOLDEN = Path(__file__).parent / "golden"
Kubectl = Callable[..., str]

GIT: Body = {
    "apiVersion": "source.toolkit.fluxcd.io/v1",
    "kind": "GitRepository",
    "metadata": {"name": "a", "namespace": "default"},
    "spec": {"url": "https://example.com/r.git", "interval": "1m"},
}
APP: Body = {
    "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
    "kind": "Kustomization",
    "metadata": {"name": "a", "namespace": "default"},
    "spec": {"interval": "10m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "a"}},
}

HOOK: Body = {
    "apiVersion": "notification.toolkit.fluxcd.io/v1",
    "kind": "Receiver",
    "metadata": {"name": "a", "namespace": "default"},
    "spec": {
        "type": "github",
        "secretRef": {"name": "token"},
        "resources": [{"kind": "GitRepository", "name": "a"}],
    },
}
ISSUER: Body = {"issuerURL": "https://issuer.example", "validations": [{"expression": "true", "message": "no"}]}
OIDC: Body = {"type": "generic-oidc", "secretRef": None, "oidcProviders": [ISSUER]}


BUCKET: Body = {
    "apiVersion": "source.toolkit.fluxcd.io/v1",
    "kind": "Bucket",
    "metadata": {"name": "a", "namespace": "default"},
    "spec": {"bucketName": "apps", "endpoint": "minio.example:9000", "interval": "1m"},
}
LDAP: Body = {"provider": "ldap", "endpoint": "https://minio.example"}
AWS: Body = {"provider": "aws", "endpoint": "https://sts.example"}


def changed(body: Body, spec: Body, *, name: str = "a", namespace: str = "default") -> Body:
    """`body` under another name, with fields of its spec replaced; those that are None are taken away."""
    merged = {key: value for key, value in (body["spec"] | spec).items() if value is not None}
    return {**body, "metadata": {"name": name, "namespace": namespace}, "spec": merged}


def judge(kubectl: Kubectl, body: Body) -> str:
    """What the server says when it refuses `body`; nothing when it takes it."""
    try:
        kubectl("create", "--dry-run=server", "-f", "-", stdin=encode(body).decode())
    except subprocess.CalledProcessError as refused:
        return refused.stderr
    return ""


@pytest.fixture
def home(served: Kubectl, namespace: Callable[[], str]) -> str:
    """A namespace on a server that serves our kinds."""
    name = namespace()
    served("create", "namespace", name)
    return name


def test_every_definition_is_established_and_structural(served: Kubectl) -> None:
    for body in crds():
        live = json.loads(served("get", "crd", body["metadata"]["name"], "-o", "json"))
        conditions = {one["type"]: one["status"] for one in live["status"]["conditions"]}
        assert conditions["Established"] == "True"
        assert conditions["NamesAccepted"] == "True"
        assert "NonStructuralSchema" not in conditions


def test_applying_them_again_changes_nothing(served: Kubectl) -> None:
    for body in crds():
        name = body["metadata"]["name"]
        text = encode(body).decode()
        before = served("get", "crd", name, "-o", "jsonpath={.metadata.resourceVersion}")
        served("apply", "--server-side", "-f", "-", stdin=text)
        assert served("get", "crd", name, "-o", "jsonpath={.metadata.resourceVersion}") == before


@pytest.mark.parametrize("body", [GIT, APP, HOOK], ids=lambda body: body["kind"])
@pytest.mark.parametrize("status", [None, {"observedGeneration": 7}], ids=["without", "with"])
def test_status_right_after_creation(served: Kubectl, home: str, body: Body, status: Body | None) -> None:
    new = changed(body, {}, namespace=home) | ({"status": status} if status else {})
    served("create", "-f", "-", stdin=encode(new).decode())
    live = json.loads(served("get", body["kind"], "a", "-n", home, "-o", "json"))
    assert live["status"] == {"observedGeneration": -1}


@pytest.mark.parametrize(
    ("file", "struct"),
    [
        ("gitrepository.json", GitRepository),
        ("kustomization.json", Kustomization),
        ("ocirepository.json", OCIRepository),
        ("bucket.json", Bucket),
        ("receiver.json", Receiver),
        ("provider.json", Provider),
        ("alert.json", Alert),
        ("helmrepository.json", HelmRepository),
        ("helmchart.json", HelmChart),
        ("externalartifact.json", ExternalArtifact),
        ("artifactgenerator.json", ArtifactGenerator),
    ],
)
def test_the_server_keeps_every_field(served: Kubectl, home: str, file: str, struct: type[Any]) -> None:
    sample = json.loads((GOLDEN / file).read_text())
    sample["metadata"]["namespace"] = home
    text = encode(sample).decode()
    served("apply", "--server-side", "-f", "-", stdin=text)
    if "status" in sample:
        served("replace", "--subresource=status", "-f", "-", stdin=text)
    answer = served("get", sample["kind"], "every-field", "-n", home, "-o", "json")
    live = json.loads(answer)
    assert live["spec"] == sample["spec"]
    assert live.get("status") == sample.get("status")
    value = msgspec.json.decode(answer, type=struct)
    assert json.loads(msgspec.json.encode(value.spec)) == sample["spec"]


HELM: Body = {
    "apiVersion": "source.toolkit.fluxcd.io/v1",
    "kind": "HelmRepository",
    "metadata": {"name": "a"},
    "spec": {"url": "https://h/charts"},
}
CHART: Body = {
    "apiVersion": "source.toolkit.fluxcd.io/v1",
    "kind": "HelmChart",
    "metadata": {"name": "a"},
    "spec": {"chart": "app", "interval": "1m", "sourceRef": {"kind": "HelmRepository", "name": "r"}},
}


def test_defaults_of_the_kinds_of_helm_are_those_of_the_design(served: Kubectl, home: str) -> None:
    for body in (HELM, CHART):
        served("create", "-f", "-", stdin=encode(changed(body, {}, namespace=home)).decode())
    spec = json.loads(served("get", "helmrepo", "a", "-n", home, "-o", "json"))["spec"]
    assert spec == HELM["spec"] | {"provider": "generic"}
    live = json.loads(served("get", "hc", "a", "-n", home, "-o", "json"))
    assert live["spec"] == CHART["spec"] | {"version": "*", "reconcileStrategy": "ChartVersion"}
    assert live["status"] == {"observedGeneration": -1}


def test_unknown_fields_are_pruned_and_warned_about_as_by_flux(served: Kubectl, home: str) -> None:
    new = changed(APP, {"novel": 1}, namespace=home)
    served("create", "--validate=warn", "-f", "-", stdin=encode(new).decode())
    live = json.loads(served("get", "ks", "a", "-n", home, "-o", "json"))
    assert "novel" not in live["spec"]


def test_defaults_are_those_of_the_design(served: Kubectl, home: str) -> None:
    git = changed(GIT, {"verify": {"secretRef": {"name": "keys"}}}, namespace=home)
    for body in (git, changed(APP, {}, namespace=home)):
        served("create", "-f", "-", stdin=encode(body).decode())
    spec = json.loads(served("get", "gitrepo", "a", "-n", home, "-o", "json"))["spec"]
    assert spec == git["spec"] | {"timeout": "60s", "verify": {"mode": "HEAD", "secretRef": {"name": "keys"}}}
    spec = json.loads(served("get", "ks", "a", "-n", home, "-o", "json"))["spec"]
    assert spec == APP["spec"] | {"force": False}
    served("create", "-f", "-", stdin=encode(changed(HOOK, {}, namespace=home)).decode())
    spec = json.loads(served("get", "receiver", "a", "-n", home, "-o", "json"))["spec"]
    assert spec == HOOK["spec"] | {"interval": "10m"}


@pytest.mark.parametrize(
    ("body", "spec", "phrase"),
    [
        (HELM, {"url": None}, "spec.url: Required value"),
        (HELM, {"url": "ftp://h/x"}, "spec.url in body should match '^(http|https|oci)://.*$'"),
        (HELM, {"type": "git"}, 'spec.type: Unsupported value: "git": supported values: "default", "oci"'),
        (HELM, {"timeout": "1h"}, "spec.timeout in body should match"),
        (CHART, {"chart": ""}, "spec.chart in body should be at least 1 chars long"),
        (CHART, {"interval": None}, "spec.interval: Required value"),
        (CHART, {"reconcileStrategy": "Always"}, "spec.reconcileStrategy: Unsupported value"),
        (CHART, {"sourceRef": {"kind": "OCIRepository", "name": "x"}}, "spec.sourceRef.kind: Unsupported value"),
        (
            CHART,
            {"sourceRef": {"kind": "GitRepository", "name": "x"}, "verify": {"provider": "cosign"}},
            "spec.verify is only supported when spec.sourceRef.kind is 'HelmRepository'",
        ),
        (GIT, {"url": None}, "spec.url: Required value"),
        (GIT, {"url": "file:///etc"}, "spec.url in body should match '^(http|https|ssh)://.*$'"),
        (GIT, {"url": "ext::sh -c id"}, "spec.url in body should match"),
        (GIT, {"url": "git@example.com:a/b.git"}, "spec.url in body should match"),
        (GIT, {"interval": "soon"}, r"spec.interval in body should match '^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$'"),
        (GIT, {"interval": "1d"}, "spec.interval in body should match"),
        (GIT, {"interval": 60}, 'spec.interval in body must be of type string: "integer"'),
        (GIT, {"interval": "1" * 64 + "s"}, "spec.interval: Too long: may not be more than 64 bytes"),
        (GIT, {"timeout": "1h"}, r"spec.timeout in body should match '^([0-9]+(\.[0-9]+)?(ms|s|m))+$'"),
        (GIT, {"provider": "gitlab"}, 'spec.provider: Unsupported value: "gitlab": supported values: "generic"'),
        (GIT, {"verify": {}}, "spec.verify.secretRef: Required value"),
        (GIT, {"verify": {"mode": "tip", "secretRef": {"name": "x"}}}, 'spec.verify.mode: Unsupported value: "tip"'),
        (
            GIT,
            {"serviceAccountName": "x"},
            "serviceAccountName can only be set when provider is 'aws' or 'azure'",
        ),
        (
            GIT,
            {"serviceAccountName": "x", "provider": "github"},
            "serviceAccountName can only be set when provider is 'aws' or 'azure'",
        ),
        (GIT, {"secretRef": {"name": ""}}, "spec.secretRef.name in body should be at least 1 chars long"),
        (BUCKET, {"bucketName": None}, "spec.bucketName: Required value"),
        (BUCKET, {"endpoint": None}, "spec.endpoint: Required value"),
        (BUCKET, {"provider": "minio"}, 'spec.provider: Unsupported value: "minio"'),
        (BUCKET, {"timeout": "1h"}, "spec.timeout in body should match"),
        (BUCKET, {"sts": {"provider": "ldap"}}, "spec.sts.endpoint: Required value"),
        (BUCKET, {"sts": LDAP | {"endpoint": "minio"}}, "spec.sts.endpoint in body should match"),
        (BUCKET, {"sts": AWS}, "with provider 'generic' the only sts.provider is 'ldap'"),
        (BUCKET, {"provider": "aws", "sts": LDAP}, "with provider 'aws' the only sts.provider is 'aws'"),
        (BUCKET, {"provider": "gcp", "sts": LDAP}, "sts can only be set when provider is 'aws' or 'generic'"),
        (
            BUCKET,
            {"provider": "aws", "sts": AWS | {"secretRef": {"name": "x"}}},
            "sts.secretRef and sts.certSecretRef can only be set when sts.provider is 'ldap'",
        ),
        (BUCKET, {"serviceAccountName": "x"}, "serviceAccountName cannot be set when provider is 'generic'"),
        (
            BUCKET,
            {"provider": "gcp", "serviceAccountName": "x", "secretRef": {"name": "x"}},
            "secretRef and serviceAccountName cannot both be set",
        ),
        (APP, {"prune": None}, "spec.prune: Required value"),
        (APP, {"interval": None}, "spec.interval: Required value"),
        (APP, {"sourceRef": None}, "spec.sourceRef: Required value"),
        (APP, {"interval": "-5m"}, "spec.interval in body should match"),
        (APP, {"retryInterval": "5"}, "spec.retryInterval in body should match"),
        (APP, {"timeout": ""}, "spec.timeout in body should match"),
        (APP, {"sourceRef": {"kind": "HelmRepository", "name": "x"}}, "spec.sourceRef.kind: Unsupported value"),
        (APP, {"sourceRef": {"kind": "Bucket", "name": "x" * 254}}, "spec.sourceRef.name: Too long"),
        (APP, {"deletionPolicy": "Keep"}, 'spec.deletionPolicy: Unsupported value: "Keep"'),
        (APP, {"targetNamespace": ""}, "spec.targetNamespace in body should be at least 1 chars long"),
        (APP, {"targetNamespace": "x" * 64}, "spec.targetNamespace: Too long: may not be more than 63 bytes"),
        (APP, {"namePrefix": "x" * 201}, "spec.namePrefix: Too long: may not be more than 200 bytes"),
        (APP, {"kubeConfig": {}}, "exactly one of secretRef and configMapRef must be set"),
        (
            APP,
            {"kubeConfig": {"secretRef": {"name": "x"}, "configMapRef": {"name": "y"}}},
            "exactly one of secretRef and configMapRef must be set",
        ),
        (APP, {"postBuild": {"substituteFrom": [{"kind": "Pod", "name": "x"}]}}, "Unsupported value"),
        (APP, {"buildMetadata": ["everything"]}, "spec.buildMetadata[0]: Unsupported value"),
        (APP, {"decryption": {"provider": "age"}}, "spec.decryption.provider: Unsupported value"),
        (APP, {"ignore": [{"paths": []}]}, "spec.ignore[0].paths in body should have at least 1 items"),
        (HOOK, {"type": "gitea"}, 'spec.type: Unsupported value: "gitea"'),
        (HOOK, {"resources": None}, "spec.resources: Required value"),
        (HOOK, {"secretRef": None}, "secretRef is required when type is not generic-oidc"),
        (HOOK, OIDC | {"secretRef": {"name": "x"}}, "secretRef cannot be set when type is generic-oidc"),
        (HOOK, OIDC | {"oidcProviders": None}, "generic-oidc receivers must define at least one oidcProvider"),
        (HOOK, {"oidcProviders": [ISSUER]}, "oidcProviders can only be set when type is generic-oidc"),
        (HOOK, OIDC | {"oidcProviders": [ISSUER | {"validations": []}]}, "should have at least 1 items"),
        (HOOK, OIDC | {"oidcProviders": [ISSUER | {"issuerURL": "ldap://x"}]}, "should match '^https?://'"),
        (HOOK, {"resources": [{"kind": "GitRepository", "name": "*"}]}, "matchLabels is required when name is '*'"),
        (HOOK, {"resources": [{"kind": "GitRepository", "name": "*", "matchLabels": {}}]}, "matchLabels is required"),
        (HOOK, {"resources": [{"kind": "Secret", "name": "a"}]}, "spec.resources[0].kind: Unsupported value"),
        (HOOK, {"resourceFilter": "x" * 4097}, "spec.resourceFilter: Too long"),
    ],
)
def test_what_cannot_work_is_refused_in_words_that_name_the_field(
    served: Kubectl, body: Body, spec: Body, phrase: str
) -> None:
    said = judge(served, changed(body, spec))
    assert phrase in said
    assert said.count("\n") <= 3, "one cause, one line"


@pytest.mark.parametrize(
    ("body", "spec"),
    [
        (GIT, {"url": "ssh://git@example.com:2222/a/b.git", "timeout": "1.5m", "interval": "1h30m500ms"}),
        (GIT, {"serviceAccountName": "x", "provider": "azure"}),
        (GIT, {"serviceAccountName": "x", "provider": "aws"}),
        (GIT, {"verify": {"mode": "head", "secretRef": {"name": "x"}}}),
        (GIT, {"ref": {}}),
        (BUCKET, {"sts": LDAP | {"secretRef": {"name": "x"}, "certSecretRef": {"name": "y"}}}),
        (BUCKET, {"provider": "aws", "sts": AWS, "serviceAccountName": "x"}),
        (BUCKET, {"provider": "azure", "secretRef": {"name": "x"}}),
        (APP, {"kubeConfig": {"secretRef": {"name": "x"}}}),
        (APP, {"kubeConfig": {"configMapRef": {"name": "x"}}}),
        (APP, {"sourceRef": {"kind": "ExternalArtifact", "name": "x"}}),
        (APP, {"healthCheckExprs": [{"apiVersion": "a/v1", "current": "true"}]}),
        (HOOK, {"resources": [], "interval": "1h"}),
        (HOOK, {"resources": [{"kind": "ImageRepository", "name": "*", "matchLabels": {"a": "b"}}]}),
        (HOOK, OIDC),
        (HOOK, OIDC | {"oidcProviders": [ISSUER | {"issuerURL": "http://issuer.example"}]}),
    ],
)
def test_what_flux_takes_is_taken(served: Kubectl, body: Body, spec: Body) -> None:
    assert judge(served, changed(body, spec)) == ""


def test_a_name_that_cannot_be_a_label_is_refused_where_it_becomes_one(served: Kubectl) -> None:
    assert judge(served, changed(APP, {}, name="x" * 63)) == ""
    assert "the name must be no more than 63 characters: it becomes a label on every applied object" in judge(
        served, changed(APP, {}, name="x" * 64)
    )
    # No label is made of the name of a source, and Flux takes such names.
    assert judge(served, changed(GIT, {}, name="x" * 64)) == ""


def test_what_an_earlier_definition_let_in_can_still_be_changed_and_deleted(served: Kubectl, home: str) -> None:
    lenient = clone(crds()[1])
    del lenient["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"]
    long = changed(APP, {}, name="x" * 64, namespace=home)
    long["metadata"]["finalizers"] = ["finalizers.fluxcd.io"]
    try:
        served("apply", "--server-side", "-f", "-", stdin=encode(lenient).decode())
        until(lambda: judge(served, long) == "")
        served("create", "-f", "-", stdin=encode(long).decode())
    finally:
        served("apply", "--server-side", "-f", "-", stdin=encode(crds()[1]).decode())
    until(lambda: judge(served, changed(long, {}, name="y" * 64, namespace=home)) != "")
    name = long["metadata"]["name"]
    served("annotate", "ks", name, "-n", home, "reconcile.fluxcd.io/requestedAt=now")
    patch = '{"status":{"observedGeneration":1}}'
    served("patch", "ks", name, "-n", home, "--subresource=status", "--type=merge", "-p", patch)
    served("delete", "ks", name, "-n", home, "--wait=false")
    served("patch", "ks", name, "-n", home, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    assert served("get", "ks", "-n", home, "-o", "name") == ""


def until(holds: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
    """Wait for a changed definition to reach the handlers of the API server."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "the server did not take up the definition"
        time.sleep(0.2)


def test_short_names_categories_and_columns_in_kubectl(served: Kubectl, home: str) -> None:
    for body in (changed(GIT, {}, namespace=home), changed(APP, {}, namespace=home)):
        served("create", "-f", "-", stdin=encode(body).decode())
    assert served("get", "gitrepo", "-n", home).split("\n")[0].split() == ["NAME", "URL", "AGE", "READY", "STATUS"]
    assert served("get", "ks", "-n", home).split("\n")[0].split() == ["NAME", "AGE", "READY", "STATUS"]
    both = ["gitrepository.source.toolkit.fluxcd.io/a", "kustomization.kustomize.toolkit.fluxcd.io/a"]
    assert sorted(served("get", "fluxcd", "-n", home, "-o", "name").split()) == both
    assert served("get", "fluxcd-sources", "-n", home, "-o", "name").split() == both[:1]
    assert served("get", "fluxcd-appliers", "-n", home, "-o", "name").split() == both[1:]
    assert set(both) <= set(served("get", "all", "-n", home, "-o", "name").split())
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Succeeded",
        "message": "Applied revision: main",
        "lastTransitionTime": "2026-11-23T20:00:00Z",
    }
    patch = encode({"status": {"conditions": [condition]}}).decode()
    served("patch", "ks", "a", "-n", home, "--subresource=status", "--type=merge", "-p", patch)
    row = served("get", "ks", "-n", home, "--no-headers").split()
    assert row[2:] == ["True", "Applied", "revision:", "main"]


def test_kubectl_explains_the_fields(served: Kubectl) -> None:
    text = served("explain", "kustomization.spec.retryInterval")
    assert "The longest wait before trying again after a failure" in text
