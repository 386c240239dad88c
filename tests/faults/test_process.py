"""What happens to processes: ended, stopped, without room, with credentials that expire, before a server that fails.

`make test` makes a few runs of what is random, `make sweep` many (TRIMTAB_KILLS says how many), and lets a stopped
process sleep for a minute (TRIMTAB_STOPPED_S), not only until another has taken over.
"""

import asyncio
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import served
from tests.e2e.world import Controller, condition, until
from tests.faults.ground import PATIENCE_S, Ground, commit, started
from trimtab.audit.reading import records
from trimtab.audit.record import Intent
from trimtab.audit.verifying import verify
from trimtab.cluster.gitserver import GitServer
from trimtab.toolchain import binaries

KILLS = int(os.environ.get("TRIMTAB_KILLS") or 4)
SEED = int(os.environ.get("TRIMTAB_SEED") or 628166)
STOPPED_S = float(os.environ.get("TRIMTAB_STOPPED_S") or 0)
SLOTS = 32
WRITES = {"create", "update", "patch", "delete", "deletecollection"}

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    found = binaries.find("controlplane")
    if found is None:
        pytest.fail("the control plane is not built; run `make setup` first", pytrace=False)
    loop = asyncio.new_event_loop()
    git_root = tmp_path_factory.mktemp("git")
    with served(GitServer(git_root)) as url:
        for plane in started(loop, tmp_path_factory.mktemp("plane"), found):
            yield Ground(plane, loop, git_root, url)
    loop.close()


@pytest.fixture
def ended(ground: Ground) -> Iterator[list[Controller]]:
    """Controllers that are put in here are ended, whatever they are doing; the apps go with them."""
    running: list[Controller] = []
    yield running
    for controller in running:
        if controller.process is not None and controller.process.poll() is None:
            controller.process.kill()
            controller.process.wait(60)
    ground.clear()


def numbered(count: int, value: str = "1") -> dict[str, str]:
    return {f"c{number:03}": value for number in range(count)}


@pytest.mark.timeout(120 + KILLS * 60)
def test_killed_after_any_request_it_ends_where_an_undisturbed_run_ends(
    ground: Ground, tmp_path: Path, ended: list[Controller], capsys: pytest.CaptureFixture[str]
):
    """SIGKILL when the server has answered the nth request of a run, for random n: all of it is taken up again."""
    chance = random.Random(SEED)
    with capsys.disabled():
        print(f" TRIMTAB_SEED={SEED} ", end="", flush=True)
    controller = ground.controller("victim", tmp_path, "--cross-namespace-refs=platform")
    ended.append(controller)
    world = ground.world(controller)
    ns = world.namespace("killed")
    repo = world.repo(ns)
    values = numbered(6)
    head = commit(repo, values)
    world.source(ns, repo.url)
    world.app(ns, "app", "./app", wait=True)

    def asked() -> int:
        return len(ground.asked("victim"))

    controller.start()
    ground.converged(ns, "app", head, values, lambda: controller.log)
    whole = asked()
    controller.kill()
    uids, expected = ground.live(ns), {(name, "apply") for name in values}
    for round_ in range(KILLS):
        before, gone = values, sorted(values)[chance.randrange(len(values))]
        expected |= {(gone, "delete"), (f"n{round_}", "apply")}
        values = {name: str(round_) for name in values if name != gone} | {f"n{round_}": "new"}
        head = commit(repo, values, before)
        moment, start = chance.randint(1, whole), asked()
        controller.start()
        # It may be done before: then that is where it is killed.
        until(lambda: asked() >= start + moment or ground.at(ns, "app", head)(), "it gets there", PATIENCE_S)  # noqa: B023
        controller.kill()
        controller.start()
        world.poke(ns)
        ground.converged(ns, "app", head, values, lambda: controller.log)
        controller.kill()
        live = ground.live(ns)
        renewed = {name for name in uids.keys() & live.keys() if uids[name] != live[name]}
        assert not renewed, f"after request {moment} these were deleted though they are wanted: {renewed}"
        uids = live
    ledger = controller.directory / "data" / "ledger"
    assert not [report.broken for report in verify(ledger) if report.broken]
    intents = [one for line in records(ledger) if isinstance(one := line.record.event, Intent)]
    meant = {(one.id.rpartition("/")[2], one.effect) for intent in intents for one in intent.objects}
    assert expected <= meant, "something was written that nobody had on record"


