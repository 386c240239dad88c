"""`trimtab preview`: will it succeed?"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

import click

from trimtab.cli.connect import Code, Failure, Options, cluster_options, perform, perform_alone
from trimtab.cli.render.rendering import Recipe, build_options

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trimtab.cli.preview.previews import Asked
    from trimtab.kube.client import Client
    from trimtab.manifests.refs import Key
    from trimtab.preview.verdict import Preview

Form: TypeAlias = Literal["text", "json", "markdown", "sarif"]
_FORMS: Final = ("text", "json", "markdown", "sarif")
_EXAMPLES = """\b
Examples:
  trimtab preview apps/shop
  trimtab preview clusters/production --base origin/main
  trimtab preview clusters/production --base origin/main --head feature -o markdown
  trimtab preview --app team-a/shop
  trimtab preview clusters/production --offline --base origin/main --images
  trimtab preview clusters/production --base "origin/$BASE" --comment ci

\b
Each object that changes, or of which there is something to say, is listed with the file and line it is declared at:
  ~ Deployment/shop/web (apps/shop/web.yaml:1): changes [image-missing]
      ✗ image-missing: spec.template.spec.containers[name=web].image: registry.example.org/web:2 is not in its registry
      ! restart: spec.template: 3 Pods are replaced: the template changes
      spec.template.spec.containers[name=web].image: "registry.example.org/web:1" → "registry.example.org/web:2"
