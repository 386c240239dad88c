"""A chart as an archive: the same files give the same bytes, and what was changed is changed nowhere else."""

import io
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from trimtab.artifacts.store import Store
from trimtab.artifacts.tarball import Packed, write_archive
from trimtab.artifacts.tree import Entry, Tree
from trimtab.manifests.refs import Body
from trimtab.sources.charts.chart import MAX_BYTES, Chart
from trimtab.sources.charts.metadata import CHART_FILE, BadChart
from trimtab.sources.charts.values import VALUES_FILE

_FIRST = (CHART_FILE, VALUES_FILE)


class Package(NamedTuple):
    """A packaged chart: its files below a directory of its name, and the archive as a content of the store."""

    tree: Tree
    archive: str


def package(
    store: Store, chart: Chart, *, version: str, values: Body | None = None, added: Mapping[str, Entry] | None = None
) -> Package:
    """Pack `chart` as `version`, with `values` as its values.yaml and with the files `added`, by their paths in it.

    Raises BadChart if it becomes too large, Corrupt.
    """
    files = {**chart.files, **(added or {})}
    if version != chart.metadata.version:
        files[CHART_FILE] = _kept(store, chart.metadata.body | {"version": version})
    if values is not None:
        files[VALUES_FILE] = _kept(store, values)
    name = chart.metadata.name
    tree = Tree.of(Entry(f"{name}/{path}", entry.sha256, entry.size) for path, entry in files.items())
    packed = io.BytesIO()
    write_archive(packed, _members(store, name, files))
    if packed.tell() > MAX_BYTES:
        raise BadChart(
            f"the chart {name} has {packed.tell():,} bytes when it is packed; the limit is {MAX_BYTES:,}. Leave out "
            "what does not belong to it, by .helmignore"
        )
    store.save(tree)
    return Package(tree, store.put(packed.getbuffer()))


def _members(store: Store, name: str, files: Mapping[str, Entry]) -> Iterator[Packed]:
    # As Helm does: who looks for the metadata need not read all of it.
    for path in sorted(files, key=lambda path: (path not in _FIRST, path)):
        yield Packed(f"{name}/{path}", store.read(files[path].sha256))


def _kept(store: Store, body: Body) -> Entry:
    """`body` as a file: JSON, which is YAML that everybody reads in the same way."""
    data = msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n"
    return Entry("", store.put(data), len(data))
