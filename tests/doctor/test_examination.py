"""One check that fails is unknown, whatever it failed with, and the others go on."""

from typing import Any, cast

import pytest

from trimtab.doctor import examination
from trimtab.doctor.contract import Answer, Outcome, Patient

PATIENT = cast("Patient", None)


@pytest.mark.parametrize("failure", [KeyError("containers"), TypeError("naive"), AttributeError("get")], ids=repr)
async def test_a_check_that_trips_over_an_odd_object_is_unknown_and_the_next_one_is_made(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    async def trips(_patient: Patient) -> Any:
        raise failure

    async def well(_patient: Patient) -> list[Answer]:
        return [Answer(Outcome.OK, "well")]

    monkeypatch.setattr(examination, "CHECKS", {"leases": trips, "rights": well})
    found = await examination.examine(PATIENT)
    assert [(one.check, one.answer.outcome) for one in found] == [("leases", Outcome.UNKNOWN), ("rights", Outcome.OK)]
    assert type(failure).__name__ in found[0].answer.words
