"""Manifests and indexes: what a registry says an artifact consists of. Pure; everything in them is hostile."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from trimtab.remotes.oci.reference import DIGEST

MAX_MANIFEST: Final = 4 << 20
MAX_LAYERS: Final = 512
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFESTS: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES: Final = frozenset({OCI_INDEX, DOCKER_INDEX})
ACCEPT: Final = ", ".join((OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX))


class BadManifest(ValueError):
    """It is not what it is said to be, or asks for what is not done; the message says why."""


class Descriptor(NamedTuple):
    """Content of the repository, by digest. `platform` is `os/architecture`, empty where nothing is said.

    `artifact_type` is what an index of referrers says that the artifact is.
    """

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str]
    platform: str = ""
    artifact_type: str = ""


class Manifest(NamedTuple):
    """One artifact. `config` is what says how an image was made, where it is named in a way that it can be fetched."""

    digest: str
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]
    config: Descriptor | None = None


class Index(NamedTuple):
    """Several artifacts under one name, one for each platform."""

    digest: str
    manifests: tuple[Descriptor, ...]


class _Platform(msgspec.Struct, frozen=True):
    os: str = ""
    architecture: str = ""


class _Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    digest: str
    size: int
    media_type: str = ""
    annotations: dict[str, str] | None = None
    urls: list[str] | None = None
    platform: _Platform | None = None
    artifact_type: str = ""


class _Document(msgspec.Struct, frozen=True, rename="camel"):
    schema_version: int
    media_type: str = ""
    layers: list[_Descriptor] | None = None
    manifests: list[_Descriptor] | None = None
    annotations: dict[str, str] | None = None
    config: Any = None  # nobody but those who read images needs it


_decoder = msgspec.json.Decoder(_Document)


def parse(body: bytes, media_type: str, digest: str) -> Manifest | Index:
    """The document in `body`, served as `media_type` and verified to be `digest`. Raises BadManifest.

    A document that could be read as the other kind is refused: two readers would deploy two different things.
    """
    try:
        document = _decoder.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as failure:
        raise BadManifest(f"it is not a manifest: {failure}") from failure
    served = media_type.partition(";")[0].strip().lower()
    if document.media_type and served in MANIFESTS | INDEXES and served != document.media_type:
        raise BadManifest(f"it is served as {served} and says that it is {document.media_type[:200]!a}")
    kind = document.media_type or served
    if document.schema_version != 2 or kind not in MANIFESTS | INDEXES:
        raise BadManifest(f"its type {kind[:200]!a} is not supported")
    if document.layers is not None and document.manifests is not None:
        raise BadManifest("it is both a manifest and an index")
    entries = document.manifests if kind in INDEXES else document.layers
    if entries is None:
        raise BadManifest(f"it has not what {kind} consists of")
    if len(entries) > MAX_LAYERS:
        raise BadManifest(f"it has {len(entries)} entries; the limit is {MAX_LAYERS}")
    found = tuple(_descriptor(entry) for entry in entries)
    if kind in INDEXES:
        return Index(digest, found)
    return Manifest(digest, found, document.annotations or {}, _config(document.config))


def for_platform(index: Index) -> Descriptor:
    """The manifest to take: the only one, or the one for linux/amd64, as Flux does. Raises BadManifest."""
    wanted = [entry for entry in index.manifests if entry.media_type not in INDEXES]
    if len(index.manifests) == 1 and wanted:
        return wanted[0]
    if matching := [entry for entry in wanted if entry.platform == "linux/amd64"]:
        return matching[0]
    raise BadManifest("it is an index in which nothing is for linux/amd64, or that consists of indexes")


def _config(said: Any) -> Descriptor | None:
    try:
        return _descriptor(msgspec.convert(said, _Descriptor))
    except (msgspec.ValidationError, BadManifest):
        return None


def _descriptor(entry: _Descriptor) -> Descriptor:
    if not DIGEST.fullmatch(entry.digest):
        raise BadManifest(f"{entry.digest[:200]!a} is not a sha256 digest")
    if not 0 <= entry.size < 1 << 50:
        raise BadManifest(f"{entry.digest} has an impossible size")
    if entry.urls:
        raise BadManifest(f"{entry.digest} is to be fetched from somewhere else, which is not done")
    platform = f"{entry.platform.os}/{entry.platform.architecture}" if entry.platform else ""
    return Descriptor(
        entry.media_type, entry.digest, entry.size, entry.annotations or {}, platform, entry.artifact_type
    )
