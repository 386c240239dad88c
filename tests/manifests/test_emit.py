"""What is printed as YAML is read back as the same value."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trimtab.manifests.emit import to_yaml

# The words and characters that YAML gives a meaning to are likelier to break it than random text.
_TRAPS = st.text(st.sampled_from("abe01279:-#?*&!|>%@`'\"[]{},. \n\t~=<_+x\x85\u2028é😀\x7f\r"), max_size=12)
_WORDS = st.sampled_from(
    [
        *("true", "No", "on", "y", "null", "~", "1e3", "0x1F", "0o17", "1_000", "12:30:45", "=", "<<", ".inf", "-.INF"),
        *("2024-01-01", "2024-01-01T00:00:00Z", ".nan", "...", "... a", "---", "- a", "a: b", "a #b", "a:"),
        *("", " a", "a ", "a\n\n"),
    ]
)
_TEXT = st.one_of(_TRAPS, _WORDS, st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
_SCALARS = st.one_of(_TEXT, st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4), max_leaves=12
)


def read(text: str) -> Any:
    return yaml.load(text, Loader=yaml.CSafeLoader)


@given(_VALUES)
def test_a_yaml_parser_reads_back_what_was_written(value: Any) -> None:
    assert read(to_yaml(value)) == value


@pytest.mark.parametrize(
    "text", ["nginx:1.29.1-alpine", "./apps/demo", "main@sha1:67e2c98a", "10m", "stored artifact for revision x"]
)
def test_harmless_text_is_not_quoted(text: str) -> None:
    assert to_yaml({"a": text}) == f"a: {text}\n"


def test_an_object_looks_as_kubectl_prints_it() -> None:
    body = {
        "kind": "ConfigMap",
        "metadata": {"name": "a", "labels": {}},
        "data": {"on": "yes", "conf": "server {\n  listen 80;\n}\n"},
        "list": [{"a": 1, "b": ["x"]}, [], "z"],
    }
    assert to_yaml(body) == (
        "kind: ConfigMap\n"
        "metadata:\n  name: a\n  labels: {}\n"
        'data:\n  "on": "yes"\n  conf: |\n    server {\n      listen 80;\n    }\n'
        "list:\n- a: 1\n  b:\n  - x\n- []\n- z\n"
    )
