"""The variables of an app where there is no cluster to read them from: for `trimtab build`."""

import base64
import binascii
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from trimtab.cli.connect import Code, Failure
from trimtab.cli.render.envsubst import assignments

if TYPE_CHECKING:
    from trimtab.api.kustomize import KustomizationSpec
    from trimtab.manifests.refs import Body
    from trimtab.render.variables import Found, Variables


class Holder(NamedTuple):
    """What variables come from, by the names that a spec has for it."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


def offline(
    spec: "KustomizationSpec | None", given: tuple[str, ...], files: tuple[Path, ...], *, strict: bool
) -> "Variables":
    """What `spec.postBuild` says, with its ConfigMaps and Secrets from `files`, and with what was `given` over all.

    What it names and nobody gave is told on stderr. Raises Failure, Terminal.
    """
    from trimtab.render.variables import collected

    post_build = spec.post_build if spec is not None else None
    objects = holders(files)
    found: list[Found] = []
    missing: list[Holder] = []
    for ref in post_build.substitute_from if post_build is not None else ():
        named = Holder(ref.kind, ref.name)
        if (body := objects.get(named)) is not None:
            found.append(entries_of(named, body))
        elif not ref.optional:
            missing.append(named)
    if missing:
        _tell(missing)
    return collected(post_build, found, strict=strict, given=assignments("--substitute", given))


def holders(files: tuple[Path, ...]) -> "dict[Holder, Body]":
    """The ConfigMaps and Secrets in `files`, by kind and name. Raises Failure."""
    return {Holder(body["kind"], body["metadata"]["name"]): body for file in files for body in _objects(file)}


def _tell(missing: Iterable[Holder]) -> None:
    click.echo(
        f"! spec.postBuild.substituteFrom names {', '.join(map(str, missing))}, which a build without a cluster cannot "
        "read: give the objects with --substitute-from FILE, or single values with --substitute NAME=VALUE",
        err=True,
    )


def _objects(file: Path) -> "list[Body]":
    from trimtab.manifests.yaml import load, manifests_of

    found = [one.body for one in manifests_of(load(file.read_bytes(), str(file), dialect="kubernetes"))]
    wanted = [body for body in found if body["apiVersion"] == "v1" and body["kind"] in ("ConfigMap", "Secret")]
    if not wanted:
        raise Failure(Code.WRONG, f"{file} holds no ConfigMap and no Secret")
    return wanted


def entries_of(named: object, body: "Body") -> "Found":
    """The entries of a ConfigMap or a Secret, called `named` in messages. Raises Failure."""
    from trimtab.render.variables import Found

    secret = body["kind"] == "Secret"
    entries: dict[str, str | bytes] = {}
    for field in ("data", "stringData") if secret else ("data",):
        for name, value in (body.get(field) or {}).items():
            if not isinstance(value, str):
                raise Failure(Code.WRONG, f"{named}: {field}.{name} is not a string")
            try:
                entries[name] = base64.b64decode(value, validate=True) if secret and field == "data" else value
            except binascii.Error:
                raise Failure(Code.WRONG, f"{named}: data.{name} is not base64") from None
    return Found(str(named), entries, confidential=secret)
