"""What tests of several packages share: the real control plane, names, and an honest count of what was skipped."""

import asyncio
import itertools
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from trimtab.cluster.plane import ControlPlane
from trimtab.toolchain import binaries

# What is drawn and how long it takes are two questions: a busy machine is no failure.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

CLUSTER_FIXTURES = {"plane", "kubeconfig", "kubectl"}


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A running control plane for the session; under xdist every worker has its own.

    Synchronous on purpose: it outlives the loop of any one test, and the kernel ties its processes to the main thread.
    """
    found = binaries.find("controlplane")
    if found is None:
        # Not a skip: a suite that silently leaves out the cluster proves nothing. Not a build: it takes minutes.
        pytest.fail("the control plane is not built; run `make setup` first", pytrace=False)
    plane = ControlPlane(tmp_path_factory.mktemp("plane"), audit=True, binaries=found)
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(plane.start())
        yield plane
        loop.run_until_complete(plane.stop())
    finally:
        loop.close()


@pytest.fixture(scope="session")
def kubeconfig(plane: ControlPlane) -> Path:
    """The administrator's kubeconfig of the session's control plane."""
    return plane.kubeconfig


@pytest.fixture(scope="session")
def kubectl(plane: ControlPlane) -> Callable[..., str]:
    """`kubectl("get", "pods", stdin="…")`: what the real kubectl prints; raises CalledProcessError with its words."""

    def run(*arguments: str, stdin: str = "") -> str:
        command = [plane.binaries["kubectl"], f"--kubeconfig={plane.kubeconfig}", *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise subprocess.CalledProcessError(done.returncode, f"{command}: {done.stderr}", done.stdout, done.stderr)
        return done.stdout

    return run


_numbers = itertools.count(1)


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> Callable[[], str]:
    """`namespace()` gives the name of a namespace that no other test uses. It is not created."""
    stem = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40].strip("-")
    return lambda: f"t-{stem}-{next(_numbers)}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the control plane, so that `-m 'not cluster'` is the quick half of the suite."""
    for item in items:
        if CLUSTER_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.cluster)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the skips by reason: what was not tested on this machine belongs into the result."""
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else str(report.longrepr)
        for report in skipped
    )
    terminalreporter.section(f"{len(skipped)} skipped, for these reasons")
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:5}  {reason}")
