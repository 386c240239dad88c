"""What the words in conditions and phases mean by custom."""

import re
from typing import Final

from trimtab.health.verdict import State

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_HALTED: Final = re.compile(r"^(paused|suspended|hibernat)")
_BAD: Final = re.compile(
    r"^(error|err|fail|invalid|denied|unauthorized|forbidden|degraded|unhealthy|crash|backoff|reject|refuse|conflict|"
    r"exceeded|broken|incorrect|unschedulable|lost|aborted|abort|cancel|red|terminal|timeout|unable|cannot|stalled|"
    r"unsupported|disabled|warning|missing|mismatch|unexpected|decrypt|problem|expired|incompatible)"
)
_BUSY: Final = re.compile(
    r"^(progress|pending|creating|updating|wait|initializ(?!ed)|provision(?!ed)|reconcil(?!ed)|starting|scaling|upgrad(?!ed)|deploying|"
    r"installing|restart|schedul|queue|stopping|deleting|terminat|import|migrat(?!ed)|clon(?!ed)|apply|applying|configuring|"
    r"rolling|rollout|setting|setup|preparing|building|yellow|unknown|syncing|processing|new|partial|unavailable|"
    r"unready|draining|downloading|bootstrap|binding|requested|submitted|modifying)"
)
_DONE: Final = re.compile(
    r"^(ready|running|run|active|available|healthy|bound|succe|complete|deployed|ok|green|created|exist|established|"
    r"synced|installed|valid|accepted|open|done|finished|enabled|online|up|compliant|programmed|admitted|connected|"
    r"provisioned|approved|issued|live|attached|passed|normal|registered|released|applied|at|updated|listening|initialized|reconciled|upgraded|migrated|cloned)"
)
# A type of a condition is read more narrowly than a sentence: `Warning: True` breaks nothing.
_BROKEN_TYPE: Final = re.compile(
    r"^(error|errors|err|fail|failed|failure|invalid|degraded|unhealthy|crash|rejected|aborted|broken|stalled|conflicted)$"
)
_WISHED_TYPE: Final = re.compile(
    r"^(ready|healthy|available|succeeded|success|successful|complete|completed|synced|synchronized|established|"
    r"programmed|accepted|admitted|deployed|released|reconciled|reconcilied|valid|compliant|installed|applied|bound|"
    r"active|running|approved|refs|discoverable|advertised|adopted|provisioned|configured|created|conditions|up)$"
)
_NEGATION: Final = frozenset({"not", "no", "non", "in", "un"})


def words(text: str) -> list[str]:
    """`text` in lower-case words, CamelCase taken apart."""
    return [word.lower() for word in _WORDS.findall(text)]


def negated(found: list[str]) -> bool:
    """Whether they say that something is not so: `NotReady`, `NonCompliant`."""
    return len(found) > 1 and found[0] in _NEGATION


def broken_type(found: list[str]) -> bool:
    """`Failed`, `Degraded`, `FetchFailed`, `InvalidSpec`: a type of condition whose True is bad."""
    return bool(found) and not negated(found) and bool(_BROKEN_TYPE.match(found[-1]) or _BROKEN_TYPE.match(found[0]))


def wished_type(found: list[str]) -> bool:
    """`Available`, `AllReplicasReady`, `ResolvedRefs`: a type that says that a part is, or is not, as wished."""
    return bool(found) and bool(_WISHED_TYPE.match(found[-1]))


def done_type(found: list[str]) -> bool:
    """A type whose True says that all is done: `Completed`, `Synced`, as against a first step such as `Created`."""
    return wished_type(found) and not negated(found)


def ends_done(found: list[str]) -> bool:
    """Whether the last word of a reason says that something is over: `NewReplicaSetAvailable`, `Completed`."""
    return bool(found) and bool(_DONE.match(found[-1])) and found[-1] != "updated"


def tone(*texts: str, default: State = State.InProgress) -> State:
    """Whether what is not as wished has failed or is being worked on; the first text that tells decides."""
    for text in texts:
        found = words(text)
        for pattern, state in ((_HALTED, State.Suspended), (_BAD, State.Failed), (_BUSY, State.InProgress)):
            if any(pattern.match(word) for word in found):
                return state
    return default


def phase_state(text: str) -> State | None:
    """What a phase means, or None for words nobody knows."""
    found = words(text)
    if found == ["unknown"]:
        return State.Unknown
    if found == ["missing"]:
        return None  # of a part: there may be none to have
    for pattern, state in (
        (_BAD, State.Failed),
        (_HALTED, State.Suspended),
        (_BUSY, State.InProgress),
        (_DONE, State.Current),
    ):
        if any(pattern.match(word) for word in found):
            return State.InProgress if state is State.Current and negated(found) else state
    return None
