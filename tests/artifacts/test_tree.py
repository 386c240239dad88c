"""The index: order, ranges, digests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.artifacts.tree import Entry, Tree, decode_tree, encode_tree, touched, without_collisions

SHA = "ab" * 32


def tree(*paths: str, left_out: tuple[str, ...] = ()) -> Tree:
    return Tree.of([Entry(path, SHA, 1) for path in paths], left_out)


paths = st.lists(st.text(alphabet="a-/.0b", min_size=1, max_size=6).filter(lambda p: "//" not in p), unique=True)


@given(paths, st.text(alphabet="a-.0b", min_size=1, max_size=3).filter(lambda d: d != "."))
def test_under_is_what_starts_with_the_directory(found: list[str], directory: str):
    whole = tree(*found)
    expected = sorted(path for path in found if path.startswith(directory + "/"))
    assert [entry.path for entry in whole.under(directory)] == expected
    assert whole.has_directory(directory) == bool(expected)
    assert all(whole.get(path) for path in found)


def test_neighbours_with_a_common_prefix_are_not_below():
    whole = tree("apps-x/a", "apps/a", "apps.yaml", "apps0/a")
    assert [entry.path for entry in whole.under("apps")] == ["apps/a"]
    assert len(whole.under(".")) == len(whole.under("")) == 4


def test_closure_changes_with_content_mode_absence_and_links_inside_only():
    base = tree("apps/a.yaml", "other/b.yaml")
    assert base.closure(["apps"]) == tree("apps/a.yaml", "other/c.yaml").closure(["apps"])
    assert base.closure(["apps"]) != tree("apps/a.yaml", "apps/b.yaml").closure(["apps"])
    assert base.closure(["apps"]) != tree("apps/a.yaml", left_out=("apps/link",)).closure(["apps"])
    assert base.closure(["apps", "gone"]) != tree("apps/a.yaml", "gone").closure(["apps", "gone"])
    executable = Tree.of([Entry("apps/a.yaml", SHA, 1, True)])
    assert executable.closure(["apps"]) != base.closure(["apps"])


def test_digest_does_not_depend_on_hints():
    assert Tree.of([Entry("a", SHA, 1, False, "1" * 40)]).digest == Tree.of([Entry("a", SHA, 1)]).digest


def test_encoding_round_trip():
    whole = Tree.of([Entry("ä/b", SHA, 3, True, "1" * 40)], ["link"])
    assert decode_tree(encode_tree(whole)) == whole
    with pytest.raises(ValueError, match="format"):
        decode_tree(b"[99,[],[]]")


def test_left_out_links_hide_what_is_below_them():
    whole = tree("a", left_out=("base",))
    assert whole.left_out_at("base/kustomization.yaml") == "base"
    assert whole.left_out_at("bases") is None


def test_all_of_a_case_collision_is_left_out():
    kept, collided = without_collisions([Entry("A.yaml", SHA, 1), Entry("a.yaml", SHA, 1), Entry("b", SHA, 1)])
    assert [entry.path for entry in kept] == ["b"]
    assert collided == ["A.yaml", "a.yaml"]


def test_a_file_and_a_directory_collide_too_and_directories_alone_do_not():
    def left(*paths: str) -> list[str]:
        kept, collided = without_collisions([Entry(path, SHA, 1) for path in paths])
        assert sorted([*(entry.path for entry in kept), *collided]) == sorted(paths)
        return collided

    assert left("A", "a/b/c", "a/d", "other") == ["A", "a/b/c", "a/d"]
    assert left("x/Deep/er", "X/deep", "x/y") == ["x/Deep/er", "X/deep"]
    assert left("Docs/a", "docs/b") == []
    assert left("ab", "a/b", "A-b") == []


def test_names_that_other_readers_refuse_are_left_out():
    names = ["a\\b", "dir\nectory/x", "dots../x", "\x7f"]
    kept, strange = without_collisions([Entry(path, SHA, 1) for path in [*names, "x..", "..x", "a..b/c"]])
    assert strange == names
    assert [entry.path for entry in kept] == ["x..", "..x", "a..b/c"]


@given(paths, paths)
def test_touched_are_the_directories_above_all_that_differs(before: list[str], after: list[str]):
    one, other = tree(*before), tree(*after)
    found = touched(one, other)
    differing = set(before) ^ set(after)
    above = {path[:at] for path in differing for at, char in enumerate(path) if char == "/"}
    assert found == above | ({""} if differing else set())


def test_content_mode_and_links_touch_and_hints_do_not():
    before = Tree.of([Entry("a/b/x", SHA, 1), Entry("c/y", SHA, 1)])
    assert touched(before, Tree.of([Entry("a/b/x", "cd" * 32, 1), Entry("c/y", SHA, 1)])) == {"", "a", "a/b"}
    assert touched(before, Tree.of([Entry("a/b/x", SHA, 1), Entry("c/y", SHA, 1, executable=True)])) == {"", "c"}
    assert touched(before, Tree.of(before.entries, ["d/link"])) == {"", "d"}
    assert touched(before, Tree.of([entry._replace(hint="1") for entry in before.entries])) == set()
