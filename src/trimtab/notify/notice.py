"""What is told to one provider: an event, what became of it when repeats were folded, and where it comes from."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from trimtab.base.durations import format_duration
from trimtab.notify.event import Event

_KEY_LENGTH: Final = 32


class Phase(StrEnum):
    """Which part of a story this is."""

    ONCE = "once"
    """Something that happened; nobody waits for an end of it."""
    OPENED = "opened"
    """A state began that will end: a failure, drift."""
    REPEATED = "repeated"
    """It is still so; `count` times since it was told last."""
    CLOSED = "closed"
    """It ended."""


class Link(NamedTuple):
    """Where to read on."""

    title: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What is told. `key` is the same whenever the same is told again, also after a crash, and never otherwise.

    `state` names the state that is opened, repeated or closed: the same for all notices of one story, so that systems
    of incidents (pagerduty, alertmanager, opsgenie) can join them. It is empty for `once`.
    """

    event: Event
    key: str
    phase: Phase = Phase.ONCE
    state: str = ""
    count: int = 1
    over_s: float = 0.0
    """The time in which `count` repeats were counted."""
    message: str = ""
    """The text to tell: the event's message, or what the Alert's template made of it. Take `text`."""
    summary: str = ""
    """What the owner of the Alert says about it, one line."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """The metadata of the event and of the Alert, without the prefix of the group."""
    links: tuple[Link, ...] = ()
    cluster: str = ""
    alert: str = ""
    """`namespace/name` of the Alert."""
    alert_labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The text to tell, with how often it was so."""
        told = self.message or self.event.message
        if self.phase is Phase.REPEATED and self.count > 1:
            return f"{told} (×{self.count} in {format_duration(self.over_s)})"
        return told

    @property
    def title(self) -> str:
        """`kind/name.namespace`, as Flux's messages begin."""
        involved = self.event.involved_object
        return f"{involved.kind.lower()}/{involved.name}.{involved.namespace}"

    @property
    def revision(self) -> str:
        """The revision it is about, if it says one."""
        return self.fields.get("revision", "") or self.event.revision


def key_of(*parts: str) -> str:
    """A key over `parts`: short enough for a header, and another one for each difference."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "replace")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()[:_KEY_LENGTH]
