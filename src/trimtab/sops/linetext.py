"""Files of lines: dotenv, and INI as sops writes it. What is not encrypted stays as it is, comments too."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from trimtab.sops.cipher import Comment, Moment, Plain
from trimtab.sops.errors import Damaged
from trimtab.sops.leaves import Leaf, decimal
from trimtab.sops.metadata import BLOCK

_PREFIX: Final = BLOCK + "_"
_SECTION = re.compile(r"\[(.+)\][ \t]*")
_QUOTES: Final = ('"""', "`", '"')
_DEFAULT: Final = "DEFAULT"


class Lines(NamedTuple):
    """A text, the leaves in it with their places, its comments with the path they belong to, and its sops block."""

    text: str
    leaves: list[Leaf]
    comments: list[Leaf]
    block: Mapping[str, Any]
    dropped: list[tuple[int, int]]


Write = Callable[[Plain], str]


def replaced(lines: Lines, plains: Sequence[Plain], write: Write) -> str:
    """The text with each leaf replaced by what `write` makes of its value, where that is another, without the block."""
    changes = [(start, end, "") for start, end in lines.dropped]
    changes += [
        (leaf.start, leaf.end, write(plain))
        for leaf, plain in zip([*lines.leaves, *lines.comments], plains, strict=True)
        if plain != leaf.value
    ]
    parts: list[str] = []
    at = 0
    for start, end, new in sorted(changes):
        parts += [lines.text[at:start], new]
        at = end
    return "".join([*parts, lines.text[at:]])


# --- dotenv


def parse_dotenv(data: bytes) -> Lines:
    """The variables of a dotenv file. Raises Damaged."""
    text = data.decode("utf-8", "surrogateescape")
    leaves: list[Leaf] = []
    comments: list[Leaf] = []
    entries: dict[str, str] = {}
    dropped: list[tuple[int, int]] = []
    for start, line in _lines(text):
        if not line:
            dropped.append((start, start + 1))  # sops keeps no empty lines
        elif line.startswith("#"):
            comments.append(Leaf((), line[1:], start + 1, start + len(line)))
        else:
            key, separator, value = line.partition("=")
            if not separator:
                raise Damaged("a line in it has no =")
            if key.startswith(_PREFIX):
                entries[key.removeprefix(_PREFIX)] = value.replace("\\n", "\n")
                dropped.append((start, start + len(line) + 1))
            else:
                leaves.append(Leaf((key,), value.replace("\\n", "\n"), start + len(key) + 1, start + len(line)))
    return Lines(text, leaves, comments, unflattened(entries), dropped)


def write_dotenv(plain: Plain) -> str:
    """A value as it stands behind the `=`."""
    return _text(plain).replace("\n", "\\n")


# --- INI


def parse_ini(data: bytes) -> Lines:
    """The sections of an INI file as sops writes it. Raises Damaged."""
    text = data.decode("utf-8", "surrogateescape")
    leaves: list[Leaf] = []
    comments: list[Leaf] = []
    entries: dict[str, str] = {}
    dropped: list[tuple[int, int]] = []
    section, begins, held = _DEFAULT, 0, 0
    for start, line in _ini_lines(text):
        bare = line.strip()
        if match := _SECTION.fullmatch(bare):
            if section == BLOCK:
                dropped.append((begins, held))
            section, begins = match[1], held
            comments = [leaf._replace(path=(section,)) if leaf.start > held else leaf for leaf in comments]
            if section == BLOCK and text[:held].endswith("\n\n"):
                begins -= 1
        elif bare.startswith(("#", ";")):
            inside = line.index(bare) + 1
            inside += len(line[inside:]) - len(line[inside:].lstrip("#; "))
            comments.append(Leaf((section,), line[inside:].rstrip(), start + inside, start + len(line.rstrip())))
        elif bare:
            key, value, at = _pair(line)
            if section == BLOCK:
                entries[key] = value.replace("\\n", "\n")
            else:
                leaves.append(Leaf((section, key), value, start + at, start + len(line)))
        if not bare.startswith(("#", ";")):
            held = start + len(line) + 1  # a comment belongs to what follows it
    if section == BLOCK:
        dropped.append((begins, len(text)))
    return Lines(text, leaves, comments, unflattened(entries), dropped)


