"""A preview in SARIF 2.1.0: what forges and editors show at the line where it was written."""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

import trimtab
from trimtab.base.logs import escape
from trimtab.manifests import codec
from trimtab.preview.verdict import MEANINGS, Judgement, Preview, Step, Verdict, Weight

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS: Final = {Weight.NOTE: "note", Weight.UNKNOWN: "warning", Weight.FAILS: "error"}
_RULES: Final = tuple(verdict for verdict in Verdict if verdict.weight > Weight.FINE)
_MOST: Final = 5_000
"""GitHub takes so many results of one run."""


_BRACKET: Final = re.compile(r"(?<!\\)(\\*)([\[\]])")


def literal(words: str) -> str:
    """`words` as the text of a message in which nothing is a link: viewers make one of `[text](address)` (§3.11.6)."""
    # a backslash that stands before a bracket is doubled, or it would take away the sense of ours
    return _BRACKET.sub(lambda found: f"{found[1] * 2}\\{found[2]}", words)


def sarif(preview: Preview) -> dict[str, object]:
    """One run, with a result for all that is to be said about an object."""
    results = [
        _result(step, judgement)
        for step in preview.notable
        for judgement in step.judgements
        if judgement.verdict.weight > Weight.FINE
    ]
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "trimtab preview",
                        "semanticVersion": trimtab.__version__,
                        "rules": [_rule(verdict) for verdict in _RULES],
                    }
                },
                "columnKind": "utf16CodeUnits",
                "originalUriBaseIds": {"ROOT": {"description": {"text": "The root of the repository."}}},
                "invocations": [
                    {
                        "executionSuccessful": True,
                        "toolExecutionNotifications": [_notified(words) for words in preview.open],
                    }
                ],
                "results": results[:_MOST],
                "properties": {"outcome": preview.outcome.value, "base": preview.base, "head": preview.head},
            }
        ],
    }


def _rule(verdict: Verdict) -> dict[str, object]:
    return {
        "id": verdict.value,
        "name": "".join(word.capitalize() for word in verdict.value.split("-")),
        "shortDescription": {"text": f"{MEANINGS[verdict]}."},
        "defaultConfiguration": {"level": _LEVELS[verdict.weight]},
    }


def _result(step: Step, judgement: Judgement) -> dict[str, object]:
    verdict, ref = judgement.verdict, step.finding.ref
    policy = f"{judgement.policy} (binding {judgement.binding})" if judgement.binding else judgement.policy
    words = ": ".join(filter(None, (str(ref), policy, judgement.path, judgement.message)))
    origin = step.finding.origin
    located: dict[str, object] = {}
    if origin is not None and origin.file:
        region = {"region": {"startLine": origin.line}} if origin.line > 0 else {}
        artifact = {"uri": quote(origin.file), "uriBaseId": "ROOT"}
        located = {"physicalLocation": {"artifactLocation": artifact, **region}}
    named = {"fullyQualifiedName": str(ref), "kind": "object"}
    return {
        "ruleId": verdict.value,
        "ruleIndex": _RULES.index(verdict),
        "level": _LEVELS[verdict.weight],
        "message": {"text": literal(escape(words))},
        "locations": [{**located, "logicalLocations": [named]}],
        "partialFingerprints": {"object/v1": _fingerprint(step, judgement)},
    }


def _notified(words: str) -> dict[str, object]:
    """What could not be known at all: it is of no object, and forges take no result without a place."""
    return {"level": _LEVELS[Weight.UNKNOWN], "message": {"text": literal(escape(words))}}


def _fingerprint(step: Step, judgement: Judgement) -> str:
    """The same finding in the next run, wherever its line has gone."""
    return codec.digest("\n".join(_identity(step, judgement))).rpartition(":")[2][:32]


def _identity(step: Step, judgement: Judgement) -> Iterator[str]:
    yield judgement.verdict.value
    yield from step.finding.ref
    yield judgement.path
    yield judgement.policy
