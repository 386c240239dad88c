"""The gate with definitions in the same commit: nothing is written unless everything fits (ENGINE.md §2)."""

import json

import pytest

from tests.e2e.reviewer import Webhook, allow, deny
from tests.e2e.test_bad_objects import DEFINITIONS, definition
from tests.e2e.test_main_job import config, settings
from tests.e2e.world import until


def crd(group, **fields):
    spec = {"type": "object", "properties": fields, "required": ["size"]}
    body = definition("widgets", "Widget", group, properties={"spec": spec})
    body["spec"]["versions"][0]["schema"]["openAPIV3Schema"].pop("x-kubernetes-preserve-unknown-fields")
    return body


def widget(group, name="one", version="v1", **spec):
    body = {"apiVersion": f"{group}/{version}", "kind": "Widget", "metadata": {"name": name}, "spec": spec}
    return json.dumps(body)


def start(world, ns, files):
    repo = world.repo(ns)
    commit = repo.commit(files)
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app")
    return repo, commit


SIZE = {"type": "integer", "maximum": 5}


def test_an_object_that_does_not_fit_the_definition_beside_it_refuses_the_commit_before_anything_is_written(
    world, ns, group
):
    files = {
        "app/crd.yaml": json.dumps(crd(group, size=SIZE)),
        "app/one.yaml": widget(group, size="big"),
        "app/two.yaml": widget(group, "two", sise=1),
        "app/three.yaml": widget(group, "three", "v7", size=1),
        "app/good.yaml": widget(group, "good", size=1),
        "app/settings.yaml": config(),
    }
    repo, _ = start(world, ns, files)
    message = world.failed(ns, "shop", "ValidationFailed", "3 objects were refused, nothing was applied")
    assert f"Widget/{ns}/one (app/one.yaml:1): does not fit CustomResourceDefinition/widgets.{group}" in message
    assert "spec.size must be of type integer, it is 'big'" in message
    assert "spec lacks size, which is required; spec.sise is not declared in the schema" in message
    assert "serves no version v7, only v1" in message
    assert world.api.get(f"{DEFINITIONS}/widgets.{group}") is None
    assert settings(world, ns) is None
    fixed = repo.commit(
        {"app/one.yaml": widget(group, size=3), "app/two.yaml": None, "app/three.yaml": None}, "mend it"
    )
    world.poke(ns)
    world.ready(ns, "shop", fixed)
    assert world.api.get(f"/apis/{group}/v1/namespaces/{ns}/widgets/one")["spec"] == {"size": 3}


