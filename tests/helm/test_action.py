"""What is done next with a release: the table of states, and any life it may have, without a dead end."""

from dataclasses import dataclass, field, replace

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trimtab.api.helmrelease import HelmReleaseSpec
from trimtab.helm import action, record
from trimtab.helm.action import (
    Correct,
    Exhausted,
    Facts,
    Install,
    Nothing,
    Retry,
    Rollback,
    RunTests,
    Uninstall,
    Unlock,
    Upgrade,
    decide,
    farewell,
)
from trimtab.helm.memory import Memory, Seen, Wish
from trimtab.helm.policy import Policy, Remedy, policy_of
from trimtab.helm.record import Info, Record, Status
from trimtab.helm.values import digest_of

VALUES = {"a": 1}
WISH = Wish(1, "app", "1.0.0", digest_of(VALUES))
POLICY = policy_of(HelmReleaseSpec(interval="1m"))


def rev(version: int, status: str = "deployed", *, chart: str = "1.0.0", values=VALUES, name: str = "app") -> Record:
    return Record(
        name="r",
        namespace="n",
        version=version,
        info=Info(status=status),
        config=values,
        chart={"metadata": {"name": name, "version": chart}},
    )


def memory_of(*records: Record, action: str | None = "upgrade", tests=None, **counts) -> Memory:
    memory = Memory(attempt=WISH.attempt, action=action, observed_generation=WISH.generation, **counts)
    for one in reversed(records):
        memory = memory.made(one, 10)
    return memory.tested(records[0].version, tests) if tests is not None else memory


def policy(**changes) -> Policy:
    return POLICY._replace(**changes)


def facts(*records: Record, known: bool = True, **changes) -> Facts:
    memory = changes.pop("memory", None) or (memory_of(*records) if known and records else Memory())
    return Facts(
        **{"wish": WISH, "history": records, "memory": memory, "policy": POLICY, **changes},
    )


def after(*records: Record, counts: dict[str, int], action: str = "upgrade", **changes) -> Facts:
    return facts(*records, memory=memory_of(*records, action=action, **counts), **changes)


TRIES = policy(install=Remedy(3, False, True), upgrade=Remedy(3, True, False))
PATIENT = policy(install=Remedy(0, False, True, False, 60.0), upgrade=Remedy(0, False, False, False, 60.0))
UNINSTALLING = policy(upgrade=Remedy(3, True, True))
TESTING = policy(tests=True)

