"""One push is one trace, from fetch to healthy, though sources and apps are processes that do not talk of it."""

import os
import subprocess
import sys

import pytest

from tests.e2e.automations import Automating, head, installed
from tests.e2e.releases import Home, chart
from tests.e2e.test_main_job import config, deployment
from tests.e2e.world import SOURCES, Controller, until
from tests.runtime.collector import collecting, told
from trimtab.base.traces import trace_of


@pytest.fixture(scope="module")
def collector():
    """A double, which decodes what it gets as the real ones do."""
    with collecting() as found:
        yield found


@pytest.fixture(scope="module")
def traced(world, api, kubeconfig, git_root, git_url, tmp_path_factory, collector):
    """The session's controller gives way to two that record traces."""
    installed(api)
    world.controller.stop()
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    both = []
    for part in ("source", "kustomize,helm,image-automation"):
        arguments = ("--controllers", part, "--tracing", "--cluster-name", "east")
        one = Controller(kubeconfig, tmp_path_factory.mktemp("traced"), *arguments)
        one.environment = environment
        one.start()
        both.append(one)
    yield Automating(api, git_url, git_root, both[1])
    assert [one.stop() for one in both] == [0, 0]
    assert "Traceback" not in "".join(one.log for one in both)
    world.controller.start()


def trace(world, ns, commit):
    uid = world.get_source(ns)["metadata"]["uid"]
    return f"{trace_of(uid, f'main@sha1:{commit}').id:032x}"


def places(world, ns, reason):
    """The traces that the events of a reason name."""

    def said():
        events = world.api.get(f"/api/v1/namespaces/{ns}/events")["items"]
        return [one["metadata"]["annotations"]["trimtab.dev/traceparent"] for one in events if one["reason"] == reason]

    return {one.split("-")[1] for one in until(said, f"an event {reason}")}


def below(spans, parent):
    return [one.name for one in spans if one.parent_span_id == parent.span_id]


def test_a_push_is_one_trace_with_its_stages_in_order(traced, ns, collector):
    repo, app = traced.repo(ns), f"Kustomization {ns}/shop"
    commit = repo.commit({"app/web.yaml": deployment(), "app/settings.yaml": config()})
    traced.source(ns, repo.url)
    traced.app(ns, "shop", "./app", wait=True)
    traced.ready(ns, "shop", commit)
    spans = collector.until(trace(traced, ns, commit), app, f"GitRepository {ns}/repo")
    by_name = {one.name: one for one in spans}
    root, whole = by_name[f"GitRepository {ns}/repo"], by_name[app]
    assert not root.parent_span_id
    assert below(spans, root) == ["look", "fetch", "artifact", app]
    assert [name for name in below(spans, whole) if name != "wait"] == ["render", "gate", "apply", "health"]
    assert whole.end_time_unix_nano >= by_name["health"].end_time_unix_nano
    assert told(whole.attributes)["vcs.ref.head.revision"] == commit
    assert told(by_name["apply"].attributes)["trimtab.created"] == 2
    assert {one.status.code for one in spans} == {0}

    second = repo.commit({"app/settings.yaml": None})
    traced.poke(ns)
    traced.ready(ns, "shop", second)
    spans = collector.until(trace(traced, ns, second), app)
    whole = next(one for one in spans if one.name == app)
    assert [name for name in below(spans, whole) if name != "health"][-2:] == ["apply", "prune"]
    assert len({one.trace_id for one in spans}) == 1


