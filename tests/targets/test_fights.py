"""When a correction is one too many, what is yielded then, and for how long."""

import pytest

from tests.targets.conftest import desired
from trimtab.manifests.refs import Key, Ref
from trimtab.targets.kubernetes.fights import MOST_ROUNDS, ROUNDS, WINDOW_S, Blow, Fight, Fights, without_parts
from trimtab.targets.kubernetes.ignore import pointer_to

APP = Key("flux-system", "shop")
REF = Ref("apps", "Deployment", "shop", "web")
REPLICAS = Blow("spec.replicas", "scaler")
IMAGE = Blow("spec.template.spec.containers[name=app].image", "kubectl-edit")
US = "kustomize-controller"


def beaten(*blows: Blow, times: int = ROUNDS, apart: float = 1.0) -> Fights:
    fights = Fights()
    for number in range(times):
        fights.corrected(REF, blows, number * apart)
    return fights


def test_three_corrections_of_one_path_that_the_same_manager_undid_are_a_fight():
    fights = beaten(REPLICAS)
    assert fights.smoulders(REF, 3.0)
    assert fights.lost(REF, [REPLICAS, IMAGE], 3.0) == [REPLICAS]


@pytest.mark.parametrize(
    ("fights", "now"),
    [
        (beaten(REPLICAS, times=ROUNDS - 1), 3.0),
        (beaten(REPLICAS), WINDOW_S + 0.5),
        (beaten(REPLICAS, apart=WINDOW_S / 2), WINDOW_S),
    ],
    ids=["two times", "one of three is long ago", "too slow"],
)
def test_less_than_that_is_none(fights, now):
    assert not fights.smoulders(REF, now)
    assert fights.lost(REF, [REPLICAS], now) == []


def test_another_manager_or_another_path_is_not_the_same_fight():
    fights = beaten(REPLICAS)
    assert fights.lost(REF, [Blow("spec.replicas", "human")], 3.0) == []
    assert fights.lost(REF, [Blow("spec.paused", "scaler")], 3.0) == []


def test_a_change_here_and_there_without_end_is_a_fight_too():
    fights = Fights()
    for number in range(MOST_ROUNDS):
        fights.corrected(REF, [Blow(f"data.k{number}", "x")], float(number))
    assert fights.lost(REF, [Blow("data.new", "x")], 61.0)


def test_what_was_yielded_is_named_with_both_managers_until_it_is_forgiven():
    fights = beaten(REPLICAS)
    fights.give_up(APP, [Fight(REF, "spec.replicas", "scaler", "/spec/replicas")])
    words = fights.words(APP)
    assert "Deployment/shop/web spec.replicas" in words
    assert US in words
    assert "scaler" in words
    assert fights.pointers(APP, REF) == {"/spec/replicas"}
    assert fights.forgive(APP) == [REF]
    assert fights.words(APP) == ""
    assert not fights.smoulders(REF, 3.0)


def test_an_object_that_leaves_the_desired_state_ends_its_fight():
    fights = beaten(REPLICAS)
    fights.give_up(APP, [Fight(REF, "spec.replicas", "scaler", "/spec/replicas")])
    fights.keep(APP, {REF})
    assert fights.words(APP)
    fights.keep(APP, set())
    assert not fights.words(APP)


def wish():
    containers = [{"name": "app", "image": "a:1", "command": ["x", "y"], "ports": [{"containerPort": 80}]}]
    spec = {"replicas": 2, "template": {"spec": {"containers": containers}}}
    metadata = {"name": "web", "namespace": "shop"}
    return desired({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})


OWNED = {
    "f:metadata": {"f:labels": {"f:kustomize.toolkit.fluxcd.io/name": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:template": {
            "f:spec": {
                "f:containers": {
                    'k:{"name":"app"}': {
                        ".": {},
                        "f:name": {},
                        "f:image": {},
                        "f:command": {},
                        "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
                    }
                }
            }
        },
    },
}


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("spec.replicas", "/spec/replicas"),
        ("spec.template.spec.containers[name=app].image", "/spec/template/spec/containers/0/image"),
        ("spec.template.spec.containers[name=app].command[1]", "/spec/template/spec/containers/0/command"),
        ("spec.template.spec.containers[name=app]", "/spec/template/spec/containers/0"),
        (
            "spec.template.spec.containers[name=app].ports[containerPort=80,protocol=TCP]",
            "/spec/template/spec/containers/0/ports/0",
        ),
        ("spec.template.spec.containers[name=app].name", ""),
        ('metadata.labels["kustomize.toolkit.fluxcd.io/name"]', ""),
        ("spec.paused", ""),
    ],
)
def test_a_path_is_left_out_as_far_as_it_is_owned_on_its_own(path, pointer):
    entries = [{"manager": US, "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": OWNED}]
    assert pointer_to(wish(), {"metadata": {"managedFields": entries}}, path, US) == pointer


def test_leaving_a_part_to_others_is_another_wish_and_nothing_left_is_the_same():
    item = wish()
    assert without_parts(item, set()) is item
    part = without_parts(item, {"/spec/replicas"})
    assert part.ignored == ("/spec/replicas",)
    assert part.digest != item.digest
