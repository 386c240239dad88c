"""Deletion, from the outside: every invariant of ENGINE.md §5 under its own name."""

import json
import time
import urllib.request

import pytest

from tests.e2e.test_main_job import config
from tests.e2e.world import condition, until
from trimtab.api.crd import crds

APPROVE = "trimtab.dev/approve-prune"
PRUNE = "kustomize.toolkit.fluxcd.io/prune"


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


def held_in_metrics(world, ns):
    """What is said of the app `shop`."""
    with urllib.request.urlopen(f"http://127.0.0.1:{world.controller.metrics_port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    series = f'trimtab_prune_held{{kind="Kustomization",name="shop",namespace="{ns}"}} '
    return next((line.removeprefix(series) for line in text.splitlines() if line.startswith(series)), None)


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
    until(lambda: held_in_metrics(world, ns) == "1.0", "the metrics say so")
    annotate(world, ns, approve_prune="sha256:" + "0" * 64)
    time.sleep(1)
    assert len(there(world, ns)) == 13, "another digest approves nothing"
    annotate(world, ns, approve_prune=digest_in(message))
    until(lambda: set(there(world, ns)) == {"c11", "new"}, "the approved ones are gone")
    not_held(world, ns)
    world.ready(ns, "shop")
    until(lambda: held_in_metrics(world, ns) == "0.0", "the metrics say so")


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


def app_path(ns, name="shop"):
    return f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/{name}"


def warned(world, ns, reason, words):
    """Wait for a Warning and return its message."""

    def found():
        events = world.api.get(f"/api/v1/namespaces/{ns}/events")["items"]
        return next((e["message"] for e in events if e["reason"] == reason and words in e["message"]), None)

    return until(found, f"no {reason} with {words!r}", 40)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"app/c0.yaml": None, "app/c1.yaml": None, "app/c2.yaml": None}, "app"),
        ({"app/c0.yaml": None, "app/broken.yaml": "a: [\n"}, "app/broken.yaml"),
        ({"app/c0.yaml": None, "app/kustomization.yaml": "resources: [nowhere.yaml]\n"}, "nowhere.yaml"),
    ],
    ids=["missing-path", "broken-file", "missing-resource"],
)
def test_p2_what_cannot_be_rendered_is_an_error_and_never_an_empty_wish(world, ns, files, words):
    repo = start(world, ns, {**configs(*names(3)), "other/o.yaml": config("o")})
    repo.commit(files)
    world.poke(ns)
    world.failed(ns, "shop", words=words)
    time.sleep(1)
    assert set(there(world, ns)) == {"c0", "c1", "c2"}


def test_p2_a_source_that_is_gone_deletes_nothing(world, ns):
    start(world, ns, configs(*names(3)))
    world.api.delete(f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{ns}/gitrepositories/repo")
    until(lambda: world.get_source(ns) is None, "the source is gone")
    time.sleep(1)
    world.poke_app(ns, "shop")
    world.failed(ns, "shop", "ArtifactFailed")
    assert set(there(world, ns)) == {"c0", "c1", "c2"}


def test_p3_an_empty_render_prunes_only_where_that_is_said_to_be_meant(world, ns):
    repo = start(world, ns, configs(*names(3)))
    push(world, ns, repo, {**dict.fromkeys(configs(*names(3))), "app/readme.txt": "empty"})
    held(world, ns, words="allow-empty")
    assert len(there(world, ns)) == 3
    annotate(world, ns, allow_empty="true")
    until(lambda: not there(world, ns), "they go")


def test_p3_a_render_that_is_meant_to_be_empty_still_has_a_budget(world, ns):
    repo = start(world, ns, configs(*names(12)))
    annotate(world, ns, allow_empty="true")
    push(world, ns, repo, {**dict.fromkeys(configs(*names(12))), "app/readme.txt": "empty"})
    held(world, ns, words="12 deletions")
    assert len(there(world, ns)) == 12


def test_p7_an_object_from_before_us_goes_only_after_an_apply_of_ours_and_never_unlabelled(world, ns):
    path = f"/api/v1/namespaces/{ns}/configmaps"
    for name in ("taken", "stripped"):
        world.api.create(path, {"metadata": {"name": name}, "data": {"old": "yes"}})
    repo = start(world, ns, configs("taken", "stripped", "c"))
    annotate(world, ns, drift="ignore")
    labels = {f"kustomize.toolkit.fluxcd.io/{key}": None for key in ("name", "namespace")}
    world.api.merge(f"{path}/stripped", {"metadata": {"labels": labels}})
    push(world, ns, repo, dict.fromkeys(configs("taken", "stripped")))
    until(lambda: world.api.get(f"{path}/taken") is None, "what we took over goes")
    assert world.api.get(f"{path}/stripped"), "what does not carry our labels is not ours"


def test_p7_the_namespaces_of_the_system_are_never_deleted(world, ns):
    body = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default}\n"
    kept = config("kept").replace("{name: kept}", f"{{name: kept, namespace: {ns}}}")
    repo = start(world, ns, {"app/d.yaml": body, "app/kept.yaml": kept}, targetNamespace=None)
    annotate(world, ns, deletion_budget="100%")
    push(world, ns, repo, {"app/d.yaml": None})
    app = until(lambda: len((app := world.get_app(ns, "shop"))["status"]["inventory"]["entries"]) == 1 and app, "gone")
    assert not condition(app, "PruneHeld")
    assert "deletionTimestamp" not in world.api.get("/api/v1/namespaces/default")["metadata"]


