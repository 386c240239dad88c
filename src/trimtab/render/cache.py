"""Results of kustomize, kept beside the artifacts: after a restart a thousand overlays need no kustomize.

The content goes to the store by its digest, a small file per key says which one it is. A result that is gone or damaged
is simply built again. Never give it a build into which something was decrypted: it writes to disk in the clear.
"""

import contextlib
import logging
import os
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from trimtab.artifacts.store import Corrupt, Store
from trimtab.manifests.refs import Body, Manifest, Origin

log = logging.getLogger(__name__)

MAX_KEYS: Final = 4_096
_FORMAT: Final = 1


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    format: int
    bodies: list[Body]
    origins: list[Origin]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Kept)


class Results:
    """Built objects by key. All methods block shortly."""

    def __init__(self, store: Store, directory: Path) -> None:
        self._store = store
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._trim()

    def get(self, key: str) -> list[Manifest] | None:
        """What was kept as `key` (hex), if it is still whole."""
        path = self._directory / key
        try:
            kept = _decoder.decode(self._store.read(path.read_text()))
            os.utime(path)
        except (OSError, Corrupt, msgspec.DecodeError, ValueError):
            return None
        if kept.format != _FORMAT:
            return None
        return [Manifest(body, origin) for body, origin in zip(kept.bodies, kept.origins, strict=True)]

    def put(self, key: str, manifests: list[Manifest]) -> None:
        """Keep `manifests` as `key`, if the disk has room: nobody needs it that much."""
        bodies, origins = [one.body for one in manifests], [one.origin for one in manifests]
        try:
            sha256 = self._store.put(_encoder.encode(_Kept(_FORMAT, bodies, origins)))
            descriptor, temporary = tempfile.mkstemp(dir=self._directory, prefix=".new-")
            os.close(descriptor)
            Path(temporary).write_text(sha256, encoding="ascii")
            Path(temporary).replace(self._directory / key)
        except (OSError, Corrupt) as problem:
            log.warning("a build is not kept: %s", problem)

    def contents(self) -> list[str]:
        """The contents of the store that are results: collections of garbage leave them alone."""
        try:
            keys = [path for path in self._directory.iterdir() if not path.name.startswith(".")]
            return [path.read_text(encoding="ascii", errors="replace") for path in keys]
        except FileNotFoundError:
            return []  # one was written anew at this moment; the next collection sees it

    def _trim(self) -> None:
        """Forget the keys that were not used for longest."""
        with contextlib.suppress(FileNotFoundError):
            keys = sorted(self._directory.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
            for path in keys[MAX_KEYS:]:
                path.unlink(missing_ok=True)
