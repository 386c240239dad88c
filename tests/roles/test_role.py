"""What roles do alike: the checks of one in office go with it, and take nobody else's along."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.runtime.clocks import ManualClock, settle
from trimtab.api.gvk import KUSTOMIZATION
from trimtab.api.kustomize import Kustomization
from trimtab.base.errors import Transient
from trimtab.base.telemetry import Telemetry
from trimtab.kube.errors import ConfigError, CredentialError, StaleGroup, Unreachable
from trimtab.kube.informer import Informer
from trimtab.kube.resource import Resource
from trimtab.roles.assembly import Assembly
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


class Unsure:
    """A client that cannot find a kind at first."""

    def __init__(self, clock: ManualClock, failure: Exception) -> None:
        self.discovery = self
        self.clock = clock
        self.failures = [failure]

    async def find(self, kind: Any) -> Resource:
        if self.failures:
            raise self.failures.pop(0)
        return Resource(kind, "things", True)


FAILURES = (
    Unreachable("https://server", "no route to host"),
    CredentialError("the plugin ended with 1"),
    ConfigError("the certificate is gone"),
    StaleGroup("kustomize.toolkit.fluxcd.io does not answer"),
)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
async def test_a_kind_is_looked_for_again_whatever_the_request_ended_with(means: Means, failure: Exception) -> None:
    clock: Any = means.clock
    client: Any = Unsure(clock, failure)
    of_role = asyncio.create_task(means.informer(client, KUSTOMIZATION, Kustomization, "nothing is done"))
    assembly: Any = SimpleNamespace(_client=Unsure(clock, failure), _clock=clock, _set_back=asyncio.Event())
    of_assembly = asyncio.create_task(Assembly._informer(assembly, KUSTOMIZATION, Kustomization))
    await settle()
    assert not of_role.done()
    assert not of_assembly.done()
    await clock.advance(60)
    assert isinstance(await of_role, Informer)
    assert isinstance(await of_assembly, Informer)
