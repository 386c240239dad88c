"""`trimtab hold`, `unhold`, `lock` and `unlock`: whose images stay as they are, said in git, and why, and by whom."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli.connect import Options, cluster_options
from trimtab.cli.git.committing import Pen, pen_options
from trimtab.cli.git.ground import Where, perform_on, where_options

if TYPE_CHECKING:
    from trimtab.cli.git.ground import Ground
    from trimtab.cli.release.pausing import Pausing

_OBJECT = "[KIND/][NAMESPACE/]NAME"
_EXAMPLES = """\b
Examples:
  trimtab {verb} deployment/cart -n shop{reason}
  trimtab {verb} ImagePolicy/flux-system/cart --source flux-system{reason}
  trimtab {verb} cart --repo .{reason} --dry-run
"""


def _examples(verb: str, reason: str = "") -> str:
    return _EXAMPLES.format(verb=verb, reason=reason)


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("names", nargs=-1, required=True, metavar=f"{_OBJECT}...")(
        where_options(pen_options(cluster_options(command)))
    )


def _pausing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--user", default="", help="Who wants it (the author of the commit).")(_options(command))


@click.command("hold", epilog=_examples("hold", " -m 'until Monday'"))
@_pausing_options
def hold(options: Options, names: tuple[str, ...], user: str, where: Where, pen: Pen) -> None:
    """Keep the automation from the images of a workload, or from what an ImagePolicy chooses.

    The reason (-m) is needed. It is written on the object in git, with the name of who said so. `trimtab release
    --force` goes over it, `trimtab unhold` ends it.
    """
    from trimtab.cli.release.pausing import holding

    _perform(options, where, pen, holding(names, pen.message or "", user))


@click.command("unhold", epilog=_examples("unhold"))
@click.option("--image", default="", metavar="IMAGE:TAG", help="Of a policy: what may be written again.")
@_options
def unhold(options: Options, names: tuple[str, ...], image: str, where: Where, pen: Pen) -> None:
    """Let the automation go on with a workload or an ImagePolicy.

    An image that the automation wrote and somebody undid is held by itself, and the ImageUpdateAutomation says which.
    The policy then says in git that just this image may be written again. --image names it where no cluster is asked.
    """
    from trimtab.cli.release.pausing import unholding

    if image and len(names) > 1:
        raise click.UsageError("--image goes with one ImagePolicy")
    _perform(options, where, pen, unholding(names, image))


@click.command("lock", epilog=_examples("lock", " -m 'the database is being moved'"))
@_pausing_options
def lock(options: Options, names: tuple[str, ...], user: str, where: Where, pen: Pen) -> None:
    """Keep everybody from the images of a workload, or from what an ImagePolicy chooses.

    The reason (-m) is needed. It is written on the object in git, with the name of who said so. Neither the automation
    nor `trimtab release --force` goes over it; `trimtab unlock` ends it.
    """
    from trimtab.cli.release.pausing import locking

    _perform(options, where, pen, locking(names, pen.message or "", user))


@click.command("unlock", epilog=_examples("unlock"))
@_options
def unlock(options: Options, names: tuple[str, ...], where: Where, pen: Pen) -> None:
    """Take a lock back, also one of Flux v1 (fluxcd.io/locked)."""
    from trimtab.cli.release.pausing import unlocked

    _perform(options, where, pen, unlocked(names))


def _perform(options: Options, where: Where, pen: Pen, pausing: "Pausing") -> None:
    async def work(ground: "Ground") -> int:
        return await pausing.done(ground, pen, quiet=options.quiet)

    perform_on(options, where, pen, pausing.names, work)
