"""Hooks against the real API server, job and TTL controllers; the kubelet is a double that says what a test wants."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helm.conftest import write_chart
from tests.kube.faults import Canned, Faults
from trimtab.api.names import HOOK_OF
from trimtab.base.clock import Clock, SystemClock
from trimtab.base.errors import Terminal, Transient, Waiting
from trimtab.base.http import TransportError
from trimtab.base.tasks import Tasks
from trimtab.helm import output
from trimtab.helm.hooks import HookFailed, Hooks, Superseded
from trimtab.helm.output import Event, running
from trimtab.helm.record import Hook, Info, Record
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.kube.errors import AlreadyExists, Forbidden, NotFound
from trimtab.kube.informer import Applied, Informer
from trimtab.kube.informer import Event as Seen
from trimtab.kube.resource import Resource
from trimtab.manifests import codec
from trimtab.manifests.refs import Body, Gvk

PODS = Resource(Gvk("", "v1", "Pod"), "pods", True)
JOBS = Resource(Gvk("batch", "v1", "Job"), "jobs", True)
CONFIG_MAPS = Resource(Gvk("", "v1", "ConfigMap"), "configmaps", True)
NAMESPACES = Resource(Gvk("", "v1", "Namespace"), "namespaces", False)

CANARY = "hunter2-canary"
SUCCEEDED = {"phase": "Succeeded"}
EXITED = {"exitCode": 3, "reason": "Error", "message": CANARY, "startedAt": None, "finishedAt": None}
FAILED = {
    "phase": "Failed",
    "containerStatuses": [
        {"name": "c", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": {"terminated": EXITED}}
    ],
}
PULLING = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}
STUCK = {
    "phase": "Pending",
    "containerStatuses": [
        {"name": "c", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": {"waiting": PULLING}}
    ],
}
# No node fits: nobody but the double says anything of these Pods.
SPEC = f"""\
  nodeSelector: {{of: nobody}}
  restartPolicy: Never
  containers: [{{name: c, image: x, env: [{{name: A, value: {CANARY}}}]}}]
"""


def hook(kind: str, name: str, policy: str = "", *, events: str = "pre-install", weight: int = 0, **more: Any) -> Hook:
    """A hook as it comes out of a chart; `more` are `namespace`, `rest` and `api`."""
    api = more.get("api") or {"Job": "batch/v1"}.get(kind, "v1")
    rest = more.get("rest")
    if rest is None and kind == "Job":
        template = "".join(f"  {line}\n" for line in f"  spec:\n{SPEC}".replace("\n  ", "\n    ").splitlines())
        rest = f"spec:\n  backoffLimit: 0\n{more.get('job', '')}  template:\n{template}"
    if rest is None:
        rest = f"spec:\n{SPEC}" if kind == "Pod" else ""
    text = f"apiVersion: {api}\nkind: {kind}\nmetadata:\n  name: {name}\n"
    text += f"  namespace: {more['namespace']}\n" if "namespace" in more else ""
    text += f"  annotations:\n    helm.sh/hook: {events}\n    helm.sh/hook-weight: '{weight}'\n"
    text += f"    helm.sh/hook-delete-policy: {policy}\n" if policy else ""
    [made] = output.split(f"---\n# Source: app/templates/{name}.yaml\n{text}{rest}".encode()).hooks
    return made


class Kubelet:
    """A double of it: it runs no Pod, but says of each, once it exists, what the test has written for its name.

    A Pod of a Job goes by the name of the Job. `life` tells what came (+) and went (-).
    """

    def __init__(self, client: Client, home: str, tasks: Tasks) -> None:
        self.says: dict[str, Body] = {}
        self.life: list[str] = []
        self._client, self._home, self._tasks = client, home, tasks
        self._news = asyncio.Event()
        self._informer: Informer[Body] = Informer(client, PODS, decode=codec.decode, namespace=home)
        self._informer.add_handler(self._hear)

    async def start(self) -> None:
        self._informer.start(self._tasks)
        await asyncio.wait_for(self._informer.synced.wait(), 60)

    def _hear(self, event: Seen[Body]) -> None:
        if isinstance(event, Applied):
            if event.old is None:
                self.life.append(f"+{name_of(event.new)}")
                self._say(event.new)
        else:
            self.life.append(f"-{name_of(event.old)}")
        self._news.set()

    def _say(self, body: Body) -> None:
        if (status := self.says.get(name_of(body))) is not None:
            name = body["metadata"]["name"]
            work = self._client.merge_patch(PODS, name, self._home, {"status": status}, subresource="status")
            self._tasks.spawn(work, name=name)

    async def say(self, name: str, status: Body) -> None:
        """Of a Pod that exists, and of those that will."""
        self.says[name] = status
        await self.until(lambda: any(name_of(body) == name for body in self._informer.store.values()))
        for body in self._informer.store.values():
            if name_of(body) == name:
                self._say(body)

    async def until(self, true: Callable[[], Any]) -> None:
        async with asyncio.timeout(60):
            while not true():
                self._news.clear()
                await self._news.wait()


class Hurried(SystemClock):
    """A clock that is set ahead."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


