"""Counts requests to the API server where they leave the process: at the transport, retries and watches included."""

from trimtab.base.http import Request, Response, Transport, TransportError
from trimtab.base.telemetry import Telemetry

_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "DELETE": "delete"}


class Counted:
    """A transport that tells `telemetry` of everything that passes through it."""

    def __init__(self, transport: Transport, telemetry: Telemetry) -> None:
        self._transport = transport
        self._telemetry = telemetry

    async def send(self, request: Request) -> Response:
        verb = verb_of(request)
        try:
            response = await self._transport.send(request)
        except TransportError:
            self._telemetry.requested(verb, None)
            raise
        self._telemetry.requested(verb, response.status)
        return response


def verb_of(request: Request) -> str:
    """What is asked for, in few words: a label must not be unbounded."""
    # as it stands: to take the query of every GET apart costs more than all else here
    if request.method == "GET" and "&watch=" in f"&{request.url.raw_query_string}":
        return "watch"
    if request.method == "PATCH":
        return "apply" if "apply-patch" in request.headers.get("Content-Type", "") else "patch"
    return _VERBS.get(request.method, "other")
