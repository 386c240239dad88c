"""A monorepo split into artifacts, each of which moves only when its own content does; and whatever may go wrong."""

import json
from typing import Any

import pytest

from tests.charts.world import chart_files
from tests.e2e.test_helm_sources import fetched
from tests.e2e.test_helm_sources import files as unpacked
from tests.e2e.world import EXTENSIONS, SOURCES, World, condition, until
from tests.registry.server import archive
from trimtab.manifests.yaml import load

ORIGIN = "org.opencontainers.image.revision"


def settings(name: str, value: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{of: {value!r}}}\n"


def path(ns: str) -> str:
    return f"{EXTENSIONS}/namespaces/{ns}/artifactgenerators"


def generator(world: World, ns: str, *artifacts: dict[str, Any], name: str = "split", **spec: Any) -> None:
    metadata = {"name": name, "namespace": ns, "annotations": spec.pop("annotations", {})}
    body = {
        "sources": [{"alias": "repo", "kind": "GitRepository", "name": "repo"}],
        "artifacts": list(artifacts),
        **spec,
    }
    kind = {"apiVersion": "source.extensions.fluxcd.io/v1beta1", "kind": "ArtifactGenerator"}
    world.api.create(path(ns), {**kind, "metadata": metadata, "spec": body})


def made(name: str, *copy: dict[str, Any], **over: Any) -> dict[str, Any]:
    return {"name": name, "copy": list(copy) or [rule(f"@repo/apps/{name}/**")], **over}


def rule(from_: str, to: str = "@artifact/", **over: Any) -> dict[str, Any]:
    return {"from": from_, "to": to, **over}


def get(world: World, ns: str, name: str = "split") -> Any:
    return world.api.get(f"{path(ns)}/{name}")


def artifact(world: World, ns: str, name: str) -> Any:
    return world.api.get(f"{SOURCES}/namespaces/{ns}/externalartifacts/{name}")


def app(world: World, ns: str, name: str, **spec: Any) -> None:
    world.app(ns, name, sourceRef={"kind": "ExternalArtifact", "name": name}, **spec)


def applied(world: World, ns: str, name: str) -> str | None:
    found = world.api.get(f"/api/v1/namespaces/{ns}/configmaps/{name}")
    return found and found["data"]["of"]


def handled(world: World, ns: str, name: str) -> str | None:
    request: str | None = world.get_app(ns, name)["status"].get("lastHandledReconcileAt")
    return request


def why(world: World, ns: str) -> str:
    found = world.api.get(path(ns))["items"] + world.api.get(f"{SOURCES}/namespaces/{ns}/externalartifacts")["items"]
    return json.dumps([[one["kind"], one["metadata"]["name"], one.get("status")] for one in found], indent=1)


def ready(world: World, ns: str, name: str = "split", sources: str = "") -> Any:
    """Wait until it is Ready at its generation, and has seen other sources than `sources`."""

    def reached() -> Any:
        item = get(world, ns, name)
        current = item["status"].get("observedGeneration") == item["metadata"]["generation"]
        moved = item["status"].get("observedSourcesDigest") != (sources or None)
        return item if condition(item, "Ready").get("status") == "True" and current and moved else None

    return until(reached, lambda: why(world, ns), 60)


def failed(world: World, ns: str, reason: str, *words: str, name: str = "split") -> str:
    def reached() -> str | None:
        found = condition(get(world, ns, name), "Ready")
        wanted = found.get("status") == "False" and found["reason"] == reason
        return found["message"] if wanted and all(word in found["message"] for word in words) else None

    message: str = until(reached, lambda: why(world, ns), 60)
    return message


def monorepo(world: World, ns: str, **more: Any) -> Any:
    repo = world.repo(ns)
    files = {f"apps/{name}/settings.yaml": settings(name, "one") for name in ("web", "api")}
    repo.commit({**files, "README.md": "hello", **more})
    world.source(ns, repo.url)
    return repo


