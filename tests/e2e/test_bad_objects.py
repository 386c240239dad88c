"""Objects that a server cannot take, or not yet: named with file and line, others go on, it heals by itself."""

import json

import pytest

from tests.e2e.test_main_job import config, settings
from tests.e2e.test_ownership import writes
from tests.e2e.world import condition, until

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture
def pair(world, ns):
    """Two good apps of one repository."""
    repo = world.repo(ns)
    repo.commit({"bad/settings.yaml": config("victim"), "good/a.yaml": config("witness")})
    world.source(ns, repo.url)
    world.app(ns, "bad", "./bad")
    world.app(ns, "good", "./good")
    world.ready(ns, "bad")
    world.ready(ns, "good")
    return repo


def definition(plural, kind, group, version="v1", **validation):
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, **validation}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": plural[:-1], "kind": kind, "listKind": f"{kind}List"},
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def establish(world, body):
    world.api.create(DEFINITIONS, body)
    path = f"{DEFINITIONS}/{body['metadata']['name']}"
    until(lambda: condition(world.api.get(path), "Established").get("status") == "True", "it is established")
    group, version = body["spec"]["group"], body["spec"]["versions"][0]["name"]
    until(lambda: world.api.get(f"/apis/{group}/{version}"), "it is served")


def test_an_object_of_more_than_etcd_takes_is_named_and_the_rest_goes_on(world, ns, pair, group):
    establish(world, definition("blobs", "Blob", group))
    blob = {"apiVersion": f"{group}/v1", "kind": "Blob", "metadata": {"name": "big"}, "spec": {"text": "x" * 1_600_000}}
    pair.commit({"bad/blob.yaml": json.dumps(blob), "bad/other.yaml": config("other"), "good/b.yaml": config("more")})
    world.poke(ns)
    message = world.failed(ns, "bad", "ReconciliationFailed", "request is too large")
    assert f"Blob/{ns}/big (bad/blob.yaml:1)" in message
    assert "smaller" in message, "the way out"
    assert condition(world.get_app(ns, "bad"), "Stalled")["status"] == "True"
    assert settings(world, ns, "other")
    until(lambda: settings(world, ns, "more"), "others go on")
    blob["spec"]["text"] = "x"
    fixed = pair.commit({"bad/blob.yaml": json.dumps(blob)})
    world.poke(ns)
    world.ready(ns, "bad", fixed)


def test_a_map_of_more_than_a_mebibyte_is_refused_before_anything_is_written(world, ns, pair):
    big = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big"}, "data": {"text": "x" * 1_600_000}}
    pair.commit({"bad/big.yaml": json.dumps(big), "bad/other.yaml": config("other")})
    world.poke(ns)
    message = world.failed(ns, "bad", "ValidationFailed", "1048576")
    assert f"ConfigMap/{ns}/big (bad/big.yaml:1)" in message
    assert settings(world, ns, "other") is None


def test_annotations_of_300_kib_are_refused_before_anything_is_written(world, ns, pair):
    metadata = {"name": "big", "annotations": {"example.org/note": "x" * 300_000}}
    big = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    pair.commit({"bad/big.yaml": json.dumps(big), "bad/other.yaml": config("other"), "good/b.yaml": config("more")})
    world.poke(ns)
    message = world.failed(ns, "bad", "ValidationFailed", "metadata.annotations")
    assert f"ConfigMap/{ns}/big (bad/big.yaml:1)" in message
    assert "262144" in message
    assert settings(world, ns, "other") is None
    until(lambda: settings(world, ns, "more"), "others go on")
    fixed = pair.commit({"bad/big.yaml": None})
    world.poke(ns)
    world.ready(ns, "bad", fixed)


