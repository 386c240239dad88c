"""What `trimtab apply` does and says."""

import asyncio
import contextlib
import getpass
import os
import secrets
import signal
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from trimtab.api.names import Reason
from trimtab.base.errors import TrimtabError
from trimtab.base.tasks import Tasks
from trimtab.cli import output
from trimtab.cli.apply import origin as origins
from trimtab.cli.apply.origin import Build, Place, Whence
from trimtab.cli.connect import Code, Failure, Options
from trimtab.cli.diff import comparison
from trimtab.cli.render.rendering import Recipe
from trimtab.controllers import carrying
from trimtab.controllers.alone import Alone
from trimtab.controllers.application import Application, Terms
from trimtab.controllers.applyrecords import About, ApplyRecord, ApplyRecords, Moved, cluster_of
from trimtab.controllers.hiding import NOTHING, Hiding
from trimtab.controllers.proposing import Proposal, propose
from trimtab.diff.report import Finding, Report, State, gathered
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, StaleGroup, UnknownKind, Unreachable
from trimtab.manifests.refs import Key, Ref
from trimtab.targets.contract import Effect, Outcome
from trimtab.targets.kubernetes.desired import placed
from trimtab.targets.kubernetes.scopes import scopes

__all__ = ["Asked", "Run", "Terms", "once", "pass_over", "running", "until_told"]

_REFUSALS: Final = (ApiError, UnknownKind, StaleGroup, Unreachable)
_TOLD: Final = {
    Effect.CREATED: "created",
    Effect.CONFIGURED: "configured",
    Effect.CORRECTED: "corrected",
    Effect.DELETED: "deleted",
    Effect.RELEASED: "let go",
}


class Asked(NamedTuple):
    """What the command line says."""

    origin: str
    whence: Whence
    name: str
    recipe: Recipe
    options: Options
    yes: bool
    dry_run: bool
    terms: Terms
    take_over: str = ""


async def once(client: Client, asked: Asked) -> Code:
    """Apply once. Raises Failure, and what keeps it from being done."""
    return await until_told(lambda: _once(client, asked), told=Code.INTERRUPTED)


async def _once(client: Client, asked: Asked) -> Code:
    async with running(client, asked) as run:
        try:
            return await pass_over(run)
        except Moved as moved:
            if not asked.yes:  # what somebody at a terminal has said yes to is not that any more
                raise Failure(Code.DIFFERS, moved.message) from moved
        return await pass_over(run)


async def pass_over(run: "Run") -> Code:
    """Look, show, ask, apply. Raises Moved where somebody else came in between."""
    proposal = await run.propose()
    if run.asked.dry_run:
        code = run.show(proposal)
        carrying.admit(proposal)
        return code
    if proposal.quiet:
        return await run.rest(proposal)
    run.show(proposal)
    carrying.admit(proposal)
    run.ask(proposal)
    return await run.alone.run(lambda: run.carry_out(proposal), run.asked.options.timeout_s)


# --- one run


