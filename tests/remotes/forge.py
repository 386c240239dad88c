"""A double of the token endpoint of GitHub Apps: it checks the statement it is shown, and its tokens expire.

It is real HTTPS on loopback. What it gives out are passwords for a git server of the test's.
"""

import base64
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa


@dataclass
class Forge:
    """`public` checks statements, `now` is its clock; `tokens` are those given out, with their end."""

    tls: ssl.SSLContext
    public: rsa.RSAPublicKey
    app_id: str = "1234"
    installations: dict[str, str] = field(default_factory=lambda: {"42": "acme"})
    lasts: timedelta = timedelta(hours=1)
    stem: str = "ghs_"
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    tokens: dict[str, datetime] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    says: web.Response | None = None
    port: int = 0
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/api/v3"

    async def __aenter__(self) -> "Forge":
        application = web.Application()
        application.router.add_post("/api/v3/app/installations/{id}/access_tokens", self._token)
        application.router.add_get("/api/v3/{kind:orgs|users}/{owner}/installation", self._find)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.tls).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner
        await self._runner.cleanup()

    def good(self, password: str) -> bool:
        """Whether `password` is a token that has not expired."""
        return password in self.tokens and self.now() < self.tokens[password]

    def wrong(self, request: web.Request) -> str:
        """What is wrong with the statement in `request`; nothing if it proves who asks."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            head, body, signature = token.split(".")
            self.public.verify(_decoded(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
            claims = json.loads(_decoded(body))
            algorithm = json.loads(_decoded(head))
        except (ValueError, InvalidSignature):
            return "A JSON web token could not be decoded"
        now = int(self.now().timestamp())
        if scheme != "Bearer" or algorithm != {"alg": "RS256", "typ": "JWT"}:
            return "not a bearer, or another algorithm"
        if claims["iss"] != self.app_id:
            return "Integration not found"
        if claims["iat"] > now:
            return "'Issued at' claim ('iat') must be an Integer representing a time in the past"
        if claims["exp"] <= now or claims["exp"] - now > 600:
            return "'Expiration time' claim ('exp') is too far in the future"
        return ""

    async def _token(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path}")
        self.bodies.append(await request.json())
        if self.says is not None:
            return self.says
        if why := self.wrong(request):
            return web.json_response({"message": why}, status=401)
        if request.match_info["id"] not in self.installations:
            return web.json_response({"message": "Not Found"}, status=404)
        token, end = f"{self.stem}{len(self.tokens)}", self.now() + self.lasts
        self.tokens[token] = end
        return web.json_response({"token": token, "expires_at": f"{end:%Y-%m-%dT%H:%M:%SZ}"}, status=201)

    async def _find(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path}")
        if why := self.wrong(request):
            return web.json_response({"message": why}, status=401)
        for number, owner in self.installations.items():
            kind = "users" if owner.startswith("user") else "orgs"
            if (request.match_info["kind"], request.match_info["owner"]) == (kind, owner):
                return web.json_response({"id": int(number), "account": {"login": owner}})
        return web.json_response({"message": "Not Found"}, status=404)


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
