"""Patterns of paths: the table of what matches, and what they cost."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.manifests.wildcards import Wildcards, fixed_part, is_wild

MATCHES = [
    ("*", "a", True),
    ("*", "a/b", False),
    ("*", ".hidden", True),
    ("a*c", "abbc", True),
    ("a*c", "ab/c", False),
    ("?", "ä", True),
    ("?", "/", False),
    ("a.b", "axb", False),
    ("**", "a", True),
    ("**", "a/b/c", True),
    ("a/**", "a", True),
    ("a/**", "a/b/c", True),
    ("a/**", "ab", False),
    ("**/a", "a", True),
    ("**/a", "x/y/a", True),
    ("**/a", "xa", False),
    ("a/**/b", "a/b", True),
    ("a/**/b", "a/x/y/b", True),
    ("a/**/b", "a/xb", False),
    ("a/**/**", "a/x", True),
    ("a**", "ab", True),
    ("a**", "a/b", False),
    ("**/.*", "x/.hidden", True),
    ("**/testdata/**", "testdata", True),
    ("**/testdata/**", "a/testdata/b/c", True),
    ("[a-c]x", "bx", True),
    ("[^a-c]x", "bx", False),
    ("[!a-c]x", "dx", True),
    ("[^a]", "/", False),
    ("[+-0]", "/", False),
    ("[\\]]", "]", True),
    ("[*]", "*", True),
    ("[*]", "a", False),
    ("\\*", "*", True),
    ("\\*", "a", False),
    ("{a,b}/*.yaml", "b/x.yaml", True),
    ("{a,b}/*.yaml", "c/x.yaml", False),
    ("{a/**,b}", "a/x/y", True),
    ("x{a,b{c,d}}", "xbd", True),
    ("x{a,}", "x", True),
    ("a}", "a}", True),
    ("a\nb*", "a\nbc", True),
]


@pytest.mark.parametrize(("pattern", "path", "wanted"), MATCHES)
def test_the_table(pattern: str, path: str, wanted: bool) -> None:
    assert Wildcards([pattern]).match(path) is wanted


@pytest.mark.parametrize("pattern", ["[", "a[b", "{a", "[]", "[^]", "a\\", "[b-a]", "[a-]", "{a,b}" * 9, "a" * 1025])
def test_nonsense_is_refused_with_its_own_words(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"is not a pattern|the limit is"):
        Wildcards(["*.md", pattern])


def test_one_of_several_has_to_match_and_none_of_none() -> None:
    assert Wildcards(["*.md", "*.txt"]).match("a.txt")
    assert not Wildcards([]).match("")


def test_the_alternatives_of_all_patterns_count_together() -> None:
    assert Wildcards(["{a,b}" * 7, "*.{" + ",".join(map(str, range(128))) + "}"]).match("x.127")
    with pytest.raises(ValueError, match=r"'\*\.y' is not a pattern: with those before it.* more than 256 patterns"):
        Wildcards(["{a,b}" * 8, "*.y"])


def test_the_fixed_part_ends_before_the_first_pattern() -> None:
    assert [fixed_part(pattern) for pattern in ("a/b/*.yaml", "**", "a/{x,y}/z", "a/b", "a\\*/b/*")] == [
        "a/b",
        "",
        "a",
        "a",
        "",
    ]
    assert is_wild("a/[b]")
    assert not is_wild("a/b.yaml")


@given(st.text("ab/*.[]-{},\\?^!", max_size=40), st.text("ab/.*-,", max_size=60))
def test_whatever_is_written_is_judged_or_refused_at_once(pattern: str, path: str) -> None:
    try:
        found = Wildcards([pattern])
    except ValueError:
        return
    found.match(path)


def test_a_pattern_made_to_be_slow_is_not() -> None:
    started = time.process_time()
    assert not Wildcards(["**/" + "*a" * 400 + "b", "*" + "?*" * 300 + "b"]).match("a" * 4000)
    assert time.process_time() - started < 1
