"""Deletion, from the outside: every invariant of ENGINE.md §5 under its own name."""

import json
import time

import pytest

from tests.e2e.test_main_job import config
from tests.e2e.world import condition, until

APPROVE = "trimtab.dev/approve-prune"
BUDGET = "trimtab.dev/deletion-budget"


def configs(*names):
    return {f"app/{name}.yaml": config(name) for name in names}


def names(count, stem="c"):
    return [f"{stem}{i}" for i in range(count)]


def there(world, ns, plural="configmaps", group="api/v1"):
    """name → uid of what carries our labels."""
    query = "labelSelector=kustomize.toolkit.fluxcd.io/name"
    found = world.api.get(f"/{group}/namespaces/{ns}/{plural}?{query}")["items"]
    return {item["metadata"]["name"]: item["metadata"]["uid"] for item in found}


def held(world, ns, name="shop", words=""):
    """Wait until deletions are held and return the message."""

    def found():
        item = condition(world.get_app(ns, name), "PruneHeld")
        return item["message"] if item.get("status") == "True" and words in item["message"] else None

    return until(found, lambda: f"nothing is held: {json.dumps(world.get_app(ns, name)['status'], indent=1)}")


def not_held(world, ns, name="shop"):
    until(lambda: not condition(world.get_app(ns, name), "PruneHeld"), "nothing is held any more")


def annotate(world, ns, name="shop", **annotations):
    annotations = {f"trimtab.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    path = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/{name}"
    world.api.merge(path, {"metadata": {"annotations": annotations}})


def digest_in(message):
    return message.split(f"{APPROVE}: ")[1].split(".")[0]


def start(world, ns, files, **spec):
    repo = world.repo(ns)
    commit = repo.commit(files)
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app", **spec)
    world.ready(ns, "shop", commit)
    return repo


def push(world, ns, repo, files, app="shop"):
    commit = repo.commit(files)
    world.poke(ns)
    world.ready(ns, app, commit)
    return commit


def delete_app(world, ns, name="shop"):
    world.api.delete(f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/{name}")


def gone(world, ns, name="shop", timeout=30):
    until(lambda: world.get_app(ns, name) is None, lambda: f"{name} stays: {world.get_app(ns, name)}", timeout)


def test_p4_more_than_the_budget_is_held_and_goes_when_exactly_that_is_approved(world, ns):
    repo = start(world, ns, configs(*names(12)))
    push(world, ns, repo, {**dict.fromkeys(configs(*names(11))), **configs("new")})
    message = held(world, ns)
    assert set(there(world, ns)) == {*names(12), "new"}, "what is new is applied, nothing is deleted"
    assert "11 deletions are held" in message
    assert f"ConfigMap/{ns}/c3" in message
    annotate(world, ns, approve_prune="sha256:" + "0" * 64)
    time.sleep(1)
    assert len(there(world, ns)) == 13, "another digest approves nothing"
    annotate(world, ns, approve_prune=digest_in(message))
    until(lambda: set(there(world, ns)) == {"c11", "new"}, "the approved ones are gone")
    not_held(world, ns)
    world.ready(ns, "shop")


def test_p4_an_approval_does_not_cover_a_set_that_has_grown(world, ns):
    repo = start(world, ns, configs(*names(14)))
    push(world, ns, repo, dict.fromkeys(configs(*names(11))))
    message = held(world, ns, words="11 deletions")
    push(world, ns, repo, dict.fromkeys(configs("c12")))
    held(world, ns, words="12 deletions")
    annotate(world, ns, approve_prune=digest_in(message))
    time.sleep(1)
    assert len(there(world, ns)) == 14


def test_p4_within_the_budget_nothing_is_asked(world, ns):
    repo = start(world, ns, configs(*names(12)))
    push(world, ns, repo, dict.fromkeys(configs(*names(10))))
    until(lambda: set(there(world, ns)) == {"c10", "c11"}, "ten are gone")
    assert not condition(world.get_app(ns, "shop"), "PruneHeld")


def test_p4_a_dependent_goes_on_while_deletions_are_held(world, ns):
    repo = start(world, ns, {**configs(*names(12)), "next/n.yaml": config("next")})
    world.app(ns, "next", "./next", dependsOn=[{"name": "shop"}])
    commit = push(world, ns, repo, dict.fromkeys(configs(*names(11))))
    held(world, ns)
    world.ready(ns, "next", commit)


@pytest.mark.parametrize(("value", "goes"), [("1", False), ("100%", True), ("0", False), ("11", True)])
def test_p4_the_annotation_replaces_both_terms(world, ns, value, goes):
    repo = start(world, ns, configs(*names(12)))
    annotate(world, ns, deletion_budget=value)
    push(world, ns, repo, dict.fromkeys(configs(*names(11))))
    if goes:
        until(lambda: set(there(world, ns)) == {"c11"}, "they are gone")
    else:
        held(world, ns)


@pytest.mark.parametrize(
    ("name", "value"),
    [("deletion_budget", "a lot"), ("deletion_budget", "-3"), ("approve_prune", "yes"), ("allow_empty", "sure")],
)
def test_p4_nonsense_in_an_annotation_is_a_terminal_error_that_names_it(world, ns, name, value):
    repo = start(world, ns, configs(*names(2)))
    annotate(world, ns, **{name: value})
    repo.commit(dict.fromkeys(configs("c0")))
    world.poke(ns)
    message = world.failed(ns, "shop", "ValidationFailed", f"trimtab.dev/{name.replace('_', '-')}")
    assert repr(value) in message
    assert condition(world.get_app(ns, "shop"), "Stalled")["status"] == "True"
    assert set(there(world, ns)) == {"c0", "c1"}


CLAIM = """apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""

VOLUME = """apiVersion: v1
kind: PersistentVolume
metadata: {name: %s}
spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /tmp/x}}
"""

STATEFUL = """apiVersion: apps/v1
kind: StatefulSet
metadata: {name: %s}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: db, image: registry.example/db}]}}
"""

CLAIMS = """  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""

