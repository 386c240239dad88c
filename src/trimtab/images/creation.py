"""When an image was created, by what was written into it.

A label says it best: who builds reproducibly writes an early date into the image itself, and the true one there. All of
it is the word of whoever pushed the image, as its content is.
"""

import io
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from trimtab.remotes.oci.manifest import INDEXES, BadManifest, Descriptor, Index, for_platform
from trimtab.remotes.oci.reference import Repository
from trimtab.remotes.oci.registry import Registry
from trimtab.remotes.oci.wire import Access, PullFailed

_MAX_CONFIG: Final = 4 << 20
_LABELS: Final = ("org.opencontainers.image.created", "org.label-schema.build-date")
_UNKNOWN: Final = "unknown/unknown"


class _Runtime(msgspec.Struct, frozen=True, rename="pascal"):
    labels: dict[str, str] | None = None


class _Config(msgspec.Struct, frozen=True):
    created: str | None = None
    config: _Runtime | None = None


async def created(registry: Registry, repository: Repository, access: Access, digest: str) -> datetime | None:
    """When the image `digest` was created, or None where it does not say. Raises what `registry` raises.

    Of an image for several platforms, that for linux/amd64 counts, or else the first.
    """
    found = await registry.manifest(repository, access, digest)
    if isinstance(found, Index):
        one = _platform(found)
        found = await registry.manifest(repository, access, one.digest) if one is not None else found
    if isinstance(found, Index):
        return None
    said = await _config(registry, repository, access, found.config) if found.config is not None else _Config()
    labels: Mapping[str, str] = (said.config.labels if said.config else None) or {}
    texts = [labels.get(_LABELS[0]), labels.get(_LABELS[1]), found.annotations.get(_LABELS[0]), said.created]
    return next((moment for text in texts if text and (moment := _moment(text)) is not None), None)


def _platform(index: Index) -> Descriptor | None:
    try:
        return for_platform(index)
    except BadManifest:
        images = (one for one in index.manifests if one.media_type not in INDEXES and one.platform != _UNKNOWN)
        return next(images, None)


async def _config(registry: Registry, repository: Repository, access: Access, wanted: Descriptor) -> _Config:
    out = io.BytesIO()
    await registry.blob(repository, access, wanted, out, _MAX_CONFIG)
    try:
        return msgspec.json.decode(out.getvalue(), type=_Config)
    except (msgspec.DecodeError, ValueError, RecursionError) as problem:
        if isinstance(problem, msgspec.ValidationError):
            return _Config()  # of something that is no image
        raise PullFailed(f"{repository}: the configuration {wanted.digest} cannot be read: {problem}") from problem


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
