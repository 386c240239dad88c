import asyncio
import time
from collections.abc import Callable
from functools import partial

import pytest

from trimtab.base.clock import SystemClock
from trimtab.base.http import Request, TransportError
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Telemetry
from trimtab.kube.client import Client
from trimtab.runtime.lease import LEASES, Elector

NAME = "kustomize-controller-leader-election"


class Skipping(SystemClock):
    """The machine's clock, for a process that was stopped for a while, and that waits a part of what it means to.

    So a Lease lasts, and a request may take, longer than a shared machine stands still.
    """

    def __init__(self, hurry: float) -> None:
        self.skipped = 0.0
        self._hurry = hurry

    def monotonic(self) -> float:
        return super().monotonic() + self.skipped

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / self._hurry)


class Candidate:
    """An elector, and what happens under its leadership."""

    def __init__(self, client: Client, home: str, identity: str, hurry: float = 100.0, **options) -> None:
        self.clock = Skipping(hurry)
        self.elector = Elector(
            client, home, NAME, identity, self.clock, **{"duration_s": 90.0, "renew_s": 30.0, **options}
        )
        self.terms = 0
        self.at_work = False
        self.cleanup_s = 0.0
        self.tasks = Tasks(identity)

    async def lead(self) -> None:
        self.terms += 1
        self.at_work = True
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(self.cleanup_s)
            self.at_work = False

    def start(self) -> asyncio.Task:
        return self.tasks.spawn(self.elector.run(self.lead), name="run")

    async def stop(self) -> None:
        await self.tasks.close()


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A release is waited for longer than a shared machine stands still."""
    monkeypatch.setattr("trimtab.runtime.lease._RELEASE_TIMEOUT_S", 60.0)


@pytest.fixture
async def candidate(client, home):
    made: list[Candidate] = []

    def make(identity: str, *, over: Client = client, **options) -> Candidate:
        made.append(Candidate(over, home, identity, **options))
        return made[-1]

    yield make
    for one in made:
        await one.stop()


async def until(condition: Callable[[], bool], *, seconds: float = 60.0) -> float:
    """Wait for `condition`; how long it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "it did not happen in time"
        await asyncio.sleep(0.02)
    return time.monotonic() - started


async def spec(client: Client, home: str) -> dict:
    return (await client.get(LEASES, NAME, home))["spec"]


async def test_the_first_leads_at_once_and_writes_what_client_go_would(candidate, client, home):
    one = candidate("one")
    one.start()
    await until(lambda: one.at_work)
    lease = await spec(client, home)
    assert lease["holderIdentity"] == "one"
    assert lease["leaseDurationSeconds"] == 90
    assert lease.get("leaseTransitions", 0) == 0
    assert lease["acquireTime"].endswith("Z")
    assert len(lease["renewTime"].split(".")[1]) == 7
    assert 30 < one.elector.remaining() <= 90


async def test_the_lease_is_renewed_without_reading_it_first(candidate, client, home, wire):
    one = candidate("one")
    one.start()
    await until(lambda: one.at_work)
    before = await spec(client, home)
    wire.requests.clear()
    await until(lambda: len(wire.requests) >= 3)
    assert [request.method for request in wire.requests] == ["PATCH"] * len(wire.requests)
    after = await spec(client, home)
    assert after["renewTime"] > before["renewTime"]
    assert after["acquireTime"] == before["acquireTime"]


async def test_only_one_of_many_leads_and_a_standby_takes_over_at_once_after_a_release(candidate, client, home):
    many = [candidate(f"c{number}") for number in range(4)]
    for one in many:
        one.start()
    await until(lambda: any(one.at_work for one in many))
    await asyncio.sleep(1)
    [leader] = [one for one in many if one.at_work]
    assert all(one.elector.remaining() == 0 for one in many if one is not leader)
    await leader.stop()
    assert (await spec(client, home))["holderIdentity"] != leader.elector.identity
    await until(lambda: any(one.at_work for one in many if one is not leader))  # far sooner than the duration
    assert (await spec(client, home))["leaseTransitions"] >= 1


async def test_a_release_leaves_nobody_as_holder(candidate, client, home):
    one = candidate("one")
    one.start()
    await until(lambda: one.at_work)
    await one.stop()
    lease = await spec(client, home)
    assert (lease.get("holderIdentity", ""), lease["leaseDurationSeconds"]) == ("", 1)
    assert not one.elector.leading


async def test_a_lease_is_left_too_where_the_answer_to_its_last_renewal_got_lost(candidate, client, home, wire):
    one = candidate("one", renew_s=59.0)
    one.start()
    await until(lambda: one.at_work)
    wire.lose_answers = 1
    await until(lambda: not wire.lose_answers)
    await one.stop()
    assert (await spec(client, home)).get("holderIdentity", "") == ""


