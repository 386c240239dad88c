"""Workloads that follow their images without a marker, as in Flux v1: `fluxcd.io/automated: "true"`.

A container of such a workload counts as marked by the policy whose image it runs. Its own filter bounds which tags it
takes; what the annotations say and makes no sense is told, and then nothing follows.
"""

from collections.abc import Iterator
from collections.abc import Mapping as Dictionary
from typing import NamedTuple

from trimtab.images.containers import Written, containers_of
from trimtab.images.implied import AUTOMATED, read
from trimtab.images.nodes import Mapping, Stream, objects
from trimtab.images.pauses import annotations_of
from trimtab.images.places import Found, InWorkload, find
from trimtab.images.reference import Image, name_of
from trimtab.images.running import canonical
from trimtab.images.shapes import Misfit
from trimtab.manifests.refs import Key

MARK = b"automated"
"""What a file has in which something follows."""


class Follower(NamedTuple):
    """A container that follows a policy: what to set, or why that cannot be done. `mild`: why it need not be."""

    policy: Key
    found: Found | None
    line: int
    trouble: str = ""
    mild: bool = False


class Complaint(NamedTuple):
    """What makes no sense in the annotations of a workload."""

    line: int
    words: str


def followers(stream: Stream, images: Dictionary[Key, Image], marked: frozenset[int]) -> Iterator[Follower | Complaint]:
    """What follows `images` in a text. `marked` are the ids of nodes with a marker: that says whose they are."""
    by_name: dict[str, list[Key]] = {}
    for key, image in images.items():
        by_name.setdefault(canonical(image.name), []).append(key)
    for body in objects(stream.documents):
        annotations = annotations_of(body)
        if not any(annotations.get(name, "false") != "false" for name in AUTOMATED):
            continue
        containers = list(containers_of(body))
        said = read(annotations, [one.container for one in containers])
        for words in said.complaints:
            yield Complaint(body.line, f"{words}; nothing follows")
        if not said.automated:
            continue
        for one in containers:
            keys = by_name.get(canonical(name_of(one.image)), [])
            if not keys or any(id(part) in marked for part in one.parts):
                continue
            line = one.node.line
            if len(keys) > 1:
                words = f"{' and '.join(map(str, keys))} are policies of {name_of(one.image)}: mark which one is meant"
                for key in keys:
                    yield Follower(key, None, line, words)
                continue
            key = keys[0]
            if "$" in one.image:
                yield Follower(key, None, line, f"{one.container} has an image that is made of a variable, {one.image}")
                continue
            implied = said.of(one.container)
            if implied is not None and (why := implied.refuses(images[key].tag)):
                yield Follower(key, None, line, f"{one.container} does not take {images[key].tag}: {why}", mild=True)
                continue
            yield from _set(stream, body, one, key, images[key])


def _set(stream: Stream, body: Mapping, one: Written, key: Key, image: Image) -> Iterator[Follower]:
    """By the name of the image as it is written."""
    where = InWorkload(body.text("kind"), "", body.text("metadata", "name"), one.container)
    for found in find(Stream([body], stream.tokens), where, image._replace(name=name_of(one.image))):
        if isinstance(found, Misfit):
            yield Follower(key, None, found.line, f"{where} {found}")
        else:
            yield Follower(key, found, found.line)
