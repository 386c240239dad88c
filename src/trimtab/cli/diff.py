"""`trimtab diff`: where what is declared and what is live differ."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from trimtab.cli import against, comparison
from trimtab.cli.connect import Code, Failure, Options, cluster_options, perform, perform_alone
from trimtab.cli.rendering import Recipe, build_options

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from trimtab.diff.report import Finding, Report
    from trimtab.kube.client import Client

_EXAMPLES = """\b
Examples:
  trimtab diff apps/shop
  trimtab diff clusters/production/apps --kustomization-file apps.yaml --owners
  trimtab diff wanted.yaml --live live.yaml
  kubectl get deploy,svc,cm -n shop -o yaml | trimtab diff apps/shop --live -
  helm template shop charts/shop | trimtab diff - -n shop

\b
Each object that differs is listed with the file and line it is declared at; the arrow leads from what is live to what
is declared:
  ~ Deployment/shop/web (apps/shop/web.yaml:3)
      spec.replicas: 3 → 1
  + ConfigMap/shop/new (apps/shop/new.yaml:1): only in git
"""


class Asked(NamedTuple):
    """What is to be compared, and what is to be told."""

    path: Path
    recipe: Recipe
    unmanaged: bool
    owners: bool
    read_only: bool


@click.command("diff", epilog=_EXAMPLES)
@click.argument("path", type=click.Path(path_type=Path, allow_dash=True))
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
@click.option("--owners", is_flag=True, help="Tell which field managers own what differs.")
@click.option("-o", "--output", "form", type=click.Choice(comparison.FORMS), default="text", help="Form of the result.")
@build_options
@cluster_options
def diff(
    options: Options,
    path: Path,
    live: Path | None,
    offline: bool,
    read_only: bool,
    unmanaged: bool,
    owners: bool,
    form: comparison.Form,
    recipe: Recipe,
) -> None:
    """Compare what PATH declares, a directory or a file (- is standard input), with what is live.

    Nothing is changed: the server is asked by a dry-run what it would make of each object, with the rights of the
    kubeconfig. Objects that name no namespace are looked for in that of -n, else of the
    kubeconfig's context.

    Values of Secrets, of what was decrypted, and what they were put into are never shown: only that they differ.

    Exit codes: 0 no difference, 2 differences, 3 something could not be compared (listed as unknown), 1 an error.
    """
    asked = Asked(path, recipe, unmanaged, owners, read_only)
    if live is None and not offline:
        perform(options, lambda client: _shown(_cluster(client, asked, options), form))
    else:
        if owners:
            raise click.UsageError("--owners needs a cluster")
        perform_alone(lambda: _shown(_offline(asked, live, options), form))


async def _shown(looking: "Awaitable[Report]", form: comparison.Form) -> Code:
    return comparison.show(await looking, form)


async def _offline(asked: Asked, live: Path | None, options: Options) -> "Report":
    wish = await against.wanted(asked.path, asked.recipe)
    if live is not None:
        return _report(asked, against.dump(wish, live, namespace=options.asked, everything=asked.unmanaged))
    if asked.unmanaged:
        raise Failure(Code.WRONG, "--unmanaged needs a cluster, or a dump of one (--live)")
    why = "offline, and nothing live was given to compare it with (--live FILE)"
    return _report(asked, against.nothing(wish.rendered.manifests, why))


async def _cluster(client: "Client", asked: Asked, options: Options) -> "Report":
    from trimtab.targets.kubernetes import estate
    from trimtab.targets.kubernetes.comparing import Terms

    wish = await against.wanted(asked.path, asked.recipe)
    terms = Terms(rehearsing=not asked.read_only, owners=asked.owners, timeout_s=options.timeout_s)
    found = await against.cluster(client, wish, terms, namespace=options.asked or client.config.namespace)
    if asked.unmanaged:
        wished = {finding.ref for finding in found}
        found += await estate.unmanaged(client, {ref.namespace for ref in wished}, wished)
    return _report(asked, found)


def _report(asked: Asked, found: "list[Finding]") -> "Report":
    from trimtab.diff.report import gathered

    about = "standard input" if str(asked.path) == "-" else str(asked.path)
    return gathered(about, datetime.now(UTC), found)
