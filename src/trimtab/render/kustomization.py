"""Kustomization files: where they are, how they are read, and what the fields of a Kustomization object add to them.

The rules are those of Flux's kustomize-controller: a directory without such a file gets one that lists its manifests;
prefix, suffix and namespace of the object replace those of the file; patches and components are added; an image of the
same name is merged field by field, tag and digest as one.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from trimtab.api.kustomize import Image
from trimtab.base.errors import Terminal
from trimtab.manifests import codec
from trimtab.manifests.refs import Body, Origin
from trimtab.manifests.yaml import load
from trimtab.render.files import Files, join, parent, refuse_pointer
from trimtab.render.options import Options
from trimtab.render.remote import home_of

FILE_NAMES: Final = ("kustomization.yaml", "kustomization.yml", "Kustomization")
MANIFEST_SUFFIXES: Final = (".yaml", ".yml")
API_GROUP: Final = "kustomize.config.k8s.io"
ORIGIN_ANNOTATIONS: Final = "originAnnotations"
PLACEHOLDER: Final = "_placeholder"
"""A namespace for nothing: kustomize refuses a file without any field."""

FIELDS: Final = frozenset(
    {
        "apiVersion",
        "kind",
        "metadata",
        "openapi",
        "namePrefix",
        "nameSuffix",
        "namespace",
        "commonLabels",
        "labels",
        "commonAnnotations",
        "patchesStrategicMerge",
        "patchesJson6902",
        "patches",
        "images",
        "imageTags",
        "replacements",
        "replicas",
        "vars",
        "sortOptions",
        "resources",
        "components",
        "crds",
        "bases",
        "configMapGenerator",
        "secretGenerator",
        "helmGlobals",
        "helmCharts",
        "helmChartInflationGenerator",
        "generatorOptions",
        "configurations",
        "generators",
        "transformers",
        "validators",
        "buildMetadata",
    }
)
_FOLDED: Final = {name.casefold(): name for name in FIELDS}


class Scan(NamedTuple):
    """What a directory without a kustomization file holds, in the order of a walk: manifests, and nested bases."""

    resources: tuple[str, ...]
    bases: frozenset[str]


def find(files: Files, directory: str) -> str | None:
    """The kustomization file of `directory`. Raises Terminal if there are several."""
    found = [path for name in FILE_NAMES if files.tree.get(path := join(directory, name) or name)]
    if len(found) > 1:
        raise Terminal("BuildFailed", f"{' and '.join(found)} are both kustomization files; keep one of them")
    if not found:
        for name in FILE_NAMES:
            _refuse_left_out(files, join(directory, name) or name)
    return found[0] if found else None


def scan(files: Files, directory: str) -> Scan:
    """All manifests below `directory`; a sub-directory with a kustomization file counts as one.

    Raises Terminal if one of them was left out of the artifact: to pass it over would be to delete what it holds.
    """
    # What was fetched for a reference is part of the build where it is referred to, and nowhere else.
    entries = [entry.path for entry in files.tree.under(directory) if not home_of(entry.path)]
    nested = {parent(path) for path in entries if path.rpartition("/")[2] in FILE_NAMES} - {directory}
    found: dict[str, bool] = {}
    for path in entries:
        if base := _outermost(path, directory, nested):
            found[base] = True
        elif path.endswith(MANIFEST_SUFFIXES):
            found[path] = False
    for path in files.tree.left_out_under(directory):
        manifest = path.endswith(MANIFEST_SUFFIXES) or path.rpartition("/")[2] in FILE_NAMES
        if manifest and not home_of(path) and _outermost(path, directory, nested) is None:
            _refuse_left_out(files, path)
    # A walk visits names in the order of each directory; the order of whole paths differs ("a-b" and "a/b").
    order = sorted(found, key=lambda path: path.split("/"))
    return Scan(tuple(order), frozenset(path for path in order if found[path]))


def _refuse_left_out(files: Files, path: str) -> None:
    if (missing := files.tree.left_out_at(path)) is not None:
        what = "" if path == missing else f"{path} belongs to the manifests, and "
        raise Terminal(
            "BuildFailed",
            f"{what}{missing} is a link, a submodule or a clash of names and was left out of the artifact; replace it "
            "by a plain file, or leave it out by spec.ignore of the source",
        )


def parse(data: bytes, path: str, *, root: bool) -> Body:
    """The kustomization in `data`. Raises Terminal.

    Field names have to be written exactly: Go's decoder takes any case, and a reference must not hide in `Resources`.
    Other fields are passed over in the `root` file, as Flux does, and refused in a base, as kustomize does.
    """
    refuse_pointer(data, path)
    documents = load(data, path, dialect="kubernetes")
    value = documents[0].value if documents else None
    origin = documents[0].origin if documents else Origin(path)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Terminal("BuildFailed", f"{origin}: a kustomization file holds one mapping")
    for name in value:
        if name in FIELDS:
            continue
        if (known := _FOLDED.get(name.casefold())) is not None:
            raise Terminal("BuildFailed", f"{path}: the field {name} has to be written {known}")
        if not root:
            raise Terminal("BuildFailed", f"{path}: kustomize does not know the field {name}; remove it")
    body = {name: field for name, field in value.items() if name in FIELDS}
    api_version = body.get("apiVersion") or API_GROUP + "/v1beta1"
    if not str(api_version).startswith(API_GROUP + "/"):
        raise Terminal(
            "BuildFailed",
            f"{path} holds an object of {api_version}, but this name is reserved for files of kustomize; "
            f"rename the file",
        )
    return body


def generate(found: Scan, directory: str) -> Body:
    """The kustomization of a directory that has none."""
    body: Body = {"apiVersion": API_GROUP + "/v1beta1", "kind": "Kustomization"}
    if found.resources:
        start = len(directory) + 1 if directory else 0
        body["resources"] = ["./" + path[start:] for path in found.resources]
    else:
        body["namespace"] = PLACEHOLDER
    return body


def merge(body: Body, options: Options, *, generated: bool, exists: Callable[[str], bool]) -> Body:
    """`body` of a root with `options` worked in; `exists` tells whether there is such a component. Raises Terminal."""
    merged: Body = {"apiVersion": API_GROUP + "/v1beta1", "kind": "Kustomization", **body}
    if not generated and not body.get("resources"):
        # As Flux does, and seen in its results: without any other field kustomize would call the file empty.
        merged["buildMetadata"] = [ORIGIN_ANNOTATIONS]
    for name, value in (
        ("namespace", options.target_namespace),
        ("namePrefix", options.name_prefix),
        ("nameSuffix", options.name_suffix),
    ):
        if value:
            merged[name] = value
    if options.patches:
        merged["patches"] = [*_list(body, "patches"), *(msgspec.to_builtins(patch) for patch in options.patches)]
    components = [path for path in options.components if not (options.ignore_missing_components and not exists(path))]
    if components:
        merged["components"] = [*_list(body, "components"), *components]
        if generated and merged.get("namespace") == PLACEHOLDER:
            del merged["namespace"]
    if options.images:
        merged["images"] = _merge_images(_list(body, "images"), options.images)
    if options.build_metadata:
        merged["buildMetadata"] = list(options.build_metadata)
    return merged


def _merge_images(written: Sequence[Any], wanted: Sequence[Image]) -> list[Any]:
    images: list[Any] = codec.clone(list(written))
    for image in wanted:
        known = next((one for one in images if isinstance(one, dict) and one.get("name") == image.name), None)
        if known is None:
            images.append(msgspec.to_builtins(image))
            continue
        if image.new_name:
            known["newName"] = image.new_name
        if image.new_tag or image.digest:
            # Both choose the version, so they change as one: an old digest beside a new tag would silently win.
            for name, value in (("newTag", image.new_tag), ("digest", image.digest)):
                known.pop(name, None)
                if value:
                    known[name] = value
    return images


def _list(body: Body, field: str) -> list[Any]:
    value = body.get(field)
    return value if isinstance(value, list) else []


def _outermost(path: str, directory: str, bases: set[str]) -> str | None:
    at = len(directory) + 1 if directory else 0
    while (at := path.find("/", at)) != -1:
        if path[:at] in bases:
            return path[:at]
        at += 1
    return None
