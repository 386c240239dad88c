"""New revisions of a release, as Helm records them: begun before the effect, and how they ended. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from trimtab.api.names import RECORD_OF
from trimtab.base.clock import rfc3339
from trimtab.helm.output import Output
from trimtab.helm.record import ApplyMethod, Hook, Info, Record, Status
from trimtab.helm.values import Values
from trimtab.manifests.refs import Body

_UNDERWAY: Final = {
    Status.PENDING_INSTALL: "Initial install underway",
    Status.PENDING_UPGRADE: "Preparing upgrade",
}


def begin(
    history: Sequence[Record],
    name: str,
    namespace: str,
    rendered: Output,
    chart: Body,
    values: Values,
    *,
    status: Status,
    owner: str,
    now: datetime,
) -> Record:
    """The next revision of what is `rendered`, as it is recorded before anything of it is applied.

    `status` is PENDING_INSTALL or PENDING_UPGRADE, `chart` that of `stored_chart`, `owner` the uid of the HelmRelease.
    """
    version = _next(history)
    # A release that was uninstalled starts anew, and so does its time.
    first = history[0].info.first_deployed if history and history[0].status != Status.UNINSTALLED else None
    return Record(
        name=name,
        namespace=namespace,
        version=version,
        info=Info(
            first_deployed=first or rfc3339(now),
            last_deployed=rfc3339(now),
            status=status,
            description=_UNDERWAY.get(status, ""),
        ),
        chart=chart,
        config=values.body or None,
        manifest=rendered.manifest,
        hooks=rendered.hooks or None,
        apply_method=ApplyMethod.SERVER_SIDE,
        labels=_labels(history, owner, version),
    )


def begin_rollback(history: Sequence[Record], to: Record, *, owner: str, now: datetime) -> Record:
    """The next revision, which is what `to` was, before anything of it is applied."""
    version = _next(history)
    return msgspec.structs.replace(
        to,
        version=version,
        info=Info(
            first_deployed=history[0].info.first_deployed,
            last_deployed=rfc3339(now),
            status=Status.PENDING_ROLLBACK,
            description=f"Rollback to {to.version}",
            rollback_revision=to.version,
            notes=to.info.notes,
        ),
        apply_method=ApplyMethod.SERVER_SIDE,
        labels=_labels(history, owner, version),
    )


def is_of(record: Record, owner: str) -> bool:
    """Whether the HelmRelease with the uid `owner` made this very revision. Helm passes labels on, but not versions."""
    return bool(owner) and record.labels.get(RECORD_OF) == _mark(owner, record.version)


def basis(history: Sequence[Record]) -> Record | None:
    """The revision whose values are preserved: the last that stood, or the newest where none did; as with Helm."""
    stood = next((one for one in history if one.status == Status.DEPLOYED), None)
    return stood or (history[0] if history else None)


def with_hook(record: Record, hook: Hook) -> Record:
    """`record` with how `hook`, one of its own, ran."""
    hooks = tuple(
        hook if (one.path, one.kind, one.name) == (hook.path, hook.kind, hook.name) else one
        for one in record.hooks or ()
    )
    return msgspec.structs.replace(record, hooks=hooks)


def _next(history: Sequence[Record]) -> int:
    return max((record.version for record in history), default=0) + 1


def _labels(history: Sequence[Record], owner: str, version: int) -> Mapping[str, str]:
    """What others put on the records of the release stays on the next one, as with Helm."""
    kept = history[0].labels if history else {}
    return {**kept, RECORD_OF: _mark(owner, version)}


def _mark(owner: str, version: int) -> str:
    return f"{owner}.v{version}"
