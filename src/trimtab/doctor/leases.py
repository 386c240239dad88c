"""Who drives the objects: the holders of the Leases that Flux's controllers and ours share."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from trimtab.api import gvk, names, shards
from trimtab.doctor.contract import Answer, Patient, note, ok, problem, unknown
from trimtab.kube.errors import StaleGroup, UnknownKind
from trimtab.manifests import selectors
from trimtab.manifests.refs import Body, Gvk
from trimtab.runtime.lease import LEASES

_AHEAD_S: Final = 5.0
_DURATION_S: Final = 15
_DRIVEN: Final[dict[str, tuple[str, Gvk]]] = {
    names.SOURCE_LEASE: ("source", gvk.GIT_REPOSITORY),
    names.KUSTOMIZE_LEASE: ("kustomize", gvk.KUSTOMIZATION),
    names.HELM_LEASE: ("helm", gvk.HELM_RELEASE),
    names.NOTIFICATION_LEASE: ("notification", gvk.RECEIVER),
    names.WATCHER_LEASE: ("source-watcher", gvk.ARTIFACT_GENERATOR),
}


async def leases(patient: Patient) -> list[Answer]:
    """Who holds each Lease, whether it is kept up, and whether anybody does what has to be done."""
    known = {body["metadata"]["name"]: body for body in await patient.all(LEASES.gvk, patient.namespace)}
    found: list[Answer] = []
    for name, (controller, kind) in _DRIVEN.items():
        shares = {other: lease for other, lease in known.items() if other.startswith(f"{name}-")}
        if any(_spec(lease).get("holderIdentity") for lease in shares.values()):
            found += await _shared(patient, name, shares)
            if (_spec(known.get(name)).get("holderIdentity") or "") in ("", shards.TOGETHER):
                continue
        holder = _spec(known.get(name)).get("holderIdentity") or ""
        if holder:
            found.append(_held(name, controller, holder, _spec(known[name]), await patient.now()))
            continue
        count = await _count(patient, kind)
        if count:
            words = f"nobody runs the controller {controller}, and there are {count} objects of {kind.kind}"
            found.append(problem(words, f"start it: `trimtab run --controllers {controller}`, or the Deployment"))
        else:
            found.append(note(f"nobody runs the controller {controller}, and nothing asks for it"))
    return found


async def _shared(patient: Patient, name: str, shares: dict[str, Body]) -> list[Answer]:
    """Who looks after which shard, and whether there are objects of a shard that nobody looks after."""
    controller, kind = _DRIVEN[name]
    now = await patient.now()
    found, serving, selecting = list[Answer](), set[str](), list[str]()
    for lease, body in sorted(shares.items()):
        holder = _spec(body).get("holderIdentity") or ""
        selector = (body["metadata"].get("annotations") or {}).get(shards.SELECTOR, "")
        if holder:
            found.append(_held(lease, f"{controller} of {selector or lease}", holder, _spec(body), now))
            serving.add(lease)
            if selector:
                selecting.append(selector)
    values: Counter[str | None] = Counter()
    for body in await _objects(patient, kind):
        values[(body["metadata"].get("labels") or {}).get(names.SHARD_LABEL)] += 1
    for value, count in sorted(values.items(), key=lambda one: one[0] or ""):
        selector = shards.REST if value is None else shards.selector_of(value)
        labels = {} if value is None else {names.SHARD_LABEL: value}
        named = shards.lease_name(name, selector) in serving
        if not named and not any(_selects(one, labels) for one in selecting):
            which = "objects without a shard" if value is None else f"the shard {value}"
            words = (
                f"no process serves {which} as controller {controller}: {count} objects of {kind.kind} are left alone"
            )
            found.append(
                problem(words, f"start it: `trimtab run --watch-label-selector='{selector}'`, or label them anew")
            )
    return found


def _selects(selector: str, labels: dict[str, str]) -> bool:
    try:
        return selectors.parse(selector)(labels)
    except ValueError:
        return False


def _spec(lease: Body | None) -> dict[str, Any]:
    return (lease or {}).get("spec") or {}


async def _count(patient: Patient, kind: Gvk) -> int:
    return len(await _objects(patient, kind))


async def _objects(patient: Patient, kind: Gvk) -> Sequence[Body]:
    try:
        return await patient.all(kind)
    except (UnknownKind, StaleGroup):
        return ()


def _held(name: str, controller: str, holder: str, spec: dict[str, Any], now: datetime) -> Answer:
    who = f"{'Trimtab' if is_ours(holder) else 'Flux'} ({holder})"
    try:
        renewed = datetime.fromisoformat(str(spec.get("renewTime")))
    except ValueError:
        return unknown(
            f"the Lease {name} of {who} does not say when it was renewed", f"`kubectl get lease {name} -o yaml`"
        )
    age_s = (now - renewed).total_seconds()
    duration_s = int(spec.get("leaseDurationSeconds") or _DURATION_S)
    if age_s < -_AHEAD_S:
        words = f"the controller {controller} of {who} renews its Lease {-age_s:.0f} s in the future"
        return problem(words, "synchronise the clock of its node (NTP), or that of this machine")
    if age_s > duration_s:
        words = f"the controller {controller} was run by {who}, and its Lease is {age_s:.0f} s old"
        return problem(words, "it is gone or stuck: look at its Pod and its log; the next one takes over by itself")
    return ok(f"the controller {controller} is run by {who}, renewed {max(age_s, 0):.0f} s ago")


def is_ours(holder: str) -> bool:
    """Whether a holder is a process of ours: host and process, where Flux's have a random id."""
    return holder.rpartition("_")[2].isdecimal()
