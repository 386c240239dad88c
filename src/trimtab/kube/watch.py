"""Watching as a value: a state machine that knows no network.

`step(state, signal)` takes what just happened on the wire and returns the next state and what follows from it: events
for whoever keeps the objects, and at most one command for whoever talks to the server. Every failure has a named next
state. The shape is that of kube-rs's `runtime::watcher`; list semantics are those of the Kubernetes API concepts
("Efficient detection of changes", "Streaming lists").

    Empty ──begin──▶ InitialWatch ──bookmark "initial events end"──▶ Watching ◀──opened── InitialListed
      │ ▲                │ refused                                      │  ▲                   ▲  ▲
      │ └────────────────┘ (and from everywhere: 410, history lost)     └──┼──broke, ended─────┘  │
      └──begin──▶ InitialPage ──page with a token──▶ InitialPage ──last page─────────────────────┘

Between Init and InitDone the objects are only candidates: a list that breaks off is forgotten and deletes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple, TypeAlias

import msgspec

from trimtab.kube.errors import Status, from_status
from trimtab.manifests.refs import Key

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
_QUIET_STREAMS_BEFORE_RELIST = 2


class Object(NamedTuple):
    """An object as the server sent it."""

    key: Key
    resource_version: str
    raw: bytes


# What happened ------------------------------------------------------------------------------------------------------


class Begin(NamedTuple):
    """Start, or go on after the pause that was asked for."""


class Page(NamedTuple):
    """A page of a list arrived; an empty `token` means it was the last."""

    objects: Sequence[Object]
    resource_version: str
    token: str


class Opened(NamedTuple):
    """The server agreed to watch."""


class Put(NamedTuple):
    """The stream says that an object is as follows."""

    object: Object


class Removed(NamedTuple):
    """The stream says that an object is gone, and what it was last."""

    object: Object


class Bookmark(NamedTuple):
    """The stream has told everything up to a version; `initial_end`: the initial objects are complete."""

    resource_version: str
    initial_end: bool


class Refused(NamedTuple):
    """The server said no: to a list, to a watch, or in the middle of a stream."""

    status: int
    too_new: bool = False  # the server does not know our version yet, or never will: "Too large resource version"


class Ended(NamedTuple):
    """The server closed the stream in order."""


class Broke(NamedTuple):
    """The connection failed, or sent what cannot be read."""


class Quiet(NamedTuple):
    """The stream brought nothing for longer than bookmarks are apart."""


Signal: TypeAlias = Begin | Page | Opened | Put | Removed | Bookmark | Refused | Ended | Broke | Quiet


# What follows -------------------------------------------------------------------------------------------------------


class Init(NamedTuple):
    """A new list begins; candidates of an unfinished one are void."""


class Apply(NamedTuple):
    """This object exists like this (a candidate between Init and InitDone)."""

    object: Object


class Delete(NamedTuple):
    """This object is gone."""

    object: Object


class InitDone(NamedTuple):
    """The candidates are all there is: what is not among them is gone."""


class List(NamedTuple):
    """Read a page of the list and report it."""

    token: str


class Watch(NamedTuple):
    """Open a stream and report what it brings; None asks for the initial objects first."""

    resource_version: str | None


class Speed(Enum):
    """How long a pause is."""

    BACKOFF = "backoff"
    SLOW = "slow"  # nobody knows when it can go on: look now and then


class Pause(NamedTuple):
    """Wait, then Begin."""

    speed: Speed


Event: TypeAlias = Init | Apply | Delete | InitDone
Command: TypeAlias = List | Watch | Pause
Output: TypeAlias = Event | Command


# Where we are -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Empty:
    """Nothing is known that could be continued."""

    streaming: bool = True


@dataclass(frozen=True, slots=True)
class InitialPage:
    """Reading a list in pages."""


@dataclass(frozen=True, slots=True)
class InitialWatch:
    """Reading a list as the beginning of a stream."""


@dataclass(frozen=True, slots=True)
class InitialListed:
    """Everything up to a version is known and no stream is open. `quiet`: silent streams in a row before this."""

    resource_version: str
    streaming: bool = True
    quiet: int = 0


@dataclass(frozen=True, slots=True)
class Watching:
    """Everything up to a version is known and a stream is open; `heard`: it has brought something."""

    resource_version: str
    streaming: bool = True
    quiet: int = 0
    heard: bool = False


State: TypeAlias = Empty | InitialPage | InitialWatch | InitialListed | Watching
Step: TypeAlias = tuple[State, list[Output]]


def step(state: State, signal: Signal) -> Step:
    """The transition. A signal that has no meaning in a state (a late one) changes nothing."""
    match state:
        case Empty():
            return _from_empty(state, signal)
        case InitialPage():
            return _from_page(state, signal)
        case InitialWatch():
            return _from_initial_watch(state, signal)
        case InitialListed():
            return _from_listed(state, signal)
        case Watching():
            return _from_watching(state, signal)


def _from_empty(state: Empty, signal: Signal) -> Step:
    if not isinstance(signal, Begin):
        return state, []
    return (InitialWatch(), [Init(), Watch(None)]) if state.streaming else (InitialPage(), [Init(), List("")])


def _from_page(state: InitialPage, signal: Signal) -> Step:
    match signal:
        case Page(objects, _, token) if token:
            return state, [*map(Apply, objects), List(token)]
        case Page(objects, version, _):
            return InitialListed(version, streaming=False), [*map(Apply, objects), InitDone(), Watch(version)]
        case Refused(status):
            return Empty(streaming=False), [Pause(_speed(status))]
        case Broke() | Ended() | Quiet():
            return Empty(streaming=False), [Pause(Speed.BACKOFF)]
    return state, []


def _from_initial_watch(state: InitialWatch, signal: Signal) -> Step:
    match signal:
        case Put(thing):
            return state, [Apply(thing)]
        case Removed(thing):
            return state, [Delete(thing)]
        case Bookmark(version, True):
            return Watching(version, heard=True), [InitDone()]
        case Refused(status) if status in {400, 405, 406, 415, 422}:
            # The server does not know streaming lists: it names the parameter in a 400 or 422.
            return InitialPage(), [Init(), List("")]
        case Refused(status):
            return Empty(), [Pause(_speed(status))]
        case Quiet() | Ended():
            # A server too old to know the parameter, and too old to refuse it, never says where the list ends.
            return Empty(streaming=False), [Pause(Speed.BACKOFF)]
        case Broke():
            return Empty(), [Pause(Speed.BACKOFF)]
    return state, []


def _from_listed(state: InitialListed, signal: Signal) -> Step:
    match signal:
        case Opened():
            return Watching(state.resource_version, state.streaming, state.quiet), []
        case Begin():
            return state, [Watch(state.resource_version)]
        case Refused(status, too_new):
            return _refused(state, status, too_new)
        case Broke() | Ended() | Quiet():
            return state, [Pause(Speed.BACKOFF)]
    return state, []


def _from_watching(state: Watching, signal: Signal) -> Step:
    version, streaming = state.resource_version, state.streaming
    match signal:
        case Put(thing) if not _older(thing.resource_version, version):
            return Watching(thing.resource_version or version, streaming, heard=True), [Apply(thing)]
        case Removed(thing) if not _older(thing.resource_version, version):
            return Watching(thing.resource_version or version, streaming, heard=True), [Delete(thing)]
        case Bookmark(newer) if not _older(newer, version):
            return Watching(newer or version, streaming, heard=True), []
        case Put() | Removed() | Bookmark():
            # Versions went back: the server was restored from a backup. What we know is of another history.
            return Empty(streaming), [Pause(Speed.BACKOFF)]
        case Refused(status, too_new):
            return _refused(InitialListed(version, streaming, state.quiet), status, too_new)
        case Ended() if state.heard:
            return InitialListed(version, streaming), [Watch(version)]
        case Ended() | Broke():
            # A server that closes at once, again and again, must not be asked again at once.
            return InitialListed(version, streaming, state.quiet), [Pause(Speed.BACKOFF)]
        case Quiet() if not state.heard and state.quiet + 1 >= _QUIET_STREAMS_BEFORE_RELIST:
            # Streams that open and bring not even bookmarks: our version may lie in the server's future, where a
            # restored server says nothing until it gets there.
            return Empty(streaming), [Pause(Speed.BACKOFF)]
        case Quiet():
            return InitialListed(version, streaming, 0 if state.heard else state.quiet + 1), [Watch(version)]
    return state, []


def _refused(state: InitialListed, status: int, too_new: bool) -> Step:
    if status == 410:
        return Empty(state.streaming), [Pause(Speed.BACKOFF)]
    if too_new or status in {400, 403, 404, 422}:
        return Empty(state.streaming), [Pause(_speed(status))]
    return replace(state), [Pause(Speed.BACKOFF)]


def _speed(status: int) -> Speed:
    # 403 and 404 end when somebody grants a right or installs a CRD.
    return Speed.SLOW if status in {403, 404} else Speed.BACKOFF


def _older(version: str, than: str) -> bool:
    # Comparable by contract since Kubernetes 1.35 (KEP-5504), before that by construction. No number, no judgement.
    return version.isdecimal() and than.isdecimal() and int(version) < int(than)


# What a line says ---------------------------------------------------------------------------------------------------


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """As much of an object's metadata as a watch needs."""

    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    annotations: dict[str, str] | None = None


