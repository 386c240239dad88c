"""The projection onto the fields we own: what moves it, what does not, and what is reported."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.diff.compare import Difference
from trimtab.diff.fields import changes, owned_digest, owned_entry, project, projection_digest, who_changed
from trimtab.manifests import codec

OURS = {
    "f:metadata": {"f:labels": {"f:app": {}}, "f:finalizers": {".": {}, 'v:"a/one"': {}, 'v:"a/two"': {}}},
    "f:spec": {
        "f:replicas": {},
        "f:selector": {},
        "f:template": {
            "f:spec": {
                "f:containers": {
                    'k:{"name":"app"}': {
                        ".": {},
                        "f:name": {},
                        "f:image": {},
                        "f:args": {},
                        "f:resources": {},
                        "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
                    },
                    'k:{"name":"side"}': {".": {}, "f:name": {}, "f:image": {}},
                }
            }
        },
    },
}
THEIRS = {
    "manager": "kubectl-edit",
    "operation": "Update",
    "time": "2026-01-02T00:00:00Z",
    "fieldsV1": {
        "f:spec": {"f:paused": {}, "f:template": {"f:spec": {"f:containers": {'k:{"name":"app"}': {"f:tty": {}}}}}}
    },
}


def deployment(*, fields=OURS, others=(THEIRS,)):
    ours = {
        "manager": "kustomize-controller",
        "operation": "Apply",
        "apiVersion": "apps/v1",
        "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "web",
            "labels": {"app": "web", "theirs": "x"},
            "finalizers": ["a/one", "b/theirs", "a/two"],
            "managedFields": [*others, ours],
        },
        "spec": {
            "replicas": 3,
            "paused": False,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "spec": {
                    "containers": [
                        {
                            "name": "app",
                            "image": "app:1",
                            "args": ["a", "b"],
                            "resources": {},
                            "ports": [
                                {"containerPort": 80, "protocol": "TCP"},
                                {"containerPort": 81, "protocol": "TCP"},
                            ],
                        },
                        {"name": "injected", "image": "proxy:1"},
                        {"name": "side", "image": "side:1"},
                    ]
                }
            },
        },
        "status": {"replicas": 3},
    }


def containers(body):
    return body["spec"]["template"]["spec"]["containers"]


def entry_of(body):
    entry = owned_entry(body)
    assert entry is not None
    return entry


def test_the_entry_is_the_apply_of_the_manager_to_the_object_itself():
    entry = entry_of(deployment())
    assert entry.api_version == "apps/v1"
    assert entry.time == "2026-01-01T00:00:00Z"
    assert owned_entry(deployment(), manager="somebody") is None
    body = deployment()
    body["metadata"]["managedFields"][-1]["subresource"] = "scale"
    assert owned_entry(body) is None
    body = deployment()
    body["metadata"]["managedFields"][-1]["operation"] = "Update"
    assert owned_entry(body) is None
    assert owned_entry({"metadata": {}}) is None


def test_the_digest_of_a_set_does_not_depend_on_how_it_was_decoded_or_sorted():
    raw = msgspec.Raw(codec.encode(dict(reversed(OURS.items()))))
    assert owned_digest(entry_of(deployment())) == owned_digest(entry_of(deployment(fields=raw)))
    fewer = {**OURS, "f:metadata": {}}
    assert owned_digest(entry_of(deployment())) != owned_digest(entry_of(deployment(fields=fewer)))


def test_the_projection_holds_our_fields_in_live_order_and_nothing_else():
    assert project(deployment(), entry_of(deployment())) == {
        "metadata": {"labels": {"app": "web"}, "finalizers": ["a/one", "a/two"]},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "spec": {
                    "containers": [
                        {
                            "name": "app",
                            "image": "app:1",
                            "args": ["a", "b"],
                            "resources": {},
                            "ports": [{"containerPort": 80, "protocol": "TCP"}],
                        },
                        {"name": "side", "image": "side:1"},
                    ]
                }
            },
        },
    }


def theirs(body, edit):
    edit(body)
    return body


@pytest.mark.parametrize(
    "edit",
    [
        lambda body: body["status"].update(replicas=0),
        lambda body: body["spec"].update(paused=True),
        lambda body: body["metadata"]["labels"].update(theirs="y"),
        lambda body: body["metadata"].update(resourceVersion="7"),
        lambda body: body["metadata"]["finalizers"].remove("b/theirs"),
        lambda body: containers(body)[1].update(image="proxy:2"),
        lambda body: containers(body).pop(1),
        lambda body: containers(body).insert(0, {"name": "first", "image": "x"}),
        lambda body: containers(body)[0]["ports"].pop(1),
        lambda body: containers(body)[0].update(tty=True),
    ],
)
def test_what_others_own_does_not_move_the_projection(edit):
    entry = entry_of(deployment())
    edited = theirs(deployment(), edit)
    assert projection_digest(edited, entry) == projection_digest(deployment(), entry)
    assert changes(edited, deployment(), entry) == []


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda body: body["spec"].update(replicas=1), [Difference("spec.replicas", "changed", 1, 3)]),
        (lambda body: body["spec"].pop("replicas"), [Difference("spec.replicas", "added", None, 3)]),
        (lambda body: body["metadata"].pop("labels"), [Difference("metadata.labels", "added", None, {"app": "web"})]),
        (
            lambda body: body["spec"]["selector"]["matchLabels"].update(extra="x"),
            [Difference("spec.selector.matchLabels.extra", "removed", "x", None)],
        ),
        (
            lambda body: containers(body)[0].update(image="app:2"),
            [Difference("spec.template.spec.containers[name=app].image", "changed", "app:2", "app:1")],
        ),
        (
            lambda body: containers(body).pop(2),
            [
                Difference(
                    "spec.template.spec.containers[name=side]", "added", None, {"name": "side", "image": "side:1"}
                )
            ],
        ),
        (
            lambda body: containers(body).reverse(),
            [
                Difference(
                    "spec.template.spec.containers",
                    "moved",
                    [{"name": "side"}, {"name": "app"}],
                    [{"name": "app"}, {"name": "side"}],
                )
            ],
        ),
        (
            lambda body: containers(body)[0]["args"].reverse(),
            [
                Difference("spec.template.spec.containers[name=app].args[0]", "changed", "b", "a"),
                Difference("spec.template.spec.containers[name=app].args[1]", "changed", "a", "b"),
            ],
        ),
        (
            lambda body: containers(body)[0]["ports"].pop(0),
            [
                Difference(
                    "spec.template.spec.containers[name=app].ports[containerPort=80,protocol=TCP]",
                    "added",
                    None,
                    {"containerPort": 80},
                )
            ],
        ),
        (
            lambda body: body["metadata"]["finalizers"].remove("a/one"),
            [Difference("metadata.finalizers[=a/one]", "added", None, "a/one")],
        ),
        (
            lambda body: body["metadata"]["finalizers"].reverse(),
            [Difference("metadata.finalizers", "moved", ["a/two", "a/one"], ["a/one", "a/two"])],
        ),
        (lambda body: body["spec"].update(replicas=True), [Difference("spec.replicas", "changed", True, 3)]),
    ],
)
def test_what_we_own_moves_the_projection_and_is_named(edit, expected):
    entry = entry_of(deployment())
    edited = theirs(deployment(), edit)
    assert projection_digest(edited, entry) != projection_digest(deployment(), entry)
    assert changes(edited, deployment(), entry) == expected


def test_a_map_declared_empty_is_a_candidate_that_the_response_clears():
    entry = entry_of(deployment())
    live, response = deployment(), deployment()
    for body in (live, response):
        containers(body)[0]["resources"] = {"limits": {"cpu": "1"}}
    assert projection_digest(live, entry) != projection_digest(deployment(), entry)
    assert changes(live, response, entry) == []


def test_what_others_write_into_a_map_declared_empty_is_not_ours_even_when_it_changes_meanwhile():
    ours = {"f:metadata": {"f:annotations": {}}, "f:spec": {"f:selector": {}}}
    controller = {**THEIRS, "fieldsV1": {"f:metadata": {"f:annotations": {".": {}, "f:revision": {}}}}}
    live, response = (deployment(fields=ours, others=(controller,)) for _ in range(2))
    live["metadata"]["annotations"] = {"revision": "1"}
    response["metadata"]["annotations"] = {"revision": "2"}
    live["spec"]["selector"] = {"matchLabels": {}}
    assert [difference.path for difference in changes(live, response, entry_of(response))] == [
        "spec.selector.matchLabels.app"
    ], "a selector is owned as a whole: nobody owns a part of it"


def test_a_key_that_the_live_item_leaves_out_is_a_defaulted_one():
    entry = entry_of(deployment())
    live = deployment()
    del containers(live)[0]["ports"][0]["protocol"]
    assert projection_digest(live, entry) == projection_digest(deployment(), entry)


def test_a_key_of_several_is_matched_whole():
    entry = entry_of(deployment())
    live = deployment()
    containers(live)[0]["ports"].insert(0, {"containerPort": 80, "protocol": "UDP"})
    assert projection_digest(live, entry) == projection_digest(deployment(), entry)


def test_only_what_others_hold_left_in_a_list_is_the_same_as_no_list():
    fields = {"f:spec": {"f:items": {'k:{"name":"ours"}': {"f:name": {}}}}}
    entry = entry_of(deployment(fields=fields))
    assert projection_digest({"spec": {"items": [{"name": "x"}]}}, entry) == projection_digest({"spec": {}}, entry)


def test_a_map_that_only_others_keep_there_is_the_same_as_no_map():
    entry = entry_of(deployment(fields={"f:spec": {"f:strategy": {"f:ours": {}}}, "f:data": {".": {}, "f:ours": {}}}))
    assert projection_digest({"spec": {"strategy": {"theirs": 1}}}, entry) == projection_digest({}, entry)
    assert projection_digest({"data": {}}, entry) != projection_digest({}, entry), "a map that is ours as such counts"


def test_a_positional_set_is_compared_whole():
    entry = entry_of(deployment(fields={"f:spec": {"f:items": {"i:0": {}}}}))
    assert project({"spec": {"items": [1, 2]}}, entry) == {"spec": {"items": [1, 2]}}


def test_the_newest_other_owner_of_a_path_is_named():
    older = {**THEIRS, "manager": "old", "time": "2025-01-01T00:00:00Z"}
    body = deployment(others=(THEIRS, older))
    writer = who_changed(body, "spec.template.spec.containers[name=app].tty")
    assert writer is not None
    assert (writer.manager, writer.operation, writer.time) == ("kubectl-edit", "Update", "2026-01-02T00:00:00Z")
    assert who_changed(body, "spec.template.spec.containers[name=app]") == writer
    assert who_changed(body, "spec.template.spec.containers[name=side].tty") is None
    assert who_changed(body, "spec.replicas") is None
    assert who_changed(body, "spec.paused") == writer


def test_the_owner_of_a_whole_value_owns_what_is_in_it():
    atomic = {**THEIRS, "fieldsV1": {"f:spec": {"f:selector": {}, "f:set": {'v:"x"': {}}}}}
    body = deployment(others=(atomic,))
    assert who_changed(body, "spec.selector.matchLabels.app") is not None
    assert who_changed(body, "spec.set[=x]") is not None
    assert who_changed(body, "spec.set[=y]") is None


names = st.text("abc.", min_size=1, max_size=3)
leaves = st.one_of(st.integers(-2, 2), st.booleans(), st.none(), st.text("xy", max_size=2))
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.dictionaries(names, inner, max_size=4),
        st.lists(inner, max_size=3),
        st.lists(st.tuples(st.sampled_from("pqrs"), inner), max_size=4, unique_by=lambda pair: pair[0]).map(
            lambda pairs: [{"name": name, "value": value} for name, value in pairs]
        ),
    ),
    max_leaves=12,
)
objects = st.dictionaries(names, values, max_size=4)


def fields_of(value):
    """The field set of somebody who applied `value`, lists of named items being keyed by their name."""
    if isinstance(value, dict) and value:
        return {f"f:{name}": fields_of(inner) for name, inner in value.items()}
    if isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value):
        return {"k:" + codec.encode({"name": item["name"]}).decode(): {".": {}, **fields_of(item)} for item in value}
    return {}


def entry_for(fields):
    return entry_of(
        {
            "metadata": {
                "managedFields": [
                    {**THEIRS, "manager": "kustomize-controller", "operation": "Apply", "fieldsV1": fields}
                ]
            }
        }
    )


def with_foreign_parts(value, draw):
    """`value` with things added that it did not have: fields in maps, items in keyed lists."""
    if isinstance(value, dict) and value:
        grown = {name: with_foreign_parts(inner, draw) for name, inner in value.items()}
        return {**grown, "theirs": draw(leaves)} if draw(st.booleans()) else grown
    if isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value):
        grown = [with_foreign_parts(item, draw) for item in value]
        grown.insert(draw(st.integers(0, len(grown))), {"name": "foreign", "value": 1})
        return grown
    return value


@given(objects)
def test_an_object_equals_itself(body):
    entry = entry_for(fields_of(body))
    assert changes(body, codec.clone(body), entry) == []


@given(objects, st.data())
def test_what_others_add_never_shows(body, data):
    entry = entry_for(fields_of(body))
    grown = with_foreign_parts(body, data.draw)
    assert projection_digest(grown, entry) == projection_digest(body, entry)
    assert changes(grown, body, entry) == []


@given(objects, objects)
def test_an_unequal_projection_has_differences_and_an_equal_one_has_none(live, response):
    entry = entry_for(fields_of(response))
    equal = projection_digest(live, entry) == projection_digest(response, entry)
    assert equal == (changes(live, response, entry) == [])


@given(objects, objects)
def test_neither_side_is_changed(live, response):
    entry = entry_for(fields_of(response))
    before = codec.canonical([live, response])
    changes(live, response, entry)
    project(live, entry)
    assert codec.canonical([live, response]) == before
