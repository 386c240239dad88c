"""States by what is live: opened where no event told of them, closed when they are over, also after a restart."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from trimtab.kube.client import Client
from trimtab.kube.errors import Forbidden, ServerError, Unreachable
from trimtab.manifests.refs import Gvk
from trimtab.notify import record
from trimtab.notify.event import Event
from trimtab.notify.journal import Journal, StoryRow
from trimtab.notify.meaning import Effect, Topic, meaning
from trimtab.notify.standing import USUAL, Live, Patience, event_of, states
from trimtab.notify.story import Open, Story, write
from trimtab.notify.watching import Watching

NOW = datetime(2026, 11, 26, 22, 0, tzinfo=UTC)
AGO = "2026-11-26T20:00:00Z"
SHOP = "Kustomization/apps/shop"


def ready(status: str, reason: str = "BuildFailed", since: str = AGO, kind: str = "Ready") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": f"of {reason}", "lastTransitionTime": since}


def live(*conditions: dict[str, Any], kind: str = "Kustomization", suspend: bool = False, **status: Any) -> Live:
    body = {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": kind,
        "metadata": {"name": "shop", "namespace": "apps", "creationTimestamp": AGO},
        "spec": {"suspend": suspend},
        "status": {"conditions": conditions, **status},
    }
    return msgspec.convert(body, Live)


def drift(answer: str, seen: str, name: str = "web") -> dict[str, Any]:
    field = {"path": "spec.replicas", "found": "5", "declared": "2"}
    return {
        "object": f"Deployment/apps/{name}",
        "change": "changed",
        "fields": [field],
        "manager": "kubectl",
        "changedAt": seen,
        "seenAt": seen,
        "answer": answer,
    }


@pytest.mark.parametrize(
    ("one", "topics"),
    [
        (live(ready("True", "ReconciliationSucceeded")), set()),
        (live(ready("False")), {Topic.FAILURE}),
        (live(ready("False", "GitOperationFailed"), kind="GitRepository"), {Topic.SOURCE}),
        (live(ready("False", "VerificationError"), kind="GitRepository"), {Topic.REVISION_HELD}),
        (live(ready("Unknown", "Progressing")), {Topic.UNKNOWN}),
        (live(), {Topic.UNKNOWN}),
        (live(ready("True"), ready("True", "PruneHeld", kind="PruneHeld")), {Topic.PRUNE_HELD}),
        (live(ready("False"), ready("True", "x", kind="PruneHeld")), {Topic.FAILURE, Topic.PRUNE_HELD}),
        (live(ready("False"), suspend=True), set()),
        (live(ready("True"), kind="HelmRelease"), set()),
        (live(ready("True"), ready("True", "DriftDetected", kind="Drifted"), kind="HelmRelease"), {Topic.DRIFT}),
        (live(ready("True"), drift=[drift("reported", AGO)]), {Topic.DRIFT}),
        (live(ready("True"), drift=[drift("corrected", AGO)]), set()),
        (live(ready("True"), drift=[drift("returned", AGO), drift("reported", AGO)]), set()),
        (live(ready("True"), drift=[drift("returned", AGO, "a"), drift("yielded", AGO, "b")]), {Topic.DRIFT}),
    ],
    ids=lambda value: "+".join(sorted(value)) or "none" if isinstance(value, set) else value.kind,
)
def test_what_the_status_says_is_a_state(one: Live, topics: set[Topic]) -> None:
    assert set(states(one)) == topics


def test_what_was_applied_after_the_drift_ended_it() -> None:
    applied = [{"lastReconciled": "2026-11-26T21:00:00Z"}]
    assert states(live(ready("True"), drift=[drift("reported", AGO)], history=applied)) == {}


def test_drift_is_told_with_path_old_new_and_manager() -> None:
    message = states(live(ready("True"), drift=[drift("reported", AGO)]))[Topic.DRIFT].message
    assert message == f"Deployment/apps/web spec.replicas: 2 → 5 by kubectl at {AGO}"


def test_the_events_of_a_state_open_and_close_it() -> None:
    one = live(ready("False"))
    opened = event_of(one, Topic.FAILURE, states(one)[Topic.FAILURE], NOW)
    assert meaning(opened)[:2] == (Effect.OPENS, Topic.FAILURE)
    assert meaning(event_of(one, Topic.FAILURE, None, NOW))[:2] == (Effect.CLOSES, Topic.FAILURE)


class Enough(Exception):
    """One round was made."""


class Frozen:
    """A clock that stands still until it is set, and ends whoever sleeps."""

    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    async def sleep(self, seconds: float) -> None:
        raise Enough(seconds)


class Watch:
    """Somebody who watches one object, and what they said."""

    def __init__(self, path: Path, one: Live | None, patience: Patience = USUAL) -> None:
        self.one = one
        self.wanted = True
        self.clock = Frozen()
        self.heard: list[Event] = []
        self.journal = Journal(path / "journal.db")
        self.watching = Watching(
            self.journal, self, lambda _subject: self.one, self.clock, lambda: self.wanted, patience
        )

    def hear(self, event: Event) -> None:
        self.heard.append(event)

    def told(self, story: Story) -> None:
        self.journal.dispatched(0, (), [StoryRow("apps/all", SHOP, write(story))], NOW.timestamp())

    async def look(self, *, first: bool = False) -> list[str]:
        self.heard.clear()
        self.watching.changed(SHOP)
        with pytest.raises(Enough):
            await self.watching.run(lambda: [SHOP] if first else [])
        return [f"{one.severity} {one.reason}" for one in self.heard]


async def test_what_nobody_told_of_is_told_once_and_closed_when_it_is_over(tmp_path: Path) -> None:
    watch = Watch(tmp_path, live(ready("False")))
    assert await watch.look() == ["error BuildFailed"]
    assert await watch.look() == []
    watch.told(Story(open={"failure": Open(words="w", since=NOW.timestamp(), told=NOW.timestamp())}))
    watch.one = live(ready("True", "ReconciliationSucceeded"))
    assert await watch.look() == [], "what was told a moment ago may be newer than what is seen"
    watch.clock.moment += timedelta(seconds=31)
    assert await watch.look() == ["info Recovered"]


def opened(*topics: str) -> Story:
    """What was told two seconds ago."""
    since = NOW.timestamp() - 2
    return Story(open={topic: Open(words="w", since=since, told=since) for topic in topics})


@pytest.mark.parametrize("topic", ["prune-held", "suspended", "unknown"])
async def test_what_only_a_status_tells_of_ends_as_soon_as_it_says_so(tmp_path: Path, topic: str) -> None:
    watch = Watch(tmp_path, live(ready("True", "ReconciliationSucceeded")))
    watch.told(opened(topic))
    assert await watch.look() == ["info Recovered"]


@pytest.mark.parametrize("topic", ["failure", "source-unreachable", "revision-held"])
async def test_what_stands_since_it_was_told_of_has_ended(tmp_path: Path, topic: str) -> None:
    watch = Watch(tmp_path, live(ready("True", "Succeeded", since="2026-11-26T21:59:59Z")))
    watch.told(opened(topic))
    assert await watch.look() == ["info Recovered"]


async def test_of_what_is_suspended_nobody_finds_out_whether_it_stands_again(tmp_path: Path) -> None:
    watch = Watch(tmp_path, live(ready("True"), suspend=True))
    watch.told(opened("failure", "drift", "prune-held"))
    watch.clock.moment += timedelta(hours=1)
    assert await watch.look() == []
    watch.one = live(ready("True"))
    assert await watch.look() == ["info Recovered"] * 3


async def test_how_long_is_too_long_is_chosen_and_may_be_never(tmp_path: Path) -> None:
    soon, never = Patience(suspended_s=60, unknown_s=60), Patience(suspended_s=0, unknown_s=0)
    unsure = live(ready("Unknown", "Progressing", since="2026-11-26T21:58:00Z"))
    assert await Watch(tmp_path / "a", unsure).look() == []
    early = Watch(tmp_path / "b", unsure, soon)
    assert await early.look() == ["error Unknown"]
    assert early.heard[0].message == "not known for 1m whether it is as declared: of Progressing"
    for patience, told in ((soon, ["error Suspended"]), (never, [])):
        watch = Watch(tmp_path / str(patience.suspended_s), live(ready("True"), suspend=True), patience)
        assert await watch.look() == []
        watch.clock.moment += timedelta(days=400)
        assert await watch.look() == told
        watch.one = live()
        assert await watch.look() == (["error Unknown"] if told else [])


async def test_a_failure_that_may_pass_is_not_told_yet(tmp_path: Path) -> None:
    watch = Watch(tmp_path, live(ready("False", since="2026-11-26T21:59:55Z")))
    assert await watch.look() == []
    watch.clock.moment += timedelta(seconds=15)
    assert await watch.look() == ["error BuildFailed"]


@pytest.mark.parametrize(
    ("reason", "stalled", "seconds"),
    [
        ("ArtifactFailed", False, 120),
        ("ArtifactFailed", True, 15),
        ("DependencyNotReady", False, 900),
        ("BuildFailed", False, 15),
    ],
)
def test_who_waits_for_another_object_is_told_of_later_than_who_failed(
    reason: str, stalled: bool, seconds: float
) -> None:
    why = [ready("True", reason, kind="Stalled")] if stalled else []
    due = states(live(ready("False", reason), *why))[Topic.FAILURE].due
    assert due == datetime.fromisoformat(AGO) + timedelta(seconds=seconds)


async def test_on_the_way_nothing_is_closed(tmp_path: Path) -> None:
    watch = Watch(tmp_path, live(ready("Unknown", "Progressing", since="2026-11-26T21:59:55Z")))
    watch.told(Story(open={"failure": Open(words="w", since=0.0, told=0.0)}))
    assert await watch.look() == []


async def test_what_is_suspended_for_too_long_is_told_also_over_a_restart(tmp_path: Path) -> None:
    assert await Watch(tmp_path, live(ready("True"), suspend=True)).look() == []
    watch = Watch(tmp_path, live(ready("True"), suspend=True))
    watch.clock.moment += timedelta(hours=25)
    assert await watch.look() == ["error Suspended"]


async def test_a_revision_that_was_reached_while_nobody_listened_is_told(tmp_path: Path) -> None:
    history = [{"metadata": {"revision": "b"}, "lastReconciled": AGO}]
    watch = Watch(tmp_path, live(ready("True", "ReconciliationSucceeded"), history=history))
    assert await watch.look(first=True) == [], "nothing is told of what nobody was told of before"
    watch.told(Story(revision="a"))
    assert await watch.look(first=True) == ["info Succeeded"]
    assert watch.heard[0].revision == "b"
    watch.told(Story(revision="b"))
    assert await watch.look(first=True) == []


async def test_a_revision_that_changed_nothing_is_told_to_who_wants_to_know(tmp_path: Path) -> None:
    history = [{"metadata": {"revision": "a"}, "lastReconciled": AGO}]
    stood = ready("True", "ReconciliationSucceeded")
    watch = Watch(tmp_path, live(stood, history=history, lastAppliedRevision="a"))
    assert await watch.look() == []
    watch.one = live(stood, history=history, lastAppliedRevision="b")
    assert await watch.look() == ["info ReconciliationSucceeded"]
    assert watch.heard[0].value("commit_status") == "update"
    assert meaning(watch.heard[0]).effect is Effect.MOVES
    watch.wanted = False
    watch.one = live(stood, history=history, lastAppliedRevision="c")
    assert await watch.look() == []


async def test_a_revision_that_changed_nothing_while_nobody_listened_is_told_to_who_wants_to_know(
    tmp_path: Path,
) -> None:
    history = [{"metadata": {"revision": "a"}, "lastReconciled": AGO}]
    watch = Watch(tmp_path, live(ready("True"), history=history, lastAppliedRevision="c"))
    watch.told(Story(revision="b"))
    assert await watch.look(first=True) == ["info Succeeded", "info ReconciliationSucceeded"]
    assert watch.heard[-1].revision == "c"
    watch.told(Story(revision="c"))
    assert await watch.look(first=True) == [], "who knows of it is not told of an older one again"


async def test_a_state_of_a_version_to_come_does_not_stop_the_watch(tmp_path: Path) -> None:
    watch = Watch(tmp_path, live(ready("True", "ReconciliationSucceeded")))
    known = Open(words="w", since=0.0, told=0.0)
    watch.told(Story(open={"of-tomorrow": known, "failure": known}))
    assert await watch.look() == ["info Recovered"]


async def test_an_object_that_is_gone_leaves_nothing_behind(tmp_path: Path) -> None:
    watch = Watch(tmp_path, None)
    watch.told(Story(revision="a"))
    assert await watch.look() == []
    assert watch.journal.stories(SHOP) == {}


class Server:
    """An API server that refuses first, as a double."""

    def __init__(self, *refusals: Exception) -> None:
        self.refusals = list(refusals)
        self.discovery = self

    async def find(self, _gvk: Gvk) -> None: ...

    async def get(self, *_what: object) -> dict[str, Any]:
        if self.refusals:
            raise self.refusals.pop(0)
        return {"data": {"stories": record.encode([StoryRow("apps/all", SHOP, write(Story(revision="r")))])}}


class Patient(Frozen):
    """A clock whose sleep is over at once."""

    async def sleep(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


async def test_what_was_told_before_is_waited_for_where_the_server_does_not_answer() -> None:
    server = Server(Unreachable("https://api", "refused"), ServerError(503, "", "not now"))
    [row] = await record.awaited(cast("Client", server), "flux-system", Patient())
    assert row.subject == SHOP
    with pytest.raises(Forbidden):
        await record.awaited(cast("Client", Server(Forbidden(403, "", "no"))), "flux-system", Patient())


def test_what_was_told_survives_in_a_config_map_of_any_age() -> None:
    rows = [StoryRow("apps/all", f"Kustomization/apps/{number}", write(Story(revision="r"))) for number in range(3)]
    text = record.encode(rows)
    assert record.decode(text) == rows
    assert record.decode(f'{text}\nnonsense\n["a","b",{{"open":7}}]\n["a"]') == rows
    many = [StoryRow("apps/all", f"Kustomization/apps/{'x' * 200}{number}", rows[0].body) for number in range(6000)]
    assert len(record.encode(many)) < record.MOST_BYTES
