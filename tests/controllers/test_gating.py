"""What becomes of an app whose first write failed, by what a rehearsal says of it afterwards."""

from types import SimpleNamespace

import pytest
from tests.targets.test_planning import GONE, SETTINGS, WEB

from trimtab.base.errors import Transient
from trimtab.controllers import gating
from trimtab.targets.contract import Plan
from trimtab.targets.kubernetes.gate import Passed, Refused

PLAN = Plan(((), (), (SETTINGS, WEB)), (GONE,))
BEFORE = ("the last good build", "whose wish it was")


@pytest.fixture
def app():
    async def judge(wish, plan):
        [asked] = [change for stage in plan.stages for change in stage]
        assert asked is SETTINGS
        return [app.verdict]

    app = SimpleNamespace(passed={WEB.after.digest}, good="new", enforced="new", target=SimpleNamespace(judge=judge))
    return app


async def test_a_refusal_enforces_the_last_good_build_and_has_all_asked_anew(app):
    app.verdict = Refused(SETTINGS.after, "no", True)
    with pytest.raises(Transient, match="an object was refused, nothing was applied"):
        await gating.rest(app, None, PLAN, SETTINGS, BEFORE)
    assert (app.good, app.enforced) == BEFORE
    assert app.passed == set()


async def test_a_server_that_is_too_busy_for_an_answer_is_not_asked_again_what_it_has_answered(app):
    app.verdict = Refused(SETTINGS.after, "too many requests", True, unheard=True)
    with pytest.raises(Transient, match="nothing else was applied"):
        await gating.rest(app, None, PLAN, SETTINGS, BEFORE)
    assert app.good == "new", "it may have been written"
    assert app.passed == {WEB.after.digest}


async def test_what_only_its_write_was_refused_holds_up_no_other_and_nothing_is_deleted(app):
    app.verdict = Passed(SETTINGS.after)
    left = await gating.rest(app, None, PLAN, SETTINGS, BEFORE)
    assert left == Plan(((), (), (WEB,)), ())
