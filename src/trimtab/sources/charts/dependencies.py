"""The charts that a chart wants below `charts/` and has not there: from beside it, or from elsewhere."""

import asyncio
import io
import posixpath
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from trimtab.artifacts.archive import BadArchive, Limits, Member, read_archive
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Entry
from trimtab.manifests import semver
from trimtab.sources.charts import chart as charts
from trimtab.sources.charts import metadata
from trimtab.sources.charts.chart import Chart
from trimtab.sources.charts.metadata import CHART_FILE, LOCK_FILE, REQUIREMENTS_LOCK, BadChart, Dependency, locked

MAX_DEPTH: Final = 8
MAX_CHARTS: Final = 200
MAX_FILES: Final = 50_000
MAX_UNPACKED: Final = 100 << 20
"""So much all dependencies of one chart may come to, each counted as often as it is wanted."""
MAX_ARCHIVES: Final = 500
_SEARCHED_MEMBERS: Final = 10_000  # of an archive until its Chart.yaml, which Helm writes first
_BELOW: Final = "charts/"
_FILE: Final = "file://"

Fetch: TypeAlias = Callable[[Dependency], Awaitable[Chart]]
"""Has a chart from elsewhere. Raises BadChart, or an error of its own."""


async def complete(snapshot: Snapshot, directory: str, chart: Chart, fetch: Fetch) -> dict[str, Entry]:
    """The files that are to be added to `chart`, which is in `directory`: the dependencies it has not with it.

    Those named by `file://` are taken from the same artifact, with their own dependencies. Raises BadChart, Corrupt.
    """
    return await _Completion(snapshot, chart.metadata.name, fetch).of(directory, chart, (directory,))


class _Completion:
    """One chart that is completed, with what it may still cost.

    Charts that want the same ones form no tree: written out as one, twenty layers of five are millions of files. So
    all that is added counts before it is gone into, and what was read or fetched once is not read again.
    """

    def __init__(self, snapshot: Snapshot, name: str, fetch: Fetch) -> None:
        self._snapshot = snapshot
        self._name = name
        self._fetch = fetch
        self._charts, self._files, self._bytes, self._looked = MAX_CHARTS, MAX_FILES, MAX_UNPACKED, MAX_FILES
        self._vendored = Vendored(snapshot.store)
        self._beside: dict[str, Chart] = {}
        self._missing: dict[str, tuple[Dependency, ...]] = {}
        self._fetched: dict[Dependency, Chart] = {}

    async def of(self, directory: str, chart: Chart, above: tuple[str, ...]) -> dict[str, Entry]:
        """What `chart` in `directory` lacks. `above` are the directories of the charts that want it, and its own."""
        added: dict[str, Entry] = {}
        taken: set[str] = set()
        for wanted in await self._wanted(directory, chart):
            self._count_chart()
            if wanted.repository.startswith(_FILE):
                place = _beside(directory, wanted, chart)
                if place in above or len(above) > MAX_DEPTH:
                    raise BadChart(f"the dependencies of {chart.metadata.name} go in a circle, or too deep: {wanted}")
                found = await self._of_directory(place)
                _check(wanted, found, place)
                self._count_files(found)
                files = found.files | await self.of(place, found, (*above, place))
            else:
                if not wanted.repository:
                    raise BadChart(
                        f"{chart.metadata.name} wants {wanted}, names no repository for it, and has it not in charts/"
                    )
                found = await self._of_elsewhere(wanted)
                _check(wanted, found, wanted.repository)
                self._count_files(found)
                files = found.files
            name = wanted.name if wanted.name not in taken else f"{wanted.name}-{found.metadata.version}"
            taken.add(name)
            added.update((f"{_BELOW}{name}/{path}", entry) for path, entry in files.items())
        return added

    async def _wanted(self, directory: str, chart: Chart) -> tuple[Dependency, ...]:
        if directory not in self._missing:
            self._missing[directory] = await asyncio.to_thread(missing, self._snapshot.store, chart, self._vendored)
        return self._missing[directory]

    async def _of_directory(self, place: str) -> Chart:
        if place not in self._beside:
            # Files that are ignored cost a look, too, and directories in each other have the same ones.
            self._looked -= len(self._snapshot.tree.under(place))
            self._refuse_if(self._looked < 0)
            self._beside[place] = await asyncio.to_thread(charts.of_directory, self._snapshot, place)
        return self._beside[place]

    async def _of_elsewhere(self, wanted: Dependency) -> Chart:
        if wanted not in self._fetched:
            self._fetched[wanted] = await self._fetch(wanted)
        return self._fetched[wanted]

    def _count_chart(self) -> None:
        self._charts -= 1
        self._refuse_if(self._charts < 0)

    def _count_files(self, found: Chart) -> None:
        self._files -= len(found.files)
        self._bytes -= sum(entry.size for entry in found.files.values())
        self._refuse_if(self._files < 0 or self._bytes < 0)

    def _refuse_if(self, spent: bool) -> None:
        if spent:
            raise BadChart(
                f"{self._name}: its dependencies are too many or too large; the limits are {MAX_CHARTS} charts, "
                f"{MAX_FILES:,} files and {MAX_UNPACKED >> 20} MiB, each counted as often as it is wanted"
            )


