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


async def test_the_process_itself_is_measured():
    assert "process_resident_memory_bytes" in await names(Telemetry())
