"""`trimtab`: the group of all commands. A command's module is imported when the command is used, never for the help."""

import gc
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

import trimtab
from trimtab.cli.connect import Options


class Lazy(NamedTuple):
    """Where a command lives, below `trimtab.cli`, and what the overview says about it."""

    module: str
    summary: str


_COMMANDS: dict[str, dict[str, Lazy]] = {
    "Look": {
        "get": Lazy("get", "List sources, apps, generators and Receivers: revision, readiness, message."),
        "tree": Lazy("questions.tree", "Show what an app consists of, and the state of every object."),
        "why": Lazy("questions.why", "Explain an object: origin, commit, drift; or what is in the way of an app."),
        "history": Lazy("questions.history", "List what an app has been through: revisions, outcomes, changes."),
        "inventory": Lazy("questions.inventory", "Show what an app has on record, and whether it is still there."),
        "coverage": Lazy("coverage", "Count what is managed, unmanaged and orphaned."),
    },
    "The four questions": {
        "preview": Lazy("preview.preview", "Say whether a branch or a working tree will succeed, and why not."),
        "wait": Lazy("questions.wait", "Wait until a revision is fetched, rendered, applied and healthy."),
        "diff": Lazy("diff.diff", "Show where what is declared and what is live differ."),
        "reconcile": Lazy("reconcile", "Look at a source or converge an app now."),
        "compare": Lazy("diff.compare", "Show what one environment has and another has not."),
    },
    "Converge once": {
        "apply": Lazy("apply.apply", "Make a cluster equal to a directory, without custom resources."),
    },
    "Change by git": {
        "release": Lazy("release.release", "Give workloads another image."),
        "hold": Lazy("release.pause", "Keep the automation from the images of an object."),
        "unhold": Lazy("release.pause", "Let the automation go on, also with an image that was undone."),
        "lock": Lazy("release.pause", "Keep everybody from the images of an object."),
        "unlock": Lazy("release.pause", "Take that back."),
        "rollback": Lazy("git.rollback", "Bring an app back to an earlier state, by a commit."),
        "adopt": Lazy("git.adopt", "Write a live change into the file it belongs to, by a commit."),
    },
    "Change the loop": {
        "suspend": Lazy("suspend", "Stop looking after a source or an app."),
        "resume": Lazy("suspend", "Look after it again."),
        "export": Lazy("export", "Print objects as they could stand in git; also what no app manages."),
    },
    "Offline": {
        "build": Lazy("render.build", "Render a directory as the controller would."),
        "validate": Lazy("render.validate", "Judge manifests before they are committed."),
        "envsubst": Lazy("render.envsubst", "Replace ${NAME} and the like in a text, as spec.postBuild does."),
        "health": Lazy("render.health", "Judge objects: done, at work, or broken, and why."),
        "images": Lazy("images.images", "Show which images run and what is chosen; choose and edit offline."),
    },
    "Run": {
        "run": Lazy("run", "Run the controllers."),
        "install": Lazy("install", "Install Trimtab on a cluster, or print what that takes."),
        "doctor": Lazy("doctor", "Say what is wrong with an installation, and what to do about it."),
        "repair": Lazy("repair", "Mend the record of an app, or let a stuck app go."),
        "cluster": Lazy("cluster", "A local control plane: up, down, status."),
        "demo": Lazy("demo.demo", "See it work: a local cluster, a repository, and what to try."),
    },
}


class Commands(click.Group):
    """A group that knows its commands by name and imports one at a time."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [name for section in _COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        for section in _COMMANDS.values():
            if cmd_name in section:
                command: click.Command = getattr(
                    importlib.import_module(f"trimtab.cli.{section[cmd_name].module}"), cmd_name
                )
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, section in _COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, lazy.summary) for name, lazy in section.items()], col_max=12)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """As click's own, but usage errors exit with 1: 2 means "differs or not ready" (click says 2)."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as asked:
            click.echo(asked.ctx.get_help() if asked.ctx else "")
            sys.exit(0)
        except click.ClickException as wrong:
            wrong.show()
            sys.exit(1)
        except click.Abort:
            click.echo("aborted", err=True)
            sys.exit(130)
        sys.exit(code if isinstance(code, int) else 0)


_GARBAGE = (100_000, 20, 20)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Exit codes: 0 success, 1 usage or internal error, 2 differs or not ready, 3 unreachable or forbidden.",
)
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="The kubeconfig to use ($KUBECONFIG).")
@click.option("--context", help="The context of the kubeconfig to use.")
@click.option("-n", "--namespace", help="The namespace of the objects (flux-system).")
@click.option("--timeout", help="How long to wait, such as 90s (5m).")
@click.option("--no-color", is_flag=True, help="No colour, also on a terminal ($NO_COLOR).")
@click.option("-q", "--quiet", is_flag=True, help="Only errors and results.")
@click.version_option(trimtab.__version__, prog_name="trimtab", message="%(prog)s %(version)s")
@click.pass_context
def cli(
    context_: click.Context,
    kubeconfig: Path | None,
    context: str | None,
    namespace: str | None,
    timeout: str | None,
    no_color: bool,
    quiet: bool,
) -> None:
    """Trimtab keeps a cluster equal to what git says it should be."""
    if no_color or os.environ.get("NO_COLOR"):
        context_.color = False
    context_.obj = Options.given(kubeconfig, context, namespace, timeout, quiet)


def main() -> None:
    """The entry point of the installed command."""
    # An answer about ten thousand objects is over before its garbage matters; to look for it took a tenth of the time.
    gc.set_threshold(*_GARBAGE)
    cli.main(prog_name="trimtab")


if __name__ == "__main__":
    main()
