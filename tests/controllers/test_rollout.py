"""Objects on their way in and out: what a refusal is to blame on, what is tried again, and what a record has on it."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from trimtab.api.helmrelease import HelmRelease
from trimtab.api.names import DriftMode, Reason
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Transient
from trimtab.controllers.charting import PREFIX
from trimtab.controllers.release import Outrun, Release, Site
from trimtab.controllers.rollout import Hindered, Refused, Rollout, passing, since_deployed
from trimtab.health.verdict import State, Verdict
from trimtab.helm.record import Hook, Info, Record
from trimtab.kube.client import Client
from trimtab.manifests.refs import Gvk, Key, Manifest, Origin, Ref
from trimtab.targets.contract import Effect, Outcome, Plan
from trimtab.targets.kubernetes import gate
from trimtab.targets.kubernetes.desired import Desired, Owner, prepare
from trimtab.targets.kubernetes.inventory import Entry

CONFIG_MAP = Gvk("", "v1", "ConfigMap")
SOON = 1e12


class Hurried(SystemClock):
    """A clock by which a pause between two tries has no length; `slept` has the lengths they should have had."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class Target:
    """A double of the cluster's target: it answers what it is given, one list of outcomes per call."""

    def __init__(self, *answers: list[Outcome], judged: list[gate.Judgement] | None = None) -> None:
        self.answers = list(answers)
        self.judged = judged or []
        self.rehearsals = 0
        self.asked: list[Any] = []
        self.forgotten: list[Ref] = []
        self.tracker = SimpleNamespace(forget=lambda ref, _: self.forgotten.append(ref))

    def forgive(self, app: Key) -> None:
        self.asked.append(("forgive", app))

    async def observe(self, wish: Any) -> Any:
        return wish

    def plan(self, wish: Any, _observed: Any) -> Any:
        return Plan((), ())

    async def judge(self, *_: Any) -> list[gate.Judgement]:
        self.rehearsals += 1
        return self.judged

    def verdict(self, _ref: Ref) -> Verdict:
        return Verdict(State.Current)

    async def converge(self, *asked: Any) -> AsyncIterator[Outcome]:
        self.asked.append(asked)
        for one in self.answers.pop(0):
            yield one

    async def delete(self, _wish: Any, entries: Any, **_: Any) -> AsyncIterator[Outcome]:
        self.asked.append([entry.ref.name for entry in entries])
        for one in self.answers.pop(0):
            yield one


def site(target: Any, client: Any = None, *, outdated: bool = False, refused: str = "-") -> Site:
    source = {"kind": "GitRepository", "name": "repo"}
    spec = {"interval": "1h", "chart": {"spec": {"chart": "app", "sourceRef": source}}}
    hr = msgspec.convert({"metadata": {"name": "app", "namespace": "ns", "uid": "u"}, "spec": spec}, HelmRelease)
    release = Release.of(hr)
    release.place = SimpleNamespace(  # type: ignore[assignment]
        target=target, cluster="c", client=client, protected="", home=True
    )

    async def admit(items: Any) -> None:
        if bad := [str(item.ref) for item in items if item.ref.namespace == refused]:
            raise Transient(Reason.VALIDATION_FAILED, f"{bad} is outside")

    return Site(hr, release, client, Key("ns", "app"), lambda: outdated, admit)


def rollout(*answers: list[Outcome], **options: Any) -> tuple[Rollout, Target]:
    target = Target(*answers, judged=options.pop("judged", None))
    return Rollout(site(target, **options), Hurried()), target


def slept(way: Rollout) -> list[float]:
    assert isinstance(way._clock, Hurried)
    return way._clock.slept


def ref(name: str) -> Ref:
    return Ref("", "ConfigMap", "ns", name)


def item(name: str, namespace: str = "ns") -> Desired:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}}
    owner = Owner(PREFIX, Key("ns", "app"), release=Key("ns", "app"))
    return prepare([Manifest(body, Origin("t.yaml", 1))], owner, namespaced={}, protected_namespace="")[0]


def record(version: int, status: str) -> Record:
    return Record(name="app", namespace="ns", version=version, info=Info(status=status))


@pytest.mark.parametrize(
    ("message", "transient", "blameless"),
    [
        ("the server is busy", True, True),
        ('services "s" is forbidden: exceeded quota: q, requested: count/services=1', False, True),
        ('configmaps is forbidden: User "u" cannot patch resource "configmaps"', True, True),
        ("spec.ports[0].port: Invalid value: 0", False, False),
        ('admission webhook "w" denied the request: no', True, False),
        (
            "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
            True,
            False,
        ),
    ],
    ids=["busy", "quota", "rights", "invalid", "webhook", "policy"],
)
def test_only_what_the_wish_is_to_blame_for_counts_against_it(message: str, transient: bool, blameless: bool) -> None:
    assert passing(message, transient=transient) is blameless