TABLE = {
    "absent": (facts(), Install),
    "absent, after failed tries": (facts(memory=memory_of(rev(1), action="install", install_failures=1)), Exhausted),
    "absent, with tries left": (
        facts(memory=memory_of(rev(1), action="install", install_failures=1), policy=TRIES),
        Install,
    ),
    "absent, no try left, forced": (
        facts(memory=memory_of(rev(1), action="install", install_failures=1), forced=True),
        Install,
    ),
    "uninstalled": (facts(rev(1, "uninstalled")), Install),
    "in sync": (facts(rev(1)), Nothing),
    "in sync, forced": (facts(rev(1), forced=True), Upgrade),
    "another's": (facts(rev(1), known=False), Upgrade),
    "another's that failed": (facts(rev(1, "failed"), known=False), Upgrade),
    "changed by another": (facts(rev(1), memory=memory_of(rev(1, values={"b": 1}))), Upgrade),
    "made by us, before we died": (facts(rev(2), memory=replace(memory_of(rev(1)), begun=2)), Nothing),
    "seen by Flux": (facts(rev(1), memory=replace(memory_of(rev(1)), seen=(Seen(1),))), Nothing),
    "another version": (facts(rev(1, chart="0.9.0")), Upgrade),
    "other values": (facts(rev(1, values={"a": 2})), Upgrade),
    "the same values": (facts(rev(1, values={"a": 1.0})), Nothing),
    "values preserved": (facts(rev(1, values={"a": 1, "b": 2}), preserved=digest_of({"a": 1, "b": 2})), Nothing),
    "values preserved, and others": (facts(rev(1), preserved=digest_of({"a": 1, "b": 2})), Upgrade),
    "another chart": (facts(rev(1, name="old")), Uninstall),
    "another chart, in place": (facts(rev(1, name="old"), policy=policy(reinstalls=False)), Upgrade),
    "another chart of another's": (facts(rev(1, name="old"), known=False), Upgrade),
    "moved": (facts(rev(1), moved="the target namespace"), Uninstall),
    "other post-renderers": (
        facts(rev(1), wish=WISH._replace(generation=2, post_renderers="x"), memory=memory_of(rev(1))),
        Upgrade,
    ),
    "post-renderers of ours, rolled back": (
        facts(
            rev(1), wish=WISH._replace(post_renderers="trimtab:x"), memory=memory_of(rev(1), post_renderers="trimtab:y")
        ),
        Upgrade,
    ),
    "Flux's digest of the same post-renderers": (
        facts(rev(1), wish=WISH._replace(post_renderers="trimtab:x"), memory=memory_of(rev(1), post_renderers="x")),
        Nothing,
    ),
    "pending, ours": (
        facts(rev(1, "pending-install"), memory=replace(memory_of(rev(1)), begun=1), untouched_s=0),
        Unlock,
    ),
    "pending, somebody else's": (facts(rev(2, "pending-upgrade"), rev(1), untouched_s=10), Retry),
    "pending, somebody else's, for long": (facts(rev(2, "pending-upgrade"), rev(1), untouched_s=301), Unlock),
    "uninstalling": (facts(rev(1, "uninstalling")), Unlock),
    "of a status that nobody knows": (facts(rev(1, "thinking")), Upgrade),
    "superseded by what is gone": (facts(rev(1, "superseded")), Upgrade),
    "failed, first time": (after(rev(2, "failed"), rev(1), counts={"upgrade_failures": 1}), Exhausted),
    "failed, with tries": (after(rev(2, "failed"), rev(1), counts={"upgrade_failures": 1}, policy=TRIES), Rollback),
    "failed, last try": (after(rev(2, "failed"), rev(1), counts={"upgrade_failures": 4}, policy=TRIES), Rollback),
    "failed, another wish": (
        after(rev(2, "failed"), rev(1), counts={"upgrade_failures": 4}, wish=WISH._replace(generation=2)),
        Upgrade,
    ),
    "failed, forced": (after(rev(2, "failed"), rev(1), counts={"upgrade_failures": 4}, forced=True), Upgrade),
    "failed, uninstall wanted": (
        after(rev(2, "failed"), rev(1), counts={"upgrade_failures": 1}, policy=UNINSTALLING),
        Uninstall,
    ),
    "failed install": (
        after(rev(1, "failed"), action="install", counts={"install_failures": 1}, policy=TRIES),
        Uninstall,
    ),
    "failed install of what was healthy": (
        after(rev(1, "failed"), action="install", counts={"install_failures": 1, "proven": 1}, policy=TRIES),
        Upgrade,
    ),
    "failed install, last try": (
        after(rev(1, "failed"), action="install", counts={"install_failures": 4}, policy=TRIES),
        Exhausted,
    ),
    "failed, nothing to go back to": (
        after(rev(2, "failed"), rev(1, "failed"), counts={"upgrade_failures": 1}, policy=TRIES),
        Upgrade,
    ),
    "failed, nothing to go back to, last try": (
        after(rev(2, "failed"), rev(1, "failed"), counts={"upgrade_failures": 4}, policy=TRIES),
        Exhausted,
    ),
    "failed, good before an uninstall": (
        after(rev(3, "failed"), rev(2, "uninstalled"), rev(1), counts={"upgrade_failures": 1}, policy=TRIES),
        Upgrade,
    ),
    "failed, retried later": (
        after(rev(2, "failed"), rev(1), counts={"upgrade_failures": 9}, policy=PATIENT, idle_s=20),
        Retry,
    ),
    "failed, retried now": (
        after(rev(2, "failed"), rev(1), counts={"upgrade_failures": 9}, policy=PATIENT, idle_s=60),
        Upgrade,
    ),
    "rolled back, with tries": (after(rev(3, chart="0"), counts={"upgrade_failures": 3}, policy=TRIES), Upgrade),
    "rolled back, for good": (after(rev(3, chart="0"), counts={"upgrade_failures": 4}, policy=TRIES), Exhausted),
    "rolled back, for good, drifted": (
        after(
            rev(3, chart="0"), counts={"upgrade_failures": 4}, policy=TRIES._replace(corrects_drift=True), drifted=True
        ),
        Correct,
    ),
    "untested": (facts(rev(1), policy=TESTING), RunTests),
    "tested": (facts(rev(1), memory=memory_of(rev(1), tests={"t": "Succeeded"}), policy=TESTING), Nothing),
    "without tests": (facts(rev(1), memory=memory_of(rev(1), tests={}), policy=TESTING), Nothing),
    "tests failed": (
        facts(
            rev(2),
            rev(1, "superseded"),
            memory=memory_of(rev(2), rev(1, "superseded"), tests={"t": "Failed"}, upgrade_failures=1),
            policy=TRIES._replace(tests=True),
        ),
        Rollback,
    ),
    "tests failed, ignored": (
        facts(
            rev(1),
            memory=memory_of(rev(1), tests={"t": "Failed"}, upgrade_failures=1),
            policy=policy(tests=True, upgrade=Remedy(ignores_tests=True)),
        ),
        Nothing,
    ),
    "drifted": (facts(rev(1), drifted=True, policy=policy(corrects_drift=True)), Correct),
    "drifted, reported": (facts(rev(1), drifted=True), Nothing),
}


