"""Whose fields are whose, from the outside: modes, force, ignored fields, objects judged one by one."""

import base64
import json
import time

import pytest

from tests.e2e.world import condition, until
from trimtab.manifests import codec

PREFIX = "kustomize.toolkit.fluxcd.io"


def config(name="settings", colour="red", **annotations):
    metadata = {"name": name, "annotations": annotations} if annotations else {"name": name}
    return codec.canonical({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"colour": colour}})


def web(selector="web", replicas=2, image="web:1", **annotations):
    labels = {"app": "web", "selected": selector}
    container = {"name": "app", "image": f"registry.example/{image}"}
    return codec.canonical(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "annotations": annotations},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"selected": selector}},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        }
    )


class Shop:
    """An app, its repository and its objects."""

    def __init__(self, world, ns):
        self.world, self.ns, self.repo = world, ns, world.repo(ns)

    def start(self, files, annotations=None, ready=True, **spec):
        self.repo.commit(files)
        self.world.source(self.ns, self.repo.url)
        self.world.app(self.ns, "shop", "./app", annotations=annotations, **spec)
        if ready:
            self.world.ready(self.ns, "shop")

    def push(self, files):
        commit = self.repo.commit(files)
        self.world.poke(self.ns)
        return commit

    def change(self, files):
        self.world.ready(self.ns, "shop", self.push(files))

    def spec(self, **spec):
        self.world.api.merge(f"/apis/{PREFIX}/v1/namespaces/{self.ns}/kustomizations/shop", {"spec": spec})

    def failed(self, words, reason=""):
        return self.world.failed(self.ns, "shop", reason, words)

    def path(self, kind, name):
        group = "/apis/apps/v1" if kind in ("deployments", "statefulsets") else "/api/v1"
        return f"{group}/namespaces/{self.ns}/{kind}/{name}"

    def get(self, kind="configmaps", name="settings"):
        return self.world.api.get(self.path(kind, name))

    def merge(self, kind, name, patch):
        return self.world.api.merge(self.path(kind, name), patch)

    def colour(self, name="settings"):
        return self.get(name=name)["data"]["colour"]

    def events(self, reason):
        events = self.world.api.get(f"/api/v1/namespaces/{self.ns}/events")["items"]
        return [event["message"] for event in events if event["reason"] == reason]


@pytest.fixture
def shop(world, ns):
    return Shop(world, ns)


# --- modes


def test_an_object_of_kubectl_is_taken_over_and_loses_what_is_not_in_git(shop, kubectl):
    theirs = json.loads(config())
    theirs["data"]["gone"] = "1"
    kubectl("apply", "-n", shop.ns, "-f", "-", stdin=json.dumps(theirs))
    shop.start({"app/settings.yaml": config()})
    live = shop.get()
    assert live["data"] == {"colour": "red"}
    assert not live["metadata"].get("annotations")


def test_override_is_the_default_and_merge_keeps_what_kubectl_added(shop, kubectl):
    for name in ("plain", "merged"):
        theirs = json.loads(config(name, "blue"))
        theirs["data"]["theirs"] = "1"
        kubectl("apply", "-n", shop.ns, "-f", "-", stdin=json.dumps(theirs))
    merging = config("merged", **{f"{PREFIX}/ssa": "Merge"})
    shop.start({"app/plain.yaml": config("plain", **{f"{PREFIX}/ssa": "Override"}), "app/merged.yaml": merging})
    assert shop.get(name="plain")["data"] == {"colour": "red"}
    assert shop.get(name="merged")["data"] == {"colour": "red", "theirs": "1"}


def test_if_not_present_leaves_what_is_there_and_creates_it_when_it_is_gone(shop):
    shop.world.api.create(f"/api/v1/namespaces/{shop.ns}/configmaps", json.loads(config("there", "blue")))
    mode = {f"{PREFIX}/ssa": "IfNotPresent"}
    shop.start({"app/there.yaml": config("there", **mode), "app/new.yaml": config("new", **mode)})
    assert (shop.colour("there"), shop.colour("new")) == ("blue", "red")
    shop.change({"app/there.yaml": config("there", "green", **mode), "app/new.yaml": config("new", "green", **mode)})
    assert (shop.colour("there"), shop.colour("new")) == ("blue", "red")
    shop.merge("configmaps", "new", {"data": {"colour": "grey"}})
    shop.world.api.delete(shop.path("configmaps", "there"))
    moment = shop.world.poke_app(shop.ns, "shop")
    until(lambda: shop.get(name="there"), "it is created")
    until(lambda: handled(shop) == moment, "the request is honoured")
    assert (shop.colour("there"), shop.colour("new")) == ("green", "grey")