@pytest.mark.parametrize("there", [True, False], ids=["taken", "created"])
async def test_who_is_told_to_end_while_it_takes_the_lease_does_not_keep_it(candidate, client, home, wire, there):
    if there:
        first = candidate("first")
        first.start()
        await until(lambda: first.at_work)
        await first.stop()
    given, heard = asyncio.Event(), asyncio.Event()

    async def after(request: Request) -> None:
        if request.method == ("PATCH" if there else "POST"):
            given.set()
            await heard.wait()

    wire.after = after
    one = candidate("one")
    one.start()
    await given.wait()
    assert (await spec(client, home))["holderIdentity"] == "one"
    ending = asyncio.ensure_future(one.stop())
    await asyncio.sleep(0.1)
    heard.set()
    await ending
    assert ((await spec(client, home)).get("holderIdentity", ""), one.terms) == ("", 0)


async def test_who_ends_before_it_takes_the_lease_again_whose_answer_got_lost_does_not_keep_it(
    candidate, client, home, wire
):
    async def after(request: Request) -> None:
        if request.method == "POST":
            raise TransportError("the answer got lost")

    wire.after = after
    one = candidate("one", renew_s=59.0)
    one.start()
    await until(lambda: one.elector.problem)
    await one.stop()
    assert ((await spec(client, home)).get("holderIdentity", ""), one.terms) == ("", 0)


async def test_who_stands_by_and_ends_leaves_the_lease_to_its_holder(candidate, client, home):
    one, two = candidate("one"), candidate("two")
    one.start()
    await until(lambda: one.at_work)
    two.start()
    await until(lambda: two.elector.holder == "one")
    await two.stop()
    assert (await spec(client, home))["holderIdentity"] == "one"


async def test_the_lease_is_kept_until_the_work_has_ended(candidate, client, home):
    one, two = (candidate(name, duration_s=12.0, renew_s=4.0, hurry=10.0) for name in ("one", "two"))
    one.cleanup_s = 13.0  # longer than the Lease lasts by itself
    one.start()
    await until(lambda: one.at_work)
    two.start()
    stopping = asyncio.ensure_future(one.stop())
    while not stopping.done():
        assert not (one.at_work and two.at_work)
        await asyncio.sleep(0.02)
    await until(lambda: two.at_work)


async def test_work_that_ends_since_a_lease_is_lost_is_not_cut_short_by_the_loss_of_another(candidate, client, home):
    one = candidate("one")
    one.cleanup_s = 1.0
    run = one.start()
    await until(lambda: one.at_work)
    body = {"spec": {"holderIdentity": "another"}}
    await client.merge_patch(LEASES, NAME, home, body)
    await until(lambda: not one.elector.leading)
    run.cancel()
    await asyncio.wait({run}, timeout=60)
    assert run.cancelled()
    assert not one.at_work


async def test_a_live_foreign_holder_means_standby_said_once(candidate, client, home, caplog):
    caplog.set_level("INFO")
    body = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": NAME, "namespace": home},
        "spec": {
            "holderIdentity": "flux-pod_123",
            "leaseDurationSeconds": 60,
            # Long ago by our clock: other people's clocks prove nothing.
            "renewTime": "2020-01-01T00:00:00.000000Z",
            "leaseTransitions": 7,
        },
    }
    await client.create(LEASES, body, home)
    one = candidate("one")
    one.start()

    async def renewed(moment: str) -> None:
        await client.merge_patch(LEASES, NAME, home, {"spec": {"renewTime": moment}})
        await until(lambda: one.elector._seen and one.elector._seen.spec.renew_time == moment)

    for number in range(5):  # flux lives
        await renewed(f"2020-01-01T00:00:0{number + 1}.000000Z")
        one.clock.skipped += 25.0
        await asyncio.sleep(0.5)
        assert not one.at_work
    assert one.elector.holder == "flux-pod_123"
    assert caplog.text.count("is held by flux-pod_123, standing by") == 1
    one.clock.skipped += 35.0
    await until(lambda: one.at_work)  # flux died
    lease = await spec(client, home)
    assert (lease["holderIdentity"], lease["leaseTransitions"]) == ("one", 8)


async def test_a_holder_that_cannot_renew_stops_its_work_before_another_begins(
    candidate, client, home, wire, kubeconfig
):
    from trimtab.base.http import AiohttpTransport
    from trimtab.kube import config

    other_wire = AiohttpTransport()
    one = candidate("one", renew_s=3.0, renew_deadline_s=5.0, hurry=10.0)
    two = candidate("two", over=Client(config.load(kubeconfig), other_wire))
    one.start()
    await until(lambda: one.at_work)
    two.start()
    await until(lambda: two.elector.holder == "one")
    wire.cut = True
    await until(lambda: not one.at_work)
    assert not two.at_work
    assert one.elector.remaining() == 0
    two.clock.skipped = 90.0
    await until(lambda: two.at_work)
    wire.cut = False
    await asyncio.sleep(1)
    assert (one.at_work, one.terms) == (False, 1)
    await two.stop()
    await until(lambda: one.at_work)  # it stood by again
    assert one.terms == 2
    await other_wire.close()