def test_told_to_stop_in_mid_apply_it_lets_go_of_the_lease_and_loses_nothing(
    ground: Ground, tmp_path: Path, ended: list[Controller]
):
    controller = ground.controller("leaver", tmp_path, lead=True)
    ended.append(controller)
    world = ground.world(controller)
    ns = world.namespace("stopped")
    controller.extra = (*controller.extra, "-n", ns)
    repo = world.repo(ns)
    values = numbered(120)
    head = commit(repo, values)
    world.source(ns, repo.url)
    world.app(ns, "app", "./app")
    controller.start()
    until(lambda: ground.live(ns), lambda: f"nothing is applied: {controller.log[-2000:]}", PATIENCE_S)
    assert controller.stop() == 0
    leases = ground.api.get(f"/apis/coordination.k8s.io/v1/namespaces/{ns}/leases")["items"]
    assert leases
    assert [lease["spec"].get("holderIdentity") or "" for lease in leases] == [""] * len(leases)
    live, recorded = ground.live(ns), ground.recorded(ns, "app")
    assert live.keys() <= recorded.keys(), "an object was written that is not on record"
    follower = ground.controller("follower", tmp_path, "-n", ns, lead=True)
    ended.append(follower)
    follower.start()
    ground.converged(ns, "app", head, values, lambda: follower.log)
    assert live.items() <= ground.live(ns).items(), "an object was made anew"
    follower.stop()


def test_who_was_stopped_does_no_harm_when_it_wakes_up_after_another_has_taken_over(
    ground: Ground, tmp_path: Path, ended: list[Controller]
):
    """SIGSTOP in mid-apply, a second leader, SIGCONT: what the old one still had in mind is not sent any more."""
    old, new = (ground.controller(user, tmp_path, lead=True) for user in ("sleeper", "successor"))
    ended += [old, new]
    world = ground.world(old)
    ns = world.namespace("asleep")
    old.extra = new.extra = ("-n", ns)
    repo = world.repo(ns)
    first, second, third = (numbered(150, value) for value in "123")
    head = commit(repo, first)
    world.source(ns, repo.url)
    world.app(ns, "app", "./app")
    old.start()
    ground.converged(ns, "app", head, first, lambda: old.log)
    head = commit(repo, second, first)
    world.poke(ns)
    until(lambda: "2" in ground.values(ns).values(), "the second revision is being applied", PATIENCE_S)
    assert old.process is not None
    os.kill(old.process.pid, signal.SIGSTOP)
    wakes = time.monotonic() + STOPPED_S
    try:
        new.start()
        ground.converged(ns, "app", head, second, lambda: new.log)
        head = commit(repo, third, second)
        world.poke(ns)
        ground.converged(ns, "app", head, third, lambda: new.log)
        time.sleep(max(0.0, wakes - time.monotonic()))
        before = len(ground.asked("sleeper"))
    finally:
        os.kill(old.process.pid, signal.SIGCONT)
    until(lambda: "standing by" in old.log.partition("leads")[2], lambda: f"it goes on: {old.log[-2000:]}", PATIENCE_S)
    until(lambda: len(ground.asked("sleeper")) > before, "the old one is awake", PATIENCE_S)
    late = [a for a in ground.asked("sleeper")[before:] if a.verb in WRITES and a.resource == "configmaps"]
    # What was handed to the network already cannot be called back; what waited for its turn must stay here.
    assert len(late) <= SLOTS, f"{len(late)} writes"
    assert not [a for a in late if a.verb == "delete"], late
    ground.converged(ns, "app", head, third, lambda: new.log)
    old.stop()
    new.stop()


def _limited(controller: Controller, limit: int) -> None:
    assert controller.process is not None
    resource.prlimit(controller.process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def _sound(controller: Controller) -> list[Path]:
    """The archives that are published; each is what its record says."""
    published = controller.directory / "data/store/published"
    archives = [path for path in published.glob("*/*/*/*.tar.gz") if not path.is_symlink()]
    for archive in archives:
        record = archive.with_name(archive.name.removesuffix(".tar.gz") + ".json")
        assert record.exists(), f"{archive} has no record"
        digest = json.loads(record.read_bytes())["artifact"]["digest"]
        assert digest == f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}"
    return archives


