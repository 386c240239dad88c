"""The measure: how long from a change until N Kustomizations are Ready on it.

It works on any controller that serves the Flux API. One repository holds N apps of three objects (ServiceAccount,
Service, Deployment with no replicas), each with a Kustomization that has `wait: true`. The phases, in order:

first   N Kustomizations and their source are created, until all are Ready
push    a commit changes every Deployment, until all are Ready on it
one     a commit changes one app, until that app is Ready on it
noop    a reconcile of every app is asked for, until all have echoed the request
drift   a Deployment is scaled by hand, until it is scaled back; twenty trials, one app after the other

Writes go 32 in flight, the end of a phase is seen by watch. `seconds` includes `harness_s`, the measure's own writes.
API requests are the server's count without the measure's own; other controllers of the control plane are included.
"""

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from bench.server import JSON, Server, all_of
from trimtab.base import process

PHASES = ("first", "push", "one", "noop", "drift")
DRIFT_TRIALS = 20
_DRIFT_TIMEOUT_S = 30.0
_DRIFTS_OF_ONE = 3
_DRIFT_FIELDS = (
    ("spec", "replicas"),
    ("metadata", "labels", "app"),
    ("spec", "template", "spec", "serviceAccountName"),
)
_SETTLE_S = 6.0
"""Events, and the look at the past of a branch, come seconds after the end and are of its cost all the same."""

APP = """apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  replicas: 0
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      serviceAccountName: {name}
      containers:
      - name: app
        image: registry.example/app:{tag}
        ports: [{{containerPort: 8080}}]
        env: [{{name: A, value: "1"}}, {{name: B, value: "2"}}]
        resources: {{requests: {{cpu: 100m, memory: 64Mi}}, limits: {{memory: 128Mi}}}}
"""


@dataclass(frozen=True, slots=True)
class Phase:
    """What one phase cost. `done` below `n` means it ran into the timeout."""

    phase: str
    n: int
    done: int
    seconds: float
    harness_s: float
    cpu_s: float
    rss_peak_mib: int
    requests_per_app: float
    api: dict[str, int]


@dataclass(frozen=True, slots=True)
class Drift:
    """How fast a scaled Deployment was scaled back."""

    phase: str
    trials: int
    p50_s: float
    p95_s: float


