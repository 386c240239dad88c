"""Conditions of our own objects, as Kubernetes' metav1.Condition."""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Final, Literal

import msgspec

from trimtab.base.clock import rfc3339

MESSAGE_LIMIT: Final = 1024
"""Characters of a message that are kept; the server refuses more than 32,768, and status should stay small."""


class Condition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One observation about an object: what, whether, since when, and why."""

    type: str
    status: Literal["True", "False", "Unknown"]
    observed_generation: int = 0
    last_transition_time: str = ""
    reason: str = ""
    message: str = ""

    @property
    def true(self) -> bool:
        return self.status == "True"


def shorten(message: str) -> str:
    """`message`, or its first 1,024 characters and a digest of the whole, to tell long ones apart."""
    if len(message) <= MESSAGE_LIMIT:
        return message
    digest = hashlib.sha256(message.encode(errors="surrogatepass")).hexdigest()[:12]
    mark = f" … ({len(message)} characters, sha256:{digest})"
    return message[: MESSAGE_LIMIT - len(mark)] + mark


def find(conditions: Iterable[Condition], type: str) -> Condition | None:  # noqa: A002 - the API's own word
    """The condition of that type, if there is one."""
    return next((condition for condition in conditions if condition.type == type), None)


def truth(condition: Condition | None) -> bool | None:
    """Whether it is so; None while that is not known."""
    return None if condition is None or condition.status == "Unknown" else condition.true


def with_condition(conditions: Iterable[Condition], new: Condition, now: datetime) -> tuple[Condition, ...]:
    """`conditions` with `new` in the place of the one of its type, or at the end.

    The transition time moves only when the status does (metav1 semantics), so an unchanged condition is equal to the
    one it replaces and need not be written.
    """
    existing = tuple(conditions)
    old = find(existing, new.type)
    since = old.last_transition_time if old and old.status == new.status and old.last_transition_time else rfc3339(now)
    settled = msgspec.structs.replace(new, message=shorten(new.message), last_transition_time=since)
    if old is None:
        return (*existing, settled)
    return tuple(settled if condition is old else condition for condition in existing)


def without_condition(conditions: Iterable[Condition], type: str) -> tuple[Condition, ...]:  # noqa: A002
    """`conditions` without the one of that type."""
    return tuple(condition for condition in conditions if condition.type != type)
