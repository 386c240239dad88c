"""Questions to a control plane: is it serving, and does it have what every namespace and every Pod needs?"""

import ssl
from pathlib import Path

from yarl import URL

from trimtab.base.http import AiohttpTransport, Request, TransportError
from trimtab.manifests import codec
from trimtab.manifests.refs import Body

_TIMEOUT_S = 5.0


class Probe:
    """A few requests as the administrator. Close it."""

    def __init__(self, server: str, ca: Path, token: str) -> None:
        self._server = URL(server)
        self._tls = ssl.create_default_context(cafile=ca)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._transport = AiohttpTransport()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._transport.close()

    async def ready(self) -> bool:
        """Whether the API server says that it is."""
        return (await self._send("GET", "/readyz"))[0] == 200

    async def complaints(self) -> str:
        """What keeps the API server from being ready, in its words; empty if nothing or if it does not answer."""
        status, body = await self._send("GET", "/readyz?verbose")
        return "" if status == 200 else "; ".join(line for line in body.decode().splitlines() if line.startswith("[-]"))

    async def exists(self, path: str) -> bool:
        """Whether there is an object at `path`."""
        return (await self._send("GET", path))[0] == 200

    async def create(self, path: str, body: Body) -> bool:
        """Create an object in the collection at `path`; one that is there already is as good."""
        return (await self._send("POST", path, codec.encode(body)))[0] in (201, 409)

    async def node_ready(self, name: str) -> bool:
        """Whether the Node says that it is, and carries no taint that keeps Pods away."""
        status, body = await self._send("GET", f"/api/v1/nodes/{name}")
        if status != 200:
            return False
        node = codec.decode(body)
        conditions = node.get("status", {}).get("conditions", [])
        ready = any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
        return ready and not node["spec"].get("taints")

    async def _send(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        url = self._server.join(URL(path))
        try:
            answer = await self._transport.send(
                Request(method, url, self._headers, body, timeout=_TIMEOUT_S, tls=self._tls)
            )
            return answer.status, await answer.read()
        except TransportError:
            return 0, b""
