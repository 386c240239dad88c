"""What is told of the way of a revision: once, in one span however many passes it takes, and nothing afterwards."""

import pytest

from trimtab.api.kustomize import Kustomization, KustomizationSpec, SourceRef
from trimtab.api.meta import ObjectMeta
from trimtab.api.source import GitRepository, GitRepositorySpec
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Terminal, Transient, Waiting
from trimtab.base.traces import NO_TRACES, found, held, here, nothing, span, trace_of
from trimtab.controllers.journeys import MOST_FAILURES, Arrivals, Journeys, Writings

REVISION = "main@sha1:0a1b2c"
TRACE = trace_of("source-uid", REVISION)
APP = Kustomization(
    metadata=ObjectMeta(name="shop", namespace="ns", uid="app-uid"),
    spec=KustomizationSpec(source_ref=SourceRef(kind="GitRepository", name="repo"), interval="1m", prune=True),
)
SOURCE = GitRepository(
    metadata=ObjectMeta(name="repo", namespace="ns", uid="source-uid"),
    spec=GitRepositorySpec(url="https://git.example/repo", interval="1m"),
)


class Kept:
    """Keeps what is recorded, as a double of an exporter."""

    on = True

    def __init__(self):
        self.spans = []

    def record(self, spans):
        self.spans.extend(spans)

    def taken(self):
        spans, self.spans = self.spans, []
        return [one.name for one in spans]


@pytest.fixture
def kept():
    return Kept()


@pytest.fixture
def journeys(kept):
    return Journeys(kept, SystemClock())


def go(
    journeys,
    *steps,
    settled=False,
    revision=REVISION,
    failure=None,
    hide=nothing,
    arrives=False,
    checks=False,
    goes_on=(),
):
    """One pass: `steps` are its spans, and then it fails, waits or arrives."""
    with journeys.passing(APP, lambda: hide, goes_on=goes_on):
        journeys.depart(APP, SOURCE, revision, settled=settled)
        for name in steps:
            with span(name):
                pass
        if checks:
            journeys.check(APP.key)
        if failure is not None:
            raise failure
        if arrives:
            journeys.arrive(APP.key)


def test_an_app_that_takes_several_passes_is_one_span_from_the_first_to_healthy(journeys, kept):
    with pytest.raises(Waiting):
        go(journeys, failure=Waiting("DependencyNotReady", "ns/base is not ready"))
    assert kept.taken() == []
    go(journeys, "render", "gate", "apply", checks=True)
    go(journeys, checks=True)
    go(journeys, arrives=True, checks=True)
    spans = {one.name: one for one in kept.spans}
    assert list(spans) == ["render", "gate", "apply", "wait", "health", "Kustomization ns/shop"]
    whole = spans.pop("Kustomization ns/shop")
    assert whole.parent == TRACE.root
    assert {one.parent for one in spans.values()} == {whole.id}
    assert {one.trace for one in kept.spans} == {TRACE.id}
    assert whole.began == spans["wait"].began
    assert spans["wait"].ended <= spans["render"].began <= spans["health"].began
    assert whole.ended >= spans["health"].ended
    assert spans["wait"].attributes == {"trimtab.waited_for": "ns/base is not ready"}
    assert whole.attributes == {
        "k8s.namespace.name": "ns",
        "k8s.object.kind": "Kustomization",
        "k8s.object.name": "shop",
        "k8s.object.uid": "app-uid",
        "trimtab.revision": REVISION,
        "vcs.ref.head.name": "main",
        "vcs.ref.head.revision": "0a1b2c",
    }


def test_an_app_that_a_commit_does_not_touch_is_not_in_its_trace(journeys, kept):
    with pytest.raises(Waiting):
        go(journeys, failure=Waiting("DependencyNotReady", "ns/base is not ready"))
    go(journeys, arrives=True)
    assert kept.taken() == []


def test_what_is_done_for_a_revision_that_was_healthy_before_is_not_told(journeys, kept):
    go(journeys, "render", "gate", settled=True, arrives=True)
    with pytest.raises(Transient):
        go(journeys, "apply", settled=True, failure=Transient("ReconciliationFailed", "away"))
    assert kept.taken() == []


def test_another_wish_at_the_same_revision_is_told(journeys, kept):
    with journeys.passing(APP, lambda: nothing):
        journeys.depart(APP, SOURCE, REVISION, settled=True)
        journeys.renew(APP.key)
        with span("render"):
            pass
        journeys.arrive(APP.key)
    assert kept.taken() == ["render", "Kustomization ns/shop"]


def test_a_failure_marks_the_spans_without_secrets_and_is_told_once(journeys, kept):
    failure = Terminal("ValidationFailed", "the value s3cr3t is refused")
    for _ in range(3):
        with pytest.raises(Terminal):
            go(journeys, "gate", failure=failure, hide=lambda text: text.replace("s3cr3t", "***"))
    gate, whole = kept.spans
    assert (whole.error, whole.message) == ("ValidationFailed", "the value *** is refused")
    kept.taken()
    go(journeys, "gate", "apply", arrives=True)
    assert kept.spans[-1].error == ""
    assert kept.taken() == ["gate", "apply", "Kustomization ns/shop"]
    assert gate.parent == whole.id