@pytest.mark.parametrize(
    ("transient", "kind"), [(True, Hindered), (False, Refused)], ids=["in-the-way", "its-own-fault"]
)
async def test_a_refusal_before_anything_is_written_says_whose_fault_it_is(transient: bool, kind: type) -> None:
    way, _ = rollout(judged=[gate.Refused(item("a"), "no", transient), gate.Passed(item("b"))])
    with pytest.raises(Refused, match="nothing was applied") as caught:
        await way.judged([item("a"), item("b")], force=False, foreign=True, leaving=())
    assert type(caught.value) is kind


async def test_objects_that_were_refused_and_are_not_there_are_kept_in_no_memory() -> None:
    way, target = rollout(judged=[gate.Refused(item("a"), "no", False), gate.Passed(item("b")), gate.Passed(item("c"))])
    way._site.release.inventory = {ref("b"): Entry(ref("b"), "v1", "1")}
    way._site.release.items = (item("c"),)
    with pytest.raises(Refused):
        await way.judged([item("a"), item("b"), item("c")], force=False, foreign=True, leaving=())
    assert target.forgotten == [ref("a")]


async def test_one_object_that_is_at_fault_is_enough() -> None:
    way, _ = rollout(judged=[gate.Refused(item("a"), "busy", True), gate.Refused(item("b"), "bad", False)])
    with pytest.raises(Refused, match="2 objects were refused") as caught:
        await way.judged([item("a"), item("b")], force=False, foreign=True, leaving=())
    assert type(caught.value) is Refused


async def test_what_was_applied_is_known_also_where_another_object_failed() -> None:
    outcomes = [Outcome(ref("a"), Effect.CREATED), Outcome(ref("b"), Effect.FAILED, "bad", transient=False)]
    way, _ = rollout(outcomes)
    done: list[Outcome] = []
    with pytest.raises(Refused, match="bad"):
        await way.apply(way.wish([]), Plan((), ()), (), SOON, done)
    assert [outcome.effect for outcome in done] == [Effect.CREATED, Effect.FAILED]


async def test_a_server_that_does_not_answer_a_write_is_in_the_way_and_no_fault() -> None:
    way, target = rollout(*[[Outcome(ref("a"), Effect.FAILED, "the server cannot be reached")] for _ in range(4)])
    with pytest.raises(Hindered):
        await way.apply(way.wish([]), Plan((), ()), (), SOON, [])
    assert (len(target.asked), slept(way)) == (4, [0.5, 1.0, 2.0])


async def test_a_write_that_fails_for_a_moment_is_made_again_within_the_action() -> None:
    hiccup = [Outcome(ref("a"), Effect.CREATED), Outcome(ref("b"), Effect.FAILED, "the server cannot be reached")]
    way, _ = rollout(hiccup, [Outcome(ref("b"), Effect.CREATED)])
    done: list[Outcome] = []
    await way.apply(way.wish([]), Plan((), ()), (), SOON, done)
    assert [outcome.ref.name for outcome in done if outcome.effect is Effect.CREATED] == ["a", "b"]
    assert slept(way) == [0.5]


@pytest.mark.parametrize(
    ("message", "transient", "tries"),
    [("busy", True, 4), ('admission webhook "w" denied the request: no', True, 1), ("bad", False, 1)],
    ids=["busy", "denied", "invalid"],
)
async def test_only_a_refusal_that_may_pass_is_asked_for_again(message: str, transient: bool, tries: int) -> None:
    way, target = rollout(judged=[gate.Refused(item("a"), message, transient)])
    with pytest.raises(Refused):
        await way.judged([item("a")], force=False, foreign=True, leaving=())
    assert target.rehearsals == tries


async def test_another_wish_ends_the_tries_for_the_one_before() -> None:
    way, target = rollout([Outcome(ref("a"), Effect.FAILED, "the server cannot be reached")], outdated=True)
    with pytest.raises(Outrun):
        await way.apply(way.wish([]), Plan((), ()), (), SOON, [])
    assert len(target.asked) == 1


async def test_an_object_that_changes_under_its_deletion_is_deleted_all_the_same() -> None:
    changed = [
        Outcome(ref("a"), Effect.FAILED, "it changed while it was being deleted"),
        Outcome(ref("b"), Effect.DELETED),
    ]
    way, target = rollout(changed, [Outcome(ref("a"), Effect.DELETED)])
    await way.remove([Entry(ref("a"), "v1"), Entry(ref("b"), "v1")], SOON, wait=False, propagation="Background")
    assert (target.asked, slept(way)) == ([["a", "b"], ["a"]], [0.5])


async def test_a_deletion_that_is_refused_again_and_again_is_told_and_is_no_fault_of_the_wish() -> None:
    way, target = rollout(*[[Outcome(ref("a"), Effect.FAILED, "deletions are frozen")] for _ in range(4)])
    with pytest.raises(Hindered, match="deletions are frozen"):
        await way.remove([Entry(ref("a"), "v1")], SOON, wait=False, propagation="Background")
    assert len(target.asked) == 4


