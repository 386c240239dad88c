"""`python -m trimtab.cluster DIR [--port N] [--no-kwok]`: the holder of a detached control plane."""

import argparse
import asyncio
import sys
from pathlib import Path

from trimtab.base.errors import TrimtabError
from trimtab.cluster.plane import ControlPlane
from trimtab.cluster.supervise import hold


def main() -> int:
    """Hold a control plane until told to end; 1 if it did not come up."""
    parser = argparse.ArgumentParser(prog="python -m trimtab.cluster")
    parser.add_argument("dir", type=Path)
    parser.add_argument("--port", type=int)
    parser.add_argument("--no-kwok", action="store_true")
    asked = parser.parse_args()
    plane = ControlPlane(asked.dir, port=asked.port, kwok=not asked.no_kwok, progress=_say)
    try:
        asyncio.run(hold(plane, up=lambda: None, say=_say))
    except TrimtabError as failure:
        _say(str(failure))
        return 1
    return 0


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
