"""A transport that fails at once while the other side does not answer.

A cluster that is gone must cost its own apps their convergence and nobody else a worker that waits for a timeout.
"""

from trimtab.base.clock import Clock
from trimtab.base.http import Request, Response, Transport, TransportError

TRY_EVERY_S = 3.0
"""While nothing answers, one request so often finds out whether that is still so; the others fail at once."""


class Fuse:
    """The way to one server. `problem` is why it does not answer, empty while it does, `since` when that began.

    `since` is in monotonic seconds.
    """

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self.problem = ""
        self.since = 0.0
        self._transport = transport
        self._clock = clock
        self._next_try = 0.0

    async def send(self, request: Request) -> Response:
        """As `Transport.send`. Raises TransportError without asking where the last request got no answer."""
        now = self._clock.monotonic()
        if self.problem:
            if now < self._next_try:
                raise TransportError(self.problem)
            self._next_try = now + TRY_EVERY_S
        try:
            response = await self._transport.send(request)
        except TransportError as failure:
            after = self._clock.monotonic()
            self.since = self.since if self.problem else after
            self.problem, self._next_try = str(failure), after + TRY_EVERY_S
            raise
        self.problem = ""
        return response
