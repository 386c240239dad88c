"""What commands print: tables as kubectl and flux align them, JSON, YAML, and the lines that tell a story.

Names and messages come from a cluster, which other people write to: control characters are made visible.
"""

import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

import click
import msgspec

from trimtab.base.logs import escape
from trimtab.manifests.codec import encode
from trimtab.manifests.refs import Body

Form: TypeAlias = Literal["text", "json", "yaml"]
FORMS = ("text", "json", "yaml")

__all__ = ["FORMS", "Form", "document", "escape", "hanging", "listing", "presentable", "say", "table"]

_STYLED: Final = re.compile(r"(\x1b\[[0-9;]*m)")
_COLOURS = {"✔": "green", "✗": "red", "►": "blue", "◎": "yellow"}


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, show_header: bool = True, least: int = 0) -> str:
    """Columns padded to their widest cell and parted by a tab: aligned for people, split easily by programs.

    No column is narrower than `least`, so that lines printed one after the other mostly stay aligned.
    """
    lines = [list(header), *rows] if show_header else [list(row) for row in rows]
    cells = [[escape(cell) for cell in line] for line in lines]
    widths = [max(least, *map(len, column)) for column in zip(*cells, strict=True)]
    padded = (
        [*(cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=False)), line[-1]] for line in cells
    )
    return "\n".join("\t".join(line) for line in padded)


def document(value: Any, form: Form) -> str:
    """`value` as indented JSON or as YAML, without a trailing newline."""
    if form == "json":
        return msgspec.json.format(encode(value), indent=2).decode()
    # here, because text, which most ask for, need not wait for it
    from trimtab.manifests.emit import to_yaml

    return to_yaml(value)[:-1]


def listing(bodies: Sequence[Body]) -> Body:
    """Several objects as one, the way kubectl prints them."""
    return {"apiVersion": "v1", "kind": "List", "items": list(bodies)}


def presentable(body: Body) -> Body:
    """`body` without managedFields, which nobody reads in a terminal."""
    metadata = {name: value for name, value in body.get("metadata", {}).items() if name != "managedFields"}
    return {**body, "metadata": metadata}


def hanging(label: str, text: str) -> list[str]:
    """`label` and then `text`, which on a terminal is broken into lines that begin below its own first word.

    Colour in the label counts for nothing; control characters in both are made visible. Elsewhere it is one line, so
    that it can be searched.
    """
    shown = f"{_escaped(label)} {escape(text)}".rstrip()
    width = _columns()
    if not width or len(click.unstyle(shown)) <= width:
        return [shown]
    indent = len(click.unstyle(label)) + 1
    if indent > width // 2:
        indent = len(label) - len(label.lstrip()) + 4
    bare = click.unstyle(_escaped(label))
    lines = textwrap.wrap(
        f"{bare} {escape(text)}",
        max(width, indent + 20),
        subsequent_indent=" " * indent,
        drop_whitespace=True,
        break_on_hyphens=False,
    )
    if lines and lines[0].startswith(bare):
        lines[0] = _escaped(label) + lines[0][len(bare) :]
    return lines


def _escaped(label: str) -> str:
    """`label` with its colours, and nothing else that a terminal obeys."""
    return "".join(part if part.startswith("\x1b[") else escape(part) for part in _STYLED.split(label))


def _columns() -> int:
    """How wide the terminal is that is written to; 0 where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def say(sign: Literal["►", "✔", "◎", "✗"], text: str, *, quiet: bool = False) -> None:
    """One line of the story, on stderr: ► begins, ◎ waits, ✔ went well, ✗ did not."""
    if not quiet or sign == "✗":
        click.echo(f"{click.style(sign, fg=_COLOURS[sign])} {escape(text)}", err=True)
