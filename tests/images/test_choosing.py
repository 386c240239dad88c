"""Which tag is chosen, by the rules of Flux and by ours, and what is said about the others."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.api.image import ImagePolicy
from trimtab.base.errors import Terminal
from trimtab.images.choosing import Choice, Rules
from trimtab.images.filters import Expression, TagFilter, Template
from trimtab.images.ordering import parse_version


def policy(choice, *, pattern=None, extract="", annotations=None):
    spec = {"imageRepositoryRef": {"name": "app"}, "policy": choice}
    if pattern is not None:
        spec["filterTags"] = {"pattern": pattern, "extract": extract}
    body = {"metadata": {"name": "app", "namespace": "shop", "annotations": annotations or {}}, "spec": spec}
    return msgspec.convert(body, ImagePolicy)


def choose(choice, tags, **more) -> Choice:
    exclusions, created = more.pop("exclusions", ()), more.pop("created", None)
    return Rules.of(policy(choice, **more), exclusions=exclusions, created=created).choose(tags)


def semver(text):
    return {"semver": {"range": text}}


ASC = {"alphabetical": {"order": "asc"}}
NUMBER = {"numerical": {"order": "asc"}}


def cases():
    file = Path(__file__).parents[2].parent / "shared" / "conformance" / "imagepolicy" / "cases.json"
    return json.loads(file.read_text()) if file.exists() else []


@pytest.mark.parametrize("case", [case for case in cases() if case["kind"] != "filter"], ids=lambda case: case["id"])
def test_policies_choose_as_flux_does(case):
    choice = {} if case["kind"] == "none" else {case["kind"]: case["params"]}
    if "tags" not in case:
        if case["valid"]:
            Rules.of(policy(choice))
        else:
            with pytest.raises(Terminal):
                Rules.of(policy(choice))
        return
    for tags in (case["tags"], case["tags"][::-1]):
        assert choose(choice, tags).tag == case.get("expected")


@pytest.mark.parametrize("case", [case for case in cases() if case["kind"] == "filter"], ids=lambda case: case["id"])
def test_filters_take_the_values_that_flux_takes(case):
    wanted = TagFilter(case["pattern"], case["extract"])
    values = {kept.value for tag in case["tags"] if not isinstance(kept := wanted.judge(tag), str)}
    assert sorted(values) == case["expected"]


def test_there_are_cases_to_conform_to(shared: Path) -> None:
    assert len(cases()) == 36


def test_the_tag_is_chosen_whose_part_is_the_greatest() -> None:
    tags = ["main-aaa-3", "main-fff-1", "dev-bbb-9", "main-ccc-20"]
    found = choose(NUMBER, tags, pattern=r"^main-[a-f]+-(?P<n>\d+)$", extract="$n")
    assert found.tag == "main-ccc-20"
    assert [(one.tag, one.value) for one in found.candidates] == [
        ("main-ccc-20", "20"),
        ("main-aaa-3", "3"),
        ("main-fff-1", "1"),
    ]
    assert [(one.tag, one.by) for one in found.dropped] == [("dev-bbb-9", "spec.filterTags")]


def test_every_tag_is_a_candidate_or_is_dropped_for_a_reason() -> None:
    tags = ["1.0.0", "2.0.0", "1.5.0-rc.1", "latest", "1.0.0.sig", "bad tag", "x" * 10_000]
    found = choose(semver("1.x"), tags, exclusions=[r"\.sig$"], annotations={"trimtab.dev/filter-glob": "[0-9]*"})
    assert {one.tag for one in (*found.candidates, *found.dropped)} == set(tags)
    assert {one.tag[:10]: one.by for one in found.dropped} == {
        "2.0.0": "spec.policy",
        "1.5.0-rc.1": "spec.policy",
        "latest": "trimtab.dev/filter-glob",
        "1.0.0.sig": "spec.exclusionList",
        "bad tag": "tag",
        "xxxxxxxxxx": "tag",
    }
    assert all(one.why for one in found.dropped)
    assert found.why == "the highest version in 1.x: the only one left of 7 tags"


def test_a_prerelease_is_told_how_to_be_admitted() -> None:
    assert "such as >=1.0.0-0" in choose(semver(">=1.0.0"), ["1.2.0-rc.1"]).dropped[0].why


def test_zeros_before_a_number_of_a_version_do_not_count() -> None:
    assert choose(semver(">=2025.0.0"), ["2025.04.02", "v2025.10.01", "2024.12.31"]).tag == "v2025.10.01"
    assert parse_version("1.2") is None
    assert parse_version("1.2.3.4") is None
    assert parse_version("1.2.3-01") is None


def test_two_tags_with_one_value_are_told_apart_by_the_text() -> None:
    for tags in (["a-1", "b-1"], ["b-1", "a-1"]):
        found = choose(NUMBER, tags, pattern=r"(\d)$", extract="$1")
        assert (found.tag, found.dropped[0].tag, found.dropped[0].by) == ("b-1", "a-1", "same value")
    assert choose(semver("*"), ["1.0.0", "v1.0.0"]).tag == "v1.0.0"


@pytest.mark.parametrize("value", ["nan", "inf", "1e999", "1_000", "x", "0x10", "١"])
def test_one_tag_that_is_no_number_fails_a_numerical_policy(value: str) -> None:
    with pytest.raises(Terminal, match="no number"):
        choose(NUMBER, ["1-x", f"{value}-x"] if value != "١" else ["1", "x"], pattern="^(.*)-x$|(x)", extract="$1$2")


def test_numbers_are_read_as_go_reads_them() -> None:
    assert choose(NUMBER, ["1e2", "99", "0x1p3"]).tag == "1e2"
    assert choose({"numerical": {"order": "desc"}}, ["-1", "-1.5", "+3"], pattern=".*").tag == "-1.5"


DAY = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_newest_image_is_chosen_and_those_of_unknown_age_take_no_part() -> None:
    created = {"c": DAY, "a": DAY + timedelta(days=1), "b": DAY - timedelta(days=1)}
    found = choose({}, ["a", "b", "c", "z"], annotations={"trimtab.dev/policy": "newest"}, created=created)
    assert [one.tag for one in found.candidates] == ["a", "c", "b"]
    assert found.dropped == (("z", "trimtab.dev/policy", "when it was created is not known"),)


def test_the_newest_within_a_range_is_not_the_highest() -> None:
    created = {"1.0.1": DAY + timedelta(days=2), "1.1.0": DAY, "2.0.0": DAY + timedelta(days=3)}
    found = choose(semver("1.x"), list(created), annotations={"trimtab.dev/policy": "newest"}, created=created)
    assert found.tag == "1.0.1"
    # the order of Flux, to which our annotation says nothing, is left behind
    assert choose(ASC, list(created), annotations={"trimtab.dev/policy": "newest"}, created=created).tag == "2.0.0"


def test_newest_does_not_take_two_images_for_one_because_a_part_of_their_tags_is_the_same() -> None:
    created = {"a-1": DAY + timedelta(days=1), "b-1": DAY}
    more = {"pattern": r"(\d)$", "extract": "$1", "annotations": {"trimtab.dev/policy": "newest"}}
    assert choose({}, list(created), created=created, **more).tag == "a-1"


@pytest.mark.parametrize(
    ("choice", "more", "words"),
    [
        ({}, {}, "spec.policy says nothing"),
        ({**semver("*"), **ASC}, {}, "semver and alphabetical; keep one"),
        (semver("1x"), {}, "spec.policy.semver.range"),
        (semver("*"), {"pattern": "("}, "spec.filterTags.pattern: missing )"),
        (semver("*"), {"pattern": "(?=x)"}, "spec.filterTags.pattern: invalid perl operator"),
        (semver("*"), {"pattern": "x" * 1025}, "the limit is 1024"),
        (semver("*"), {"pattern": "((a{100}){100}){100}"}, "spec.filterTags.pattern"),
        (semver("*"), {"pattern": "x", "extract": "$1" * 600}, "spec.filterTags.extract"),
        (semver("*"), {"annotations": {"trimtab.dev/policy": "latest"}}, "it can be newest"),
        (semver("*"), {"annotations": {"trimtab.dev/filter-glob": "[a"}}, "trimtab.dev/filter-glob"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_and_never_admits_everything(choice, more, words) -> None:
    with pytest.raises(Terminal) as refused:
        Rules.of(policy(choice, **more))
    assert refused.value.reason == "InvalidPolicy"
    assert "ImagePolicy shop/app: " in str(refused.value)
    assert words in str(refused.value)


def test_an_exclusion_that_makes_no_sense_is_named() -> None:
    with pytest.raises(Terminal, match=r"spec\.exclusionList\[1\]"):
        Rules.of(policy(ASC), exclusions=["a", "("])


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("$1", "12"),
        ("${1}x", "12x"),
        ("$1x", ""),  # the group called 1x, which is not there
        ("$b-$a", "34-12"),
        ("$$a", "$a"),
        ("$", "$"),
        ("${", "${"),
        ("${a", "${a"),
        ("$0", "12.34"),
        ("$9", ""),
        ("a$-b", "a$-b"),
    ],
)
def test_templates_are_expanded_as_go_expands_them(template: str, value: str) -> None:
    expression = Expression(r"(?P<a>\d+)\.(?P<b>\d+)")
    assert Template(template, expression).value(expression.find("v12.34")) == value


def test_a_template_cannot_make_a_tag_longer_without_end() -> None:
    found = choose(ASC, ["x" * 100], pattern="(.*)", extract="$1$1$1")
    assert "more than 256 characters" in found.dropped[0].why


def test_a_hostile_expression_takes_no_longer_than_another() -> None:
    tags = [f"{'a' * 100}{number}!".replace("!", "-") for number in range(2_000)]
    start = time.process_time()
    for pattern in (
        r"^(a+)+$",
        r"^(?P<v>([0-9]+\.?)*)-rc$",
        r"^v?(\d+|\d+\.\d+)*x$",
        r"(a*)*(b*)*c",
        r"(.*)(.*)(.*)(.*)x$",
    ):
        assert choose(ASC, tags, pattern=pattern, extract="$1").tag is None
    assert time.process_time() - start < 3


def test_twenty_thousand_tags_are_judged_within_a_second() -> None:
    tags = [f"main-{1_600_000_000 + number}-abcdef{number % 10}" for number in range(20_000)]
    start = time.process_time()
    found = choose(NUMBER, tags, pattern=r"^main-(?P<ts>\d+)-[0-9a-f]{7}$", extract="$ts", exclusions=[r"\.sig$"])
    assert found.tag == tags[-1]
    assert time.process_time() - start < 2  # a quarter of that on a quiet machine


def test_more_tags_than_are_judged_are_refused_and_not_cut() -> None:
    with pytest.raises(Terminal, match="200,001 tags"):
        choose(ASC, map(str, range(200_001)))


@given(st.lists(st.from_regex(r"v?(0|[1-9]\d?)\.(0|[1-9]\d?)\.(0|[1-9]\d?)(-rc\.\d)?", fullmatch=True), max_size=12))
def test_the_order_in_which_tags_are_listed_never_decides(tags: list[str]) -> None:
    for choice in (semver(">=0.0.0-0"), ASC):
        found = choose(choice, tags)
        assert found == choose(choice, sorted(tags, reverse=True))
        assert {one.tag for one in (*found.candidates, *found.dropped)} == set(tags)
