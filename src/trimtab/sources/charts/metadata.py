"""Chart.yaml: who a chart says it is. Pure; what cannot be a part of a path or of a terminal's line is refused."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from trimtab.manifests import semver
from trimtab.manifests.refs import Body
from trimtab.manifests.yaml import YamlError, load

CHART_FILE: Final = "Chart.yaml"
LOCK_FILE: Final = "Chart.lock"
REQUIREMENTS_FILE: Final = "requirements.yaml"
REQUIREMENTS_LOCK: Final = "requirements.lock"
"""Where charts of apiVersion v1 name their dependencies, and the versions that were chosen."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,249}")
_LOOSE_VERSION = re.compile(
    r"v?(0|[1-9][0-9]{0,18})(?:\.(0|[1-9][0-9]{0,18}))?(?:\.(0|[1-9][0-9]{0,18}))?"
    r"(-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?"
)
_TYPES = ("", "application", "library")
_MOST_DEPENDENCIES = 200


class BadChart(Exception):
    """It is no chart, or one that is not taken. The message says why and shows nothing that a terminal obeys."""


class Dependency(NamedTuple):
    """A chart that another one wants below `charts/`."""

    name: str
    version: str
    repository: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is used of a Chart.yaml. `body` is all of it."""

    name: str
    version: str
    api_version: str
    dependencies: tuple[Dependency, ...]
    body: Body


def with_build(version: str, build: str) -> str:
    """`version` with `build` in the place of its build metadata, as Helm writes it. Raises BadChart for no version."""
    match = _LOOSE_VERSION.fullmatch(version)
    if match is None:
        raise BadChart(f"{version[:100]!a} is not a semantic version")
    release = ".".join(number or "0" for number in match.group(1, 2, 3))
    return f"{release}{match[4] or ''}+{build}"


def parse(data: bytes, where: str) -> Metadata:
    """The metadata in the Chart.yaml `data`, which is at `where`. Raises BadChart."""
    body = _map(data, where)
    api_version = body.get("apiVersion")
    if api_version not in ("v1", "v2"):
        raise BadChart(f"{where}: apiVersion {_shown(api_version)} is neither v1 nor v2")
    name = body.get("name")
    # `.` and `..` would be directories, a slash would lead out of one (CVE-2026-35206).
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadChart(
            f"{where}: the name {_shown(name)} is not that of a chart: letters, digits, `.`, `_` and `-`, and a letter "
            "or digit first"
        )
    version = body.get("version")
    if not isinstance(version, str) or len(version) > 256 or not _LOOSE_VERSION.fullmatch(version):
        raise BadChart(f"{where}: the version {_shown(version)} is not a semantic version, such as 1.2.3 (quoted)")
    if body.get("type") not in (None, *_TYPES):
        raise BadChart(f"{where}: the type {_shown(body.get('type'))} is neither application nor library")
    return Metadata(name, version, api_version, dependencies(body, where), body)


def dependencies(body: Body, where: str) -> tuple[Dependency, ...]:
    """The list `dependencies` of a Chart.yaml, a requirements.yaml or a lock file. Raises BadChart."""
    found = body.get("dependencies")
    if found is None:
        return ()
    if not isinstance(found, list) or len(found) > _MOST_DEPENDENCIES:
        raise BadChart(f"{where}: dependencies is not a list of at most {_MOST_DEPENDENCIES}")
    return tuple(_dependency(one, where) for one in found)


def locked(wanted: Iterable[Dependency], lock: bytes | None, where: str) -> tuple[Dependency, ...]:
    """`wanted` in the versions that the lock file chose, where it did. Raises BadChart."""
    wanted = tuple(wanted)
    if lock is None:
        return wanted
    chosen = {one.name: one for one in dependencies(_map(lock, where), where)}
    return tuple(chosen.get(one.name, one) for one in wanted)


def read_map(data: bytes, where: str) -> Body:
    """The one YAML map in `data`. Raises BadChart."""
    return _map(data, where)


def same_version(one: str, other: str) -> bool:
    """Whether two texts are the same version, build metadata included; a `v` in front makes no difference."""
    first, second = (semver.Version.parse(text) for text in (one, other))
    if first is None or second is None:
        return one == other
    return first.text.removeprefix("v") == second.text.removeprefix("v")


def _dependency(found: Any, where: str) -> Dependency:
    name = found.get("name") if isinstance(found, dict) else None
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadChart(f"{where}: the dependency {_shown(name)} has not the name of a chart")
    version, repository = found.get("version") or "", found.get("repository") or ""
    if not isinstance(version, str) or not isinstance(repository, str):
        raise BadChart(f"{where}: version and repository of the dependency {name} have to be strings: quote them")
    if len(repository) > 4096 or not repository.isprintable() or len(version) > 512 or not version.isprintable():
        raise BadChart(f"{where}: version or repository of the dependency {name} make no sense")
    return Dependency(name, version, repository)


def _map(data: bytes, where: str) -> Body:
    try:
        documents = load(data, where, dialect="kubernetes")
    except YamlError as problem:
        raise BadChart(str(problem)) from problem
    if len(documents) > 1 or (documents and not isinstance(documents[0].value, dict)):
        raise BadChart(f"{where}: expected one map")
    return documents[0].value if documents else {}


def _shown(value: Any) -> str:
    return "that is missing" if value in (None, "") else ascii(value if isinstance(value, str) else str(value))[:100]