def followers() -> list[str]:
    return [name for task in asyncio.all_tasks() if (name := task.get_name()).startswith("following")]


def name_of(body: Body) -> str:
    name: str = (body["metadata"].get("labels") or {}).get("job-name") or body["metadata"]["name"]
    return name


class Bench:
    """A release in a namespace of its own, and what is told of its hooks."""

    def __init__(self, client: Client, home: str, kubelet: Kubelet) -> None:
        self.client, self.home, self.kubelet = client, home, kubelet
        self.told: list[str] = []
        self.last: dict[str, Hook] = {}

    def hooks(
        self,
        *,
        version: int = 1,
        timeout_s: float = 60,
        client: Client | None = None,
        clock: Clock | None = None,
        **options: Any,
    ) -> Hooks:
        info = Info(last_deployed=f"2026-01-01T00:00:0{version}Z")
        record = Record(name="app", namespace=self.home, version=version, info=info)
        return Hooks(client or self.client, clock or SystemClock(), record, timeout_s=timeout_s, **options)

    async def tell(self, hook: Hook) -> None:
        self.told.append(f"{hook.name} {hook.last_run.phase}")
        self.last[hook.name] = hook

    async def run(self, *hooks: Hook, event: Event = Event.PRE_INSTALL, **options: Any) -> None:
        await self.hooks(**options).run(event, hooks, self.tell, lambda: False)

    async def fail(self, *hooks: Hook, **options: Any) -> str:
        with pytest.raises(HookFailed) as caught:
            await self.run(*hooks, **options)
        assert CANARY not in str(caught.value)
        return str(caught.value)

    async def get(self, name: str, resource: Resource = PODS, namespace: str = "") -> Body | None:
        with contextlib.suppress(NotFound):
            found: Body = await self.client.get(resource, name, namespace or self.home)
            return found
        return None

    async def uid(self, name: str, resource: Resource = PODS) -> str:
        found = await self.get(name, resource)
        return found["metadata"]["uid"] if found else ""

    @contextlib.asynccontextmanager
    async def interrupted(self, *hooks: Hook, **options: Any) -> AsyncIterator[None]:
        """A process that is at these hooks, and dies at the end of the context."""
        tasks = Tasks("dies")
        task = tasks.spawn(self.run(*hooks, **options), name="run")
        try:
            await self.kubelet.until(lambda: f"+{hooks[-1].name}" in self.kubelet.life)
            yield
        finally:
            await tasks.close()
        assert task.cancelled()


@pytest.fixture
async def faults() -> AsyncIterator[Faults]:
    faults = Faults()
    yield faults
    faults.faults.clear()
    await faults.real.close()


@pytest.fixture
async def client(kubeconfig: Path, faults: Faults) -> Client:
    return Client(config.load(kubeconfig), faults, seed=1)


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    tasks = Tasks("test")
    yield tasks
    await tasks.close()


@pytest.fixture
async def bench(client: Client, tasks: Tasks, namespace: Callable[[], str], kubectl: Any) -> Bench:
    home = await new_namespace(client, namespace())
    kubelet = Kubelet(client, home, tasks)
    await kubelet.start()
    return Bench(client, home, kubelet)


