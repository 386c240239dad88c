"""The pure decisions of the controllers: dependencies, health, history, what is not served."""

from datetime import UTC, datetime

import msgspec
import pytest

from trimtab.api.kustomize import Dependency, HealthExpr, Kustomization, KustomizationSpec, SourceRef
from trimtab.api.kustomizestatus import DriftRecord, KustomizationStatus
from trimtab.api.meta import ObjectMeta
from trimtab.api.source import Artifact, GitRepository, GitRepositorySpec, GitRepositoryStatus
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Terminal, Waiting
from trimtab.controllers import dependencies, drifting, expressions, health, progress, supported
from trimtab.controllers.app import App, Build
from trimtab.controllers.history import Trial, described, record, tells
from trimtab.controllers.retreat import Retreat
from trimtab.controllers.ripple import Ripple
from trimtab.health.verdict import State, Verdict
from trimtab.kube.informer import Applied, Deleted
from trimtab.manifests.conditions import Condition, find
from trimtab.manifests.refs import Key, Ref
from trimtab.targets.contract import Effect, Outcome
from trimtab.targets.kubernetes.judging import Judges

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SUCCEEDED = "ReconciliationSucceeded"


def app(name, *depends_on, source="repo", annotations=None, dependencies=(), **spec):
    return Kustomization(
        metadata=ObjectMeta(name=name, namespace="ns", annotations=annotations or {}),
        spec=KustomizationSpec(
            source_ref=SourceRef(kind="GitRepository", name=source),
            interval="1m",
            prune=True,
            depends_on=(*(Dependency(name=other) for other in depends_on), *dependencies),
            **spec,
        ),
    )


def world(*apps):
    return {item.key: item for item in apps}


def check(item, others, at):
    dependencies.check(item, others, "r2", {Key("ns", name): revision for name, revision in at.items()}.get)


def test_an_app_without_dependencies_goes_on():
    item = app("a")
    check(item, world(item), {})


@pytest.mark.parametrize(
    ("at", "words"),
    [({}, "ns/b is not ready"), ({"b": "r1"}, "ns/b is not at revision r2 yet")],
)
def test_an_app_waits_for_its_dependency_to_be_ready_at_the_same_revision(at, words):
    item = app("a", "b")
    with pytest.raises(Waiting, match=words):
        check(item, world(item, app("b")), at)


def test_a_dependency_from_another_source_need_not_be_at_the_same_revision():
    item = app("a", "b")
    check(item, world(item, app("b", source="other")), {"b": "x9"})


def test_a_missing_dependency_is_named():
    item = app("a", "b")
    with pytest.raises(Waiting, match="ns/b does not exist"):
        check(item, world(item), {})


def test_a_circle_is_found_however_long_and_only_by_those_in_it():
    a, b, c, d = app("a", "b"), app("b", "c"), app("c", "a"), app("d", "a")
    others = world(a, b, c, d)
    assert dependencies.find_cycle(a.key, others) == [a.key, b.key, c.key, a.key]
    assert dependencies.find_cycle(d.key, others) == []
    with pytest.raises(Terminal, match="ns/a → ns/b → ns/c → ns/a"):
        check(a, others, {})


def test_dependents_are_those_that_name_it_by_field_or_by_annotation():
    ripple = Ripple()
    a, b, c = app("a"), app("b", "a"), app("c", annotations=naming("Kustomization/ns/a"))
    for item in (a, b, c):
        ripple.app(Applied(None, item))
    assert ripple.dependents(a.key) == {b.key, c.key}
    ripple.app(Applied(b, app("b")))
    ripple.app(Deleted(c, None))
    assert ripple.dependents(a.key) == set()


def test_a_repository_tells_those_that_name_it_when_it_moves_and_nobody_when_nothing_changed():
    ripple = Ripple()
    ripple.app(Applied(None, app("a", annotations=naming("GitRepository/ns/repo"))))
    ripple.app(Applied(None, app("b")))
    before, after = repository("r1"), repository("r2")
    assert ripple.source("GitRepository", Applied(before, after)) == {Key("ns", "a")}
    assert not ripple.source("GitRepository", Applied(after, after))


def naming(*nodes):
    return {"trimtab.dev/depends-on": ", ".join(nodes)}


def repository(revision, *, ready="True", generation=1):
    condition = Condition(type="Ready", status=ready, reason="R", message="m", last_transition_time="")
    artifact = Artifact(path="p", url="u", revision=revision, last_update_time="")
    return GitRepository(
        metadata=ObjectMeta(name="repo", namespace="ns", generation=1),
        spec=GitRepositorySpec(url="https://example.org/x", interval="1m"),
        status=GitRepositoryStatus(observed_generation=generation, conditions=(condition,), artifact=artifact),
    )


