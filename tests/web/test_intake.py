"""Events that are posted: over real HTTP on loopback, to a real desk with its journal on disk."""

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.notify.ground import Ground, alert, event
from tests.notify.test_event import PLAIN, body
from tests.runtime.clocks import ManualClock
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Transient
from trimtab.base.http import AiohttpTransport
from trimtab.base.tasks import Tasks
from trimtab.kube.client import Listing
from trimtab.kube.errors import Unreachable
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Gvk
from trimtab.notify import event as events
from trimtab.notify.event import MOST_BODY
from trimtab.notify.notice import Notice
from trimtab.notify.outbox import _told
from trimtab.notify.provider import Refused, Settings
from trimtab.notify.providers.table import TABLE
from trimtab.notify.wire import ProviderWire
from trimtab.remotes.outbound import Outbound
from trimtab.web.callers import Callers, Everybody, Namespace
from trimtab.web.intake import app
from trimtab.web.server import Listener, listen

NOBODY_KNOWS = Transient("ReadFailed", "the Pods cannot be listed")


class Only:
    """Callers who are admitted, or not, or nobody knows."""

    def __init__(self, answer: bool | Exception) -> None:
        self.answer = answer

    async def admits(self, address: str) -> bool:
        assert address == "127.0.0.1"
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Intake:
    """A listener, and what came through it."""

    def __init__(self, ground: Ground, listener: Listener, session: ClientSession) -> None:
        self.ground, self._session = ground, session
        self.url = f"http://127.0.0.1:{listener.port}/"

    async def post(self, data: Any) -> tuple[int, str]:
        sent = io.BytesIO(data) if isinstance(data, bytes) else data
        async with self._session.post(self.url, data=sent) as answer:
            return answer.status, await answer.text()

    def kept(self) -> list[events.Event]:
        return [events.parse(one.body) for one in self.ground.journal.waiting(100)]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Any]:
    """`await opened(callers)`: an intake for them."""
    tasks, closing = Tasks("intake"), []
    session = ClientSession()

    async def start(callers: Callers) -> Intake:
        ground = Ground(tmp_path, [alert()])
        ground.desk.start(tasks)
        listener = await listen(app(ground.desk, callers), "127.0.0.1:0")
        closing.append(listener)
        return Intake(ground, listener, session)

    yield start
    await session.close()
    for listener in closing:
        await listener.close()
    await tasks.close()


@pytest.fixture
async def intake(opened: Any) -> Intake:
    found: Intake = await opened(Everybody())
    return found


async def chunks(size: int) -> AsyncIterator[bytes]:
    for start in range(0, size, 1 << 16):
        yield b" " * min(1 << 16, size - start)


async def test_what_flux_posts_is_on_disk_when_it_is_answered(intake: Intake) -> None:
    """The body is what the recorder of Flux's controllers makes of a Kubernetes object reference."""
    reference = {**PLAIN["involvedObject"], "fieldPath": "spec.containers{web}"}
    assert (await intake.post(body(involvedObject=reference)))[0] == 202
    assert [json.loads(events.encode(one)) for one in intake.kept()] == [PLAIN]
    assert (await intake.post(body()))[0] == 429


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "in chunks"])
async def test_a_body_one_byte_over_three_megabytes_is_not_taken(intake: Intake, announced: bool) -> None:
    size = MOST_BODY + 1
    status, words = await intake.post(b" " * size if announced else chunks(size))
    assert (status, words) == (413, f"the body has more than {MOST_BODY} bytes\n")
    assert intake.kept() == []


async def test_a_body_of_three_megabytes_is_taken_and_its_message_cut(intake: Intake) -> None:
    short = len(body(message=""))
    assert (await intake.post(body(message="x" * (MOST_BODY - short))))[0] == 202
    assert len(intake.kept()[0].message) == events.MOST_MESSAGE


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "no event"),
        (b"[" * 200_000, "no event"),
        (b"\xff\xfe", "no event"),
        (body(message=["a"]), "$.message"),
        (body(metadata={"a": {"b": 1}}), "$.metadata"),
        (body(involvedObject="Kustomization"), "$.involvedObject"),
        (body(timestamp=1), "$.timestamp"),
        (body(involvedObject={}), "involvedObject.kind"),
    ],
    ids=["half", "deep", "no-text", "message", "metadata", "object", "time", "nothing"],
)
async def test_what_is_no_event_is_refused_with_the_reason_and_nothing_is_kept(
    intake: Intake, data: bytes, words: str
) -> None:
    status, said = await intake.post(data)
    assert status == 400
    assert words in said
    assert intake.kept() == []


