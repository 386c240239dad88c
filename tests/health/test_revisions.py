"""Which revision is meant by what somebody writes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.health.revisions import Wish, commit_in, complaint, names

COMMIT = "67e2c98ac4b5a7f2a1d7c8e9f00112233445566a"
REVISION = f"main@sha1:{COMMIT}"


@pytest.mark.parametrize(
    ("asked", "revision", "meant"),
    [
        (REVISION, REVISION, True),
        (COMMIT, REVISION, True),
        ("67e2c98", REVISION, True),
        ("67e2c98a", f"sha1:{COMMIT}", True),
        ("sha1:67e2c98a", REVISION, True),
        ("main@sha1:67e2c98a", REVISION, True),
        ("main", REVISION, True),
        ("v1.0", f"v1.0@sha1:{COMMIT}", True),
        ("1.2.3", "1.2.3", True),
        ("feature/x", f"feature/x@sha1:{COMMIT}", True),
        ("sha256:67e267e2", f"latest@sha256:{'67e2' * 16}", True),
        ("67e2", REVISION, False),
        ("67e2c98b", REVISION, False),
        ("c98ac4b5", REVISION, False),
        ("other@sha1:67e2c98a", REVISION, False),
        ("sha256:67e2c98a", REVISION, False),
        ("mai", REVISION, False),
        ("v1", f"v1.0@sha1:{COMMIT}", False),
        ("1.2", "1.2.3", False),
        ("main", f"sha1:{COMMIT}", False),
        ("67e2c98", "", False),
    ],
)
def test_a_revision_is_meant_by_all_of_it_its_name_or_the_beginning_of_its_digest(asked, revision, meant):
    assert names(asked, revision) is meant


@pytest.mark.parametrize("asked", ["", "a;b", "$(id)", "-rf", "a b", "`x`", "a\nb", "ä", "x" * 301, "../../etc", "a'b"])
def test_what_cannot_be_a_revision_is_refused(asked):
    assert "is not a revision" in complaint(asked)


@given(st.integers(7, 40), st.sampled_from(["", "sha1:", "main@sha1:"]))
def test_every_beginning_of_a_commit_means_it_and_no_other(length, before):
    assert names(before + COMMIT[:length], REVISION)
    assert not names(before + COMMIT[:length], f"main@sha1:{COMMIT[::-1]}")


@pytest.mark.parametrize(
    ("asked", "commit"),
    [
        (REVISION, COMMIT),
        ("67e2c98", "67e2c98"),
        ("sha1:67e2c98", "67e2c98"),
        ("2024", ""),
        ("v1.0", ""),
        ("sha256:67e2c98", ""),
        ("f" * 64, ""),
    ],
)
def test_a_commit_is_told_from_a_tag_and_from_other_digests(asked, commit):
    assert commit_in(asked) == commit


def test_a_later_revision_counts_only_where_it_is_known_to_contain_the_one_asked_for():
    later = f"main@sha1:{COMMIT[::-1]}"
    assert not Wish(COMMIT).met_by(later)
    assert Wish(COMMIT, {later: True}).met_by(later)
    assert not Wish(COMMIT, {later: False}).met_by(later)
    unknown = Wish(COMMIT, {later: None})
    assert not unknown.met_by(later)
    assert not Wish(COMMIT, {later: True}).exactly(later)


def test_without_a_wish_any_revision_will_do_and_none_will_not():
    assert Wish().met_by(REVISION)
    assert not Wish().met_by("")


def test_the_revision_that_an_artifact_was_made_of_counts_as_well():
    assert Wish(COMMIT).met_by("latest@sha256:" + "0" * 64, REVISION)
