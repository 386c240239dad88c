"""From files to objects, each with the place it was written at; what is wrong with a document is a finding."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from trimtab.base.errors import Terminal
from trimtab.manifests.pointers import Part, parse_path
from trimtab.manifests.positions import line_of
from trimtab.manifests.refs import Body, Manifest, Origin, Ref
from trimtab.manifests.scalars import Dialect
from trimtab.manifests.yaml import Document, YamlError, load, manifests_of
from trimtab.render.files import refuse_pointer
from trimtab.validate.finding import Finding, Level, Rule

_KUSTOMIZATION: Final = "kustomize.config.k8s.io/"
_PLACE: Final = re.compile(r"^(?P<file>[^\n:]+?)(?::(?P<line>[0-9]+))?(?::[0-9]+)?: ")


class Item(NamedTuple):
    """An object that is to be judged. `prefix` is its place in the document it was written in, `built`: not as it was
    written; `hidden`: nothing of its values may be told."""

    body: Body
    origin: Origin
    prefix: tuple[Part, ...] = ()
    built: bool = False
    hidden: bool = False

    @property
    def ref(self) -> Ref:
        return Ref.of(self.body)


class Read(NamedTuple):
    """What became of a file."""

    items: list[Item]
    findings: list[Finding]
    left_out: int


def read(data: bytes, file: str, *, named: bool, dialect: Dialect = "kustomize") -> Read:
    """The objects in `data`. What is no manifest is left out, unless the file was `named` by whoever asked."""
    try:
        refuse_pointer(data, file)
        documents = load(data, file, dialect=dialect)
    except Terminal as wrong:
        return Read([], [at_fault(wrong, file, Rule.FILE)], 0)
    items: list[Item] = []
    findings: list[Finding] = []
    left_out = 0
    for document in documents:
        if not named and not _looks_like_one(document.value):
            left_out += 1
            continue
        try:
            items += _items(document)
        except YamlError as wrong:
            findings.append(at_fault(wrong, file, Rule.OBJECT))
    return Read(items, findings, left_out)


def at_fault(wrong: Terminal, file: str, rule: Rule, label: str = "") -> Finding:
    """A failure as a finding, at the place it names; else at the beginning of `file`. `label` stands before places."""
    message = str(wrong)
    if isinstance(wrong, YamlError):
        return Finding(Level.ERROR, rule, Origin(label + wrong.file, wrong.line or 1), _without(message))
    found = _PLACE.match(message)
    if found and ("/" in found["file"] or found["file"].endswith((".yaml", ".yml"))) and " " not in found["file"]:
        return Finding(
            Level.ERROR, rule, Origin(label + found["file"], int(found["line"] or 1)), message[found.end() :]
        )
    return Finding(Level.ERROR, rule, Origin(file, 1), message)


def _without(message: str) -> str:
    found = _PLACE.match(message)
    return message[found.end() :] if found else message


def _looks_like_one(value: Any) -> bool:
    return isinstance(value, dict) and ("kind" in value or "apiVersion" in value)


def _items(document: Document) -> Iterator[Item]:
    value = document.value
    found = manifests_of([document])
    if isinstance(value, dict) and str(value.get("kind", "")).endswith("List") and isinstance(value.get("items"), list):
        places = [index for index, item in enumerate(value["items"]) if item not in (None, {}, [])]
        # a List in a List has more objects than items: then the place is that of the outermost
        numbered = places if len(places) == len(found) else [0] * len(found)
        for (body, origin), index in zip(found, numbered, strict=True):
            yield Item(body, origin, ("items", index))
        return
    for body, origin in found:
        if not body["apiVersion"].startswith(_KUSTOMIZATION):
            yield Item(body, origin)


def built(manifests: Iterable[Manifest], label: str, hidden: frozenset[Ref]) -> list[Item]:
    """Objects that come out of a build; `label` stands before the files they were written in."""
    return [
        Item(body, origin._replace(file=label + origin.file), built=True, hidden=Ref.of(body) in hidden)
        for body, origin in manifests
    ]


class Sources:
    """The contents of files by their labels, for the lines of findings."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._contents = contents

    def place(self, item: Item, path: str) -> Origin:
        """Where the part at `path` of `item` is written, as near as can be told."""
        data = self._contents.get(item.origin.file)
        if data is None or not item.origin.document:
            return item.origin
        line = line_of(data, item.origin.document, (*item.prefix, *parse_path(path)))
        # what a build has put into an object stands elsewhere: then the object is named
        return item.origin._replace(line=max(line, item.origin.line))
