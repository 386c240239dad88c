"""The API server: whether it answers, how quickly, which version it is, what its clock says, and who is behind it."""

from typing import Final

from trimtab.api.kubernetes import LATEST, VERSIONS
from trimtab.doctor.contract import Answer, Patient, conditions, note, ok, problem, several, unknown
from trimtab.manifests import codec
from trimtab.manifests.refs import Gvk

_SLOW_S: Final = 1.0
_LOOKS: Final = 3
_SKEW_S: Final = 5.0
_OLDEST: Final = (1, 27)
"""Without aggregated discovery nothing works."""
API_SERVICE: Final = Gvk("apiregistration.k8s.io", "v1", "APIService")


async def server(patient: Patient) -> list[Answer]:
    """Reachable, quick enough, of a version that is supported."""
    client = patient.client
    took: list[float] = []
    said = b""
    for _ in range(_LOOKS):
        began = client.clock.monotonic()
        said = await client.request("GET", "/version")
        took.append(client.clock.monotonic() - began)
    # the first has to connect
    best_s = min(took)
    found = [ok(f"{client.server} answers in {best_s * 1000:.0f} ms")]
    if best_s > _SLOW_S:
        words = f"{client.server} takes {best_s:.1f} s for the smallest answer"
        found = [problem(words, "look at its load, and at the network on the way: everything waits for it")]
    return [*found, _version(str(codec.decode(said).get("gitVersion", "")))]


def _version(text: str) -> Answer:
    minor = text.removeprefix("v").split(".")[:2]
    if len(minor) != len(_OLDEST) or not all(part.isdecimal() for part in minor):
        return unknown(f"its version cannot be read: {text!r}", "ask `kubectl version`")
    number, supported = (int(minor[0]), int(minor[1])), ".".join(minor) in VERSIONS
    if supported:
        return ok(f"Kubernetes {text}")
    if number < _OLDEST:
        return problem(f"Kubernetes {text} is too old: at least 1.27 is needed", "upgrade the cluster")
    words = f"Kubernetes {text} is not among the versions that are tested, {VERSIONS[0]} to {LATEST}"
    return note(words, "upgrade the cluster, or Trimtab")


async def clocks(patient: Patient) -> list[Answer]:
    """Whether the clock of this machine and that of the API server agree."""
    ahead = await patient.ahead()
    if ahead is None:
        return [unknown(f"{patient.client.server} does not say what time it is", "compare the clocks by hand")]
    # the server's has no fractions of a second
    apart_s = ahead.total_seconds()
    if -_SKEW_S < apart_s < _SKEW_S + 1:
        return [ok("this machine and the API server agree about the time")]
    side = "ahead of" if apart_s > 0 else "behind"
    words = f"the clock of this machine is {abs(apart_s):.0f} s {side} that of the API server"
    return [problem(words, "synchronise both (NTP): tokens, certificates and ages depend on it")]


async def apis(patient: Patient) -> list[Answer]:
    """Whether the servers behind the API server answer."""
    lost = []
    for body in await patient.all(API_SERVICE):
        available = conditions(body).get("Available", {})
        if available.get("status") == "False":
            lost.append(f"{body['metadata']['name']} ({available.get('message') or available.get('reason')})")
    if lost:
        words = f"APIs are served by servers that do not answer: {several(lost)}"
        way = "mend the Services behind them, or delete the APIServices: until then nothing of their kinds is deleted"
        return [problem(words, way)]
    return [ok("every API that is served answers")]
