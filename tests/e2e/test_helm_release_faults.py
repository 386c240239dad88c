"""HelmReleases when something is in the way: what is not theirs stays, and nothing has to be freed by hand."""

from collections.abc import Iterator

import pytest

from tests.e2e.releases import RELEASES, Home, chart
from tests.e2e.test_helm_release import DEPLOYMENT, FORCE, history
from tests.e2e.world import SOURCES, World, condition, until

RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.fixture
def home(world: World, request: pytest.FixtureRequest) -> Iterator[Home]:
    home = Home(world, "fault")
    yield home
    world.let_go(home.ns)


def installed(home: Home, files: dict[str, str] | None = None, *arguments: str) -> None:
    """A release that helm itself has installed, of the chart that the repository has."""
    home.charts(chart(files=files))
    home.helm("install", "app", str(home.repo.work / "app"), *arguments)


def test_a_release_that_was_never_taken_over_stays_when_the_object_goes(home: Home) -> None:
    installed(home)
    home.release(dependsOn=[{"name": "nobody"}])
    home.failed(reason="DependencyNotReady")
    home.api.delete(home.path())
    home.gone()
    assert home.data("app") == {"colour": "blue"}
    assert [one["name"] for one in home.helm_json("list")] == ["app"]


def test_an_object_that_never_did_anything_goes_without_its_account(home: Home) -> None:
    home.charts(chart())
    home.release(serviceAccountName="nobody")
    home.failed(words="does not exist")
    home.api.delete(home.path())
    home.gone()


def test_what_was_there_before_a_failed_upgrade_stays_when_it_is_cleaned_up(home: Home) -> None:
    files = {"templates/deployment.yaml": DEPLOYMENT}
    installed(home, files)
    home.release(
        values={"colour": "red", "more": "new", "broken": ["deployment"]},
        upgrade={"cleanupOnFail": True, "remediation": {"remediateLastFailure": False}},
    )
    home.failed(reason="UpgradeFailed", words="health check failed")
    until(lambda: home.data("app-more") is None, lambda: home.why("app"))
    assert home.data("app") == {"colour": "red"}
    assert home.api.get(f"/apis/apps/v1/namespaces/{home.ns}/deployments/app") is not None


def test_a_namespace_goes_although_the_rights_of_the_release_have_gone_first(home: Home) -> None:
    home.charts(chart())
    account = {"kind": "ServiceAccount", "name": "deployer", "namespace": home.ns}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    home.api.create(f"/api/v1/namespaces/{home.ns}/serviceaccounts", {"metadata": {"name": "deployer"}})
    binding = f"{RBAC}/namespaces/{home.ns}/rolebindings"
    home.api.create(binding, {"metadata": {"name": "deployer"}, "subjects": [account], "roleRef": role})
    home.release(serviceAccountName="deployer")
    home.ready()
    home.api.delete(f"{binding}/deployer")
    home.api.delete(f"/api/v1/namespaces/{home.ns}")
    until(lambda: home.api.get(f"/api/v1/namespaces/{home.ns}") is None, lambda: str(home.get()), 60)


def test_a_forced_upgrade_is_not_forgotten_while_something_else_is_waited_for(home: Home) -> None:
    home.charts(chart())
    home.release()
    home.ready(revision=1)
    home.change(dependsOn=[{"name": "base"}])
    home.failed(reason="DependencyNotReady")
    home.ask("app", FORCE)
    home.release("base")
    home.ready("base")
    home.ready(revision=2)
    home.ask()
    home.ready(revision=2)
    assert len(history(home)) == 2


def test_a_record_that_cannot_be_read_holds_up_its_release_until_it_is_gone(home: Home) -> None:
    home.charts(chart(), chart(name="other"))
    secrets = f"/api/v1/namespaces/{home.ns}/secrets"
    labels = {"owner": "helm", "name": "app", "status": "deployed", "version": "1"}
    name = "sh.helm.release.v1.app.v1"
    body = {"metadata": {"name": name, "labels": labels}, "type": "helm.sh/release.v1"}
    home.api.create(secrets, {**body, "stringData": {"release": "nonsense"}})
    home.release()
    home.failed(reason="StateError", words="delete it to go on")
    home.release("other", "other")
    home.ready("other")
    home.api.delete(f"{secrets}/{name}")
    home.ready(timeout=60)


