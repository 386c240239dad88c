"""Charts are looked at again when their repository is asked for a look, and not when only its status moved."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from trimtab.api.gvk import HELM_CHART, HELM_REPOSITORY
from trimtab.api.helm import HelmChart, HelmRepository
from trimtab.controllers.index import SourceIndex
from trimtab.kube.informer import Applied
from trimtab.roles.wake import ChartWaker


def read(struct: Any, kind: str, spec: dict[str, Any], **metadata: Any) -> Any:
    body = {"metadata": {"name": "one", "namespace": "home", **metadata}, "spec": spec, "kind": kind}
    return msgspec.convert({"apiVersion": "source.toolkit.fluxcd.io/v1", **body}, struct)


REPOSITORY = {"url": "https://charts.example", "interval": "1m"}
CHART = {"chart": "app", "interval": "1m", "sourceRef": {"kind": "HelmRepository", "name": "one"}}


@pytest.mark.parametrize(
    ("changed", "woken"),
    [
        ({"annotations": {"reconcile.fluxcd.io/requestedAt": "now"}}, ["home/one"]),
        ({"generation": 2}, ["home/one"]),
        ({"resourceVersion": "2"}, []),
    ],
)
def test_a_chart_comes_back_when_a_person_changed_its_repository(changed: dict[str, Any], woken: list[str]) -> None:
    queued: list[str] = []
    queue = SimpleNamespace(forget=lambda key: None, add=lambda key: queued.append(str(key)))
    chart, heard = read(HelmChart, "HelmChart", CHART), list[Any]()
    waker = ChartWaker(SourceIndex())
    waker.follow(HELM_CHART, SimpleNamespace(store={chart.key: chart}), SimpleNamespace(queue=queue))  # type: ignore[arg-type]
    waker.follow(HELM_REPOSITORY, SimpleNamespace(add_handler=heard.append), None)  # type: ignore[arg-type]
    old = read(HelmRepository, "HelmRepository", REPOSITORY, generation=1)
    heard[0](Applied(old, read(HelmRepository, "HelmRepository", REPOSITORY, **{"generation": 1} | changed)))
    assert queued == woken
