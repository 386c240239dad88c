"""Which objects an autoscaler scales: their number of replicas is not ours, even where git declares it.

KEDA's ScaledObjects work through a HorizontalPodAutoscaler that KEDA creates, so that is all there is to watch.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from trimtab.base.abreast import abreast
from trimtab.base.tasks import Tasks
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, StaleGroup, UnknownKind
from trimtab.kube.informer import Applied, Event, Informer, State
from trimtab.manifests.pointers import ABSENT, get_pointer
from trimtab.manifests.refs import Gvk, Key, Ref
from trimtab.targets.kubernetes.desired import Desired
from trimtab.targets.kubernetes.notices import Notice

REPLICAS = "/spec/replicas"
_HPA = Gvk("autoscaling", "v2", "HorizontalPodAutoscaler")
_SYNC_TIMEOUT_S = 10.0
_DECLARES = b'"replicas"'


class _Metadata(msgspec.Struct, frozen=True):
    name: str
    namespace: str = ""


class _ScaleTarget(msgspec.Struct, frozen=True, rename="camel"):
    kind: str = ""
    name: str = ""
    api_version: str = ""


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    scale_target_ref: _ScaleTarget = _ScaleTarget()


class Autoscaler(msgspec.Struct, frozen=True):
    """As much of a HorizontalPodAutoscaler as says what it scales."""

    metadata: _Metadata
    spec: _Spec = _Spec()

    @property
    def key(self) -> Key:
        return Key(self.metadata.namespace, self.metadata.name)

    @property
    def scales(self) -> Ref:
        """The object whose replicas it sets."""
        target = self.spec.scale_target_ref
        return Ref(target.api_version.rpartition("/")[0], target.kind, self.metadata.namespace, target.name)


class Scaled(NamedTuple):
    """What autoscalers scale at one moment, and why that is not known, by namespace."""

    targets: Mapping[Ref, Key]
    problems: Mapping[str, str]

    def claims(self, item: Desired) -> bool:
        """Whether an autoscaler sets a number of replicas that `item` declares."""
        return item.ref in self.targets and get_pointer(item.body, REPLICAS) is not ABSENT


async def scaled(client: Client, items: Iterable[Desired]) -> Scaled:
    """What is scaled in the namespaces of those of `items` that may declare replicas. Raises Unreachable."""
    targets: dict[Ref, Key] = {}
    problems: dict[str, str] = {}
    namespaces = {item.ref.namespace for item in items if _DECLARES in item.payload} - {""}
    try:
        resource = await client.discovery.find(_HPA)
    except (UnknownKind, StaleGroup):
        return Scaled({}, {})

    async def look(namespace: str) -> None:
        try:
            listed = await client.list(resource, namespace, type=Autoscaler)
        except ApiError as failure:
            problems[namespace] = f"whether an autoscaler sets spec.replicas is not known: {failure}"
        else:
            targets.update({scaler.scales: scaler.key for scaler in listed.items})

    await abreast(look, sorted(namespaces))
    return Scaled(targets, problems)


class Autoscalers:
    """The autoscalers of one cluster, watched from the moment an app declares replicas. `changed` hears of targets."""

    def __init__(self, client: Client, tasks: Tasks, changed: Callable[[Ref], None]) -> None:
        self._client = client
        self._tasks = tasks
        self._changed = changed
        self._informer: Informer[Autoscaler] | None = None
        self._known = asyncio.Event()
        self._scaled: dict[Ref, Key] = {}

    async def ensure(self, items: Iterable[Desired]) -> None:
        """Begin to watch if any of `items` may declare replicas, and wait for the first list."""
        if self._informer is None:
            if not any(_DECLARES in item.payload for item in items):
                return
            try:
                resource = await self._client.discovery.find(_HPA)
            except (UnknownKind, StaleGroup):
                return
            if self._informer is None:
                self._start(Informer(self._client, resource, decode=msgspec.json.Decoder(Autoscaler).decode))
        if not self._known.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SYNC_TIMEOUT_S):
                    await self._known.wait()

    def claimed(self, item: Desired) -> str:
        """The pointer of what an autoscaler sets in `item` although it is declared; empty for nothing."""
        if item.ref not in self._scaled or get_pointer(item.body, REPLICAS) is ABSENT:
            return ""
        return REPLICAS

    def scaler(self, ref: Ref) -> Ref:
        """The autoscaler of what is scaled."""
        key = self._scaled[ref]
        return Ref(_HPA.group, _HPA.kind, key.namespace, key.name)

    def notice(self, ref: Ref) -> Notice:
        """What the app of `ref` should know."""
        words = (
            f"{ref}: spec.replicas is declared and the HorizontalPodAutoscaler {self._scaled[ref].name} sets it, too. "
            "It is left to the autoscaler and no longer applied: remove it from the manifest"
        )
        return Notice("ReplicasYielded", words)

    def _start(self, informer: Informer[Autoscaler]) -> None:
        self._informer = informer
        informer.add_handler(self._hear)
        informer.add_state_handler(self._became)
        informer.start(self._tasks)

    def _became(self, state: State) -> None:
        if state in (State.LIVE, State.FORBIDDEN, State.GONE):
            self._known.set()

    def _hear(self, event: Event[Autoscaler]) -> None:
        old, new = (event.old, event.new) if isinstance(event, Applied) else (event.old, None)
        before = old.scales if old is not None else None
        after = new.scales if new is not None else None
        if before == after:
            return
        if before is not None and old is not None and self._scaled.get(before) == old.key:
            del self._scaled[before]
            self._changed(before)
        if after is not None and new is not None:
            self._scaled[after] = new.key
            self._changed(after)