def check_on(item, found):
    dependencies.check(item, world(item), "r2", {}.get, {"GitRepository": {found.key: found}})


def test_a_repository_that_is_named_has_to_be_ready_for_what_is_asked_of_it_now_and_at_the_same_revision():
    item = app("a", annotations=naming("GitRepository/ns/repo"))
    check_on(item, repository("r2"))
    check_on(app("a", source="another", annotations=naming("GitRepository/ns/repo")), repository("r1"))
    for found, words in [
        (repository("r2", ready="False"), "GitRepository/ns/repo is not ready: m"),
        (repository("r2", generation=0), "GitRepository/ns/repo is not ready"),
        (repository("r1"), "GitRepository/ns/repo is not at revision r2 yet"),
    ]:
        with pytest.raises(Waiting, match=words):
            check_on(item, found)
    with pytest.raises(Waiting, match="GitRepository/ns/repo does not exist"):
        dependencies.check(item, world(item), "r2", {}.get, {})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("b", "'b' is not of the form Kind/namespace/name"),
        ("Kustomization/ns/b,", "'' is not of the form"),
        ("Kustomization//b", "is not of the form"),
        ("Kustomization/ns/B", "is not of the form"),
        ("Pod/ns/b", "'Pod/ns/b' is of a kind that this version does not serve; it knows Kustomization, Git"),
        (",".join(["Kustomization/ns/b"] * 300), "it names 300 objects; the limit is 256"),
    ],
)
def test_an_annotation_without_sense_is_terminal_and_says_why(value, words):
    item = app("a", annotations={"trimtab.dev/depends-on": value})
    with pytest.raises(Terminal, match=words) as failure:
        check(item, world(item, app("b")), {"b": "r2"})
    assert "trimtab.dev/depends-on" in failure.value.message
    assert failure.value.reason == "ValidationFailed"


def test_a_circle_through_fields_and_annotations_is_found():
    a, b = app("a", "b"), app("b", annotations=naming("GitRepository/ns/a", "Kustomization/ns/a"))
    with pytest.raises(Terminal, match="ns/a → ns/b → ns/a"):
        check(a, world(a, b), {})
    alone = app("c", annotations=naming("Kustomization/ns/c"))
    with pytest.raises(Terminal, match="ns/c → ns/c"):
        check(alone, world(alone), {})


def test_an_expression_and_an_annotation_have_to_hold_both():
    waits = Dependency(name="b", ready_expr="dep.spec.prune")
    item = app("a", dependencies=(waits,), annotations=naming("Kustomization/ns/c"))
    others = world(item, app("b"), app("c"))
    check(item, others, {"c": "r2"})
    with pytest.raises(Waiting, match="ns/c is not ready"):
        check(item, others, {"b": "r2"})
    never = msgspec.structs.replace(waits, ready_expr="!dep.spec.prune")
    closed = app("a", dependencies=(never,), annotations=naming("Kustomization/ns/c"))
    with pytest.raises(Waiting, match="readyExpr is false"):
        check(closed, others, {"c": "r2"})


def going(item):
    return msgspec.structs.replace(item, metadata=msgspec.structs.replace(item.metadata, deletion_timestamp="now"))


def leaving(*apps):
    ripple, clock = Ripple(), LoopClock()
    for item in apps:
        ripple.app(Applied(None, item))
    return Retreat(world(*apps), ripple, clock), clock


class LoopClock(SystemClock):
    """Time that passes when it is told to."""

    seconds = 100.0

    def monotonic(self):
        return self.seconds


def test_an_app_that_is_deleted_waits_for_its_dependents_that_are_deleted_too_but_not_for_ever():
    base, top = going(app("base", timeout="60s")), going(app("top", "base"))
    retreat, clock = leaving(base, top)
    assert "ns/top" in retreat.wait(base).words
    assert retreat.wait(top) is None
    clock.seconds += 61
    assert retreat.wait(base) is None
    assert "ns/top, which depend on it, are not gone after 60 s" in retreat.begin(base)
    assert retreat.begin(base) == "", "it is said once"


def test_an_app_that_is_deleted_waits_a_moment_for_dependents_that_may_be_deleted_next_and_then_goes_alone():
    base, top = going(app("base")), app("top", "base")
    retreat, clock = leaving(base, top)
    assert retreat.wait(base).quiet
    clock.seconds += 4
    assert retreat.wait(base) is None
    assert "ns/top still depend on it and stay" in retreat.begin(base)


def test_in_a_circle_nobody_waits_for_the_others_to_go():
    one, two = going(app("one", "two")), going(app("two", "one"))
    retreat, _ = leaving(one, two)
    assert retreat.wait(one) is None
    assert retreat.wait(two) is None


