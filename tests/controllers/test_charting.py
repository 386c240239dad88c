"""Which chart a release gets, which HelmChart is made for it, and what is waited for; sources are doubles."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from trimtab.api.gvk import HELM_CHART
from trimtab.api.helm import HelmChart
from trimtab.api.helmrelease import HelmRelease
from trimtab.api.helmreleasestatus import HelmReleaseStatus
from trimtab.base.errors import Terminal, Transient, Waiting
from trimtab.controllers.charting import Charting, _helm_chart, source_of
from trimtab.controllers.index import SourceId
from trimtab.kube.client import Client
from trimtab.manifests.refs import Key
from trimtab.manifests.selectors import parse


def release(home: str = "ns", name: str = "app", **spec: Any) -> HelmRelease:
    source = {"kind": "GitRepository", "name": "repo"}
    chart = {"chart": {"spec": {"chart": "app", "sourceRef": source}}} if "chartRef" not in spec else {}
    meta = {"name": name, "namespace": home, "uid": "u"}
    return msgspec.convert({"metadata": meta, "spec": {"interval": "1h", **chart, **spec}}, HelmRelease)


class Around:
    """A charting whose sources are what a test says."""

    def __init__(self, client: Client, *, denied: str = "") -> None:
        self.client = client
        self.charts: dict[Key, Any] = {}
        self.stores: dict[str, dict[Key, Any]] = {HELM_CHART.kind: self.charts}
        self.published: Any = None

        async def check_source(_own: str, other: str) -> None:
            if other == denied:
                raise Terminal("AccessDenied", f"sources of namespace {other} may not be used")

        sources = SimpleNamespace(get=lambda _: self.published, problem=lambda _: "")
        standing, access = SimpleNamespace(stores=self.stores), SimpleNamespace(check_source=check_source)
        self.charting = Charting(client, sources, standing, access)  # type: ignore[arg-type]

    async def see(self, hr: HelmRelease) -> HelmChart:
        """Look at the HelmChart on the server, as an informer does."""
        key = hr.chart_key
        assert key is not None
        resource = await self.client.discovery.find(HELM_CHART)
        chart: HelmChart = await self.client.get(resource, key.name, key.namespace, type=HelmChart)
        self.charts[key] = chart
        return chart


def test_a_chart_comes_from_its_own_object_or_from_the_one_that_is_named() -> None:
    assert source_of(release()) == SourceId("HelmChart", Key("ns", "ns-app"))
    ref = {"kind": "OCIRepository", "name": "charts"}
    assert source_of(release(chartRef=ref)) == SourceId("OCIRepository", Key("ns", "charts"))
    assert source_of(release(chartRef={**ref, "namespace": "n2"})).key == Key("n2", "charts")


async def test_a_helmchart_is_made_with_the_name_of_its_release_and_waited_for(client: Client, home: str) -> None:
    around, hr = Around(client), release(home)
    with pytest.raises(Waiting, match="is being made"):
        await around.charting.resolve(hr)
    made = await around.see(hr)
    assert made.metadata.labels["helm.toolkit.fluxcd.io/name"] == "app"
    assert (made.spec.chart, made.spec.interval) == ("app", "1h")
    with pytest.raises(Waiting, match="is not ready"):
        await around.charting.resolve(hr)


async def test_a_helmchart_that_is_as_wished_is_not_written_again_and_another_one_is(client: Client, home: str) -> None:
    around, hr = Around(client), release(home)
    for wish in (hr, hr):
        with pytest.raises(Waiting):
            await around.charting.resolve(wish)
        version = (await around.see(hr)).metadata.resource_version
    with pytest.raises(Waiting):
        await around.charting.resolve(hr)
    assert (await around.see(hr)).metadata.resource_version == version
    with pytest.raises(Waiting):
        await around.charting.resolve(release(home, interval="2h"))
    assert (await around.see(hr)).spec.interval == "2h"


async def test_a_helmchart_of_another_release_is_left_to_it(client: Client, home: str) -> None:
    around, first = Around(client), release(home)
    with pytest.raises(Waiting):
        await around.charting.resolve(first)
    made = await around.see(first)
    second = msgspec.structs.replace(release(home, "other"), spec=first.spec)
    assert second.chart_key is not None
    around.charts[second.chart_key] = made
    with pytest.raises(Transient, match=f"belongs to the HelmRelease {home}/app: give this one another name"):
        await around.charting.resolve(second)


async def test_a_source_of_a_namespace_that_does_not_share_is_not_used(client: Client) -> None:
    source = {"kind": "GitRepository", "name": "repo", "namespace": "shut"}
    hr = release(chart={"spec": {"chart": "app", "sourceRef": source}})
    with pytest.raises(Terminal, match="may not be used"):
        await Around(client, denied="shut").charting.resolve(hr)


async def test_what_is_named_and_does_not_exist_is_told_with_the_way_out(client: Client) -> None:
    hr = release(chartRef={"kind": "OCIRepository", "name": "charts"})
    with pytest.raises(Waiting, match=r"OCIRepository/ns/charts does not exist: create it, or change spec\.chartRef"):
        await Around(client).charting.resolve(hr)


async def test_the_helmchart_goes_with_its_release_and_that_of_another_stays(client: Client, home: str) -> None:
    around, hr = Around(client), release(home)
    with pytest.raises(Waiting):
        await around.charting.resolve(hr)
    key = hr.chart_key
    assert key is not None
    status = HelmReleaseStatus(helm_chart=f"{home}/{key.name}")
    await around.charting.let_go(hr, status, leaving=False)
    await around.charting.let_go(release(home, "other"), status, leaving=True)
    await around.see(hr)
    await around.charting.let_go(hr, status, leaving=True)
    resource = await client.discovery.find(HELM_CHART)
    names = [item["metadata"]["name"] for item in (await client.list(resource, home)).items]
    assert names == []
    await around.charting.let_go(hr, status, leaving=True)  # what is gone is as good


@pytest.mark.parametrize(
    ("selector", "template", "given"),
    [
        ("sharding.fluxcd.io/key=one", {}, "one"),
        ("sharding.fluxcd.io/key=one", {"sharding.fluxcd.io/key": "two"}, "two"),
        ("sharding.fluxcd.io/key notin (two)", {}, None),
        ("team=web", {}, None),
        ("team=web,sharding.fluxcd.io/key=one", {"team": "web"}, "one"),
        ("", {}, None),
    ],
    ids=["its own is none", "its own is another", "selected as it is", "of no use", "with others", "nothing is shared"],
)
def test_a_helmchart_gets_the_shard_of_its_release_where_that_has_it_fetched_by_the_same_process(
    selector: str, template: dict[str, str], given: str | None
) -> None:
    source = {"kind": "GitRepository", "name": "repo"}
    hr = release(chart={"metadata": {"labels": template}, "spec": {"chart": "app", "sourceRef": source}})
    hr.metadata.labels["sharding.fluxcd.io/key"] = "one"
    body = _helm_chart(hr, parse(selector) if selector else None)
    assert body["metadata"]["labels"].get("sharding.fluxcd.io/key") == given
