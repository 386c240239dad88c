"""Publishing: a snapshot becomes an archive in Flux's format, under an address that cannot be guessed.

Flux's consumers follow `artifact.url` as it is, and many networks do not enforce policies; so the file's name carries
an HMAC, and whoever may not read the source's status cannot find its files. The link `latest.tar.gz` is kept on disk as
Flux does, and is not served. What is not an archive of ours, the index of a repository or a chart, is published as the
file that it is, by the same rules.
"""

import asyncio
import hmac
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_bytes, token_hex
from typing import IO, NamedTuple

import msgspec

from trimtab.api.source import Artifact
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import MIN_AGE_S, Collected, Corrupt, Store
from trimtab.artifacts.tarball import Packed, Written, write_archive
from trimtab.base.clock import Clock, rfc3339
from trimtab.manifests.refs import Key

RETENTION_S = 60.0
RETENTION_RECORDS = 2
LEFT_OUT = "trimtab.dev/left-out"
"""Key in the artifact's metadata: the files that are in the source and not in the artifact, one per line."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_LEFT_OUT_CHARS = 4096
_MORE = "… and "
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
FILE = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._+-]*-)?[0-9a-f]{64}\.(?:tar\.gz|tgz|yaml)", re.ASCII)
"""Names of published files: all that is ever served."""
_LONGEST_STEM = 120
_TEMPORARY = ".new-"
_RECORD = ".json"


class Form(NamedTuple):
    """What the published file is called: `<stem>-<HMAC><suffix>`, or without a stem, and the link to the latest one."""

    suffix: str = ".tar.gz"
    latest: str = "latest.tar.gz"
    stem: str = ""


ARCHIVE = Form()
"""The files of a snapshot, packed here."""


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was published: kept beside the archive, so that a restarted process knows the tree again."""

    artifact: Artifact
    tree: str
    superseded: datetime | None = None


