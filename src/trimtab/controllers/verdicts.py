"""What a pass comes to, by what became of each object. Pure."""

from collections.abc import Collection, Iterable

from trimtab.api import names
from trimtab.base.errors import Terminal, Transient, Waiting
from trimtab.manifests.refs import Ref
from trimtab.targets.contract import Effect, Outcome

WAIT_S = 2.0


def check(outcomes: Collection[Outcome], wanted: Collection[Ref]) -> None:
    """Raise what a pass with failures, or with something to wait for, ends in; `wanted` is what is desired."""
    failures = [outcome for outcome in outcomes if outcome.effect is Effect.FAILED]
    if failures:
        applied = any(outcome.ref in wanted for outcome in failures)
        reason = names.Reason.RECONCILIATION_FAILED if applied else names.Reason.PRUNE_FAILED
        kind = Terminal if all(outcome.stuck for outcome in failures) else Transient
        raise kind(reason, failure_words(failures))
    waiting = [outcome for outcome in outcomes if outcome.effect is Effect.WAITING and outcome.ref in wanted]
    if waiting:
        raise Waiting(names.Reason.PROGRESSING, _waiting_words(waiting), after=WAIT_S)


def failure_words(failures: Collection[Outcome]) -> str:
    """How many failed, then each with file, line and cause: a message is cut at its end, so the number comes first."""
    many = f"{len(failures)} objects failed: " if len(failures) > 1 else ""
    places = _by_message((f"{o.ref} ({o.origin})" if o.origin else str(o.ref), o.message) for o in failures)
    return many + "; ".join(f"{', '.join(refs)}: {message}" for message, refs in places.items())


def _waiting_words(outcomes: Iterable[Outcome]) -> str:
    """What is waited for, once for all the objects that wait for the same."""
    waiting = _by_message((str(outcome.ref), outcome.message) for outcome in outcomes)
    return "; ".join(
        f"{refs[0]}{f' and {len(refs) - 1} more' if len(refs) > 1 else ''}: {message}"
        for message, refs in waiting.items()
    )


def _by_message(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for ref, message in pairs:
        found.setdefault(message, []).append(ref)
    return found
