import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.api.gvk import CRD, KUSTOMIZATION
from trimtab.kube.errors import Conflict, NotFound
from trimtab.kube.resource import Resource
from trimtab.manifests import codec
from trimtab.manifests.refs import Key
from trimtab.runtime.status import merge_difference, merged, patch_status

CRDS = Resource(CRD, "customresourcedefinitions", False)
KUSTOMIZATIONS = Resource(KUSTOMIZATION, "kustomizations", True)

values = st.recursive(
    st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
bodies = st.dictionaries(st.sampled_from("abc"), values, max_size=3)


def merge(target, patch):
    """RFC 7396, literally."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


@given(before=bodies, after=bodies)
def test_merging_the_difference_gives_the_wish(before, after):
    assert merge(codec.clone(before), merge_difference(before, after)) == after


@given(one=bodies, other=bodies, after=bodies)
def test_one_patch_gives_the_wish_from_either_of_two_beginnings(one, other, after):
    patch = merged(merge_difference(one, after), merge_difference(other, after))
    assert merge(codec.clone(one), patch) == merge(codec.clone(other), patch) == after


@given(body=bodies)
def test_there_is_nothing_to_write_where_nothing_differs(body):
    assert merge_difference(body, codec.clone(body)) == {}


def test_a_null_and_an_absent_field_are_the_same():
    assert merge_difference({"a": None, "c": {"d": 1}}, {"b": None, "c": {"d": 1, "e": None}}) == {}


def test_only_what_moved_is_in_the_patch_and_lists_are_whole():
    before = {"conditions": [1, 2], "artifact": {"revision": "a", "size": 1}, "old": 1}
    after = {"conditions": [1, 3], "artifact": {"revision": "b", "size": 1}}
    assert merge_difference(before, after) == {"conditions": [1, 3], "artifact": {"revision": "b"}, "old": None}


@pytest.fixture
async def app(client, home) -> Key:
    """A Kustomization on the server."""
    from trimtab.api.crd import crds

    for crd in crds():
        await client.apply(CRDS, crd["metadata"]["name"], "", crd, field_manager="test")
    body = {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": "web", "namespace": home},
        "spec": {"interval": "1m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "web"}},
    }
    for _ in range(100):
        try:
            await client.create(KUSTOMIZATIONS, body, home)
        except NotFound:  # the CRD is not established yet
            await asyncio.sleep(0.1)
        else:
            return Key(home, "web")
    raise AssertionError("the CRD was never established")


async def test_only_the_status_is_written_under_our_name(client, app):
    patched = await patch_status(
        client, KUSTOMIZATIONS, app, {"lastAppliedRevision": "main@sha1:a"}, manager="gotk-kustomize-controller"
    )
    assert patched["status"]["lastAppliedRevision"] == "main@sha1:a"
    assert patched["metadata"]["generation"] == 1
    [ours] = [
        entry for entry in patched["metadata"]["managedFields"] if entry["manager"] == "gotk-kustomize-controller"
    ]
    assert ours["subresource"] == "status"


async def test_a_guarded_write_with_an_old_view_is_refused_and_changes_nothing(client, app):
    seen = (await client.get(KUSTOMIZATIONS, app.name, app.namespace))["metadata"]["resourceVersion"]
    await patch_status(client, KUSTOMIZATIONS, app, {"lastAppliedRevision": "b"}, manager="m", resource_version=seen)
    with pytest.raises(Conflict):
        await patch_status(
            client, KUSTOMIZATIONS, app, {"lastAppliedRevision": "c"}, manager="m", resource_version=seen
        )
    live = await client.get(KUSTOMIZATIONS, app.name, app.namespace)
    assert live["status"]["lastAppliedRevision"] == "b"


async def test_the_status_of_what_is_gone_cannot_be_written(client, app):
    await client.delete(KUSTOMIZATIONS, app.name, app.namespace)
    with pytest.raises(NotFound):
        await patch_status(client, KUSTOMIZATIONS, app, {"lastAppliedRevision": "a"}, manager="m")
