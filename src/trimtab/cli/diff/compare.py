"""`trimtab compare`: what one environment has and another has not."""

import os
import sys
from typing import TYPE_CHECKING, Final

import click

from trimtab.cli.connect import Code, Options, cluster_options, perform_alone

if TYPE_CHECKING:
    from trimtab.diff.promotion import Declared, Gap

_CODES: Final = {"same": Code.OK, "differs": Code.DIFFERS, "unknown": Code.UNKNOWN}

_EXAMPLES = """\b
Examples:
  trimtab compare apps/staging apps/production
  trimtab compare main:apps/shop apps/shop
  trimtab compare v1.4:clusters/production v1.5:clusters/production -o json
  trimtab compare context:staging/shop context:production/shop -n flux-system

\b
Images come first; the arrow leads from A to B:
  ~ Deployment/shop/web app: shop:1.5 → shop:1.4
  ~ Deployment/shop/web (apps/staging/web.yaml:3 | apps/production/web.yaml:3)
      spec.replicas: 1 → 3
"""


@click.command(epilog=_EXAMPLES)
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text", help="Form of the result.")
@cluster_options
def compare(options: Options, a: str, b: str, form: str) -> None:
    """Compare two environments: which images run in A and which in B, and where their objects differ.

    A and B are each a path, rendered as `trimtab build` does; a path at a git ref (REF:PATH, from the root of the
    repository); or the apps of a cluster (context:NAME, one of them: context:NAME/APP). Kustomizations in a path are
    followed to the directories they name, if these are in the same repository.

    Objects are the same if they have the same name in the same namespace, or else if they are the only ones of their
    kind and name on both sides, as environments often are namespaces. Values of Secrets are never shown.

    Exit codes: 0 the same, 2 differences, 3 something could not be compared, 1 an error.
    """

    async def work() -> Code:
        from trimtab.cli.diff.sides import side
        from trimtab.diff.promotion import gap

        one, other = await side(a, options), await side(b, options)
        missing = [*(f"A: {words}" for words in one.missing), *(f"B: {words}" for words in other.missing)]
        return show(gap(one.name, other.name, one.objects, other.objects, missing), form, quiet=options.quiet)

    perform_alone(work)


def show(found: "Gap", form: str, *, quiet: bool = False) -> Code:
    """Print what was found, and the code to leave with."""
    from trimtab.cli import output
    from trimtab.diff.promotion import structured

    try:
        if form == "json":
            click.echo(output.document(structured(found), "json"))
        else:
            _print(found)
            output.say("✔" if found.verdict == "same" else "✗", found.words(), quiet=quiet)
        sys.stdout.flush()
    except BrokenPipeError:
        # whoever reads has seen enough, as `head` does; what was found stays what it is
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _CODES[found.verdict]


def _print(found: "Gap") -> None:
    from trimtab.cli import output
    from trimtab.diff.text import lines

    def line(sign: str, colour: str, text: str) -> None:
        click.echo(f"{click.style(sign, fg=colour, bold=True)} {output.escape(text)}")

    for image in found.images:
        name = f"{image.ref} {image.container}:"
        if image.a and image.b and image.a != image.b:
            line("~", "yellow", f"{name} {image.a} → {image.b}")
        elif image.a != image.b:
            line("-" if image.a else "+", "red" if image.a else "green", f"{name} {image.a or image.b}")
    for pair in found.differing:
        line("~", "yellow", f"{pair.a.ref}{_places(pair.a, pair.b)}")
        for difference in pair.differences:
            for text in lines(difference):
                click.echo(f"    {output.escape(text)}")
    for one in found.only_a:
        line("-", "red", f"{one.ref}{_places(one)}: only in A")
    for one in found.only_b:
        line("+", "green", f"{one.ref}{_places(one)}: only in B")
    for pair in found.unknown:
        line("?", "magenta", f"{pair.a.ref}{_places(pair.a, pair.b)}: unknown: {pair.unknown}")
    for words in found.missing:
        line("?", "magenta", words)


def _places(*sides: "Declared") -> str:
    """Where both were written; and in which namespace the other is, if it is another."""
    places = [str(one.origin) for one in sides if one.origin is not None]
    spaces = {one.ref.namespace for one in sides}
    other = f" → {sides[-1].ref.namespace or 'no namespace'}" if len(spaces) > 1 else ""
    return f"{other} ({' | '.join(places)})" if places else other
