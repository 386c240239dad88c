"""The deletion budget: what one pass may delete unasked, and what an approval is worth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.manifests.refs import Ref
from trimtab.targets.kubernetes.budget import Budget, Candidate, decide, digest_of, words

BUDGETS = st.one_of(
    st.just(Budget()),
    st.builds(lambda n: Budget.parse(str(n)), st.integers(0, 40)),
    st.builds(lambda n: Budget.parse(f"{n}%"), st.integers(0, 100)),
)
CANDIDATES = st.lists(
    st.builds(
        Candidate,
        st.builds(lambda n: Ref("", "ConfigMap", "ns", f"c{n}"), st.integers(0, 60)),
        st.sampled_from(["", "u1", "u2"]),
        st.sampled_from(["", "", "", "it holds data"]),
        st.lists(st.builds(lambda n: Ref("", "Secret", "ns", f"s{n}"), st.integers(0, 9)), max_size=4).map(tuple),
    ),
    unique_by=lambda candidate: candidate.ref,
    max_size=40,
)


def some(count, **fields):
    return [Candidate(Ref("", "ConfigMap", "ns", f"c{i}"), f"u{i}", **fields) for i in range(count)]


@pytest.mark.parametrize(
    ("text", "owned", "may"), [("15", 1000, 15), ("20%", 1000, 200), ("20%", 4, 0), ("0", 50, 0), ("100%", 7, 7)]
)
def test_an_annotation_replaces_both_terms(text, owned, may):
    assert Budget.parse(text).allowance(owned) == may


@pytest.mark.parametrize(("owned", "may"), [(1, 10), (50, 10), (51, 10), (60, 12), (1000, 200)])
def test_the_default_is_the_greater_of_ten_and_a_fifth(owned, may):
    assert Budget().allowance(owned) == may


@pytest.mark.parametrize("text", ["", "lots", "-1", "1.5", "101%", "20 %", "%", "٣", "1e3", "9999999999", "10%%"])
def test_nonsense_is_refused(text):
    with pytest.raises(ValueError, match=r"more than everything|neither a number"):
        Budget.parse(text)


@given(CANDIDATES, st.integers(0, 200), BUDGETS)
def test_every_candidate_is_either_allowed_or_held_and_precious_ones_are_held(candidates, owned, budget):
    decision = decide(candidates, owned, budget)
    assert sorted(decision.allowed + decision.held) == sorted(candidates)
    assert not set(decision.allowed) & set(decision.held)
    assert all(not candidate.precious for candidate in decision.allowed)
    assert bool(decision.digest) == bool(decision.held)


@given(CANDIDATES, st.integers(0, 200), BUDGETS)
def test_never_more_than_the_budget_goes_unasked(candidates, owned, budget):
    decision = decide(candidates, owned, budget)
    assert sum(candidate.weight for candidate in decision.allowed) <= budget.allowance(owned)


@given(CANDIDATES, st.integers(0, 200), BUDGETS)
def test_an_approval_frees_exactly_the_set_it_names(candidates, owned, budget):
    held = decide(candidates, owned, budget)
    approved = decide(candidates, owned, budget, approval=held.digest)
    assert set(approved.allowed) == set(candidates)
    assert set(approved.approved) == set(held.held)


@given(CANDIDATES, CANDIDATES, st.integers(0, 200), BUDGETS)
def test_an_approval_frees_nothing_of_another_set(candidates, others, owned, budget):
    held, other = decide(candidates, owned, budget), decide(others, owned, budget)
    if set(map(str, held.held)) != set(map(str, other.held)) and held.digest != other.digest:
        assert decide(others, owned, budget, approval=held.digest) == other


@given(CANDIDATES, st.data(), st.integers(0, 200), BUDGETS)
def test_the_rest_of_an_approved_set_stays_approved_and_nothing_else_does(candidates, data, owned, budget):
    first = decide(candidates, owned, budget)
    granted = {candidate.token for candidate in first.held}
    rest = [candidate for candidate in candidates if data.draw(st.booleans())]
    decision = decide(rest, owned, budget, granted=granted)
    assert not [candidate for candidate in decision.held if candidate.token in granted]


def test_the_digest_knows_no_order_and_tells_another_uid_and_other_contents():
    one = some(3)
    assert digest_of(one) == digest_of(one[::-1])
    assert digest_of(one) != digest_of([*one[:2], one[2]._replace(uid="other")])
    assert digest_of(one) != digest_of([*one[:2], one[2]._replace(along=(Ref("", "Secret", "ns", "s"),))])


def test_what_goes_along_counts():
    along = tuple(Ref("", "Secret", "ns", f"s{i}") for i in range(10))
    assert decide(some(1, along=along), 3, Budget()).held


def test_the_message_says_how_to_approve_before_it_lists():
    decision = decide(some(11), 11, Budget())
    text = words(decision, "set the annotation trimtab.dev/approve-prune:")
    assert text.startswith("11 deletions are held")
    assert text.index(f"trimtab.dev/approve-prune: {decision.digest}") < text.index("ConfigMap/ns/c0")
