"""C7 and C8: an image becomes a commit and is pushed, and is pushed where somebody else was faster, with every request
harmed in every way. However it goes, there is one commit of ours in the end, and everybody else's.

The suite makes as many of these runs as fit into some seconds, drawn by a seed; all of them are made with
TRIMTAB_AUTOMATION_FAULTS=all.
"""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web

from tests.e2e.world import Repo, condition
from tests.faults.transport import Call, Fault, Line, Mode, Wire
from tests.faults.world import HastyClock
from trimtab.api import crd as definitions
from trimtab.api.gvk import GIT_REPOSITORY, IMAGE_POLICY, IMAGE_UPDATE_AUTOMATION
from trimtab.base.http import AiohttpTransport
from trimtab.base.telemetry import Telemetry
from trimtab.cluster.gitserver import GitServer
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.kube.errors import AlreadyExists, ApiError, NotFound
from trimtab.kube.limiter import Limiter
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Body, Gvk
from trimtab.roles.automation import Automation
from trimtab.roles.role import Means
from trimtab.roles.settings import Settings

NS = "automation-faults"
SAMPLE_S = 3.0
SEED = 20261126
OLD, NEW = "ghcr.io/acme/app:1.0", "ghcr.io/acme/app:1.1"
FILE = f'image: {OLD} # {{"$imagepolicy": "{NS}:app"}}\nreplicas: 1\n'
AUTOMATIONS = Resource(IMAGE_UPDATE_AUTOMATION, "imageupdateautomations", True)
POLICIES = Resource(IMAGE_POLICY, "imagepolicies", True)
SOURCES = Resource(GIT_REPOSITORY, "gitrepositories", True)
NAMESPACES = Resource(Gvk("", "v1", "Namespace"), "namespaces", False)
DEFINITIONS = Resource(
    Gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"), "customresourcedefinitions", False
)


class Trial(NamedTuple):
    """A scenario, and what happens in it: one request harmed, or the answer to the push lost by a death."""

    contended: bool
    fault: Fault | None = None
    silent: bool = False

    def __str__(self) -> str:
        what = f"{self.fault.mode} at {self.fault.call}" if self.fault else "dies before the push is answered"
        return f"{'C8' if self.contended else 'C7'}: {what if self.fault or self.silent else 'undisturbed'}"


class Forge(GitServer):
    """A git server. If the test says so, somebody else is faster than the next push, or that is never answered."""

    before: Callable[[], None] | None = None
    silent = False
    taken = asyncio.Event()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        push = request.path.endswith("/git-receive-pack")
        if push and self.before is not None:
            before, self.before = self.before, None
            await asyncio.to_thread(before)
        answer = await super()._serve(request)
        if push and self.silent:
            self.silent = False
            self.taken.set()
            await asyncio.sleep(30)
        return answer

    def again(self, trial: Trial, before: Callable[[], None]) -> None:
        self.before = before if trial.contended else None
        self.silent, self.taken = trial.silent, asyncio.Event()


