"""How far a revision has come in an app: fetched, rendered, applied, healthy; and what it waits for. Pure.

Read from the objects themselves, as Flux's controllers or ours leave them: whoever asks needs to know nothing of the
process that does the work. What their status does not tell is not known, and never taken for done.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from trimtab.api.gvk import HELM_RELEASE, HELM_REPOSITORY
from trimtab.api.names import ORIGIN_REVISION, Reason
from trimtab.health.revisions import Wish
from trimtab.health.shape import condition, number, says, section, sections
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Body, Ref


class Stage(StrEnum):
    """The way of a revision."""

    FETCHED = "fetched"
    RENDERED = "rendered"
    APPLIED = "applied"
    HEALTHY = "healthy"


class Mark(StrEnum):
    """How it is with one stage."""

    DONE = "done"
    WAITING = "waiting"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Step(NamedTuple):
    """One stage: since when, where that is recorded (RFC 3339), and what there is to say.

    `stuck`: waiting alone does not help, somebody has to change something.
    """

    stage: Stage
    mark: Mark
    message: str = ""
    at: str = ""
    stuck: bool = False


class Source(NamedTuple):
    """Where an app comes from: the object, None if there is none; `problem` says why it could not be looked at."""

    ref: Ref
    body: Body | None = None
    problem: str = ""


class Laggard(NamedTuple):
    """An object that is not as it should be, or could not be looked at."""

    ref: Ref
    verdict: Verdict


class Objects(NamedTuple):
    """What a look at the objects of an app came to: how many there are, and which of them lag behind.

    `problem`: why not even their list is known.
    """

    total: int = 0
    laggards: Sequence[Laggard] = ()
    problem: str = ""


class Account(NamedTuple):
    """How far the revision has come. `revision` is what the app is at, as far as it is what was asked for."""

    steps: tuple[Step, ...]
    revision: str = ""

    def step(self, stage: Stage) -> Step:
        """What is known of one stage."""
        return next(step for step in self.steps if step.stage is stage)

    def reached(self, stage: Stage) -> bool:
        """Whether it, and all before it, is done."""
        return all(step.mark is Mark.DONE for step in self.upto(stage))

    def blocked(self, stage: Stage) -> Step | None:
        """The first step on the way to `stage` that is not done."""
        return next((step for step in self.upto(stage) if step.mark is not Mark.DONE), None)

    def upto(self, stage: Stage) -> tuple[Step, ...]:
        """The way to `stage`, itself included."""
        return self.steps[: list(Stage).index(stage) + 1]


_OF_HEALTH: Final = frozenset({Reason.HEALTH_CHECK_FAILED, Reason.HEALTH_CHECK_CANCELED, Reason.TEST_FAILED})
_BEFORE_APPLYING: Final = frozenset(
    {
        Reason.ARTIFACT_FAILED,
        Reason.BUILD_FAILED,
        Reason.DEPENDENCY_NOT_READY,
        Reason.DIRECTORY_CREATION_FAILED,
        Reason.INVALID_CEL_EXPRESSION,
        Reason.FEATURE_GATE_DISABLED,
        Reason.VALUES_ERROR,
        "DependencyCycle",
    }
)
_AWAITING: Final = ("waiting for ", "Running health checks")
"""How the message of Ready begins while objects that were applied are awaited: our words, and Flux's."""


def account(app: Body, source: Source, wish: Wish, objects: Objects | None) -> Account:
    """How far what is wished has come in `app`. `objects` is None where nobody has looked at them yet."""
    published, newest = _published(source), not wish.asked
    if newest:
        # a release knows its chart from a registry by the digest alone
        digest = published.rpartition("@")[2] if app.get("kind") == HELM_RELEASE.kind else ""
        wish = wish._replace(asked=digest or published)
    app_ = _App(app, wish)
    fetched = _fetched(source, app_, newest=newest)
    rendered = _rendered(app_, fetched)
    applied = _applied(app_, rendered)
    healthy = _healthy(app_, applied, objects)
    revision = app_.applied if wish.met_by(*app_.names_applied) else ""
    return Account((fetched, rendered, applied, healthy), revision)


def of_source(source: Source, wish: Wish) -> Account:
    """The same for a source alone: it is all there is to do once it is fetched."""
    revision = _published(source)
    done = wish.met_by(revision, _origin(source))
    fetched = _at_source(source, done=done, newest=not wish.asked)
    rest = tuple(fetched._replace(stage=stage) for stage in (Stage.RENDERED, Stage.APPLIED, Stage.HEALTHY))
    return Account((fetched, *rest), revision if done else "")


