"""Which releases are of which source, and wait for which: as it is now, whatever it was."""

from typing import Any

import msgspec

from trimtab.api.helmrelease import HelmRelease
from trimtab.controllers.index import SourceId
from trimtab.controllers.releaselinks import ReleaseLinks
from trimtab.manifests.refs import Key

CHART = {"chart": {"spec": {"chart": "c", "sourceRef": {"kind": "GitRepository", "name": "repo"}}}}


def release(name: str, **spec: Any) -> HelmRelease:
    wish = {"interval": "1m", **(spec if "chartRef" in spec else CHART | spec)}
    return msgspec.convert({"metadata": {"name": name, "namespace": "apps"}, "spec": wish}, HelmRelease)


def test_a_release_is_found_by_its_own_chart_and_by_what_it_waits_for() -> None:
    links = ReleaseLinks()
    links.take(release("db"))
    links.take(release("web", dependsOn=[{"name": "db"}]))
    assert links.of_source(SourceId("HelmChart", Key("apps", "apps-web"))) == (Key("apps", "web"),)
    assert links.dependents(Key("apps", "db")) == (Key("apps", "web"),)
    assert links.dependents(Key("apps", "web")) == ()


def test_releases_of_one_chart_are_all_found() -> None:
    links = ReleaseLinks()
    for name in ("one", "two"):
        links.take(release(name, chartRef={"kind": "OCIRepository", "name": "chart"}))
    found = links.of_source(SourceId("OCIRepository", Key("apps", "chart")))
    assert sorted(key.name for key in found) == ["one", "two"]


def test_what_a_release_was_before_is_forgotten() -> None:
    links = ReleaseLinks()
    links.take(release("web", dependsOn=[{"name": "db"}]))
    links.take(release("web", chartRef={"kind": "OCIRepository", "name": "chart"}))
    assert links.of_source(SourceId("HelmChart", Key("apps", "apps-web"))) == ()
    assert links.dependents(Key("apps", "db")) == ()
    links.drop(Key("apps", "web"))
    assert links.of_source(SourceId("OCIRepository", Key("apps", "chart"))) == ()
    assert links._releases == links._linked == {}
