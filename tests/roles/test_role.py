"""What roles do alike: the checks of one in office go with it, and take nobody else's along."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.clocks import ManualClock
from trimtab.base.errors import Transient
from trimtab.base.telemetry import Telemetry
from trimtab.roles.role import Means, Term, term


class Nobody:
    """In the place of a client: nothing is asked here."""

    def fenced(self, _may_write: Any) -> "Nobody":
        return self

    def with_priority(self, _priority: Any) -> "Nobody":
        return self


@pytest.fixture
def means(tmp_path: Path) -> Means:
    nothing: Any = Nobody()
    return Means(nothing, nothing, nothing, ManualClock(), Telemetry())


def office(means: Means, name: str) -> Any:
    return term(means, name, name, lambda: 1.0, grace_s=0.0)


async def test_checks_of_a_term_end_with_it_and_those_of_others_stay(means: Means) -> None:
    means.checks["webhooks"] = lambda: None
    async with office(means, "first") as first:
        first.checks["watch first"] = lambda: None
        async with office(means, "second") as second:
            second.checks["watch second"] = lambda: None
            assert set(means.checks) == {"webhooks", "watch first", "watch second"}
        second.checks["late"] = lambda: None
        assert set(means.checks) == {"webhooks", "watch first"}
    assert set(means.checks) == {"webhooks"}


async def test_one_that_begins_later_stays_where_the_first_one_ends(means: Means) -> None:
    first, second = office(means, "first"), office(means, "second")
    one: Term = await first.__aenter__()
    two: Term = await second.__aenter__()
    one.checks["watch first"] = two.checks["watch second"] = lambda: None
    await first.__aexit__(None, None, None)
    assert set(means.checks) == {"watch second"}
    await second.__aexit__(None, None, None)
    assert not means.checks


async def test_a_term_ends_where_the_server_shows_an_older_state(means: Means) -> None:
    async def serve() -> None:
        async with office(means, "first") as first:
            asyncio.get_running_loop().call_soon(first.set_back.set)
            await first.work()

    with pytest.raises(Transient, match="older state than before"):
        await serve()
    assert not means.checks
