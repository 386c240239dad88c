"""What became of a write: a closed union."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Written:
    """The commit is on the branch. `attempts` counts the races, `notes` say what of the push did not go well."""

    commit: str
    parent: str
    branch: str
    paths: tuple[str, ...]
    attempts: int = 1
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Already:
    """A commit that makes this change is among the last of the branch, whose head is `head`."""

    commit: str
    head: str
    branch: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """At `head` the edit changes nothing."""

    head: str
    branch: str


@dataclass(frozen=True, slots=True)
class Planned:
    """What would be written on `parent`; nothing was. `diff` is for people, and cut where it is long."""

    parent: str
    branch: str
    paths: tuple[str, ...]
    message: str
    diff: str


Outcome: TypeAlias = Written | Already | Nothing | Planned
