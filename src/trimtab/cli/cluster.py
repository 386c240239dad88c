"""`trimtab cluster`: a real control plane on this machine."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

T = TypeVar("T")

_DIR = click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Where it keeps everything; one control plane per directory.",
)


@click.group()
def cluster() -> None:
    """A local control plane: etcd, API server, controller-manager, scheduler, and a Node on which Pods become Ready."""


@cluster.command(epilog="\b\nExample:\n  trimtab cluster up --dir /var/tmp/plane --detach")
@_DIR
@click.option("--port", type=click.IntRange(1, 65535), help="The API server's port on loopback; by default a free one.")
@click.option("--no-kwok", is_flag=True, help="Without a Node: Pods stay Pending.")
@click.option("--detach", is_flag=True, help="Return when it is up and leave it running.")
def up(directory: Path, port: int | None, no_kwok: bool, detach: bool) -> None:
    """Start a control plane and hold it until Ctrl-C (or, with --detach, until `down`)."""
    from trimtab.cluster import supervise
    from trimtab.cluster.plane import ControlPlane

    if detach:
        _run(supervise.detach(directory, port=port, kwok=not no_kwok, say=_say))
        _introduce(directory)
        click.echo(f"It runs in the background; `trimtab cluster down --dir {directory}` ends it.")
        return

    def introduce() -> None:
        _introduce(directory)
        click.echo("Ctrl-C ends it.")

    plane = ControlPlane(directory, port=port, kwok=not no_kwok, progress=_say)
    _run(supervise.hold(plane, up=introduce, say=_say))
    click.echo(f"The control plane is down; what was in it stays in {directory}.")


@cluster.command()
@_DIR
def down(directory: Path) -> None:
    """End the control plane of a directory. Its objects stay, for the next `up`."""
    from trimtab.cluster import supervise

    ended = _run(supervise.down(directory))
    click.echo(f"The control plane in {directory} is down." if ended else f"No control plane runs in {directory}.")


@cluster.command()
@_DIR
@click.pass_context
def status(context: click.Context, directory: Path) -> None:
    """Show the components. Exits with 0 if all are well and with 2 if not."""
    from trimtab.cluster.status import look

    state = _run(look(directory))
    if state is None:
        click.echo(f"No control plane runs in {directory}; `trimtab cluster up --dir {directory}` starts one.")
        context.exit(2)
    click.echo(f"{'COMPONENT':<26}{'PID':<9}HEALTH")
    for component in state.components:
        click.echo(f"{component.name:<26}{component.pid:<9}{component.words}")
    click.echo(f"\n{state.server}, kubeconfig {state.kubeconfig}, held by process {state.holder}")
    if not state.ready:
        click.echo("It is still starting.")
    context.exit(0 if state.good else 2)


def _introduce(directory: Path) -> None:
    from trimtab.cluster.layout import Layout

    kubeconfig = Layout(directory.absolute()).kubeconfig
    click.echo(f"The control plane is up. Its kubeconfig: {kubeconfig}\n\n  export KUBECONFIG={kubeconfig}\n")


def _run(work: Coroutine[Any, Any, T]) -> T:
    from trimtab.base.errors import TrimtabError

    try:
        return asyncio.run(work)
    except TrimtabError as failure:
        raise click.ClickException(str(failure)) from failure


def _say(line: str) -> None:
    click.echo(line, err=True)
