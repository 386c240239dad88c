"""The values of a release: pieces from ConfigMaps and Secrets in their order, then what stands in the object. Pure.

Laid over each other as Helm does: a map into a map, anything else takes the place of what was there, and a null stays,
because it is for the chart's own defaults that it deletes. Errors name where a piece came from, never what it holds.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from trimtab.api.names import Reason
from trimtab.base.errors import Terminal
from trimtab.helm.setting import BadSetting, set_literal, set_text, set_value
from trimtab.manifests import codec
from trimtab.manifests.refs import Body
from trimtab.manifests.yaml import YamlError, load
from trimtab.sources.charts.values import merged

VALUES_KEY: Final = "values.yaml"
"""The key a piece is read from that does not name one."""
REASON: Final = Reason.VALUES_ERROR

_QUOTES: Final = "'\""
_EXACT: Final = 1 << 53


class Piece(NamedTuple):
    """What one entry of `valuesFrom` brings. `where` names the object and the key; `data` is secret."""

    where: str
    data: bytes
    target_path: str = ""
    literal: bool = False

    def __repr__(self) -> str:
        return f"Piece({self.where})"


class Values(NamedTuple):
    """Composed values. `digest` is equal for equal ones, whoever wrote them."""

    body: Body
    digest: str

    def __repr__(self) -> str:
        return f"Values({self.digest})"


def compose(pieces: Iterable[Piece], inline: Mapping[str, Any]) -> Values:
    """`pieces` in their order with `inline` on top. Raises Terminal, which names the piece.

    A piece with a path is set into what is there by then, what is inline included, as Flux does: below a map that only
    the object itself has, such a piece wins; at the top and below a map that another piece has too, the object does.
    """
    own: Body = codec.clone(dict(inline))
    result: Body = {}
    for piece in pieces:
        if piece.target_path:
            # Maps of `own` that meet nothing are shared from here on, and that is what the rule above comes from.
            result = merged(result, own)
            _set(result, piece)
        else:
            result = merged(result, _map(piece))
    result = merged(result, own)
    return Values(result, digest_of(result))


def preserving(before: Mapping[str, Any], values: Values) -> Values:
    """`values` laid over those of the revision before. The same again changes nothing: a null stays what it is."""
    body = merged(before, values.body)
    return Values(body, digest_of(body))


def scalars(value: Any) -> Iterator[str]:
    """The texts and numbers in `value`, as texts."""
    match value:
        case dict():
            for item in value.values():
                yield from scalars(item)
        case list():
            for item in value:
                yield from scalars(item)
        case bool() | None:
            return
        case _:
            yield str(value)


def digest_of(values: Mapping[str, Any]) -> str:
    """Equal for equal values, also of a record that another program wrote: 1.0 and 1 are one number to it."""
    return codec.digest(_plain(dict(values)))


def _set(into: Body, piece: Piece) -> None:
    try:
        text = piece.data.decode()
    except UnicodeDecodeError:
        raise _bad(piece, "it is not text in UTF-8") from None
    try:
        if piece.literal:
            set_literal(into, f"{piece.target_path}={text}")
        elif text.startswith(("'", '"')) and text[-1] == text[0]:
            set_text(into, f"{piece.target_path}={text.strip(_QUOTES)}")
        else:
            set_value(into, f"{piece.target_path}={text}")
    except BadSetting as problem:
        raise _bad(piece, f"it cannot be set at {piece.target_path}: {problem}") from None


def _map(piece: Piece) -> Body:
    # The cause of a YAML error may quote the text that it is about; line and column are enough to find it.
    try:
        documents = load(piece.data, piece.where, dialect="kubernetes")
    except YamlError as problem:
        place = f" at line {problem.line}, column {problem.column}" if problem.line else ""
        raise _bad(piece, f"it cannot be read as YAML{place}") from None
    if not documents:
        return {}
    if len(documents) > 1 or not isinstance(documents[0].value, dict):
        raise _bad(piece, "it is not one map of values")
    found: Body = documents[0].value
    return found


def _bad(piece: Piece, cause: str) -> Terminal:
    return Terminal(REASON, f"the values in {piece.where} cannot be used: {cause}")


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case float() if value.is_integer() and abs(value) <= _EXACT:
            return int(value)
        case _:
            return value
