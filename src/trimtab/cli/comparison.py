"""What commands print of a comparison, and the code they leave with."""

from typing import Final, Literal, TypeAlias

import click

from trimtab.cli import output
from trimtab.cli.connect import Code
from trimtab.diff.page import page
from trimtab.diff.report import Report, State, structured
from trimtab.diff.text import SIGNS, body, headline

Form: TypeAlias = Literal["text", "json", "html"]
FORMS = ("text", "json", "html")

_COLOURS: Final = {
    State.DIFFERS: "yellow",
    State.MISSING: "green",
    State.EXTRA: "red",
    State.UNKNOWN: "magenta",
}
_CODES: Final = {State.SAME: Code.OK, State.DIFFERS: Code.DIFFERS, State.UNKNOWN: Code.UNKNOWN}


def show(report: Report, form: Form) -> Code:
    """Print `report`. Where all is as declared, text is no text at all."""
    match form:
        case "json":
            click.echo(output.document(structured(report), "json"))
        case "html":
            click.echo(page(report), nl=False)
        case "text":
            _print(report)
    return _CODES[report.verdict]


def _print(report: Report) -> None:
    for finding in report.notable:
        sign = click.style(SIGNS[finding.state], fg=_COLOURS[finding.state], bold=True)
        click.echo(f"{sign} {output.escape(headline(finding))}")
        for line in body(finding):
            click.echo(f"    {output.escape(line)}")
    if report.verdict is not State.SAME:
        output.say("✗", report.words())