NAMESPACE = """apiVersion: v1
kind: Namespace
metadata: {name: %s-inner}
"""


def test_p4_what_holds_data_is_never_deleted_unasked(world, ns):
    precious = {
        "app/claim.yaml": CLAIM,
        "app/volume.yaml": VOLUME % ns,
        "app/stateful.yaml": STATEFUL % "db" + CLAIMS,
    }
    plain = {"app/cache.yaml": STATEFUL % "cache", **configs("c0")}
    repo = start(world, ns, {**precious, **plain, **configs("stays")})
    push(world, ns, repo, dict.fromkeys({**precious, **plain}))
    message = held(world, ns, words="3 deletions")
    for ref in (f"PersistentVolumeClaim/{ns}/data", f"PersistentVolume/{ns}", f"StatefulSet/{ns}/db"):
        assert ref in message
    until(lambda: set(there(world, ns)) == {"stays"}, "what holds no data goes")
    assert set(there(world, ns, "statefulsets", "apis/apps/v1")) == {"db"}
    annotate(world, ns, approve_prune=digest_in(message))
    until(lambda: not there(world, ns, "statefulsets", "apis/apps/v1"), "it goes when that is approved")
    not_held(world, ns)


def test_p4_a_namespace_is_never_deleted_unasked(world, ns):
    inner = config("c").replace("{name: c}", f"{{name: c, namespace: {ns}-inner}}")
    kept = config("kept").replace("{name: kept}", f"{{name: kept, namespace: {ns}}}")
    files = {"app/namespace.yaml": NAMESPACE % ns, "app/c.yaml": inner}
    repo = start(world, ns, {**files, "app/kept.yaml": kept}, targetNamespace=None)
    push(world, ns, repo, dict.fromkeys(files))
    message = held(world, ns, words=f"Namespace/{ns}-inner")
    until(lambda: not there(world, f"{ns}-inner"), "its contents that were ours go")
    annotate(world, ns, approve_prune=digest_in(message))
    until(lambda: world.api.get(f"/api/v1/namespaces/{ns}-inner") is None, "the namespace goes")
    not_held(world, ns)


def test_p4_deleting_the_app_approves_its_inventory(world, ns):
    start(world, ns, {**configs(*names(12)), "app/stateful.yaml": STATEFUL % "db" + CLAIMS})
    delete_app(world, ns)
    gone(world, ns)
    assert not there(world, ns)
    assert not there(world, ns, "statefulsets", "apis/apps/v1")


