"""The definitions of our kinds: whose they are, and whether objects are stored in versions that go away."""

from collections.abc import Iterator
from typing import Any, Final

from trimtab.api.crd import DEFINITIONS, Definition
from trimtab.api.gvk import CRD
from trimtab.doctor.contract import Answer, Patient, conditions, note, ok, problem, several
from trimtab.manifests.refs import Body

_PART_OF: Final = "app.kubernetes.io/part-of"
_INSTALL: Final = "`trimtab install --crds-only` brings them"


async def definitions(patient: Patient) -> list[Answer]:
    """Which of our kinds are served, by whose definitions, and what is wrong with these."""
    bodies = {body["metadata"]["name"]: body for body in await patient.all(CRD)}
    missing: list[str] = []
    found: dict[str, list[str]] = {}
    problems: list[Answer] = []
    for wanted in DEFINITIONS:
        name = f"{wanted.plural}.{wanted.gvk.group}"
        if (body := bodies.get(name)) is None:
            missing.append(name)
            continue
        found.setdefault(_whose(body), []).append(wanted.gvk.kind)
        problems += _wrong(wanted, body)
    answers = [ok(f"the definitions of {several(kinds, 12)} are {whose}") for whose, kinds in found.items()]
    if missing and len(missing) == len(DEFINITIONS):
        return [problem("none of our kinds is defined", f"install Trimtab: {_INSTALL}")]
    if missing:
        answers.append(
            note(f"not defined, so that objects of these kinds cannot be made: {several(missing)}", _INSTALL)
        )
    if len(found) > 1:
        words = "some definitions are ours and some are Flux's, which is how a hand-over looks that was not finished"
        answers.append(note(words, f"{_INSTALL}; Flux's own controllers understand ours"))
    elif "Flux's" in found:
        words = "what Flux's definitions have no field for is kept in Secrets (inventories) or told by events (drift)"
        answers.append(note(words, _INSTALL))
    return [*answers, *problems]


def _whose(body: Body) -> str:
    labels = body["metadata"].get("labels") or {}
    return "ours" if labels.get(_PART_OF) == "trimtab" else "Flux's"


def _wrong(wanted: Definition, body: Body) -> Iterator[Answer]:
    name, status = body["metadata"]["name"], body.get("status") or {}
    if body["metadata"].get("deletionTimestamp"):
        words = f"the definition {name} is being deleted, and with it every object of its kind"
        yield problem(words, "find out who deletes it; until it is gone nothing is pruned")
        return
    served = _versions(body, "served")
    if wanted.gvk.version not in served:
        words = f"the definition {name} does not serve {wanted.gvk.version}, only {', '.join(served) or 'nothing'}"
        yield problem(words, _INSTALL)
    if conditions(body).get("Established", {}).get("status") == "False":
        words = f"the definition {name} is not established: {conditions(body)['Established'].get('message')}"
        yield problem(words, f"`kubectl describe crd {name}` says more")
    old = [one for one in status.get("storedVersions") or () if one not in _versions(body)]
    if old:
        words = f"objects of {name} are stored in {', '.join(old)}, which its definition no longer has"
        yield problem(words, "bring the old definition back, and write every object once before its version goes")
    stale = [one for one in status.get("storedVersions") or () if one not in (*old, *_versions(body, "storage"))]
    if stale:
        words = f"objects of {name} may still be stored in {', '.join(stale)}"
        yield note(
            words, "write every object once (a label will do), then take the version out of status.storedVersions"
        )


def _versions(body: Body, mark: str = "") -> list[str]:
    versions: list[dict[str, Any]] = body["spec"].get("versions") or []
    return [one["name"] for one in versions if not mark or one.get(mark)]