@pytest.mark.parametrize(("given", "expected"), TABLE.values(), ids=TABLE.keys())
def test_each_state_has_its_one_action(given: Facts, expected: type) -> None:
    assert type(decide(given)) is expected


def test_actions_say_what_they_are_about() -> None:
    assert decide(TABLE["failed, with tries"][0]).to.version == 1
    assert decide(TABLE["pending, ours"][0]) == Unlock(1, "revision 1 is pending-install, and nobody is at it")
    assert decide(TABLE["failed, retried later"][0]) == Retry(40.0, "tried in vain 9 times")
    assert decide(TABLE["pending, somebody else's"][0]).after_s == 290.0
    assert decide(TABLE["failed install"][0]).remedy
    assert not decide(TABLE["another chart"][0]).remedy
    assert decide(TABLE["in sync, forced"][0]).forced
    assert decide(TABLE["drifted, reported"][0]) == Nothing(drifted=True)
    stalled = decide(TABLE["failed, first time"][0])
    assert stalled.reason == "RetriesExceeded"
    assert stalled.why.startswith("the upgrade failed once, and no try is left; change the chart")
    assert decide(TABLE["failed, nothing to go back to, last try"][0]).reason == "MissingRollbackTarget"


def test_a_rollback_passes_over_a_revision_whose_tests_failed() -> None:
    records = (rev(3, "failed"), rev(2), rev(1, "superseded"))
    memory = memory_of(*records, upgrade_failures=1).tested(2, {"t": "Failed"})
    assert decide(facts(*records, memory=memory, policy=TRIES)).to.version == 1


def test_a_deleted_release_goes_in_whatever_state_it_is() -> None:
    assert farewell(()) == Nothing()
    assert farewell((rev(1, "uninstalled"),)) == Nothing()
    for status in ("deployed", "failed", "pending-upgrade", "uninstalling"):
        assert isinstance(farewell((rev(1, status),)), Uninstall)


def test_what_a_spec_does_not_say_is_as_in_flux() -> None:
    assert Policy(Remedy(uninstalls=True), Remedy(), timeout_s=300.0) == POLICY
    spec = msgspec.convert(
        {
            "interval": "1m",
            "timeout": "1m",
            "install": {"strategy": {"name": "RetryOnFailure"}, "timeout": "10m"},
            "upgrade": {
                "remediation": {"retries": 2, "strategy": "uninstall"},
                "chartNameChangeStrategy": "InPlaceUpdate",
            },
            "test": {"enable": True, "ignoreFailures": True},
            "driftDetection": {"mode": "enabled"},
        },
        HelmReleaseSpec,
    )
    assert policy_of(spec) == Policy(
        Remedy(0, False, True, True, 300.0), Remedy(2, True, True, True, None), True, True, False, 600.0
    )
    explicit = msgspec.convert(
        {
            "interval": "1m",
            "upgrade": {"remediation": {"retries": 2, "remediateLastFailure": False, "ignoreTestFailures": False}},
            "test": {"ignoreFailures": True},
        },
        HelmReleaseSpec,
    )
    assert policy_of(explicit).upgrade == Remedy(2, False, False, False, None)


# --- any life


