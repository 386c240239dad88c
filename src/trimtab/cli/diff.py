"""`trimtab diff`: where what is declared and what is live differ."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from trimtab.cli import comparison, rendering
from trimtab.cli.connect import Code, Failure, Options, cluster_options, perform_alone
from trimtab.cli.rendering import Recipe, build_options

if TYPE_CHECKING:
    from trimtab.diff.report import Finding, Report
    from trimtab.manifests.refs import Manifest
    from trimtab.render.render import Rendered

_DUMP_BYTES: Final = 64 << 20

_EXAMPLES = """\b
Examples:
  trimtab diff wanted.yaml --live live.yaml
  trimtab diff clusters/production --offline
  kubectl get deploy,svc,cm -n shop -o yaml | trimtab diff apps/shop --live -

\b
Each object that differs is listed with the file and line it is declared at; the arrow leads from what is live to what
is declared:
  ~ Deployment/shop/web (apps/shop/web.yaml:3)
      spec.replicas: 3 → 1
  + ConfigMap/shop/new (apps/shop/new.yaml:1): only in git
"""


@click.command("diff", epilog=_EXAMPLES)
@click.argument("path", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--live",
    type=click.Path(exists=True, dir_okay=False, path_type=Path, allow_dash=True),
    help="File with live objects, as `kubectl get … -o yaml` prints them; no cluster is asked.",
)
@click.option("--offline", is_flag=True, help="Ask no cluster: without --live, say what cannot be known.")
@click.option("--unmanaged", is_flag=True, help="Tell also of live objects that are not declared.")
@click.option("-o", "--output", "form", type=click.Choice(comparison.FORMS), default="text", help="Form of the result.")
@build_options
@cluster_options
def diff(
    options: Options,
    path: Path,
    live: Path | None,
    offline: bool,
    unmanaged: bool,
    form: comparison.Form,
    recipe: Recipe,
) -> None:
    """Compare what PATH declares, a directory or a file (- is standard input), with what is live.

    Values of Secrets, of what was decrypted, and what they were put into are never shown: only that they differ.

    Exit codes: 0 no difference, 2 differences, 3 something could not be compared (listed as unknown), 1 an error.
    """

    async def work() -> int:
        if live is None and not offline:
            raise Failure(Code.WRONG, "give the live objects with --live FILE")
        wanted = await _wanted(path, recipe)
        if live is None:
            return comparison.show(_unseen(path, wanted), form)
        return comparison.show(_against_dump(path, wanted, live, options, unmanaged=unmanaged), form)

    perform_alone(work)


async def _wanted(path: Path, recipe: Recipe) -> "Rendered":
    """What `path` declares. Nothing at all is an error: it must not look as if all were well."""
    spec = recipe.declared().spec
    # without a key, what is encrypted cannot be compared, and the rest can
    keys = recipe.keys(spec) if recipe.has_keys else None
    found = await rendering.rendered(path, recipe, spec, recipe.variables(spec), keys)
    if not found.manifests:
        raise Failure(Code.WRONG, f"{path} declares no object: there is nothing to compare")
    return found


def _against_dump(path: Path, wanted: "Rendered", live: Path, options: Options, *, unmanaged: bool) -> "Report":
    from trimtab.diff.dump import against_dump
    from trimtab.diff.report import gathered

    sealed, open_ = _unsealed(wanted.manifests)
    found = against_dump(open_, _dumped(live), namespace=options.asked, secret=wanted.secret, everything=unmanaged)
    return gathered(str(path), datetime.now(UTC), [*sealed, *found])


def _unseen(path: Path, wanted: "Rendered") -> "Report":
    """What can be said without a cluster or a dump of one: what is declared, and that no more is known."""
    from trimtab.diff.report import Finding, State, gathered

    note = "offline, and nothing live was given to compare it with (--live FILE)"
    found = [Finding(one.ref, State.UNKNOWN, one.origin, note) for one in wanted.manifests]
    return gathered(str(path), datetime.now(UTC), found)


def _unsealed(manifests: "Sequence[Manifest]") -> "tuple[list[Finding], list[Manifest]]":
    """What is still encrypted, as findings, and the rest."""
    from trimtab.diff.report import Finding, State
    from trimtab.sops.objects import is_encrypted, is_switched_off, sealed_entry

    note = "it is encrypted by SOPS: give a key with --age-key or --gpg-key"
    sealed, rest = [], []
    for manifest in manifests:
        body = manifest.body
        if (is_encrypted(body) and not is_switched_off(body)) or sealed_entry(body):
            sealed.append(Finding(manifest.ref, State.UNKNOWN, manifest.origin, note))
        else:
            rest.append(manifest)
    return sealed, rest


def _dumped(file: Path) -> "list[Manifest]":
    """The live objects in `file`. A file without any document is no dump, an empty list is one."""
    from trimtab.manifests.refs import Origin
    from trimtab.manifests.yaml import Document, load, manifests_of

    name = "standard input" if str(file) == "-" else str(file)
    try:
        data = _bytes(file)
    except OSError as wrong:
        raise Failure(Code.WRONG, f"{name}: {wrong.strerror}") from wrong
    if len(data) > _DUMP_BYTES:
        raise Failure(Code.WRONG, f"{name} is larger than {_DUMP_BYTES >> 20} MiB: dump fewer kinds or namespaces")
    value = _json(data)
    documents = load(data, name, dialect="kubernetes") if value is None else [Document(value, Origin(name, 1, 1))]
    if all(document.value in (None, {}, []) for document in documents):
        raise Failure(
            Code.WRONG, f"{name} holds no objects; `kubectl get -o yaml` prints a List also where it is empty"
        )
    return manifests_of(documents)


def _bytes(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read(_DUMP_BYTES + 1)
    with file.open("rb") as stream:
        return stream.read(_DUMP_BYTES + 1)


def _json(data: bytes) -> object:
    """`data`, if it is one JSON document, which is read much faster than YAML."""
    import msgspec

    from trimtab.manifests import codec

    if not data.lstrip().startswith(b"{"):
        return None
    try:
        found: object = codec.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found