@pytest.mark.parametrize(
    "content", [bytes(2 << 20), random.Random(1).randbytes(2 << 20)], ids=["in the store", "in the mirror"]
)
def test_without_room_in_the_cache_the_last_artifact_stays_and_the_status_says_why(
    ground: Ground, tmp_path: Path, ended: list[Controller], content: bytes
):
    """A limit on the size of files stands for the full disk; it is lifted while the process runs."""
    controller = ground.controller("cramped", tmp_path)
    ended.append(controller)
    world = ground.world(controller)
    ns = world.namespace(f"full-{len(content) - content.count(0)}")
    repo = world.repo(ns)
    values = numbered(2)
    head = commit(repo, values)
    world.source(ns, repo.url, interval="2s")
    world.app(ns, "app", "./app")
    controller.start()
    ground.converged(ns, "app", head, values, lambda: controller.log)
    artifact = world.get_source(ns)["status"]["artifact"]
    _limited(controller, 1 << 20)
    later = repo.commit({"large.bin": content})
    until(
        lambda: condition(world.get_source(ns), "Ready").get("status") == "False",
        lambda: f"the failure is not told: {world.get_source(ns)}",
        PATIENCE_S,
    )
    said = condition(world.get_source(ns), "Ready")["message"]
    words = ("too large", "unable to write", "no space", "disk i/o error")
    assert any(word in said.lower() for word in words), said
    assert world.get_source(ns)["status"]["artifact"] == artifact
    assert ground.at(ns, "app", head)()
    assert len(_sound(controller)) == 1
    _limited(controller, resource.RLIM_INFINITY)
    ground.converged(ns, "app", later, values, lambda: controller.log)
    assert _sound(controller)
    controller.stop()


