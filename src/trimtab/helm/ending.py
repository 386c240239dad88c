"""How an object of a hook ended, or what it is at. Pure.

Only what runs to its end is waited for, as Helm does: Jobs and Pods; and definitions, without which nothing of their
kinds could be created. Everything else is done as soon as it exists.

What is told of a Pod are names, reasons and exit codes. A container's last message is none of them: it is what the
program wrote, or the end of its log, and may hold secrets.
"""

from typing import Final

from trimtab.health import builtin
from trimtab.health.context import Context
from trimtab.health.shape import condition, explained, number, says, section, sections
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Body

DEFINITION: Final = ("apiextensions.k8s.io", "CustomResourceDefinition")

_LONGEST: Final = 300
# What the kubelet says of these is about names of images, Secrets and keys.
_TELLING: Final = frozenset(
    {
        "CreateContainerConfigError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImageInspectError",
        "ImagePullBackOff",
        "InvalidImageName",
    }
)


def ending(body: Body, context: Context) -> Verdict:
    """Current, Failed, or InProgress with what it is at."""
    match kind_of(body):
        case ("batch", "Job"):
            verdict = builtin.job(body, context)
        case ("", "Pod"):
            verdict = _pod(body)
        case kind if kind == DEFINITION:
            verdict = builtin.resource_definition(body, context)
        case _:
            return Verdict(State.Current)
    # A suspended Job has not done what it is for.
    return verdict if verdict.bad or verdict.state is State.Current else Verdict(State.InProgress, verdict.message)


def ends(body: Body) -> bool:
    """Whether it is of a kind that runs to its end."""
    return kind_of(body) in {("batch", "Job"), ("", "Pod")}


def kind_of(body: Body) -> tuple[str, str]:
    """Group and kind."""
    return str(body.get("apiVersion", "")).rpartition("/")[0], str(body.get("kind", ""))


def containers(pod: Body) -> str:
    """The containers of `pod` that have not run well, and why, as far as that can be told."""
    status = section(pod, "status")
    told = [
        f"container {container.get('name')} {words}"
        for container in [*sections(status, "initContainerStatuses"), *sections(status, "containerStatuses")]
        if (words := _container(container))
    ]
    scheduled = condition(pod, "PodScheduled")
    if not told and scheduled is not None and says(scheduled) == "False":
        told.append(f"it has no node: {explained(scheduled)}")
    return cut(", ".join(told))


def cut(words: str) -> str:
    """`words` of others, as much of them as helps."""
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"


def _pod(pod: Body) -> Verdict:
    status = section(pod, "status")
    phase = status.get("phase")
    if phase == "Succeeded":
        return Verdict(State.Current)
    # The kubelet's own words: a deadline, an eviction.
    said = cut(str(status.get("message") or status.get("reason") or ""))
    words = "; ".join(part for part in (said, containers(pod)) if part)
    if phase == "Failed":
        return Verdict(State.Failed, words)
    return Verdict(State.InProgress, words or f"its phase is {phase or 'Pending'}")


def _container(container: Body) -> str:
    waiting = section(container, "state", "waiting")
    if waiting:
        reason = str(waiting.get("reason") or "a reason that is not told")
        said = f": {waiting['message']}" if reason in _TELLING and waiting.get("message") else ""
        before = _ended(section(container, "lastState", "terminated"))
        return f"waits for {reason}{said}" + (f", and before {before}" if before else "")
    return _ended(section(container, "state", "terminated"))


def _ended(terminated: Body) -> str:
    code, signal = number(terminated, "exitCode"), number(terminated, "signal")
    if not code and not signal:
        return ""
    how = f"exit code {code}" if code else f"signal {signal}"
    reason = f" ({terminated['reason']})" if terminated.get("reason") else ""
    return f"ended with {how}{reason}"
