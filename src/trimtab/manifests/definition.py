"""What a CustomResourceDefinition defines, read with suspicion: it comes from git and no server has judged it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from trimtab.manifests.refs import Body


class Definition(NamedTuple):
    """A kind, and the schema of each of its served versions; one without a schema has an empty one."""

    group: str
    kind: str
    namespaced: bool
    schemas: Mapping[str, Mapping[str, Any]]


def definition(body: Body) -> Definition | None:
    """What `body` defines; None where it is no definition, or one that no server would take."""
    spec = body.get("spec")
    if body.get("kind") != "CustomResourceDefinition" or not isinstance(spec, dict):
        return None
    names, group = spec.get("names"), spec.get("group")
    kind = names.get("kind") if isinstance(names, dict) else None
    if not isinstance(group, str) or not isinstance(kind, str):
        return None
    versions = spec.get("versions")
    schemas = {}
    for version in versions if isinstance(versions, list) else ():
        if isinstance(version, dict) and version.get("served") and isinstance(version.get("name"), str):
            schema = version.get("schema")
            found = schema.get("openAPIV3Schema") if isinstance(schema, dict) else None
            schemas[version["name"]] = found if isinstance(found, dict) else {}
    return Definition(group, kind, spec.get("scope") == "Namespaced", schemas)
