"""What the rules of families are made of: vocabularies of phases, and the shape of the table."""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from trimtab.health.context import Context
from trimtab.health.shape import section
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Body

KindRule: TypeAlias = Callable[[Body, Context], Verdict | None]
"""The whole contract of a kind but deletion; None leaves the object to the generic rule."""

Rules: TypeAlias = Mapping[tuple[str, str], KindRule]
"""Rules by group and kind. A group may be `*.suffix`, a kind `*`; what is exact goes first."""

NO_STATUS: Final = Verdict(State.InProgress, "no status yet")


def phases(
    path: str,
    words: Mapping[str, State],
    *,
    empty: State = State.InProgress,
    other: State = State.Unknown,
    message: str = "message",
) -> KindRule:
    """A rule for kinds that tell how they are in one word. `path` is dotted, from `status`; case does not count.

    `empty` is what a missing word means, `other` one that is not in the vocabulary; `message` is the field beside it.
    """
    *parents, field = path.split(".")
    known = {word.lower(): state for word, state in words.items()}

    def rule(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001 - a rule's signature
        place = section(body, "status", *parents)
        word = place.get(field)
        if word is None or word == "":
            return Verdict(empty, "no status yet")
        said = place.get(message)
        return Verdict(
            known.get(str(word).lower(), other),
            f"{field} is {word}" + (f": {said}" if isinstance(said, str) and said else ""),
        )

    return rule