CHILD = """apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: %s}
spec:
  interval: 60m
  retryInterval: 2s
  timeout: %s
  prune: true
  path: %s
  targetNamespace: %s
  sourceRef: {kind: GitRepository, name: repo}
"""


def child(ns, name, path, timeout="60s"):
    return CHILD % (name, timeout, path, ns)


def test_p4_the_inventory_of_a_child_counts_against_its_parent(world, ns):
    inner = {f"inner/{name}.yaml": config(name) for name in names(10)}
    repo = start(world, ns, {"app/child.yaml": child(ns, "inner", "./inner"), **configs("own"), **inner})
    world.ready(ns, "inner")
    push(world, ns, repo, {"app/child.yaml": None})
    message = held(world, ns, words="11 deletions")
    assert f"Kustomization/{ns}/inner" in message
    assert f"ConfigMap/{ns}/c5" in message
    assert world.get_app(ns, "inner")
    annotate(world, ns, approve_prune=digest_in(message))
    gone(world, ns, "inner")
    until(lambda: set(there(world, ns)) == {"own"}, "the child's objects go with it")


def crd(group):
    return f"""apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: widgets.{group}}}
spec:
  group: {group}
  names: {{kind: Widget, plural: widgets, singular: widget, listKind: WidgetList}}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}
"""


def widget(group, name="one"):
    return f"apiVersion: {group}/v1\nkind: Widget\nmetadata: {{name: {name}}}\n"


def test_p16_a_definition_in_use_stays_until_it_is_no_longer_used(world, ns):
    group = f"{ns}.example.org"
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{group}"
    widgets = f"/apis/{group}/v1/namespaces/{ns}/widgets"
    repo = start(world, ns, {"app/crd.yaml": crd(group), "app/one.yaml": widget(group), **configs("c")})
    foreign = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "foreign"}}
    world.api.create(widgets, foreign)
    push(world, ns, repo, {"app/crd.yaml": None, "app/one.yaml": None})
    held(world, ns, words=f"widgets.{group}")
    until(lambda: world.api.get(f"{widgets}/one") is None, "our own object of the kind goes")
    assert world.api.get(f"{widgets}/foreign")
    assert "deletionTimestamp" not in world.api.get(path)["metadata"]
    world.api.delete(f"{widgets}/foreign")
    world.poke_app(ns, "shop")
    until(lambda: world.api.get(path) is None, "an unused definition goes")
    not_held(world, ns)


def test_p16_a_definition_and_all_its_objects_go_in_one_commit_one_after_the_other(world, ns):
    group = f"{ns}.example.org"
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{group}"
    repo = start(world, ns, {"app/crd.yaml": crd(group), "app/one.yaml": widget(group), **configs("c")})
    push(world, ns, repo, {"app/crd.yaml": None, "app/one.yaml": None})
    until(lambda: world.api.get(path) is None, "the definition goes after its objects", 15)
    assert not condition(world.get_app(ns, "shop"), "PruneHeld")


@pytest.fixture
def frozen(world):
    path = "/api/v1/namespaces/flux-system/configmaps"
    world.api.create(path, {"metadata": {"name": "trimtab-freeze"}})
    yield lambda: world.api.delete(f"{path}/trimtab-freeze")
    world.api.delete(f"{path}/trimtab-freeze")


def test_p15_the_switch_stops_pruning_and_finalizing_and_lets_them_go_on_at_once(world, ns, frozen):
    time.sleep(1)
    repo = start(world, ns, {**configs("a", "b"), "other/o.yaml": config("o")})
    world.app(ns, "other", "./other")
    world.ready(ns, "other")
    push(world, ns, repo, {**dict.fromkeys(configs("a")), **configs("c")})
    held(world, ns, words="flux-system/trimtab-freeze")
    delete_app(world, ns, "other")
    world.failed(ns, "other", "DeletionsFrozen", "flux-system/trimtab-freeze")
    assert set(there(world, ns)) == {"a", "b", "c", "o"}, "what is new is applied, nothing is deleted"
    frozen()
    until(lambda: set(there(world, ns)) == {"b", "c"}, "it goes on at once", 5)
    gone(world, ns, "other", 5)
    not_held(world, ns)
