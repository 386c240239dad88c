"""Selectors over labels in the text form of Kubernetes."""

import pytest

from trimtab.manifests import selectors
from trimtab.manifests.selectors import parse

LABELS = {"app": "web", "tier": "front", "example.org/x": ""}


@pytest.mark.parametrize(
    ("text", "selects"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        ("app = web , tier=front", True),
        ("app=web,tier=back", False),
        ("app!=web", False),
        ("none!=web", True),
        ("app", True),
        ("none", False),
        ("!none", True),
        ("!app", False),
        ("app in (web, api)", True),
        ("app in (api)", False),
        ("app notin (api),tier in (front)", True),
        ("none notin (api)", True),
        ("example.org/x=", True),
        ("inner", False),
    ],
)
def test_it_selects_as_kubectl_does(text, selects):
    assert parse(text)(LABELS) is selects


@pytest.mark.parametrize("text", ["=web", "app in web", "app in (web", "a b", "!"])
def test_what_is_no_selector_is_refused(text):
    with pytest.raises(ValueError, match="is not a selector"):
        parse(text)


@pytest.mark.parametrize(
    ("selector", "others"),
    [
        ("!a.example/key", "a.example/key"),
        ("key", "!key"),
        ("key=one", "key!=one"),
        ("key==one", "key!=one"),
        ("key!=one", "key=one"),
        ("key in (a, b)", "key notin (a, b)"),
        ("key notin (a,b)", "key in (a,b)"),
        ("key=a,other=b", ""),
    ],
)
def test_the_complement_of_one_requirement_selects_all_the_others(selector, others):
    assert selectors.complement(selector) == others
    if others:
        for labels in ({}, {"key": "one"}, {"key": "a"}, {"key": "c"}, {"a.example/key": ""}):
            assert selectors.parse(selector)(labels) is not selectors.parse(others)(labels)