async def new_namespace(client: Client, name: str) -> str:
    """With its account, which a Pod cannot be created without."""
    await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    with contextlib.suppress(AlreadyExists):
        await client.create(Resource(Gvk("", "v1", "ServiceAccount"), "serviceaccounts", True), account, name)
    return name


async def test_hooks_run_one_after_the_other_and_are_told_before_they_exist_and_when_they_are_done(bench):
    bench.kubelet.says |= {"a": SUCCEEDED, "b": SUCCEEDED, "c": SUCCEEDED}
    hooks = [hook("Pod", "c", weight=-1), hook("Pod", "b"), hook("Pod", "a"), hook("Pod", "z", events="post-install")]
    existed = []

    async def told(one: Hook) -> None:
        existed.append((one.name, await bench.get(one.name) is not None))
        await bench.tell(one)

    await bench.hooks().run(Event.PRE_INSTALL, running(hooks, Event.PRE_INSTALL), told, lambda: False)
    assert bench.told == [f"{name} {phase}" for name in "cab" for phase in ("Running", "Succeeded")]
    assert existed == [(name, there) for name in "cab" for there in (False, True)]
    assert bench.kubelet.life == ["+c", "+a", "+b"]
    last = bench.last["a"].last_run
    assert last.started_at <= last.completed_at
    [manager] = (
        {one["manager"] for one in (await bench.get("a"))["metadata"]["managedFields"]}
        - {"python", ""}
        - {one["manager"] for one in (await bench.get("a"))["metadata"]["managedFields"] if one.get("subresource")}
    )
    assert manager == "helm-controller"


async def test_objects_of_hooks_carry_no_label_of_ours_and_no_annotation_of_helms_releases(bench):
    await bench.run(hook("ConfigMap", "a"))
    metadata = (await bench.get("a", CONFIG_MAPS))["metadata"]
    assert "labels" not in metadata
    assert metadata["annotations"] == {
        "helm.sh/hook": "pre-install",
        "helm.sh/hook-weight": "0",
        HOOK_OF: f"{bench.home}/app v1 2026-01-01T00:00:01Z pre-install",
    }


async def test_a_hook_without_a_policy_is_deleted_before_it_is_created_again(bench):
    bench.kubelet.says["a"] = SUCCEEDED
    await bench.run(hook("Pod", "a"))
    before = await bench.uid("a")
    await bench.run(hook("Pod", "a"), version=2)
    assert await bench.uid("a") not in ("", before)
    assert bench.told == ["a Running", "a Succeeded"] * 2


async def test_what_succeeded_is_deleted_only_after_all_have_and_the_last_one_first(bench):
    bench.kubelet.says |= {"a": SUCCEEDED, "b": SUCCEEDED}
    await bench.run(hook("Pod", "a", "hook-succeeded"), hook("Pod", "b", "hook-succeeded,hook-failed"))
    assert await bench.uid("a") == await bench.uid("b") == ""
    await bench.kubelet.until(lambda: len(bench.kubelet.life) == 4)
    assert bench.kubelet.life == ["+a", "+b", "-b", "-a"]


async def test_after_a_failure_nothing_runs_and_the_policies_of_what_ran_are_kept(bench):
    bench.kubelet.says |= {"a": SUCCEEDED, "b": SUCCEEDED, "c": FAILED, "d": SUCCEEDED}
    hooks = [
        hook("Pod", "a", "hook-succeeded"),
        hook("Pod", "b", "hook-failed"),
        hook("Pod", "c", "hook-failed"),
        hook("Pod", "d"),
    ]
    said = await bench.fail(*hooks)
    assert bench.told[-2:] == ["c Running", "c Failed"]
    assert [bool(await bench.uid(name)) for name in "abcd"] == [False, True, False, False]
    assert said == (
        f"the pre-install hook Pod {bench.home}/c failed: container c ended with exit code 3 (Error); it is deleted "
        "with its output, as its delete policy hook-failed says"
    )


async def test_a_failed_hook_stays_where_no_policy_deletes_it_and_its_output_can_be_found(bench):
    bench.kubelet.says["a"] = FAILED
    said = await bench.fail(hook("Pod", "a"))
    assert said.endswith(f"(Error); for its output: `kubectl logs -n {bench.home} pod/a`")
    assert await bench.uid("a")


