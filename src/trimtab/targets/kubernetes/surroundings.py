"""What a change leans on in the cluster beside its own objects: what it names, and the room there is. Reads only."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from trimtab.base.abreast import abreast
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import NO_ANSWER, NotFound, UnknownKind
from trimtab.manifests.refs import Body, Gvk, Ref
from trimtab.preview import disruption, room
from trimtab.preview.needs import Need, always_there, brings, needs
from trimtab.preview.room import Defaults, Growth
from trimtab.preview.verdict import Judgement, Verdict

_NO_ANSWER: Final = (*NO_ANSWER, UnknownKind, StaleGroup)
_QUOTA, _LIMITS = Gvk("", "v1", "ResourceQuota"), Gvk("", "v1", "LimitRange")
_NODE, _BUDGET = Gvk("", "v1", "Node"), Gvk("policy", "v1", "PodDisruptionBudget")
_MOST_NODES: Final = 500


class _Entries(msgspec.Struct, frozen=True, rename="camel"):
    """The names of the entries of a ConfigMap or a Secret. Values are not decoded."""

    data: dict[str, msgspec.Raw] | None = None
    binary_data: dict[str, msgspec.Raw] | None = None

    @property
    def names(self) -> frozenset[str]:
        return frozenset({**(self.data or {}), **(self.binary_data or {})})


@dataclass(slots=True)
class Change:
    """All that a change wishes and deletes. `sealed`: what is there, but could not be read."""

    bodies: Mapping[Ref, Body]
    leaving: Collection[Ref] = ()
    sealed: Collection[Ref] = ()
    _brought: frozenset[Ref] | None = None

    def answers(self, need: Need) -> Judgement | bool:
        """What the change itself says of `need`: it has it (True), it knows nothing (False), or what is wrong."""
        ref = need.ref
        if (body := self.bodies.get(ref)) is not None:
            if need.entry and ref.kind in ("ConfigMap", "Secret") and need.entry not in _entries(body):
                return _missing(need, f"{ref} has no entry {need.entry}")
            return True
        if self._brought is None:
            self._brought = frozenset(made for one in self.bodies.values() for made in brings(one))
        if ref in self._brought or ref in self.sealed or always_there(ref):
            return True
        if ref in self.leaving:
            return _missing(need, f"{ref} is deleted by the same change")
        return False

    def complaints(self, body: Body, namespace: str) -> list[Judgement]:
        """What is wrong in any case with what `body` names, whatever the cluster has."""
        found = (self.answers(need) for need in needs(body, namespace))
        return [one for one in found if isinstance(one, Judgement)]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Looks around in one cluster."""

    client: Client
    change: Change

    async def missing(self, bodies: Sequence[tuple[Ref, Body]]) -> "Found":
        """What each of `bodies` names and is not there. Nothing is looked for twice."""
        wanted = {ref: needs(body, ref.namespace) for ref, body in bodies}
        refs = list(
            {need.ref: None for those in wanted.values() for need in those if self.change.answers(need) is False}
        )
        looks = dict(zip(refs, await abreast(self._look, refs), strict=True))
        found: Found = {}
        for ref, those in wanted.items():
            found[ref] = [one for need in those if (one := self._judged(need, looks)) is not None]
        return found

    def _judged(self, need: Need, looks: Mapping[Ref, frozenset[str] | str | None]) -> Judgement | None:
        known = self.change.answers(need)
        if known is not False:
            return known if isinstance(known, Judgement) else None
        match looks[need.ref]:
            case None:
                return _missing(need, f"{need.ref} does not exist, and nothing here makes it")
            case str() as problem:
                words = f"whether {need.ref} exists is not known: {problem}"
                return Judgement(Verdict.UNKNOWN, words, path=need.path)
            case names if need.entry and need.ref.kind in ("ConfigMap", "Secret") and need.entry not in names:
                return _missing(need, f"{need.ref} has no entry {need.entry}")
        return None

    async def _look(self, ref: Ref) -> frozenset[str] | str | None:
        """The entries of a live object; None where there is none; else why that is not known."""
        try:
            resource = await self.client.discovery.find(Gvk(ref.group, "v1", ref.kind))
            return (await self.client.get(resource, ref.name, ref.namespace, type=_Entries)).names
        except NotFound:
            return None
        except _NO_ANSWER as failure:
            return str(failure)

    async def room(self, pairs: Sequence[tuple[Ref, Body | None, Body | None]]) -> tuple["Found", list[str]]:
        """What there is no room for, where objects are `(ref, live, after)`; and what could not be known of that."""
        found: Found = defaultdict(list)
        unasked: list[str] = []
        nodes = await self._listed(_NODE, "")
        by_namespace: dict[str, list[tuple[Ref, Body | None, Body | None]]] = defaultdict(list)
        for ref, live, after in pairs:
            by_namespace[ref.namespace].append((ref, live, after))
        for namespace, those in by_namespace.items():
            ranges = await self._listed(_LIMITS, namespace)
            defaults = room.defaults_of(ranges) if isinstance(ranges, list) else Defaults()
            grown = [one for ref, live, after in those if (one := room.growth(ref, live, after, defaults)) is not None]
            for ref, _, after in those:
                if after is not None and isinstance(nodes, list):
                    found[ref] += room.too_large(after, nodes, defaults)
            if any(amount > 0 for one in grown for amount in one.amounts.values()):
                unasked += await self._quotas(namespace, grown, found)
        return found, unasked

    async def _quotas(self, namespace: str, grown: Sequence[Growth], found: "Found") -> list[str]:
        live = await self._listed(_QUOTA, namespace)
        if isinstance(live, str):
            return [f"the quotas of namespace {namespace} are not known: {live}"]
        names = {item["metadata"]["name"] for item in live}
        new = [
            body
            for ref, body in self.change.bodies.items()
            if (ref.group, ref.kind, ref.namespace) == ("", _QUOTA.kind, namespace) and ref.name not in names
        ]
        for ref, judgement in room.exceeded([*live, *new], grown):
            found[ref].append(judgement)
        return []

    async def evictions(self, bodies: Iterable[tuple[Ref, Body]]) -> "Found":
        """Which of the workloads `bodies` allow no eviction now."""
        found: Found = defaultdict(list)
        budgets: dict[str, list[Body] | str] = {}
        for ref, body in bodies:
            if ref.namespace not in budgets:
                budgets[ref.namespace] = await self._listed(_BUDGET, ref.namespace)
            known = budgets[ref.namespace]
            if isinstance(known, list):
                found[ref] += disruption.unevictable(body, known)
        return found

    async def _listed(self, gvk: Gvk, namespace: str) -> list[Body] | str:
        """The objects of a kind, or why they are not known."""
        try:
            resource = await self.client.discovery.find(gvk)
            page = await self.client.page(resource, namespace, limit=_MOST_NODES)
        except _NO_ANSWER as failure:
            return str(failure)
        return list(page.items or ())


Found = dict[Ref, list[Judgement]]


def _missing(need: Need, words: str) -> Judgement:
    return Judgement(Verdict.REFERENCE_MISSING, words, path=need.path)


def _entries(body: Body) -> frozenset[str]:
    fields = (body.get(name) for name in ("data", "stringData", "binaryData"))
    return frozenset(name for values in fields if isinstance(values, dict) for name in values)
