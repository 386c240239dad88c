"""The rule for kinds we know nothing about: what conditions, phases and counters mean by custom.

Two conventions are followed to the letter where an object follows them: kstatus (`observedGeneration`, `Reconciling`,
`Stalled`, `Ready`) and the API conventions on conditions. The rest reads words, as a person would. In doubt an object
is at work rather than broken: a wrong Failed ends a wait that would have been answered.
"""

from collections.abc import Iterator
from typing import Any, Final

from trimtab.health.shape import (
    Condition,
    condition,
    conditions,
    explained,
    is_number,
    says,
    section,
    sections,
)
from trimtab.health.verdict import State, Verdict
from trimtab.health.words import broken_type, negated, phase_state, tone, wished_type, words
from trimtab.manifests.refs import Body

_SUMMARIES: Final = ("Ready", "Healthy")
"""Types that speak for the whole object; where one of them is True, the other conditions are not asked."""
_TROUBLE: Final = ("failureMessage", "errorMessage", "error", "lastError", "failureReason")
_STATE_FIELDS: Final = frozenset({"phase", "state", "status", "health"})
_NOT_THE_STATE: Final = frozenset({"desired", "previous", "last", "target", "old", "expected", "initial"})
_GRAVITY: Final = {State.Current: 0, State.Suspended: 1, State.InProgress: 2, State.Failed: 3, State.Unknown: 3}


def assess_generic(body: Body, *, fresh: bool = False) -> Verdict:
    """The verdict on an object of any kind by its looks; deletion is the caller's to have seen.

    An object whose status says nothing is current: many kinds have none. `fresh` is for one that has only just been
    seen, whose controller may not have had the time to write one.
    """
    return (
        _halted(body)
        or behind(body)
        or custom(body)
        or _by_conditions(body)
        or _by_phase(body)
        or _by_counters(body)
        or (Verdict(State.InProgress, "no status yet") if fresh and _silent(body) else Verdict(State.Current))
    )


def behind(body: Body) -> Verdict | None:
    """In progress, where the controller has not seen the newest spec yet. A hash or a missing number says nothing."""
    return _behind(body, section(body, "status"))


def custom(body: Body) -> Verdict | None:
    """What Reconciling and Stalled say (kstatus), where an object has them."""
    for type_, state in (("Stalled", State.Failed), ("Reconciling", State.InProgress)):
        item = condition(body, type_)
        if item is not None and says(item) == "True":
            return Verdict(state, explained(item))
    return None


def _behind(body: Body, part: Body) -> Verdict | None:
    generation, observed = section(body, "metadata").get("generation"), part.get("observedGeneration")
    if is_number(generation) and is_number(observed) and observed < generation:
        return Verdict(State.InProgress, f"generation {generation} not observed yet, at {observed}")
    return None


def _silent(body: Body) -> bool:
    """Whether nothing was written into the status yet, or only empty lists and zeros."""
    return not any(section(body, "status").values())


def _halted(body: Body) -> Verdict | None:
    for field in ("suspend", "suspended", "paused"):
        if section(body, "spec").get(field) is True:
            return Verdict(State.Suspended, f"spec.{field} is true")
    item = condition(body, "Paused") or condition(body, "Suspended")
    if item is not None and says(item) == "True":
        return Verdict(State.Suspended, explained(item))
    return None


def _by_conditions(body: Body) -> Verdict | None:
    found = list(_all_conditions(section(body, "status")))
    for item in found:
        if says(item) == "True" and broken_type(words(item["type"])):
            return Verdict(State.Failed, _shown(item))
    summary = next((item for type_ in _SUMMARIES for item in found if item["type"] == type_), None)
    if summary is not None:
        if says(summary) != "True":
            return Verdict(_tone(summary) if says(summary) == "False" else State.InProgress, _shown(summary))
        agreed = Verdict(State.Current, str(summary.get("message") or ""))
        return _behind(body, summary) or _despite(body, found) or agreed
    worst = _gravest(_of_part(body, item) for item in found)
    if worst is None or worst.state is not State.Current:
        return worst
    return _despite(body, found) or _by_counters(body) or worst


