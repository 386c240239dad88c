"""What kubectl wrote becomes ours: fields that leave git really go, and nothing else is lost."""

import asyncio
import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.targets.conftest import desired, managers
from trimtab.manifests import codec
from trimtab.targets.kubernetes.takeover import LAST_APPLIED, is_foreign, operations, union, without

US = "kustomize-controller"
OURS = (US, "Apply", "")


def entry(manager, fields, operation="Update", version="v1", **extra):
    return {"manager": manager, "operation": operation, "apiVersion": version, "fieldsV1": fields, **extra}


def live(*entries, annotations=None):
    metadata = {"name": "x", "resourceVersion": "7", "managedFields": list(entries)}
    return {"metadata": metadata | ({"annotations": annotations} if annotations else {})}


def replace(kubectl, body):
    """It reads and then writes: the controllers of the cluster may write the status of a workload in between."""
    for _ in range(20):
        try:
            return kubectl("replace", "-f", "-", stdin=json.dumps(body))
        except subprocess.CalledProcessError as failure:
            if "(Conflict)" not in failure.stderr:
                raise
    raise AssertionError("the object never stood still")


# --- the patch


def test_what_kubectl_owns_becomes_ours_and_the_patch_holds_for_one_version_only():
    kubectl = {"f:data": {".": {}, "f:a": {}}, "f:metadata": {"f:annotations": {f"f:{LAST_APPLIED}": {}}}}
    controller = entry("hpa", {"f:spec": {"f:replicas": {}}})
    body = live(
        entry("kubectl-client-side-apply", kubectl, time="2026-01-01T00:00:00Z"),
        entry(US, {"f:data": {"f:b": {}}}, "Apply"),
        controller,
        annotations={LAST_APPLIED: "{}", "mine": "x"},
    )
    assert operations(body, US) == [
        {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
        {
            "op": "replace",
            "path": "/metadata/managedFields",
            "value": [
                controller,
                {
                    "manager": US,
                    "operation": "Apply",
                    "apiVersion": "v1",
                    "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:data": {".": {}, "f:a": {}, "f:b": {}}},
                    "time": "2026-01-01T00:00:00Z",
                },
            ],
        },
        {"op": "remove", "path": f"/metadata/annotations/{LAST_APPLIED.replace('/', '~1')}"},
    ]


@pytest.mark.parametrize(
    "foreign",
    [
        entry("kubectl", {"f:spec": {"f:replicas": {}}}, subresource="scale"),
        entry("kubectl-client-side-apply", {"f:status": {}}, subresource="status"),
        entry("kubectl-rollout", {"f:spec": {}}),
        entry("kubectl-annotate", {"f:metadata": {}}),
        entry("helm", {"f:spec": {}}),
        entry("argocd", {"f:spec": {}}, "Apply"),
        entry(US, {"f:spec": {}}, "Apply"),
    ],
)
def test_subresources_controllers_and_deliberate_changes_are_left_alone(foreign):
    assert operations(live(foreign), US) is None
    assert not is_foreign(live(foreign), US)


@pytest.mark.parametrize("fields", [{"f:status": {"f:a": {}}}, {"f:metadata": {"f:ownerReferences": {".": {}}}}])
def test_what_we_never_send_does_not_become_ours_since_applying_would_remove_it(fields):
    patch = operations(live(entry("kubectl-edit", {**fields, "f:data": {"f:a": {}}})), US)
    assert patch[1]["value"][0]["fieldsV1"] == {"f:data": {"f:a": {}}}


def test_finalizers_of_before_the_first_apply_are_nobodys():
    fields = {"f:metadata": {"f:finalizers": {".": {}}, "f:labels": {"f:a": {}}}}
    patch = operations(live(entry("before-first-apply", fields)), US)
    assert patch[1]["value"][0]["fieldsV1"] == {"f:metadata": {"f:labels": {"f:a": {}}}}


