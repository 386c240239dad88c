"""One world of the harness: a namespace, a repository and the controllers of nobody else, in this interpreter."""

import asyncio
import contextlib
import logging
import shutil
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from tests.e2e.world import Repo, condition
from tests.faults.transport import OWNER, Line, Target, Wire
from trimtab.api.installed import INTENTS
from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Telemetry
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.kube.errors import AlreadyExists, ApiError, Conflict, Gone, NotFound, Unreachable
from trimtab.kube.limiter import Limiter
from trimtab.kube.resource import Resource
from trimtab.manifests import codec
from trimtab.manifests.refs import Body, Gvk
from trimtab.roles.assembly import Assembly
from trimtab.roles.role import Means
from trimtab.roles.settings import Settings
from trimtab.targets.kubernetes import inventory

log = logging.getLogger(__name__)

HASTE = 20.0
PATIENCE_S = 60.0
SILENCE_S = 50.0
QUIET_S = 0.06
_LOOKS = 3
_LOOK_S = 0.02
_LOOK_ANYWAY_S = 0.5
_THOUGHT_S = 0.2

APPS = Resource(Gvk("kustomize.toolkit.fluxcd.io", "v1", "Kustomization"), "kustomizations", True)
SOURCES = Resource(Gvk("source.toolkit.fluxcd.io", "v1", "GitRepository"), "gitrepositories", True)
CONFIG_MAPS = Resource(Gvk("", "v1", "ConfigMap"), "configmaps", True)
NAMESPACES = Resource(Gvk("", "v1", "Namespace"), "namespaces", False)
_CLUSTER_SCOPED = {"Namespace", "CustomResourceDefinition"}


class Stuck(Exception):
    """The world did not get where it should."""


class HastyClock(SystemClock):
    """Monotonic time that runs `HASTE` times as fast, so that backoffs cost little. The wall clock is left alone."""

    def monotonic(self) -> float:
        return time.monotonic() * HASTE

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / HASTE)

    def now(self) -> datetime:
        return super().now()


def resource_of(body: Body) -> Resource:
    """Where objects like `body` are served; for kinds whose plural is formed with an s."""
    gvk = Gvk.of(body["apiVersion"], body["kind"])
    return Resource(gvk, gvk.kind.lower() + "s", gvk.kind not in _CLUSTER_SCOPED)


def target(body: Body) -> Target:
    """The identity of `body` as a path says it."""
    resource, metadata = resource_of(body), body["metadata"]
    return Target(resource.gvk.group, resource.plural, metadata.get("namespace", ""), metadata["name"])


class Ending(NamedTuple):
    """What is left when a run is over: objects by identity, and what each app has on record."""

    objects: Mapping[str, Body]
    uids: Mapping[str, str]
    problems: tuple[str, ...]


@dataclass
class Life:
    """The controllers from a start to a death. They are started again when they fail, as the process does it."""

    settings: Settings
    line: Line
    client: Client
    tasks: Tasks = field(default_factory=lambda: Tasks("controllers"))
    main: "asyncio.Task[None] | None" = None
    assembly: Assembly | None = None

    def start(self) -> None:
        self.main = asyncio.ensure_future(self._live())

    async def kill(self) -> None:
        """Cancel everything, drop all memory; nothing more reaches the server."""
        self.line.dead = True
        await self.tasks.close()
        if self.main is not None:
            self.main.cancel()
            await asyncio.wait({self.main}, timeout=60)

    @property
    def busy(self) -> bool:
        """Whether a pass is under way: it may be in a thread, where nobody hears of it."""
        controllers = self.assembly._controllers if self.assembly else ()
        return any(controller.queue.in_flight for controller in controllers)

    def whereabouts(self) -> str:
        """Where the controllers are, for who wonders why nothing happens: what each of their tasks waits in."""
        places: Counter[str] = Counter()
        for task in self.tasks._tasks:
            waits: Any = task.get_coro()
            frames: list[str] = []
            while waits is not None and getattr(waits, "cr_frame", None) is not None:
                frames.append(f"{Path(waits.cr_frame.f_code.co_filename).stem}:{waits.cr_frame.f_lineno}")
                waits = waits.cr_await
            places[f"{task.get_name().partition('/')[2].rstrip('-0123456789')} in {'/'.join(frames[2:])}"] += 1
        return "Tasks: " + ", ".join(f"{count} {place}" for place, count in sorted(places.items()))

    async def _live(self) -> None:
        while not self.line.dead:
            self.tasks = Tasks("controllers")
            clock = HastyClock()
            self.assembly = Assembly(Means(self.settings, self.client, self.line, clock, Telemetry()))
            try:
                await self.assembly.run(self.tasks, lambda: float("inf"))
            except Exception as failure:  # noqa: BLE001 - as the supervisor of the process does
                log.info("the controllers failed: %s", failure)
            finally:
                await self.tasks.close()
            await asyncio.sleep(0.02)


