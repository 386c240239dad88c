"""What is about to be deleted, looked at once more: what counts against the budget, and what never goes unasked."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from trimtab.health.verdict import State
from trimtab.kube.client import Client
from trimtab.manifests.refs import Ref
from trimtab.targets.kubernetes import precious
from trimtab.targets.kubernetes.budget import Candidate
from trimtab.targets.kubernetes.desired import Owner
from trimtab.targets.kubernetes.inventory import Entry
from trimtab.targets.kubernetes.precious import Look
from trimtab.targets.kubernetes.sighting import Sighting


class Weighed(NamedTuple):
    """The deletions to be decided about, and those that only wait until others of the same pass are through."""

    candidates: list[Candidate]
    later: frozenset[Ref]


async def weigh(
    client: Client,
    owner: Owner,
    entries: Sequence[Entry],
    protected: str,
    last_seen: Callable[[Ref], Sighting | None],
) -> Weighed:
    """Look at those of `entries` that may be precious. `last_seen` is what a watch last showed of an object."""
    looks = await look_at(client, owner, entries, protected)
    later = frozenset(ref for ref, look in looks.items() if look.later)
    candidates = [
        Candidate(entry.ref, entry.uid, looks[entry.ref].why if entry.ref in looks else "")
        for entry in entries
        if entry.ref not in later and _counts(entry, looks, last_seen)
    ]
    return Weighed(candidates, later)


async def look_at(client: Client, owner: Owner, entries: Sequence[Entry], protected: str) -> dict[Ref, Look]:
    """A look at each of `entries` that is of a kind which may be precious."""
    leaving = {entry.ref for entry in entries}
    asked = [entry for entry in entries if precious.may_be(entry.ref)]
    looks = await asyncio.gather(*(precious.look(client, entry, owner, protected, leaving) for entry in asked))
    return {entry.ref: look for entry, look in zip(asked, looks, strict=True)}


def _counts(entry: Entry, looks: Mapping[Ref, Look], last_seen: Callable[[Ref], Sighting | None]) -> bool:
    """Whether deleting `entry` is a decision still to be made, and not under way or nobody's to make."""
    if entry.ref in looks:
        return looks[entry.ref].counts
    seen = last_seen(entry.ref)
    return seen is None or seen.verdict.state is not State.Terminating
