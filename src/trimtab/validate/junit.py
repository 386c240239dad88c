"""A report as JUnit XML, which CI servers show as tests: a case for each file. Pure."""

import re
from html import escape
from typing import Final

from trimtab.validate.finding import Finding, Level, Report

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ELEMENTS: Final = {Level.ERROR: "failure", Level.UNKNOWN: "error"}


def junit(report: Report) -> str:
    """`report`: an error is a failure, what is unknown is an error, and warnings are what a case has said."""
    cases: dict[str, list[Finding]] = {file: [] for file in report.files}
    for finding in report.findings:
        cases.setdefault(finding.origin.file, []).append(finding)
    counts = report.counts
    numbers = f'tests="{len(cases)}" failures="{counts[Level.ERROR]}" errors="{counts[Level.UNKNOWN]}"'
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<testsuites name="trimtab validate" {numbers}>']
    lines.append(f'  <testsuite name="manifests" {numbers}>')
    for file, findings in sorted(cases.items()):
        lines += _case(file, findings)
    return "\n".join([*lines, "  </testsuite>", "</testsuites>", ""])


def _case(file: str, findings: list[Finding]) -> list[str]:
    opening = f'    <testcase classname="validate" name="{_text(file)}"'
    if not findings:
        return [f"{opening}/>"]
    lines = [f"{opening}>"]
    for finding in findings:
        if (element := _ELEMENTS.get(finding.level)) is not None:
            kind = f'type="{finding.rule}" message="{_text(finding.message)}"'
            lines.append(f"      <{element} {kind}>{_text(str(finding))}</{element}>")
    if told := [str(finding) for finding in findings if finding.level is Level.WARNING]:
        lines.append(f"      <system-out>{_text(chr(10).join(told))}</system-out>")
    return [*lines, "    </testcase>"]


def _text(text: str) -> str:
    """Fit for XML, which cannot carry every character."""
    return escape(_NOT_XML.sub("�", text))
