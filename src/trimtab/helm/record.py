"""Helm's own record of a release: one Secret a revision, which the helm binary and Flux read and write as well. Pure.

`data.release` is the base64 of gzip of JSON, and once more in base64 as all data of a Secret. What a record holds may
be secret (values, manifests), so no error shows any of it.
"""

import base64
import binascii
import gzip
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from trimtab.api.names import Reason
from trimtab.base.clock import rfc3339
from trimtab.base.errors import Terminal
from trimtab.manifests import codec
from trimtab.manifests.refs import Body

SECRET_TYPE: Final = "helm.sh/release.v1"  # noqa: S105 - a type
OWNER: Final = "helm"
MAX_STORED: Final = 1 << 20
"""Bytes that the API server takes as the data of a Secret."""
MAX_UNPACKED: Final = 64 << 20
REASON: Final = Reason.STATE_ERROR

_LEVEL: Final = 6
"""Of gzip: the highest takes almost twice the time for a hundredth less."""
_PREFIX: Final = "sh.helm.release.v1."
_LONGEST_TIME: Final = 16
_GZIP: Final = b"\x1f\x8b\x08"
_SYSTEM_LABELS: Final = frozenset({"name", "owner", "status", "version", "createdAt", "modifiedAt"})


class Status(StrEnum):
    """What became of a revision."""

    UNKNOWN = "unknown"
    DEPLOYED = "deployed"
    UNINSTALLED = "uninstalled"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    UNINSTALLING = "uninstalling"
    PENDING_INSTALL = "pending-install"
    PENDING_UPGRADE = "pending-upgrade"
    PENDING_ROLLBACK = "pending-rollback"


PENDING: Final = frozenset({Status.PENDING_INSTALL, Status.PENDING_UPGRADE, Status.PENDING_ROLLBACK})


class Phase(StrEnum):
    """How the last run of a hook went. Nothing: it did not run."""

    NONE = ""
    UNKNOWN = "Unknown"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class ApplyMethod(StrEnum):
    """How the objects of a revision were written. Nothing: as Helm 3 did, which knew one way."""

    NONE = ""
    CLIENT_SIDE = "csa"
    SERVER_SIDE = "ssa"


class Execution(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last run of a hook."""

    started_at: str | None = None
    completed_at: str | None = None
    phase: str = ""


class Hook(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An object that is not part of the release but is created at moments of its life."""

    name: str = ""
    kind: str = ""
    path: str = ""
    """The template it came from, below the chart's name."""
    manifest: str = ""
    events: tuple[str, ...] | None = None
    last_run: Execution = Execution()
    weight: int = 0
    delete_policies: tuple[str, ...] | None = None
    output_log_policies: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return f"Hook({self.kind} {self.name})"


class Info(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When, and with what result."""

    first_deployed: str | None = None
    last_deployed: str | None = None
    deleted: str | None = None
    description: str = ""
    status: str = ""
    rollback_revision: int = 0
    notes: str = ""


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One revision of a release. `labels` are those of its Secret that are not Helm's own."""

    name: str
    namespace: str
    version: Annotated[int, msgspec.Meta(ge=1)]
    info: Info
    chart: Body | None = None
    config: Body | None = None
    manifest: str = ""
    hooks: tuple[Hook, ...] | None = None
    apply_method: str = ""
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def status(self) -> str:
        """One of `Status`, or a word that only a newer Helm knows."""
        return self.info.status

    @property
    def pending(self) -> bool:
        """Whether an action had begun and nobody wrote how it ended."""
        return self.info.status in PENDING

    @property
    def values(self) -> Body:
        """The values it was made with, without the chart's defaults."""
        return self.config or {}

    @property
    def metadata(self) -> Body:
        """The chart's Chart.yaml."""
        found = (self.chart or {}).get("metadata")
        return found if isinstance(found, dict) else {}

    @property
    def chart_name(self) -> str:
        return str(self.metadata.get("name", ""))

    @property
    def chart_version(self) -> str:
        return str(self.metadata.get("version", ""))

    def __repr__(self) -> str:
        return f"Record({self.namespace}/{self.name}.v{self.version}, {self.status})"


_decoder = msgspec.json.Decoder(Record)


class BadRecord(Terminal):
    """A Secret that holds no release, or not the one it is named for. Reason StateError."""

    def __init__(self, where: str, cause: str) -> None:
        super().__init__(
            REASON,
            f"{where} cannot be read as a release of Helm: {cause}; restore it, or delete it to go on from what was "
            "before it",
        )


class TooLarge(Terminal):
    """A release that no Secret can hold. Reason StateError."""


def secret_name(name: str, version: int) -> str:
    """The name of the Secret of revision `version` of the release `name`."""
    return f"{_PREFIX}{name}.v{version}"


def selector(name: str) -> str:
    """The labels by which all revisions of the release `name` are listed."""
    return f"owner={OWNER},name={name}"


def encode(record: Record, storage_namespace: str, now: datetime) -> Body:
    """The Secret of `record`, for the namespace that releases are kept in.

    A release too large for a Secret is kept without the chart's other files, then without its templates: neither is
    needed to roll back to it. Raises TooLarge if that is not enough.
    """
    packed = b""
    for kept in _ever_smaller(record):
        packed = base64.b64encode(gzip.compress(codec.encode(_stored(kept)), _LEVEL, mtime=0))
        if len(packed) <= MAX_STORED:
            break
    else:
        raise TooLarge(
            REASON,
            f"the release {record.name} has {len(packed):,} bytes, compressed and without its chart's templates, and a "
            f"Secret holds {MAX_STORED:,}; split the chart",
        )
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name(record.name, record.version),
            "namespace": storage_namespace,
            "labels": {
                **record.labels,
                "name": record.name,
                "owner": OWNER,
                "status": record.info.status,
                "version": str(record.version),
                "modifiedAt": str(int(now.timestamp())),
            },
        },
        "type": SECRET_TYPE,
        "data": {"release": base64.b64encode(packed).decode()},
    }


