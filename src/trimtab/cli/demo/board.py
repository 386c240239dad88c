"""What the demo shows while it gets ready: one line per app, live on a terminal, one line per change elsewhere."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from trimtab.cli.demo import root as demo_root
from trimtab.cli.kinds import on_one_line, shortened
from trimtab.cli.reconcile import Broken, Pending, Ready, judge
from trimtab.manifests.refs import Body

if TYPE_CHECKING:
    from rich.table import Table

_COLOURS = {"Ready": "green", "Waiting": "yellow", "Failed": "red"}


class Line(NamedTuple):
    """One app: how it is, where it is, and what it says about itself."""

    name: str
    state: str
    revision: str
    message: str
    objects: int


class Board:
    """All apps, in the order in which they were first seen."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}

    def __iter__(self) -> Iterator[Line]:
        return iter(self._lines.values())

    def update(self, body: Body, *, deleted: bool = False) -> Line | None:
        """Take over what an app says now; its line if that changed anything that is shown."""
        name = body["metadata"]["name"]
        if deleted:
            self._lines.pop(name, None)
            return None
        line = _line(name, body)
        if self._lines.get(name) == line:
            return None
        self._lines[name] = line
        return line

    @property
    def settled(self) -> bool:
        """Whether all apps are ready on the revision that the root is on, which says what apps there are."""
        root = self._lines.get(demo_root.NAME)
        return root is not None and all(line.state == "Ready" and line.revision == root.revision for line in self)

    @property
    def objects(self) -> int:
        """How many objects the apps consist of."""
        return sum(line.objects for line in self)

    def table(self, title: str) -> "Table":
        """The board as rich draws it."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
        # On a narrow terminal rich takes space from columns that may wrap: from the message, not from name and state.
        for column, cells in (
            ("APP", [line.name for line in self]),
            ("STATE", list(_COLOURS)),
            ("REVISION", [line.revision for line in self]),
        ):
            table.add_column(column, no_wrap=True, width=max(map(len, (column, *cells))))
        table.add_column("MESSAGE")
        for line in self:
            state = Text(line.state, style=_COLOURS[line.state])
            table.add_row(line.name, state, line.revision, Text(line.message, no_wrap=True, overflow="ellipsis"))
        return table


def _line(name: str, body: Body) -> Line:
    entries = (body.get("status", {}).get("inventory") or {}).get("entries") or ()
    match judge(body):
        case Ready(revision):
            return Line(name, "Ready", shortened(revision), f"{len(entries)} objects", len(entries))
        case Broken(_, message):
            return Line(name, "Failed", "", on_one_line(message), len(entries))
        case Pending(message):
            return Line(name, "Waiting", "", on_one_line(message) or "not looked at yet", len(entries))
