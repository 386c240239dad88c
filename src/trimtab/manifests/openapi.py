"""Whether an object fits the OpenAPI schema of a kind that is built into Kubernetes. Pure.

A schema is compiled once into functions that call each other; what they return is nothing, or what does not fit, so
that an object without a mistake costs no paths. Fields that are not declared are refused, as a server does that is
asked to be strict; nulls are as good as absent, as Go reads them. `status` is the server's own and not looked at.
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from trimtab.manifests.pointers import Part, format_path
from trimtab.manifests.refs import Body
from trimtab.manifests.structural import Misfit

Place: TypeAlias = tuple[tuple[Part, ...], str, bool]
"""Where, below the value that was looked at, what is wrong, and whether it is a field that is not declared."""
Check: TypeAlias = Callable[[Any], Sequence[Place]]

_QUANTITY: Final = re.compile(
    r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?", re.ASCII
)
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)
_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_LATER: Final = ("${", "ENC[AES256_GCM,")
"""Texts that something else will be put in the place of: a variable, and what SOPS has encrypted."""
_INT32: Final = range(-(1 << 31), 1 << 31)
_FINE: Final[Sequence[Place]] = ()
_NOTHING: Final = (None, "")
_SHOWN: Final = 60
_MISSING: Final = object()
_SERVER_FIELDS: Final = ("status",)


def is_open(value: Any) -> bool:
    """Whether `value` is a text that says nothing yet of what will stand in its place."""
    return type(value) is str and any(mark in value for mark in _LATER)


class Schemas:
    """Named schemas that refer to each other, compiled as they are asked for."""

    def __init__(self, schemas: Mapping[str, Any]) -> None:
        self._schemas = schemas
        self._compiled: dict[str, Check] = {}

    def misfits(self, body: Body, name: str) -> list[Misfit]:
        """Where `body` does not fit the schema of that name."""
        return [
            Misfit(format_path(path), words, unknown)
            for path, words, unknown in self.named(name)(body)
            if path[:1] != _SERVER_FIELDS
        ]

    def named(self, name: str) -> Check:
        """The check of the schema `name`. One that nobody knows is fit for everything."""
        if (known := self._compiled.get(name)) is not None:
            return known
        # a schema may contain itself: until it is compiled, it is looked up when it is called
        self._compiled[name] = partial(self._later, name)
        self._compiled[name] = compiled = self._of(name, self._schemas.get(name, {}))
        return compiled

    def _later(self, name: str, value: Any) -> Sequence[Place]:
        return self._compiled[name](value)

    def _of(self, name: str, schema: Mapping[str, Any]) -> Check:
        if name.endswith(".Quantity"):
            return _quantity
        if name.endswith(".IntOrString"):
            return _int_or_string
        return self._compile(schema)

    def _compile(self, schema: Mapping[str, Any]) -> Check:
        if "$ref" in schema:
            return self.named(schema["$ref"])
        match schema.get("type"):
            case "object":
                return self._object(schema)
            case "array":
                return self._array(schema)
            case "string":
                return _string(schema)
            case "integer":
                return _integer if schema.get("format") == "int64" else _integer32
            case "boolean":
                return _boolean
            case "number":
                return _number
            case _:
                return _anything

    def _object(self, schema: Mapping[str, Any]) -> Check:
        if "properties" not in schema:
            more = schema.get("additionalProperties")
            return _map(self._compile(more)) if isinstance(more, dict) else _any_object
        fields = {name: self._compile(inner) for name, inner in schema["properties"].items()}
        required = tuple(schema.get("required", ()))
        is_open_ended = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
        return _struct(fields, required, unknown_is_fine=is_open_ended)

    def _array(self, schema: Mapping[str, Any]) -> Check:
        item = self._compile(schema.get("items", {}))
        keys = tuple(schema.get("keys", ()))

        def check(value: Any) -> Sequence[Place]:
            if type(value) is not list:
                return _FINE if is_open(value) else (((), f"must be a list, it is {shown(value)}", False),)
            found: list[Place] = []
            for index, part in enumerate(value):
                if part is None:
                    found.append(((index,), "is empty: remove the dash, or say what it is to be", False))
                elif bad := item(part):
                    found += [((index, *path), words, unknown) for path, words, unknown in bad]
            if keys and len(value) > 1:
                found += _twice(value, keys)
            return found

        return check


def _struct(fields: Mapping[str, Check], required: Sequence[str], *, unknown_is_fine: bool) -> Check:
    look_up = fields.get

    def check(value: Any) -> Sequence[Place]:
        if type(value) is not dict:
            return (((), f"must be an object, it is {shown(value)}", False),)
        found: list[Place] = []
        for name, part in value.items():
            inner = look_up(name, _MISSING)
            if inner is _MISSING:
                if not unknown_is_fine:
                    found.append(((name,), f"is not a field that is known here{_meant(name, fields)}", True))
            elif part is not None and (bad := inner(part)):  # type: ignore[operator]
                found += [((name, *path), words, unknown) for path, words, unknown in bad]
        for name in required:
            # to Go, an empty text is none
            if value.get(name) in _NOTHING:
                found.append(((), f"lacks {name}, which is required", False))
        return found

    return check


def _map(item: Check) -> Check:
    def check(value: Any) -> Sequence[Place]:
        if type(value) is not dict:
            return _FINE if is_open(value) else (((), f"must be an object, it is {shown(value)}", False),)
        found: list[Place] = []
        for name, part in value.items():
            if part is not None and (bad := item(part)):
                found += [((name, *path), words, unknown) for path, words, unknown in bad]
        return found

    return check


def _string(schema: Mapping[str, Any]) -> Check:
    allowed = tuple(schema.get("enum", ()))
    shape = schema.get("format")

    def check(value: Any) -> Sequence[Place]:
        if type(value) is not str:
            return (((), f"must be a string, it is {shown(value)}: put it into quotes", False),)
        # the server fills an empty text with its default, where there is one
        if allowed and value and value not in allowed and not is_open(value):
            return (((), f"must be one of {', '.join(allowed)}, it is {shown(value)}{_meant(value, allowed)}", False),)
        if shape == "byte" and not _BASE64.fullmatch(value.replace("\n", "").replace("\r", "")) and not is_open(value):
            return (((), "is not base64: put what is no base64 into stringData", False),)
        if shape == "date-time" and not _TIME.fullmatch(value) and not is_open(value):
            return (((), f"must be a time such as 2026-01-31T12:00:00Z, it is {shown(value)}", False),)
        return _FINE

    return check


def _integer(value: Any) -> Sequence[Place]:
    if type(value) is int or is_open(value):
        return _FINE
    return (((), f"must be an integer, it is {shown(value)}", False),)


def _integer32(value: Any) -> Sequence[Place]:
    if type(value) is int:
        return _FINE if value in _INT32 else (((), f"is too large a number: {value}", False),)
    return _integer(value)


def _number(value: Any) -> Sequence[Place]:
    if type(value) in (int, float) or is_open(value):
        return _FINE
    return (((), f"must be a number, it is {shown(value)}", False),)


def _boolean(value: Any) -> Sequence[Place]:
    if type(value) is bool or is_open(value):
        return _FINE
    return (((), f"must be true or false, it is {shown(value)}", False),)


def _quantity(value: Any) -> Sequence[Place]:
    if type(value) in (int, float) or is_open(value) or (type(value) is str and _QUANTITY.fullmatch(value)):
        return _FINE
    return (((), f"must be a quantity such as 100m or 2Gi, it is {shown(value)}", False),)


def _int_or_string(value: Any) -> Sequence[Place]:
    if type(value) in (int, str):
        return _FINE
    return (((), f"must be an integer or a string, it is {shown(value)}", False),)


def _any_object(value: Any) -> Sequence[Place]:
    if type(value) is dict or is_open(value):
        return _FINE
    return (((), f"must be an object, it is {shown(value)}", False),)


def _anything(_value: Any) -> Sequence[Place]:
    return _FINE


def _twice(items: Sequence[Any], keys: Sequence[str]) -> list[Place]:
    """Items of a keyed list with equal keys: for server-side apply they are one and the same."""
    seen: dict[tuple[Any, ...], int] = {}
    found: list[Place] = []
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            continue
        key = tuple(_key(item, name) for name in keys)
        if any(isinstance(part, dict | list) for part in key):
            continue
        first = seen.setdefault(key, index)
        if first != index:
            words = ", ".join(f"{name} {shown(part)}" for name, part in zip(keys, key, strict=True))
            found.append(((index,), f"has the {words} of the item at {first}", False))
    return found


def _key(item: Mapping[str, Any], name: str) -> Any:
    value = item.get(name)
    return "TCP" if value is None and name == "protocol" else value


def shown(value: Any) -> str:
    """`value` for people, short."""
    match value:
        case dict():
            return "an object"
        case list():
            return "a list"
        case bool():
            return str(value).lower()
        case str():
            return repr(value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…")
        case _:
            return str(value)


def _meant(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f"; is {near[0]} meant?" if near else ""
