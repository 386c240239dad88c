"""Ranges as Masterminds/semver reads them."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.manifests.semver import Constraint, Version, latest


def admits(constraint, version):
    parsed = Version.parse(version)
    assert parsed is not None
    return Constraint.parse(constraint).admits(parsed)


# Range; what it admits; what it does not. Checked against the origin, version 3.5.
GOLDEN = [
    ("*", "0.0.1 4.5.6", "1.2.3-alpha.1"),
    ("*-0", "1.2.3-alpha.1 1.2.3", ""),
    ("1.2.3", "1.2.3 1.2.3+build", "1.2.4 1.2.3-rc"),
    ("1.2", "1.2.0 1.2.9", "1.3.0"),
    ("2.x", "2.0.0 2.9.9", "1.9.9 3.0.0"),
    ("2.1.*", "2.1.7", "2.2.0"),
    ("=2.0", "2.0.1", "2.1.0"),
    ("!=4.1.0", "4.1.1", "4.1.0 5.1.0-alpha.1"),
    ("!=4.1", "4.2.0 5.1.0", "4.1.0 4.1.7"),
    ("!=4.x", "5.0.0", "4.0.0 4.9.9"),
    ("!=4.1-alpha", "4.1.0 4.2.0", "4.1.0-alpha 4.1.1-alpha"),
    (">1.1", "1.2.0 4.1.0", "1.1.0 1.1.9"),
    (">11", "12.0.0", "11.0.0 11.1.0"),
    (">0.0.0-0", "0.0.0-alpha 0.0.0", ""),
    (">=1.1", "1.1.0 4.0.0", "1.0.9 4.1.0-beta"),
    ("=>1.1", "1.1.0", "1.0.9"),
    ("<1.1", "1.0.9", "1.1.0 1.1.1"),
    ("<1.x", "0.9.9", "1.0.0"),
    ("<=1.1", "1.1.9 0.1.0", "1.2.0"),
    ("<=11", "11.2.3", "12.0.0"),
    ("<=1.1.0", "1.1.0", "1.1.1"),
    ("~1.2.3", "1.2.3 1.2.9", "1.2.2 1.3.0"),
    ("~1.2", "1.2.0 1.2.9", "1.3.0"),
    ("~1", "1.0.0 1.9.9", "2.0.0"),
    ("~>1.2.3", "1.2.9", "1.3.0"),
    ("~*", "2.1.1", ""),
    ("~0.0.0", "1.2.3", ""),
    ("~1.2.3-beta.2", "1.2.3-beta.4 1.2.4-beta.2 1.2.3", "1.2.3-beta.1 1.3.4-beta.2"),
    ("^1.2.3", "1.2.3 1.9.9", "1.2.2 2.0.0 1.3.0-alpha"),
    ("^1.2.0-alpha.0", "1.2.1-alpha.1 1.2.0", "1.1.9 2.0.0"),
    ("^1", "1.8.9", "2.0.0"),
    ("^0.2.3", "0.2.5", "0.3.0"),
    ("^0.2", "0.2.5", "0.3.0"),
    ("^0.0.3", "0.0.3", "0.0.4"),
    ("^0.0", "0.0.3", "0.1.0 1.0.0"),
    ("^0", "0.2.3", "1.0.0"),
    ("^*", "0.0.0", "0.0.1 1.2.3"),
    (">=1.1, <2, !=1.2.3", "1.2.4", "1.2.3 2.0.0"),
    (">=1.1 <2 !=1.2.3 || > 3", "4.0.0 1.2.4", "1.2.3 3.1.0"),
    (">= 1.0.0  <= 2.0.0-beta", "1.0.1-beta 1.0.1", "3.0.0 2.0.0"),
    (">= 1.0.0 <= 2.0.0-beta || > 3", "1.0.1-beta 4.0.0", "4.0.1-beta"),
    ("1.5.0 - 4.5", "1.5.0 4.5.9", "1.4.9 4.6.0"),
    ("1.1 - 2, !=1.3.0", "1.1.1 2.9.9", "1.3.0 3.0.0"),
    ("v1.2", "1.2.3 v1.2.4", "1.3.0"),
    ("01.2", "1.2.0", "1.3.0"),
]


@pytest.mark.parametrize(("constraint", "inside", "outside"), GOLDEN)
def test_golden(constraint, inside, outside):
    assert [version for version in inside.split() if not admits(constraint, version)] == []
    assert [version for version in outside.split() if admits(constraint, version)] == []


@pytest.mark.parametrize(
    "text",
    ["", " ", "a", "-1", "1x", "1.0.0p", "*-*", "1.2.3.4", "12.3.34~ 1.2.3", "1,", ",1", "1,,2", ">=", "1 || ",
     ">= bar", "v1.2.3-beta.01", "99999999999999999999", "<3 1 - 2", "1" * 600, "||".join(["1"] * 40)],
)  # fmt: skip
def test_what_is_no_range(text):
    with pytest.raises(ValueError, match="semver range"):
        Constraint.parse(text)


@pytest.mark.parametrize(
    "text", ["1", "1.2", "01.2.3", "1.2.3.4", "1.2.3p", "vv1.2.3", "1.2.3-01", "1.2.3-", "1.2.3+", "", "x", "1.2.x"]
)
def test_what_is_no_version(text):
    assert Version.parse(text) is None


def test_precedence_is_that_of_semver_org():
    ascending = "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0"
    versions = [Version.parse(text) for text in ascending.split()]
    assert all(one.precedes(other) for one, other in itertools.pairwise(versions))
    assert not Version.parse("1.0.0+a").precedes(Version.parse("1.0.0+b"))


@pytest.mark.parametrize("tags", [["1.0.0+a", "1.0.0+b", "1.0.0"], ["1.0.0", "1.0.0+b", "1.0.0+a"]])
def test_builds_of_one_version_are_chosen_by_name(tags):
    assert latest(tags, Constraint.parse("*")) == "1.0.0+b"


numbers = st.integers(0, 12)
texts = st.builds(
    "{}.{}.{}{}".format, numbers, numbers, numbers, st.sampled_from(["", "-alpha", "-rc.1", "-rc.2", "+build"])
)


@given(st.lists(texts, max_size=12), st.sampled_from(["*", ">=1.0", "^1.2", "*-0"]), st.randoms())
def test_the_order_of_tags_makes_no_difference(tags, constraint, random):
    parsed = Constraint.parse(constraint)
    chosen = latest(tags, parsed)
    shuffled = list(tags)
    random.shuffle(shuffled)
    assert latest(shuffled, parsed) == chosen
    for tag in tags:
        version = Version.parse(tag)
        if parsed.admits(version):
            assert not Version.parse(chosen).precedes(version)


def test_image_policy_cases(conformance):
    cases = json.loads((conformance / "imagepolicy" / "cases.json").read_text())
    semver = [case for case in cases if case["kind"] == "semver"]
    assert semver
    for case in semver:
        text = case["params"]["range"]
        if "valid" in case:
            try:
                Constraint.parse(text)
                valid = True
            except ValueError:
                valid = False
            assert valid == case["valid"], case
        else:
            assert latest(case["tags"], Constraint.parse(text)) == case.get("expected"), case
