"""A chart as it is written into the record of a release, in the JSON that Helm reads. Pure.

Its subcharts are not part of it: Helm does not write them either, and what was rendered of them is in the manifest.
"""

import base64
from collections.abc import Mapping
from typing import Any, Final

from trimtab.manifests.refs import Body
from trimtab.sources.charts.metadata import CHART_FILE, LOCK_FILE, REQUIREMENTS_FILE, REQUIREMENTS_LOCK, read_map
from trimtab.sources.charts.values import VALUES_FILE

SCHEMA_FILE: Final = "values.schema.json"

_TEXTS: Final = (
    "name", "home", "version", "description", "icon", "apiVersion", "condition", "tags", "appVersion", "kubeVersion",
    "type",
)  # fmt: skip
_LISTS: Final = ("sources", "keywords")
_MAINTAINER: Final = ("name", "email", "url")
_DEPENDENCY: Final = ("name", "version", "repository", "condition", "alias")


def stored_chart(files: Mapping[str, bytes]) -> Body:
    """The chart whose files are `files`, by their paths in it. Raises BadChart."""
    metadata = _metadata(read_map(files[CHART_FILE], CHART_FILE))
    if metadata.get("apiVersion") == "v1" and (wanted := files.get(REQUIREMENTS_FILE)) is not None:
        metadata |= _dependencies(read_map(wanted, REQUIREMENTS_FILE))
    values = files.get(VALUES_FILE)
    schema = files.get(SCHEMA_FILE)
    aside = {CHART_FILE, LOCK_FILE, VALUES_FILE, SCHEMA_FILE}
    if metadata.get("apiVersion") != "v1":
        aside |= {REQUIREMENTS_FILE, REQUIREMENTS_LOCK}
    others = [path for path in sorted(files) if path not in aside and not path.startswith(("templates/", "charts/"))]
    return {
        "metadata": metadata,
        "lock": None,
        "templates": [_file(path, files[path]) for path in sorted(files) if path.startswith("templates/")],
        "values": read_map(values, VALUES_FILE) if values is not None else None,
        "schema": base64.b64encode(schema).decode() if schema is not None else None,
        "files": [_file(path, files[path]) for path in others],
    }


def _file(path: str, data: bytes) -> Body:
    return {"name": path, "data": base64.b64encode(data).decode()}


def _metadata(body: Body) -> Body:
    """What Helm knows of a Chart.yaml, in the types it wants: a version written as a number is text to it."""
    found: Body = {name: _text(body[name]) for name in _TEXTS if body.get(name) is not None}
    for name in _LISTS:
        if isinstance(items := body.get(name), list):
            found[name] = [_text(item) for item in items]
    if isinstance(maintainers := body.get("maintainers"), list):
        found["maintainers"] = [_texts(one, _MAINTAINER) for one in maintainers if isinstance(one, dict)]
    if isinstance(annotations := body.get("annotations"), dict):
        found["annotations"] = {key: _text(value) for key, value in annotations.items()}
    if body.get("deprecated") is True:
        found["deprecated"] = True
    return found | _dependencies(body)


def _dependencies(body: Body) -> Body:
    items = body.get("dependencies")
    if not isinstance(items, list):
        return {}
    found: list[Body] = []
    for one in items:
        if not isinstance(one, dict):
            continue
        dependency = {"repository": "", **_texts(one, _DEPENDENCY)}
        if isinstance(tags := one.get("tags"), list):
            dependency["tags"] = [_text(tag) for tag in tags]
        if isinstance(imported := one.get("import-values"), list):
            dependency["import-values"] = imported
        found.append(dependency)
    return {"dependencies": found}


def _texts(body: Body, names: tuple[str, ...]) -> Body:
    return {name: _text(body[name]) for name in names if body.get(name) is not None}


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))
        case None:
            return ""
        case _:
            return str(value)