def write_ini(plain: Plain) -> str:
    """A value as it stands behind the `=`, quoted where it would be read differently; of a comment, all its lines."""
    if isinstance(plain, Comment):
        first, *rest = plain.text.split("\n")
        marked = (f"{line[0]} {line[1:].strip()}" if line[:1] in ("#", ";") else f"; {line.strip()}" for line in rest)
        return "\n".join([first, *marked])
    text = _text(plain)
    if "\n" in text or "`" in text:
        return f'"""{text}"""'
    if "#" in text or ";" in text:
        return f"`{text}`"
    return f'"{text}"' if text.strip() != text else text


def _pair(line: str) -> tuple[str, str, int]:
    """Key, value, and where the value begins."""
    head = line.lstrip()
    for quote in _QUOTES[:2]:
        if head.startswith(quote):
            key, closed, rest = head[len(quote) :].partition(quote)
            separator = re.match(r"[ \t]*[=:][ \t]*", rest)
            if not closed or separator is None:
                raise Damaged("a line in it has no =")
            at = len(line) - len(rest) + separator.end()
            return key, _bare(line[at:]), at
    match = re.match(r"[ \t]*([^=:]+?)[ \t]*[=:][ \t]*", line)
    if match is None:
        raise Damaged("a line in it has no =")
    return match[1], _bare(line[match.end() :]), match.end()


def _bare(value: str) -> str:
    value = value.strip()
    for quote in _QUOTES:
        if len(value) >= 2 * len(quote) and value.startswith(quote) and value.endswith(quote):
            return value[len(quote) : -len(quote)]
    return value


def _ini_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their offsets; what stands between three quotes is of one line."""
    at = 0
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        opening = re.search(r'=[ \t]*"""', text[at:end])
        if opening:
            closing = text.find('"""', at + opening.end())
            if closing < 0:
                raise Damaged("a value in it is not ended")
            end = text.find("\n", closing)
            end = len(text) if end < 0 else end
        yield at, text[at:end]
        at = end + 1


def _lines(text: str) -> Iterator[tuple[int, str]]:
    at = 0
    for line in text.split("\n"):
        if at < len(text):
            yield at, line
        at += len(line) + 1


def _text(plain: Plain) -> str:
    match plain:
        case bool():
            return "true" if plain else "false"
        case float():
            text = decimal(plain)
            return text if "." in text else text + ".0"
        case Comment() | Moment():
            return plain.text
        case None:
            return ""
    return str(plain)


# --- the flat form of the sops block

_TOKEN = re.compile(r"__(map|list)_")
_MOST_TOKENS: Final = 8


def unflattened(entries: Mapping[str, str]) -> Mapping[str, Any]:
    """The block whose parts are named `age__list_0__map_enc` and so on. Raises Damaged."""
    root: dict[str, Any] = {}
    for name, value in entries.items():
        head, *rest = _TOKEN.split(name)
        path: list[str | int] = [head]
        for kind, token in zip(rest[::2], rest[1::2], strict=True):
            if kind == "list" and not (token.isascii() and token.isdecimal() and len(token) < 5):
                raise Damaged("its sops block cannot be read")
            path.append(int(token) if kind == "list" else token)
        if len(path) > _MOST_TOKENS:
            raise Damaged("its sops block cannot be read")
        _put(root, path, value)
    listed = _listed(root)
    return listed if isinstance(listed, dict) else {}


def _put(root: dict[Any, Any], path: list[str | int], value: str) -> None:
    for token in path[:-1]:
        root = root.setdefault(token, {})
        if not isinstance(root, dict):
            raise Damaged("its sops block cannot be read")
    if path[-1] in root:
        raise Damaged("its sops block says something twice")
    root[path[-1]] = value


def _listed(node: Any) -> Any:
    """Mappings whose keys are 0, 1, 2, … as lists."""
    if not isinstance(node, dict):
        return node
    if not any(isinstance(key, int) for key in node):
        return {key: _listed(item) for key, item in node.items()}
    if set(node) != set(range(len(node))):
        raise Damaged("its sops block has a list with a gap")
    return [_listed(node[at]) for at in range(len(node))]
