"""`trimtab doctor`: what is wrong with an installation, and what to do about it."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from trimtab.cli.connect import Code, Options, cluster_options, perform

if TYPE_CHECKING:
    from trimtab.doctor.contract import Finding
    from trimtab.kube.client import Client

_SIGNS: Final = {"ok": ("✔", "green"), "note": ("!", "yellow"), "problem": ("✗", "red"), "unknown": ("?", "magenta")}
_CODES: Final = {"ok": Code.OK, "problem": Code.DIFFERS, "unknown": Code.UNKNOWN}
_NAMES: Final = (
    "server", "clocks", "apis", "definitions", "workload", "leases", "rights", "accounts", "references", "storage",
    "ledger",
    "webhooks", "objects",
)  # fmt: skip

_EXAMPLES = """\b
Examples:
  trimtab doctor
  trimtab doctor leases webhooks --context production
  trimtab doctor -o json | jq '.findings[] | select(.outcome == "problem")'
"""


@click.command(epilog=_EXAMPLES)
@click.argument("checks", nargs=-1, metavar="[CHECK]...", type=click.Choice(_NAMES))
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text", help="Form of the result.")
@cluster_options
def doctor(options: Options, checks: tuple[str, ...], form: str) -> None:
    """Look an installation over: the API server, definitions, Leases, rights, references, webhooks, clocks, objects.

    Nothing is changed. Each line is ✔ fine, ! worth knowing, ✗ a problem or ? what could not be looked at; below it
    stands what to do. CHECK limits it to some: server, clocks, apis, definitions, workload, leases, rights, accounts,
    references, storage, ledger, webhooks, objects.

    Exit codes: 0 no problem, 2 problems, 3 something could not be looked at, 1 an error of usage.
    """

    async def work(client: "Client") -> Code:
        from trimtab.doctor.contract import Patient
        from trimtab.doctor.examination import examine, verdict

        findings = await examine(Patient(client, options.namespace), checks)
        _show(findings, client.server, form)
        return _CODES[verdict(findings)]

    perform(options, work)


def _show(findings: "Sequence[Finding]", server: str, form: str) -> None:
    from trimtab.cli import output
    from trimtab.doctor.examination import verdict

    counts = Counter(finding.answer.outcome.value for finding in findings)
    if form == "json":
        told = {
            "server": server,
            "verdict": verdict(findings).value,
            "counts": {name: counts[name] for name in _SIGNS},
            "findings": [
                {
                    "check": finding.check,
                    "outcome": finding.answer.outcome.value,
                    "message": finding.answer.words,
                    "wayOut": finding.answer.way_out,
                }
                for finding in findings
            ],
        }
        click.echo(output.document(told, "json"))
        return
    width = max(map(len, _NAMES))
    before = ""
    for finding in findings:
        sign, colour = _SIGNS[finding.answer.outcome]
        title = "" if finding.check == before else finding.check
        before = finding.check
        click.echo(f"{title:<{width}}  {click.style(sign, fg=colour, bold=True)} {output.escape(finding.answer.words)}")
        if finding.answer.way_out:
            click.echo(f"{'':<{width}}    → {output.escape(finding.answer.way_out)}")