async def test_a_failed_job_is_told_with_its_message_and_the_ends_of_its_containers(bench):
    bench.kubelet.says["migrate"] = FAILED
    said = await bench.fail(hook("Job", "migrate", events="pre-upgrade"), event=Event.PRE_UPGRADE)
    assert f"the pre-upgrade hook Job {bench.home}/migrate failed: Job has reached the specified backoff limit" in said
    assert "Pod migrate-" in said
    assert ": container c ended with exit code 3 (Error)" in said


async def test_a_job_that_is_removed_after_it_is_done_has_succeeded(bench):
    bench.kubelet.says["quick"] = SUCCEEDED
    await bench.run(hook("Job", "quick", job="  ttlSecondsAfterFinished: 0\n"))
    assert bench.told == ["quick Running", "quick Succeeded"]


async def test_what_is_deleted_before_it_is_done_has_failed(bench):
    async with asyncio.TaskGroup() as group:
        failing = group.create_task(bench.fail(hook("Pod", "a")))
        await bench.kubelet.until(lambda: "+a" in bench.kubelet.life)
        await bench.client.delete(PODS, "a", bench.home)
    assert "was deleted before it was seen to be done" in failing.result()
    assert bench.told[-1] == "a Failed"


async def test_another_object_in_the_place_of_a_hook_is_not_taken_for_it(bench):
    async with asyncio.TaskGroup() as group:
        failing = group.create_task(bench.fail(hook("Pod", "a")))
        await bench.kubelet.until(lambda: "+a" in bench.kubelet.life)
        body = await bench.get("a")
        await bench.client.delete(PODS, "a", bench.home)
        bench.kubelet.says["a"] = SUCCEEDED
        await bench.client.create(PODS, {**body, "metadata": {"name": "a"}, "status": {}}, bench.home)
    assert "was deleted before" in failing.result()


async def test_a_hook_that_is_not_done_in_time_says_what_it_waits_for(bench):
    bench.kubelet.says["a"] = STUCK
    clock = Hurried()

    async def stuck() -> bool:
        job, pods = await bench.get("a", JOBS), (await bench.client.list(PODS, bench.home)).items
        active = job is not None and (job.get("status") or {}).get("active") == 1
        return active and any((pod.get("status") or {}).get("containerStatuses") for pod in pods)

    async with asyncio.timeout(100), asyncio.TaskGroup() as group:
        failing = group.create_task(bench.fail(hook("Job", "a", "hook-failed"), timeout_s=300, clock=clock))
        while not await stuck():
            await asyncio.sleep(0.05)
        clock.ahead_s = 300.0
    said = failing.result()
    assert f"Job {bench.home}/a was not done after 300 s: 0 of 1 completions, 1 active; Pod a-" in said
    assert 'container c waits for ImagePullBackOff: Back-off pulling image "x"' in said
    assert bench.told[-1] == "a Failed"
    assert await bench.uid("a", JOBS) == "", "a timeout is a failure, which its policy deletes"


async def test_a_changed_wish_ends_the_waiting_and_leaves_nothing_running(bench):
    outdated: list[bool] = []

    async def told(one: Hook) -> None:
        await bench.tell(one)
        outdated.append(True)

    hooks = [hook("ConfigMap", "a", "hook-succeeded"), hook("Pod", "b")]
    with pytest.raises(Superseded, match=f"the pre-install hook Pod {bench.home}/b is not waited for") as caught:
        await bench.hooks().run(Event.PRE_INSTALL, hooks, told, lambda: len(outdated) > 2)
    assert isinstance(caught.value, Waiting)
    assert bench.told == ["a Running", "a Succeeded", "b Running", "b Unknown"]
    assert await bench.uid("b")
    assert await bench.uid("a", CONFIG_MAPS) == ""
    assert followers() == []


async def test_a_cancelled_wait_leaves_nothing_running(bench):
    async with bench.interrupted(hook("Pod", "a")), asyncio.timeout(60):
        while not followers():
            await asyncio.sleep(0.01)
    assert followers() == []
    assert bench.told == ["a Running"]