def test_a_definition_and_an_object_that_needs_its_new_form_go_in_one_commit(world, ns, group):
    repo, commit = start(
        world, ns, {"app/crd.yaml": json.dumps(crd(group, size=SIZE)), "app/w.yaml": widget(group, size=1)}
    )
    world.ready(ns, "shop", commit)
    colour = {"type": "string", "enum": ["red"]}
    refused = repo.commit(
        {
            "app/crd.yaml": json.dumps(crd(group, size=SIZE, colour=colour)),
            "app/w.yaml": widget(group, size=1, colour="blue"),
            "app/settings.yaml": config(),
        }
    )
    world.poke(ns)
    message = world.failed(ns, "shop", "ValidationFailed", "spec.colour must be one of red, it is 'blue'")
    assert "app/w.yaml:1" in message
    live = world.api.get(f"{DEFINITIONS}/widgets.{group}")["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert "colour" not in live["properties"]["spec"]["properties"]
    assert settings(world, ns) is None
    assert refused not in world.get_app(ns, "shop")["status"]["lastAppliedRevision"]
    fixed = repo.commit({"app/w.yaml": widget(group, size=1, colour="red")})
    world.poke(ns)
    world.ready(ns, "shop", fixed)
    assert world.api.get(f"/apis/{group}/v1/namespaces/{ns}/widgets/one")["spec"] == {"size": 1, "colour": "red"}


def test_with_gate_each_what_fits_goes_and_what_does_not_is_named(world, ns, group):
    repo = world.repo(ns)
    repo.commit(
        {
            "app/crd.yaml": json.dumps(crd(group, size=SIZE)),
            "app/bad.yaml": widget(group, "bad", size="big"),
            "app/good.yaml": widget(group, "good", size=1),
        }
    )
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app", annotations={"trimtab.dev/gate": "each"})
    message = world.failed(ns, "shop", words="spec.size")
    assert f"Widget/{ns}/bad (app/bad.yaml:1)" in message
    until(lambda: world.api.get(f"/apis/{group}/v1/namespaces/{ns}/widgets/good"), "the good one is there")


RBAC = "rbac.authorization.k8s.io"


def test_a_binding_to_a_role_of_the_same_commit_waits_for_the_role(world, ns):
    """The server asks for the role before it lets anybody bind it who is not almighty."""
    rules = [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]},
        {
            "apiGroups": [RBAC],
            "resources": ["roles", "rolebindings"],
            "verbs": ["get", "list", "create", "patch", "delete"],
        },
    ]
    rbac = f"/apis/{RBAC}/v1/namespaces/{ns}"
    world.api.create(f"/api/v1/namespaces/{ns}/serviceaccounts", {"metadata": {"name": "deployer"}})
    world.api.create(f"{rbac}/roles", {"metadata": {"name": "deployer"}, "rules": rules})
    account = {"kind": "ServiceAccount", "name": "deployer", "namespace": ns}
    granted = {"apiGroup": RBAC, "kind": "Role", "name": "deployer"}
    body = {"metadata": {"name": "deployer"}, "subjects": [account], "roleRef": granted}
    world.api.create(f"{rbac}/rolebindings", body)
    role = {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": {"name": "reader"}}
    role["rules"] = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
    binding = {"apiVersion": f"{RBAC}/v1", "kind": "RoleBinding", "metadata": {"name": "reader"}, "subjects": [account]}
    binding["roleRef"] = {"apiGroup": RBAC, "kind": "Role", "name": "reader"}
    repo = world.repo(ns)
    files = {"app/role.yaml": json.dumps(role), "app/binding.yaml": json.dumps(binding), "app/settings.yaml": config()}
    commit = repo.commit(files)
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app", serviceAccountName="deployer")
    world.ready(ns, "shop", commit)
    assert world.api.get(f"{rbac}/rolebindings/reader")
    binding["metadata"]["name"], binding["roleRef"]["name"] = "lost", "nobody"
    repo.commit({"app/lost.yaml": json.dumps(binding), "app/settings.yaml": config(colour="blue")})
    world.poke(ns)
    message = world.failed(ns, "shop", "ValidationFailed", '"nobody" not found')
    assert "app/lost.yaml:1" in message
    assert settings(world, ns)["data"] == {"colour": "red"}


@pytest.fixture
def shop(world, ns):
    """An app of three ConfigMaps, ready."""
    repo, commit = start(world, ns, {f"app/{name}.yaml": config(name) for name in "abc"})
    world.ready(ns, "shop", commit)
    return repo


def patches(plane, mark, ns):
    """The names of the ConfigMaps that were patched, in order, those only rehearsed in brackets."""
    with plane.audit_log.open("rb") as log:
        log.seek(mark)
        lines = [json.loads(line) for line in log if ns.encode() in line and line.endswith(b"\n")]
    return [
        f"({line['objectRef']['name']})" if "dryRun" in line["requestURI"] else line["objectRef"]["name"]
        for line in lines
        if line["stage"] == "ResponseComplete"
        and line["verb"] == "patch"
        and line["objectRef"]["resource"] == "configmaps"
        and line["objectRef"]["namespace"] == ns
    ]


def test_what_is_written_first_is_not_rehearsed_and_all_others_are_before_it(world, ns, shop, plane):
    mark = plane.audit_log.stat().st_size
    commit = shop.commit({"app/b.yaml": config("b", "blue")})
    world.poke(ns)
    world.ready(ns, "shop", commit)
    assert patches(plane, mark, ns) == ["b"]
    mark = plane.audit_log.stat().st_size
    commit = shop.commit({f"app/{name}.yaml": config(name, "green") for name in "abc"})
    world.poke(ns)
    world.ready(ns, "shop", commit)
    asked = patches(plane, mark, ns)
    assert sorted(asked[:2]) == ["(b)", "(c)"]
    assert asked[2] == "a"
    assert sorted(asked[3:]) == ["b", "c"]


@pytest.mark.parametrize("changed", [["a"], ["a", "b", "c"]], ids=["alone", "before-others"])
def test_where_what_is_written_first_is_refused_nothing_is_written_and_the_last_good_state_is_enforced(
    world, ns, shop, tmp_path, changed
):
    with Webhook(world, ns, tmp_path).served() as webhook:
        webhook.decide = lambda request: (deny("not on Fridays") if request["name"] == "a" else allow)(request)
        webhook.configure("Validating")
        commit = shop.commit({f"app/{name}.yaml": config(name, "blue") for name in changed})
        world.poke(ns)
        message = world.failed(ns, "shop", "ValidationFailed", "an object was refused, nothing was applied")
        assert f"ConfigMap/{ns}/a (app/a.yaml:1)" in message
        assert "not on Fridays" in message
        for name in "bc":
            assert settings(world, ns, name)["data"] == {"colour": "red"}
        world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/c", {"data": {"colour": "green"}})
        until(lambda: settings(world, ns, "c")["data"]["colour"] == "red", "the last good state is enforced", 10)
        webhook.decide = allow
        world.ready(ns, "shop", commit)
        assert [settings(world, ns, name)["data"]["colour"] for name in changed] == ["blue"] * len(changed)