@dataclass(slots=True)
class Run:
    """One app on its way, as somebody sees it who looks at a terminal."""

    app: Application
    alone: Alone
    look: Callable[[], Awaitable[Place]]
    build: Build
    asked: Asked
    hiding: Hiding = NOTHING
    strictly: Hiding = NOTHING
    """What is hidden of the objects in `secret` besides: all that a value of a Secret may have become, also a name."""
    secret: frozenset[Ref] = field(default=frozenset(), repr=False)
    rendered: str = ""

    async def propose(self) -> Proposal:
        """What is to be done now. Raises TrimtabError, ApiError, Unreachable."""
        place = await self.look()
        rendered = await place.render()
        self.hiding = self.hiding.follow(self.build.variables).cut(rendered.parts)
        self.strictly = replace(self.hiding, whole=rendered.made)
        # the namespace may be that of the app, which is not written
        self.secret = frozenset(ref._replace(namespace="") for ref in rendered.secret)
        spec = self.build.spec
        with self._hidden():
            items = await self.app.prepare(rendered, spec.ignore if spec is not None else ())
            revision = place.revision or rendered.digest
            about = About(source=place.source, path=place.path, revision=revision, plain=self.build.plain)

            async def planned(record: ApplyRecord) -> set[Ref]:
                manifests = await place.other(record.about.path)
                namespaced = await scopes(self.app.client, manifests)
                namespace = record.key.namespace
                return {placed(one, namespace, namespaced=namespaced.get(one.gvk)).ref for one in manifests}

            before = Key(self.app.key.namespace, self.asked.take_over) if self.asked.take_over else None
            terms = self.asked.terms._replace(heir_of=before)
            terms = terms._replace(force=terms.force or (spec is not None and spec.force))
            proposal = await propose(self.app, items, about, terms, planned)
        self.rendered = f"{revision} {rendered.digest}"
        return proposal

    async def carry_out(self, proposal: Proposal, *, stay: bool = False) -> Code:
        """Do it, and say what came of it."""
        counts: Counter[Effect] = Counter()
        with _progress(len(proposal.todo) + len(proposal.departure.go), self.asked.options) as heard:

            def tell(outcome: Outcome) -> None:
                counts[outcome.effect] += 1
                hides = self._of(outcome.ref)
                heard(outcome._replace(ref=_hidden(outcome.ref, hides), message=hides.failure(outcome.message)))

            with self._hidden():
                carried = await carrying.carry_out(self.app, proposal, tell, stay=stay)
        done = ", ".join(f"{counts[effect]} {words}" for effect, words in _TOLD.items() if counts[effect])
        self.say("✔", f"app {self.app.key}: {done or 'nothing to do'}; {_all_healthy(proposal)}")
        if carried.held:
            self.say("✗", self.hiding.failure(carried.held))
            return Code.DIFFERS
        return Code.OK

    async def rest(self, proposal: Proposal) -> Code:
        """There is nothing to apply and to delete: what is there still has to be healthy."""
        carrying.admit(proposal)
        if not proposal.on_record:
            await carrying.note(self.app, proposal)
        with self._hidden():
            await carrying.settle(self.app, proposal.items, carrying.Deadline(self.app, proposal.terms.timeout_s))
        if proposal.findings:
            comparison.listed(self.report(proposal))
        self.say("✔", f"app {self.app.key} is as declared; {_all_healthy(proposal)}")
        if proposal.departure.held:
            self.say("✗", self.hiding.failure(proposal.departure.held))
            return Code.DIFFERS
        return Code.OK

    def report(self, proposal: Proposal) -> Report:
        """The proposal as a comparison, with nothing in it that is not to be told."""

        def told(finding: Finding) -> Finding:
            hides = self._of(finding.ref)
            return finding._replace(
                ref=_hidden(finding.ref, hides),
                note=hides.failure(finding.note),
                differences=tuple(map(hides.difference, finding.differences)),
            )

        return gathered(f"app {self.app.key}", datetime.now(UTC), list(map(told, proposal.findings)))

    def _of(self, ref: Ref) -> Hiding:
        """What is not to be told of an object."""
        return self.strictly if ref._replace(namespace="") in self.secret else self.hiding

    def show(self, proposal: Proposal) -> Code:
        """What would be done, object by object."""
        report = self.report(proposal)
        comparison.listed(report)
        sys.stdout.flush()
        if proposal.departure.held:
            self.say("✗", self.hiding.failure(proposal.departure.held))
        if report.verdict is State.UNKNOWN:
            return Code.UNKNOWN
        return Code.OK if proposal.quiet and not proposal.departure.held else Code.DIFFERS

    def ask(self, proposal: Proposal) -> None:
        """Go on only if somebody at a terminal says so, or has said --yes. Raises Failure."""
        if self.asked.yes or (proposal.quiet and proposal.on_record):
            return
        words = f"{len(proposal.todo)} to apply, {len(proposal.departure.go)} to delete"
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise Failure(Code.WRONG, f"nothing was applied ({words}): there is no terminal to ask at, so say --yes")
        if not click.confirm(f"Apply to {self.app.client.server}: {words}?", err=True):
            raise Failure(Code.DIFFERS, "nothing was applied")

    def say(self, sign: Any, text: str) -> None:
        """A line of the story."""
        output.say(sign, self.hiding.text(text), quiet=self.asked.options.quiet)

    @contextlib.contextmanager
    def _hidden(self) -> "Generator[None]":
        """What goes wrong is told without values of Secrets."""
        try:
            yield
        except TrimtabError as failure:
            # the words are those of the controllers, the way out is another one here
            way = failure.message.replace("set spec.decryption", "give its key by --age-key or --gpg-key")
            failure.message = self.hiding.failure(way)
            if failure.reason == Reason.HEALTH_CHECK_FAILED:
                raise Failure(Code.DIFFERS, failure.message) from failure
            raise


