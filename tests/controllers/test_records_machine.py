"""Any sequence of records, crashes and restarts on a real server: the record is whole, and nothing owned is lost."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from tests.controllers.test_records import Died, Mortal, Shop, entries, names

from trimtab.base.http import AiohttpTransport
from trimtab.cli import local
from trimtab.controllers.app import App
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.manifests.refs import Gvk, Ref
from trimtab.targets.kubernetes import inventory

EVERYTHING = entries(12)
REFS = sorted(EVERYTHING)


class Recording(RuleBasedStateMachine):
    """What a controller does to the record of one app; `certain` is what it had when it was last known."""

    def __init__(self, kubeconfig: Path, namespace: str, *, apart: bool) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.kubeconfig, self.home, self.apart = kubeconfig, namespace, apart
        self.transport = AiohttpTransport()
        self.shop = self.run(self.furnished())
        self.app: App = self.run(self.shop.read())
        self.certain: set[Ref] = set()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run(work)

    async def furnished(self) -> Shop:
        client = Client(config.load(self.kubeconfig), self.transport)
        await local.furnish(client, "flux-system")
        await client.create(await client.discovery.find(Gvk("", "v1", "Namespace")), {"metadata": {"name": self.home}})
        shop = Shop(client, self.home, apart=self.apart)
        await shop.found()
        return shop

    def teardown(self) -> None:
        self.run(self.transport.close())
        self.loop.close()

    @rule(wanted=st.sets(st.sampled_from(REFS)))
    def intends_more(self, wanted: set[Ref]) -> None:
        """Before the first effect: what it had, and what it wants."""
        self.record(self.certain | wanted)

    @rule(gone=st.sets(st.sampled_from(REFS)))
    def learns_what_is_gone(self, gone: set[Ref]) -> None:
        self.record(self.certain - gone)

    @rule()
    def begins_anew(self) -> None:
        self.app = self.run(self.shop.read())

    @rule(wanted=st.sets(st.sampled_from(REFS)), nth=st.integers(1, 12), after=st.booleans())
    def dies_at_a_write(self, wanted: set[Ref], nth: int, after: bool) -> None:
        """Another process begins, dies somewhere on the way, and a third one sees what it left."""
        old = set(self.certain)

        async def brief() -> None:
            mortal = Mortal(self.transport, nth, after=after)
            ghost = Shop(Client(config.load(self.kubeconfig), mortal), self.home, apart=self.apart)
            try:
                await ghost.record(await ghost.read(), {ref: EVERYTHING[ref] for ref in wanted})
            except Died:
                return

        self.run(brief())
        self.app = self.run(self.shop.read())
        left = set(self.app.inventory)
        # where a copy stands beside the record, what a death before this one left in it may come on top
        assert left == old or wanted <= left <= old | wanted, f"{left} is neither the old list nor the new one"
        self.certain = left

    @invariant()
    def a_fresh_process_trusts_it_and_finds_everything(self) -> None:
        app = self.run(self.shop.read())
        assert app.problem == ""
        assert set(app.inventory) == self.certain
        held = names(self.run(self.shop.secrets()))
        assert set(app.parts.values()) <= held

    def record(self, wanted: set[Ref]) -> None:
        self.run(self.shop.record(self.app, {ref: EVERYTHING[ref] for ref in wanted}))
        self.certain = wanted


@pytest.mark.parametrize("apart", [False, True], ids=["in-the-status", "under-flux-definitions"])
def test_the_record_survives_any_sequence(
    kubeconfig: Path, namespace: Callable[[], str], monkeypatch: pytest.MonkeyPatch, apart: bool
) -> None:
    monkeypatch.setattr(inventory, "INLINE", 3)
    monkeypatch.setattr(inventory, "PART_BYTES", 256)
    run_state_machine_as_test(
        lambda: Recording(kubeconfig, namespace(), apart=apart),
        settings=settings(
            max_examples=int(os.environ.get("TRIMTAB_RECORDS", "6")),
            stateful_step_count=12,
            deadline=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )
