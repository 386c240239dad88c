"""The rules that a definition has in CEL (`x-kubernetes-validations`), as a server judges a new object by them. Pure.

A rule that needs what is not served here (other functions, an object that was there before) is left to the server, and
so is one that has no answer: in doubt an object fits.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from trimtab.manifests import codec
from trimtab.manifests.pointers import Part, format_path
from trimtab.manifests.refs import Body

if TYPE_CHECKING:
    # what evaluates expressions takes long to import, and most objects have no rules
    from trimtab.health.expressions import Expression

_FIELD: Final = "x-kubernetes-validations"
_CREATED: Final = "oldSelf.hasValue() || "
"""How a rule begins that is for new objects only."""
_OLD: Final = "oldSelf"
_DEEPEST: Final = 64


class Rule(NamedTuple):
    """A rule that can be judged, and what to say where it is broken."""

    expression: "Expression"
    words: str


class Rules:
    """The rules of one schema, where they stand in it."""

    def __init__(self, schema: Mapping[str, Any], depth: int = 0) -> None:
        self._schema = schema
        self._own = [rule for one in _list(schema) if (rule := _compiled(one)) is not None]
        inner: dict[str, Rules] = {}
        if depth < _DEEPEST:
            properties = schema.get("properties")
            for name, part in properties.items() if isinstance(properties, dict) else ():
                if isinstance(part, dict) and (rules := Rules(part, depth + 1)):
                    inner[name] = rules
        self._fields = inner
        self._items = _maybe(schema.get("items"), depth)
        self._more = _maybe(schema.get("additionalProperties"), depth)

    def __bool__(self) -> bool:
        return bool(self._own or self._fields or self._items or self._more)

    def broken(self, body: Body) -> Iterator[tuple[str, str]]:
        """Pairs of a path and the rule that is broken there; `body` fits its schema."""
        if self:
            filled = _filled(codec.clone(body), self._schema)
            for path, words in self.within(filled, ()):
                yield format_path(path), words

    def within(self, value: Any, at: tuple[Part, ...]) -> Iterator[tuple[tuple[Part, ...], str]]:
        """As `broken`, of a part of an object that stands at `at`."""
        from trimtab.health.expressions import EvaluationError

        for rule in self._own:
            try:
                if not rule.expression.evaluate({"self": value}):
                    yield at, rule.words
            except EvaluationError:
                continue
        if isinstance(value, dict):
            for name, part in value.items():
                rules = self._fields.get(name, self._more)
                if rules is not None and part is not None:
                    yield from rules.within(part, (*at, name))
        elif isinstance(value, list) and self._items is not None:
            for index, part in enumerate(value):
                yield from self._items.within(part, (*at, index))


def _maybe(schema: Any, depth: int) -> Rules | None:
    if not isinstance(schema, dict) or depth >= _DEEPEST:
        return None
    return Rules(schema, depth + 1) or None


def _list(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = schema.get(_FIELD)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _compiled(rule: Mapping[str, Any]) -> Rule | None:
    from trimtab.health import expressions

    text = str(rule.get("rule", "")).removeprefix(_CREATED)
    if _OLD in text:
        return None
    try:
        return Rule(expressions.compile(text, ("self",)), str(rule.get("message") or f"failed rule: {text}"))
    except expressions.ExpressionError:
        return None


def _filled(value: Any, schema: Mapping[str, Any], depth: int = 0) -> Any:
    """`value`, which is changed, with the defaults that a server puts in first."""
    properties = schema.get("properties")
    if depth > _DEEPEST:
        return value
    if isinstance(value, dict):
        for name, part in properties.items() if isinstance(properties, dict) else ():
            if not isinstance(part, dict):
                continue
            if value.get(name) is None and "default" in part:
                value[name] = codec.clone(part["default"])
            if name in value:
                value[name] = _filled(value[name], part, depth + 1)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [_filled(part, schema["items"], depth + 1) for part in value]
    return value
