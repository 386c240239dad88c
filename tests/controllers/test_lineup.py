"""Who gets its pass first when a source has moved."""

from tests.controllers.test_decisions import app, world

from trimtab.controllers.lineup import lineup, outside
from trimtab.manifests.refs import Key
from trimtab.runtime.queue import Priority


def lined_up(apps, touched, beside=None):
    found = dict(lineup(apps, touched, lambda key: frozenset((beside or {}).get(key.name, ()))))
    assert found.keys() == apps.keys()
    return [key.name for key, priority in found.items() if priority is Priority.EVENT]


def test_whom_the_commit_touches_goes_first_and_all_others_follow():
    apps = world(app("a", path="./apps/a"), app("b", path="apps/b/"), app("c", path="./apps/c"))
    assert lined_up(apps, frozenset({"", "apps", "apps/b"})) == ["b"]


def test_a_directory_above_the_change_is_touched_and_one_below_or_beside_is_not():
    apps = world(app("above", path="./"), app("below", path="./apps/b/deep"), app("beside", path="apps/bb"))
    assert lined_up(apps, frozenset({"", "apps", "apps/b"})) == ["above"]


def test_an_app_is_touched_by_what_it_reads_outside_its_directory():
    apps = world(app("a", path="./apps/a"), app("b", path="./apps/b"))
    assert lined_up(apps, frozenset({"", "base"}), {"b": ["base"]}) == ["b"]


def test_what_a_touched_app_depends_on_goes_before_it_however_far_away():
    apps = world(
        app("a", "b", path="./apps/a"), app("b", "c", path="./apps/b"), app("c", path="./apps/c"), app("d", path="./d")
    )
    assert lined_up(apps, frozenset({"", "apps", "apps/a"})) == ["c", "b", "a"]


def test_a_circle_of_dependencies_and_one_that_is_not_there_end():
    apps = world(app("a", "b", "gone", path="./apps/a"), app("b", "a", path="./apps/b"))
    assert sorted(lined_up(apps, frozenset({"", "apps", "apps/a"}))) == ["a", "b"]


def test_nobody_waits_where_nothing_was_known_before():
    apps = world(app("a", path="./apps/a"), app("b", path="./apps/b"))
    assert lined_up(apps, None) == ["a", "b"]


def test_directories_outside_are_those_that_the_path_does_not_contain():
    assert set(outside(["apps/a/x.yaml", "apps/ab/y.yaml", "base/z.yaml"], "./apps/a")) == {"apps/ab", "base"}
    assert set(outside(["apps/a/x.yaml"], "./")) == set()


def test_a_commit_that_changes_nothing_has_nobody_go_first():
    assert lined_up({Key("ns", "a"): app("a", path="./a")}, frozenset()) == []
