"""`trimtab envsubst`: the expressions of `spec.postBuild` in a text, without a controller or a cluster."""

import os
import sys
from collections.abc import Mapping

import click

from trimtab.cli.connect import Code, Failure, perform_alone

_SIZE_LIMIT = 10 << 20

_EXAMPLES = """\b
Examples:
  echo 'at ${REGION:=eu-central-1}' | trimtab envsubst
  trimtab envsubst --strict --var REGION=us-east-1 <deployment.yaml
  TOKEN=… trimtab envsubst --env <config.yaml
"""


def assignments(option: str, given: tuple[str, ...]) -> dict[str, str]:
    """What `NAME=VALUE` says, the last one winning."""
    from trimtab.render.variables import NAME

    found: dict[str, str] = {}
    for one in given:
        name, separator, value = one.partition("=")
        if not separator or not NAME.fullmatch(name):
            raise Failure(
                Code.WRONG,
                f"{option} wants NAME=VALUE, the name of letters, digits and underscores, not beginning with a digit; "
                f"it was given {name!r}{'=…' if separator else ''}",
            )
        found[name] = value
    return found


@click.command(epilog=_EXAMPLES)
@click.option("--var", "given", metavar="NAME=VALUE", multiple=True, help="A variable; may be given several times.")
@click.option("--env", "environment", is_flag=True, help="Take those of the environment too; --var wins.")
@click.option("--strict", is_flag=True, help="Fail for a variable that is not set and has no default.")
def envsubst(given: tuple[str, ...], environment: bool, strict: bool) -> None:
    """Replace the expressions in standard input: ${NAME}, ${NAME:=default}, ${NAME:0:3}, ${NAME//a/b}, $$ and so on.

    The same expressions work in the manifests of an app with spec.postBuild. Here the input is any text, and the
    output is exactly that text with the values in it. A variable that is not set is empty unless --strict is given.
    """

    async def work() -> int:
        values = {**(os.environ if environment else {}), **assignments("--var", given)}
        data = sys.stdin.buffer.read(_SIZE_LIMIT + 1)
        if len(data) > _SIZE_LIMIT:
            raise Failure(Code.WRONG, f"standard input is larger than {_SIZE_LIMIT >> 20} MiB")
        sys.stdout.buffer.write(_replaced(data, values, strict).encode(errors="surrogateescape"))
        sys.stdout.buffer.flush()
        return Code.OK

    perform_alone(work)


def _replaced(data: bytes, values: Mapping[str, str], strict: bool) -> str:
    from trimtab.render.envsubst import ExpressionError, parse

    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Failure(Code.WRONG, f"standard input is not UTF-8 at byte {error.start}") from None
    try:
        return parse(text).expand(values, strict=strict)
    except ExpressionError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        raise Failure(Code.WRONG, f"standard input, {line}:{column}: {error}") from None
