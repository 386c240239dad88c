"""What an object names, wherever that stands, and what it brings."""

from typing import Any

import pytest

from tests.preview.conftest import deployment
from trimtab.manifests.refs import Ref
from trimtab.preview.needs import brings, images, needs, pull_secrets


def named(body: dict[str, Any]) -> set[str]:
    return {f"{need.ref.kind}/{need.ref.name}{f'[{need.entry}]' if need.entry else ''}" for need in needs(body, "shop")}


def test_all_that_a_pod_cannot_start_without_is_needed() -> None:
    body = deployment(
        serviceAccountName="robot",
        priorityClassName="high",
        imagePullSecrets=[{"name": "pull"}],
        container={
            "env": [
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
                {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "maybe", "key": "x", "optional": True}}},
                {"name": "C", "value": "plain"},
            ],
            "envFrom": [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "perhaps", "optional": True}}],
        },
        initContainers=[{"name": "i", "image": "init:1", "envFrom": [{"secretRef": {"name": "early"}}]}],
        volumes=[
            {"name": "a", "configMap": {"name": "files", "items": [{"key": "one", "path": "x"}]}},
            {"name": "b", "secret": {"secretName": "tls"}},
            {"name": "c", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "d", "projected": {"sources": [{"secret": {"name": "part"}}, {"configMap": {"name": "rest"}}]}},
            {"name": "e", "emptyDir": {}},
            {"name": "f", "secret": {"secretName": "not-needed", "optional": True}},
        ],
    )
    assert named(body) == {
        *(
            "ServiceAccount/robot",
            "PriorityClass/high",
            "Secret/pull",
            "Secret/db[password]",
            "ConfigMap/settings",
            "Secret/early",
        ),
        *("ConfigMap/files[one]", "Secret/tls", "PersistentVolumeClaim/data", "Secret/part", "ConfigMap/rest"),
    }
    [need] = [one for one in needs(body, "shop") if one.ref.name == "db"]
    assert need.path == "spec.template.spec.containers[name=web].env[name=A].valueFrom.secretKeyRef"
    assert pull_secrets(body) == (["pull"], "robot")


def test_pods_are_found_in_every_kind_that_makes_some() -> None:
    spec = deployment()["spec"]["template"]["spec"]
    cron = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "spec": {"jobTemplate": {"spec": {"template": {"spec": spec}}}},
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {**spec, "volumes": [{"image": {"reference": "data:1"}}]}}
    rollout = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "spec": {"template": {"spec": spec}}}
    assert [image.path for body in (cron, pod, rollout) for image in images(body)] == [
        "spec.jobTemplate.spec.template.spec.containers[name=web].image",
        "spec.containers[name=web].image",
        "spec.volumes[0].image.reference",
        "spec.template.spec.containers[name=web].image",
    ]
    ingress = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": {"tls": [{"secretName": "cert"}, {}]}}
    assert named(ingress) == {"Secret/cert"}


@pytest.mark.parametrize(
    "value", [None, 1, "x", [], ["x"], [None], [[]], {}, {"name": 5}, [{"name": []}], [{"env": 3}]]
)
def test_what_is_malformed_needs_nothing_and_breaks_nothing(value: Any) -> None:
    for field in ("containers", "volumes", "initContainers", "imagePullSecrets", "serviceAccountName"):
        body = deployment()
        body["spec"]["template"]["spec"][field] = value
        needs(body, "shop")
        images(body)
        pull_secrets(body)
    for whole in ({"spec": value}, {"kind": "Ingress", "spec": {"tls": value}}, {"spec": {"template": value}}):
        assert named(whole) == set()
        assert brings({"apiVersion": "cert-manager.io/v1", "kind": "Certificate", **whole}) == []


@pytest.mark.parametrize(
    ("api", "kind", "spec", "made"),
    [
        ("external-secrets.io/v1", "ExternalSecret", {}, "it"),
        ("external-secrets.io/v1", "ExternalSecret", {"target": {"name": "other"}}, "other"),
        ("bitnami.com/v1alpha1", "SealedSecret", {}, "it"),
        ("cert-manager.io/v1", "Certificate", {"secretName": "cert"}, "cert"),
    ],
)
def test_a_secret_that_an_operator_makes_counts_as_there(api: str, kind: str, spec: Any, made: str) -> None:
    body = {"apiVersion": api, "kind": kind, "metadata": {"name": "it", "namespace": "shop"}, "spec": spec}
    assert brings(body) == [Ref("", "Secret", "shop", made)]
