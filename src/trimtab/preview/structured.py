"""A preview for programs: what `-o json` prints, which is documented (docs/preview.md) and stays."""

from trimtab.diff.report import Finding
from trimtab.preview.verdict import Preview, Step, Verdict

VERSION = 1


def structured(preview: Preview) -> dict[str, object]:
    """`preview` as JSON knows it: all steps but those that change nothing and of which there is nothing to say."""
    return {
        "version": VERSION,
        "about": preview.about,
        "base": preview.base,
        "head": preview.head,
        "observedAt": preview.at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "outcome": preview.outcome.value,
        "summary": preview.words(),
        "counts": {
            "objects": len(preview.steps),
            "changing": preview.changing,
            **{verdict.value: preview.counts[verdict] for verdict in Verdict},
        },
        "unasked": list(preview.unasked),
        "objects": [_structured(step) for step in preview.notable],
    }


def _structured(step: Step) -> dict[str, object]:
    finding: Finding = step.finding
    ref, origin, app = finding.ref, finding.origin, finding.app
    return {
        "group": ref.group,
        "kind": ref.kind,
        "namespace": ref.namespace,
        "name": ref.name,
        "verdict": step.verdict.value,
        "state": finding.state.value,
        "declared": step.declared.value if step.declared else None,
        "message": finding.note,
        "origin": {"file": origin.file, "line": origin.line} if origin else None,
        "app": {"namespace": app.namespace, "name": app.name} if app else None,
        "judgements": [
            {name: str(value) for name, value in judgement._asdict().items() if value or name in ("verdict", "message")}
            for judgement in step.judgements
        ],
        "differences": [difference._asdict() for difference in finding.differences],
    }
