"""Reads what an app consists of and depends on, for commands that say how far it is and what it waits for."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from trimtab.api.gvk import HELM_CHART, HELM_RELEASE, KUSTOMIZATION
from trimtab.api.kustomize import HealthExpr, Kustomization
from trimtab.base.abreast import abreast
from trimtab.cli.connect import DEFAULT_NAMESPACE
from trimtab.cli.questions.gathering import PLAIN, WELL, Listed, calm, gathered
from trimtab.controllers.reading import look
from trimtab.health.blockers import KINDS, UNSEEN, Blocker, Known, blockers, needs
from trimtab.health.checks import Checks, compiled
from trimtab.health.context import Context
from trimtab.health.expressions import ExpressionError
from trimtab.health.serving import gap
from trimtab.health.shape import section, sections
from trimtab.health.stages import Laggard, Objects, Source
from trimtab.health.verdict import State, Verdict
from trimtab.kube.errors import ApiError, NotFound, StaleGroup, UnknownKind
from trimtab.manifests.inventory import decode_id
from trimtab.manifests.refs import Body, Gvk, Ref

if TYPE_CHECKING:
    from trimtab.kube.client import Client

_REFUSALS: Final = (ApiError, UnknownKind, StaleGroup)
_LEASES: Final = Gvk("coordination.k8s.io", "v1", "Lease")
_NONE: Final = Checks()
_NOTHING: Final[Mapping[Ref, Known]] = {}
_MOST: Final = 200
"""So many objects are looked at to find what blocks one."""
_FEW: Final = 20
"""A GET costs as much as so many objects of a list."""


def source_ref(app: Body) -> Ref:
    """Where `app` comes from, as its spec says; the chart that is made for a release by its name."""
    spec, metadata = section(app, "spec"), section(app, "metadata")
    home = str(metadata.get("namespace") or "")
    if app.get("kind") != HELM_RELEASE.kind:
        return _referred(section(spec, "sourceRef"), home)
    if section(spec, "chartRef"):
        return _referred(section(spec, "chartRef"), home)
    namespace, _, name = str(section(app, "status").get("helmChart") or "").partition("/")
    of = section(spec, "chart", "spec", "sourceRef")
    namespace, name = namespace or str(of.get("namespace") or home), name or f"{home}-{metadata.get('name')}"
    return Ref(HELM_CHART.group, HELM_CHART.kind, namespace, name)


def _referred(reference: Body, home: str) -> Ref:
    kind = str(reference.get("kind") or "")
    group = KINDS[kind].group if kind in KINDS else ""
    return Ref(group, kind, str(reference.get("namespace") or home), str(reference.get("name") or ""))


@dataclass(slots=True)
class Looking:
    """Looks with the rights of whoever runs the command. What may not be looked at is a finding; silence is raised."""

    client: "Client"
    _recorded: Body = field(default_factory=dict)
    _listed_there: list[Listed] = field(default_factory=list)

    async def of(self, ref: Ref, version: str = "") -> Known:
        """The object `ref` as it is. Raises Unreachable."""
        gvk = Gvk(ref.group, version, ref.kind) if version else KINDS.get(ref.kind)
        try:
            if gvk is None:
                return Known(problem=f"there is no kind {ref.kind!r} here")
            resource = await self.client.discovery.find(gvk)
            body: Body = await self.client.get(resource, ref.name, ref.namespace, type=dict)
        except (NotFound, UnknownKind):
            return Known()  # nothing can be there of a kind that is not served
        except _REFUSALS as failure:
            return Known(problem=str(failure))
        # an object in an answer need not say what it is
        return Known({"apiVersion": gvk.api_version, "kind": gvk.kind, **body})

    async def source(self, app: Body) -> Source:
        """Where `app` comes from."""
        ref = source_ref(app)
        body, problem = await self.of(ref)
        return Source(ref, body, problem)

    # --- the objects of an app

    async def objects(self, app: Body) -> Objects:
        """A look at all objects of `app`. Raises Unreachable."""
        if section(app, "spec").get("kubeConfig"):
            return Objects(problem="its objects are in another cluster (spec.kubeConfig)")
        try:
            listed = await self._listed(app)
        except (*_REFUSALS, ValueError) as failure:
            return Objects(problem=f"the list of its objects cannot be read: {failure}")
        if listed is None:
            return Objects(problem="its status lists no objects")
        return Objects(len(listed), await self._lagging(app, listed, len(listed)))

    async def again(self, app: Body, before: Objects) -> Objects:
        """A look at those that lagged behind `before`."""
        lagging = {one.ref for one in before.laggards}
        try:
            listed = [one for one in await self._listed(app) or () if one.ref in lagging]
        except (*_REFUSALS, ValueError) as failure:
            return Objects(problem=f"the list of its objects cannot be read: {failure}")
        return before._replace(laggards=await self._lagging(app, listed, before.total))

    async def _listed(self, app: Body) -> list[Listed] | None:
        recorded = section(app, "status", "inventory")
        if app.get("kind") != KUSTOMIZATION.kind:
            entries = sections(recorded, "entries")
            return [Listed(decode_id(one["id"]), one.get("v", "v1")) for one in entries] if recorded else None
        if recorded.get("format") and recorded == self._recorded:
            return self._listed_there  # of Flux's own form this does not follow: there is more than the status says
        reading = await look(self.client, msgspec.convert(app, Kustomization), apart=False)
        if reading.problem:
            raise ValueError(reading.problem)
        self._listed_there = [Listed(entry.ref, entry.version or "v1") for entry in reading.entries().values()]
        self._recorded = recorded
        return self._listed_there

    async def _lagging(self, app: Body, listed: Sequence[Listed], total: int) -> list[Laggard]:
        checks = _checks(app)

        def plain(gvk: Gvk) -> bool:
            meant = checks.covers({"apiVersion": gvk.api_version, "kind": gvk.kind})
            return (gvk.group, gvk.kind) in PLAIN and not meant

        def judge(ref: Ref, body: Body) -> Verdict:
            return WELL if not checks.rules and calm(ref, body) else self.verdict(Known(body), checks)

        async def one(item: Listed) -> Verdict:
            return self.verdict(await self.of(item.ref, item.version), checks)

        # the lists bring all of the app: for a few of them that is more than to ask for these
        several = listed if len(listed) * _FEW >= total else ()
        verdicts = await gathered(self.client, Ref.of(app), several, judge, bare=plain)
        rest = [item for item in listed if item.ref not in verdicts]
        verdicts.update(zip((item.ref for item in rest), await abreast(one, rest), strict=True))
        return [Laggard(ref, verdicts[ref]) for ref, _ in listed if not verdicts[ref].good]

    def verdict(self, known: Known, checks: Checks = _NONE) -> Verdict:
        """How an object is doing."""
        if known.body is None:
            return Verdict(State.Unknown, known.problem) if known.problem else Verdict(State.NotFound, "is not there")
        return checks.assess(known.body, Context(now=self.client.clock.now()))

    # --- what an object depends on

    async def blockers(
        self, start: Ref, version: str = "", seen: Mapping[Ref, Known] = _NOTHING
    ) -> tuple[Blocker, ...]:
        """What stands in the way of an object of ours; what was `seen` is not asked for again. Raises Unreachable."""
        known = dict(seen)
        if start not in known:
            known[start] = await self.of(start, version)
        ahead = [start]
        while ahead and len(known) < _MOST:
            new = dict.fromkeys(ref for one in ahead for ref in needs(known[one].body or {}) if ref not in known)
            looked = await asyncio.gather(*(self.of(ref) for ref in new))
            known.update(zip(new, looked, strict=True))
            ahead = list(new)
        return await self._attended(blockers(start, known), known)

    async def _attended(self, found: tuple[Blocker, ...], known: Mapping[Ref, Known]) -> tuple[Blocker, ...]:
        """`found`; where no process looks after an object, that is what is in the way."""
        if not any(one.why.startswith(UNSEEN) for one in found):
            return found
        try:
            held = await self.client.list(await self.client.discovery.find(_LEASES), DEFAULT_NAMESPACE, type=dict)
        except _REFUSALS:
            return found  # who may not see the Leases is told where to look
        leases = {lease["metadata"]["name"]: lease for lease in held.items}
        now = self.client.clock.now()

        def attended(one: Blocker) -> Blocker:
            labels = section(known[one.ref].body or {}, "metadata", "labels")
            lack = gap(one.ref.kind, labels, leases, now) if one.why.startswith(UNSEEN) else None
            return one._replace(why=lack.why, way_out=lack.way_out) if lack is not None else one

        return tuple(map(attended, found))


def _checks(app: Body) -> Checks:
    """How `app` wants the health of its objects to be read. What makes no sense its controller refuses."""
    written = section(app, "spec").get("healthCheckExprs") or ()
    try:
        return compiled(msgspec.convert(written, tuple[HealthExpr, ...]))
    except (msgspec.ValidationError, ExpressionError):
        return Checks()
