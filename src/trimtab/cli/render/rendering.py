"""How commands render what lies on this machine: the options they share, and what comes of them."""

import functools
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from trimtab.cli.connect import Code, Failure
from trimtab.cli.render.offline import offline

if TYPE_CHECKING:
    from trimtab.api.kustomize import KustomizationSpec
    from trimtab.manifests.refs import Body, Key
    from trimtab.render.local import Ignored, LocalFiles
    from trimtab.render.options import Options
    from trimtab.render.render import Rendered, Renderer
    from trimtab.render.variables import Variables
    from trimtab.sops.keyring import Keyring

_STDIN: Final = "stdin.yaml"
_STDIN_BYTES: Final = 10 << 20


class Declared(NamedTuple):
    """The Kustomization of a file, as far as it was given."""

    key: "Key | None" = None
    spec: "KustomizationSpec | None" = None


class Recipe(NamedTuple):
    """What was said about how to render."""

    kustomization_file: Path | None
    root: Path | None
    substitute: tuple[str, ...]
    substitute_from: tuple[Path, ...]
    strict: bool
    age_key: tuple[Path, ...]
    gpg_key: tuple[Path, ...]

    def declared(self) -> Declared:
        """The Kustomization that was given."""
        return _declared(self.kustomization_file)

    def variables(self, spec: "KustomizationSpec | None", *, strict: bool = True) -> "Variables":
        """What expressions are filled with."""
        return offline(spec, self.substitute, self.substitute_from, strict=self.strict and strict)

    @property
    def has_keys(self) -> bool:
        """Whether there is anything to decrypt with."""
        return bool(self.age_key or self.gpg_key)

    def keys(self, spec: "KustomizationSpec | None") -> "Keyring | None":
        """What opens encrypted files; None where nothing is to be opened."""
        return _keys(self.age_key, self.gpg_key, spec)


