"""The files that Trimtab is watched with: what promtool says of them, and that they ask for what is exported."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trimtab.api.monitoring import DASHBOARD_LABEL, DASHBOARDS, RULES, SERVICE, Part, monitoring_manifests, rules
from trimtab.base.telemetry import Telemetry
from trimtab.manifests.refs import Body

DOCS = Path(__file__).parents[2] / "docs"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: apt-get install prometheus")

APP = {"kind": "Kustomization", "namespace": "apps", "name": "web"}
REPO = {"kind": "GitRepository", "namespace": "apps", "name": "repo"}
MINUTE = 60


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run([str(PROMTOOL), *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def every_rule() -> list[Body]:
    return [rule for group in rules()["groups"] for rule in group["rules"]]


def series(name: str, labels: dict[str, str], values: str) -> dict[str, str]:
    inside = ", ".join(f'{key}="{value}"' for key, value in labels.items())
    return {"series": f"{name}{{{inside}}}", "values": values}


def of(subject: dict[str, str], *, one: str = "a", **numbers: str) -> list[dict[str, str]]:
    """The series of an object, as the process `one` exports them."""
    return [series(f"trimtab_{name}", subject | {"instance": one}, values) for name, values in numbers.items()]


def world(live: str = "1x2000", *kinds: str) -> list[dict[str, str]]:
    """A process that answers, with its views."""
    return [
        series("trimtab_build_info", {"version": "1"}, "1x2000"),
        *(series("trimtab_view_live", {"kind": kind}, live) for kind in kinds or ("Kustomization", "GitRepository")),
    ]


CASES: dict[str, tuple[list[dict[str, str]], str, str, list[dict[str, str]]]] = {
    # of each: what is exported each minute, when it is looked at, the alert, and for what it fires
    "no process: down": ([], "6m", "TrimtabDown", [{}]),
    "no process: not before its time": ([], "4m", "TrimtabDown", []),
    "a process that answers: not down": (world(), "6m", "TrimtabDown", []),
    "a target that does not answer: down": (
        [*world(), series("up", {"job": SERVICE, "instance": "a"}, "0x10")],
        "6m",
        "TrimtabDown",
        [{"job": SERVICE, "instance": "a"}],
    ),
    "another job that does not answer": (
        [*world(), series("up", {"job": "node"}, "0x10")],
        "6m",
        "TrimtabDown",
        [],
    ),
    "a kind that nobody reports any more": (
        [*world("1x20 _x100", "Kustomization"), *world("1x200", "GitRepository")],
        "40m",
        "TrimtabKindUnattended",
        [{"kind": "Kustomization"}],
    ),
    "a kind that cannot be watched: unknown": (
        [*world("1x5 0x20", "Kustomization"), *of(APP, ready="1x5 -1x20")],
        "12m",
        "TrimtabUnknown",
        [{"kind": "Kustomization"}],
    ),
    "a kind that cannot be watched: not failed": (
        [*world("1x5 0x60", "Kustomization"), *of(APP, ready="1x5 -1x60", last_success_timestamp_seconds="0x65")],
        "60m",
        "TrimtabNotReady",
        [],
    ),
    "a kind that cannot be watched: told once, not for each object": (
        [*world("1x5 0x60", "Kustomization"), *of(APP, ready="1x5 -1x60")],
        "60m",
        "TrimtabObjectUnknown",
        [],
    ),
    "a process that never saw the API server: unknown": (world()[:1], "6m", "TrimtabUnknown", [{}]),
    "one process leads and another knows nothing: known": (
        [*world(), series("trimtab_view_live", {"kind": "Kustomization", "instance": "b"}, "0x20")],
        "12m",
        "TrimtabUnknown",
        [],
    ),
    "a loop that does not turn": (
        [*world(), *of(APP, ready="1x60", interval_seconds="600x60", last_success_timestamp_seconds="0x60")],
        "46m",
        "TrimtabOverdue",
        [APP],
    ),
    "a loop that turns": (
        [*world(), *of(APP, ready="1x60", interval_seconds="600x60", last_success_timestamp_seconds="0+60x60")],
        "46m",
        "TrimtabOverdue",
        [],
    ),
    "nobody expects a suspended app to be looked at": (
        [
            *world(),
            *of(
                APP,
                ready="1x60",
                suspended="1x60",
                interval_seconds="600x60",
                last_success_timestamp_seconds="0x60",
            ),
        ],
        "46m",
        "TrimtabOverdue",
        [],
    ),
    "a rollout that takes longer than intervals is not overdue": (
        [*world(), *of(APP, ready="-1x60", interval_seconds="60x60", last_success_timestamp_seconds="0x60")],
        "25m",
        "TrimtabOverdue",
        [],
    ),
    "a rollout that does not end: unknown": (
        [*world(), *of(APP, ready="-1x60", interval_seconds="60x60", last_success_timestamp_seconds="0x60")],
        "31m",
        "TrimtabObjectUnknown",
        [APP],
    ),
    "a failed app fails, it is not overdue": (
        [*world(), *of(APP, ready="0x60", interval_seconds="600x60", last_success_timestamp_seconds="0x60")],
        "46m",
        "TrimtabOverdue",
        [],
    ),
    "an app that failed": (
        [*world(), *of(APP, ready="0x60", last_success_timestamp_seconds="0x60")],
        "16m",
        "TrimtabNotReady",
        [APP],
    ),
    "an app that never was ready": ([*world(), *of(APP, ready="0x60")], "11m", "TrimtabNotReady", [APP]),
    "an app that is ready every other minute": (
        [*world(), *of(APP, ready="0 1 0 1 0 1 0 1 0 1 0 1 0 1 0x9", last_success_timestamp_seconds="0+60x13 780x9")],
        "22m",
        "TrimtabNotReady",
        [],
    ),
    "an app that two processes report": (
        [*world(), *of(APP, ready="1x60"), *of(APP, one="b", ready="-1x60")],
        "46m",
        "TrimtabObjectUnknown",
        [],
    ),
    "an app of which nothing is known": ([*world(), *of(APP, ready="-1x60")], "46m", "TrimtabObjectUnknown", [APP]),
    "a source that cannot be reached": ([*world(), *of(REPO, ready="0x60")], "12m", "TrimtabSourceUnreachable", [REPO]),
    "a source that cannot be reached is told as such": (
        [*world(), *of(REPO, ready="0x60")],
        "12m",
        "TrimtabNotReady",
        [],
    ),
    "a source with a bad signature was reached": (
        [*world(), *of(REPO, ready="0x60", revision_held="1x60")],
        "12m",
        "TrimtabSourceUnreachable",
        [],
    ),
    "a source with a bad signature": (
        [*world(), *of(REPO, ready="0x60", revision_held="1x60")],
        "3m",
        "TrimtabRevisionHeld",
        [REPO],
    ),
    "drift that stays": ([*world(), *of(APP, drift_seconds="0+60x60")], "16m", "TrimtabDriftUnresolved", [APP]),
    "drift that goes": (
        [*world(), *of(APP, drift_seconds="0 60 120 stale _x60")],
        "16m",
        "TrimtabDriftUnresolved",
        [],
    ),
    "deletions that wait": ([*world(), *of(APP, prune_held="1x60")], "16m", "TrimtabPruneHeld", [APP]),
    "a pause of an hour": ([*world(), *of(APP, suspended="1x60")], "1h", "TrimtabSuspended", []),
    "a pause of a day": ([*world(), *of(APP, suspended="1x1600")], "25h", "TrimtabSuspended", [APP]),
    "a queue that is stuck": (
        [*world(), series("trimtab_queue_oldest_seconds", {"queue": "kustomization"}, "0+60x60")],
        "12m",
        "TrimtabQueueOld",
        [{"queue": "kustomization"}],
    ),
    "objects that had been lost": (
        [*world(), series("trimtab_lost_objects_total", {"kind": "kustomization"}, "0x5 3x60")],
        "10m",
        "TrimtabLostObjects",
        [{"kind": "kustomization"}],
    ),
    "notices that a provider refused": (
        [*world(), series("trimtab_notifications_total", {"outcome": "refused"}, "0x5 2x60")],
        "10m",
        "TrimtabNotificationsLost",
        [{"outcome": "refused"}],
    ),
    "notices that a provider takes later": (
        [*world(), series("trimtab_notifications_total", {"outcome": "retry"}, "0x5 2x60")],
        "10m",
        "TrimtabNotificationsLost",
        [],
    ),
    "notices for which there was no room": (
        [*world(), series("trimtab_notifications_dropped_total", {"where": "queue"}, "0x5 2x60")],
        "10m",
        "TrimtabNotificationsLost",
        [{"where": "queue"}],
    ),
    "a ledger that waits for its disk": (
        [*world(), series("trimtab_ledger_lag_seconds", {"instance": "a"}, "0x5 30+60x60")],
        "12m",
        "TrimtabLedgerNotWritten",
        [{"instance": "a"}],
    ),
    "a ledger that waited for a moment": (
        [*world(), series("trimtab_ledger_lag_seconds", {"instance": "a"}, "0x5 30 90 0x60")],
        "12m",
        "TrimtabLedgerNotWritten",
        [],
    ),
    "more objects than series": (
        [*world(), series("trimtab_metrics_overflow_total", {}, "0+5x60")],
        "10m",
        "TrimtabMetricsIncomplete",
        [{}],
    ),
}


@needs_promtool
def test_promtool_finds_nothing_wrong_with_the_rules():
    assert f"{len(every_rule())} rules found" in promtool("check", "rules", RULES)


@needs_promtool
def test_each_alert_fires_when_it_should_and_not_otherwise(tmp_path: Path):
    bare, severity = rules(), {rule["alert"]: rule["labels"] for rule in every_rule()}
    for group in bare["groups"]:
        for rule in group["rules"]:
            del rule["annotations"]
    (tmp_path / "rules.yaml").write_text(json.dumps(bare))
    tests = [
        {
            "name": name,
            "interval": "1m",
            "input_series": list({json.dumps(one): one for one in inputs}.values()),
            "alert_rule_test": [
                {
                    "eval_time": moment,
                    "alertname": alert,
                    "exp_alerts": [{"exp_labels": labels | severity[alert]} for labels in expected],
                }
            ],
        }
        for name, (inputs, moment, alert, expected) in CASES.items()
    ]
    (tmp_path / "tests.yaml").write_text(
        json.dumps({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests})
    )
    promtool("test", "rules", tmp_path / "tests.yaml")


def test_each_alert_is_seen_to_fire_in_a_case():
    assert {rule["alert"] for rule in every_rule()} == {alert for _, _, alert, fires in CASES.values() if fires}


def test_each_alert_has_a_runbook():
    headings = set(re.findall(r"^## (\w+)$", (DOCS / "alerts.md").read_text(), re.MULTILINE))
    assert headings == {rule["alert"] for rule in every_rule()}
    for rule in every_rule():
        assert rule["annotations"]["runbook"] == f"docs/alerts.md#{rule['alert'].lower()}"
        assert {"summary", "description"} <= rule["annotations"].keys()


async def exported() -> set[str]:
    """The names of all series that a process exports."""
    families = re.findall(r"^# TYPE (\S+) (\S+)$", (await Telemetry().render()).decode(), re.MULTILINE)
    histograms = {name + end for name, kind in families if kind == "histogram" for end in ("_bucket", "_sum", "_count")}
    return {name for name, kind in families if kind != "histogram"} | histograms


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:trimtab|gotk|process)_\w+", re.sub(r'"[^"]*"', "", expression)))


def expressions(value: Any) -> Iterator[str]:
    """Everything that a dashboard asks a Prometheus for."""
    match value:
        case {"expr": str(expression)}:
            yield expression
        case {"query": {"query": str(query)}}:
            yield query
        case dict():
            for inner in value.values():
                yield from expressions(inner)
        case list():
            for inner in value:
                yield from expressions(inner)


async def test_the_rules_ask_for_series_that_are_exported():
    asked = set().union(*(metrics_in(rule["expr"]) for rule in every_rule()))
    assert asked
    assert asked <= await exported()


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
async def test_the_dashboards_ask_for_series_that_are_exported(name: str):
    found = list(expressions(json.loads(DASHBOARDS[name].read_text())))
    assert len(found) > 10
    asked = set().union(*map(metrics_in, found))
    assert asked <= await exported()
    assert {"trimtab_ready", "trimtab_drift_seconds"} <= asked


@needs_promtool
@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_a_prometheus_can_read_what_the_dashboards_ask(name: str, tmp_path: Path):
    asked = [one for one in expressions(json.loads(DASHBOARDS[name].read_text())) if not one.startswith("label_values")]
    recorded = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(asked)]
    path = tmp_path / "panels.yaml"
    path.write_text(json.dumps({"groups": [{"name": name, "rules": recorded}]}))
    assert f"{len(asked)} rules found" in promtool("check", "rules", path)


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_the_panels_of_a_dashboard_do_not_overlap(name: str):
    body = json.loads(DASHBOARDS[name].read_text())
    cells = [
        (x, y)
        for panel in body["panels"]
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in body["panels"]}) == len(body["panels"])


async def test_the_table_of_metrics_is_what_is_exported():
    table = set(re.findall(r"^\| `((?:trimtab|gotk)_\w+)", (DOCS / "metrics.md").read_text(), re.MULTILINE))
    families = re.findall(r"^# TYPE (\S+) ", (await Telemetry().render()).decode(), re.MULTILINE)
    assert table == {name for name in families if not name.startswith("process_") and not name.endswith("_created")}


def kinds(*parts: Part) -> list[str]:
    return [body["kind"] for body in monitoring_manifests("gitops", frozenset(parts))]


def test_each_part_of_the_monitoring_can_be_had_alone():
    assert kinds() == []
    assert kinds(Part.SCRAPE) == ["Service", "ServiceMonitor"]
    assert kinds(Part.RULES) == ["PrometheusRule"]
    assert kinds(Part.DASHBOARDS) == ["ConfigMap", "ConfigMap"]
    assert all(body["metadata"]["namespace"] == "gitops" for body in monitoring_manifests("gitops"))


def test_the_service_monitor_finds_the_service_and_leaves_our_labels_alone():
    service, monitor = monitoring_manifests("gitops", frozenset({Part.SCRAPE}))
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    [endpoint] = monitor["spec"]["endpoints"]
    assert endpoint["honorLabels"] is True
    assert endpoint["port"] == service["spec"]["ports"][0]["name"]
    # the label `job` is the Service's name; by it the rules know a process that does not answer
    assert re.fullmatch(".*trimtab.*", service["metadata"]["name"])


def test_the_dashboards_carry_the_label_that_grafana_looks_for():
    for body in monitoring_manifests("gitops", frozenset({Part.DASHBOARDS})):
        assert body["metadata"]["labels"][DASHBOARD_LABEL] == "1"
        [text] = body["data"].values()
        assert json.loads(text)["title"].startswith("Trimtab / ")
