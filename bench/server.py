"""The measure's own connection to the API server: plain requests, counted, and the server's own counters.

It shares no code with the client under measure, only the reading of the kubeconfig.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from trimtab.kube import config

IN_FLIGHT = 32
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
JSON = "application/json"

# Leases and Events are other people's heartbeat; a watch is counted when it ends, in whatever phase that is.
_LEFT_OUT_GROUPS = ("coordination.k8s.io", "events.k8s.io")
_LEFT_OUT_RESOURCES = ("events", "")
_LEFT_OUT_VERBS = ("WATCH", "CONNECT")


class Refused(Exception):
    """The API server answered with an error."""


class Server:
    """An API server, and how many requests this process sent to it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.sent: Counter[str] = Counter()

    async def call(self, verb: str, path: str, body: Any = None, *, kind: str = MERGE) -> Any:
        """One request. 409 counts as an answer, and so does 404 to a GET: None. Raises Refused for any other error."""
        counted = ("PATCH" if kind == MERGE else "APPLY") if verb == "PATCH" else verb
        self.sent[counted] += 1
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.request(verb, path, data=data, headers={"Content-Type": kind}) as response:
            text = await response.read()
            if response.status == 404 and verb == "GET":
                return None
            if response.status >= 300 and response.status != 409:
                raise Refused(f"{verb} {path}: {response.status} {text[:300].decode(errors='replace')}")
            return json.loads(text)

    async def counters(self, *, leases: bool = False) -> Counter[str]:
        """Requests the API server has handled so far, by verb; dry-runs apart (`APPLY+dry`). `leases`: those alone."""
        counts: Counter[str] = Counter()
        async with self.session.get("/metrics") as response:
            text = await response.text()
        for line in text.splitlines():
            if not line.startswith("apiserver_request_total{"):
                continue
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            if leases:
                if labels.get("resource") == "leases" and labels["verb"] not in _LEFT_OUT_VERBS:
                    counts[labels["verb"]] += int(float(line.rsplit(" ", 1)[1]))
                continue
            if (
                labels.get("group") in _LEFT_OUT_GROUPS
                or labels.get("resource") in _LEFT_OUT_RESOURCES
                or labels["verb"] in _LEFT_OUT_VERBS
            ):
                continue
            counts[labels["verb"] + ("+dry" if labels.get("dry_run") else "")] += int(float(line.rsplit(" ", 1)[1]))
        return counts

    async def watch(self, path: str, resource_version: str) -> AsyncIterator[Any]:
        """Events of one watch, until the server or the connection ends it."""
        query = {"watch": "1", "resourceVersion": resource_version, "allowWatchBookmarks": "true"}
        async with self.session.get(path, params=query) as response:
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield json.loads(line)


@asynccontextmanager
async def connect(kubeconfig: Path) -> AsyncIterator[Server]:
    """The API server that `kubeconfig` names."""
    cluster = config.load(kubeconfig)
    headers = await cluster.auth.headers()
    connector = aiohttp.TCPConnector(ssl=cluster.tls if cluster.tls is not None else True, limit=IN_FLIGHT + 8)
    async with aiohttp.ClientSession(
        cluster.server,
        connector=connector,
        headers=headers,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
    ) as session:
        yield Server(session)


async def all_of(jobs: Iterable[Callable[[], Awaitable[Any]]]) -> None:
    """Run `jobs`, 32 of them in flight."""
    waiting = iter(list(jobs))

    async def worker() -> None:
        for job in waiting:
            await job()

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(worker())
