"""What an event says about a commit: pending, success or failure, under a name of its own."""

import re
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

from trimtab.api.names import Reason
from trimtab.health.expressions import Bindings, EvaluationError, ExpressionError, Term, compile_term
from trimtab.notify import event as events
from trimtab.notify.meaning import TOPIC, Effect, Topic, meaning
from trimtab.notify.notice import Link, Notice
from trimtab.notify.provider import Misconfigured, Settings
from trimtab.notify.text import commit_of, cut

MOST_CONTEXT: Final = 255
_UPDATE: Final = "update"
_WORDS: Final = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z]+")
_PENDING: Final = frozenset({Reason.PROGRESSING, Reason.PROGRESSING_WITH_RETRY})
_APPLIED: Final = frozenset({"Kustomization", "HelmRelease"})
_NOT_OF_A_COMMIT: Final = frozenset({Topic.DRIFT, Topic.SUSPENDED, Topic.UNKNOWN})
"""States that come and go whatever the commit is."""


class State(StrEnum):
    """What is said of a commit; forges have their own words for it."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"


class Status(NamedTuple):
    """What a forge is told: of `commit`, by the name `context`."""

    commit: str
    state: State
    context: str
    description: str
    link: Link | None = None


def status_of(notice: Notice, settings: Settings) -> Status | None:
    """What `notice` says of a commit; None if it says nothing of one. Raises Misconfigured."""
    # Not of the fields: what stands in annotations or in the Alert could speak for anybody's commit.
    commit = commit_of(notice.event.value("originRevision")) or commit_of(notice.event.revision)
    state = _state(notice)
    if not commit or state is None:
        return None
    description = words(notice.event.reason)
    return Status(commit, state, context(notice, settings), description, next(iter(notice.links), None))


def context(notice: Notice, settings: Settings) -> str:
    """The name of the status: Flux's, or what the Provider's expression makes of the event. Raises Misconfigured."""
    involved = notice.event.involved_object
    if not settings.commit_status_expr:
        return cut(f"{involved.kind}/{involved.name}/{settings.uid.partition('-')[0]}".lower(), MOST_CONTEXT)
    told = events.told(notice.event, notice.event.message, notice.fields, notice.summary)
    try:
        answer = _compiled(settings.commit_status_expr).answer(Bindings(_variables(notice, told, settings)))
    except (ExpressionError, EvaluationError) as problem:
        raise Misconfigured(f"spec.commitStatusExpr: {problem}") from None
    if not isinstance(answer, str) or not answer.strip() or not answer.isprintable():
        raise Misconfigured("spec.commitStatusExpr: the answer is not a name: it has to be a text in one line")
    return cut(answer.strip(), MOST_CONTEXT)


def words(reason: str) -> str:
    """`HealthCheckFailed` as `health check failed`."""
    return " ".join(_WORDS.findall(reason)).lower() or reason


def _state(notice: Notice) -> State | None:
    event = notice.event
    meant = meaning(event)
    kind = event.involved_object.kind
    # Of others, such as sources, nothing is said on commits, as in Flux, unless they fail or the event asks for it.
    told = kind in _APPLIED or event.value("commit_status") == _UPDATE
    match meant.effect:
        case Effect.SUCCEEDS | Effect.MOVES:
            return State.SUCCESS if told else None
        case Effect.CLOSES:
            return State.SUCCESS if meant.topic is Topic.FAILURE and told else None
        case Effect.OPENS:
            # What is derived from a status names the revision that stood last, which need not be the one that fails.
            derived = bool(event.value(TOPIC))
            return None if derived or meant.topic in _NOT_OF_A_COMMIT else State.FAILURE
        case _:
            return State.PENDING if event.reason in _PENDING and not event.error and told else None


def _variables(notice: Notice, told: events.Event, settings: Settings) -> dict[str, Any]:
    namespace, _, name = notice.alert.partition("/")
    return {
        "event": {"metadata": {}, **events.to_builtins(told)},
        "alert": {"metadata": {"namespace": namespace, "name": name, "labels": dict(notice.alert_labels)}},
        "provider": {
            "metadata": {"namespace": settings.namespace, "name": settings.name, "uid": settings.uid},
            "spec": {"type": settings.type, "channel": settings.channel, "username": settings.username},
        },
    }


@lru_cache(maxsize=64)
def _compiled(text: str) -> Term:
    return compile_term(text, ("event", "alert", "provider"))
