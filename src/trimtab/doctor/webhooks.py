"""Admission webhooks that nobody answers: each makes the API server refuse, or wait for, what we apply."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from trimtab.api.gvk import CRD
from trimtab.doctor.contract import Answer, Patient, note, ok, problem, several
from trimtab.manifests.refs import Body, Gvk, Key

_GROUP: Final = "admissionregistration.k8s.io"
_KINDS: Final = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
_SLICE: Final = Gvk("discovery.k8s.io", "v1", "EndpointSlice")
_OF_SERVICE: Final = "kubernetes.io/service-name"


async def webhooks(patient: Patient) -> list[Answer]:
    """Whether there is a Pod behind every webhook of the cluster."""
    hooks: list[tuple[str, Key, bool]] = []
    for kind in _KINDS:
        for body in await patient.all(Gvk(_GROUP, "v1", kind)):
            hooks += _hooks(body, kind)
    for body in await patient.all(CRD):
        hooks += _conversion(body)
    served = _served(await patient.all(_SLICE))
    fatal = [f"{name} (Service {key})" for name, key, hard in hooks if hard and key not in served]
    soft = [f"{name} (Service {key})" for name, key, hard in hooks if not hard and key not in served]
    found = []
    if fatal:
        words = f"no Pod answers for webhooks that may not fail: {several(fatal)}"
        way = "start what is behind them, or delete their configurations: the API server refuses what they judge"
        found.append(problem(words, way))
    if soft:
        words = f"no Pod answers for webhooks that are left out then: {several(soft)}"
        found.append(note(words, "start what is behind them, or delete their configurations"))
    return found or [ok(f"there is a Pod behind each of the {len(hooks)} webhooks")]


def _hooks(body: Body, kind: str) -> Iterator[tuple[str, Key, bool]]:
    for hook in body.get("webhooks") or ():
        if (key := _service(hook.get("clientConfig"))) is not None:
            name = f"{kind} {body['metadata']['name']}: {hook.get('name')}"
            yield name, key, hook.get("failurePolicy", "Fail") != "Ignore"


def _conversion(body: Body) -> Iterator[tuple[str, Key, bool]]:
    webhook = ((body["spec"].get("conversion") or {}).get("webhook") or {}).get("clientConfig")
    if (key := _service(webhook)) is not None:
        yield f"conversion of {body['metadata']['name']}", key, True


def _service(config: Any) -> Key | None:
    """The Service of a webhook; None for one at an address of its own."""
    service = config.get("service") if isinstance(config, dict) else None
    return Key(service["namespace"], service["name"]) if isinstance(service, dict) else None


def _served(slices: Iterable[Body]) -> set[Key]:
    """Services with at least one address that takes requests."""
    found = set()
    for body in slices:
        name = (body["metadata"].get("labels") or {}).get(_OF_SERVICE)
        ready = (((one.get("conditions") or {}).get("ready")) is not False for one in body.get("endpoints") or ())
        if name and any(ready):
            found.add(Key(body["metadata"]["namespace"], name))
    return found