def decode(secret: Body) -> Record:
    """The release in `secret`, as the API server gives it. Raises BadRecord."""
    metadata = secret.get("metadata") or {}
    where = f"Secret {metadata.get('namespace', '')}/{metadata.get('name', '')}"
    if secret.get("type") != SECRET_TYPE:
        raise BadRecord(where, f"its type is not {SECRET_TYPE}")
    data = (secret.get("data") or {}).get("release")
    if not isinstance(data, str):
        raise BadRecord(where, "it has no entry `release`")
    try:
        record = _decoder.decode(_unpacked(base64.b64decode(base64.b64decode(data, validate=True)), where))
    except (binascii.Error, zlib.error):
        raise BadRecord(where, "its data is not base64 of gzip") from None
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as problem:
        # What is wrong with a field is told without its value.
        told = str(problem) if isinstance(problem, msgspec.ValidationError) else "its data is no JSON"
        raise BadRecord(where, told) from None
    if metadata.get("name") != secret_name(record.name, record.version):
        raise BadRecord(where, "it holds another release, or another revision, than its name says")
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key not in _SYSTEM_LABELS}
    return msgspec.structs.replace(record, labels=labels)


def history(secrets: Iterable[Body]) -> tuple[Record, ...]:
    """The revisions in `secrets`, the newest first. Raises BadRecord."""
    return tuple(sorted(map(decode, secrets), key=lambda record: record.version, reverse=True))


def touched_at(secret: Body) -> float:
    """When a record was written last, in seconds of the epoch as its writer had them; 0 if it does not say."""
    labels = (secret.get("metadata") or {}).get("labels") or {}
    said = str(labels.get("modifiedAt") or labels.get("createdAt") or "")
    return float(said) if said.isdecimal() and said.isascii() and len(said) < _LONGEST_TIME else 0.0


def settled(record: Record, status: Status, description: str, *, deleted: datetime | None = None) -> Record:
    """`record` with another status, and when it was uninstalled if it was."""
    info = msgspec.structs.replace(record.info, status=str(status), description=description)
    if deleted is not None:
        info = msgspec.structs.replace(info, deleted=rfc3339(deleted))
    return msgspec.structs.replace(record, info=info)


def surplus(revisions: Sequence[Record], limit: int) -> tuple[Record, ...]:
    """What to delete so that at most `limit` stay (0: all), the oldest first.

    Never the newest, and never the last one that is deployed: it is what a rollback goes back to.
    """
    ordered = sorted(revisions, key=lambda record: record.version)
    if limit <= 0 or len(ordered) <= limit:
        return ()
    deployed = next((record for record in reversed(ordered) if record.status == Status.DEPLOYED), None)
    free = [record for record in ordered[:-1] if record is not deployed]
    return tuple(free[: len(ordered) - limit])


def fingerprint(record: Record) -> str:
    """Differs as soon as anybody writes the record anew with another content; of the chart, only its name counts."""
    return codec.digest(_stored(msgspec.structs.replace(record, chart={"metadata": record.metadata})))


def _stored(record: Record) -> Body:
    body: Body = msgspec.to_builtins(record)
    body.pop("labels", None)
    for hook in body.get("hooks") or ():
        # Always there, as Helm writes it, and with a phase.
        hook["last_run"] = {"phase": "", **hook.get("last_run", {})}
    return body


def _ever_smaller(record: Record) -> Iterable[Record]:
    yield record
    chart = record.chart or {}
    for left_out in (("files",), ("files", "templates")):
        yield msgspec.structs.replace(record, chart={**chart, **dict.fromkeys(left_out)})


def _unpacked(data: bytes, where: str) -> bytes:
    if not data.startswith(_GZIP):
        return data  # as releases were stored before they were compressed
    inflate = zlib.decompressobj(wbits=31)
    unpacked = inflate.decompress(data, MAX_UNPACKED + 1)
    if len(unpacked) > MAX_UNPACKED:
        raise BadRecord(where, f"it is larger than {MAX_UNPACKED >> 20} MiB")
    if not inflate.eof:
        raise BadRecord(where, "its data ends too early")
    return unpacked