def verdicts(*states):
    return {Ref("", "ConfigMap", "n", f"c{i}"): Verdict(state, state) for i, state in enumerate(states)}


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((), health.Health.GOOD),
        ((State.Current, State.Suspended), health.Health.GOOD),
        ((State.Current, State.InProgress), health.Health.PENDING),
        ((State.Unknown,), health.Health.PENDING),
        ((State.NotFound,), health.Health.PENDING),
        ((State.InProgress, State.Failed), health.Health.BAD),
    ],
)
def test_one_bad_object_makes_the_app_bad_and_one_pending_object_pending(states, expected):
    assert health.judge(verdicts(*states)).health is expected


def test_the_message_names_what_stands_in_the_way_and_counts_the_rest():
    message = health.judge(verdicts(*[State.InProgress] * 13)).message
    assert message.startswith("ConfigMap/n/c0: InProgress")
    assert message.endswith("and 3 more")


def test_history_has_the_latest_first_counts_returns_and_keeps_five():
    history = ()
    for number in range(6):
        history = record(history, f"d{number}", SUCCEEDED, {"revision": f"r{number}"}, NOW, 1.0)
    assert [entry.digest for entry in history] == ["d5", "d4", "d3", "d2", "d1"]
    again = record(history, "d3", SUCCEEDED, {"revision": "r9"}, NOW, 2.0)
    assert (again[0].digest, again[0].total_reconciliations, again[0].metadata["revision"]) == ("d3", 2, "r9")
    assert len(again) == 5


def test_however_much_fails_the_newest_success_stays_on_record():
    history = record(record((), "old", SUCCEEDED, {}, NOW, 1.0), "good", SUCCEEDED, {}, NOW, 1.0)
    for number in range(9):
        history = record(history, f"bad{number}", "ValidationFailed", {}, NOW, 1.0)
        assert len(history) <= 5
        assert "good" in [entry.digest for entry in history]
    assert [entry.digest for entry in history] == ["bad8", "bad7", "bad6", "bad5", "good"]


def test_a_failure_is_told_once_and_a_success_after_it_is_news():
    failed = record((), "d", "HealthCheckFailed", {}, NOW, 1.0)
    assert tells(failed, "d", "HealthCheckFailed")
    assert not tells(failed, "d", SUCCEEDED)
    healed = record(failed, "d", SUCCEEDED, {}, NOW, 1.0)
    assert [(entry.last_reconciled_status, entry.total_reconciliations) for entry in healed] == [(SUCCEEDED, 2)]


def test_a_state_that_failed_was_not_applied_before():
    for reason, applied in ((SUCCEEDED, True), ("ValidationFailed", False)):
        history = record((), "d", reason, {}, NOW, 1.0)
        known = App.unread(msgspec.structs.replace(app("a"), status=KustomizationStatus(history=history)))
        assert drifting.applied_before(known, Build("inputs", "d", ())) is applied


def test_history_says_what_the_commit_says_when_it_came_how_far_and_what_it_changed():
    artifact = Artifact(
        path="",
        url="",
        revision="main@sha1:1f",
        digest="",
        size=0,
        last_update_time="T1",
        metadata={"trimtab.dev/author": "Ann", "trimtab.dev/subject": "Scale", "other": "x"},
    )
    trial = Trial(rendered="T2", applied="T3")
    one, two = Ref("", "ConfigMap", "n", "a"), Ref("", "Service", "n", "b")
    trial.note([Outcome(one, Effect.CREATED), Outcome(two, Effect.DELETED), Outcome(two, Effect.UNCHANGED)])
    trial.note([Outcome(one, Effect.CONFIGURED), Outcome(Ref("", "Pod", "n", "c"), Effect.CORRECTED)])
    assert described(artifact, trial) == {
        "revision": "main@sha1:1f",
        "author": "Ann",
        "subject": "Scale",
        "fetched": "T1",
        "rendered": "T2",
        "applied": "T3",
        "changes": "1 created, 1 deleted",
        "objects": "+ConfigMap/n/a -Service/n/b",
    }


def test_history_names_a_few_objects_and_counts_all():
    trial = Trial()
    trial.note(Outcome(Ref("", "ConfigMap", "n", f"c{number}"), Effect.CONFIGURED) for number in range(40))
    told = described(Artifact(path="", url="", revision="r", digest="", size=0, last_update_time=""), trial)
    assert told["changes"] == "40 configured"
    assert len(told["objects"].split()) == 6


