"""The way of a person: their own git, with their credential helpers, their ssh and its agent, and their configuration.

Only what speaks to the remote runs so; objects are read and made by the hardened git, and hooks never run.
"""

import hashlib
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from trimtab.base.errors import Terminal, Transient
from trimtab.base.process import OutputTooLarge, ProcessTimeout
from trimtab.commits.message import Person
from trimtab.commits.way import listed
from trimtab.remotes.git.credentials import AuthenticationFailed
from trimtab.remotes.git.git import Git, GitFailed
from trimtab.remotes.shown import shown

_SETTINGS: Final = (
    "user.useConfigOnly=true",
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "protocol.version=2",
    "protocol.ext.allow=never",
    "submodule.recurse=false",
    "push.recurseSubmodules=no",
    "push.followTags=false",
    "push.gpgSign=false",
    "transfer.fsckObjects=true",
    "fetch.unpackLimit=1",
    "gc.auto=0",
    "maintenance.auto=false",
)
Settings: TypeAlias = tuple[tuple[str, str], ...]
"""In their order, and each as often as it is given: an empty credential.helper ends those before it."""
_OF_A_CLONE: Final = r"^(credential\.|core\.sshcommand|url\.|http\.|ssh\.)"
"""Settings of a clone that say how its remote is reached."""
_DENIED: Final = re.compile(
    r"Authentication failed|could not read (?:Username|Password)|Permission denied|Host key verification failed"
    r"|terminal prompts disabled"
)


@dataclass(frozen=True, slots=True)
class Own:
    """Leads to `url` as the person who runs the command would go. `settings` are those of a clone."""

    url: str
    timeout_s: float = 60.0
    settings: Settings = field(default=(), repr=False)

    @property
    def name(self) -> str:
        return shown(self.url)

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"own\n{self.url}".encode()).hexdigest()

    async def heads(self, names: Sequence[str]) -> Mapping[str, str]:
        async with self.git() as (git, url):
            return await listed(git, url, names, self)

    @asynccontextmanager
    async def git(self, *, writing: bool = False) -> AsyncIterator[tuple[Git, str]]:  # noqa: ARG002 - one person
        if self.url.startswith("-"):
            raise Terminal("URLInvalid", f"{self.url[:80]!a} is not an address of a repository")
        yield Git(_environment(self.settings), _SETTINGS), self.url

    def failed(self, problem: Exception) -> Transient:
        said = problem.said if isinstance(problem, GitFailed) else str(problem)
        if _DENIED.search(said):
            return AuthenticationFailed(
                f"{self.name}: signing in failed. Your own git is asked, without a terminal: a credential helper or an "
                f"agent of ssh has to know the answer, or --secret takes the Secret of the source. git said: {said}"
            )
        return Transient("GitOperationFailed", f"{self.name}: {said}")


@dataclass(frozen=True, slots=True)
class Clone:
    """A clone of a person, which is only read: its branch, its remote, its settings."""

    directory: Path
    branch: str
    remote: str
    settings: Settings = field(repr=False)
    merging: bool = False

    @classmethod
    async def at(cls, directory: Path) -> "Clone":
        """Look at the clone that `directory` is in. Raises Terminal."""
        git = Git(_environment(()), ("safe.bareRepository=explicit", *_SETTINGS))

        refused: list[str] = []

        async def ask(verb: str, *arguments: str) -> str:
            try:
                said = await git.run("-C", [str(directory.resolve()), verb, *arguments], timeout=30.0)
            except GitFailed as problem:
                refused.append(problem.said)
                return ""
            except (ProcessTimeout, OutputTooLarge) as problem:
                raise Terminal("UpdateFailed", f"{directory}: {problem}") from problem
            return said.decode(errors="surrogateescape").removesuffix("\n")

        if not directory.is_dir() or not (place := await ask("rev-parse", "--absolute-git-dir")):
            said = f": {refused[0]}" if refused else ""
            raise Terminal("UpdateFailed", f"{directory} is not in a clone of git{said}")
        branch = await ask("symbolic-ref", "--quiet", "--short", "HEAD")
        remote = (await ask("config", "--get", f"branch.{branch}.remote") if branch else "") or "origin"
        listed = await ask("config", "--null", "--get-regexp", _OF_A_CLONE)
        url = await ask("config", "--get", f"remote.{remote}.url")
        if url and ":" not in url and not url.startswith("/"):
            url = str(Path(await ask("rev-parse", "--show-toplevel")) / url)
        entries = (entry.partition("\n") for entry in listed.split("\0"))
        settings = tuple((key, value) for key, given, value in entries if given)
        return cls(
            directory,
            branch,
            url,  # as it is written: `insteadOf` is among the settings, and is applied by the git that goes there
            settings,
            merging=any((Path(place) / name).exists() for name in ("MERGE_HEAD", "rebase-merge", "rebase-apply")),
        )


async def identity() -> Person | None:
    """Who the person is to their own git, from its configuration or the environment; None if it does not know."""
    try:
        said = await Git(_environment(()), _SETTINGS).run("var", ["GIT_AUTHOR_IDENT"], timeout=30.0)
    except (GitFailed, ProcessTimeout, OutputTooLarge):
        return None
    found = re.fullmatch(r"(.*) <([^<>]*)> \d+ [+-]\d{4}\n?", said.decode(errors="replace"))
    return Person(found[1], found[2]) if found else None


async def setting(name: str, kind: str = "") -> str:
    """What the person's git is set to; empty if it is not."""
    words = [f"--type={kind}"] if kind else []
    try:
        said = await Git(_environment(()), _SETTINGS).run("config", [*words, "--get", name], timeout=30.0)
    except (GitFailed, ProcessTimeout, OutputTooLarge):
        return ""
    return said.decode(errors="replace").strip()


def _environment(settings: Settings) -> dict[str, str]:
    """The person's own, without what would lead git to another repository, and without a terminal to ask at."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIR", "GIT_NAMESPACE"))
    }
    count = int(kept.get("GIT_CONFIG_COUNT") or 0)
    for number, (key, value) in enumerate(settings, start=count):
        kept |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return kept | {"GIT_CONFIG_COUNT": str(count + len(settings)), "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
