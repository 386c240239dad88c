"""What the gate remembers of a pass that did not come through."""

from tests.targets.conftest import desired
from trimtab.targets.kubernetes.gate import Deferred, Passed, Refused, lasting

GOOD, BAD, LATE = (
    desired({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n"}})
    for name in ("good", "bad", "late")
)


def test_what_passed_is_not_asked_again_where_nothing_was_refused():
    assert lasting([Passed(GOOD), Deferred(LATE, "its namespace")], each=False) == [GOOD.digest]


def test_what_passed_is_not_asked_again_where_the_server_was_too_busy_for_the_rest():
    assert lasting([Passed(GOOD), Refused(BAD, "busy", True, unheard=True)], each=False) == [GOOD.digest]


def test_a_refusal_has_everything_asked_again_unless_each_is_judged_for_itself():
    judged = [Passed(GOOD), Refused(BAD, "no", True), Refused(LATE, "busy", True, unheard=True)]
    assert lasting(judged, each=False) == []
    assert lasting(judged, each=True) == [GOOD.digest]
