"""What chance makes in a rendering, and what becomes of it when the release is rendered again. Pure.

A release is not rendered to see whether there is something to do: that is told by chart, values and spec, and drift is
measured against its record. So output that is another each time makes no new revision, however often it is looked at
and whoever restarts. It is rendered again in two cases.

- The same is tried once more, because it failed. An annotation of chance on the Pods would start them anew with each
  try, and none would ever be ready in time. So what was tried before is tried again: `pinned`. Only the templates that
  vary are taken from the record; for the rest, what the cluster can do by now may be the very cure.
- Something else is wished. Then all of it is new, and passwords with it. Charts keep them by looking them up; where
  they may not, `refuse_rotation` holds the upgrade. All of it, and not only the Secret: a certificate of chance is in a
  Secret and its authority in a webhook, and old with new is worse than either.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Final

from trimtab.api.names import Reason
from trimtab.base.errors import Terminal
from trimtab.helm import output
from trimtab.helm.memory import Memory, Wish
from trimtab.helm.output import Output, Part
from trimtab.helm.record import Record, Status
from trimtab.helm.values import digest_of
from trimtab.manifests.refs import Body, Ref

_SHOWN: Final = 5
_TAKEN: Final[list[Part]] = []
"""In the place of parts that are in the result already."""


def repeats(newest: Record, memory: Memory, wish: Wish) -> bool:
    """Whether `newest` was made of what is wished now: the same chart, the same values, and the same spec."""
    return (
        memory.attempt == wish.attempt
        and memory.of(newest) is not None
        and newest.status not in (Status.UNINSTALLED, Status.UNINSTALLING)
        and not newest.info.rollback_revision
        and (newest.chart_name, newest.chart_version) == (wish.chart_name, wish.chart_version)
        and digest_of(newest.values) == wish.config_digest
    )


def pinned(rendered: Output, varies: Iterable[str], newest: Record) -> Output:
    """`rendered` with what the templates that vary made before, as `newest` records it.

    Both are as they are after the post-renderers. Hooks are not pinned: they are made anew with every action. Raises
    Terminal for objects that cannot be read.
    """
    before: dict[str, list[Part]] = {path: [] for path in varies}
    for part in output.parts(newest.manifest):
        if part.path in before:
            before[part.path].append(part)
    if not any(before.values()):
        return rendered
    chosen: list[Part] = []
    for part in output.parts(rendered.manifest):
        recorded = before.get(part.path)
        if recorded:
            chosen += recorded
            before[part.path] = _TAKEN
        elif recorded is not _TAKEN:
            chosen.append(part)
    chosen.sort(key=lambda part: part.path)
    return rendered._replace(manifest=output.manifest_of((_kind(part), part) for part in chosen))


def rotated(before: str, after: str, varies: Iterable[str]) -> tuple[Ref, ...]:
    """The Secrets of templates that vary which have another value under the same key in `after` than in `before`.

    Both are manifests. Raises Terminal for objects that cannot be read.
    """
    paths = frozenset(varies)
    old, new = (_secrets(text, paths) for text in (before, after)) if paths else ({}, {})
    return tuple(
        ref
        for ref, values in new.items()
        if any(old.get(ref, {}).get(key, value) != value for key, value in values.items())
    )


def refuse_rotation(secrets: tuple[Ref, ...]) -> None:
    """Raise Terminal (LookupUnsupported) if there are any."""
    if not secrets:
        return
    names = ", ".join(str(ref) for ref in secrets[:_SHOWN])
    more = f" and {len(secrets) - _SHOWN} more" if len(secrets) > _SHOWN else ""
    raise Terminal(
        Reason.LOOKUP_UNSUPPORTED,
        f"the upgrade would give new values of chance to {names}{more}, because the chart may not look up those in "
        "use; let it look them up (trimtab.dev/helm-lookup), set them by the chart's values, or ask for new ones with "
        "`reconcile.fluxcd.io/forceAt`",
    )


def told(varies: tuple[str, ...]) -> str:
    """What is told of a rendering that varies (NonDeterministicRender)."""
    names = ", ".join(varies[:_SHOWN])
    more = f" and {len(varies) - _SHOWN} more" if len(varies) > _SHOWN else ""
    return (
        f"{names}{more} of the chart render something else each time (random or time functions); what was rendered "
        "first stays until the chart, the values or the spec change"
    )


def _kind(part: Part) -> str:
    return next((str(one.body.get("kind", "")) for one in output.objects_of(part)), "")


def _secrets(text: str, paths: frozenset[str]) -> dict[Ref, Mapping[str, bytes]]:
    return {
        one.ref: _values(one.body)
        for part in output.parts(text)
        if part.path in paths
        for one in output.objects_of(part)
        if (one.ref.group, one.ref.kind) == ("", "Secret")
    }


def _values(body: Body) -> Mapping[str, bytes]:
    """The values as they would be stored: those of `stringData` win."""
    data, texts = body.get("data") or {}, body.get("stringData") or {}
    encoded = {key: _decoded(str(value)) for key, value in data.items()} if isinstance(data, dict) else {}
    return encoded | ({key: str(value).encode() for key, value in texts.items()} if isinstance(texts, dict) else {})


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        return text.encode()
