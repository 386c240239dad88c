"""Every place where a kustomization names a file, and the rule that such a name is a path inside the artifact.

kustomize fetches what is not: over HTTP, by git, from anywhere on the disk; a build of somebody else's file would reach
other tenants' data and the network behind us. So each name is checked before anything starts, and what kustomize then
gets to read is our own copy, in which every path starts with a dot and every inline document is JSON: nothing can mean
one thing to this check and another to kustomize.
"""

import posixpath
import re
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias

from trimtab.base.errors import Terminal
from trimtab.manifests import codec
from trimtab.manifests.refs import Body
from trimtab.manifests.yaml import YamlError, load


class Role(Enum):
    """What kustomize does with a path."""

    RESOURCE = "file of manifests, or directory"
    COMPONENT = "directory of a component"
    PLUGIN = "file or directory of transformer or generator configurations"
    PATCH = "file of patches"
    DATA = "file whose content is taken as it is"


class Place(NamedTuple):
    """Where a reference is written."""

    file: str
    field: str

    def __str__(self) -> str:
        return f"{self.file}: {self.field}"


Visit: TypeAlias = Callable[[Place, str, Role], str]
"""Told of each reference; returns the path to write instead. Raises Terminal to refuse it."""

_LISTS: Final = (
    ("resources", Role.RESOURCE),
    ("bases", Role.RESOURCE),
    ("components", Role.COMPONENT),
    ("crds", Role.DATA),
    ("configurations", Role.DATA),
)
_HELM: Final = ("helmCharts", "helmGlobals", "helmChartInflationGenerator")
_PATH_FIELDS: Final = frozenset({"path", "paths", "files", "env", "envs", "replacements"})
_FUNCTION: Final = "config.kubernetes.io/function"
_INNOCENT: Final = frozenset({"apiVersion", "kind", "metadata", "resources", "bases"})
_FIRST_COLON = re.compile(r"[^/]*:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


def local(place: Place, reference: Any) -> str:
    """`reference` if it is a plain relative path. Raises Terminal, naming the file and the field."""
    if not isinstance(reference, str) or not reference:
        raise Terminal("BuildFailed", f"{place} has to be a path")
    if _CONTROL.search(reference):
        raise Terminal("BuildFailed", f"{place} holds a character that no path has here")
    if (
        "?" in reference
        or reference.startswith(("/", "~"))
        or _FIRST_COLON.match(reference)
        or "@" in reference.partition("/")[0]
    ):
        raise Terminal(
            "BuildFailed",
            f"{place} names {_shown(reference)}, which is not a relative path in the artifact; nothing is fetched "
            f"while building: copy (vendor) the remote base into the repository, or give it a source and a "
            f"Kustomization of its own",
        )
    return reference


def visit_kustomization(body: Body, file: str, visit: Visit) -> Body:
    """A copy of the kustomization `body` of `file`, each reference replaced by what `visit` says. Raises Terminal."""
    for field in _HELM:
        if body.get(field):
            raise Terminal(
                "BuildFailed",
                f"{file}: {field} would download and run charts while building; use a HelmRelease instead",
            )
    copy: Body = codec.clone(body)
    for field, role in _LISTS:
        if field in copy:
            entries = _strings(copy, file, field)
            copy[field] = [visit(Place(file, f"{field}[{at}]"), path, role) for at, path in enumerate(entries)]
    for field in ("generators", "transformers", "validators"):
        if field in copy:
            entries = _strings(copy, file, field)
            copy[field] = [_plugin(Place(file, f"{field}[{at}]"), text, visit) for at, text in enumerate(entries)]
    if "patchesStrategicMerge" in copy:
        entries = _strings(copy, file, "patchesStrategicMerge")
        copy["patchesStrategicMerge"] = [
            _patch_or_path(Place(file, f"patchesStrategicMerge[{at}]"), text, visit) for at, text in enumerate(entries)
        ]
    for field in ("patches", "patchesJson6902", "replacements", "configMapGenerator", "secretGenerator"):
        role = Role.PATCH if field.startswith("patches") else Role.DATA
        for at, entry in enumerate(_mappings(copy, file, field)):
            _visit_fields(Place(file, f"{field}[{at}]"), entry, role, visit)
    openapi = copy.get("openapi")
    if isinstance(openapi, dict) and "path" in openapi:
        openapi["path"] = visit(Place(file, "openapi.path"), openapi["path"], Role.DATA)
    return copy


def visit_plugins(data: bytes, file: str, visit: Visit) -> bytes:
    """Configurations of plugins as JSON, each reference replaced by what `visit` says. Raises Terminal."""
    return _dump([_configuration(Place(file, ""), document.value, visit) for document in load(data, file)])


def check_plugin_base(body: Body, file: str) -> None:
    """Refuse a directory of configurations that are themselves transformed: a patch could put a path into one."""
    for field in sorted(set(body) - _INNOCENT):
        if body[field]:
            raise Terminal(
                "BuildFailed",
                f"{file}: {field} in a directory of transformer or generator configurations is not supported; "
                f"write the configurations out",
            )


def _plugin(place: Place, text: str, visit: Visit) -> str:
    documents = _inline(text, place)
    if documents is None:
        return visit(place, text, Role.PLUGIN)
    return _dump([_configuration(place, value, visit) for value in documents]).decode()


def _configuration(place: Place, value: Any, visit: Visit) -> Body:
    where = f"{place.file}: {place.field}" if place.field else place.file
    if not isinstance(value, dict):
        raise Terminal("BuildFailed", f"{where}: a transformer or generator configuration is a mapping")
    metadata = value.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    is_function = isinstance(annotations, dict) and any(str(key).startswith(_FUNCTION) for key in annotations)
    if is_function or value.get("apiVersion") != "builtin":
        raise Terminal(
            "BuildFailed",
            f"{where}: {value.get('kind')} of {value.get('apiVersion')} would run a program or a container while "
            f"building; only transformers and generators built into kustomize (apiVersion: builtin) are used",
        )
    if value.get("kind") == "HelmChartInflationGenerator":
        raise Terminal("BuildFailed", f"{where}: charts are not downloaded while building; use a HelmRelease instead")
    _visit_fields(Place(place.file, place.field), value, Role.PATCH, visit)
    for at, entry in enumerate(_mappings(value, where, "replacements")):
        _visit_fields(Place(place.file, f"{place.field} replacements[{at}]".strip()), entry, Role.DATA, visit)
    return value


def _visit_fields(place: Place, entry: dict[str, Any], role: Role, visit: Visit) -> None:
    """Replace the paths in the well-known fields of one patch, generator, replacement or configuration."""
    _spelled_exactly(place, entry, _PATH_FIELDS)
    prefix = f"{place.field}." if place.field else ""
    if entry.get("path"):
        entry["path"] = visit(Place(place.file, prefix + "path"), entry["path"], role)
    if entry.get("paths"):
        entry["paths"] = [
            _patch_or_path(Place(place.file, f"{prefix}paths[{at}]"), text, visit)
            for at, text in enumerate(_strings(entry, place.file, "paths"))
        ]
    if entry.get("env"):
        entry["env"] = visit(Place(place.file, prefix + "env"), entry["env"], Role.DATA)
    if entry.get("envs"):
        entry["envs"] = [
            visit(Place(place.file, f"{prefix}envs[{at}]"), path, Role.DATA)
            for at, path in enumerate(_strings(entry, place.file, "envs"))
        ]
    if entry.get("files"):
        entry["files"] = [
            _file_source(Place(place.file, f"{prefix}files[{at}]"), text, visit)
            for at, text in enumerate(_strings(entry, place.file, "files"))
        ]


def _file_source(place: Place, text: str, visit: Visit) -> str:
    """A generator's `key=path` or path; the key of the latter is the file's name."""
    key, separator, path = text.partition("=")
    if not separator:
        key, path = posixpath.basename(text), text
    if not key or not path or "=" in path:
        raise Terminal("BuildFailed", f"{place} has to be a path or key=path")
    return f"{key}={visit(place, path, Role.DATA)}"


def _patch_or_path(place: Place, text: str, visit: Visit) -> str:
    documents = _inline(text, place)
    if documents is None:
        return visit(place, text, Role.PATCH)
    return _dump(documents).decode()


def _inline(text: str, place: Place) -> list[Any] | None:
    """The documents in `text` if it is YAML of mappings rather than a path."""
    try:
        documents = load(text.encode(), str(place))
    except YamlError:
        if "\n" in text:
            raise
        return None
    if not documents or not all(isinstance(document.value, dict) for document in documents):
        return None
    return [document.value for document in documents]


def _dump(documents: list[Any]) -> bytes:
    return b"\n---\n".join(map(codec.encode, documents)) + b"\n"


def _spelled_exactly(place: Place, entry: Mapping[str, Any], names: Collection[str]) -> None:
    for name in entry:
        if name not in names and name.casefold() in names:
            raise Terminal("BuildFailed", f"{place}: the field {name} has to be written {name.casefold()}")


def _strings(body: Mapping[str, Any], file: str, field: str) -> list[str]:
    value = body.get(field)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Terminal("BuildFailed", f"{file}: {field} has to be a list of strings")
    return value


def _mappings(body: Mapping[str, Any], file: str, field: str) -> list[dict[str, Any]]:
    value = body.get(field)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise Terminal("BuildFailed", f"{file}: {field} has to be a list of mappings")
    return value


def _shown(reference: str) -> str:
    """`reference` without what may be a credential, and short."""
    reference = re.sub(r"://[^/@]*@", "://…@", reference)
    return reference if len(reference) <= 200 else reference[:199] + "…"
