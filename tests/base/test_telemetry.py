from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.runtime.clocks import ManualClock

from trimtab.base.telemetry import Subject, Telemetry

WEB = Subject("Kustomization", "apps", "web")
DB = Subject("Kustomization", "apps", "db")


async def samples(telemetry: Telemetry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All samples as a Prometheus would read them."""
    text = (await telemetry.render()).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def names(telemetry: Telemetry) -> set[str]:
    return {name for name, _ in await samples(telemetry)}


def of(subject: Subject, **more: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({**subject._asdict(), **more}.items()))


async def test_ready_has_three_values():
    telemetry = Telemetry()
    seen = []
    for state in (True, False, None):
        telemetry.ready(WEB, state)
        seen.append((await samples(telemetry))["trimtab_ready", of(WEB)])
    assert seen == [1, 0, -1]


async def test_drift_that_is_still_there_grows_older():
    clock = ManualClock()
    telemetry = Telemetry(clock=clock)
    telemetry.drifting(WEB, clock.now().timestamp())
    await clock.advance(90)
    telemetry.drifting(DB, None)
    found = {key: value for key, value in (await samples(telemetry)).items() if key[0] == "trimtab_drift_seconds"}
    assert found == {("trimtab_drift_seconds", of(WEB)): 90.0}


async def test_what_is_not_known_has_no_series():
    telemetry = Telemetry()
    telemetry.suspended(WEB, False)
    assert "trimtab_suspended" in await names(telemetry)
    assert not {"trimtab_ready", "trimtab_last_success_timestamp_seconds", "trimtab_revision_info"} & await names(
        telemetry
    )


async def test_a_new_revision_replaces_the_series_of_the_old_one():
    telemetry = Telemetry()
    telemetry.revision(WEB, "main@sha1:a")
    telemetry.revision(WEB, "main@sha1:b")
    found = [labels for name, labels in await samples(telemetry) if name == "trimtab_revision_info"]
    assert found == [of(WEB, revision="main@sha1:b")]


async def test_no_series_of_a_deleted_object_remain():
    telemetry = Telemetry()
    for subject in (WEB, DB):
        telemetry.ready(subject, True)
        telemetry.suspended(subject, False)
        telemetry.revision(subject, "main@sha1:a")
        telemetry.succeeded(subject, datetime(2026, 1, 1, tzinfo=UTC))
        telemetry.reconciled(subject, 0.3)
    telemetry.forget(WEB)
    about = [dict(labels).get("name") for _, labels in await samples(telemetry)]
    assert "web" not in about
    assert about.count("db") > 10
    telemetry.forget(WEB)  # twice is no error


async def test_passes_are_a_histogram_under_the_name_dashboards_know():
    telemetry = Telemetry()
    for seconds in (0.01, 0.25, 4000):
        telemetry.reconciled(WEB, seconds)
    found = await samples(telemetry)
    base = "gotk_reconcile_duration_seconds"
    assert found[f"{base}_count", of(WEB)] == 3
    assert found[f"{base}_sum", of(WEB)] == pytest.approx(4000.26)
    assert found[f"{base}_bucket", of(WEB, le="0.05")] == 1
    assert found[f"{base}_bucket", of(WEB, le="0.25")] == 2
    assert found[f"{base}_bucket", of(WEB, le="1800.0")] == 2
    assert found[f"{base}_bucket", of(WEB, le="+Inf")] == 3


async def test_the_number_of_objects_is_bounded_and_what_is_left_out_is_counted():
    telemetry = Telemetry(max_objects=1)
    telemetry.ready(WEB, True)
    telemetry.ready(DB, True)
    telemetry.ready(WEB, False)
    found = await samples(telemetry)
    assert found["trimtab_metrics_overflow_total", ()] == 1
    assert found["trimtab_ready", of(WEB)] == 0
    assert ("trimtab_ready", of(DB)) not in found


async def test_a_label_cannot_forge_a_series():
    telemetry = Telemetry()
    telemetry.revision(WEB, 'x"} 1\ntrimtab_ready{name="db"} 1\n' + "y" * 10_000)
    assert "trimtab_ready" not in await names(telemetry)
    assert len(await telemetry.render()) < 10_000


async def test_queues_are_asked_when_metrics_are():
    telemetry = Telemetry()
    depth = 3
    telemetry.watch_queue("apps", depth=lambda: depth, oldest=lambda: 1.5)
    assert (await samples(telemetry))["trimtab_queue_depth", (("queue", "apps"),)] == 3
    depth = 4
    found = await samples(telemetry)
    assert found["trimtab_queue_depth", (("queue", "apps"),)] == 4
    assert found["trimtab_queue_oldest_seconds", (("queue", "apps"),)] == 1.5


async def test_requests_are_counted_by_verb_and_code_and_those_without_an_answer_too():
    telemetry = Telemetry()
    telemetry.requested("patch", 200)
    telemetry.requested("patch", 200)
    telemetry.requested("get", None)
    found = await samples(telemetry)
    assert found["trimtab_api_requests_total", (("code", "200"), ("verb", "patch"))] == 2
    assert found["trimtab_api_requests_total", (("code", "error"), ("verb", "get"))] == 1


async def test_processes_of_helm_are_counted_from_none_on():
    telemetry = Telemetry()
    assert (await samples(telemetry))["trimtab_helm_runs_total", ()] == 0
    telemetry.ran_helm()
    assert (await samples(telemetry))["trimtab_helm_runs_total", ()] == 1


async def test_processes_of_kustomize_are_counted_from_none_on():
    telemetry = Telemetry()
    assert (await samples(telemetry))["trimtab_kustomize_runs_total", ()] == 0
    telemetry.ran_kustomize()
    assert (await samples(telemetry))["trimtab_kustomize_runs_total", ()] == 1


async def test_the_process_itself_is_measured():
    assert "process_resident_memory_bytes" in await names(Telemetry())


async def test_an_object_of_a_kind_that_cannot_be_watched_is_neither_ready_nor_not():
    telemetry, live = Telemetry(clock=ManualClock()), True
    telemetry.watch_kind("Kustomization", live=lambda: live, there=lambda _: True)
    telemetry.ready(WEB, True)
    telemetry.succeeded(WEB, datetime(2026, 1, 1, tzinfo=UTC))
    before = await samples(telemetry)
    live = False
    after = await samples(telemetry)
    view, success = ("trimtab_view_live", (("kind", "Kustomization"),)), "trimtab_last_success_timestamp_seconds"
    assert (before["trimtab_ready", of(WEB)], before[view]) == (1, 1)
    assert (after["trimtab_ready", of(WEB)], after[view]) == (-1, 0)
    # when it was last well is no less true for that, and grows old
    assert after[success, of(WEB)] == before[success, of(WEB)]


async def test_what_is_not_among_the_objects_of_a_watched_kind_has_no_series():
    telemetry, live = Telemetry(), False
    telemetry.watch_kind("Kustomization", live=lambda: live, there=lambda subject: subject == WEB)
    for subject in (WEB, DB):
        telemetry.ready(subject, True)
        telemetry.drifted(subject, "reported")
    assert {of(WEB), of(DB)} <= {labels for name, labels in await samples(telemetry) if name == "trimtab_ready"}
    live = True
    found = {labels for name, labels in await samples(telemetry) if name in ("trimtab_ready", "trimtab_drift_total")}
    assert found == {of(WEB), of(WEB, answer="reported")}


async def test_who_stands_by_keeps_the_series_of_what_it_watches_and_no_others():
    telemetry = Telemetry()
    repo = Subject("ImageRepository", "apps", "web")
    telemetry.watch_kind("Kustomization", live=lambda: False, there=lambda _: True)
    telemetry.watch_kind("ImageRepository", live=lambda: True, there=lambda _: True)
    telemetry.ready(WEB, True)
    telemetry.ready(repo, True)
    telemetry.stand_by()
    found = {
        (name, labels) for name, labels in await samples(telemetry) if name in ("trimtab_ready", "trimtab_view_live")
    }
    assert found == {("trimtab_ready", of(repo)), ("trimtab_view_live", (("kind", "ImageRepository"),))}


async def test_a_look_is_no_success_and_says_when_the_next_one_is_due():
    telemetry, moment = Telemetry(), datetime(2026, 1, 1, tzinfo=UTC)
    telemetry.observed(WEB, moment, 600.0)
    telemetry.observed(DB, moment, float("inf"))
    found = await samples(telemetry)
    assert found["trimtab_last_observed_timestamp_seconds", of(WEB)] == moment.timestamp()
    assert found["trimtab_interval_seconds", of(WEB)] == 600
    assert ("trimtab_interval_seconds", of(DB)) not in found
    assert ("trimtab_last_success_timestamp_seconds", of(WEB)) not in found


async def test_what_is_held_is_told_apart():
    telemetry = Telemetry()
    telemetry.holding(WEB, deletions=True, revision=False)
    telemetry.unverified("refused")
    found = await samples(telemetry)
    assert (found["trimtab_prune_held", of(WEB)], found["trimtab_revision_held", of(WEB)]) == (1, 0)
    assert found["trimtab_verification_failures_total", (("reason", "refused"),)] == 1


async def test_a_commit_of_the_future_took_no_time():
    telemetry = Telemetry()
    telemetry.led("Kustomization", -3600.0)
    telemetry.led("Kustomization", 20.0)
    found = await samples(telemetry)
    assert found["trimtab_commit_lead_seconds_sum", (("kind", "Kustomization"),)] == 20
    assert found["trimtab_commit_lead_seconds_count", (("kind", "Kustomization"),)] == 2


async def test_the_last_answer_of_the_api_server_is_one_whatever_it_was():
    clock = ManualClock()
    telemetry = Telemetry(clock=clock)
    telemetry.requested("get", 500)
    answered = clock.now().timestamp()
    await clock.advance(30)
    telemetry.requested("get", None)
    assert (await samples(telemetry))["trimtab_api_last_answer_timestamp_seconds", ()] == answered


async def test_what_must_never_happen_is_counted_from_none_on_so_that_its_first_time_is_an_increase():
    telemetry = Telemetry()
    telemetry.watch_kind("Kustomization", live=lambda: True, there=lambda _subject: True)
    before = await samples(telemetry)
    for outcome in ("delivered", "retry", "refused"):
        assert before["trimtab_notifications_total", (("outcome", outcome),)] == 0
    for where in ("early", "forwarding", "arriving", "journal", "outbox", "old", "gone"):
        assert before["trimtab_notifications_dropped_total", (("where", where),)] == 0
    assert before["trimtab_lost_objects_total", (("kind", "Kustomization"),)] == 0