async def test_who_does_not_wait_leaves_what_is_on_its_way_out() -> None:
    way, target = rollout(
        [Outcome(ref("a"), Effect.WAITING, "waits for f"), Outcome(ref("b"), Effect.RELEASED, "not ours")]
    )
    released = await way.remove(
        [Entry(ref("a"), "v1"), Entry(ref("b"), "v1")], SOON, wait=False, propagation="Background"
    )
    assert (released, len(target.asked)) == ([ref("b")], 1)


async def test_a_wait_ends_with_its_time_and_names_what_was_waited_for() -> None:
    way, _ = rollout([Outcome(ref("a"), Effect.WAITING, "waits for f")])
    with pytest.raises(Refused, match="timed out waiting for ConfigMap/ns/a: waits for f"):
        await way.remove([Entry(ref("a"), "v1")], 0.0, wait=True, propagation="Background")


async def test_a_wait_ends_when_the_wish_is_another_one() -> None:
    way, _ = rollout([Outcome(ref("a"), Effect.WAITING, "waits for f")], outdated=True)
    with pytest.raises(Outrun):
        await way.remove([Entry(ref("a"), "v1")], SOON, wait=True, propagation="Background")


def test_what_is_on_record_counts_as_applied_though_its_uid_is_not_known() -> None:
    way, _ = rollout()
    wish = way.wish([item("a"), item("b")], drift=DriftMode.ALERT, applied=True)
    assert all(entry.uid for entry in wish.inventory.values())
    assert set(wish.inventory) == {ref("a"), ref("b")}
    assert way.wish([item("a")]).inventory == {}


@pytest.mark.parametrize(
    ("statuses", "versions"),
    [
        (["deployed", "superseded"], [2]),
        (["failed", "deployed", "superseded"], [3, 2]),
        (["pending-upgrade", "failed", "deployed"], [3, 2]),
        (["failed", "uninstalled", "deployed"], [3]),
        (["failed", "failed"], [2, 1]),
        (["uninstalling", "superseded"], [2, 1]),
        ([], []),
    ],
    ids=["stands", "failed-upgrade", "tried-again", "after-an-uninstall", "never-stood", "half-gone", "nothing"],
)
def test_objects_may_be_there_of_all_records_since_the_last_that_stood(
    statuses: list[str], versions: list[int]
) -> None:
    history = [record(len(statuses) - place, status) for place, status in enumerate(statuses)]
    if statuses[:1] == ["pending-upgrade"]:
        versions = [3, 2, 1]
    assert [one.version for one in since_deployed(history)] == versions


async def test_what_is_there_is_told_whoever_made_it(client: Client, home: str) -> None:
    await client.create(await client.discovery.find(CONFIG_MAP), {"metadata": {"name": "a"}}, home)
    way, _ = rollout(client=client)
    assert await way.present([item("a", home), item("b", home)]) == {item("a", home).ref}


async def test_of_a_kind_that_the_chart_itself_defines_nothing_is_there_yet(client: Client, home: str) -> None:
    body = {"apiVersion": "nobody.example/v1", "kind": "Thing", "metadata": {"name": "a", "namespace": home}}
    owner = Owner(PREFIX, Key("ns", "app"), release=Key("ns", "app"))
    things = prepare([Manifest(body, Origin("t.yaml", 1))], owner, namespaced={}, protected_namespace="")
    way, _ = rollout(client=client)
    assert await way.present(things) == frozenset()
    await way.judged(things, force=False, foreign=False, leaving=())


async def test_what_is_there_and_of_no_release_is_not_taken_where_that_is_forbidden(client: Client, home: str) -> None:
    await client.create(await client.discovery.find(CONFIG_MAP), {"metadata": {"name": "a"}}, home)
    way, _ = rollout(client=client)
    with pytest.raises(Refused, match=f"ConfigMap/{home}/a .of no release.") as caught:
        await way.judged([item("a", home), item("b", home)], force=False, foreign=False, leaving=())
    assert type(caught.value) is Refused


async def test_hooks_of_a_record_go_only_where_the_objects_of_the_release_may(client: Client, home: str) -> None:
    manifest = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: h, namespace: {home}}}\n"
    hook = Hook(name="h", kind="ConfigMap", path="t.yaml", manifest=manifest, events=("pre-delete",))
    way, _ = rollout(client=client, refused=home)
    with pytest.raises(Transient, match="is outside"):
        await way.admit([hook])
    way, _ = rollout(client=client)
    await way.admit([hook])


async def test_a_namespace_is_made_only_where_that_is_allowed(client: Client, namespace: Any) -> None:
    name = namespace()
    kind = Gvk("", "v1", "Namespace")

    async def denied(items: Any) -> None:
        raise Transient(Reason.VALIDATION_FAILED, f"{[item.ref.name for item in items]} is outside")

    confined = site(Target(), client)
    way = Rollout(Site(confined.hr, confined.release, client, confined.of, confined.outdated, denied), SystemClock())
    with pytest.raises(Transient, match=f"{name}.*is outside"):
        await way.create_namespace(name)
    way, _ = rollout(client=client)
    await way.create_namespace(name)
    await way.create_namespace(name)
    assert (await client.get(await client.discovery.find(kind), name))["metadata"]["labels"]["name"] == name
