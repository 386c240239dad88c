"""Who drives the objects: the holders of the Leases that Flux's controllers and ours share."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from trimtab.api import gvk, names, shards
from trimtab.doctor.contract import Answer, Patient, note, ok, problem, unknown
from trimtab.health.serving import DRIVERS, DURATION_S, holder_of, selected_by, serves, shares_of, unserved
from trimtab.health.shape import section
from trimtab.kube.errors import StaleGroup, UnknownKind
from trimtab.manifests.refs import Body, Gvk
from trimtab.runtime.lease import LEASES

_AHEAD_S: Final = 5.0
_LOOKED_FOR: Final = (
    gvk.GIT_REPOSITORY,
    gvk.KUSTOMIZATION,
    gvk.HELM_RELEASE,
    gvk.RECEIVER,
    gvk.ARTIFACT_GENERATOR,
    gvk.IMAGE_REPOSITORY,
    gvk.IMAGE_UPDATE_AUTOMATION,
)
"""One kind for each controller."""


async def leases(patient: Patient) -> list[Answer]:
    """Who holds each Lease, whether it is kept up, and whether anybody does what has to be done."""
    known = {body["metadata"]["name"]: body for body in await patient.all(LEASES.gvk, patient.namespace)}
    found: list[Answer] = []
    for kind in _LOOKED_FOR:
        controller, name = DRIVERS[kind.kind]
        shares = {other: lease for other, lease in shares_of(name, known).items() if holder_of(lease)}
        if shares:
            found += await _shared(patient, kind, shares)
            if holder_of(known.get(name, {})) in ("", shards.TOGETHER):
                continue
        if holder_of(known.get(name, {})):
            found.append(_held(name, controller, known[name], await patient.now()))
            continue
        count = await _count(patient, kind)
        if count:
            words = f"nobody runs the controller {controller}, and there are {count} objects of {kind.kind}"
            found.append(problem(words, f"start it: `trimtab run --controllers {controller}`, or the Deployment"))
        else:
            found.append(note(f"nobody runs the controller {controller}, and nothing asks for it"))
    return found


async def _shared(patient: Patient, kind: Gvk, shares: dict[str, Body]) -> list[Answer]:
    """Who looks after which shard, and whether there are objects of a shard that nobody looks after."""
    controller, name = DRIVERS[kind.kind]
    now = await patient.now()
    found = [
        _held(lease, f"{controller} of {selected_by(body) or lease}", body, now)
        for lease, body in sorted(shares.items())
    ]
    values: Counter[str | None] = Counter()
    for body in await _objects(patient, kind):
        values[(body["metadata"].get("labels") or {}).get(names.SHARD_LABEL)] += 1
    for value, count in sorted(values.items(), key=lambda one: one[0] or ""):
        if not serves(name, shares, {} if value is None else {names.SHARD_LABEL: value}):
            why, way_out = unserved(controller, value)
            found.append(problem(f"{why}: {count} objects of {kind.kind} are left alone", way_out))
    return found


async def _count(patient: Patient, kind: Gvk) -> int:
    return len(await _objects(patient, kind))


async def _objects(patient: Patient, kind: Gvk) -> Sequence[Body]:
    try:
        return await patient.all(kind)
    except (UnknownKind, StaleGroup):
        return ()


def _held(name: str, controller: str, lease: Body, now: datetime) -> Answer:
    holder, spec = holder_of(lease), section(lease, "spec")
    who = f"{'Trimtab' if is_ours(holder) else 'Flux'} ({holder})"
    try:
        renewed = datetime.fromisoformat(str(spec.get("renewTime")))
    except ValueError:
        return unknown(
            f"the Lease {name} of {who} does not say when it was renewed", f"`kubectl get lease {name} -o yaml`"
        )
    age_s = (now - renewed).total_seconds()
    duration_s = int(spec.get("leaseDurationSeconds") or DURATION_S)
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
