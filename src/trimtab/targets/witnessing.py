"""Whatever is written to a target has a witness: it hears of it before the first request, and of what became of it."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from trimtab.targets.contract import Change, Effect, Outcome, Witness

_CHANGED: Final = (Effect.CREATED, Effect.CONFIGURED, Effect.CORRECTED, Effect.DELETED)


async def witnessed(
    witness: Witness, changes: Sequence[Change[Any]], user: str, acting: AsyncIterator[Outcome]
) -> AsyncIterator[Outcome]:
    """The outcomes of `acting`, which makes `changes` in the name of `user`."""
    attempt = await witness.begin(changes, user) if changes else ""
    outcomes: list[Outcome] = []
    failure = "it was cancelled"
    try:
        async for outcome in acting:
            outcomes.append(outcome)
            yield outcome
        failure = ""
    except Exception as problem:
        failure = str(problem) or type(problem).__name__
        raise
    finally:
        if attempt or any(outcome.drift is not None or outcome.effect in _CHANGED for outcome in outcomes):
            witness.end(attempt, outcomes, failure)
