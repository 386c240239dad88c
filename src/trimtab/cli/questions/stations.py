"""An app followed on its way: its object and its source by watch, its other objects by looks, judged anew each time."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeAlias

from trimtab.base.clock import rfc3339
from trimtab.base.tasks import Tasks
from trimtab.cli.follow import follow
from trimtab.cli.kinds import ALL, RELEASE, SOURCES, Kind
from trimtab.cli.questions.looking import Looking, source_ref
from trimtab.health.revisions import Wish, commit_in
from trimtab.health.shape import section
from trimtab.health.stages import Account, Mark, Objects, Source, Stage, account, of_source
from trimtab.kube.errors import ApiError, StaleGroup, UnknownKind, Unreachable
from trimtab.manifests.refs import Body, Ref

if TYPE_CHECKING:
    from trimtab.cli.questions.past import Past
    from trimtab.kube.client import Client

Take: TypeAlias = Callable[[Ref, "Body | None"], None]
LOOK_S: Final = 1.0
"""What lags behind is looked at again so often: whatever its kind, no watch on it is needed."""


@dataclass(frozen=True, slots=True)
class View:
    """What is known at one moment. `app` is None while there is no such object.

    `seen` are the moments at which stages were seen to be done that were not before; `doubts` say why it is not known
    whether a revision comes after the one that is asked for.
    """

    app: Body | None
    account: Account
    source: Source | None = None
    objects: Objects | None = None
    seen: dict[Stage, str] = field(default_factory=dict)
    doubts: dict[str, str] = field(default_factory=dict)

    @property
    def revision(self) -> str:
        """What the object is at, asked for or not."""
        status = section(self.app or {}, "status")
        if self.source is None or self.app is None:
            return ""
        if self.app is self.source.body:
            return str(section(status, "artifact").get("revision") or "")
        return self.account.revision or str(status.get("lastAppliedRevision") or "")


@dataclass(slots=True)
class Stations:
    """Follows one app, or one source. `past` is needed where a revision is asked for: which ones contain it."""

    client: "Client"
    kind: Kind
    ref: Ref
    wish: Wish
    past: "Past | None"
    goal: Stage
    _looking: Looking = field(init=False)
    _app: Body | None = None
    _source: Source | None = None
    _objects: Objects | None = None
    _looked_at: str = ""
    _done: set[Stage] | None = None
    _seen: dict[Stage, str] = field(default_factory=dict)
    _doubts: dict[str, str] = field(default_factory=dict)
    _stirred: asyncio.Event = field(default_factory=asyncio.Event)
    _failure: Exception | None = None

    def __post_init__(self) -> None:
        self._looking = Looking(self.client)

    async def once(self) -> View:
        """A view now, without a watch. Raises as `follow` does."""
        self._app = await self.now()
        if self._app is not None and self.kind not in SOURCES:
            self._source = await self._looking.source(self._app)
        return await self._view()

    async def follow(self) -> AsyncGenerator[View, None]:
        """A view now, and one after every change. Never ends by itself.

        Raises ApiError where the app may not be read, and Unreachable.
        """
        self._app = await self.now()
        tasks = Tasks("stations")
        tasks.spawn(self._watch(self.kind, self.ref, self._take_app), name="app")
        watched: Ref | None = None
        try:
            while True:
                self._stirred.clear()
                if self.kind not in SOURCES and self._app is not None and watched != source_ref(self._app):
                    watched = source_ref(self._app)
                    await self._begin(tasks, watched)
                if self._failure is not None:
                    raise self._failure
                yield await self._view()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause):
                        await self._stirred.wait()
        finally:
            await tasks.close()

    @property
    def _pause(self) -> float | None:
        """Until the next look at what no watch tells of."""
        return LOOK_S if self._objects is not None and self._objects.laggards else None

    async def now(self) -> Body | None:
        """The object as it is, None where there is none. Raises what the client raises."""
        resource = await self.client.discovery.find(self.kind.gvk)
        field_selector = f"metadata.name={self.ref.name}"
        found = await self.client.list(resource, self.ref.namespace, field_selector=field_selector, type=dict)
        return _whole(found.items[0], self.kind) if found.items else None

    async def _begin(self, tasks: Tasks, ref: Ref) -> None:
        """Look at the source, and go on to where that may be watched."""
        known = await self._looking.of(ref)
        self._source = Source(ref, known.body, known.problem)
        kind = next((one for one in ALL if one.gvk.kind == ref.kind), None)
        if kind is not None and not known.problem:
            tasks.spawn(self._watch(kind, ref, self._take_source), name="source")

    async def _watch(self, kind: Kind, ref: Ref, take: Take) -> None:
        try:
            async with contextlib.aclosing(follow(self.client, kind, ref.namespace, name=ref.name)) as changes:
                async for body, deleted in changes:
                    take(ref, None if deleted else _whole(body, kind))
                    self._stirred.set()
        except (ApiError, UnknownKind, StaleGroup, Unreachable) as failure:
            if take == self._take_app or isinstance(failure, Unreachable):
                self._failure = failure
            else:
                self._source = Source(ref, problem=str(failure))
            self._stirred.set()

    def _take_app(self, _ref: Ref, body: Body | None) -> None:
        self._app = body

    def _take_source(self, ref: Ref, body: Body | None) -> None:
        if self._source is not None and self._source.ref == ref:
            self._source = Source(ref, body)

    # --- judge

    async def _view(self) -> View:
        app = self._app
        if app is None:
            return View(None, of_source(Source(self.ref), self.wish))
        if self.kind in SOURCES:
            source = Source(self.ref, app)
            await self._compare(source, str(section(app, "status", "artifact").get("revision") or ""))
            found = of_source(source, self.wish)
            return View(app, self._noted(found), source, None, dict(self._seen), dict(self._doubts))
        source = self._source or Source(source_ref(app))
        status = section(app, "status")
        for revision in (
            str(section(source.body or {}, "status", "artifact").get("revision") or ""),
            str(status.get("lastAttemptedRevision") or ""),
            str(status.get("lastAppliedRevision") or ""),
        ):
            await self._compare(source, revision)
        found = account(app, source, self.wish, None)
        if self.goal is Stage.HEALTHY and found.reached(Stage.APPLIED):
            self._objects = await self._looked(app, found.revision)
            found = account(app, source, self.wish, self._objects)
        else:
            self._objects, self._looked_at = None, ""
        return View(app, self._noted(found), source, self._objects, dict(self._seen), dict(self._doubts))

    async def _looked(self, app: Body, revision: str) -> Objects:
        """All objects once for each revision and generation, then those that lag behind; all again when they do not."""
        mark = f"{revision} {section(app, 'metadata').get('generation')}"
        if self._objects is None or self._looked_at != mark:
            self._looked_at = mark
            return await self._looking.objects(app)
        again = await self._looking.again(app, self._objects)
        return again if again.laggards or again.problem else await self._looking.objects(app)

    async def _compare(self, source: Source, revision: str) -> None:
        """Find out whether `revision`, if it is another one than is asked for, comes after that."""
        wish = self.wish
        if self.past is None or not wish.asked or not revision or revision in wish.contains or wish.exactly(revision):
            return
        if source.body is None or not commit_in(wish.asked) or self.kind is RELEASE:
            return  # what a tag or the version of a chart contains says its name
        # here, because whoever asks for no revision need not wait for all that git takes
        from trimtab.cli.questions.past import Unknown

        answer = await self.past.contains(source.body, revision, wish.asked)
        if isinstance(answer, Unknown):
            self._doubts[revision] = answer.why
        found = None if isinstance(answer, Unknown) else answer
        self.wish = wish._replace(contains={**wish.contains, revision: found})

    def _noted(self, found: Account) -> Account:
        """`found`; what is done by now and was not before, was seen to become so."""
        done = {step.stage for step in found.steps if step.mark is Mark.DONE}
        now: datetime = self.client.clock.now()
        for stage in done - self._done if self._done is not None else ():
            self._seen.setdefault(stage, rfc3339(now))
        for stage in [stage for stage in self._seen if stage not in done]:
            del self._seen[stage]
        self._done = done
        return found


def _whole(body: Body, kind: Kind) -> Body:
    """`body` with what it is: an item of a list need not say."""
    return {"apiVersion": kind.gvk.api_version, "kind": kind.gvk.kind, **body}
