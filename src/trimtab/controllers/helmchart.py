"""What is particular to a HelmChart: find its source, see which version is meant, and pull or pack it if it is new."""

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

from trimtab.api import names
from trimtab.api.gvk import HELM_CHART, HELM_REPOSITORY
from trimtab.api.helm import HelmChart, HelmChartStatus, HelmRepository, ReconcileStrategy
from trimtab.artifacts.publish import Form
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Tree
from trimtab.base.errors import Terminal, Transient, Waiting
from trimtab.base.traces import after, span
from trimtab.controllers import helmaccess, supported
from trimtab.controllers.dependencycharts import DependencyCharts
from trimtab.controllers.index import Published, SourceId, SourceIndex
from trimtab.controllers.ociverification import Signers, check_verification
from trimtab.controllers.producing import Produced, Status
from trimtab.controllers.standing import Stores
from trimtab.kube.client import Client
from trimtab.manifests.conditions import find
from trimtab.remotes.helm.catalogue import choose
from trimtab.remotes.oci.wire import PullFailed
from trimtab.sources.charts import build, registry
from trimtab.sources.charts.build import BadDependency, BadReference, BadValues, Built, Options
from trimtab.sources.charts.metadata import BadChart
from trimtab.sources.helm import HelmSource, HelmSpec
from trimtab.sources.oci import OciSource

MADE_FROM: Final = "trimtab.dev/made-from"
"""Key in the artifact's metadata: tells apart what the chart was made from, where the version alone does not."""
_REVISION_CHARS = 12  # as in Flux: it goes into labels, which are short
_LEAST_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Origins:
    """Where charts come from."""

    store: Store
    helm: HelmSource
    oci: OciSource
    index: SourceIndex
    objects: Stores


@dataclass(frozen=True, slots=True)
class _Look:
    """One look of one object, and what was there before it."""

    item: HelmChart
    status: HelmChartStatus
    held: Snapshot | None

    def is_at(self, name: str, version: str, mark: str) -> bool:
        """Whether what would be made is what is there."""
        artifact, held = self.status.artifact, self.held
        return (
            artifact is not None
            and held is not None
            and artifact.revision == held.revision == version
            and artifact.metadata.get(MADE_FROM) == mark
            and self.status.observed_chart_name == name
        )

    @property
    def is_current(self) -> bool:
        """Whether what is there was made as the object says now."""
        artifact, generation = self.status.artifact, self.item.metadata.generation
        return (
            artifact is not None
            and self.held is not None
            and artifact.revision == self.held.revision
            and self.status.observed_generation == generation
        )

    def kept(self, source_revision: str, verified: str = "") -> Produced:
        """What is there, once more."""
        artifact = self.status.artifact
        assert artifact is not None  # noqa: S101 - it was compared
        assert self.held is not None  # noqa: S101
        said = find(self.status.conditions, names.ConditionType.ARTIFACT_IN_STORAGE)
        return Produced(
            self.held,
            artifact.metadata,
            artifact.digest.removeprefix("sha256:"),
            {"observed_source_artifact_revision": source_revision},
            verified,
            form=_form(self.status.observed_chart_name, artifact.revision),
            reason=said.reason if said else names.Reason.CHART_PULL_SUCCEEDED,
            message=said.message if said else "",
        )

    def made(self, built: Built, store: Store, mark: str, source_revision: str, verified: str = "") -> Produced:
        """What was made."""
        done = names.Reason.CHART_PACKAGE_SUCCEEDED if built.packaged else names.Reason.CHART_PULL_SUCCEEDED
        message = f"{'packaged' if built.packaged else 'pulled'} '{built.name}' chart with version '{built.version}'"
        if built.values_files:
            message += f" and merged values files {', '.join(built.values_files)}"
        return Produced(
            Snapshot(store, built.tree, built.version),
            {MADE_FROM: mark},
            built.archive,
            {
                "observed_source_artifact_revision": source_revision,
                "observed_chart_name": built.name,
                "observed_values_files": built.values_files,
            },
            verified,
            form=_form(built.name, built.version),
            reason=done,
            message=message,
        )


