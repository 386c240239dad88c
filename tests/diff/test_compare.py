"""What counts as a difference, and how it is named and shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.diff.compare import Difference, compare, same
from trimtab.diff.text import render
from trimtab.manifests import codec


def changed(path, before, after):
    return Difference(path, "changed", before, after)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": True}, [changed("a", 1, True)]),
        ({"a": 1}, {"a": "1"}, [changed("a", 1, "1")]),
        ({"a": None}, {}, [Difference("a", "removed", None, None)]),
        ({}, {"a": {"b": 1}}, [Difference("a", "added", None, {"b": 1})]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, [changed("a.b", 1, 3), Difference("a.c", "removed", 2, None)]),
        ({"a": {}}, {"a": []}, [changed("a", {}, [])]),
        ({"args": ["a", "b"]}, {"args": ["b", "a"]}, [changed("args[0]", "a", "b"), changed("args[1]", "b", "a")]),
        ({"args": ["a", "b"]}, {"args": ["a", "x", "b"]}, [Difference("args[1]", "added", None, "x")]),
        ({"args": ["a", "x", "b"]}, {"args": ["a", "b"]}, [Difference("args[1]", "removed", "x", None)]),
        ({"args": []}, {"args": ["a"]}, [Difference("args[0]", "added", None, "a")]),
        ({"x/y": 1}, {"x/y": 2}, [changed('["x/y"]', 1, 2)]),
    ],
)
def test_differences(before, after, expected):
    assert compare(before, after) == expected


def pod(*containers):
    return {"spec": {"containers": list(containers)}}


def test_items_of_keyed_lists_are_matched_by_their_keys():
    before = pod({"name": "app", "image": "a:1"}, {"name": "side", "image": "s:1"})
    after = pod({"name": "new", "image": "n:1"}, {"name": "side", "image": "s:1"}, {"name": "app", "image": "a:2"})
    assert compare(before, after) == [
        changed("spec.containers[name=app].image", "a:1", "a:2"),
        Difference("spec.containers[name=new]", "added", None, {"name": "new", "image": "n:1"}),
    ]


def test_order_in_keyed_lists_makes_no_difference():
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    assert compare({"env": env}, {"env": env[::-1]}) == []


def test_ports_are_told_apart_by_number_and_protocol_which_may_be_left_out():
    before = {"ports": [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53}]}
    after = {"ports": [{"containerPort": 53, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP", "name": "d"}]}
    assert [str(difference) for difference in compare(before, after)] == [
        'ports[containerPort=53,protocol=UDP].name: added "d"',
        'ports[containerPort=53,protocol=TCP].protocol: added "TCP"',
    ]


def test_ports_of_a_service_have_other_keys():
    before, after = ({"ports": [{"port": 80, "targetPort": port}]} for port in (80, 8080))
    assert [difference.path for difference in compare(before, after)] == ["ports[port=80,protocol=TCP].targetPort"]


def test_a_keyed_list_with_equal_keys_is_compared_in_order():
    before = {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}
    after = {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "3"}]}
    assert compare(before, after) == [changed("env[1].value", "2", "3")]


def test_other_keys_can_be_given():
    before, after = ({"rows": [{"id": 1, "v": v}, {"id": 2, "v": 0}]} for v in (1, 2))
    after["rows"].reverse()
    assert compare(before, after, schema_keys={"rows": (("id",),)}) == [changed("rows[id=1].v", 1, 2)]
    assert len(compare(before, after)) == 4


def test_paths_start_where_the_values_stand():
    assert compare({"a": 1}, {"a": 2}, at=("spec",)) == [changed("spec.a", 1, 2)]
    assert compare(1, 2, at=("spec",)) == [changed("spec", 1, 2)]
    assert compare(1, 2) == [changed("", 1, 2)]


def test_long_strings_are_shown_as_a_unified_diff():
    before = "".join(f"line {number}\n" for number in range(8))
    shown = render([changed("data.file", before, before.replace("line 4", "other")), changed("spec.x", 1, 2)])
    assert shown.splitlines() == [
        "data.file:",
        "  @@ -3,5 +3,5 @@",
        "   line 2",
        "   line 3",
        "  -line 4",
        "  +other",
        "   line 5",
        "   line 6",
        "spec.x: 1 → 2",
    ]


def test_a_newline_at_the_end_is_named():
    text = "a\nb\nc\nd\n"
    assert render([changed("x", text, text.rstrip())]).splitlines()[-1] == "  \\ the newline at the end was removed"


def test_long_values_are_shown_whole_below_their_path():
    shown = render([changed("x", "a" * 500 + "b", "a" * 500 + "c"), Difference("y", "added", None, {"k": ["v"] * 50})])
    assert shown.splitlines()[:4] == ["x:", "  - " + "a" * 500 + "b", "  + " + "a" * 500 + "c", "y:"]
    assert shown.splitlines()[4:6] == ["  + k:", "  + - v"]


def test_a_huge_difference_is_cut_and_says_where_the_rest_is():
    shown = render([changed("x", "a\n" * 5_000, "b\n" * 5_000)]).splitlines()
    assert len(shown) < 500
    assert "-o json" in shown[-1]
    assert len(render([changed("x", "a" * 10_000, 1)])) < 5_000


leaves = st.none() | st.booleans() | st.integers(-2, 2) | st.floats(-2, 2) | st.text("ab", max_size=2)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["a", "env", "ports", "name", "args"]), inner, max_size=4),
        st.lists(st.dictionaries(st.sampled_from(["name", "port", "v"]), inner, max_size=3), max_size=3),
    ),
    max_leaves=15,
)


@given(values)
def test_a_value_does_not_differ_from_itself(value):
    assert compare(value, codec.clone(value)) == []


@given(values, values)
def test_neither_value_is_changed(before, after):
    written = codec.encode([before, after])
    render(compare(before, after))
    assert codec.encode([before, after]) == written


@given(values, values)
def test_values_without_a_difference_are_the_same_but_for_the_order_of_keyed_lists(before, after):
    if same(before, after):
        assert compare(before, after) == []
    elif compare(before, after) == []:
        assert sorted(codec.canonical(before)) == sorted(codec.canonical(after))


@given(values, values)
def test_the_way_back_has_as_many_differences(before, after):
    there, back = compare(before, after), compare(after, before)
    assert sorted(difference.path for difference in there) == sorted(difference.path for difference in back)


@given(st.lists(st.integers(), min_size=1, max_size=20), st.data())
def test_k_replaced_elements_give_k_differences(items, data):
    picked = data.draw(st.sets(st.integers(0, len(items) - 1)))
    replaced = [f"new {index}" if index in picked else item for index, item in enumerate(items)]
    assert len(compare({"args": items}, {"args": replaced})) == len(picked)
