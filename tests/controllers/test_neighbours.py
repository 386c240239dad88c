"""What an app of another process desires, as its own record tells."""

import asyncio

import msgspec
import pytest
from tests.runtime.clocks import ManualClock

from trimtab.api.kustomize import Kustomization, KustomizationSpec, SourceRef
from trimtab.api.kustomizestatus import Inventory, InventoryEntry
from trimtab.api.meta import ObjectMeta
from trimtab.controllers.app import App
from trimtab.controllers.index import SourceId
from trimtab.controllers.neighbours import FRESH_S, POLL_S, Neighbour, Neighbours, planned, token
from trimtab.manifests.inventory import encode_id
from trimtab.manifests.refs import Key, Ref
from trimtab.targets.kubernetes import inventory

ONE, TWO = Ref("", "ConfigMap", "ns", "one"), Ref("", "ConfigMap", "ns", "two")
SOURCE = SourceId("GitRepository", Key("ns", "repo"))


def neighbour(refs=(ONE, TWO), *, generation=1, observed=1, flux=False, **status):
    spec = KustomizationSpec(interval="1m", prune=True, source_ref=SourceRef(kind="GitRepository", name="repo"))
    lines = [{"id": encode_id(ref), "v": "v1"} for ref in sorted(refs)]
    document = {"entries": lines} if flux else inventory.document(lines, "home")
    listed = msgspec.convert(document, Inventory)
    assert all(isinstance(entry, InventoryEntry) for entry in listed.entries)
    ks = Kustomization(metadata=ObjectMeta(name="b", namespace="ns", uid="u", generation=generation), spec=spec)
    status = msgspec.structs.replace(ks.status, observed_generation=observed, inventory=listed, **status)
    ks = msgspec.structs.replace(ks, status=status)
    return Neighbour.of(ks, App.of(ks), "home")


def neighbours(**known):
    found = Neighbours(None, None, "key=one", "home", None, lambda _key: None)
    found.last = {Key("ns", name): one for name, one in known.items()}
    return found


def test_what_is_leaving_is_not_wanted_and_may_be_taken_over():
    one = neighbour(planned=planned("r2", 1, [TWO]))
    assert one.wants == {ONE}
    assert list(neighbours(b=one).wanting([ONE, TWO], "home")) == [ONE]
    assert list(neighbours(b=one).wanting([ONE, TWO], "another cluster")) == []


@pytest.mark.parametrize(
    ("one", "unaware", "stuck"),
    [
        (neighbour(planned=planned("r2", 1, [])), False, False),
        (neighbour(planned=planned("r1", 1, [])), True, False),
        (neighbour(planned=planned("r2", 1, []), generation=2), True, False),
        (neighbour(planned=planned("r1", 1, []), last_attempted_revision="r2"), False, True),
        (neighbour(flux=True, last_applied_revision="r2"), False, False),
        (neighbour(flux=True, last_applied_revision="r1"), True, False),
        (neighbour(flux=True, last_applied_revision="r2", generation=2), True, False),
    ],
    ids=["planned", "earlier", "another spec", "failing", "by Flux", "by Flux, earlier", "by Flux, another spec"],
)
def test_deletions_wait_for_who_has_not_planned_the_revision(one, unaware, stuck):
    found = neighbours(b=one).behind(SOURCE, "r2", "home")
    assert found == ({Key("ns", "b")} if unaware else set(), {Key("ns", "b")} if stuck else set())
    assert neighbours(b=one).behind(SourceId("Bucket", SOURCE.key), "r2", "home") == (set(), set())


def test_an_object_is_told_by_a_short_digest_that_differs_from_others():
    assert token(ONE) != token(TWO)
    assert len(token(ONE)) == 16


class Elsewhere:
    """A server with one app, which the test changes."""

    def __init__(self, clock):
        self.discovery, self.clock = self, clock
        self.generation = 1

    async def find(self, _kind):
        return None

    async def get(self, _resource, name, namespace, **_):
        spec = KustomizationSpec(interval="1m", prune=True, source_ref=SourceRef(kind="GitRepository", name="repo"))
        metadata = ObjectMeta(name=name, namespace=namespace, uid="u", generation=self.generation)
        return Kustomization(metadata=metadata, spec=spec)


async def test_who_expects_a_change_is_woken_although_another_pass_has_seen_it_first():
    clock, woken = ManualClock(), []
    server = Elsewhere(clock)
    found = Neighbours(server, None, "key=one", "home", clock, woken.append)
    app, other = Key("ns", "app"), Key("ns", "other")
    looking = asyncio.create_task(found.run())
    await found.visit([other])
    found.expect(app, [other])
    await clock.advance(POLL_S)
    assert woken == []
    server.generation = 2
    clock.jump(FRESH_S)
    await found.visit([other])  # in the pass of a third
    await clock.advance(3 * POLL_S)
    assert woken == [app]
    looking.cancel()