async def test_unknown_fields_are_left_out_and_nothing_hides_in_what_is_kept(intake: Intake) -> None:
    nasty = "\x1b[2J\x07<!channel> @everyone [safe](https://evil.example) \u202etxt.exe\u202c\u200b\x00"
    changes = {"message": nasty, "reason": "A\r\nB", "metadata": {"k\x1b[1m": nasty}, "later": [{"deep": None}]}
    assert (await intake.post(body(**changes)))[0] == 202
    (kept,) = intake.kept()
    shown = "\\x07<!channel> @everyone [safe](https://evil.example) \\u202etxt.exe\\u202c\\u200b\\x00"
    assert kept.message == shown
    assert kept.reason == "A\\r\\nB"
    assert list(kept.metadata.values()) == [shown]
    assert "later" not in json.loads(events.encode(kept))


async def test_an_author_of_a_hundred_kilobytes_is_cut(intake: Intake) -> None:
    assert (await intake.post(body(metadata={"author": "A" * 100_000})))[0] == 202
    assert len(intake.kept()[0].metadata["author"]) == events.LONGEST_VALUE


async def test_another_process_does_not_say_which_state_an_object_is_in(intake: Intake) -> None:
    """What the process that tells of events says to itself, nobody else can say to it."""
    forged = {"topic": "failure", "kustomize.toolkit.fluxcd.io/repeats": "9999", "revision": "main@sha1:1"}
    assert (await intake.post(body(metadata=forged, reportingController="notification-controller")))[0] == 202
    assert intake.kept()[0].metadata == {"revision": "main@sha1:1"}


async def test_who_may_not_post_is_refused_before_anything_is_read(opened: Any) -> None:
    intake = await opened(Only(False))
    for data in (body(), b"{", b" " * 1000):
        status, words = await intake.post(data)
        assert status == 403
        assert "--events-from" in words
    assert intake.kept() == []


async def test_while_nobody_knows_who_may_post_it_is_put_off(opened: Any) -> None:
    intake = await opened(Only(NOBODY_KNOWS))
    assert (await intake.post(body()))[0] == 503
    assert intake.kept() == []
    assert (await (await opened(Only(True))).post(body()))[0] == 202


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "", 405), ("POST", "hook", 404)])
async def test_only_posts_to_the_root_are_taken(intake: Intake, method: str, path: str, status: int) -> None:
    async with ClientSession() as session, session.request(method, intake.url + path, data=body()) as answer:
        assert answer.status == status


class Pods:
    """A double of the API server that has Pods."""

    def __init__(self, *pods: dict[str, Any]) -> None:
        self.pods, self.asked, self.away = list(pods), [], False
        self.discovery = self

    async def find(self, gvk: Gvk) -> Resource:
        return Resource(gvk, "pods", True, frozenset())

    async def list(self, _resource: Resource, namespace: str) -> Listing[Any]:
        self.asked.append(namespace)
        if self.away:
            raise Unreachable("https://api", "is away")
        return Listing([{"status": status} for status in self.pods], "1")


async def test_the_pods_of_one_namespace_are_admitted_as_long_as_they_are_there() -> None:
    running = {"phase": "Running", "podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd00::7"}]}
    pods, clock = Pods(running, {"phase": "Failed", "podIP": "10.0.0.8"}, {}), ManualClock()
    callers = Namespace(pods, "flux-system", clock)  # type: ignore[arg-type] - a double
    for address, admitted in (
        ("10.0.0.7", True),
        ("fd00::7", True),
        ("::ffff:10.0.0.7", True),
        ("10.0.0.8", False),
        ("10.0.0.9", False),
        ("", False),
        ("/run/socket", False),
        ("127.0.0.1", True),
        ("::1", True),
        ("127.0.0.9", False),
    ):
        assert await callers.admits(address) is admitted, address
    assert pods.asked == ["flux-system"], "who is no Pod does not make us ask again and again"
    pods.pods = []
    clock.jump(29)
    assert await callers.admits("10.0.0.7")
    clock.jump(2)
    assert not await callers.admits("10.0.0.7")
    pods.pods = [running]
    clock.jump(2)
    assert await callers.admits("10.0.0.7")


async def test_where_the_pods_cannot_be_listed_nobody_is_admitted_and_nobody_refused() -> None:
    pods = Pods()
    pods.away = True
    callers = Namespace(pods, "flux-system", ManualClock())  # type: ignore[arg-type] - a double
    with pytest.raises(Transient, match="who may post events is not known"):
        await callers.admits("10.0.0.7")
    assert await callers.admits("127.0.0.1")


@pytest.mark.parametrize("type_", ["generic", "generic-hmac"])
async def test_what_a_provider_was_told_does_not_come_back_as_an_event(intake: Intake, type_: str) -> None:
    transport = AiohttpTransport()
    try:
        settings = Settings(type=type_, address=intake.url, token="t", headers={"trimtab-phase": ""}, timeout_s=60.0)
        wire = ProviderWire(Outbound(transport, SystemClock()), settings)
        outcome = await _told(TABLE[type_], Notice(event=event("round"), key="k"), settings, wire)
    finally:
        await transport.close()
    assert isinstance(outcome, Refused)
    assert intake.kept() == []