class Repository:
    """The apps in git: a work tree, and the bare repository that the controller pulls."""

    def __init__(self, work: Path, bare: Path, n: int) -> None:
        self._work = work
        self._bare = bare
        self._n = n

    async def create(self) -> None:
        """An empty work tree."""
        await self._git("init", "--quiet", "--initial-branch=main", str(self._work), cwd=self._bare.parent)

    async def push(self, tag: str, which: Iterable[int] | None = None) -> str:
        """Commit `tag` into every app, or into those in `which`; returns the commit."""
        for i in range(self._n) if which is None else which:
            directory = self._work / "apps" / f"app-{i}"
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "app.yaml").write_text(APP.format(name=f"app-{i}", tag=tag))
        return await self.commit(tag)

    async def write(self, files: Mapping[str, str], message: str) -> str:
        """Commit `files`, by their paths; returns the commit."""
        for name, text in files.items():
            path = self._work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return await self.commit(message)

    async def commit(self, tag: str) -> str:
        """Commit and push what is in the work tree; returns the commit."""
        await self._git("add", "--all")
        author = ("-c", "user.name=bench", "-c", "user.email=bench@example.org")
        await self._git(*author, "commit", "--quiet", "--message", tag)
        await self._git("push", "--quiet", str(self._bare), "HEAD:main")
        return (await self._git("rev-parse", "HEAD")).strip()

    async def _git(self, *arguments: str, cwd: Path | None = None) -> str:
        env = {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
        done = await process.run(["git", *arguments], env=env, cwd=cwd or self._work)
        if done.code:
            raise RuntimeError(f"git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode()


class Measure:
    """One run over one repository, in a fresh namespace."""

    def __init__(
        self,
        server: Server,
        repository: Repository,
        url: str,
        n: int,
        *,
        pids: Sequence[int],
        timeout_s: float = 900.0,
        interval: str = "60m",
    ) -> None:
        self._interval = interval
        self._server = server
        self._repository = repository
        self._url = url
        self._n = n
        self._pids = pids
        self._timeout_s = timeout_s
        # After a namespace is deleted the server looks its successor up on every write for half a minute.
        self.namespace = f"bench-{time.time_ns() // 1_000_000 % 10_000_000}"
        self._apps = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{self.namespace}/kustomizations"
        self._sources = f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{self.namespace}/gitrepositories"

    async def run(self, phases: Sequence[str] = PHASES) -> AsyncIterator[Phase | Drift]:
        """The wanted phases, each as soon as it is over, on apps that are not there yet."""
        stamp = str(time.time_ns())
        commit = await self._repository.push(f"{stamp}-0")
        await self._server.call("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}}, kind=JSON)
        if "first" in phases:
            yield await self._phase("first", self._create, partial(ready, commit))
        if "push" in phases:
            commit = await self._repository.push(f"{stamp}-1")
            yield await self._phase("push", self._poke, partial(ready, commit))
        if "one" in phases:
            chosen = self._n // 2
            one = await self._repository.push(f"{stamp}-2", [chosen])
            name = f"app-{chosen}"
            yield await self._phase("one", self._poke, lambda app: app["metadata"]["name"] != name or ready(one, app))
        if "noop" in phases:
            token = str(time.time_ns())
            # After "one" the unchanged apps may still be moving their revision: then only the echo is asked for.
            settled = commit if "one" not in phases else ""
            yield await self._phase("noop", partial(self._ask_all, token), partial(echoed, token, settled))
        if "drift" in phases:
            yield await self._drift()

    async def asked(self) -> Phase:
        """One more *noop*, on apps that are there."""
        token = str(time.time_ns())
        return await self._phase("noop", partial(self._ask_all, token), partial(echoed, token, ""))

    async def _create(self) -> None:
        source = {
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": {"name": "bench", "namespace": self.namespace},
            "spec": {"url": self._url, "ref": {"branch": "main"}, "interval": self._interval},
        }
        await self._server.call("POST", self._sources, source, kind=JSON)
        await all_of(
            partial(self._server.call, "POST", self._apps, self._kustomization(i), kind=JSON) for i in range(self._n)
        )

    def _kustomization(self, i: int) -> dict[str, Any]:
        return {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": {"name": f"app-{i}", "namespace": self.namespace},
            "spec": {
                "interval": self._interval,
                "retryInterval": "5s",
                "path": f"./apps/app-{i}",
                "prune": True,
                "wait": True,
                "timeout": "5m",
                "targetNamespace": self.namespace,
                "sourceRef": {"kind": "GitRepository", "name": "bench"},
            },
        }

    async def _poke(self) -> None:
        await self._server.call("PATCH", f"{self._sources}/bench", _request(str(time.time_ns())))

    async def _ask_all(self, token: str) -> None:
        await all_of(
            partial(self._server.call, "PATCH", f"{self._apps}/app-{i}", _request(token)) for i in range(self._n)
        )

    async def _phase(
        self, name: str, start: Callable[[], Awaitable[None]], good: Callable[[dict[str, Any]], bool]
    ) -> Phase:
        """Run `start`, then follow the Kustomizations until `good` holds for all of them."""
        listing = await self._server.call("GET", self._apps)
        state = {app["metadata"]["name"]: good(app) for app in listing["items"]}
        everyone = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            follower = group.create_task(
                self._follow(listing["metadata"]["resourceVersion"], state, good, everyone), name=f"follow {name}"
            )
            cpu, _ = consumption(self._pids)
            counters = await self._server.counters()
            self._server.sent.clear()
            begin = time.monotonic()
            await start()
            harness_s = time.monotonic() - begin
            try:
                async with asyncio.timeout(self._timeout_s):
                    await everyone.wait()
            except TimeoutError:
                pass  # the row says how many were done
            seconds = time.monotonic() - begin
            follower.cancel()
        await asyncio.sleep(_SETTLE_S)
        cpu_after, rss = consumption(self._pids)
        requests = await self._server.counters() - counters - self._server.sent
        return Phase(
            phase=name,
            n=self._n,
            done=sum(state.values()),
            seconds=round(seconds, 2),
            harness_s=round(harness_s, 2),
            cpu_s=round(cpu_after - cpu, 2),
            rss_peak_mib=round(rss),
            requests_per_app=round(requests.total() / self._n, 2),
            api=dict(requests),
        )

    async def _follow(
        self,
        resource_version: str,
        state: dict[str, bool],
        good: Callable[[dict[str, Any]], bool],
        everyone: asyncio.Event,
    ) -> None:
        while True:
            try:
                async for event in self._server.watch(self._apps, resource_version):
                    if event["type"] == "ERROR":
                        resource_version = (await self._server.call("GET", self._apps))["metadata"]["resourceVersion"]
                        break
                    app = event["object"]
                    resource_version = app["metadata"]["resourceVersion"]
                    if event["type"] in ("ADDED", "MODIFIED"):
                        state[app["metadata"]["name"]] = good(app)
                        if sum(state.values()) == self._n:
                            everyone.set()
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.2)

    async def _drift(self) -> Drift:
        """One app after the other: who changes the same field again and again is yielded to after three times."""
        times: list[float] = []
        for trial in range(DRIFT_TRIALS):
            field = _DRIFT_FIELDS[min(trial // (_DRIFTS_OF_ONE * self._n), len(_DRIFT_FIELDS) - 1)]
            name = f"app-{trial % self._n}"
            path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{name}"
            before = _at(await self._server.call("GET", path), field)
            await self._server.call("PATCH", path, _nested(field, 3 if field[-1] == "replicas" else "by-hand"))
            begin = time.monotonic()
            while time.monotonic() - begin < _DRIFT_TIMEOUT_S:
                if _at(await self._server.call("GET", path), field) == before:
                    break
                await asyncio.sleep(0.01)
            times.append(time.monotonic() - begin)
            if times[-1] >= _DRIFT_TIMEOUT_S:
                break
            await asyncio.sleep(0.5)
        times.sort()
        p95 = times[int(len(times) * 0.95) - 1]
        return Drift("drift", len(times), round(times[len(times) // 2], 3), round(p95, 3))


def consumption(pids: Sequence[int]) -> tuple[float, float]:
    """CPU seconds of `pids` with their reaped children, and the sum of their peak resident MiB."""
    cpu = rss = 0.0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        cpu += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        rss += int(peak[1]) / 1024 if peak else 0.0
    return cpu, rss


def resident_mib(pid: int) -> float:
    """Resident memory of a process and of all below it, in MiB."""
    return sum(_resident_mib(each) for each in _family(pid))


def _family(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from _family(int(child))


def _resident_mib(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _at(body: Any, field: Sequence[str]) -> Any:
    for name in field:
        body = body[name]
    return body


def _nested(field: Sequence[str], value: Any) -> dict[str, Any]:
    for name in reversed(field):
        value = {name: value}
    return dict(value)


def _request(token: str) -> dict[str, Any]:
    return {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": token}}}


def ready(commit: str, app: dict[str, Any]) -> bool:
    """Whether `app` is Ready on `commit`."""
    status = app.get("status", {})
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions", [])}
    return (
        conditions.get("Ready") == "True"
        and commit in status.get("lastAppliedRevision", "")
        and status.get("observedGeneration") == app["metadata"]["generation"]
    )


def echoed(token: str, commit: str, app: dict[str, Any]) -> bool:
    """Whether the request `token` was heard; with a `commit`, also whether `app` is Ready on it."""
    if app.get("status", {}).get("lastHandledReconcileAt") != token:
        return False
    return ready(commit, app) if commit else True
