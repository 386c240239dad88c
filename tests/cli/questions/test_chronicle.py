"""What an app has been through, read from its status, and put together with what git says."""

from hypothesis import given
from hypothesis import strategies as st

from trimtab.cli.questions.chronicle import SKIPPED, Commit, entries, structured, with_commits


def oid(number):
    return f"{number:040x}"


def revision(number):
    return f"main@sha1:{oid(number)}"


def state(number, reason="ReconciliationSucceeded", **said):
    return {
        "digest": f"d{number}",
        "lastReconciled": f"T{number}",
        "lastReconciledStatus": reason,
        "totalReconciliations": 1,
        "metadata": {"revision": revision(number), **said},
    }


def app(*history, at=None, attempted=None, ready="True", reason="", message=""):
    return {
        "kind": "Kustomization",
        "status": {
            "history": list(history),
            "lastAppliedRevision": at or "",
            "lastAttemptedRevision": attempted or at or "",
            "conditions": [{"type": "Ready", "status": ready, "reason": reason, "message": message}],
        },
    }


def log(*numbers):
    return [Commit(oid(number), "Ann", f"commit {number}", f"C{number}") for number in numbers]


def shown(rows):
    return [(int(one.revision.rpartition(":")[2], 16), one.outcome, one.now) for one in rows]


GOOD = "ReconciliationSucceeded"


def test_the_newest_success_is_what_the_app_is_at():
    rows = entries(
        app(state(3, "ValidationFailed"), state(2), state(1), at=revision(2), ready="False", attempted=revision(3))
    )
    assert shown(rows) == [(3, "ValidationFailed", False), (2, GOOD, True), (1, GOOD, False)]


def test_a_later_revision_that_made_the_same_of_the_app_stands_in_front():
    rows = entries(app(state(2), at=revision(5)))
    assert shown(rows) == [(5, "unchanged", True), (2, GOOD, False)]


def test_what_is_under_way_or_never_got_to_a_state_stands_in_front_of_all():
    body = app(state(2), at=revision(2), attempted=revision(3), ready="False", reason="BuildFailed", message="a.yaml:1")
    rows = entries(body)
    assert shown(rows) == [(3, "BuildFailed", False), (2, GOOD, True)]
    assert (rows[0].message, rows[0].recorded) == ("a.yaml:1", False)


def test_commits_between_are_shown_where_git_has_them_and_the_record_says_what_it_knows_itself():
    rows = with_commits(entries(app(state(5, author="Eve"), state(2), at=revision(7))), log(7, 6, 5, 4, 3, 2))
    assert shown(rows) == [
        (7, "unchanged", True),
        (6, SKIPPED, False),
        (5, GOOD, False),
        (4, SKIPPED, False),
        (3, SKIPPED, False),
        (2, GOOD, False),
    ]
    assert [one.author for one in rows] == ["Ann", "Ann", "Eve", "Ann", "Ann", "Ann"]


def test_what_git_knows_nothing_of_stays_where_it_was_and_nothing_is_said_of_what_is_around_it():
    rows = with_commits(entries(app(state(9), state(2), at=revision(9))), log(4, 3, 2))
    assert shown(rows) == [(9, GOOD, True), (2, GOOD, False)]


def test_a_branch_that_was_set_back_keeps_the_order_in_which_things_happened():
    rows = with_commits(entries(app(state(2), state(5), at=revision(2))), log(5, 4, 3, 2))
    assert [one for one in shown(rows) if one[1] != SKIPPED] == [(2, GOOD, True), (5, GOOD, False)]


def test_what_is_not_known_is_null():
    told = structured(entries(app(state(1), at=revision(1)))[0])
    assert (told["author"], told["subject"], told["changes"], told["renderedAt"]) == (None, None, None, None)


def test_a_release_has_the_revisions_of_its_record():
    history = [
        {"version": 2, "status": "failed", "chartName": "shop", "chartVersion": "1.1.0", "lastDeployed": "T2"},
        {"version": 1, "status": "deployed", "chartName": "shop", "chartVersion": "1.0.0", "lastDeployed": "T1"},
    ]
    body = {"kind": "HelmRelease", "status": {"history": history, "conditions": [{"type": "Ready", "status": "True"}]}}
    rows = entries(body)
    assert [(one.revision, one.chart, one.outcome, one.good) for one in rows] == [
        ("v2", "shop@1.1.0", "failed", False),
        ("v1", "shop@1.0.0", "deployed", True),
    ]


@given(st.lists(st.integers(1, 12), unique=True, max_size=5), st.integers(0, 12))
def test_every_entry_stays_in_its_place_and_every_commit_is_shown_at_most_once(tried, newest):
    before = entries(app(*(state(number) for number in tried), at=revision(tried[0]) if tried else None))
    after = with_commits(before, log(*range(newest, 0, -1)))
    assert [one.revision for one in after if one.outcome != SKIPPED] == [one.revision for one in before]
    oids = [one.revision.rpartition(":")[2] for one in after]
    assert len(set(oids)) == len(oids)
