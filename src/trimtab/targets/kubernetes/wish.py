"""What one app wants of a cluster."""

from typing import NamedTuple

from trimtab.kube.client import Client
from trimtab.manifests.refs import Ref
from trimtab.targets.contract import Witness
from trimtab.targets.kubernetes.desired import Desired, Owner
from trimtab.targets.kubernetes.drift import ALERT, CORRECT
from trimtab.targets.kubernetes.inventory import Inventory


class Wish(NamedTuple):
    """What one app wants: its objects, what it owns already, and under whose account.

    `force`: an object that cannot become what is wished is deleted and created anew. `each`: objects are admitted one
    by one. `applied_before`: exactly this was applied once, perhaps by a process before this one, so that what differs
    from it is drift. `interval_s` is how often to look at what may not be watched. `hands_off`: drift is told of at
    most, and nothing is written. `leaving` is what the app will delete after this: it has no say any more. `witness`
    hears of every write.
    """

    owner: Owner
    client: Client
    items: tuple[Desired, ...]
    inventory: Inventory
    prune: bool
    drift: str = "correct"
    force: bool = False
    each: bool = False
    applied_before: bool = False
    interval_s: float = float("inf")
    hands_off: bool = False
    leaving: frozenset[Ref] = frozenset()
    witness: Witness | None = None

    def mode_of(self, item: Desired) -> str:
        """What happens to drift of `item`: its own word counts more than that of the app."""
        mode = item.drift or self.drift
        return ALERT if self.hands_off and mode == CORRECT else mode
