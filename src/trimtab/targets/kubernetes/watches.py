"""The shared watches: one per kind as applied, for all objects that carry an owner label, whichever app owns them."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator

from trimtab.base.clock import Clock
from trimtab.base.tasks import Tasks
from trimtab.health.assess import assess
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import UnknownKind
from trimtab.kube.informer import Applied, Event, Informer, State
from trimtab.kube.resource import Resource
from trimtab.manifests import codec
from trimtab.manifests.refs import Gvk, Ref
from trimtab.targets.kubernetes.desired import MANAGER, PREFIX
from trimtab.targets.kubernetes.judging import Judge
from trimtab.targets.kubernetes.sighting import Look, Sighting, glance, sight

SYNC_TIMEOUT_S = 20.0
_DECIDED = (State.LIVE, State.FORBIDDEN, State.GONE)


class Watches:
    """Watches of one cluster under one reader identity. `heard` is told of every change (None: gone).

    `closely` says of which objects more than our own fields is to be looked at; `known` has what the answer to our own
    write has told of a version before the event does; `rewound` is told when the server turns out to be older than it
    was.
    """

    def __init__(
        self,
        client: Client,
        tasks: Tasks,
        clock: Clock,
        heard: Callable[[Ref, Sighting | None], None],
        label: str = f"{PREFIX}name",
        manager: str = MANAGER,
        judge: Judge = assess,
        closely: Callable[[Ref], bool] = lambda _ref: False,
        rewound: Callable[[], None] = lambda: None,
        known: Callable[[Ref, Look], Sighting | None] = lambda _ref, _look: None,
    ) -> None:
        self._known = known
        self._rewound = rewound
        self._closely = closely
        self._client = client
        self._tasks = tasks
        self._clock = clock
        self._heard = heard
        self._judge = judge
        self._label = label
        self._manager = manager
        self._informers: dict[Gvk, Informer[Sighting]] = {}
        self._decided: dict[Gvk, asyncio.Event] = {}

    async def ensure(self, kinds: Iterable[Gvk]) -> None:
        """Watch each of `kinds` that the server knows, and wait until what is there has been seen.

        A kind that may not be watched is left to the interval: `problem` says why.
        """
        fresh = [
            kind for kind in set(kinds) if kind not in self._informers or not self._informers[kind].synced.is_set()
        ]
        if fresh:
            await asyncio.gather(*map(self._ensure_one, fresh))

    async def _ensure_one(self, kind: Gvk) -> None:
        informer = self._informers.get(kind)
        if informer is None:
            resource = await self._find(kind)
            if resource is None:
                return
            # another app may have come first while we asked
            informer = self._informers.get(kind) or self._watch(resource)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SYNC_TIMEOUT_S):
                await self._decided[kind].wait()

    async def _find(self, kind: Gvk) -> Resource | None:
        try:
            return await self._client.discovery.find(kind)
        except (UnknownKind, StaleGroup):
            return None

    def _watch(self, resource: Resource) -> Informer[Sighting]:
        informer = Informer(self._client, resource, decode=self._decode, key_of=_ref_of, label_selector=self._label)
        informer.add_handler(self._hear)
        informer.add_rewind_handler(self._rewound)
        decided = self._decided[resource.gvk] = asyncio.Event()
        informer.add_state_handler(lambda state: decided.set() if state in _DECIDED else None)
        self._informers[resource.gvk] = informer
        informer.start(self._tasks)
        return informer

    def last_seen(self, ref: Ref) -> Sighting | None:
        """What the watch of any served version last showed of `ref`."""
        for kind, informer in self._informers.items():
            if kind.group == ref.group and kind.kind == ref.kind and (sighting := informer.store.get(ref)):
                return sighting
        return None

    def sightings(self) -> Iterator[Sighting]:
        """Everything the watches hold."""
        for informer in self._informers.values():
            yield from informer.store.values()

    def covers(self, kind: Gvk) -> bool:
        """Whether changes of this kind reach us by watch."""
        informer = self._informers.get(kind)
        return informer is not None and informer.synced.is_set() and informer.problem is None

    def forbidden(self, kind: Gvk) -> str:
        """Why this kind may not be watched; empty if it may."""
        informer = self._informers.get(kind)
        return informer.problem or "" if informer is not None and informer.state is State.FORBIDDEN else ""

    def relist(self) -> None:
        """Read everything anew."""
        for informer in self._informers.values():
            informer.relist()

    def problems(self) -> dict[Gvk, str]:
        """The kinds that cannot be watched, and why."""
        return {kind: informer.problem for kind, informer in self._informers.items() if informer.problem}

    def _decode(self, data: bytes) -> Sighting:
        ref, look = glance(data)
        if (known := self._known(ref, look)) is not None:
            return known
        body, closely = codec.decode(data), self._closely(ref)
        return sight(body, self._clock.now(), self._manager, self._judge, closely=closely)

    def _hear(self, event: Event[Sighting]) -> None:
        if isinstance(event, Applied):
            self._heard(event.new.ref, event.new)
        else:
            self._heard(event.old.ref, None)


def _ref_of(sighting: Sighting) -> Ref:
    return sighting.ref
