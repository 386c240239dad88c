"""Whether an object fits the structural schema of its definition, before any server has seen either of them.

This follows the rules of apiextensions.k8s.io/v1 under server-side apply: a field that is not declared is refused, a
null gives way to a default, a default satisfies `required`. Left to the server, who judges the object again before it
is written: CEL rules, formats, list types, and what the schema says of `metadata` and `status`. In doubt an object
fits.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from trimtab.manifests.pointers import Part, format_path
from trimtab.manifests.refs import Body

Matches: TypeAlias = Callable[[str, str], bool | None]
"""Whether a text has a match of a pattern (RE2) anywhere; None if that cannot be told."""
Schema: TypeAlias = Mapping[str, Any]

_SHOWN: Final = 10
_IMPLIED: Final = ("apiVersion", "kind", "metadata")


class Misfit(NamedTuple):
    """One place where an object does not fit. `unknown`: the schema does not declare the field."""

    path: str
    words: str
    unknown: bool = False

    def __str__(self) -> str:
        return f"{self.path or 'the object'} {self.words}"


def misfits(body: Body, schema: Schema, matches: Matches) -> list[Misfit]:
    """Where `body` does not fit `schema`, the first few. Neither is changed."""
    found: list[Misfit] = []
    inner = {**schema, "required": [name for name in _names(schema, "required") if name not in ("metadata", "status")]}
    rest = {name: value for name, value in body.items() if name not in ("metadata", "status")}
    for misfit in _Check(matches).of(rest, inner, (), implied=True):
        found.append(misfit)
        if len(found) == _SHOWN:
            break
    return found


class _Check:
    def __init__(self, matches: Matches) -> None:
        self._matches = matches

    def of(self, value: Any, schema: Schema, at: tuple[Part, ...], *, implied: bool = False) -> Iterator[Misfit]:
        """Everything about `value`: its type, what it consists of, and the rules about it."""
        if value is None:
            if not schema.get("nullable") and (schema.get("type") or schema.get("x-kubernetes-int-or-string")):
                yield Misfit(format_path(at), f"must be {_wanted(schema)}, it is null")
            return
        if not _fits_type(value, schema):
            yield Misfit(format_path(at), f"must be {_wanted(schema)}, it is {_shown(value)}")
            return
        yield from self._rules(value, schema, at)
        if isinstance(value, dict):
            yield from self._fields(value, schema, at, implied or bool(schema.get("x-kubernetes-embedded-resource")))
        elif isinstance(value, list) and isinstance(schema.get("items"), dict):
            for index, item in enumerate(value):
                yield from self.of(item, schema["items"], (*at, index))

    def _fields(self, value: Body, schema: Schema, at: tuple[Part, ...], implied: bool) -> Iterator[Misfit]:
        properties, more = _map(schema, "properties"), schema.get("additionalProperties")
        for name, part in value.items():
            if name in properties or (implied and name in _IMPLIED):
                inner = properties.get(name)
            elif more is not None:
                inner = more if isinstance(more, dict) else None
            elif schema.get("x-kubernetes-preserve-unknown-fields"):
                inner = None
            else:
                yield Misfit(format_path((*at, name)), "is not declared in the schema", unknown=True)
                continue
            if not isinstance(inner, dict) or (implied and name in _IMPLIED):
                continue
            # a null gives way to the default, where there is one, before the server looks any further
            if part is not None or "default" not in inner:
                yield from self.of(part, inner, (*at, name))

    def _rules(self, value: Any, schema: Schema, at: tuple[Part, ...]) -> Iterator[Misfit]:
        """The rules about a value of the right type, those that are combined by logic included."""
        for words in self._broken(value, schema):
            yield Misfit(format_path(at), words)
        for inner in _schemas(schema, "allOf"):
            yield from self._nested(value, inner, at)
        for name in ("anyOf", "oneOf"):
            choices = _schemas(schema, name)
            fitting = sum(self._fits(value, choice, at) for choice in choices)
            if choices and not fitting:
                yield Misfit(format_path(at), "fits none of its alternatives")
            elif name == "oneOf" and fitting > 1:
                yield Misfit(format_path(at), f"fits {fitting} of its alternatives, not just one")
        never = schema.get("not")
        if isinstance(never, dict) and self._fits(value, never, at):
            yield Misfit(format_path(at), f"is what it must not be: {_shown(value)}")

    def _fits(self, value: Any, schema: Schema, at: tuple[Part, ...]) -> bool:
        return next(self._nested(value, schema, at), None) is None

    def _nested(self, value: Any, schema: Schema, at: tuple[Part, ...]) -> Iterator[Misfit]:
        """Rules inside of a combination: they name fields without declaring them."""
        if not _fits_type(value, schema):
            yield Misfit(format_path(at), f"must be {_wanted(schema)}, it is {_shown(value)}")
            return
        yield from self._rules(value, schema, at)
        if isinstance(value, dict):
            more = schema.get("additionalProperties")
            for name, part in value.items():
                inner = _map(schema, "properties").get(name, more)
                if isinstance(inner, dict) and part is not None:
                    yield from self._nested(part, inner, (*at, name))
        elif isinstance(value, list) and isinstance(schema.get("items"), dict):
            for index, item in enumerate(value):
                yield from self._nested(item, schema["items"], (*at, index))

    def _broken(self, value: Any, schema: Schema) -> Iterator[str]:
        allowed = schema.get("enum")
        if isinstance(allowed, list) and not any(_equal(value, one) for one in allowed):
            yield f"must be one of {', '.join(map(str, allowed[:_SHOWN]))}, it is {_shown(value)}"
        match value:
            case bool():
                return
            case int() | float():
                yield from _broken_number(value, schema)
            case str():
                yield from _broken_size(len(value), schema, "minLength", "maxLength", "characters")
                pattern = schema.get("pattern")
                if isinstance(pattern, str) and self._matches(pattern, value) is False:
                    yield f"must match {pattern}, it is {_shown(value)}"
            case list():
                yield from _broken_size(len(value), schema, "minItems", "maxItems", "items")
            case dict():
                yield from _broken_size(len(value), schema, "minProperties", "maxProperties", "fields")
                properties = _map(schema, "properties")
                for name in _names(schema, "required"):
                    inner = properties.get(name)
                    given = value.get(name) is not None or (name in value and _map(properties, name).get("nullable"))
                    if not given and not (isinstance(inner, dict) and "default" in inner):
                        yield f"lacks {name}, which is required"


def _broken_number(value: float, schema: Schema) -> Iterator[str]:
    least, most = _number(schema, "minimum"), _number(schema, "maximum")
    if least is not None and (value < least or (schema.get("exclusiveMinimum") is True and value == least)):
        yield f"must be {'more than' if schema.get('exclusiveMinimum') is True else 'at least'} {least}, it is {value}"
    if most is not None and (value > most or (schema.get("exclusiveMaximum") is True and value == most)):
        yield f"must be {'less than' if schema.get('exclusiveMaximum') is True else 'at most'} {most}, it is {value}"
    step = _number(schema, "multipleOf")
    if isinstance(step, int) and isinstance(value, int) and step > 0 and value % step:
        yield f"must be a multiple of {step}, it is {value}"


def _broken_size(size: int, schema: Schema, least: str, most: str, unit: str) -> Iterator[str]:
    low, high = _number(schema, least), _number(schema, most)
    if low is not None and size < low:
        yield f"must have at least {low} {unit}, it has {size}"
    if high is not None and size > high:
        yield f"must have at most {high} {unit}, it has {size}"


def _fits_type(value: Any, schema: Schema) -> bool:
    if schema.get("x-kubernetes-int-or-string"):
        return isinstance(value, str) or _is_integer(value)
    match schema.get("type"):
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return _is_integer(value)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            return True


def _is_integer(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _equal(one: Any, other: Any) -> bool:
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def _wanted(schema: Schema) -> str:
    return "an integer or a string" if schema.get("x-kubernetes-int-or-string") else f"of type {schema.get('type')}"


def _shown(value: Any) -> str:
    match value:
        case dict():
            return "an object"
        case list():
            return "an array"
        case bool():
            return str(value).lower()
        case str():
            return repr(value if len(value) <= 60 else value[:57] + "...")
        case _:
            return str(value)


def _map(schema: Schema, name: str) -> Mapping[str, Any]:
    found = schema.get(name)
    return found if isinstance(found, dict) else {}


def _names(schema: Schema, name: str) -> list[str]:
    found = schema.get(name)
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def _schemas(schema: Schema, name: str) -> list[Schema]:
    found = schema.get(name)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _number(schema: Schema, name: str) -> float | None:
    found = schema.get(name)
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None
