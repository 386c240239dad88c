"""`trimtab validate`: whether manifests are fit to be committed."""

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import click

from trimtab.cli.connect import Code, Failure, Options, cluster_options, perform_alone

if TYPE_CHECKING:
    from trimtab.manifests.refs import Body
    from trimtab.render.local import Ignored
    from trimtab.validate.finding import Report
    from trimtab.validate.gathering import Gathered
    from trimtab.validate.policies import Policies
    from trimtab.validate.reading import Item

_Form: TypeAlias = Literal["text", "json", "sarif", "junit"]
_FORMS: Final = ("text", "json", "sarif", "junit")
_COLOURS: Final = {"error": "red", "warning": "yellow", "unknown": "magenta"}
_FILE_BYTES: Final = 10 << 20
_STDIN: Final = Path("-")

_EXAMPLES = """\b
Examples:
  trimtab validate .
  trimtab validate clusters apps --offline --kubernetes-version 1.35
  trimtab validate apps --policies policies --schema crds -o sarif > validate.sarif
  helm template shop charts/shop | trimtab validate -

\b
Each finding is told with the file and line of what is wrong:
  ✗ apps/shop/web.yaml:14: Deployment/shop/web: spec.replicas must be an integer, it is '3'
"""


@click.command(epilog=_EXAMPLES)
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path, allow_dash=True)
)
@click.option("--offline", is_flag=True, help="Ask no cluster for its schemas.")
@click.option("--kubernetes-version", metavar="X.Y", help="Judge by the schemas of this version, which come along.")
@click.option(
    "--schema",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="File or directory with CustomResourceDefinitions (repeatable).",
)
@click.option(
    "--policies",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="File or directory with ValidatingAdmissionPolicies, their bindings and parameters (repeatable).",
)
@click.option(
    "--plaintext-secrets",
    type=click.Choice(["allow", "warn", "refuse"]),
    default="warn",
    show_default=True,
    help="What to say of Secrets in clear text.",
)
@click.option("--allow-unknown", is_flag=True, help="Only tell of kinds that are not known here.")
@click.option("-o", "--output", "form", type=click.Choice(_FORMS), default="text", help="Form of the result (text).")
@cluster_options
def validate(
    options: Options,
    paths: tuple[Path, ...],
    offline: bool,
    kubernetes_version: str | None,
    schema: tuple[Path, ...],
    policies: tuple[Path, ...],
    plaintext_secrets: str,
    allow_unknown: bool,
    form: _Form,
) -> None:
    """Judge the manifests in PATH... before they are committed; - is standard input.

    Kustomizations are built, as are the directories that Flux Kustomizations name, if they are here; other files are
    taken as they are written. Said is what a server that is asked to be strict would refuse: unknown fields, wrong
    values, names, objects that are declared twice; and what is likely to be a mistake: references to nothing, Secrets
    in clear text, what policies refuse.

    The schemas are those of the cluster if one can be reached, else those that come along, and those of our own kinds
    and of definitions in PATH.

    Exit codes: 0 valid (warnings may have been told), 2 errors, 3 something could not be judged, 1 an error of usage.
    """

    async def work() -> Code:
        from trimtab.api.names import PlaintextSecrets
        from trimtab.cli.render.schemas import schemas
        from trimtab.validate.catalog import Catalog
        from trimtab.validate.finding import Report, ordered
        from trimtab.validate.judging import Terms, judge
        from trimtab.validate.reading import Sources

        gathered = await _gathered(paths)
        bodies = [item.body for item in gathered.items]
        known = await schemas(options, bodies, offline=offline, version=kubernetes_version)
        catalog = Catalog(known.bundle)
        catalog.define([*known.definitions, *_bodies(schema, "--schema"), *bodies])
        terms = Terms(
            catalog,
            Sources(gathered.contents),
            _policies(policies),
            PlaintextSecrets(plaintext_secrets),
            allow_unknown,
        )
        findings = ordered([*gathered.findings, *judge(gathered.units, terms)])
        count = len(gathered.items)
        report = Report(findings, count, tuple(gathered.contents), gathered.builds, gathered.left_out, known.whose)
        if not count and not findings:
            raise Failure(Code.WRONG, f"no manifests in {', '.join(map(str, paths))}")
        return show(report, form)

    perform_alone(work)


