"""A report in SARIF 2.1.0, which code hosts and editors show beside the lines. Pure."""

from typing import Any, Final
from urllib.parse import quote

from trimtab.preview.sarif import literal
from trimtab.validate.finding import WORDS, Finding, Level, Report

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS: Final = {Level.ERROR: "error", Level.WARNING: "warning", Level.UNKNOWN: "warning"}


def sarif(report: Report, version: str) -> dict[str, Any]:
    """`report` of this `version` of the program."""
    rules = list(WORDS)
    places = {rule: index for index, rule in enumerate(rules)}
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "trimtab validate",
                        "version": version,
                        "rules": [{"id": rule.value, "shortDescription": {"text": WORDS[rule]}} for rule in rules],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, places[finding.rule]) for finding in report.findings],
            }
        ],
    }


def _result(finding: Finding, rule_index: int) -> dict[str, Any]:
    named = f"{finding.ref}: " if finding.ref else ""
    unknown = "unknown: " if finding.level is Level.UNKNOWN else ""
    place = {
        # relative addresses are resolved against the root of the repository, where such a check is run
        "artifactLocation": {"uri": quote(finding.origin.file)},
        "region": {"startLine": max(finding.origin.line, 1)},
    }
    return {
        "ruleId": finding.rule.value,
        "ruleIndex": rule_index,
        "level": _LEVELS[finding.level],
        "message": {"text": literal(f"{unknown}{named}{finding.message}")},
        "locations": [{"physicalLocation": place}],
    }
