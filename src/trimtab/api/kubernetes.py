"""Kubernetes' own kinds and their schemas, of each supported version: package data beside this file.

The data is made from the OpenAPI documents of Kubernetes' releases (licence: Apache-2.0) by
`make schemas`.
"""

import gzip
from pathlib import Path
from typing import Any, Final, NamedTuple

from trimtab.manifests import codec
from trimtab.manifests.refs import Gvk

DIRECTORY: Final = Path(__file__).parent / "kubernetes_schemas"
VERSIONS: Final = ("1.34", "1.35", "1.36")
"""Minor versions that are supported, the oldest first."""
LATEST: Final = VERSIONS[-1]


class Kind(NamedTuple):
    """A kind that is built in, and the name of its schema."""

    gvk: Gvk
    plural: str
    namespaced: bool
    schema: str


class Bundle(NamedTuple):
    """The kinds of a version of Kubernetes, and the schemas they are made of, by name."""

    version: str
    kinds: dict[Gvk, Kind]
    schemas: dict[str, Any]


def bundled(version: str = LATEST) -> Bundle:
    """The kinds of a minor version. Raises ValueError for one that is not supported."""
    if version not in VERSIONS:
        raise ValueError(f"no schemas of Kubernetes {version} come with this version: there is {', '.join(VERSIONS)}")
    said = codec.decode(gzip.decompress((DIRECTORY / f"{version}.json.gz").read_bytes()))
    kinds = [Kind(Gvk(*kind[:3]), *kind[3:]) for kind in said["kinds"]]
    return Bundle(said["version"], {kind.gvk: kind for kind in kinds}, said["schemas"])
