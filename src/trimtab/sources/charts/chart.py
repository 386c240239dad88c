"""A chart as files in the store: found in an unpacked archive or in a directory of a source, checked, not yet judged.

Nothing is executed and nothing is written but to the store: dependencies are never "updated", so that a lock file
that is a link somewhere (CVE-2025-53547) has nobody to write to it.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from trimtab.artifacts.archive import BadArchive, Link, Member, read_archive
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Entry, Tree, without_collisions
from trimtab.sources.charts import ignore, metadata
from trimtab.sources.charts.metadata import CHART_FILE, BadChart, Metadata

MAX_BYTES: Final = 10 << 20
"""Bytes of a chart as it is packed; unpacked, the limits of archives hold."""
MAX_FILE_BYTES: Final = 5 << 20


@dataclass(frozen=True, slots=True)
class Chart:
    """The files of a chart, by their paths in it, and what its Chart.yaml says. `left_out` are links."""

    metadata: Metadata
    files: dict[str, Entry]
    left_out: tuple[str, ...] = ()

    def read(self, store: Store, path: str) -> bytes | None:
        """The content of a file of the chart; None if there is none. Raises Corrupt."""
        entry = self.files.get(path)
        return store.read(entry.sha256) if entry is not None else None


def unpack(store: Store, packed: bytes, where: str) -> Tree:
    """The files of the chart archive `packed`, kept in `store`. Raises BadChart."""
    if len(packed) > MAX_BYTES:
        raise BadChart(f"{where}: it has more than {MAX_BYTES >> 20} MiB")
    entries: list[Entry] = []
    left_out: list[str] = []
    try:
        for found in read_archive(io.BytesIO(packed)):
            match found:
                case Link(path):
                    left_out.append(path)
                case Member(path, data, executable):
                    _bounded(path, len(data), where)
                    entries.append(Entry(path, store.put(data), len(data), executable))
    except BadArchive as problem:
        raise BadChart(f"{where}: {problem}") from problem
    entries, collided = without_collisions(entries)
    tree = Tree.of(entries, [*left_out, *collided])
    store.save(tree)
    return tree


def of_archive(store: Store, tree: Tree, where: str) -> Chart:
    """The chart in `tree`, an unpacked archive: all of it is below one directory. Raises BadChart, Corrupt."""
    for entry in tree.entries:
        _bounded(entry.path, entry.size, where)
    tops = sorted({entry.path.partition("/")[0] for entry in tree.entries})
    if len(tops) != 1 or any("/" not in entry.path for entry in tree.entries):
        shown = ", ".join(tops[:5]) or "nothing"
        raise BadChart(f"{where}: a chart is below one directory of its archive; here there is {ascii(shown)[1:-1]}")
    top = tops[0]
    entries = {entry.path.removeprefix(f"{top}/"): entry for entry in tree.entries}
    return _chart(store, entries, tree.left_out_under(top), f"{where}: {top}/", top)


def of_directory(snapshot: Snapshot, directory: str) -> Chart:
    """The chart in `directory` of a source, without what its .helmignore leaves out. Raises BadChart, Corrupt."""
    prefix = f"{directory}/" if directory else ""
    ignore_file = snapshot.tree.get(f"{prefix}{ignore.IGNORE_FILE}")
    text = snapshot.store.read(ignore_file.sha256) if ignore_file is not None else b""
    rules = ignore.Rules(text, f"{prefix}{ignore.IGNORE_FILE}")
    entries: dict[str, Entry] = {}
    for entry in snapshot.tree.under(directory):
        path = entry.path.removeprefix(prefix)
        if not rules.excludes(path):
            _bounded(entry.path, entry.size, "the source")
            entries[path] = entry
    for missing in snapshot.tree.left_out_under(directory):
        if not rules.excludes(missing.removeprefix(prefix)):
            raise BadChart(
                f"{missing} is a link, a submodule, or a name that differs from another only in case, and was left out "
                f"of the artifact; replace it by a plain file, or name it in {prefix}{ignore.IGNORE_FILE}"
            )
    return _chart(snapshot.store, entries, (), prefix or "./", "")


def _chart(store: Store, entries: dict[str, Entry], left_out: Iterable[str], where: str, top: str) -> Chart:
    chart_file = entries.get(CHART_FILE)
    if chart_file is None:
        raise BadChart(f"{where}{CHART_FILE} does not exist, so that this is no chart")
    found = metadata.parse(store.read(chart_file.sha256), f"{where}{CHART_FILE}")
    if found.api_version == "v1" and (wanted := entries.get(metadata.REQUIREMENTS_FILE)) is not None:
        place = f"{where}{metadata.REQUIREMENTS_FILE}"
        named = metadata.dependencies(metadata.read_map(store.read(wanted.sha256), place), place)
        found = Metadata(found.name, found.version, found.api_version, named, found.body)
    return Chart(found, entries, tuple(path.removeprefix(f"{top}/") for path in left_out))


def _bounded(path: str, size: int, where: str) -> None:
    if size > MAX_FILE_BYTES:
        raise BadChart(
            f"{where}: {ascii(path[:200])[1:-1]} has more than {MAX_FILE_BYTES >> 20} MiB, which no file of a chart has"
        )