class _Head(msgspec.Struct, frozen=True, rename="camel"):
    metadata: Metadata = Metadata()
    kind: str = ""


class _Line(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_head = msgspec.json.Decoder(_Head).decode
_decode_status = msgspec.json.Decoder(Status).decode


def parse(line: bytes) -> tuple[Signal, Status | None]:
    """What a line of a stream says, with the server's words if it is an error. Raises msgspec.DecodeError."""
    said = _decode_line(line)
    raw = bytes(said.object)
    match said.type:
        case "ADDED" | "MODIFIED":
            return Put(read(raw)), None
        case "DELETED":
            return Removed(read(raw)), None
        case "BOOKMARK":
            metadata = _decode_head(raw).metadata
            ends = (metadata.annotations or {}).get(INITIAL_EVENTS_END) == "true"
            return Bookmark(metadata.resource_version, ends), None
        case "ERROR":
            status = _decode_status(raw)
            return refusal(status), status
    raise msgspec.DecodeError(f"a watch event of type {said.type!r}")


def refusal(status: Status, code: int = 0) -> Refused:
    """A Status as a signal; `code` is that of the HTTP answer around it, if there was one."""
    causes = from_status(status).causes
    return Refused(code or status.code, any(cause.reason == "ResourceVersionTooLarge" for cause in causes))


def read(raw: bytes, api_version: str = "", kind: str = "") -> Object:
    """An object with its identity. Items of lists do not say what they are: `api_version` and `kind` are put in."""
    head = _decode_head(raw)
    if kind and not head.kind:
        said = msgspec.json.encode({"apiVersion": api_version, "kind": kind})
        raw = said[:-1] + b"," + raw[raw.index(b"{") + 1 :]
    return Object(Key(head.metadata.namespace, head.metadata.name), head.metadata.resource_version, raw)
