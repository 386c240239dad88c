"""Watch over the objects of a release that stands: what happens to drift, in which mode."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from trimtab.api.helmrelease import DriftDetectionMode, HelmRelease
from trimtab.api.names import DriftMode
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Transient
from trimtab.controllers import releasewatch
from trimtab.controllers.release import Release
from trimtab.controllers.releasewatch import Watch, mode_of
from trimtab.helm.record import Info, Record
from trimtab.manifests.refs import Ref
from trimtab.targets.contract import Effect, Outcome

REF = Ref("", "ConfigMap", "ns", "a")
NEWEST = Record(name="app", namespace="ns", version=1, info=Info(status="deployed"), manifest="a")


def release(mode: str = "", annotation: str = "") -> HelmRelease:
    source = {"kind": "GitRepository", "name": "repo"}
    drift = {"driftDetection": {"mode": mode}} if mode else {}
    spec = {"interval": "1h", "chart": {"spec": {"chart": "app", "sourceRef": source}}, **drift}
    said = {"trimtab.dev/drift": annotation} if annotation else {}
    meta = {"name": "app", "namespace": "ns", "uid": "u", "generation": 1, "annotations": said}
    return msgspec.convert({"metadata": meta, "spec": spec}, HelmRelease)


class Around:
    """One release whose objects are `quiet`, or have drifted; `outcomes` are what comes of doing something."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, hr: HelmRelease, *, quiet: bool, outcomes: Any = ()) -> None:
        self.prepared: list[str] = []
        self.wishes: list[str] = []
        self.told: list[Outcome] = []
        self.forgotten: list[Ref] = []
        around = self

        class Ways:
            def __init__(self, *_: Any) -> None: ...

            async def prepare(self, manifest: str) -> tuple[Any, ...]:
                around.prepared.append(manifest)
                return (SimpleNamespace(ref=REF),)

            def wish(self, _items: Any, *, drift: str, applied: bool) -> str:
                assert applied
                return drift

        class Target:
            tracker = SimpleNamespace(forget=lambda ref, _: around.forgotten.append(ref))

            async def observe(self, _wish: Any) -> None: ...

            def plan(self, _wish: Any, _observed: Any) -> Any:
                return SimpleNamespace(quiet=quiet)

            async def converge(self, wish: str, _plan: Any) -> Any:
                around.wishes.append(wish)
                for outcome in outcomes:
                    yield outcome

        monkeypatch.setattr(releasewatch, "Rollout", Ways)
        self.release = Release.of(hr)
        self.release.place = SimpleNamespace(target=Target())  # type: ignore[assignment]
        self.case: Any = SimpleNamespace(hr=hr, release=self.release)
        scribe: Any = SimpleNamespace(announce=lambda _hr, _release, outcomes: self.told.extend(outcomes))
        self.watch = Watch(scribe, SystemClock())


@pytest.mark.parametrize(
    ("mode", "annotation", "wanted"),
    [
        ("", "", "disabled"),
        ("warn", "", "warn"),
        ("enabled", "ignore", "disabled"),
        ("disabled", "CORRECT", "enabled"),
        ("warn", "nonsense", "warn"),
        ("", "alert", "warn"),
    ],
    ids=["default", "spec", "off", "on", "nonsense", "told"],
)
def test_what_the_annotation_says_counts_more_than_the_spec(mode: str, annotation: str, wanted: str) -> None:
    assert mode_of(release(mode, annotation)) == DriftDetectionMode(wanted)


async def test_without_drift_detection_nothing_is_prepared_or_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    around = Around(monkeypatch, release(), quiet=False)
    around.release.items, around.release.kept = (SimpleNamespace(ref=REF),), "1 1"  # type: ignore[assignment]
    around.release.unresolved = {REF: 1.0}
    assert not await around.watch.look(around.case, NEWEST)
    assert (around.prepared, around.wishes, around.forgotten) == ([], [], [REF])
    assert (around.release.items, around.release.unresolved) == ((), {})


async def test_drift_is_to_be_corrected_and_nothing_is_written_by_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    around = Around(monkeypatch, release("enabled"), quiet=False)
    assert await around.watch.look(around.case, NEWEST)
    assert around.wishes == []
    quiet = Around(monkeypatch, release("enabled"), quiet=True)
    assert not await quiet.watch.look(quiet.case, NEWEST)


async def test_drift_that_is_only_told_of_is_told_in_that_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = Outcome(REF, Effect.DRIFTED, "colour differs")
    around = Around(monkeypatch, release("warn"), quiet=False, outcomes=[outcome])
    assert not await around.watch.look(around.case, NEWEST)
    assert around.wishes == [DriftMode.ALERT]
    assert around.told == [outcome]


async def test_a_revision_is_read_once_and_again_when_the_spec_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    around = Around(monkeypatch, release("enabled"), quiet=True)
    for newest in (NEWEST, NEWEST, None):
        await around.watch.look(around.case, newest)
    assert around.prepared == ["a"]
    metadata = msgspec.structs.replace(around.case.hr.metadata, generation=2)
    around.case.hr = msgspec.structs.replace(around.case.hr, metadata=metadata)
    await around.watch.look(around.case, NEWEST)
    assert around.prepared == ["a", "a"]


async def test_what_cannot_be_corrected_is_a_failure_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = Outcome(REF, Effect.FAILED, "denied")
    around = Around(monkeypatch, release("enabled"), quiet=False, outcomes=[outcome])
    with pytest.raises(Transient, match="drift could not be corrected: ConfigMap/ns/a: denied"):
        await around.watch.correct(around.case)
    assert around.told == [outcome]
