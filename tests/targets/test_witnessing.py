"""Whatever is written has a witness, who hears of it before and afterwards, however it ended."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from trimtab.base.clock import SystemClock
from trimtab.manifests.refs import Ref
from trimtab.targets.contract import Action, Answer, Change, Drift, Effect, Outcome
from trimtab.targets.witnessing import witnessed

REF = Ref("", "ConfigMap", "apps", "settings")
CHANGE: Change[Any] = Change(REF, Action.APPLY, None, "new", None)


class Listener:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    async def begin(self, changes: Sequence[Change[Any]], user: str) -> str:
        self.heard.append(("begin", len(changes), user))
        return "a-1"

    def end(self, attempt: str, outcomes: Sequence[Outcome], failure: str) -> None:
        self.heard.append(("end", attempt, len(outcomes), failure))

    async def acting(self, *outcomes: Outcome, failure: BaseException | None = None) -> AsyncIterator[Outcome]:
        self.heard.append("act")
        for outcome in outcomes:
            yield outcome
        if failure is not None:
            raise failure


DONE = Outcome(REF, Effect.CREATED)


async def test_the_witness_hears_of_it_before_anything_is_done() -> None:
    ear = Listener()
    assert [one async for one in witnessed(ear, [CHANGE], "somebody", ear.acting(DONE))] == [DONE]
    assert ear.heard == [("begin", 1, "somebody"), "act", ("end", "a-1", 1, "")]


@pytest.mark.parametrize(
    ("failure", "words"),
    [(ValueError("the disk is on fire"), "the disk is on fire"), (asyncio.CancelledError(), "it was cancelled")],
    ids=["failed", "cancelled"],
)
async def test_what_ends_early_is_told_with_what_was_done(failure: BaseException, words: str) -> None:
    ear = Listener()
    with pytest.raises(type(failure)):
        _ = [one async for one in witnessed(ear, [CHANGE], "", ear.acting(DONE, failure=failure))]
    assert ear.heard[-1] == ("end", "a-1", 1, words)


async def test_a_mere_look_is_told_of_only_where_something_came_of_it() -> None:
    ear = Listener()
    same = Outcome(REF, Effect.UNCHANGED)
    _ = [one async for one in witnessed(ear, [], "", ear.acting(same))]
    assert ear.heard == ["act"]
    _ = [one async for one in witnessed(ear, [], "", ear.acting(same, DONE))]
    assert ear.heard[-1] == ("end", "", 2, "")
    drift = Drift(REF, (), None, SystemClock().now(), Answer.REPORTED)
    _ = [one async for one in witnessed(ear, [], "", ear.acting(Outcome(REF, Effect.DRIFTED, drift=drift)))]
    assert ear.heard[-1] == ("end", "", 1, "")
