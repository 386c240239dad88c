"""All files of a directory or a commit: which of them change, what came up, and which wishes nobody has a place for."""

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from trimtab.base.errors import Terminal
from trimtab.images.editing import Change, Edited, Kind, Note, Wish, edit
from trimtab.images.reference import Image

MOST_FILES: Final = 50_000
MOST_BYTES: Final = 256 << 20
"""Of all files that are looked into."""
MOST_CHANGED: Final = 64 << 20
"""Bytes of the files that change: they are kept until all is known."""
_SUFFIXES: Final = (".yaml", ".yml")
_NAMES: Final = frozenset({"Kustomization"})


class Sweep(NamedTuple):
    """What became of all files. Those that do not change are in `edited` only if there is something to say of them."""

    edited: Mapping[str, Edited]
    unused: tuple[Wish, ...]
    originals: Mapping[str, bytes]
    """What those that change were before."""

    @property
    def changed(self) -> dict[str, bytes]:
        """The new content of the files that change, by path."""
        return {path: edited.data for path, edited in self.edited.items() if edited.changes}

    @property
    def changes(self) -> list[tuple[str, Change]]:
        """All changes with their files."""
        return [(path, change) for path, edited in self.edited.items() for change in edited.changes]

    def notes(self, *kinds: Kind) -> list[tuple[str, Note]]:
        """All notes of these kinds with their files; of every kind if none is given."""
        return [
            (path, note)
            for path, edited in self.edited.items()
            for note in edited.notes
            if not kinds or note.kind in kinds
        ]


def may_be_edited(path: str) -> bool:
    """Whether a file of this name is looked into: as in Flux, one that ends in .yaml or .yml, or is a Kustomization."""
    return path.endswith(_SUFFIXES) or path.rpartition("/")[2] in _NAMES


def sweep(
    files: Iterable[tuple[str, bytes]],
    wishes: Mapping[Wish, Image],
    spared: Mapping[str, Collection[Wish]] = MappingProxyType({}),
) -> Sweep:
    """Edit `files`, which come one at a time; `spared` says what of the wishes is not for which file.

    Raises Terminal beyond the limits: never a part of the files.
    """
    found: dict[str, Edited] = {}
    originals: dict[str, bytes] = {}
    served: set[Wish] = set()
    count = size = kept = 0
    for path, data in files:
        count, size = count + 1, size + len(data)
        if count > MOST_FILES or size > MOST_BYTES:
            raise Terminal(
                "UpdateFailed",
                f"there are more than {MOST_FILES:,} files or {MOST_BYTES >> 20} MiB of YAML to look into: name a "
                "directory with less in it (spec.update.path)",
            )
        without = spared.get(path, ())
        edited = edit(data, {wish: image for wish, image in wishes.items() if wish not in without})
        served |= edited.served | set(without)
        if edited.changes:
            kept += len(data) + len(edited.data)
            if kept > MOST_CHANGED:
                raise Terminal("UpdateFailed", f"more than {MOST_CHANGED >> 20} MiB of files would change at once")
            found[path], originals[path] = edited, data
        elif edited.notes:
            found[path] = edited._replace(data=b"")
    return Sweep(found, tuple(wish for wish in wishes if wish not in served), originals)