class HelmChartProducer:
    """Charts as snapshots of their files, published as the archives that they are."""

    gvk = HELM_CHART

    def __init__(self, client: Client, origins: Origins, dependencies: DependencyCharts) -> None:
        self._client = client
        self._origins = origins
        self._dependencies = dependencies
        self._signers = Signers(client, origins.oci)

    def check(self, item: HelmChart) -> None:
        """Raise Terminal for what is not served, or makes no sense."""
        supported.check_helm_chart(item)
        if item.spec.verify is not None and item.spec.source_ref.kind != HELM_REPOSITORY.kind:
            raise Terminal(
                names.Reason.VERIFICATION_ERROR,
                "spec.verify is only for charts from a HelmRepository whose charts are in a registry: remove it",
            )
        if item.spec.verify is not None:
            check_verification(item.spec.verify)

    async def produce(self, item: HelmChart, status: Status, held: Snapshot | None) -> Produced:
        """The chart that the spec means now, pulled or packed again only if it is another one."""
        assert isinstance(status, HelmChartStatus)  # noqa: S101 - each kind has its own
        look = _Look(item, status, held)
        if item.spec.source_ref.kind != HELM_REPOSITORY.kind:
            return await self._of_artifact(look)
        repository = self._origins.objects.get(HELM_REPOSITORY.kind, {}).get(item.source_key)
        if not isinstance(repository, HelmRepository):
            raise _missing(item)
        supported.check_helm_repository(repository)
        if repository.spec.static:
            return await self._of_registry(look, repository)
        return await self._of_web_server(look, repository)

    async def _of_web_server(self, look: "_Look", repository: HelmRepository) -> Produced:
        item = look.item
        if item.spec.verify is not None:
            raise Terminal(
                names.Reason.VERIFICATION_ERROR,
                f"HelmRepository {repository.key} is not a registry (type: oci), and only there charts have "
                "signatures: remove spec.verify, or take the chart from a registry",
            )
        if (published := self._published(look)) is None:
            return look.kept(look.status.observed_source_artifact_revision)
        spec = HelmSpec.from_api(repository.spec)
        catalogue = await self._origins.helm.catalogue(published.snapshot)
        name, wanted = item.spec.chart, item.spec.version
        versions = await asyncio.to_thread(catalogue.versions, name)
        try:
            entry = await asyncio.to_thread(choose, versions, wanted)
        except ValueError as problem:
            raise Terminal(names.Reason.INVALID_CHART_REFERENCE, f"spec.version: {problem}") from problem
        if entry is None:
            what = f"no version that {wanted!a} admits among {len(versions)}" if versions else "no such chart"
            hint = f"; {catalogue.left_out} entries were left out, such as {catalogue.example}"
            raise Terminal(
                names.Reason.INVALID_CHART_REFERENCE,
                f"HelmRepository {repository.key} has {what} of the name {name[:200]!a}"
                f"{hint if catalogue.left_out else ''}",
            )
        options = _options(item, "")
        mark = _mark(name, entry.version, entry.digest or f"{spec.url} {entry.url}")
        revision = published.artifact.revision
        with _pulling():
            version = build.version_with(entry.version, options)
        if look.is_at(name, version, mark):
            return look.kept(revision)
        where = f"chart {name} {entry.version} of HelmRepository {repository.key}"
        access = await helmaccess.of_web_server(self._client, repository)
        with span("fetch"):
            pulled = await self._origins.helm.pull(spec, access, entry, where)
        built = await self._built(pulled.tree, pulled.archive, options, where, name, entry.version)
        return look.made(built, self._origins.store, mark, revision)

    async def _of_registry(self, look: "_Look", repository: HelmRepository) -> Produced:
        item = look.item
        try:
            timeout_s = repository.spec.timeout_s
        except ValueError as problem:
            raise Terminal(names.Reason.URL_INVALID, f"spec.timeout of HelmRepository: {problem}") from problem
        place = registry.repository_of(repository.spec.url, item.spec.chart, insecure=repository.spec.insecure)
        access = await helmaccess.of_registry(self._client, repository, place)
        try:
            version = await registry.version_of(self._origins.oci, place, access, item.spec.version, timeout_s)
        except BadReference as problem:
            # Nobody tells us of a new tag.
            raise Transient(names.Reason.INVALID_CHART_REFERENCE, str(problem)) from problem
        with _pulling():
            spec = registry.spec_of(place, version, timeout_s)
            head = await self._origins.oci.look(spec, access)
            with span("verify") if item.spec.verify is not None else nullcontext():
                signer = await self._signers.check(item, spec, access, head)
            verified = f"is signed by {signer}" if signer else ""
        name, options = place.path.rpartition("/")[2], _options(item, "")
        mark = _mark(str(place), version, head.digest)
        with _pulling():
            if look.is_at(name, build.version_with(version, options), mark):
                return look.kept("", verified)
            with span("fetch"):
                pulled = await self._origins.oci.fetch(spec, access, head)
        where = f"chart {place}:{head.tag}"
        built = await self._built(pulled.snapshot.tree, pulled.layer, options, where, name, version)
        return look.made(built, self._origins.store, mark, "", verified)

    async def _of_artifact(self, look: "_Look") -> Produced:
        item = look.item
        if (published := self._published(look)) is None:
            return look.kept(look.status.observed_source_artifact_revision)
        revision, snapshot = published.artifact.revision, published.snapshot
        whole = item.spec.reconcile_strategy == ReconcileStrategy.REVISION
        options = _options(item, revision.rpartition(":")[2][:_REVISION_CHARS] if whole else "")
        with _building():
            chart = await asyncio.to_thread(build.at, snapshot, item.spec.chart)
            version = build.version_with(chart.metadata.version, options)
        # By the strategy ChartVersion a change without a new version is none: whoever writes it asks for just that.
        mark = _mark(item.spec.source_ref.kind, item.spec.source_ref.name, item.spec.chart)
        if look.is_at(chart.metadata.name, version, mark):
            return look.kept(revision)
        with _building():
            fetch = self._dependencies.of(item.metadata.namespace)
            with span("build"):
                built = await build.of_source(snapshot, item.spec.chart, chart, options, fetch)
        return look.made(built, self._origins.store, mark, revision)

    async def _built(self, tree: Tree, archive: str, options: Options, where: str, name: str, version: str) -> Built:
        with span("build"), _pulling():
            return await asyncio.to_thread(
                build.of_archive, self._origins.store, tree, archive, options, where, name=name, version=version
            )

    def _published(self, look: _Look) -> Published | None:
        """What the source published. None if it was not looked at since we run, which it will be in a moment.

        Raises Waiting where there is nothing to wait for but an artifact.
        """
        item = look.item
        kind, key = item.spec.source_ref.kind, item.source_key
        published = self._origins.index.get(SourceId(kind, key))
        source = self._origins.objects.get(kind, {}).get(key)
        if published is not None:
            if source is not None:
                after(published.artifact.revision, source.metadata.uid)
            return published
        if source is None:
            raise _missing(item)
        if source.status.artifact is not None and look.is_current:
            return None
        raise Waiting(
            names.Reason.NO_SOURCE_ARTIFACT,
            f"{kind} {key} has no artifact yet: see its status",
            after=max(item.spec.interval_s, _LEAST_WAIT_S),
        )