@asynccontextmanager
async def running(client: Client, asked: Asked) -> AsyncIterator[Run]:
    """The app that was asked for, ready to be looked at. Raises Failure, TrimtabError."""
    options = asked.options
    key = Key(options.asked or client.config.namespace, asked.name)
    build = Build.of(asked.recipe)
    tasks = Tasks("apply")
    records = ApplyRecords(client, await cluster_of(client))

    def told(holder: str) -> None:
        output.say("◎", f"app {key} is being applied by {holder}: waiting for it", quiet=options.quiet)

    alone = Alone(client, key, _identity(), client.clock, told)

    def awaited(words: str) -> None:
        output.say("◎", words, quiet=options.quiet)

    app = Application(client, client.clock, tasks, records, key, alone.remaining, awaited)
    try:
        if not origins.is_url(asked.origin):
            local = origins.Local(Path(asked.origin), build)
            yield Run(app, alone, local.look, build, asked)
            return
        with tempfile.TemporaryDirectory(prefix="trimtab-apply-") as directory:
            async with origins.remote(
                client, asked.origin, asked.whence, key.namespace, build, Path(directory)
            ) as remote:
                yield Run(app, alone, remote.look, build, asked)
    finally:
        await tasks.close()


# --- terminal


@contextlib.contextmanager
def _progress(many: int, options: Options) -> "Generator[Callable[[Outcome], None]]":
    """Who is told what became of each object: a bar on a terminal, else a line for each that changed."""
    if options.quiet or not many:
        yield lambda _outcome: None
    elif sys.stderr.isatty():
        with click.progressbar(length=many, file=sys.stderr, show_pos=True, width=0) as bar:
            yield lambda _outcome: bar.update(1)
    else:
        yield _line


def _hidden(ref: Ref, hides: Hiding) -> Ref:
    """`ref` as it may be told."""
    return ref if hides.empty else Ref(*map(hides.text, ref))


def _line(outcome: Outcome) -> None:
    if outcome.effect in _TOLD:
        output.say("✔", f"{outcome.ref} {_TOLD[outcome.effect]}")
    elif outcome.effect is Effect.FAILED:
        output.say("✗", str(outcome))


def _all_healthy(proposal: Proposal) -> str:
    many = len(proposal.items)
    return f"all {many} objects are healthy" if many != 1 else "its object is healthy"


def _identity() -> str:
    """Who holds the Lease of an app, in words that help whoever waits for it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} process {os.getpid()} {secrets.token_hex(2)}"


async def until_told(work: Callable[[], Awaitable[Code]], *, told: Code) -> Code:
    """What `work` answers, or `told` when a signal ends it first; it is given the time to end what it holds."""
    task = asyncio.ensure_future(work())
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        task.cancel()

    for sig in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sig, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if stopped:
            return told
        raise
