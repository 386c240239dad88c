"""What a HelmChart does before its source was looked at, and where its dependencies may not come from."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimtab.api.helm import HelmChart, HelmRepository
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Tree
from trimtab.base.errors import Terminal, Waiting
from trimtab.controllers.dependencycharts import DependencyCharts
from trimtab.controllers.helmchart import HelmChartProducer, Origins
from trimtab.controllers.index import SourceIndex
from trimtab.sources.charts.build import BadDependency
from trimtab.sources.charts.metadata import Dependency
from trimtab.sources.helm import HelmSource

ARTIFACT = {
    "path": "x",
    "url": "http://x/x",
    "revision": "1.0.0",
    "digest": "sha256:" + "0" * 64,
    "lastUpdateTime": "2026-01-01T00:00:00Z",
}


def chart(**status: Any) -> HelmChart:
    body = {
        "metadata": {"name": "app", "namespace": "ns", "generation": 2},
        "spec": {"chart": "app", "interval": "1h", "sourceRef": {"kind": "HelmRepository", "name": "charts"}},
        "status": status,
    }
    return msgspec.convert(body, HelmChart)


def repository(**status: Any) -> HelmRepository:
    body = {"metadata": {"name": "charts", "namespace": "ns"}, "spec": {"url": "https://h/x"}, "status": status}
    return msgspec.convert(body, HelmRepository)


def producer(store: Store, *repositories: HelmRepository) -> HelmChartProducer:
    objects = {"HelmRepository": {item.key: item for item in repositories}}
    nothing: Any = None
    return HelmChartProducer(
        nothing, Origins(store, HelmSource(store, nothing), nothing, SourceIndex(), objects), nothing
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


async def test_right_after_a_start_what_is_there_stays_until_the_source_was_looked_at(store: Store) -> None:
    stored = {
        "type": "ArtifactInStorage",
        "status": "True",
        "reason": "ChartPackageSucceeded",
        "message": "packaged 'app' chart with version '1.0.0'",
    }
    item = chart(
        observedGeneration=2,
        observedChartName="app",
        observedSourceArtifactRevision="sha256:1",
        artifact=ARTIFACT,
        conditions=[stored],
    )
    held = Snapshot(store, Tree.of([]), "1.0.0")
    kept = await producer(store, repository(artifact=ARTIFACT)).produce(item, item.status, held)
    assert kept.snapshot is held
    assert (kept.reason, kept.message) == (stored["reason"], stored["message"])
    assert kept.observed == {"observed_source_artifact_revision": "sha256:1"}
    assert kept.archive == "0" * 64


@pytest.mark.parametrize(
    ("generation", "published", "held"), [(1, True, True), (2, False, True), (2, True, False)], ids=str
)
async def test_but_not_if_it_was_made_of_another_spec_or_is_not_there(
    store: Store, generation: int, published: bool, held: bool
) -> None:
    item = chart(observedGeneration=generation, observedChartName="app", artifact=ARTIFACT)
    source = repository(artifact=ARTIFACT) if published else repository()
    with pytest.raises(Waiting, match="has no artifact yet") as waiting:
        await producer(store, source).produce(
            item, item.status, Snapshot(store, Tree.of([]), "1.0.0") if held else None
        )
    assert waiting.value.reason == "NoSourceArtifact"


@pytest.mark.parametrize("kind", ["GitRepository", "Bucket"])
def test_a_signature_that_nobody_would_look_at_is_not_asked_for(store: Store, kind: str) -> None:
    body = {
        "metadata": {"name": "app", "namespace": "ns"},
        "spec": {
            "chart": "app",
            "interval": "1h",
            "sourceRef": {"kind": kind, "name": "charts"},
            "verify": {"provider": "cosign", "secretRef": {"name": "keys"}},
        },
    }
    with pytest.raises(Terminal, match=r"spec\.verify is only for charts from a HelmRepository") as refused:
        producer(store).check(msgspec.convert(body, HelmChart))
    assert refused.value.reason == "VerificationError"


@pytest.mark.parametrize("address", ["http://user:s3cret@h/x", "s3://user:s3cret@h/x", "https://user:s3cret@h/x"])
async def test_an_address_with_a_password_in_a_chart_is_refused_without_repeating_it(
    store: Store, address: str
) -> None:
    nothing: Any = None
    fetch = DependencyCharts(nothing, store, nothing, nothing, SourceIndex(), {}).of("ns")
    with pytest.raises(Exception, match="the dependency lib 1") as refused:
        await fetch(Dependency("lib", "1", address))
    assert "s3cret" not in str(refused.value)
    assert isinstance(refused.value, BadDependency) or refused.value.reason == "URLInvalid"  # type: ignore[attr-defined]
