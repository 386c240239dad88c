"""Which files an app reads, found without building it; a commit that touches none of them changes nothing for it."""

import difflib
import hashlib
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from trimtab.base.errors import Terminal
from trimtab.manifests import codec
from trimtab.manifests.refs import Body
from trimtab.render import kustomization, remote
from trimtab.render.files import Files, Listing, join, normal, parent, refuse_pointer
from trimtab.render.options import Options
from trimtab.render.references import (
    Place,
    Role,
    check_plugin_base,
    local,
    visit_kustomization,
    visit_plugins,
)

MAX_BYTES: Final = 64 << 20
"""All files of one app (SECURITY.md, recommended limits)."""


class Closure(NamedTuple):
    """What an app reads: `digest` over path and content of `files`; its own `kustomization` file, if there is one."""

    digest: str
    files: tuple[str, ...]
    kustomization: str | None


@dataclass(frozen=True, slots=True)
class Reading:
    """All that is known of an app before it is built.

    `manifests` are the files of objects in their order, `patches` the files of patches. `rewritten` holds our own copy
    of every file that names others. `body` is the root kustomization with the options worked in.
    """

    closure: Closure
    directory: str
    body: Body
    plain: bool
    size: int
    manifests: tuple[str, ...]
    patches: tuple[str, ...]
    rewritten: Mapping[str, bytes]
    generators: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names in the generators of each kustomization file."""
    contents: Mapping[str, str] = field(default_factory=dict)
    """The digest of each file."""
    bases: Mapping[str, str] = field(default_factory=dict)
    """The kustomization file of each directory that was followed; empty where files were found by a search."""

    def holds_for(self, files: Files) -> bool:
        """Whether following the references in `files` would lead to the same again. False where only that can tell."""
        if not self.bases:
            return False
        for path, sha256 in self.contents.items():
            entry = files.tree.get(path)
            if entry is None or entry.sha256 != sha256:
                return False
        # The files are the same, so what they name is; but a second kustomization file would be a mistake.
        names = kustomization.FILE_NAMES
        return not any(
            path != known and files.tree.get(path) is not None
            for directory, known in self.bases.items()
            for path in (join(directory, name) for name in names)
            if path is not None
        )


def root(files: Files, path: str) -> str:
    """The directory `path` of a spec. Raises Terminal with reason ArtifactFailed if it is not there."""
    directory = normal(path)
    if not directory or files.tree.has_directory(directory):
        return directory
    if (missing := files.tree.left_out_at(directory)) is not None:
        cause = f"{missing} is a link or a submodule and was left out of the artifact"
    elif files.tree.get(directory):
        cause = "it is a file; name the directory it lies in"
    else:
        cause = _nearby(files.tree, directory)
    raise Terminal("ArtifactFailed", f"path not found: {directory} in revision {files.revision}; {cause}")


def read(files: Files, path: str, options: Options, *, in_process: bool = True) -> Reading:
    """Follow every reference from `path`. Raises Terminal for a missing path and for what must not or cannot be read.

    Without `in_process`, a plain directory too is made ready for kustomize.
    """
    directory = root(files, path)
    own = kustomization.find(files, directory)
    walk = _Walk(files, dict(options.remotes))
    if own is None:
        found = kustomization.scan(files, directory)
        if in_process and not found.bases and not options.needs_kustomize:
            body = kustomization.merge(
                kustomization.generate(found, directory), options, generated=True, exists=lambda _: False
            )
            for manifest in found.resources:
                walk.take(manifest, Role.RESOURCE)
            return walk.finish(directory, body, None, plain=True)
        written = kustomization.generate(found, directory)
        name = kustomization.FILE_NAMES[0]
    else:
        written = kustomization.parse(files.read(own), own, root=True)
        walk.take(own, Role.DATA)
        name = posixpath.basename(own)

    def exists(component: str) -> bool:
        if remote.parse(component) is not None:
            return True
        target = join(directory, local(Place("spec", "components"), component))
        if target is None:
            return False
        # What was left out is there, and to be told of: it is not missing.
        there = files.tree.get(target) is not None or files.tree.has_directory(target)
        return there or files.tree.left_out_at(target) is not None

    body = kustomization.merge(written, options, generated=own is None, exists=exists)
    walk.kustomization(directory, posixpath.join(directory, name), body)
    return walk.finish(directory, body, own, searched=options.ignore_missing_components)


class _Walk:
    """One walk over the references of an app."""

    def __init__(self, files: Files, remotes: Mapping[str, str]) -> None:
        self._files = files
        self._remotes = remotes
        self._size = 0
        self._taken: dict[str, Role] = {}
        self._bases: dict[str, str] = {}
        self._plugins: set[tuple[str, str]] = set()
        self._rewritten: dict[str, bytes] = {}
        self._generators: dict[str, tuple[str, ...]] = {}

    def take(self, path: str, role: Role) -> None:
        """Count the file `path` in. What it is as manifests outranks what else it is."""
        if (entry := self._files.tree.get(path)) is None:
            raise FileNotFoundError(path)
        if path not in self._taken:
            self._size += entry.size
            if self._size > MAX_BYTES:
                raise Terminal(
                    "BuildFailed", f"the files of this app are larger than {MAX_BYTES >> 20} MiB at {path}; split it"
                )
            self._taken[path] = role
        elif role is Role.RESOURCE:
            self._taken[path] = role

    def kustomization(self, directory: str, file: str, body: Body) -> None:
        """Follow the kustomization `body` of `file`, and keep our copy of it."""
        self._bases[directory] = file
        self._generators[file] = _generator_names(body)
        copy = visit_kustomization(body, file, lambda place, text, role: self._follow(directory, place, text, role))
        self._rewritten[file] = codec.encode(copy)

    def finish(
        self, directory: str, body: Body, own: str | None, *, plain: bool = False, searched: bool = False
    ) -> Reading:
        """What was found; `searched` if a file that is not there now could matter later."""
        of_role = {role: tuple(path for path, is_role in self._taken.items() if is_role is role) for role in Role}
        contents = {path: self._sha256(path) for path in sorted(self._taken)}
        return Reading(
            closure=Closure(_digest(contents), tuple(contents), own),
            directory=directory,
            body=body,
            plain=plain,
            size=self._size,
            manifests=of_role[Role.RESOURCE],
            patches=of_role[Role.PATCH],
            rewritten=self._rewritten,
            generators=self._generators,
            contents=contents,
            bases=self._bases if own is not None and not searched else {},
        )

    def _sha256(self, path: str) -> str:
        entry = self._files.tree.get(path)
        return entry.sha256 if entry else ""

    def _follow(self, directory: str, place: Place, text: str, role: Role) -> str:
        """Go where a reference written in `directory` leads; returns it as kustomize is to see it."""
        base = remote.parse(text) if role in (Role.RESOURCE, Role.COMPONENT) else None
        if base is not None and not self._is_here(directory, text):
            if text not in self._remotes:
                raise remote.Unfetched(str(place), text, base)
            text = posixpath.relpath(self._remotes[text], directory or ".")
            target = join(directory, text)
        else:
            target = inside(directory, local(place, text))
        if target is None:
            raise Outside(place, text)
        if self._files.tree.get(target) is not None:
            if role is Role.COMPONENT:
                raise Terminal("BuildFailed", f"{place} names the file {target}; a component is a directory")
            self.take(target, role)
            if role is Role.PLUGIN and (directory, target) not in self._plugins:
                # Paths in a configuration start from the kustomization that lists it, not from its own place.
                self._plugins.add((directory, target))
                data = self._files.read(target)
                refuse_pointer(data, target)
                self._rewritten[target] = visit_plugins(
                    data, target, lambda at, path, kind: self._follow(directory, at, path, kind)
                )
        elif self._files.tree.has_directory(target) and role in (Role.RESOURCE, Role.COMPONENT, Role.PLUGIN):
            if "@" in text:
                raise Terminal("BuildFailed", f"{place} names {text}; kustomize would take the @ for a remote address")
            self._base(target, place, directory if role is Role.PLUGIN else None)
        else:
            raise Terminal("BuildFailed", f"{place} names {text}, but {self._missing(target, role)}")
        return "./" + posixpath.normpath(text)

    def _is_here(self, directory: str, text: str) -> bool:
        """What is in the artifact comes first, as in kustomize, whatever else the name might mean."""
        target = join(directory, text)
        return target is not None and (
            self._files.tree.get(target) is not None or self._files.tree.has_directory(target)
        )

    def _base(self, directory: str, place: Place, plugins_from: str | None) -> None:
        file = kustomization.find(self._files, directory)
        if file is None:
            wanted = ", ".join(kustomization.FILE_NAMES[:-1])
            raise Terminal("BuildFailed", f"{place} names the directory {directory}, which has none of {wanted}")
        if plugins_from is None and directory in self._bases:
            return
        if plugins_from is not None and (plugins_from, file) in self._plugins:
            return
        body = kustomization.parse(self._files.read(file), file, root=False)
        self.take(file, Role.DATA)
        if plugins_from is None:
            self.kustomization(directory, file, body)
            return
        check_plugin_base(body, file)
        self._plugins.add((plugins_from, file))

        def follow(at: Place, path: str, _: Role) -> str:
            target = inside(directory, local(at, path))
            if target is None:
                raise Outside(at, path)
            self._follow(plugins_from, at, posixpath.relpath(target or ".", plugins_from or "."), Role.PLUGIN)
            return "./" + posixpath.normpath(path)

        self._rewritten[file] = codec.encode(visit_kustomization(body, file, follow))

    def _missing(self, target: str, role: Role) -> str:
        if (missing := self._files.tree.left_out_at(target)) is not None:
            return f"{missing} is a link, a submodule or a clash of case and was left out of the artifact"
        if self._files.tree.has_directory(target):
            return f"that is a directory, not a {role.value}"
        return f"there is no {target} in the artifact; a remote base has to be copied (vendored) into the repository"


def inside(directory: str, reference: str) -> str | None:
    """As `join`, and None too for what leads out of a repository that was fetched for it."""
    target, home = join(directory, reference), remote.home_of(directory)
    return target if target is None or not home or f"{target}/".startswith(f"{home}/") else None


class Outside(Terminal):
    """A reference leads out of the artifact."""

    def __init__(self, place: Place, text: str) -> None:
        super().__init__(
            "BuildFailed",
            f"{place} names {text}, which lies outside the artifact; only files of the same source can be read",
        )


def _generator_names(body: Body) -> tuple[str, ...]:
    entries = [*(body.get("configMapGenerator") or ()), *(body.get("secretGenerator") or ())]
    names = (entry.get("name") for entry in entries if isinstance(entry, dict))
    return tuple(name for name in names if isinstance(name, str) and name)


def _digest(contents: Mapping[str, str]) -> str:
    whole = "".join(f"{path}\0{sha256}\n" for path, sha256 in contents.items())
    return f"sha256:{hashlib.sha256(whole.encode()).hexdigest()}"


def _nearby(tree: Listing, directory: str) -> str:
    """Directories a person may have meant."""
    above = parent(directory)
    while above and not tree.has_directory(above):
        above = parent(above)
    start = len(above) + 1 if above else 0
    names = sorted({entry.path[start:].partition("/")[0] for entry in tree.under(above) if "/" in entry.path[start:]})
    wanted = directory[start:].partition("/")[0]
    close = difflib.get_close_matches(wanted, names, n=3, cutoff=0.6)
    where = above or "the root"
    if not names:
        return f"{where} has no directories"
    shown = ", ".join(close or names[:10])
    return f"{where} has {'something like it: ' if close else 'the directories '}{shown}"
