"""The two sides of a change: the files of a commit or of the working tree, and the apps that are built from them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import msgspec

from trimtab.api.gvk import KUSTOMIZATION
from trimtab.api.kustomize import Kustomization, KustomizationSpec, SourceKind
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.tree import Tree
from trimtab.base.abreast import abreast
from trimtab.base.errors import Terminal, Transient, TrimtabError
from trimtab.cli.connect import Code, Failure
from trimtab.cli.diff import against
from trimtab.cli.render import rendering
from trimtab.cli.render.envsubst import assignments
from trimtab.cli.render.offline import Holder, entries_of, holders
from trimtab.cli.render.rendering import Declared, Recipe
from trimtab.controllers import supported
from trimtab.controllers.decrypting import Decrypting
from trimtab.controllers.hiding import NOTHING
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import NO_ANSWER, NotFound, UnknownKind
from trimtab.manifests.refs import Body, Gvk, Key, Manifest, Origin, Ref
from trimtab.preview.verdict import Judgement, Verdict
from trimtab.remotes.outbound import Outbound
from trimtab.render.files import normal
from trimtab.render.options import Options
from trimtab.render.render import NO_VARIABLES, Rendered, Renderer
from trimtab.render.variables import Found, Variables, collected
from trimtab.sops.keyring import Keyring

_HOLDERS: Final = ("ConfigMap", "Secret")
_NO_ANSWER: Final = (*NO_ANSWER, UnknownKind, StaleGroup)
_STDIN: Final = Path("-")
_AT_ONCE: Final = 8
"""So many apps are built side by side: each may start a process."""
_MOST_APPS: Final = 2_000
"""Apps may declare each other, under a new name each time, without end."""


class Side(Protocol):
    """Files that can be built. `name` is what they are called by."""

    @property
    def name(self) -> str: ...

    def has(self, path: str, /) -> bool:
        """Whether there is a directory at `path`, from the root."""
        ...

    async def build(
        self, path: str | None, spec: KustomizationSpec | None, variables: Variables, keys: Keyring | None, /
    ) -> Rendered:
        """The objects of the directory `path`, from the root; None is what was asked about. Raises Failure."""
        ...


@dataclass(frozen=True, slots=True)
class WorkingTree:
    """The files as they are on disk."""

    asked: Path
    root: Path
    recipe: Recipe
    name: str = "the working tree"

    def has(self, path: str) -> bool:
        """Whether there is a directory at `path`."""
        return (self.root / path).is_dir()

    async def build(
        self, path: str | None, spec: KustomizationSpec | None, variables: Variables, keys: Keyring | None
    ) -> Rendered:
        """See `Side`."""
        if path is None:
            return await rendering.rendered(self.asked, self.recipe, spec, variables, keys)
        return await rendering.rendered(self.root / path, self.recipe._replace(root=self.root), spec, variables, keys)


@dataclass(frozen=True, slots=True)
class Commit:
    """The files of a commit. `asked` is the path that was asked about, from the root."""

    name: str
    snapshot: Snapshot
    asked: str
    renderer: Renderer

    def has(self, path: str) -> bool:
        """Whether there is something below `path`."""
        return not path or self.snapshot.tree.has_directory(path)

    async def build(
        self, path: str | None, spec: KustomizationSpec | None, variables: Variables, keys: Keyring | None
    ) -> Rendered:
        """See `Side`."""
        place, files = self.asked if path is None else path, self.snapshot
        if (file := files.tree.get(place)) is not None:
            place, files = place.rpartition("/")[0], Snapshot(files.store, Tree.of([file]), files.revision)
        elif not self.has(place):
            raise Failure(Code.WRONG, f"{place or 'the root'} is not in {self.name}")
        options = Options() if spec is None else Options.from_spec(spec)
        try:
            return await self.renderer.render(files, place, options, variables, keys)
        except TrimtabError as error:
            raise Failure(Code.WRONG, str(error)) from error


class Unit(NamedTuple):
    """Something that is built as one: an app, or the files that were asked about (no key). `path` is its directory.

    `app` is the object as it is declared or live; `origin` is where it is declared.
    """

    key: Key | None = None
    spec: KustomizationSpec | None = None
    path: str | None = None
    app: Kustomization | None = None
    origin: Origin | None = None


class Built(NamedTuple):
    """What came of a unit: its objects, or what went wrong."""

    unit: Unit
    wish: against.Wanted | None = None
    failure: Judgement | None = None


class Note(NamedTuple):
    """What is to be said of an app whose objects are not looked into."""

    ref: Ref
    origin: Origin
    judgement: Judgement


@dataclass(slots=True)
class Builder:
    """Builds one side: what was asked about, and every app that is declared there and lies in the same files.

    `client` is None where no cluster is asked. `source` is the source of what was asked about, if that is an app.
    """

    side: Side
    recipe: Recipe
    client: Client | None
    out: Outbound
    namespace: str
    source: tuple[str, Key] | None = None
    built: dict[Key | None, Built] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    unasked: list[str] = field(default_factory=list)
    _bodies: dict[tuple[str, Key], Body] = field(default_factory=dict)

    async def build(self, units: Iterable[Unit]) -> None:
        """Build `units` and what they declare, level by level.

        What needs variables comes after its neighbours, which may declare them. Raises Failure for too many.
        """
        waiting = list(units)
        while waiting:
            level = list({unit.key: unit for unit in waiting if unit.key not in self.built}.values())
            waiting = []
            if len(self.built) + len(level) > _MOST_APPS:
                words = f"in {self.side.name} more than {_MOST_APPS:,} apps are declared: name a directory with fewer"
                raise Failure(Code.WRONG, words)
            for those in ([one for one in level if not _borrows(one)], [one for one in level if _borrows(one)]):
                for found in await abreast(self._one, those, _AT_ONCE):
                    self.built[found.unit.key] = found
                    if found.wish is not None:
                        self._keep(found.wish.rendered.manifests)
                        waiting += self._declared(found.wish.rendered)

    async def _one(self, unit: Unit) -> Built:
        variables = NO_VARIABLES
        try:
            if unit.app is not None:
                supported.check(unit.app)
            if unit.spec is not None and unit.spec.kube_config is not None:
                words = "its objects go to another cluster (spec.kubeConfig): ask that one"
                return Built(unit, failure=Judgement(Verdict.UNKNOWN, words))
            variables = await self._variables(unit)
            keys, shut = await self._keys(unit)
            rendered = await self.side.build(unit.path, unit.spec, variables, keys)
        except _Unread as unread:
            return Built(unit, failure=Judgement(Verdict.UNKNOWN, str(unread)))
        except (TrimtabError, Failure) as failure:
            cause = failure.__cause__ if isinstance(failure, Failure) else failure
            verdict = Verdict.UNKNOWN if isinstance(cause, Transient) else Verdict.BUILD_FAILED
            return Built(unit, failure=Judgement(verdict, NOTHING.follow(variables).text(str(failure))))
        return Built(unit, against.Wanted(rendered, variables, Declared(unit.key, unit.spec), shut))

    def _declared(self, rendered: Rendered) -> Iterator[Unit]:
        """The apps among what was built, as far as they lie in the same files."""
        for manifest in rendered.manifests:
            if (manifest.gvk.group, manifest.gvk.kind) != (KUSTOMIZATION.group, KUSTOMIZATION.kind):
                continue
            if manifest.ref in rendered.secret:
                # its name, which is told with all that is its, may be a value of a Secret
                self.unasked.append("an app that is declared with a value of a Secret is not looked into")
                continue
            try:
                app = msgspec.convert(manifest.body, Kustomization)
            except msgspec.ValidationError:
                continue  # the server says what is wrong with it
            if not app.metadata.namespace:
                app = msgspec.structs.replace(
                    app, metadata=msgspec.structs.replace(app.metadata, namespace=self.namespace)
                )
            path = normal(app.spec.path)
            if (other := self._elsewhere(app, path)) is None:
                yield Unit(app.key, app.spec, path, app, manifest.origin)
            elif app.key not in self.built:
                ref = Ref(KUSTOMIZATION.group, KUSTOMIZATION.kind, *app.key)
                self.notes.append(Note(ref, manifest.origin, other))

    def _elsewhere(self, app: Kustomization, path: str) -> Judgement | None:
        """Why an app is not looked into; None if it is."""
        kind, key = app.spec.source_ref.kind, app.source_key
        same = self.source is None or self.source == (kind, key)
        if kind == SourceKind.EXTERNAL_ARTIFACT:
            words = f"what it deploys comes from {kind} {key}, which a generator may make of these files"
            return Judgement(Verdict.UNKNOWN, words)
        if kind != SourceKind.GIT_REPOSITORY or not same:
            return Judgement(Verdict.WARNING, f"what it deploys comes from {kind} {key}, and is not looked into")
        if self.side.has(path):
            return None
        words = f"its directory {path or '.'} is not here (--root names the root of the files)"
        if self.source is None:
            return Judgement(Verdict.UNKNOWN, f"{words}: what it deploys comes from GitRepository {key}")
        return Judgement(Verdict.BUILD_FAILED, f"{words}, and it is of the same source, GitRepository {key}")

    def _keep(self, manifests: Iterable[Manifest]) -> None:
        for manifest in manifests:
            if manifest.gvk.group == "" and manifest.gvk.kind in _HOLDERS:
                ref = manifest.ref
                self._bodies.setdefault((ref.kind, Key(ref.namespace or self.namespace, ref.name)), manifest.body)

    async def _variables(self, unit: Unit) -> Variables:
        """What expressions are filled with: from what was given, else declared on the same side, else in the cluster.

        Raises _Unread, Terminal, Failure.
        """
        if unit.key is None or unit.spec is None or unit.spec.post_build is None:
            return self.recipe.variables(unit.spec)
        over = assignments("--substitute", self.recipe.substitute)
        given = holders(self.recipe.substitute_from)
        found: list[Found] = []
        for ref in unit.spec.post_build.substitute_from:
            named = f"{ref.kind} {unit.key.namespace}/{ref.name}"
            if ref.kind not in _HOLDERS:
                words = f"{named}, which spec.postBuild.substituteFrom names, is neither a ConfigMap nor a Secret"
                raise Terminal("BuildFailed", words)
            key = Key(unit.key.namespace, ref.name)
            body = given.get(Holder(ref.kind, ref.name)) or self._bodies.get((ref.kind, key))
            if body is None and self.client is None and over:
                continue  # as in a build: single values were given, and what is still not set is an error
            if body is None:
                body = await self._live(ref.kind, key)
            if body is not None:
                found.append(entries_of(named, body))
            elif not ref.optional:
                words = f"{named}, which spec.postBuild.substituteFrom names, does not exist and is not declared before"
                raise Terminal("BuildFailed", words)
        return collected(unit.spec.post_build, found, strict=self.recipe.strict, given=over)

    async def _live(self, kind: str, key: Key) -> Body | None:
        if self.client is None:
            raise _Unread(f"its variables come from {kind} {key}, which is not declared here, and no cluster is asked")
        try:
            resource = await self.client.discovery.find(Gvk("", "v1", kind))
            return await self.client.get(resource, key.name, key.namespace)
        except NotFound:
            return None
        except _NO_ANSWER as failure:
            raise _Unread(f"its variables cannot be read from {kind} {key}: {failure}") from failure

    async def _keys(self, unit: Unit) -> tuple[Keyring | None, str]:
        """What opens its files: what was given, else what its own Secret has; and why what is left stays shut."""
        if self.recipe.has_keys:
            return self.recipe.keys(unit.spec), against.SEALED
        if self.client is None or unit.app is None:
            return None, against.SEALED
        try:
            return await Decrypting(self.client, self.out, self.client.clock).keys(unit.app), against.SEALED
        except (Transient, *_NO_ANSWER) as failure:
            return None, f"it is encrypted by SOPS, and its key cannot be had: {failure}"


def _borrows(unit: Unit) -> bool:
    """Whether variables of `unit` come from other objects."""
    return unit.spec is not None and unit.spec.post_build is not None and bool(unit.spec.post_build.substitute_from)


class _Unread(Exception):
    """Something that decides what is built could not be read."""


def is_stdin(path: Path) -> bool:
    """Whether `path` stands for standard input."""
    return path == _STDIN
