"""A push of one new commit, and what became of it, read from what git and the server say."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from trimtab.base.errors import Terminal
from trimtab.base.process import Completed
from trimtab.remotes.git.names import check_ref

OWN: Final = "trimtab/"
"""Branches below this are ours: they may be made anew. No other branch ever is."""

_HEADS: Final = "refs/heads/"
_MOVED: Final = re.compile(
    r"stale info|fetch first|non-fast-forward|needs force|failed to update ref|cannot lock ref|incorrect old value"
    r"|failed to lock|reference already exists|already exists"
)
_READ_ONLY: Final = re.compile(
    r"error: 403|HTTP 403|read.?only|write access|writ(?:e|ing) (?:permission|is not)|not allowed to (?:push|upload)"
    r"|denied to|insufficient permission|service not enabled|not permitted to push",
    re.IGNORECASE,
)
_SAID_CHARS: Final = 1000


@dataclass(frozen=True, slots=True)
class Push:
    """Where a commit goes: to `branch` instead of the one it was made on, with `options` for the server (git push -o).

    `refspec` is pushed as well: `[SOURCE:]TARGET`, where SOURCE is the branch or HEAD, and both mean the new commit.
    """

    branch: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    refspec: str = ""


class Fate(StrEnum):
    """What became of a push."""

    DONE = "done"
    MOVED = "moved"  # the branch is not where it was: look again
    REFUSED = "refused"  # by the server's rules
    READ_ONLY = "read only"
    FAILED = "failed"  # and it may have arrived


class Told(NamedTuple):
    """The fate, in the words of the other side; and what became of the second reference, if that went wrong."""

    fate: Fate
    said: str = ""
    note: str = ""


def option_words(options: Mapping[str, str]) -> list[str]:
    """Arguments for git. Raises Terminal."""
    words: list[str] = []
    for key, value in options.items():
        text = f"{key}={value}" if value else key
        if not key or any(ord(char) < 0x20 or ord(char) == 0x7F for char in text):
            raise Terminal("UpdateFailed", f"the push option {key[:60]!a} is empty or has a line break in it")
        words.append(f"--push-option={text}")
    return words


def extra_target(refspec: str, branch: str) -> str:
    """The reference that `refspec` names as well. Raises Terminal: it forces, deletes, or pushes something else."""
    if not refspec:
        return ""
    source, colon, target = refspec.partition(":")
    if refspec.startswith("+") or (colon and not (source and target)):
        raise Terminal("UpdateFailed", f"the refspec {refspec[:200]!a} forces or deletes; that is never done")
    if source not in ("HEAD", branch, _HEADS + branch):
        raise Terminal(
            "UpdateFailed", f"the refspec {refspec[:200]!a} pushes something else than the new commit; write {branch}:…"
        )
    name = target or source
    name = name if name.startswith("refs/") else _HEADS + name
    try:
        check_ref(name)
    except ValueError as problem:
        raise Terminal("UpdateFailed", f"the refspec {refspec[:200]!a}: {problem}") from problem
    if name == "refs/heads/HEAD" or not name.startswith((_HEADS, "refs/tags/")):
        raise Terminal("UpdateFailed", f"the refspec {refspec[:200]!a} names no branch and no tag")
    return "" if name == _HEADS + branch else name


def arguments(url: str, commit: str, branch: str, expected: str, extra: str, options: list[str]) -> list[str]:
    """Arguments of `git push`: `commit` to `branch`, if that is at `expected` (empty: not there) and nowhere else.

    Without the lease, git would take any ancestor for the old value: a commit that somebody has just taken off the
    branch would come back with ours. With it, and a commit whose parent is `expected`, there is no way but forward.
    """
    ref = _HEADS + branch
    refs = [f"{commit}:{ref}", *([f"{commit}:{extra}"] if extra else [])]
    return ["--porcelain", "--no-verify", *options, f"--force-with-lease={ref}:{expected}", "--", url, *refs]


def told(done: Completed, branch: str) -> Told:
    """What became of the push, by what git printed."""
    lines = done.stdout.decode(errors="replace").splitlines()
    status = {parts[1].rpartition(":")[2]: parts for line in lines if len(parts := line.split("\t")) == 3}
    said = _words(done.stderr)
    own = status.pop(_HEADS + branch, None)
    if own is None:
        fate = Fate.READ_ONLY if _READ_ONLY.search(said) else Fate.FAILED
        return Told(fate, said or f"git push ended with {done.code}")
    flag, _, summary = own
    if flag != "!":
        failed = [f"{ref}: {parts[2]}" for ref, parts in status.items() if parts[0] == "!"]
        return Told(Fate.DONE, note="; ".join([*failed, said] if failed else []))
    if "[remote failure]" in summary or "unpacker error" in summary:
        return Told(Fate.FAILED, f"{summary}; {said}")
    # The server says of a reference that moved what it says of one that it guards; only the words differ.
    fate = Fate.MOVED if _MOVED.search(summary) else Fate.REFUSED
    return Told(fate, "; ".join(part for part in (_reason(summary), said) if part))


def _reason(summary: str) -> str:
    return summary.partition("(")[2].rpartition(")")[0] or summary


def _words(stderr: bytes) -> str:
    """What the server said, and git's own errors, without what git says in each case."""
    kept: list[str] = []
    for line in stderr.decode(errors="replace").splitlines():
        line = re.sub(r"^(?:remote: |fatal: |error: )+", "", line.strip()).strip()
        if line and not line.startswith(("failed to push some refs", "hint:", "warning:", "To ", "Everything up")):
            kept.append("".join(char if char.isprintable() else "?" for char in line))
    return "; ".join(kept)[:_SAID_CHARS]
