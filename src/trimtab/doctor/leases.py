"""Who drives the objects: the holders of the Leases that Flux's controllers and ours share."""

from datetime import datetime
from typing import Any, Final

from trimtab.api import gvk, names
from trimtab.doctor.contract import Answer, Patient, note, ok, problem, unknown
from trimtab.kube.errors import StaleGroup, UnknownKind
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


def _spec(lease: Body | None) -> dict[str, Any]:
    return (lease or {}).get("spec") or {}


async def _count(patient: Patient, kind: Gvk) -> int:
    try:
        return len(await patient.all(kind))
    except (UnknownKind, StaleGroup):
        return 0


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
