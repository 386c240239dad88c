"""Which Alerts an event is for, and what they make of its metadata.

A tenant hears of its own objects. What happens in another namespace is told only where the installation follows
references across namespaces: whoever writes the Alert could otherwise read what other people's objects say.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from trimtab.api.names import EVENT_PREFIX
from trimtab.api.notification import EVERY, Alert, EventSource
from trimtab.images.filters import Expression
from trimtab.notify.event import LONGEST_KEY, LONGEST_VALUE, Event, clean

OWN_SUMMARY: Final = "summary"
_KEPT: Final = frozenset({"token", "repeats", "topic"})
"""Metadata that is for the way here and told to nobody."""


class Rule(NamedTuple):
    """An Alert with its expressions compiled; `problems` is what is wrong with it."""

    alert: Alert
    including: tuple[Expression, ...]
    excluding: tuple[Expression, ...]
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, alert: Alert) -> "Rule":
        """Compile it once. An expression that makes no sense makes the Alert tell nothing, and say so."""
        problems: list[str] = []
        compiled: dict[str, tuple[Expression, ...]] = {}
        for name, patterns in (
            ("inclusionList", alert.spec.inclusion_list),
            ("exclusionList", alert.spec.exclusion_list),
        ):
            found = []
            for number, pattern in enumerate(patterns):
                try:
                    found.append(Expression(pattern))
                except ValueError as problem:
                    problems.append(f"spec.{name}[{number}]: {problem}")
            compiled[name] = tuple(found)
        return cls(alert, compiled["inclusionList"], compiled["exclusionList"], tuple(problems))


class Subject(NamedTuple):
    """What is known of the object that an event is about. Labels are None where they could not be read."""

    labels: Mapping[str, str] | None
    annotations: Mapping[str, str]


class Told(NamedTuple):
    """The metadata as they are told, the summary, and what overrode something else."""

    fields: dict[str, str]
    summary: str
    overridden: tuple[str, ...]


def admits(rule: Rule, event: Event, subject: Subject, *, across: bool) -> str:
    """Why the Alert does not tell of the event; empty if it does. `across`: references across namespaces are followed.

    `across` is about the pair of namespaces at hand.
    """
    alert, involved = rule.alert, event.involved_object
    if alert.spec.suspend:
        return "the Alert is suspended"
    if rule.problems:
        return f"the Alert makes no sense: {rule.problems[0]}"
    if event.severity == "trace":
        return "it is a trace"
    if alert.spec.event_severity == "error" and not event.error:
        return "the Alert tells errors only"
    own = alert.metadata.namespace
    if involved.namespace != own and not across:
        return f"it is of namespace {involved.namespace}, which an Alert in {own} may not hear of"
    if not any(_selects(source, own, event, subject) for source in alert.spec.event_sources):
        return "none of spec.eventSources names the object"
    if rule.including and not any(one.find(event.message) is not None for one in rule.including):
        return "nothing of spec.inclusionList is found in the message"
    if any(one.find(event.message) is not None for one in rule.excluding):
        return "spec.exclusionList excludes the message"
    return ""


def _selects(source: EventSource, own: str, event: Event, subject: Subject) -> bool:
    involved = event.involved_object
    if not _names(source, own, involved.kind, involved.namespace, involved.name):
        return False
    if not source.match_labels:
        return True
    # Labels that could not be read select nothing: a tenant's filter must not open because a server is slow.
    return subject.labels is not None and source.match_labels.items() <= subject.labels.items()


def _names(source: EventSource, own: str, kind: str, namespace: str, name: str) -> bool:
    return source.kind == kind and (source.namespace or own) == namespace and source.name in (EVERY, name)


def told(alert: Alert, event: Event, annotations: Mapping[str, str]) -> Told:
    """The metadata of an event: annotations of the object, under those of the Alert, under those of the controller."""
    layers: list[tuple[str, dict[str, str]]] = [
        ("an annotation of the object", _annotated(event.metadata) | _annotated(annotations)),
        ("spec.eventMetadata of the Alert", dict(alert.spec.event_metadata)),
        ("spec.summary of the Alert", {OWN_SUMMARY: alert.spec.summary} if alert.spec.summary else {}),
        ("the controller", own_metadata(event)),
    ]
    fields: dict[str, str] = {}
    source: dict[str, str] = {}
    overridden = []
    for name, layer in layers:
        for key, value in layer.items():
            key = clean(key[:LONGEST_KEY], LONGEST_KEY)
            value = clean(value, LONGEST_VALUE)
            if key in fields and fields[key] != value:
                overridden.append(f"{key} of {source[key]} is overridden by that of {name}")
            fields[key], source[key] = value, name
    summary = fields.pop(OWN_SUMMARY, "")
    return Told(fields, summary, tuple(overridden))


def own_metadata(event: Event) -> dict[str, str]:
    """The metadata of the controller, without the prefix of its group; what has another prefix is somebody else's."""
    prefix = f"{event.involved_object.group}/"
    found = {}
    for key, value in event.metadata.items():
        bare = key.removeprefix(prefix) if len(prefix) > 1 else key
        if "/" not in bare and bare not in _KEPT:
            found[bare] = value
    return found


def _annotated(annotations: Mapping[str, str]) -> dict[str, str]:
    return {
        key.removeprefix(EVENT_PREFIX): value
        for key, value in annotations.items()
        if key.startswith(EVENT_PREFIX) and len(key) > len(EVENT_PREFIX)
    }
