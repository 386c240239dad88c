"""What a line of the ledger says. Pure.

A `Record` is the place in the chain, the moment and the process; its `event` is what happened, of a closed union. The
JSON of a record is canonical (sorted keys, no spaces, defaults left out), so that its bytes can be hashed. Fields are
only ever added: an older program skips what it does not know.

No value of an object is in here. What stands for one is a digest that only the key beside the ledger can make
(`sealing`), since whoever knows what a Secret may contain could otherwise try.
"""

from enum import StrEnum
from typing import Any, Final, TypeAlias

import msgspec

MOST_WORDS: Final = 500
"""So long is what anybody may say in a record: the words of a server, the author of a commit."""


class Cause(StrEnum):
    """Why something is done."""

    REVISION = "revision"  # the source, the spec or a request wants something new
    DRIFT = "drift"  # somebody else changed what was applied
    END = "end"  # the object that wants it all is being deleted
    INSTALL = "install"
    UPGRADE = "upgrade"
    ROLLBACK = "rollback"
    UNINSTALL = "uninstall"
    TEST = "test"


class _Said(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How everything in the ledger is written down."""


class Subject(_Said, frozen=True, kw_only=True):
    """The object of ours that a record is about."""

    kind: str
    namespace: str
    name: str
    uid: str = ""
    generation: int = 0

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


class Actor(_Said, frozen=True, kw_only=True):
    """Whose doing it is: who wrote the commit, who signed it, who asked, and in whose name we act.

    `author` is what the commit says of itself, `signer` whom the trusted keys name; `demanded` is what had to be
    signed, empty where nothing had to be.
    """

    author: str = ""
    signer: str = ""
    demanded: str = ""
    requester: str = ""
    account: str = ""


class Source(_Said, frozen=True, kw_only=True):
    """Where the wish comes from. `subject` is the first line of the commit's message, `digest` that of the artifact,
    `rendered` that of what was built of it, `values` that of the values of a chart, which is keyed.
    """

    kind: str = ""
    namespace: str = ""
    name: str = ""
    url: str = ""
    revision: str = ""
    origin: str = ""
    digest: str = ""
    path: str = ""
    subject: str = ""
    chart: str = ""
    values: str = ""
    rendered: str = ""


class Mark(_Said, frozen=True, kw_only=True):
    """What an object was at one moment: `uid` and `version` are the server's, `digest` that of the fields we own."""

    uid: str = ""
    version: str = ""
    digest: str = ""


class Drifted(_Said, frozen=True, kw_only=True):
    """What somebody else had made of an object: where (never which values), which program, when, and what was done."""

    answer: str
    manager: str = ""
    time: str = ""
    paths: tuple[str, ...] = ()
    gone: bool = False


class Object(_Said, frozen=True, kw_only=True):
    """One object: what is meant to happen to it, or what did. No `before` is an object that was not there, or that
    nobody had looked at; no `after` one that is gone, or that nothing became of. `wish` is the digest of what is meant.
    """

    id: str
    effect: str
    wish: str = ""
    before: Mark | None = None
    after: Mark | None = None
    drift: Drifted | None = None
    message: str = ""


class Began(_Said, frozen=True, kw_only=True, tag_field="kind", tag="began"):
    """A process goes on with the chain, or begins it. `key` tells the keys of digests apart; `note` is what it found
    that it does not go on with.
    """

    chain: str
    host: str
    pid: int
    python: str
    key: str
    note: str = ""


class Torn(_Said, frozen=True, kw_only=True, tag_field="kind", tag="torn"):
    """A process before this one died in the middle of a line: `size` bytes were set apart, in `file`."""

    file: str
    size: int
    sha256: str


class Missed(_Said, frozen=True, kw_only=True, tag_field="kind", tag="missed"):
    """The ledger could not be written from `since` on, and `count` records found no room to wait in."""

    count: int
    since: str
    until: str
    why: str


class Removed(_Said, frozen=True, kw_only=True, tag_field="kind", tag="removed"):
    """A file is older than is kept, and goes. `head` is the hash of its last line: the next file begins there."""

    file: str
    first: int
    last: int
    head: str
    until: str


class Intent(_Said, frozen=True, kw_only=True, tag_field="kind", tag="intent"):
    """What is about to be written; on disk before the first request. `attempt` is what its outcome refers to, `place`
    the cluster that it goes to, where that is another one.
    """

    attempt: str
    subject: Subject
    cause: Cause
    actor: Actor
    source: Source
    objects: tuple[Object, ...] = ()
    what: str = ""
    place: str = ""


class Outcome(_Said, frozen=True, kw_only=True, tag_field="kind", tag="outcome"):
    """What became of an intent; without an `attempt`, what a look found that was to change nothing. `result` is done,
    partly or failed, and unchanged where nothing had to be done after all; `digest` is that over the list of objects,
    in which those that stayed as they were are not: `unchanged` says how many they are. `what` is that of the intent.
    """

    attempt: str
    subject: Subject
    cause: Cause
    result: str
    source: Source
    objects: tuple[Object, ...] = ()
    digest: str = ""
    unchanged: int = 0
    what: str = ""
    place: str = ""
    message: str = ""
    seconds: float = 0.0


class Settled(_Said, frozen=True, kw_only=True, tag_field="kind", tag="settled"):
    """How a revision ended for an app, once: it is what was wished and healthy, or `result` is why it is not."""

    subject: Subject
    actor: Actor
    source: Source
    result: str
    message: str = ""
    seconds: float = 0.0


class Switched(_Said, frozen=True, kw_only=True, tag_field="kind", tag="switched"):
    """Something of the loop itself is another: a suspension, a request, a hold. No `after` is what was taken away."""

    subject: Subject
    what: str
    before: str = ""
    after: str = ""
    actor: Actor = Actor()


class Committed(_Said, frozen=True, kw_only=True, tag_field="kind", tag="committed"):
    """A commit was pushed: it changes `paths`; `actor.signer` is the key that it is signed by."""

    subject: Subject
    actor: Actor
    url: str
    branch: str
    commit: str = ""
    result: str
    paths: tuple[str, ...] = ()
    message: str = ""


Event: TypeAlias = Began | Torn | Missed | Removed | Intent | Outcome | Settled | Switched | Committed


class Unfamiliar(_Said, frozen=True, kw_only=True):
    """An event of a newer program, which this one cannot read."""

    kind: str = ""


class Header(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The place in the chain, the moment and the process; `mono` are seconds that never jump, within one `run`."""

    seq: int
    prev: str
    time: str
    mono: float
    run: str
    version: str
    cluster: str = ""


class Written(Header, frozen=True, kw_only=True, omit_defaults=True):
    """A record with its event as bytes, as it is written."""

    event: msgspec.Raw


class Record(Header, frozen=True, kw_only=True, omit_defaults=True):
    """A record as it is read."""

    event: Event | Unfamiliar


_record = msgspec.json.Decoder(Written).decode
_event = msgspec.json.Decoder(Event).decode
_unfamiliar = msgspec.json.Decoder(Unfamiliar).decode


def read(data: bytes) -> Record:
    """The record in `data`. Raises msgspec.DecodeError for what is none."""
    written = _record(data)
    fields: dict[str, Any] = {name: getattr(written, name) for name in Header.__struct_fields__}
    try:
        return Record(**fields, event=_event(written.event))
    except msgspec.ValidationError:
        return Record(**fields, event=_unfamiliar(written.event))


def shortened(words: str) -> str:
    """`words`, if they are not too many."""
    return words if len(words) <= MOST_WORDS else f"{words[: MOST_WORDS - 1]}…"
