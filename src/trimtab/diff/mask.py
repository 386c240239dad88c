"""Secrets, shown: that a value differs, and neither the value nor its length."""

import base64
import json
from collections.abc import Iterable
from typing import Any, Final

from trimtab.diff.compare import Difference
from trimtab.manifests import codec
from trimtab.manifests.pointers import Member, format_path, parse_path
from trimtab.manifests.refs import Body

MASK: Final = "++++++++"
_STEP: Final = "++++"
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_DATA: Final = ("data", "stringData")


def masked(differences: Iterable[Difference]) -> list[Difference]:
    """The differences of a Secret without its values. What is new is `++++++++`, what was before `++++++++++++`.

    Masking comes after the comparison, so a changed value is a difference, and equal ones are none.
    """
    return [_masked(difference) for difference in differences]


def hidden(differences: Iterable[Difference]) -> list[Difference]:
    """The differences of an object of which no value may be shown, wherever it is."""
    return [
        difference._replace(
            path=_without_members(difference.path),
            before=_hidden(difference.before, MASK + _STEP),
            after=_hidden(difference.after, MASK),
        )
        for difference in differences
    ]


def _without_members(path: str) -> str:
    """`path` without the values in it: a member of a set is named by its value, which is one of the object's."""
    parts = parse_path(path)
    if not any(isinstance(part, Member) for part in parts):
        return path
    return format_path(tuple(Member(MASK) if isinstance(part, Member) else part for part in parts))


def shown(kind: str, differences: Iterable[Difference], *, secret: bool) -> tuple[Difference, ...]:
    """The differences of an object of that kind as they may be told to anybody who sees the object named.

    `secret`: something of it was decrypted, or is the value of a Secret. Nobody knows where that is, so nothing of it
    is shown. Elsewhere the annotation that may hold a whole manifest is masked.
    """
    if secret:
        return tuple(hidden(differences))
    if kind == "Secret":
        return tuple(masked(differences))
    return tuple(
        masked([difference])[0] if LAST_APPLIED in difference.path else difference for difference in differences
    )


def _masked(difference: Difference) -> Difference:
    parts = parse_path(difference.path)
    before, after = difference.before, difference.after
    if parts and parts[0] in _DATA:
        return difference._replace(before=_hidden(before, MASK + _STEP), after=_hidden(after, MASK))
    if LAST_APPLIED in parts:
        return difference._replace(before=_hidden(before, MASK + _STEP), after=_hidden(after, MASK))
    if parts == ("metadata",) or parts == ("metadata", "annotations") or not parts:
        return difference._replace(before=_without_values(before, MASK + _STEP), after=_without_values(after, MASK))
    return difference


def _hidden(value: Any, mask: str) -> Any:
    """Every leaf replaced; the keys of a Secret are no secret."""
    if isinstance(value, dict):
        return {key: _hidden(item, mask) for key, item in value.items()}
    if isinstance(value, list):
        return [_hidden(item, mask) for item in value]
    return None if value is None else mask


def _without_values(value: Any, mask: str) -> Any:
    """A part of a Secret above its data, with everything below that may hold values hidden."""
    if not isinstance(value, dict):
        return value
    return {
        key: _hidden(item, mask) if key in (*_DATA, LAST_APPLIED) else _without_values(item, mask)
        for key, item in value.items()
    }


def mask_secret(
    target: Body | None, live: Body | None, *, annotations: Iterable[str] = ()
) -> tuple[Body | None, Body | None]:
    """Copies of a Secret as wanted and as it is, fit to be shown side by side; `stringData` is folded into `data`.

    Under one key equal values get equal masks and different values masks of different length, which says nothing
    about their own. The last applied configuration and the named annotations are masked with them.
    """
    hidden = frozenset(annotations)
    masks: dict[str, dict[str, str]] = {}
    shown = [codec.clone(body) if body is not None else None for body in (target, live)]
    for body in shown:
        if body is not None:
            _mask_body(body, masks, hidden)
    for body in shown:
        if body is not None and LAST_APPLIED not in hidden:
            _mask_last_applied(_annotations(body), masks, hidden)
    return shown[0], shown[1]


def _mask_body(body: Body, masks: dict[str, dict[str, str]], hidden: frozenset[str]) -> None:
    plain = body.pop("stringData", None)
    if isinstance(plain, dict) and isinstance(body.get("data") or {}, dict):
        body["data"] = (body.get("data") or {}) | {key: _encoded(value) for key, value in plain.items()}
    elif plain is not None:
        body["stringData"] = MASK
    data = body.get("data")
    if isinstance(data, dict):
        for key, value in data.items():
            data[key] = _mask_for(masks, key, value)
    elif data is not None:
        body["data"] = MASK
    notes = _annotations(body)
    for name in hidden & notes.keys():
        notes[name] = _mask_for(masks, f"annotation {name}", notes[name])


def _mask_last_applied(notes: dict[str, Any], masks: dict[str, dict[str, str]], hidden: frozenset[str]) -> None:
    """Mask inside the annotation; what cannot be read is masked whole."""
    if LAST_APPLIED not in notes:
        return
    try:
        configuration = json.loads(notes[LAST_APPLIED])
    except (TypeError, ValueError, RecursionError):
        configuration = None
    if not isinstance(configuration, dict):
        notes[LAST_APPLIED] = MASK
        return
    _mask_body(configuration, masks, hidden | {LAST_APPLIED})
    notes[LAST_APPLIED] = codec.encode(configuration).decode()


def _annotations(body: Body) -> dict[str, Any]:
    metadata = body.get("metadata")
    notes = metadata.get("annotations") if isinstance(metadata, dict) else None
    return notes if isinstance(notes, dict) else {}


def _encoded(value: Any) -> Any:
    return base64.b64encode(value.encode()).decode() if isinstance(value, str) else value


def _mask_for(masks: dict[str, dict[str, str]], key: str, value: Any) -> str:
    seen = masks.setdefault(key, {})
    return seen.setdefault(codec.canonical(value).decode(), MASK + _STEP * len(seen))
