"""Variables put into built objects, as Flux does it, but nothing that a value holds gets out of its place. Pure.

Flux writes an object as YAML, puts the values into that text, and reads it again; a value with a line break, a quote or
an anchor then rewrites whatever is near it. Here the same is done with one key or one value at a time: it is written as
it would stand in that text, filled, and read again alone. So `port: ${PORT}` becomes a number and `{a: b}` a mapping,
as there; what would reach beyond its own place is an error.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

from trimtab.api import names
from trimtab.base.errors import Terminal
from trimtab.manifests import codec
from trimtab.manifests.refs import Body, Manifest, Ref
from trimtab.manifests.yaml import Document, YamlError, load, manifests_of
from trimtab.render import envsubst, written
from trimtab.render.envsubst import ExpressionError
from trimtab.render.operators import Budget
from trimtab.render.variables import Variables

MAX_OUTPUT: Final = 64 << 20
MAX_WORK: Final = 256 << 20
"""For all objects of one build together."""
_PLACE: Final = "k"
_NEW_LINE = re.compile("\r(?!\n|\\Z)|[\x85\u2028\u2029]")
"""Line breaks that only a value can have brought. At the end of a line a carriage return is harmless."""


def filled(
    manifests: Sequence[Manifest],
    variables: Variables,
    secret: Collection[Ref] = (),
    made: set[str] | None = None,
) -> tuple[list[Manifest], frozenset[Ref]]:
    """`manifests` with the values in them; what opted out, and what names no variable, is what it was.

    Also which of them are secret: those of `secret`, whatever they are called now, and those that a value from a Secret
    went into. Into `made` goes every text that has become of an expression with such a value, which it may have cut.

    Raises Terminal (BuildFailed) that names the file and line, the object, the field and the variable, never a value.
    """
    budget = Budget(MAX_OUTPUT, MAX_WORK)
    found: list[Manifest] = []
    hidden: set[Ref] = set()
    for manifest in manifests:
        is_secret = manifest.ref in secret
        if b"$" not in codec.encode(manifest.body) or opted_out(manifest.body):
            now = [manifest]
        else:
            filling = _Filling(manifest, variables, budget)
            body = filling.of(manifest.body, ())
            now = list(manifests_of([Document(body, manifest.origin)]))
            is_secret = is_secret or filling.confidential
            if made is not None:
                made |= filling.made
        found += now
        if is_secret:
            hidden.update(one.ref for one in now)
    return found, frozenset(hidden)


def opted_out(body: Body) -> bool:
    """Whether the object says that expressions in it are its own."""
    metadata = body["metadata"]
    return any(
        str((metadata.get(field) or {}).get(names.OBJECT_SUBSTITUTE, "")).lower() == names.DISABLED
        for field in ("annotations", "labels")
    )


Path = tuple[str | int, ...]


class _Filling:
    """One object, being filled."""

    def __init__(self, manifest: Manifest, variables: Variables, budget: Budget) -> None:
        self._manifest = manifest
        self._variables = variables
        self._budget = budget
        self.confidential = False
        self.made: set[str] = set()

    def of(self, node: Any, path: Path) -> Any:
        match node:
            case str():
                return self._value(node, path) if "$" in node else node
            case dict():
                return self._mapping(node, path)
            case list():
                return [self.of(item, (*path, place)) for place, item in enumerate(node)]
            case _:
                return node

    def _mapping(self, node: dict[str, Any], path: Path) -> dict[str, Any]:
        filled: dict[str, Any] = {}
        for name, item in node.items():
            key = self._key(name, (*path, name)) if "$" in name else name
            if key in filled or (key != name and key in node):
                raise self._wrong((*path, name), "the key becomes one that is there already")
            filled[key] = self.of(item, (*path, name))
        return filled

    def _value(self, text: str, path: Path) -> Any:
        in_list = isinstance(path[-1], int)
        was = written.value(text)
        filled, used = self._expanded(was, path)
        if filled == was:
            return text
        read = self._read(("- " if in_list else f"{_PLACE}: ") + filled, used, path)
        if in_list and isinstance(read, list) and len(read) == 1:
            return self._made(read[0], used)
        if not in_list and isinstance(read, dict) and list(read) == [_PLACE]:
            return self._made(read[_PLACE], used)
        raise self._escaped(used, path)

    def _key(self, text: str, path: Path) -> str:
        was = written.key(text)
        filled, used = self._expanded(was, path)
        if filled == was:
            return text
        read = self._read(f"{filled}: {_PLACE}", used, path)
        if isinstance(read, dict) and list(read.values()) == [_PLACE]:
            return str(self._made(next(iter(read)), used))
        raise self._escaped(used, path)

    def _made(self, value: Any, used: Sequence[str]) -> Any:
        """`value`, which an expression has become that names `used`."""
        if not self._variables.confidential.isdisjoint(used):
            self.made.update(texts(value))
        return value

    def _expanded(self, text: str, path: Path) -> tuple[str, Sequence[str]]:
        """`text` with the values in it, and the variables that it names."""
        try:
            template = envsubst.parse(text)
            filled = template.expand(self._variables.values, strict=self._variables.strict, budget=self._budget)
        except ExpressionError as error:
            cause = str(error)
            if error.unset in self._variables.unreadable:
                cause += ": its value is not UTF-8; keep it elsewhere, or as base64"
            elif error.unset:
                cause += (
                    f" (strict mode); give it a value in spec.postBuild or a default, ${{{error.unset}:=…}}, or "
                    f"write $${{{error.unset}}} if it is not meant for us"
                )
            raise self._wrong(path, cause) from None
        if not self._variables.confidential.isdisjoint(template.variables):
            self.confidential = True
        return filled, template.variables

    def _read(self, text: str, used: Sequence[str], path: Path) -> Any:
        if _NEW_LINE.search(text):
            raise self._escaped(used, path)
        try:
            documents = load(text.encode(), "", dialect="kubernetes")
        except YamlError:
            # Its words quote what was read, which may be a secret.
            raise self._escaped(used, path) from None
        return documents[0].value if len(documents) == 1 else None

    def _escaped(self, used: Sequence[str], path: Path) -> Terminal:
        whose = f"the value of {', '.join(used)}" if used else "$$"
        return self._wrong(
            path,
            f"{whose} does not fit in here: with it the text is no longer one YAML value, because of quotes, a colon, "
            "a line break or the like; put quotes around the expression or into the value",
        )

    def _wrong(self, path: Path, cause: str) -> Terminal:
        manifest = self._manifest
        return Terminal("BuildFailed", f"{manifest.origin}: {manifest.ref}: {''.join(_shown(path))}: {cause}")


def texts(value: Any) -> Iterator[str]:
    """Every text and number in `value`, and every key."""
    match value:
        case dict():
            for name, item in value.items():
                yield str(name)
                yield from texts(item)
        case list():
            for item in value:
                yield from texts(item)
        case None | "" | bool():
            return
        case _:
            yield str(value)


def _shown(path: Path) -> Iterator[str]:
    for place, step in enumerate(path):
        if isinstance(step, int):
            yield f"[{step}]"
        else:
            yield f"{'.' if place else ''}{step}" if "." not in step else f"[{step!r}]"
