"""What is on record before, during and after each action on a release; the cluster and its records are doubles."""

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from trimtab.api.helmrelease import HelmRelease
from trimtab.api.names import RECORD_OF, Reason
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Terminal, Transient
from trimtab.controllers import leaving
from trimtab.controllers.release import ActionFailed, Case, Outrun, Release
from trimtab.controllers.releasing import Course
from trimtab.controllers.rendering import Made
from trimtab.controllers.rollout import Hindered, Refused
from trimtab.helm import record
from trimtab.helm.memory import Memory, Seen, Wish
from trimtab.helm.output import Output
from trimtab.helm.policy import policy_of
from trimtab.helm.record import Hook, Info, Record, Status
from trimtab.helm.values import Values, digest_of
from trimtab.manifests.refs import Key, Ref
from trimtab.targets.contract import Effect, Outcome
from trimtab.targets.kubernetes.inventory import Entry

HOOKED = ("pre-install", "pre-delete", "post-delete")
VALUES = Values({}, digest_of({}))


def ref(name: str) -> Ref:
    return Ref("", "ConfigMap", "ns", name)


def rev(version: int, status: str = Status.DEPLOYED, manifest: str = "a") -> Record:
    """A revision; in these tests a manifest is the names of its objects."""
    chart = {"metadata": {"name": "app", "version": "1.0.0"}}
    labels = {RECORD_OF: f"u.v{version}"}
    info = Info(status=status)
    return Record(name="app", namespace="ns", version=version, info=info, chart=chart, manifest=manifest, labels=labels)


class Books:
    """A double of the records: what is in the cluster, and every write."""

    def __init__(self, history: Sequence[Record]) -> None:
        self.kept = {one.version: one for one in history}
        self.writes: list[tuple[str, int, str]] = []

    async def create(self, new: Record) -> None:
        self.writes.append(("create", new.version, new.status))
        self.kept[new.version] = new

    async def update(self, changed: Record) -> None:
        self.writes.append(("update", changed.version, changed.status))
        self.kept[changed.version] = changed

    async def delete(self, old: Record) -> None:
        self.writes.append(("delete", old.version, ""))
        del self.kept[old.version]

    @property
    def statuses(self) -> dict[int, str]:
        return {version: one.status for version, one in self.kept.items()}


class Ways:
    """A double of the rollout. `problems` are raised by the methods they are named for."""

    def __init__(self, problems: dict[str, Exception], there: Iterable[str] = ()) -> None:
        self.problems = problems
        self.there = frozenset(map(ref, there))
        self.removed: list[str] = []
        self.admitted: list[str] = []

    def _may(self, name: str) -> None:
        if name in self.problems:
            raise self.problems[name]

    async def prepare(self, manifest: str, _hooks: Any = ()) -> tuple[Any, ...]:
        return tuple(SimpleNamespace(ref=ref(name), gvk=SimpleNamespace(version="v1")) for name in manifest.split())

    async def judged(self, items: Any, **_: Any) -> tuple[Any, Any, Any]:
        self._may("judged")
        return items, None, ()

    async def present(self, _items: Any) -> frozenset[Ref]:
        return self.there

    async def apply(self, items: Any, _plan: Any, _judged: Any, _deadline: float, done: list[Outcome]) -> None:
        done += [Outcome(item.ref, Effect.CREATED) for item in items]
        self._may("apply")

    async def settle(self, *_: Any, **__: Any) -> None:
        self._may("settle")

    async def remove(self, entries: Iterable[Entry], *_: Any, **__: Any) -> list[Ref]:
        self.removed += sorted(entry.ref.name for entry in entries)
        self._may("remove")
        return []

    async def entries(self, records: Iterable[Record]) -> dict[Ref, Entry]:
        self._may("entries")
        return {ref(name): Entry(ref(name), "v1") for one in records for name in one.manifest.split()}

    async def define(self, *_: Any) -> None:
        self._may("define")

    async def admit(self, hooks: Sequence[Hook]) -> None:
        self.admitted += [hook.name for hook in hooks]
        self._may("admit")


