"""YAML and JSON from outside, read by the rules of the program whose place we take.

libyaml's events with a builder of our own: PyYAML's composers recurse in C and kill the process on deep input, know
YAML 1.1's types, and let the last of two equal keys win. Here depth, size and the expansion of aliases are bounded
while reading, equal keys are an error, and nothing that is built shares a part with anything else, so bodies may be
changed later. What plain scalars mean is decided in `scalars`.
"""

import re
from typing import Any, Final

from yaml.error import MarkedYAMLError, YAMLError
from yaml.reader import ReaderError

from trimtab.manifests.builder import Builder, Document, YamlError
from trimtab.manifests.refs import Body, Manifest, Origin
from trimtab.manifests.scalars import Dialect

__all__ = ["MAX_BYTES", "Dialect", "Document", "YamlError", "load", "manifests_of"]

MAX_BYTES: Final = 10 << 20

_BOM: Final = b"\xef\xbb\xbf"
_SEPARATOR = re.compile(rb"\n---(.*)\n")


def load(data: bytes, file: str, *, dialect: Dialect = "kustomize") -> list[Document]:
    """The documents of a YAML or JSON stream; empty ones are left out but counted.

    `file` is only for messages and origins. Raises YamlError with file, line and column.
    """
    data = _checked(data, file, dialect)
    try:
        return Builder(data, file, dialect).documents()
    except ReaderError as error:
        line, column = _place(data, error.position)
        raise YamlError(file, line, column, f"{error.reason} (#x{_code(error.character):04x})") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        cause = ", ".join(part for part in (error.context, error.problem) if part) or "is not YAML"
        raise YamlError(file, mark.line + 1 if mark else 0, mark.column + 1 if mark else 0, cause) from None
    except YAMLError as error:
        raise YamlError(file, 0, 0, f"is not YAML: {error}") from None


def manifests_of(documents: list[Document]) -> list[Manifest]:
    """The objects in `documents`: kinds that end in List are replaced by their items, empty documents are skipped.

    Raises YamlError where a document is not an object or lacks apiVersion, kind or metadata.name.
    """
    found: list[Manifest] = []
    pending = [(document.value, document.origin, "") for document in reversed(documents)]
    while pending:
        value, origin, where = pending.pop()
        if value is None or value in ({}, []):
            continue
        body = _object(value, origin, where)
        items = body.get("items")
        if body["kind"].endswith("List") and "items" in body:
            if items is not None and not isinstance(items, list):
                raise YamlError(origin.file, origin.line, 1, f"{where}items of a {body['kind']} is not a list")
            numbered = list(enumerate(items or ()))
            pending.extend((item, origin, f"{where}items[{index}]: ") for index, item in reversed(numbered))
            continue
        metadata = body.get("metadata")
        if not isinstance(metadata, dict):
            metadata = {}
        name = metadata.get("name")
        if not isinstance(name, str) or not name:
            raise YamlError(origin.file, origin.line, 1, f"{where}{body['kind']} has no metadata.name")
        namespace = metadata.get("namespace")
        if namespace is not None and not isinstance(namespace, str):
            cause = f"{where}{body['kind']} {name}: metadata.namespace is not a string"
            raise YamlError(origin.file, origin.line, 1, cause)
        for field in ("labels", "annotations"):
            if not isinstance(metadata.get(field) or {}, dict):
                cause = f"{where}{body['kind']} {name}: metadata.{field} is not a map"
                raise YamlError(origin.file, origin.line, 1, cause)
        found.append(Manifest(body, origin))
    return found


def _object(value: Any, origin: Origin, where: str) -> Body:
    if not isinstance(value, dict):
        raise YamlError(origin.file, origin.line, 1, f"{where}expected a Kubernetes object, found {_shape(value)}")
    for field in ("apiVersion", "kind"):
        if not isinstance(value.get(field), str) or not value[field]:
            raise YamlError(origin.file, origin.line, 1, f"{where}object has no {field}")
    return value


def _shape(value: Any) -> str:
    match value:
        case list():
            return "a list"
        case dict():
            return "a map"
        case str():
            return "a string"
        case None:
            return "nothing"
        case _:
            return "a plain value"


def _checked(data: bytes, file: str, dialect: Dialect) -> bytes:
    """`data` without its byte order mark, once the bytes as such are fit to be parsed."""
    if len(data) > MAX_BYTES:
        raise YamlError(file, 0, 0, f"has {len(data):,} bytes, more than the {MAX_BYTES:,} that are read")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise YamlError(file, 1, 1, "is UTF-16; save it as UTF-8")
    data = data.removeprefix(_BOM)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line, column = _place(data, error.start)
        raise YamlError(file, line, column, f"byte 0x{data[error.start]:02x} is not UTF-8") from None
    if (stray := data.find(b"\n" + _BOM)) >= 0 or data.startswith(_BOM):
        line, column = _place(data, stray + 1)
        raise YamlError(file, line, column, "a second byte order mark; files were joined without removing it")
    if dialect == "kustomize":
        for match in _SEPARATOR.finditer(data):
            # kustomize cuts a stream at these lines before it parses, and refuses what it would lose.
            rest = match[1].strip()
            if rest and not rest.startswith(b"#"):
                line, _ = _place(data, match.start() + 1)
                raise YamlError(file, line, 1, "only a comment may follow --- on its line")
    return data


def _code(character: int | str | bytes) -> int:
    return character if isinstance(character, int) else ord(character)


def _place(data: bytes, offset: int) -> tuple[int, int]:
    """Line and column, from 1, of a byte."""
    before = data[:offset]
    start = before.rfind(b"\n") + 1
    return before.count(b"\n") + 1, len(before[start:].decode(errors="replace")) + 1
