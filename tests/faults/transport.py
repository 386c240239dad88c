"""The network between one world's controllers and everything else: it numbers, it harms, it watches over deletions.

A `Wire` lasts for one run of a scenario. Every life of the controllers speaks through a `Line` of its own: when that
life ends, its line is cut, and nothing it may still try reaches anybody.
"""

import asyncio
import contextlib
import hashlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from tests.faults.answers import Canned, refusal
from tests.faults.views import View
from trimtab.base.http import MAX_BODY, AiohttpTransport, Request, Response, TransportError
from trimtab.manifests import codec

OWNER = "kustomize.toolkit.fluxcd.io/"
RELEASED = "helm.toolkit.fluxcd.io/"
"""Before the labels that say whose an object is."""
LATE_S = 0.05
MOST_SAID = 150
STAGE_DOMAIN = "example.org"
"""The groups of the kinds that a world defines end with its name and this."""
_OWN = ("kustomizations", "gitrepositories", "helmcharts", "helmreleases")


class Mode(StrEnum):
    """What happens to one request."""

    DIE_BEFORE = "die before"
    DIE_AFTER = "die after"
    LOST = "reply lost"
    TWICE = "sent twice"
    CONFLICT = "409"
    BUSY = "429"
    BROKEN = "500"
    LATE = "timeout"
    """The client gives up; the server gets the request all the same, a little later."""


class Call(NamedTuple):
    """One request of a scenario, named so that another run finds it again: the nth of its kind."""

    method: str
    path: str
    kind: str
    nth: int

    def __str__(self) -> str:
        return f"{self.method} {self.path}{f' ({self.kind})' if self.kind else ''} #{self.nth}"


class Target(NamedTuple):
    """What a request is about, as its path says it."""

    group: str
    plural: str
    namespace: str
    name: str


class Fault(NamedTuple):
    """One request, and what happens to it."""

    call: Call
    mode: Mode


Guard = Callable[[Target, Mapping[str, str]], Awaitable[str | None]]
"""Asked before every deletion, with its preconditions: why it must not happen, or None."""