@dataclass
class World:
    """A cluster that carries out actions, and the controller that remembers."""

    policy: Policy
    limit: int
    keeps: bool
    wish: Wish = WISH
    history: tuple[Record, ...] = ()
    memory: Memory = field(default_factory=Memory)
    drifted: bool = False
    forced: bool = False
    idle_s: float = 1e9
    untouched_s: float = 1e9
    values: int = 0
    healthy: bool = False

    @property
    def newest(self) -> Record | None:
        return self.history[0] if self.history else None

    def decide(self) -> action.Action:
        return decide(
            Facts(
                wish=self.wish,
                history=self.history,
                memory=self.memory,
                policy=self.policy,
                drifted=self.drifted,
                forced=self.forced,
                idle_s=self.idle_s,
                untouched_s=self.untouched_s,
            )
        )

    def put(self, one: Record) -> None:
        others = [old for old in self.history if old.version != one.version]
        self.history = tuple(sorted([one, *others], key=lambda old: old.version, reverse=True))
        self.untouched_s = 0

    def status(self, one: Record, status: str) -> Record:
        changed = record.settled(one, Status(status), "")
        self.put(changed)
        return changed

    def deploy(self, one: Record) -> Record:
        for old in self.history:
            if old.status == "deployed" and old.version != one.version:
                # One that was changed by us is remembered as it is now, if it was ours before.
                ours = self.memory.of(old) is not None
                changed = self.status(old, "superseded")
                if ours:
                    self.memory = self.memory.made(changed, 20)
        return self.status(one, "deployed")

    def next_version(self) -> int:
        return max((one.version for one in self.history), default=0) + 1

    def prune(self) -> None:
        gone = {one.version for one in record.surplus(self.history, self.limit)}
        self.history = tuple(one for one in self.history if one.version not in gone)
        self.memory = self.memory.keeping(one.version for one in self.history)

    def act(self, *, ok: bool, dies: bool = False) -> action.Action:
        """Carry out the next action, in vain unless `ok`; if it `dies`, the process is gone in the middle."""
        todo = self.decide()
        match todo:
            case Install() | Upgrade():
                self.forced = False
                kind = "install" if isinstance(todo, Install) else "upgrade"
                version = self.next_version()
                self.memory = self.memory.starting(kind, self.wish, version)
                one = rev(version, f"pending-{kind}", chart=self.wish.chart_version, values={"a": self.values})
                self.put(one)
                if dies:
                    return todo
                if ok:
                    one = self.deploy(one)
                    self.memory = self.memory.made(one, 20).succeeded(self.wish, version, untested=self.policy.tests)
                    self.healthy |= not self.policy.tests
                else:
                    self.memory = self.memory.made(self.status(one, "failed"), 20).failed()
                    self.idle_s = 0
            case Rollback(to):
                assert to in self.history
                assert to.status in ("deployed", "superseded")
                version = self.next_version()
                self.memory = self.memory.starting(None, self.wish, version)
                one = msgspec.structs.replace(to, version=version, info=Info(status="pending-rollback"))
                self.put(one)
                if dies:
                    return todo
                one = self.deploy(one) if ok else self.status(one, "failed")
                self.memory = replace(self.memory.made(one, 20), begun=0)
            case Uninstall(_, remedy):
                if remedy:
                    assert self.policy.upgrade.uninstalls or not self.healthy, "it was healthy once"
                one = self.newest
                assert one is not None
                if dies:
                    self.memory = replace(self.memory, begun=one.version)
                    self.status(one, "uninstalling")
                    return todo
                if ok:
                    self.history = self.history if self.keeps else ()
                    if self.keeps:
                        self.status(one, "uninstalled")
                    self.memory, self.healthy = self.memory.without_release(), False
                else:
                    self.memory = self.memory.made(self.status(one, "failed"), 20)
            case Unlock(version):
                [one] = [old for old in self.history if old.version == version]
                assert one.pending or one.status == "uninstalling"
                self.memory = replace(self.memory.made(self.status(one, "failed"), 20), begun=0)
            case RunTests(version):
                self.memory = self.memory.tested(version, {"t": "Succeeded" if ok else "Failed"})
                self.healthy |= ok
                remedy = self.policy.install if self.memory.action == "install" else self.policy.upgrade
                if not ok and not remedy.ignores_tests:
                    self.memory, self.idle_s = self.memory.failed(), 0
            case Correct():
                self.drifted = not ok
            case Retry(after_s):
                assert after_s > 0
                self.idle_s += after_s
                self.untouched_s += after_s
            case Exhausted() | Nothing():
                if isinstance(todo, Nothing):
                    assert self.newest is not None
                    self.memory = self.memory.settled(self.newest.version)
                    self.healthy = True
        self.prune()
        return todo

    def rest(self) -> action.Action:
        """Go on, and let all go well, until there is nothing to do or no try left."""
        for _ in range(20):
            todo = self.act(ok=True)
            if isinstance(todo, Nothing | Exhausted):
                return todo
        raise AssertionError(f"it does not come to rest: {todo}, {self.history}, {self.memory}")

    def is_as_wished(self) -> bool:
        one = self.newest
        return (
            one is not None
            and one.status == "deployed"
            and (one.chart_version, digest_of(one.values)) == (self.wish.chart_version, self.wish.config_digest)
            and not (self.drifted and self.policy.corrects_drift)
        )


