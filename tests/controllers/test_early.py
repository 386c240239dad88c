"""When an app that waits for its source says so."""

import msgspec
import pytest

from trimtab.api.kustomizestatus import KustomizationStatus
from trimtab.api.source import GitRepository
from trimtab.base.errors import Terminal, TrimtabError, Waiting
from trimtab.controllers.early import GRACE_S, silent_s
from trimtab.manifests.conditions import Condition

WAITING = Waiting("ArtifactFailed", "GitRepository/team/repo has no artifact yet")
FRESH = KustomizationStatus()
READY = (Condition(type="Ready", status="False", reason="ArtifactFailed"),)


def source(ready: str = "") -> GitRepository:
    conditions = [{"type": "Ready", "status": ready, "reason": "Any", "message": ""}] if ready else []
    body = {
        "metadata": {"name": "repo", "namespace": "team"},
        "spec": {"url": "https://example.org/repo", "interval": "1m"},
    }
    return msgspec.convert(body | {"status": {"conditions": conditions}}, GitRepository)


@pytest.mark.parametrize("ready", ["", "Unknown", "True"])
def test_a_source_that_is_being_fetched_is_worth_no_word_for_a_moment(ready: str) -> None:
    assert silent_s(WAITING, FRESH, source(ready), 0.0) == GRACE_S
    assert silent_s(WAITING, FRESH, source(ready), GRACE_S - 1) == 1.0
    assert silent_s(WAITING, FRESH, source(ready), GRACE_S + 1) == 0.0


def test_a_source_that_is_not_there_or_failed_is_told_of_at_once() -> None:
    assert silent_s(WAITING, FRESH, None, 0.0) == 0.0
    assert silent_s(WAITING, FRESH, source("False"), 0.0) == 0.0


@pytest.mark.parametrize(
    "failure", [Waiting("DependencyNotReady", "x"), Terminal("ArtifactFailed", "x")], ids=["waiting", "terminal"]
)
def test_other_failures_are_told_at_once(failure: TrimtabError) -> None:
    assert silent_s(failure, FRESH, source(), 0.0) == 0.0


def test_who_has_a_status_keeps_it_true_at_once() -> None:
    assert silent_s(WAITING, KustomizationStatus(conditions=READY), source(), 0.0) == 0.0