def test_a_commit_to_one_app_moves_its_artifact_alone_and_only_that_app_applies(world: World, ns: str) -> None:
    repo = monorepo(world, ns)
    generator(world, ns, made("web", originRevision="@repo"), made("api", originRevision="@repo"))
    app(world, ns, "web")
    app(world, ns, "api")
    web, api = world.ready(ns, "web", "latest@sha256:"), world.ready(ns, "api", "latest@sha256:")
    assert (applied(world, ns, "web"), applied(world, ns, "api")) == ("one", "one")
    item = ready(world, ns)
    assert [line["name"] for line in item["status"]["inventory"]] == ["api", "web"]
    assert item["metadata"]["finalizers"] == ["source.extensions.fluxcd.io/finalizer"]
    before = {name: artifact(world, ns, name) for name in ("web", "api")}
    labels = before["web"]["metadata"]["labels"]
    assert labels["source.extensions.fluxcd.io/generator"] == item["metadata"]["uid"]
    assert before["web"]["spec"]["sourceRef"]["name"] == "split"
    assert web["status"]["lastAppliedOriginRevision"].startswith("main@sha1:")

    commit = repo.commit({"apps/web/settings.yaml": settings("web", "two"), "README.md": "changed too"})
    world.poke(ns)
    moved = world.ready(ns, "web", artifact_moved(world, ns, "web", before["web"]))
    ready(world, ns, sources=item["status"]["observedSourcesDigest"])
    assert applied(world, ns, "web") == "two"
    assert moved["status"]["lastAppliedOriginRevision"] == f"main@sha1:{commit}"
    # Nothing of the other moved: not a write to its artifact, and not one to its app.
    assert artifact(world, ns, "api") == before["api"]
    still = world.get_app(ns, "api")
    assert still["metadata"]["resourceVersion"] == api["metadata"]["resourceVersion"]

    # A commit that touches neither: the generator has seen it, and that is all.
    seen = get(world, ns)["status"]["observedSourcesDigest"]
    now = {name: artifact(world, ns, name) for name in ("web", "api")}
    repo.commit({"README.md": "again"})
    world.poke(ns)
    ready(world, ns, sources=seen)
    assert {name: artifact(world, ns, name) for name in ("web", "api")} == now


def artifact_moved(world: World, ns: str, name: str, before: Any) -> str:
    """The revision of the artifact, once it is another one."""
    old = before["status"]["artifact"]["revision"]

    def reached() -> str | None:
        now = artifact(world, ns, name)["status"]["artifact"]["revision"]
        return now if now != old else None

    revision: str = until(reached, lambda: why(world, ns), 60)
    return revision


def test_deleting_a_generator_clears_its_artifacts_and_nobody_else_s(world: World, ns: str) -> None:
    monorepo(world, ns)
    generator(world, ns, made("web"))
    generator(world, ns, made("api"), name="other")
    kind = {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "ExternalArtifact"}
    world.api.create(f"{SOURCES}/namespaces/{ns}/externalartifacts", {**kind, "metadata": {"name": "foreign"}})
    app(world, ns, "web")
    world.ready(ns, "web")
    ready(world, ns, "other")
    world.api.delete(f"{path(ns)}/split")
    until(lambda: get(world, ns) is None, lambda: why(world, ns))
    assert artifact(world, ns, "web") is None
    assert artifact(world, ns, "api") is not None
    assert artifact(world, ns, "foreign") is not None
    # What was applied from it stays.
    world.poke_app(ns, "web")
    world.failed(ns, "web", "ArtifactFailed", "has no artifact")
    assert applied(world, ns, "web") == "one"


def test_what_is_not_asked_for_any_more_is_deleted_and_what_is_new_is_made(world: World, ns: str) -> None:
    monorepo(world, ns)
    generator(world, ns, made("web"), made("api"))
    ready(world, ns)
    spec = {"artifacts": [made("web"), made("both", rule("@repo/apps/"))]}
    world.api.merge(f"{path(ns)}/split", {"spec": spec})
    item = ready(world, ns)
    assert [line["name"] for line in item["status"]["inventory"]] == ["both", "web"]
    until(lambda: artifact(world, ns, "api") is None, lambda: why(world, ns))


