"""A preview as text for people."""

from collections.abc import Iterator
from typing import Final

from trimtab.diff import text
from trimtab.diff.report import State
from trimtab.preview.verdict import Declared, Judgement, Step, Verdict, Weight

SIGNS: Final = {Weight.FINE: "✔", Weight.NOTE: "!", Weight.UNKNOWN: "?", Weight.FAILS: "✗"}
_CHANGES: Final = {
    State.SAME: "no change",
    State.DIFFERS: "changes",
    State.MISSING: "is new",
    State.EXTRA: "left what is declared",
    State.UNKNOWN: "unknown",
    State.SKIPPED: "is left alone",
}


def headline(step: Step) -> str:
    """The object, where it was written, what becomes of it, and the verdict; without a sign."""
    finding = step.finding
    place = f" ({finding.origin})" if finding.origin else ""
    name = str(finding.ref) if finding.ref.name else f"every {finding.ref}"
    words = [_CHANGES[finding.state]]
    if step.declared is Declared.SAME and finding.state not in (State.SAME, State.UNKNOWN, State.SKIPPED):
        words.append("not declared otherwise than in the base")
    if finding.note:
        words.append(finding.note)
    verdict = "" if step.verdict is Verdict.FINE else f" [{step.verdict}]"
    return f"{name}{place}: {', '.join(words)}{verdict}"


def judged(judgement: Judgement) -> str:
    """One judgement in a line: the verdict, what it is about, and the words."""
    policy = f"{judgement.policy} (binding {judgement.binding})" if judgement.binding else judgement.policy
    about = ": ".join(filter(None, (policy, judgement.path, judgement.message)))
    return f"{SIGNS[judgement.verdict.weight]} {judgement.verdict}: {about}"


def changes(step: Step) -> Iterator[str]:
    """What differs, path by path."""
    yield from text.body(step.finding)


def body(step: Step) -> Iterator[str]:
    """All that is to be said of an object, and then what differs."""
    for judgement in step.judgements:
        yield from judged(judgement).splitlines()
    yield from changes(step)
