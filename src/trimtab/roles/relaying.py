"""Where events of our own controllers go: to the desk of this process, or over HTTP to that of another."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from trimtab.base.clock import Clock
from trimtab.base.telemetry import Telemetry
from trimtab.notify.event import Event, Involved, now
from trimtab.runtime.events import EventType, ObjectRef

_MOST_EARLY: Final = 1000


class Relaying:
    """Takes every event as it is said. What is said before anybody hears is kept, as far as there is room."""

    def __init__(
        self, clock: Clock, telemetry: Telemetry, *, identity: str, hear: Callable[[Event], None] | None
    ) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._identity = identity
        self._elsewhere = hear
        self._desk: Callable[[Event], None] | None = None
        self._early: deque[Event] = deque(maxlen=_MOST_EARLY)

    def __call__(
        self,
        component: str,
        involved: ObjectRef,
        type_: EventType,
        reason: str,
        message: str,
        annotations: Mapping[str, str],
    ) -> None:
        """`runtime.events.Relay`."""
        event = Event(
            involved_object=Involved(
                kind=involved.kind,
                namespace=involved.namespace,
                name=involved.name,
                uid=involved.uid,
                api_version=involved.api_version,
                resource_version=involved.resource_version,
            ),
            severity="error" if type_ == "Warning" else "info",
            timestamp=now(self._clock.now()),
            message=message or reason,
            reason=reason,
            metadata=dict(annotations),
            reporting_controller=component,
            reporting_instance=self._identity,
        )
        if (hear := self._desk or self._elsewhere) is not None:
            hear(event)
            return
        if len(self._early) == _MOST_EARLY:
            self._telemetry.notifications_dropped("early", 1)
        self._early.append(event)

    def open(self, hear: Callable[[Event], None]) -> None:
        """There is a desk in this process: it hears what was said before, and everything from now on."""
        self._desk = hear
        while self._early:
            hear(self._early.popleft())

    def close(self) -> None:
        """The desk is no more."""
        self._desk = None
