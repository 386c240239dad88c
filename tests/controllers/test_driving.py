"""One action after the other until a release stands: what is counted, honoured, and left alone. Actions are doubles."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from trimtab.api.helmrelease import HelmRelease
from trimtab.api.names import FORCE_AT, RECORD_OF, RESET_AT, Reason
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Transient
from trimtab.controllers import driving
from trimtab.controllers.driving import Driving, asked
from trimtab.controllers.release import ActionFailed, Case, Outrun, Release, failed
from trimtab.controllers.releaserecords import Shelf
from trimtab.controllers.releasescribe import ReleaseScribe
from trimtab.helm import record
from trimtab.helm.memory import Memory, Seen, Wish
from trimtab.helm.observed import Making, snapshot
from trimtab.helm.policy import policy_of
from trimtab.helm.record import Info, Record, Status
from trimtab.helm.values import Values, digest_of
from trimtab.manifests.conditions import find
from trimtab.manifests.refs import Key, Ref
from trimtab.runtime.controller import Again
from trimtab.targets.kubernetes.inventory import Entry

UID, NOW = "u", "2026-01-01T00:00:00Z"
BODY = {"a": 1}


def rev(version: int, status: str = Status.DEPLOYED, *, ours: bool = True, chart: str = "1.0.0") -> Record:
    labels = {RECORD_OF: f"{UID}.v{version}"} if ours else {}
    stored = {"metadata": {"name": "app", "version": chart}}
    return Record(
        name="app", namespace="ns", version=version, info=Info(status=status), chart=stored, config=BODY, labels=labels
    )


class Acts:
    """A double of what is done: each action makes the record that the real one makes, or fails as it is told.

    `fails` names the action that fails, and with what.
    """

    fails: dict[str, Exception]
    done: list[str]

    def __init__(self, case: Any, records: Any, *rest: Any) -> None:
        self.case = case
        self.storage: str = records.namespace
        self.history: list[Record] = list(rest[-2])
        self.memory: Memory = rest[-1]

    async def _act(self, name: str, made: Record, action: Any = None) -> None:
        self.done.append(name)
        problem = self.fails.get(name)
        self.memory = self.memory.starting(action, self.case.wish, made.version)
        if isinstance(problem, ActionFailed):
            made = record.settled(made, Status.FAILED, "")
        elif problem is not None:
            raise problem
        else:
            self.history = [record.settled(one, Status.SUPERSEDED, "") for one in self.history]
        self.history.insert(0, made)
        self.memory = self.memory.made(made, 20)
        if problem is not None:
            self.memory = self.memory.failed() if action else self.memory
            raise problem
        if action:
            self.memory = self.memory.succeeded(self.case.wish, made.version, untested=False)

    def _next(self) -> int:
        return self.history[0].version + 1 if self.history else 1

    async def install(self) -> None:
        await self._act("install", rev(self._next()), "install")

    async def upgrade(self, *, forced: bool = False) -> None:
        await self._act("forced upgrade" if forced else "upgrade", rev(self._next()), "upgrade")

    async def rollback(self, to: Record) -> None:
        back = msgspec.structs.replace(to, version=self._next(), info=Info(status=Status.DEPLOYED))
        await self._act(f"rollback to {to.version}", back)

    async def catch_up(self) -> Reason | None:
        return None

    async def sweep(self) -> None:
        self.done.append("sweep")

    async def uninstall(self) -> None:
        self.done.append("uninstall")
        if (problem := self.fails.get("uninstall")) is not None:
            raise problem
        self.history, self.memory = [], self.memory.without_release()

    async def unlock(self, version: int, _why: str) -> None:
        self.done.append(f"unlock {version}")
        [stuck] = [one for one in self.history if one.version == version]
        bad = record.settled(stuck, Status.FAILED, "")
        self.history = [bad if one is stuck else one for one in self.history]
        self.memory = self.memory.made(bad, 20).interrupted()


class Quiet:
    """A double of the watch: no object has drifted."""

    async def look(self, *_: Any) -> bool:
        return False


class Books:
    """A double of the records in the cluster."""

    def __init__(self, history: Sequence[Record], touched_at: float = 0.0, namespace: str = "ns") -> None:
        self.namespace = namespace
        self.shelf = Shelf(tuple(history), touched_at)

    async def read(self) -> Shelf:
        return self.shelf


class Around:
    """One release, and the scribe that drafts its status; nothing is written anywhere."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, annotations: Any = None, **spec: Any) -> None:
        source = {"kind": "GitRepository", "name": "repo"}
        wish = {"interval": "1h", "chart": {"spec": {"chart": "app", "sourceRef": source}}, **spec}
        meta = {"name": "app", "namespace": "ns", "uid": UID, "generation": 1, "annotations": annotations or {}}
        self.hr = msgspec.convert({"metadata": meta, "spec": wish}, HelmRelease)
        self.release = Release.of(self.hr)
        self.fails: dict[str, Exception] = {}
        self.done: list[str] = []
        monkeypatch.setattr(driving, "Course", type("Course", (Acts,), {"fails": self.fails, "done": self.done}))
        monkeypatch.setattr(driving, "Leaving", type("Leaving", (Acts,), {"fails": self.fails, "done": self.done}))

        async def write(_self: Any, _hr: Any, release: Release) -> bool:
            release.status = release.draft
            return True

        monkeypatch.setattr(ReleaseScribe, "write", write)
        recorder = SimpleNamespace(record=lambda *_: None)
        scribe = ReleaseScribe(None, recorder, SystemClock())  # type: ignore[arg-type]
        self.driving = Driving(scribe, None, Quiet(), SystemClock())  # type: ignore[arg-type]
        self.case = Case(
            self.hr,
            self.release,
            None,  # type: ignore[arg-type]
            Key("ns", "app"),
            lambda: False,
            None,  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            Values(BODY, digest_of(BODY)),
            Wish(1, "app", "1.0.0", digest_of(BODY)),
            policy_of(self.hr.spec),
        )

    async def drive(self, *history: Record, touched_at: float = 0.0) -> Again | None:
        return await self.driving.drive(self.case, Books(history, touched_at))  # type: ignore[arg-type]

    async def part(self, *history: Record, bare: bool = False) -> None:
        await self.driving.part(self.case, Books(history), bare=bare)  # type: ignore[arg-type]


