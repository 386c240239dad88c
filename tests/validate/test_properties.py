"""Whatever stands where: an object is judged, and nothing is raised."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.validate.test_against_server import GOOD
from trimtab.api.crd import crds
from trimtab.api.kubernetes import bundled
from trimtab.manifests import codec
from trimtab.manifests.refs import Origin
from trimtab.manifests.yaml import load
from trimtab.validate.catalog import Catalog
from trimtab.validate.judging import Terms, Unit, judge
from trimtab.validate.policies import Policies
from trimtab.validate.reading import Item, Sources

KUSTOMIZATION = {
    "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
    "kind": "Kustomization",
    "metadata": {"name": "a", "namespace": "b", "annotations": {"trimtab.dev/drift": "alert"}},
    "spec": {
        "interval": "1m",
        "prune": True,
        "path": "./",
        "sourceRef": {"kind": "GitRepository", "name": "a"},
        "dependsOn": [{"name": "c"}],
        "postBuild": {"substituteFrom": [{"kind": "Secret", "name": "d"}]},
    },
}
OBJECTS = [*(document.value for document in load(GOOD.read_bytes(), "good.yaml", dialect="kubernetes")), KUSTOMIZATION]
POLICY = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicy",
    "metadata": {"name": "all"},
    "spec": {
        "matchConstraints": {
            "resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]
        },
        "validations": [{"expression": "object.spec.replicas <= 5"}],
    },
}
CATALOG = Catalog(bundled())
CATALOG.define(crds())
TERMS = Terms(CATALOG, Sources({}), Policies([Item(POLICY, Origin("policy", 1))]))

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
)


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        found += paths(part, (*at, name))
    return found


PLACES = [
    (number, path)
    for number, body in enumerate(OBJECTS)
    for path in paths(body)
    # what is no object at all is refused when it is read
    if path not in (("apiVersion",), ("kind",), ("metadata",), *(("metadata", one) for one in (
        "name", "namespace", "labels", "annotations")))
]  # fmt: skip


def put(body: Any, path: tuple[Any, ...], value: Any) -> None:
    """Let `value` stand at `path`, if what is above it is still there."""
    holder = body
    for part in path[:-1]:
        if not has(holder, part):
            return
        holder = holder[part]
    if has(holder, path[-1]):
        holder[path[-1]] = value


def has(holder: Any, part: Any) -> bool:
    if isinstance(holder, dict):
        return part in holder
    return isinstance(holder, list) and part in range(len(holder))


@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(PLACES), values), min_size=1, max_size=3))
def test_any_value_at_any_place_is_judged(changes: list[tuple[tuple[int, tuple[Any, ...]], Any]]) -> None:
    number = changes[0][0][0]
    body = codec.clone(OBJECTS[number])
    for (of, path), value in changes:
        if of == number:
            put(body, path, value)
    for finding in judge([Unit("one", [Item(body, Origin("file", 1))])], TERMS):
        assert finding.message