@dataclass
class Wire:
    """One run. `home` is the namespace of the world: what other worlds do stays out of sight.

    `calls` are the numbered requests in their order, each with the digest of its body; `fault` hits one of them.
    """

    real: AiohttpTransport
    server: str
    home: str
    guard: Guard
    fault: Fault | None = None
    view: View = field(default_factory=View)
    cluster: str = ""
    """What the cluster calls itself from now on, instead of its own id."""
    forbidden: str = ""
    """Who writes or deletes an object of this name is told that it may not."""
    armed: bool = False
    fired: bool = False
    in_flight: int = 0
    last: float = 0.0
    calls: list[tuple[Call, str]] = field(default_factory=list)
    created: Counter[str] = field(default_factory=Counter)
    deleted: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    deaths: int = 0
    died: asyncio.Event = field(default_factory=asyncio.Event)
    on_apply: Callable[[int], None] | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever the server took a write to one of our own objects: what waits for their status looks again."""
    applies: int = 0
    said: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_SAID))
    """What was asked and answered last, by whom and when: for who has to find out what went wrong."""
    lives: int = 0
    _seen: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _late: set[asyncio.Task[None]] = field(default_factory=set)

    async def send(self, line: "Line", request: Request) -> Response:
        """Pass on, or harm."""
        request = self.view.rewrite(self._narrow(request))
        if (lie := self.view.answer(request)) is not None:
            return lie
        if request.url.query.get("watch"):
            response = self.view.distort(request, _Own(await self.real.send(request), self.home, request))
            line.watched.add(request.url.path.rpartition("/")[2])
            return response
        self.in_flight += 1
        outcome = "no answer"
        try:
            response = await self._exchange(line, request)
            outcome = str(response.status)
            return response
        finally:
            self.in_flight -= 1
            self.last = asyncio.get_running_loop().time()
            rehearsal = " (dry run)" if request.url.query.get("dryRun") else ""
            asked = f"{request.method} {self._path(request)}{rehearsal}"
            self.said.append(f"{self.last:.2f} life {line.number}: {asked}: {outcome}")

    async def _exchange(self, line: "Line", request: Request) -> Response:
        mode = self._mode(request)
        if (violation := await self._refusal(request)) is not None:
            self.violations.append(violation)
            return refusal(403, "Forbidden", violation)
        harmless = request.method == "GET" or "dryRun" in request.url.query
        if self.forbidden and not harmless and request.url.path.endswith(f"/{self.forbidden}"):
            return refusal(403, "Forbidden", f"{self.forbidden} is not to be touched")
        if self._is_apply(request):
            self.applies += 1
            if self.on_apply is not None:
                self.on_apply(self.applies)
        match mode:
            case Mode.DIE_BEFORE:
                await self._die(line)
            case Mode.DIE_AFTER:
                await self._real(request)
                await self._die(line)
            case Mode.LOST:
                await self._real(request)
                raise TransportError("connection reset by peer")
            case Mode.TWICE:
                await self._real(request)
            case Mode.CONFLICT:
                return refusal(409, "Conflict", "the object has been modified; please apply your changes again")
            case Mode.BUSY:
                return refusal(429, "TooManyRequests", "too many requests", {"Retry-After": "0"})
            case Mode.BROKEN:
                return refusal(500, "InternalError", "etcdserver: leader changed")
            case Mode.LATE:
                task = asyncio.ensure_future(self._later(request))
                self._late.add(task)
                task.add_done_callback(self._late.discard)
                raise TransportError("timed out") from TimeoutError()
        return await self._real(request)

    async def flushed(self) -> None:
        """Return when what was on its way to the server has arrived."""
        while self._late:
            await asyncio.wait(set(self._late))

    def quiet_for(self) -> float:
        """Seconds since anything was said."""
        return 0.0 if self.in_flight or self._late else asyncio.get_running_loop().time() - self.last

    async def _die(self, line: "Line") -> None:
        line.dead = True
        self.deaths += 1
        self.died.set()
        await asyncio.Event().wait()

    async def _later(self, request: Request) -> None:
        await asyncio.sleep(LATE_S)
        with contextlib.suppress(TransportError):
            await self._real(request)

    async def _real(self, request: Request) -> Canned:
        response = await self.real.send(request)
        answer = Canned(response.status, await response.read(), response.headers)
        if self.cluster and request.url.path == "/api/v1/namespaces/kube-system" and answer.status == 200:
            body = codec.decode(answer.body)
            body["metadata"]["uid"] = self.cluster
            answer = replace(answer, body=codec.encode(body))
        if self._is_ours(request) and not request.url.query.get("dryRun"):
            path = self._path(request)
            if request.method != "GET" and any(f"/{plural}/" in path for plural in _OWN):
                self.news.set()
            if answer.status == 201 and "/events" not in path:
                self.created[path] += 1
            if self._is_apply(request) and answer.status in (200, 201):
                self.written[path] += 1
            if request.method == "DELETE" and answer.status in (200, 202):
                self.deleted[path] += 1
        return answer

    def _mode(self, request: Request) -> Mode | None:
        """Number the request, and say what is to happen to it."""
        if not self.armed:
            return None
        kind = "dry run" if request.url.query.get("dryRun") else ""
        name = (request.method, self._path(request), kind)
        self._seen[name] += 1
        call = Call(*name, self._seen[name])
        self.calls.append((call, hashlib.sha256(request.body or b"").hexdigest()[:12]))
        if self.fired or self.fault is None or self.fault.call != call:
            return None
        self.fired = True
        return self.fault.mode

    async def _refusal(self, request: Request) -> str | None:
        if request.method != "DELETE" or not self._is_ours(request) or request.url.query.get("dryRun"):
            return None
        target = target_of(request.url.path)
        preconditions = (codec.decode(request.body) if request.body else {}).get("preconditions") or {}
        return await self.guard(target, preconditions)

    def _is_ours(self, request: Request) -> bool:
        return str(request.url).startswith(self.server)

    def _is_apply(self, request: Request) -> bool:
        return (
            request.method == "PATCH"
            and "apply-patch" in request.headers.get("Content-Type", "")
            and not request.url.query.get("dryRun")
        )

    def _path(self, request: Request) -> str:
        """The path without what differs from world to world and from run to run."""
        path = request.url.path if self._is_ours(request) else f"git:{request.url.path}"
        if "/events/" in path:
            path = path[: path.index("/events/") + len("/events/")] + "…"
        return path.replace(self.home, "~")

    def _narrow(self, request: Request) -> Request:
        """Keep other worlds out of sight, as if each had a cluster of its own."""
        if request.method != "GET" or not self._is_ours(request):
            return request
        url = request.url
        for plural in _OWN:
            if url.path.endswith((f"/v1/{plural}", f"/v2/{plural}")):
                url = url.with_path(url.path.removesuffix(plural) + f"namespaces/{self.home}/{plural}", keep_query=True)
        query = dict(url.query)
        for owner in (OWNER, RELEASED):
            if query.get("labelSelector", "").startswith(owner):
                query["labelSelector"] += f",{owner}namespace={self.home}"
                url = url.with_query(query)
        return replace(request, url=url)


class Line:
    """The transport of one life."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        wire.lives += 1
        self.number = wire.lives
        self.dead = False
        self.watched: set[str] = set()

    async def send(self, request: Request) -> Response:
        if self.dead:
            raise TransportError("this life is over")
        return await self.wire.send(self, request)


class _Own:
    """A watch on definitions without those of other worlds: who hears of them asks what kinds there are, again."""

    def __init__(self, response: Response, home: str, request: Request) -> None:
        self.status, self.headers = response.status, response.headers
        self._response = response
        self._strangers = request.url.path.endswith("/customresourcedefinitions") and response.status == 200
        self._home = f".{home}.{STAGE_DOMAIN}".encode()

    async def read(self, limit: int = MAX_BODY) -> bytes:
        return await self._response.read(limit)

    async def close(self) -> None:
        await self._response.close()

    async def chunks(self) -> AsyncIterator[bytes]:
        rest = b""
        async for chunk in self._response.chunks():
            if not self._strangers:
                yield chunk
                continue
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if f".{STAGE_DOMAIN}".encode() not in line or self._home in line:
                    yield line + b"\n"


def target_of(path: str) -> Target:
    """The object behind a path of the API."""
    parts = path.strip("/").split("/")
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    return Target(group, rest[0], namespace, rest[1] if len(rest) > 1 else "")
