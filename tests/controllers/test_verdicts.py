"""What became of each object decides how a pass ends, and all of it is told."""

import pytest

from trimtab.base.errors import Terminal, Transient, Waiting
from trimtab.controllers import verdicts
from trimtab.manifests.conditions import shorten
from trimtab.manifests.refs import Origin, Ref
from trimtab.targets.contract import Effect, Outcome


def outcome(name, effect=Effect.FAILED, message="no", **more):
    return Outcome(Ref("", "ConfigMap", "ns", name), effect, message, Origin(f"app/{name}.yaml", 1), **more)


def ending(*outcomes):
    with pytest.raises((Terminal, Transient, Waiting)) as caught:
        verdicts.check(outcomes, {item.ref for item in outcomes})
    return caught.value


def test_every_failure_is_told_with_its_place_and_the_words_of_the_server():
    failure = ending(outcome("a"), outcome("b", message="quota"), outcome("c", Effect.CREATED))
    assert isinstance(failure, Transient)
    assert failure.message == (
        "2 objects failed: ConfigMap/ns/a (app/a.yaml:1): no; ConfigMap/ns/b (app/b.yaml:1): quota"
    )


def test_a_cause_that_many_share_is_told_once_and_the_number_survives_the_cut():
    failure = ending(*(outcome(f"c{i:03}", message="the server is busy") for i in range(500)))
    assert failure.message.count("the server is busy") == 1
    assert shorten(failure.message).startswith("500 objects failed: ConfigMap/ns/c000 (app/c000.yaml:1), ")


def test_only_what_no_retry_can_heal_is_terminal():
    assert isinstance(ending(outcome("a", stuck=True), outcome("b", stuck=True)), Terminal)
    assert isinstance(ending(outcome("a", stuck=True), outcome("b")), Transient)


def test_failures_go_before_waiting_and_waiting_is_told_once_for_all_who_wait_for_the_same():
    assert isinstance(ending(outcome("a"), outcome("b", Effect.WAITING)), Transient)
    waiting = ending(*(outcome(name, Effect.WAITING, "waits for x") for name in "abc"))
    assert isinstance(waiting, Waiting)
    assert waiting.message == "ConfigMap/ns/a and 2 more: waits for x"


def test_what_only_prune_could_not_do_is_said_to_be_that():
    with pytest.raises(Transient) as caught:
        verdicts.check([outcome("gone")], set())
    assert caught.value.reason == "PruneFailed"
