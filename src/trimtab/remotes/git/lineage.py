"""Whether one commit descends from another, by commits alone: no trees and no files are fetched for the answer.

The history is fetched into a repository that lives as long as the question, in steps: nearly always the old commit is
among the last few, and only for the answer "no" is a whole history needed.
"""

import shutil
from enum import StrEnum
from pathlib import Path

from trimtab.base.process import OutputTooLarge
from trimtab.remotes.git.git import Git, GitFailed
from trimtab.remotes.git.mirror import NOT_BY_ID
from trimtab.remotes.git.names import check_commit, check_ref

STEPS = (32, 1024, 65_536)
"""So many generations are looked at, one number after the other; beyond the last the answer is not known."""


class Descent(StrEnum):
    """How a commit is related to an earlier one. UNKNOWN: its history is too long, or could not be had."""

    DESCENDS = "descends"
    DIVERGED = "diverged"
    UNKNOWN = "unknown"


async def descent(git: Git, scratch: Path, url: str, old: str, new: str, ref: str, *, timeout: float) -> Descent:
    """Whether `new`, which is or was the tip of `ref`, has `old` among its ancestors.

    `old` need not exist on the server any more. `scratch` must not exist, and does not afterwards. `timeout` is for
    each step, in seconds. Raises GitFailed and ProcessTimeout.
    """
    wanted = needle = check_commit(new)
    if check_commit(old) == new:
        return Descent.DESCENDS
    try:
        await git.run("init", ["--quiet", "--bare", "--template=", "--", str(scratch)])
        for depth in STEPS:
            try:
                await _pull(git, scratch, url, wanted, depth, timeout)
            except GitFailed as refusal:
                if wanted == ref or not ref or not NOT_BY_ID.search(refusal.said):
                    raise
                wanted = check_ref(ref)  # the server hands out nothing by id
                await _pull(git, scratch, url, wanted, depth, timeout)
            try:
                listed = await git.run("rev-list", ["--end-of-options", needle, "--"], repository=scratch)
            except OutputTooLarge:
                return Descent.UNKNOWN
            if old.encode() in listed.split():
                return Descent.DESCENDS
            if not (scratch / "shallow").exists():
                return Descent.DIVERGED
        return Descent.UNKNOWN
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


async def _pull(git: Git, repository: Path, url: str, wanted: str, depth: int, timeout: float) -> None:
    options = ["--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--no-auto-gc", "--refmap="]
    specification = f"+{wanted}:refs/kept/head"
    await git.run(
        "fetch",
        [*options, "--filter=tree:0", f"--depth={depth}", "--", url, specification],
        repository=repository,
        timeout=timeout,
    )