class _App:
    """What is read of a Kustomization or a HelmRelease."""

    def __init__(self, body: Body, wish: Wish) -> None:
        self.body, self.wish = body, wish
        status = section(body, "status")
        self.is_release = body.get("kind") == HELM_RELEASE.kind
        self.suspended = bool(section(body, "spec").get("suspend"))
        self.generation = number(section(body, "metadata"), "generation")
        ready = condition(body, "Ready") or {}
        self.ready, self.reason = says(ready or None), str(ready.get("reason") or "")
        self.message = str(ready.get("message") or "")
        self.observed = number(ready, "observedGeneration", number(status, "observedGeneration", -1))
        self.settled = number(status, "observedGeneration", -1)
        self.stalled = says(condition(body, "Stalled")) == "True"
        self.attempted = str(status.get("lastAttemptedRevision") or "")
        history = sections(status, "history")
        if self.is_release:
            stood = next((one for one in history if one.get("status") == "deployed"), {})
            self.applied = str(stood.get("chartVersion") or "")
            self.names_applied = (self.applied, str(stood.get("ociDigest") or ""))
            self.attempted_also = str(status.get("lastAttemptedRevisionDigest") or "")
        else:
            self.applied = str(status.get("lastAppliedRevision") or "")
            self.names_applied = (self.applied, str(status.get("lastAppliedOriginRevision") or ""))
            self.attempted_also = ""
        self.record = next(
            (one for one in history if wish.met_by(str(section(one, "metadata").get("revision") or ""))), {}
        )

    @property
    def what(self) -> str:
        metadata = section(self.body, "metadata")
        return f"{self.body.get('kind')} {metadata.get('namespace')}/{metadata.get('name')}"

    @property
    def tried(self) -> bool:
        """Whether the last attempt was of what is wished."""
        return self.wish.met_by(self.attempted, self.attempted_also) or self.wish.met_by(*self.names_applied)

    @property
    def unseen(self) -> str:
        """That its controller has not looked at the object as it is now; nothing if it has."""
        if self.observed < self.generation:
            return f"its controller has not looked at generation {self.generation} of it yet"
        return ""

    def moment(self, name: str) -> str:
        """When the history says that it was `name`."""
        if self.is_release:
            return ""
        return str(section(self.record, "metadata").get(name) or "")

    def resume(self) -> str:
        metadata = section(self.body, "metadata")
        kind = "helmrelease " if self.is_release else ""
        return (
            f"it is suspended: `trimtab resume {kind}{metadata.get('name')} -n {metadata.get('namespace')}` ends that"
        )


def _published(source: Source) -> str:
    return str(section(source.body or {}, "status", "artifact").get("revision") or "")


def _origin(source: Source) -> str:
    return str(section(source.body or {}, "status", "artifact", "metadata").get(ORIGIN_REVISION) or "")


def _fetched(source: Source, app: _App, *, newest: bool) -> Step:
    done = app.wish.met_by(_published(source), _origin(source))
    if not newest and not done and app.tried:
        told = f"{source.ref} is {_at(_published(source))} by now" if source.body else ""
        return Step(Stage.FETCHED, Mark.DONE, told, app.moment("fetched"))
    return _at_source(source, done=done, newest=newest)


def _at_source(source: Source, *, done: bool, newest: bool) -> Step:
    """What the source says. For the `newest` revision it has to be sure that there is no newer one."""
    step, published = Step(Stage.FETCHED, Mark.WAITING), _published(source)
    if source.body is None:
        if source.problem:
            return step._replace(mark=Mark.UNKNOWN, message=f"{source.ref} cannot be looked at: {source.problem}")
        return step._replace(message=f"{source.ref} does not exist")
    spec, metadata = section(source.body, "spec"), section(source.body, "metadata")
    if source.ref.kind == HELM_REPOSITORY.kind and spec.get("type") == "oci":
        return step._replace(mark=Mark.DONE, message="it only says where charts are: there is nothing to fetch")
    ready = condition(source.body, "Ready")
    generation = number(metadata, "generation")
    # a producer of its own kind need not say which generation it looked at
    observed = number(section(source.body, "status"), "observedGeneration", generation)
    failed, stalled = says(ready) == "False", says(condition(source.body, "Stalled")) == "True"
    if done and (not newest or spec.get("suspend") or (observed >= generation and not failed)):
        at = str(section(source.body, "status", "artifact").get("lastUpdateTime") or "")
        told = f"{source.ref} is suspended: it looks for nothing newer" if newest and spec.get("suspend") else ""
        return step._replace(mark=Mark.DONE, at=at, message=told)
    if spec.get("suspend"):
        return step._replace(message=f"{source.ref} is suspended, {_at(published)}", stuck=True)
    if failed or stalled:
        words = f"{source.ref}: {(ready or {}).get('reason')}: {(ready or {}).get('message')}"
        return step._replace(mark=Mark.FAILED, message=words, stuck=stalled)
    if observed < generation:
        return step._replace(
            message=f"{source.ref}: its controller has not looked at generation {generation} of it yet"
        )
    every = f", and looks again every {spec['interval']}" if spec.get("interval") else ""
    return step._replace(message=f"{source.ref} is {_at(published)}{every}")


