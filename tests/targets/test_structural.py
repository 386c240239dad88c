"""The schema check of objects whose definition comes with them, against what a real server says of the same."""

import asyncio
import itertools

import pytest

from tests.targets.conftest import desired
from trimtab.kube.errors import ApiError
from trimtab.manifests.refs import Gvk
from trimtab.targets.kubernetes import gate
from trimtab.targets.kubernetes.apply import rehearse
from trimtab.targets.kubernetes.schemas import Definitions

CRD = Gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
_numbers = itertools.count(1)

FIELDS = {
    "text": {"type": "string", "minLength": 2, "maxLength": 4},
    "word": {"type": "string", "pattern": "^[a-z]+$"},
    "part": {"type": "string", "pattern": "b{2}"},
    "class": {"type": "string", "pattern": "^[[:alpha:]]\\d$"},
    "choice": {"type": "string", "enum": ["a", "b"]},
    "number": {"type": "integer", "minimum": 1, "maximum": 5, "multipleOf": 2},
    "ratio": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 1, "exclusiveMaximum": True},
    "flag": {"type": "boolean"},
    "port": {"x-kubernetes-int-or-string": True},
    "bounded": {
        "x-kubernetes-int-or-string": True,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": "^[0-9]+%$",
    },
    "maybe": {"type": "string", "nullable": True},
    "list": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2},
    "map": {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1, "maxProperties": 2},
    "free": {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
        "properties": {"size": {"type": "integer"}},
    },
    "anything": {"x-kubernetes-preserve-unknown-fields": True},
    "closed": {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
    "defaulted": {
        "type": "object",
        "required": ["a"],
        "properties": {"a": {"type": "string", "default": "x"}, "b": {"type": "string"}},
    },
    "needy": {"type": "object", "required": ["n"], "properties": {"n": {"type": "string", "nullable": True}}},
    "either": {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
    },
    "some": {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "anyOf": [{"required": ["a"]}, {"properties": {"b": {"enum": ["z"]}}, "required": ["b"]}],
    },
    "never": {"type": "string", "not": {"enum": ["x"]}},
    "all": {"type": "integer", "allOf": [{"minimum": 2}, {"maximum": 3}]},
    "inner": {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": {"type": "object"}}},
}
GOOD = [
    {}, {"text": "abc"}, {"text": "äöüß"}, {"word": "abc"}, {"part": "abbc"}, {"class": "a1"}, {"choice": "a"},
    {"number": 4}, {"number": 2.0}, {"ratio": 0.5}, {"flag": False}, {"port": 80}, {"port": "http"},
    {"bounded": 5}, {"bounded": "5%"}, {"maybe": None}, {"list": ["a"]},
    {"map": {"a": 1}}, {"free": {"x": [1, {"y": None}], "size": 2}},
    {"anything": 3}, {"anything": {"a": "b"}}, {"closed": {"a": "x"}},
    {"defaulted": {}}, {"defaulted": {"a": None}}, {"needy": {"n": None}}, {"either": {"a": "x"}}, {"some": {"a": "x"}},
    {"some": {"b": "z"}}, {"never": "y"}, {"all": 2},
    {"inner": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "x"}, "spec": {}}},
]  # fmt: skip
BAD = [
    {"text": "a"}, {"text": "abcde"}, {"text": 1}, {"text": ["a"]}, {"text": {"a": 1}}, {"text": True}, {"word": "ab1"},
    {"part": "ab"}, {"class": "11"}, {"choice": "c"}, {"choice": "A"}, {"number": 0}, {"number": 6}, {"number": 3},
    {"number": "2"}, {"number": 2.5}, {"number": True}, {"ratio": 0}, {"ratio": 1}, {"ratio": "0.5"}, {"flag": "true"},
    {"flag": 0}, {"port": 1.5}, {"port": True}, {"port": [80]}, {"bounded": "5"}, {"list": []},
    {"list": ["a", "b", "c"]}, {"list": ["a", 1]}, {"list": "a"}, {"list": {"a": 1}}, {"list": ["a", None]},
    {"map": {}}, {"map": {"a": 1, "b": 2, "c": 3}}, {"map": {"a": "1"}}, {"map": ["a"]}, {"free": {"size": "2"}},
    {"free": "text"}, {"closed": {}}, {"closed": {"b": "x"}}, {"closed": {"a": None}}, {"defaulted": {"b": 1}},
    {"needy": {}}, {"either": {}}, {"either": {"a": "x", "b": "x"}}, {"some": {"b": "y"}}, {"some": {}},
    {"text": None}, {"list": None},
    {"map": {"a": 1, "b": None}}, {"closed": {"a": "x", "b": None}},
    {"never": "x"}, {"all": 1}, {"all": 4}, {"unknown": 1}, {"closed": {"a": "x", "c": 1}}, {"inner": {"spec": []}},
]  # fmt: skip


def definition(group, **more):
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": FIELDS}}, **more}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def widget(group, namespace, spec, version="v1"):
    metadata = {"name": "one", "namespace": namespace}
    return desired({"apiVersion": f"{group}/{version}", "kind": "Widget", "metadata": metadata, "spec": spec})