def test_a_failure_marks_its_span_without_the_secret_that_is_in_its_words(traced, ns, collector):
    secret = "correct-horse-battery"
    traced.api.create(
        f"/api/v1/namespaces/{ns}/secrets", {"metadata": {"name": "values"}, "stringData": {"COLOUR": secret}}
    )
    repo, app = traced.repo(ns), f"Kustomization {ns}/shop"
    bad = config().replace("{colour: red}", '{"${COLOUR} is no key": red}')
    commit = repo.commit({"app/settings.yaml": bad})
    traced.source(ns, repo.url)
    traced.app(ns, "shop", "./app", postBuild={"substituteFrom": [{"kind": "Secret", "name": "values"}]})
    traced.failed(ns, "shop", "ValidationFailed", "is no key")
    spans = {one.name: one for one in collector.until(trace(traced, ns, commit), app, "gate")}
    assert spans["gate"].status.code == spans[app].status.code == 2
    assert told(spans[app].attributes)["error.type"] == "ValidationFailed"
    assert "settings" in spans[app].status.message
    assert not any(secret in str(one) for one in collector.spans)
    assert places(traced, ns, "ValidationFailed") == {trace(traced, ns, commit)} == places(traced, ns, "NewArtifact")
    until(lambda: "trimtab_spans_dropped" in metrics(traced), "dropped spans have a metric")


PICKY = """{{ if eq .Values.colour "mauve" }}{{ fail "there is no mauve" }}{{ end }}"""


def test_a_release_is_a_part_of_the_trace_of_its_chart(traced, collector):
    home = Home(traced, "traced-release")
    home.charts(chart(files={"templates/web.yaml": deployment(), "templates/picky.yaml": PICKY}))
    home.release()
    home.ready()
    uid, commit = traced.get_source(home.ns)["metadata"]["uid"], home.repo._git("rev-parse", "HEAD")
    charts = traced.api.get(f"{SOURCES}/namespaces/{home.ns}/helmcharts")["items"]
    at, release = trace_of(charts[0]["metadata"]["uid"], "1.0.0"), f"HelmRelease {home.ns}/app"
    spans = {one.name: one for one in collector.until(f"{at.id:032x}", release)}
    root = spans[f"HelmChart {home.ns}/{home.ns}-app"]
    assert root.span_id == spans[release].parent_span_id == at.root.to_bytes(8, "big")
    assert [link.trace_id.hex() for link in root.links] == [f"{trace_of(uid, f'main@sha1:{commit}').id:032x}"]
    assert below(spans.values(), spans[release]) == ["install"]
    assert below(spans.values(), spans["install"]) == ["render", "gate", "apply", "health"]

    home.change(values={"colour": "mauve"})
    home.failed(words="there is no")
    spans = {one.name: one for one in collector.until(f"{at.id:032x}", "upgrade") if one.status.code == 2}
    until(lambda: len([one for one in collector.of(f"{at.id:032x}") if one.name == release]) == 2, "it is told")
    assert told(spans["upgrade"].attributes)["error.type"] == "UpgradeFailed"
    assert "there is no …" in spans["render"].status.message
    traced.let_go(home.ns)


def test_a_commit_of_ours_begins_the_trace_of_its_revision(traced, ns, collector):
    repo = traced.repo(ns)
    value = f'old:1.0.0 # {{"$imagepolicy": "{ns}:app"}}'
    before = repo.commit({"app/settings.yaml": config().replace("{colour: red}", f"\n  colour: {value}")})
    traced.source(ns, repo.url)
    traced.policy(ns, "app", "old:1.1.0")
    traced.automation(ns)
    until(lambda: head(repo) != before, lambda: traced.why(ns))
    traced.poke(ns)
    written, source = f"ImageUpdateAutomation {ns}/auto", f"GitRepository {ns}/repo"
    spans = {one.name: one for one in collector.until(trace(traced, ns, head(repo)), written, source)}
    assert spans[written].parent_span_id == spans[source].span_id
    assert below(spans.values(), spans[written]) == ["choose", "commit"]


def metrics(world):
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{world.controller.metrics_port}/metrics", timeout=30) as answer:
        return answer.read().decode()


def test_without_the_flag_nothing_of_it_is_imported():
    code = (
        "import sys, trimtab.roles.process, trimtab.roles.recording as recording\n"
        "from unittest.mock import Mock\n"
        "from trimtab.base.telemetry import Telemetry\n"
        "assert recording.recording(Mock(tracing=False), Telemetry(), '', {}) is None\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'google.protobuf', 'requests'))])"
    )
    environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "[]", done.stderr