def build_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let `command(…, recipe=…)` take what a build takes."""

    @click.option(
        "--kustomization-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="File with a Kustomization object whose build fields (namespace, patches, images, …) are worked in.",
    )
    @click.option(
        "--root",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Root of the repository; nothing above it is read. (The nearest with .git, else as far up as PATH needs.)",
    )
    @click.option("--substitute", metavar="NAME=VALUE", multiple=True, help="A variable, over all others (repeatable).")
    @click.option(
        "--substitute-from",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        multiple=True,
        help="File with ConfigMaps and Secrets that spec.postBuild.substituteFrom names (repeatable).",
    )
    @click.option(
        "--strict/--no-strict",
        default=True,
        show_default=True,
        help="Fail for a variable that is not set and has no default, as the controller does.",
    )
    @click.option(
        "--age-key",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        multiple=True,
        help="File with a key of age, or a private key of SSH, that opens files encrypted by SOPS (several times).",
    )
    @click.option(
        "--gpg-key",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        multiple=True,
        help="File with a private key of OpenPGP, armored and without a passphrase, for the same.",
    )
    def with_recipe(
        *arguments: Any,
        kustomization_file: Path | None,
        root: Path | None,
        substitute: tuple[str, ...],
        substitute_from: tuple[Path, ...],
        strict: bool,
        age_key: tuple[Path, ...],
        gpg_key: tuple[Path, ...],
        **rest: Any,
    ) -> Any:
        recipe = Recipe(kustomization_file, root, substitute, substitute_from, strict, age_key, gpg_key)
        return command(*arguments, recipe=recipe, **rest)

    options = with_recipe.__click_params__  # type: ignore[attr-defined]
    wrapped = functools.update_wrapper(with_recipe, command)
    # the wrapped command's own options come with its attributes, over those from here
    wrapped.__click_params__ = [*getattr(command, "__click_params__", ()), *options]  # type: ignore[attr-defined]
    return wrapped


@contextmanager
def renderer() -> "Iterator[Renderer]":
    """What renders, and keeps nothing."""
    from trimtab.render.render import Renderer

    with tempfile.TemporaryDirectory(prefix="trimtab-build-") as work_dir:
        yield Renderer(None, _kustomize(), Path(work_dir))


async def rendered(
    path: Path, recipe: Recipe, spec: "KustomizationSpec | None", variables: "Variables", keys: "Keyring | None"
) -> "Rendered":
    """The objects of the directory or the file at `path`; `-` is standard input. Raises Failure."""
    with renderer() as build, closing(_places(path, recipe.root, spec)) as places:
        for place in places:
            with place.told():
                return await build.render(place.files, place.path, place.options, variables, keys)
        raise AssertionError("there is always a root")


async def built(
    build: "Renderer", path: Path, root: Path | None, spec: "KustomizationSpec | None", variables: "Variables"
) -> "tuple[Rendered, tuple[str, ...], Path]":
    """The objects of the directory at `path`, the files that were read for them, and the directory that these are
    relative to. Raises Terminal, Failure for a path that is not below `root`."""
    from trimtab.render.closure import Outside

    with closing(_places(path, root, spec)) as places:
        for place in places:
            try:
                found = await build.render(place.files, place.path, place.options, variables)
            except Outside:
                if place.last:
                    raise
                continue
            files = build.closure(place.files, place.path, place.options).files
            return found, files, place.files.root
        raise AssertionError("there is always a root")


def kustomization(path: Path, recipe: Recipe, spec: "KustomizationSpec | None") -> "Body":
    """The kustomization of the directory at `path`, with the fields of `spec` worked in. Raises Failure."""
    with renderer() as build, closing(_places(path, recipe.root, spec)) as places:
        for place in places:
            with place.told():
                return build.kustomization(place.files, place.path, place.options)
        raise AssertionError("there is always a root")


class _Place(NamedTuple):
    """A view of what is built: `last` is the widest there is."""

    files: "LocalFiles"
    path: str
    options: "Options"
    last: bool

    @contextmanager
    def told(self) -> Iterator[None]:
        """Say what went wrong, but for a view that is too narrow: the next is wider."""
        from trimtab.base.errors import TrimtabError
        from trimtab.render.closure import Outside

        try:
            yield
        except Outside as outside:
            if self.last:
                raise Failure(Code.WRONG, f"{outside} (--root names the root of the repository)") from outside
        except TrimtabError as error:
            raise Failure(Code.WRONG, str(error)) from error


def _places(path: Path, root: Path | None, spec: "KustomizationSpec | None") -> Generator[_Place]:
    from trimtab.render.local import LocalFiles
    from trimtab.render.options import Options

    options = Options() if spec is None else Options.from_spec(spec)
    if str(path) == "-":
        with tempfile.TemporaryDirectory(prefix="trimtab-build-") as directory:
            (Path(directory) / _STDIN).write_bytes(_stdin())
            yield _Place(LocalFiles(Path(directory)), "", options, last=True)
        return
    path = path.resolve()
    if path.is_file():
        if path.suffix not in (".yaml", ".yml"):
            raise Failure(Code.WRONG, f"{path} is neither a directory nor a .yaml or .yml file")
        yield _Place(LocalFiles(path.parent, ignored=lambda name: name != path.name), "", options, last=True)
        return
    if not path.is_dir():
        raise Failure(Code.WRONG, f"{path} is neither a directory nor a file")
    roots = [root.resolve()] if root else _roots(path)
    for candidate in roots:
        files = LocalFiles(candidate, ignored=ignored(candidate))
        yield _Place(files, _relative(path, candidate), options, last=candidate is roots[-1])


def _stdin() -> bytes:
    data = sys.stdin.buffer.read(_STDIN_BYTES + 1)
    if len(data) > _STDIN_BYTES:
        raise Failure(Code.WRONG, f"standard input is larger than {_STDIN_BYTES >> 20} MiB")
    return data


def repository(path: Path) -> Path | None:
    """The root of the repository that `path` lies in, if it lies in one."""
    return next((above for above in (path, *path.parents) if (above / ".git").exists()), None)


def _roots(path: Path) -> list[Path]:
    """Where the artifact may begin: the repository if there is one, else `path` and, as it needs them, the parents."""
    if (above := repository(path)) is not None:
        return [above]
    return [path, *(above for above in path.parents if above != Path(above.anchor))]


def _relative(path: Path, root: Path) -> str:
    if not path.is_relative_to(root):
        raise Failure(Code.WRONG, f"{path} is not below {root}")
    relative = path.relative_to(root).as_posix()
    return "" if relative == "." else relative


def _keys(age: Sequence[Path], gpg: Sequence[Path], spec: "KustomizationSpec | None") -> "Keyring | None":
    """What opens encrypted files; None where nothing is to be opened. An object that wants it opens or fails."""
    from trimtab.sops.errors import BadKeys
    from trimtab.sops.keyring import AGE_SUFFIX, OPENPGP_SUFFIX, Keyring

    entries = {
        f"{path}:{suffix}": path.read_bytes()
        for paths, suffix in ((age, AGE_SUFFIX), (gpg, OPENPGP_SUFFIX))
        for path in paths
    }
    try:
        return Keyring.of(entries) if entries or (spec is not None and spec.decryption is not None) else None
    except BadKeys as error:
        raise Failure(Code.WRONG, re.sub(r":\.(?:agekey|asc): ", ": ", str(error), count=1)) from None


def _declared(file: Path | None) -> Declared:
    """The object in `file`."""
    import msgspec

    from trimtab.api.kustomize import KustomizationSpec
    from trimtab.manifests.refs import Key
    from trimtab.manifests.yaml import load

    if file is None:
        return Declared()
    bodies = [document.value for document in load(file.read_bytes(), str(file), dialect="kubernetes")]
    found = [body for body in bodies if isinstance(body, dict) and body.get("kind") == "Kustomization"]
    if len(found) != 1:
        raise Failure(Code.WRONG, f"{file} holds {len(found)} Kustomization objects; one is needed")
    try:
        spec = msgspec.convert(found[0].get("spec"), KustomizationSpec)
    except msgspec.ValidationError as error:
        raise Failure(Code.WRONG, f"{file}: the Kustomization is not valid: {error}") from error
    metadata = found[0].get("metadata")
    named = metadata if isinstance(metadata, dict) else {}
    name, namespace = named.get("name"), named.get("namespace")
    return Declared(Key(namespace if isinstance(namespace, str) else "", name) if isinstance(name, str) else None, spec)


def _kustomize() -> Path | None:
    """The kustomize that the controller would run, else the one on PATH."""
    from trimtab.toolchain import binaries

    if found := binaries.present("render").get("kustomize"):
        return found
    on_path = shutil.which("kustomize", path=os.environ.get("PATH"))
    return Path(on_path) if on_path else None


def ignored(root: Path) -> "Ignored":
    """What a source leaves out of its artifact unless its object says otherwise."""
    from trimtab.sources.ignore import IGNORE_FILE, rules

    file = root / IGNORE_FILE
    # a source takes no links along: where this is one, it has no such file, and nothing outside is read for it
    own = file.is_file() and not file.is_symlink()
    return rules(None, file.read_bytes() if own else b"").excludes