def test_no_more_records_are_kept_than_asked_for_while_upgrades_fail(home: Home) -> None:
    home.charts(chart(files={"templates/deployment.yaml": DEPLOYMENT}))
    home.release(
        maxHistory=2,
        values={"tag": "1"},
        upgrade={"strategy": {"name": "RetryOnFailure", "retryInterval": "1s"}},
    )
    home.ready(revision=1)
    home.change(values={"tag": "2", "broken": ["deployment"]})
    until(lambda: history(home)[-1][0] >= 4, lambda: home.why("app"), 60)
    found = history(home)
    assert len(found) <= 3
    assert found[0] == (1, "deployed")


def test_a_quota_that_is_used_up_is_no_failure_of_the_release(home: Home) -> None:
    quota = f"/api/v1/namespaces/{home.ns}/resourcequotas"
    hard = {"hard": {"count/services": "0"}}
    home.api.create(quota, {"metadata": {"name": "q"}, "spec": hard})
    until(lambda: home.api.get(f"{quota}/q").get("status", {}).get("hard"), "the quota counts")
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 80}]}\n"
    home.charts(chart(files={"templates/service.yaml": service}))
    home.release()
    item = home.failed(reason="InstallFailed", words="exceeded quota")
    assert "installFailures" not in item["status"]
    assert not condition(item, "Stalled")
    home.api.delete(f"{quota}/q")
    home.ready(revision=1, timeout=60)


def test_two_releases_whose_charts_would_have_one_name_do_not_fight(home: Home) -> None:
    """`a-b` in `x` and `b` in `x-a` would both have the HelmChart `x-a-b`, where their source is."""
    home.charts(chart())
    ns = f"{home.ns}-a"
    home.api.create("/api/v1/namespaces", {"metadata": {"name": ns}})
    home.api.merge(f"/api/v1/namespaces/{home.ns}", {"metadata": {"labels": {"trimtab.dev/shared-sources": "true"}}})
    home.release("a-b")
    home.ready("a-b")
    source = {"kind": "GitRepository", "name": "repo", "namespace": home.ns}
    spec = {"interval": "60m", "chart": {"spec": {"chart": "app", "sourceRef": source}}}
    path = f"{RELEASES}/namespaces/{ns}/helmreleases"
    kind = {"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease"}
    home.api.create(path, {**kind, "metadata": {"name": "b"}, "spec": spec})
    until(
        lambda: "belongs to" in condition(home.api.get(f"{path}/b"), "Ready").get("message", ""),
        lambda: str(home.api.get(f"{path}/b")),
    )
    made = home.api.get(f"{SOURCES}/namespaces/{home.ns}/helmcharts/{home.ns}-a-b")
    assert made["metadata"]["labels"]["helm.toolkit.fluxcd.io/name"] == "a-b"
    home.world.let_go(ns)


def test_a_field_that_was_left_to_another_writer_is_ours_again_with_the_next_revision(home: Home) -> None:
    home.charts(chart())
    home.release(driftDetection={"mode": "enabled"})
    home.ready(revision=1)
    path = f"/api/v1/namespaces/{home.ns}/configmaps/app"
    for _ in range(3):
        home.api.merge(path, {"data": {"colour": "theirs"}})
        until(lambda: home.data("app") == {"colour": "blue"}, lambda: home.why("app"))
    home.api.merge(path, {"data": {"colour": "theirs"}})
    until(lambda: condition(home.get(), "Drifted").get("status") == "True", lambda: home.why("app"))
    home.ready()
    assert home.data("app") == {"colour": "theirs"}
    home.change(values={"colour": "red"})
    home.ready(revision=2)
    assert home.data("app") == {"colour": "red"}
