"""One object, applied: the only place that writes desired state to a cluster."""

from typing import NamedTuple

from trimtab.base.clock import Clock
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import ApiError, NotFound, UnknownKind, Unreachable
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Body, Gvk
from trimtab.targets.contract import Effect, Outcome
from trimtab.targets.kubernetes.desired import Desired, Mode
from trimtab.targets.kubernetes.sighting import MANAGER, Sighting, sight
from trimtab.targets.kubernetes.takeover import is_foreign, take_over
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
            known = tracked.foreign or (before is not None and before.foreign)
            answer = await _send(client, resource, item, foreign=known)
        sighting = sight(answer, clock.now(), judge=tracker.judge)
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


async def _send(client: Client, resource: Resource, item: Desired, *, foreign: bool) -> Body:
    """Apply `item`; where kubectl owns fields of the live object, they become ours before.

    Usually that is known from the dry-run. Where it was not (an object that was not judged, or one without any record
    of its managers until now) the answer tells, and it costs a second apply.
    """
    taking = item.mode is not Mode.MERGE
    if foreign and taking and (live := await read(client, item)) is not None:
        await take_over(client, resource, live, MANAGER)
    answer = await _apply(client, resource, item)
    if taking and is_foreign(answer, MANAGER):
        await take_over(client, resource, answer, MANAGER)
        answer = await _apply(client, resource, item)
    return answer


async def _apply(client: Client, resource: Resource, item: Desired) -> Body:
    answer: Body = await client.apply(resource, item.ref.name, item.ref.namespace, item.payload, field_manager=MANAGER)
    return answer


async def read(client: Client, item: Desired) -> Body | None:
    """The live object, or None. Raises what the client raises for anything but its absence."""
    gvk = Gvk(item.gvk.group, item.gvk.version, item.gvk.kind)
    try:
        found: Body = await client.get(await client.discovery.find(gvk), item.ref.name, item.ref.namespace)
    except NotFound:
        return None
    return found
