"""The guards of a hand-over, one by one: each of them alone has to hold."""

from types import SimpleNamespace

import msgspec
from tests.controllers.test_decisions import LoopClock, app, going, world

from trimtab.api.source import Artifact
from trimtab.controllers.app import App
from trimtab.controllers.claims import Claim, Claims, Spot
from trimtab.controllers.handover import Handover
from trimtab.controllers.index import Published, SourceId, SourceIndex
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Gvk, Key, Ref
from trimtab.targets.kubernetes.desired import PREFIX, Owner
from trimtab.targets.kubernetes.sighting import Sighting
from trimtab.targets.kubernetes.tracking import Tracker

HOME = "home"
SOURCE = SourceId("GitRepository", Key("ns", "repo"))
X = Ref("", "ConfigMap", "ns", "x")
A, B, CHILD = Key("ns", "a"), Key("ns", "b"), Key("ns", "child")


class Stage:
    """Apps of one source, which has published r2."""

    def __init__(self, *apps):
        self.objects, self.woken, self.clock = world(*apps), [], LoopClock()
        self.apps = {item.key: App.unread(item) for item in apps}
        self.claims, sources = Claims(self.woken.append), SourceIndex()
        artifact = Artifact(path="p", url="u", revision="r2", last_update_time="")
        sources.put(SOURCE, Published(artifact, None))
        self.handover = Handover(HOME, sources, self.objects, self.apps, self.claims, self.clock)

    def claim(self, key, revision, *refs, children=()):
        spots = frozenset(Spot(HOME, ref) for ref in refs)
        self.claims.record(key, Claim(SOURCE, revision, 0, f"{key}{revision}", spots, frozenset(children)))

    def wait(self, key):
        return self.handover.wait(self.objects[key], self.apps[key])


def test_deletions_wait_until_the_others_have_planned_the_newest_revision_and_are_woken_then():
    stage = Stage(app("a"), app("b"))
    stage.claim(A, "r2")
    stage.claim(B, "r1", X)
    assert "ns/b" in stage.wait(A).words
    stage.claim(B, "r2", X)
    assert stage.woken == [A]
    assert stage.wait(A) is None
    assert stage.handover.wanted_elsewhere(A, [X]) == {X}


def test_an_app_that_has_not_planned_at_all_is_waited_for_but_not_longer_than_the_timeout():
    stage = Stage(app("a", timeout="60s"), app("b"))
    stage.claim(A, "r2")
    assert stage.wait(A).quiet
    stage.clock.seconds += 10
    assert not stage.wait(A).quiet
    stage.clock.seconds += 60
    assert stage.wait(A) is None


def test_an_app_that_is_about_to_be_created_is_waited_for():
    stage = Stage(app("a"), app("b"))
    stage.claim(A, "r2")
    stage.claim(B, "r2", children=[CHILD])
    assert "ns/child" in stage.wait(A).words
    stage.objects[CHILD] = app("child")
    assert "ns/child" in stage.wait(A).words, "it exists and has not planned yet"
    stage.claim(CHILD, "r2", X)
    assert stage.wait(A) is None


def test_a_spec_that_changed_is_planned_anew_before_others_delete():
    changed = app("b")
    changed = msgspec.structs.replace(changed, metadata=msgspec.structs.replace(changed.metadata, generation=2))
    stage = Stage(app("a"), changed)
    stage.claim(B, "r2")
    assert stage.wait(A), "the claim is of another generation"


def test_who_is_suspended_deleted_or_fed_by_another_source_is_not_waited_for():
    stage = Stage(app("a"), app("b", suspend=True), going(app("c")), app("d", source="other"))
    assert stage.wait(A) is None


def test_what_an_app_that_is_being_deleted_desired_is_nobodys():
    stage = Stage(app("a"), going(app("b")))
    stage.claim(B, "r2", X)
    assert stage.handover.wanted_elsewhere(A, [X]) == set()


def sighting(owner):
    verdict = Verdict(State.Current, "")
    return Sighting(X, Gvk("", "v1", "ConfigMap"), "u", "1", "o", "p", verdict, Owner(PREFIX, owner), False)


def test_the_answer_to_an_apply_settles_what_no_watch_has_shown_yet():
    stage = Stage(app("a"), app("b"))
    tracker = Tracker(lambda *_: None, lambda _: sighting(A))
    target = SimpleNamespace(tracker=tracker, watches=SimpleNamespace(last_seen=lambda _: sighting(A)))
    stage.apps[A].place = SimpleNamespace(target=target, cluster=HOME)
    stage.claim(A, "r2")
    stage.claim(B, "r2", X)
    assert not stage.handover.settled(A, X), "it is ours still, as far as anybody knows"
    taken = tracker.track(X, B)
    assert not stage.handover.settled(A, X), "it is about to be taken"
    taken.applied("digest", sighting(B))
    assert stage.handover.settled(A, X)


def test_who_parts_from_an_object_is_woken_when_another_has_applied_it_and_nobody_else_is():
    stage = Stage(app("a"), app("b"), app("child"))
    stage.handover.part(A, [X])
    stage.handover.taken_over(A, [X])
    stage.handover.taken_over(B, [X._replace(name="y")])
    assert stage.woken == []
    stage.handover.taken_over(B, [X])
    assert stage.woken == [A]
    stage.handover.part(A, [])
    stage.handover.taken_over(B, [X])
    assert stage.woken == [A]


def test_who_is_gone_parts_from_nothing():
    stage = Stage(app("a"), app("b"))
    stage.claim(A, "r2")
    stage.handover.part(A, [X])
    stage.claims.forget(A)
    stage.handover.taken_over(B, [X])
    assert stage.woken == []
