"""The chart of a release: the HelmChart that is made for it, or the artifact that it refers to."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from trimtab.api import names
from trimtab.api.gvk import HELM_CHART, OCI_REPOSITORY
from trimtab.api.helm import HelmChart
from trimtab.api.helmrelease import HelmRelease
from trimtab.api.helmreleasestatus import HelmReleaseStatus
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.tree import Tree
from trimtab.base.errors import Terminal, Transient, Waiting
from trimtab.controllers.access import Access
from trimtab.controllers.index import Published, SourceId, SourceIndex
from trimtab.controllers.offering import Offering, current
from trimtab.controllers.standing import Standing
from trimtab.kube.client import Client
from trimtab.kube.errors import NotFound
from trimtab.manifests.conditions import find
from trimtab.manifests.refs import Body, Key
from trimtab.manifests.selectors import Selects
from trimtab.sources.charts.chart import Chart, of_archive, of_directory
from trimtab.sources.charts.metadata import CHART_FILE, BadChart
from trimtab.targets.kubernetes.desired import Owner

PREFIX: Final = names.RELEASE_OWNER_NAME.removesuffix("name")
_REMEMBERED: Final = 256
_DIGITS: Final = 12


class Wanted(NamedTuple):
    """A chart, and what it was `published` as. `version` tells apart what its own version may not: where a tag can
    move, it ends in the digest.

    `digest` is that of the chart in its registry, where it is from one.
    """

    chart: Chart
    published: Published
    version: str
    digest: str


class OnItsWay(Waiting):
    """A chart was published, and the status of the object that offers it does not say so yet."""


class Charting:
    """Finds the charts of releases. `standing` shows the objects that offer them, `sources` what they published.

    `fetches` says by its labels whether a HelmChart is looked after by this process, where several share the work.
    """

    def __init__(
        self,
        client: Client,
        sources: SourceIndex,
        standing: Standing,
        access: Access,
        fetches: Selects | None = None,
    ) -> None:
        self._client = client
        self._sources = sources
        self._standing = standing
        self._access = access
        self._fetches = fetches
        self._charts: OrderedDict[str, Chart] = OrderedDict()
        self._made: dict[Key, int] = {}
        self._foreign: dict[Key, str | None] = {}

    async def resolve(self, hr: HelmRelease) -> Wanted:
        """The chart of `hr` as it is now; its HelmChart is made, or changed, if there is one to be made.

        Raises Waiting while there is none for the object as it is, Terminal if it may not be used or is no chart.
        """
        source = source_of(hr)
        if source.key.namespace != hr.metadata.namespace:
            await self._access.check_source(hr.metadata.namespace, source.key.namespace)
        if hr.chart_key is not None:
            await self._make(hr)
        published = self._offered(hr, source)
        chart = await self._chart(published.snapshot, source)
        digest = published.artifact.revision.rpartition("@")[2] if source.kind == OCI_REPOSITORY.kind else ""
        movable = digest or (published.artifact.digest if source.kind != HELM_CHART.kind else "")
        version = chart.metadata.version
        if movable:
            version = f"{version.partition('+')[0]}+{movable.rpartition(':')[2][:_DIGITS]}"
        return Wanted(chart, published, version, digest)

    async def let_go(self, hr: HelmRelease, status: HelmReleaseStatus, *, leaving: bool) -> None:
        """Delete the HelmChart that was made for `hr` if it is not the one of today, or if `hr` is `leaving`."""
        namespace, _, name = status.helm_chart.partition("/")
        made = {Key(namespace, name)} if name else set[Key]()
        if hr.chart_key is not None:
            # one that was never ready is in no status
            made = made | {hr.chart_key} if leaving else made - {hr.chart_key}
        for key in made:
            await self._delete(hr, key)

    async def _delete(self, hr: HelmRelease, key: Key) -> None:
        """Delete the HelmChart `key` if it was made for `hr`."""
        self._made.pop(key, None)
        self._foreign.pop(key, None)
        resource = await self._client.discovery.find(HELM_CHART)
        try:
            body = await self._client.get(resource, key.name, key.namespace)
            owner = Owner.of(body, PREFIX)
            if owner is not None and owner.key == hr.key:
                await self._client.delete(resource, key.name, key.namespace, uid=body["metadata"]["uid"])
        except NotFound:
            return

    async def _make(self, hr: HelmRelease) -> None:
        """See to it that the HelmChart of `hr` is as wished."""
        key, body = hr.chart_key, _helm_chart(hr, self._fetches)
        assert key is not None  # noqa: S101 - asked only where there is one
        known = self._standing.stores.get(HELM_CHART.kind, {}).get(key)
        if isinstance(known, HelmChart):
            holder = Owner.of({"metadata": {"labels": known.metadata.labels}}, PREFIX)
            if holder is not None and holder.key != hr.key and not known.metadata.deleted:
                # `a-b` in `x` and `b` in `x-a` have one name for their charts
                raise Transient(
                    names.Reason.ARTIFACT_FAILED,
                    f"HelmChart {key} belongs to the HelmRelease {holder.key}: give this one another name, or delete "
                    "the HelmChart if that one is no more",
                    hopeless=True,
                )
            if _is_as_wished(known, body) and not self._strays(known, body):
                return
        resource = await self._client.discovery.find(HELM_CHART)
        answer = await self._client.apply(
            resource, key.name, key.namespace, body, field_manager=names.HELM_MANAGER, type=HelmChart
        )
        self._made[key] = answer.metadata.generation
        self._foreign[key] = answer.metadata.labels.get(names.SHARD_LABEL)

    def _strays(self, known: HelmChart, body: Body) -> bool:
        """Whether the chart is still of the shard that its release has left. A label that somebody else set stays."""
        shard = known.metadata.labels.get(names.SHARD_LABEL)
        if self._fetches is None or shard == body["metadata"]["labels"].get(names.SHARD_LABEL):
            return False
        return known.key not in self._foreign or self._foreign[known.key] != shard

    def _offered(self, hr: HelmRelease, source: SourceId) -> Published:
        """What `source` offers for its spec as it is now."""
        item: Offering | None = self._standing.stores.get(source.kind, {}).get(source.key)
        if item is None:
            why = "is being made" if hr.chart_key is not None else "does not exist: create it, or change spec.chartRef"
            raise Waiting(names.Reason.ARTIFACT_FAILED, f"{source} {why}", after=hr.spec.interval_s)
        condition = find(item.status.conditions, names.ConditionType.READY)
        stale = item.metadata.generation < self._made.get(source.key, 0) or not current(item)
        if stale or condition is None or condition.status != "True":
            said = f": {condition.message}" if condition is not None and condition.message and not stale else ""
            raise Waiting(names.Reason.ARTIFACT_FAILED, f"{source} is not ready{said}", after=hr.spec.interval_s)
        published, artifact = self._sources.get(source), item.status.artifact
        if published is None or artifact is None or published.artifact.digest != artifact.digest:
            problem = self._sources.problem(source)
            told = OnItsWay if published is not None and not problem else Waiting
            why = problem or "its artifact is on its way"
            raise told(names.Reason.ARTIFACT_FAILED, f"{source}: {why}", after=hr.spec.interval_s)
        return published

    async def _chart(self, snapshot: Snapshot, source: SourceId) -> Chart:
        digest = snapshot.tree.digest
        if (known := self._charts.get(digest)) is not None:
            self._charts.move_to_end(digest)
            return known
        try:
            chart = await asyncio.to_thread(_read, snapshot, f"the artifact of {source}")
        except BadChart as problem:
            raise Terminal(names.Reason.ARTIFACT_FAILED, str(problem)) from problem
        self._charts[digest] = chart
        if len(self._charts) > _REMEMBERED:
            self._charts.popitem(last=False)
        return chart


def source_of(hr: HelmRelease) -> SourceId:
    """Whose artifact the chart of `hr` is."""
    if (key := hr.chart_key) is not None:
        return SourceId(HELM_CHART.kind, key)
    ref = hr.spec.chart_ref
    assert ref is not None  # noqa: S101 - the API server admits no object without
    return SourceId(ref.kind, Key(ref.namespace or hr.metadata.namespace, ref.name))


def _read(snapshot: Snapshot, where: str) -> Chart:
    tree: Tree = snapshot.tree
    if tree.get(CHART_FILE) is not None:
        return of_directory(snapshot, "")
    return of_archive(snapshot.store, tree, where)


def _helm_chart(hr: HelmRelease, fetches: Selects | None) -> Body:
    key, template = hr.chart_key, hr.spec.chart
    assert key is not None  # noqa: S101
    assert template is not None  # noqa: S101
    spec = msgspec.to_builtins(template.spec)
    spec["interval"] = template.spec.interval or hr.spec.interval
    spec["sourceRef"] = {name: value for name, value in spec["sourceRef"].items() if name != "namespace"}
    metadata = template.metadata
    labels = dict(metadata.labels) if metadata is not None else {}
    body: Body = {
        "apiVersion": HELM_CHART.api_version,
        "kind": HELM_CHART.kind,
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "labels": {**labels, **_shard(hr, labels, fetches), **Owner(PREFIX, hr.key).labels},
        },
        "spec": spec,
    }
    if metadata is not None and metadata.annotations:
        body["metadata"]["annotations"] = dict(metadata.annotations)
    return body


def _shard(hr: HelmRelease, labels: Mapping[str, str], fetches: Selects | None) -> dict[str, str]:
    """The label that has the chart of `hr` fetched by the process of `hr`, where its own do not and say no other.

    Flux gives a chart the labels of the template alone: one without them is of another shard than its release, or of
    none that anybody looks after.
    """
    shard = hr.metadata.labels.get(names.SHARD_LABEL)
    if fetches is None or shard is None or names.SHARD_LABEL in labels or fetches(labels):
        return {}
    inherited = {names.SHARD_LABEL: shard}
    return inherited if fetches({**labels, **inherited}) else {}


def _is_as_wished(known: HelmChart, body: Body) -> bool:
    """Whether nothing has to be written; what others have put on it besides is left alone."""
    wished = msgspec.convert(body, HelmChart)
    metadata = wished.metadata
    return (
        not known.metadata.deleted
        and known.spec == wished.spec
        and metadata.labels.items() <= known.metadata.labels.items()
        and metadata.annotations.items() <= known.metadata.annotations.items()
    )
