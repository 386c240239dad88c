"""What there is to judge below some paths: builds of kustomizations and apps, and the files that none of them reads.

A file that a build reads is judged by what the build makes of it, as a patch or a base may be no whole object; every
other file as it is written. Charts and components are left out: alone they are no manifests.
"""

import os
import stat
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import msgspec

from trimtab.api.gvk import KUSTOMIZATION
from trimtab.api.kustomize import KustomizationSpec
from trimtab.base.abreast import abreast
from trimtab.base.errors import Terminal, Transient
from trimtab.manifests.refs import Gvk, Manifest, Origin, Ref
from trimtab.manifests.yaml import MAX_BYTES, YamlError, load
from trimtab.render.files import normal
from trimtab.render.kustomization import FILE_NAMES
from trimtab.render.plaintext import Exposed, exposed
from trimtab.render.remote import Unfetched
from trimtab.render.render import NO_VARIABLES, Rendered
from trimtab.validate.finding import Finding, Level, Rule
from trimtab.validate.judging import Unit
from trimtab.validate.reading import Item, Read, Sources, at_fault, built, read

_SUFFIXES: Final = (".yaml", ".yml")
_CHART: Final = "Chart.yaml"
_COMPONENT: Final = "Component"
_STDIN: Final = Path("-")
_AT_ONCE: Final = 4
"""So many kustomizations are built side by side: each is a process."""
_GIT: Final = "GitRepository"
_MOST_FILES: Final = 50_000
_MOST_APPS: Final = 5_000
"""Apps may declare each other, under a new name each time, without end."""


class Built(NamedTuple):
    """What came of a build: the objects, and the files that were read for it; paths are relative to `root`."""

    rendered: Rendered
    files: tuple[str, ...]
    root: Path


Build: TypeAlias = Callable[[Path, KustomizationSpec | None], Awaitable[Built]]
"""Builds a directory as it stands, or as the controller would for a Kustomization. Raises Terminal."""


class Gathered(NamedTuple):
    """What was found. `contents` are the files by the names that findings call them by."""

    units: list[Unit]
    findings: list[Finding]
    contents: Mapping[str, bytes]
    builds: int
    left_out: int

    @property
    def items(self) -> list[Item]:
        """Every object."""
        return [item for unit in self.units for item in unit.items]


async def gather(
    paths: Iterable[Path],
    build: Build,
    *,
    repository: Callable[[Path], Path],
    ignored: Callable[[Path], bool],
    stdin: bytes | None = None,
) -> Gathered:
    """Everything below `paths`, and in `stdin`.

    `repository` is the root that a path of a Kustomization begins at; `ignored` says what no source takes along.
    """
    gathering = _Gathering(build, repository, ignored)
    for path in paths:
        if path != _STDIN:
            gathering.take(path)
    if stdin is not None:
        gathering.take_stream(stdin)
    await gathering.build_all()
    gathering.read_rest()
    await gathering.build_apps()
    return gathering.result()


