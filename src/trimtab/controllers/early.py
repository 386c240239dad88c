"""What need not be said yet: that an app waits for a source that is fetched for the first time, or for objects. Pure.

Apps are made together with their source, and a moment later it has its artifact. A status that says until then that it
has none would be a request for each app, of which nobody reads the answer. Nor is it news that objects become healthy a
moment after they were applied; while many are, such requests would keep all of them waiting even longer.
"""

from typing import Final

from trimtab.api import names
from trimtab.api.kustomizestatus import KustomizationStatus
from trimtab.base.errors import TrimtabError, Waiting
from trimtab.controllers.offering import Offering
from trimtab.manifests.conditions import find

GRACE_S: Final = 5.0
SETTLE_GRACE_S: Final = 5.0
"""How long objects may take to become healthy before the status says that they are awaited."""
BUSY_GRACE_S: Final = 15.0
"""The same while there is much else to ask of the server."""


def silent_s(failure: TrimtabError, told: KustomizationStatus, source: Offering | None, waited_s: float) -> float:
    """For how many seconds more nothing need be said of `failure`, by an app that has `told` something or nothing.

    A `source` that is not there, or could not be fetched, is told of at once.
    """
    if not isinstance(failure, Waiting) or failure.reason != names.Reason.ARTIFACT_FAILED or told.conditions:
        return 0.0
    if source is None:
        return 0.0
    ready = find(source.status.conditions, names.ConditionType.READY)
    if ready is not None and ready.status == "False":
        return 0.0
    return max(GRACE_S - waited_s, 0.0)


def settling_s(pending_s: float, *, calm: bool) -> float:
    """In how many seconds an app is looked at again whose objects have been awaited for `pending_s`; 0: it is told now.

    `calm`: there is little else to ask of the server.
    """
    left_s = (SETTLE_GRACE_S if calm else BUSY_GRACE_S) - pending_s
    return max(min(left_s, SETTLE_GRACE_S), 0.0)
