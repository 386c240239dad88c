"""A preview as Markdown, fit for a comment on a pull request.

What others wrote (names, values, words of a server) stands in code only: neither a link nor a mention nor a heading
can come of it, whatever it is. Its length is bounded, since a forge refuses what is longer: problems come first.
"""

import re
from collections.abc import Iterator
from itertools import chain
from typing import Final

from trimtab.base.logs import escape
from trimtab.diff.report import State
from trimtab.preview import text
from trimtab.preview.verdict import Judgement, Outcome, Preview, Step, Verdict, Weight

LONGEST: Final = 60_000
"""Characters of the whole; GitHub takes 65,536."""
MARK: Final = "<!-- trimtab preview -->"
"""The first line: by it a comment is found again, to be written over."""
_LONGEST_CODE: Final = 600
_LONGEST_DETAILS: Final = 6_000
_MOST_PROBLEMS: Final = 60
_RESERVE: Final = 200
_HEADS: Final = {
    Outcome.SUCCEEDS: "✅ It will succeed",
    Outcome.FAILS: "❌ It will not succeed",
    Outcome.UNKNOWN: "❔ Whether it will succeed is not known",
}
_SIGNS: Final = {Weight.FINE: "✔️", Weight.NOTE: "⚠️", Weight.UNKNOWN: "❔", Weight.FAILS: "❌"}
_RUN: Final = re.compile("`+")


def markdown(preview: Preview, *, mark: str = MARK) -> str:
    """The comment; never longer than LONGEST characters. Its first line is `mark`."""
    found: list[str] = []
    left = LONGEST - _RESERVE
    for part in chain([mark], _top(preview), _problems(preview), _changes(preview)):
        if len(part) + 1 > left:
            found.append("\n… and more: `trimtab preview -o json` has all of it")
            break
        found.append(part)
        left -= len(part) + 1
    return "\n".join(found) + "\n"


def _top(preview: Preview) -> Iterator[str]:
    yield f"### {_HEADS[preview.outcome]}"
    yield ""
    yield f"{code(preview.about)}: {code(preview.head)} against {code(preview.base)}"
    yield ""
    told = [f"{count} {verdict}" for verdict, count in preview.counts.items() if count and verdict is not Verdict.FINE]
    yield f"{preview.changing} of {len(preview.steps)} objects change" + (f"; {', '.join(told)}" if told else "")
    for words in preview.open[:_MOST_PROBLEMS]:
        yield f"- ❔ {code(words)}"


def _problems(preview: Preview) -> Iterator[str]:
    found = [
        (step, judgement)
        for step in preview.notable
        for judgement in step.judgements
        if judgement.verdict.weight >= Weight.UNKNOWN
    ]
    if not found:
        return
    yield ""
    yield "#### What is wrong"
    yield ""
    for step, judgement in found[:_MOST_PROBLEMS]:
        yield _problem(step, judgement)
    if (more := len(found) - _MOST_PROBLEMS) > 0:
        yield f"- … and {more} more: `trimtab preview -o json` has them all"


def _problem(step: Step, judgement: Judgement) -> str:
    place = f" at {code(str(step.finding.origin))}" if step.finding.origin else ""
    policy = f" by {code(judgement.policy)}" if judgement.policy else ""
    binding = f" (binding {code(judgement.binding)})" if judgement.binding else ""
    path = f" in {code(judgement.path)}" if judgement.path else ""
    name = code(str(step.finding.ref))
    sign = _SIGNS[judgement.verdict.weight]
    return f"- {sign} **{judgement.verdict}** {name}{place}{policy}{binding}{path}: {code(judgement.message)}"


def _changes(preview: Preview) -> Iterator[str]:
    steps = [step for step in preview.notable if step.finding.state is not State.SKIPPED]
    if not steps:
        return
    yield ""
    yield "#### What changes"
    for step in steps:
        lines = [escape(line) for line in text.body(step)]
        head = code(text.headline(step))
        yield ""
        if not lines:
            yield f"- {head}"
            continue
        # one part: a block that is open at its end would swallow what follows
        yield f"<details><summary>{_summary(step)}</summary>\n\n{head}\n\n{_fenced(lines)}\n\n</details>"


def _summary(step: Step) -> str:
    """The line of a fold, where Markdown is not looked at but HTML is: only letters of our own and escaped ones."""
    sign = _SIGNS[step.verdict.weight]
    return f"{sign} <code>{_html(_cut(escape(str(step.finding.ref))))}</code>"


def code(words: str) -> str:
    """`words` as a span of code: on one line, and with more ticks around it than are in it."""
    shown = _cut(escape(words.replace("\n", " ⏎ ")))
    ticks = "`" * (max((len(run) for run in _RUN.findall(shown)), default=0) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") or not shown.strip() else ""
    return f"{ticks}{pad}{shown}{pad}{ticks}"


def _fenced(lines: list[str]) -> str:
    kept: list[str] = []
    left = _LONGEST_DETAILS
    for line in lines:
        if len(line) + 1 > left:
            kept.append("… and more: trimtab preview -o json has all of it")
            break
        kept.append(line)
        left -= len(line) + 1
    block = "\n".join(kept)
    ticks = "`" * max(3, max((len(run) for run in _RUN.findall(block)), default=0) + 1)
    return f"{ticks}\n{block}\n{ticks}"


def _cut(words: str) -> str:
    return words if len(words) <= _LONGEST_CODE else words[: _LONGEST_CODE - 1] + "…"


def _html(words: str) -> str:
    for plain, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("@", "&#64;")):
        words = words.replace(plain, safe)
    return words
