"""A transport over the one way out, for places where nobody signs in: what the other side says is where it ends."""

from trimtab.base.errors import Terminal
from trimtab.base.http import Request, Response, TransportError
from trimtab.remotes.outbound import Outbound, Unanswered, Way
from trimtab.remotes.reach import NotAllowed


class Checked:
    """Sends to checked addresses; a redirect comes back as it is."""

    def __init__(self, out: Outbound) -> None:
        self._out = out

    async def send(self, request: Request) -> Response:
        """As `Transport.send`. Raises Terminal (ArtifactFailed) for a host that is never contacted."""
        try:
            return await self._out.send(request, Way(timeout_s=request.timeout or Way().timeout_s), own=True)
        except NotAllowed as failure:
            raise Terminal("ArtifactFailed", str(failure)) from failure
        except Unanswered as failure:
            raise TransportError(str(failure)) from failure
