"""The benchmark of git runs from nothing to figures; how good they are is nobody's business here."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_first_artifact_is_measured_against_a_clone() -> None:
    command = [
        sys.executable,
        "-m",
        "bench.git",
        "--parts",
        "first",
        "--files",
        "250",
        "--commits",
        "3",
        "--rounds",
        "1",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)["first"]
    assert (first["files"], first["commits"], len(first["ratios"])) == (250, 3, 1)
    assert first["artifact_s"] > 0
