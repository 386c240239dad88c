"""What `trimtab compare` compares: the objects of a path, of a path at a git ref, or of a cluster's apps."""

import os
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from trimtab.cli.connect import Code, Failure, Options
from trimtab.cli.render import rendering

if TYPE_CHECKING:
    from trimtab.api.kustomize import Kustomization, KustomizationSpec
    from trimtab.artifacts.snapshot import Snapshot
    from trimtab.artifacts.store import Store
    from trimtab.diff.promotion import Declared
    from trimtab.kube.client import Client
    from trimtab.manifests.refs import Manifest, Ref
    from trimtab.render.render import Rendered, Renderer
    from trimtab.targets.kubernetes.inventory import Entry

_CONTEXT: Final = "context:"
_GIT_S: Final = 60.0
_AT_ONCE: Final = 16
_SOURCE: Final = "GitRepository"
_SEALED: Final = "it is encrypted"
_MOST_APPS: Final = 1_000


class Side(NamedTuple):
    """What was found on a side, by its name; `missing` says what could not be read."""

    name: str
    objects: "list[Declared]"
    missing: list[str]


async def side(word: str, options: Options) -> Side:
    """The side that `word` names. Raises Failure."""
    if word.startswith(_CONTEXT):
        return await _of_cluster(word, options)
    if Path(word).exists():
        path = Path(word).resolve()
        with rendering.renderer() as renderer:
            return await _Declaring(renderer, rendering.repository(path), word).all(path)
    ref, colon, inside = word.partition(":")
    if not colon or not ref:
        raise Failure(
            Code.WRONG, f"{word}: there is no such path; a git ref is written REF:PATH, a cluster context:NAME"
        )
    async with _checked_out(ref, inside, word) as (root, place), _rendering() as renderer:
        return await _Declaring(renderer, root, word).all(place)


@asynccontextmanager
async def _rendering() -> "AsyncIterator[Renderer]":
    with rendering.renderer() as renderer:
        yield renderer


class _Declaring:
    """The objects of a directory, and of the directories that the Kustomizations among them name."""

    def __init__(self, renderer: "Renderer", root: Path | None, name: str) -> None:
        """Without a `root`, it is as far up as what is first built needs."""
        self._renderer = renderer
        self._root = root
        self._name = name
        self._objects: dict[Ref, Declared] = {}
        self._missing: list[str] = []
        self._done: set[tuple[Path, bytes]] = set()

    async def all(self, path: Path) -> Side:
        """What is declared at `path`, which lies below the root."""
        from trimtab.base.errors import TrimtabError

        try:
            rendered = await self._built(path, None)
        except TrimtabError as wrong:
            raise Failure(Code.WRONG, f"{self._name}: {wrong}") from wrong
        waiting = self._take(rendered)
        while waiting and len(self._done) < _MOST_APPS:
            waiting = await self._follow(waiting.pop(), waiting)
        if waiting:
            self._missing.append(f"more than {_MOST_APPS:,} directories are declared: the rest was not looked at")
        return Side(self._name, list(self._objects.values()), self._missing)

    async def _follow(self, manifest: "Manifest", waiting: "list[Manifest]") -> "list[Manifest]":
        import msgspec

        from trimtab.api.kustomize import KustomizationSpec
        from trimtab.base.errors import TrimtabError
        from trimtab.render.files import normal

        try:
            spec = msgspec.convert(manifest.body.get("spec"), KustomizationSpec)
        except msgspec.ValidationError as wrong:
            self._missing.append(f"{manifest.ref} ({manifest.origin}): {wrong}")
            return waiting
        assert self._root is not None  # noqa: S101 - something was built
        directory = self._root / normal(spec.path)
        # one directory may be built twice, with other variables or for another namespace
        known = (directory, msgspec.json.encode(spec)) in self._done
        if spec.source_ref.kind != _SOURCE or not directory.is_dir() or known:
            return waiting
        try:
            rendered = await self._built(directory, spec)
        except TrimtabError as wrong:
            self._missing.append(f"{manifest.ref} ({manifest.origin}): {wrong}")
            return waiting
        if spec.post_build is not None and spec.post_build.substitute_from and _is_open(rendered):
            words = "the values of its substituteFrom are in a cluster: expressions are compared as they are written"
            self._missing.append(f"{manifest.ref} ({manifest.origin}): {words}")
        return [*waiting, *self._take(rendered)]

    async def _built(self, path: Path, spec: "KustomizationSpec | None") -> "Rendered":
        import msgspec

        from trimtab.render.render import NO_VARIABLES
        from trimtab.render.variables import collected

        self._done.add((path, msgspec.json.encode(spec)))
        post_build = spec.post_build if spec is not None else None
        fill = post_build is not None and not post_build.substitute_from
        variables = collected(post_build) if fill else NO_VARIABLES
        root = self._root if path.is_dir() else None
        found, _, root = await rendering.built(self._renderer, path, root, spec, variables)
        self._root = self._root or root
        return found

    def _take(self, rendered: "Rendered") -> "list[Manifest]":
        """Keep the objects, and return those that lead to others."""
        from trimtab.api.gvk import KUSTOMIZATION
        from trimtab.diff.promotion import Declared
        from trimtab.sops.objects import is_encrypted, is_switched_off, sealed_entry

        for one in rendered.manifests:
            sealed = (is_encrypted(one.body) and not is_switched_off(one.body)) or bool(sealed_entry(one.body))
            secret = one.ref in rendered.secret
            self._objects.setdefault(one.ref, Declared(one.body, one.origin, secret, _SEALED if sealed else ""))
        return [one for one in rendered.manifests if one.gvk == KUSTOMIZATION]


