"""`trimtab health`: what the controller would say of objects, without a controller or a cluster."""

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli.connect import Code, Failure, perform_alone

if TYPE_CHECKING:
    from trimtab.health.checks import Checks
    from trimtab.health.verdict import Verdict
    from trimtab.manifests.refs import Body

_SIZE_LIMIT = 64 * 1024 * 1024

_EXAMPLES = """\b
Examples:
  kubectl get deployments -A -o yaml | trimtab health -
  trimtab health queue.yaml broker.yaml -o json
  trimtab health database.yaml --rules rules.yaml

\b
rules.yaml is a list as in spec.healthCheckExprs of a Kustomization:
  - apiVersion: example.com/v1
    kind: Database
    inProgress: has(status.migrating) && status.migrating
    failed: status.conditions.exists(c, c.type == 'Ready' && c.status == 'False')
    current: status.conditions.exists(c, c.type == 'Ready' && c.status == 'True')
"""


@click.command(epilog=_EXAMPLES)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--rules",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with rules of your own: a YAML list as in spec.healthCheckExprs.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Form of the result (text).")
def health(files: tuple[Path, ...], rules: Path | None, output: str) -> None:
    """Judge the live objects in FILE... (YAML or JSON, - is standard input), status included.

    Each is judged as if it had just been seen: what is given some time in a cluster, such as an address or a first
    status, is still awaited. Exit code 0: all are as wished (Current or Suspended); 2: some are not; 1: bad input.
    """

    async def work() -> int:
        checks = _checks(rules)
        found = [(body, _verdict(checks, body)) for file in files for body in _bodies(file)]
        if not found:
            raise Failure(Code.WRONG, f"no objects in {', '.join(map(str, files))}")
        click.echo(_json(found) if output == "json" else _text(found))
        return Code.OK if all(verdict.good for _, verdict in found) else Code.DIFFERS

    perform_alone(work)


def _checks(file: Path | None) -> "Checks":
    """The rules in `file`."""
    import msgspec

    from trimtab.api.kustomize import HealthExpr
    from trimtab.base.errors import TrimtabError
    from trimtab.health.checks import Checks, compiled
    from trimtab.health.expressions import ExpressionError
    from trimtab.manifests.yaml import load

    if file is None:
        return Checks()
    try:
        rules = [
            rule for document in load(file.read_bytes(), str(file), dialect="kubernetes") for rule in document.value
        ]
        _known_fields(file, rules, [field.encode_name for field in msgspec.structs.fields(HealthExpr)])
        return compiled(msgspec.convert(rules, list[HealthExpr]))
    except (TypeError, AttributeError) as wrong:
        raise Failure(Code.WRONG, f"{file}: the rules are not a list of objects") from wrong
    except (msgspec.ValidationError, ExpressionError) as wrong:
        raise Failure(Code.WRONG, f"{file}: {wrong}") from wrong
    except TrimtabError as wrong:
        raise Failure(Code.WRONG, str(wrong)) from wrong


def _known_fields(file: Path, rules: Sequence[Any], known: Sequence[str]) -> None:
    for index, rule in enumerate(rules):
        unknown = sorted(set(rule.keys()) - set(known))
        if unknown:
            raise Failure(Code.WRONG, f"{file}: [{index}] has {', '.join(unknown)}; a rule has {', '.join(known)}")


def _bodies(file: Path) -> "Iterator[Body]":
    """The objects in `file`, lists taken apart."""
    from trimtab.base.errors import TrimtabError
    from trimtab.manifests.yaml import load

    name = "standard input" if str(file) == "-" else str(file)
    try:
        data = sys.stdin.buffer.read(_SIZE_LIMIT) if str(file) == "-" else file.read_bytes()
        waiting = [document.value for document in reversed(load(data, name, dialect="kubernetes"))]
    except OSError as wrong:
        raise Failure(Code.WRONG, f"{name}: {wrong.strerror}") from wrong
    except TrimtabError as wrong:
        raise Failure(Code.WRONG, str(wrong)) from wrong
    while waiting:
        body = waiting.pop()
        if body is None:
            continue
        if not isinstance(body, dict) or not all(isinstance(body.get(field), str) for field in ("apiVersion", "kind")):
            raise Failure(Code.WRONG, f"{name}: an object needs apiVersion and kind, both text")
        if body["kind"].endswith("List") and isinstance(body.get("items"), list):
            waiting.extend(reversed(body["items"]))
        else:
            yield body


def _verdict(checks: "Checks", body: "Body") -> "Verdict":
    from trimtab.health.context import Context

    now = datetime.now(UTC)
    return checks.assess(body, Context(now=now, first_seen=now))


def _ref(body: "Body") -> str:
    """The object in words. What was written by hand may have no name."""
    metadata = body.get("metadata")
    named = metadata if isinstance(metadata, dict) else {}
    return "/".join(str(part) for part in (body["kind"], named.get("namespace"), named.get("name")) if part)


def _json(found: "Sequence[tuple[Body, Verdict]]") -> str:
    from trimtab.cli.output import document

    return document(
        [{"ref": _ref(body), "state": str(verdict.state), "message": verdict.message} for body, verdict in found],
        "json",
    )


def _text(found: "Sequence[tuple[Body, Verdict]]") -> str:
    from trimtab.cli.output import table

    rows = [(_ref(body), str(verdict.state), verdict.message.strip()) for body, verdict in found]
    return table(("OBJECT", "STATE", "MESSAGE"), rows)
