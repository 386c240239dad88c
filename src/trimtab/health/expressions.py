"""CEL, in the subset that health checks need: compiled once, evaluated with a bound on what it may cost.

The language is that of the CEL specification with its own macros and functions, and of the extensions `split`, `trim`,
`lowerAscii`, `upperAscii`, `indexOf` and `substring`. Not there: optionals (`?.`), `cel.bind`, quantities, URLs, sets
and encoders. An evaluation cannot be stopped once it has begun, so what it may cost is bounded before: by the length
of the text, by how deep comprehensions nest, by the size of what they run over, and by what `matches` may be given.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from trimtab.health import matching

# The library brings its own command line along, 13 MiB of it: it is loaded with the first expression, if there is one.
if TYPE_CHECKING:
    import cel

LENGTH_LIMIT: Final = 4096
"""Characters of an expression."""
NESTING_LIMIT: Final = 2
"""How deep comprehensions may nest."""
COST_LIMIT: Final = 300_000
"""Steps an evaluation may take by estimate: some tenths of a second, since it is the loop that waits."""
_EVERY_COST: Final = 50
"""Steps of an evaluation beside those of its loops and patterns."""
_TEXT_LIMIT: Final = 16 * 1024 * 1024
_MESSAGE_LIMIT: Final = 300

_TOKENS: Final = re.compile(
    r'[rR][bB]?(?:"""[\s\S]*?"""|\'\'\'[\s\S]*?\'\'\'|"[^"\n]*"|\'[^\'\n]*\')'
    r'|"""(?:\\[\s\S]|[^\\])*?"""|\'\'\'(?:\\[\s\S]|[^\\])*?\'\'\''
    r'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    r"|//[^\n]*|\.\s*(?:all|exists|exists_one|existsOne|map|filter)\s*\(|[()\[\]{},+]"
)
_BOUND: Final = re.compile(r"\.\s*(?:all|exists|exists_one|existsOne|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")
_GATHERING: Final = ("map", "filter")


class ExpressionError(ValueError):
    """The text is no expression, or one that may not be used here; the message says what is wrong with it."""


class EvaluationError(ValueError):
    """The expression has no answer for this object: a field that is missing, other types, or too much to do."""


def _index_of(text: str, part: str) -> int:
    return text.find(part)


def _substring(text: str, start: int, end: int | None = None) -> str:
    return text[max(start, 0) : end]


def _split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else list(text)


# None of them makes anything longer than it was given: what can grow could be made to fill the memory.
_EXTENSIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "split": _split,
    "trim": str.strip,
    "lowerAscii": str.lower,
    "upperAscii": str.upper,
    "indexOf": _index_of,
    "substring": _substring,
}
_NATIVE: Final = frozenset(
    {"size", "contains", "startsWith", "endsWith", "matches", "int", "uint", "double", "string", "bytes", "bool",
     "timestamp", "duration", "dyn", "type", "has", "all", "exists", "exists_one", "map", "filter",
     "getFullYear", "getMonth", "getDayOfYear", "getDayOfMonth", "getDate", "getDayOfWeek", "getHours", "getMinutes",
     "getSeconds", "getMilliseconds"}
)  # fmt: skip


class Bindings:
    """Values that several expressions speak of: translated and measured once, which is what costs with large ones."""

    def __init__(self, variables: Mapping[str, Any], *, budget: int | None = None) -> None:
        """`budget` is how many steps all evaluations may take together."""
        import cel

        self._budget = self._left = budget
        self._values = dict(variables)
        self._measures: dict[str, tuple[int, int, int]] = {}
        self.context = cel.Context(variables=dict(variables), functions=dict(_EXTENSIONS))

    def set(self, name: str, value: Any) -> None:
        """Let `name` stand for `value`, which is JSON, from now on."""
        self._values[name] = value
        self._measures.pop(name, None)
        self.context.add_variable(name, value)

    def spend(self, steps: int) -> None:
        """Take `steps` from the budget. Raises EvaluationError if it does not have them."""
        if self._left is None:
            return
        if steps > self._left:
            self._left = 0
            raise EvaluationError(f"all evaluations together take more than {self._budget} steps")
        self._left -= steps

    def measure(self) -> tuple[int, int, int]:
        """Nodes, the longest list or map, and the longest text of all values."""
        for name in self._values.keys() - self._measures.keys():
            self._measures[name] = _measure([self._values[name]])
        nodes, widest, text = zip(*self._measures.values(), strict=True) if self._measures else ((0,), (0,), (0,))
        return sum(nodes), max(widest), max(text)


class Term:
    """A compiled expression whose answer is any JSON."""

    def __init__(self, text: str, program: "cel.Program") -> None:
        self.text = text
        self._program = program
        self._loops, self._gathers, self._depth, self._joins, self._items = _shape(text)
        self._patterns = matching.patterns(text)

    def answer(self, bindings: Bindings) -> Any:
        """The answer for `bindings`. Raises EvaluationError."""
        self._check_cost(bindings)
        try:
            return self._program.execute(bindings.context)
        except KeyError as missing:
            raise EvaluationError(f"no such key: {missing.args[0]}") from missing
        except (TypeError, ValueError, RuntimeError, OverflowError, AttributeError, IndexError) as failure:
            raise EvaluationError(_shortened(str(failure))) from failure

    def _check_cost(self, bindings: Bindings) -> None:
        if not self._loops and not self._joins and not self._patterns:
            bindings.spend(_EVERY_COST)
            return
        nodes, widest, text = bindings.measure()
        steps = max(widest, self._items) ** self._depth
        # What gathers copies the list it has gathered so far with every step.
        cost = steps * 2 * self._loops + steps * (nodes + self._items) * self._gathers
        cost += steps * sum(matching.cost(pattern, text * (1 + self._joins)) for pattern in self._patterns)
        if cost > COST_LIMIT or text * self._joins > _TEXT_LIMIT:
            raise EvaluationError(f"the object is too large for this expression (about {cost} steps)")
        bindings.spend(_EVERY_COST + cost)


class Expression(Term):
    """A compiled expression whose answer is true or false."""

    def evaluate(self, variables: Mapping[str, Any] | Bindings) -> bool:
        """The answer for `variables`, whose values are JSON. Raises EvaluationError."""
        answer = self.answer(variables if isinstance(variables, Bindings) else Bindings(variables))
        if answer is True or answer is False:
            return bool(answer)
        raise EvaluationError("the answer is neither true nor false")


def compile(text: str, variables: Iterable[str]) -> Expression:  # noqa: A001 - what CEL calls it
    """Compile `text`, which may use `variables`. Raises ExpressionError."""
    _check(text, variables)
    # Whatever is not a boolean fails inside, before anything large is converted for us.
    return Expression(text, _parsed(f"({text}\n) ? true : false"))


def compile_term(text: str, variables: Iterable[str]) -> Term:
    """As `compile`, where any answer will do."""
    return Term(text, _check(text, variables))


def _check(text: str, variables: Iterable[str]) -> "cel.Program":
    if len(text) > LENGTH_LIMIT:
        raise ExpressionError(f"it has {len(text)} characters, more than {LENGTH_LIMIT}")
    if _shape(text)[2] > NESTING_LIMIT:
        raise ExpressionError(f"its comprehensions nest deeper than {NESTING_LIMIT}")
    program = _parsed(text)
    try:
        patterns = matching.patterns(text)
    except ValueError as failure:
        raise ExpressionError(str(failure)) from failure
    if "matches" in program.functions() and not patterns:
        raise ExpressionError("matches has to be called as in name.matches('^v[0-9]+$')")
    if sum(matching.cost(pattern, 0) for pattern in patterns) > COST_LIMIT:
        raise ExpressionError(
            "its patterns are too long for what they say; write [0-9] for \\d and [A-Za-z0-9_] for \\w"
        )
    known, bound = frozenset(variables), frozenset(_BOUND.findall(text))
    for name in sorted(program.variables()):
        if name not in known and name not in bound:
            raise ExpressionError(f"undeclared reference to {name!r}; there is {', '.join(sorted(known))}")
    for name in sorted(program.functions()):
        if name[:1].isalpha() and name not in _NATIVE and name not in _EXTENSIONS:
            raise ExpressionError(f"the function {name!r} is not part of the subset of CEL that is served")
    return program


def _parsed(text: str) -> "cel.Program":
    import cel

    try:
        return cel.compile(text)
    except (ValueError, RuntimeError) as failure:
        raise ExpressionError(_shortened(str(failure))) from failure


def _shape(text: str) -> tuple[int, int, int, int, int]:
    """How many comprehensions, how many of them gather, how deep they nest, additions, and the items of literals."""
    loops = gathers = deepest = joins = items = 0
    stack: list[bool] = []
    for piece in _TOKENS.findall(text):
        if piece[0] == "." and piece[-1] == "(":
            loops += 1
            gathers += piece[1:-1].strip() in _GATHERING
            stack.append(True)
            deepest = max(deepest, sum(stack))
        elif piece in ("(", "[", "{"):
            stack.append(False)
        elif piece in (")", "]", "}"):
            if stack:
                stack.pop()
        elif piece == "+":
            joins += 1
        elif piece == ",":
            items += 1
    return loops, gathers, deepest, joins, items + 1


def _measure(values: Iterable[Any]) -> tuple[int, int, int]:
    """Nodes, the longest list or map, and the longest text of JSON values."""
    nodes = widest = text = 0
    for part in _walk(values):
        nodes += 1
        if isinstance(part, (dict, list)):
            widest = max(widest, len(part))
        elif isinstance(part, str):
            text = max(text, len(part))
    return nodes, widest, text


def _walk(values: Iterable[Any]) -> Iterator[Any]:
    waiting = list(values)
    while waiting:
        part = waiting.pop()
        yield part
        if isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _shortened(message: str) -> str:
    """The library's words without the echo of the text and its internals, which help nobody."""
    first = re.sub(r"^Failed to (?:parse|compile) expression .*?: ERROR: ", "", message, flags=re.DOTALL)
    line = first.split("\n", 1)[0]
    line = re.sub(r"^<input>:[0-9]+:[0-9]+: ", "", line)
    line = re.sub(r", expecting \{.*| expecting \{.*", "", line)
    return line if len(line) <= _MESSAGE_LIMIT else line[:_MESSAGE_LIMIT] + "…"