class Publisher:
    """Archives of snapshots below `store.root`/published. One per process and store."""

    def __init__(self, store: Store, base_url: str, clock: Clock) -> None:
        self._store = store
        self._root = published(store)
        self._base_url = base_url.rstrip("/")
        self._clock = clock
        self._lock = asyncio.Lock()
        self._secret = _secret(store.root / "publish.key")

    async def publish(
        self,
        kind: str,
        key: Key,
        snapshot: Snapshot,
        *,
        metadata: Mapping[str, str] | None = None,
        archive: str = "",
        form: Form = ARCHIVE,
    ) -> Artifact:
        """Make `snapshot` the current artifact of the object and return what its status says of it.

        `archive` names a content of the store (SHA-256) that is published as it is, as a file of the `form` said.
        Publishing the same again changes nothing. Raises Corrupt if the store lost a content, OSError for a full disk.
        """
        directory = self._directory(kind, key)
        name = self._file_name(kind, key, f"{snapshot.tree.digest}{archive and '/'}{archive}", form)
        current = next((record for record in _records(directory) if record.superseded is None), None)
        path = f"{kind.lower()}/{key.namespace}/{key.name}/{name}"
        said = {**(metadata or {}), **_left_out(snapshot.tree.left_out)}
        if current and current.artifact.path == path and (directory / name).exists():
            same = current.artifact.revision == snapshot.revision and current.artifact.metadata == said
            if same and current.artifact.url == f"{self._base_url}/{path}":
                return current.artifact
            written = Written(current.artifact.digest.removeprefix("sha256:"), current.artifact.size)
        else:
            written = await asyncio.to_thread(self._build, directory / name, snapshot, archive)
        artifact = Artifact(
            path=path,
            url=f"{self._base_url}/{path}",
            revision=snapshot.revision,
            digest=f"sha256:{written.digest}",
            size=written.size,
            last_update_time=rfc3339(self._clock.now()),
            metadata=said,
        )
        async with self._lock:
            if not (directory / name).exists():
                # what was there before was removed as superseded a moment ago
                await asyncio.to_thread(self._build, directory / name, snapshot, archive)
            record = Record(artifact=artifact, tree=snapshot.tree.digest)
            await asyncio.to_thread(self._record, directory, record, form.latest)
        return artifact

    def restore(self, kind: str, key: Key, artifact: Artifact) -> Snapshot | None:
        """The snapshot behind an artifact that was published before, by this process or the one before it.

        None if it is not here any more: the source has to be fetched again.
        """
        for record in _records(self._directory(kind, key)):
            if record.artifact.digest == artifact.digest and record.artifact.revision == artifact.revision:
                try:
                    return Snapshot(self._store, self._store.load(record.tree), artifact.revision)
                except Corrupt:
                    return None
        return None

    def current(self, kind: str, key: Key) -> tuple[Artifact, Snapshot] | None:
        """What is published for the object now; None if nothing is, or its contents are not here any more."""
        for record in _records(self._directory(kind, key)):
            if record.superseded is None:
                artifact = record.artifact
                try:
                    return artifact, Snapshot(self._store, self._store.load(record.tree), artifact.revision)
                except Corrupt:
                    return None
        return None

    def serves(self, artifact: Artifact) -> bool:
        """Whether the archive of an artifact that this process published is still there."""
        return (self._root / artifact.path).exists()

    async def forget(self, kind: str, key: Key) -> None:
        """Remove everything published for an object that was deleted."""
        directory = self._directory(kind, key)
        async with self._lock:
            await asyncio.to_thread(self._remove_all, directory)

    async def collect(
        self, offered: Iterable[str] = (), *, contents: Iterable[str] = (), min_age_s: float = MIN_AGE_S
    ) -> Collected:
        """Remove superseded archives past their time, and then all contents that nothing refers to.

        `offered` are the digests of trees that are used though they were not published here, `contents` those of
        contents that are used by no tree.
        """
        async with self._lock:
            return await asyncio.to_thread(self._collect, tuple(offered), tuple(contents), min_age_s)

    def _build(self, path: Path, snapshot: Snapshot, archive: str) -> Written:
        self._store.save(snapshot.tree)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f"{_TEMPORARY}{token_hex(8)}")
        try:
            with temporary.open("xb") as out:
                written = self._copy(out, archive) if archive else write_archive(out, _packed(snapshot))
            temporary.rename(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return written

    def _copy(self, out: IO[bytes], archive: str) -> Written:
        return Written(archive, out.write(self._store.read(archive)))

    def _collect(self, offered: tuple[str, ...], contents: tuple[str, ...], min_age_s: float) -> Collected:
        live = list(offered)
        for directory in self._root.glob("*/*/*"):
            self._expire(directory)
            live += [record.tree for record in _records(directory)]
        return self._store.collect(live, contents=contents, min_age_s=min_age_s)

    def _record(self, directory: Path, new: Record, latest: str) -> None:
        now = self._clock.now()
        for record in list(_records(directory)):
            if record.superseded is None and record.artifact.path != new.artifact.path:
                _save(directory, msgspec.structs.replace(record, superseded=now))
        _save(directory, new)
        for link in [found for found in directory.iterdir() if found.is_symlink() and found.name != latest]:
            link.unlink(missing_ok=True)
        _link(directory / latest, Path(new.artifact.path).name)
        self._expire(directory)

    def _expire(self, directory: Path) -> None:
        deadline = self._clock.now() - timedelta(seconds=RETENTION_S)
        # The current one first, then the others, the latest first.
        future = datetime.max.replace(tzinfo=UTC)
        records = sorted(_records(directory), key=lambda record: record.superseded or future, reverse=True)
        for place, record in enumerate(records):
            if record.superseded and (record.superseded < deadline or place >= RETENTION_RECORDS):
                self._remove(directory, record)
        for left in [found for found in directory.iterdir() if not found.name.endswith(_RECORD)]:
            with suppress(FileNotFoundError):  # what is being written gets another name meanwhile
                abandoned = not left.is_symlink() and left.stat().st_mtime < time.time() - MIN_AGE_S
                if abandoned and not _record_file(directory, left.name).exists():
                    left.unlink()

    def _remove(self, directory: Path, record: Record) -> None:
        # Somebody may still be rendering from it: its contents stay for the store's own age limit.
        self._store.touch(record.tree)
        name = Path(record.artifact.path).name
        _record_file(directory, name).unlink(missing_ok=True)
        (directory / name).unlink(missing_ok=True)

    def _remove_all(self, directory: Path) -> None:
        for record in list(_records(directory)):
            self._remove(directory, record)
        for left in directory.glob("*"):
            left.unlink(missing_ok=True)
        if directory.exists():
            directory.rmdir()

    def _directory(self, kind: str, key: Key) -> Path:
        for name in (kind.lower(), *key):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot be part of an artifact's path")
        return self._root / kind.lower() / key.namespace / key.name

    def _file_name(self, kind: str, key: Key, content: str, form: Form) -> str:
        message = f"{kind.lower()}/{key.namespace}/{key.name}/{content}".encode()
        name = f"{form.stem and form.stem[:_LONGEST_STEM] + '-'}{hmac.new(self._secret, message, 'sha256').hexdigest()}"
        if not FILE.fullmatch(name + form.suffix):
            raise ValueError(f"{name + form.suffix!r} cannot be the name of an artifact's file")
        return name + form.suffix


def published(store: Store) -> Path:
    """Where the archives are."""
    return store.root / "published"


def record_of(archive: Path) -> Record | None:
    """What was said of `archive` when it was published."""
    return _read(_record_file(archive.parent, archive.name))


def _read(file: Path) -> Record | None:
    try:
        return _decoder.decode(file.read_bytes())
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


_decoder = msgspec.json.Decoder(Record)


def _packed(snapshot: Snapshot) -> Iterator[Packed]:
    for entry in snapshot.tree.entries:
        yield Packed(entry.path, snapshot.store.read(entry.sha256), entry.executable)


def _records(directory: Path) -> Iterator[Record]:
    for file in sorted(directory.glob(f"*{_RECORD}")):
        if record := _read(file):
            yield record


def _record_file(directory: Path, archive: str) -> Path:
    return directory / (archive.removesuffix(".tar.gz") + _RECORD)


def _save(directory: Path, record: Record) -> None:
    target = _record_file(directory, Path(record.artifact.path).name)
    temporary = directory / f"{_TEMPORARY}{token_hex(8)}"
    temporary.write_bytes(msgspec.json.encode(record))
    temporary.rename(target)


def _link(link: Path, target: str) -> None:
    temporary = link.with_name(f"{_TEMPORARY}{token_hex(8)}")
    temporary.symlink_to(target)
    temporary.rename(link)


def _left_out(paths: tuple[str, ...]) -> dict[str, str]:
    if not paths:
        return {}
    text = "\n".join(_CONTROL.sub(lambda found: ascii(found[0])[1:-1], path) for path in paths)
    if len(text) > _LEFT_OUT_CHARS:
        shown = text[:_LEFT_OUT_CHARS].rpartition("\n")[0].splitlines()
        text = "\n".join([*shown, f"{_MORE}{len(paths) - len(shown)} more"])
    return {LEFT_OUT: text}


def left_out_of(artifact: Artifact) -> list[str]:
    """What the one who published says was left out, as far as it is named."""
    lines = artifact.metadata.get(LEFT_OUT, "").split("\n")
    return [line for line in lines if line and not line.startswith(_MORE)]


def _secret(path: Path) -> bytes:
    """The key of the HMAC; made once, so that addresses survive a restart."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        secret = path.read_bytes()
        if len(secret) == 32:
            return secret
        path.unlink()
        return _secret(path)
    with os.fdopen(descriptor, "wb") as file:
        secret = token_bytes(32)
        file.write(secret)
    return secret