def test_an_artifact_that_somebody_changed_or_deleted_is_as_it_was_at_once(world: World, ns: str) -> None:
    monorepo(world, ns)
    common = {"labels": {"team": "web"}, "annotations": {"contact": "web@example.org"}}
    generator(world, ns, made("web"), commonMetadata=common)
    ready(world, ns)
    place = f"{SOURCES}/namespaces/{ns}/externalartifacts/web"
    good = artifact(world, ns, "web")
    assert good["metadata"]["labels"]["team"] == "web"
    assert good["metadata"]["annotations"]["contact"] == "web@example.org"
    forged = {"status": {"artifact": {"url": "http://127.0.0.1:1/x.tar.gz", "digest": f"sha256:{'0' * 64}"}}}
    world.api.merge(f"{place}/status", forged)
    until(
        lambda: artifact(world, ns, "web")["status"]["artifact"] == good["status"]["artifact"], lambda: why(world, ns)
    )
    world.api.merge(place, {"metadata": {"labels": {"team": "other"}}})
    until(lambda: artifact(world, ns, "web")["metadata"]["labels"]["team"] == "web", lambda: why(world, ns))
    world.api.delete(place)
    until(lambda: (artifact(world, ns, "web") or good)["metadata"]["uid"] != good["metadata"]["uid"], "it is back")
    again = until(lambda: (artifact(world, ns, "web") or {}).get("status", {}).get("artifact"), lambda: why(world, ns))
    assert again["digest"] == good["status"]["artifact"]["digest"]
    app(world, ns, "web")
    world.ready(ns, "web")


def test_an_artifact_of_somebody_else_is_left_alone_and_the_others_are_made(world: World, ns: str) -> None:
    monorepo(world, ns)
    kind = {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "ExternalArtifact"}
    world.api.create(f"{SOURCES}/namespaces/{ns}/externalartifacts", {**kind, "metadata": {"name": "web"}})
    before = artifact(world, ns, "web")
    generator(world, ns, made("web"), made("api"))
    failed(world, ns, "Conflict", f"ExternalArtifact {ns}/web exists", "it is left alone")
    assert artifact(world, ns, "web") == before
    assert artifact(world, ns, "api")["status"]["artifact"]["revision"].startswith("latest@sha256:")
    world.api.delete(f"{SOURCES}/namespaces/{ns}/externalartifacts/web")
    ready(world, ns)
    assert artifact(world, ns, "web")["status"]["artifact"]


def test_what_cannot_be_made_keeps_its_last_artifact_and_the_others_move_on(world: World, ns: str) -> None:
    repo = monorepo(world, ns)
    generator(world, ns, made("web"), made("api"))
    ready(world, ns)
    app(world, ns, "web")
    world.ready(ns, "web")
    web, api = artifact(world, ns, "web"), artifact(world, ns, "api")
    repo.commit({"apps/web/settings.yaml": None, "apps/api/settings.yaml": settings("api", "two")})
    world.poke(ns)
    told = failed(world, ns, "BuildFailed", "web: copy[0]: nothing matches 'apps/web/**' in @repo")
    assert "the last one stays in force" in told
    assert condition(get(world, ns), "Stalled")["status"] == "True"
    assert artifact(world, ns, "web") == web
    artifact_moved(world, ns, "api", api)
    assert applied(world, ns, "web") == "one"
    repo.commit({"apps/web/settings.yaml": settings("web", "back")})
    world.poke(ns)
    ready(world, ns)
    until(lambda: applied(world, ns, "web") == "back", lambda: why(world, ns))


def test_every_directory_that_a_pattern_finds_becomes_an_artifact(world: World, ns: str) -> None:
    repo = monorepo(world, ns)
    generator(world, ns, made("app-{app}", rule("@repo/apps/{app}/**")), pathPattern="@repo/apps/{app}")
    item = ready(world, ns)
    assert [line["name"] for line in item["status"]["inventory"]] == ["app-api", "app-web"]
    assert artifact(world, ns, "app-web")["metadata"]["labels"]["app"] == "web"
    repo.commit({"apps/new/settings.yaml": settings("new", "one"), "apps/api/settings.yaml": None})
    world.poke(ns)
    item = ready(world, ns, sources=item["status"]["observedSourcesDigest"])
    assert [line["name"] for line in item["status"]["inventory"]] == ["app-new", "app-web"]
    until(lambda: artifact(world, ns, "app-api") is None, lambda: why(world, ns))
    seen = item["status"]["observedSourcesDigest"]
    repo.commit({"apps/new/settings.yaml": None, "apps/web/settings.yaml": None})
    world.poke(ns)
    failed(world, ns, "BuildFailed", "finds no directory", "nothing deleted")
    assert get(world, ns)["status"]["observedSourcesDigest"] == seen
    assert artifact(world, ns, "app-web") is not None