def _is_open(rendered: "Rendered") -> bool:
    """Whether there are expressions that a controller would put values into."""
    from trimtab.manifests import codec
    from trimtab.render.substitution import opted_out

    return any(b"${" in codec.encode(one.body) and not opted_out(one.body) for one in rendered.manifests)


@asynccontextmanager
async def _checked_out(ref: str, path: str, word: str) -> AsyncIterator[tuple[Path, Path]]:
    """A directory with the files of `ref` of the repository we are in, and the place of `path` in it."""
    from trimtab.artifacts.store import Store
    from trimtab.remotes.git.git import GitFailed
    from trimtab.remotes.git.mirror import HostilePath

    here = Path.cwd()
    if (repository := rendering.repository(here)) is None:
        raise Failure(Code.WRONG, f"{word}: {here} is in no git repository")
    if path.startswith(("./", "../")) or path in ("", ".", ".."):
        # as git has it: what begins with a dot is meant from here
        path = os.path.relpath(here / path, repository)
    with tempfile.TemporaryDirectory(prefix="trimtab-compare-") as directory:
        private = Path(directory)
        try:
            snapshot = await _commit(private, repository / ".git", ref, Store(private / "store"))
        except (GitFailed, HostilePath) as wrong:
            raise Failure(Code.WRONG, f"{word}: {wrong}") from wrong
        root = private / "files"
        root.mkdir(mode=0o700)
        snapshot.materialise(root)
        inside = (root / path).resolve()
        if not _inside(inside, root) or not inside.exists():
            raise Failure(Code.WRONG, f"{word}: there is no {path} at {ref}")
        yield root, inside


def _inside(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())


async def _commit(private: Path, repository: Path, ref: str, store: "Store") -> "Snapshot":
    from trimtab.artifacts.snapshot import Snapshot
    from trimtab.artifacts.tree import Entry, Tree
    from trimtab.base.clock import SystemClock
    from trimtab.remotes.git.git import GitFailed, hardened
    from trimtab.remotes.git.mirror import Mirror
    from trimtab.sources.checkout import MAX_BYTES, MAX_FILES

    async with hardened(private / "git") as git:
        arguments = ["--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"]
        try:
            commit = (await git.run("rev-parse", arguments, repository=repository)).decode().strip()
        except GitFailed:
            raise Failure(Code.WRONG, f"there is no commit {ref} in {repository.parent}: fetch it first") from None
        mirror = Mirror(repository, SystemClock())
        listing = await mirror.files(git, commit)
        size = sum(blob.size for blob in listing.files)
        if size > MAX_BYTES or len(listing.files) > MAX_FILES:
            raise Failure(Code.WRONG, f"{ref} has {len(listing.files)} files of {size} bytes, which is too much")
        kept: dict[str, str] = {}
        async for batch in mirror.contents(git, {blob.oid: blob.size for blob in listing.files}, timeout=_GIT_S):
            names = store.put_all([data for _, data in batch])
            kept |= {oid: name for name, (oid, _) in zip(names, batch, strict=True)}
    entries = [Entry(blob.path, kept[blob.oid], blob.size, blob.executable) for blob in listing.files]
    return Snapshot(store, Tree.of(entries, listing.left_out), commit)


