"""`trimtab export`: live objects as clean manifests: of our own kinds, or what no app manages."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trimtab.cli.connect import Code, Failure, Options, cluster_options, perform

if TYPE_CHECKING:
    from trimtab.kube.client import Client
    from trimtab.manifests.refs import Body

_EXAMPLES = """\b
Examples:
  trimtab export kustomization shop -n team-a
  trimtab export source git --all > sources.yaml
  trimtab export --unmanaged -n shop -d apps/shop
  trimtab export --unmanaged -A deployments services -d migration
"""


@click.command("export", epilog=_EXAMPLES)
@click.argument("words", nargs=-1, metavar="[KIND [NAME] | --unmanaged [KIND…]]")
@click.option("--all", "all_", is_flag=True, help="All objects of the kind in the namespace.")
@click.option("--unmanaged", is_flag=True, help="What no app manages, of the KINDs as kubectl calls them, or of all.")
@click.option("-A", "--all-namespaces", is_flag=True, help="In every namespace, and with --unmanaged what is in none.")
@click.option("--other-tools", is_flag=True, help="With --unmanaged: also what helm or Argo CD look after.")
@click.option(
    "--secrets",
    type=click.Choice(["omit", "placeholder", "include"]),
    default="omit",
    show_default=True,
    help="With --unmanaged: what becomes of Secrets. A placeholder has the keys and no values.",
)
@click.option(
    "-d",
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="With --unmanaged: write a file for each object there, and a kustomization.yaml.",
)
@cluster_options
def export(
    options: Options,
    words: tuple[str, ...],
    all_: bool,
    unmanaged: bool,
    all_namespaces: bool,
    other_tools: bool,
    secrets: str,
    directory: Path | None,
) -> None:
    """Print live objects as they could stand in git.

    KIND is one of ours, such as kustomization or source git. With --unmanaged everything that no app manages is
    exported, as the beginning of a migration: applied to the cluster as it is, it makes no difference.

    Exit codes: 0, 3 something could not be read (told), 1 an error.
    """
    if unmanaged:
        if all_:
            raise click.UsageError("--all is for kinds of ours: --unmanaged takes all there is")
        perform(
            options,
            lambda client: _unmanaged(
                client, options, words, everywhere=all_namespaces, others=other_tools, secrets=secrets, at=directory
            ),
        )
    elif directory is not None or other_tools or secrets != "omit":
        raise click.UsageError("-d, --secrets and --other-tools go with --unmanaged")
    elif not words:
        raise click.UsageError("name a KIND, or say --unmanaged")
    else:
        perform(
            options,
            lambda client: _ours(client, options, words, every=all_ or all_namespaces, everywhere=all_namespaces),
        )


async def _ours(client: "Client", options: Options, words: Sequence[str], *, every: bool, everywhere: bool) -> int:
    from trimtab.cli import kinds
    from trimtab.kube.errors import NotFound
    from trimtab.manifests.cleaned import cleaned
    from trimtab.targets.kubernetes.comparing import declared_before

    if every:
        kind, name = kinds.kind_of(words), ""
    else:
        found, name = kinds.several(words)
        if not name or len(found) != 1:
            raise Failure(Code.WRONG, f"name one {' '.join(words)}, or say --all")
        [kind] = found
    resource = await client.discovery.find(kind.gvk)
    namespace = "" if everywhere else options.namespace
    if name:
        try:
            bodies: list[Body] = [await client.get(resource, name, namespace)]
        except NotFound:
            raise Failure(Code.WRONG, f"there is no {kind.human} {name} in namespace {namespace}") from None
    else:
        bodies = (await client.list(resource, namespace, type=dict)).items
    if not bodies:
        raise Failure(
            Code.WRONG, f"there is no {kind.human} in {f'namespace {namespace}' if namespace else 'any namespace'}"
        )
    _print([cleaned(body, declared_before(body)) for body in bodies])
    return Code.OK


async def _unmanaged(
    client: "Client",
    options: Options,
    words: Sequence[str],
    *,
    everywhere: bool,
    others: bool,
    secrets: str,
    at: Path | None,
) -> int:
    from trimtab.cli import coverage, exporting, output
    from trimtab.kube.errors import UnknownKind

    namespace = "" if everywhere else options.asked or client.config.namespace
    wanted = set()
    for word in words:
        try:
            gvk = (await client.discovery.find_by_name(word)).gvk
        except UnknownKind:
            raise Failure(Code.WRONG, f"the cluster has no kind {word!r}") from None
        wanted.add((gvk.group, gvk.kind))
    estate = await coverage.look(client, namespace)
    blind = [one for one in estate.blind if not wanted or (one.ref.group, one.ref.kind) in wanted]
    chosen = exporting.chosen(estate.objects, wanted, others=others, secrets=secrets)
    for line in chosen.notes:
        output.say("◎", line, quiet=options.quiet)
    found, lost = await exporting.read(client, chosen.refs)
    for one in (*blind, *lost):
        output.say("✗", f"{one.ref} unknown: {one.note}")
    if at is not None:
        many = exporting.write(at, found, split=everywhere, secrets=secrets)
        output.say("✔", f"{many} files written to {at}", quiet=options.quiet)
    else:
        _print([exporting.shown(body, secrets) for body in found])
    if secrets == "include" and any(body["kind"] == "Secret" for body in found):
        output.say("◎", "Secrets are in there in clear text: encrypt them (SOPS) before they go to git")
    return Code.UNKNOWN if blind or lost else Code.OK


def _print(bodies: "Sequence[Body]") -> None:
    from trimtab.manifests.emit import to_yaml

    for body in bodies:
        click.echo("---\n" + to_yaml(body), nl=False)