def test_a_full_disk_is_survived(ground: Ground, tmp_path: Path, ended: list[Controller]):
    """The real thing, ENOSPC, where a small file system may be mounted."""
    disk = tmp_path / "filler" / "data"
    disk.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("a tmpfs can be mounted by root only; the limit on file sizes stands for it")
    try:
        controller = ground.controller("filler", tmp_path)
        ended.append(controller)
        world = ground.world(controller)
        ns = world.namespace("nospace")
        repo = world.repo(ns)
        values = numbered(2)
        head = commit(repo, values)
        world.source(ns, repo.url, interval="2s")
        world.app(ns, "app", "./app")
        controller.start()
        ground.converged(ns, "app", head, values, lambda: controller.log)
        artifact = world.get_source(ns)["status"]["artifact"]
        later = repo.commit({"large.bin": random.Random(2).randbytes(8 << 20)})
        until(lambda: condition(world.get_source(ns), "Ready").get("status") == "False", "it is told", PATIENCE_S)
        assert "space" in condition(world.get_source(ns), "Ready")["message"].lower()
        assert world.get_source(ns)["status"]["artifact"] == artifact
        assert len(_sound(controller)) == 1
        subprocess.run(["mount", "-o", "remount,size=256m", disk], check=True)
        ground.converged(ns, "app", later, values, lambda: controller.log)
        controller.stop()
    finally:
        for controller in ended:
            controller.kill()
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_token_and_an_authority_that_are_replaced_are_read_again(
    ground: Ground, tmp_path: Path, ended: list[Controller]
):
    world = ground.world(ground.controller("unused", tmp_path))
    ns = world.namespace("token")
    authority, token = tmp_path / "ca.crt", tmp_path / "token"
    authority.write_bytes(ground.plane.ca)
    token.write_text("the-first")
    ground.admit(robot="the-first")
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        json.dumps(
            {
                "clusters": [
                    {"name": "c", "cluster": {"server": ground.plane.server, "certificate-authority": str(authority)}}
                ],
                "users": [{"name": "u", "user": {"tokenFile": str(token)}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    controller = Controller(kubeconfig, tmp_path / "robot", "--no-leader-elect")
    ended.append(controller)
    world.controller = controller
    repo = world.repo(ns)
    values = numbered(2)
    head = commit(repo, values)
    world.source(ns, repo.url, interval="2s")
    world.app(ns, "app", "./app")
    controller.start()
    ground.converged(ns, "app", head, values, lambda: controller.log)

    ground.admit(robot="the-second")
    before, values = values, numbered(2, "2")
    head = commit(repo, values, before)
    until(
        lambda: "Unauthorized" in controller.log, lambda: f"the old token is still good: {controller.log}", PATIENCE_S
    )
    token.write_text("the-second")
    ground.converged(ns, "app", head, values, lambda: controller.log)

    before, values = values, numbered(2, "3")
    with ground.another_authority(tmp_path) as (other, both):
        head = commit(repo, values, before)
        until(lambda: "certificate verify failed" in controller.log, lambda: controller.log[-2000:], PATIENCE_S)
        authority.write_bytes(other)
        ground.converged(ns, "app", head, values, lambda: controller.log)
        authority.write_bytes(both)
    controller.stop()


def test_an_api_server_that_is_restarted_in_mid_apply_costs_no_object(
    ground: Ground, tmp_path: Path, ended: list[Controller]
):
    controller = ground.controller("patient", tmp_path)
    ended.append(controller)
    world = ground.world(controller)
    ns = world.namespace("restarted")
    repo = world.repo(ns)
    first = numbered(100)
    head = commit(repo, first)
    world.source(ns, repo.url, interval="2s")
    world.app(ns, "app", "./app")
    controller.start()
    until(lambda: ground.live(ns), lambda: f"nothing is applied: {controller.log[-2000:]}", PATIENCE_S)
    ground.restart("kube-apiserver")
    ground.converged(ns, "app", head, first, lambda: controller.log)
    uids = ground.live(ns)
    second = numbered(95, "2") | {"extra": "1"}
    head = commit(repo, second, first)
    until(lambda: "2" in ground.values(ns).values(), lambda: controller.log[-2000:], PATIENCE_S)
    ground.restart("kube-apiserver")
    ground.converged(ns, "app", head, second, lambda: controller.log)
    live = ground.live(ns)
    assert {name: uids[name] for name in second if name in uids} == {
        name: live[name] for name in second if name in uids
    }
    deleted = {asked.name for asked in ground.asked("patient") if asked.verb == "delete" and asked.namespace == ns}
    assert deleted <= first.keys() - second.keys()
    controller.stop()


def test_a_cluster_restored_from_an_older_backup_converges_and_loses_no_desired_object(
    ground: Ground, tmp_path: Path, ended: list[Controller]
):
    """etcd goes back while the controller lives: what it remembers is of another history and must not be acted on."""
    controller = ground.controller("witness", tmp_path)
    ended.append(controller)
    world = ground.world(controller)
    ns = world.namespace("restored")
    repo = world.repo(ns)
    first = numbered(6)
    head = commit(repo, first)
    world.source(ns, repo.url, interval="2s")
    world.app(ns, "app", "./app")
    controller.start()
    ground.converged(ns, "app", head, first, lambda: controller.log)
    ground.backup(tmp_path / "backup")
    old = ground.live(ns)
    second = {**numbered(4, "2"), "n1": "1", "n2": "1"}
    head = commit(repo, second, first)
    ground.converged(ns, "app", head, second, lambda: controller.log)
    third = {**second, "n3": "1"}
    head = commit(repo, third, second)
    ground.converged(ns, "app", head, third, lambda: controller.log)
    for number in range(50):  # the server's history has to be well behind what was seen
        ground.api.create(f"/api/v1/namespaces/{ns}/configmaps", {"metadata": {"name": f"noise-{number}"}})
    before = len(ground.asked("witness"))
    ground.restore(tmp_path / "backup")
    until(lambda: ground.values(ns) == third, lambda: f"{ground.values(ns)}: {controller.log[-3000:]}", PATIENCE_S)
    ground.converged(ns, "app", head, third, lambda: controller.log)
    asked = [a for a in ground.asked("witness")[before:] if a.namespace == ns and a.resource == "configmaps"]
    deleted = [number for number, a in enumerate(asked) if a.verb == "delete"]
    applied = [n for n, a in enumerate(asked) if a.verb == "patch" and not a.rehearsal and a.code in (200, 201)]
    assert {asked[number].name for number in deleted} <= first.keys() - third.keys()
    assert not deleted or min(deleted) > max((n for n in applied if asked[n].name in third), default=-1)
    live = ground.live(ns)
    assert {name: old[name] for name in numbered(4)} == {name: live[name] for name in numbered(4)}
    controller.stop()
