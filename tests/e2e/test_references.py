"""Which objects of other namespaces an app may refer to, unless tenants are kept apart."""

from tests.e2e.test_main_job import config
from tests.e2e.test_tenancy import app_path


def test_by_default_sources_of_the_platform_are_shared_and_others_are_not(world, ns):
    other = world.namespace("other")
    repo = world.repo(other)
    repo.commit({"app/settings.yaml": config()})
    world.source(other, repo.url)
    ref = {"kind": "GitRepository", "name": "repo", "namespace": other}
    world.app(ns, "shop", "./app", sourceRef=ref)
    world.failed(ns, "shop", "AccessDenied", "trimtab.dev/shared-sources")
    shared = world.namespace("shared")
    world.api.merge(f"/api/v1/namespaces/{shared}", {"metadata": {"labels": {"trimtab.dev/shared-sources": "true"}}})
    repo = world.repo(shared)
    repo.commit({"app/settings.yaml": config()})
    world.source(shared, repo.url)
    world.api.merge(app_path(ns), {"spec": {"sourceRef": {**ref, "namespace": shared}}})
    world.ready(ns, "shop")
    world.let_go(other)
    world.let_go(shared)
