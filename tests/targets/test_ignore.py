"""Which fields are left to others, what is sent without them, and how they leave our record."""

import pytest

from tests.targets.conftest import desired
from trimtab.api.kustomize import IgnoreRule, Selector
from trimtab.base.errors import Terminal
from trimtab.targets.kubernetes.desired import PREFIX
from trimtab.targets.kubernetes.ignore import compiled, lean, marked, release, settled

US = "kustomize-controller"


def item(*pointers, **fields):
    metadata = {"name": "web", "namespace": "shop", "labels": {"tier": "front"}, "annotations": {"team": "a"}}
    wish = desired({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, **fields})
    return wish._replace(ignored=pointers)


def sent(wish):
    body = wish._replace(payload=lean(wish)).body
    return {name: value for name, value in body.items() if name not in ("apiVersion", "kind", "metadata")}


CONTAINERS = [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]


@pytest.mark.parametrize(
    ("pointers", "fields", "left"),
    [
        (["/spec/replicas"], {"spec": {"replicas": 1, "x": 2}}, {"spec": {"x": 2}}),
        (["/spec/replicas"], {"spec": {"replicas": 1}}, {}),
        (["/spec/none", "/other/none"], {"spec": {"x": 2}}, {"spec": {"x": 2}}),
        (["/data/a~1b"], {"data": {"a/b": 1, "c": 2}}, {"data": {"c": 2}}),
        (["/l/0", "/l/1"], {"l": [1, 2, 3]}, {"l": [3]}),
        (["/l/0/image"], {"l": CONTAINERS}, {"l": [{"name": "a"}, {"name": "b", "image": "b:1"}]}),
        (["/l/9/image", "/l/x"], {"l": CONTAINERS}, {"l": CONTAINERS}),
    ],
)
def test_what_is_ignored_is_not_sent_and_nothing_else_is_left_out(pointers, fields, left):
    assert sent(item(*pointers, **fields)) == left


def live(fields_v1, **fields):
    entries = [
        {"manager": "other", "operation": "Update", "fieldsV1": {"f:x": {}}},
        {"manager": US, "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": fields_v1},
    ]
    return {"metadata": {"resourceVersion": "7", "managedFields": entries}, **fields}


OWNED = {
    "f:spec": {
        "f:replicas": {},
        "f:containers": {
            'k:{"name":"a"}': {".": {}, "f:name": {}, "f:image": {}},
            'k:{"name":"b"}': {".": {}, "f:name": {}, "f:image": {}},
        },
    }
}
WISH = item("/spec/replicas", "/spec/containers/1/image", spec={"replicas": 1, "containers": CONTAINERS})


def test_ignored_fields_leave_our_entry_by_the_keys_of_their_items_and_other_entries_stay():
    guard, replaced = release(live(OWNED), WISH, US)
    assert guard == {"op": "test", "path": "/metadata/resourceVersion", "value": "7"}
    other, ours = replaced["value"]
    assert other["manager"] == "other"
    assert ours["fieldsV1"]["f:spec"] == {
        "f:containers": {
            'k:{"name":"a"}': {".": {}, "f:name": {}, "f:image": {}},
            'k:{"name":"b"}': {".": {}, "f:name": {}},
        }
    }


def test_where_we_own_nothing_of_it_there_is_nothing_to_do():
    assert release(live({"f:spec": {"f:x": {}}}), WISH, US) is None


def test_a_trial_keeps_the_live_value_of_what_we_still_own():
    there = live(OWNED, spec={"replicas": 5, "containers": [{"name": "b", "image": "b:9"}, {"name": "a"}]})
    body = WISH._replace(payload=settled(WISH, there, US)).body
    assert body["spec"] == {"replicas": 5, "containers": [CONTAINERS[0], {"name": "b", "image": "b:9"}]}


@pytest.mark.parametrize(
    ("selector", "held"),
    [
        (None, True),
        (Selector(kind="Deployment", name="w.b", namespace="shop", group="apps", version="v1"), True),
        (Selector(name="we"), False),
        (Selector(kind="StatefulSet|Deployment"), True),
        (Selector(label_selector="tier in (front, back)"), True),
        (Selector(label_selector="tier=back"), False),
        (Selector(annotation_selector="team=a"), True),
        (Selector(annotation_selector="team!=a"), False),
        (Selector(kind="Service"), False),
    ],
)
def test_a_rule_holds_for_the_objects_it_selects_by_their_whole_names(selector, held):
    [wish] = marked([item(spec={})], compiled([IgnoreRule(paths=("/spec/x",), target=selector)]))
    assert wish.ignored == (("/spec/x",) if held else ())
    assert (wish.digest != item(spec={}).digest) is held


@pytest.mark.parametrize(
    "rule",
    [
        IgnoreRule(paths=("spec",)),
        IgnoreRule(paths=("",)),
        IgnoreRule(paths=("/metadata",)),
        IgnoreRule(paths=("/kind",)),
        IgnoreRule(paths=(f"/metadata/labels/{PREFIX.replace('/', '~1')}name",)),
        IgnoreRule(paths=("/spec",), target=Selector(name="(")),
        IgnoreRule(paths=("/spec",), target=Selector(label_selector="a in b")),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused_by_its_place(rule):
    with pytest.raises(Terminal, match=r"^spec\.ignore\[1\]: "):
        compiled([IgnoreRule(paths=("/spec/x",)), rule])
