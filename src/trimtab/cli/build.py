"""`trimtab build`: what the controller would make of a directory, without a controller or a cluster."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trimtab.cli.connect import Code, Failure, perform_alone

if TYPE_CHECKING:
    from trimtab.manifests.refs import Body
    from trimtab.render.local import Ignored
    from trimtab.render.options import Options

_EXAMPLES = """\b
Examples:
  trimtab build apps/podinfo
  trimtab build clusters/production/apps --kustomization-file apps.yaml
  trimtab build deploy/overlays/dev --show-kustomization
  trimtab build apps/podinfo -o json | jq .metadata.name
"""


@click.command(epilog=_EXAMPLES)
@click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path())
@click.option(
    "--show-kustomization", is_flag=True, help="Print the kustomization that would be built, not its objects."
)
@click.option(
    "--kustomization-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with a Kustomization object whose build fields (namespace, patches, images, …) are worked in.",
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Root of the repository; nothing above it is read. (The nearest with .git, else as far up as PATH needs.)",
)
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", help="Form of the result (yaml).")
def build(
    path: Path, show_kustomization: bool, kustomization_file: Path | None, root: Path | None, output: str
) -> None:
    """Render the directory PATH offline, exactly as the controller would.

    Nothing is fetched and no program but kustomize is started. The objects are printed in the order they were written;
    -o json prints one object per line.
    """

    async def work() -> int:
        for body in await _build(path.resolve(), show_kustomization, kustomization_file, root and root.resolve()):
            _print(body, output)
        return Code.OK

    perform_alone(work)


async def _build(path: Path, show_kustomization: bool, file: Path | None, root: Path | None) -> "list[Body]":
    from trimtab.base.errors import TrimtabError
    from trimtab.render.closure import Outside
    from trimtab.render.local import LocalFiles
    from trimtab.render.render import Renderer

    with tempfile.TemporaryDirectory(prefix="trimtab-build-") as work_dir:
        renderer = Renderer(None, _kustomize(), Path(work_dir))
        roots = [root] if root else _roots(path)
        for candidate in roots:
            files = LocalFiles(candidate, ignored=_ignored(candidate))
            relative = _relative(path, candidate)
            try:
                options = _options(file)
                if show_kustomization:
                    return [renderer.kustomization(files, relative, options)]
                return [manifest.body for manifest in (await renderer.render(files, relative, options)).manifests]
            except Outside as outside:
                if candidate is roots[-1]:
                    raise Failure(Code.WRONG, f"{outside} (--root names the root of the repository)") from outside
            except TrimtabError as error:
                raise Failure(Code.WRONG, str(error)) from error
        raise AssertionError("there is always a root")


def _roots(path: Path) -> list[Path]:
    """Where the artifact may begin: the repository if there is one, else `path` and, as it needs them, the parents."""
    for above in (path, *path.parents):
        if (above / ".git").exists():
            return [above]
    return [path, *(above for above in path.parents if above != Path(above.anchor))]


def _relative(path: Path, root: Path) -> str:
    if not path.is_relative_to(root):
        raise Failure(Code.WRONG, f"{path} is not below {root}")
    relative = path.relative_to(root).as_posix()
    return "" if relative == "." else relative


def _options(file: Path | None) -> "Options":
    """The build fields of the object in `file`."""
    import msgspec

    from trimtab.api.kustomize import KustomizationSpec
    from trimtab.manifests.yaml import load
    from trimtab.render.options import Options

    if file is None:
        return Options()
    bodies = [document.value for document in load(file.read_bytes(), str(file), dialect="kubernetes")]
    found = [body for body in bodies if isinstance(body, dict) and body.get("kind") == "Kustomization"]
    if len(found) != 1:
        raise Failure(Code.WRONG, f"{file} holds {len(found)} Kustomization objects; one is needed")
    try:
        return Options.from_spec(msgspec.convert(found[0].get("spec"), KustomizationSpec))
    except msgspec.ValidationError as error:
        raise Failure(Code.WRONG, f"{file}: the Kustomization is not valid: {error}") from error


def _kustomize() -> Path | None:
    """The kustomize that the controller would run, else the one on PATH."""
    from trimtab.toolchain import binaries

    if found := binaries.present("render").get("kustomize"):
        return found
    on_path = shutil.which("kustomize", path=os.environ.get("PATH"))
    return Path(on_path) if on_path else None


def _ignored(root: Path) -> "Ignored":
    """What a source leaves out of its artifact unless its object says otherwise."""
    from trimtab.sources.ignore import IGNORE_FILE, rules

    file = root / IGNORE_FILE
    return rules(None, file.read_bytes() if file.is_file() else b"").excludes


def _print(body: "Body", output: str) -> None:
    if output == "json":
        from trimtab.manifests.codec import encode

        click.echo(encode(body).decode())
        return
    from trimtab.manifests.emit import to_yaml

    click.echo("---\n" + to_yaml(body), nl=False)
