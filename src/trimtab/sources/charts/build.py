"""From what came to what is published: the chart as it is, or packaged with other values and another version."""

import asyncio
import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Tree
from trimtab.base.errors import Terminal
from trimtab.manifests.refs import Body
from trimtab.sources.charts import chart as charts
from trimtab.sources.charts import dependencies, values
from trimtab.sources.charts.chart import Chart
from trimtab.sources.charts.metadata import BadChart, same_version, with_build
from trimtab.sources.charts.package import package
from trimtab.sources.charts.values import VALUES_FILE


class BadReference(BadChart):
    """There is no such chart."""


class BadValues(BadChart):
    """The values files cannot be merged."""


class BadDependency(BadChart):
    """A chart that is wanted below `charts/` cannot be had."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is to be made of a chart. `build` is the build metadata its version gets, if any."""

    values_files: tuple[str, ...] = ()
    ignore_missing: bool = False
    build: str = ""


class Built(NamedTuple):
    """What is published: files below a directory, the archive (a content of the store), and what was made of it."""

    tree: Tree
    archive: str
    name: str
    version: str
    values_files: tuple[str, ...]
    packaged: bool


_Read = Callable[[str], bytes | None]


def of_archive(
    store: Store, tree: Tree, archive: str, options: Options, where: str, *, name: str = "", version: str = ""
) -> Built:
    """Make what `options` ask for of an unpacked chart, which has to be `name` in `version` if they are given.

    The version published is the one given, as it is written there: `v1.0.0` may be asked for, and `1.0.0` be inside.
    Values files are files of the chart. Raises BadChart, Corrupt.
    """
    chart = charts.of_archive(store, tree, where)
    said = chart.metadata
    if name and said.name != name:
        raise BadChart(f"{where}: the chart inside says that its name is {said.name}; nothing of it is used")
    if version and not same_version(said.version, version):
        raise BadChart(f"{where}: the chart inside says that its version is {said.version}; nothing of it is used")
    merged, used = _values(options, lambda path: _of_chart(store, chart, path), where)
    return _built(store, chart, options, version or said.version, merged, used, tree, archive)


def at(snapshot: Snapshot, path: str) -> Chart:
    """The chart at `path` of a source, a directory or an archive. Raises BadReference, BadChart, Corrupt."""
    place = inside(path)
    if snapshot.tree.get(place) is not None:
        tree = charts.unpack(snapshot.store, snapshot.read(place), place)
        return charts.of_archive(snapshot.store, tree, place)
    if not snapshot.tree.has_directory(place):
        if (missing := snapshot.tree.left_out_at(place)) is not None:
            raise BadReference(f"{missing} is a link and was left out of the artifact; replace it by what it points to")
        raise BadReference(f"there is nothing at {path[:200]!a} in the source")
    return charts.of_directory(snapshot, place)


async def of_source(snapshot: Snapshot, path: str, chart: Chart, options: Options, fetch: dependencies.Fetch) -> Built:
    """Make what `options` ask for of `chart`, which is at `path` of a source.

    Values files are files of the source. Raises BadChart, Corrupt, and what `fetch` raises.
    """
    place = inside(path)
    store = snapshot.store

    def make() -> Built:
        merged, used = _values(options, lambda file: _of_source(snapshot, file), "the source")
        if snapshot.tree.get(place) is not None:
            packed = snapshot.read(place)
            tree, archive = charts.unpack(store, packed, place), store.put(packed)
            return _built(store, chart, options, chart.metadata.version, merged, used, tree, archive)
        made = package(store, chart, version=version_with(chart.metadata.version, options), values=merged, added=added)
        return Built(
            made.tree, made.archive, chart.metadata.name, version_with(chart.metadata.version, options), used, True
        )

    try:
        is_directory = snapshot.tree.get(place) is None
        added = await dependencies.complete(snapshot, place, chart, fetch) if is_directory else {}
    except BadChart as problem:
        raise BadDependency(str(problem)) from problem
    return await asyncio.to_thread(make)


def inside(path: str) -> str:
    """`path` of a source as its files are named, the root as nothing. Raises BadReference for one that leads out."""
    place = posixpath.normpath(path.lstrip("/")) if path.strip("/") else "."
    if place == ".." or place.startswith("../") or "\\" in place or not place.isprintable():
        raise BadReference(f"{path[:200]!a} does not lead into the source")
    return "" if place == "." else place


def version_with(version: str, options: Options) -> str:
    """The version that is published of a chart in `version`. Raises BadChart."""
    return with_build(version, options.build) if options.build else version


def _built(
    store: Store,
    chart: Chart,
    options: Options,
    version: str,
    merged: Body | None,
    used: tuple[str, ...],
    tree: Tree,
    archive: str,
) -> Built:
    if merged is None and not options.build:
        return Built(tree, archive, chart.metadata.name, version, (), False)
    if chart.left_out:
        raise BadChart(f"{chart.left_out[0]} is a link, so that the chart cannot be packed again as it was")
    version = version_with(version, options)
    made = package(store, chart, version=version, values=merged)
    return Built(made.tree, made.archive, chart.metadata.name, version, used, True)


def _values(options: Options, read: _Read, where: str) -> tuple[Body | None, tuple[str, ...]]:
    """The merged values, or None to leave them as they are, and the files that went in."""
    merged: Body = {}
    used: list[str] = []
    for path in options.values_files:
        try:
            data = read(path)
            if data is None:
                if options.ignore_missing:
                    continue
                raise BadValues(f"there is no values file {path[:200]!a} in {where}")
            merged = values.merged(merged, values.read(data, path))
        except BadValues:
            raise
        except (BadChart, Terminal) as problem:
            raise BadValues(str(problem)) from problem
        used.append(path)
    # As in Flux: where nothing comes of it, the chart keeps its own values.
    return merged or None, tuple(used)


def _of_chart(store: Store, chart: Chart, path: str) -> bytes | None:
    name = posixpath.normpath(path)
    found = chart.read(store, name)
    return b"" if found is None and name == VALUES_FILE else found


def _of_source(snapshot: Snapshot, path: str) -> bytes | None:
    try:
        return snapshot.read(inside(path))
    except FileNotFoundError:
        return None
