"""Words and rules that a field of a kind carries, for the schema the API server validates by.

The structs themselves stay tolerant: what a newer release wrote is decoded and judged where it matters, so that one
object never stops the watch of its kind. Validation is the API server's, by the rules written here.
"""

from typing import Any, Final, NamedTuple

import msgspec

DURATION: Final = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
"""Durations as Flux's definitions admit them."""
DURATION_WITHOUT_HOURS: Final = r"^([0-9]+(\.[0-9]+)?(ms|s|m))+$"
"""Timeouts of sources: a look at a remote that takes hours is a mistake."""
LONGEST_DURATION: Final = 64
"""Characters; what is longer overflows in any implementation, or is one duration written in too many parts."""


class Rule(NamedTuple):
    """A CEL rule on an object of the schema, with the sentence a person reads when it is broken."""

    rule: str
    message: str
    creation_only: bool = False
    """Judge new objects only, so that what already exists can still be changed and deleted."""


def doc(description: str, **keywords: Any) -> msgspec.Meta:
    """A field's meaning and the JSON schema keywords it is validated by (`default`, `enum`, `maxLength`, …)."""
    return msgspec.Meta(description=description, extra_json_schema=keywords or None)


def duration(description: str, *, hours: bool = True, **keywords: Any) -> msgspec.Meta:
    """A field that is a duration such as `1m30s`."""
    pattern = DURATION if hours else DURATION_WITHOUT_HOURS
    return doc(description, pattern=pattern, maxLength=LONGEST_DURATION, **keywords)


def named(description: str, *, longest: int = 253, **keywords: Any) -> msgspec.Meta:
    """A field that names another object."""
    return doc(description, minLength=1, maxLength=longest, **keywords)


def moment(description: str) -> msgspec.Meta:
    """A field that is a time as Kubernetes writes it."""
    return doc(description, format="date-time")
