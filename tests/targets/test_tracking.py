"""What events mean for an app: baselines, held events, replays, deletions, accepted disturbances."""

import json
from datetime import UTC, datetime

import pytest

from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Gvk, Key, Ref
from trimtab.targets.kubernetes.sighting import Look, Sighting, glance
from trimtab.targets.kubernetes.tracking import News, Tracked, Tracker

REF = Ref("apps", "Deployment", "shop", "web")
APP = Key("flux-system", "shop")
GOOD = Verdict(State.Current, "")
BUSY = Verdict(State.InProgress, "0 of 1 available")


def seen(version: int, *, owned: str = "o", projection: str = "p", uid: str = "u", verdict: Verdict = GOOD) -> Sighting:
    return Sighting(REF, Gvk("apps", "v1", "Deployment"), uid, str(version), owned, projection, verdict, None, False)


@pytest.fixture
def tracked() -> Tracked:
    record = Tracked(REF, APP)
    record.applied("d1", seen(10))
    return record


def test_an_object_is_as_wished_only_for_the_digest_that_was_applied(tracked):
    assert tracked.as_wished("d1")
    assert not tracked.as_wished("d2")


def test_an_object_seen_but_never_applied_by_this_process_is_not_as_wished():
    record = Tracked(REF, APP)
    record.observe(seen(5))
    assert not record.as_wished("d1")


def test_the_controllers_own_status_writes_are_no_drift_but_news_of_health(tracked):
    assert tracked.observe(seen(11, verdict=BUSY)) is News.HEALTH
    assert tracked.as_wished("d1")


@pytest.mark.parametrize("change", [{"owned": "x"}, {"projection": "x"}, {"uid": "v"}])
def test_a_change_of_what_we_own_makes_the_object_suspect(tracked, change):
    assert tracked.observe(seen(11, **change)) is News.DISTURBED
    assert not tracked.as_wished("d1")


def test_a_replayed_event_older_than_the_baseline_is_ignored(tracked):
    assert tracked.observe(seen(9, projection="old")) is News.NOTHING
    assert tracked.as_wished("d1")


def test_an_event_that_overtakes_the_answer_is_held_until_the_answer_is_here(tracked):
    tracked.hold()
    assert tracked.observe(seen(12, owned="o2", projection="p2")) is News.NOTHING
    tracked.applied("d2", seen(12, owned="o2", projection="p2"))
    assert tracked.release() is News.NOTHING
    assert tracked.as_wished("d2")


def test_drift_that_arrives_while_an_apply_is_in_flight_is_found_afterwards(tracked):
    tracked.hold()
    tracked.observe(seen(13, projection="theirs"))
    tracked.applied("d2", seen(12))
    assert tracked.release() is News.DISTURBED


def test_a_deletion_is_a_disturbance_and_the_verdict_says_not_found(tracked):
    assert tracked.observe(None) is News.DISTURBED
    assert tracked.verdict.state is State.NotFound
    assert not tracked.as_wished("d1")


def test_an_object_that_was_created_anew_is_there_also_when_its_events_come_after_the_answer(tracked):
    tracked.applied("d2", seen(12, uid="v"))
    assert tracked.observe(None) is News.DISTURBED
    assert tracked.observe(seen(12, uid="v")) is News.HEALTH
    assert tracked.verdict.state is State.Current


def test_an_accepted_disturbance_is_no_news_until_it_changes(tracked):
    tracked.observe(seen(11, projection="theirs"))
    tracked.leave("alert", "d1", seen(11, projection="theirs"))
    assert tracked.as_wished("d1", "alert")
    assert tracked.observe(seen(12, projection="theirs")) is News.NOTHING
    assert tracked.observe(seen(13, projection="theirs too")) is News.DISTURBED


def test_a_disturbance_is_told_once(tracked):
    assert tracked.observe(seen(11, projection="a")) is News.DISTURBED
    assert tracked.observe(seen(12, projection="b")) is News.NOTHING


def test_the_tracker_tells_the_owner_and_knows_what_a_watch_showed_before():
    told = []
    before = seen(3)
    tracker = Tracker(lambda app, news: told.append((app, news)), {REF: before}.get)
    record = tracker.track(REF, APP)
    assert record.seen is before
    record.applied("d1", seen(4))
    tracker.observe(REF, seen(5, projection="theirs"))
    assert told == [(APP, News.DISTURBED)]


def test_an_object_taken_over_by_another_app_starts_anew_and_the_old_one_cannot_forget_it():
    tracker = Tracker(lambda app, news: None, lambda ref: None)
    tracker.track(REF, APP).applied("d1", seen(4))
    other = Key("flux-system", "other")
    assert tracker.track(REF, other).baseline is None
    tracker.forget(REF, APP)
    assert tracker.get(REF) is not None


