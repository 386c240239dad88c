"""What the status of an ImageRepository says of a look: the result, and the words for it. Pure."""

import hashlib
from collections.abc import Iterable, Set
from datetime import datetime
from typing import Final

import msgspec

from trimtab.api.image import ScanResult
from trimtab.base.clock import rfc3339
from trimtab.images.filters import Exclusions

TELL_EVERY_S: Final = 600.0
"""So often the time of the last look is written where nothing is new: not at each look, which would be all the load."""
_LATEST = 10
_SHOWN = 5


def result_of(tags: Set[str], exclusions: Exclusions, now: datetime) -> ScanResult:
    """What there is to say of `tags`. Filtering many thousands takes a while: call it in a thread."""
    left = sorted(tag for tag in tags if not exclusions.judge(tag))
    checksum = hashlib.sha256("\n".join(left).encode()).hexdigest()
    return ScanResult(
        revision=f"sha256:{checksum}",
        tag_count=len(left),
        scan_time=rfc3339(now),
        latest_tags=tuple(reversed(left[-_LATEST:])),
    )


def written(last: ScanResult | None, found: ScanResult | None, now: datetime, *, asked: bool) -> ScanResult:
    """What is written after a look that found `found`, or nothing new; `last` if there is nothing to write.

    The time alone is written if somebody `asked` for the look, or if the one that is written is old.
    """
    if last is None or (found is not None and found.revision != last.revision):
        assert found is not None  # noqa: S101 - the first look finds something new
        return found
    if asked or _age(last, now) >= TELL_EVERY_S:
        return msgspec.structs.replace(last, scan_time=rfc3339(now))
    return last


def message(result: ScanResult, missing: Iterable[str], strange: int) -> str:
    """How Ready says it; `missing` are the tags in force that were not listed, `strange` counts names that are none."""
    said = f"successful scan: found {result.tag_count} tags with checksum {result.revision}"
    if gone := sorted(missing):
        more = f" and {len(gone) - _SHOWN:,} more" if len(gone) > _SHOWN else ""
        are = "is" if len(gone) == 1 else "are"
        said += f"; {', '.join(gone[:_SHOWN])}{more} {are} not listed any more, and counted until that is certain"
    if strange:
        said += f"; {strange:,} names in the list are no tags, and left out"
    return said


def emptied(subject: object, missing: int) -> str:
    """How Ready says that there is nothing where there was something."""
    return (
        f"{subject}: the registry lists no tags, and there were {missing:,}: they stay in force. If the repository was "
        "emptied on purpose, make this object anew"
    )


def _age(result: ScanResult, now: datetime) -> float:
    try:
        return (now - datetime.fromisoformat(result.scan_time)).total_seconds()
    except ValueError:
        return TELL_EVERY_S
