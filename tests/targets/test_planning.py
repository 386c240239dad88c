"""What is written before all others, so that its own apply is the verdict on it."""

import pytest

from trimtab.manifests.refs import Gvk, Origin, Ref
from trimtab.targets.contract import Action, Change, Plan
from trimtab.targets.kubernetes.desired import Desired, Mode
from trimtab.targets.kubernetes.planning import deletion, foremost


def change(kind: str, action: Action = Action.APPLY, *, group: str = "", **more) -> Change[Desired]:
    ref, origin = Ref(group, kind, "shop", "x"), Origin("x.yaml", 1, 1)
    return Change(ref, action, Desired(ref, Gvk(group, "v1", kind), b"{}", f"d-{kind}", origin, **more), "", origin)


SETTINGS, WEB, KEPT = change("ConfigMap"), change("Deployment", group="apps"), change("Secret", Action.KEEP)
GONE = deletion(Ref("", "ConfigMap", "shop", "old"))


def test_the_only_object_that_is_written_is_the_first():
    assert foremost(Plan(((), (), (KEPT, WEB)), (GONE,))) is WEB


def test_of_several_it_is_what_the_others_lean_on():
    assert foremost(Plan(((), (), (WEB, SETTINGS)), ())) is SETTINGS
    namespace = change("Namespace")
    assert foremost(Plan(((namespace,), (), (SETTINGS, WEB)), ())) is namespace


@pytest.mark.parametrize(
    "stages",
    [
        pytest.param(((), (), ()), id="nothing"),
        pytest.param(((), (), (KEPT,)), id="nothing-new"),
        pytest.param(((), (), (SETTINGS, change("Secret", Action.CORRECT))), id="something-is-corrected"),
        pytest.param(((change("CustomResourceDefinition"),), (), (SETTINGS,)), id="a-definition-first"),
        pytest.param(((change("CustomResourceDefinition", Action.KEEP),), (), (SETTINGS,)), id="behind-a-definition"),
        pytest.param(((), (), (change("ConfigMap", mode=Mode.IF_NOT_PRESENT),)), id="a-look-before"),
        pytest.param(((), (), (change("ConfigMap", ignored=("/data/a",)),)), id="several-requests"),
    ],
)
def test_there_is_none_where_another_write_may_come_before_it_or_it_takes_more_than_one_request(stages):
    assert foremost(Plan(stages, ())) is None