def _missing(item: HelmChart) -> Waiting:
    return Waiting(
        names.Reason.SOURCE_UNAVAILABLE,
        f"{item.spec.source_ref.kind} {item.source_key} does not exist: create it, or change spec.sourceRef",
        after=max(item.spec.interval_s, _LEAST_WAIT_S),
    )


def _options(item: HelmChart, revision: str) -> Options:
    """What is to be made of a chart. As in Flux, other values are told apart by the generation of the object."""
    spec = item.spec
    marks = [revision] if revision else []
    marks += [str(item.metadata.generation)] if spec.values_files else []
    return Options(spec.values_files, spec.ignore_missing_values_files, ".".join(marks))


def _mark(*parts: str) -> str:
    return f"sha256:{hashlib.sha256(repr(parts).encode()).hexdigest()}"


def _form(name: str, version: str) -> Form:
    return Form(".tgz", f"{name}-latest.tgz", f"{name}-{version}")


@contextmanager
def _pulling() -> Iterator[None]:
    """What is wrong with a chart that somebody else published may be put right there at any time."""
    try:
        yield
    except BadValues as problem:
        raise Transient(names.Reason.VALUES_FILES_ERROR, str(problem)) from problem
    except BadChart as problem:
        raise Transient(names.Reason.CHART_PULL_ERROR, str(problem)) from problem
    except PullFailed as problem:
        raise Transient(names.Reason.CHART_PULL_ERROR, problem.message, retry_after=problem.retry_after) from problem


@contextmanager
def _building() -> Iterator[None]:
    """What is wrong with a chart in a source is wrong until the source changes."""
    try:
        yield
    except BadReference as problem:
        raise Terminal(names.Reason.INVALID_CHART_REFERENCE, str(problem)) from problem
    except BadValues as problem:
        raise Terminal(names.Reason.VALUES_FILES_ERROR, str(problem)) from problem
    except BadDependency as problem:
        # a dependency is somewhere else, and may come there, or be put right, at any time
        raise Transient(names.Reason.DEPENDENCY_BUILD_ERROR, str(problem), hopeless=True) from problem
    except BadChart as problem:
        raise Terminal(names.Reason.CHART_PACKAGE_ERROR, str(problem)) from problem
