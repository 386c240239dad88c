"""The Deployment: whether it runs, and what it loses with its Pod."""

from typing import Any, Final

from trimtab.api.install import DEPLOYMENT
from trimtab.doctor.contract import Answer, Patient, arguments, conditions, flag, note, ok, problem
from trimtab.manifests.refs import Body, Gvk

_STORAGE: Final = "--storage-path"
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
    if "persistentVolumeClaim" in volume or "hostPath" in volume or "ephemeral" in volume:
        return [ok(f"{path}, where sources are kept, outlives the Pod (volume {volume['name']})")]
    words = (
        f"{path}, where sources are kept, is an emptyDir: a new Pod fetches everything again, and enforces nothing "
        "while its git server is away"
    )
    return [note(words, "give the Deployment a PersistentVolumeClaim for the volume `data` if that matters")]


def _volume(body: Body, path: str) -> dict[str, Any] | None:
    """The volume that is mounted at `path`, or nearest above it."""
    pod = body["spec"]["template"]["spec"]
    mounts = (pod.get("containers") or [{}])[0].get("volumeMounts") or ()
    above = [one for one in mounts if path == one["mountPath"] or path.startswith(one["mountPath"].rstrip("/") + "/")]
    if not above:
        return None
    name = max(above, key=lambda one: len(one["mountPath"]))["name"]
    return next((one for one in pod.get("volumes") or () if one["name"] == name), None)