@pytest.mark.parametrize("how", ["broken", "expired"])
async def test_a_lost_watch_is_taken_up_again(bench, faults, how):
    path = f"/api/v1/namespaces/{bench.home}/pods"
    expired = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}\n'
    kubelets = faults.streams[path]
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(bench.run(hook("Pod", "a")))
        while (stream := faults.streams[path]) is kubelets:
            await asyncio.sleep(0.01)
        stream.say(TransportError("reset by peer") if how == "broken" else expired)
        await bench.kubelet.say("a", SUCCEEDED)
    assert bench.told == ["a Running", "a Succeeded"]


async def test_a_watch_that_never_opens_is_no_hindrance(bench, faults):
    async def refuse(request: Any) -> Canned | None:
        if "metadata.name" not in request.url.query.get("fieldSelector", ""):
            return None
        return Canned(500, b'{"message":"no watches today","reason":"InternalError","code":500}')

    faults.faults.append(refuse)
    bench.kubelet.says["a"] = SUCCEEDED
    await bench.run(hook("Pod", "a"))
    assert bench.told == ["a Running", "a Succeeded"]


async def account(bench: Bench, *verbs: str) -> Client:
    """A client with an account that may do so with Pods."""
    rbac, metadata = "rbac.authorization.k8s.io", {"name": "hooks"}
    role = {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": list(verbs)}]}
    subjects = [{"kind": "ServiceAccount", "name": "default", "namespace": bench.home}]
    binding = {"roleRef": {"apiGroup": rbac, "kind": "Role", "name": "hooks"}, "subjects": subjects}
    for kind, body in (("Role", role), ("RoleBinding", binding)):
        resource = await bench.client.discovery.find_by_name(kind)
        await bench.client.create(
            resource, {"apiVersion": f"{rbac}/v1", "kind": kind, "metadata": metadata} | body, bench.home
        )
    view = bench.client.acting_as(f"system:serviceaccount:{bench.home}:default")
    probe = hook("Pod", "probe")
    [manifest] = output.objects_of_hook(probe)
    async with asyncio.timeout(60):  # the server's authorizer follows
        while True:
            with contextlib.suppress(Forbidden):
                await view.apply(PODS, "probe", bench.home, manifest.body, field_manager="t", dry_run=True)
                return view
            await asyncio.sleep(0.05)


async def test_an_account_that_may_not_watch_reads(bench, faults):
    view = await account(bench, "get", "create", "patch")
    bench.kubelet.says["a"] = SUCCEEDED
    await bench.run(hook("Pod", "a"), client=view)
    assert bench.told == ["a Running", "a Succeeded"]
    reads = faults.sent("GET", f"/namespaces/{bench.home}/pods/a")
    assert len(reads) >= 2


async def test_an_account_that_may_not_read_is_told_so(bench):
    view = await account(bench, "create", "patch")
    said = await bench.fail(hook("Pod", "a"), client=view)
    assert f'Pod {bench.home}/a cannot be read: pods "a" is forbidden: User "system:serviceaccount:' in said
    assert bench.told == ["a Failed"]


async def test_a_right_to_delete_that_is_missing_in_the_end_fails_what_succeeded(bench):
    view = await account(bench, "get", "create", "patch", "watch")
    bench.kubelet.says["a"] = SUCCEEDED
    said = await bench.fail(hook("Pod", "a", "hook-succeeded"), client=view)
    assert f"Pod {bench.home}/a was not deleted: pods" in said
    assert 'cannot delete resource "pods"' in said
    assert bench.told == ["a Running", "a Succeeded"]


async def test_after_a_crash_a_hook_that_is_deleted_beforehand_is_made_anew(bench):
    async with bench.interrupted(hook("Pod", "a")):
        before = await bench.uid("a")
    bench.kubelet.says["a"] = SUCCEEDED
    await bench.run(hook("Pod", "a"))
    assert await bench.uid("a") != before


async def test_after_a_crash_the_same_run_of_one_that_is_not_is_waited_for(bench):
    async with bench.interrupted(hook("Pod", "a", "hook-failed")):
        before = await bench.uid("a")
    await bench.kubelet.say("a", SUCCEEDED)
    await bench.run(hook("Pod", "a", "hook-failed"))
    assert await bench.uid("a") == before
    assert bench.told == ["a Running", "a Running", "a Succeeded"]


@pytest.mark.parametrize(
    ("policy", "status"), [("hook-succeeded", SUCCEEDED), ("hook-failed", FAILED)], ids=["succeeded", "failed"]
)
async def test_what_an_earlier_revision_left_unwatched_is_ended_by_its_policy_and_followed(bench, policy, status):
    async with bench.interrupted(hook("Pod", "a", policy)):
        before = await bench.uid("a")
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.run(hook("Pod", "a", policy), version=2))
        await bench.kubelet.say("a", status)
        bench.kubelet.says.clear()
        await bench.kubelet.until(lambda: bench.kubelet.life == ["+a", "-a", "+a"])
        await bench.kubelet.say("a", SUCCEEDED)
    assert before != await bench.uid("a")
    assert bench.told[-1] == "a Succeeded"


