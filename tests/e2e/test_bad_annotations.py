"""Annotations of no meaning: a terminal error that names them, nothing written, nothing deleted, others go on."""

import pytest

from tests.e2e.test_main_job import config, settings
from tests.e2e.world import APPS, SOURCES, condition, until

NONSENSE = {
    "trimtab.dev/drift": "maybe",
    "trimtab.dev/gate": "some",
    "trimtab.dev/deletion-budget": "a lot",
    "trimtab.dev/approve-prune": "yes",
    "trimtab.dev/allow-empty": "sure",
    "trimtab.dev/depends-on": "redis",
    "trimtab.dev/plaintext-secrets": "x" * 5_000,
    "trimtab.dev/freeze": "always",
}
OF_OBJECTS = {
    "kustomize.toolkit.fluxcd.io/reconcile": "off",
    "kustomize.toolkit.fluxcd.io/ssa": "Sometimes",
    "kustomize.toolkit.fluxcd.io/force": "yes",
    "kustomize.toolkit.fluxcd.io/prune": "disbled",
    "kustomize.toolkit.fluxcd.io/substitute": "none",
    "kustomize.toolkit.fluxcd.io/decrypt": "none",
    "trimtab.dev/drift": "maybe",
}


@pytest.fixture
def pair(world, ns):
    """Two good apps of one repository."""
    repo = world.repo(ns)
    files = {"bad/settings.yaml": config("victim"), "bad/other.yaml": config("other"), "good/a.yaml": config("witness")}
    repo.commit(files)
    world.source(ns, repo.url)
    world.app(ns, "bad", "./bad")
    world.app(ns, "good", "./good")
    world.ready(ns, "bad")
    world.ready(ns, "good")
    return repo


def annotate(world, path, annotations):
    world.api.merge(path, {"metadata": {"annotations": annotations}})


def annotated(name, **annotations):
    notes = ", ".join(f"{key!r}: {value!r}" for key, value in annotations.items())
    return config(name, "blue").replace(f"name: {name}", f"name: {name}, annotations: {{{notes}}}")


def untouched(world, ns):
    return settings(world, ns, "victim")["data"] == {"colour": "red"} and settings(world, ns, "other")


def warnings(world, ns, kind, name):
    events = world.api.get(f"/api/v1/namespaces/{ns}/events?limit=500")["items"]
    about = {"kind": kind, "name": name}
    return [e["message"] for e in events if e["type"] == "Warning" and about.items() <= e["involvedObject"].items()]


def test_all_that_makes_no_sense_on_an_app_is_named_and_its_last_state_stays(world, ns, pair):
    path = f"{APPS}/namespaces/{ns}/kustomizations/bad"
    annotate(world, path, NONSENSE)
    commit = pair.commit(
        {"bad/settings.yaml": config("victim", "blue"), "bad/other.yaml": None, "good/more.yaml": config("more")}
    )
    world.poke(ns)
    world.ready(ns, "good", commit)
    message = world.failed(ns, "bad", "ValidationFailed", f"Kustomization {ns}/bad")
    for name, value in NONSENSE.items():
        assert f"{name}: {value!r}"[:60] in message
    assert "it must be atomic or each" in message
    assert len(message) < 3_000
    assert condition(world.get_app(ns, "bad"), "Stalled")["status"] == "True"
    assert untouched(world, ns)
    annotate(world, path, dict.fromkeys(NONSENSE))
    world.ready(ns, "bad", commit)
    assert settings(world, ns, "victim")["data"] == {"colour": "blue"}
    assert settings(world, ns, "other") is None


