"""From a directory of an artifact to objects, each with the file and line it was written in."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from trimtab.artifacts.store import Store
from trimtab.base.errors import Terminal
from trimtab.base.traces import span
from trimtab.manifests import codec
from trimtab.manifests.refs import Body, Manifest, Ref
from trimtab.manifests.yaml import load, manifests_of
from trimtab.render import plain
from trimtab.render.cache import Results
from trimtab.render.checks import check
from trimtab.render.closure import Closure, Reading, read
from trimtab.render.decryption import may_move, opened_objects, opened_sources
from trimtab.render.files import Files, refuse_pointer
from trimtab.render.kustomization import ORIGIN_ANNOTATIONS
from trimtab.render.kustomize import Kustomize
from trimtab.render.memory import Opened
from trimtab.render.options import Options
from trimtab.render.plaintext import Exposed, exposed
from trimtab.render.provenance import Origins, strip
from trimtab.render.substitution import filled, texts
from trimtab.render.unsure import Unsure
from trimtab.render.variables import Variables
from trimtab.sops.keyring import Keyring

IN_LOOP_BYTES: Final = 256 << 10
"""More than this is parsed in a thread, so that the event loop goes on."""
KNOWN_READINGS: Final = 2_048
NO_VARIABLES: Final = Variables()
_NEEDS_HASH: Final = b"needsHashSuffix"
_CHUNK_BYTES: Final = 4 << 20
_CHUNK_DOCUMENTS: Final = 500


class Rendered(NamedTuple):
    """The desired objects, in kustomize's order. `digest` changes with any of them, `closure` with any file read.

    `secret` are those with something in them that was decrypted, or comes from Secrets: nothing of them is shown.
    `plaintext` are the Secrets that stand in git in clear text, as they are called there. `made` are the texts that
    values of Secrets, or what was decrypted, may have become, whole or in part; `parts` are those of them that
    expressions have become, which are known one by one.
    """

    manifests: tuple[Manifest, ...]
    closure: str
    digest: str
    secret: frozenset[Ref] = frozenset()
    plaintext: tuple[Exposed, ...] = ()
    made: frozenset[str] = frozenset()
    parts: frozenset[str] = frozenset()


class Renderer:
    """Builds directories of artifacts. Plain ones in process, the rest by kustomize."""

    def __init__(
        self, store: Store | None, kustomize: Path | None, work_dir: Path, *, began: Callable[[], None] = lambda: None
    ) -> None:
        """Results of kustomize are kept in `store`; without one, nothing is kept. `work_dir` is private to us.

        `began` is called for every process of kustomize.
        """
        self._kustomize = Kustomize(kustomize, work_dir / "builds", began=began) if kustomize else None
        self._results = Results(store, work_dir / "results") if store else None
        self._readings: OrderedDict[tuple[str, str], tuple[str, Reading]] = OrderedDict()

    def results(self) -> list[str]:
        """The contents of the store that are results of builds."""
        return self._results.contents() if self._results else []

    def closure(self, files: Files, path: str, options: Options) -> Closure:
        """Which files decide the build of `path`, without building it. Raises Terminal."""
        return self._read(files, path, options).closure

    def kustomization(self, files: Files, path: str, options: Options) -> Body:
        """The kustomization of `path` with `options` worked in, as it would be built. Raises Terminal."""
        return self._read(files, path, options).body

    async def render(
        self,
        files: Files,
        path: str,
        options: Options,
        variables: Variables = NO_VARIABLES,
        keys: Keyring | None = None,
    ) -> Rendered:
        """The objects of `path`; what is encrypted is opened with `keys`, and then filled with `variables`.

        What is kept of a build is neither opened nor filled. Raises Terminal (reason ArtifactFailed, BuildFailed),
        Transient for a dead worker or a key service.
        """
        reading = self._read(files, path, options)
        with span("build"):
            manifests, reading, opened = await self._built(files, reading, path, options, keys)
        plaintext = exposed(manifests, opened, variables)
        secret: frozenset[Ref] = frozenset()
        made: set[str] = set()
        parts: set[str] = set()
        if keys:
            with span("decrypt"):
                manifests, secret = await opened_objects(manifests, files, reading, keys)
        if opened:
            # Nobody can tell where kustomize has put what was in a patch, or in a file of a generator.
            secret = frozenset(manifest.ref for manifest in manifests)
            if may_move(reading):
                # cut to pieces, too: then no text of them is known to be none of it
                made.update(text for manifest in manifests for text in texts(manifest.body))
        if variables.active:
            with span("substitute"):
                manifests, secret = await asyncio.to_thread(filled, manifests, variables, secret, parts)
        if reading.size > IN_LOOP_BYTES:
            rendered = await asyncio.to_thread(_finish, manifests, reading, options)
        else:
            rendered = _finish(manifests, reading, options)
        rendered = rendered._replace(
            secret=secret, plaintext=plaintext, made=frozenset(made | parts), parts=frozenset(parts)
        )
        if keys is None:
            return rendered
        # Bound to the keys: the digest is told in the status, and must not be one to guess a short secret by.
        return rendered._replace(digest=codec.digest([keys.digest, rendered.digest]))

    async def _built(
        self, files: Files, reading: Reading, path: str, options: Options, keys: Keyring | None
    ) -> tuple[list[Manifest], Reading, Mapping[str, Opened]]:
        """The objects as they come out of the files, in process or by kustomize; what was read for that; and what of
        it was decrypted first."""
        if reading.size > IN_LOOP_BYTES:
            manifests = await asyncio.to_thread(_in_process, files, reading, options)
        else:
            manifests = _in_process(files, reading, options)
        if manifests is not None:
            return manifests, reading, {}
        if reading.plain:
            reading = read(files, path, options, in_process=False)
        opened: Mapping[str, Opened] = {}
        if keys:
            with span("decrypt"):
                opened = await opened_sources(files, reading, keys)
        return await self._by_kustomize(files, reading, opened), reading, opened

    def _read(self, files: Files, path: str, options: Options) -> Reading:
        """What is known of `path`: from the last time, if no file that was read then is another now."""
        tree = files.tree.digest
        key = (path, options.digest)
        known = self._readings.get(key)
        if known is None or (known[0] != tree and not known[1].holds_for(files)):
            known = (tree, read(files, path, options))
        self._readings[key] = (tree, known[1])
        self._readings.move_to_end(key)
        if len(self._readings) > KNOWN_READINGS:
            self._readings.popitem(last=False)
        return known[1]

    async def _by_kustomize(self, files: Files, reading: Reading, opened: Mapping[str, Opened]) -> list[Manifest]:
        """What kustomize builds, with `opened` in place of encrypted files; of them nothing is kept."""
        if self._kustomize is None:
            raise Terminal(
                "BuildFailed",
                f"{reading.directory or 'the root of the artifact'} needs kustomize, which is not installed; "
                f"install kustomize 5.8 or newer, or run the set-up that builds it",
            )
        key = codec.digest([reading.closure.digest, reading.directory, reading.body, self._kustomize.identity])[7:]
        results = None if opened else self._results
        if results is not None and (kept := await asyncio.to_thread(results.get, key)) is not None:
            return kept
        work = await asyncio.to_thread(_prepare, files, reading, opened)
        output = await self._kustomize.build(reading.directory, work.contents, secret=opened)
        manifests = await asyncio.to_thread(_objects, output, work)
        if results is not None:
            await asyncio.to_thread(results.put, key, manifests)
        return manifests


def _in_process(files: Files, reading: Reading, options: Options) -> list[Manifest] | None:
    """The objects of a plain directory; None if kustomize has to build it. Raises Terminal."""
    if not reading.plain:
        return None
    manifests = plain.read_manifests(files, reading.manifests)
    try:
        return plain.build(manifests, options)
    except Unsure:
        return None


def _finish(manifests: list[Manifest], reading: Reading, options: Options) -> Rendered:
    """What is done with built objects wherever they were built. Raises Terminal."""
    plain.stamp(manifests, options.common_metadata)
    check(manifests)
    digest = codec.digest([manifest.body for manifest in manifests])
    return Rendered(tuple(manifests), reading.closure.digest, digest)


class _Work(NamedTuple):
    """One build: what kustomize gets to see, and how its objects are traced back."""

    contents: dict[str, bytes]
    origins: Origins
    keep_notes: bool
    directory: str


def _prepare(files: Files, reading: Reading, opened: Mapping[str, Opened]) -> _Work:
    """Read and check every file, so that a mistake in one is told with its line. Raises Terminal."""
    contents = {path: files.read(path) for path in reading.closure.files}
    for path, data in contents.items():
        refuse_pointer(data, path)
    manifests = [one for path in reading.manifests for one in plain.objects(contents[path], path)]
    for path in reading.patches:
        load(opened[path].plain if path in opened else contents[path], path)
    origins = Origins(reading.directory, manifests)
    for path, names in reading.generators.items():
        if path in contents:
            origins.add_generators(path, contents[path].decode(errors="replace"), names)
    wanted = [*(reading.body.get("buildMetadata") or ())]
    keep_notes = ORIGIN_ANNOTATIONS in wanted
    # A hash over a whole object would take in our note; such objects go without a line.
    noted = keep_notes or any(_NEEDS_HASH in data for data in contents.values())
    contents.update(reading.rewritten)
    contents[_root_file(reading)] = codec.encode(
        {
            **codec.decode(contents[_root_file(reading)]),
            "buildMetadata": wanted if noted else [*wanted, ORIGIN_ANNOTATIONS],
            "sortOptions": reading.body.get("sortOptions") or {"order": "fifo"},
        }
    )
    contents = {path: data for path, data in contents.items() if path not in opened}
    return _Work(contents, origins, keep_notes, reading.directory)


def _root_file(reading: Reading) -> str:
    return reading.closure.kustomization or "/".join(filter(None, (reading.directory, "kustomization.yaml")))


def _objects(output: bytes, work: _Work) -> list[Manifest]:
    where = f"build of {work.directory or 'the root'}"
    found: list[Manifest] = []
    for chunk in _chunks(output):
        for body, _ in manifests_of(load(chunk, where, dialect="kubernetes")):
            origin = work.origins.of(body)
            if not work.keep_notes:
                strip(body)
            found.append(Manifest(body, origin))
    return found


def _chunks(output: bytes) -> list[bytes]:
    """`output` in parts that the reader takes; kustomize writes `---` at the start of a line only between documents."""
    chunks: list[list[bytes]] = [[]]
    size = 0
    for document in output.split(b"\n---\n"):
        if chunks[-1] and (size + len(document) > _CHUNK_BYTES or len(chunks[-1]) >= _CHUNK_DOCUMENTS):
            chunks.append([])
            size = 0
        chunks[-1].append(document)
        size += len(document)
    return [b"\n---\n".join(chunk) for chunk in chunks]
