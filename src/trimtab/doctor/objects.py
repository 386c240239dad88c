"""Our objects: how many are suspended, stalled, failing, or looked at by nobody."""

from trimtab.api.annotations import complaints
from trimtab.api.crd import DEFINITIONS
from trimtab.doctor.contract import Answer, Patient, conditions, named, note, ok, problem, several
from trimtab.kube.errors import StaleGroup, UnknownKind
from trimtab.manifests.refs import Body


async def objects(patient: Patient) -> list[Answer]:
    """What the conditions of all our objects say."""
    stalled: list[str] = []
    failing: list[str] = []
    suspended: list[str] = []
    strange: list[str] = []
    count = 0
    for one in DEFINITIONS:
        try:
            bodies = await patient.all(one.gvk)
        except (UnknownKind, StaleGroup):
            continue
        for body in bodies:
            count += 1
            name = f"{one.gvk.kind} {named(body)}"
            said = conditions(body)
            if (body.get("spec") or {}).get("suspend"):
                suspended.append(name)
            elif said.get("Stalled", {}).get("status") == "True":
                stalled.append(f"{name} ({said['Stalled'].get('reason')})")
            elif said.get("Ready", {}).get("status") == "False":
                failing.append(f"{name} ({said['Ready'].get('reason')})")
            strange += _strange(name, one.gvk.kind, body)
    found: list[Answer] = []
    if stalled:
        words = f"{len(stalled)} will not be tried again until they are changed: {several(stalled)}"
        found.append(problem(words, "`trimtab get all -A` has the messages, which name the way out"))
    if failing:
        words = f"{len(failing)} are not ready: {several(failing)}"
        found.append(problem(words, "`trimtab get all -A` has the messages, which name the way out"))
    if strange:
        found.append(problem(f"annotations make no sense: {several(strange)}", "correct or remove them"))
    if suspended:
        found.append(note(f"{len(suspended)} are suspended: {several(suspended)}", "`trimtab resume` looks after them"))
    return found or [ok(f"all {count} objects of ours are looked after")]


def _strange(name: str, kind: str, body: Body) -> list[str]:
    annotations = body["metadata"].get("annotations") or {}
    return [f"{name}: {words}" for words in complaints(kind, annotations)]
