"""A report as one page of HTML: nothing is loaded, nothing runs, and every word of others is escaped."""

import base64
import hashlib
from collections.abc import Iterator
from html import escape as html
from itertools import islice
from typing import Final

from trimtab.base.logs import escape as visible
from trimtab.diff.report import Finding, Report, State
from trimtab.diff.text import SIGNS, body, headline

MOST_FINDINGS: Final = 1_000
_MOST_LINES: Final = 200
"""Of one object so many lines are shown: `-o json` has the rest."""

_STYLE: Final = """
:root { color-scheme: light dark; --ok: #1a7f37; --bad: #b35900; --blind: #8250df; --gone: #cf222e; --line: #8885; }
@media (prefers-color-scheme: dark) {
  :root { --ok: #3fb950; --bad: #e3b341; --blind: #c297ff; --gone: #ff7b72; }
}
body { font: 1rem/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 75rem; padding: 1rem; }
h1 { font-size: 1.3rem; overflow-wrap: anywhere; }
.verdict { border-left: .4rem solid; padding: .2rem .8rem; font-weight: 600; }
.same { color: var(--ok); } .differs { color: var(--bad); } .unknown { color: var(--blind); }
.missing { color: var(--ok); } .extra { color: var(--gone); }
section { border-top: 1px solid var(--line); padding: .6rem 0; }
h2 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
pre { margin: .3rem 0 0 1.5rem; overflow-x: auto; font-size: .9rem; }
.added { color: var(--ok); } .removed { color: var(--gone); }
footer { border-top: 1px solid var(--line); font-size: .9rem; padding-top: .6rem; }
"""
_DIGEST: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY: Final = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'"
"""The Content-Security-Policy of the page: its own style and nothing else."""

_VERDICTS: Final = {
    State.SAME: "No difference",
    State.DIFFERS: "There are differences",
    State.UNKNOWN: "Not everything could be compared",
}


def page(report: Report | None, *, about: str = "", problem: str = "", refresh_s: int = 0) -> str:
    """The page of `report`, None where there is none yet.

    `problem`: why nothing newer than `report` is known, so that its verdict no longer holds. With `refresh_s` the page
    is loaded again after so many seconds.
    """
    return "\n".join(_page(report, about or (report.about if report else ""), problem, refresh_s)) + "\n"


def _page(report: Report | None, about: str, problem: str, refresh_s: int) -> Iterator[str]:
    yield "<!DOCTYPE html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{html(POLICY)}">'
    if refresh_s:
        yield f'<meta http-equiv="refresh" content="{refresh_s:d}">'
    yield '<meta name="referrer" content="no-referrer"><meta name="viewport" content="width=device-width">'
    yield f"<title>{_text(about)}: differences</title>"
    yield f"<style>{_STYLE}</style></head><body>"
    yield f"<h1>{_text(about)}</h1>"
    yield from _verdict(report, problem)
    if report is not None:
        for finding in islice(report.notable, MOST_FINDINGS):
            yield from _section(finding)
        if (more := len(report.notable) - MOST_FINDINGS) > 0:
            yield f"<section>… and {more} more objects: <code>-o json</code> has them all</section>"
        moment = report.at.isoformat(timespec="seconds")
        yield f'<footer>Observed at <time datetime="{moment}">{moment}</time>. '
        yield "The arrow leads from what is live to what is declared.</footer>"
    yield "</body></html>"


def _verdict(report: Report | None, problem: str) -> Iterator[str]:
    if problem:
        yield f'<p class="verdict unknown">Unknown: the last comparison failed</p><pre>{_text(problem)}</pre>'
        if report is not None:
            yield "<p>This is what was known before:</p>"
    if report is None:
        if not problem:
            yield '<p class="verdict unknown">Nothing has been compared yet</p>'
        return
    words = f"{_VERDICTS[report.verdict]}: {report.words()}"
    yield f'<p class="{"" if problem else "verdict "}{report.verdict.value}">{_text(words)}</p>'


def _section(finding: Finding) -> Iterator[str]:
    state = finding.state
    title = f'<span class="{state.value}">{SIGNS[state]}</span> {_text(headline(finding))}'
    app = f" <small>{_text(str(finding.app))}</small>" if finding.app else ""
    yield f"<section><h2>{title}{app}</h2>"
    lines = list(islice(body(finding), _MOST_LINES + 1))
    if lines:
        if len(lines) > _MOST_LINES:
            lines[-1] = "… and more: -o json has all of it"
        yield "<pre>" + "\n".join(map(_line, lines)) + "</pre>"
    yield "</section>"


def _line(line: str) -> str:
    sign = line.lstrip()[:1] if line.startswith(" ") else ""
    kind = {"+": "added", "-": "removed"}.get(sign, "")
    return f'<span class="{kind}">{_text(line)}</span>' if kind else _text(line)


def _text(text: str) -> str:
    return html(visible(text))