async def _gathered(paths: Sequence[Path]) -> "Gathered":
    from trimtab.api.kustomize import KustomizationSpec
    from trimtab.base.errors import TrimtabError
    from trimtab.cli.render import rendering
    from trimtab.render.closure import Outside
    from trimtab.render.render import NO_VARIABLES
    from trimtab.render.variables import collected
    from trimtab.validate.gathering import Built, gather

    with rendering.renderer() as renderer:

        async def build(path: Path, spec: KustomizationSpec | None) -> Built:
            post_build = spec.post_build if spec is not None else None
            # what comes from ConfigMaps and Secrets of a cluster is not known: then expressions are left as they are
            fill = post_build is not None and not post_build.substitute_from
            variables = collected(post_build) if fill else NO_VARIABLES
            try:
                return Built(*await rendering.built(renderer, path, root(path), spec, variables))
            except Outside:
                # what was named is no repository: its parents may have what it needs
                return Built(*await rendering.built(renderer, path, None, spec, variables))

        root = partial(_repository, [path.resolve() for path in paths if path != _STDIN])
        try:
            stdin = _stdin() if _STDIN in paths else None
            return await gather(paths, build, repository=root, ignored=_Ignored(root), stdin=stdin)
        except TrimtabError as wrong:
            raise Failure(Code.WRONG, str(wrong)) from wrong


class _Ignored:
    """Whether a file is none that a source takes along: by the rules at the root of its repository."""

    def __init__(self, root: Callable[[Path], Path]) -> None:
        self._root = root
        self._rules: dict[Path, Ignored] = {}
        self._roots: dict[Path, Path] = {}

    def __call__(self, path: Path) -> bool:
        from trimtab.cli.render.rendering import ignored

        if path.parent not in self._roots:
            self._roots[path.parent] = self._root(path)
        root = self._roots[path.parent]
        if root not in self._rules:
            self._rules[root] = ignored(root)
        return self._rules[root](path.relative_to(root).as_posix())


def _stdin() -> bytes:
    data = sys.stdin.buffer.read(_FILE_BYTES + 1)
    if len(data) > _FILE_BYTES:
        raise Failure(Code.WRONG, f"standard input is larger than {_FILE_BYTES >> 20} MiB")
    return data


def _repository(named: Sequence[Path], path: Path) -> Path:
    """The root of the repository that `path` lies in; without one, what was named of it."""
    from trimtab.cli.render.rendering import repository

    if (found := repository(path)) is not None:
        return found
    return next((one for one in named if one.is_dir() and path.is_relative_to(one)), path.parent)


def _items(paths: Sequence[Path], option: str) -> "list[Item]":
    """The objects in files and directories that an option names. Raises Failure for what is wrong with one of them."""
    from trimtab.validate.reading import read

    found: list[Item] = []
    for path in paths:
        files = sorted(one for one in path.rglob("*") if one.suffix in (".yaml", ".yml")) if path.is_dir() else [path]
        for file in files:
            if file.is_symlink() and file != path:
                continue
            with file.open("rb") as stream:
                data = stream.read(_FILE_BYTES + 1)
            what = read(data, str(file), named=not path.is_dir(), dialect="kubernetes")
            if what.findings:
                raise Failure(Code.WRONG, f"{option}: {what.findings[0]}")
            found += what.items
    if paths and not found:
        raise Failure(Code.WRONG, f"{option}: no objects in {', '.join(map(str, paths))}")
    return found


def _policies(paths: Sequence[Path]) -> "Policies | None":
    if not paths:
        return None
    from trimtab.validate.policies import Policies

    return Policies(_items(paths, "--policies"))


def _bodies(paths: Sequence[Path], option: str) -> "list[Body]":
    from trimtab.manifests.definition import definition

    found = [item.body for item in _items(paths, option)]
    if paths and not any(definition(body) for body in found):
        raise Failure(Code.WRONG, f"{option}: no CustomResourceDefinition in {', '.join(map(str, paths))}")
    return found


def show(report: "Report", form: _Form) -> Code:
    """Print `report`, and the code to leave with."""
    try:
        _write(report, form)
        sys.stdout.flush()
    except BrokenPipeError:
        # whoever reads has seen enough, as `head` does; what was found stays what it is
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    match report.verdict:
        case "unknown":
            return Code.UNKNOWN
        case "invalid":
            return Code.DIFFERS
        case _:
            return Code.OK


def _write(report: "Report", form: _Form) -> None:
    import trimtab
    from trimtab.cli import output
    from trimtab.validate.finding import structured
    from trimtab.validate.junit import junit
    from trimtab.validate.sarif import sarif

    match form:
        case "json":
            click.echo(output.document(structured(report), "json"))
        case "sarif":
            click.echo(output.document(sarif(report, trimtab.__version__), "json"))
        case "junit":
            click.echo(junit(report), nl=False)
        case "text":
            signs = {"error": "✗", "warning": "!", "unknown": "?"}
            for finding in report.findings:
                sign = click.style(signs[finding.level], fg=_COLOURS[finding.level], bold=True)
                click.echo(f"{sign} {output.escape(str(finding))}")
            output.say("✔" if report.verdict == "valid" else "✗", report.words())
