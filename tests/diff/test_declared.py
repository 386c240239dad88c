"""What is declared against what is live, without a server."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.diff.compare import Difference
from trimtab.diff.declared import declared_changes
from trimtab.manifests import codec

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


def changes(wished, live, **options):
    return [str(change) for change in declared_changes(live, wished, **options)]


@pytest.mark.parametrize(
    ("wished", "live"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1, "status": {"x": 1}}, {"a": 1, "status": {"x": 2}}),
        ({"a": {}, "b": [], "c": None, "d": False, "e": "", "f": 0, "g": {"h": {}}}, {}),
        ({"a": {}}, {"a": {"set": "by the server"}}),
        ({"a": False}, {"a": None}),
        ({"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "B"}, {"name": "A", "value": "1", "more": "x"}]}),
        ({"ports": [{"containerPort": 80}]}, {"ports": [{"containerPort": 80, "protocol": "TCP"}]}),
        ({"rules": [{"verbs": ["get"]}]}, {"rules": [{"verbs": ["get"], "defaulted": True}]}),
        ({"requests": {"cpu": 0.5, "memory": "1024Mi"}}, {"requests": {"cpu": "500m", "memory": "1Gi"}}),
        ({"limits": {"cpu": 1, "memory": "1e3"}}, {"limits": {"cpu": "1", "memory": "1k"}}),
        (
            {"kind": "Secret", "stringData": {"k": "v"}},
            {"kind": "Secret", "data": {"k": base64.b64encode(b"v").decode()}},
        ),
    ],
)
def test_what_is_no_difference(wished, live):
    assert changes(wished, live) == []


@pytest.mark.parametrize(
    ("wished", "live", "words"),
    [
        ({"a": 1}, {}, "a: added 1"),
        ({"a": 1}, {"a": "1"}, 'a: "1" → 1'),
        ({"a": False}, {"a": True}, "a: true → false"),
        ({"a": True}, {"a": 1}, "a: 1 → true"),
        ({"verbs": ["get"]}, {"verbs": ["get", "list"]}, 'verbs[1]: removed "list"'),
        ({"verbs": ["a", "b"]}, {"verbs": ["b", "a"]}, 'verbs[0]: "b" → "a"'),
        ({"env": [{"name": "A"}]}, {"env": [{"name": "B"}]}, 'env[name=A]: added {"name":"A"}'),
        ({"requests": {"cpu": "1"}}, {"requests": {"cpu": "1k"}}, 'requests.cpu: "1k" → "1"'),
        ({"other": {"cpu": "1024Mi"}}, {"other": {"cpu": "1Gi"}}, 'other.cpu: "1Gi" → "1024Mi"'),
    ],
)
def test_what_is_one(wished, live, words):
    assert changes(wished, live)[0] == words


def test_what_is_not_there_is_one_difference_and_what_nobody_wishes_is_none():
    assert declared_changes(None, {"a": 1}) == [Difference("", "added", None, {"a": 1})]
    assert declared_changes({"a": 1}, None) == []


def test_what_we_applied_and_declare_no_more_is_removed():
    owned = {"f:data": {"f:old": {}, "f:kept": {}}}
    entry = {"manager": "us", "operation": "Apply", "fieldsV1": owned}
    live = {"data": {"old": "1", "kept": "2", "theirs": "3"}, "metadata": {"managedFields": [entry]}}
    assert changes({"data": {"kept": "2"}}, live) == []
    assert changes({"data": {"kept": "2"}}, live, manager="us") == ['data.old: removed "1"']
    assert changes({"data": {"kept": "2"}}, live, manager="others") == []


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_every_object_declares_itself_and_neither_side_is_changed(item):
    before = codec.canonical(item)
    assert declared_changes(item, item) == []
    assert codec.canonical(item) == before


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4), st.dictionaries(st.text(min_size=4, max_size=5), JSON))
def test_what_others_added_is_no_difference(item, more):
    assert declared_changes({**more, **item}, item) == []


def test_a_key_that_the_server_filled_in_is_no_removal():
    fields = {"f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}}}
    entry = {"manager": "us", "operation": "Apply", "apiVersion": "v1", "fieldsV1": fields}
    live = {"metadata": {"managedFields": [entry]}, "ports": [{"containerPort": 80, "protocol": "TCP"}]}
    assert changes({"ports": [{"containerPort": 80}]}, live, manager="us") == []
    assert changes({"ports": []}, live, manager="us") != []
