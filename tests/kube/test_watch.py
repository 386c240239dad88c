"""The watch machine and the store behind it, driven by a model of a server that may misbehave at any point."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.kube import watch
from trimtab.kube.store import Applied, Deleted, Store
from trimtab.kube.watch import (
    Apply,
    Begin,
    Bookmark,
    Broke,
    Delete,
    Empty,
    Ended,
    Init,
    InitDone,
    InitialListed,
    InitialPage,
    InitialWatch,
    List,
    Object,
    Opened,
    Page,
    Pause,
    Put,
    Quiet,
    Refused,
    Removed,
    Speed,
    Watch,
    Watching,
    parse,
    read,
    step,
)
from trimtab.manifests.refs import Key

NAMES = "abcd"


def thing(name: str, version: int | str, uid: int = 0) -> Object:
    raw = msgspec.json.encode({"name": name, "uid": uid, "version": str(version)})
    return Object(Key("ns", name), str(version), raw)


def run(state: watch.State, *signals: watch.Signal) -> tuple[watch.State, list[watch.Output]]:
    outputs: list[watch.Output] = []
    for signal in signals:
        state, more = step(state, signal)
        outputs += more
    return state, outputs


# The table ------------------------------------------------------------------------------------------------------------


def test_a_streaming_list_ends_with_the_annotated_bookmark_and_goes_on_as_a_watch():
    one = thing("a", 5)
    state, outputs = run(Empty(), Begin(), Opened(), Put(one), Bookmark("6", False), Bookmark("7", True))
    assert outputs == [Init(), Watch(None), Apply(one), InitDone()]
    assert state == Watching("7", heard=True)


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_refuses_streaming_lists_is_read_in_pages_and_not_asked_again(status):
    one, two = thing("a", 5), thing("b", 6)
    state, outputs = run(Empty(), Begin(), Refused(status), Page([one], "9", "more"), Page([two], "9", ""))
    assert outputs == [
        Init(),
        Watch(None),
        Init(),
        List(""),
        Apply(one),
        List("more"),
        Apply(two),
        InitDone(),
        Watch("9"),
    ]
    state, outputs = run(state, Opened(), Refused(410), Begin())
    assert state == InitialPage()
    assert outputs == [Pause(Speed.BACKOFF), Init(), List("")]


def test_a_server_that_never_says_where_the_initial_list_ends_is_read_in_pages():
    assert run(Empty(), Begin(), Opened(), Put(thing("a", 1)), Quiet(), Begin())[0] == InitialPage()


@pytest.mark.parametrize("failure", [Broke(), Ended(), Quiet(), Refused(410), Refused(500), Refused(403)])
def test_a_list_that_breaks_off_never_counts_as_complete(failure):
    for state in (InitialWatch(), InitialPage()):
        after, outputs = step(state, failure)
        assert isinstance(after, Empty)
        assert [type(output) for output in outputs] == [Pause]


@pytest.mark.parametrize("status", [403, 404])
def test_a_missing_right_or_kind_is_tried_again_slowly_and_from_the_start(status):
    for state in (InitialWatch(), InitialPage(), InitialListed("5"), Watching("5")):
        after, outputs = step(state, Refused(status))
        assert isinstance(after, Empty)
        assert outputs == [Pause(Speed.SLOW)]


def test_a_watch_that_the_server_closes_resumes_at_once_from_the_last_version_seen():
    state, outputs = run(Watching("5"), Put(thing("a", 6)), Bookmark("9", False), Ended())
    assert state == InitialListed("9")
    assert outputs[-1] == Watch("9")


def test_a_watch_that_is_closed_before_it_said_anything_waits_before_it_resumes():
    assert step(Watching("5"), Ended())[1] == [Pause(Speed.BACKOFF)]


def test_a_broken_watch_resumes_from_the_last_version_seen():
    state, outputs = run(Watching("5"), Removed(thing("a", 8)), Broke(), Begin())
    assert outputs == [Delete(thing("a", 8)), Pause(Speed.BACKOFF), Watch("8")]
    assert state == InitialListed("8")


@pytest.mark.parametrize("state", [InitialListed("5"), Watching("5")])
@pytest.mark.parametrize("refusal", [Refused(410), Refused(504, too_new=True), Refused(400)])
def test_history_that_is_lost_means_a_new_list(state, refusal):
    after, outputs = run(state, refusal, Begin())
    assert after == InitialWatch()
    assert outputs[1:] == [Init(), Watch(None)]


def test_a_failing_server_does_not_cost_the_history():
    assert step(Watching("5"), Refused(500)) == (InitialListed("5"), [Pause(Speed.BACKOFF)])


@pytest.mark.parametrize("signal", [Put(thing("a", 4)), Removed(thing("a", 4)), Bookmark("4", False)])
def test_versions_that_go_back_mean_another_history_and_a_new_list(signal):
    after, outputs = step(Watching("5"), signal)
    assert isinstance(after, Empty)
    assert outputs == [Pause(Speed.BACKOFF)]


def test_a_version_in_the_future_of_a_restored_server_is_found_by_its_silence():
    state, outputs = run(Watching("900", heard=True), Quiet(), Opened(), Quiet(), Opened(), Quiet())
    assert isinstance(state, Empty)
    assert outputs == [Watch("900"), Watch("900"), Pause(Speed.BACKOFF)]


def test_one_silent_stream_is_only_opened_again():
    state, _ = run(Watching("5"), Quiet(), Opened(), Bookmark("5", False), Quiet())
    assert state == InitialListed("5")


def test_a_late_signal_changes_nothing():
    for state in (Empty(), InitialPage(), InitialWatch(), InitialListed("1"), Watching("1")):
        for signal in (Opened(), Begin(), Put(thing("a", 2)), Page([], "1", "")):
            assert step(state, signal) is not None


# What a line says -----------------------------------------------------------------------------------------------------


def line(kind: str, body: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"type": kind, "object": body})


def test_lines_become_signals():
    body = {"kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n", "resourceVersion": "7"}}
    expected = Object(Key("n", "a"), "7", msgspec.json.encode(body))
    assert parse(line("ADDED", body)) == (Put(expected), None)
    assert parse(line("MODIFIED", body)) == (Put(expected), None)
    assert parse(line("DELETED", body)) == (Removed(expected), None)
    end = {"metadata": {"resourceVersion": "8", "annotations": {watch.INITIAL_EVENTS_END: "true"}}}
    assert parse(line("BOOKMARK", end))[0] == Bookmark("8", True)
    assert parse(line("BOOKMARK", {"metadata": {"resourceVersion": "9"}}))[0] == Bookmark("9", False)


def test_an_error_line_is_a_refusal_in_the_servers_words():
    signal, status = parse(line("ERROR", {"code": 410, "reason": "Expired", "message": "too old resource version"}))
    assert signal == Refused(410)
    assert status is not None
    assert status.message == "too old resource version"
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    assert parse(line("ERROR", {"code": 504, "details": {"causes": causes}}))[0] == Refused(504, too_new=True)


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"type":"ADDED"}', b'{"type":"NEWS","object":{}}', b"<html>"])
def test_a_line_that_is_no_event_is_an_error(text):
    with pytest.raises(msgspec.DecodeError):
        parse(text)


def test_items_of_lists_are_told_what_they_are():
    raw = read(b' {"metadata":{"name":"a"}}', "v1", "ConfigMap").raw
    assert msgspec.json.decode(raw) == {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    said = b'{"kind":"Other","metadata":{}}'
    assert read(said, "v1", "ConfigMap").raw == said


# The store ------------------------------------------------------------------------------------------------------------


def test_an_object_that_cannot_be_read_is_kept_as_it_was_known_and_named():
    store: Store[dict[str, Any]] = Store(msgspec.json.decode, None)
    key = Key("ns", "a")
    for event in (Init(), Apply(thing("a", 1)), InitDone()):
        store.take(event)
    known = store.items[key]
    assert store.take(Apply(Object(key, "2", b"{"))) == []
    assert store.items[key] == known
    assert "DecodeError" in store.unreadable[key]
    assert [store.take(event) for event in (Init(), Apply(Object(key, "2", b"{")), InitDone())] == [[], [], []]
    assert store.items == {key: known}
    assert store.take(Delete(thing("a", 3))) == [Deleted(known, thing("a", 3).raw)]
    assert store.unreadable == {}


def test_an_unchanged_object_is_no_news_after_a_new_list():
    store: Store[dict[str, Any]] = Store(msgspec.json.decode, None)
    for event in (Init(), Apply(thing("a", 1)), Apply(thing("b", 1)), InitDone()):
        store.take(event)
    for event in (Init(), Apply(thing("a", 1))):
        store.take(event)
    assert len(store.items) == 2, "candidates are not facts"
    events = store.take(InitDone())
    assert [type(event) for event in events] == [Deleted]
    assert list(store.items) == [Key("ns", "a")]


def test_what_an_unfinished_list_showed_is_forgotten():
    store: Store[dict[str, Any]] = Store(msgspec.json.decode, None)
    for event in (Init(), Apply(thing("a", 1)), Init(), Apply(thing("b", 2))):
        assert store.take(event) == []
    store.take(InitDone())
    assert list(store.items) == [Key("ns", "b")]


def test_objects_may_be_kept_under_another_key():
    store: Store[dict[str, Any]] = Store(msgspec.json.decode, lambda body: body["uid"])
    store.take(Apply(thing("a", 1, uid=7)))
    assert list(store.items) == [7]
    store.take(Apply(thing("a", 2, uid=8)))
    assert list(store.items) == [8]
    assert isinstance(store.take(Delete(thing("a", 3, uid=8)))[0], Deleted)
    assert store.items == {}


# The model ------------------------------------------------------------------------------------------------------------


@dataclass
class Server:
    """A history of writes, of which the oldest part may be forgotten."""

    version: int = 10
    objects: dict[str, Object] = field(default_factory=dict)
    log: list[watch.Signal] = field(default_factory=list)
    compacted: int = 10

    def write(self, name: str) -> None:
        self.version += 1
        known = self.objects.get(name)
        uid = msgspec.json.decode(known.raw)["uid"] if known else self.version
        self.objects[name] = thing(name, self.version, uid)
        self.log.append(Put(self.objects[name]))

    def delete(self, name: str) -> None:
        if known := self.objects.pop(name, None):
            self.version += 1
            self.log.append(Removed(known._replace(resource_version=str(self.version))))

    def compact(self) -> None:
        self.compacted = self.version
        self.log.clear()

    def since(self, version: int) -> list[watch.Signal]:
        return [entry for entry in self.log if int(entry.object.resource_version) > version]  # type: ignore[union-attr]

    def live(self, old: dict[str, Any]) -> bool:
        known = self.objects.get(old["name"])
        return known is not None and msgspec.json.decode(known.raw)["uid"] == old["uid"]


class World:
    """The machine, its store, a listener, and the wire between them and the server."""

    def __init__(self, streaming: bool) -> None:
        self.server = Server()
        self.store: Store[dict[str, Any]] = Store(msgspec.json.decode, None)
        self.mirror: dict[Key, dict[str, Any]] = {}
        self.state: watch.State = Empty(streaming)
        self.command: watch.Command | None = None
        self.stream: list[watch.Signal] | None = None  # what an open stream will still bring
        self.cursor = 0
        self.snapshot: list[Object] = []
        self.signal(Begin())

    def signal(self, signal: watch.Signal) -> None:
        self.state, outputs = step(self.state, signal)
        for output in outputs:
            if isinstance(output, List | Watch | Pause):
                self.command, self.stream = output, None
                continue
            for event in self.store.take(output):
                match event:
                    case Applied(old, new):
                        key = Key("ns", new["name"])
                        assert self.mirror.get(key) == old
                        self.mirror[key] = new
                    case Deleted(old, _):
                        assert self.mirror.pop(Key("ns", old["name"])) == old
                        assert not self.server.live(old), "an object that exists was reported as deleted"
        assert self.mirror == self.store.items, "listeners and store disagree"

    def serve(self, size: int) -> None:
        """One honest step of the server."""
        server = self.server
        match self.command:
            case Pause():
                self.signal(Begin())
            case List(token):
                if not token:
                    self.snapshot = list(server.objects.values())
                    self.cursor = server.version
                page, rest = self.snapshot[:size], self.snapshot[size:]
                self.snapshot = rest
                self.signal(Page(page, str(self.cursor), "more" if rest else ""))
            case Watch(None):
                self.cursor = server.version
                self.stream = [*map(Put, server.objects.values())]
                self.command = None
                self.stream.append(Bookmark("", True))  # its version is that of the moment it is sent
                self.signal(Opened())
            case Watch(version):
                if int(version) < server.compacted:
                    self.signal(Refused(410))
                    return
                self.cursor = int(version)
                self.stream, self.command = [], None
                self.signal(Opened())
            case None:
                self.bring(size)

    def bring(self, size: int) -> None:
        assert self.stream is not None
        if not self.stream or (size > 3 and isinstance(self.stream[0], Bookmark)):
            # live events; while the initial list is not finished they may overtake its end
            fresh = self.server.since(self.cursor)
            if fresh:
                self.cursor = int(fresh[0].object.resource_version)  # type: ignore[union-attr]
                self.signal(fresh[0])
                return
        if self.stream:
            first = self.stream.pop(0)
            self.signal(Bookmark(str(self.cursor), True) if isinstance(first, Bookmark) else first)
        else:
            self.signal(Bookmark(str(self.cursor), False))

    def fail(self, which: int) -> None:
        if isinstance(self.command, Pause):
            return
        if self.command is None:
            self.signal([Broke(), Ended(), Quiet(), Refused(410), Refused(500), Refused(429)][which])
        else:
            self.signal([Broke(), Refused(422), Quiet(), Refused(410), Refused(403), Refused(404)][which])

    def settled(self) -> bool:
        quiet = isinstance(self.state, Watching) and not self.stream and not self.server.since(self.cursor)
        # A compaction behind an open stream's back ends it, as the real server does.
        return quiet and self.cursor >= self.server.compacted


STEPS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(NAMES)),
    st.tuples(st.just("delete"), st.sampled_from(NAMES)),
    st.tuples(st.just("compact"), st.just(0)),
    st.tuples(st.just("serve"), st.integers(1, 5)),
    st.tuples(st.just("serve"), st.integers(1, 5)),
    st.tuples(st.just("fail"), st.integers(0, 5)),
)


@settings(max_examples=400, deadline=None)
@given(st.booleans(), st.lists(STEPS, max_size=80))
def test_whatever_the_server_does_the_store_ends_equal_to_it_and_nothing_alive_is_ever_reported_deleted(
    streaming, steps
):
    world = World(streaming)
    for what, detail in steps:
        match what:
            case "serve":
                world.serve(detail)
            case "fail":
                world.fail(detail)
            case "compact":
                if world.command is None and world.stream is not None and world.server.since(world.cursor):
                    world.signal(Refused(410))
                world.server.compact()
            case _:
                getattr(world.server, what)(detail)
    for _ in range(200):
        if world.settled():
            break
        world.serve(2)
    assert world.settled(), f"never came to rest: {world.state} {world.command}"
    expected = {Key("ns", name): msgspec.json.decode(known.raw) for name, known in world.server.objects.items()}
    assert world.store.items == expected
