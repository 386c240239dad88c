"""What is used of a repository's index, in a form that is quick to read: for each chart its versions.

An index tells much that nobody asks for here (descriptions, icons, maintainers), and one of 20 MB takes seconds to
read. The catalogue is a few percent of it, and only the chart that is asked for is decoded.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from trimtab.manifests import semver

_FORMAT = 1


class Entry(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """One version of a chart, as the index says.

    `url` may be relative to the repository, `digest` should be the archive's SHA-256 in hex; both may be missing.
    """

    version: str
    url: str = ""
    digest: str = ""
    created: str = ""


class Catalogue(msgspec.Struct, frozen=True):
    """The charts of one repository. `left_out` counts the entries that are of no use; `example` says of one why."""

    charts: Mapping[str, msgspec.Raw]
    left_out: int = 0
    example: str = ""
    format: int = _FORMAT

    def versions(self, chart: str) -> tuple[Entry, ...]:
        """All versions of `chart`, in the order of the index; nothing if there is no such chart."""
        raw = self.charts.get(chart)
        return _entries.decode(raw) if raw is not None else ()


_entries = msgspec.json.Decoder(tuple[Entry, ...])
_catalogues = msgspec.json.Decoder(Catalogue)


def encode(charts: Mapping[str, Sequence[Entry]], left_out: int, example: str) -> bytes:
    """The catalogue as it is kept."""
    raw = {name: msgspec.Raw(msgspec.json.encode(entries)) for name, entries in charts.items()}
    return msgspec.json.encode(Catalogue(raw, left_out, example))


def decode(data: bytes) -> Catalogue:
    """The catalogue kept as `data`. Raises ValueError for anything else."""
    found = _catalogues.decode(data)
    if found.format != _FORMAT:
        raise ValueError(f"format {found.format} of the catalogue is not known")
    return found


class _Candidate(NamedTuple):
    version: semver.Version
    entry: Entry


def choose(entries: Sequence[Entry], wanted: str) -> Entry | None:
    """The entry for `wanted`, an exact version or a range of them; nothing or `*` means the highest release.

    An exact match of the text comes first: only so versions can be told apart that differ in build metadata alone. Of
    a range the highest wins, and among equals the one that was made last. Raises ValueError for what is no range.
    """
    for entry in entries:
        if wanted and entry.version == wanted:
            return entry
    constraint = semver.Constraint.parse(wanted or "*")
    admitted = [
        _Candidate(version, entry)
        for entry in entries
        if (version := semver.Version.parse(entry.version)) is not None and constraint.admits(version)
    ]
    if not admitted:
        return None
    best = max(admitted, key=lambda one: (one.version.precedence, _moment(one.entry.created), one.version.text))
    return best.entry


def _moment(created: str) -> datetime:
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
