"""`trimtab diff`: where what is declared and what is live differ."""

from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trimtab.cli.connect import Code, Failure, Options, cluster_options, perform, perform_alone
from trimtab.cli.diff import comparison
from trimtab.cli.diff.asked import STDIN, Asked, Subject
from trimtab.cli.render.rendering import Recipe, build_options

if TYPE_CHECKING:
    from trimtab.diff.report import Report
    from trimtab.kube.client import Client

_EXAMPLES = """\b
Examples:
  trimtab diff apps/shop
  trimtab diff clusters/production/apps --kustomization-file apps.yaml --owners
  helm template shop charts/shop | trimtab diff - -n shop
  trimtab diff kustomization shop -n team-a
  trimtab diff shop --path apps/shop
  trimtab diff --all -A --orphans
  trimtab diff clusters/production --serve --every 2m
  kubectl get deploy,svc,cm -n shop -o yaml | trimtab diff apps/shop --live -

\b
Each object that differs is listed with the file and line it is declared at; the arrow leads from what is live to what
is declared:
  ~ Deployment/shop/web (apps/shop/web.yaml:3)
      spec.replicas: 3 → 1
  + ConfigMap/shop/new (apps/shop/new.yaml:1): only in git
"""


@click.command("diff", epilog=_EXAMPLES)
@click.argument("words", nargs=-1, metavar="[PATH | APP]")
@click.option("--all", "all_", is_flag=True, help="All apps of the namespace; of every namespace with -A.")
@click.option("-A", "--all-namespaces", is_flag=True, help="With --all: in every namespace.")
@click.option(
    "--path",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A directory to take for APP in place of what its source has published.",
)
@click.option(
    "--live",
    type=click.Path(exists=True, dir_okay=False, path_type=Path, allow_dash=True),
    help="File with live objects, as `kubectl get … -o yaml` prints them; no cluster is asked.",
)
@click.option("--offline", is_flag=True, help="Ask no cluster: without --live, say what cannot be known.")
@click.option(
    "--read-only",
    is_flag=True,
    help="Only read: compare the declared fields, without a dry-run by the server.",
)
@click.option("--unmanaged", is_flag=True, help="Tell also of what no app manages in the namespaces of the objects.")
@click.option("--orphans", is_flag=True, help="Tell also of objects that an app has lost: its labels, on no record.")
@click.option("--owners", is_flag=True, help="Tell which field managers own what differs.")
@click.option("-o", "--output", "form", type=click.Choice(comparison.FORMS), default="text", help="Form of the result.")
@click.option("--serve", is_flag=True, help="Compare again and again, and serve a page, JSON and metrics.")
@click.option("--every", default="60s", show_default=True, help="With --serve: how often.")
@click.option("--addr", default="127.0.0.1:9152", show_default=True, help="With --serve: where (`:9152`: everywhere).")
@build_options
@cluster_options
def diff(
    options: Options,
    words: tuple[str, ...],
    all_: bool,
    all_namespaces: bool,
    path: Path | None,
    live: Path | None,
    offline: bool,
    read_only: bool,
    unmanaged: bool,
    orphans: bool,
    owners: bool,
    form: comparison.Form,
    serve: bool,
    every: str,
    addr: str,
    recipe: Recipe,
) -> None:
    """Compare what is declared with what is live.

    PATH is a directory, rendered as `trimtab build` does, or a file (- is standard input). Objects that name no
    namespace are looked for in that of -n, else of the kubeconfig's context.

    APP is a Kustomization in the cluster: what its source has published is compared as its controller would apply it,
    and what it would delete is told. A word that is a file here is taken for a PATH: `kustomization NAME` is an app.

    Nothing is changed: the server is asked by a dry-run what it would make of each object, with the rights of the
    kubeconfig. Values of Secrets, of what was decrypted, and what they were put into are never shown.

    Exit codes: 0 no difference, 2 differences, 3 something could not be compared (listed as unknown), 1 an error.
    """
    subject = _subject(words, options, path, every=all_, everywhere=all_namespaces)
    asked = Asked(subject, recipe, options, unmanaged, orphans, owners, read_only)
    if not subject.is_files:
        _refuse(recipe)
    elif orphans:
        raise click.UsageError("--orphans are of apps: name one, or --all")
    if serve:
        if live is not None or offline or subject.path == STDIN or form != "text":
            raise click.UsageError("--serve asks a cluster, reads no stream, and serves a page and JSON by itself")
        perform(options, lambda client: _served(client, asked, addr, every))
    elif live is None and not offline:
        perform(options, lambda client: _shown(asked.of_cluster(client), form))
    elif not subject.is_files:
        raise click.UsageError("without a cluster there are no apps: name a PATH")
    elif owners or read_only or (unmanaged and live is None):
        raise click.UsageError("--owners, --read-only and --unmanaged need a cluster (--unmanaged: or --live)")
    else:
        perform_alone(lambda: _shown(asked.of_dump(live), form))


async def _shown(looking: "Awaitable[Report]", form: comparison.Form) -> Code:
    return comparison.show(await looking, form)


async def _served(client: "Client", asked: Asked, address: str, every: str) -> Code:
    from trimtab.base.durations import parse_duration
    from trimtab.cli.diff.serving import serve
    from trimtab.web.differences import LEAST_EVERY_S

    try:
        every_s = parse_duration(every)
    except ValueError as wrong:
        raise Failure(Code.WRONG, f"--every: {wrong}") from None
    if every_s < LEAST_EVERY_S:
        raise Failure(Code.WRONG, f"--every {every}: {LEAST_EVERY_S:g} s is the least")
    return await serve(client, asked, address, every_s)


def _subject(words: Sequence[str], options: Options, path: Path | None, *, every: bool, everywhere: bool) -> Subject:
    """What the words mean. Raises UsageError, Failure."""
    from trimtab.cli.kinds import APP, one

    if every:
        if words or path is not None:
            raise click.UsageError("--all takes no PATH, no APP and no --path")
        return Subject(namespace="" if everywhere else options.namespace)
    if everywhere:
        raise click.UsageError("-A goes with --all")
    if not words:
        raise click.UsageError("name a PATH or an APP, or say --all")
    if len(words) == 1 and path is None and _is_path(words[0]):
        return Subject(Path(words[0]))
    try:
        kind, name = one(words)
    except Failure as failure:
        raise click.UsageError(failure.message) from failure
    if kind is not APP:
        raise click.UsageError(f"a {kind.human} declares no objects: name an app, or a PATH")
    return Subject(path, name, options.namespace)


def _is_path(word: str) -> bool:
    return Path(word) == STDIN or "/" in word or word.endswith((".yaml", ".yml")) or word == "." or Path(word).exists()


def _refuse(recipe: Recipe) -> None:
    """What shapes the build of files and would be ignored for an app, which has it in its own spec."""
    if recipe.kustomization_file or recipe.substitute or recipe.substitute_from:
        raise click.UsageError(
            "--kustomization-file, --substitute and --substitute-from are for a PATH: an app has them in its spec"
        )