async def test_a_release_that_is_not_there_is_installed_and_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    around = Around(monkeypatch)
    assert await around.drive() is None
    assert around.done == ["install"]
    released = find(around.release.draft.conditions, "Released")
    assert released is not None
    assert (released.status, released.reason) == ("True", "InstallSucceeded")


async def test_a_failure_is_counted_once_and_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    around = Around(monkeypatch, install={"remediation": {"retries": 3}})
    around.fails["install"] = failed(Reason.INSTALL_FAILED, "no")
    with pytest.raises(ActionFailed, match="no"):
        await around.drive()
    assert around.done == ["install", "uninstall"]
    assert (around.release.draft.failures, around.release.draft.install_failures) == (1, 1)


async def test_without_a_try_left_nothing_is_done_until_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    around = Around(monkeypatch)
    around.fails["install"] = failed(Reason.INSTALL_FAILED, "no")
    assert await around.drive() == Again(3600)
    assert around.done == ["install"]
    stalled = find(around.release.status.conditions, "Stalled")
    assert stalled is not None
    assert stalled.reason == "RetriesExceeded"
    assert await around.drive(record.settled(rev(1), Status.FAILED, "")) == Again(3600)
    assert around.done == ["install"]


async def test_a_failed_upgrade_is_rolled_back_to_what_stood(monkeypatch: pytest.MonkeyPatch) -> None:
    around = Around(monkeypatch, upgrade={"remediation": {"retries": 1}})
    around.case = replace(around.case, wish=around.case.wish._replace(chart_version="2.0.0"))
    around.fails["upgrade"] = failed(Reason.UPGRADE_FAILED, "no")
    with pytest.raises(ActionFailed, match="no"):
        await around.drive(rev(1))
    assert around.done == ["upgrade", "rollback to 1"]
    assert around.release.draft.upgrade_failures == 1


@pytest.mark.parametrize(
    "problem",
    [Transient(Reason.INSTALL_FAILED, "quota"), Outrun()],
    ids=["in-the-way", "outrun"],
)
async def test_what_is_no_failure_is_not_counted(monkeypatch: pytest.MonkeyPatch, problem: Exception) -> None:
    around = Around(monkeypatch)
    around.fails["install"] = problem
    with pytest.raises(type(problem)):
        await around.drive()
    assert around.release.draft.failures == 0
    assert find(around.release.draft.conditions, "Released") is None


async def test_what_a_process_left_that_died_is_unlocked_and_done_again_uncounted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    around = Around(monkeypatch)
    assert await around.drive(rev(1, Status.PENDING_INSTALL), touched_at=SystemClock().now().timestamp()) is None
    assert around.done == ["unlock 1", "upgrade"]
    assert around.release.draft.failures == 0


async def test_what_somebody_else_has_begun_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    around = Around(monkeypatch)
    again = await around.drive(
        rev(1, Status.PENDING_INSTALL, ours=False), touched_at=SystemClock().now().timestamp() - 100
    )
    assert again is not None
    assert 150 < again.after <= 200
    assert around.done == []


async def test_a_forced_upgrade_is_honoured_when_it_was_made_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"reconcile.fluxcd.io/requestedAt": NOW, FORCE_AT: NOW}
    around = Around(monkeypatch, annotations=said)
    assert asked(around.case)
    assert await around.drive(rev(1)) is None
    assert around.done == ["forced upgrade"]
    assert around.release.draft.last_handled_force_at == NOW
    around.release.status = around.release.draft
    assert not asked(around.case)