def test_a_definition_whose_names_are_taken_holds_up_its_own_kind_only_until_they_are_free(
    world, ns, pair, group, plane
):
    establish(world, definition("widgets", "Widget", group))
    second = json.dumps(definition("gadgets", "Widget", group, "v2"))
    widget = {"apiVersion": f"{group}/v2", "kind": "Widget", "metadata": {"name": "one"}}
    mark = plane.audit_log.stat().st_size
    commit = pair.commit(
        {
            "bad/crd.yaml": second,
            "bad/widget.yaml": json.dumps(widget),
            "bad/other.yaml": config("other"),
            "good/b.yaml": config("more"),
        }
    )
    world.poke(ns)
    message = world.failed(ns, "bad", "ReconciliationFailed", "cannot be established")
    assert f"Widget/{ns}/one (bad/widget.yaml:1)" in message
    assert f"CustomResourceDefinition/gadgets.{group} (bad/crd.yaml:1)" in message
    assert "already in use" in message
    until(lambda: settings(world, ns, "other"), "what does not need the definition is applied")
    world.ready(ns, "good", commit)
    world.api.delete(f"{DEFINITIONS}/widgets.{group}")
    world.ready(ns, "bad", commit)
    assert world.api.get(f"/apis/{group}/v2/namespaces/{ns}/gadgets/one")
    assert len(writes(plane, mark, ns, "other")) == 1


def test_a_namespace_stuck_in_deletion_is_told_and_everything_returns_when_it_is_gone(world, ns, pair):
    fresh = f"{ns}-fresh"
    world.app(ns, "fresh", "./fresh", targetNamespace=None)
    files = {
        "fresh/ns.yaml": f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {fresh}}}\n",
        "fresh/settings.yaml": config("inside").replace("name: inside", f"name: inside, namespace: {fresh}"),
    }
    pair.commit(files)
    world.poke(ns)
    world.ready(ns, "fresh")
    path = f"/api/v1/namespaces/{fresh}/configmaps"
    world.api.create(path, {"metadata": {"name": "stuck", "finalizers": ["example.org/never"]}})
    world.api.delete(f"/api/v1/namespaces/{fresh}")
    message = world.failed(ns, "fresh", words="being terminated")
    assert f"ConfigMap/{fresh}/inside (fresh/settings.yaml:1)" in message
    commit = pair.commit({"good/b.yaml": config("more")})
    world.poke(ns)
    world.ready(ns, "good", commit)
    world.api.merge(f"{path}/stuck", {"metadata": {"finalizers": None}})
    until(lambda: world.api.get(f"{path}/inside"), "it is there again", 60)
    world.ready(ns, "fresh", commit)


def test_a_quota_is_told_per_object_and_the_remainder_follows_when_it_is_raised(world, ns, pair, plane):
    quotas = f"/api/v1/namespaces/{ns}/resourcequotas"
    used = len(world.api.get(f"/api/v1/namespaces/{ns}/configmaps")["items"])
    world.api.create(quotas, {"metadata": {"name": "few"}, "spec": {"hard": {"count/configmaps": str(used + 2)}}})
    until(lambda: "used" in world.api.get(f"{quotas}/few").get("status", {}), "the quota counts")
    mark = plane.audit_log.stat().st_size
    names = [f"c{i}" for i in range(4)]
    commit = pair.commit(
        {f"bad/{name}.yaml": config(name) for name in names} | {"good/a.yaml": config("witness", "blue")}
    )
    world.poke(ns)
    message = world.failed(ns, "bad", "ReconciliationFailed", "exceeded quota: few")
    missing = [name for name in names if settings(world, ns, name) is None]
    assert len(missing) == 2
    for name in missing:
        assert f"ConfigMap/{ns}/{name} (bad/{name}.yaml:1)" in message
    world.ready(ns, "good", commit)
    world.api.merge(f"{quotas}/few", {"spec": {"hard": {"count/configmaps": str(used + 4)}}})
    world.ready(ns, "bad", commit)
    assert [len(writes(plane, mark, ns, name)) for name in names if name not in missing] == [1, 1]