def test_the_objects_of_an_app_are_those_it_has_now():
    tracker = Tracker(lambda app, news: None, lambda ref: None)
    other, further = Key("flux-system", "other"), Ref("", "Secret", "ns", "further")
    tracker.track(REF, APP)
    tracker.track(further, APP)
    tracker.track(REF, other)
    assert [tracked.ref for tracked in tracker.of(APP)] == [further]
    assert [tracked.ref for tracked in tracker.of(other)] == [REF]
    tracker.forget(further, APP)
    assert tracker.of(APP) == []


def test_what_was_left_as_it_is_in_one_mode_is_not_as_wished_in_another(tracked):
    tracked.observe(seen(11, projection="theirs"))
    tracked.leave("alert", "d1", seen(11, projection="theirs"))
    assert not tracked.as_wished("d1", "correct")
    assert not tracked.as_wished("d1", "ignore")


def test_a_disturbance_that_was_left_and_goes_back_is_news(tracked):
    tracked.observe(seen(11, projection="theirs"))
    tracked.leave("alert", "d1", seen(11, projection="theirs"))
    assert tracked.observe(seen(12)) is News.DISTURBED


def test_a_deletion_that_was_left_is_told_once_and_the_return_of_the_object_is_news(tracked):
    assert tracked.observe(None) is News.DISTURBED
    tracked.leave("alert", "d1", None)
    assert tracked.as_wished("d1", "alert")
    assert tracked.observe(None) is News.NOTHING
    assert tracked.observe(seen(14, uid="v")) is News.DISTURBED


def test_a_restored_server_is_believed_although_its_versions_are_lower(tracked):
    tracked.start_over()
    tracked.observe(seen(3))
    assert tracked.seen.version == "3"
    assert not tracked.as_wished("d1")
    tracked.applied("d1", seen(4))
    assert tracked.as_wished("d1")


def test_a_job_that_was_removed_for_being_complete_is_neither_missing_nor_drift(tracked):
    tracked.observe(seen(11)._replace(spent=True))
    tracked.observe(seen(12, verdict=Verdict(State.Terminating))._replace(spent=True))
    assert tracked.verdict.good
    assert tracked.observe(None) is News.NOTHING
    assert tracked.as_wished("d1")
    assert tracked.verdict.good


def test_any_other_object_that_is_gone_is_missing(tracked):
    assert tracked.observe(None) is News.DISTURBED
    assert not tracked.as_wished("d1")


def test_an_object_that_no_longer_asks_to_be_left_alone_is_looked_at_again(tracked):
    assert tracked.observe(seen(11)._replace(paused=True)) is News.NOTHING
    assert tracked.observe(seen(12, projection="theirs")._replace(paused=True)) is News.DISTURBED
    assert tracked.observe(seen(13, projection="theirs")) is News.DISTURBED
    assert not tracked.as_wished("d1")


def test_a_version_that_an_answer_or_an_event_has_told_of_is_known(tracked):
    tracked.hold()
    early = seen(12)
    tracked.observe(early)
    assert tracked.known(seen(12).look) is early
    assert tracked.known(seen(10).look) is tracked.baseline
    assert tracked.known(seen(11).look) is None
    assert tracked.known(seen(12, uid="v").look) is None
    assert tracked.known(early.look._replace(gvk=Gvk("apps", "v1beta1", "Deployment"))) is None


def test_a_verdict_that_the_time_changes_is_not_reused(tracked):
    due = seen(12)._replace(due=datetime(2026, 1, 1, tzinfo=UTC))
    tracked.observe(due)
    assert tracked.known(due.look) is None


def test_of_an_object_that_was_left_as_it_is_every_version_is_looked_at_closely():
    tracker = Tracker(lambda app, news: None, lambda ref: None)
    tracker.track(REF, APP).applied("d1", seen(10))
    assert tracker.known(REF, seen(10).look)
    tracker.track(REF, APP).leave("warn", "d1", seen(11))
    assert tracker.known(REF, seen(11).look) is None
    assert tracker.known(REF._replace(name="other"), seen(10).look) is None


def test_a_glance_tells_which_object_it_is_and_at_which_version():
    body = {"kind": "Deployment", "apiVersion": "apps/v1", "spec": {"kind": "no"}}
    body["metadata"] = {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"}}
    assert glance(json.dumps(body).encode()) == (REF, Look(Gvk("apps", "v1", "Deployment"), "u", "7"))
