"""Spans reach a collector over OTLP/HTTP, and whatever that one does costs spans and nothing else."""

import time
from collections import Counter

import pytest

from tests.runtime.collector import collecting, told
from trimtab.base.traces import Span, Trace, new_id, trace_of
from trimtab.runtime.tracing import Exporting

TRACE = trace_of("5f1c", "main@sha1:0a1b")


@pytest.fixture
def lost():
    return Counter()


@pytest.fixture
def collector(monkeypatch):
    with collecting() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        yield found


def exporting(lost):
    return Exporting(identity="here_1", cluster="east", dropped=lambda cause, count: lost.update({cause: count}))


def span(name="render", trace=TRACE, **more):
    given = {"id": new_id(), "parent": trace.root, "began": 1_000_000_000, "ended": 3_000_000_000, **more}
    return Span(trace=trace.id, name=name, **given)


async def test_a_span_arrives_with_its_ids_times_attributes_and_failure(collector, lost):
    before = Trace(7, 8)
    traces = exporting(lost)
    root = span("GitRepository shop/repo", id=TRACE.root, parent=0, follows=(before,))
    traces.record([root, span(attributes={"trimtab.objects": 3}, error="BuildFailed", message="no such file")])
    await traces.close()
    (first, second) = collector.spans
    assert first.trace_id == second.trace_id == TRACE.id.to_bytes(16, "big")
    assert first.span_id == second.parent_span_id == TRACE.root.to_bytes(8, "big")
    assert not first.parent_span_id
    assert [(link.trace_id[-1], link.span_id[-1]) for link in first.links] == [(7, 8)]
    assert (second.start_time_unix_nano, second.end_time_unix_nano) == (1_000_000_000, 3_000_000_000)
    assert told(second.attributes) == {"trimtab.objects": 3, "error.type": "BuildFailed"}
    assert (second.status.code, second.status.message) == (2, "no such file")
    assert collector.resources[0].items() >= {"service.name": "trimtab", "k8s.cluster.name": "east"}.items()
    assert not lost


async def test_the_variables_of_opentelemetry_say_who_we_are_and_how_to_sign_in(collector, lost, monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "gitops")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=shop")
    traces = exporting(lost)
    traces.record([span()])
    await traces.close()
    assert collector.resources[0].items() >= {"service.name": "gitops", "deployment.environment.name": "prod"}.items()
    assert collector.headers[0]["x-tenant"] == "shop"


async def test_of_a_sampled_trace_every_span_is_sent_and_of_another_none(collector, lost, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    traces, some = exporting(lost), [trace_of("5f1c", f"main@sha1:{number}") for number in range(20)]
    for trace in some:
        traces.record([span("child", trace), span("root", trace, id=trace.root, parent=0)])
    await traces.close()
    sent = Counter(one.trace_id for one in collector.spans)
    assert 0 < len(sent) < len(some)
    assert set(sent.values()) == {2}
    assert not lost


async def test_a_collector_that_does_not_answer_costs_spans_that_are_counted_and_no_time(collector, lost, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    collector.gate.clear()
    traces = exporting(lost)
    traces.record([span()])
    assert collector.asked.wait(60)
    began = time.monotonic()
    for _ in range(100):
        traces.record([span()])
    assert time.monotonic() - began < 60
    assert lost == {"queue": 90}
    await traces.close(0.1)
    assert lost == {"queue": 90, "export": 11}


async def test_what_is_not_taken_is_counted_and_said_once_without_credentials(collector, lost, monkeypatch, caplog):
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    collector.status = 401
    traces = exporting(lost)
    traces.record([span(), span(), span()])
    await traces.close()
    assert lost == {"export": 3}
    assert [record.message for record in caplog.records if "not taken" in record.message]
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


async def test_a_redirect_is_not_followed_and_no_success(collector, lost, caplog):
    with collecting() as other:
        collector.status, collector.elsewhere = 307, f"{other.url}/v1/traces"
        traces = exporting(lost)
        traces.record([span()])
        await traces.close()
        assert not other.headers
        assert lost == {"export": 1}
        assert "sends us elsewhere" in caplog.text
