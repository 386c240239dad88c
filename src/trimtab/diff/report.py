"""What a comparison found, object by object: one value, which is printed as text or JSON or shown as a page."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from trimtab.diff.compare import Difference
from trimtab.diff.fields import Writer
from trimtab.manifests.refs import Key, Origin, Ref


class State(StrEnum):
    """How an object compares with what is wished of it."""

    SAME = "same"
    DIFFERS = "differs"
    MISSING = "missing"  # only in git
    EXTRA = "extra"  # only in the cluster
    UNKNOWN = "unknown"  # it could not be compared, which is never the same as "same"
    SKIPPED = "skipped"  # it asks to be left alone


_DIFFERENT: Final = (State.DIFFERS, State.MISSING, State.EXTRA)


class Finding(NamedTuple):
    """What became of one object. A name that is empty stands for all objects of the kind, in the namespace if any.

    `differences` lead from what is live to what is wished, and are fit to be shown: values of Secrets and of what was
    decrypted are masked already. `owners` are the field managers of each of them, where these were asked for.
    `app` is the app that wishes the object.
    """

    ref: Ref
    state: State
    origin: Origin | None = None
    note: str = ""
    differences: tuple[Difference, ...] = ()
    owners: tuple[tuple[Writer, ...], ...] = ()
    app: Key | None = None


class Report(NamedTuple):
    """All findings of one comparison, and when it was made. `about` says what was compared."""

    about: str
    at: datetime
    findings: tuple[Finding, ...]

    @property
    def counts(self) -> Mapping[State, int]:
        """How many objects there are of each state, also of those that no object has."""
        found = Counter(finding.state for finding in self.findings)
        return {state: found[state] for state in State}

    @property
    def differing(self) -> int:
        """How many objects differ, or are on one side only."""
        return sum(self.counts[state] for state in _DIFFERENT)

    @property
    def unknown(self) -> int:
        """How many objects could not be compared."""
        return self.counts[State.UNKNOWN]

    @property
    def verdict(self) -> State:
        """Of all together: unknown counts more than differs, and differs more than same."""
        if self.unknown:
            return State.UNKNOWN
        return State.DIFFERS if self.differing else State.SAME

    @property
    def notable(self) -> tuple[Finding, ...]:
        """The findings there is something to say about."""
        return tuple(finding for finding in self.findings if finding.state not in (State.SAME, State.SKIPPED))

    def words(self) -> str:
        """The numbers in a sentence."""
        counts = self.counts
        told = [f"{counts[state]} {text}" for state, text in _WORDS.items() if counts[state]]
        return f"{len(self.findings)} compared: {', '.join(told) or 'nothing'}"


_WORDS: Final = {
    State.SAME: "as declared",
    State.DIFFERS: "differ",
    State.MISSING: "only in git",
    State.EXTRA: "only in the cluster",
    State.UNKNOWN: "unknown",
    State.SKIPPED: "left alone",
}


def gathered(about: str, at: datetime, findings: Iterable[Finding]) -> Report:
    """A report of `findings` in the order of their apps and objects."""
    return Report(about, at, tuple(sorted(findings, key=_place)))


def _place(finding: Finding) -> tuple[Key, Ref, State]:
    return finding.app or Key("", ""), finding.ref, finding.state


def structured(report: Report) -> dict[str, object]:
    """`report` for programs: the counts, and all findings but of what is as declared (docs/diff.md)."""
    return {
        "about": report.about,
        "observedAt": report.at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "verdict": report.verdict.value,
        "counts": {
            "objects": len(report.findings),
            "differences": report.differing,
            **{state.value: count for state, count in report.counts.items()},
        },
        "findings": [_structured(finding) for finding in report.findings if finding.state is not State.SAME],
    }


def _structured(finding: Finding) -> dict[str, object]:
    ref, origin = finding.ref, finding.origin
    return {
        "group": ref.group,
        "kind": ref.kind,
        "namespace": ref.namespace,
        "name": ref.name,
        "state": finding.state.value,
        "message": finding.note,
        "origin": {"file": origin.file, "line": origin.line} if origin else None,
        "app": {"namespace": finding.app.namespace, "name": finding.app.name} if finding.app else None,
        "differences": [
            {
                "path": difference.path,
                "kind": difference.kind,
                "before": difference.before,
                "after": difference.after,
                **({"owners": [_writer(writer) for writer in finding.owners[place]]} if finding.owners else {}),
            }
            for place, difference in enumerate(finding.differences)
        ],
    }


def _writer(writer: Writer) -> dict[str, str]:
    return {
        "manager": writer.manager,
        "operation": writer.operation,
        "subresource": writer.subresource,
        "time": writer.time,
    }
