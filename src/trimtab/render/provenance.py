"""Where a built object was written. kustomize notes the file on each object; the line is looked up in that file."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from trimtab.manifests.refs import Body, Manifest, Origin
from trimtab.manifests.yaml import YamlError, load
from trimtab.render.files import join

ORIGIN: Final = "config.kubernetes.io/origin"


class Written(NamedTuple):
    """An object as it stands in a file."""

    kind: str
    name: str
    origin: Origin


class Origins:
    """The objects of all files of an app, by file."""

    def __init__(self, directory: str, manifests: Iterable[Manifest]) -> None:
        self._directory = directory
        self._by_file: dict[str, list[Written]] = {}
        for body, origin in manifests:
            written = Written(body["kind"], body["metadata"]["name"], origin)
            self._by_file.setdefault(origin.file, []).append(written)
        self._texts: dict[str, str] = {}

    def add_generators(self, file: str, text: str, names: Iterable[str]) -> None:
        """Tell of a kustomization file, so that what it generates can be found by the generator's name."""
        for name in names:
            found = re.search(rf"^[ \t-]*\"?name\"?:[ \t]*[\"']?{re.escape(name)}[\"']?[ \t,}}]*$", text, re.MULTILINE)
            line = text.count("\n", 0, found.start()) + 1 if found else 0
            for kind in ("ConfigMap", "Secret"):
                self._by_file.setdefault(file, []).append(Written(kind, name, Origin(file, line)))

    def of(self, body: Body) -> Origin:
        """The origin of the built object `body`; without a line where it cannot be told."""
        metadata = body["metadata"]
        annotation = (metadata.get("annotations") or {}).get(ORIGIN)
        kind, name = body["kind"], metadata["name"]
        file = self._file(annotation)
        if file is None:
            everywhere = [one for written in self._by_file.values() for one in written]
            return _best(everywhere, kind, name) or Origin(self._directory or ".")
        return _best(self._by_file.get(file, []), kind, name) or Origin(file)

    def _file(self, annotation: Any) -> str | None:
        if not isinstance(annotation, str):
            return None
        try:
            documents = load(annotation.encode(), ORIGIN)
        except YamlError:
            return None
        value: Any = documents[0].value if documents else None
        if not isinstance(value, Mapping):
            return None
        path = value.get("path")
        configured_by = value.get("configuredBy")
        if isinstance(configured_by, Mapping) and str(configured_by.get("kind")).endswith("Generator"):
            path = value.get("configuredIn")
        # A transformer is noted only where a patch took the first note away; the object itself is older.
        return join(self._directory, path) if isinstance(path, str) else None


def strip(body: Body) -> None:
    """Take the note of the origin off again, and the annotations with it if nothing else is there."""
    metadata = body["metadata"]
    annotations = metadata.get("annotations")
    if isinstance(annotations, dict) and ORIGIN in annotations:
        del annotations[ORIGIN]
        if not annotations:
            del metadata["annotations"]


def _best(written: list[Written], kind: str, name: str) -> Origin | None:
    """The object of the same name; else the one whose name was lengthened; else the only one of its kind."""
    same_kind = [one for one in written if one.kind == kind]
    for one in same_kind:
        if one.name == name:
            return one.origin
    part_of = [one for one in same_kind if one.name in name]
    if part_of:
        return max(part_of, key=lambda one: len(one.name)).origin
    return same_kind[0].origin if len(same_kind) == 1 else None