class Vendored:
    """Has the names of charts that are below `charts/`, and reads no more than MAX_UNPACKED for all of them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._bytes = MAX_UNPACKED
        self._archives = MAX_ARCHIVES

    def names(self, chart: Chart) -> set[str]:
        """The names of the charts that `chart`, if it wants any, has with it. Raises BadChart, Corrupt."""
        if not chart.metadata.dependencies:
            return set()
        names: set[str] = set()
        for path, entry in chart.files.items():
            name, _, rest = path.removeprefix(_BELOW).partition("/")
            if not path.startswith(_BELOW) or name.startswith(("_", ".")):
                continue
            if rest == CHART_FILE:
                self._count(entry.size, path)
                names.add(metadata.parse(self._store.read(entry.sha256), path).name)
            elif not rest and name.endswith(".tgz"):
                names.add(metadata.parse(self._chart_file(entry, path), f"{path}: {CHART_FILE}").name)
        return names

    def _chart_file(self, entry: Entry, where: str) -> bytes:
        """The Chart.yaml of an archive, of which nothing is unpacked and nothing behind it is read."""
        self._archives -= 1
        if entry.size > charts.MAX_BYTES:
            raise BadChart(f"{where}: it has more than {charts.MAX_BYTES >> 20} MiB")
        if self._archives < 0:
            raise BadChart(f"{where}: more than {MAX_ARCHIVES} archives are in charts/ of a chart and its dependencies")
        limits = Limits(bytes=self._bytes, members=_SEARCHED_MEMBERS)
        try:
            for found in read_archive(io.BytesIO(self._store.read(entry.sha256)), limits):
                if isinstance(found, Member):
                    self._count(len(found.data), where)
                    _, _, inside = found.path.partition("/")
                    if inside == CHART_FILE and len(found.data) <= charts.MAX_FILE_BYTES:
                        return found.data
        except BadArchive as problem:
            raise BadChart(f"{where}: {problem}") from problem
        raise BadChart(
            f"{where}: no {CHART_FILE} is below its one directory, or a too large one, so that this is no chart"
        )

    def _count(self, size: int, where: str) -> None:
        self._bytes -= size
        if self._bytes < 0:
            raise BadChart(f"{where}: more than {MAX_UNPACKED >> 20} MiB had to be read of what is in charts/")


def missing(store: Store, chart: Chart, vendored: Vendored) -> tuple[Dependency, ...]:
    """What `chart` wants and has not below `charts/`, in the versions that its lock file chose.

    As in Helm, what is there is known by its name. Raises BadChart, Corrupt.
    """
    lock = LOCK_FILE if chart.metadata.api_version == "v2" else REQUIREMENTS_LOCK
    there = vendored.names(chart)
    wanted = [one for one in chart.metadata.dependencies if one.name not in there]
    return tuple(dict.fromkeys(locked(wanted, chart.read(store, lock), lock)))


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