def test_p9_labels_on_a_foreign_object_mean_nothing_and_what_nobody_records_is_reported_not_deleted(world, ns):
    repo = start(world, ns, configs("c", "orphan"))
    labels = {"kustomize.toolkit.fluxcd.io/name": "shop", "kustomize.toolkit.fluxcd.io/namespace": ns}
    world.api.create(f"/api/v1/namespaces/{ns}/configmaps", {"metadata": {"name": "copied", "labels": labels}})
    repo.commit({"app/orphan.yaml": None})
    world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/orphan", {"metadata": {"annotations": {PRUNE: "disabled"}}})
    world.poke(ns)
    message = warned(world, ns, "Orphaned", f"ConfigMap/{ns}/orphan")
    assert "copied" not in message
    delete_app(world, ns)
    gone(world, ns)
    assert set(there(world, ns)) == {"copied", "orphan"}


def restarted(world, change):
    """Do `change` while the controller is down."""
    world.controller.stop()
    try:
        change()
    finally:
        world.controller.start()


def set_inventory(world, ns, **fields):
    world.api.merge(f"{app_path(ns)}/status", {"status": {"inventory": fields}})


def test_p10_a_list_from_another_cluster_deletes_nothing_and_is_reported(world, ns):
    repo = start(world, ns, configs(*names(3)))
    world.api.merge(app_path(ns), {"spec": {"suspend": True}})
    commit = repo.commit(dict.fromkeys(configs("c0")))
    world.poke(ns)
    until(lambda: commit in world.get_source(ns)["status"]["artifact"]["revision"], "the source has moved")
    restarted(world, lambda: set_inventory(world, ns, cluster="another"))
    world.api.merge(app_path(ns), {"spec": {"suspend": False}})
    warned(world, ns, "Orphaned", f"ConfigMap/{ns}/c0")
    until(lambda: {e["id"] for e in entries(world, ns)} == {f"{ns}_c1__ConfigMap", f"{ns}_c2__ConfigMap"}, "a new list")
    assert set(there(world, ns)) == {"c0", "c1", "c2"}


def entries(world, ns, name="shop"):
    return (world.get_app(ns, name)["status"].get("inventory") or {"entries": []})["entries"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"checksum": "sha256:0"}, "checksum"),
        ({"format": 99}, "99"),
        ({"entries": [{"id": "x", "v": "v1"}], "format": 0}, "not an inventory id"),
    ],
    ids=["checksum", "newer-format", "no-ids"],
)
def test_p13_an_inventory_that_cannot_be_trusted_makes_the_app_read_only_until_it_is_repaired(world, ns, fields, words):
    repo = start(world, ns, configs(*names(3)))
    before = world.get_app(ns, "shop")["status"]["inventory"]
    restarted(world, lambda: (set_inventory(world, ns, **fields), repo.commit({"app/c0.yaml": None, **configs("new")})))
    world.failed(ns, "shop", "ReadOnly", words)
    world.poke(ns)
    world.poke_app(ns, "shop")
    time.sleep(1)
    assert set(there(world, ns)) == {"c0", "c1", "c2"}, "nothing is applied and nothing deleted"
    kept = world.get_app(ns, "shop")["status"]["inventory"]
    assert kept == {**before, **fields}, "what it does not understand it does not write over"
    world.api.merge(f"{app_path(ns)}/status", {"status": {"inventory": before}})
    world.poke_app(ns, "shop")
    world.ready(ns, "shop")
    until(lambda: set(there(world, ns)) == {"c1", "c2", "new"}, "it goes on when repaired")


def test_p11_without_its_account_a_deletion_is_held_and_orphan_releases_it(world, ns):
    start(world, ns, configs("c"))
    world.api.merge(app_path(ns), {"spec": {"serviceAccountName": "nobody"}})
    world.failed(ns, "shop", words="nobody")
    delete_app(world, ns)
    world.failed(ns, "shop", words="nobody")
    time.sleep(2)
    assert world.get_app(ns, "shop"), "it is held"
    assert there(world, ns)
    world.api.merge(app_path(ns), {"spec": {"deletionPolicy": "Orphan"}})
    gone(world, ns)
    assert set(there(world, ns)) == {"c"}


