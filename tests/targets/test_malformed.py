"""Objects of any shape: refused in words, or left to the server, but nothing of ours falls over them."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.targets.conftest import OWNER
from trimtab.base.errors import Terminal
from trimtab.manifests.definition import definition
from trimtab.manifests.refs import Origin
from trimtab.manifests.yaml import Document, manifests_of
from trimtab.targets.kubernetes import gate
from trimtab.targets.kubernetes.desired import prepare

STEMS = [
    {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.org"},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "required": ["spec"],
                            "properties": {
                                "spec": {
                                    "type": "object",
                                    "properties": {"size": {"type": "integer", "minimum": 1, "enum": [1, 2]}},
                                    "additionalProperties": {"type": "string", "pattern": "a+", "maxLength": 3},
                                    "anyOf": [{"required": ["size"]}, {"properties": {"x": {"not": {"enum": ["a"]}}}}],
                                }
                            },
                        }
                    },
                }
            ],
        },
    },
    {
        "apiVersion": "example.org/v1",
        "kind": "Widget",
        "metadata": {"name": "one", "namespace": "ns"},
        "spec": {"size": 1, "x": "a"},
    },
    {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "key", "namespace": "ns", "labels": {"a": "b"}, "annotations": {"c": "d"}},
        "stringData": {"a": "b"},
        "data": {"c": "ZA=="},
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "reader"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]},
        "rules": [],
    },
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}},
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "b", "namespace": "ns"},
        "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "a"}],
    },
]
JUNK = st.sampled_from([None, True, 0, -1, 1.5, "", "text", [], ["a"], [1, None], {}, {"a": 1}, {"a": {"b": []}}, [{}]])


def paths(value, at=()):
    yield at
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from paths(part, (*at, key))


def replaced(value, at, junk):
    if not at:
        return junk
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = replaced(value[at[0]], at[1:], junk)
    return copy


PLACES = [(number, at) for number, stem in enumerate(STEMS) for at in paths(stem) if at]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), JUNK), min_size=1, max_size=2))
def test_what_is_of_another_shape_than_it_should_be_is_refused_in_words_or_left_to_the_server(changes):
    bodies = list(STEMS)
    for (number, at), junk in changes:
        try:
            bodies[number] = replaced(bodies[number], at, junk)
        except (TypeError, KeyError, IndexError):
            continue  # the first change took away what the second is about
    documents = [Document(body, Origin("app/x.yaml", line, 1)) for line, body in enumerate(bodies)]
    with contextlib.suppress(Terminal):
        manifests = manifests_of(documents)
        items = prepare(manifests, OWNER, namespaced={}, protected_namespace="flux-system")
        brought = gate.Providers.of(items)
        for item in items:
            definition(item.body)
            brought.definitions.complaint(item)
