"""What keeps an object's images as they are: a lock, a hold, or that nobody is to look after it at all.

Written on the object in git, in our words or in those of Flux v1. A lock or a hold whose text makes no sense counts:
nobody writes one to say that all may go on.
"""

import re
from collections.abc import Mapping as Dictionary
from enum import StrEnum
from typing import Final, NamedTuple

from trimtab.api.names import Annotation
from trimtab.images.nodes import Mapping, Node, Scalar, Sequence, followed

V1: Final = ("fluxcd.io/", "flux.weave.works/")
"""What Flux v1 began the names of its annotations with, the newer one first."""
_LOCKED: Final = "locked"
_IGNORE: Final = "ignore"
_OFF: Final = frozenset({"false", "no", "off"})
_SHOWN: Final = 200
_COMMIT: Final = re.compile(r"[0-9a-f]{7,64}")


class Kind(StrEnum):
    """How much is kept from whom."""

    HOLD = "hold"  # the automation leaves it; a person may release by force
    LOCK = "lock"  # nobody changes it before it is unlocked
    IGNORE = "ignore"  # it is none of our business


class Pause(NamedTuple):
    """Why the images of an object stay. `words` are those of whoever paused it; they may be empty."""

    kind: Kind
    annotation: str
    words: str

    def __str__(self) -> str:
        said = {Kind.HOLD: "held", Kind.LOCK: "locked", Kind.IGNORE: "ignored"}[self.kind]
        words = " ".join(self.words.split())[:_SHOWN]
        return f"{said}: {words}" if words else f"{said} ({self.annotation})"


def annotations_of(body: Mapping) -> dict[str, str]:
    """The annotations of an object, through aliases and merges; what is no text is none."""
    metadata = followed(body.get("metadata"))
    return _texts(followed(metadata.get("annotations"))) if isinstance(metadata, Mapping) else {}


def pause_of(annotations: Dictionary[str, str]) -> Pause | None:
    """What pauses the object with these annotations; the strongest, if there are several."""
    if Annotation.LOCK in annotations:
        return Pause(Kind.LOCK, Annotation.LOCK, annotations[Annotation.LOCK])
    for prefix in V1:
        said = annotations.get(prefix + _LOCKED)
        if said is not None and said.lower() not in _OFF:
            words, user = annotations.get(f"{prefix}locked_msg", ""), annotations.get(f"{prefix}locked_user", "")
            return Pause(Kind.LOCK, prefix + _LOCKED, f"{words} ({user})".strip() if user else words)
    for prefix in V1:
        said = annotations.get(prefix + _IGNORE)
        if said is not None and said.lower() not in _OFF:
            return Pause(Kind.IGNORE, prefix + _IGNORE, "")
    if Annotation.HOLD in annotations:
        return Pause(Kind.HOLD, Annotation.HOLD, annotations[Annotation.HOLD])
    return None


class LetGo(NamedTuple):
    """What `trimtab.dev/unhold` says: an image may be written again, whoever undid it. Written `IMAGE [after COMMIT]`.

    With `after`, what is undone later than in that commit counts again; without it, nothing does while it is there.
    """

    image: str
    after: str = ""

    @classmethod
    def parse(cls, text: str) -> "LetGo":
        """Read an annotation. Raises ValueError."""
        match text.split():
            case [image]:
                return cls(image)
            case [image, "after", commit] if _COMMIT.fullmatch(commit):
                return cls(image, commit)
        raise ValueError(f"{text[:_SHOWN]!r} is neither IMAGE:TAG nor `IMAGE:TAG after COMMIT`")

    def __str__(self) -> str:
        return f"{self.image} after {self.after}" if self.after else self.image


def words_of(reason: str, user: str) -> str:
    """What a hold or a lock says: why, and who. Raises ValueError without a reason."""
    reason = " ".join(reason.split())
    if not reason:
        raise ValueError("give the reason: -m 'waiting for the migration'")
    return f"{reason} ({user})" if user else reason


def unlocking() -> tuple[str, ...]:
    """The annotations that have to go for an object to be unlocked: also those that Flux v1 wrote."""
    return (Annotation.LOCK, *(prefix + name for prefix in V1 for name in (_LOCKED, "locked_msg", "locked_user")))


def _texts(node: Node | None) -> dict[str, str]:
    found: dict[str, str] = {}
    if not isinstance(node, Mapping):
        return found
    merged = followed(node.get("<<"))
    for item in merged.items if isinstance(merged, Sequence) else (merged,):
        shared = followed(item)
        for key, value in shared.values.items() if isinstance(shared, Mapping) else ():
            if isinstance(said := followed(value), Scalar):
                found.setdefault(key, said.value)
    for key, value in node.values.items():
        if isinstance(said := followed(value), Scalar) and key != "<<":
            found[key] = said.value
    return found