async def test_one_of_an_earlier_revision_that_never_ends_is_named_with_the_way_out(bench):
    async with bench.interrupted(hook("Pod", "a", "hook-succeeded")):
        pass
    said = await bench.fail(hook("Pod", "a", "hook-succeeded"), version=2, timeout_s=1)
    assert "was not created: that of an earlier run is not done after 1 s: " in said
    assert f"; delete it (`kubectl delete -n {bench.home} pods a`), or give the hook the delete policy" in said


@pytest.mark.parametrize("left", ["another revision", "another event", "somebody else"])
async def test_a_job_that_is_there_already_is_never_taken_for_one_that_ran(bench, left):
    bench.kubelet.says["a"] = SUCCEEDED
    one, event, version = hook("Job", "a", "hook-failed", events="pre-install,post-install"), Event.PRE_INSTALL, 1
    if left == "somebody else":
        [manifest] = output.objects_of_hook(one)
        await bench.client.create(JOBS, manifest.body, bench.home)
    else:
        await bench.run(one)
        event, version = (Event.POST_INSTALL, 1) if left == "another event" else (Event.PRE_INSTALL, 2)
    before = await bench.uid("a", JOBS)
    said = await bench.fail(one, event=event, version=version)
    assert f"Job {bench.home}/a was not created: jobs.batch 'a' already exists" in said
    assert f"`kubectl delete -n {bench.home} jobs.batch a`" in said
    assert "before-hook-creation" in said
    assert await bench.uid("a", JOBS) == before


async def test_what_does_not_run_is_applied_onto_but_not_over_what_others_own(bench):
    one = hook("ConfigMap", "a", "hook-failed", rest="data: {x: '1'}\n")
    await bench.run(one)
    before = await bench.uid("a", CONFIG_MAPS)
    await bench.run(hook("ConfigMap", "a", "hook-failed", rest="data: {x: '2'}\n"), version=2)
    assert (await bench.get("a", CONFIG_MAPS))["data"] == {"x": "2"}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "3"}}
    await bench.client.apply(CONFIG_MAPS, "a", bench.home, body, field_manager="somebody")
    said = await bench.fail(one, version=3)
    assert 'Apply failed with 1 conflict: conflict with "somebody": .data.x' in said
    assert await bench.uid("a", CONFIG_MAPS) == before


async def test_a_hook_that_is_refused_is_told_in_the_servers_words_but_for_what_is_to_be_hidden(bench):
    rest = f"spec: {{restartPolicy: {CANARY}, containers: [{{name: c, image: x}}]}}\n"
    hooks = [hook("ConfigMap", "a", "hook-succeeded"), hook("Pod", "b", rest=rest)]
    said = await bench.fail(*hooks, hide=lambda text: text.replace(CANARY, "…"))
    assert f'Pod {bench.home}/b was not created: Pod "b" is invalid: spec.restartPolicy: Unsupported value: "…"' in said
    assert bench.told[-2:] == ["b Running", "b Failed"]
    assert await bench.uid("a", CONFIG_MAPS) == "", "what succeeded before is deleted by its policy"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (Event.PRE_INSTALL, "InstallFailed"),
        (Event.POST_UPGRADE, "UpgradeFailed"),
        (Event.PRE_ROLLBACK, "RollbackFailed"),
        (Event.POST_DELETE, "UninstallFailed"),
        (Event.TEST, "TestFailed"),
    ],
)
async def test_the_reason_is_that_of_the_action(bench, event, reason):
    with pytest.raises(HookFailed) as caught:
        await bench.run(hook("Nonsense", "a", api="example.com/v1"), event=event)
    assert caught.value.reason == reason
    assert isinstance(caught.value, Transient)
    assert f"the {event} hook Nonsense a was not created: " in str(caught.value)


