"""`trimtab build`: what the controller would make of a directory, without a controller or a cluster."""

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from trimtab.cli.connect import Code, Failure, perform_alone
from trimtab.cli.offline import offline

if TYPE_CHECKING:
    from trimtab.api.kustomize import KustomizationSpec
    from trimtab.manifests.refs import Body
    from trimtab.render.local import Ignored
    from trimtab.render.variables import Variables
    from trimtab.sops.keyring import Keyring

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
@click.option("--substitute", metavar="NAME=VALUE", multiple=True, help="A variable, over all others (repeatable).")
@click.option(
    "--substitute-from",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="File with ConfigMaps and Secrets that spec.postBuild.substituteFrom names (repeatable).",
)
@click.option(
    "--strict/--no-strict",
    default=True,
    show_default=True,
    help="Fail for a variable that is not set and has no default, as the controller does.",
)
@click.option(
    "--age-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="File with a key of age, or a private key of SSH, that opens files encrypted by SOPS (several times).",
)
@click.option(
    "--gpg-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="File with a private key of OpenPGP, armored and without a passphrase, for the same.",
)
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", help="Form of the result (yaml).")
def build(
    path: Path,
    show_kustomization: bool,
    kustomization_file: Path | None,
    root: Path | None,
    substitute: tuple[str, ...],
    substitute_from: tuple[Path, ...],
    strict: bool,
    age_key: tuple[Path, ...],
    gpg_key: tuple[Path, ...],
    output: str,
) -> None:
    """Render the directory PATH offline, exactly as the controller would.

    Nothing is fetched and no program but kustomize is started. The objects are printed in the order they were written;
    -o json prints one object per line. What is encrypted stays so without a key; with one, what is printed is secret.

    Expressions such as ${NAME} are filled as spec.postBuild of the Kustomization says; ConfigMaps and Secrets that it
    names come from --substitute-from, as no cluster is asked.
    """

    async def work() -> int:
        spec = _spec(kustomization_file)
        variables = offline(spec, substitute, substitute_from, strict=strict and not show_kustomization)
        wanted = _Wanted(show_kustomization, spec, variables, _keys(age_key, gpg_key, spec))
        for body in await _build(path.resolve(), wanted, root and root.resolve()):
            _print(body, output)
        return Code.OK

    perform_alone(work)


class _Wanted(NamedTuple):
    """What is to be built, and with what; `show` asks for the kustomization, not its objects."""

    show: bool
    spec: "KustomizationSpec | None"
    variables: "Variables"
    keys: "Keyring | None"


async def _build(path: Path, wanted: _Wanted, root: Path | None) -> "list[Body]":
    from trimtab.base.errors import TrimtabError
    from trimtab.render.closure import Outside
    from trimtab.render.local import LocalFiles
    from trimtab.render.options import Options
    from trimtab.render.render import Renderer

    options = Options() if wanted.spec is None else Options.from_spec(wanted.spec)

    with tempfile.TemporaryDirectory(prefix="trimtab-build-") as work_dir:
        renderer = Renderer(None, _kustomize(), Path(work_dir))
        roots = [root] if root else _roots(path)
        for candidate in roots:
            files = LocalFiles(candidate, ignored=_ignored(candidate))
            relative = _relative(path, candidate)
            try:
                if wanted.show:
                    return [renderer.kustomization(files, relative, options)]
                rendered = await renderer.render(files, relative, options, wanted.variables, wanted.keys)
                return [manifest.body for manifest in rendered.manifests]
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


def _keys(age: Sequence[Path], gpg: Sequence[Path], spec: "KustomizationSpec | None") -> "Keyring | None":
    """What opens encrypted files; None where nothing is to be opened. An object that wants it opens or fails."""
    from trimtab.sops.errors import BadKeys
    from trimtab.sops.keyring import AGE_SUFFIX, OPENPGP_SUFFIX, Keyring

    entries = {
        f"{path}:{suffix}": path.read_bytes()
        for paths, suffix in ((age, AGE_SUFFIX), (gpg, OPENPGP_SUFFIX))
        for path in paths
    }
    try:
        return Keyring.of(entries) if entries or (spec is not None and spec.decryption is not None) else None
    except BadKeys as error:
        raise Failure(Code.WRONG, re.sub(r":\.(?:agekey|asc): ", ": ", str(error), count=1)) from None


def _spec(file: Path | None) -> "KustomizationSpec | None":
    """The spec of the object in `file`."""
    import msgspec

    from trimtab.api.kustomize import KustomizationSpec
    from trimtab.manifests.yaml import load

    if file is None:
        return None
    bodies = [document.value for document in load(file.read_bytes(), str(file), dialect="kubernetes")]
    found = [body for body in bodies if isinstance(body, dict) and body.get("kind") == "Kustomization"]
    if len(found) != 1:
        raise Failure(Code.WRONG, f"{file} holds {len(found)} Kustomization objects; one is needed")
    try:
        return msgspec.convert(found[0].get("spec"), KustomizationSpec)
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
