"""Variables from the outside: what becomes of objects, when they change, and that Secrets stay secret."""

import base64
import contextlib
import json
import os
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.world import condition, until

FILES = {
    "app/settings.yaml": """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: ${name:=settings}
  labels: {tier: "${tier:=none}"}
data:
  colour: ${colour}
  url: https://${host}/${path:=index}
  script: |
    echo $${HOME} ${host^^}
""",
    "app/service.yaml": """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: "${port}"}], selector: {app: web}}
""",
    "app/template.yaml": """\
apiVersion: v1
kind: ConfigMap
metadata: {name: template, annotations: {kustomize.toolkit.fluxcd.io/substitute: Disabled}}
data: {text: "${colour}"}
""",
}
WATCHED = {"labels": {"reconcile.fluxcd.io/watch": "Enabled"}}
HOUR = {"interval": "60m", "retryInterval": "60m"}
"""Nobody looks again by himself during a test."""


def objects(world, ns, kind="configmaps"):
    return {item["metadata"]["name"]: item for item in world.api.get(f"/api/v1/namespaces/{ns}/{kind}")["items"]}


def config_map(world, ns, name, data, **metadata):
    world.api.create(f"/api/v1/namespaces/{ns}/configmaps", {"metadata": {"name": name, **metadata}, "data": data})


def secret(world, ns, name, data, **metadata):
    body = {"metadata": {"name": name, **metadata}, "stringData": data}
    world.api.create(f"/api/v1/namespaces/{ns}/secrets", body)


def from_(*names, **more):
    return [{"kind": kind, "name": name, **more} for kind, name in names]


@pytest.fixture
def repo(world, ns):
    repo = world.repo(ns)
    repo.commit(FILES)
    world.source(ns, repo.url)
    return repo


@pytest.mark.parametrize("overlay", [False, True])
def test_values_of_the_spec_win_over_those_of_objects_and_later_objects_over_earlier(world, ns, repo, overlay):
    commit = ""
    if overlay:
        resources = "resources: [settings.yaml, service.yaml, template.yaml]"
        commit = repo.commit({"app/kustomization.yaml": f"{resources}\nnameSuffix: -x\n"})
        world.poke(ns)
    config_map(world, ns, "one", {"colour": "blue", "host": "one.example", "port": "1\n", "tier": "one"})
    secret(world, ns, "two", {"colour": "green", "host": "two.example", "port": "8080"})
    refs = [*from_(("ConfigMap", "one"), ("Secret", "two")), *from_(("ConfigMap", "absent"), optional=True)]
    world.app(ns, "shop", "./app", postBuild={"substitute": {"colour": "red"}, "substituteFrom": refs})
    world.ready(ns, "shop", commit)
    suffix = "-x" if overlay else ""
    found = objects(world, ns)
    settings = found["settings" + suffix]
    assert settings["data"] == {
        "colour": "red",
        "url": "https://two.example/index",
        "script": "echo ${HOME} TWO.EXAMPLE\n",
    }
    assert settings["metadata"]["labels"]["tier"] == "one"
    assert found["template" + suffix]["data"] == {"text": "${colour}"}
    assert objects(world, ns, "services")["web" + suffix]["spec"]["ports"][0]["port"] == 8080


