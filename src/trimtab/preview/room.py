"""Whether there is room for the Pods of a change: what quotas leave, and what the largest node has.

An estimate, by the requests of Pods times their number. What replaces old Pods needs more for a while, and what is
scaled by others may need more at any time.
"""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final, NamedTuple, TypeAlias

from trimtab.diff.declared import quantity
from trimtab.manifests.refs import Body, Ref
from trimtab.preview.needs import pod_of
from trimtab.preview.verdict import Judgement, Verdict

Amounts: TypeAlias = Mapping[str, Fraction]
"""Resource, as a quota names it (`requests.cpu`, `pods`), → how much of it."""

_PLAIN: Final = {"cpu": "requests.cpu", "memory": "requests.memory"}
"""Names of quotas for which there is a longer one."""
_WORTH: Final = ("requests.", "limits.")
_GI: Final = 1 << 30
_NOTHING: Final = Fraction(0)


class Defaults(NamedTuple):
    """What a namespace gives to containers that do not say: limits, and requests."""

    limits: Mapping[str, Any] = {}
    requests: Mapping[str, Any] = {}


class Growth(NamedTuple):
    """By how much an object would need more; less than nothing where it shrinks."""

    ref: Ref
    amounts: Amounts
    silent: frozenset[str]  # resources that a container of it says nothing of


def defaults_of(limit_ranges: Iterable[Body]) -> Defaults:
    """What the LimitRanges of a namespace say of containers that do not."""
    limits: dict[str, Any] = {}
    requests: dict[str, Any] = {}
    for body in limit_ranges:
        for item in _list(_map(body.get("spec")).get("limits")):
            if _map(item).get("type") == "Container":
                limits |= _map(item.get("default"))
                requests |= _map(item.get("defaultRequest"))
    return Defaults(limits, {**limits, **requests})


def growth(ref: Ref, live: Body | None, after: Body | None, defaults: Defaults) -> Growth | None:
    """What an object needs more after the change; None for what makes no Pods, or as many as others say."""
    new, old = _asked(after, defaults), _asked(live, defaults)
    if new is None and old is None:
        return None
    amounts = dict(new.amounts) if new else {}
    for name, amount in (old.amounts if old else {}).items():
        amounts[name] = amounts.get(name, _NOTHING) - amount
    return Growth(ref, {name: amount for name, amount in amounts.items() if amount}, new.silent if new else frozenset())


def exceeded(quotas: Iterable[Body], grown: Sequence[Growth]) -> list[tuple[Ref, Judgement]]:
    """What the quotas of a namespace leave no room for: said once for each object that wants more of it.

    A quota with a scope counts only some Pods, and is not judged.
    """
    found = []
    for quota in quotas:
        spec, status = _map(quota.get("spec")), _map(quota.get("status"))
        if spec.get("scopes") or spec.get("scopeSelector"):
            continue
        name = str(_map(quota.get("metadata")).get("name"))
        used = {_PLAIN.get(key, key): quantity(value) for key, value in _map(status.get("used")).items()}
        for key, value in (_map(status.get("hard")) or _map(spec.get("hard"))).items():
            resource, hard = _PLAIN.get(key, key), quantity(value)
            if hard is None:
                continue
            left = hard - (used.get(resource) or 0)
            more = sum((one.amounts.get(resource, _NOTHING) for one in grown), _NOTHING)
            for one in grown:
                if resource in one.silent and resource.startswith(_WORTH):
                    words = f"the quota {name} wants every container to say {resource}, and one of its does not"
                    found.append((one.ref, Judgement(Verdict.QUOTA_EXCEEDED, words, policy=name)))
                elif more > left and one.amounts.get(resource, 0) > 0:
                    asked = _shown(one.amounts[resource], resource)
                    words = (
                        f"{asked} more {resource}, and the quota {name} has {_shown(max(left, _NOTHING), resource)} "
                        f"left of {_shown(hard, resource)}"
                    )
                    if more != one.amounts[resource]:
                        words += f", for {_shown(more, resource)} that all changes of the namespace want"
                    found.append((one.ref, Judgement(Verdict.QUOTA_EXCEEDED, words, policy=name)))
    return found