# --- clusters


async def _of_cluster(word: str, options: Options) -> Side:
    from trimtab.base.http import AiohttpTransport
    from trimtab.kube import config
    from trimtab.kube.client import Client
    from trimtab.kube.errors import ConfigError

    name, app = word.removeprefix(_CONTEXT), ""
    try:
        found = config.load(options.kubeconfig, name)
    except ConfigError as unknown:
        # a context may have slashes in its name: only what is none can be one with an app
        context, slash, app = name.rpartition("/")
        if not slash:
            raise
        try:
            found = config.load(options.kubeconfig, context)
        except ConfigError:
            raise unknown from None
    transport = AiohttpTransport()
    try:
        return await _live(Client(found, transport), word, app, options)
    finally:
        await transport.close()


async def _live(client: "Client", word: str, app: str, options: Options) -> Side:
    """What the apps of a cluster have on record, as it is live: of each object the fields that its app applied."""
    from trimtab.base.abreast import abreast
    from trimtab.cli.diff import apps

    wanted = await apps.find(client, app, options.namespace if app else options.asked)
    if not wanted:
        raise Failure(Code.WRONG, f"{word}: there are no kustomizations in {options.asked or 'any namespace'}")
    missing: list[str] = []
    entries: list[Entry] = []
    for ks in wanted:
        entries += await _recorded(client, ks, missing)

    async def one(entry: "Entry") -> "Declared | str":
        return await _seen(client, entry)

    looks = await abreast(one, entries, _AT_ONCE)
    missing += [look for look in looks if isinstance(look, str) and look]
    return Side(word, [look for look in looks if not isinstance(look, str)], missing)


async def _recorded(client: "Client", ks: "Kustomization", missing: list[str]) -> "Iterable[Entry]":
    from trimtab.controllers.reading import look
    from trimtab.kube.errors import ApiError, Unreachable

    try:
        reading = await look(client, ks, apart=False)
        if reading.problem:
            missing.append(f"kustomization {ks.key}: its inventory cannot be trusted: {reading.problem}")
        return reading.entries().values()
    except (ApiError, Unreachable, ValueError) as failure:
        missing.append(f"kustomization {ks.key}: its inventory cannot be read: {failure}")
        return ()


async def _seen(client: "Client", entry: "Entry") -> "Declared | str":
    """The object, or why it is not known; nothing where it is gone."""
    from trimtab.diff.fields import owned_entry, project
    from trimtab.diff.promotion import Declared
    from trimtab.kube.errors import ApiError, NotFound, StaleGroup, UnknownKind, Unreachable
    from trimtab.targets.kubernetes.prune import served

    try:
        live = await client.get(await served(client, entry), entry.ref.name, entry.ref.namespace)
    except NotFound:
        return ""
    except (ApiError, UnknownKind, StaleGroup, Unreachable) as failure:
        return f"{entry.ref}: {failure}"
    owned = owned_entry(live)
    if owned is None:
        return f"{entry.ref}: nothing of it was applied by its app"
    fields = project(live, owned)
    named = {name: live["metadata"][name] for name in ("name", "namespace") if name in live["metadata"]}
    identity = {"apiVersion": live["apiVersion"], "kind": live["kind"]}
    return Declared({**fields, **identity, "metadata": {**fields.get("metadata", {}), **named}})
