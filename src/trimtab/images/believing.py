"""How far a list of tags is believed: what is new at once, what is missing not before it is certain. Pure.

A registry that was restored, that answers from another replica, or lost a page, lists fewer tags than there are. Who
believed it would choose an older image, and write that into git. So a tag that was there stays in force when it is no
longer listed, until a second look some time later does not list it either; and one that is chosen until the registry,
asked for its manifest, says that there is none. An empty list is never believed where there were tags: nobody could
choose anything from it.

What a policy says that it chose, and nobody here has seen, as after the loss of the cache, is doubted in the same way.
But it is in force for that policy alone: a status is a word of its owner, and must not put a tag before others.

A registry that lists others each time could have us believe without end: more tags than are judged are not in force.
"""

from collections.abc import Mapping, Set
from typing import Final, NamedTuple

from trimtab.images.choosing import MOST_TAGS

CONFIRM_AFTER_S: Final = 300.0
"""Between the look that misses a tag first and one that may confirm that it is gone."""


class Believed(NamedTuple):
    """What is in force after a look.

    `doubts` are the tags that were not listed, and since when (Unix seconds); they are in force if they were seen
    before. `ask` are those of them that leave if the registry has no manifest of them.
    """

    tags: frozenset[str]
    doubts: Mapping[str, float]
    ask: frozenset[str] = frozenset()

    def without(self, absent: Set[str]) -> "Believed":
        """The same, when the registry has said that there is no manifest of the tags `absent`."""
        leaving = self.ask & absent
        return Believed(
            self.tags - leaving,
            {tag: since for tag, since in self.doubts.items() if tag not in leaving},
        )


def believe(held: Set[str], doubts: Mapping[str, float], listed: Set[str], chosen: Set[str], now: float) -> Believed:
    """What is in force when `held` was, and a look finds `listed`. `chosen` are the tags that policies chose of it."""
    missing = (held | chosen) - listed
    since = {tag: min(doubts.get(tag, now), now) for tag in missing}
    if not listed:
        return Believed(frozenset(held), since)
    due = frozenset(tag for tag in missing if tag in doubts and now - since[tag] >= CONFIRM_AFTER_S)
    kept = {tag: moment for tag, moment in since.items() if tag not in due or tag in chosen}
    if len(kept) > (room := max(MOST_TAGS - len(listed), 0)):
        kept = _fitting(kept, chosen, room)
    return Believed(frozenset(listed | (kept.keys() & held)), kept, due & chosen)


def _fitting(kept: Mapping[str, float], chosen: Set[str], room: int) -> dict[str, float]:
    """As many of `kept` as there is room for, those that were missed last; but all that are chosen."""
    stays = kept.keys() & chosen
    others = sorted(kept.keys() - stays, key=lambda tag: (-kept[tag], tag))[: max(room - len(stays), 0)]
    return {tag: kept[tag] for tag in (*stays, *others)}
