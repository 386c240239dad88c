"""The index of a repository: read once, in one pass, into a catalogue. Pure; everything in it is hostile.

An index is YAML, or JSON, which is YAML too. JSON is tried first: it is read thirty times as fast. YAML is read from
libyaml's events without building what is not used, so that neither depth nor aliases cost anything.

Entries that cannot be used (no version, a name with a slash) are left out, as Helm does: one bad chart must not take
the others of its repository away. What is wrong with the index as a whole makes it refused.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from yaml._yaml import CParser
from yaml.error import YAMLError
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from trimtab.manifests.scalars import ScalarError, resolve
from trimtab.remotes.helm import catalogue
from trimtab.remotes.helm.catalogue import Entry

MAX_BYTES: Final = 50 << 20
MAX_VERSIONS: Final = 250_000
MAX_DEPTH: Final = 200

_API_VERSION = "v1"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,249}")
_VERSION = re.compile(r"[0-9A-Za-z.+_-]{1,256}")
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_LONGEST_URL = 4096
_LONGEST_CREATED = 64


class BadIndex(ValueError):
    """The index cannot be used; the message says why."""


class _Version(msgspec.Struct, frozen=True):
    """An entry, of which nothing is believed."""

    version: Any = None
    urls: Any = None
    digest: Any = None
    created: Any = None


class _Index(msgspec.Struct, frozen=True, rename="camel"):
    api_version: Any = None
    entries: dict[str, list[_Version | None] | None] | None = None


_decoder = msgspec.json.Decoder(_Index)


def parse(data: bytes) -> bytes:
    """The catalogue of the index `data`, encoded. Raises BadIndex."""
    if len(data) > MAX_BYTES:
        raise BadIndex(f"it has more than {MAX_BYTES >> 20} MiB")
    found = _Found()
    if not (data[:64].lstrip().startswith(b"{") and _parse_json(data, found)):
        _Walk(data, found).index()
    if found.api_version is None:
        raise BadIndex("it has no apiVersion, so that it is no index of a chart repository")
    if found.api_version != _API_VERSION:
        raise BadIndex(f"its apiVersion is {str(found.api_version)[:60]!a}; only v1 is known")
    return catalogue.encode(found.charts, found.left_out, found.example)


class _Found:
    """What was read so far."""

    def __init__(self) -> None:
        self.api_version: Any = None
        self.charts: dict[str, list[Entry]] = {}
        self.left_out = 0
        self.example = ""
        self._count = 0

    def chart(self, name: str) -> list[Entry]:
        """Where the versions of `name` are collected. Raises BadIndex if there are some already."""
        if name in self.charts:
            raise BadIndex(f"the chart {name[:200]!a} is there twice")
        entries: list[Entry] = []
        if _NAME.fullmatch(name):
            self.charts[name] = entries
        else:
            self.leave_out(name, "the name of a chart has letters, digits, `.`, `_` and `-`")
        return entries

    def add(self, name: str, entries: list[Entry], version: Any, url: Any, digest: Any, created: Any) -> None:
        self._count += 1
        if self._count > MAX_VERSIONS:
            raise BadIndex(f"it has more than {MAX_VERSIONS:,} versions of charts")
        if not isinstance(version, str) or not _VERSION.fullmatch(version):
            what = "it has no version" if version in (None, "") else f"{str(version)[:60]!a} is not a version"
            self.leave_out(name, what if isinstance(version, str | None) else f"{what} but a number: quote it")
            return
        # What cannot be fetched or checked stays: to choose an older version instead would be wrong without a word.
        if not isinstance(url, str) or len(url) > _LONGEST_URL:
            url = ""
        known = _DIGEST.fullmatch(digest.lower()) if isinstance(digest, str) else None
        checked = known[1] if known else str(digest)[:80] if digest else ""
        moment = created if isinstance(created, str) and len(created) <= _LONGEST_CREATED else ""
        entries.append(Entry(version, url, checked, moment))

    def leave_out(self, name: str, why: str) -> None:
        self.left_out += 1
        self.example = self.example or f"{name[:100]!a}: {why}"


def _parse_json(data: bytes, found: _Found) -> bool:
    try:
        index = _decoder.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False
    found.api_version = index.api_version
    for name, versions in (index.entries or {}).items():
        entries = found.chart(name)
        for one in versions or ():
            if one is not None:
                urls = one.urls if isinstance(one.urls, list) else [None]
                found.add(name, entries, one.version, (urls or [None])[0], one.digest, one.created)
    return True


class _Walk:
    """One walk over the events of an index, in its order."""

    def __init__(self, data: bytes, found: _Found) -> None:
        self._parser = CParser(data)
        self._found = found
        self._anchors: dict[str, str] = {}

    def index(self) -> None:
        try:
            self._parser.get_event()
            start = self._next()
            if not isinstance(start, DocumentStartEvent):
                raise BadIndex("it is empty")
            if start.version or start.tags:
                raise BadIndex("it has YAML directives, which are not read")
            self._top(self._next())
        except YAMLError as problem:
            mark = getattr(problem, "problem_mark", None)
            where = f"line {mark.line + 1}: " if mark else ""
            raise BadIndex(f"it is not YAML: {where}{getattr(problem, 'problem', None) or problem}") from None
        except (UnicodeDecodeError, ValueError) as problem:
            if isinstance(problem, BadIndex):
                raise
            raise BadIndex(f"it is not YAML: {problem}") from None
        finally:
            self._parser.dispose()

    def _top(self, event: Any) -> None:
        seen: set[str] = set()
        for key in self._keys(event, "the index"):
            if key in seen:
                raise BadIndex(f"the key {key[:60]!a} is there twice")
            seen.add(key)
            event = self._next()
            if key == "apiVersion":
                self._found.api_version = self._scalar(event)
            elif key == "entries" and not self._empty(event):
                for name in self._keys(event, "`entries`"):
                    self._chart(name, self._next())
            else:
                self._skip(event)

    def _chart(self, name: str, event: Any) -> None:
        entries = self._found.chart(name)
        if self._empty(event):
            return
        if not isinstance(event, SequenceStartEvent):
            raise BadIndex(f"what it says of the chart {name[:200]!a} is not a list of versions")
        while not isinstance(event := self._next(), SequenceEndEvent):
            if self._empty(event):
                continue
            if not isinstance(event, MappingStartEvent):
                self._skip(event)
                self._found.leave_out(name, "what should be a version is not a map")
                continue
            self._version(name, entries, event)

    def _version(self, name: str, entries: list[Entry], event: Any) -> None:
        said: dict[str, Any] = {}
        url: Any = None
        for key in self._keys(event, f"a version of {name[:100]!a}"):
            event = self._next()
            if key == "version":
                said[key] = self._scalar(event)
            elif key in ("digest", "created"):
                said[key] = self._text(event)
            elif key == "urls" and isinstance(event, SequenceStartEvent):
                first = True
                while not isinstance(event := self._next(), SequenceEndEvent):
                    if first:
                        url, first = self._text(event), False
                    else:
                        self._skip(event)
            else:
                self._skip(event)
        self._found.add(name, entries, said.get("version"), url, said.get("digest"), said.get("created"))

    def _keys(self, event: Any, what: str) -> Iterable[str]:
        """The keys of the map that begins with `event`; the caller takes each value before the next key."""
        if not isinstance(event, MappingStartEvent):
            raise BadIndex(f"{what} is not a map")
        while not isinstance(event := self._next(), MappingEndEvent):
            if not isinstance(event, ScalarEvent):
                raise BadIndex(f"{what} has a key that is not a word")
            if event.value == "<<" and event.implicit[0]:
                raise BadIndex(f"{what} has a merge key (<<), which no index needs")
            if event.anchor is not None:
                self._anchors[event.anchor] = event.value
            yield event.value

    def _scalar(self, event: Any) -> Any:
        """The value of a scalar as YAML reads it; None for anything else, which is passed over."""
        text = self._text(event)
        if not isinstance(event, ScalarEvent) or text is None or not event.implicit[0]:
            return text
        try:
            return resolve(text, "kubernetes")
        except ScalarError:
            return text

    def _text(self, event: Any) -> str | None:
        """The words of a scalar; None for anything else, which is passed over."""
        self._skip(event)
        if isinstance(event, ScalarEvent):
            text: str = event.value
            return text
        return self._anchors.get(event.anchor or "") if isinstance(event, AliasEvent) else None

    def _empty(self, event: Any) -> bool:
        return isinstance(event, ScalarEvent) and event.implicit[0] and event.value in ("", "~", "null", "Null", "NULL")

    def _skip(self, event: Any) -> None:
        """Read to the end of the node that begins with `event`. An alias is a node without an inside."""
        depth = 0
        get_event = self._parser.get_event
        while True:
            kind = type(event)
            if kind is ScalarEvent:
                if event.anchor is not None:
                    self._anchors[event.anchor] = event.value
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                depth += 1
                if depth > MAX_DEPTH:
                    raise BadIndex(f"line {event.start_mark.line + 1}: more than {MAX_DEPTH} levels deep")
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                depth -= 1
            elif kind is not AliasEvent:
                raise BadIndex("it ends in the middle")
            if depth == 0:
                return
            event = get_event()

    def _next(self) -> Any:
        event = self._parser.get_event()
        if event is None:
            raise BadIndex("it ends in the middle")
        return event
