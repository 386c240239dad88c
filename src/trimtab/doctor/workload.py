"""The Deployment: whether it runs, and what it loses with its Pod."""

from typing import Any, Final

from trimtab.api.installed import AUTOMATE, DEPLOYMENT
from trimtab.doctor.contract import Answer, Patient, arguments, conditions, flag, note, ok, problem
from trimtab.manifests.refs import Body, Gvk

_STORAGE: Final = "--storage-path"
_LEDGER: Final = "--ledger-path"
_NO_LEDGER: Final = "--no-ledger"
_DEFAULT: Final = "/data"
_FREEZE: Final = "trimtab-freeze"


async def workload(patient: Patient) -> list[Answer]:
    """Whether the controllers run, and whether deletions are switched off."""
    frozen = await patient.one(Gvk("", "v1", "ConfigMap"), _FREEZE, patient.namespace)
    found = []
    if frozen is not None:
        words = f"the ConfigMap {patient.namespace}/{_FREEZE} stops every deletion"
        found.append(note(words, "delete it when deletions are wanted again"))
    body = await patient.workload()
    if body is None:
        words = f"there is no Deployment {patient.namespace}/{DEPLOYMENT}: the controllers run elsewhere, or are Flux's"
        return [note(words, "`trimtab install` makes one; -n names another namespace"), *found]
    wanted = body["spec"].get("replicas", 1)
    ready = (body.get("status") or {}).get("readyReplicas", 0)
    if not wanted:
        words = f"the Deployment {patient.namespace}/{DEPLOYMENT} is scaled to 0: nothing is looked after"
        return [problem(words, f"kubectl scale deployment {DEPLOYMENT} -n {patient.namespace} --replicas 1"), *found]
    if not ready:
        why = conditions(body).get("Available", {}).get("message", "no Pod is ready")
        words = f"the Deployment {patient.namespace}/{DEPLOYMENT} has no Pod that is ready: {why}"
        return [
            problem(words, f"kubectl describe pods -n {patient.namespace} -l app.kubernetes.io/name=trimtab"),
            *found,
        ]
    image = body["spec"]["template"]["spec"]["containers"][0].get("image", "")
    return [ok(f"the Deployment {patient.namespace}/{DEPLOYMENT} runs {image}"), *found]


async def storage(patient: Patient) -> list[Answer]:
    """Whether the cache outlives the Pod."""
    body = await patient.workload()
    if body is None:
        return [note("where the controllers keep their cache is not known: they are not run by our Deployment")]
    path = flag(arguments(body), _STORAGE) or _DEFAULT
    volume = _volume(body, path)
    if volume is None:
        words = f"{path}, where sources are kept, is on no volume at all, and the container's own disk is read-only"
        return [problem(words, f"mount a volume at {path}")]
    if _outlives(volume) or "ephemeral" in volume:
        return [ok(f"{path}, where sources are kept, outlives the Pod (volume {volume['name']})")]
    words = (
        f"{path}, where sources are kept, is an emptyDir: a new Pod fetches everything again, and enforces nothing "
        "while its git server is away"
    )
    return [note(words, "give the Deployment a PersistentVolumeClaim for the volume `data` if that matters")]


async def ledger(patient: Patient) -> list[Answer]:
    """Whether the record of what was done outlives the Pods of those who do it."""
    answers = []
    for name in (DEPLOYMENT, AUTOMATE):
        body = await patient.one(Gvk("apps", "v1", "Deployment"), name, patient.namespace)
        if body is not None:
            answers.append(_ledger(f"{patient.namespace}/{name}", body))
    return answers or [note("where the ledger is kept is not known: the controllers are not run by our Deployment")]


def _ledger(name: str, body: Body) -> Answer:
    given = arguments(body)
    if flag(given, _NO_LEDGER) is not None:
        return note(f"the Deployment {name} keeps no ledger of what it does ({_NO_LEDGER})")
    path = flag(given, _LEDGER) or f"{(flag(given, _STORAGE) or _DEFAULT).rstrip('/')}/ledger"
    volume = _volume(body, path)
    if volume is not None and _outlives(volume):
        return ok(f"{path}, the ledger of {name}, outlives the Pod (volume {volume['name']})")
    where = "an emptyDir" if volume is not None else "no volume"
    words = f"{path}, the ledger of {name}, is on {where}: with the Pod goes the record of what it has done"
    return note(words, "`trimtab install --ledger-volume 5Gi` gives it a volume; it holds thirteen months")


def _outlives(volume: Body) -> bool:
    return any(kind in volume for kind in ("persistentVolumeClaim", "hostPath"))


def _volume(body: Body, path: str) -> dict[str, Any] | None:
    """The volume that is mounted at `path`, or nearest above it."""
    pod = body["spec"]["template"]["spec"]
    mounts = (pod.get("containers") or [{}])[0].get("volumeMounts") or ()
    above = [one for one in mounts if path == one["mountPath"] or path.startswith(one["mountPath"].rstrip("/") + "/")]
    if not above:
        return None
    name = max(above, key=lambda one: len(one["mountPath"]))["name"]
    return next((one for one in pod.get("volumes") or () if one["name"] == name), None)
