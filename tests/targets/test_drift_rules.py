"""The rules D1 to D11 of drift, each with the case that taught it, against the real API server."""

import asyncio
import base64
import contextlib

import pytest

from tests.runtime.clocks import ManualClock
from tests.targets.conftest import OWNER, desired, managers
from trimtab.base.clock import SystemClock
from trimtab.base.tasks import Tasks
from trimtab.health.verdict import State, Verdict
from trimtab.kube.errors import Forbidden, NotFound
from trimtab.manifests.refs import Gvk, Ref
from trimtab.targets.contract import Answer, Effect
from trimtab.targets.kubernetes import gate
from trimtab.targets.kubernetes.disclosure import Disclosure
from trimtab.targets.kubernetes.drift import Settler
from trimtab.targets.kubernetes.fights import Fights
from trimtab.targets.kubernetes.inventory import Entry
from trimtab.targets.kubernetes.sighting import sight
from trimtab.targets.kubernetes.target import KubernetesTarget
from trimtab.targets.kubernetes.tracking import REWRITES, REWRITTEN, News
from trimtab.targets.kubernetes.watches import Watches
from trimtab.targets.kubernetes.wish import Wish

US = ("kustomize-controller", "Apply", "")


class Bench:
    """One object under watch, as the engine sees it; the tests say when a pass happens."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.fights = Fights()
        self.news = []

    def body(self, kind="ConfigMap", api="v1", name="x", **fields):
        metadata = {"name": name, "namespace": self.cluster.namespace} | fields.pop("metadata", {})
        return {"apiVersion": api, "kind": kind, "metadata": metadata, **fields}

    async def applied(self, body):
        await self.cluster.apply(body)
        item = desired(body)
        return item, self.cluster.tracker.get(item.ref)

    async def look(self, item, tracked):
        """What an event with the present state of the object means."""
        live = await self.cluster.get(item.gvk.kind, item.ref.name)
        closely = self.cluster.tracker.closely(item.ref)
        return tracked.observe(None if live is None else sight(live, SystemClock().now(), closely=closely))

    async def settle(self, item, tracked, mode="correct"):
        client, tracker = self.cluster.client, self.cluster.tracker
        settler = Settler(client, OWNER.key, tracker, self.fights, SystemClock())
        outcome = await settler.settle(item, tracked, mode)
        assert outcome.effect is not Effect.FAILED, outcome
        return outcome


@pytest.fixture
def bench(cluster):
    return Bench(cluster)


@contextlib.asynccontextmanager
async def watched(bench, kind, tracked):
    """The shared watch on a kind, feeding the record of one object; a queue of what it heard of it."""
    heard = asyncio.Queue()

    def hear(ref, sighting):
        if ref == tracked.ref:
            heard.put_nowait((tracked.observe(sighting), sighting))

    tasks = Tasks("test")
    watches = Watches(bench.cluster.client, tasks, SystemClock(), hear)
    await watches.ensure([kind])
    try:
        yield heard
    finally:
        await tasks.close()


async def heard_of(heard, news):
    """Wait until the watch has told `news`."""
    async with asyncio.timeout(60):
        while (await heard.get())[0] is not news:
            pass


CONFIG_MAPS = Gvk("", "v1", "ConfigMap")


def deployment(bench, **spec):
    container = {"name": "app", "image": "a:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}
    pod = {"containers": [container | spec.pop("container", {})], **spec.pop("pod", {})}
    template = {"metadata": {"labels": {"app": "x"}}, "spec": pod}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "x"}}, "template": template, **spec}
    return bench.body("Deployment", "apps/v1", spec=spec)


async def test_d1_another_manager_takes_the_field_out_of_our_set(bench):
    item, tracked = await bench.applied(bench.body(data={"a": "1", "b": "2"}))
    before = tracked.baseline
    live = await bench.cluster.merge("ConfigMap", "x", {"data": {"a": "9"}})
    assert sight(live, SystemClock().now()).owned != before.owned
    assert await bench.look(item, tracked) is News.DISTURBED
    outcome = await bench.settle(item, tracked)
    assert outcome.effect is Effect.CORRECTED
    assert [(d.path, d.before, d.after) for d in outcome.drift.differences] == [("data.a", "9", "1")]
    assert (outcome.drift.writer.manager, outcome.drift.writer.operation) == ("somebody", "Update")
    assert (await bench.cluster.get("ConfigMap", "x"))["data"] == {"a": "1", "b": "2"}


async def test_d1_the_order_of_our_items_is_seen_though_our_set_stays_the_same(bench):
    item, tracked = await bench.applied(deployment(bench))
    turned = [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]
    resource = await bench.cluster.client.discovery.find_by_name("Deployment")
    path = "/spec/template/spec/containers/0/env"
    live = await bench.cluster.client.json_patch(
        resource,
        "x",
        bench.cluster.namespace,
        [{"op": "replace", "path": path, "value": turned}],
        field_manager="sorter",
    )
    assert sight(live, SystemClock().now()).owned == tracked.baseline.owned
    assert await bench.look(item, tracked) is News.DISTURBED
    outcome = await bench.settle(item, tracked)
    assert [difference.kind for difference in outcome.drift.differences] == ["moved"]


async def test_d2_what_others_put_into_a_map_that_was_declared_empty_is_no_drift(bench):
    item, tracked = await bench.applied(
        deployment(bench, pod={"securityContext": {}, "volumes": [{"name": "v", "emptyDir": {}}]})
    )
    patch = {"spec": {"template": {"spec": {"securityContext": {"runAsUser": 7}}}}}
    await bench.cluster.merge("Deployment", "x", patch, "setter")
    news = await bench.look(item, tracked)
    if news is News.DISTURBED:  # a candidate, which the apply does not confirm
        assert (await bench.settle(item, tracked)).drift is None
    live = await bench.cluster.get("Deployment", "x")
    assert live["spec"]["template"]["spec"]["securityContext"] == {"runAsUser": 7}
    assert await bench.look(item, tracked) is not News.DISTURBED, "its rollout may go on meanwhile"
    assert tracked.as_wished(item.digest)


@pytest.mark.parametrize("mode", ["correct", "alert"])
async def test_d3_what_was_changed_and_changed_back_is_claimed_again_and_not_told(bench, mode):
    item, tracked = await bench.applied(bench.body(data={"a": "1"}))
    await bench.cluster.merge("ConfigMap", "x", {"data": {"a": "9"}})
    await bench.cluster.merge("ConfigMap", "x", {"data": {"a": "1"}})
    assert await bench.look(item, tracked) is News.DISTURBED
    outcome = await bench.settle(item, tracked, mode)
    assert (outcome.effect, outcome.drift) == (Effect.UNCHANGED, None)
    live = await bench.cluster.get("ConfigMap", "x")
    assert sight(live, SystemClock().now()).undisturbed(tracked.baseline)
    entry = next(entry for entry in live["metadata"]["managedFields"] if entry["operation"] == "Apply")
    assert "f:a" in entry["fieldsV1"]["f:data"]


async def test_d4_a_baseline_comes_from_an_apply_and_never_from_a_look(bench):
    item, tracked = await bench.applied(bench.body(data={"a": "1"}))
    await bench.cluster.merge("ConfigMap", "x", {"data": {"a": "9"}})
    # a process that starts now sees an object in which the drifted path is no longer ours
    tracked.start_over()
    await bench.look(item, tracked)
    assert tracked.baseline is None
    assert not tracked.as_wished(item.digest)
    outcome = await bench.settle(item, tracked)
    assert [difference.path for difference in outcome.drift.differences] == ["data.a"]
    assert tracked.baseline is not None


async def test_d5_events_of_our_own_applies_are_no_drift_however_they_arrive(bench):
    item, tracked = await bench.applied(bench.body(data={"a": "0"}))
    async with watched(bench, CONFIG_MAPS, tracked) as heard:
        for number in range(30):
            item = desired(bench.body(data={"a": str(number), "n": str(number)}))
            await bench.cluster.apply_unjudged(item)
        await bench.cluster.merge("ConfigMap", "x", {"metadata": {"annotations": {"last": "yes"}}})
        async with asyncio.timeout(60):
            while True:
                news, sighting = await heard.get()
                assert news is not News.DISTURBED
                live = await bench.cluster.get("ConfigMap", "x")
                if sighting and sighting.version == live["metadata"]["resourceVersion"]:
                    break
    assert tracked.as_wished(item.digest)


async def test_d5_an_object_on_its_way_out_is_left_to_go(bench):
    item, tracked = await bench.applied(bench.body(data={"a": "1"}, metadata={"finalizers": ["example.org/wait"]}))
    resource = await bench.cluster.client.discovery.find_by_name("ConfigMap")
    await bench.cluster.client.delete(resource, "x", bench.cluster.namespace)
    await bench.cluster.merge("ConfigMap", "x", {"data": {"a": "9"}})
    assert await bench.look(item, tracked) is not News.DISTURBED
    await bench.cluster.merge("ConfigMap", "x", {"metadata": {"finalizers": None}})
    assert await bench.look(item, tracked) is News.DISTURBED
    assert (await bench.settle(item, tracked)).drift.gone
    assert (await bench.cluster.get("ConfigMap", "x"))["data"] == {"a": "1"}


async def test_d6_another_version_of_the_object_is_not_compared_by_paths_of_ours(bench):
    scaler = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}, "maxReplicas": 5}
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
    }
    body = bench.body("HorizontalPodAutoscaler", "autoscaling/v2", spec={**scaler, "metrics": [metric]})
    item, tracked = await bench.applied(body)
    resource = await bench.cluster.client.discovery.find(Gvk("autoscaling", "v1", "HorizontalPodAutoscaler"))
    other = await bench.cluster.client.get(resource, "x", bench.cluster.namespace)
    assert "metrics" not in other["spec"]
    await bench.cluster.merge("HorizontalPodAutoscaler", "x", {"metadata": {"labels": {"seen": "yes"}}})
    other = await bench.cluster.client.get(resource, "x", bench.cluster.namespace)
    assert tracked.observe(sight(other, SystemClock().now())) is not News.DISTURBED
    await bench.cluster.merge("HorizontalPodAutoscaler", "x", {"spec": {"maxReplicas": 9}})
    other = await bench.cluster.client.get(resource, "x", bench.cluster.namespace)
    assert tracked.observe(sight(other, SystemClock().now())) is News.DISTURBED
    assert (await bench.settle(item, tracked)).effect is Effect.CORRECTED


async def test_d7_a_stripped_label_and_a_deletion_are_told_apart(bench):
    item, tracked = await bench.applied(bench.body(data={"a": "1"}))
    uid = tracked.baseline.uid
    async with watched(bench, CONFIG_MAPS, tracked) as heard:
        await bench.cluster.merge("ConfigMap", "x", {"metadata": {"labels": None}}, "stripper")
        await heard_of(heard, News.DISTURBED)
        assert tracked.missing  # all that a watch can say
        outcome = await bench.settle(item, tracked)
        assert not outcome.drift.gone
        assert any("labels" in difference.path for difference in outcome.drift.differences)
        assert tracked.baseline.uid == uid
        resource = await bench.cluster.client.discovery.find_by_name("ConfigMap")
        await bench.cluster.client.delete(resource, "x", bench.cluster.namespace)
        await heard_of(heard, News.DISTURBED)
        outcome = await bench.settle(item, tracked)
        assert outcome.drift.gone
        assert tracked.baseline.uid != uid


async def test_d7_an_object_that_somebody_made_anew_is_not_ours_until_it_is_applied(bench):
    item, tracked = await bench.applied(bench.body(data={"a": "1"}))
    client, namespace = bench.cluster.client, bench.cluster.namespace
    resource = await client.discovery.find_by_name("ConfigMap")
    await client.delete(resource, "x", namespace)
    await client.create(resource, bench.body(data={"a": "9"}), namespace, field_manager="somebody")
    tracked.observe(None)
    outcome = await bench.settle(item, tracked)
    assert not outcome.drift.gone
    assert "data.a" in [difference.path for difference in outcome.drift.differences]
    assert (await bench.cluster.get("ConfigMap", "x"))["data"] == {"a": "1"}


async def test_d8_an_edit_behind_string_data_is_seen(bench):
    item, tracked = await bench.applied(bench.body("Secret", stringData={"k": "right"}))
    wrong = base64.b64encode(b"wrong").decode()
    await bench.cluster.merge("Secret", "x", {"data": {"k": wrong}})
    assert await bench.look(item, tracked) is News.DISTURBED
    outcome = await bench.settle(item, tracked)
    assert "data.k" in str(outcome.drift)
    assert wrong not in str(outcome.drift)
    assert (await bench.cluster.get("Secret", "x"))["data"]["k"] == base64.b64encode(b"right").decode()


async def test_d8_rules_that_the_server_aggregates_are_not_sent(bench):
    rule = {"clusterRoleSelectors": [{"matchLabels": {"none": "none"}}]}
    body = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "x"}}
    assert "rules" not in desired({**body, "aggregationRule": rule, "rules": []}).body
    assert "rules" in desired({**body, "rules": []}).body


async def test_d8_duplicate_keys_of_a_list_are_refused_at_the_gate_and_not_tried_again(bench):
    ports = [{"name": "a", "containerPort": 80}, {"name": "b", "containerPort": 80}]
    judged = await bench.cluster.judge(desired(deployment(bench, container={"ports": ports})))
    assert isinstance(judged, gate.Refused)
    assert not judged.transient
    assert "duplicate" in judged.message


POLICY = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "MutatingAdmissionPolicy",
    "spec": {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "resources": ["configmaps"],
                    "operations": ["CREATE", "UPDATE"],
                }
            ]
        },
        "mutations": [
            {
                "patchType": "ApplyConfiguration",
                "applyConfiguration": {
                    "expression": "Object{metadata: Object.metadata{annotations: {'turns': oldObject == null || "
                    "!has(oldObject.metadata.annotations) || !('turns' in oldObject.metadata.annotations) ? '1' : "
                    "string(int(oldObject.metadata.annotations['turns']) + 1)}}}"
                },
            }
        ],
    },
}


@pytest.fixture
async def restless(cluster):
    """A policy that counts how often a ConfigMap of the namespace was written, in an annotation."""
    client = cluster.client
    policies = await client.discovery.find(Gvk("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicy"))
    bindings = await client.discovery.find(Gvk("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicyBinding"))
    name = cluster.namespace
    selector = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
    spec = {"policyName": name, "matchResources": selector}
    binding = {"apiVersion": POLICY["apiVersion"], "kind": "MutatingAdmissionPolicyBinding", "spec": spec}
    await client.create(policies, {**POLICY, "metadata": {"name": name}})
    await client.create(bindings, {**binding, "metadata": {"name": name}})
    resource = await client.discovery.find_by_name("ConfigMap")
    probe = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe", "namespace": name}}
    async with asyncio.timeout(60):
        while "annotations" not in (await client.create(resource, probe, name, dry_run=True))["metadata"]:
            await asyncio.sleep(0.1)
    yield
    for kind in (bindings, policies):
        with contextlib.suppress(NotFound):
            await client.delete(kind, name)


@pytest.mark.parametrize("declared", [False, True], ids=["beside our fields", "in a field of ours"])
async def test_d9_what_admission_rewrites_every_time_is_left_and_told(bench, restless, declared):
    metadata = {"annotations": {"turns": "0"}} if declared else {}
    item, tracked = await bench.applied(bench.body(data={"a": "1"}, metadata=metadata))
    told = []
    for _ in range(REWRITES + 2):
        if tracked.as_wished(item.digest) and not tracked.doubt():
            break
        outcome = await bench.settle(item, tracked)
        told.append(outcome.message)
    assert tracked.left == REWRITTEN
    assert "rewritten at admission" in told[-1]
    assert tracked.as_wished(item.digest)
    assert not tracked.doubt()


async def test_d9_an_apply_that_changes_nothing_is_not_taken_for_that(bench):
    item, tracked = await bench.applied(bench.body(data={"a": "1"}))
    for number in range(REWRITES + 2):
        await bench.cluster.merge("ConfigMap", "x", {"data": {"theirs": str(number)}})
        await bench.look(item, tracked)
        tracked.doubt()
        assert (await bench.settle(item, tracked)).drift is None
    assert tracked.left == ""
    assert tracked.rewrites == 0


async def test_d10_what_the_server_answers_with_500_but_a_person_has_to_mend_is_not_transient(bench):
    for body in (
        bench.body(data={"a": "1"}, nonsense={"b": 1}),
        deployment(bench, replicas={"not": "a number"}),
    ):
        judged = await bench.cluster.judge(desired(body))
        assert isinstance(judged, gate.Refused)
        assert not judged.transient, judged.message


async def test_d11_what_raises_no_event_is_found_by_a_look_at_everything(bench):
    item, tracked = await bench.applied(bench.body(data={"a": "1"}))
    assert tracked.as_wished(item.digest)
    version = tracked.baseline.version
    assert tracked.doubt()
    assert not tracked.as_wished(item.digest)
    assert (await bench.settle(item, tracked)).effect is Effect.UNCHANGED
    assert tracked.baseline.version == version  # it costs no write
    await bench.cluster.merge("ConfigMap", "x", {"data": {"a": "9"}})  # and nobody told us
    assert tracked.doubt()
    assert (await bench.settle(item, tracked)).effect is Effect.CORRECTED


# --- modes and fights


async def test_alert_tells_once_and_again_when_it_changes_again_and_when_it_goes_back(bench):
    item, tracked = await bench.applied(bench.body(data={"a": "1"}))
    for value in ("8", "9"):
        await bench.cluster.merge("ConfigMap", "x", {"data": {"a": value}})
        assert await bench.look(item, tracked) is News.DISTURBED
        outcome = await bench.settle(item, tracked, "alert")
        assert outcome.drift.answer is Answer.REPORTED
        assert [difference.before for difference in outcome.drift.differences] == [value]
        assert tracked.as_wished(item.digest, "alert")
        await bench.cluster.merge("ConfigMap", "x", {"data": {"theirs": value}})
        await bench.look(item, tracked)
        if not tracked.as_wished(item.digest, "alert"):
            assert (await bench.settle(item, tracked, "alert")).drift is None
    await bench.cluster.merge("ConfigMap", "x", {"data": {"a": "1"}})
    assert await bench.look(item, tracked) is News.DISTURBED
    outcome = await bench.settle(item, tracked, "alert")
    assert outcome.drift.answer is Answer.RETURNED
    assert US in managers(await bench.cluster.get("ConfigMap", "x"))
    assert tracked.as_wished(item.digest, "correct")


async def test_alert_tells_of_a_deletion_once(bench):
    item, tracked = await bench.applied(bench.body(data={"a": "1"}))
    resource = await bench.cluster.client.discovery.find_by_name("ConfigMap")
    await bench.cluster.client.delete(resource, "x", bench.cluster.namespace)
    assert await bench.look(item, tracked) is News.DISTURBED
    assert (await bench.settle(item, tracked, "alert")).drift.gone
    assert await bench.look(item, tracked) is News.NOTHING
    assert tracked.as_wished(item.digest, "alert")
    assert await bench.cluster.get("ConfigMap", "x") is None


async def test_after_three_corrections_the_path_is_yielded_and_the_rest_is_still_corrected(bench):
    body = bench.body(data={"a": "1", "b": "2"})
    item, tracked = await bench.applied(body)
    for _ in range(3):
        await bench.cluster.merge("ConfigMap", "x", {"data": {"a": "9"}}, "scaler")
        await bench.look(item, tracked)
        assert (await bench.settle(item, tracked)).effect is Effect.CORRECTED
    await bench.cluster.merge("ConfigMap", "x", {"data": {"a": "9"}}, "scaler")
    await bench.look(item, tracked)
    outcome = await bench.settle(item, tracked)
    assert outcome.drift.answer is Answer.YIELDED
    words = bench.fights.words(OWNER.key)
    assert f"ConfigMap/{bench.cluster.namespace}/x data.a" in words
    assert "kustomize-controller and scaler" in words
    assert bench.fights.pointers(OWNER.key, item.ref) == {"/data/a"}


async def test_a_fight_over_order_leaves_the_object_as_it_is(bench):
    item, tracked = await bench.applied(deployment(bench))
    resource = await bench.cluster.client.discovery.find_by_name("Deployment")
    turned = [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]
    patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/env", "value": turned}]
    answers = []
    for _ in range(4):
        await bench.cluster.client.json_patch(resource, "x", bench.cluster.namespace, patch, field_manager="sorter")
        assert await bench.look(item, tracked) is News.DISTURBED
        answers.append((await bench.settle(item, tracked)).drift.answer)
    assert answers == [Answer.CORRECTED] * 3 + [Answer.YIELDED]
    assert "env" in bench.fights.words(OWNER.key)
    assert tracked.as_wished(item.digest)


# --- what the account of an app may know, and kinds that nobody watches


@pytest.fixture
async def blind(cluster):
    """The client of an account that may write ConfigMaps and read none."""
    client, namespace = cluster.client, cluster.namespace
    rbac = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "patch"]}]
    metadata = {"name": "writer", "namespace": namespace}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    role = {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": rules}
    binding = {
        "apiVersion": f"{rbac}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "writer"},
        "subjects": [{"kind": "ServiceAccount", "name": "writer", "namespace": namespace}],
    }
    for body in (account, role, binding):
        await client.create(await client.discovery.find_by_name(body["kind"]), body, namespace)
    view = client.acting_as(f"system:serviceaccount:{namespace}:writer")
    resource = await client.discovery.find_by_name("ConfigMap")
    probe = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe", "namespace": namespace}}
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(Forbidden):
                await view.create(resource, probe, namespace, dry_run=True)
                return view
            await asyncio.sleep(0.1)


async def test_drift_that_the_account_may_not_read_is_told_without_values(bench, blind):
    item, tracked = await bench.applied(bench.body(data={"a": "1"}))
    await bench.cluster.merge("ConfigMap", "x", {"data": {"a": "hidden-value"}})
    await bench.look(item, tracked)
    settler = Settler(blind, OWNER.key, bench.cluster.tracker, bench.fights, SystemClock())
    outcome = await settler.settle(item, tracked, "alert")
    assert (outcome.effect, outcome.drift.hidden, outcome.drift.differences) == (Effect.DRIFTED, True, ())
    assert "differs" in str(outcome.drift)
    assert "hidden-value" not in str(outcome)
    tracked.doubt()
    tracked.suspect = True
    outcome = await settler.settle(item, tracked, "correct")
    assert (outcome.effect, outcome.drift.hidden) == (Effect.CORRECTED, True)
    assert "hidden-value" not in str(outcome)
    assert (await bench.cluster.get("ConfigMap", "x"))["data"] == {"a": "1"}


async def test_what_a_watch_shows_is_told_only_to_accounts_that_may_get_it(bench, blind):
    disclosure = Disclosure(SystemClock())
    ref = Ref("", "ConfigMap", bench.cluster.namespace, "x")
    bad = Verdict(State.Failed, "a word of the object")
    assert await disclosure.verdict(bench.cluster.client, CONFIG_MAPS, ref, bad) == bad
    hidden = await disclosure.verdict(blind, CONFIG_MAPS, ref, bad)
    assert hidden.state is State.Failed
    assert "a word" not in hidden.message


async def test_an_answer_about_rights_is_remembered_for_five_minutes(bench, blind):
    clock = ManualClock()
    disclosure = Disclosure(clock)
    ref = Ref("", "ConfigMap", bench.cluster.namespace, "x")
    assert not await disclosure.may_get(blind, CONFIG_MAPS, ref)
    resource = await bench.cluster.client.discovery.find_by_name("Role")
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "patch"]}]
    await bench.cluster.client.merge_patch(resource, "writer", bench.cluster.namespace, {"rules": rules})
    readable = await bench.cluster.client.discovery.find_by_name("ConfigMap")
    async with asyncio.timeout(60):  # the server's own authorizer follows
        while True:
            try:
                await blind.get(readable, "x", bench.cluster.namespace)
            except NotFound:
                break
            except Forbidden:
                await asyncio.sleep(0.1)
    assert not await disclosure.may_get(blind, CONFIG_MAPS, ref)
    clock.jump(301)
    assert await disclosure.may_get(blind, CONFIG_MAPS, ref)


def wish_of(bench, items, **options):
    inventory = {item.ref: Entry(item.ref, item.gvk.version) for item in items}
    return Wish(OWNER, bench.cluster.client, tuple(items), inventory, prune=True, **options)


@contextlib.asynccontextmanager
async def target(bench, reader):
    """The whole target, with what it told of apps."""
    tasks, told = Tasks("target"), []
    clock = ManualClock()
    made = KubernetesTarget(
        reader, tasks, clock, tell=lambda app, news: told.append(news), protected_namespace="flux-system"
    )
    try:
        yield made, clock, told
    finally:
        await tasks.close()


async def passed(made, wish):
    """One pass without a gate; what became of the objects."""
    plan = made.plan(wish, await made.observe(wish))
    return [outcome async for outcome in made.converge(wish, plan)]


async def test_where_watching_is_forbidden_the_interval_does_the_work_and_says_so(bench, blind):
    item = desired(bench.body(data={"a": "1"}))
    wish = wish_of(bench, [item], interval_s=600.0)
    async with target(bench, blind) as (made, clock, _):
        await passed(made, wish)
        [notice] = made.notices.take(OWNER.key)
        assert notice.reason == "WatchForbidden"
        assert "ConfigMap is looked for every 10m only" in notice.words
        assert await passed(made, wish) == []
        await bench.cluster.merge("ConfigMap", "x", {"data": {"a": "9"}})
        clock.jump(300)
        assert await passed(made, wish) == []
        clock.jump(300)
        [outcome] = await passed(made, wish)
        assert outcome.effect is Effect.CORRECTED
        await bench.cluster.client.delete(
            await bench.cluster.client.discovery.find_by_name("ConfigMap"), "x", bench.cluster.namespace
        )
        clock.jump(600)
        [outcome] = await passed(made, wish)
        assert outcome.drift.gone
        assert made.notices.take(OWNER.key) == []


async def test_what_can_be_neither_watched_nor_read_is_applied_at_the_interval(bench, blind):
    item = desired(bench.body(data={"a": "1"}))
    wish = wish_of(bench, [item], interval_s=600.0)._replace(client=blind)
    async with target(bench, blind) as (made, clock, _):
        await passed(made, wish)
        assert await passed(made, wish) == []
        await bench.cluster.merge("ConfigMap", "x", {"data": {"a": "9"}})
        clock.jump(600)
        [outcome] = await passed(made, wish)
        assert (outcome.effect, outcome.drift.hidden) == (Effect.CORRECTED, True)
        assert (await bench.cluster.get("ConfigMap", "x"))["data"] == {"a": "1"}
        clock.jump(600)
        [outcome] = await passed(made, wish)
        assert outcome.effect is Effect.UNCHANGED


async def test_replicas_that_an_autoscaler_sets_are_left_to_it_and_told_once(bench):
    item = desired(deployment(bench, replicas=2))
    wish = wish_of(bench, [item])
    scaler = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}, "maxReplicas": 9}
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
    }
    client, namespace = bench.cluster.client, bench.cluster.namespace
    scalers = await client.discovery.find_by_name("HorizontalPodAutoscaler")
    async with target(bench, client) as (made, _, told):
        await passed(made, wish)
        body = bench.body("HorizontalPodAutoscaler", "autoscaling/v2", spec={**scaler, "metrics": [metric]})
        await client.create(scalers, body, namespace)
        async with asyncio.timeout(60):
            while made.autoscalers.claimed(item) == "":
                await asyncio.sleep(0.02)
        assert News.DISTURBED in told
        await passed(made, wish)
        [notice] = made.notices.take(OWNER.key)
        assert notice.reason == "ReplicasYielded"
        live = await bench.cluster.merge("Deployment", "x", {"spec": {"replicas": 7}}, "autoscaler")
        made.tracker.get(item.ref).observe(sight(live, SystemClock().now()))
        assert await passed(made, wish) == []
        live = await bench.cluster.merge("Deployment", "x", {"spec": {"paused": True, "minReadySeconds": 3}}, "other")
        assert live["spec"]["replicas"] == 7
        await client.delete(scalers, "x", namespace)
        async with asyncio.timeout(60):
            while made.autoscalers.claimed(item) != "":
                await asyncio.sleep(0.02)
        await passed(made, wish)
        assert (await bench.cluster.get("Deployment", "x"))["spec"]["replicas"] == 2
        assert made.notices.take(OWNER.key) == []


async def test_d6_objects_of_a_definition_that_changes_are_looked_at_again(bench):
    client, namespace = bench.cluster.client, bench.cluster.namespace
    group = f"{namespace}.example.org"
    properties = {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": properties}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    names = {"plural": "things", "singular": "thing", "kind": "Thing"}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }
    definitions = await client.discovery.find_by_name("CustomResourceDefinition")
    await client.create(definitions, definition)
    tasks = Tasks("discovery")
    await client.discovery.start(tasks)
    await client.discovery.wait_for(Gvk(group, "v1", "Thing"), 60)
    item = desired(bench.body("Thing", f"{group}/v1", spec={"a": "1"}))
    wish = wish_of(bench, [item])
    async with target(bench, client) as (made, clock, told):
        async with asyncio.timeout(60):
            while not made.tracker.get(item.ref) or not made.tracker.get(item.ref).baseline:
                await passed(made, wish)
        assert await passed(made, wish) == []
        told.clear()
        version = {
            **version,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
        }
        await client.merge_patch(definitions, f"things.{group}", "", {"spec": {"versions": [version]}})
        async with asyncio.timeout(60):
            while News.DISTURBED not in told:
                await clock.advance(1)
                await asyncio.sleep(0.02)
        assert not made.tracker.get(item.ref).as_wished(item.digest)
    await tasks.close()
    await client.delete(definitions, f"things.{group}")


async def test_after_a_restore_everything_is_looked_at_again_and_deletions_wait_for_a_clean_pass(bench):
    item = desired(bench.body(data={"a": "1"}))
    wish = wish_of(bench, [item])
    async with target(bench, bench.cluster.client) as (made, _, told):
        await passed(made, wish)
        assert made.epoch.holds(OWNER.key) == ""
        # as if it had known a later history
        tracked, later = made.tracker.get(item.ref), str(1 << 60)
        tracked.baseline = tracked.seen = tracked.baseline._replace(version=later)
        made.watches._informers[CONFIG_MAPS]._horizon.rewound(later)
        told.clear()
        await bench.cluster.merge("ConfigMap", "x", {"data": {"a": "9"}})
        await bench.cluster.merge("ConfigMap", "x", {"metadata": {"annotations": {"an": "event"}}})
        async with asyncio.timeout(60):
            while not made.epoch.number:
                await asyncio.sleep(0.02)
        assert News.DISTURBED in told
        assert "restored from a backup" in made.epoch.holds(OWNER.key)
        [outcome] = await passed(made, wish)
        assert outcome.effect is Effect.CORRECTED
        assert made.epoch.holds(OWNER.key) == ""
        # and the watch, read anew, goes on
        await bench.cluster.merge("ConfigMap", "x", {"data": {"a": "8"}})
        async with asyncio.timeout(60):
            while made.tracker.get(item.ref).as_wished(item.digest):
                await asyncio.sleep(0.02)
