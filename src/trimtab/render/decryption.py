"""Encrypted files of an app: which are opened before a build, and what of its result is opened afterwards.

As Flux has it: files of patches and the sources of secretGenerators are opened first, since their content is built
with. Manifests go through the build as they are, so that nothing of them is ever outside this process, and are opened
in the result. Beyond Flux: the MAC of every file is proven, that of manifests on the file as it is written.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from trimtab.manifests import codec
from trimtab.manifests.refs import Body, Manifest, Ref
from trimtab.render.closure import Reading
from trimtab.render.files import Files, join, parent
from trimtab.render.memory import Opened
from trimtab.sops.errors import Damaged, Undecryptable
from trimtab.sops.formats import Format, is_encrypted, of_path
from trimtab.sops.keyring import Keyring
from trimtab.sops.metadata import BLOCK
from trimtab.sops.objects import entries, is_switched_off
from trimtab.sops.objects import is_encrypted as is_encrypted_object
from trimtab.sops.opening import Proven, open_file, prove

_PATCHES: Final = ("patches", "patchesJson6902")
_MOVERS: Final = ("replacements", "vars", "configurations", "generators", "transformers")


async def opened_sources(files: Files, reading: Reading, keys: Keyring) -> dict[str, Opened]:
    """What kustomize is to see in place of encrypted files, by path. Raises Undecryptable, NoKey."""
    opened: dict[str, Opened] = {}
    for path, written in _sources(reading).items():
        data = files.read(path)
        if is_encrypted(data, written):
            opened[path] = Opened(await open_file(data, path, written, keys), data)
    return opened


def may_move(reading: Reading) -> bool:
    """Whether kustomize may put a value of one object into any field of another, also into its name."""
    return _moves(reading.body) or any(map(_moves_written, reading.rewritten.values()))


def _moves(body: Any) -> bool:
    return isinstance(body, dict) and any(body.get(field) for field in _MOVERS)


def _moves_written(data: bytes) -> bool:
    try:
        return _moves(codec.decode(data))
    except (msgspec.DecodeError, ValueError):
        return True  # no copy of a kustomization, but of what one of these names


async def opened_objects(
    manifests: Sequence[Manifest], files: Files, reading: Reading, keys: Keyring
) -> tuple[list[Manifest], frozenset[Ref]]:
    """`manifests` with everything opened that is encrypted, and which ones were. Raises Undecryptable, NoKey."""
    proofs = _Proofs(files, reading, keys)
    found: list[Manifest] = []
    secret: set[Ref] = set()
    for manifest in manifests:
        body = manifest.body
        if not is_switched_off(body):
            if is_encrypted_object(body):
                body = await proofs.open(manifest)
            elif body["kind"] == "Secret":
                body = await _opened_entries(manifest, keys)
        if body is not manifest.body:
            manifest = Manifest(_named(body, manifest), manifest.origin)
            secret.add(manifest.ref)
        found.append(manifest)
    return found, frozenset(secret)


async def _opened_entries(manifest: Manifest, keys: Keyring) -> Body:
    opened = {
        entry.name: await open_file(
            entry.data, f"{manifest.origin}: the entry {entry.name}", entry.written, keys, wanted=of_path(entry.name)
        )
        for entry in entries(manifest.body)
    }
    if not opened:
        return manifest.body
    data = {name: base64.b64encode(content).decode() for name, content in opened.items()}
    return {**manifest.body, "data": {**manifest.body["data"], **data}}


class _Proofs:
    """The encrypted manifests of one app, by their MAC; each file is proven once, and only if it is needed."""

    def __init__(self, files: Files, reading: Reading, keys: Keyring) -> None:
        self._files = files
        self._paths = list(reading.manifests)
        self._keys = keys
        self._known: dict[str, Proven] = {}

    async def open(self, manifest: Manifest) -> Body:
        origin, block = manifest.origin, manifest.body[BLOCK]
        mac = block.get("mac")
        if not isinstance(mac, str) or not mac:
            raise Undecryptable(f"{origin} cannot be decrypted: it has no MAC (sops.mac)")
        proven = await self._find(mac, origin.file)
        if proven is None:
            raise Undecryptable(
                f"{origin} cannot be decrypted: its sops block is in no file of manifests of the app, so its MAC "
                "proves nothing; write the encrypted object into a file of its own"
            )
        try:
            return proven.open(manifest.body)
        except Damaged as failure:
            raise Undecryptable(f"{origin} cannot be decrypted after the build: {failure}") from None

    async def _find(self, mac: str, likely: str) -> Proven | None:
        if mac not in self._known:
            for path in sorted(self._paths, key=lambda path: path != likely):
                data = self._files.read(path)
                if mac.encode() in data:
                    written = Format.JSON if of_path(path) is Format.JSON else Format.YAML
                    self._known |= {one.mac: one for one in await prove(data, path, written, self._keys)}
                    self._paths.remove(path)
                    break
        return self._known.get(mac)


def _named(body: Body, manifest: Manifest) -> Body:
    """`body`, if it is still an object: kind and names may have been encrypted, too."""
    metadata = body.get("metadata")
    texts = [body.get("apiVersion"), body.get("kind"), metadata.get("name") if isinstance(metadata, dict) else None]
    if not all(isinstance(text, str) and text for text in texts):
        raise Undecryptable(f"{manifest.origin}: what was decrypted is not an object of Kubernetes")
    return body


def _sources(reading: Reading) -> Mapping[str, Format]:
    """The files that may be encrypted and are built with, and in which format; the first to name one decides."""
    found: dict[str, Format] = {}
    for file in reading.generators:
        # Our own copy: its paths were checked, and are written so that they cannot be misread.
        body = codec.decode(reading.rewritten[file])
        for reference, written in _references(body):
            path = join(parent(file), reference)
            if path is not None and path in reading.contents:
                found.setdefault(path, written)
    return found


def _references(body: Body) -> Iterator[tuple[str, Format]]:
    for generator in _mappings(body, "secretGenerator"):
        for text in generator.get("files") or ():
            key, _, path = str(text).partition("=")
            yield path, of_path(key)
        for path in (*(generator.get("envs") or ()), *filter(None, (generator.get("env"),))):
            written = of_path(str(path))
            yield str(path), Format.DOTENV if written is Format.BINARY else written
    for field in _PATCHES:
        for patch in _mappings(body, field):
            if patch.get("path"):
                yield str(patch["path"]), _of_patch(str(patch["path"]))
    for text in body.get("patchesStrategicMerge") or ():
        if str(text).startswith("./"):
            yield str(text), _of_patch(str(text))


def _of_patch(path: str) -> Format:
    return Format.JSON if of_path(path) is Format.JSON else Format.YAML


def _mappings(body: Body, field: str) -> Iterator[dict[str, Any]]:
    return (entry for entry in body.get(field) or () if isinstance(entry, dict))
