"""Where `trimtab apply` takes an app from: a directory on this machine, or one in a repository."""

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from trimtab.api.kustomize import KustomizationSpec
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.base import process
from trimtab.base.errors import Terminal
from trimtab.base.http import AiohttpTransport
from trimtab.cli.connect import Code, Failure
from trimtab.cli.render import rendering
from trimtab.cli.render.rendering import Recipe
from trimtab.controllers.credentials import secret
from trimtab.kube.client import Client
from trimtab.manifests.refs import Manifest
from trimtab.remotes.git.address import parse_address
from trimtab.remotes.git.credentials import ANONYMOUS, Credentials
from trimtab.render.options import Options
from trimtab.render.render import Rendered, Renderer
from trimtab.render.variables import Variables
from trimtab.sops.keyring import Keyring
from trimtab.sources.git import GitSource, GitSpec
from trimtab.sources.targets import Branch, Commit, Tag, Target

_SCP: Final = re.compile(r"[A-Za-z0-9_.-]+@[A-Za-z0-9.-]+:[^/].*")
_ORIGIN: Final = re.compile(r'^\[remote "origin"\]\s*$(?P<body>(?:\n(?!\[).*)*)', re.MULTILINE)
_URL: Final = re.compile(r"^\s*url\s*=\s*(?P<url>\S+)\s*$", re.MULTILINE)
_GIT_S: Final = 20.0
_QUIET_GIT: Final = (
    *("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"),
    # what lies among the files may look like a repository itself, with filters of its own
    *("-c", "safe.bareRepository=explicit", "--no-optional-locks"),
)


class Place(NamedTuple):
    """One state of the origin. `source` and `path` say which directory of which repository, empty if nobody can tell.

    `revision` names the state, empty where only what was rendered does. `render` builds the app, `other` what another
    directory of the same repository declares by itself.
    """

    source: str
    path: str
    revision: str
    render: Callable[[], Awaitable[Rendered]]
    other: Callable[[str], Awaitable[tuple[Manifest, ...]]]


class Build(NamedTuple):
    """How to build: what was asked for, read once."""

    recipe: Recipe
    spec: KustomizationSpec | None
    variables: Variables
    keys: Keyring | None

    @classmethod
    def of(cls, recipe: Recipe) -> "Build":
        """Raises Failure, Terminal; also for what a Kustomization file says and nobody would heed."""
        declared = recipe.declared()
        spec = declared.spec
        if spec is not None and (spec.kube_config is not None or spec.service_account_name):
            words = "spec.kubeConfig and spec.serviceAccountName are not heeded here: say --kubeconfig and --context"
            raise Failure(Code.WRONG, f"{recipe.kustomization_file}: {words}")
        return cls(recipe, declared.spec, recipe.variables(declared.spec), recipe.keys(declared.spec))

    @property
    def plain(self) -> bool:
        """Whether nothing but the directory decides which objects there are."""
        recipe = self.recipe
        return not (recipe.kustomization_file or recipe.substitute or recipe.substitute_from)


def is_url(word: str) -> bool:
    """Whether `word` is the address of a repository, and no directory."""
    return "://" in word or (_SCP.fullmatch(word) is not None and not Path(word).exists())


@dataclass(frozen=True, slots=True)
class Local:
    """A directory on this machine."""

    directory: Path
    build: Build

    async def look(self) -> Place:
        """The directory as it is now."""
        root = self._root()
        if root is None:
            return Place("", "", "", self._render, _nothing)
        relative = self.directory.resolve().relative_to(root).as_posix()

        async def other(path: str) -> tuple[Manifest, ...]:
            place = root / _inside(path)
            if not place.is_dir():
                return ()  # at this revision nobody declares anything there
            plain = Recipe(None, root, (), (), self.build.recipe.strict, (), ())
            try:
                return (await rendering.rendered(place, plain, None, Variables(), None)).manifests
            except Failure as failure:
                raise Terminal("ArtifactFailed", failure.message) from failure

        path = "" if relative == "." else relative
        return Place(_source_of(root), path, await _commit(root), self._render, other)

    async def _render(self) -> Rendered:
        recipe, spec, variables, keys = self.build
        return await rendering.rendered(self.directory, recipe, spec, variables, keys)

    def _root(self) -> Path | None:
        """Where the repository begins: what was said, else the nearest with .git."""
        path = self.directory.resolve()
        if self.build.recipe.root is not None:
            root = self.build.recipe.root.resolve()
            return root if path.is_relative_to(root) else None
        return next((above for above in (path, *path.parents) if (above / ".git").exists()), None)


