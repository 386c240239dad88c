"""Starting, ending and crashing: what stays, what must not stay, and what the commands say about it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trimtab.base.errors import Terminal
from trimtab.cluster import port, record
from trimtab.cluster.children import Identity
from trimtab.cluster.layout import Layout
from trimtab.cluster.plane import ControlPlane
from trimtab.cluster.record import AlreadyRunning
from trimtab.cluster.status import look
from trimtab.toolchain import binaries

COMMAND = [sys.executable, "-c", "from trimtab.cli.cluster import cluster; cluster(prog_name='trimtab cluster')"]
KUBECTL = (binaries.find("controlplane") or {}).get("kubectl", Path("kubectl"))


def trimtab(*arguments):
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=60)


def kubectl(layout, *arguments):
    command = [KUBECTL, f"--kubeconfig={layout.kubeconfig}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def identities(layout):
    known = record.read(layout)
    assert known is not None
    return [component.identity for component in known.components]


async def gone(processes, within_s=60.0):
    deadline = time.monotonic() + within_s
    while any(process.alive for process in processes):
        assert time.monotonic() < deadline, f"still there: {processes}"
        await asyncio.sleep(0.02)


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path / "plane")
    yield layout
    # What a failing test leaves behind must not burden the machine.
    if known := record.read(layout):
        for process in (known.holder, *(component.identity for component in known.components)):
            if process.pid != os.getpid():
                process.signal(signal.SIGKILL)


async def test_it_is_ready_when_it_says_so_and_nothing_is_left_when_it_is_down(layout):
    async with ControlPlane(layout.root) as plane:
        account = kubectl(layout, "get", "serviceaccount", "default", "-o", "name")
        assert account.strip() == "serviceaccount/default"
        node = kubectl(
            layout, "get", "nodes", "-o", "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}"
        )
        assert node == "True"
        assert sorted(plane.pids) == ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"]
        processes = identities(layout)
    assert not any(process.alive for process in processes)
    assert await look(layout.root) is None


async def test_objects_port_and_kubeconfig_survive_a_crash_of_everything(layout):
    script = (
        "import asyncio, sys; from pathlib import Path; from trimtab.cluster.plane import ControlPlane\n"
        "async def main():\n"
        "    async with ControlPlane(Path(sys.argv[1])):\n"
        "        print('up', flush=True); await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, layout.root], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        assert parent.stdout.readline() == "up\n"
    kubectl(layout, "create", "namespace", "kept")
    processes, opened = identities(layout), layout.kubeconfig.read_text()
    assert len(processes) == 5
    parent.kill()
    parent.wait()
    await gone(processes)
    async with ControlPlane(layout.root) as plane:
        layout.kubeconfig.write_text(opened)
        assert kubectl(layout, "get", "namespace", "kept", "-o", "name") == "namespace/kept\n"
        assert plane.server in opened


async def test_a_second_one_in_the_same_directory_is_refused_with_the_way_in(layout):
    async with ControlPlane(layout.root, kwok=False):
        with pytest.raises(AlreadyRunning, match=str(layout.kubeconfig)):
            await ControlPlane(layout.root).start()
        assert (await look(layout.root)).good
        refused = trimtab("up", "--dir", layout.root)
        assert refused.returncode == 1
        assert str(layout.kubeconfig) in refused.stderr


async def test_two_run_side_by_side_and_do_not_know_each_other(plane, layout):
    async with ControlPlane(layout.root, kwok=False) as other:
        assert other.server != plane.server
        assert other.ca != plane.ca
        kubectl(layout, "create", "namespace", "only-here")
        assert "only-here" not in kubectl(plane.layout, "get", "namespaces", "-o", "name")


async def test_a_stopped_one_is_not_confused_with_a_process_that_has_its_number(layout):
    layout.make()
    bystander = Identity.mine()
    record.write(
        layout,
        record.Record(
            holder=bystander._replace(started="1"),
            server="https://127.0.0.1:1",
            ready=True,
            components=(record.Running(name="etcd", identity=bystander._replace(started="1")),),
        ),
    )
    assert await look(layout.root) is None
    assert trimtab("down", "--dir", layout.root).stdout.startswith("No control plane runs")
    async with ControlPlane(layout.root, kwok=False):
        assert bystander.alive


async def test_one_component_can_be_killed_and_started_again(layout):
    async with ControlPlane(layout.root, kwok=False) as plane:
        kubectl(layout, "create", "namespace", "kept")
        for name in ("etcd", "kube-apiserver"):
            before = plane.pids[name]
            await plane.restart(name)
            assert plane.pids[name] != before
            assert kubectl(layout, "get", "namespace", "kept", "-o", "name") == "namespace/kept\n"


def test_up_detached_status_and_down(layout):
    came_up = trimtab("up", "--dir", layout.root, "--detach")
    assert came_up.returncode == 0, came_up.stderr
    assert f"export KUBECONFIG={layout.kubeconfig}" in came_up.stdout
    well = trimtab("status", "--dir", layout.root)
    assert well.returncode == 0, well.stdout
    assert "Node trimtab-node Ready" in well.stdout
    processes = identities(layout)
    scheduler = next(one for one in record.read(layout).components if one.name == "kube-scheduler").identity
    os.kill(scheduler.pid, signal.SIGKILL)
    asyncio.run(gone([scheduler]))
    unwell = trimtab("status", "--dir", layout.root)
    assert unwell.returncode == 2
    assert any(line.startswith("kube-scheduler") and line.endswith("ended") for line in unwell.stdout.splitlines())
    went_down = trimtab("down", "--dir", layout.root)
    assert went_down.returncode == 0, went_down.stderr
    assert not any(process.alive for process in processes)
    assert trimtab("status", "--dir", layout.root).returncode == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_stays_until_it_is_interrupted_and_leaves_nothing(layout, number):
    up = subprocess.Popen(
        [*COMMAND, "up", "--dir", layout.root, "--no-kwok"], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    assert up.stdout is not None
    with up.stdout:
        assert str(layout.kubeconfig) in up.stdout.readline()
        processes = identities(layout)
        up.send_signal(number)
        assert "is down" in up.stdout.read()
    assert up.wait(timeout=60) == 0
    assert not any(process.alive for process in processes)


def test_an_interrupt_during_the_start_leaves_nothing(layout):
    up = subprocess.Popen([*COMMAND, "up", "--dir", layout.root], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not ((known := record.read(layout)) and known.components):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    processes = identities(layout)
    up.send_signal(signal.SIGINT)
    up.wait(timeout=60)
    assert not any(process.alive for process in processes)
    assert not record.is_held(layout)


def test_a_port_that_is_taken_is_refused_by_name(layout):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(Terminal, match=f"port {number} on 127.0.0.1 is in use"), port.reserve(number):
            pass
        with port.reserve(None, preferred=number) as other:
            assert other != number


def test_a_reserved_port_is_taken_for_everybody_but_a_server_that_shares():
    with port.reserve(None) as number:
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", number))
        with pytest.raises(Terminal), port.reserve(number):
            pass
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            server.bind(("127.0.0.1", number))
            server.listen()
            with socket.create_connection(("127.0.0.1", number), timeout=2):
                pass