def handled(shop):
    return shop.world.get_app(shop.ns, "shop")["status"].get("lastHandledReconcileAt")


def test_ignore_and_disabled_objects_are_neither_created_nor_changed_nor_pruned(shop):
    shop.world.api.create(f"/api/v1/namespaces/{shop.ns}/configmaps", json.loads(config("there", "blue")))
    ignored, disabled = {f"{PREFIX}/ssa": "Ignore"}, {f"{PREFIX}/reconcile": "disabled"}
    shop.start(
        {
            "app/a.yaml": config("a", **ignored),
            "app/b.yaml": config("b", **disabled),
            "app/there.yaml": config("there", **disabled),
            "app/settings.yaml": config(),
        }
    )
    assert shop.get(name="a") is None
    assert shop.get(name="b") is None
    assert shop.colour("there") == "blue"
    shop.change({"app/there.yaml": None})
    assert shop.colour("there") == "blue"


def test_an_object_that_git_starts_to_disable_stays_as_it_is(shop):
    shop.start({"app/settings.yaml": config()})
    shop.change({"app/settings.yaml": config(colour="green", **{f"{PREFIX}/reconcile": "disabled"})})
    assert shop.colour() == "red"
    shop.merge("configmaps", "settings", {"data": {"colour": "blue"}})
    time.sleep(1)
    assert shop.colour() == "blue"


def test_a_live_object_that_asks_to_be_left_alone_is_until_it_asks_no_more(shop):
    shop.start({"app/settings.yaml": config()})
    name = f"{PREFIX}/reconcile"
    shop.merge("configmaps", "settings", {"metadata": {"annotations": {name: "disabled"}}})
    time.sleep(1)
    shop.merge("configmaps", "settings", {"data": {"colour": "blue"}})
    shop.change({"app/settings.yaml": config(colour="green")})
    assert shop.colour() == "blue"
    shop.merge("configmaps", "settings", {"metadata": {"annotations": {name: None}}})
    until(lambda: shop.colour() == "green", "it is applied again")


@pytest.mark.parametrize("rule", ["force", "reconcile", "prune"])
def test_a_rule_with_a_value_of_no_meaning_is_refused_by_name(shop, rule):
    shop.start({"app/settings.yaml": config(**{f"{PREFIX}/{rule}": "perhaps"})}, ready=False)
    message = shop.failed("must be enabled or disabled")
    assert f"{PREFIX}/{rule}: 'perhaps'" in message
    assert "app/settings.yaml:1" in message


# --- fields that cannot change


def test_an_immutable_field_is_a_terminal_error_that_names_field_and_way_out(shop):
    shop.start({"app/web.yaml": web("old")})
    uid = shop.get("deployments", "web")["metadata"]["uid"]
    shop.push({"app/web.yaml": web("new")})
    message = shop.failed("cannot be changed", "ValidationFailed")
    assert f"Deployment/{shop.ns}/web" in message
    assert "spec.selector" in message
    assert "field is immutable" in message
    assert f"{PREFIX}/force: enabled" in message
    assert "spec.force" in message
    assert condition(shop.world.get_app(shop.ns, "shop"), "Stalled")["status"] == "True"
    assert shop.get("deployments", "web")["metadata"]["uid"] == uid
    shop.world.api.delete(shop.path("deployments", "web"))
    shop.world.ready(shop.ns, "shop")
    assert shop.get("deployments", "web")["spec"]["selector"]["matchLabels"] == {"selected": "new"}


@pytest.mark.parametrize("way", ["spec", "object"])
def test_with_force_the_object_is_deleted_and_created_anew(shop, way):
    annotations = {f"{PREFIX}/force": "enabled"} if way == "object" else {}
    shop.start({"app/web.yaml": web("old", **annotations), "app/settings.yaml": config()}, force=way == "spec")
    uid, other = shop.get("deployments", "web")["metadata"]["uid"], shop.get()["metadata"]["resourceVersion"]
    shop.change({"app/web.yaml": web("new", **annotations)})
    live = shop.get("deployments", "web")
    assert live["metadata"]["uid"] != uid
    assert live["spec"]["selector"]["matchLabels"] == {"selected": "new"}
    assert shop.get()["metadata"]["resourceVersion"] == other
    time.sleep(1)
    assert not shop.events("DriftDetected")
    entries = shop.world.get_app(shop.ns, "shop")["status"]["inventory"]["entries"]
    assert live["metadata"]["uid"] in {entry["uid"] for entry in entries}


