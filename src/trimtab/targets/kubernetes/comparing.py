"""What is wished, compared with a cluster once: reads and dry-runs only, under the rights of whoever asks.

What differs is judged as drift is (`diff.fields`): between the live object and the server's own answer to an apply, on
the fields that the apply owns, and on those that were owned before. Whatever cannot be asked is unknown.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from trimtab.base.abreast import abreast
from trimtab.diff import fields
from trimtab.diff.compare import Difference
from trimtab.diff.declared import declared_changes, last_applied, left_behind, with_owner
from trimtab.diff.mask import shown
from trimtab.diff.report import Finding, State
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import ApiError, BadRequest, Forbidden, Invalid, NotFound, UnknownKind, Unreachable
from trimtab.manifests import codec
from trimtab.manifests.refs import Body, Key, Ref
from trimtab.targets.kubernetes import autoscaling
from trimtab.targets.kubernetes.apply import read, rehearse
from trimtab.targets.kubernetes.autoscaling import REPLICAS, Scaled
from trimtab.targets.kubernetes.desired import MANAGER, Desired, Mode, rule
from trimtab.targets.kubernetes.fights import without_parts
from trimtab.targets.kubernetes.ignore import lean
from trimtab.targets.kubernetes.takeover import appliers, gives_way

_LOOKS: Final = 3
"""An object that changes between the look at it and the dry-run is looked at again."""
_READ_ONLY: Final = "--read-only compares the declared fields without a dry-run"


class Terms(NamedTuple):
    """How to compare. `stamped`: the objects carry the labels of the app that wishes them, `app`.

    `rehearsing`: the server is asked what it would make of them; without, only the declared fields are compared.
    `owners`: say who owns the fields that differ. What is not known at `until` (the loop's time), after `timeout_s`,
    is unknown.
    """

    app: Key | None = None
    stamped: bool = False
    rehearsing: bool = True
    owners: bool = False
    timeout_s: float = 300.0
    until: float | None = None


async def compare(client: Client, items: Sequence[Desired], terms: Terms) -> list[Finding]:
    """A finding for each of `items`. Never raises for what the server or the network says."""
    comparison = _Comparison(client, terms)
    try:
        async with asyncio.timeout_at(terms.until):
            await client.discovery.refresh()
            comparison.scaled = await autoscaling.scaled(client, items)
            found = await abreast(comparison.one, items)
    except TimeoutError:
        found = [comparison.late(item) for item in items]
    except (ApiError, Unreachable) as failure:
        found = [comparison.unknown(item, str(failure)) for item in items]
    return found


class _Seen(NamedTuple):
    """What was found out about one object."""

    live: Body | None
    differences: Sequence[Difference] = ()
    note: str = ""
    state: State | None = None


@dataclass(slots=True)
class _Comparison:
    """One run. `done` has what is known so far, for the case that the time is over before the rest is."""

    client: Client
    terms: Terms
    scaled: Scaled = field(default_factory=lambda: Scaled({}, {}))
    done: dict[Ref, Finding] = field(default_factory=dict)

    async def one(self, item: Desired) -> Finding:
        """What is to be said of `item`."""
        if not item.wanted:
            found = self._finding(item, State.SKIPPED, "it asks to be left alone")
        else:
            try:
                found = self._told(item, await self._look(self._as_applied(item)))
            except UnknownKind as missing:
                found = self._finding(item, State.MISSING, str(missing))
            except ApiError as failure:
                found = self.unknown(item, item.told(str(failure)))
            except (StaleGroup, Unreachable) as failure:
                found = self.unknown(item, str(failure))
            except RecursionError:
                found = self.unknown(item, "it is nested too deeply")
        self.done[item.ref] = found
        return found

    def late(self, item: Desired) -> Finding:
        """`item`, where the time is over."""
        words = f"no answer within {self.terms.timeout_s:g} s (--timeout)"
        return self.done.get(item.ref) or self.unknown(item, words)

    def unknown(self, item: Desired, why: str) -> Finding:
        """`item`, which could not be compared."""
        return self._finding(item, State.UNKNOWN, why)

    def _finding(self, item: Desired, state: State, note: str = "") -> Finding:
        return Finding(item.ref, state, item.origin, note, app=self.terms.app)

    def _as_applied(self, item: Desired) -> Desired:
        """`item` as a controller would apply it: without what an autoscaler sets."""
        return without_parts(item, {REPLICAS}) if self.scaled.claims(item) else item

    async def _look(self, item: Desired) -> _Seen:
        seen = _Seen(None)
        for _ in range(_LOOKS):
            live = await read(self.client, item)
            if live is None:
                return _Seen(None, state=State.MISSING)
            if rule(live, "reconcile") == "disabled":
                return _Seen(live, note="the live object asks to be left alone", state=State.SKIPPED)
            seen, moved = await self._compare(item if self.terms.stamped else of_its_owner(item, live), live)
            if not moved:
                break
        return seen

    async def _compare(self, item: Desired, live: Body) -> tuple[_Seen, bool]:
        """What differs, and whether the object has moved on meanwhile."""
        if not self.terms.rehearsing:
            return _Seen(live, with_left(item, live, declared_changes(live, wish(item), manager=MANAGER))), False
        resource = await self.client.discovery.find(item.gvk)
        try:
            answer = await rehearse(self.client, resource, item)
        except (Invalid, BadRequest) as refusal:
            found = declared_changes(live, wish(item), manager=MANAGER)
            note = f"the server refuses it: {item.told(refusal.message)}"
            return _Seen(live, found, note, None if found else State.UNKNOWN), False
        except NotFound:
            return _Seen(None, state=State.MISSING), True
        except Forbidden as refusal:
            return _Seen(live, note=f"{item.told(refusal.message)}; {_READ_ONLY}", state=State.UNKNOWN), False
        moved = _version(answer) != _version(live)
        return _Seen(live, with_left(item, live, between(live, answer))), moved

    def _told(self, item: Desired, seen: _Seen) -> Finding:
        state = seen.state or (State.DIFFERS if seen.differences else State.SAME)
        note = seen.note
        if any(change.path == "spec.replicas" for change in seen.differences):
            note = "; ".join(filter(None, (note, self.scaled.problems.get(item.ref.namespace, ""))))
        owners: tuple[tuple[fields.Writer, ...], ...] = ()
        if self.terms.owners and seen.live is not None:
            owners = tuple(tuple(fields.owners(seen.live, change.path)) for change in seen.differences)
        told = shown(item.ref.kind, seen.differences, secret=item.secret)
        return self._finding(item, state, note)._replace(differences=told, owners=owners)


def between(live: Body, answer: Body) -> list[Difference]:
    """From `live` to the answer to an apply, on the fields that the apply owns and on those that were owned before."""
    found: dict[str, Difference] = {}
    for body in (answer, live):
        if (entry := fields.owned_entry(body, MANAGER)) is not None:
            for change in fields.changes(live, answer, entry):
                found.setdefault(change.path, change)
    return list(found.values())


def with_left(item: Desired, live: Body, found: Sequence[Difference]) -> list[Difference]:
    """`found`, and what kubectl had declared and the wish declares no more: it leaves with the first apply."""
    known = {change.path: change for change in found}
    if item.mode is Mode.OVERRIDE:
        for before in declared_before(live):
            for change in left_behind(live, item.body, before):
                if all(gives_way(writer, MANAGER) for writer in fields.owners(live, change.path)):
                    known.setdefault(change.path, change)
    return list(known.values())


def declared_before(live: Body) -> Iterable[Body]:
    """What kubectl was given for this object, by either way of applying."""
    if (noted := last_applied(live)) is not None:
        yield noted
    for entry in appliers(live):
        yield fields.project(live, entry)


def of_its_owner(item: Desired, live: Body) -> Desired:
    """`item` with the labels of whoever owns `live`: files do not declare them, and nobody is to lose it."""
    body = item.body
    owned = with_owner(body, live)
    return item if owned is body else item._replace(payload=codec.canonical(owned))


def wish(item: Desired) -> Body:
    """The wish without what is left to others."""
    body: Body = codec.decode(lean(item)) if item.ignored else item.body
    return body


def _version(body: Body) -> Mapping[str, str]:
    metadata = body["metadata"]
    return {name: metadata.get(name, "") for name in ("uid", "resourceVersion")}