class Ground:
    """A cluster, a repository, and the automation, which lives and dies."""

    def __init__(self, kubeconfig: Path, root: Path, forge: Forge, repo: Repo) -> None:
        self.cluster = config.load(kubeconfig)
        self._kubeconfig, self._root, self.forge, self.repo = kubeconfig, root, forge, repo
        self._real, self._own = AiohttpTransport(), AiohttpTransport()
        self.api = Client(self.cluster, self._own)
        self.base = repo.commit({"app.yaml": FILE, "other.yaml": "a: 1\n"})
        self.theirs = repo.commit({"other.yaml": "a: 2\n"})
        self.wire = self._wire(None)
        self._line: Line | None = None
        self._life: asyncio.Task[None] | None = None

    def _wire(self, fault: Fault | None) -> Wire:
        async def guard(*_: Any) -> None: ...

        return Wire(self._real, str(self.cluster.server).rstrip("/"), NS, guard, fault)

    async def close(self) -> None:
        await self._die()
        await self._clear()
        await self._real.close()
        await self._own.close()

    async def run(self, trial: Trial) -> list[Call]:
        """One trial; the requests it was made of. Raises AssertionError where it does not end as it should."""
        await self._clear()
        await asyncio.to_thread(self._move, self.base)
        self.wire = self._wire(trial.fault)
        await self._create(POLICIES, "app", {"imageRepositoryRef": {"name": "app"}, "policy": {}})
        await self._choose("1.0")
        git = {"commit": {"author": {"name": "Robot", "email": "robot@example.org"}}}
        source = {"kind": "GitRepository", "name": "repo"}
        await self._create(AUTOMATIONS, "auto", {"sourceRef": source, "interval": "30s", "git": git})
        self._live()
        await self._until(self._ready, "it is ready")
        self.forge.again(trial, lambda: self._move(self.theirs))
        self.wire.armed = True
        await self._choose("1.1")
        await self._until(self._written, "it is written")
        self.wire.armed = False
        await self._die()
        said = self._git("log", "--format=%an %s", "main").splitlines()
        ours = ["Robot Update from image update automation"]
        assert said == [*ours, *(["t change"] * (2 if trial.contended else 1))], said
        changed = self._git("diff", "--numstat", self.theirs if trial.contended else self.base, "main")
        assert changed == "1\t1\tapp.yaml", changed
        return [call for call, _ in self.wire.calls]

    def _git(self, *arguments: str) -> str:
        return self.repo._git("--git-dir", str(self.repo.bare), *arguments)

    def _move(self, commit: str) -> None:
        self._git("update-ref", "refs/heads/main", commit)

    async def _create(self, resource: Resource, name: str, spec: Body) -> None:
        metadata = {"name": name, "namespace": NS}
        body = {"apiVersion": resource.gvk.api_version, "kind": resource.gvk.kind, "metadata": metadata, "spec": spec}
        await self.api.create(resource, body, NS)

    async def furnish(self) -> None:
        for one in definitions.crds():
            with contextlib.suppress(AlreadyExists):
                await self.api.create(DEFINITIONS, one)
        with contextlib.suppress(AlreadyExists):
            await self.api.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS}})

        async def made() -> bool:
            try:
                for resource in (AUTOMATIONS, POLICIES):
                    await self.api.list(resource, NS)
                spec = {"url": self.repo.url, "interval": "24h", "ref": {"branch": "main"}}
                await self._create(SOURCES, "repo", spec)
            except AlreadyExists:
                return True
            except ApiError:
                return False
            return True

        await self._until(made, "the kinds are served")

    async def _choose(self, tag: str) -> None:
        status = {"status": {"latestRef": {"name": "ghcr.io/acme/app", "tag": tag}}}
        await self.api.merge_patch(POLICIES, "app", NS, status, subresource="status")

    async def _clear(self) -> None:
        for resource, name in ((AUTOMATIONS, "auto"), (POLICIES, "app")):
            with contextlib.suppress(NotFound):
                await self.api.merge_patch(resource, name, NS, {"metadata": {"finalizers": None}})
                await self.api.delete(resource, name, NS)

    async def _item(self) -> Body:
        found: Body = await self.api.get(AUTOMATIONS, "auto", NS)
        return found

    async def _ready(self) -> bool:
        item = await self._item()
        return condition(item, "Ready").get("status") == "True" and item["status"]["observedGeneration"] == 1

    async def _written(self) -> bool:
        """Whether all is done; who has died meanwhile lives again."""
        if (self._line is not None and self._line.dead) or (self.forge.taken.is_set() and not self.wire.deaths):
            self.wire.deaths += 1
            await self._die()
            self._live()
        item = await self._item()
        told = (
            item["status"].get("lastPushCommit"),
            item["status"].get("observedPolicies", {}).get("app", {}).get("tag"),
        )
        if told[1] != "1.1" or condition(item, "Ready").get("status") != "True" or self.wire.in_flight:
            return False
        head = await asyncio.to_thread(self._git, "rev-parse", "main")
        return told[0] == head and NEW in await asyncio.to_thread(self._git, "show", "main:app.yaml")

    async def _until(self, reached: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + 60
        while not await reached():
            if time.monotonic() > deadline:
                said = "\n".join(self.wire.said)
                raise AssertionError(f"after 60 s: {what}; {(await self._item())['status']}\n{said}")
            await asyncio.sleep(0.03)

    def _live(self) -> None:
        self._line = Line(self.wire)
        settings = Settings(
            controllers=frozenset({"image-automation"}),
            kubeconfig=self._kubeconfig,
            context=None,
            storage_path=self._root,
            storage_addr="",
            storage_adv_addr="",
            metrics_addr="",
            concurrent=1,
            namespace="flux-system",
            cross_namespace_refs="platform",
            default_service_account="",
            applier=None,
            reader=None,
            leader_elect=False,
        )
        clock = HastyClock()
        client = Client(self.cluster, self._line, limiter=Limiter(slots=8), clock=clock)
        automation = Automation(Means(settings, client, self._line, clock, Telemetry()))
        self._life = asyncio.ensure_future(automation.lead(lambda: float("inf")))

    async def _die(self) -> None:
        if self._life is None or self._line is None:
            return
        self._line.dead = True
        self._life.cancel()
        await asyncio.wait({self._life}, timeout=60)
        self._life = None


@pytest.fixture
async def ground(kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    monkeypatch.setattr("trimtab.roles.automation._GRACE_S", 0.0)  # who is killed does not finish
    async with Forge(tmp_path) as forge:
        repo = Repo(tmp_path, "faults", f"http://127.0.0.1:{forge.port}")
        ground = Ground(kubeconfig, tmp_path / "data", forge, repo)
        await ground.furnish()
        yield ground
        await ground.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_there_is_one_commit_of_ours_whatever_happens_to_any_request(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many runs as fit into the time; the two that lose the answer to the push are always among them."""
    trials = [Trial(contended, silent=True) for contended in (False, True)]
    for contended in (False, True):
        calls = await ground.run(Trial(contended))
        assert any(call.path.endswith("/imageupdateautomations/auto/status") for call in calls), calls
        trials += [Trial(contended, Fault(call, mode)) for call in calls for mode in Mode]
    planned, everything = len(trials), os.environ.get("TRIMTAB_AUTOMATION_FAULTS") == "all"
    drawn = trials[2:]
    random.Random(SEED).shuffle(drawn)
    lost: list[str] = []
    made, deadline = 0, time.monotonic() + SAMPLE_S
    for trial in [*trials[:2], *drawn]:
        if made >= 2 and not everything and time.monotonic() > deadline:
            break
        made += 1
        try:
            await ground.run(trial)
        except AssertionError as problem:
            lost.append(f"{trial}: {problem}")
    with capsys.disabled():
        print(f" {made} of {planned} runs ", end="", flush=True)
    assert not lost, "\n".join(lost)