class Around:
    """A course of one release with these records, whose chart renders the objects that `manifest` names."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *history: Record,
        manifest: str = "a",
        there: Iterable[str] = (),
        problems: dict[str, Exception] | None = None,
        **spec: Any,
    ) -> None:
        source = {"kind": "GitRepository", "name": "repo"}
        wish = {"interval": "1h", "chart": {"spec": {"chart": "app", "sourceRef": source}}, **spec}
        meta = {"name": "app", "namespace": "ns", "uid": "u", "generation": 1}
        hr = msgspec.convert({"metadata": meta, "spec": wish}, HelmRelease)
        release = Release.of(hr)
        tracker = SimpleNamespace(get=lambda _: None, forget=lambda *_: None)
        release.place = SimpleNamespace(target=SimpleNamespace(tracker=tracker))  # type: ignore[assignment]
        self.books, self.ways = Books(history), Ways(problems or {}, there)
        monkeypatch.setattr(leaving, "Rollout", lambda *_: self.ways)

        async def make(*_: Any, **__: Any) -> Made:
            return Made(Output(manifest, (), ""), (), {"metadata": {"name": "app", "version": "1.0.0"}}, VALUES)

        self.release = release
        case = Case(
            hr,
            release,
            None,  # type: ignore[arg-type]
            Key("ns", "app"),
            lambda: False,
            None,  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            VALUES,
            Wish(1, "app", "1.0.0", VALUES.digest),
            policy_of(hr.spec),
        )
        memory = Memory(seen=tuple(Seen(one.version) for one in history))
        rendering = SimpleNamespace(make=make)
        self.course = Course(case, self.books, rendering, SystemClock(), history, memory)  # type: ignore[arg-type]


async def test_a_revision_is_on_record_before_its_first_effect_and_then_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    around = Around(monkeypatch, manifest="a b")
    await around.course.install()
    assert around.books.writes == [("create", 1, "pending-install"), ("update", 1, "deployed")]
    assert set(around.release.inventory) == {ref("a"), ref("b")}


async def test_what_stood_before_is_superseded_and_what_it_alone_had_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    around = Around(monkeypatch, rev(1, manifest="a old"), manifest="a new")
    await around.course.upgrade()
    assert around.books.statuses == {1: "superseded", 2: "deployed"}
    assert around.ways.removed == ["old"]


@pytest.mark.parametrize(
    ("problem", "failures"),
    [(Refused("bad"), 1), (Terminal("BuildFailed", "bad"), 1), (Hindered("quota"), 0), (Transient("x", "busy"), 0)],
    ids=["refused", "unreadable", "in-the-way", "server"],
)
async def test_of_what_fails_before_any_effect_nothing_is_on_record_and_only_a_fault_is_counted(
    monkeypatch: pytest.MonkeyPatch, problem: Exception, failures: int
) -> None:
    around = Around(monkeypatch, rev(1), problems={"judged": problem})
    with pytest.raises(Transient) as caught:
        await around.course.upgrade()
    assert isinstance(caught.value, ActionFailed) == bool(failures)
    assert around.books.writes == []
    assert (around.course.memory.failures, around.course.memory.upgrade_failures) == (failures, failures)
    assert around.course.memory.attempt.generation == bool(failures)  # what was held up was not tried


@pytest.mark.parametrize("where", ["apply", "remove", "settle"])
async def test_what_is_in_the_way_interrupts_an_action_and_is_not_counted(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    around = Around(monkeypatch, rev(1, manifest="a old"), problems={where: Hindered("the server is busy")})
    with pytest.raises(Transient, match="the server is busy") as caught:
        await around.course.upgrade()
    assert not isinstance(caught.value, ActionFailed)
    assert around.books.statuses == {1: "deployed", 2: "failed"}
    assert around.books.kept[2].info.description == 'Upgrade "app" failed: interrupted: the server is busy'
    assert around.course.memory.failures == 0


async def test_a_failure_is_on_record_and_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    around = Around(monkeypatch, rev(1), problems={"settle": Refused("not healthy")})
    with pytest.raises(ActionFailed) as caught:
        await around.course.upgrade()
    assert caught.value.reason == Reason.UPGRADE_FAILED
    assert around.books.statuses == {1: "deployed", 2: "failed"}
    assert (around.course.memory.failures, around.course.memory.upgrade_failures) == (1, 1)


async def test_another_wish_interrupts_an_action_and_nobody_is_to_blame(monkeypatch: pytest.MonkeyPatch) -> None:
    around = Around(monkeypatch, problems={"settle": Outrun()})
    with pytest.raises(Outrun):
        await around.course.install()
    assert around.books.statuses == {1: "failed"}
    assert around.course.memory.failures == 0


@pytest.mark.parametrize("where", ["apply", "settle"])
async def test_only_what_an_action_has_created_itself_is_cleaned_up(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    around = Around(
        monkeypatch,
        rev(1),
        manifest="a taken new",
        there=["a", "taken"],
        problems={where: Refused("no")},
        upgrade={"cleanupOnFail": True},
    )
    with pytest.raises(ActionFailed):
        await around.course.upgrade()
    assert around.ways.removed == ["new"]


@pytest.mark.parametrize("problem", [Outrun(), Refused("held")], ids=["outrun", "refused"])
async def test_a_failure_is_on_record_whatever_comes_of_the_clean_up(
    monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    problems = {"settle": Refused("not healthy"), "remove": problem}
    around = Around(monkeypatch, rev(1), manifest="a new", problems=problems, upgrade={"cleanupOnFail": True})
    with pytest.raises(ActionFailed, match="not healthy"):
        await around.course.upgrade()
    assert around.books.statuses == {1: "deployed", 2: "failed"}
    assert around.course.memory.failures == 1


async def test_failures_leave_no_more_records_than_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    old = [rev(3, Status.FAILED), rev(2, Status.FAILED), rev(1)]
    around = Around(monkeypatch, *old, problems={"settle": Refused("no")}, maxHistory=2)
    with pytest.raises(ActionFailed):
        await around.course.upgrade()
    assert around.books.statuses == {1: "deployed", 4: "failed"}


async def test_a_record_that_alone_tells_of_an_object_stays_until_an_action_succeeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = [rev(3, Status.FAILED), rev(2, Status.FAILED, "a lonely"), rev(1)]
    problems: dict[str, Exception] = {"settle": Refused("no")}
    around = Around(monkeypatch, *old, problems=problems, maxHistory=2)
    with pytest.raises(ActionFailed):
        await around.course.upgrade()
    assert around.books.statuses == {1: "deployed", 2: "failed", 4: "failed"}
    problems.clear()
    await around.course.upgrade()
    assert "lonely" in around.ways.removed
    assert around.books.statuses == {2: "failed", 5: "deployed"}


async def test_a_rollback_makes_a_revision_of_what_was_good_and_its_failure_is_not_one_of_the_wish(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = rev(1, manifest="a old")
    problems: dict[str, Exception] = {"settle": Refused("no")}
    around = Around(monkeypatch, rev(2, Status.FAILED, "a new"), good, problems=problems)
    with pytest.raises(ActionFailed) as caught:
        await around.course.rollback(good)
    assert caught.value.reason == Reason.ROLLBACK_FAILED
    assert around.course.memory.failures == 0
    problems.clear()
    await around.course.rollback(good)
    assert around.books.statuses == {1: "superseded", 2: "failed", 3: "failed", 4: "deployed"}
    assert around.books.kept[4].manifest == "a old"
    assert set(around.ways.removed) == {"new"}


async def test_a_rollback_that_stood_is_still_told_when_superseding_what_stood_before_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good, around = rev(1), Around(monkeypatch, rev(2, Status.FAILED), rev(1))
    update = around.books.update

    async def hiccup(changed: Record) -> None:
        if changed.version == 1:
            raise Transient(Reason.STATE_ERROR, "a hiccup")
        await update(changed)

    monkeypatch.setattr(around.books, "update", hiccup)
    with pytest.raises(Transient, match="hiccup"):
        await around.course.rollback(good)
    monkeypatch.setattr(around.books, "update", update)
    assert await around.course.catch_up() == Reason.ROLLBACK_SUCCEEDED
    assert around.books.statuses == {1: "superseded", 2: "failed", 3: "deployed"}


async def test_what_an_action_left_that_did_not_end_is_said_to_have_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    around = Around(monkeypatch, rev(1, Status.PENDING_UPGRADE))
    await around.course.unlock(1, "nobody is at it")
    assert around.books.statuses == {1: "failed"}
    assert around.course.memory.failures == 0


async def test_an_uninstall_is_on_record_while_it_lasts_and_the_newest_record_goes_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    around = Around(monkeypatch, rev(2, manifest="a b"), rev(1, Status.SUPERSEDED))
    await around.course.uninstall()
    assert around.books.writes == [("update", 2, "uninstalling"), ("delete", 1, ""), ("delete", 2, "")]
    assert around.ways.removed == ["a", "b"]
    assert around.course.history == []


async def test_an_uninstall_asks_about_all_its_hooks_before_anything_is_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hooks = [Hook(name=event, kind="Job", path="t.yaml", manifest="", events=(event,)) for event in HOOKED]
    record = msgspec.structs.replace(rev(1), hooks=tuple(hooks))
    around = Around(monkeypatch, record, problems={"admit": Transient(Reason.VALIDATION_FAILED, "outside")})
    with pytest.raises(Transient, match="outside"):
        await around.course.uninstall()
    assert around.ways.admitted == ["pre-delete", "post-delete"]
    assert (around.ways.removed, around.books.statuses) == ([], {1: "uninstalling"})


async def test_what_is_known_of_a_release_without_records_is_swept_up_without_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    around = Around(monkeypatch)
    around.release.inventory = {ref("a"): Entry(ref("a"), "v1", "1")}
    await around.course.sweep()
    assert (around.ways.removed, around.books.writes, around.release.inventory) == (["a"], [], {})


@pytest.mark.parametrize(("seen", "told"), [((), Reason.UPGRADE_SUCCEEDED), ((Seen(2),), None)], ids=["new", "told"])
async def test_a_success_that_nobody_was_told_of_is_told_once_and_what_stood_before_is_superseded(
    monkeypatch: pytest.MonkeyPatch, seen: tuple[Seen, ...], told: Reason | None
) -> None:
    newest = msgspec.structs.replace(
        rev(2),
        info=Info(status=Status.DEPLOYED, first_deployed="2026-01-01T00:00:00Z", last_deployed="2026-01-02T00:00:00Z"),
    )
    around = Around(monkeypatch, newest, rev(1))
    around.course.memory = Memory(seen=seen, begun=2)
    assert await around.course.catch_up() == told
    assert await around.course.catch_up() is None
    assert around.books.statuses == {1: "superseded", 2: "deployed"}


async def test_the_records_of_an_uninstall_stay_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    around = Around(monkeypatch, rev(1), uninstall={"keepHistory": True})
    await around.course.uninstall()
    assert around.books.statuses == {1: "uninstalled"}
    assert around.books.kept[1].info.deleted


@pytest.mark.parametrize(
    "problems",
    [{"remove": Refused("held by f")}, {"remove": Hindered("frozen")}, {"entries": Terminal("BuildFailed", "no YAML")}],
    ids=["held", "in-the-way", "unreadable"],
)
async def test_an_uninstall_that_fails_stays_on_record_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, problems: dict[str, Exception]
) -> None:
    around = Around(monkeypatch, rev(1), problems=problems)
    with pytest.raises(ActionFailed) as caught:
        await around.course.uninstall()
    assert caught.value.reason == Reason.UNINSTALL_FAILED
    assert around.books.statuses == {1: "uninstalling"}
    problems.clear()
    await around.course.uninstall()
    assert around.books.kept == {}


def test_of_two_records_the_newer_one_is_never_the_surplus() -> None:
    assert record.surplus([rev(2, Status.FAILED), rev(1)], 1) == ()
