"""The charts that a chart wants below `charts/` and has not there: from beside it, or from elsewhere."""

import asyncio
import posixpath
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Entry
from trimtab.manifests import semver
from trimtab.sources.charts import chart as charts
from trimtab.sources.charts import metadata
from trimtab.sources.charts.chart import Chart
from trimtab.sources.charts.metadata import CHART_FILE, LOCK_FILE, REQUIREMENTS_LOCK, BadChart, Dependency, locked

MAX_DEPTH: Final = 8
MAX_UNPACKED: Final = 100 << 20
_BELOW: Final = "charts/"
_FILE: Final = "file://"

Fetch: TypeAlias = Callable[[Dependency], Awaitable[Chart]]
"""Has a chart from elsewhere. Raises BadChart, or an error of its own."""


async def complete(snapshot: Snapshot, directory: str, chart: Chart, fetch: Fetch) -> dict[str, Entry]:
    """The files that are to be added to `chart`, which is in `directory`: the dependencies it has not with it.

    Those named by `file://` are taken from the same artifact, with their own dependencies. Raises BadChart, Corrupt.
    """
    added = await _complete(snapshot, directory, chart, fetch, (directory,))
    if sum(entry.size for entry in added.values()) > MAX_UNPACKED:
        raise BadChart(f"the dependencies of {chart.metadata.name} have more than {MAX_UNPACKED >> 20} MiB")
    return added


async def _complete(
    snapshot: Snapshot, directory: str, chart: Chart, fetch: Fetch, above: tuple[str, ...]
) -> dict[str, Entry]:
    added: dict[str, Entry] = {}
    taken: set[str] = set()
    for wanted in await asyncio.to_thread(missing, snapshot.store, chart):
        if wanted.repository.startswith(_FILE):
            place = _beside(directory, wanted, chart)
            if place in above or len(above) > MAX_DEPTH:
                raise BadChart(f"the dependencies of {chart.metadata.name} go in a circle, or too deep: {wanted}")
            found = await asyncio.to_thread(charts.of_directory, snapshot, place)
            _check(wanted, found, place)
            files = found.files | await _complete(snapshot, place, found, fetch, (*above, place))
        else:
            if not wanted.repository:
                raise BadChart(
                    f"{chart.metadata.name} wants {wanted}, names no repository for it, and has it not in charts/"
                )
            found = await fetch(wanted)
            _check(wanted, found, wanted.repository)
            files = found.files
        name = wanted.name if wanted.name not in taken else f"{wanted.name}-{found.metadata.version}"
        taken.add(name)
        added.update((f"{_BELOW}{name}/{path}", entry) for path, entry in files.items())
    return added


def missing(store: Store, chart: Chart) -> tuple[Dependency, ...]:
    """What `chart` wants and has not below `charts/`, in the versions that its lock file chose.

    As in Helm, what is there is known by its name. Raises BadChart, Corrupt.
    """
    lock = LOCK_FILE if chart.metadata.api_version == "v2" else REQUIREMENTS_LOCK
    there = _vendored(store, chart)
    wanted = [one for one in chart.metadata.dependencies if one.name not in there]
    return tuple(dict.fromkeys(locked(wanted, chart.read(store, lock), lock)))


def _vendored(store: Store, chart: Chart) -> set[str]:
    if not chart.metadata.dependencies:
        return set()
    names: set[str] = set()
    for path, entry in chart.files.items():
        name, _, rest = path.removeprefix(_BELOW).partition("/")
        if not path.startswith(_BELOW) or name.startswith(("_", ".")):
            continue
        if rest == CHART_FILE:
            inside = metadata.parse(store.read(entry.sha256), path)
            names.add(inside.name)
        elif not rest and name.endswith(".tgz"):
            tree = charts.unpack(store, store.read(entry.sha256), path)
            names.add(charts.of_archive(store, tree, path).metadata.name)
    return names


def _beside(directory: str, wanted: Dependency, chart: Chart) -> str:
    """Where in the artifact a `file://` dependency is."""
    path = wanted.repository.removeprefix(_FILE)
    place = posixpath.normpath(posixpath.join(directory, path))
    if path.startswith("/") or "\\" in path or place.startswith("..") or not path:
        raise BadChart(
            f"{chart.metadata.name} wants {wanted} from {wanted.repository[:200]!a}, which is not inside the artifact"
        )
    return "" if place == "." else place


def _check(wanted: Dependency, found: Chart, where: str) -> None:
    said = found.metadata
    if said.name != wanted.name:
        raise BadChart(f"the chart in {where[:200]!a} is {said.name}, and {wanted} is wanted")
    if not wanted.version:
        return
    try:
        constraint = semver.Constraint.parse(wanted.version)
    except ValueError as problem:
        raise BadChart(f"the dependency {wanted.name}: {problem}") from problem
    version = semver.Version.parse(said.version)
    if said.version != wanted.version and (version is None or not constraint.admits(version)):
        raise BadChart(f"the chart in {where[:200]!a} is {said.name} {said.version}, and {wanted} is wanted")
