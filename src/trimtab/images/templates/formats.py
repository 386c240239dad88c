"""`printf` as Go has it, as far as texts and numbers go."""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from trimtab.images.templates.values import kind_of, show

_VERB = re.compile(r"%(?P<flags>[-+# 0]*)(?P<width>\d*)(?:\.(?P<precision>\d*))?(?P<verb>.?)", re.DOTALL)
_WIDEST: Final = 1000


def sprintf(form: str, values: Sequence[Any]) -> str:
    """`form` with `values` in their places. Raises ValueError, where Go writes `%!d(string=x)` into the text."""
    rest = list(values)

    def one(found: "re.Match[str]") -> str:
        verb = found["verb"]
        if verb == "%":
            return "%"
        if verb not in tuple("svqdxXtfc"):
            raise ValueError(f"{found[0]!a} is not served; there are %s %v %q %d %x %X %t %f %c and %%")
        width = int(found["width"] or 0)
        precision = int(found["precision"] or 0) if found["precision"] is not None else None
        if width > _WIDEST or (precision or 0) > _WIDEST:
            raise ValueError(f"{found[0]!a} is wider than {_WIDEST}")
        if not rest:
            raise ValueError(f"there is no value left for {found[0]!a}")
        text = _shown(verb, rest.pop(0), precision, found["flags"])
        if "-" in found["flags"]:
            return text.ljust(width)
        return text.zfill(width) if "0" in found["flags"] and verb in "dxXf" else text.rjust(width)

    text = _VERB.sub(one, form)
    if rest:
        raise ValueError(f"{form[:40]!a} has no place for {len(rest)} of the values")
    return text


def quoted(text: str) -> str:
    """In double quotes, with escapes for what cannot be seen."""
    return json.dumps(text, ensure_ascii=False)


def _shown(verb: str, value: Any, precision: int | None, flags: str) -> str:
    if verb in "svq":
        text = show(value) if precision is None else show(value)[:precision]
        return quoted(text) if verb == "q" else text
    if verb == "t":
        if not isinstance(value, bool):
            raise ValueError(f"%t wants true or false, not {kind_of(value)}")
        return show(value)
    if verb in "xX" and isinstance(value, str):
        return value.encode().hex() if verb == "x" else value.encode().hex().upper()
    if isinstance(value, bool) or not isinstance(value, int | float) or (verb != "f" and isinstance(value, float)):
        raise ValueError(f"%{verb} wants a number, not {kind_of(value)}")
    if verb == "f":
        return format(value, f"{'+' if '+' in flags else ''}.{6 if precision is None else precision}f")
    if verb == "c":
        if not 0 <= value < 0xD800:
            raise ValueError(f"{value} is no character")
        return chr(int(value))
    return format(int(value), ("+" if "+" in flags else "") + verb)
