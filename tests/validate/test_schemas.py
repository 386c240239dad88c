"""What fits the schema of a built-in kind, and what does not."""

from typing import Any

import pytest

from trimtab.api.kubernetes import VERSIONS, bundled
from trimtab.manifests.documents import choices, reduced
from trimtab.manifests.openapi import Schemas
from trimtab.manifests.refs import Gvk

BUNDLE = bundled()
SCHEMAS = Schemas(BUNDLE.schemas)


def deployment(**container: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "nginx", **container}]},
            },
        },
    }


def misfits(body: dict[str, Any]) -> list[str]:
    kind = BUNDLE.kinds[Gvk.of(body["apiVersion"], body["kind"])]
    return [str(one) for one in SCHEMAS.misfits(body, kind.schema)]


CONTAINER = "spec.template.spec.containers[0]"


@pytest.mark.parametrize(
    ("container", "said"),
    [
        ({"imagee": "x"}, [f"{CONTAINER}.imagee is not a field that is known here; is image meant?"]),
        ({"image": 3}, [f"{CONTAINER}.image must be a string, it is 3: put it into quotes"]),
        (
            {"ports": [{"containerPort": "80"}]},
            [f"{CONTAINER}.ports[0].containerPort must be an integer, it is '80'"],
        ),
        (
            {"imagePullPolicy": "always"},
            [
                (
                    f"{CONTAINER}.imagePullPolicy must be one of Always, IfNotPresent, Never, it is 'always'; "
                    "is Always meant?"
                )
            ],
        ),
        (
            {"resources": {"limits": {"memory": "1 Gi"}}},
            [f"{CONTAINER}.resources.limits.memory must be a quantity such as 100m or 2Gi, it is '1 Gi'"],
        ),
        ({"name": ""}, [f"{CONTAINER} lacks name, which is required"]),
        (
            {"env": [{"name": "A"}, {"name": "B"}, {"name": "A"}]},
            [f"{CONTAINER}.env[2] has the name 'A' of the item at 0"],
        ),
        ({"args": ["a", None]}, [f"{CONTAINER}.args[1] is empty: remove the dash, or say what it is to be"]),
        ({"tty": "true"}, [f"{CONTAINER}.tty must be true or false, it is 'true'"]),
    ],
    ids=["unknown", "string", "integer", "choice", "quantity", "required", "twice", "empty item", "boolean"],
)
def test_what_a_server_would_refuse_is_told_with_its_path(container: dict[str, Any], said: list[str]) -> None:
    assert misfits(deployment(**container)) == said


def test_nulls_are_absent_quantities_may_be_numbers_and_ports_names() -> None:
    container = {"command": None, "resources": {"limits": {"cpu": 1}}, "livenessProbe": {"httpGet": {"port": "http"}}}
    assert misfits(deployment(**container)) == []


def test_ports_of_one_number_and_two_protocols_are_two() -> None:
    ports = [{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}]
    assert misfits(deployment(ports=ports)) == []
    assert len(misfits(deployment(ports=[*ports, {"containerPort": 53, "protocol": "TCP"}]))) == 1


def test_what_will_be_put_in_the_place_of_a_text_is_not_judged() -> None:
    body = deployment(ports=[{"containerPort": "${port}"}])
    body["spec"]["replicas"] = "ENC[AES256_GCM,data:x,type:int]"
    assert misfits(body) == []


def test_a_value_of_a_secret_has_to_be_base64() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": {"a": "YQ==", "b": "plain text"}}
    assert misfits(secret) == ["data.b is not base64: put what is no base64 into stringData"]


def test_a_schema_that_contains_itself_is_followed_as_deep_as_the_object_goes() -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(60):
        schema = {"type": "object", "properties": {"a": schema}}
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
    assert misfits(body) == []
    schema["properties"]["a"]["tpe"] = "object"
    assert misfits(body) == [
        "spec.versions[0].schema.openAPIV3Schema.properties.a.tpe is not a field that is known here; is type meant?"
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_supported_version_comes_along_with_the_kinds_everybody_uses(version: str) -> None:
    bundle = bundled(version)
    assert bundle.version.startswith(f"{version}.")
    wanted = [("apps", "v1", "Deployment"), ("", "v1", "Secret"), ("networking.k8s.io", "v1", "Ingress")]
    assert [gvk for gvk in wanted if Gvk(*gvk) not in bundle.kinds] == []
    assert [kind.schema for kind in bundle.kinds.values() if kind.schema not in bundle.schemas] == []


def test_a_version_that_does_not_come_along_is_refused_with_those_that_do() -> None:
    with pytest.raises(ValueError, match=r"no schemas of Kubernetes 1\.20 .* 1\.34, 1\.35, 1\.36"):
        bundled("1.20")


def test_documents_of_a_server_are_cut_down_to_what_is_judged_by() -> None:
    gvk = {"group": "", "version": "v1", "kind": "Thing"}
    ref = {"allOf": [{"$ref": "#/components/schemas/Inner"}], "default": {}}
    document = {
        "paths": {
            "/api/v1/namespaces/{namespace}/things": {"post": {"x-kubernetes-group-version-kind": gvk}},
            "/api/v1/namespaces/{namespace}/things/{name}/scale": {"post": {"x-kubernetes-group-version-kind": gvk}},
        },
        "components": {
            "schemas": {
                "Thing": {
                    "description": "words",
                    "type": "object",
                    "properties": {"inner": ref, "mode": {"type": "string", "default": "A", "enum": ["A", "B"]}},
                    "required": ["inner", "mode"],
                    "x-kubernetes-group-version-kind": [gvk],
                },
                "Inner": {"type": "object", "properties": {}},
                "Unused": {"type": "object"},
            }
        },
    }
    documents = {"api/v1": document}
    assert reduced(documents, choices(documents)) == {
        "kinds": [["", "v1", "Thing", "things", True, "Thing"]],
        "schemas": {
            "Inner": {"type": "object", "properties": {}},
            "Thing": {
                "type": "object",
                "properties": {"inner": {"$ref": "Inner"}, "mode": {"type": "string", "enum": ["A", "B"]}},
                "required": ["inner"],
            },
        },
    }
