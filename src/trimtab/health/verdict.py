"""What an object's own status says about it, in one word and one sentence."""

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """How an object is. Argo CD's words map: Healthy Current, Progressing InProgress, Degraded Failed."""

    Current = "Current"
    InProgress = "InProgress"
    Failed = "Failed"
    Suspended = "Suspended"
    Terminating = "Terminating"
    NotFound = "NotFound"
    Unknown = "Unknown"


class Verdict(NamedTuple):
    """A state and what is waited for, or what is wrong; of a good one the message may be empty."""

    state: State
    message: str = ""

    @property
    def good(self) -> bool:
        """Satisfies a wait."""
        return self.state in (State.Current, State.Suspended)

    @property
    def bad(self) -> bool:
        """Will not get well without a change."""
        return self.state is State.Failed