def complaint(spec):
    group = "shapes.example.org"
    return Definitions.of([desired(definition(group))]).complaint(widget(group, "ns", spec))


@pytest.fixture
async def established(client):
    """The group of a definition that the server has."""
    group = f"shapes-{next(_numbers)}.example.org"
    resource = await client.discovery.find(CRD)
    await client.create(resource, definition(group))
    async with asyncio.timeout(60):
        while True:
            live = await client.get(resource, f"widgets.{group}")
            done = {c["type"]: c["status"] for c in (live.get("status") or {}).get("conditions") or []}
            if done.get("Established") == "True":
                break
            await asyncio.sleep(0.1)
    await client.discovery.wait_for(Gvk(group, "v1", "Widget"), 60)
    yield group
    await client.delete(resource, f"widgets.{group}")


async def refusal_of_the_server(client, item):
    try:
        await rehearse(client, await client.discovery.find(item.gvk), item)
    except ApiError as failure:
        return failure.message
    return ""


async def test_the_check_and_a_real_server_agree_on_every_sample(cluster, established):
    async with asyncio.timeout(60):
        while True:  # the schema follows the definition a moment later
            if await refusal_of_the_server(cluster.client, widget(established, cluster.namespace, {"text": 1})):
                break
            await asyncio.sleep(0.1)
    differ = []
    for expected, specs in ((False, GOOD), (True, BAD)):
        for spec in specs:
            ours = complaint(spec)
            theirs = await refusal_of_the_server(cluster.client, widget(established, cluster.namespace, spec))
            if bool(ours) is not expected or bool(theirs) is not expected:
                differ.append((spec, ours, theirs))
    assert differ == []


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"number": "2"}, "spec.number must be of type integer, it is '2'"),
        ({"choice": "c"}, "spec.choice must be one of a, b, it is 'c'"),
        ({"list": ["a", 1]}, "spec.list[1] must be of type string, it is 1"),
        ({"closed": {}}, "spec.closed lacks a, which is required"),
        ({"unknown": 1}, "spec.unknown is not declared in the schema"),
        ({"word": "1"}, "spec.word must match ^[a-z]+$, it is '1'"),
    ],
)
def test_a_complaint_names_the_definition_the_path_and_what_is_allowed(spec, words):
    assert (
        complaint(spec) == f"does not fit CustomResourceDefinition/widgets.shapes.example.org (app/x.yaml:3): {words}"
    )


def test_a_version_that_the_definition_does_not_serve_is_named():
    group = "shapes.example.org"
    said = Definitions.of([desired(definition(group))]).complaint(widget(group, "ns", {}, "v3"))
    assert "serves no version v3, only v1" in said


def test_many_misfits_are_cut():
    assert complaint({f"unknown{i}": 1 for i in range(500)}).count("not declared") == 10


def test_a_pattern_that_backtracks_for_ever_elsewhere_costs_nothing_here():
    nasty = definition("g.example.org", properties={"spec": {"type": "string", "pattern": "^(a+)+$"}})
    item = widget("g.example.org", "ns", "a" * 4_000 + "!")
    assert "must match" in Definitions.of([desired(nasty)]).complaint(item)


@pytest.mark.parametrize("pattern", ["(", "(?<=a)b", "a{9999}{9999}", "\\Q"])
def test_a_pattern_that_cannot_be_understood_is_left_to_the_server(pattern):
    odd = definition("g.example.org", properties={"spec": {"type": "string", "pattern": pattern}})
    assert Definitions.of([desired(odd)]).complaint(widget("g.example.org", "ns", "x")) == ""


async def test_the_gate_refuses_what_does_not_fit_a_definition_of_the_same_set(cluster):
    group = "unborn.example.org"
    items = [desired(definition(group)), widget(group, cluster.namespace, {"number": "x"})]
    first, second = await gate.judge(cluster.client, items, gate.Providers.of(items))
    assert isinstance(first, gate.Passed)
    assert isinstance(second, gate.Refused)
    items[1] = widget(group, cluster.namespace, {"number": 2})
    _, second = await gate.judge(cluster.client, items, gate.Providers.of(items))
    assert isinstance(second, gate.Deferred)


async def test_what_only_the_new_form_of_a_definition_allows_is_deferred_and_what_it_forbids_is_refused(
    cluster, established
):
    changed = definition(established)
    fields = changed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    changed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"] = {
        **fields,
        "fresh": {"type": "string"},
        "flag": {"type": "string"},
    }
    items = [
        desired(changed),
        widget(established, cluster.namespace, {"fresh": "x"}),
        widget(established, cluster.namespace, {"flag": True}),
    ]
    judged = await gate.judge(cluster.client, items, gate.Providers.of(items))
    assert [type(one) for one in judged] == [gate.Passed, gate.Deferred, gate.Refused]
    known = gate.Providers.of(items, lambda item: True)
    judged = await gate.judge(cluster.client, items, known)
    assert isinstance(judged[1], gate.Refused), "the server's word counts where the definition is there already"