def test_fields_of_another_version_wait_for_the_next_round():
    body = live(
        entry("kubectl-edit", {"f:spec": {"f:a": {}}}, version="autoscaling/v1"),
        entry("kubectl-create", {"f:spec": {"f:b": {}}}, version="autoscaling/v2"),
        entry(US, {"f:spec": {"f:c": {}}}, "Apply", version="autoscaling/v2"),
    )
    left, taken = operations(body, US)[1]["value"]
    assert left["manager"] == "kubectl-edit"
    assert taken["fieldsV1"] == {"f:spec": {"f:b": {}, "f:c": {}}}


names = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}'])
paths = st.lists(names, min_size=1, max_size=4).map(tuple)


def compiled(members):
    """The fieldsV1 of a set of paths, the way the server writes it."""
    tree = {}
    for path in members:
        node = tree
        for step in path:
            node = node.setdefault(step, {})
        node["."] = {}

    def tidy(node):
        return {} if set(node) == {"."} else {k: tidy(v) if k != "." else {} for k, v in node.items()}

    return tidy(tree) if tree else {}


def members_of(fields, at=()):
    if not fields and at:
        return {at}
    found = {at} if "." in fields else set()
    for step, children in fields.items():
        if step != ".":
            found |= members_of(children, (*at, step))
    return found


@given(st.lists(st.sets(paths, max_size=6), max_size=4))
def test_a_union_has_the_members_of_all_and_no_others(sets):
    assert members_of(union(map(compiled, sets))) == set().union(*sets)


@given(st.sets(paths, max_size=8), paths)
def test_what_is_taken_out_is_gone_with_all_below_it_and_nothing_else(members, path):
    left = {member for member in members if member[: len(path)] != path}
    assert members_of(without(compiled(members), *path)) == left


# --- the server


def config(cluster, **data):
    metadata = {"name": "c", "namespace": cluster.namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def web(cluster, replicas=2, **container):
    labels = {"app": "web"}
    containers = [{"name": "app", "image": "registry.example/web:1", **container}]
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}
    spec["template"]["spec"] = {"containers": containers}
    if replicas is not None:
        spec["replicas"] = replicas
    metadata = {"name": "web", "namespace": cluster.namespace}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


async def rolled_out(cluster):
    """The Deployment, once its controller has seen it."""
    async with asyncio.timeout(60):
        while True:
            found = await cluster.get("deployment", "web")
            if found["status"].get("observedGeneration") == found["metadata"]["generation"]:
                return found
            await asyncio.sleep(0.1)


def revision(body):
    return int(body["metadata"]["annotations"]["deployment.kubernetes.io/revision"])


WAYS = {
    "client-side apply": ("apply", "-f", "-"),
    "server-side apply": ("apply", "--server-side", "-f", "-"),
    "create": ("create", "-f", "-"),
    "create with the annotation": ("create", "--save-config", "-f", "-"),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_a_field_that_is_not_in_git_goes_whichever_way_kubectl_wrote_it(cluster, kubectl, way):
    kubectl(*way, stdin=json.dumps(config(cluster, kept="1", gone="1")))
    before = await cluster.get("configmap", "c")
    await cluster.apply(config(cluster, kept="1"))
    after = await cluster.get("configmap", "c")
    assert after["data"] == {"kept": "1"}
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert managers(after) == {OURS}
    assert LAST_APPLIED not in (after["metadata"].get("annotations") or {})


@pytest.mark.parametrize("way", list(WAYS.values())[:3], ids=list(WAYS)[:3])
async def test_a_deployment_is_taken_over_in_one_rollout_and_loses_nothing(cluster, kubectl, way):
    body = web(cluster, env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}])
    kubectl(*way, stdin=json.dumps(body))
    await cluster.merge("deployment", "web", {"metadata": {"annotations": {"theirs": "x"}}})
    before = await rolled_out(cluster)
    await cluster.apply(web(cluster, env=[{"name": "A", "value": "1"}]))
    after = await rolled_out(cluster)
    [container] = after["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "A", "value": "1"}]
    assert after["metadata"]["annotations"]["theirs"] == "x"
    assert revision(after) == revision(before) + 1
    for name in ("env", "image"):
        before["spec"]["template"]["spec"]["containers"][0].pop(name, None)
        container.pop(name)
    assert after["spec"] == before["spec"]


async def test_a_service_keeps_its_addresses(cluster, kubectl):
    metadata = {"name": "s", "namespace": cluster.namespace}
    spec = {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]}
    body = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
    kubectl("create", "-f", "-", stdin=json.dumps(body))
    before = await cluster.get("service", "s")
    await cluster.apply(body)
    assert (await cluster.get("service", "s"))["spec"] == before["spec"]