class _Gathering:
    def __init__(self, build: Build, repository: Callable[[Path], Path], ignored: Callable[[Path], bool]) -> None:
        self._build = build
        self._ignored = ignored
        self._repository = repository
        self._named: set[Path] = set()
        self._files: dict[Path, None] = {}
        self._kustomizations: dict[Path, Path] = {}
        self._covered: set[Path] = set()
        self._contents: dict[str, bytes] = {}
        self._units: list[Unit] = []
        self._raw: dict[Path, Read] = {}
        self._findings: list[Finding] = []
        self._builds = 0
        self._apps = 0
        self._left_out = 0
        self._done: set[tuple[Path, bytes]] = set()

    def take(self, path: Path) -> None:
        """Note what is at `path`, a file or a directory. Links below a directory are told of, and not followed."""
        # what is named may be a link; what lies below it may not
        resolved = path.resolve()
        if resolved.is_dir():
            self._walk(resolved)
        elif resolved.name in FILE_NAMES:
            self._take_kustomization(resolved)
        else:
            self._named.add(resolved)
            self._files[resolved] = None

    def take_stream(self, data: bytes) -> None:
        """Note what comes by standard input, which is read by the rules of kubectl."""
        name = "standard input"
        self._contents[name] = data
        self._raw[Path(name)] = read(data, name, named=True, dialect="kubernetes")

    def _walk(self, top: Path) -> None:
        for place, directories, names in os.walk(top):
            here = Path(place)
            if _CHART in names:
                directories.clear()
                self._left_out += 1
                continue
            links = [name for name in (*directories, *names) if (here / name).is_symlink()]
            for name in links:
                if (here / name).suffix in _SUFFIXES or name in directories:
                    self._findings.append(
                        Finding(Level.WARNING, Rule.FILE, Origin(label(here / name), 1), "is a link, and not followed")
                    )
            # what is hidden configures a tool: .git, .github, .fluxschema.yml
            directories[:] = sorted(name for name in directories if not name.startswith(".") and name not in links)
            own = [name for name in FILE_NAMES if name in names and name not in links]
            if own:
                self._take_kustomization(here / own[0])
            for name in sorted(names):
                if name.endswith(_SUFFIXES) and name not in links and name not in FILE_NAMES:
                    if name.startswith(".") or self._ignored(here / name):
                        self._left_out += 1
                    else:
                        self._files[here / name] = None
            if len(self._files) > _MOST_FILES:
                raise Terminal(
                    "BuildFailed", f"{top} has more than {_MOST_FILES:,} files of manifests: name less of it"
                )

    def _take_kustomization(self, file: Path) -> None:
        data = self._data(file)
        if data is None:
            return
        try:
            bodies = [document.value for document in load(data, label(file))]
        except YamlError as wrong:
            self._findings.append(at_fault(wrong, label(file), Rule.FILE))
            return
        if any(isinstance(body, dict) and body.get("kind") == _COMPONENT for body in bodies):
            self._left_out += 1
            # its files are parts of objects: an overlay that uses them is judged
            self._covered |= {one for one in file.parent.rglob("*") if one.suffix in _SUFFIXES}
        else:
            self._kustomizations[file.parent] = file

    async def build_all(self) -> None:
        """Build every kustomization as it stands."""

        async def one(pair: tuple[Path, Path]) -> None:
            directory, file = pair
            await self._one(directory, None, label(file))

        await abreast(one, list(self._kustomizations.items()), _AT_ONCE)

    async def build_apps(self) -> None:
        """Build what the Kustomizations that were found point to, where that lies here; they may bring others."""
        waiting = [item for found in self._raw.values() for item in found.items]
        waiting += [item for unit in self._units for item in unit.items]
        while waiting:
            known = len(self._units)
            for item in waiting:
                if Gvk.of(item.body["apiVersion"], item.body["kind"]) == KUSTOMIZATION:
                    await self._app(item)
            waiting = [item for unit in self._units[known:] for item in unit.items]

    async def _app(self, item: Item) -> None:
        try:
            spec = msgspec.convert(item.body.get("spec"), KustomizationSpec)
        except msgspec.ValidationError:
            return  # what is wrong with it is told by its schema
        if spec.source_ref.kind != _GIT:
            return  # what lies where in an artifact is decided by whoever makes it
        root = self._repository(Path(item.origin.file).absolute())
        directory = root / normal(spec.path)
        if not directory.is_dir():
            place = Sources(self._contents).place(item, "spec.path")
            words = f"spec.path {spec.path}: there is no such directory below {label(root)}"
            self._findings.append(Finding(Level.WARNING, Rule.REFERENCE, place, words, item.ref, "spec.path"))
            return
        await self._one(directory, spec, item.origin.file, item.ref, item.origin)

    async def _one(
        self,
        directory: Path,
        spec: KustomizationSpec | None,
        file: str,
        ref: Ref | None = None,
        origin: Origin | None = None,
    ) -> None:
        key = (directory, msgspec.json.encode(spec))
        if key in self._done:
            return
        self._done.add(key)
        self._builds += 1
        self._apps += spec is not None
        if self._apps > _MOST_APPS:
            raise Terminal("BuildFailed", f"more than {_MOST_APPS:,} apps are declared: name a directory with fewer")
        try:
            found = await self._build(directory, spec)
        except (Unfetched, Transient) as wrong:
            # what would have to be fetched, or a builder that was stopped: nobody knows what comes of it
            self._findings.append(Finding(Level.UNKNOWN, Rule.BUILD, origin or Origin(file, 1), str(wrong), ref))
            return
        except Terminal as wrong:
            finding = at_fault(wrong, file, Rule.BUILD, _below(self._repository(directory)))
            if "not installed" in str(wrong):
                finding = finding._replace(level=Level.UNKNOWN)
            self._findings.append(finding._replace(ref=ref))
            return
        prefix = _below(found.root)
        for path in found.files:
            self._covered.add(found.root / path)
            self._data(found.root / path)
        plaintext = [one._replace(origin=_under(one.origin, prefix)) for one in found.rendered.plaintext]
        items = built(found.rendered.manifests, prefix, found.rendered.secret)
        self._units.append(Unit(label(directory), items, plaintext))

    def read_rest(self) -> None:
        """Read the files that no build has read."""
        for path in self._files:
            if path not in self._covered and (data := self._data(path)) is not None:
                self._raw[path] = read(data, label(path), named=path in self._named)

    def _data(self, path: Path) -> bytes | None:
        name = label(path)
        if name not in self._contents:
            try:
                # what is no plain file may never end
                if not stat.S_ISREG(path.stat().st_mode):
                    raise OSError(0, "is no plain file")
                with path.open("rb") as stream:
                    self._contents[name] = stream.read(MAX_BYTES + 1)
            except OSError as wrong:
                words = f"cannot be read: {wrong.strerror}"
                self._findings.append(Finding(Level.UNKNOWN, Rule.FILE, Origin(name, 1), words))
                return None
        return self._contents[name]

    def result(self) -> Gathered:
        """All of it: of the files that were read, those that no app has built after all, by directories."""
        directories: dict[Path, list[Item]] = {}
        findings, left_out = list(self._findings), self._left_out
        for path, found in self._raw.items():
            if path not in self._covered:
                findings += found.findings
                left_out += found.left_out
                directories.setdefault(path.parent, []).extend(found.items)
        plain = [Unit(label(directory), items, _clear(items)) for directory, items in directories.items() if items]
        return Gathered([*self._units, *plain], findings, self._contents, self._builds, left_out)


def _clear(items: list[Item]) -> tuple[Exposed, ...]:
    return exposed((Manifest(item.body, item.origin) for item in items), {}, NO_VARIABLES)


def label(path: Path) -> str:
    """What a path is called in findings: as seen from the working directory, where it is below."""
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)


def _below(root: Path) -> str:
    name = label(root)
    return "" if name == "." else f"{name}/"


def _under(origin: Origin, prefix: str) -> Origin:
    return origin._replace(file=prefix + origin.file)
