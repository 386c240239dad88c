"""What docs/providers.md says is so."""

import re
from pathlib import Path

import msgspec

from trimtab.api.notification import TYPES, Alert, Provider
from trimtab.health.expressions import compile_term
from trimtab.manifests.yaml import load
from trimtab.notify.providers.table import TABLE

PAGE = (Path(__file__).parents[3] / "docs" / "providers.md").read_text()


def _rows(text: str) -> set[str]:
    """The types in the first columns of tables."""
    return {
        name for line in re.findall(r"^\| (`[^|]*)\|", text, re.MULTILINE) for name in re.findall(r"`([^`]+)`", line)
    }


def test_every_type_is_served_and_in_a_table() -> None:
    assert _rows(PAGE) == set(TABLE) == set(TYPES)


def test_the_examples_are_objects_that_are_taken() -> None:
    kinds = {"Provider": Provider, "Alert": Alert}
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert blocks
    for block in blocks:
        for document in load(block.encode(), "docs/providers.md"):
            if (kind := document.value["kind"]) in kinds:
                made = msgspec.convert(document.value, kinds[kind])
                assert not isinstance(made, Provider) or made.spec.type in TABLE
    (expression,) = re.findall(r'commitStatusExpr: "(.*)"', PAGE)
    compile_term(expression, ("event", "alert", "provider"))
