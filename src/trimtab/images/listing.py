"""Lists of tags as other programs write them: one a line, or JSON from a registry, from crane or from skopeo."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

from msgspec import DecodeError

from trimtab.manifests import codec

MAX_BYTES: Final = 64 << 20
_NAMES: Final = ("tag", "Tag", "name", "Name")
_TIMES: Final = ("created", "Created")
_LISTS: Final = ("tags", "Tags")
_LINE = re.compile(r"(\S+)(?:[ \t]+(\S+))?[ \t]*")


class Listing(NamedTuple):
    """The tags, and when the images were created of which that is said."""

    tags: list[str]
    created: dict[str, datetime]


def read(data: bytes) -> Listing:
    """The tags in `data`. Raises ValueError that says where it makes no sense.

    As text: a tag a line, and when its image was created behind it if that is known; what follows a # is left out. As
    JSON: a list of tags, or of objects with `tag` and `created`, by itself or as `tags`.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES >> 20} MiB of tags")
    try:
        text = data.decode()
    except UnicodeDecodeError as problem:
        raise ValueError(f"byte {problem.start} is not UTF-8") from None
    tags: list[str] = []
    created: dict[str, datetime] = {}
    for tag, moment in _of_json(text) if text.lstrip()[:1] in ("[", "{") else _of_text(text):
        tags.append(tag)
        if moment:
            created[tag] = _time(moment, tag)
    return Listing(tags, created)


def _of_text(text: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        said = line.partition("#")[0].strip()
        if not said:
            continue
        match = _LINE.fullmatch(said)
        if match is None:
            raise ValueError(f"line {number}: expected a tag, and after it nothing or a time")
        yield match[1], match[2] or ""


def _of_json(text: str) -> Iterator[tuple[str, str]]:
    try:
        found = codec.decode(text)
    except DecodeError as problem:
        raise ValueError(f"it is not JSON: {problem}") from None
    if isinstance(found, dict):
        found = next((found[key] for key in _LISTS if key in found), None)
    if not isinstance(found, list):
        raise ValueError("expected a list of tags, or an object with a list `tags`")
    for number, item in enumerate(found):
        yield _entry(number, item)


def _entry(number: int, item: Any) -> tuple[str, str]:
    if isinstance(item, str):
        return item, ""
    if isinstance(item, dict):
        tag = next((item[key] for key in _NAMES if key in item), None)
        moment = next((item[key] for key in _TIMES if key in item), "")
        if isinstance(tag, str) and isinstance(moment, str):
            return tag, moment
    raise ValueError(f"[{number}] is neither a tag nor an object with `tag` and `created`")


def _time(text: str, tag: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"{text[:60]!a}, of {tag[:130]!a}, is not a time such as 2026-01-31T12:00:00Z")
    return moment
