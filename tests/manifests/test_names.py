"""Inventory ids, the order of kinds, pointers and readable paths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.manifests.inventory import decode_id, encode_id
from trimtab.manifests.order import apply_key, band, stage
from trimtab.manifests.pointers import (
    ABSENT,
    Keys,
    Member,
    format_path,
    format_pointer,
    get,
    get_pointer,
    parse_path,
    parse_pointer,
)
from trimtab.manifests.refs import Ref


@pytest.mark.parametrize(
    ("ref", "id_"),
    [
        (Ref("apps", "Deployment", "shop", "web"), "shop_web_apps_Deployment"),
        (Ref("", "ConfigMap", "shop", "web"), "shop_web__ConfigMap"),
        (Ref("", "Namespace", "", "shop"), "_shop__Namespace"),
        (
            Ref("rbac.authorization.k8s.io", "ClusterRole", "", "system:node:x"),
            "_system__node__x_rbac.authorization.k8s.io_ClusterRole",
        ),
    ],
)
def test_ids_are_those_of_flux(ref, id_):
    assert encode_id(ref) == id_
    assert decode_id(id_) == ref


def test_an_underscore_in_a_name_is_not_taken_for_a_colon():
    role = Ref("rbac.authorization.k8s.io", "Role", "shop", "a__b")
    assert decode_id(encode_id(role)) == role
    assert decode_id("shop_a_b_rbac.authorization.k8s.io_Role").name == "a_b", "as Flux would have written it"


@pytest.mark.parametrize("id_", ["", "_", "__", "___", "a", "a_b", "a_b_c", "a__b_", "a__b_C", "__apps_Deployment"])
def test_what_is_no_id(id_):
    with pytest.raises(ValueError, match="is not an inventory id"):
        decode_id(id_)


@pytest.mark.parametrize(
    "ref",
    [
        Ref("", "ConfigMap", "", "a%b"),
        Ref("", "Role", "", "a/b"),
        Ref("", "ConfigMap", "a_b", "c"),
        Ref("", "", "", "x"),
    ],
)
def test_what_no_server_admits_has_no_id(ref):
    with pytest.raises(ValueError, match=r"no API server admits|has no kind or no name"):
        encode_id(ref)


labels = st.text("abc-.", max_size=6)


@given(
    st.builds(
        Ref, labels, st.text("ABc", min_size=1, max_size=4), labels, st.text("ab:_-.%5F"[:6], min_size=1, max_size=8)
    )
)
def test_ids_round_trip(ref):
    assert decode_id(encode_id(ref)) == ref


@given(st.text("ab:_", min_size=1, max_size=6), st.text("ab:_", min_size=1, max_size=6))
def test_no_two_names_share_an_id(one, other):
    ids = {encode_id(Ref("g", "Role", "n", name)) for name in {one, other}}
    assert len(ids) == len({one, other})


ORDER = [
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("", "Namespace"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("storage.k8s.io", "StorageClass"),
    ("gateway.networking.k8s.io", "GatewayClass"),
    ("example.com", "WidgetClass"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("", "ServiceAccount"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
    ("", "ConfigMap"),
    ("", "Secret"),
    ("", "Service"),
    ("apps", "Deployment"),
    ("policy", "PodDisruptionBudget"),
    ("example.com", "Widget"),
    ("serving.knative.dev", "Service"),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
]


def test_what_others_lean_on_goes_first_and_webhooks_last():
    refs = [Ref(group, kind, "", "x") for group, kind in ORDER]
    backwards = refs[::-1]
    assert sorted(backwards, key=apply_key) == refs


@pytest.mark.parametrize(
    ("group", "kind", "expected"),
    [
        ("", "Namespace", 0),
        ("example.com", "Namespace", 2),
        ("rbac.authorization.k8s.io", "ClusterRole", 0),
        ("networking.k8s.io", "IngressClass", 1),
        ("cluster.x-k8s.io", "ClusterClass", 1),
        ("", "ConfigMap", 2),
        ("rbac.authorization.k8s.io", "Role", 2),
    ],
)
def test_stages(group, kind, expected):
    assert stage(kind, group) == expected


def test_kinds_without_a_place_share_one_before_the_webhooks():
    assert band("Widget", "example.com") == band("Gadget", "example.org")
    assert band("PodDisruptionBudget", "policy") < band("Widget", "example.com")
    assert band("Widget", "example.com") < band("MutatingWebhookConfiguration", "admissionregistration.k8s.io")


def test_ties_are_broken_by_group_kind_namespace_and_name():
    refs = [
        Ref("a", "K", "n", "x"),
        Ref("a", "K", "n", "y"),
        Ref("a", "K", "o", "a"),
        Ref("a", "L", "", "a"),
        Ref("b", "A", "", "a"),
    ]
    backwards = refs[::-1]
    assert sorted(backwards, key=apply_key) == refs


DOCUMENT = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "m~n": 8, "~1": 9, " ": 7, 'k"l': 6, "null": None}


@pytest.mark.parametrize(
    ("pointer", "expected"),
    [
        ("", DOCUMENT),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/m~0n", 8),
        ("/~01", 9),
        ("/ ", 7),
        ('/k"l', 6),
        ("/null", None),
        ("/foo/2", ABSENT),
        ("/foo/00", ABSENT),
        ("/foo/-", ABSENT),
        ("/foo/-1", ABSENT),
        ("/nope", ABSENT),
        ("/foo/0/x", ABSENT),
    ],
)
def test_pointers_of_rfc_6901(pointer, expected):
    found = get_pointer(DOCUMENT, pointer)
    assert found is expected if expected is ABSENT else found == expected


@pytest.mark.parametrize("pointer", ["foo", "/~", "/~2", "/a~"])
def test_what_is_no_pointer(pointer):
    with pytest.raises(ValueError, match="is not a JSON pointer"):
        parse_pointer(pointer)


@given(st.lists(st.text(max_size=4), max_size=4))
def test_pointers_round_trip(tokens):
    assert list(parse_pointer(format_pointer(tuple(tokens)))) == tokens


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (("spec", "replicas"), "spec.replicas"),
        (("spec", "containers", Keys((("name", "app"),)), "image"), "spec.containers[name=app].image"),
        (
            ("ports", Keys((("containerPort", 80), ("protocol", "TCP"))), "name"),
            "ports[containerPort=80,protocol=TCP].name",
        ),
        (("metadata", "annotations", "example.com/x"), 'metadata.annotations["example.com/x"]'),
        (("metadata", "finalizers", Member("a/b")), "metadata.finalizers[=a/b]"),
        (("args", 3), "args[3]"),
        (("x", Keys((("name", "80"),))), 'x[name="80"]'),
        (("x", Keys((("name", "true"),))), 'x[name="true"]'),
        (("data", "a.b"), 'data["a.b"]'),
        ((), ""),
    ],
)
def test_readable_paths(parts, text):
    assert format_path(parts) == text
    assert parse_path(text) == parts


@pytest.mark.parametrize(
    "path", [".a", "a.", "a..b", "a[", "a[]", "a[x]", "a[b=]", "a[b=c", 'a["b]', "a b", "a[b=c,]", "a[0]b"]
)
def test_what_is_no_path(path):
    with pytest.raises(ValueError, match="is not a path"):
        parse_path(path)


scalars = st.text(max_size=5) | st.integers(-99, 99) | st.booleans() | st.none()
values = scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.text(max_size=2), scalars, max_size=2)
keys = st.lists(st.tuples(st.text(min_size=1, max_size=5), scalars), min_size=1, max_size=3).map(tuple).map(Keys)
parts = st.lists(st.text(max_size=5) | st.integers(0, 99) | keys | values.map(Member), max_size=5).map(tuple)


@given(parts)
def test_readable_paths_round_trip(path):
    assert parse_path(format_path(path)) == path


def test_get_follows_every_kind_of_part():
    body = {"list": [{"name": "a", "v": 1}, {"name": "b", "v": 2}], "set": ["x"]}
    assert get(body, ("list", Keys((("name", "b"),)), "v")) == 2
    assert get(body, ("list", 0, "v")) == 1
    assert get(body, ("set", Member("x"))) == "x"
    for missing in (("list", Keys((("name", "c"),))), ("list", 5), ("set", Member("y")), ("set", "x"), ("none", "x")):
        assert get(body, missing) is ABSENT
