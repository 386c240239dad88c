"""What commands print of a comparison, and the code they leave with."""

import os
import sys
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
    try:
        _write(report, form)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough, as `head` does. What was found stays what it is.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if form == "text" and report.verdict is not State.SAME:
        output.say("✗", report.words())
    return _CODES[report.verdict]


def _write(report: Report, form: Form) -> None:
    match form:
        case "json":
            click.echo(output.document(structured(report), "json"))
        case "html":
            click.echo(page(report), nl=False)
        case "text":
            listed(report)


def listed(report: Report) -> None:
    """Print what there is to say of `report`, object by object."""
    several = len({finding.app for finding in report.findings}) > 1
    heading = ""
    for finding in report.notable:
        before, heading = heading, f"{finding.app or 'of no app'}:"
        if several and heading != before:
            click.echo(click.style(output.escape(heading), bold=True))
        sign = click.style(SIGNS[finding.state], fg=_COLOURS[finding.state], bold=True)
        click.echo(f"{sign} {output.escape(headline(finding))}")
        for line in body(finding):
            click.echo(f"    {output.escape(line)}")