def _at(revision: str) -> str:
    return f"at {revision}" if revision else "without an artifact"


def _rendered(app: _App, before: Step) -> Step:
    step = Step(Stage.RENDERED, Mark.WAITING)
    if app.suspended and not (app.tried and not app.unseen):
        return step._replace(message=app.resume(), stuck=True)
    if app.unseen:
        return step._replace(message=app.unseen)
    if not app.tried:
        if before.mark is not Mark.DONE:
            return step
        at = app.attempted or app.applied
        told = (
            f"it is at {at}: {app.message}" if at and app.ready == "False" else f"it is at {at}" if at else app.message
        )
        return step._replace(message=told)
    if app.ready == "False" and app.reason in _BEFORE_APPLYING:
        waits = app.reason == Reason.DEPENDENCY_NOT_READY
        mark = Mark.WAITING if waits else Mark.FAILED
        return step._replace(mark=mark, message=f"{app.reason}: {app.message}", stuck=app.stalled)
    return step._replace(mark=Mark.DONE, at=app.moment("rendered"))


def _applied(app: _App, before: Step) -> Step:
    step = Step(Stage.APPLIED, Mark.WAITING)
    if before.mark is not Mark.DONE:
        return step
    good = app.ready == "True" and app.settled >= app.generation
    if good and app.wish.met_by(*app.names_applied):
        return step._replace(mark=Mark.DONE, at=app.moment("applied"))
    if app.reason in _OF_HEALTH or (app.ready == "Unknown" and app.message.startswith(_AWAITING)):
        return step._replace(mark=Mark.DONE, at=app.moment("applied"))
    if app.ready == "False":
        return step._replace(mark=Mark.FAILED, message=f"{app.reason}: {app.message}", stuck=app.stalled)
    if app.suspended:
        return step._replace(message=app.resume(), stuck=True)
    return step._replace(message=app.message)


def _healthy(app: _App, before: Step, objects: Objects | None) -> Step:
    step = Step(Stage.HEALTHY, Mark.WAITING)
    if before.mark is not Mark.DONE:
        return step
    if app.reason in _OF_HEALTH and app.ready == "False":
        return step._replace(mark=Mark.FAILED, message=f"{app.reason}: {app.message}", stuck=app.stalled)
    if app.ready != "True":
        return step._replace(message=app.message)
    # where nobody waited for health, the record says only when there was nothing more to apply
    at = str(app.record.get("lastReconciled") or "") if _vouched(app) else ""
    if objects is None:
        return step._replace(message="its objects are not looked at yet")
    blind = [one for one in objects.laggards if one.verdict.state is State.Unknown]
    lagging = [one for one in objects.laggards if one.verdict.state is not State.Unknown]
    if lagging:
        mark = Mark.FAILED if any(one.verdict.bad for one in lagging) else Mark.WAITING
        return step._replace(mark=mark, message=f"{_of(len(lagging), objects.total)} not as they should be")
    if blind or objects.problem:
        why = objects.problem or f"{_of(len(blind), objects.total)} cannot be looked at"
        if _vouched(app):
            return step._replace(mark=Mark.DONE, at=at, message=f"as its controller says: {why}")
        return step._replace(mark=Mark.UNKNOWN, message=why)
    return step._replace(mark=Mark.DONE, at=at)


def _vouched(app: _App) -> bool:
    """Whether the controller itself has waited for all objects to be healthy."""
    spec = section(app.body, "spec")
    if app.is_release:
        return not any(section(spec, action).get("disableWait") for action in ("install", "upgrade", "rollback"))
    return bool(spec.get("wait")) and says(condition(app.body, "Healthy")) == "True"


def _of(some: int, total: int) -> str:
    return f"{some} of {total} objects are" if total != 1 else "its only object is"
