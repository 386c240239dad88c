"""Several processes that share the work: each looks after the objects that its label selector selects.

The usual selectors are one for each value of the label `sharding.fluxcd.io/key`, and one for all objects without it.
A process with a selector holds Leases of its own, under the names that Flux's controllers give theirs, so that one of
Flux with the same selector and ours never drive the same objects. All of them together hold the plain Leases as well,
so that nobody without a selector, who would drive the objects of all, begins beside them.
"""

import hashlib
from typing import Final

from trimtab.api.names import OURS, SHARD_LABEL

REST: Final = f"!{SHARD_LABEL}"
"""Selects the objects without the label: those of no shard."""
TOGETHER: Final = "trimtab-shards_0"
"""Who holds the plain Leases while there are processes with selectors: all of them, under one name."""
SELECTOR: Final = f"{OURS}selector"
"""Annotation on the Lease of a process with a selector: what it is, as the name has only a digest of it."""


def selector_of(shard: str) -> str:
    """The selector of the objects of one shard, written as Flux's documentation does: Leases are named by it."""
    return f"{SHARD_LABEL}={shard}"


def lease_name(base: str, selector: str) -> str:
    """The Lease of a controller that looks after what `selector` selects, as Flux's controllers name it."""
    return f"{base}-{hashlib.sha256(selector.encode()).hexdigest()[:8]}" if selector else base