@pytest.mark.parametrize("counted", [True, False], ids=["failed", "in-the-way"])
async def test_a_forced_upgrade_that_fails_was_made_and_one_that_was_held_up_was_not(
    monkeypatch: pytest.MonkeyPatch, counted: bool
) -> None:
    said = {"reconcile.fluxcd.io/requestedAt": NOW, FORCE_AT: NOW}
    around = Around(monkeypatch, annotations=said, upgrade={"remediation": {"retries": 3}})
    words = (Reason.UPGRADE_FAILED, "no")
    around.fails["forced upgrade"] = failed(*words) if counted else Transient(*words)
    if counted:
        await around.drive(rev(1))
    else:
        with pytest.raises(Transient):
            await around.drive(rev(1))
    assert (around.release.draft.last_handled_force_at == NOW) is counted


async def test_a_reset_gives_back_the_tries_and_is_honoured_with_that(monkeypatch: pytest.MonkeyPatch) -> None:
    around = Around(monkeypatch)
    around.fails["install"] = failed(Reason.INSTALL_FAILED, "no")
    await around.drive()
    around.fails.clear()
    said = {"reconcile.fluxcd.io/requestedAt": NOW, RESET_AT: NOW}
    hr = msgspec.structs.replace(around.hr, metadata=msgspec.structs.replace(around.hr.metadata, annotations=said))
    around.case = replace(around.case, hr=hr)
    assert await around.drive(record.settled(rev(1), Status.FAILED, "")) is None
    assert around.done == ["install", "upgrade"]
    assert around.release.draft.last_handled_reset_at == NOW


@pytest.mark.parametrize(
    "annotations", [{}, {"reconcile.fluxcd.io/requestedAt": NOW, RESET_AT: NOW}], ids=["", "reset"]
)
async def test_records_that_are_to_be_elsewhere_are_found_again_until_their_release_is_gone(
    monkeypatch: pytest.MonkeyPatch, annotations: dict[str, str]
) -> None:
    around = Around(monkeypatch, storageNamespace="new", annotations=annotations)
    old, anew = rev(1), Books([], namespace="new")
    around.release.draft = msgspec.structs.replace(
        around.release.draft, history=(snapshot(old, Seen(1), Making()),), storage_namespace="old"
    )
    monkeypatch.setattr(driving, "ReleaseRecords", lambda _client, _clock, where, _name: Books([old], namespace=where))
    around.fails["uninstall"] = failed(Reason.UNINSTALL_FAILED, "no")
    for _ in range(2):
        with pytest.raises(ActionFailed):
            await around.driving.drive(around.case, anew)  # type: ignore[arg-type]
        assert around.release.draft.storage_namespace == "old"
    around.fails.clear()
    assert await around.driving.drive(around.case, anew) is None  # type: ignore[arg-type]
    assert around.done == ["uninstall", "uninstall", "uninstall", "install"]
    assert around.release.draft.storage_namespace == "new"


async def test_a_release_that_goes_is_uninstalled_if_any_revision_of_it_is_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    around = Around(monkeypatch)
    await around.part(rev(2, ours=False), rev(1))
    assert around.done == ["uninstall"]


@pytest.mark.parametrize(
    "history",
    [(), (rev(1, ours=False),), (rev(1, Status.UNINSTALLED),)],
    ids=["nothing", "of-somebody-else", "uninstalled"],
)
async def test_a_release_of_somebody_else_is_left_to_them(
    monkeypatch: pytest.MonkeyPatch, history: tuple[Record, ...]
) -> None:
    around = Around(monkeypatch)
    await around.part(*history)
    assert around.done == []


@pytest.mark.parametrize(
    ("history", "bare", "known", "done"),
    [
        ((rev(1),), True, True, ["sweep"]),
        ((), False, True, ["sweep"]),
        ((), False, False, []),
        ((rev(1),), True, False, []),
        ((rev(1, ours=False),), True, True, []),
    ],
    ids=["namespace-goes", "records-gone", "nothing", "nothing-known", "of-somebody-else"],
)
async def test_without_records_what_is_known_to_be_there_goes(
    monkeypatch: pytest.MonkeyPatch, history: tuple[Record, ...], bare: bool, known: bool, done: list[str]
) -> None:
    around = Around(monkeypatch)
    one = Ref("", "ConfigMap", "ns", "a")
    around.release.inventory = {one: Entry(one, "v1", "1")} if known else {}
    await around.part(*history, bare=bare)
    assert around.done == done


async def test_an_action_is_told_without_the_values_of_its_records(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    around = Around(monkeypatch, upgrade={"remediation": {"retries": 1}})
    around.case = replace(around.case, wish=around.case.wish._replace(chart_version="2.0.0"))
    around.fails["upgrade"] = failed(Reason.UPGRADE_FAILED, "no")
    canary = msgspec.structs.replace(rev(1), manifest="hunter2-canary", config={"password": "hunter2-canary"})
    with caplog.at_level("INFO"), pytest.raises(ActionFailed):
        await around.drive(canary)
    assert "Rollback(to=Record(ns/app.v1" in caplog.text
    assert "hunter2" not in caplog.text
