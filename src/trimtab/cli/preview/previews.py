"""What `trimtab preview` was asked, and the answer: both sides built, and every object of the change judged."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from trimtab.api.gvk import KUSTOMIZATION
from trimtab.api.kustomize import Kustomization, SourceKind
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Terminal
from trimtab.base.http import AiohttpTransport
from trimtab.cli.apply import departing
from trimtab.cli.connect import Code, Failure, Options
from trimtab.cli.diff import against
from trimtab.cli.git.committed import Commits, Repository, commits
from trimtab.cli.preview import judging
from trimtab.cli.preview.imagery import Imagery, docker_config
from trimtab.cli.preview.judging import Part
from trimtab.cli.preview.previewed import Builder, Built, Commit, Note, Side, Unit, WorkingTree, is_stdin
from trimtab.cli.render import rendering
from trimtab.cli.render.rendering import Recipe
from trimtab.diff.report import Finding, State
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import NO_ANSWER, ApiError, ConfigError, CredentialError, NotFound, UnknownKind, Unreachable
from trimtab.manifests.refs import Key, Ref
from trimtab.preview.verdict import Judgement, Preview, Step, Verdict, gathered
from trimtab.remotes.oci.registry import Registry
from trimtab.remotes.oci.wire import Wire
from trimtab.remotes.outbound import Outbound
from trimtab.render.files import normal
from trimtab.render.render import Renderer
from trimtab.targets.kubernetes.desired import Desired
from trimtab.targets.kubernetes.scopes import scopes

_NO_ANSWER: Final = (*NO_ANSWER, UnknownKind, StaleGroup)
_SHOWN: Final = 12


class Asked(NamedTuple):
    """What is to be known: of `path`, or of `apps`; `base` and `head` are names of commits, or empty.

    `as_files`: no app of the cluster is looked for that builds `path`. `as_account`: apps that have an account of their
    own are judged by its rights.
    `images`: registries are asked; those of `insecure` over plain HTTP.
    """

    path: Path | None
    recipe: Recipe
    options: Options
    base: str = ""
    head: str = ""
    apps: tuple[Key, ...] = ()
    images: bool = True
    insecure: tuple[str, ...] = ()
    as_files: bool = False
    as_account: bool = False

    @property
    def about(self) -> str:
        """What it is about, in words."""
        place = "" if self.path is None else "standard input" if is_stdin(self.path) else str(self.path)
        return ", ".join(filter(None, [place, *(f"kustomization {key}" for key in self.apps)]))


async def preview(asked: Asked, client: Client | None) -> Preview:
    """The answer, from a cluster or (None) without one. Raises Failure."""
    transport = AiohttpTransport()
    try:
        with tempfile.TemporaryDirectory(prefix="trimtab-preview-") as directory, rendering.renderer() as renderer:
            out = Outbound(transport, client.clock if client is not None else SystemClock())
            async with _sides(asked, Path(directory), renderer) as sides:
                namespace = client.config.namespace if client is not None else "default"
                return await _Previewing(asked, client, out, *sides, namespace).answer()
    finally:
        await transport.close()


@asynccontextmanager
async def _sides(asked: Asked, directory: Path, renderer: Renderer) -> AsyncIterator[tuple[Side, Side | None, Path]]:
    """Head, base if there is one, and the root of the files. Raises Failure."""
    path = asked.path or Path()
    repository = None if is_stdin(path) else Repository.of(path)
    async with AsyncExitStack() as stack:
        reading: Commits | None = None
        if repository is not None and (asked.base or asked.head or repository.amid):
            reading = await stack.enter_async_context(commits(repository, directory))
        if reading is None and (asked.base or asked.head):
            raise Failure(Code.WRONG, f"{path} is in no git repository: --base and --head name commits of one")

        async def commit(name: str, option: str) -> Side:
            assert reading is not None  # noqa: S101 - refused above
            assert repository is not None  # noqa: S101
            found = await reading.find(name, option)
            root = _root(path, asked.recipe.root, repository)
            files = await reading.files(found, below=_inside(root, repository.root))
            return Commit(f"{name} ({found[:_SHOWN]})", files, _inside(path, root), renderer)

        if asked.head:
            head = await commit(asked.head, "--head")
        else:
            if reading is not None:
                await reading.refuse_conflicts()
            if not is_stdin(path) and not path.exists():
                raise Failure(Code.WRONG, f"{path} is neither a directory nor a file")
            head = WorkingTree(path, _root(path, asked.recipe.root, repository), asked.recipe)
        base = await commit(asked.base, "--base") if asked.base else None
        yield head, base, _root(path, asked.recipe.root, repository)


def _root(path: Path, root: Path | None, repository: Repository | None) -> Path:
    if root is not None:
        return root.resolve()
    if repository is not None:
        return repository.root
    return path.resolve() if path.is_dir() else path.resolve().parent


def _inside(path: Path, root: Path) -> str:
    place = path.resolve()
    if not place.is_relative_to(root):
        raise Failure(Code.WRONG, f"{path} is not below {root}")
    relative = place.relative_to(root).as_posix()
    return "" if relative == "." else relative


@dataclass(slots=True)
class _Previewing:
    """One run."""

    asked: Asked
    client: Client | None
    out: Outbound
    head: Side
    base: Side | None
    root: Path
    namespace: str = "default"
    unasked: list[str] = field(default_factory=list)
    lives: dict[Key, Kustomization] = field(default_factory=dict)

    async def answer(self) -> Preview:
        """The whole answer."""
        steps: list[Step] = []
        if self.client is not None:
            try:
                steps += await self._see_apps(self.client)
            except (Unreachable, CredentialError) as failure:
                if self.asked.path is None:
                    raise Failure(Code.UNKNOWN, str(failure)) from failure
                # the files can be judged all the same; nothing of the cluster is known, whatever is declared
                cluster = Finding(Ref("", "Cluster", "", self.client.server), State.UNKNOWN)
                steps.append(Step(cluster, (Judgement(Verdict.UNKNOWN, f"it cannot be asked: {failure}"),)))
                self.client = None
        units = self._units()
        source = self._source(units)
        before = None if self.base is None else await self._built(self.base, units, source)
        now = await self._built(self.head, units, source)
        self.unasked += now.unasked
        parts: list[Part] = []
        beside: list[Part] = []
        for built in now.built.values():
            counts = self._counts(built.unit)
            found = await self._part(built, before.built.get(built.unit.key) if before else None)
            if isinstance(found, Part):
                (parts if counts else beside).append(found)
                steps += found.sealed if counts else ()
            elif counts:
                steps.append(found)
        if self.asked.apps and (gone := [key for key in self.asked.apps if key not in now.built]):
            raise Failure(Code.WRONG, f"{self._where()} declares no kustomization {', '.join(map(str, gone))}")
        for failed in before.built.values() if before else ():
            if failed.failure is not None:
                self.unasked.append(f"the base cannot be built, so all counts as new: {failed.failure.message}")
        steps += await self._judged(parts, beside)
        steps = _with_notes(
            steps, [note for note in now.notes if not self.asked.apps or note.ref in self._asked_refs()]
        )
        return gathered(self.asked.about, self._base_name(), self.head.name, datetime.now(UTC), steps, self.unasked)

    # --- which apps

    async def _see_apps(self, client: Client) -> list[Step]:
        """All apps of the cluster, as far as they may be listed, and what is to be said where they may not.

        Raises Unreachable, CredentialError.
        """
        blind: list[Step] = []
        try:
            resource = await client.discovery.find(KUSTOMIZATION)
            found = (await client.list(resource, "", type=Kustomization)).items
        except UnknownKind:
            return blind  # nobody has installed them: there are only files
        except (ApiError, ConfigError, StaleGroup) as failure:
            words = f"what the apps of the cluster have on record is not known: {failure}"
            self.unasked.append(words)
            if self.asked.path is not None and self.base is None and not self.asked.as_files:
                # what was taken away from the files is nowhere to be seen then, so that nothing seems to change
                every = Finding(departing.of_app(Key("", "")), State.UNKNOWN)
                blind.append(Step(every, (Judgement(Verdict.UNKNOWN, words),)))
            found = [await self._named(client, key) for key in self.asked.apps if self.asked.path is None]
        self.lives = {app.key: app for app in found}
        return blind

    @staticmethod
    async def _named(client: Client, key: Key) -> Kustomization:
        """One app, where not all may be listed. Raises Failure."""
        try:
            resource = await client.discovery.find(KUSTOMIZATION)
            return await client.get(resource, key.name, key.namespace, type=Kustomization)
        except NotFound:
            raise Failure(Code.WRONG, _no_app(key)) from None
        except _NO_ANSWER as failure:
            raise Failure(Code.UNKNOWN, f"kustomization {key} is not known: {failure}") from failure

    def _units(self) -> list[Unit]:
        if self.asked.path is None:
            return [self._of_cluster(key) for key in self.asked.apps]
        declared = self.asked.recipe.declared()
        if declared.spec is not None:
            key = declared.key
            if key is not None and not key.namespace:
                key = key._replace(namespace=self.asked.options.namespace)
            return [Unit(key, declared.spec, None, self.lives.get(key) if key else None)]
        found = [] if self.asked.as_files else self._building(self.asked.path)
        found = [app for app in found if app.key in self.asked.apps] or found
        if len(found) > 1:
            names = ", ".join(str(app.key) for app in found)
            words = f"{self.asked.path} is built by several apps, {names}: name one with --app, or say --as-files"
            raise Failure(Code.WRONG, words)
        if found:
            return [Unit(found[0].key, found[0].spec, None, found[0])]
        return [Unit()]

    def _building(self, path: Path) -> list[Kustomization]:
        """The apps of the cluster that build `path`, as far as can be told: those of its name in a git repository."""
        place = path.resolve()
        if is_stdin(path) or not place.is_relative_to(self.root) or (place.exists() and not place.is_dir()):
            return []
        relative = place.relative_to(self.root).as_posix()
        wanted = "" if relative == "." else relative
        return [
            app
            for app in self.lives.values()
            if app.spec.source_ref.kind == SourceKind.GIT_REPOSITORY and normal(app.spec.path) == wanted
        ]

    def _of_cluster(self, key: Key) -> Unit:
        app = self.lives.get(key)
        if app is None:
            raise Failure(Code.WRONG, _no_app(key))
        return Unit(key, app.spec, normal(app.spec.path), app)

    @staticmethod
    def _source(units: Sequence[Unit]) -> tuple[str, Key] | None:
        sources = {(unit.app.spec.source_ref.kind, unit.app.source_key) for unit in units if unit.app is not None}
        return sources.pop() if len(sources) == 1 else None

    def _counts(self, unit: Unit) -> bool:
        return not self.asked.apps or unit.key in self.asked.apps

    def _asked_refs(self) -> set[Ref]:
        return {departing.of_app(key) for key in self.asked.apps}

    # --- what they wish

    async def _built(self, side: Side, units: Sequence[Unit], source: tuple[str, Key] | None) -> Builder:
        builder = Builder(side, self.asked.recipe, self.client, self.out, self._namespace(), source)
        await builder.build(units)
        return builder

    async def _part(self, built: Built, before: Built | None) -> Part | Step:
        """What one unit wishes, ready to be judged; or what is to be said of it as a whole."""
        unit = built.unit
        if built.wish is None:
            assert built.failure is not None  # noqa: S101 - there is one or the other
            return self._whole(unit, built.failure)
        sealed: list[Finding] = []
        items: list[Desired] = []
        try:
            sealed, items = await self._items(built.wish, unit)
        except Terminal as refused:
            return self._whole(unit, Judgement(Verdict.BUILD_FAILED, judging.hidden(str(refused), built.wish)))
        except _NO_ANSWER as failure:
            return self._whole(unit, Judgement(Verdict.UNKNOWN, str(failure)))
        old: dict[Ref, Desired] | None = None
        if self.base is not None:
            old = {}
            if before is not None and before.wish is not None:
                try:
                    old = {item.ref: item for item in (await self._items(before.wish, before.unit))[1]}
                except (Terminal, *_NO_ANSWER) as failure:
                    self.unasked.append(f"the base cannot be read, so all counts as new: {failure}")
        live = self.lives.get(unit.key) if unit.key is not None else None
        shut = tuple(judging.sealed(one, as_before=_as_before(one.ref, built, before)) for one in sealed)
        return Part(unit, built.wish, tuple(items), shut, old, live)

    async def _items(self, wish: against.Wanted, unit: Unit) -> tuple[list[Finding], list[Desired]]:
        sealed, manifests = against.unsealed(wish, unit.key)
        namespaced = await scopes(self.client, manifests) if self.client is not None else {}
        return sealed, against.prepared(wish, manifests, namespaced, namespace=self._namespace())

    def _whole(self, unit: Unit, judgement: Judgement) -> Step:
        ref = departing.of_app(unit.key) if unit.key is not None else Ref("", "Directory", "", self._where())
        return Step(Finding(ref, State.UNKNOWN, unit.origin, app=unit.key), (judgement,))

    # --- what becomes of it

    async def _judged(self, parts: Sequence[Part], beside: Sequence[Part]) -> list[Step]:
        bodies = {item.ref: item.body for part in (*parts, *beside) for item in part.items}
        imagery = None
        if self.asked.images:
            registry = Registry(Wire(self.out, self.client.clock if self.client is not None else SystemClock()))
            imagery = Imagery(registry, self.client, bodies, frozenset(self.asked.insecure), docker_config())
        if self.client is None:
            self.unasked.append(
                "no cluster is asked: what is live, what would be pruned, and whether schema, policies, quotas and "
                "fields that cannot change allow it is not known"
            )
            alone = await judging.alone(parts, beside, imagery)
            self.unasked += alone.unasked
            return alone.steps
        until = asyncio.get_running_loop().time() + self.asked.options.timeout_s
        found = await judging.in_cluster(
            self.client,
            parts,
            beside,
            imagery,
            as_account=self.asked.as_account,
            timeout_s=self.asked.options.timeout_s,
            until=until,
        )
        self.unasked += found.unasked
        return found.steps

    # --- words

    def _namespace(self) -> str:
        return self.asked.options.asked or self.namespace

    def _where(self) -> str:
        return str(self.asked.path) if self.asked.path is not None else self.head.name

    def _base_name(self) -> str:
        live = "what is live" if self.client is not None else "nothing"
        if self.base is None:
            return live
        return self.base.name if self.client is None else f"{live} and {self.base.name}"


def _no_app(key: Key) -> str:
    return f"there is no kustomization {key} in the cluster: name the PATH where it is declared"


def _as_before(ref: Ref, built: Built, before: Built | None) -> bool:
    """Whether both sides declare an object in the same words."""
    if before is None or before.wish is None or built.wish is None:
        return False
    now, then = ([one.body for one in wish.rendered.manifests if one.ref == ref] for wish in (built.wish, before.wish))
    return bool(now) and now == then


def _with_notes(steps: Iterable[Step], notes: Iterable[Note]) -> list[Step]:
    """`steps` with what is to be said of apps that are not looked into."""
    said: dict[Ref, tuple[Judgement, ...]] = {}
    for note in notes:
        said[note.ref] = (*said.get(note.ref, ()), note.judgement)
    return [step._replace(judgements=(*step.judgements, *said.get(step.finding.ref, ()))) for step in steps]