def test_p11_a_namespace_that_is_deleted_is_not_held_up_and_what_is_outside_stays(world, ns):
    outside = world.namespace("outside")
    inner = config("c").replace("{name: c}", f"{{name: c, namespace: {outside}}}")
    own = config("own").replace("{name: own}", f"{{name: own, namespace: {ns}}}")
    start(world, ns, {"app/c.yaml": inner, "app/own.yaml": own}, targetNamespace=None)
    world.api.delete(f"/api/v1/namespaces/{ns}")
    until(lambda: world.api.get(f"/api/v1/namespaces/{ns}") is None, "the namespace goes", 30)
    assert set(there(world, outside)) == {"c"}


MATRIX = [
    (suspend, prune, policy, empty)
    for suspend in (False, True)
    for prune in (False, True)
    for policy in ("MirrorPrune", "Delete", "WaitForTermination", "Orphan")
    for empty in (False, True)
]


@pytest.fixture(scope="module")
def matrix(world):
    """Every combination, deleted: what is left of the objects, and of the apps."""
    ns = world.namespace("p12-matrix")
    repo = world.repo(ns)
    files = {f"r{i}/o.yaml": config(f"o{i}") for i, row in enumerate(MATRIX) if not row[3]}
    files |= {f"r{i}/readme.txt": "empty" for i, row in enumerate(MATRIX) if row[3]}
    repo.commit(files)
    world.source(ns, repo.url)
    for i, (_, prune, policy, _) in enumerate(MATRIX):
        world.app(ns, f"r{i}", f"./r{i}", prune=prune, deletionPolicy=policy)
    for i in range(len(MATRIX)):
        world.ready(ns, f"r{i}")
    for i, row in enumerate(MATRIX):
        if row[0]:
            world.api.merge(app_path(ns, f"r{i}"), {"spec": {"suspend": True}})
    for i in range(len(MATRIX)):
        delete_app(world, ns, f"r{i}")
    for i in range(len(MATRIX)):
        gone(world, ns, f"r{i}")
    return set(there(world, ns))


@pytest.mark.parametrize("row", MATRIX, ids=lambda row: "-".join(map(str, row)))
def test_p12_suspend_prune_policy_and_empty_decide_together(matrix, row):
    suspend, prune, policy, empty = row
    deletes = not suspend and (policy in ("Delete", "WaitForTermination") or (policy == "MirrorPrune" and prune))
    assert (f"o{MATRIX.index(row)}" in matrix) == (not empty and not deletes)


def test_p16_deleting_our_own_definition_does_not_empty_the_cluster(world, ns):
    start(world, ns, configs(*names(3)))
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    [definition] = [body for body in crds() if body["metadata"]["name"].startswith("kustomizations.")]
    world.api.delete(f"{path}/{definition['metadata']['name']}")
    try:
        until(lambda: world.api.get(f"{path}/{definition['metadata']['name']}") is None, "the definition goes", 60)
        time.sleep(1)
        assert set(there(world, ns)) == {"c0", "c1", "c2"}
    finally:
        until(lambda: world.api.get(f"{path}/{definition['metadata']['name']}") is None, "the definition goes", 60)
        world.api.create(path, definition)
        until(lambda: world.api.get("/apis/kustomize.toolkit.fluxcd.io/v1"), "the kind is served again")
    world.app(ns, "shop", "./app")
    world.ready(ns, "shop")
    assert len(entries(world, ns)) == 3


def test_p12_the_wait_for_termination_is_told_warned_of_when_overdue_and_ended_by_the_policy(world, ns):
    start(world, ns, configs("c"), deletionPolicy="WaitForTermination", timeout="5s")
    path = f"/api/v1/namespaces/{ns}/configmaps/c"
    world.api.merge(path, {"metadata": {"finalizers": ["example.org/hold"]}})
    delete_app(world, ns)
    words = lambda: condition(world.get_app(ns, "shop"), "Ready")["message"]  # noqa: E731
    until(lambda: "example.org/hold" in words(), words)
    message = warned(world, ns, "TerminationOverdue", "not gone after 5 s")
    assert f"ConfigMap/{ns}/c" in message
    assert world.get_app(ns, "shop"), "it stays"
    world.api.merge(app_path(ns), {"spec": {"deletionPolicy": "Orphan"}})
    gone(world, ns)
    assert world.api.get(path)
    world.api.merge(path, {"metadata": {"finalizers": None}})