async def test_a_process_that_was_stopped_knows_at_once_that_it_may_not_write(candidate, client, home):
    one = candidate("one")
    one.start()
    await until(lambda: one.at_work)
    one.clock.skipped = 90.0
    assert one.elector.leading  # nobody told it
    assert one.elector.remaining() == 0


async def test_a_lease_taken_by_another_ends_the_work_at_the_next_renewal(candidate, client, home):
    one = candidate("one")  # the renewal tells it, not the end of the Lease
    one.start()
    await until(lambda: one.at_work)
    await client.merge_patch(LEASES, NAME, home, {"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 60}})
    await until(lambda: not one.at_work)
    assert (await spec(client, home))["holderIdentity"] == "thief"


async def test_a_lost_answer_is_no_lost_lease(candidate, client, home, wire):
    one = candidate("one")
    one.start()
    await until(lambda: one.at_work)
    wire.lose_answers = 2
    await until(lambda: wire.lose_answers == 0 and not one.elector.problem)
    assert (one.at_work, one.terms) == (True, 1)


async def test_work_that_ends_by_itself_ends_the_run_and_its_failure_is_passed_on(client, home):
    elector = Elector(client, home, NAME, "one", SystemClock(), duration_s=3, renew_s=0.3)

    async def nothing() -> None:
        assert elector.leading

    async def failing() -> None:
        raise LookupError("lost the plan")

    await elector.run(nothing)
    assert not elector.leading
    with pytest.raises(LookupError, match="lost the plan"):
        await elector.run(failing)
    assert (await spec(client, home)).get("holderIdentity", "") == ""


async def test_a_dead_holder_is_waited_for_since_it_was_first_seen(candidate, client, home):
    dead, heir = candidate("dead"), candidate("heir")
    dead.start()
    await until(lambda: dead.at_work)
    kept = await spec(client, home)
    await dead.stop()
    await client.merge_patch(LEASES, NAME, home, {"spec": kept})
    await heir.elector.look()
    heir.clock.skipped += 90.1
    heir.start()
    await until(lambda: heir.at_work)


async def test_a_shared_lease_is_held_by_all_of_its_name_and_stays_when_one_of_them_goes(candidate, client, home):
    one, other, stranger = candidate("all", shared=True), candidate("all", shared=True), candidate("stranger")
    for each in (one, other):
        each.start()
        await until(partial(getattr, each, "at_work"))
    stranger.start()
    await one.stop()
    await other.elector.look()
    assert (await spec(client, home))["holderIdentity"] == "all"
    assert other.at_work
    assert not stranger.at_work


@pytest.mark.parametrize("left", [False, True], ids=["there is none yet", "somebody left it"])
async def test_who_is_slower_to_take_a_shared_lease_does_not_wait_for_its_next_turn(candidate, client, home, left):
    if left:
        before = candidate("before")
        before.start()
        await until(lambda: before.at_work)
        await before.stop()
    together = [candidate("all", shared=True, duration_s=90, renew_s=40, hurry=1.0) for _ in range(8)]
    for each in together:
        each.start()
    await until(lambda: all(each.at_work for each in together))


async def test_an_unchanged_lease_goes_on_running_out_while_it_is_looked_at(candidate, client, home):
    dead, heir = candidate("dead"), candidate("heir")
    dead.start()
    await until(lambda: dead.at_work)
    kept = await spec(client, home)
    await dead.stop()
    await client.merge_patch(LEASES, NAME, home, {"spec": kept})
    await heir.elector.look()
    heir.clock.skipped += 90.1
    await heir.elector.look()
    heir.start()
    await until(lambda: heir.at_work)


async def test_several_leases_are_held_by_one_elector_each(client, home):
    telemetry = Telemetry()
    electors = [
        Elector(client, home, f"lease-{number}", "one", SystemClock(), 60, 5, telemetry=telemetry)
        for number in range(2)
    ]
    tasks = Tasks("test")
    for elector in electors:
        tasks.spawn(elector.run(lambda: asyncio.Event().wait()), name=elector.name)
    await until(lambda: all(elector.leading for elector in electors))
    assert b'trimtab_leading{lease="lease-1"} 1.0' in await telemetry.render()
    await tasks.close()
    assert b'trimtab_leading{lease="lease-1"} 0.0' in await telemetry.render()


def test_timings_that_could_not_work_are_refused(kubeconfig, client):
    with pytest.raises(ValueError, match="renew_s < renew_deadline_s < duration_s"):
        Elector(client, "default", NAME, "one", SystemClock(), duration_s=5, renew_s=5)
