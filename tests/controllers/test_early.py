"""When an app that waits for its source, or for its objects, says so."""

import msgspec
import pytest

from trimtab.api.kustomizestatus import KustomizationStatus
from trimtab.api.source import GitRepository
from trimtab.base.errors import Terminal, TrimtabError, Waiting
from trimtab.controllers.early import BUSY_GRACE_S, GRACE_S, SETTLE_GRACE_S, settling_s, silent_s
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


def test_objects_that_are_awaited_are_told_of_after_a_moment_and_later_where_much_else_is_to_be_done() -> None:
    assert settling_s(0.0, calm=True) == SETTLE_GRACE_S
    assert settling_s(SETTLE_GRACE_S - 1, calm=True) == 1.0
    assert settling_s(SETTLE_GRACE_S, calm=True) == 0.0
    assert settling_s(SETTLE_GRACE_S, calm=False) == SETTLE_GRACE_S, "it may be calm by then"
    assert settling_s(BUSY_GRACE_S - 1, calm=False) == 1.0
    assert settling_s(BUSY_GRACE_S + 1, calm=False) == 0.0
