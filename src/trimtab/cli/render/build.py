"""`trimtab build`: what the controller would make of a directory, without a controller or a cluster."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from trimtab.cli.connect import Code, perform_alone
from trimtab.cli.render import rendering
from trimtab.cli.render.rendering import Recipe, build_options

if TYPE_CHECKING:
    from trimtab.manifests.refs import Body

_EXAMPLES = """\b
Examples:
  trimtab build apps/podinfo
  trimtab build clusters/production/apps --kustomization-file apps.yaml
  trimtab build apps/shop --substitute REGION=eu-central-1
  trimtab build apps/shop --kustomization-file shop.yaml --substitute-from vars.yaml
  trimtab build deploy/overlays/dev --show-kustomization
  trimtab build apps/podinfo -o json | jq .metadata.name
  trimtab build apps/database --age-key ~/.config/sops/age/keys.txt
"""


@click.command(epilog=_EXAMPLES)
@click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path())
@click.option(
    "--show-kustomization", is_flag=True, help="Print the kustomization that would be built, not its objects."
)
@build_options
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", help="Form of the result (yaml).")
def build(path: Path, show_kustomization: bool, recipe: Recipe, output: str) -> None:
    """Render the directory PATH offline, exactly as the controller would.

    Nothing is fetched and no program but kustomize is started. The objects are printed in the order they were written;
    -o json prints one object per line. What is encrypted stays so without a key; with one, what is printed is secret.

    Expressions such as ${NAME} are filled as spec.postBuild of the Kustomization says; ConfigMaps and Secrets that it
    names come from --substitute-from, as no cluster is asked.
    """

    async def work() -> int:
        spec = recipe.declared().spec
        keys = recipe.keys(spec)
        variables = recipe.variables(spec, strict=not show_kustomization)
        if show_kustomization:
            _print(rendering.kustomization(path, recipe, spec), output)
        else:
            for manifest in (await rendering.rendered(path, recipe, spec, variables, keys)).manifests:
                _print(manifest.body, output)
        return Code.OK

    perform_alone(work)


def _print(body: "Body", output: str) -> None:
    if output == "json":
        from trimtab.manifests.codec import encode

        click.echo(encode(body).decode())
        return
    from trimtab.manifests.emit import to_yaml

    click.echo("---\n" + to_yaml(body), nl=False)
