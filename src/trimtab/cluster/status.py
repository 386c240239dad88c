"""What a control plane in a directory is doing, seen from another process."""

from dataclasses import dataclass
from pathlib import Path

from trimtab.cluster import components, pki, record
from trimtab.cluster.layout import Layout
from trimtab.cluster.probe import Probe


@dataclass(frozen=True, slots=True)
class ComponentState:
    """One process. `healthy` is what can be known from outside; `words` say what that is."""

    name: str
    pid: int
    healthy: bool
    words: str


@dataclass(frozen=True, slots=True)
class State:
    """A control plane that somebody runs. `good`: it is up, and all that belongs to it is healthy."""

    holder: int
    server: str
    kubeconfig: Path
    ready: bool
    components: tuple[ComponentState, ...]

    @property
    def good(self) -> bool:
        return self.ready and all(component.healthy for component in self.components)


async def look(dir: Path) -> State | None:  # noqa: A002 - what it is called on the command line
    """The state of the control plane in `dir`; None if nobody runs one there."""
    layout = Layout(dir.absolute())
    known = record.read(layout) if record.is_held(layout) else None
    if known is None:
        return None
    words = await _words(layout, known) if known.server else {}
    states = []
    for component in known.components:
        alive = component.identity.alive
        healthy, said = words.get(component.name, (True, "running")) if alive else (False, "ended")
        states.append(ComponentState(component.name, component.identity.pid, healthy, said))
    return State(known.holder.pid, known.server, layout.kubeconfig, known.ready, tuple(states))


async def _words(layout: Layout, known: record.Record) -> dict[str, tuple[bool, str]]:
    """By component, for those that can be asked: controller-manager and scheduler serve nothing here."""
    probe = Probe(known.server, layout.pki / "ca.crt", pki.admin_token(layout))
    try:
        serving = await probe.ready()
        storing = await probe.exists("/readyz/etcd")
        node = await probe.node_ready(components.NODE)
        complaints = "" if serving else await probe.complaints()
    finally:
        await probe.aclose()
    return {
        "etcd": (storing, "serving" if storing else "the API server does not reach it"),
        "kube-apiserver": (serving, "ready" if serving else f"not ready {complaints}".strip()),
        "kwok": (node, f"Node {components.NODE} {'Ready' if node else 'not Ready'}"),
    }
