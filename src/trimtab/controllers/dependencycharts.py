"""The charts that a chart in git wants from elsewhere: from HelmRepositories beside it, or from public places.

The address of a dependency is written by whoever writes the chart. Where a HelmRepository of the same namespace has it,
the owner of the namespace has written it too, and lends his credentials; otherwise nobody is signed in, and nothing
private is called.
"""

import asyncio
from collections import OrderedDict
from typing import Final, NamedTuple

from trimtab.api.gvk import HELM_REPOSITORY
from trimtab.api.helm import HelmRepository, HelmRepositorySpec
from trimtab.api.meta import ObjectMeta
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Tree
from trimtab.base.errors import TrimtabError
from trimtab.controllers import helmaccess
from trimtab.controllers.index import SourceId, SourceIndex
from trimtab.controllers.standing import Stores
from trimtab.kube.client import Client
from trimtab.remotes.helm.catalogue import choose
from trimtab.sources.charts import chart as charts
from trimtab.sources.charts import registry
from trimtab.sources.charts.build import BadDependency
from trimtab.sources.charts.chart import Chart
from trimtab.sources.charts.dependencies import Fetch
from trimtab.sources.charts.metadata import Dependency, same_version
from trimtab.sources.helm import Access, HelmSource, HelmSpec, Validators
from trimtab.sources.oci import OciSource

_MOST_INDEXES: Final = 64


class Reach(NamedTuple):
    """The sources by which one may go out: as the owner of an object, or for strangers, to public addresses only."""

    helm: HelmSource
    oci: OciSource


class DependencyCharts:
    """Has the dependencies of charts. One per process: it remembers the indexes of places without an object."""

    def __init__(
        self, client: Client, store: Store, owner: Reach, stranger: Reach, index: SourceIndex, objects: Stores
    ) -> None:
        self._client = client
        self._store = store
        self._owner = owner
        self._stranger = stranger
        self._index = index
        self._objects = objects
        self._indexes: OrderedDict[str, tuple[Snapshot, Validators]] = OrderedDict()

    def of(self, namespace: str) -> Fetch:
        """How a chart of `namespace` has its dependencies fetched. What goes wrong is BadDependency, or Transient."""

        async def fetch(wanted: Dependency) -> Chart:
            scheme, separator, _ = wanted.repository.partition("://")
            if not separator or scheme not in ("https", "http", "oci"):
                raise BadDependency(
                    f"the dependency {wanted} is to come from {_shown(wanted.repository)}: only https, oci and file "
                    "are followed. Write the address of the repository there, or put the chart into charts/"
                )
            found = self._object(namespace, wanted.repository)
            if scheme == "http" and found is None:
                raise BadDependency(
                    f"the dependency {wanted} is to come from {_shown(wanted.repository)} by plain HTTP: make a "
                    "HelmRepository with this address, use https, or put the chart into charts/"
                )
            get = self._of_registry if scheme == "oci" else self._of_web_server
            try:
                return await get(wanted, found)
            except TrimtabError as problem:
                # The way out is a person's: in the repository of the chart, or by an object beside it.
                problem.message = (
                    f"the dependency {wanted}: {problem.message}. If nobody is to be asked, put the chart into charts/"
                )
                raise

        return fetch

    def _object(self, namespace: str, url: str) -> HelmRepository | None:
        for key, item in self._objects.get(HELM_REPOSITORY.kind, {}).items():
            if key.namespace == namespace and isinstance(item, HelmRepository) and _same(item.spec.url, url):
                return item
        return None

    async def _of_web_server(self, wanted: Dependency, item: HelmRepository | None) -> Chart:
        if item is None:
            spec, access, helm = (
                HelmSpec.from_api(HelmRepositorySpec(url=wanted.repository)),
                Access(),
                self._stranger.helm,
            )
            index = await self._look(spec, str(spec.url))
        else:
            spec, helm = HelmSpec.from_api(item.spec), self._owner.helm
            access = await helmaccess.of_web_server(self._client, item)
            published = self._index.get(SourceId(HELM_REPOSITORY.kind, item.key))
            index = published.snapshot if published else (await helm.look(spec, access, None, None)).snapshot
        catalogue = await helm.catalogue(index)
        try:
            entry = await asyncio.to_thread(choose, catalogue.versions(wanted.name), wanted.version)
        except ValueError as problem:
            raise BadDependency(f"the dependency {wanted.name}: {problem}") from problem
        if entry is None:
            raise BadDependency(f"{wanted.repository[:200]!a} has no chart {wanted}")
        where = f"chart {wanted.name} {entry.version} of {wanted.repository}"
        pulled = await helm.pull(spec, access, entry, where)
        return await self._read(pulled.tree, where, entry.version)

    async def _of_registry(self, wanted: Dependency, item: HelmRepository | None) -> Chart:
        reach = self._owner if item is not None else self._stranger
        spec = item.spec if item is not None else HelmRepositorySpec(url=wanted.repository)
        place = registry.repository_of(wanted.repository, wanted.name, insecure=spec.insecure)
        described = item or HelmRepository(metadata=ObjectMeta(), spec=spec)
        access = await helmaccess.of_registry(self._client, described, place)
        version = await registry.version_of(reach.oci, place, access, wanted.version, spec.timeout_s)
        pull = registry.spec_of(place, version, spec.timeout_s)
        head = await reach.oci.look(pull, access)
        pulled = await reach.oci.fetch(pull, access, head)
        return await self._read(pulled.snapshot.tree, f"chart {place}:{head.tag}", version)

    async def _look(self, spec: HelmSpec, url: str) -> Snapshot:
        """The index of a place that no object describes, asked for again each time, as cheaply as can be."""
        held, validators = self._indexes.get(url, (None, None))
        looked = await self._stranger.helm.look(spec, Access(), held, validators)
        self._indexes[url] = (looked.snapshot, looked.validators)
        self._indexes.move_to_end(url)
        while len(self._indexes) > _MOST_INDEXES:
            self._indexes.popitem(last=False)
        return looked.snapshot

    async def _read(self, tree: Tree, where: str, version: str) -> Chart:
        chart = await asyncio.to_thread(charts.of_archive, self._store, tree, where)
        if not same_version(chart.metadata.version, version):
            raise BadDependency(f"{where}: the chart inside says that its version is {chart.metadata.version}")
        return chart


def _shown(address: str) -> str:
    """An address as it may be shown: without a name and a password."""
    scheme, separator, rest = address.partition("://")
    return ascii(f"{scheme}{separator}{rest.rpartition('@')[2]}"[:200])


def _same(one: str, other: str) -> bool:
    return one.rstrip("/") == other.rstrip("/")