async def test_replace_and_edit_are_taken_over_and_scale_is_left_alone(cluster, kubectl):
    body = web(cluster, replicas=None)
    kubectl("apply", "-f", "-", stdin=json.dumps(body))
    replace(kubectl, {**body, "spec": {**body["spec"], "minReadySeconds": 7}})
    kubectl("patch", "deployment", "web", "-n", cluster.namespace, "--field-manager=kubectl-edit",
            "-p", json.dumps({"spec": {"revisionHistoryLimit": 3}}))  # fmt: skip
    kubectl("scale", "deployment", "web", "-n", cluster.namespace, "--replicas=4")
    await cluster.apply(body)
    after = await cluster.get("deployment", "web")
    assert "minReadySeconds" not in after["spec"]
    assert after["spec"]["revisionHistoryLimit"] == 10
    assert after["spec"]["replicas"] == 4
    assert ("kubectl", "Update", "scale") in managers(after)


async def test_an_object_without_any_record_of_its_managers_is_taken_over(cluster):
    resource = await cluster.client.discovery.find_by_name("configmap")
    await cluster.client.create(resource, config(cluster, kept="1", gone="1"), cluster.namespace)
    drop = [{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]
    await cluster.client.json_patch(resource, "c", cluster.namespace, drop)
    await cluster.apply_unjudged(desired(config(cluster, kept="1")))
    after = await cluster.get("configmap", "c")
    assert after["data"] == {"kept": "1"}
    assert managers(after) == {OURS}


async def test_an_edit_of_an_object_of_ours_goes_with_its_next_apply(cluster, kubectl):
    await cluster.apply(config(cluster, kept="1"))
    kubectl(
        "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(config(cluster, kept="1", b="2"))
    )
    await cluster.apply(config(cluster, kept="2"))
    assert (await cluster.get("configmap", "c"))["data"] == {"kept": "2"}


async def test_with_merge_the_fields_of_kubectl_stay(cluster, kubectl):
    kubectl("apply", "-f", "-", stdin=json.dumps(config(cluster, kept="1", theirs="1")))
    body = config(cluster, kept="2")
    body["metadata"]["annotations"] = {"kustomize.toolkit.fluxcd.io/ssa": "Merge"}
    await cluster.apply(body)
    after = await cluster.get("configmap", "c")
    assert after["data"] == {"kept": "2", "theirs": "1"}
    assert ("kubectl-client-side-apply", "Update", "") in managers(after)


async def test_a_change_between_the_look_and_the_patch_is_not_lost(cluster, kubectl, monkeypatch):
    kubectl("create", "-f", "-", stdin=json.dumps(config(cluster, kept="1", gone="1")))
    real, raced = cluster.client.json_patch, []

    async def racing(*arguments, **options):
        if not raced:
            raced.append(await cluster.merge("configmap", "c", {"data": {"theirs": "1"}}))
        return await real(*arguments, **options)

    monkeypatch.setattr(cluster.client, "json_patch", racing)
    await cluster.apply(config(cluster, kept="1"))
    assert (await cluster.get("configmap", "c"))["data"] == {"kept": "1", "theirs": "1"}


async def test_an_object_of_ours_costs_one_request_and_one_dry_run(cluster, plane):
    await cluster.apply(config(cluster, kept="1"))
    mark = plane.audit_log.stat().st_size
    await cluster.apply(config(cluster, kept="2"))
    with plane.audit_log.open("rb") as log:
        log.seek(mark)
        lines = [codec.decode(line) for line in log if cluster.namespace.encode() in line and line.endswith(b"\n")]
    asked = [line["verb"] for line in lines if line["objectRef"].get("name") == "c"]
    assert asked == ["patch", "patch"]
