"""`trimtab demo`: a cluster, a repository and the controllers on this machine, and what to try with them."""

import asyncio
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trimtab.cli import output
from trimtab.cli.connect import DEFAULT_NAMESPACE, Code, Failure, Options, perform_alone
from trimtab.manifests.refs import Body

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from trimtab.cli.demo.board import Board, Line
    from trimtab.cli.local import Controllers
    from trimtab.cluster.plane import ControlPlane
    from trimtab.kube.client import Client

_MARK = ".trimtab-demo"  # a directory with it is ours to empty
_DEFAULT_DIR = ".demo"
_LOOK_S = 0.5
_LONGEST_WORDS = 160


@click.command("demo", epilog="\b\nExample:\n  trimtab demo")
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"Where everything goes; emptied at the start ({_DEFAULT_DIR} here).",
)
@click.option("--until-ready", is_flag=True, help="End when everything is ready, for scripts and tests.")
@click.option("--timeout", default="5m", show_default=True, help="How long it may take to get ready.")
@click.pass_context
def demo(context: click.Context, directory: Path | None, until_ready: bool, timeout: str) -> None:
    """See Trimtab work, on this machine and without touching anything else.

    Starts a control plane, serves an example repository and runs the controllers; shows how the cluster becomes what
    the repository says; then prints what to try and stays until Ctrl-C.
    """
    options = Options.given(None, None, None, timeout, before=context.find_object(Options))
    place = Place.of((directory or Path(_DEFAULT_DIR)).absolute())
    perform_alone(lambda: _demo(place, options.timeout_s, until_ready=until_ready))


@dataclass(frozen=True, slots=True)
class Place:
    """What lies where below the demo's directory."""

    root: Path
    cluster: Path
    served: Path
    work: Path
    controllers: Path

    @classmethod
    def of(cls, root: Path) -> "Place":
        return cls(root, root / "cluster", root / "served", root / "repo", root / "trimtab")

    def clear(self) -> None:
        """Empty the directory, if it is the demo's own. Raises Failure if it is not, or in use."""
        from trimtab.cluster import record
        from trimtab.cluster.layout import Layout

        if record.is_held(Layout(self.cluster)):
            raise Failure(Code.WRONG, f"a demo runs in {self.root} already; end it, or choose another --dir")
        if self.root.exists() and any(self.root.iterdir()):
            if not (self.root / _MARK).exists():
                raise Failure(Code.WRONG, f"{self.root} holds something else than a demo; choose another --dir")
            shutil.rmtree(self.root)
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / _MARK).touch()


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs."""

    place: Place
    plane: "ControlPlane"
    controllers: "Controllers"
    client: "Client"

    def check(self) -> None:
        """Raise Terminal if a part of it died."""
        from trimtab.base.errors import Terminal

        self.controllers.check()
        if dead := self.plane.dead():
            raise Terminal("ComponentFailed", "; ".join(dead.values()))


async def _demo(place: Place, timeout_s: float, *, until_ready: bool) -> int:
    work = asyncio.current_task()
    staying = asyncio.Event()
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        # Once: a second Ctrl-C must not break off the tidying up.
        if work and not interrupted:
            interrupted = True
            click.echo("\nending everything …", err=True)
            work.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, interrupt)
    try:
        return await _show(place, timeout_s, staying, until_ready=until_ready)
    except asyncio.CancelledError:
        return Code.OK if staying.is_set() else Code.INTERRUPTED


async def _show(place: Place, timeout_s: float, staying: asyncio.Event, *, until_ready: bool) -> int:
    from trimtab.cli import local
    from trimtab.cli.demo import root as demo_root
    from trimtab.cli.demo.board import Board

    board = Board()
    async with _stage(place) as stage:
        began = time.monotonic()
        await local.put(stage.client, demo_root.root())
        try:
            async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
                guard = group.create_task(_guard(stage))
                await _converge(stage, board, began)
                guard.cancel()
        except TimeoutError:
            unready = "; ".join(f"{line.name}: {line.message}" for line in board if line.state != "Ready")
            raise Failure(Code.DIFFERS, f"not ready after {timeout_s:g} s: {unready or 'nothing was seen'}") from None
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        seconds = time.monotonic() - began
        click.echo(f"\n{len(list(board))} apps with {board.objects} objects are ready after {seconds:.1f} s.")
        if until_ready:
            return Code.OK
        click.echo(invitation(place, stage.plane.kubeconfig, stage.plane.binaries))
        staying.set()
        await _stay(stage, board, began)
    return Code.OK


@asynccontextmanager
async def _stage(place: Place) -> AsyncIterator[Stage]:
    """Everything the demo needs but the root app, started; ended in reverse order."""
    from trimtab.base.http import AiohttpTransport
    from trimtab.cli import local
    from trimtab.cli.demo import repository as demo_repository
    from trimtab.cli.demo import root as demo_root
    from trimtab.cli.kinds import GIT
    from trimtab.cli.reconcile import Teller, wait_for
    from trimtab.cluster.gitserver import GitServer
    from trimtab.cluster.plane import ControlPlane
    from trimtab.kube import config
    from trimtab.kube.client import Client
    from trimtab.toolchain import binaries

    place.clear()
    demo_repository.examples()
    await binaries.ensure("render", progress=_tell)
    control = await binaries.ensure("controlplane", progress=_tell)
    async with AsyncExitStack() as stack:
        output.say("►", f"a repository in {place.work}")
        server = await stack.enter_async_context(GitServer(place.served))
        await demo_repository.fill(await server.create(demo_repository.NAME), place.work)
        output.say("►", "a control plane: etcd, API server, controller-manager, scheduler, and a Node for Pods")
        plane = await stack.enter_async_context(ControlPlane(place.cluster, binaries=control, progress=_tell))
        transport = AiohttpTransport()
        stack.push_async_callback(transport.close)
        client = Client(config.load(plane.kubeconfig), transport)
        await local.furnish(client, DEFAULT_NAMESPACE)
        output.say("►", "Trimtab")
        controllers = await stack.enter_async_context(local.controllers(plane.kubeconfig, place.controllers, transport))
        await local.put(client, demo_root.source(server.url(demo_repository.NAME)))
        await wait_for(client, GIT, DEFAULT_NAMESPACE, demo_root.NAME, Teller(quiet=True))
        yield Stage(place, plane, controllers, client)


async def _guard(stage: Stage) -> None:
    while True:
        stage.check()
        await asyncio.sleep(_LOOK_S)


async def _converge(stage: Stage, board: "Board", began: float) -> None:
    """Show the apps until all are ready."""
    from trimtab.cli.follow import follow
    from trimtab.cli.kinds import APP

    with _Screen(board, began) as screen:
        async with aclosing(follow(stage.client, APP, DEFAULT_NAMESPACE)) as changes:
            async for body, deleted in changes:
                screen.show(body, deleted=deleted)
                if board.settled:
                    return


async def _stay(stage: Stage, board: "Board", began: float) -> None:
    """Tell every change of an app, until cancelled or until something dies."""
    from trimtab.cli.follow import follow
    from trimtab.cli.kinds import APP

    async with asyncio.TaskGroup() as group:
        group.create_task(_guard(stage))
        async for body, deleted in follow(stage.client, APP, DEFAULT_NAMESPACE):
            if line := board.update(body, deleted=deleted):
                _plain(line, began)


def invitation(place: Place, kubeconfig: Path, binaries: Mapping[str, Path]) -> str:
    """What to try, as commands to copy."""
    path = f"{binaries['kubectl'].parent}:{Path(sys.executable).parent}"
    return f"""
