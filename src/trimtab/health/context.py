"""What a verdict may depend on besides the object."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple, TypeAlias

from trimtab.health.shape import created
from trimtab.health.verdict import Verdict
from trimtab.manifests.refs import Body, Ref


class Context(NamedTuple):
    """The time, when the object was first seen (if the caller keeps that), and a look at other objects (if it can)."""

    now: datetime
    first_seen: datetime | None = None
    lookup: Callable[[Ref], Body | None] | None = None

    def age(self, body: Body) -> float | None:
        """Seconds since the object was first seen or, failing that, created; None where neither is known."""
        since = self.first_seen or created(body)
        return (self.now - since).total_seconds() if since is not None and since.tzinfo is not None else None


Rule: TypeAlias = Callable[[Body, Context], Verdict]
"""What one kind's status means, once deletion, a stale generation, Reconciling and Stalled have been looked at."""
