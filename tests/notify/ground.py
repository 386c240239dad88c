"""What the tests of this package share: events, Alerts, and a world without a cluster."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from trimtab.api.notification import Alert
from trimtab.base.clock import SystemClock
from trimtab.notify.desk import Desk, World
from trimtab.notify.event import Event, Involved
from trimtab.notify.journal import Journal
from trimtab.notify.matching import Rule, Subject


def event(message: str = "m", *, severity: str = "info", reason: str = "Progressing", **changes: Any) -> Event:
    kind, namespace, name = (
        changes.pop(key, value) for key, value in (("kind", "Kustomization"), ("namespace", "apps"), ("name", "shop"))
    )
    group = "source.toolkit.fluxcd.io" if kind.endswith(("Repository", "Bucket")) else "kustomize.toolkit.fluxcd.io"
    return Event(
        involved_object=Involved(kind=kind, namespace=namespace, name=name, api_version=f"{group}/v1"),
        severity=severity,
        timestamp=changes.pop("timestamp", "2026-11-26T22:00:00Z"),
        message=message,
        reason=reason,
        metadata=changes.pop("metadata", {}),
        reporting_controller=changes.pop("controller", "kustomize-controller"),
    )


def alert(name: str = "all", namespace: str = "apps", annotations: dict[str, str] | None = None, **spec: Any) -> Alert:
    spec = {"providerRef": {"name": "sink"}, "eventSources": [{"kind": "Kustomization", "name": "*"}], **spec}
    metadata = {"name": name, "namespace": namespace, "uid": name, "annotations": annotations or {}}
    return msgspec.convert({"metadata": metadata, "spec": spec}, Alert)


class Ground:
    """A desk with everything it asks for, and what it said about Alerts."""

    def __init__(self, path: Path, alerts: Iterable[Alert], **limits: Any) -> None:
        self.journal = Journal(path / "journal.db", **limits)
        self.rules = [Rule.of(one) for one in alerts]
        self.complaints: list[tuple[str, str, str]] = []
        self.dropped: list[tuple[str, int]] = []
        self.labels: dict[str, str] | None = {}
        self.annotations: dict[str, str] = {}
        self.template: str | None = None
        self.allowed: Callable[[str, str], bool] = lambda _own, _other: False
        self.clock = SystemClock()
        self.moved = 0
        self.desk = Desk(self.journal, self._world(), self.clock, cluster="here", moved=self._move)

    def _move(self, _providers: Iterable[str]) -> None:
        self.moved += 1

    def _world(self) -> World:
        async def across(own: str, other: str) -> bool:
            return self.allowed(own, other)

        async def subject(_event: Event) -> Subject:
            return Subject(self.labels, self.annotations)

        async def template(_alert: Alert) -> str | None:
            return self.template

        return World(
            rules=lambda: self.rules,
            across=across,
            subject=subject,
            template=template,
            complain=lambda one, reason, words: self.complaints.append((str(one.key), reason, words)),
            dropped=lambda where, count: self.dropped.append((where, count)),
        )


async def until(condition: Callable[[], Any], timeout_s: float = 60.0) -> None:
    """Wait for the thing itself."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


def answering(value: Any) -> Callable[..., Awaitable[Any]]:
    """An async function that always says the same."""

    async def answer(*_arguments: Any) -> Any:
        return value

    return answer
