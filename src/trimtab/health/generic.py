"""The rule for kinds we know nothing about: what conditions, phases and counters mean by custom.

Two conventions are followed to the letter where an object follows them: kstatus (`observedGeneration`, `Reconciling`,
`Stalled`, `Ready`) and the API conventions on conditions. The rest reads words, as a person would. In doubt an object
is at work rather than broken: a wrong Failed ends a wait that would have been answered.
"""

import re
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
from trimtab.health.words import (
    broken_type,
    done_type,
    ends_done,
    negated,
    phase_state,
    tone,
    wished_type,
    words,
)
from trimtab.manifests.refs import Body

_SUMMARIES: Final = ("Ready", "Healthy")
"""Types that speak for the whole object; where one of them is True, the other conditions are not asked."""
_TROUBLE: Final = ("failureMessage", "errorMessage", "error", "lastError", "failureReason")
_STATE_FIELDS: Final = frozenset({"phase", "state", "status", "health"})
_NOT_THE_STATE: Final = frozenset({"desired", "previous", "last", "target", "old", "expected", "initial"})
_ERROR: Final = re.compile(r"error\b", re.IGNORECASE)
_FRACTION: Final = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_COUNTED: Final = (("replicas", "Replicas"), ("members", "Members"), ("nodes", "Nodes"))
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
        or (_too_early(body) if fresh else None)
        or Verdict(State.Current)
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


def _too_early(body: Body) -> Verdict | None:
    """What a status lacks that its controller may write any moment: all of it, or a condition that can be read."""
    status = section(body, "status")
    if not any(status.values()):
        return Verdict(State.InProgress, "no status yet")
    told = conditions(status)
    if told or status.get("conditions") == []:
        if any(says(item) == "True" and done_type(words(item["type"])) for item in told):
            return None
        if told and all(says(item) == "False" and broken_type(words(item["type"])) for item in told):
            return None
        return Verdict(State.InProgress, "no condition says yet whether it is ready")
    return None


def _halted(body: Body) -> Verdict | None:
    for field in ("suspend", "suspended", "paused"):
        if section(body, "spec").get(field) is True:
            return Verdict(State.Suspended, f"spec.{field} is true")
    if section(body, "spec", "updateStrategy", "rollingUpdate").get("paused") is True:
        return Verdict(State.Suspended, "spec.updateStrategy.rollingUpdate.paused is true")
    for name, value in section(body, "metadata", "annotations").items():
        if str(name).endswith("/paused") and str(value).lower() == "true":
            return Verdict(State.Suspended, f"the annotation {name} says so")
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
            refused = condition(body, "Synced")
            if refused is not None and says(refused) == "False":
                return Verdict(_tone(refused, State.Failed), _shown(refused))
            return Verdict(_tone(summary) if says(summary) == "False" else State.InProgress, _shown(summary))
        agreed = Verdict(State.Current, str(summary.get("message") or ""))
        return _behind(body, summary) or _despite(body, found, ready=True) or agreed
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
    if found == ["progressing"]:
        return _of_progress(item)
    if not wished_type(found):
        return None
    if negated(found):
        return Verdict(_tone(item), _shown(item)) if says(item) == "True" else None
    if says(item) == "True":
        return _behind(body, item) or Verdict(State.Current)
    return Verdict(_tone(item) if says(item) == "False" else State.InProgress, _shown(item))


def _of_progress(item: Condition) -> Verdict | None:
    """A rollout as Deployments tell of it: True also once it is over, and then the reason says what has come of it."""
    reason = str(item.get("reason") or "")
    if says(item) == "False":
        state = State.Current if ends_done(words(reason)) else tone(reason, default=State.Current)
        return Verdict(state, _shown(item)) if state is not State.Current else None
    if says(item) == "True" and (not reason or ends_done(words(reason))):
        return None  # over, or nobody knows
    return Verdict(State.InProgress, _shown(item))


def _despite(body: Body, found: list[Condition], *, ready: bool = False) -> Verdict | None:
    """What still speaks against an object that says it is ready."""
    for item in found:
        if item["type"] == "Synced" and says(item) == "False":
            return Verdict(_tone(item, State.Failed), _shown(item))
    phase = _by_phase(body)
    if phase is None or phase.state is State.Current:
        return None
    # What is ready and tells of a failure may well tell of another's: a check that failed is still reported.
    return phase._replace(state=State.InProgress) if phase.state is State.Failed and ready else phase


def _tone(item: Condition, default: State = State.InProgress) -> State:
    errors = sections(item, "errors")
    if errors and all(words(str(each.get("reason") or ""))[-2:] == ["not", "found"] for each in errors):
        return State.InProgress  # what it refers to may come, as in a set that is applied out of order
    message = str(item.get("message") or "")
    if _ERROR.match(message):
        return State.Failed
    return tone(str(item.get("reason") or ""), message, default=default)


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
    """What is counted, in the status and in its parts, where nothing else was said."""
    status, spec = section(body, "status"), section(body, "spec")
    wanted: Any = spec.get("replicas", status.get("replicas"))
    for field in ("updatedReplicas", "readyReplicas", "availableReplicas"):
        have: Any = status.get(field)
        if is_number(wanted) and is_number(have) and have < wanted:
            return Verdict(State.InProgress, f"{have} of {wanted} replicas {field.removesuffix('Replicas')}")
    return next(filter(None, (_counted(place) for place in _places(status) if place is not status)), None)


def _counted(place: Body) -> Verdict | None:
    """What one part of a status counts: `members` and `readyMembers`, or a text such as `1/3`."""
    for total, suffix in _COUNTED:
        wanted, have = place.get(total), place.get(f"ready{suffix}")
        if is_number(wanted) and is_number(have) and have < wanted:
            return Verdict(State.InProgress, f"{have} of {wanted} {total} ready")
    for field, value in place.items():
        found = _FRACTION.fullmatch(value) if isinstance(value, str) else None
        if found and words(field)[-1:] == ["replicas"] and int(found[1]) < int(found[2]):
            return Verdict(State.InProgress, f"{field} is {value}")
    return None
