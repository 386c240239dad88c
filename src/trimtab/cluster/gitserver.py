"""A git server on loopback, for the demo and for tests: git's own http-backend, one process for each request."""

import base64
import hmac
import os
import ssl
from collections import deque
from collections.abc import Container, Mapping
from pathlib import Path

from aiohttp import web

from trimtab.base.process import Completed, run

_MAX_BODY = 512 << 20
_SERVICES = ("/info/refs", "/git-upload-pack", "/git-receive-pack")


class GitServer:
    """Serves the bare repositories below `root` by smart HTTP, for reading and for pushing.

    With `accounts` (password by user name) every request has to sign in, and those in `readers` may not push; with
    `tls` it speaks https. Not for anything but loopback: whoever else signs in may do everything.
    """

    def __init__(
        self,
        root: Path,
        port: int = 0,
        *,
        accounts: Mapping[str, str] | None = None,
        readers: Container[str] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.root = root
        self.port = port
        self.requests: deque[str] = deque(maxlen=1000)
        self._accounts = accounts
        self._readers = readers
        self._tls = tls
        self._runner: web.AppRunner | None = None

    async def start(self) -> "GitServer":
        """Listen. With port 0 a free one is taken, and `port` says which. Raises OSError."""
        application = web.Application(client_max_size=_MAX_BODY)
        application.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def stop(self) -> None:
        """Stop listening and end what is under way."""
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> "GitServer":
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def url(self, name: str) -> str:
        """The address of the repository `name` (the directory `name`.git below the root)."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/{name}.git"

    async def create(self, name: str, *, branch: str = "main") -> Path:
        """Make the empty repository `name` and return where it is. One that is there already stays as it is."""
        path = self.root / f"{name}.git"
        if not path.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            done = await self._git("init", "--quiet", "--bare", f"--initial-branch={branch}", "--", str(path))
            if done.code != 0:
                raise OSError(f"git init {path}: {done.stderr.decode(errors='replace').strip()}")
        return path

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        path = "/" + request.match_info["path"]
        self.requests.append(f"{request.method} {path}")
        user = self._signed_in(request)
        if user is None:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="git"'}, text="sign in\n")
        if ".." in path or not path.endswith(_SERVICES):
            raise web.HTTPNotFound(text="only git's smart protocol is served\n")
        if user in self._readers and "git-receive-pack" in f"{path}?{request.query_string}":
            raise web.HTTPForbidden(text="this account may only read\n")
        body = await request.read()
        done = await self._git(
            "http-backend",
            stdin=body,
            environment={
                "GIT_PROJECT_ROOT": str(self.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
                "PATH_INFO": path,
                "QUERY_STRING": request.query_string,
                "REQUEST_METHOD": request.method,
                "CONTENT_TYPE": request.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "REMOTE_USER": user,
                "REMOTE_ADDR": "127.0.0.1",
            },
        )
        return _answer(done)

    def _signed_in(self, request: web.Request) -> str | None:
        """The user's name; None if nobody, or a wrong one."""
        if self._accounts is None:
            return "anonymous"
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Basic":
            return None
        try:
            name, _, password = base64.b64decode(token, validate=True).decode().partition(":")
        except ValueError:
            return None
        expected = self._accounts.get(name)
        matches = expected is not None and hmac.compare_digest(expected.encode(), password.encode())
        return name if matches else None

    async def _git(
        self, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> Completed:
        settings = {"http.receivepack": "true", "safe.directory": "*", "gc.auto": "0"}
        closed = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.root),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_COUNT": str(len(settings)),
        }
        for number, (key, value) in enumerate(settings.items()):
            closed |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        return await run(
            ["git", *arguments], env=closed | dict(environment or {}), stdin=stdin, timeout=300.0, max_output=_MAX_BODY
        )


def _answer(done: Completed) -> web.Response:
    """The answer of a CGI program: headers, an empty line, the body."""
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    headers: dict[str, str] = {}
    for line in head.decode("latin-1").splitlines():
        name, _, value = line.partition(":")
        headers[name.strip()] = value.strip()
    if not headers:
        return web.Response(status=500, text=done.stderr.decode(errors="replace"))
    status = int(headers.pop("Status", "200").split(" ")[0])
    headers.pop("Content-Length", None)
    return web.Response(status=status, headers=headers, body=body)
