"""What waits for a definition of an earlier stage, and what does not."""

import pytest

from tests.targets.conftest import desired
from tests.targets.test_structural import definition, widget
from trimtab.health.verdict import State, Verdict
from trimtab.targets.contract import Action, Change, Effect
from trimtab.targets.kubernetes.definitions import held_up

GROUP = "shapes.example.org"
CRD = desired(definition(GROUP))
WIDGET = widget(GROUP, "ns", {})
CONFIG = desired({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "ns"}})


def change(item):
    return Change(item.ref, Action.APPLY, item, "new", item.origin)


def held(state, message=""):
    verdict = Verdict(state, message)
    found = held_up([[change(CRD)]], [change(WIDGET), change(CONFIG)], lambda ref: verdict)
    return {ref.kind: (outcome.effect, outcome.message) for ref, outcome in found.items()}


def test_behind_an_established_definition_nothing_waits():
    assert held(State.Current) == {}


@pytest.mark.parametrize("state", [State.InProgress, State.Unknown, State.Terminating, State.NotFound])
def test_behind_a_definition_on_its_way_everything_waits_and_says_for_what(state):
    words = (Effect.WAITING, f"waits until CustomResourceDefinition/widgets.{GROUP} is established")
    assert held(state) == {"Widget": words, "ConfigMap": words}


def test_behind_a_definition_that_is_refused_only_its_own_kind_fails_with_the_cause():
    [(kind, (effect, message))] = held(State.Failed, "kind Widget is already in use").items()
    assert (kind, effect) == ("Widget", Effect.FAILED)
    assert message.endswith("cannot be established: kind Widget is already in use")