def test_sources_are_laid_over_each_other_merged_and_unpacked(world: World, ns: str) -> None:
    chart = archive({"chart/settings.yaml": settings("web", "packed"), "chart/note.txt": "x"})
    repo = monorepo(world, ns, **{"pkg/chart.tgz": chart, "over.yaml": "data: {of: merged, more: '1'}\n"})
    assert repo
    steps = [
        rule("@repo/pkg/*.tgz", strategy="Extract"),
        rule("@repo/over.yaml", "@artifact/chart/settings.yaml", strategy="Merge"),
    ]
    generator(world, ns, made("web", *steps, revision="@repo"))
    app(world, ns, "web", path="./chart")
    found = world.ready(ns, "web", "main@sha1:")
    assert applied(world, ns, "web") == "merged"
    assert found["status"]["lastAppliedRevision"] == artifact(world, ns, "web")["status"]["artifact"]["revision"]


def test_artifacts_may_be_made_of_artifacts_but_not_of_themselves(world: World, ns: str) -> None:
    monorepo(world, ns)
    generator(world, ns, made("web"))
    again = [{"alias": "made", "kind": "ExternalArtifact", "name": "web"}]
    generator(world, ns, made("twice", rule("@made/**", "@artifact/deep/")), name="next", sources=again)
    app(world, ns, "twice", path="./deep")
    world.ready(ns, "twice")
    assert applied(world, ns, "web") == "one"
    circle = [{"alias": "repo", "kind": "ExternalArtifact", "name": "twice"}]
    world.api.merge(f"{path(ns)}/split", {"spec": {"sources": circle, "artifacts": [made("web", rule("@repo/**"))]}})
    failed(world, ns, "ValidationFailed", "go in a circle")
    assert artifact(world, ns, "web") is not None


def test_a_source_of_another_namespace_is_taken_only_where_that_is_allowed(world: World, ns: str) -> None:
    other = world.namespace("shared-by-nobody")
    repo = world.repo(other)
    repo.commit({"apps/web/settings.yaml": settings("web", "one")})
    world.source(other, repo.url)
    far = [{"alias": "repo", "kind": "GitRepository", "name": "repo", "namespace": other}]
    generator(world, ns, made("web"), sources=far)
    failed(world, ns, "AccessDenied", f"sources of namespace {other} may not be used from namespace {ns}")
    assert condition(get(world, ns), "Stalled")["status"] == "True"
    assert artifact(world, ns, "web") is None
    world.let_go(other)


def test_a_source_that_has_nothing_yet_is_waited_for(world: World, ns: str) -> None:
    generator(world, ns, made("web"))
    failed(world, ns, "SourceFetchFailed", f"GitRepository/{ns}/repo has no artifact yet")
    monorepo(world, ns)
    ready(world, ns)


def test_a_chart_is_laid_under_the_values_of_a_repository(world: World, ns: str) -> None:
    files = {f"charts/app/{path}": content for path, content in chart_files("app", "1.0.0").items()}
    repo = world.repo(ns)
    repo.commit({**files, "prod.yaml": "extra: {of: production}\n"})
    world.source(ns, repo.url)
    spec = {"chart": "./charts/app", "interval": "60m", "sourceRef": {"kind": "GitRepository", "name": "repo"}}
    kind = {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "HelmChart"}
    place = f"{SOURCES}/namespaces/{ns}/helmcharts"
    world.api.create(place, {**kind, "metadata": {"name": "chart"}, "spec": spec})
    sources = [
        {"alias": "chart", "kind": "HelmChart", "name": "chart"},
        {"alias": "repo", "kind": "GitRepository", "name": "repo"},
    ]
    steps = [rule("@chart/"), rule("@repo/prod.yaml", "@artifact/app/values.yaml", strategy="Merge")]
    generator(world, ns, made("prod", *steps, revision="@chart"), sources=sources)
    ready(world, ns)
    found = artifact(world, ns, "prod")
    assert found["status"]["artifact"]["revision"] == "1.0.0"
    packed = unpacked(fetched(found))
    assert {"app/Chart.yaml", "app/values.yaml"} <= packed.keys()
    [document] = load(packed["app/values.yaml"], "values.yaml")
    assert document.value["extra"] == {"of": "production"}
    assert len(document.value) > 1, "the chart's own values are under it"
    world.api.delete(f"{place}/chart")


