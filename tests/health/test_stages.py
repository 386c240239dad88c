"""How far a revision has come in an app, by tables over what controllers leave in the status."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.health.revisions import Wish
from trimtab.health.stages import Laggard, Mark, Objects, Source, Stage, account, of_source
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Ref

OLD, NEW = (f"main@sha1:{digit * 40}" for digit in "12")
REPO = Ref("source.toolkit.fluxcd.io", "GitRepository", "n", "repo")
WEB = Ref("apps", "Deployment", "n", "web")
GOOD = Objects(3)


def condition(kind, status, reason="", message="", generation=1):
    return {"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": generation}


def source(revision=NEW, *, ready="True", generation=1, observed=1, stalled=False, **spec):
    conditions = [condition("Ready", ready, "GitOperationFailed", "no route")]
    conditions += [condition("Stalled", "True")] if stalled else []
    artifact = {"revision": revision, "lastUpdateTime": "T1"} if revision else None
    body = {
        "kind": "GitRepository",
        "metadata": {"generation": generation},
        "spec": {"interval": "1m", **spec},
        "status": {"artifact": artifact, "conditions": conditions, "observedGeneration": observed},
    }
    return Source(REPO, body)


def app(ready="True", reason="", message="", *, applied=NEW, attempted=NEW, generation=1, observed=1, **more):
    spec = {"suspend": more.pop("suspend", False), "wait": more.pop("wait", False)}
    conditions = [condition("Ready", ready, reason, message, observed)] if ready else []
    conditions += [condition(kind, "True") for kind in more.pop("also", ())]
    return {
        "kind": "Kustomization",
        "metadata": {"name": "shop", "namespace": "n", "generation": generation},
        "spec": spec,
        "status": {
            "observedGeneration": observed if ready == "True" else observed - 1,
            "lastAppliedRevision": applied,
            "lastAttemptedRevision": attempted,
            "conditions": conditions,
            **more,
        },
    }


def marks(found):
    return "".join(step.mark[0] for step in found.steps)


D, W, F, U = "done", "waiting", "failed", "unknown"


@pytest.mark.parametrize(
    ("body", "origin", "wish", "expected", "words"),
    [
        (app(), source(), "", "dddd", ""),
        (app(), source(), "22222222", "dddd", ""),
        (app(applied=OLD, attempted=OLD), source(OLD), "22222222", "wwww", "is at main@sha1:1111"),
        (app(applied=OLD, attempted=OLD), source(), "", "dwww", "it is at main@sha1:1111"),
        (app("Unknown", "Progressing", "applying revision x", applied=OLD), source(), "", "ddww", "applying"),
        (app("Unknown", "Progressing", "waiting for Deployment/n/web: 0 of 1"), source(), "", "dddw", "0 of 1"),
        (app("Unknown", "Progressing", "Running health checks for revision x"), source(), "", "dddw", "Running"),
        (app("False", "HealthCheckFailed", "timed out", applied=OLD), source(), "", "dddf", "timed out"),
        (app("False", "ValidationFailed", "a.yaml:1", applied=OLD), source(), "", "ddfw", "a.yaml:1"),
        (app("False", "BuildFailed", "a.yaml:1", applied=OLD), source(), "", "dfww", "a.yaml:1"),
        (app("False", "ReconciliationFailed", "quota"), source(), "", "ddfw", "quota"),
        (app("False", "DependencyNotReady", "dependency n/x", applied=OLD), source(), "", "dwww", "dependency"),
        (app("", applied="", attempted=""), source(), "", "dwww", "generation 1"),
        (app(generation=2), source(), "", "dwww", "has not looked at generation 2"),
        (app(), source(generation=2), "", "wwdd", "has not looked at generation 2"),
        (app(), source(ready="False"), "", "fwdd", "no route"),
        (app(), source(ready="False"), "22222222", "dddd", ""),
        (app(), source(OLD), "22222222", "dddd", "is at main@sha1:1111"),
        (app(), Source(REPO), "", "wwdd", "does not exist"),
        (app(), Source(REPO, problem="forbidden"), "", "uwdd", "forbidden"),
        (app(), Source(REPO, problem="forbidden"), "22222222", "dddd", ""),
        (app(suspend=True), source(), "", "dddd", ""),
        (app(suspend=True, applied=OLD, attempted=OLD), source(), "", "dwww", "trimtab resume shop -n n"),
        (app(applied=OLD, attempted=OLD), source(OLD, suspend=True), "22222222", "wwww", "is suspended"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_state_that_controllers_leave_is_at_its_stage(body, origin, wish, expected, words):
    found = account(body, origin, Wish(wish), GOOD)
    blocked = found.blocked(Stage.HEALTHY)
    got = marks(found)
    upto = len(got) if blocked is None else list(Stage).index(blocked.stage) + 1
    assert got[:upto] == expected[:upto], found
    assert words in " ".join(step.message for step in found.steps)


@pytest.mark.parametrize(
    ("body", "origin", "stuck"),
    [
        (app("False", "BuildFailed", also=["Stalled"]), source(), True),
        (app("False", "BuildFailed"), source(), False),
        (app(applied=OLD, attempted=OLD, suspend=True), source(), True),
        (app("False", "BuildFailed", applied=OLD, attempted=OLD, also=["Stalled"]), source(), False),
        (app(applied=OLD, attempted=OLD), source("", ready="False", stalled=True), True),
        (app(applied=OLD, attempted=OLD), source(OLD, suspend=True), True),
    ],
    ids=["refused", "retried", "suspended", "refused before", "source refused", "source suspended"],
)
def test_what_waiting_cannot_help_is_stuck(body, origin, stuck):
    step = account(body, origin, Wish("22222222"), GOOD).blocked(Stage.HEALTHY)
    assert step is not None
    assert step.stuck is stuck


def lagging(*states):
    return Objects(5, [Laggard(WEB, Verdict(state, "0 of 1 ready")) for state in states])


@pytest.mark.parametrize(
    ("objects", "vouched", "mark"),
    [
        (GOOD, False, Mark.DONE),
        (None, True, Mark.WAITING),
        (lagging(State.InProgress), True, Mark.WAITING),
        (lagging(State.NotFound), True, Mark.WAITING),
        (lagging(State.Failed, State.InProgress), True, Mark.FAILED),
        (lagging(State.Unknown), False, Mark.UNKNOWN),
        (lagging(State.Unknown), True, Mark.DONE),
        (lagging(State.Unknown, State.InProgress), True, Mark.WAITING),
        (Objects(problem="forbidden"), False, Mark.UNKNOWN),
        (Objects(problem="forbidden"), True, Mark.DONE),
    ],
    ids=["all good", "not looked", "at work", "gone", "broken", "blind", "vouched", "blind and at work", "?", "?!"],
)
def test_ready_is_healthy_only_when_the_objects_are_or_the_controller_has_waited_for_them(objects, vouched, mark):
    body = app(wait=vouched, also=["Healthy"] if vouched else [])
    step = account(body, source(), Wish(), objects).step(Stage.HEALTHY)
    assert step.mark is mark


def test_a_status_that_is_about_an_older_generation_is_not_applied():
    body = app()
    body["status"]["observedGeneration"] = 0
    assert account(body, source(), Wish(), GOOD).step(Stage.APPLIED).mark is Mark.WAITING


def test_times_are_those_of_the_record_of_that_revision():
    record = {"metadata": {"revision": NEW, "rendered": "T2", "applied": "T3"}, "lastReconciled": "T4"}
    other = {"metadata": {"revision": OLD, "rendered": "T8", "applied": "T9"}, "lastReconciled": "T9"}
    for waited, healthy in ((True, "T4"), (False, "")):
        body = app(history=[other, record], wait=waited, also=["Healthy"] if waited else [])
        found = account(body, source(), Wish(), GOOD)
        assert [step.at for step in found.steps] == ["T1", "T2", "T3", healthy]


def test_a_later_revision_that_contains_the_one_asked_for_is_good_enough():
    found = account(app(), source(), Wish("11111111", {NEW: True}), GOOD)
    assert found.reached(Stage.HEALTHY)
    assert found.revision == NEW
    assert not account(app(), source(), Wish("11111111", {NEW: None}), GOOD).reached(Stage.FETCHED)


def release(ready="True", reason="", *, version="1.2.3", attempted="1.2.3", status="deployed", digest="", **spec):
    return {
        "kind": "HelmRelease",
        "metadata": {"name": "shop", "namespace": "n", "generation": 1},
        "spec": spec,
        "status": {
            "observedGeneration": 1,
            "lastAttemptedRevision": attempted,
            "lastAttemptedRevisionDigest": digest,
            "history": [{"chartVersion": version, "status": status, "ociDigest": digest}],
            "conditions": [condition("Ready", ready, reason, "why")],
        },
    }


@pytest.mark.parametrize(
    ("body", "published", "wish", "reached"),
    [
        (release(), "1.2.3", "", True),
        (release(), "1.2.3", "1.2.3", True),
        (release(), "1.2.3", "1.2.4", False),
        (release(), "1.2.4", "", False),
        (release("False", "UpgradeFailed", status="failed"), "1.2.3", "", False),
        (release("False", "TestFailed"), "1.2.3", "", False),
        (
            release(version="1.2.3+0123456789ab", digest="sha256:" + "0123456789ab" * 5 + "0123"),
            "1.2.3@sha256:" + "0123456789ab" * 5 + "0123",
            "",
            True,
        ),
    ],
    ids=["newest", "asked", "another", "newer chart", "failed", "test failed", "from a registry"],
)
def test_a_release_is_at_the_version_of_its_chart(body, published, wish, reached):
    found = account(body, source(published), Wish(wish), GOOD)
    assert found.reached(Stage.HEALTHY) is reached


def test_a_source_has_arrived_when_it_is_fetched():
    assert of_source(source(), Wish("22222222")).reached(Stage.HEALTHY)
    assert not of_source(source(OLD), Wish("22222222")).reached(Stage.FETCHED)
    assert not of_source(source(ready="False"), Wish()).reached(Stage.FETCHED)
    assert not of_source(Source(REPO), Wish()).reached(Stage.FETCHED)
    charts = Source(Ref("", "HelmRepository", "n", "charts"), {"spec": {"type": "oci"}})
    assert of_source(charts, Wish()).reached(Stage.HEALTHY)


VALUES = st.one_of(st.none(), st.integers(), st.text(max_size=5), st.lists(st.integers(), max_size=2))
ODD = st.recursive(VALUES, lambda inner: st.dictionaries(st.sampled_from(["status", "reason", "revision"]), inner))


@given(
    st.fixed_dictionaries(
        {"metadata": st.just({"name": "x", "namespace": "n", "generation": 1})},
        optional={
            "kind": st.sampled_from(["Kustomization", "HelmRelease"]),
            "spec": ODD,
            "status": st.dictionaries(
                st.sampled_from(["conditions", "history", "artifact", "lastAppliedRevision", "observedGeneration"]), ODD
            ),
        },
    )
)
def test_odd_objects_are_read_and_never_taken_for_done(body):
    found = account(body, Source(REPO, body), Wish("22222222"), None)
    assert not found.reached(Stage.HEALTHY)


def test_what_is_not_reached_is_never_behind_something_that_is_not_done():
    for goal in Stage:
        found = account(app("False", "BuildFailed"), source(), Wish(), GOOD)
        assert found.reached(goal) is (found.blocked(goal) is None)
