"""What is between two environments: which object is which, images, and what may not be told."""

from typing import Any

from trimtab.diff.promotion import Declared, Gap, gap, images, structured


def deployment(image: str = "shop:1.0", namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    containers = [{"name": "app", "image": image}, {"name": "proxy", "image": "envoy:1"}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {**spec, "template": {"spec": {"containers": containers}}},
    }


def config(name: str, namespace: str = "shop", **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }


def between(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> Gap:
    return gap("a", "b", [Declared(one) for one in a], [Declared(one) for one in b])


def paths(found: Gap) -> list[str]:
    return [one.path for pair in found.differing for one in pair.differences]


def test_images_are_told_for_every_container_also_where_they_are_equal() -> None:
    found = between([deployment("shop:2.0")], [deployment("shop:1.0")])
    assert [(one.container, one.a, one.b) for one in found.images] == [
        ("app", "shop:2.0", "shop:1.0"),
        ("proxy", "envoy:1", "envoy:1"),
    ]
    assert (found.verdict, paths(found)) == ("differs", ["spec.template.spec.containers[name=app].image"])


def test_an_image_that_only_one_side_has_is_told_and_on_which() -> None:
    found = between([deployment()], [])
    assert [(one.a, one.b) for one in found.images] == [("shop:1.0", ""), ("envoy:1", "")]
    assert [one.ref.name for one in found.only_a] == ["web"]


def test_environments_that_are_namespaces_are_matched_by_name_and_the_namespace_is_no_difference() -> None:
    found = between([deployment(namespace="staging")], [deployment(namespace="production")])
    assert (found.verdict, len(found.pairs)) == ("same", 1)


def test_a_name_that_is_there_twice_is_not_guessed() -> None:
    found = between([config("a", "one"), config("a", "two")], [config("a", "three")])
    assert (len(found.only_a), len(found.only_b)) == (2, 1)


def test_the_same_name_in_the_same_namespace_goes_before_another_namespace() -> None:
    found = between([config("a", "one", x="1"), config("a", "two", x="2")], [config("a", "two", x="2")])
    assert [one.ref.namespace for one in found.only_a] == ["one"]
    assert found.differing == ()


def test_both_directions_are_seen_and_what_is_written_differently_is_none() -> None:
    one = deployment(replicas=1)
    other = deployment(paused=True)
    one["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"memory": "1Gi"}}
    other["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"memory": "1024Mi"}}
    assert paths(between([one], [other])) == ["spec.replicas", "spec.paused"]


def test_what_servers_and_apps_add_is_no_difference() -> None:
    live = config("a", x="1")
    live["metadata"] |= {"uid": "8e1", "labels": {"kustomize.toolkit.fluxcd.io/name": "shop"}}
    live["status"] = {}
    plain = config("a", x="1")
    plain["metadata"]["labels"] = {}
    assert between([live], [plain]).verdict == "same"


def test_values_of_secrets_are_compared_and_not_told_in_whatever_form() -> None:
    def secret(**fields: Any) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, **fields}

    same = between([secret(stringData={"a": "x"})], [secret(data={"a": "eA=="})])
    assert same.verdict == "same"
    other = between([secret(stringData={"a": "hunter2"})], [secret(data={"a": "eA=="})])
    assert paths(other) == ["data.a"]
    assert "hunter2" not in str(structured(other))
    assert "aHVudGVyMg" not in str(structured(other))


def test_what_was_decrypted_is_told_by_its_path_only() -> None:
    found = gap("a", "b", [Declared(config("a", x="hunter2"), secret=True)], [Declared(config("a", x="y"))])
    assert paths(found) == ["data.x"]
    assert "hunter2" not in str(structured(found))


def test_what_is_encrypted_is_unknown_and_the_rest_is_compared_all_the_same() -> None:
    sealed = Declared(config("a", x="ENC[1]"), unknown="it is encrypted")
    found = gap("a", "b", [sealed, Declared(config("b", x="1"))], [Declared(config("a")), Declared(config("b", x="2"))])
    assert (found.verdict, [pair.unknown for pair in found.unknown], paths(found)) == (
        "unknown",
        ["it is encrypted"],
        ["data.x"],
    )
    assert gap("a", "b", [], [], ["an app"]).verdict == "unknown"


def test_containers_are_found_wherever_they_stand_and_a_release_has_its_chart() -> None:
    custom = {"apiVersion": "x/v1", "kind": "Runner", "metadata": {"name": "a"}, "spec": {"pods": [
        {"deep": {"initContainers": [{"name": "init", "image": "i:1"}], "containers": "none", "image": "other"}}
    ]}}  # fmt: skip
    release = {
        "apiVersion": "helm.toolkit.fluxcd.io/v2",
        "kind": "HelmRelease",
        "metadata": {"name": "a"},
        "spec": {"chart": {"spec": {"chart": "podinfo", "version": "6.x"}}},
    }
    assert (images(custom), images(release)) == ({"init": "i:1"}, {"chart": "podinfo:6.x"})
