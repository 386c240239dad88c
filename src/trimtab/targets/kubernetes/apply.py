"""One object, applied: the only place that writes desired state to a cluster."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from trimtab.base.clock import Clock
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import ApiError, Invalid, NotFound, RequestTooLarge, UnknownKind, Unreachable
from trimtab.kube.resource import Resource
from trimtab.manifests import codec
from trimtab.manifests.refs import Body, Gvk
from trimtab.targets.contract import Effect, Outcome
from trimtab.targets.kubernetes import recreate
from trimtab.targets.kubernetes.desired import Desired, Mode
from trimtab.targets.kubernetes.ignore import lean, release, settled
from trimtab.targets.kubernetes.sighting import Look, Sighting, sight
from trimtab.targets.kubernetes.takeover import is_foreign, operations, rewrite
from trimtab.targets.kubernetes.tracking import Tracked, Tracker


class Answer(NamedTuple):
    """The server's answer to an apply."""

    outcome: Outcome
    sighting: Sighting | None = None
    live: Body | None = None


async def apply(
    client: Client, item: Desired, tracked: Tracked, tracker: Tracker, clock: Clock, *, force: bool = False
) -> Answer:
    """Apply `item` by server-side apply with force, and take the answer as the new baseline.

    `force`: the app asks for a new object where the live one cannot become what is wished.
    Never raises for what the server or the network says: a failure is an outcome with their words.
    """
    before = tracked.seen
    mark = before.mark if before is not None and not tracked.missing else None
    tracked.hold()
    try:
        resource = await client.discovery.find(item.gvk)
        if item.mode is Mode.IF_NOT_PRESENT and (live := await read(client, item)) is not None:
            answer = live
        else:
            known = tracked.foreign or (before is not None and before.foreign)
            answer = await _send_or_recreate(client, resource, item, foreign=known, force=force)
        # The event of an apply may be here before its answer, and tells the same.
        sighting = tracked.known(_look(answer)) or sight(answer, clock.now(), item.manager, tracker.judge)
        tracked.applied(item.digest, sighting)
    except recreate.LeavingError as leaving:
        return Answer(Outcome(item.ref, Effect.WAITING, str(leaving), item.origin))
    except (UnknownKind, StaleGroup, Unreachable) as failure:
        return Answer(Outcome(item.ref, Effect.FAILED, str(failure), item.origin))
    except RequestTooLarge as failure:
        words = f"{item.told(failure.message)}: make the object smaller, or split it"
        return Answer(Outcome(item.ref, Effect.FAILED, words, item.origin, transient=False, stuck=True))
    except ApiError as failure:
        return Answer(Outcome(item.ref, Effect.FAILED, item.told(failure.message), item.origin, failure.transient))
    finally:
        news = tracked.release()
        tracker.report(tracked, news)
    if before is None or before.uid != sighting.uid:
        effect = Effect.CREATED
    else:
        effect = Effect.UNCHANGED if before.version == sighting.version else Effect.CONFIGURED
    return Answer(Outcome(item.ref, effect, origin=item.origin, before=mark, after=sighting.mark), sighting, answer)


def _look(body: Body) -> Look:
    metadata = body["metadata"]
    return Look(Gvk.of(body["apiVersion"], body["kind"]), metadata.get("uid", ""), metadata.get("resourceVersion", ""))


async def reclaim(client: Client, item: Desired, live: Body, tracked: Tracked, tracker: Tracker, clock: Clock) -> None:
    """Own again what has the wished values already. Raises Conflict if the object is no longer `live`, and what the
    client raises.
    """
    tracked.hold()
    try:
        resource = await client.discovery.find(item.gvk)
        body: Body = codec.decode(settled(item, live, item.manager) if item.ignored else item.payload)
        body["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
        answer = await _apply(client, resource, item, codec.canonical(body))
        tracked.applied(item.digest, sight(answer, clock.now(), item.manager, tracker.judge))
    finally:
        tracker.report(tracked, tracked.release())


async def _send_or_recreate(client: Client, resource: Resource, item: Desired, *, foreign: bool, force: bool) -> Body:
    try:
        return await _send(client, resource, item, foreign=foreign)
    except Invalid as failure:
        stuck = await recreate.look(client, item, item.manager, everywhere=force)
        if stuck is None:
            raise
        if not stuck.may:
            raise Invalid(failure.status, failure.reason, recreate.words(item, failure)) from failure
    await recreate.remove(client, resource, stuck.live)
    return await _send(client, resource, item, foreign=False)


async def _send(client: Client, resource: Resource, item: Desired, *, foreign: bool) -> Body:
    """Apply `item`; where kubectl owns fields of the live object, they become ours before.

    Usually that is known from the dry-run. Where it was not (an object that was not judged, or one without any record
    of its managers until now) the answer tells, and it costs a second apply.
    """
    taking = item.mode is not Mode.MERGE
    payload = await _made_ready(client, resource, item, foreign=foreign and taking)
    answer = await _apply(client, resource, item, payload)
    if taking and is_foreign(answer, item.manager):
        payload = await _made_ready(client, resource, item, foreign=True)
        answer = await _apply(client, resource, item, payload)
    if item.ignored:
        answer = await rewrite(
            client, resource, answer, item.manager, partial(release, item=item, manager=item.manager)
        )
    return answer


async def _made_ready(client: Client, resource: Resource, item: Desired, *, foreign: bool) -> bytes:
    """Mend the record of who owns the fields of the live object, and say what is to be applied to it."""
    if not foreign and not item.ignored:
        return item.payload
    live = await read(client, item)
    if live is None:
        return item.payload
    if foreign:
        live = await rewrite(client, resource, live, item.manager, partial(operations, manager=item.manager))
    if not item.ignored:
        return item.payload
    await rewrite(client, resource, live, item.manager, partial(release, item=item, manager=item.manager))
    return lean(item)


async def _apply(
    client: Client,
    resource: Resource,
    item: Desired,
    payload: bytes,
    *,
    dry_run: bool = False,
    headed: Callable[[Mapping[str, str]], None] | None = None,
) -> Body:
    answer: Body = await client.apply(
        resource,
        item.ref.name,
        item.ref.namespace,
        payload,
        field_manager=item.manager,
        dry_run=dry_run,
        headed=headed,
    )
    return answer


async def rehearse(
    client: Client, resource: Resource, item: Desired, headed: Callable[[Mapping[str, str]], None] | None = None
) -> Body:
    """What the server would answer to an apply of `item`. `headed` is shown the headers of the answer.

    Raises what the client raises.
    """
    if item.mode is Mode.IF_NOT_PRESENT or item.ignored:
        live = await read(client, item)
        if live is not None:
            if item.mode is Mode.IF_NOT_PRESENT:
                return live
            return await _apply(client, resource, item, settled(item, live, item.manager), dry_run=True, headed=headed)
    return await _apply(client, resource, item, item.payload, dry_run=True, headed=headed)


async def read(client: Client, item: Desired) -> Body | None:
    """The live object, or None. Raises what the client raises for anything but its absence."""
    try:
        found: Body = await client.get(await client.discovery.find(item.gvk), item.ref.name, item.ref.namespace)
    except NotFound:
        return None
    return found
