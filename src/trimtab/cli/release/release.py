"""`trimtab release`: another image for workloads, as a commit on their repository."""

from typing import TYPE_CHECKING

import click

from trimtab.cli.connect import Code, Options, cluster_options
from trimtab.cli.git.committing import Pen, pen_options
from trimtab.cli.git.ground import Where, perform_on, where_options

if TYPE_CHECKING:
    from trimtab.cli.git.ground import Ground

_EXAMPLES = """\b
Examples:
  trimtab release deployment/cart -n shop --dry-run
  trimtab release cart:app --image ghcr.io/acme/cart:1.5.0 --app shop -m 'The fix for INC-7'
  trimtab release --all --image nginx:1.28.0 --exclude legacy --repo .
  trimtab release --all --all-images --app shop --interactive
"""


@click.command("release", epilog=_EXAMPLES)
@click.argument("names", nargs=-1, metavar="[[KIND/][NAMESPACE/]WORKLOAD[:CONTAINER]]...")
@click.option("--all", "all_", is_flag=True, help="All workloads of the app, or of the repository.")
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="NAME[:TAG[@DIGEST]]",
    help="Only this image; without a tag, the one that its policy chooses (several times).",
)
@click.option("--all-images", is_flag=True, help="All images, each by its policy; so it is if no --image is given.")
@click.option("--exclude", "excludes", multiple=True, metavar="WORKLOAD", help="Not this workload (several times).")
@click.option("-f", "--force", is_flag=True, help="Also what is held. What is locked stays: `trimtab unlock` first.")
@click.option("--no-check", is_flag=True, help="Do not ask the registry whether there is an image of the tag.")
@click.option("-i", "--interactive", is_flag=True, help="Ask for each container, on a terminal.")
@click.option("--user", default="", help="Who wants it, for the commit; it names you too, at this machine.")
@click.option("--show-ignored", is_flag=True, help="List also the workloads that are not concerned.")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text", help="Form of the result.")
@where_options
@pen_options
@cluster_options
def release(
    options: Options,
    names: tuple[str, ...],
    all_: bool,
    images: tuple[str, ...],
    all_images: bool,
    excludes: tuple[str, ...],
    force: bool,
    no_check: bool,
    interactive: bool,
    user: str,
    show_ignored: bool,
    form: str,
    where: Where,
    pen: Pen,
) -> None:
    """Give workloads another image, by a commit on their repository. The commit is printed.

    WORKLOAD is looked for in the files that the app, or the whole repository, consists of; no marker is needed. Its
    image is set where it is said: in the workload, in `images:` of a kustomization, or in the values of a HelmRelease.
    Only the tag changes, and the name stays as it is written.

    Without a tag, who decides is asked: the annotations of Flux v1 on the workload, the ImagePolicy that its marker
    names, or the one there is for that image; else the highest version is taken, if a version runs. Tags come from the
    registry, with the credentials of the ImageRepository or of your docker.

    What is locked is refused, what is held too without --force. If somebody changes one of the images meanwhile,
    nothing is released.

    Exit codes: 0 committed, or all is up to date; 2 with --dry-run: there is something to commit; 3 the cluster, the
    repository or a registry cannot be asked; 1 an error, or a workload that was named is not released.
    """
    from trimtab.cli.release.releasing import Manner, asked_of, released

    if bool(names) is all_:
        raise click.UsageError("name workloads, or say --all")
    if images and all_images:
        raise click.UsageError("--image and --all-images exclude each other")
    asked = asked_of(names, images, excludes, force=force)
    if interactive and not _on_terminal():
        raise click.UsageError("--interactive asks on a terminal, and this is none")
    manner = Manner(not no_check, interactive, show_ignored, form, options.quiet, user)

    async def work(ground: "Ground") -> Code:
        return await released(ground, asked, manner, pen)

    perform_on(options, where, pen, asked.workloads, work)


def _on_terminal() -> bool:
    import sys

    return sys.stdin.isatty() and sys.stderr.isatty()
