"""Who asked for a reconcile, and what else is asked for with it."""

import pytest

from trimtab.api.requests import correction_asked, requested_by, requester

AT, BY, CORRECT = "reconcile.fluxcd.io/requestedAt", "trimtab.dev/requested-by", "trimtab.dev/correct-at"


@pytest.mark.parametrize(
    ("annotations", "who"),
    [
        ({AT: "t1", BY: requested_by("ann", "t1")}, "ann"),
        ({AT: "t1", BY: requested_by("ann at home", "t1")}, "ann at home"),
        ({AT: "t2", BY: requested_by("ann", "t1")}, ""),
        ({AT: "t1", BY: "ann"}, ""),
        ({AT: "t1"}, ""),
        ({BY: requested_by("ann", "t1")}, ""),
        ({AT: "", BY: "ann at "}, ""),
    ],
    ids=["said", "with blanks", "of another", "no request", "nobody", "no request at all", "empty"],
)
def test_who_asked_is_known_of_the_request_it_was_said_of_and_of_no_other(annotations, who):
    assert requester(annotations) == who


def test_drift_is_corrected_for_one_request_and_not_after_it():
    assert correction_asked({AT: "t1", CORRECT: "t1"}, "")
    assert correction_asked({AT: "t1", CORRECT: "t1"}, "t0")
    assert not correction_asked({AT: "t1", CORRECT: "t1"}, "t1")
    assert not correction_asked({AT: "t2", CORRECT: "t1"}, "t1")
    assert not correction_asked({CORRECT: "t1"}, "")
