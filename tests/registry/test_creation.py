"""When an image was created: by its label, its annotation or its configuration, whatever else is in there."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.registry.double import Double, Rewired, running
from tests.registry.server import INDEX, MANIFEST, descriptor, digest
from trimtab.base.clock import SystemClock
from trimtab.images.creation import created
from trimtab.remotes.oci.reference import parse_repository
from trimtab.remotes.oci.registry import Registry
from trimtab.remotes.oci.wire import Access, PullFailed, Wire
from trimtab.remotes.outbound import Outbound

CREATED, BUILT = "org.opencontainers.image.created", "org.label-schema.build-date"
EARLY, LATE = "1970-01-01T00:00:00Z", "2026-03-01T12:00:00+02:00"
MOMENT = datetime(2026, 3, 1, 10, tzinfo=UTC)


class Shelf:
    """A registry that holds what a test puts into it."""

    def __init__(self, double: Double, registry: Registry) -> None:
        self.double, self.registry = double, registry

    def put(self, body: bytes, kind: str = "blobs", media_type: str = "application/json") -> str:
        self.double.answer(f"GET own /v2/app/{kind}/{digest(body)}", body=body, Content_Type=media_type)
        return digest(body)

    def image(self, content: Any, annotations: dict[str, str] | None = None, **more: Any) -> bytes:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.put(body)
        said = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(body, "x"), "layers": []}
        manifest = json.dumps({**said, "annotations": annotations or {}, **more}).encode()
        self.put(manifest, "manifests", MANIFEST)
        return manifest

    async def created(self, manifest: bytes) -> datetime | None:
        repository = parse_repository(f"oci://{self.double.host}/app", insecure=True)
        return await created(self.registry, repository, Access(), digest(manifest))


@pytest.fixture
async def shelf() -> AsyncIterator[Shelf]:
    async with running(Double()) as double:
        transport = Rewired(double)
        yield Shelf(double, Registry(Wire(Outbound(transport, SystemClock()), SystemClock())))
        await transport.close()


@pytest.mark.parametrize(
    ("config", "annotations", "expected"),
    [
        ({"created": LATE}, {}, MOMENT),
        ({"created": EARLY, "config": {"Labels": {CREATED: LATE, BUILT: EARLY}}}, {CREATED: EARLY}, MOMENT),
        ({"created": EARLY, "config": {"Labels": {BUILT: LATE}}}, {}, MOMENT),
        ({"created": EARLY, "config": {"Labels": None}}, {CREATED: LATE}, MOMENT),
        ({"created": LATE, "config": {"Labels": {CREATED: "yesterday"}}}, {}, MOMENT),
        ({"created": "2026-03-01T10:00:00"}, {}, MOMENT),
        ({"created": "0001-01-01T00:00:00+14:00"}, {}, None),
        ({}, {}, None),
        ({"created": 5}, {}, None),
    ],
    ids=["config", "label", "older label", "annotation", "no time", "no zone", "no year", "nothing", "no image"],
)
async def test_the_best_word_counts(
    shelf: Shelf, config: Any, annotations: dict[str, str], expected: datetime | None
) -> None:
    assert await shelf.created(shelf.image(config, annotations)) == expected


async def test_of_an_image_for_several_platforms_one_counts(shelf: Shelf) -> None:
    arm, amd = (shelf.image({"created": moment}, platform=moment) for moment in (EARLY, LATE))

    def index(*entries: tuple[bytes, str]) -> bytes:
        described = [
            descriptor(body, MANIFEST, platform={"os": os, "architecture": os and "x" if os != "linux" else "amd64"})
            for body, os in entries
        ]
        body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": described}).encode()
        shelf.put(body, "manifests", INDEX)
        return body

    assert await shelf.created(index((arm, "plan9"), (amd, "linux"))) == MOMENT
    assert await shelf.created(index((arm, "plan9"), (amd, "windows"))) == datetime(1970, 1, 1, tzinfo=UTC)
    assert await shelf.created(index()) is None


async def test_a_configuration_that_is_rubbish_or_not_what_its_digest_says_is_an_error(shelf: Shelf) -> None:
    with pytest.raises(PullFailed, match="cannot be read"):
        await shelf.created(shelf.image(b"{"))
    honest = shelf.image({"created": LATE})
    body = json.dumps({"created": LATE}).encode()
    shelf.double.answer(f"GET own /v2/app/blobs/{digest(body)}", body=b"x" * len(body))
    with pytest.raises(PullFailed, match="nothing of it is used"):
        await shelf.created(honest)


async def test_a_manifest_that_names_no_configuration_in_a_way_that_is_understood_says_nothing(shelf: Shelf) -> None:
    for config in (None, {"digest": "sha512:x", "size": 1}, "x", {"digest": digest(b""), "size": 0, "urls": ["x"]}):
        assert await shelf.created(shelf.image({"created": LATE}, config=config)) is None
