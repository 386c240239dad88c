"""P6: an entry means one object, by group, kind, scope-correct namespace, name and uid; the unknown is not pruned."""

import contextlib

from tests.e2e.test_main_job import config
from tests.e2e.test_prune import configs, crd, entries, names, restarted, set_inventory, start, there, widget
from tests.e2e.world import ApiFailure, condition, until
from trimtab.targets.kubernetes import inventory

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
ROLE = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: %s}\nrules: []\n"


def rewrite_inventory(world, ns, change):
    """Change the list while nobody looks, as an older release or another tool may have left it."""
    lines = change(entries(world, ns))
    restarted(world, lambda: set_inventory(world, ns, entries=lines, checksum=inventory.checksum(lines)))


def ids(world, ns):
    return {line["id"] for line in entries(world, ns)}


def test_p6_an_entry_with_a_namespace_that_its_kind_does_not_have_deletes_nothing(world, ns):
    role = f"{ns}-role"
    path = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{role}"
    start(world, ns, {"app/role.yaml": ROLE % role, **configs("c")})
    uid = world.api.get(path)["metadata"]["uid"]
    right, wrong = (
        f"_{role}_rbac.authorization.k8s.io_ClusterRole",
        f"{ns}_{role}_rbac.authorization.k8s.io_ClusterRole",
    )

    def misplace(lines):
        changed = [line | {"id": wrong} if line["id"] == right else line for line in lines]
        return sorted(changed, key=lambda line: line["id"])

    rewrite_inventory(world, ns, misplace)
    until(lambda: right in ids(world, ns) and wrong not in ids(world, ns), lambda: ids(world, ns))
    assert world.api.get(path)["metadata"]["uid"] == uid
    world.ready(ns, "shop")


def test_p6_an_entry_without_the_namespace_that_its_kind_needs_deletes_nothing(world, ns):
    start(world, ns, configs("c"))
    lost = {"id": "_c__ConfigMap", "v": "v1"}
    claim = {"id": "_c__PersistentVolumeClaim", "v": "v1"}
    rewrite_inventory(world, ns, lambda lines: sorted([*lines, lost, claim], key=lambda line: line["id"]))
    until(lambda: ids(world, ns) == {f"{ns}_c__ConfigMap"}, lambda: ids(world, ns))
    assert set(there(world, ns)) == {"c"}
    world.ready(ns, "shop")


def test_p6_one_object_that_is_served_under_two_groups_is_not_deleted_under_the_other(world, ns):
    event = """apiVersion: %s
kind: Event
metadata: {name: e}
eventTime: "2026-01-01T00:00:00.000000Z"
action: Tested
reason: Tested
type: Normal
reportingInstance: one
%s
"""
    old = event % ("v1", f"involvedObject: {{namespace: {ns}}}\nreportingComponent: example.org/t")
    new = event % ("events.k8s.io/v1", f"regarding: {{namespace: {ns}}}\nreportingController: example.org/t")
    repo = start(world, ns, {"app/e.yaml": old, **configs("c")})
    uid = world.api.get(f"/api/v1/namespaces/{ns}/events/e")["metadata"]["uid"]
    commit = repo.commit({"app/e.yaml": new})
    world.poke(ns)
    world.ready(ns, "shop", commit)
    until(lambda: ids(world, ns) == {f"{ns}_c__ConfigMap", f"{ns}_e_events.k8s.io_Event"}, lambda: ids(world, ns))
    assert world.api.get(f"/api/v1/namespaces/{ns}/events/e")["metadata"]["uid"] == uid


def test_p6_while_the_server_of_a_group_is_silent_nothing_of_it_is_pruned_nor_forgotten(world, ns):
    group = f"{ns}.example.org"
    service = {
        "metadata": {"name": f"v1.{group}"},
        "spec": {
            "group": group,
            "version": "v1",
            "groupPriorityMinimum": 1000,
            "versionPriority": 10,
            "insecureSkipTLSVerify": True,
            "service": {"namespace": ns, "name": "nobody"},
        },
    }
    start(world, ns, configs("c"))
    thing = {"id": f"{ns}_thing_{group}_Thing", "v": "v1"}
    world.api.create(API_SERVICES, {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", **service})
    try:
        rewrite_inventory(world, ns, lambda lines: sorted([*lines, thing], key=lambda line: line["id"]))
        world.failed(ns, "shop", words=f"{group}/v1")
        assert thing["id"] in ids(world, ns)
        assert set(there(world, ns)) == {"c"}
    finally:
        world.api.delete(f"{API_SERVICES}/v1.{group}")
    world.ready(ns, "shop")
    until(lambda: thing["id"] not in ids(world, ns), "a kind that nobody serves any more has no objects")


def test_p6_a_definition_that_vanished_with_its_objects_holds_nobody_up(world, ns):
    group = f"{ns}.example.org"
    repo = start(world, ns, {"app/crd.yaml": crd(group), "app/one.yaml": widget(group), **configs(*names(2))})
    world.controller.stop()
    world.api.delete(f"{CRDS}/widgets.{group}")
    until(lambda: world.api.get(f"{CRDS}/widgets.{group}") is None, "the definition is gone")
    commit = repo.commit({"app/crd.yaml": None, "app/one.yaml": None, "app/c0.yaml": None, "app/n.yaml": config("n")})
    world.controller.start()
    world.poke(ns)
    world.ready(ns, "shop", commit)
    until(lambda: ids(world, ns) == {f"{ns}_c1__ConfigMap", f"{ns}_n__ConfigMap"}, lambda: ids(world, ns))
    assert set(there(world, ns)) == {"c1", "n"}
    assert not condition(world.get_app(ns, "shop"), "PruneHeld")
    with contextlib.suppress(ApiFailure):
        world.api.delete(f"{CRDS}/widgets.{group}")