def test_with_force_an_object_that_is_wrong_in_itself_is_not_deleted(shop):
    shop.start({"app/web.yaml": web("old")}, force=True)
    uid = shop.get("deployments", "web")["metadata"]["uid"]
    shop.push({"app/web.yaml": web("new", replicas=-1)})
    shop.failed("must be greater than or equal to 0")
    assert shop.get("deployments", "web")["metadata"]["uid"] == uid


def test_with_force_an_object_with_a_finalizer_is_waited_for_and_then_created(shop):
    frozen = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "immutable": True}
    shop.start({"app/settings.yaml": codec.canonical({**frozen, "data": {"colour": "red"}})}, force=True)
    shop.merge("configmaps", "settings", {"metadata": {"finalizers": ["example.org/wait"]}})
    shop.push({"app/settings.yaml": codec.canonical({**frozen, "data": {"colour": "green"}})})
    words = "is being deleted to be created anew, waits for example.org/wait"
    until(lambda: words in str(shop.world.get_app(shop.ns, "shop")["status"]), "it says what it waits for")
    shop.merge("configmaps", "settings", {"metadata": {"finalizers": None}})
    shop.world.ready(shop.ns, "shop")
    assert shop.colour() == "green"


CLAIM = """apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data, annotations: {{{annotations}}}}}
spec: {{accessModes: [{mode}], resources: {{requests: {{storage: 1Gi}}}}, storageClassName: none}}
"""
SET = """apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db, annotations: {{{annotations}}}}}
spec:
  serviceName: {service}
  replicas: 0
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec: {{containers: [{{name: db, image: registry.example/db}}]}}
  volumeClaimTemplates:
  - metadata: {{name: data}}
    spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}, storageClassName: none}}
"""


@pytest.mark.parametrize(
    ("kind", "name", "before", "after"),
    [
        ("persistentvolumeclaims", "data", (CLAIM, "mode", "ReadWriteOnce"), (CLAIM, "mode", "ReadOnlyMany")),
        ("statefulsets", "db", (SET, "service", "old"), (SET, "service", "new")),
    ],
    ids=["PersistentVolumeClaim", "StatefulSet with claims"],
)
def test_what_holds_data_is_recreated_only_if_it_says_so_itself(shop, kind, name, before, after):
    def text(version, annotations=""):
        template, field, value = version
        return template.format(**{field: value, "annotations": annotations})

    shop.start({"app/x.yaml": text(before)}, force=True)
    uid = shop.get(kind, name)["metadata"]["uid"]
    shop.push({"app/x.yaml": text(after)})
    message = shop.failed("cannot be changed")
    assert "spec.force of the Kustomization does not count" in message
    assert shop.get(kind, name)["metadata"]["uid"] == uid
    shop.push({"app/x.yaml": text(after, f"{PREFIX}/force: enabled")})
    until(lambda: (shop.get(kind, name) or {"metadata": {"uid": uid}})["metadata"]["uid"] != uid, "it is new")


# --- ignored fields


def test_an_ignored_field_is_set_once_and_then_left_to_others(shop):
    rules = [{"paths": ["/spec/replicas"], "target": {"kind": "Deployment"}}]
    shop.start({"app/web.yaml": web(replicas=3), "app/settings.yaml": config()}, ignore=rules)
    assert shop.get("deployments", "web")["spec"]["replicas"] == 3
    shop.change({"app/web.yaml": web(replicas=3, image="web:2")})
    assert shop.get("deployments", "web")["spec"]["replicas"] == 3
    shop.merge("deployments", "web", {"spec": {"replicas": 5}})
    time.sleep(1)
    shop.change({"app/web.yaml": web(replicas=4, image="web:3")})
    assert shop.get("deployments", "web")["spec"]["replicas"] == 5
    assert not shop.events("DriftDetected")
    shop.spec(ignore=None)
    until(lambda: shop.get("deployments", "web")["spec"]["replicas"] == 4, "without the rule git wins")


def test_a_rule_that_comes_later_leaves_the_value_where_it_is(shop):
    shop.start({"app/web.yaml": web(replicas=3)})
    shop.spec(ignore=[{"paths": ["/spec/replicas", "/spec/template/spec/containers/0/image"]}])
    shop.change({"app/web.yaml": web(replicas=1, image="web:2")})
    spec = shop.get("deployments", "web")["spec"]
    assert spec["replicas"] == 3
    assert spec["template"]["spec"]["containers"][0]["image"] == "registry.example/web:1"