def too_large(after: Body, nodes: Sequence[Body], defaults: Defaults) -> list[Judgement]:
    """Whether one Pod of an object is more than any node of the cluster has."""
    pod = pod_of(after)
    if pod is None or not nodes:
        return []
    asked, _ = _of_pod(pod.spec, defaults)
    found = []
    for resource in ("cpu", "memory"):
        wanted = asked.get(f"requests.{resource}", _NOTHING)
        has = [quantity(_map(_map(node.get("status")).get("allocatable")).get(resource)) for node in nodes]
        largest = max((amount for amount in has if amount is not None), default=None)
        if largest is not None and wanted > largest:
            name = f"requests.{resource}"
            words = f"a Pod of it wants {_shown(wanted, name)} {resource}, and the largest node has "
            found.append(Judgement(Verdict.CAPACITY, f"{words}{_shown(largest, name)}"))
    return found


class _Asked(NamedTuple):
    amounts: dict[str, Fraction]
    silent: frozenset[str]


def _asked(body: Body | None, defaults: Defaults) -> _Asked | None:
    pod = pod_of(body) if body is not None else None
    if body is None or pod is None:
        return None
    number = _number(body)
    if number is None:
        return None
    one, silent = _of_pod(pod.spec, defaults)
    amounts = {name: amount * number for name, amount in one.items()}
    return _Asked(
        {**amounts, "pods": Fraction(number), "count/pods": Fraction(number)}, silent if number else frozenset()
    )


def _number(body: Body) -> int | None:
    """How many Pods an object makes at the same time; None where others decide."""
    spec = _map(body.get("spec"))
    match body.get("kind"):
        case "Pod":
            return 1
        case "Deployment" | "StatefulSet" | "ReplicaSet" | "ReplicationController":
            replicas = spec.get("replicas", 1)
        case "Job":
            replicas = 0 if spec.get("suspend") is True else spec.get("parallelism", 1)
        case _:
            return None
    return replicas if isinstance(replicas, int) and not isinstance(replicas, bool) and replicas >= 0 else None


def _of_pod(spec: Mapping[str, Any], defaults: Defaults) -> tuple[dict[str, Fraction], frozenset[str]]:
    """What a Pod asks for, and what one of its containers says nothing of: containers side by side, initial ones one
    after the other."""
    together: dict[str, Fraction] = {}
    first: dict[str, Fraction] = {}
    silent: set[str] = set()
    for field in ("containers", "initContainers"):
        for container in _list(spec.get(field)):
            asked = _of_container(_map(container), defaults)
            if field == "containers" or _map(container).get("restartPolicy") == "Always":
                together = {
                    name: together.get(name, _NOTHING) + asked.get(name, _NOTHING) for name in {**together, **asked}
                }
            else:
                first = {name: max(first.get(name, _NOTHING), asked.get(name, _NOTHING)) for name in {**first, **asked}}
            wanted = {f"{side}.{resource}" for side in ("requests", "limits") for resource in ("cpu", "memory")}
            silent |= wanted - asked.keys()
    total = {name: max(together.get(name, _NOTHING), first.get(name, _NOTHING)) for name in {*together, *first}}
    for resource, value in _map(spec.get("overhead")).items():
        if (amount := quantity(value)) is not None:
            total[f"requests.{resource}"] = total.get(f"requests.{resource}", _NOTHING) + amount
    return total, frozenset(silent)


def _of_container(container: Mapping[str, Any], defaults: Defaults) -> dict[str, Fraction]:
    resources = _map(container.get("resources"))
    own = _map(resources.get("limits"))
    limits = {**defaults.limits, **own}
    # a container's own limit is its request before the namespace's default request is
    requests = {**defaults.requests, **own, **_map(resources.get("requests"))}
    found = {}
    for side, values in (("requests", requests), ("limits", limits)):
        for resource, value in values.items():
            if (amount := quantity(value)) is not None:
                found[f"{side}.{resource}"] = amount
    return found


def _shown(amount: Fraction, resource: str) -> str:
    if resource.endswith(("memory", "storage")):
        return f"{float(amount / _GI):.4g}Gi"
    return f"{float(amount):.4g}"


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