async def test_hooks_belong_where_they_say_else_where_the_release_is(bench, namespace):
    other = await new_namespace(bench.client, namespace())
    hooks = [
        hook("ConfigMap", "a"),
        hook("ConfigMap", "b", namespace=other),
        hook("Namespace", f"{other}-c", "hook-succeeded", namespace="ignored"),
    ]
    await bench.run(*hooks)
    assert await bench.uid("a", CONFIG_MAPS)
    assert await bench.get("b", CONFIG_MAPS, other)
    assert bench.told[-1] == f"{other}-c Succeeded"
    assert not await bench.get(f"{other}-c", NAMESPACES), "waited for until it was gone"


async def test_a_hook_of_several_documents_is_done_when_all_of_it_is(bench):
    bench.kubelet.says |= {"a": SUCCEEDED, "b": FAILED}
    one = hook("Pod", "a", "hook-failed")
    two = hook("Pod", "b").manifest
    both = Hook(
        **{name: getattr(one, name) for name in one.__struct_fields__} | {"manifest": f"{one.manifest}---\n{two}"}
    )
    assert f"Pod {bench.home}/b failed" in await bench.fail(both)
    assert await bench.uid("a") == await bench.uid("b") == ""


async def test_a_definition_is_waited_for_and_never_deleted(bench, namespace):
    kind = "".join(letter for letter in namespace() if letter.isalpha())[:40].capitalize()
    plural = f"{kind.lower()}s"
    schema = "{openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}"
    spec = (
        f"spec:\n  group: hooks.example.com\n  scope: Namespaced\n  names: {{kind: {kind}, plural: {plural}}}\n"
        f"  versions: [{{name: v1, served: true, storage: true, schema: {schema}}}]\n"
    )
    everything = "before-hook-creation,hook-succeeded,hook-failed"
    definition = hook(
        "CustomResourceDefinition", f"{plural}.hooks.example.com", everything, rest=spec, api="apiextensions.k8s.io/v1"
    )
    of_it = hook(kind, "one", api="hooks.example.com/v1")
    await bench.run(definition, of_it)
    await bench.run(definition, of_it, version=2)
    assert bench.told == [f"{one.name} {said}" for one in (definition, of_it) for said in ("Running", "Succeeded")] * 2
    resource = await bench.client.discovery.find(Gvk("hooks.example.com", "v1", kind))
    assert await bench.get("one", resource)


async def test_one_that_does_not_go_is_waited_for_no_longer_than_there_is_time(bench):
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "finalizers": ["example.com/held"]}}
    await bench.client.create(CONFIG_MAPS, body, bench.home)
    said = await bench.fail(hook("ConfigMap", "a"), timeout_s=1.5)
    assert "was not created: the one before it is not gone after 1.5 s: it waits for example.com/held" in said
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.run(hook("ConfigMap", "a")))
        await bench.client.merge_patch(CONFIG_MAPS, "a", bench.home, {"metadata": {"finalizers": None}})
    assert bench.told[-1] == "a Succeeded"


async def test_tests_run_up_to_the_first_that_fails(bench):
    bench.kubelet.says |= {"a": SUCCEEDED, "b": FAILED, "c": SUCCEEDED}
    tests = [hook("Pod", name, events="test") for name in "abc"]
    tested = await bench.hooks().run_tests(output.selected(tests, []), bench.tell, lambda: False)
    assert tested.phases == {"a": "Succeeded", "b": "Failed", "c": ""}
    assert "the test hook Pod" in str(tested.failure)
    tested = await bench.hooks().run_tests(output.selected(tests, [("b", True)]), bench.tell, lambda: False)
    assert tested == ({"a": "Succeeded", "c": "Succeeded"}, None)