REMEDIES = st.builds(
    Remedy,
    st.integers(-1, 2),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, None, 60.0]),
)


class Lives(RuleBasedStateMachine):
    """Whatever happens to a release, it can be brought to where it should be."""

    @initialize(
        install=REMEDIES.map(lambda one: one._replace(uninstalls=True)),
        upgrade=REMEDIES,
        tests=st.booleans(),
        corrects=st.booleans(),
        limit=st.sampled_from([0, 1, 2, 5]),
        keeps=st.booleans(),
    )
    def begin(self, install, upgrade, tests, corrects, limit, keeps):
        self.world = World(Policy(install, upgrade, tests, corrects), limit, keeps)
        self.world.wish = WISH._replace(config_digest=digest_of({"a": 0}))

    @rule(ok=st.booleans())
    def goes_on(self, ok):
        self.world.act(ok=ok)

    @rule()
    def the_process_dies(self):
        self.world.act(ok=True, dies=True)

    @rule(number=st.integers(0, 3))
    def other_values_are_wished(self, number):
        world = self.world
        world.values = number
        world.wish = world.wish._replace(generation=world.wish.generation + 1, config_digest=digest_of({"a": number}))

    @rule(number=st.integers(0, 2))
    def another_version_is_wished(self, number):
        self.world.wish = self.world.wish._replace(chart_version=f"{number}.0.0")

    @rule()
    def it_is_asked_for(self):
        self.world.forced = True

    @rule()
    def it_is_asked_to_start_anew(self):
        self.world.memory = self.world.memory.forgiven()

    @rule()
    def an_object_drifts(self):
        self.world.drifted = True

    @rule()
    def tests_are_switched(self):
        self.world.policy = self.world.policy._replace(tests=not self.world.policy.tests)

    @rule(status=st.sampled_from(["deployed", "failed", "pending-upgrade", "superseded", "thinking"]))
    def somebody_else_upgrades(self, status):
        one = rev(self.world.next_version(), status, values={"a": 9})
        self.world.put(one)
        if status == "deployed":
            self.world.deploy(one)

    @precondition(lambda self: self.world.history)
    @rule()
    def a_record_vanishes(self):
        self.world.history = self.world.history[1:]

    @precondition(lambda self: self.world.history)
    @rule()
    def somebody_else_uninstalls(self):
        self.world.status(self.world.history[0], "uninstalled")
        self.world.healthy = False

    @rule()
    def time_passes(self):
        self.world.idle_s += 1000
        self.world.untouched_s += 1000

    @invariant()
    def it_can_always_come_to_rest_and_a_new_wish_or_a_request_always_leads_on(self):
        if not hasattr(self, "world"):
            return
        world = replace(self.world)
        if isinstance(world.rest(), Nothing):
            assert world.is_as_wished()
        for way_out in ("revision", "values", "reset", "force"):
            other = replace(world)
            match way_out:
                case "revision":
                    other.wish = other.wish._replace(chart_version="7.0.0")
                case "values":
                    other.values = 7
                    other.wish = other.wish._replace(config_digest=digest_of({"a": 7}))
                case "reset":
                    other.memory = other.memory.forgiven()
                case _:
                    other.forced = True
            assert isinstance(other.rest(), Nothing), way_out
            assert other.is_as_wished()


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
