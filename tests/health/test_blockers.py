"""What stands in the way, followed to something that somebody has to mend."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.api import gvk
from trimtab.health.blockers import Known, blockers, needs, root
from trimtab.manifests.refs import Ref


def ref(name, of=gvk.KUSTOMIZATION):
    return Ref(of.group, of.kind, "n", name)


REPO = ref("repo", gvk.GIT_REPOSITORY)


def thing(name, ready="True", reason="", message="", *, of=gvk.KUSTOMIZATION, labels=None, note=None, **spec):
    conditions = [{"type": "Ready", "status": ready, "reason": reason, "message": message, "observedGeneration": 1}]
    spec = {"dependsOn" if key == "on" else key: value for key, value in spec.items()}
    metadata = {"name": name, "namespace": "n", "generation": 1, "labels": labels or {}, "annotations": note or {}}
    return {"kind": of.kind, "metadata": metadata, "spec": spec, "status": {"conditions": conditions}}


def app(name, ready="True", reason="", message="", on=(), **more):
    source = {"kind": "GitRepository", "name": "repo"}
    return thing(name, ready, reason, message, on=[{"name": one} for one in on], sourceRef=source, **more)


def waits(name, on, **more):
    return app(name, "False", "DependencyNotReady", f"dependency n/{on} is not ready", on=[on], **more)


def world(*bodies):
    return {
        Ref(one.group, one.kind, "n", body["metadata"]["name"]): Known(body)
        for body in (*bodies, *([] if any(b["kind"] == "GitRepository" for b in bodies) else [repo()]))
        for one in (getattr(gvk, name) for name in ("KUSTOMIZATION", "HELM_RELEASE", "GIT_REPOSITORY", "HELM_CHART"))
        if one.kind == body["kind"]
    }


def repo(ready="True", reason="", message="", **spec):
    return thing("repo", ready, reason, message, of=gvk.GIT_REPOSITORY, **spec)


def test_nothing_is_in_the_way_of_what_is_ready():
    assert blockers(ref("a"), world(app("a"))) == ()


def test_a_chain_of_dependencies_ends_at_the_source_that_cannot_be_fetched():
    known = world(
        waits("a", "b"),
        waits("b", "c"),
        app("c", "False", "ArtifactFailed", "no artifact"),
        repo("False", "AuthenticationFailed", "no key", secretRef={"name": "deploy"}),
    )
    found = blockers(ref("a"), known)
    assert [(one.ref.name, one.depth) for one in found] == [("a", 0), ("b", 1), ("c", 2), ("repo", 3)]
    first = root(found)
    assert first.ref == REPO
    assert first.way_out == "mend the Secret n/deploy"


@pytest.mark.parametrize(
    ("body", "why", "way_out"),
    [
        (app("a", "False", "BuildFailed", "x.yaml:3: a tab"), "x.yaml:3", "trimtab build PATH"),
        (app("a", "False", "ValidationFailed", "x.yaml:3"), "x.yaml:3", "trimtab diff a -n n"),
        (app("a", "False", "HealthCheckFailed", "web"), "web", "trimtab tree a -n n"),
        (app("a", "False", "ReadOnly", "checksum"), "checksum", "trimtab repair inventory a -n n"),
        (app("a", "False", "DependencyCycle", "a → a"), "a → a", "out of the circle"),
        (app("a", "False", "SomethingNew", "words"), "words", "trimtab reconcile a -n n"),
        (app("a", "Unknown", "Progressing", "applying"), "applying", "trimtab wait a -n n"),
        (app("a", suspend=True), "is suspended", "trimtab resume a -n n"),
    ],
    ids=["build", "gate", "health", "record", "circle", "other", "at work", "suspended"],
)
def test_each_trouble_comes_with_a_way_out(body, why, way_out):
    [found] = blockers(ref("a"), world(body))
    assert why in found.why
    assert way_out in found.way_out


def test_what_is_missing_or_may_not_be_looked_at_is_said():
    known = {**world(waits("a", "b"), waits("b", "c")), ref("c"): Known()}
    assert root(blockers(ref("a"), known)).why == "does not exist"
    known[ref("c")] = Known(problem="forbidden")
    assert root(blockers(ref("a"), known)).why == "cannot be looked at: forbidden"


def test_a_circle_is_followed_once():
    found = blockers(ref("a"), world(waits("a", "b"), waits("b", "a")))
    assert [one.ref.name for one in found] == ["a", "b"]


def test_a_parent_that_is_suspended_is_in_the_way_of_what_git_says_of_the_child():
    labels = {"kustomize.toolkit.fluxcd.io/name": "root", "kustomize.toolkit.fluxcd.io/namespace": "n"}
    found = blockers(ref("a"), world(app("a", labels=labels), app("root", suspend=True)))
    assert [(one.ref.name, one.way_out) for one in found] == [("root", "`trimtab resume root -n n`")]
    assert blockers(ref("a"), world(app("a", labels=labels), app("root"))) == ()


def test_the_source_of_a_ready_app_counts_for_what_is_to_come():
    [found] = blockers(ref("a"), world(app("a"), repo(suspend=True)))
    assert (found.ref, found.way_out) == (REPO, "`trimtab resume source git repo -n n`")


def test_what_an_object_cannot_do_without_is_found_in_its_spec_its_labels_and_the_annotation():
    body = app(
        "a",
        on=["b"],
        labels={"kustomize.toolkit.fluxcd.io/name": "root", "kustomize.toolkit.fluxcd.io/namespace": "n"},
        note={"trimtab.dev/depends-on": "OCIRepository/n/charts, Pod/n/x"},
    )
    assert needs(body) == [REPO, ref("b"), ref("charts", gvk.OCI_REPOSITORY), ref("root")]
    own = {"helm.toolkit.fluxcd.io/name": "shop", "helm.toolkit.fluxcd.io/namespace": "n"}
    release = thing("r", of=gvk.HELM_RELEASE, on=[{"name": "q"}], chart={}, labels=own)
    release["status"]["helmChart"] = "n/n-r"
    wanted = [ref("n-r", gvk.HELM_CHART), ref("q", gvk.HELM_RELEASE), ref("shop", gvk.HELM_RELEASE)]
    assert needs(release) == wanted


NAMES = st.sampled_from("abcde")


@given(st.lists(st.tuples(NAMES, NAMES, st.booleans()), max_size=12))
def test_however_things_wait_for_each_other_it_ends_and_begins_at_something_that_is_there(edges):
    bodies = {}
    for name, on, held in edges:
        bodies[name] = waits(name, on) if held else app(name, on=[on])
    known = {ref(name): Known(bodies.get(name)) for name in "abcde"}
    found = blockers(ref("a"), known)
    assert len({one.ref for one in found}) == len(found)
    first = root(found)
    assert (first is None) is (not found)
    assert first is None or first in found
