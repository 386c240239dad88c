"""Manifests and indexes, which are hostile until read: what they may be, and what they may not ask for."""

import json
from typing import Any

import pytest

from trimtab.remotes.oci.manifest import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    MAX_LAYERS,
    OCI_INDEX,
    OCI_MANIFEST,
    BadManifest,
    Index,
    Manifest,
    for_platform,
    parse,
)

DIGEST = "sha256:" + "a" * 64


def layer(**more: Any) -> dict[str, Any]:
    return {"mediaType": "x", "digest": DIGEST, "size": 5, **more}


def document(**fields: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, **fields}).encode()


@pytest.mark.parametrize("kind", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_a_manifest_is_read_with_its_layers_and_annotations(kind: str) -> None:
    body = document(mediaType=kind, layers=[layer(annotations={"a": "b"})], annotations={"c": "d"})
    found = parse(body, f"{kind}; charset=utf-8", DIGEST)
    assert isinstance(found, Manifest)
    assert (found.layers[0].digest, found.layers[0].annotations, found.annotations) == (DIGEST, {"a": "b"}, {"c": "d"})


@pytest.mark.parametrize("kind", [OCI_INDEX, DOCKER_INDEX])
def test_an_index_is_told_from_a_manifest_by_what_it_says_it_is(kind: str) -> None:
    assert isinstance(parse(document(mediaType=kind, manifests=[layer()]), kind, DIGEST), Index)
    assert isinstance(parse(document(manifests=[layer()]), kind, DIGEST), Index)


@pytest.mark.parametrize(
    ("body", "served", "words"),
    [
        (b"[]", OCI_MANIFEST, "not a manifest"),
        (b"\xff", OCI_MANIFEST, "not a manifest"),
        (b'{"schemaVersion":2,"a":' + b"[" * 100_000, OCI_MANIFEST, "not a manifest"),
        (document(layers=[layer()], mediaType=OCI_MANIFEST), OCI_INDEX, "served as"),
        (document(manifests=[layer()], mediaType=OCI_INDEX), OCI_MANIFEST, "served as"),
        (document(layers=[layer()], manifests=[layer()]), OCI_MANIFEST, "both a manifest and an index"),
        (document(layers=[layer()]), OCI_INDEX, "has not what"),
        (document(layers=[layer()]), "text/html", "not supported"),
        (json.dumps({"schemaVersion": 1, "layers": []}).encode(), OCI_MANIFEST, "not supported"),
        (document(layers=[layer()] * 2000), OCI_MANIFEST, f"the limit is {MAX_LAYERS}"),
        (document(layers=[layer(digest="sha256:../../x")]), OCI_MANIFEST, "not a sha256 digest"),
        (document(layers=[layer(digest="sha512:" + "a" * 128)]), OCI_MANIFEST, "not a sha256 digest"),
        (document(layers=[layer(size=-1)]), OCI_MANIFEST, "impossible size"),
        (document(layers=[layer(size=1 << 60)]), OCI_MANIFEST, "impossible size"),
        (document(layers=[layer(size=10**30)]), OCI_MANIFEST, "not a manifest|impossible size"),
        (document(layers=[layer(urls=["http://169.254.169.254/"])]), OCI_MANIFEST, "somewhere else"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_two_readers_could_read_differently_or_leads_elsewhere_is_refused(
    body: bytes, served: str, words: str
) -> None:
    with pytest.raises(BadManifest, match=words):
        parse(body, served, DIGEST)


def index(*entries: dict[str, Any]) -> Index:
    found = parse(document(mediaType=OCI_INDEX, manifests=list(entries)), OCI_INDEX, DIGEST)
    assert isinstance(found, Index)
    return found


def test_of_an_index_the_only_manifest_is_taken_or_the_one_for_linux_on_amd64() -> None:
    other = "sha256:" + "b" * 64
    arm = layer(platform={"os": "linux", "architecture": "arm64"})
    amd = layer(digest=other, platform={"os": "linux", "architecture": "amd64"})
    assert for_platform(index(arm)).digest == DIGEST
    assert for_platform(index(arm, amd)).digest == other


@pytest.mark.parametrize(
    "entries",
    [
        [layer(mediaType=OCI_INDEX)],
        [layer(mediaType=OCI_INDEX, platform={"os": "linux", "architecture": "amd64"}), layer()],
        [layer(), layer()],
        [],
    ],
)
def test_an_index_of_indexes_or_without_a_choice_is_refused(entries: list[dict[str, Any]]) -> None:
    with pytest.raises(BadManifest, match="index"):
        for_platform(index(*entries))