@pytest.mark.parametrize("kind", ["Bucket", "HelmChart", "OCIRepository", "ExternalArtifact"])
def test_every_kind_of_source_is_waited_for_by_name(world: World, ns: str, kind: str) -> None:
    generator(world, ns, made("web"), sources=[{"alias": "repo", "kind": kind, "name": "x"}])
    failed(world, ns, "SourceFetchFailed", f"{kind}/{ns}/x has no artifact yet")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"artifacts": [made("a", rule("@repo/x", "@artifact/../../etc/passwd"))]}, "leads out"),
        ({"artifacts": [made("a", rule("@repo/../x"))]}, "leads out"),
        ({"artifacts": [made("a", rule("@repo/["))]}, "is not a pattern"),
        ({"artifacts": [made("a", rule("@repo/**", exclude=["[x"]))]}, "is not a pattern"),
        ({"artifacts": [made("a", rule("@other/x"))]}, "no alias of spec.sources"),
        ({"artifacts": [made("a"), made("a")]}, "is there twice"),
        ({"artifacts": [made("a", revision="@other")]}, "names no alias"),
        ({"pathPattern": "@repo/{a"}, "is not closed"),
        ({"annotations": {"source.extensions.fluxcd.io/reconcile": "off"}}, "source.extensions.fluxcd.io/reconcile"),
    ],
    ids=["to", "from", "glob", "exclude", "alias", "twice", "revision", "pattern", "annotation"],
)
def test_a_rule_that_makes_no_sense_is_refused_with_the_way_out(
    world: World, ns: str, spec: dict[str, Any], words: str
) -> None:
    artifacts = spec.pop("artifacts", [made("a")])
    generator(world, ns, *artifacts, **spec)
    failed(world, ns, "ValidationFailed", words)
    assert condition(get(world, ns), "Stalled")["status"] == "True"


def test_a_suspended_generator_makes_nothing_and_what_it_made_stays_in_force(world: World, ns: str) -> None:
    repo = monorepo(world, ns)
    off = {"source.extensions.fluxcd.io/reconcile": "Disabled"}
    generator(world, ns, made("web"), annotations=off)
    until(lambda: condition(get(world, ns), "Ready").get("reason") == "ReconciliationDisabled", lambda: why(world, ns))
    assert artifact(world, ns, "web") is None
    world.api.merge(f"{path(ns)}/split", {"metadata": {"annotations": {"source.extensions.fluxcd.io/reconcile": None}}})
    until(lambda: condition(get(world, ns), "Ready").get("reason") == "Succeeded", lambda: why(world, ns))
    app(world, ns, "web")
    world.ready(ns, "web")
    world.api.merge(f"{path(ns)}/split", {"metadata": {"annotations": off}})
    before = artifact(world, ns, "web")
    commit = repo.commit({"apps/web/settings.yaml": settings("web", "two")})
    world.poke(ns)
    until(lambda: commit in world.get_source(ns)["status"]["artifact"]["revision"], lambda: why(world, ns))
    world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/web", {"data": {"of": "drifted"}})
    until(lambda: applied(world, ns, "web") == "one", lambda: why(world, ns))
    assert artifact(world, ns, "web") == before


def test_a_restart_writes_nothing_and_apps_go_on(world: World, ns: str) -> None:
    monorepo(world, ns)
    generator(world, ns, made("web"))
    app(world, ns, "web")
    world.ready(ns, "web")
    ready(world, ns)
    before = (get(world, ns), artifact(world, ns, "web"))
    world.controller.kill()
    world.controller.start()
    asked = world.poke_app(ns, "web")
    # the Leases of the killed process run out first
    until(lambda: handled(world, ns, "web") == asked, lambda: why(world, ns), 90)
    world.ready(ns, "web")
    assert (get(world, ns), artifact(world, ns, "web")) == before
