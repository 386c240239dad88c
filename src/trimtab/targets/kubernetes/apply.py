"""One object, applied: the only place that writes desired state to a cluster."""

from typing import NamedTuple

from trimtab.base.clock import Clock
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import ApiError, NotFound, UnknownKind, Unreachable
from trimtab.manifests.refs import Body, Gvk
from trimtab.targets.contract import Effect, Outcome
from trimtab.targets.kubernetes.desired import Desired, Mode
from trimtab.targets.kubernetes.sighting import MANAGER, Sighting, sight
from trimtab.targets.kubernetes.tracking import Tracked, Tracker


class Answer(NamedTuple):
    """The server's answer to an apply."""

    outcome: Outcome
    sighting: Sighting | None = None
    live: Body | None = None


async def apply(client: Client, item: Desired, tracked: Tracked, tracker: Tracker, clock: Clock) -> Answer:
    """Apply `item` by server-side apply with force, and take the answer as the new baseline.

    Never raises for what the server or the network says: a failure is an outcome with their words.
    """
    before = tracked.seen
    tracked.hold()
    try:
        resource = await client.discovery.find(item.gvk)
        if item.mode is Mode.IF_NOT_PRESENT and (live := await read(client, item)) is not None:
            answer = live
        else:
            answer = await client.apply(
                resource,
                item.ref.name,
                item.ref.namespace,
                item.payload,
                field_manager=MANAGER,
            )
        sighting = sight(answer, clock.now())
        tracked.applied(item.digest, sighting)
    except (UnknownKind, StaleGroup, Unreachable) as failure:
        return Answer(Outcome(item.ref, Effect.FAILED, str(failure), item.origin))
    except ApiError as failure:
        return Answer(Outcome(item.ref, Effect.FAILED, failure.message, item.origin, failure.transient))
    finally:
        news = tracked.release()
        tracker.report(tracked, news)
    if before is None or before.uid != sighting.uid:
        effect = Effect.CREATED
    else:
        effect = Effect.UNCHANGED if before.version == sighting.version else Effect.CONFIGURED
    return Answer(Outcome(item.ref, effect, origin=item.origin), sighting, answer)


async def read(client: Client, item: Desired) -> Body | None:
    """The live object, or None. Raises what the client raises for anything but its absence."""
    gvk = Gvk(item.gvk.group, item.gvk.version, item.gvk.kind)
    try:
        found: Body = await client.get(await client.discovery.find(gvk), item.ref.name, item.ref.namespace)
    except NotFound:
        return None
    return found
