"""The image transformer of kustomize 5.8: containers wherever they are, and images mounted as volumes."""

import functools
import re
from collections.abc import Iterator
from typing import Any, Final

from trimtab.api.kustomize import Image
from trimtab.manifests.refs import Body
from trimtab.render.unsure import Unsure

_CONTAINERS: Final = ("containers", "initContainers")
_TEMPLATE: Final = ("spec", "template", "spec")
_PATHS: Final = (
    ("spec", "containers", "image"),
    ("spec", "initContainers", "image"),
    ("spec", "volumes", "image", "reference"),
    (*_TEMPLATE, "containers", "image"),
    (*_TEMPLATE, "initContainers", "image"),
    (*_TEMPLATE, "volumes", "image", "reference"),
    ("spec", "jobTemplate", *_TEMPLATE, "volumes", "image", "reference"),
)
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._/:@-]+")
_VERSION: Final = r"(:[a-zA-Z0-9_.{}-]*)?(@[a-zA-Z0-9]+([.+_-][a-zA-Z0-9]+)*:[a-zA-Z0-9_.{}-]*)?"


def set_images(body: Body, image: Image) -> None:
    """Write what `image` says wherever `body` names it, in place. Raises Unsure for a name that is a pattern."""
    pattern = _pattern(image.name)
    if body["kind"] == "CustomResourceDefinition":
        return
    holders = list(_in_containers(body))
    for path in _PATHS:
        holders += _at(body, path)
    for holder, key in holders:
        value = holder.get(key)
        if value is None:
            continue
        if not isinstance(value, str):
            raise Unsure("an image that is not text")
        if pattern.fullmatch(value):
            holder[key] = renamed(value, image)


def renamed(reference: str, image: Image) -> str:
    """`reference` with the name, tag and digest of `image` where it has them; tag and digest change as one."""
    name, tag, digest = split(reference)
    name = image.new_name or name
    if image.new_tag or image.digest:
        tag, digest = image.new_tag, image.digest
    return name + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")


def split(reference: str) -> tuple[str, str, str]:
    """Name, tag and digest of an image; a port in the name is not a tag."""
    start = max(reference.find("/"), 0)
    at, colon = reference.find("@", start), reference.find(":", start)
    if at >= 0 and (at < colon or colon < 0):
        return reference[:at], "", reference[at + 1 :]
    if at >= 0:
        return reference[:colon], reference[colon + 1 : at], reference[at + 1 :]
    if colon >= 0:
        return reference[:colon], reference[colon + 1 :], ""
    return reference, "", ""


@functools.lru_cache(maxsize=1024)
def _pattern(name: str) -> re.Pattern[str]:
    # kustomize puts the name into a regular expression as it is, so a dot stands for any character.
    if not _PLAIN_NAME.fullmatch(name):
        raise Unsure("an image name that is a pattern")
    return re.compile(name + _VERSION)


def _in_containers(value: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Every item of a list called containers or initContainers, at any depth."""
    if isinstance(value, list):
        for item in value:
            yield from _in_containers(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(item, dict | list):
                continue
            yield from _in_containers(item)
            if key in _CONTAINERS and isinstance(item, list):
                for container in item:
                    if not isinstance(container, dict):
                        raise Unsure("a container that is not a mapping")
                    yield container, "image"


def _at(value: Any, path: tuple[str, ...]) -> Iterator[tuple[dict[str, Any], str]]:
    """Every place that `path` leads to; lists on the way are gone through."""
    if value is None:
        return
    if isinstance(value, list):
        for item in value:
            yield from _at(item, path)
    elif not isinstance(value, dict):
        raise Unsure(f"{path[0]} in what is not a mapping")
    elif len(path) == 1:
        yield value, path[0]
    elif path[0] in value:
        yield from _at(value[path[0]], path[1:])