async def test_a_hook_that_cannot_be_read_keeps_all_from_running(bench):
    broken = Hook(name="b", kind="Pod", path="app/templates/b.yaml", manifest="kind: [", events=("pre-install",))
    with pytest.raises(Terminal, match=r"what app/templates/b\.yaml renders is not what Kubernetes can read"):
        await bench.run(hook("ConfigMap", "a"), broken)
    assert bench.told == []
    assert await bench.uid("a", CONFIG_MAPS) == ""


async def test_a_server_that_is_away_for_a_moment_is_no_failure(bench, faults):
    faults.answer(*[TransportError("refused")] * 6, method="PATCH", path="/configmaps/a")
    await bench.run(hook("ConfigMap", "a"))
    assert bench.told == ["a Running", "a Succeeded"]


async def test_a_namespace_that_has_no_account_yet_is_waited_for(bench, faults):
    words = (
        b'pods \\"a\\" is forbidden: error looking up service account x/default: serviceaccount \\"default\\" not found'
    )
    refusal = Canned(403, b'{"message":"%s","reason":"Forbidden","code":403}' % words)
    faults.answer(refusal, method="PATCH", path="/pods/a")
    bench.kubelet.says["a"] = SUCCEEDED
    await bench.run(hook("Pod", "a"))
    assert bench.told == ["a Running", "a Succeeded"]


async def test_an_answer_that_is_lost_creates_nothing_twice(bench, faults):
    faults.lose_answer(method="PATCH", path="/pods/a")
    bench.kubelet.says["a"] = SUCCEEDED
    await bench.run(hook("Pod", "a", "hook-failed"))
    assert bench.kubelet.life == ["+a"]


async def test_what_cannot_be_recorded_is_not_created(bench):
    async def told(_: Hook) -> None:
        raise Transient("StateError", "the record cannot be written")

    with pytest.raises(Transient, match="the record cannot be written"):
        await bench.hooks().run(Event.PRE_INSTALL, [hook("ConfigMap", "a")], told, lambda: False)
    assert await bench.uid("a", CONFIG_MAPS) == ""


@pytest.mark.parametrize("fails", ["", "c", "e"])
async def test_hooks_come_and_go_as_with_helm(bench, namespace, tasks, helm, kubeconfig, tmp_path, fails):
    policies = {
        "a": "",
        "b": "hook-succeeded",
        "c": "hook-failed",
        "d": "hook-succeeded,hook-failed",
        "e": "hook-failed",
    }
    hooks = [hook("Pod", name, policy, weight=-ord(name) % 3) for name, policy in policies.items()]
    theirs = await new_namespace(bench.client, namespace())
    chart = write_chart(tmp_path / "app", {f"{one.name}.yaml": one.manifest for one in hooks})
    kubelet = Kubelet(bench.client, theirs, tasks)
    kubelet.says = bench.kubelet.says = dict.fromkeys(policies, SUCCEEDED) | ({fails: FAILED} if fails else {})
    await kubelet.start()
    for _ in range(2):
        command = ("install", "app", chart, "-n", theirs, "--kubeconfig", kubeconfig, "--replace", "--timeout", "60s")
        with pytest.raises(AssertionError, match="pre-install") if fails else contextlib.nullcontext():
            await asyncio.to_thread(helm, *command)
        if not fails:
            await asyncio.to_thread(
                helm, "uninstall", "app", "-n", theirs, "--kubeconfig", kubeconfig, "--keep-history"
            )
        # The same revision again: of another one, what stayed is not taken for what ran, other than with Helm.
        with contextlib.suppress(HookFailed):
            await bench.run(*running(hooks, Event.PRE_INSTALL))
    left = {name for name in policies if await bench.get(name, namespace=theirs)}
    assert {name for name in policies if await bench.get(name)} == left
    await bench.kubelet.until(lambda: bench.kubelet.life == kubelet.life)


async def test_no_hooks_cost_no_request(bench, faults):
    before = len(faults.requests)
    await bench.run()
    assert len(faults.requests) == before
