"""What counts how much."""

import pytest

from tests.preview.conftest import MISSING, preview, step
from trimtab.diff.report import State
from trimtab.preview.verdict import MEANINGS, Judgement, Outcome, Verdict, Weight

UNKNOWN = Judgement(Verdict.UNKNOWN, "forbidden")
RESTART = Judgement(Verdict.RESTART, "3 Pods are replaced")


@pytest.mark.parametrize(
    ("steps", "unasked", "outcome"),
    [
        ((), (), Outcome.SUCCEEDS),
        ((step(RESTART),), (), Outcome.SUCCEEDS),
        ((step(UNKNOWN), step(RESTART)), (), Outcome.UNKNOWN),
        ((step(UNKNOWN), step(MISSING)), (), Outcome.FAILS),
        ((step(state=State.UNKNOWN),), (), Outcome.UNKNOWN),
        ((step(),), ("no cluster",), Outcome.UNKNOWN),
        ((step(state=State.SAME),), ("no cluster",), Outcome.SUCCEEDS),
        ((step(Judgement(Verdict.HELD, "it holds data"), state=State.EXTRA),), (), Outcome.FAILS),
    ],
    ids=["nothing", "a restart", "unknown", "a failure", "not compared", "not asked", "no change", "held"],
)
def test_a_failure_answers_the_question_and_the_unknown_is_never_a_success(steps, unasked, outcome) -> None:
    assert preview(*steps, unasked=unasked).outcome is outcome


def test_the_heaviest_judgement_is_the_verdict_and_the_heaviest_object_comes_first() -> None:
    found = preview(
        step(RESTART, name="a"), step(RESTART, UNKNOWN, MISSING, name="z"), step(name="m", state=State.SAME)
    )
    assert [(one.finding.ref.name, one.verdict) for one in found.notable] == [
        ("z", Verdict.IMAGE_MISSING),
        ("a", Verdict.RESTART),
    ]
    assert found.words() == "it will not succeed: 2 of 3 objects change, 1 restart, 1 image-missing"


def test_every_verdict_has_a_weight_and_a_meaning() -> None:
    assert set(MEANINGS) == set(Verdict)
    failing = {verdict for verdict in Verdict if verdict.weight is Weight.FAILS}
    assert failing == {
        Verdict.HELD,
        Verdict.BUILD_FAILED,
        Verdict.CONFLICT,
        Verdict.FORBIDDEN,
        Verdict.REFUSED_SCHEMA,
        Verdict.REFUSED_POLICY,
        Verdict.IMMUTABLE,
        Verdict.IMAGE_MISSING,
        Verdict.REFERENCE_MISSING,
        Verdict.QUOTA_EXCEEDED,
    }
