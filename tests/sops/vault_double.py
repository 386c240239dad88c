"""A double of Vault: the engine `transit`, tokens, and logins of service accounts, by HTTP, in a thread.

It is no Vault. That it speaks as one is what hvac, a client that is not ours, and the real sops say of it.
"""

import asyncio
import base64
import hashlib
import json
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "token-of-the-double"
LOGGED_IN = "token-of-an-account"


class VaultDouble:
    """Keys are of their names, so that what was encrypted once opens in every run."""

    def __init__(self) -> None:
        self.address = ""
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.answer: tuple[int, dict[str, Any]] | None = None
        """What is said to everything instead."""
        self.namespace = ""

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/v1/{path:.*}", self._serve)
        return app

    async def _serve(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        body = json.loads(await request.read() or b"{}")
        self.asked.append((path, dict(request.headers), body))
        if self.answer is not None:
            return web.json_response(self.answer[1], status=self.answer[0])
        if path.endswith("/login"):
            return self._login(body)
        if request.headers.get("X-Vault-Token") not in (TOKEN, LOGGED_IN):
            return web.json_response({"errors": ["permission denied"]}, status=403)
        if request.headers.get("X-Vault-Namespace", "").strip("/") != self.namespace:
            return web.json_response({"errors": ["no handler for route"]}, status=404)
        if path == "auth/token/lookup-self":
            return _data({"id": request.headers["X-Vault-Token"]})
        *_, verb, name = path.split("/")
        return self._transit(verb, name, body)

    def _transit(self, verb: str, name: str, body: dict[str, Any]) -> web.Response:
        key = AESGCM(hashlib.sha256(name.encode()).digest())
        if verb == "keys":
            return _data({"name": name, "type": "aes256-gcm96", "keys": {"1": 0}})
        if verb == "encrypt":
            nonce = os.urandom(12)
            sealed = nonce + key.encrypt(nonce, base64.b64decode(body["plaintext"]), None)
            return _data({"ciphertext": f"vault:v1:{base64.b64encode(sealed).decode()}", "key_version": 1})
        try:
            sealed = base64.b64decode(body["ciphertext"].removeprefix("vault:v1:"))
            plain = key.decrypt(sealed[:12], sealed[12:], None)
        except (InvalidTag, ValueError):
            return web.json_response({"errors": ["cipher: message authentication failed"]}, status=400)
        return _data({"plaintext": base64.b64encode(plain).decode()})

    def _login(self, body: dict[str, Any]) -> web.Response:
        if not body.get("jwt") or not body.get("role"):
            return web.json_response({"errors": ["missing jwt"]}, status=400)
        return web.json_response({"auth": {"client_token": LOGGED_IN, "policies": [], "lease_duration": 60}})


def _data(data: dict[str, Any]) -> web.Response:
    return web.json_response({"data": data})


@contextmanager
def running(tls: ssl.SSLContext | None = None) -> Iterator[VaultDouble]:
    """The double at work, on a port of loopback."""
    double, loop = VaultDouble(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(double.app())
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        double.address = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        return runner

    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(60)
    try:
        yield double
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()