@dataclass(slots=True)
class Remote:
    """A directory in a repository, fetched when it has moved."""

    git: GitSource
    spec: GitSpec
    credentials: Credentials
    path: str
    build: Build
    renderer: Renderer
    _snapshot: Snapshot | None = field(default=None)

    async def look(self) -> Place:
        """What the repository has now. Raises Transient, Terminal."""
        head = await self.git.look(self.spec, self.credentials)
        if self._snapshot is None or self._snapshot.revision != head.revision:
            before = self._snapshot.tree if self._snapshot else None
            self._snapshot = await self.git.fetch(self.spec, self.credentials, head, before)
        snapshot = self._snapshot

        async def render() -> Rendered:
            _, spec, variables, keys = self.build
            options = Options() if spec is None else Options.from_spec(spec)
            if self.path and not snapshot.tree.has_directory(self.path):
                raise Terminal("ArtifactFailed", f"{self.spec.address} has no directory {self.path} (--path)")
            return await self.renderer.render(snapshot, self.path, options, variables, keys)

        async def other(path: str) -> tuple[Manifest, ...]:
            if path and not snapshot.tree.has_directory(_inside(path)):
                return ()
            return (await self.renderer.render(snapshot, path, Options())).manifests

        return Place(str(self.spec.address), self.path, snapshot.revision, render, other)


class Whence(NamedTuple):
    """The words of the command line about a repository; `secret` is the name of one with credentials."""

    branch: str = ""
    tag: str = ""
    commit: str = ""
    path: str = ""
    secret: str = ""

    @property
    def target(self) -> Target:
        """What of the repository is followed."""
        if self.commit:
            return Commit(self.commit, self.branch)
        return Tag(self.tag) if self.tag else Branch(self.branch or "main")


@asynccontextmanager
async def remote(
    client: Client, url: str, whence: Whence, namespace: str, build: Build, directory: Path
) -> AsyncIterator[Remote]:
    """The repository at `url`; what is fetched is kept in `directory`. Raises Terminal, Transient."""
    spec = GitSpec(parse_address(url), whence.target)
    credentials = ANONYMOUS
    if whence.secret:
        credentials = Credentials.from_secret(await secret(client, namespace, whence.secret, "--git-secret"))
    path = _within(whence.path)
    transport = AiohttpTransport()
    try:
        with rendering.renderer() as renderer:
            git = GitSource(directory / "git", Store(directory / "store"), transport, client.clock)
            yield Remote(git, spec, credentials, path, build, renderer)
    finally:
        await transport.close()


def _within(path: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts:
        raise Failure(Code.WRONG, f"--path {path}: it is a directory inside the repository")
    return "/".join(parts)


def _inside(path: str) -> str:
    """`path`, which somebody else has written, if it cannot lead out of the repository. Raises Terminal."""
    if path.startswith("/") or ".." in path.split("/"):
        raise Terminal("ArtifactFailed", f"{path!r} is no directory inside the repository")
    return path


async def _nothing(_path: str) -> tuple[Manifest, ...]:
    raise Terminal("ArtifactFailed", "it is in no repository that is known here")


def _source_of(root: Path) -> str:
    """What the repository at `root` is called: the address it was cloned from, else where it lies."""
    try:
        config = (root / ".git" / "config").read_text(errors="replace")
    except OSError:
        return f"file://{root}"
    section = _ORIGIN.search(config)
    found = _URL.search(section["body"]) if section else None
    if found is None:
        return f"file://{root}"
    try:
        return str(parse_address(found["url"]))
    except Terminal:
        return f"file://{root}"


async def _commit(root: Path) -> str:
    """The commit that is checked out at `root`, if nothing was changed since; else nothing."""
    env = {"PATH": os.environ.get("PATH", os.defpath), "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        head = await process.run(["git", *_QUIET_GIT, "rev-parse", "HEAD"], env=env, cwd=root, timeout=_GIT_S)
        status = await process.run(
            ["git", *_QUIET_GIT, "status", "--porcelain", "--ignore-submodules=none"],
            env=env,
            cwd=root,
            timeout=_GIT_S,
        )
    except (OSError, process.ProcessTimeout, process.OutputTooLarge):
        return ""
    if head.code or status.code or status.stdout.strip():
        return ""
    return f"sha1:{head.stdout.decode(errors='replace').strip()}"