def test_other_fields_and_objects_of_an_app_with_rules_are_still_healed(shop):
    rules = [{"paths": ["/data/colour"], "target": {"name": "mine", "labelSelector": "a!=b"}}]
    shop.start({"app/mine.yaml": config("mine"), "app/settings.yaml": config()}, ignore=rules)
    shop.merge("configmaps", "mine", {"data": {"colour": "blue"}})
    shop.merge("configmaps", "settings", {"data": {"colour": "blue"}})
    until(lambda: shop.colour() == "red", "it is healed")
    assert shop.colour("mine") == "blue"
    shop.world.api.delete(shop.path("configmaps", "mine"))
    until(lambda: (shop.get(name="mine") or {}).get("data") == {"colour": "red"}, "it is back, whole")


@pytest.mark.parametrize("pointer", ["spec/replicas", "/metadata", f"/metadata/labels/{PREFIX}~1name"])
def test_a_rule_that_cannot_be_meant_is_refused(shop, pointer):
    shop.start({"app/settings.yaml": config()}, ready=False, ignore=[{"paths": [pointer]}])
    assert "spec.ignore[0]" in shop.failed(pointer, "BuildFailed")


# --- one by one


BAD = base64.b64encode(b"x").decode()
QUOTA = codec.canonical(
    {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {"count/secrets": "1"}},
    }
)


def secret(name):
    return codec.canonical({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {"k": BAD}})


def test_with_gate_each_good_objects_go_and_bad_ones_are_named(shop):
    files = {"app/web.yaml": web(replicas=-1), "app/settings.yaml": config(), "app/old.yaml": config("old")}
    shop.start({**files, "app/web.yaml": web()}, annotations={"trimtab.dev/gate": "each"})
    shop.push({"app/web.yaml": web(replicas=-1), "app/settings.yaml": config(colour="green"), "app/old.yaml": None})
    message = shop.failed("must be greater than or equal to 0")
    assert f"Deployment/{shop.ns}/web (app/web.yaml:1)" in message
    assert shop.colour() == "green"
    assert shop.get("deployments", "web")["spec"]["replicas"] == 2
    assert shop.get(name="old"), "nothing is deleted while something is refused"
    shop.change({"app/web.yaml": web(replicas=1)})
    assert shop.get(name="old") is None


def test_a_gate_of_no_meaning_is_refused(shop):
    shop.start({"app/settings.yaml": config()}, annotations={"trimtab.dev/gate": "some"}, ready=False)
    assert "'some' (it must be atomic or each)" in shop.failed("trimtab.dev/gate")


def test_what_converged_is_written_once_however_many_retries_and_quota_is_told_in_its_own_words(shop, plane):
    api = shop.world.api
    api.create(f"/api/v1/namespaces/{shop.ns}/resourcequotas", json.loads(QUOTA))
    path = f"/api/v1/namespaces/{shop.ns}/resourcequotas/few"
    until(lambda: "used" in api.get(path).get("status", {}), "the quota counts")
    mark = plane.audit_log.stat().st_size
    files = {f"app/{name}.yaml": secret(name) for name in ("one", "two")} | {"app/settings.yaml": config()}
    shop.start(files, ready=False, retryInterval="1s")
    message = shop.failed("exceeded quota: few")
    [blocked] = [name for name in ("one", "two") if shop.get("secrets", name) is None]
    assert f"Secret/{shop.ns}/{blocked} (app/{blocked}.yaml:1)" in message
    until(lambda: len(writes(plane, mark, shop.ns, blocked)) >= 3, "it is tried again", 20)
    done = {"one", "two", "settings"} - {blocked}
    assert {name: len(writes(plane, mark, shop.ns, name)) for name in done} == dict.fromkeys(done, 1)
    api.merge(path, {"spec": {"hard": {"count/secrets": "2"}}})
    shop.world.ready(shop.ns, "shop")
    assert {name: len(writes(plane, mark, shop.ns, name)) for name in done} == dict.fromkeys(done, 1)


def writes(plane, mark, namespace, name):
    """Requests other than reads and dry-runs for one object, from the server's own record."""
    with plane.audit_log.open("rb") as log:
        log.seek(mark)
        lines = [codec.decode(line) for line in log if namespace.encode() in line and line.endswith(b"\n")]
    return [
        line
        for line in lines
        if line["stage"] == "ResponseComplete"
        and line["verb"] in ("create", "update", "patch", "delete")
        and line["objectRef"].get("name") == name
        and line["objectRef"]["namespace"] == namespace
        and line["objectRef"]["resource"] in ("secrets", "configmaps")
        and "dryRun" not in line["requestURI"]
    ]
