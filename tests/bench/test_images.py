"""The benchmark of images runs from nothing to figures; how good they are is nobody's business here."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_repository_of_many_tags_is_looked_at_again_and_again() -> None:
    arguments = ["--parts", "many", "--many", "50", "--rounds", "2"]
    command = [sys.executable, "-m", "bench.images", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    many = json.loads(done.stdout)["many"]
    assert (many["tags"], len(many["rounds"])) == (50, 2)
    assert many["seconds"] > 0
