"""What is stamped on objects, and what is refused before any request."""

import base64

import pytest

from trimtab.base.errors import Terminal
from trimtab.manifests.refs import Gvk, Key, Manifest, Origin
from trimtab.targets.kubernetes.desired import PREFIX, Mode, Owner, prepare

OWNER = Owner(PREFIX, Key("flux-system", "shop"))
NAMESPACED = {
    Gvk("", "v1", "ConfigMap"): True,
    Gvk("", "v1", "Secret"): True,
    Gvk("", "v1", "Namespace"): False,
    Gvk("rbac.authorization.k8s.io", "v1", "ClusterRole"): False,
}


def manifest(kind="ConfigMap", api_version="v1", line=3, namespace="shop", **extra):
    metadata = {"name": "x", **({"namespace": namespace} if namespace else {}), **extra.pop("metadata", {})}
    body = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **extra}
    return Manifest(body, Origin("app/x.yaml", line, 1))


def one(item):
    return prepare([item], OWNER, namespaced=NAMESPACED, protected_namespace="flux-system")[0]


def refusal(*items):
    with pytest.raises(Terminal) as caught:
        prepare(items, OWNER, namespaced=NAMESPACED, protected_namespace="flux-system")
    assert caught.value.reason == "ValidationFailed"
    return caught.value.message


def test_the_owner_is_stamped_and_own_labels_are_kept():
    labels = one(manifest(metadata={"labels": {"a": "b"}})).body["metadata"]["labels"]
    assert labels == {"a": "b", f"{PREFIX}name": "shop", f"{PREFIX}namespace": "flux-system"}
    assert Owner.of({"metadata": {"labels": labels}}) == OWNER


def test_equal_objects_have_equal_digests_whatever_the_order_of_their_keys():
    first = Manifest(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "n"}}, Origin("a")
    )
    second = Manifest(
        {"metadata": {"namespace": "n", "name": "x"}, "kind": "ConfigMap", "apiVersion": "v1"}, Origin("b")
    )
    assert one(first).digest == one(second).digest


def test_string_data_becomes_data_so_that_drift_behind_it_is_seen():
    body = one(manifest(kind="Secret", stringData={"k": "v"}, data={"l": "dw=="})).body
    assert body["data"] == {"k": base64.b64encode(b"v").decode(), "l": "dw=="}
    assert "stringData" not in body


def test_the_rules_of_an_aggregated_role_are_left_to_the_server():
    role = manifest("ClusterRole", "rbac.authorization.k8s.io/v1", namespace="", aggregationRule={"x": 1}, rules=[])
    assert "rules" not in one(role).body


def test_a_cluster_scoped_object_loses_a_namespace_that_means_nothing():
    assert one(manifest("Namespace", namespace="shop")).ref.namespace == ""


def test_status_is_never_sent():
    assert "status" not in one(manifest(status={"a": 1})).body


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (manifest(namespace=""), "has no namespace"),
        (manifest(metadata={"uid": "u"}), "metadata.uid"),
        (manifest(metadata={"ownerReferences": [{"uid": "u"}]}), "ownerReferences"),
        (manifest(kind="Secret", sops={"mac": "x"}), "encrypted by SOPS"),
        (manifest(metadata={"annotations": {f"{PREFIX}ssa": "Sometimes"}}), "Override, Merge, IfNotPresent or Ignore"),
        (manifest(metadata={"annotations": {"trimtab.dev/drift": "maybe"}}), "correct, alert or ignore"),
        (manifest("Namespace", namespace="", metadata={"name": "flux-system"}), "own namespace"),
    ],
)
def test_what_is_refused_is_named_with_file_line_and_the_way_out(item, words):
    message = refusal(item)
    assert words in message
    assert "app/x.yaml:3" in message


def test_duplicates_are_refused_with_both_places():
    message = refusal(manifest(line=3), manifest(line=9))
    assert "app/x.yaml:9" in message
    assert "first at app/x.yaml:3" in message


def test_all_refusals_are_named_at_once():
    message = refusal(manifest(namespace=""), manifest(metadata={"name": "y", "uid": "u"}))
    assert message.startswith("2 refused")


def test_rules_on_objects_are_read_whatever_their_case():
    item = one(manifest(metadata={"annotations": {f"{PREFIX}ssa": "ifnotpresent", f"{PREFIX}reconcile": "Disabled"}}))
    assert item.mode is Mode.IF_NOT_PRESENT
    assert not item.enabled


@pytest.mark.parametrize("wrong", [{"stringData": {"on": True}}, {"stringData": ["a"]}, {"data": "text"}])
def test_string_data_that_is_no_text_is_left_for_the_server_to_refuse(wrong):
    body = one(manifest(kind="Secret", **{"stringData": {"k": "v"}, **wrong})).body
    assert body["stringData"] == wrong.get("stringData", {"k": "v"})


@pytest.mark.parametrize(
    "part",
    [
        {"sops": {"mac": "x"}},
        {"data": {"k": base64.b64encode(b"A=ENC[AES256_GCM,data:x]").decode()}},
        {"data": {"k": "ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]"}},
        {"stringData": {"k": "password: ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]"}},
    ],
)
def test_a_secret_that_is_still_encrypted_is_refused(part):
    assert "still encrypted by SOPS" in refusal(manifest(kind="Secret", **part))
    if "sops" not in part:
        switched = {"annotations": {f"{PREFIX}decrypt": "Disabled"}}
        assert one(manifest(kind="Secret", metadata=switched, **part))


def test_of_a_secret_object_no_words_of_others_tell_a_value():
    words = 'ConfigMap "x" is invalid: data: Invalid value: "hidden": must be; spec.port: Invalid value: 4711: must be'
    plain, secret = one(manifest()), one(manifest())._replace(secret=True)
    assert plain.told(words) == words
    assert "hidden" not in secret.told(words)
    assert "4711" not in secret.told(words)
    assert "spec.port: Invalid value: …: must be" in secret.told(words)