"""


@click.command("preview", epilog=_EXAMPLES)
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--base", default="", metavar="COMMIT", help="What was declared before (a branch, a tag, a commit).")
@click.option("--head", default="", metavar="COMMIT", help="What is to be judged; the working tree unless it is given.")
@click.option(
    "--app",
    "apps",
    metavar="NAMESPACE/NAME",
    multiple=True,
    help="Only this Kustomization (may be given several times).",
)
@click.option("--as-files", is_flag=True, help="Take PATH for plain files, whichever app of the cluster builds it.")
@click.option(
    "--as-account",
    is_flag=True,
    help="Judge an app by the rights of its own account, if it has one; takes the right to impersonate it.",
)
@click.option("--offline", is_flag=True, help="Ask no cluster, and no registry but with --images.")
@click.option("--images/--no-images", default=None, help="Ask registries for new images (unless --offline).")
@click.option(
    "--insecure-registry",
    "insecure",
    metavar="HOST[:PORT]",
    multiple=True,
    help="A registry that is spoken to over plain HTTP (may be given several times).",
)
@click.option("-o", "--output", "form", type=click.Choice(_FORMS), default="text", help="Form of the result.")
@click.option(
    "--comment",
    "commented",
    default="",
    metavar="ADDRESS|ci",
    help="Keep one comment on the pull request at this address up to date with it, or on that of this job (ci). The "
    "token is that of the job, or $TRIMTAB_FORGE_TOKEN.",
)
@click.option(
    "--comment-ca",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="PEM of an authority that the forge of the pull request has its certificate from.",
)
@build_options
@cluster_options
def preview(
    options: Options,
    path: Path | None,
    base: str,
    head: str,
    apps: tuple[str, ...],
    as_files: bool,
    as_account: bool,
    offline: bool,
    images: bool | None,
    insecure: tuple[str, ...],
    form: Form,
    commented: str,
    comment_ca: Path | None,
    recipe: Recipe,
) -> None:
    """Say whether a change will succeed, before anybody applies it.

    PATH is a directory (the current one), rendered as `trimtab build` does; the Kustomizations in it are followed into
    the same files. Where an app of the cluster builds PATH, it is taken as that app applies it. Without PATH, --app is
    an app of the cluster, whose files are taken from here.

    Nothing is changed: the server is asked by dry-runs, with the rights of the kubeconfig, and registries whether new
    images exist. Values of Secrets are never shown.

    Exit codes: 0 it will succeed, 2 something will fail or waits for a person, 3 that is not known, 1 an error, also
    where the comment cannot be written.
    """
    from trimtab.cli.preview.previews import Asked

    if path is None and not apps:
        path = Path()
    asked = Asked(
        path=path,
        recipe=recipe,
        options=options,
        base=_name(base, "--base"),
        head=_name(head, "--head"),
        apps=tuple(_key(app, options.namespace) for app in apps),
        images=not offline if images is None else images,
        insecure=insecure,
        as_files=as_files,
        as_account=as_account,
    )
    if str(path) == "-" and (base or head):
        raise click.UsageError("standard input is of no commit: --base and --head go with a directory")
    told = _Told(form, _comment(commented, comment_ca))
    if not offline:
        perform(options, lambda client: _shown(asked, client, told))
    elif path is None:
        raise click.UsageError("without a cluster, name the PATH where the app is declared")
    else:
        perform_alone(lambda: _shown(asked, None, told))


class _Told(NamedTuple):
    """How it is told: in which form, and in which comment."""

    form: Form
    comment: "Callable[[Preview], Awaitable[str]] | None"


def _comment(where: str, ca: Path | None) -> "Callable[[Preview], Awaitable[str]] | None":
    """What comments; nothing where nobody asked for it. What cannot work is said before anything is looked at."""
    if not where:
        return None
    from trimtab.cli.preview.commenting import comment, pull_request, token_for

    try:
        request = pull_request(where, os.environ)
        token = token_for(request, os.environ)
        pem = ca.read_bytes() if ca is not None else b""
    except (ValueError, OSError) as problem:
        raise click.UsageError(f"--comment: {problem}") from problem
    return lambda found: comment(request, token, pem, found, os.environ)


async def _shown(asked: "Asked", client: "Client | None", told: _Told) -> Code:
    from trimtab.cli.preview import previews
    from trimtab.preview.verdict import Outcome

    found = await previews.preview(asked, client)
    try:
        _write(found, told.form, asked)
        sys.stdout.flush()
    except BrokenPipeError:
        # whoever reads has seen enough, as `head` does; what was found stays what it is
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    from trimtab.cli import output

    if told.comment is not None:
        output.say("✔", await told.comment(found), quiet=asked.options.quiet)
    codes = {Outcome.SUCCEEDS: Code.OK, Outcome.FAILS: Code.DIFFERS, Outcome.UNKNOWN: Code.UNKNOWN}
    if told.form == "text":
        output.say("✔" if found.outcome is Outcome.SUCCEEDS else "✗", found.words(), quiet=asked.options.quiet)
    return codes[found.outcome]


def _write(found: "Preview", form: Form, asked: "Asked") -> None:
    from trimtab.cli import output

    match form:
        case "json":
            from trimtab.preview.structured import structured

            click.echo(output.document(structured(found), "json"))
        case "markdown":
            from trimtab.preview.markdown import markdown

            click.echo(markdown(found), nl=False)
        case "sarif":
            from trimtab.preview.sarif import sarif

            click.echo(output.document(sarif(found), "json"))
        case "text":
            _print(found, asked)


def _print(found: "Preview", asked: "Asked") -> None:
    from trimtab.cli import output
    from trimtab.diff.text import SIGNS
    from trimtab.preview import text
    from trimtab.preview.verdict import Weight

    colours = {Weight.FINE: "green", Weight.NOTE: "yellow", Weight.UNKNOWN: "magenta", Weight.FAILS: "red"}
    several = len({step.finding.app for step in found.notable}) > 1
    for step in found.notable:
        sign = click.style(SIGNS[step.finding.state], fg=colours[step.verdict.weight], bold=True)
        # an app that nobody named was found by its path: whose files these are is then told
        told = step.finding.app if several or step.finding.app not in asked.apps else None
        app = f" of {told}" if told else ""
        click.echo(f"{sign} {output.escape(text.headline(step) + app)}")
        for judgement in step.judgements:
            colour = colours[judgement.verdict.weight]
            for line in text.judged(judgement).splitlines():
                click.echo(f"    {click.style(output.escape(line), fg=colour)}")
        for line in text.changes(step):
            click.echo(f"    {output.escape(line)}")
    for words in found.open:
        click.echo(f"{click.style('?', fg='magenta', bold=True)} {output.escape(words)}")


def _name(name: str, option: str) -> str:
    """A name that was given must not be empty: `--base "$BASE"` with nothing in it is a mistake, not a choice."""
    context = click.get_current_context()
    source = context.get_parameter_source(option.removeprefix("--"))
    if not name and source is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError(f"{option} names no commit: it is empty")
    if name:
        from trimtab.cli.git.committed import check_name

        try:
            check_name(name, option)
        except Failure as failure:
            raise click.UsageError(failure.message) from failure
    return name


def _key(app: str, namespace: str) -> "Key":
    from trimtab.manifests.refs import Key

    before, slash, name = app.rpartition("/")
    if not name or "/" in before or (slash and not before):
        raise click.UsageError(f"--app {app!a}: name a Kustomization as NAMESPACE/NAME")
    return Key(before or namespace, name)
