"""`trimtab demo`: everything becomes ready, what it says to try works as printed, and nothing is left behind."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trimtab.cluster import record
from trimtab.cluster.layout import Layout
from trimtab.toolchain import binaries

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(300)]

READY_S = 120.0
HEAL_S = 60.0


def start(directory: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "trimtab.cli.main", "demo", "--dir", str(directory), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(autouse=True)
def _built() -> None:
    if binaries.find("controlplane") is None or binaries.find("render") is None:
        pytest.fail("the toolchain is not built; run `make setup` first", pytrace=False)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "demo"
    # etcd's files are large, and pytest keeps what it is left with.
    shutil.rmtree(tmp_path / "demo", ignore_errors=True)


def test_what_the_demo_says_to_try_works_and_ctrl_c_leaves_no_process_behind(directory: Path) -> None:
    demo = start(directory)
    try:
        said = read_until(demo, "Ctrl-C here ends everything")
        assert re.search(r"6 apps with \d+ objects are ready after", said)
        plane = record.read(Layout(directory / "cluster"))
        assert plane is not None
        started = [component.identity for component in plane.components]
        commands = [line.strip() for line in said.partition("In another terminal")[2].splitlines() if line[:2] == "  "]
        settings, commands = commands[:3], commands[3:]

        def sh(command: str) -> str:
            # As a user would: a login shell's environment, and what the demo said to export.
            env = {"PATH": "/usr/bin:/bin", "HOME": str(directory), "TERM": "dumb"}
            script = "\n".join(["set -e", *settings, command])
            done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
            return done.stdout

        def replicas(name: str) -> int:
            return int(sh(f"kubectl -n team-atlas get deployment {name} -o 'jsonpath={{.spec.replicas}}'"))

        assert (replicas("storefront"), replicas("catalog")) == (3, 2)
        edit, commit, show, scale, show_again, revert, *look = commands
        for command in (show, show_again):
            sh(command.removesuffix(" --watch"))
        sh(edit)
        sh(commit)
        until(lambda: replicas("storefront") == 5)
        sh(scale)
        until(lambda: replicas("catalog") == 2)
        sh(revert)
        until(lambda: replicas("storefront") == 3)
        assert [sh(command) for command in look] != []
        assert json.loads(sh("trimtab get ks -o json"))["items"]
    finally:
        demo.send_signal(signal.SIGINT)
        rest = demo.communicate(timeout=60)[0]
    assert demo.returncode == 0, rest
    assert [identity for identity in started if identity.alive] == []
    assert not record.is_held(Layout(directory / "cluster"))


def test_until_ready_ends_by_itself_and_starts_afresh_each_time(directory: Path) -> None:
    for _ in range(2):
        demo = start(directory, "--until-ready")
        said = demo.communicate(timeout=READY_S)[0]
        assert demo.returncode == 0, said
        assert "6 apps with" in said
        (directory / "repo" / "left-over").touch()


def test_a_killed_demo_leaves_no_process_behind(directory: Path) -> None:
    demo = start(directory)
    try:
        read_until(demo, "are ready after")
        plane = record.read(Layout(directory / "cluster"))
        assert plane is not None
    finally:
        os.kill(demo.pid, signal.SIGKILL)
        demo.communicate(timeout=60)
    until(lambda: not any(component.identity.alive for component in plane.components))


def test_a_directory_with_other_things_is_not_emptied(directory: Path) -> None:
    directory.mkdir()
    (directory / "thesis.tex").touch()
    demo = start(directory, "--until-ready")
    said = demo.communicate(timeout=60)[0]
    assert demo.returncode == 1
    assert "holds something else than a demo" in said
    assert (directory / "thesis.tex").exists()


def read_until(demo: "subprocess.Popen[str]", text: str) -> str:
    assert demo.stdout is not None
    said = ""
    deadline = time.monotonic() + READY_S
    while text not in said:
        line = demo.stdout.readline()
        said += line
        assert line, f"it ended with {demo.wait()}: {said}"
        assert time.monotonic() < deadline, said
    return said


def until(met) -> None:
    deadline = time.monotonic() + HEAL_S
    while not met():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
