"""The benchmark runs from nothing to a table, on real components."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bench.measure import PHASES

from trimtab.toolchain import binaries

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(240)
def test_every_phase_is_measured_to_its_end(tmp_path: Path) -> None:
    if binaries.find("controlplane") is None or binaries.find("render") is None:
        pytest.fail("the toolchain is not built; run `make setup` first", pytrace=False)
    command = [sys.executable, "-m", "bench.run", "--n", "3", "--timeout", "60", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=230)
    assert done.returncode == 0, done.stderr
    (written,) = tmp_path.glob("*.json")
    phases = json.loads(written.read_text())["runs"][0]["phases"]
    assert [phase["phase"] for phase in phases] == list(PHASES)
    assert [phase["done"] for phase in phases if "done" in phase] == [3, 3, 3, 3]
    drift = phases[-1]
    assert (drift["trials"], drift["p95_s"] < 30) == (20, True)