class World:
    """Where runs of one scenario happen one after the other.

    `revisions` are the objects of each revision, by directory; `desired` says what of them is wanted at the moment,
    `let_go` what is there and nobody's on purpose. `contested`: somebody else writes replicas, so that they may be any.
    """

    controllers: ClassVar[frozenset[str]] = frozenset({"source", "kustomize"})

    def __init__(
        self, name: str, cluster: config.ClusterConfig, kubeconfig: Path, root: Path, git_root: Path, git_url: str
    ) -> None:
        self.home = name
        self.root = root
        self.cluster = cluster
        self._kubeconfig = kubeconfig
        self._repo = Repo(git_root, name, git_url)
        self._real = AiohttpTransport()
        self.api = Client(cluster, AiohttpTransport(), limiter=Limiter(slots=16))
        self.revisions: dict[str, dict[str, list[Body]]] = {}
        self.commits: dict[str, str] = {}
        self.desired: set[Target] = set()
        self.let_go: set[Target] = set()
        self.contested = False
        self.wire = self._new_wire()
        self.life: Life | None = None
        self._passage = asyncio.Lock()
        self.kept: dict[str, Any] = {}

    # --- the stage

    async def furnish(self, revisions: Mapping[str, Mapping[str, list[Body]]]) -> None:
        """Make the namespace and the commits, once."""
        with contextlib.suppress(AlreadyExists):
            await self.api.create(
                NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.home}}
            )
        before: set[str] = set()
        for name, directories in revisions.items():
            self.revisions[name] = {directory: list(bodies) for directory, bodies in directories.items()}
            files: dict[str, str | bytes | None] = {}
            for directory, bodies in directories.items():
                for body in bodies:
                    file = f"{directory}/{body['kind'].lower()}-{body['metadata']['name']}.yaml"
                    files[file] = codec.encode(body)
            changes = files | dict.fromkeys(before - files.keys(), None)
            self.commits[name] = await asyncio.to_thread(self._repo.commit, changes, name)
            before = set(files)

    @property
    def resources(self) -> list[Resource]:
        """The kinds that occur."""
        bodies = [b for directories in self.revisions.values() for bodies in directories.values() for b in bodies]
        return list({resource_of(body) for body in bodies})

    async def clear(self) -> None:
        """Remove everything of the last run."""
        await self.die()
        await self.wire.flushed()
        for resource in (APPS, SOURCES):
            for item in (await self.api.list(resource, self.home)).items:
                name = item["metadata"]["name"]
                try:
                    await self.api.merge_patch(resource, name, self.home, {"metadata": {"finalizers": None}})
                    await self.api.delete(resource, name, self.home)
                except NotFound:
                    pass
        namespaced = [resource for resource in self.resources if resource.namespaced]
        await asyncio.gather(*map(self._clear_kind, namespaced))
        for resource in self.resources:
            if not resource.namespaced:
                await self._clear_kind(resource)

    async def _clear_kind(self, resource: Resource) -> None:
        async def left() -> bool:
            items = await self._list(resource)
            for item in items:
                metadata = item["metadata"]
                if not metadata.get("deletionTimestamp"):
                    with contextlib.suppress(NotFound, Conflict):
                        await self.api.delete(resource, metadata["name"], metadata.get("namespace", ""))
            return not items

        await until(left, f"{resource} are cleared away", 120)

    async def close(self) -> None:
        await self.die()
        await self._real.close()
        await self.api._wire.transport.close()  # type: ignore[attr-defined]

    # --- life and death

    def begin(self) -> Wire:
        """A new run: nothing numbered, nobody alive."""
        self.wire = self._new_wire()
        self.desired, self.let_go, self.contested = set(), set(), False
        self.kept = {}
        return self.wire

    def _new_wire(self) -> Wire:
        return Wire(self._real, str(self.cluster.server).rstrip("/"), self.home, self._guard)

    async def live(self) -> None:
        """Start the controllers, with no memory but what is on disk and in the cluster."""
        async with self._passage:
            self._live()

    async def die(self) -> None:
        """End them, and have them stay so until somebody starts them: a death that was under way is over."""
        async with self._passage:
            await self._die()
            self.wire.died.clear()

    async def again(self, *, lose_cache: bool = False) -> None:
        """Die and live, perhaps on another disk."""
        async with self._passage:
            await self._again(lose_cache=lose_cache)

    async def revive(self, *, lose_cache: bool = False) -> None:
        """Start again who died of a fault, unless somebody else has seen to it."""
        async with self._passage:
            if self.life is not None and self.life.line.dead:
                await self._again(lose_cache=lose_cache)
            else:
                self.wire.died.clear()

    async def _again(self, *, lose_cache: bool) -> None:
        await self._die()
        if lose_cache:
            await asyncio.to_thread(shutil.rmtree, self.root / self.home, ignore_errors=True)
        self.wire.died.clear()
        self._live()

    def _live(self) -> None:
        # Two lives side by side, of which one is forgotten, would haunt every later run of this world.
        assert self.life is None
        line = Line(self.wire)
        settings = Settings(
            controllers=self.controllers,
            kubeconfig=self._kubeconfig,
            context=None,
            storage_path=self.root / self.home,
            storage_addr="127.0.0.1:0",
            storage_adv_addr="artifacts.invalid",
            metrics_addr="127.0.0.1:0",
            concurrent=8,
            namespace="flux-system",
            cross_namespace_refs="platform",
            default_service_account="",
            applier=None,
            reader=None,
            leader_elect=False,
        )
        client = Client(self.cluster, line, limiter=Limiter(slots=32), clock=HastyClock())
        self.life = Life(settings, line, client)
        self.life.start()

    async def _die(self) -> None:
        life, self.life = self.life, None
        if life is not None:
            await life.kill()

    # --- what happens in scenarios

    def want(self, revision: str, *directories: str) -> None:
        """From now on this is what should be; without directories, all of them."""
        chosen = self.revisions[revision]
        self.desired = {
            target(b) for name, bodies in chosen.items() if not directories or name in directories for b in bodies
        }

    def move(self, revision: str) -> None:
        """Let the branch point at `revision`."""
        self.want(revision)
        ref = self._repo.bare / "refs/heads/main"
        fresh = ref.with_suffix(".new")
        fresh.write_text(self.commits[revision] + "\n")
        fresh.rename(ref)

    async def poke(self) -> None:
        """Ask for a look at the source."""
        moment = {"reconcile.fluxcd.io/requestedAt": str(time.time_ns())}
        await self.api.merge_patch(SOURCES, "repo", self.home, {"metadata": {"annotations": moment}})

    async def ask(self, name: str) -> None:
        """Ask for another pass over an app."""
        moment = {"reconcile.fluxcd.io/requestedAt": str(time.time_ns())}
        await self.api.merge_patch(APPS, name, self.home, {"metadata": {"annotations": moment}})

    async def source(self) -> None:
        spec = {"url": self._repo.url, "interval": "24h", "timeout": "20m", "ref": {"branch": "main"}}
        await self.api.create(SOURCES, _ours("GitRepository", SOURCES, self.home, "repo", spec), self.home)

    async def app(self, name: str, path: str, **spec: Any) -> None:
        whole = {
            "interval": "24h",
            "retryInterval": "10s",
            "timeout": "20m",
            "prune": True,
            "path": path,
            "sourceRef": {"kind": "GitRepository", "name": "repo"},
            **spec,
        }
        await self.api.create(APPS, _ours("Kustomization", APPS, self.home, name, whole), self.home)

    async def get_app(self, name: str) -> Body | None:
        return await self._find(APPS, name) if name else None

    async def ready(self, name: str, revision: str) -> None:
        """Wait until the app says that it is Ready at `revision`."""

        async def reached() -> bool:
            app = await self.get_app(name)
            ready = condition(app, "Ready")
            return (
                app is not None
                and ready.get("status") == "True"
                and self.commits[revision] in (app["status"].get("lastAppliedRevision") or "")
                and app["status"].get("observedGeneration") == app["metadata"]["generation"]
            )

        await self.until(reached, f"{name} is ready at {revision}", name)

    async def fetched(self, revision: str) -> None:
        """Wait until the source says that it has `revision`."""

        async def reached() -> bool:
            body = await self.api.get(SOURCES, "repo", self.home)
            return self.commits[revision] in str((body["status"].get("artifact") or {}).get("revision"))

        await self.until(reached, f"the source has {revision}")

    async def gone(self, name: str) -> None:
        """Wait until the app is no more."""

        async def reached() -> bool:
            return await self.get_app(name) is None

        await self.until(reached, f"{name} is gone", name)

    async def until(self, reached: Callable[[], Awaitable[bool]], what: str, app: str = "") -> None:
        """Wait until what our own objects say is so. Looks when one of them was written, not all the time."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self.wire.news.clear()
            if await reached():
                return
            # On a busy machine a run may take its time; one that hangs says nothing any more.
            now, silent = time.monotonic(), self.wire.quiet_for() > SILENCE_S
            if now > deadline and (silent or now > deadline + 2 * PATIENCE_S):
                raise Stuck(f"after {now - deadline + PATIENCE_S:.0f} s not: {what} ({await self._explain(app)})")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.wire.news.wait(), _LOOK_ANYWAY_S)

    async def awake(self) -> None:
        """Wait until the present life sees the apps, and give it a moment to think about them."""
        life = self.life
        assert life is not None

        async def reached() -> bool:
            return "kustomizations" in life.line.watched

        await until(reached, "the new life sees its apps")
        await asyncio.sleep(_THOUGHT_S)

    async def rested(self) -> None:
        """Wait until each app is ready, as in the end of every scenario: a fetch that is under way says nothing."""

        async def reached() -> bool:
            apps = (await self.api.list(APPS, self.home)).items
            return all(condition(app, "Ready").get("status") == "True" for app in apps)

        await self.until(reached, "all apps are ready again")

    async def quiet(self) -> None:
        """Wait until nobody says anything any more, no pass is under way, and no program is at work, such as git."""

        looks = 0

        async def reached() -> bool:
            nonlocal looks
            busy = self.life is not None and self.life.busy
            calm = self.wire.quiet_for() > QUIET_S and not busy and not _at_work(str(self.root / self.home))
            # One look may come before those who were told have begun: a process that had to stand still sees it so.
            looks = looks + 1 if calm else 0
            return looks >= _LOOKS

        await until(reached, "the world is quiet")

    async def _explain(self, name: str) -> str:
        """What the app and its source say, and where the controllers are."""
        said = []
        for item in (await self.get_app(name), await self._find(SOURCES, "repo")):
            conditions = ((item or {}).get("status") or {}).get("conditions") or []
            words = "; ".join(f"{c['type']}={c['status']} {c['reason']}: {c['message']}" for c in conditions)
            said.append(f"{item['kind']}: {words[:600] or 'says nothing'}" if item else "gone")
        return ". ".join(said) + (
            f". {self.wire.quiet_for():.1f} s quiet, {self.wire.in_flight} in flight. {self.life.whereabouts()}"
            if self.life
            else ". Nobody lives"
        )

    async def _find(self, resource: Resource, name: str) -> Body | None:
        return await self._there(resource, name, self.home)

    # --- what came of it

    async def objects(self) -> dict[str, Body]:
        """What carries our labels, reduced to what a person would compare."""
        lists = await asyncio.gather(*(self._list(resource) for resource in self.resources))
        return {str(target(body)).replace(self.home, "~"): body for bodies in lists for body in bodies}

    async def ending(self) -> Ending:
        """The cluster now, and whether what is on record is what is there."""
        live = await self.objects()
        problems: list[str] = []
        recorded: dict[str, str] = {}
        for app in (await self.api.list(APPS, self.home)).items:
            held = (app.get("status") or {}).get("inventory") or {"entries": []}
            if held["entries"] and held.get("checksum") != inventory.checksum(held["entries"]):
                problems.append(f"the inventory of {app['metadata']['name']} has a wrong checksum")
            for entry in inventory.read(held["entries"]).values():
                body = {"apiVersion": entry.gvk.api_version, "kind": entry.ref.kind}
                named = target(body | {"metadata": {"name": entry.ref.name, "namespace": entry.ref.namespace}})
                identity = str(named).replace(self.home, "~")
                if identity in recorded:
                    problems.append(f"{identity} is in two inventories")
                recorded[identity] = entry.uid
        let_go = {str(item).replace(self.home, "~") for item in self.let_go}
        problems += [f"{identity} was to be let go and is not there" for identity in let_go - live.keys()]
        problems += [f"{identity} was to be let go and is on record" for identity in let_go & recorded.keys()]
        for identity in let_go:
            live.pop(identity, None)
        for identity, body in live.items():
            if identity not in recorded:
                problems.append(f"orphan: {identity} carries our labels and is in no inventory")
            elif recorded[identity] != body["metadata"]["uid"]:
                problems.append(f"{identity}: the inventory has the uid {recorded[identity] or '(none)'}")
        problems += [f"{identity} is in an inventory and not there" for identity in recorded.keys() - live.keys()]
        wanted = {str(item).replace(self.home, "~") for item in self.desired}
        problems += [f"{identity} is wanted and not there" for identity in wanted - live.keys()]
        problems += [f"{identity} is there and not wanted" for identity in live.keys() - wanted]
        bodies = {identity: self._reduced(body) for identity, body in live.items()}
        return Ending(bodies, {key: body["metadata"]["uid"] for key, body in live.items()}, tuple(sorted(problems)))

    def _reduced(self, body: Body) -> Body:
        metadata = body["metadata"]
        labels = {k: v.replace(self.home, "~") for k, v in (metadata.get("labels") or {}).items()}
        rest = {k: v for k, v in body.items() if k not in ("metadata", "status")}
        if self.contested and body["kind"] == "Deployment":
            rest["spec"] = {k: v for k, v in rest["spec"].items() if k != "replicas"}
        if body["kind"] == "Service":
            rest["spec"] = {k: v for k, v in rest["spec"].items() if not k.startswith("clusterIP")}
        text = codec.encode(rest | {"labels": labels}).decode().replace(self.home, "~")
        reduced: Body = codec.decode(text)
        return reduced

    async def _list(self, resource: Resource) -> list[Body]:
        selector = f"{OWNER}namespace={self.home}"
        for _ in range(5):
            try:
                return list((await self.api.list(resource, label_selector=selector)).items)
            except NotFound:
                return []  # the kind is not served (yet, or any more)
            except (Gone, Unreachable, ApiError) as failure:
                log.info("listing %s: %s", resource, failure)
                await asyncio.sleep(0.1)
        raise Stuck(f"{resource} cannot be listed")

    async def _intended(self) -> list[list[Body]]:
        """What new apps were about to apply."""
        pages = [await self._there(CONFIG_MAPS, name, "flux-system") for name in INTENTS]
        texts = [page["data"]["intents"] for page in pages if page is not None]
        return [codec.decode(line).get("entries", []) for text in texts for line in text.encode().splitlines()]

    async def _there(self, resource: Resource, name: str, namespace: str) -> Body | None:
        try:
            return await self.api.get(resource, name, namespace)
        except NotFound:
            return None

    async def _guard(self, doomed: Target, preconditions: Mapping[str, str]) -> str | None:
        """Why a deletion must not happen."""
        if not preconditions.get("uid") or not preconditions.get("resourceVersion"):
            return f"DELETE of {doomed} without preconditions"
        if doomed in self.desired:
            return f"DELETE of {doomed}, which is wanted"
        statuses = [app.get("status") or {} for app in (await self.api.list(APPS, self.home)).items]
        records = [(status.get("inventory") or {}).get("entries") or [] for status in statuses]
        for entries in records + await self._intended():
            for entry in inventory.read(entries).values():
                plural = entry.ref.kind.lower() + "s"
                if Target(entry.ref.group, plural, entry.ref.namespace, entry.ref.name) == doomed:
                    return None
        return f"DELETE of {doomed}, which is in no recorded inventory"


def _at_work(directory: str) -> bool:
    """Whether a child of this process has `directory` among its arguments."""
    wanted = f"{directory}/".encode()
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread or a child that has ended meanwhile
            for pid in (thread / "children").read_text().split():
                if wanted in Path("/proc", pid, "cmdline").read_bytes():
                    return True
    return False


async def until(
    reached: Callable[[], Awaitable[bool]],
    what: str,
    patience_s: float = PATIENCE_S,
    explain: Callable[[], Awaitable[str]] | None = None,
) -> None:
    """Look until it is so. Raises Stuck."""
    deadline = time.monotonic() + patience_s
    while not await reached():
        if time.monotonic() > deadline:
            why = f" ({await explain()})" if explain else ""
            raise Stuck(f"after {patience_s:g} s it is not so that {what}{why}")
        await asyncio.sleep(_LOOK_S)


def _ours(kind: str, resource: Resource, namespace: str, name: str, spec: Mapping[str, Any]) -> Body:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": resource.gvk.api_version, "kind": kind, "metadata": metadata, "spec": dict(spec)}
