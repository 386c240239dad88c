"""What the operators of expressions do with a value. Pure, and bounded in time and output."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

MAX_OUTPUT: Final = 10 << 20
"""Characters that the expressions of one text may become, together."""
MAX_WORK: Final = 64 << 20
"""Characters that may be looked at meanwhile."""
MAX_PATTERN: Final = 1_000
_PATTERN_WEIGHT: Final = 16
"""To look at a character for a pattern takes so many times as long as for anything else."""

_NUMBER = re.compile(r"[-+]?[0-9]{1,100}", re.ASCII)
_INT64: Final = range(-(1 << 63), 1 << 63)


class Bad(ValueError):
    """Why a value cannot be made what an expression asks for. It never holds the value."""


class Budget:
    """How much may still be looked at and written."""

    def __init__(self, output: int = MAX_OUTPUT, work: int = MAX_WORK) -> None:
        self._output = self.most_output = output
        self._work = self.most_work = work

    def write(self, characters: int) -> None:
        """Raise Bad if the output grows too long."""
        self._output -= characters
        if self._output < 0:
            raise Bad(f"the expressions become more than {self.most_output:,} characters")

    def work(self, characters: int) -> None:
        """Raise Bad if it takes too long."""
        self._work -= characters
        if self._work < 0:
            raise Bad(f"the expressions look at more than {self.most_work:,} characters")


def apply(operator: str, value: str, arguments: Sequence[str], budget: Budget) -> str:
    """`value` after `operator`. Raises Bad."""
    budget.work(1 + len(value) + sum(map(len, arguments)))
    if operator == "#" and not arguments:
        return str(len(value.encode()))
    return _OPERATORS.get(operator, _default)(value, arguments, budget)


Operation: TypeAlias = Callable[[str, Sequence[str], Budget], str]


def _default(value: str, arguments: Sequence[str], _: Budget) -> str:
    return value or "".join(arguments)


def _case(change: Callable[[str], str], *, first: bool = False) -> Operation:
    def each(value: str, _: Sequence[str], __: Budget) -> str:
        changed, rest = (value[:1], value[1:]) if first else (value, "")
        if changed.isascii():
            return change(changed) + rest
        # Letter by letter, and one for one: `ß` stays, as there is no single capital for it.
        return "".join(one if len(change(one)) != 1 else change(one) for one in changed) + rest

    return each


def _piece(value: str, arguments: Sequence[str], _: Budget) -> str:
    """A piece in bytes; the whole value where a number is none."""
    if not all(_NUMBER.fullmatch(one) and int(one) in _INT64 for one in arguments):
        return value
    data = value.encode()
    start = int(arguments[0])
    if start < 0:
        start = max(0, len(data) + start)
    end = len(data)
    if len(arguments) > 1:
        length = int(arguments[1])
        end = start + length if length >= 0 else max(start, len(data) + length)
    try:
        return data[start:end].decode()
    except UnicodeDecodeError:
        raise Bad("the piece begins or ends within a character: positions count bytes") from None


def _replace(*, most: int) -> Operation:
    def replace(value: str, arguments: Sequence[str], budget: Budget) -> str:
        pattern, new = arguments[0], arguments[1] if len(arguments) > 1 else ""
        times = value.count(pattern) if most < 0 else 1
        if len(value) + times * len(new) > budget.most_output:
            raise Bad(f"the expressions become more than {budget.most_output:,} characters")
        budget.work(times * len(new))
        return value.replace(pattern, new, most)

    return replace


def _replace_beginning(value: str, arguments: Sequence[str], _: Budget) -> str:
    # Without a replacement nothing is done: so it is in Flux.
    if len(arguments) != 2 or not value.startswith(arguments[0]):
        return value
    return arguments[1] + value.removeprefix(arguments[0])


def _replace_end(value: str, arguments: Sequence[str], _: Budget) -> str:
    if len(arguments) != 2 or not value.endswith(arguments[0]):
        return value
    return value.removesuffix(arguments[0]) + arguments[1]


def _cut(*, longest: bool, end: bool = False) -> Operation:
    def cut(value: str, arguments: Sequence[str], budget: Budget) -> str:
        pattern = arguments[0]
        if end:
            # The pattern is turned around as a text, its ranges and escapes with it: so it is in Flux.
            value, pattern = value[::-1], pattern[::-1]
        rest = value[_matched(value, pattern, longest, budget) :]
        return rest[::-1] if end else rest

    return cut


def _matched(value: str, pattern: str, longest: bool, budget: Budget) -> int:
    """How long the beginning of `value` is that `pattern` matches; 0 if none does, or it is no pattern.

    All beginnings are tried at once: bit n of `states` says that the first n tokens can have matched what was read.
    """
    if len(pattern) > MAX_PATTERN:
        raise Bad(f"a pattern of more than {MAX_PATTERN:,} characters")
    tokens = _tokens(pattern)
    if tokens is None:
        return 0
    stars = sum(1 << place for place, token in enumerate(tokens) if token is None)
    goal = 1 << len(tokens)
    accepting: dict[str, int] = {}
    found = 0
    states = 1 | (1 & stars) << 1
    weight = _PATTERN_WEIGHT * (1 + len(tokens) // 64)
    for length, character in enumerate(value, start=1):
        if (mask := accepting.get(character)) is None:
            mask = sum(1 << place for place, token in enumerate(tokens) if token is not None and token(character))
            accepting[character] = mask
            budget.work(len(tokens))
        states = (states & mask) << 1 | states & stars
        states |= (states & stars) << 1
        budget.work(weight)
        if not states:
            break
        if states & goal:
            found = length
            if not longest:
                break
    return found


Token: TypeAlias = Callable[[str], bool] | None
"""What one character has to be; None stands for any number of any."""


def _tokens(pattern: str) -> list[Token] | None:
    """`pattern` as a shell means it: `*`, `?`, `[a-z]`, `[^a]`, `\\` before what is meant as it is; None if broken."""
    tokens: list[Token] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        match character:
            case "*":
                if not tokens or tokens[-1] is not None:
                    tokens.append(None)
            case "?":
                tokens.append(lambda _: True)
            case "[":
                found = _class(pattern, at)
                if found is None:
                    return None
                token, at = found
                tokens.append(token)
            case "\\":
                if at == len(pattern):
                    return None
                tokens.append(pattern[at].__eq__)
                at += 1
            case _:
                tokens.append(character.__eq__)
    return tokens


def _class(pattern: str, at: int) -> tuple[Token, int] | None:
    """The class whose content begins at `at`, and where it ends; None if it does not, or is none."""
    wanted = pattern[at : at + 1] != "^"
    at += not wanted
    ranges: list[tuple[str, str]] = []
    while not ranges or pattern[at : at + 1] != "]":
        low, at = _member(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            high, at = _member(pattern, at + 1)
        if not low or not high:
            return None
        ranges.append((low, high))
    return lambda character: any(low <= character <= high for low, high in ranges) is wanted, at + 1


def _member(pattern: str, at: int) -> tuple[str, int]:
    """One character of a class, and where the next one is; empty where there is none."""
    if pattern[at : at + 1] in ("", "-", "]"):
        return "", at
    at += pattern[at] == "\\"
    return pattern[at : at + 1], at + 1


_OPERATORS: Final[Mapping[str, Operation]] = {
    "^": _case(str.upper, first=True),
    "^^": _case(str.upper),
    ",": _case(str.lower, first=True),
    ",,": _case(str.lower),
    ":": _piece,
    "/": _replace(most=1),
    "//": _replace(most=-1),
    "/#": _replace_beginning,
    "/%": _replace_end,
    "#": _cut(longest=False),
    "##": _cut(longest=True),
    "%": _cut(longest=False, end=True),
    "%%": _cut(longest=True, end=True),
}
