"""The line of a part of a document."""

import pytest

from trimtab.manifests.positions import line_of

TEXT = b"""\
# words
kind: A
---
kind: B
spec:
  list:
  - name: one
    value: {deep: [1,
      2]}
  - &x
    name: two
  again: *x
  "quoted key": |
    kind: not this
  last: 3
"""


@pytest.mark.parametrize(
    ("document", "path", "line"),
    [
        (1, ("kind",), 2),
        (2, ("kind",), 4),
        (2, (), 4),
        (2, ("spec", "list", 0, "value", "deep", 1), 9),
        (2, ("spec", "list", 1, "name"), 11),
        (2, ("spec", "quoted key"), 13),
        (2, ("spec", "last"), 15),
        (2, ("spec", "missing", "deeper"), 5),
        (2, ("spec", "again", "name"), 12),
        (2, ("spec", "list", 7), 6),
        (3, ("kind",), 0),
    ],
    ids=str,
)
def test_the_line_is_that_of_the_part_or_of_the_nearest_above_it(
    document: int, path: tuple[str | int, ...], line: int
) -> None:
    assert line_of(TEXT, document, path) == line


def test_marks_and_line_ends_of_other_systems_count_no_lines() -> None:
    assert line_of(b"\xef\xbb\xbfa: 1\r\nb:\r\n  c: 2\r\n", 1, ("b", "c")) == 3


def test_what_is_no_yaml_has_no_lines() -> None:
    assert line_of(b"a: [", 1, ("a", 3)) == 0
