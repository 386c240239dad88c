"""An event as Flux's controllers post it, and what is taken of one that comes from outside.

The words of events come from strangers. They are cleaned once, here, so that nothing behind has to think of it: lines
stay lines, ANSI sequences are gone, and every other character that could change how the rest is read is shown as an
escape.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Final

import msgspec

from trimtab.base.clock import rfc3339
from trimtab.base.errors import Terminal
from trimtab.base.logs import escape, redact

MOST_BODY: Final = 3 << 20
MOST_MESSAGE: Final = 39_000
"""Characters of a message, as Flux has it."""
MOST_METADATA: Final = 64
LONGEST_KEY: Final = 317
LONGEST_VALUE: Final = 4096
LONGEST_NAME: Final = 253
SEVERITIES: Final = frozenset({"trace", "info", "error"})

_ANSI = re.compile("(?:\x1b\\[|\x9b)[0-?]{0,64}[ -/]{0,16}[@-~]|\x1b\\][^\x07\x1b]{0,2048}(?:\x07|\x1b\\\\)")


class NotAnEvent(Terminal):
    """What was sent is no event, or none that is taken."""

    def __init__(self, message: str) -> None:
        super().__init__("InvalidEvent", message)


class Involved(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The object that an event is about."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    api_version: str = ""
    resource_version: str = ""

    @property
    def group(self) -> str:
        """The group of the API version; empty for the core."""
        return self.api_version.rpartition("/")[0]

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


class Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Something that happened, in the form that Flux's providers pass on."""

    involved_object: Involved
    severity: str
    timestamp: str
    message: str
    reason: str
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    reporting_controller: str
    reporting_instance: str = ""

    @property
    def error(self) -> bool:
        """Whether something went wrong."""
        return self.severity == "error"

    def value(self, name: str) -> str:
        """The metadata `name`, with or without the prefix of a group; empty if it is not there."""
        own = f"{self.involved_object.group}/{name}"
        return self.metadata.get(own) or self.metadata.get(name, "")

    @property
    def revision(self) -> str:
        """The revision it is about, if it says one."""
        return self.value("revision")


_decoder = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """The event in Flux's JSON."""
    return msgspec.json.encode(to_builtins(event))


def to_builtins(event: Event) -> dict[str, object]:
    """The event in Flux's shape: metadata and instance are left out where they are empty."""
    built: dict[str, object] = msgspec.to_builtins(event)
    for name in ("metadata", "reportingInstance"):
        if not built[name]:
            del built[name]
    return built


def told(event: Event, message: str, metadata: Mapping[str, str], summary: str) -> Event:
    """The event as Flux passes it on: with what an Alert made of its message, its metadata and the summary."""
    more = {"summary": summary} if summary else {}
    return msgspec.structs.replace(event, message=message, metadata={**metadata, **more})


def parse(body: bytes) -> Event:
    """The event in `body`, cleaned and within the limits. Raises NotAnEvent; unknown fields are left out."""
    if len(body) > MOST_BODY:
        raise NotAnEvent(f"the body has more than {MOST_BODY} bytes")
    try:
        event = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as failure:
        raise NotAnEvent(f"the body is no event: {escape(str(failure))[:500]}") from None
    except RecursionError:
        raise NotAnEvent("the body is no event: it is nested too deeply") from None
    return checked(cleaned(event))


def checked(event: Event) -> Event:
    """`event`, if it says what it has to. Raises NotAnEvent."""
    involved = event.involved_object
    missing = [name for name in ("kind", "name", "namespace") if not getattr(involved, name)]
    if missing:
        raise NotAnEvent(f"the event does not say involvedObject.{missing[0]}: it is about nothing")
    if event.severity not in SEVERITIES:
        raise NotAnEvent(f"the severity {event.severity[:40]!r} is none of {', '.join(sorted(SEVERITIES))}")
    if not event.message.strip():
        raise NotAnEvent("the event has no message")
    if not event.reason:
        raise NotAnEvent("the event has no reason")
    if instant(event.timestamp) is None:
        raise NotAnEvent(f"the timestamp {event.timestamp[:40]!r} is not a time of RFC 3339")
    return event


def cleaned(event: Event) -> Event:
    """`event` with words that nothing can hide in, cut to the limits."""
    involved = event.involved_object
    return Event(
        involved_object=Involved(
            kind=_word(involved.kind),
            namespace=_word(involved.namespace),
            name=_word(involved.name),
            uid=_word(involved.uid),
            api_version=_word(involved.api_version),
            resource_version=_word(involved.resource_version),
        ),
        severity=_word(event.severity),
        timestamp=_word(event.timestamp),
        message=clean(event.message, MOST_MESSAGE),
        reason=_word(event.reason),
        metadata={
            escape(key[:LONGEST_KEY]): clean(value, LONGEST_VALUE)
            for key, value in islice(event.metadata.items(), MOST_METADATA)
        },
        reporting_controller=_word(event.reporting_controller),
        reporting_instance=_word(event.reporting_instance),
    )


def clean(text: str, most: int) -> str:
    """`text` in at most `most` characters: lines stay lines, nothing else can move a cursor or reorder what is read."""
    # Credentials are known by their ends, so they go before anything is cut.
    kept = redact(_ANSI.sub("", text[: 2 * most]))
    lines = kept.replace("\r\n", "\n").split("\n")
    safe = "\n".join("\t".join(escape(part) for part in line.split("\t")) for line in lines)
    return safe if len(safe) <= most else f"{safe[: most - 1]}…"


def instant(timestamp: str) -> datetime | None:
    """The moment of a timestamp; None if it is none."""
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def now(moment: datetime) -> str:
    """`moment` as events write it."""
    return rfc3339(moment.astimezone(UTC))


def _word(text: str) -> str:
    return escape(_ANSI.sub("", text[:LONGEST_NAME]))