In another terminal:

  export KUBECONFIG={kubeconfig}
  export PATH={path}:$PATH
  cd {place.work}

A commit becomes cluster state:

  sed -i 's/replicas: 3/replicas: 5/' apps/demo/storefront/deployment.yaml
  git commit --all --message 'storefront: five replicas' && git push
  kubectl --namespace team-atlas get deployment storefront --watch

A manual edit is healed:

  kubectl --namespace team-atlas scale deployment catalog --replicas 0
  kubectl --namespace team-atlas get deployment catalog --watch

A rollback is a commit too:

  git revert --no-edit HEAD && git push

What there is, and how it is:

  trimtab get all
  trimtab tree flux-system

Ctrl-C here ends everything; the log of the controllers is {place.controllers / "trimtab.log"}.
"""


class _Screen:
    """The board: redrawn in place on a terminal, a line per change elsewhere."""

    def __init__(self, board: "Board", began: float) -> None:
        self._board = board
        self._began = began
        self._live: Live | None = None

    def __enter__(self) -> "_Screen":
        if sys.stdout.isatty():
            from rich.console import Console
            from rich.live import Live

            context = click.get_current_context(silent=True)
            console = Console(no_color=True if context and context.color is False else None)
            self._live = Live(get_renderable=self._table, console=console, refresh_per_second=8)
            self._live.start()
        return self

    def __exit__(self, *failure: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, body: Body, *, deleted: bool) -> None:
        """Take over what an app says now."""
        line = self._board.update(body, deleted=deleted)
        if line and not self._live:
            _plain(line, self._began)

    def _table(self) -> "Table":
        return self._board.table(f"\n{time.monotonic() - self._began:.1f} s")


def _plain(line: "Line", began: float) -> None:
    words = output.escape(" ".join(part for part in (line.revision, line.message) if part))
    shown = words if len(words) <= _LONGEST_WORDS else f"{words[:_LONGEST_WORDS]}…"
    click.echo(f"{time.monotonic() - began:7.1f} s  {line.state:<8} {line.name:<16} {shown}")


def _tell(line: str) -> None:
    output.say("◎", line)
