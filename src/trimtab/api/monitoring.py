"""What a cluster needs to watch Trimtab: a Service and a ServiceMonitor, alert rules, dashboards.

Each is optional. The rules and dashboards are files beside this module, for those who load them in another way.
"""

from enum import StrEnum
from pathlib import Path
from typing import Final

from trimtab.api.installed import METRICS_PORT
from trimtab.manifests.refs import Body
from trimtab.manifests.yaml import load

DIRECTORY: Final = Path(__file__).parent / "monitoring_files"
RULES: Final = DIRECTORY / "rules.yaml"
DASHBOARDS: Final = {name: DIRECTORY / f"{name}.json" for name in ("overview", "app")}
SERVICE: Final = "trimtab-metrics"
"""It makes the label `job`, by which the rules know a process that cannot be asked."""
DASHBOARD_LABEL: Final = "grafana_dashboard"
"""By which Grafana's sidecar finds ConfigMaps, unless it is told another."""

_OPERATOR: Final = "monitoring.coreos.com/v1"
_LABELS: Final = {"app.kubernetes.io/part-of": "trimtab"}
_PODS: Final = {"app.kubernetes.io/name": "trimtab"}


class Part(StrEnum):
    """What may be chosen."""

    SCRAPE = "scrape"
    RULES = "rules"
    DASHBOARDS = "dashboards"


def rules() -> Body:
    """The alert rules, as Prometheus reads them from a file."""
    [document] = load(RULES.read_bytes(), RULES.name)
    body: Body = document.value
    return body


def monitoring_manifests(namespace: str, parts: frozenset[Part] = frozenset(Part)) -> list[Body]:
    """The objects of `parts`. Those of Prometheus' operator are of kinds that a cluster need not serve."""
    found: list[Body] = []
    if Part.SCRAPE in parts:
        found += [_service(namespace), _service_monitor(namespace)]
    if Part.RULES in parts:
        found.append(_object(_OPERATOR, "PrometheusRule", "trimtab", namespace) | {"spec": rules()})
    if Part.DASHBOARDS in parts:
        found += [_dashboard(name, path, namespace) for name, path in DASHBOARDS.items()]
    return found


def _object(api_version: str, kind: str, name: str, namespace: str, labels: dict[str, str] | None = None) -> Body:
    metadata = {"name": name, "namespace": namespace, "labels": _LABELS | (labels or {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _service(namespace: str) -> Body:
    """Leads to the metrics of every process, ready or not: one that is not has the most to tell."""
    return _object("v1", "Service", SERVICE, namespace, _PODS) | {
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": dict(_PODS),
            "ports": [{"name": "http-prom", "port": METRICS_PORT, "protocol": "TCP", "targetPort": "http-prom"}],
        }
    }


def _service_monitor(namespace: str) -> Body:
    return _object(_OPERATOR, "ServiceMonitor", "trimtab", namespace) | {
        "spec": {
            "selector": {"matchLabels": _LABELS | _PODS},
            "namespaceSelector": {"matchNames": [namespace]},
            # `namespace` is that of the object a series is about, not that of our pod
            "endpoints": [{"port": "http-prom", "path": "/metrics", "honorLabels": True}],
        }
    }


def _dashboard(name: str, path: Path, namespace: str) -> Body:
    return _object("v1", "ConfigMap", f"trimtab-dashboard-{name}", namespace, {DASHBOARD_LABEL: "1"}) | {
        "data": {f"trimtab-{name}.json": path.read_text()}
    }
