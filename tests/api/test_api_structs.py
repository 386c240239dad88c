"""Our kinds as structs: what they read, what they write, and the values that hold when a field is empty."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimtab.api import names
from trimtab.api.bucket import Bucket
from trimtab.api.external import ExternalArtifact
from trimtab.api.generator import ArtifactGenerator
from trimtab.api.helm import HelmChart, HelmRepository
from trimtab.api.helmactions import CrdPolicy
from trimtab.api.helmrelease import HelmRelease, shortened
from trimtab.api.kustomize import DeletionPolicy, Kustomization, SourceRef
from trimtab.api.meta import LocalRef, ObjectMeta
from trimtab.api.notification import Alert, Provider
from trimtab.api.oci import OCIRepository
from trimtab.api.receiver import Receiver, ReceiverResource, webhook_path
from trimtab.api.source import GitInclude, GitRepository
from trimtab.manifests.refs import Key

GOLDEN = Path(__file__).parent / "golden"
SAMPLES: list[tuple[str, type[Any]]] = [
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
    ("helmrelease.json", HelmRelease),
]

GIT: dict[str, Any] = {"metadata": {"name": "a", "namespace": "n"}, "spec": {"url": "https://h/r", "interval": "1m"}}
APP: dict[str, Any] = {
    "metadata": {"name": "a", "namespace": "n"},
    "spec": {"interval": "10m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "s"}},
}


def app(**spec: Any) -> Kustomization:
    return msgspec.convert(APP | {"spec": APP["spec"] | spec}, Kustomization)


def git(**spec: Any) -> GitRepository:
    return msgspec.convert(GIT | {"spec": GIT["spec"] | spec}, GitRepository)


@pytest.mark.parametrize(("file", "struct"), SAMPLES)
def test_an_object_with_every_field_survives_the_round_trip(file: str, struct: type[Any]) -> None:
    data = (GOLDEN / file).read_bytes()
    value = msgspec.json.decode(data, type=struct)
    # apiVersion and kind are written out; what equals its default is not.
    assert json.loads(msgspec.json.encode(value)) == json.loads(data)
    assert msgspec.json.decode(msgspec.json.encode(value), type=struct) == value


@pytest.mark.parametrize("struct", [GitRepository, Kustomization])
def test_what_a_newer_release_wrote_is_read(struct: type[Any]) -> None:
    body = GIT if struct is GitRepository else APP
    newer = body | {"extra": 1, "spec": body["spec"] | {"novel": {"deep": []}, "provider": "novel"}}
    newer["status"] = {"conditions": [], "novel": True, "observedGeneration": 4}
    value = msgspec.json.decode(json.dumps(newer), type=struct)
    assert value.key == Key("n", "a")
    assert value.status.observed_generation == 4


def test_enumerations_do_not_stop_the_decoding_of_values_only_a_newer_release_knows() -> None:
    value = app(deletionPolicy="Novel", sourceRef={"kind": "NovelSource", "name": "s"})
    assert value.spec.deletion_policy == "Novel"
    assert not value.spec.prunes_on_deletion, "when in doubt, objects stay"


def test_an_object_no_controller_has_seen_has_never_been_observed() -> None:
    assert app().status.observed_generation == -1
    assert app().status.inventory is None
    assert app().ready is None


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        ({}, 570.0),
        ({"interval": "45s"}, 30.0),
        ({"interval": "1m30s"}, 60.0),
        ({"timeout": "5m"}, 300.0),
        ({"timeout": "500ms"}, 0.5),
    ],
)
def test_timeout_of_a_kustomization_is_its_interval_less_thirty_seconds(spec: dict[str, Any], seconds: float) -> None:
    assert app(**spec).spec.timeout_s == seconds


def test_retries_wait_at_most_the_interval_unless_said_otherwise() -> None:
    assert app().spec.retry_interval_s == 600.0
    assert app(retryInterval="30s").spec.retry_interval_s == 30.0


def test_a_git_operation_has_a_minute() -> None:
    assert git().spec.timeout_s == 60.0
    assert git(timeout="").spec.timeout_s == 60.0
    assert git(timeout="5s").spec.timeout_s == 5.0


def test_a_bad_duration_is_a_value_error_that_shows_it() -> None:
    with pytest.raises(ValueError, match="'soon' is not a duration"):
        _ = app(interval="soon").spec.interval_s


def test_the_branch_is_master_unless_named() -> None:
    assert git().spec.branch == "master"
    assert git(ref={"tag": "v1"}).spec.branch == "master"
    assert git(ref={"branch": "main"}).spec.branch == "main"


@pytest.mark.parametrize(
    ("policy", "prune", "goes"),
    [
        ("", True, True),
        ("", False, False),
        (DeletionPolicy.MIRROR_PRUNE, True, True),
        (DeletionPolicy.MIRROR_PRUNE, False, False),
        (DeletionPolicy.DELETE, False, True),
        (DeletionPolicy.WAIT_FOR_TERMINATION, False, True),
        (DeletionPolicy.ORPHAN, True, False),
    ],
)
def test_what_becomes_of_the_objects_when_the_kustomization_goes(policy: str, prune: bool, goes: bool) -> None:
    assert app(deletionPolicy=str(policy), prune=prune).spec.prunes_on_deletion is goes


def test_references_without_a_namespace_mean_the_object_s_own() -> None:
    assert app().source_key == Key("n", "s")
    assert SourceRef(kind="GitRepository", name="s", namespace="other").key_from("n") == Key("other", "s")
    assert app(dependsOn=[{"name": "d"}]).spec.depends_on[0].key_from("n") == Key("n", "d")


def test_an_include_goes_to_a_directory_of_the_repository_s_name() -> None:
    assert GitInclude(repository=LocalRef(name="base")).destination == "base"
    assert GitInclude(repository=LocalRef(name="base"), to_path="vendor").destination == "vendor"


def test_metadata_of_a_live_object_is_read_without_its_managed_fields() -> None:
    text = b"""{"name":"a","namespace":"n","uid":"u","resourceVersion":"7","generation":2,"creationTimestamp":null,
      "deletionTimestamp":"2026-11-23T20:00:00Z","finalizers":["finalizers.fluxcd.io"],
      "annotations":{"reconcile.fluxcd.io/requestedAt":"now","trimtab.dev/drift":"alert","trimtab.dev/novel":"1"},
      "ownerReferences":[{"apiVersion":"v1","kind":"Namespace","name":"x","uid":"y","controller":true}],
      "managedFields":[{"manager":"kubectl","fieldsV1":{"f:spec":{}}}]}"""
    meta = msgspec.json.decode(text, type=ObjectMeta)
    assert meta.deleted
    assert meta.requested_at == "now"
    assert meta.finalizers == (names.FINALIZER,)
    assert meta.owner_references[0].controller
    assert meta.annotations[names.Annotation.DRIFT] == names.DriftMode.ALERT
    assert meta.unknown_annotations() == ("trimtab.dev/novel",)


def test_the_path_of_a_receiver_is_the_one_of_flux() -> None:
    # printf 'secretnamens' | sha256sum
    digest = "617dd9db8c6b8449ee1b296d779e907cbe2aa23f1eab20910631cf5cefaf6466"
    assert webhook_path(b"secret", Key("ns", "name")) == f"/hook/{digest}"


@pytest.mark.parametrize(
    ("kind", "version", "group"),
    [
        ("GitRepository", "", "source.toolkit.fluxcd.io"),
        ("GitRepository", "source.toolkit.fluxcd.io/v1beta2", "source.toolkit.fluxcd.io"),
        ("Kustomization", "", "kustomize.toolkit.fluxcd.io"),
        ("Bucket", "s3.example.org/v1", ""),
        ("Kustomization", "v1", ""),
        ("Secret", "", ""),
    ],
)
def test_only_kinds_of_ours_can_be_asked_for_a_look(kind: str, version: str, group: str) -> None:
    assert ReceiverResource(api_version=version, kind=kind, name="a").group == group


RELEASE: dict[str, Any] = {
    "metadata": {"name": "web", "namespace": "apps"},
    "spec": {"interval": "10m", "chartRef": {"kind": "HelmChart", "name": "c"}},
}


def release(**spec: Any) -> HelmRelease:
    return msgspec.convert(RELEASE | {"spec": RELEASE["spec"] | spec}, HelmRelease)


def test_a_release_is_named_after_its_object() -> None:
    assert (release().release_name, release().release_namespace, release().storage_namespace) == ("web", "apps", "apps")
    elsewhere = release(targetNamespace="far", storageNamespace="store")
    assert (elsewhere.release_name, elsewhere.release_namespace) == ("far-web", "far")
    assert elsewhere.storage_namespace == "store"
    assert release(targetNamespace="far", releaseName="mine").release_name == "mine"
    long = shortened("a" * 54)
    assert len(long) == 53
    assert (long[:41], shortened("a" * 53)) == ("a" * 40 + "-", "a" * 53)


def test_the_chart_of_a_release_is_in_the_namespace_of_its_source() -> None:
    chart = {"spec": {"chart": "c", "sourceRef": {"kind": "HelmRepository", "name": "r", "namespace": "shared"}}}
    assert release(chart=chart, chartRef=None).chart_key == Key("shared", "apps-web")
    assert release().chart_key is None


def test_a_release_that_says_little_means_what_flux_would() -> None:
    spec = release().spec
    assert (spec.timeout_s, spec.history_limit, spec.drift_mode) == (300.0, 5, "disabled")
    assert (release(maxHistory=0).spec.history_limit, release(maxHistory=-1).spec.history_limit) == (0, 0)
    both = release(install={}, upgrade={}).spec
    assert (both.install.crd_policy, both.upgrade.crd_policy) == (CrdPolicy.CREATE, CrdPolicy.SKIP)
    assert release(install={"skipCRDs": True, "crds": "Create"}).spec.install.crd_policy is CrdPolicy.SKIP
    assert both.install.timeout_s(7.0) == 7.0
    assert release(install={"timeout": "1m"}).spec.install.timeout_s(7.0) == 60.0
    assert both.upgrade.reinstalls
    assert release(install={"strategy": {"name": "RetryOnFailure"}}).spec.install.strategy.retry_interval_s == 300.0