def test_without_variables_a_text_is_left_alone_and_with_the_strategy_always_it_is_not(world, ns):
    repo = world.repo(ns)
    data = "data: {a: '${a:=1}x'}"
    repo.commit({"app/a.yaml": f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\n{data}\n"})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app", postBuild={})
    world.ready(ns, "shop")
    assert objects(world, ns)["a"]["data"] == {"a": "${a:=1}x"}
    path = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/shop"
    world.api.merge(path, {"spec": {"postBuild": {"substituteStrategy": "Always"}}})
    until(lambda: objects(world, ns)["a"]["data"] == {"a": "1x"}, "it is filled")


def test_a_missing_source_is_named_and_the_app_goes_on_when_it_comes(world, ns, repo):
    refs = from_(("ConfigMap", "vars"), ("Secret", "keys"))
    world.app(ns, "shop", "./app", postBuild={"substituteFrom": refs})
    message = world.failed(ns, "shop", "BuildFailed", f"ConfigMap {ns}/vars")
    assert "which spec.postBuild.substituteFrom names, does not exist: create it" in message
    config_map(world, ns, "vars", {"colour": "red", "host": "h"})
    world.failed(ns, "shop", "BuildFailed", f"Secret {ns}/keys")
    secret(world, ns, "keys", {"port": "80"})
    world.ready(ns, "shop")


def test_an_unset_variable_is_named_with_its_object_and_line_and_nothing_is_applied(world, ns, repo):
    config_map(world, ns, "vars", {"colour": "red", "port": "80"})
    world.app(ns, "shop", "./app", postBuild={"substituteFrom": from_(("ConfigMap", "vars"))})
    message = world.failed(ns, "shop", "BuildFailed", "variable not set: host")
    assert message.startswith(f"app/settings.yaml:1: ConfigMap/{ns}/${{name:=settings}}: data.url: variable not set")
    assert "settings" not in objects(world, ns)
    assert not objects(world, ns, "services")
    # nobody tells us of this change, and still it is found
    world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/vars", {"data": {"host": "h"}})
    world.ready(ns, "shop")
    assert objects(world, ns)["settings"]["data"]["url"] == "https://h/index"


def test_a_change_of_a_labelled_object_reaches_its_users_at_once(world, ns, repo):
    values = {"colour": "red", "host": "h", "port": "80"}
    config_map(world, ns, "vars", values, **WATCHED)
    secret(world, ns, "keys", {"port": "81"}, **WATCHED)
    refs = from_(("ConfigMap", "vars"), ("Secret", "keys"))
    world.app(ns, "shop", "./app", postBuild={"substituteFrom": refs}, **HOUR)
    world.ready(ns, "shop")
    world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/vars", {"data": {"colour": "blue"}})
    until(lambda: objects(world, ns)["settings"]["data"]["colour"] == "blue", "the ConfigMap counts", 10)
    world.api.merge(f"/api/v1/namespaces/{ns}/secrets/keys", {"stringData": {"port": "82"}})
    port = lambda: objects(world, ns, "services")["web"]["spec"]["ports"][0]["port"]  # noqa: E731
    until(lambda: port() == 82, "the Secret counts", 10)
    # what is refused now is enforced as it was, and put right by the next change
    world.api.delete(f"/api/v1/namespaces/{ns}/secrets/keys")
    world.failed(ns, "shop", "BuildFailed", f"Secret {ns}/keys")
    assert port() == 82
    secret(world, ns, "keys", {"port": "83"}, **WATCHED)
    until(lambda: port() == 83, "it came back", 10)
    world.ready(ns, "shop")


CANARY = "hunter2-canary-5d1"
FORMS = (CANARY, CANARY.upper(), base64.b64encode(CANARY.encode()).decode().rstrip("="))


def test_values_of_secrets_are_in_the_objects_and_nowhere_else(world, ns):
    repo = world.repo(ns)
    secret(world, ns, "keys", {"password": CANARY})
    head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n"
    text = head + "data: {dsn: 'postgres://u:${password}@h', plain: '${password}'}\n"
    repo.commit({"app/settings.yaml": text, "app/kustomization.yaml": "resources: [settings.yaml]\n"})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app", postBuild={"substituteFrom": from_(("Secret", "keys"))})
    world.ready(ns, "shop")
    assert objects(world, ns)["settings"]["data"]["dsn"] == f"postgres://u:{CANARY}@h"

    # drift is told with what differs
    path = f"/api/v1/namespaces/{ns}/configmaps/settings"
    world.api.merge(path, {"data": {"dsn": "other", "plain": f"not {CANARY}"}})
    until(lambda: world.get_app(ns, "shop")["status"].get("drift"), "drift is told", 20)
    until(lambda: objects(world, ns)["settings"]["data"]["dsn"] != "other", "it is healed")

    # the server refuses an object with the value in its words
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: '${password}', ports: [{port: 80}]}\n"
    repo.commit({"app/web.yaml": service, "app/kustomization.yaml": "resources: [settings.yaml, web.yaml]\n"})
    world.poke(ns)
    message = world.failed(ns, "shop", "ValidationFailed", "Service")
    assert "spec.type" in message

    # and an expression that cannot be filled
    world.api.merge(f"/api/v1/namespaces/{ns}/secrets/keys", {"stringData": {"password": f"{CANARY}: '"}})
    world.poke_app(ns, "shop")
    world.failed(ns, "shop", "BuildFailed", "the value of password does not fit in here")

    events = json.dumps(world.api.get(f"/api/v1/namespaces/{ns}/events"))
    assert "DriftDetected" in events
    with urllib.request.urlopen(f"http://127.0.0.1:{world.controller.metrics_port}/metrics", timeout=30) as answer:
        metrics = answer.read().decode()
    process = Path(f"/proc/{world.controller.process.pid}")
    places = {
        "status": json.dumps(world.get_app(ns, "shop")),
        "events": events,
        "log": world.controller.log,
        "metrics": metrics,
        "arguments": (process / "cmdline").read_text() + (process / "environ").read_text(),
        **contents(world.controller.directory),
    }
    assert [(place, form) for place, found in places.items() for form in FORMS if form in found] == []
    assert condition(world.get_app(ns, "shop"), "Ready")["status"] == "False"


def contents(directory):
    """By path. Not with rglob: it fails where something goes away under it."""
    found = {}
    for path in (Path(folder, name) for folder, _, names in os.walk(directory) for name in names):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                found[str(path)] = path.read_bytes().decode("latin-1")
    return found