def _all_conditions(status: Body) -> Iterator[Condition]:
    """The conditions of the object, and those it reports per parent, listener or ingress."""
    yield from conditions(status)
    for field in status:
        if field != "conditions":
            for part in sections(status, field):
                yield from conditions(part)


def _of_part(body: Body, item: Condition) -> Verdict | None:
    """What one condition says, if its type is one whose meaning can be read."""
    found = words(item["type"])
    if not wished_type(found):
        return None
    if negated(found):
        return Verdict(_tone(item), _shown(item)) if says(item) == "True" else None
    if says(item) == "True":
        return _behind(body, item) or Verdict(State.Current)
    return Verdict(_tone(item) if says(item) == "False" else State.InProgress, _shown(item))


def _despite(body: Body, found: list[Condition]) -> Verdict | None:
    """What still speaks against an object that says it is ready."""
    for item in found:
        if item["type"] == "Synced" and says(item) == "False":
            return Verdict(_tone(item, State.Failed), _shown(item))
    phase = _by_phase(body)
    return phase if phase is not None and phase.state is not State.Current else None


def _tone(item: Condition, default: State = State.InProgress) -> State:
    return tone(str(item.get("reason") or ""), str(item.get("message") or ""), default=default)


def _shown(item: Condition) -> str:
    return f"{item['type']}: {explained(item)}"


def _gravest(verdicts: Iterator[Verdict | None]) -> Verdict | None:
    """The gravest verdict, the first of several; None where there are none."""
    return max((each for each in verdicts if each), key=lambda each: _GRAVITY.get(each.state, 3), default=None)


def _by_phase(body: Body) -> Verdict | None:
    """Phases and states, of the object and of what its status lists by name."""
    status = section(body, "status")
    for field in _TROUBLE:
        if status.get(field):
            return Verdict(State.Failed, f"{field}: {_sentence(status[field])}")
    worst = _gravest(_phase(place, field) for place in _places(status) for field in place)
    if worst is not None:
        return worst
    for field, state in (("healthy", State.Failed), ("ready", State.InProgress), ("readyToUse", State.InProgress)):
        if status.get(field) is False:
            return Verdict(state, f"{field} is false")
    return None


def _places(status: Body) -> Iterator[Body]:
    """The status, the maps in it, the maps in those, and the items of its lists; conditions speak for themselves."""
    yield status
    for field, value in status.items():
        if isinstance(value, dict):
            yield value
            yield from (inner for inner in value.values() if isinstance(inner, dict))
        else:
            yield from (item for item in sections(status, field) if "type" not in item)


def _phase(place: Body, field: str) -> Verdict | None:
    text, found = place[field], words(field)
    if not isinstance(text, str) or not found or found[-1] not in _STATE_FIELDS or found[0] in _NOT_THE_STATE:
        return None
    state = phase_state(text)
    if state is None:
        return None
    more = place.get("message") or place.get("reason") or place.get("description")
    return Verdict(state, f"{field} is {text}" + (f": {more}" if isinstance(more, str) else ""))


def _sentence(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("message") or value.get("reason") or ", ".join(map(str, value))
    return str(value)


def _by_counters(body: Body) -> Verdict | None:
    """Replicas, where nothing else was said."""
    status, spec = section(body, "status"), section(body, "spec")
    wanted: Any = spec.get("replicas", status.get("replicas"))
    for field in ("updatedReplicas", "readyReplicas", "availableReplicas"):
        have: Any = status.get(field)
        if is_number(wanted) and is_number(have) and have < wanted:
            return Verdict(State.InProgress, f"{have} of {wanted} replicas {field.removesuffix('Replicas')}")
    return None
