"""The files of a chart in memory, and what is known of them: read once for all releases that are rendered just now."""

import asyncio
import io
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Final
from weakref import WeakValueDictionary

from trimtab.api.names import Reason
from trimtab.artifacts.archive import BadArchive, Member, read_archive
from trimtab.artifacts.store import Store
from trimtab.base.errors import Terminal
from trimtab.helm.schema import refuse_outside
from trimtab.helm.stored import SCHEMA_FILE, stored_chart
from trimtab.helm.varying import may_ask, may_vary
from trimtab.manifests import codec
from trimtab.manifests.refs import Body
from trimtab.sources.charts.chart import Chart
from trimtab.sources.charts.ignore import IGNORE_FILE
from trimtab.sources.charts.metadata import BadChart
from trimtab.sources.charts.values import VALUES_FILE

REASON: Final = Reason.BUILD_FAILED
_NESTED: Final = 5
_READ: Final = ("templates/", "crds/", "charts/", VALUES_FILE, SCHEMA_FILE)
"""Where Helm itself looks."""


class Unpacked:
    """The files that Helm gets of a chart, by their paths in it. Never changed."""

    def __init__(self, files: Mapping[str, bytes], links: Iterable[str] = ()) -> None:
        """`links` were left out of the files."""
        self.files = files
        self._links = tuple(links)

    @cached_property
    def texts(self) -> tuple[tuple[str, bytes], ...]:
        """Whatever may be a template, with the files of packed subcharts. Raises Terminal for one that is no chart."""
        return tuple(_everything(self.files))

    @cached_property
    def may_ask(self) -> bool:
        """Whether its templates mention what only the cluster can tell."""
        return may_ask(data for _, data in self.texts)

    @cached_property
    def may_vary(self) -> bool:
        """Whether its templates mention what is another thing every time."""
        return may_vary(data for _, data in self.texts)

    @cached_property
    def stored(self) -> Body:
        """The chart as a record has it. Raises Terminal."""
        try:
            return stored_chart(self.files)
        except BadChart as problem:
            raise Terminal(REASON, str(problem)) from problem

    def inspect(self, *, skip_schema: bool) -> None:
        """Raise Terminal for a schema of the chart, or of one below it, that leads out of it, and for a link.

        Which links a template reads by `.Files` nobody knows: so none may be there, if it reads any.
        """
        self._inspected  # noqa: B018 - raises
        if not skip_schema:
            self._judged  # noqa: B018 - raises

    @cached_property
    def _inspected(self) -> None:
        read = (*_READ, *([""] if any(b".Files" in data for data in self.files.values()) else []))
        if (link := next((path for path in self._links if path.startswith(read)), None)) is not None:
            raise Terminal(
                REASON,
                f"{link} of the chart is a link, or a name that differs from another only in case, and was left out of "
                "it; replace it by a plain file",
            )

    @cached_property
    def _judged(self) -> None:
        for path, data in self.texts:
            if path.rpartition("/")[2] == SCHEMA_FILE:
                refuse_outside(data, path)


class Unpacking:
    """Charts in memory for as long as somebody works with them."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[str, Unpacked] = WeakValueDictionary()
        self._turn = asyncio.Lock()

    async def of(self, store: Store, chart: Chart) -> Unpacked:
        """The files of `chart`, which are in `store`. Raises Corrupt."""
        digest = digest_of(chart)
        # Whoever comes while they are being read waits for them: hundreds of releases of a chart want them at once.
        async with self._turn:
            found = self._known.get(digest)
            if found is None:
                found = Unpacked(await asyncio.to_thread(files_of, store, chart), chart.left_out)
                self._known[digest] = found
        return found


def digest_of(chart: Chart) -> str:
    """Equal for charts with the same files, which leave out the same."""
    return codec.digest([[[path, entry.sha256] for path, entry in sorted(chart.files.items())], chart.left_out])


def files_of(store: Store, chart: Chart) -> dict[str, bytes]:
    """The files that Helm gets of `chart`, by their paths in it. Raises Corrupt.

    Without its .helmignore: what that leaves out of a directory is left out already, and a packed chart is all there.
    """
    return {path: store.read(entry.sha256) for path, entry in chart.files.items() if path != IGNORE_FILE}


def _everything(files: Mapping[str, bytes], depth: int = 0) -> Iterator[tuple[str, bytes]]:
    """All files, those of packed subcharts too."""
    for path, data in files.items():
        if path.startswith("charts/") and path.endswith(".tgz"):
            if depth >= _NESTED:
                raise Terminal(REASON, f"{path}: charts are packed into each other more than {_NESTED} times")
            try:
                packed = {one.path: one.data for one in read_archive(io.BytesIO(data)) if isinstance(one, Member)}
            except BadArchive as problem:
                raise Terminal(REASON, f"{path}: {problem}") from problem
            inner = {name.partition("/")[2]: content for name, content in packed.items()}
            yield from ((f"{path}/{name}", content) for name, content in _everything(inner, depth + 1))
        else:
            yield path, data
