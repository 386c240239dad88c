"""The demo's repository: bare for the server, and a clone in which the user commits."""

import os
import shutil
from pathlib import Path

import trimtab
from trimtab.base import process
from trimtab.base.errors import Terminal

NAME = "shop"
_CONFIG = (
    # The clone must work on a machine where git was never set up, and must not ask for a signing key where it was.
    ("user.name", "Trimtab demo"),
    ("user.email", "demo@example.org"),
    ("commit.gpgsign", "false"),
)


def examples() -> Path:
    """The directory of the example repository: in the checkout, or beside the code where it was installed.

    Raises Terminal where there is neither.
    """
    package = Path(trimtab.__file__).parent
    for place in (package.parents[1] / "examples", package / "examples"):
        if (place / "clusters" / "demo").is_dir():
            return place
    raise Terminal("ExamplesMissing", f"no examples beside {package}: run the demo from a checkout of Trimtab")


async def fill(bare: Path, work: Path) -> None:
    """Put the examples into the empty repository `bare`, and leave a clone in `work` that can commit and push."""
    shutil.copytree(examples(), work)
    await _git(work, "init", "--quiet", "--initial-branch=main")
    for name, value in _CONFIG:
        await _git(work, "config", name, value)
    await _git(work, "remote", "add", "origin", str(bare))
    await _git(work, "add", "--all")
    await _git(work, "commit", "--quiet", "--message", "A small shop")
    await _git(work, "push", "--quiet", "--set-upstream", "origin", "main")


async def _git(directory: Path, *arguments: str) -> None:
    env = {"PATH": os.environ.get("PATH", os.defpath), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    try:
        done = await process.run(["git", *arguments], env=env, cwd=directory)
    except FileNotFoundError:
        raise Terminal("GitMissing", "git is not on PATH; the demo needs it for its repository") from None
    if done.code:
        words = done.stderr.decode(errors="replace").strip()
        raise Terminal("GitOperationFailed", f"git {arguments[0]} in {directory}: {words}")
