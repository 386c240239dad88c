"""What controllers put into the ledger: whose wish it was, why, and nothing that anybody could guess a secret by."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.audit.ground import SHOP

from trimtab.api.kustomize import Kustomization
from trimtab.api.meta import ObjectMeta
from trimtab.audit.reading import records
from trimtab.audit.record import Actor, Cause, Event, Intent, Outcome, Source, Switched
from trimtab.audit.writing import Ledger
from trimtab.base.clock import SystemClock
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Telemetry
from trimtab.controllers.auditing import Attestor, Auditor, Provenance
from trimtab.controllers.repeats import Repeats
from trimtab.controllers.standing import Standing
from trimtab.manifests import codec
from trimtab.manifests.refs import Gvk, Origin, Ref
from trimtab.targets.contract import Action, Change, Effect, Mark
from trimtab.targets.contract import Outcome as Done
from trimtab.targets.kubernetes.desired import Desired

SECRET = Ref("", "Secret", "apps", "login")
WISH = codec.digest({"password": "12345"})
ITEM = Desired(SECRET, Gvk("", "v1", "Secret"), b"{}", WISH, Origin("s.yaml", 1))
APPLY: Change[Any] = Change(SECRET, Action.APPLY, ITEM, "new", None)
CORRECT = APPLY._replace(action=Action.CORRECT)
LIVE = codec.digest({"password": "54321"})


class Desk:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ledger = Ledger(directory, SystemClock(), Telemetry())
        self.repeats = Repeats()

    def attestor(self, cause: Cause | None = None) -> Attestor:
        provenance = Provenance(Actor(author="Ada"), Source(revision="main@sha1:1"))
        hide = lambda words: words.replace("hunter2", "***")  # noqa: E731
        return Attestor(self.ledger, SHOP, provenance, hide, self.repeats, cause)

    async def events(self) -> list[Event]:
        await self.ledger.close()
        return [line.record.event for line in records(self.directory)][1:]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk, tasks = Desk(tmp_path / "ledger"), Tasks("test")
    tasks.keep(desk.ledger.run, name="ledger")
    yield desk
    await tasks.close()


@pytest.mark.parametrize(
    ("changes", "cause", "expected"),
    [
        ([APPLY, CORRECT], None, Cause.REVISION),
        ([CORRECT], None, Cause.DRIFT),
        ([APPLY], Cause.UPGRADE, Cause.UPGRADE),
    ],
    ids=["new", "disturbed", "said"],
)
async def test_the_changes_tell_why_unless_it_is_said(
    desk: Desk, changes: list[Change[Any]], cause: Cause | None, expected: Cause
) -> None:
    attestor = desk.attestor(cause)
    attestor.end(await attestor.begin(changes, "system:serviceaccount:apps:ci"), [Done(SECRET, Effect.CREATED)], "")
    intent, outcome = await desk.events()
    assert isinstance(intent, Intent)
    assert isinstance(outcome, Outcome)
    assert (intent.cause, outcome.cause) == (expected, expected)
    assert intent.attempt == outcome.attempt
    assert intent.actor == Actor(author="Ada", account="system:serviceaccount:apps:ci")


async def test_no_digest_and_no_word_of_a_secret_is_on_record(desk: Desk) -> None:
    attestor, mark = desk.attestor(), Mark("u", "7", LIVE)
    attempt = await attestor.begin([APPLY], "")
    refusal = "password hunter2 is too short"
    attestor.end(attempt, [Done(SECRET, Effect.FAILED, refusal, before=mark, after=mark)], refusal)
    _, outcome = await desk.events()
    assert isinstance(outcome, Outcome)
    assert outcome.result == "failed"
    [one] = outcome.objects
    assert one.before == one.after
    assert one.before is not None
    assert one.before.digest == desk.ledger.seal().digest(LIVE)
    written = b"".join(file.read_bytes() for file in desk.directory.glob("chain-*/*.jsonl"))
    for secret in (WISH, LIVE, WISH.removeprefix("sha256:"), "hunter2"):
        assert secret.encode() not in written


async def test_what_stayed_as_it_was_is_counted_and_not_listed(desk: Desk) -> None:
    attestor = desk.attestor()
    attestor.end(await attestor.begin([CORRECT], ""), [Done(SECRET, Effect.UNCHANGED)], "")
    _, outcome = await desk.events()
    assert isinstance(outcome, Outcome)
    assert (outcome.result, outcome.unchanged, outcome.objects) == ("unchanged", 1, ())


async def test_what_is_tried_again_and_again_to_the_same_end_is_on_record_once(desk: Desk) -> None:
    waiting = Done(SECRET, Effect.WAITING, "is being deleted, waits for a finalizer")
    for outcome in (waiting, waiting, waiting, Done(SECRET, Effect.FAILED, "denied"), Done(SECRET, Effect.DELETED)):
        attestor = desk.attestor()  # each pass has its own
        attestor.end(await attestor.begin([APPLY._replace(action=Action.DELETE, after=None)], ""), [outcome], "")
    attestor = desk.attestor()
    attestor.end(await attestor.begin([APPLY._replace(action=Action.DELETE, after=None)], ""), [waiting], "")
    events = await desk.events()
    intents = [event.attempt for event in events if isinstance(event, Intent)]
    assert len(intents) == 2  # the first one came to its end
    outcomes = [(event.attempt, event.result) for event in events if isinstance(event, Outcome)]
    first, second = intents
    assert outcomes == [(first, "partly"), (first, "failed"), (first, "done"), (second, "partly")]


async def test_a_try_that_means_something_else_is_another_intent(desk: Desk) -> None:
    for change in (APPLY, CORRECT, APPLY):
        attestor = desk.attestor()
        attestor.end(await attestor.begin([change], ""), [Done(SECRET, Effect.FAILED, "denied")], "")
    assert [type(event) for event in await desk.events()] == [Intent, Outcome] * 3


async def test_a_switch_is_recorded_when_it_changes_and_not_again(desk: Desk) -> None:
    auditor, known = Auditor(desk.ledger, Standing()), dict[str, str]()
    item = Kustomization(metadata=ObjectMeta(name="shop", namespace="apps"), spec=None)  # type: ignore[arg-type]
    for value in ("", "true", "true", ""):
        auditor.switched(item, known, "suspended", value)
    found = [event for event in await desk.events() if isinstance(event, Switched)]
    assert [(one.before, one.after) for one in found] == [("", "true"), ("true", "")]
