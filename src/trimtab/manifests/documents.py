"""OpenAPI documents of API servers, cut down to what `openapi` judges by: types, fields, keys, choices. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_COLLECTION: Final = re.compile(
    r"/apis?/(?:[^/{]+/)?[^/{]+/(?P<namespaced>namespaces/\{namespace\}/)?(?P<plural>[^/{]+)"
)
_REF: Final = "#/components/schemas/"
_KEPT: Final = frozenset({"type", "format", "required", "enum", "oneOf", "x-kubernetes-preserve-unknown-fields"})
_AS_GOOD_AS_EMPTY: Final = frozenset({"limits", "served"})
"""Fields that are required by the documents, and that servers take as empty or false where they are not there."""
_UNTOLD: Final[Mapping[str, Mapping[str, list[str]]]] = {
    "io.k8s.api.autoscaling.v2.MetricSpec": {"type": ["ContainerResource", "External", "Object", "Pods", "Resource"]},
    "io.k8s.api.autoscaling.v2.MetricTarget": {"type": ["AverageValue", "Utilization", "Value"]},
    "io.k8s.api.autoscaling.v2.HPAScalingPolicy": {"type": ["Percent", "Pods"]},
    "io.k8s.api.networking.v1.NetworkPolicySpec": {"policyTypes": ["Egress", "Ingress"]},
    **{
        f"io.k8s.api.admissionregistration.v1.{name}": {"operations": ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"]}
        for name in ("RuleWithOperations", "NamedRuleWithOperations")
    },
}
"""Choices of fields that a server insists on and does not tell of."""
_EMPTY: Final[tuple[Any, ...]] = (None, "", 0, False, {}, [])


def reduced(documents: Mapping[str, Any], choices: Mapping[str, Any]) -> dict[str, Any]:
    """The kinds of OpenAPI documents and the schemas they are made of; `choices` are values of fields, by schema."""
    schemas: dict[str, Any] = {}
    kinds: list[list[Any]] = []
    for document in documents.values():
        schemas |= document["components"]["schemas"]
        kinds += _kinds(document)
    kept: dict[str, Any] = {}
    waiting = [kind[-1] for kind in kinds]
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept[name] = _enriched(_reduced(schemas[name]), {**choices.get(name, {}), **_UNTOLD.get(name, {})})
            waiting += _referred(kept[name])
    return {"kinds": sorted(kinds), "schemas": dict(sorted(kept.items()))}


def _kinds(document: Any) -> Iterator[list[Any]]:
    """Group, version, kind, plural, whether namespaced, and the name of the schema, of what can be created."""
    named = {
        tuple(gvk[part] for part in ("group", "version", "kind")): name
        for name, schema in document["components"]["schemas"].items()
        for gvk in schema.get("x-kubernetes-group-version-kind", ())
    }
    for path, verbs in document["paths"].items():
        found = _COLLECTION.fullmatch(path)
        if not found or "post" not in verbs:
            continue
        gvk = tuple(verbs["post"]["x-kubernetes-group-version-kind"][part] for part in ("group", "version", "kind"))
        yield [*gvk, found["plural"], found["namespaced"] is not None, named[gvk]]


def _reduced(schema: Any) -> Any:
    """`schema` without words; `{"allOf": [{"$ref": …}]}` becomes the reference."""
    if wrapped := [one for one in schema.get("allOf", ()) if "$ref" in one]:
        return {"$ref": wrapped[0]["$ref"].removeprefix(_REF)}
    if "$ref" in schema:
        return {"$ref": schema["$ref"].removeprefix(_REF)}
    found = {name: value for name, value in schema.items() if name in _KEPT}
    if "properties" in schema:
        found["properties"] = {name: _reduced(inner) for name, inner in schema["properties"].items()}
        found["required"] = [
            name
            for name in schema.get("required", ())
            # what the server fills in is required of nobody
            if schema["properties"][name].get("default") in _EMPTY and name not in _AS_GOOD_AS_EMPTY
        ]
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            found[name] = _reduced(schema[name])
    if schema.get("x-kubernetes-list-type") == "map":
        found["keys"] = schema["x-kubernetes-list-map-keys"]
    if not found.get("required"):
        found.pop("required", None)
    return found


def _enriched(schema: Any, choices: Mapping[str, Any]) -> Any:
    for name, values in choices.items():
        inner = schema.get("properties", {}).get(name, {})
        if inner.get("type") == "array":
            inner = inner.get("items", {})
        if inner.get("type") == "string":
            inner["enum"] = values
    return schema


def _referred(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for inner in schema.values():
            yield from _referred(inner)


def choices(documents: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
    """Schema → field → the values it may have, as a running server says."""
    found: dict[str, dict[str, list[str]]] = {}
    for document in documents.values():
        for name, schema in document["components"]["schemas"].items():
            for field, inner in schema.get("properties", {}).items():
                values = inner.get("enum") or inner.get("items", {}).get("enum")
                if isinstance(values, list):
                    found.setdefault(name, {})[field] = values
    return found
