"""The benchmark of `trimtab validate`: `python -m bench.validate`. No cluster is needed.

Documents of the usual kinds, one file for each app, are validated by the command as a hook would call it; the same
command over one document is its start-up. What is left is the time that the documents take.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.run import machine

_APP = """\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: app-{n}, namespace: shop, labels: {{app: app-{n}}}}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: app-{n}}}}}
  template:
    metadata: {{labels: {{app: app-{n}}}}}
    spec:
      serviceAccountName: app-{n}
      containers:
      - name: web
        image: registry.example.com/app:{n}
        ports: [{{name: http, containerPort: 8080}}]
        env:
        - {{name: MODE, value: production}}
        - {{name: LEVEL, valueFrom: {{configMapKeyRef: {{name: app-{n}, key: level}}}}}}
        resources: {{requests: {{cpu: 100m, memory: 64Mi}}, limits: {{memory: 128Mi}}}}
        livenessProbe: {{httpGet: {{path: /healthz, port: http}}}}
        readinessProbe: {{httpGet: {{path: /readyz, port: http}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: app-{n}, namespace: shop}}
spec: {{selector: {{app: app-{n}}}, ports: [{{name: http, port: 80, targetPort: http}}]}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: app-{n}, namespace: shop}}
data: {{level: info, text: "a line of configuration"}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: app-{n}, namespace: shop}}
"""
_EACH = 4


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds, each the median of several runs; `beyond_s` is what the documents take beyond the start-up."""

    documents: int
    start_up_s: float
    all_s: float
    beyond_s: float
    cpu_beyond_s: float
    help_s: float
    machine: dict[str, Any]


def main(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as directory:
        one, many = Path(directory, "one"), Path(directory, "many")
        for place, count in ((one, 1), (many, arguments.documents // _EACH)):
            place.mkdir()
            for number in range(count):
                (place / f"app-{number:05}.yaml").write_text(_APP.format(n=number))
        small, large, helped = [], [], []
        # one after the other, so that a busy minute of the machine hits all of them
        for _ in range(arguments.runs):
            small.append(_timed("validate", "--offline", str(one)))
            large.append(_timed("validate", "--offline", str(many)))
            helped.append(_timed("--help"))
    start, all_, asked = (tuple(map(statistics.median, zip(*runs, strict=True))) for runs in (small, large, helped))
    result = Result(
        arguments.documents // _EACH * _EACH,
        round(start[0], 2),
        round(all_[0], 2),
        round(all_[0] - start[0], 2),
        round(all_[1] - start[1], 2),
        round(asked[0], 3),
        machine(),
    )
    print(json.dumps(asdict(result), indent=2))
    return 0


def _timed(*words: str) -> tuple[float, float]:
    """Seconds of wall and of processor that the command takes."""
    before = os.times()
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "trimtab", *words], capture_output=True, text=True)
    seconds = time.monotonic() - began
    after = os.times()
    assert done.returncode == 0, done.stdout + done.stderr
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, cpu


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench.validate", description=__doc__)
    parser.add_argument("--documents", type=int, default=2_000, help="how many documents (2000)")
    parser.add_argument("--runs", type=int, default=5, help="how often each is timed (5)")
    return parser


if __name__ == "__main__":
    sys.exit(main(parser().parse_args()))