@pytest.mark.parametrize("names", [sorted(OF_OBJECTS)[:4], sorted(OF_OBJECTS)[4:]])
def test_rules_of_no_meaning_on_objects_are_named_with_file_and_line(world, ns, pair, names):
    files = {f"bad/c{i}.yaml": annotated(f"c{i}", **{name: OF_OBJECTS[name]}) for i, name in enumerate(names)}
    pair.commit({"bad/settings.yaml": config("victim", "blue"), "bad/other.yaml": None, **files})
    world.poke(ns)
    message = world.failed(ns, "bad", "ValidationFailed", f"{len(files)} refused before any request")
    for i, name in enumerate(names):
        assert f"ConfigMap/{ns}/c{i} (bad/c{i}.yaml:1) has {name}: {OF_OBJECTS[name]!r}: it must be" in message
    assert untouched(world, ns)
    assert settings(world, ns, "c0") is None
    world.ready(ns, "good")
    fixed = pair.commit(dict.fromkeys(files))
    world.poke(ns)
    world.ready(ns, "bad", fixed)


@pytest.mark.parametrize("field", ["labels: [a]", "annotations: text"])
def test_labels_that_are_no_map_are_named_with_file_and_line(world, ns, pair, field):
    pair.commit({"bad/x.yaml": config("x").replace("name: x", f"name: x, {field}")})
    world.poke(ns)
    message = world.failed(ns, "bad", "BuildFailed", "bad/x.yaml:1")
    assert f"metadata.{field.split(':')[0]} is not a map" in message
    assert untouched(world, ns)


def test_nonsense_on_a_source_stops_the_source_and_its_last_artifact_stays_in_force(world, ns, pair):
    path = f"{SOURCES}/namespaces/{ns}/gitrepositories/repo"
    annotate(world, path, {"trimtab.dev/verify": "tag", "trimtab.dev/allow-rollback": "main"})
    commit = pair.commit({"bad/settings.yaml": config("victim", "blue")})
    world.poke(ns)

    def failed():
        found = condition(world.get_source(ns), "Ready")
        return found["message"] if found["reason"] == "ValidationFailed" else None

    message = until(failed, "the source says so")
    assert "trimtab.dev/verify: 'tag' (it must be head, strict or first-parent)" in message
    assert "trimtab.dev/allow-rollback: 'main'" in message
    assert condition(world.get_source(ns), "Stalled")["status"] == "True"
    world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/victim", {"data": {"colour": "green"}})
    until(lambda: settings(world, ns, "victim")["data"]["colour"] == "red", "the last artifact is enforced")
    annotate(world, path, {"trimtab.dev/verify": None, "trimtab.dev/allow-rollback": None})
    world.ready(ns, "bad", commit)


def test_what_is_asked_for_and_not_served_is_refused_and_not_ignored(world, ns, pair):
    path = f"{APPS}/namespaces/{ns}/kustomizations/bad"
    annotate(world, path, {"trimtab.dev/freeze": "0 18 * * fri 60h Europe/Berlin"})
    world.failed(ns, "bad", "FeatureGateDisabled", "trimtab.dev/freeze")


def test_an_unknown_name_of_ours_is_a_warning_with_the_nearest_one_and_holds_deletions_only(world, ns, pair):
    path = f"{APPS}/namespaces/{ns}/kustomizations/bad"
    annotate(world, path, {"trimtab.dev/alow-empty": "true"})
    annotate(world, f"{SOURCES}/namespaces/{ns}/gitrepositories/repo", {"trimtab.dev/gate": "each"})
    commit = pair.commit({"bad/settings.yaml": config("victim", "blue"), "bad/other.yaml": None})
    world.poke(ns)
    app = world.ready(ns, "bad", commit)
    assert settings(world, ns, "victim")["data"] == {"colour": "blue"}
    assert settings(world, ns, "other")
    assert condition(app, "PruneHeld")["reason"] == "UnknownAnnotation"
    told = "'trimtab.dev/alow-empty' is not known: is trimtab.dev/allow-empty meant?"
    until(
        lambda: warnings(world, ns, "Kustomization", "bad") == [told],
        lambda: warnings(world, ns, "Kustomization", "bad"),
    )
    until(
        lambda: any("no meaning on a GitRepository" in text for text in warnings(world, ns, "GitRepository", "repo")),
        "the source warns",
    )
    annotate(world, path, {"trimtab.dev/alow-empty": None})
    until(lambda: settings(world, ns, "other") is None, "the deletion goes on")
