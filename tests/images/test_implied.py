"""Policies on workloads, as in Flux v1: what they choose, and that none of them admits everything by mistake."""

from datetime import UTC, datetime

import pytest

from trimtab.images.implied import read

TAGS = ["1.4.0", "1.4.9", "1.5.0", "2.0.0", "latest", "main-1", "main-2", "v1.9.0"]
CREATED = {tag: datetime(2026, 1, day, tzinfo=UTC) for day, tag in enumerate(TAGS, 1)}


@pytest.mark.parametrize(
    ("annotations", "tag"),
    [
        ({"filter.fluxcd.io/app": "semver:~1.4"}, "1.4.9"),
        ({"filter.fluxcd.io/app": "semver:*"}, "2.0.0"),
        ({"fluxcd.io/tag.app": "glob:main-*"}, "main-2"),
        ({"fluxcd.io/tag.app": "main-*"}, "main-2"),
        ({"flux.weave.works/tag.app": "regexp:^1[.]"}, "1.5.0"),
        ({"filter.fluxcd.io/app": "regex:^main-1$", "fluxcd.io/tag.app": "glob:*"}, "main-1"),
        ({"filter.fluxcd.io/app": "glob:latest"}, "latest"),
        ({"filter.fluxcd.io/app": "glob:*"}, "v1.9.0"),
        ({"fluxcd.io/automated": "true"}, "v1.9.0"),
    ],
    ids=["semver", "any", "glob", "bare", "regexp", "newer", "latest", "all", "automated"],
)
def test_a_filter_of_flux_v1_chooses_by_version_or_by_age(annotations: dict[str, str], tag: str) -> None:
    reading = read(annotations, ["app", "side"])
    policy = reading.of("app")
    assert reading.complaints == ()
    assert policy is not None
    assert policy.rules(CREATED).choose(TAGS).tag == tag
    assert policy.by_age is not policy.pattern.startswith("semver:")


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        ({"filter.fluxcd.io/app": "semver:one.two"}, "filter.fluxcd.io/app: "),
        ({"filter.fluxcd.io/app": "regexp:(a"}, "filter.fluxcd.io/app: "),
        ({"filter.fluxcd.io/app": "regexp:(?=a)"}, "filter.fluxcd.io/app: "),
        ({"filter.fluxcd.io/app": "glob:[a"}, "filter.fluxcd.io/app: "),
        ({"filter.fluxcd.io/app": "semver:"}, "says nothing"),
        ({"filter.fluxcd.io/app": ""}, "says nothing"),
        ({"filter.fluxcd.io/app": "newest:x"}, "no kind of pattern"),
        ({"filter.fluxcd.io/other": "glob:*"}, "there is no container other; there is app"),
        ({"fluxcd.io/automated": "yes"}, 'it can be "true" or "false"'),
    ],
    ids=["semver", "regexp", "look-ahead", "glob", "none", "empty", "kind", "container", "automated"],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_automated(annotations: dict[str, str], words: str) -> None:
    reading = read({"fluxcd.io/automated": "true", **annotations}, ["app"])
    assert words in reading.complaints[0]
    assert (reading.automated, reading.policies, reading.of("app")) == (False, (), None)
    assert len(reading.complaints[0]) < 500


def test_a_pattern_that_backtracks_elsewhere_takes_no_time_here() -> None:
    policy = read({"filter.fluxcd.io/app": "regexp:^(a+)+$"}, ["app"]).of("app")
    assert policy is not None
    assert policy.rules({}).choose(["a" * 128 + "!"]).tag is None
