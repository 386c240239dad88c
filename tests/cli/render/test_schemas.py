"""What a server's documents tell of a kind, and what they do not."""

from typing import Any

import pytest

from trimtab.cli.render.schemas import _definition
from trimtab.manifests.refs import Gvk

GVK = Gvk("example.com", "v1", "Widget")
KIND = {"group": "example.com", "version": "v1", "kind": "Widget"}
SCHEMA = {"type": "object", "x-kubernetes-group-version-kind": [KIND]}


def documents(schemas: dict[str, Any]) -> dict[str, Any]:
    return {"apis/example.com/v1": {"components": {"schemas": schemas}}}


@pytest.mark.parametrize(
    "told",
    [{}, {"apis/example.com/v1": {}}, documents({}), documents({"com.example.v1.Other": {"type": "object"}})],
    ids=["no document", "an empty one", "no schema", "another kind's"],
)
def test_a_kind_that_no_document_describes_is_unknown(told: dict[str, Any]) -> None:
    assert _definition(GVK, "widgets", True, told) is None


def test_a_kind_that_a_document_describes_is_known() -> None:
    found = _definition(GVK, "widgets", True, documents({"com.example.v1.Widget": SCHEMA}))
    assert found is not None
    assert found["spec"]["versions"][0]["schema"] == {"openAPIV3Schema": SCHEMA}
