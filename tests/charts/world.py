"""Charts as `helm package` makes them, their index as `helm repo index` writes it, and a static server on loopback.

The server is real HTTP over real files, with ETag, Last-Modified and conditional requests; it notes what was asked.
"""

import asyncio
import base64
import gzip
import hashlib
import io
import json
import ssl
import tarfile
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web

from tests.e2e.world import free_port


def tgz(files: Mapping[str, str | bytes], *, links: Mapping[str, str] | None = None) -> bytes:
    """A gzipped tar with owners, times and no directories, as Helm writes it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(data), 0o644, 1_700_000_000
            tar.addfile(member, io.BytesIO(data))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return gzip.compress(packed.getvalue(), mtime=0)


def chart_yaml(name: str, version: str, **more: Any) -> str:
    return json.dumps({"apiVersion": "v2", "name": name, "version": version, "type": "application", **more}) + "\n"


def chart_files(name: str, version: str, **more: Any) -> dict[str, str | bytes]:
    """The files of a small chart, by their paths in it."""
    return {
        "Chart.yaml": chart_yaml(name, version, **more),
        "values.yaml": "replicas: 1\nimage: {repository: app, tag: latest}\nlist: [1, 2]\n",
        "values-prod.yaml": "replicas: 3\nimage: {tag: stable}\nlist: [3]\n",
        "templates/config.yaml": "kind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\n",
        "templates/_helpers.tpl": '{{ define "x" }}{{ end }}\n',
        ".helmignore": ".git/\n",
    }


def chart(name: str, version: str, files: Mapping[str, str | bytes] | None = None, **more: Any) -> bytes:
    """A packaged chart."""
    every = {**chart_files(name, version, **more), **(files or {})}
    return tgz({f"{name}/{path}": content for path, content in every.items()})


class Listed(NamedTuple):
    """A chart in an index. What is None is left out of its entry."""

    name: str
    version: str | None
    url: str | None
    digest: str | None
    created: str = "2024-09-16T10:00:00.123456789Z"


def listed(name: str, version: str, packed: bytes, url: str = "") -> Listed:
    return Listed(name, version, url or f"{name}-{version}.tgz", hashlib.sha256(packed).hexdigest())


def index(entries: Iterable[Listed]) -> bytes:
    """An index, in the block style that Helm writes."""
    lines = ["apiVersion: v1", "entries:"]
    charts: dict[str, list[Listed]] = {}
    for entry in entries:
        charts.setdefault(entry.name, []).append(entry)
    for name, versions in charts.items():
        lines.append(f"  {name}:")
        for one in versions:
            lines += [
                "  - apiVersion: v2",
                f'    created: "{one.created}"',
                "    description: A chart",
                f"    name: {name}",
            ]
            lines += [f"    digest: {one.digest}"] if one.digest is not None else []
            lines += ["    urls:", f"    - {one.url}"] if one.url is not None else []
            lines += [f"    version: {json.dumps(one.version)}"] if one.version is not None else []
    return "\n".join([*lines, 'generated: "2024-09-16T10:00:00Z"', ""]).encode()


class Asked(NamedTuple):
    """One request, and how it was answered."""

    path: str
    headers: Mapping[str, str]
    status: int


class ChartServer:
    """Serves the files of a directory, from a thread of its own. With `password`, to `reader` only."""

    def __init__(self, root: Path, *, password: str = "", tls: ssl.SSLContext | None = None) -> None:
        self.root, self.asked = root, list[Asked]()
        self.redirects: dict[str, str] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.port = free_port()  # one that stays its own while it does not serve
        self._password, self._tls = password, tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None
        root.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/charts"

    def publish(self, *charts: tuple[str, str, bytes]) -> bytes:
        """Write charts and an index of all of them; the index."""
        for name, version, packed in charts:
            (self.root / f"{name}-{version}.tgz").write_bytes(packed)
        made = index(listed(*one) for one in charts)
        self.write("index.yaml", made)
        return made

    def write(self, name: str, data: bytes) -> None:
        # Another file each time, so that the ETag, which is made of time and size, cannot stay by chance.
        fresh = self.root / f".{name}.new"
        fresh.write_bytes(data)
        fresh.rename(self.root / name)

    def start(self) -> None:
        if not self._thread.is_alive():
            self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)

    def stop(self) -> None:
        if self._runner is not None:
            asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
            self._runner = None

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def of(self, name: str) -> list[Asked]:
        """The requests for one file."""
        return [one for one in self.asked if one.path == f"/charts/{name}"]

    async def _start(self) -> None:
        app = web.Application(middlewares=[self._answer])
        app.on_response_prepare.append(self._note)
        app.router.add_static("/charts", self.root)
        app.router.add_get("/{path:.*}", self._elsewhere)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls).start()

    async def _elsewhere(self, _request: web.Request) -> web.StreamResponse:
        raise web.HTTPNotFound

    async def _note(self, request: web.Request, response: web.StreamResponse) -> None:
        # Here, because a conditional request is decided only while the file is about to be sent.
        self.asked.append(Asked(request.path, dict(request.headers), response.status))

    @web.middleware
    async def _answer(self, request: web.Request, handler: Any) -> web.StreamResponse:
        wanted = "Basic " + base64.b64encode(f"reader:{self._password}".encode()).decode()
        if self._password and request.headers.get("Authorization") != wanted:
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": 'Basic realm="charts"'})
        if request.path in self.redirects:
            raise web.HTTPFound(self.redirects[request.path])
        response: web.StreamResponse = await handler(request)
        response.headers.update(self.headers.get(request.path, {}))
        return response
