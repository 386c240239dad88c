"""`trimtab images`: which images run and what is chosen of them; and choices and edits without a cluster."""

from pathlib import Path

import click

from trimtab.cli import output as forms
from trimtab.cli.connect import Options, cluster_options

_LOOK = """\b
Examples:
  trimtab images -n shop
  trimtab images -A
  trimtab images cart -n shop
  trimtab images StatefulSet/queue -n shop -o json
"""

_CHOOSE = """\b
Examples:
  trimtab images choose --policy policy.yaml --tags tags.txt
  skopeo list-tags docker://ghcr.io/acme/shop | trimtab images choose --policy policy.yaml --tags -
  trimtab images choose --policy policy.yaml --tags tags.json -o json | jq -r .tag

\b
policy.yaml has an ImagePolicy, and its ImageRepository if tags are to be left out by spec.exclusionList:
  apiVersion: image.toolkit.fluxcd.io/v1
  kind: ImagePolicy
  metadata: {name: shop, namespace: flux-system}
  spec:
    imageRepositoryRef: {name: shop}
    filterTags: {pattern: '^main-[0-9a-f]+-(?P<ts>[0-9]+)$', extract: $ts}
    policy: {numerical: {order: asc}}
"""
_EDIT = """\b
Examples:
  trimtab images edit clusters/production --set flux-system:shop=ghcr.io/acme/shop:1.4.2
  trimtab images edit . --set flux-system:shop=ghcr.io/acme/shop:1.4.2@sha256:6745… --dry-run
  trimtab images edit apps --workload Deployment/shop/cart:app=ghcr.io/acme/cart:1.4.2
  trimtab images edit overlays/production --kustomize cart=ghcr.io/acme/cart:1.4.2

\b
A marker names the policy behind a value:
  image: ghcr.io/acme/shop:1.4.1 # {"$imagepolicy": "flux-system:shop"}
  newTag: 1.4.1                  # {"$imagepolicy": "flux-system:shop:tag"}
"""


class _Images(click.Group):
    """A group whose own name is a command too: what is none of its commands is a workload."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = (*self.commands, *ctx.help_option_names)
        return super().parse_args(ctx, args if args and args[0] in known else ["look", *args])


_IMPLY = """\b
Example:
  trimtab images imply . > clusters/production/images.yaml
"""


@click.group(cls=_Images)
def images() -> None:
    """Show which images run and what is chosen of them; choose and edit without a cluster.

    `trimtab images WORKLOAD` is short for `trimtab images look WORKLOAD`.
    """


@images.command(epilog=_LOOK, short_help="Show which images workloads run, what is chosen of them, and why.")
@click.argument("workload", default="", metavar="[[KIND/]WORKLOAD]")
@click.option("-A", "--all-namespaces", is_flag=True, help="In every namespace.")
@click.option("--show", type=click.IntRange(0), default=5, help="Rows of candidates and of dropped tags (5).")
@click.option("-o", "--output", "form", type=click.Choice(forms.FORMS), default="text", help="How to print.")
@cluster_options
def look(options: Options, workload: str, all_namespaces: bool, show: int, form: forms.Form) -> None:
    """Show which images workloads run, what is chosen of them, and why.

    Without WORKLOAD a line for each container and each ImagePolicy that chooses from its image. With it also the
    candidates, the tags that were dropped and by which filter, when images were created, and how far what runs is
    behind: for that the registry is asked from here, with the credentials that the ImageRepository names.
    """
    from trimtab.cli.connect import perform
    from trimtab.cli.images.look import Asked, looked

    asked = Asked(workload, "" if all_namespaces else options.namespace, show, form)
    perform(options, lambda client: looked(client, asked))


@images.command(epilog=_CHOOSE, short_help="Choose one of many tags by an ImagePolicy, and say why.")
@click.option(
    "--policy",
    "policy_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="File with an ImagePolicy, and with its ImageRepository if that leaves tags out.",
)
@click.option(
    "--tags",
    "tags_file",
    type=click.Path(path_type=Path, allow_dash=True),
    required=True,
    help="File with the tags: one a line, with the time its image was created if that counts, or JSON. - is standard "
    "input.",
)
@click.option("--show", type=click.IntRange(0), default=20, help="Rows of candidates and of dropped tags (20).")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Form of the result (text).")
def choose(policy_file: Path, tags_file: Path, show: int, output: str) -> None:
    """Choose one of many tags by an ImagePolicy, and say why: the candidates, and which filter dropped which tag.

    Exit code 0: there is a tag to run; 2: no tag is left; 1: the policy or the list makes no sense.
    """
    from trimtab.cli.connect import perform_alone
    from trimtab.cli.images.choose import chosen

    perform_alone(lambda: chosen(policy_file, tags_file, show, output))


@images.command(epilog=_EDIT, short_help="Write images into YAML files, and change nothing else.")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--set",
    "policies",
    metavar="NAMESPACE:POLICY=IMAGE:TAG[@DIGEST]",
    multiple=True,
    help="What a policy chose: written wherever a marker names the policy (repeatable).",
)
@click.option(
    "--workload",
    "workloads",
    metavar="[KIND/][NAMESPACE/]NAME[:CONTAINER]=IMAGE:TAG[@DIGEST]",
    multiple=True,
    help="The image of a container, or in the values of a HelmRelease; no marker is needed (repeatable).",
)
@click.option(
    "--kustomize",
    "entries",
    metavar="NAME=IMAGE:TAG[@DIGEST]",
    multiple=True,
    help="The entries of `images:` with this name, in kustomizations; no marker is needed (repeatable).",
)
@click.option("--dry-run", is_flag=True, help="Print what would change as a diff, and write nothing.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Form of the result (text).")
def edit(
    path: Path,
    policies: tuple[str, ...],
    workloads: tuple[str, ...],
    entries: tuple[str, ...],
    dry_run: bool,
    output: str,
) -> None:
    """Write images into the YAML files below PATH (or into the one file it is), as the automation would.

    Only the values change; comments, order, quotes and every other byte stay. Links are not followed. What cannot be
    written is told with file and line, and so is every marker of a policy that was not given.

    Exit code 0: all is as asked; 2: with --dry-run, there is a difference; 1: something asked for could not be written.
    """
    from trimtab.cli.connect import perform_alone
    from trimtab.cli.images.edit import edited, wishes_of

    perform_alone(lambda: edited(path, wishes_of(policies, workloads, entries), dry_run=dry_run, output=output))


@images.command(epilog=_IMPLY, short_help="Print the policies that annotations of Flux v1 stand for.")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("-n", "--namespace", default="flux-system", help="Namespace of the objects (flux-system).")
@click.option("--interval", default="5m", help="How often registries are looked at (5m).")
def imply(path: Path, namespace: str, interval: str) -> None:
    """Print an ImageRepository and an ImagePolicy for each image that workloads below PATH follow by annotations.

    These are fluxcd.io/automated with filter.fluxcd.io/CONTAINER or fluxcd.io/tag.CONTAINER, as in Flux v1. With the
    objects in the cluster, an ImageUpdateAutomation of their namespace writes what they choose; no marker is needed.

    Exit code 0: there are some; 2: nothing is automated; 1: an error.
    """
    from trimtab.cli.connect import perform_alone
    from trimtab.cli.images.imply import implied

    perform_alone(lambda: implied(path, namespace, interval))
