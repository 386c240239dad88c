"""What validation found: one value, which is printed as text, JSON, SARIF or JUnit."""

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from trimtab.manifests.refs import Origin, Ref


class Level(StrEnum):
    """How much a finding weighs."""

    ERROR = "error"  # it would be refused, or is
    WARNING = "warning"  # it may be meant so
    UNKNOWN = "unknown"  # it could not be judged, which is never the same as "it is fine"


class Rule(StrEnum):
    """What a finding is about."""

    FILE = "file"
    OBJECT = "object"
    BUILD = "build"
    KIND = "kind"
    UNKNOWN_FIELD = "unknown-field"
    SCHEMA = "schema"
    NAME = "name"
    CONSISTENCY = "consistency"
    DUPLICATE = "duplicate"
    REFERENCE = "reference"
    PLAINTEXT_SECRET = "plaintext-secret"  # noqa: S105 - the name of a rule
    POLICY = "policy"


WORDS: Final[Mapping[Rule, str]] = {
    Rule.FILE: "The file can be read as YAML or JSON, without duplicate keys.",
    Rule.OBJECT: "A document is a Kubernetes object: apiVersion, kind and metadata.name.",
    Rule.BUILD: "A kustomization can be built.",
    Rule.KIND: "The kind of an object is one that is served.",
    Rule.UNKNOWN_FIELD: "The fields of an object are declared in the schema of its kind.",
    Rule.SCHEMA: "The values of an object fit the schema of its kind.",
    Rule.NAME: "Names, labels and annotations are written as Kubernetes wants them.",
    Rule.CONSISTENCY: "The parts of an object fit each other.",
    Rule.DUPLICATE: "An object is declared once.",
    Rule.REFERENCE: "What an object refers to is declared, too.",
    Rule.PLAINTEXT_SECRET: "A Secret does not stand in git in clear text.",
    Rule.POLICY: "An object is admitted by the policies that were given.",
}


class Finding(NamedTuple):
    """One thing about one object, or about a file. `path` is the place in the object."""

    level: Level
    rule: Rule
    origin: Origin
    message: str
    ref: Ref | None = None
    path: str = ""

    def __str__(self) -> str:
        named = f"{self.ref}: " if self.ref else ""
        return f"{self.origin}: {named}{self.message}"


class Report(NamedTuple):
    """All findings, in the order of files and lines. `left_out` are documents and files that are no manifests."""

    findings: tuple[Finding, ...]
    objects: int
    files: tuple[str, ...]
    builds: int
    left_out: int
    schemas: str
    """Whose schemas the objects were judged by."""

    @property
    def counts(self) -> Mapping[Level, int]:
        """How many findings there are of each level."""
        found = Counter(finding.level for finding in self.findings)
        return {level: found[level] for level in Level}

    @property
    def verdict(self) -> str:
        """Of all together: unknown counts more than invalid, warnings do not count."""
        if self.counts[Level.UNKNOWN]:
            return "unknown"
        return "invalid" if self.counts[Level.ERROR] else "valid"

    def words(self) -> str:
        """The numbers in a sentence."""
        told = [f"{count} {level}" if level is Level.UNKNOWN else _several(count, level) for level, count in
                self.counts.items() if count]  # fmt: skip
        where = f"{_several(self.objects, 'object')} in {_several(len(self.files), 'file')}"
        return f"{where}: {', '.join(told) or 'valid'} ({self.schemas})"


def _several(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """`findings` by file and line, each once: what is found in several builds of one file is one mistake."""
    unique = dict.fromkeys(findings)
    unreadable = {finding.origin[:2] for finding in unique if finding.rule is Rule.FILE}
    # a build fails for a file that cannot be read, which is told of already
    told = [one for one in unique if one.rule is not Rule.BUILD or one.origin[:2] not in unreadable]
    return tuple(sorted(told, key=_place))


def _place(finding: Finding) -> tuple[str, int, str, str, str]:
    return finding.origin.file, finding.origin.line, finding.rule, finding.path, finding.message


def structured(report: Report) -> dict[str, object]:
    """`report` for programs (docs/validate.md)."""
    return {
        "verdict": report.verdict,
        "schemas": report.schemas,
        "counts": {
            "objects": report.objects,
            "files": len(report.files),
            "builds": report.builds,
            "leftOut": report.left_out,
            **{level.value: count for level, count in report.counts.items()},
        },
        "findings": [
            {
                "level": finding.level.value,
                "rule": finding.rule.value,
                "file": finding.origin.file,
                "line": finding.origin.line,
                "object": finding.ref._asdict() if finding.ref else None,
                "path": finding.path,
                "message": finding.message,
            }
            for finding in report.findings
        ],
    }