def test_an_app_that_fails_in_ever_other_words_does_not_fill_its_trace(journeys, kept):
    for number in range(MOST_FAILURES * 2):
        with pytest.raises(Transient):
            go(journeys, failure=Transient("HealthCheckFailed", f"try {number}"))
    assert len(kept.spans) == MOST_FAILURES


def test_a_failed_health_check_marks_the_time_in_which_it_was_waited_for(journeys, kept):
    go(journeys, "apply", checks=True)
    with pytest.raises(Transient):
        go(journeys, checks=True, failure=Transient("HealthCheckFailed", "timed out"))
    assert [(one.name, one.error) for one in kept.spans[1:]] == [
        ("health", "HealthCheckFailed"),
        ("Kustomization ns/shop", "HealthCheckFailed"),
    ]


def test_a_newer_revision_ends_the_way_of_the_one_before(journeys, kept):
    go(journeys, "apply", checks=True)
    go(journeys, "apply", revision="main@sha1:ff", arrives=True)
    first, *rest = kept.spans
    (left,) = [one for one in rest if one.trace == TRACE.id]
    assert first.parent == left.id
    assert left.attributes["trimtab.superseded"] is True
    assert {one.trace for one in rest if one is not left} == {trace_of("source-uid", "main@sha1:ff").id}


def test_what_is_under_way_when_the_process_ends_is_told_as_it_is(journeys, kept):
    go(journeys, "apply", checks=True)
    journeys.close()
    assert kept.spans[-1].attributes["trimtab.interrupted"] is True


def test_nobody_listens_and_nothing_is_kept():
    journeys = Journeys(NO_TRACES, SystemClock())
    with journeys.passing(APP, lambda: nothing):
        journeys.depart(APP, SOURCE, REVISION, settled=False)
        assert here() is None
    assert not vars(journeys)["_open"]


def look(arrivals, before, after, failure=None, revision=REVISION):
    said = [before]
    with arrivals.watching(SOURCE, lambda: said[0]):
        with span("look"):
            pass
        found(revision, "source-uid")
        if failure is not None:
            raise failure
        said[0] = after


def test_a_source_that_came_to_a_revision_is_the_root_of_its_trace(kept):
    arrivals = Arrivals(kept, SystemClock())
    look(arrivals, "", REVISION)
    step, root = kept.spans
    assert (root.trace, root.id, root.parent) == (TRACE.id, TRACE.root, 0)
    assert step.parent == root.id
    kept.taken()
    look(arrivals, REVISION, REVISION)
    assert kept.taken() == []


def test_a_revision_that_is_held_is_told_below_the_root_that_may_come_later(kept):
    arrivals = Arrivals(kept, SystemClock())
    for _ in range(2):
        with pytest.raises(Transient):
            look(arrivals, "main@sha1:old", "", Transient("VerificationError", "nobody has signed it"))
    _, told = kept.spans
    assert (told.parent, told.error, told.message) == (TRACE.root, "VerificationError", "nobody has signed it")
    assert told.id != TRACE.root
    kept.taken()
    with arrivals.watching(SOURCE, lambda: "main@sha1:old"):
        found(REVISION, "source-uid")
        held(Transient("VerificationError", "the keys are other ones now"))
    assert [one.message for one in kept.spans] == ["the keys are other ones now"]
    kept.taken()
    with pytest.raises(Transient):
        look(arrivals, REVISION, "", Transient("GitOperationFailed", "away"))
    assert kept.taken() == []


class Outrun(Exception):
    """Stands for a wish that became another one."""


def test_a_pass_that_begins_anew_is_no_end_of_the_way(journeys, kept):
    with pytest.raises(Outrun):
        go(journeys, "install", failure=Outrun(), goes_on=(Outrun,))
    assert kept.taken() == ["install"]
    go(journeys, arrives=True)
    assert [(one.name, one.error) for one in kept.spans] == [("Kustomization ns/shop", "")]


def test_what_is_not_tried_any_more_has_failed_though_nothing_is_raised(journeys, kept):
    for _ in range(2):
        with journeys.passing(APP, lambda: nothing):
            journeys.depart(APP, SOURCE, REVISION, settled=False)
            journeys.stop(APP.key, Terminal("InstallFailed", "no such image"))
    assert [(one.error, one.message) for one in kept.spans] == [("InstallFailed", "no such image")]


def test_a_commit_of_ours_is_in_the_trace_of_the_revision_that_it_becomes(kept):
    writings = Writings(kept, SystemClock())
    with writings.watching(APP), span("choose"):
        pass
    assert kept.spans == []
    with writings.watching(APP), span("commit"):
        writings.pushed(SOURCE, "main", "0a1b2c")
    commit, whole = kept.spans
    assert (whole.trace, whole.parent, commit.parent) == (TRACE.id, TRACE.root, whole.id)