def test_ready_clears_what_was_pending_and_is_of_this_generation():
    status = progress.working(KustomizationStatus(), 3, "on it", NOW)
    assert find(status.conditions, "Ready").status == "Unknown"
    assert status.observed_generation == -1
    done = progress.ready(status, 3, "ReconciliationSucceeded", "Applied", NOW)
    assert [(c.type, c.status) for c in done.conditions] == [("Ready", "True")]
    assert done.observed_generation == 3


def test_a_stalled_failure_is_observed_and_a_passing_one_is_not():
    stalled = progress.failed(KustomizationStatus(), 3, "BuildFailed", "no", NOW, stalled=True)
    assert find(stalled.conditions, "Stalled").true
    assert stalled.observed_generation == 3
    retried = progress.failed(stalled, 4, "ValidationFailed", "no", NOW, stalled=False)
    assert find(retried.conditions, "Stalled") is None
    assert find(retried.conditions, "Reconciling").reason == "ProgressingWithRetry"
    assert retried.observed_generation == 3


def test_an_unchanged_failure_leaves_the_status_equal_so_that_nothing_is_written():
    once = progress.failed(KustomizationStatus(), 3, "BuildFailed", "no", NOW, stalled=True)
    later = datetime(2026, 11, 2, tzinfo=UTC)
    assert progress.failed(once, 3, "BuildFailed", "no", later, stalled=True) == once


def test_what_is_not_served_is_refused_by_name():
    supported.check(app("a"))
    with pytest.raises(Terminal, match=r"trimtab\.dev/gate: 'some'"):
        supported.check(app("a", annotations={"trimtab.dev/gate": "some"}))
    with pytest.raises(Terminal, match=r"trimtab\.dev/drift: 'maybe'"):
        supported.check(app("a", annotations={"trimtab.dev/drift": "maybe"}))
    item = app("a")
    source = msgspec.structs.replace(item.spec.source_ref, kind="Novel")
    other = msgspec.structs.replace(item, spec=msgspec.structs.replace(item.spec, source_ref=source))
    with pytest.raises(Terminal, match="Novel"):
        supported.check(other)


def test_an_expression_takes_the_place_of_the_check_of_a_dependency():
    waits = Dependency(name="b", ready_expr="dep.spec.prune && self.metadata.name == 'a'")
    item = app("a", dependencies=(waits,))
    check(item, world(item, app("b")), {})
    never = app("a", dependencies=(Dependency(name="b", ready_expr="!dep.spec.prune"),))
    with pytest.raises(Waiting, match=r"spec\.dependsOn\[0\]\.readyExpr is false"):
        check(never, world(never, app("b")), {"b": "r2"})
    lost = app("a", dependencies=(Dependency(name="b", ready_expr="dep.status.history[0].digest == ''"),))
    with pytest.raises(Waiting, match="has no answer for ns/b"):
        check(lost, world(lost, app("b")), {"b": "r2"})


def test_expressions_that_do_not_compile_are_terminal_and_named():
    judges = Judges()
    wrong = app("a", dependencies=(Dependency(name="c"), Dependency(name="b", ready_expr="dependency.x")))
    with pytest.raises(Terminal, match=r"spec\.dependsOn\[1\]\.readyExpr: undeclared reference") as failure:
        expressions.adopt(wrong, judges)
    assert failure.value.reason == "InvalidCELExpression"
    rule = HealthExpr(api_version="example.com/v1", current="1 +")
    with pytest.raises(Terminal, match=r"spec\.healthCheckExprs\[0\]\.current: Syntax error"):
        expressions.adopt(app("a", health_check_exprs=(rule,)), judges)


def test_who_reads_an_object_by_an_expression_is_told_of_its_changes():
    ripple = Ripple()
    reader = app("a", dependencies=(Dependency(name="b", ready_expr="true"),))
    ripple.app(Applied(None, reader))
    ripple.app(Applied(None, app("c", "b")))
    before = app("b")
    after = msgspec.structs.replace(before, spec=msgspec.structs.replace(before.spec, force=True))
    assert ripple.app(Applied(before, after)) == {reader.key}


def test_drift_that_was_only_reported_and_is_not_found_any_more_has_returned():
    def record(name, answer):
        return DriftRecord(object=f"ConfigMap/shop/{name}", change="changed", seen_at="t", answer=answer)

    def ref(name):
        return Ref("", "ConfigMap", "shop", name)

    known = (
        record("back", "reported"),
        record("still", "reported"),
        record("yielded", "yielded"),
        record("told", "returned"),
        record("told", "reported"),
        record("gone", "reported"),
    )
    looked = [ref(name) for name in ("back", "still", "yielded", "told")]
    found = drifting.returned(known, {ref("still"): 1.0}, looked, NOW)
    assert [(one.object, one.answer) for one in found] == [("ConfigMap/shop/back", "returned")]
