"""What the verdict on each kind is, and that it says what is waited for."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.health.assess import RULES, Context, assess, recheck_after
from trimtab.health.kinds.table import TABLE, find
from trimtab.health.verdict import State, Verdict

NOW = datetime(2026, 1, 1, tzinfo=UTC)
JUST_NOW = Context(now=NOW, first_seen=NOW)


def later(seconds, **more):
    return Context(now=NOW + timedelta(seconds=seconds), first_seen=NOW, **more)


def body(api_version, kind, *, metadata=None, **fields):
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x", **(metadata or {})}, **fields}


def deployment(*, metadata=None, paused=False, conditions=None, **status):
    full = {"replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3, **status}
    told = {"Progressing": ("True", "NewReplicaSetAvailable"), "Available": ("True", ""), **(conditions or {})}
    full["conditions"] = [
        {"type": type_, "status": says, "reason": reason, "message": f"{type_} says {says}"}
        for type_, (says, reason) in told.items()
    ]
    spec = {"replicas": 3, "progressDeadlineSeconds": 600, "paused": paused}
    return body("apps/v1", "Deployment", metadata=metadata, spec=spec, status=full)


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        (deployment(), Verdict(State.Current, "3 of 3 replicas available")),
        (deployment(availableReplicas=2), Verdict(State.InProgress, "2 of 3 replicas available")),
        (deployment(updatedReplicas=1), Verdict(State.InProgress, "1 of 3 replicas updated")),
        (deployment(replicas=4), Verdict(State.InProgress, "1 old replicas still ending")),
        (deployment(paused=True, updatedReplicas=1), Verdict(State.Suspended, "the rollout is paused")),
        (
            deployment(conditions={"Progressing": ("False", "ProgressDeadlineExceeded")}),
            Verdict(State.Failed, "Progressing says False"),
        ),
        (
            deployment(conditions={"Progressing": ("True", "ReplicaSetUpdated")}),
            Verdict(State.InProgress, "the new ReplicaSet is not available yet"),
        ),
        (
            deployment(metadata={"generation": 3}, observedGeneration=2),
            Verdict(State.InProgress, "generation 3 not observed yet, at 2"),
        ),
        (
            deployment(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"]}, paused=True),
            Verdict(State.Terminating, "waits for a/b"),
        ),
    ],
)
def test_deployments(live, expected):
    assert assess(live, JUST_NOW) == expected


def pod(phase, *, policy="Always", **container):
    status = {"phase": phase, "containerStatuses": [{"name": "app", **container}]}
    return body("v1", "Pod", spec={"restartPolicy": policy}, status=status)


@pytest.mark.parametrize(
    ("live", "state", "message"),
    [
        (pod("Failed", state={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}), State.Failed, "OOMKilled"),
        (pod("Pending", state={"waiting": {"reason": "ImagePullBackOff", "message": "no"}}), State.Failed, "no"),
        (pod("Pending", state={"waiting": {"reason": "ContainerCreating"}}), State.InProgress, "Pending"),
        (
            pod("Running", policy="OnFailure", state={"waiting": {"reason": "CrashLoopBackOff"}}),
            State.InProgress,
            "to end",
        ),
        (
            pod("Running", policy="OnFailure", state={"waiting": {"reason": "ErrImagePull"}}),
            State.Failed,
            "ErrImagePull",
        ),
        (pod("Succeeded"), State.Current, "end"),
    ],
)
def test_pods(live, state, message):
    verdict = assess(live, JUST_NOW)
    assert verdict.state is state
    assert message in verdict.message


def test_a_pod_may_be_unschedulable_for_a_moment():
    live = body(
        "v1",
        "Pod",
        status={
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3"}],
        },
    )
    assert assess(live, later(14)).state is State.InProgress
    assert recheck_after(live, later(10)) == 5.0
    assert assess(live, later(15)) == Verdict(State.Failed, "unschedulable: 0/3")
    assert recheck_after(live, later(15)) is None


def load_balancer(notes=None):
    spec = {"type": "LoadBalancer", "clusterIP": "10.0.0.1"}
    return body("v1", "Service", metadata={"annotations": notes or {}}, spec=spec, status={"loadBalancer": {}})


@pytest.mark.parametrize("live", [load_balancer(), body("networking.k8s.io/v1", "Ingress")])
def test_an_address_is_waited_for_a_minute(live):
    assert assess(live, later(59)).state is State.InProgress
    assert recheck_after(live, later(59)) == 1.0
    verdict = assess(live, later(60))
    assert verdict.state is State.Current
    assert "no address" in verdict.message
    assert recheck_after(live, later(60)) is None


def test_an_address_is_waited_for_as_long_as_the_annotation_asks():
    live = load_balancer({"trimtab.dev/wait-for-address": "true"})
    assert assess(live, later(3600)).state is State.InProgress
    assert recheck_after(live, later(1)) is None
    live["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    assert assess(live, JUST_NOW).good


def test_without_a_first_sight_the_age_is_that_of_the_object():
    live = load_balancer()
    live["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    assert assess(live, Context(now=NOW + timedelta(seconds=59))).state is State.InProgress
    assert assess(live, Context(now=NOW + timedelta(seconds=61))).state is State.Current


def claim(phase):
    return body("v1", "PersistentVolumeClaim", spec={"storageClassName": "slow"}, status={"phase": phase})


def test_a_pending_claim_of_a_class_that_waits_for_a_pod_is_current():
    classes = {"slow": {"volumeBindingMode": "WaitForFirstConsumer"}}
    assert assess(claim("Pending"), JUST_NOW).state is State.InProgress
    assert assess(claim("Pending"), later(0, lookup=lambda ref: classes.get(ref.name))).state is State.Current
    assert assess(claim("Pending"), later(0, lookup=lambda ref: None)).state is State.InProgress
    assert assess(claim("Lost"), JUST_NOW).bad
    assert assess(claim("Bound"), JUST_NOW).good


def test_advisory_kinds_never_fail():
    broken = [{"type": "AbleToScale", "status": "False", "message": "no scale"}]
    scaler = body("autoscaling/v2", "HorizontalPodAutoscaler", status={"conditions": broken})
    assert assess(scaler, JUST_NOW) == Verdict(State.Current, "no scale")
    blocked = [{"type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods"}]
    budget = body("policy/v1", "PodDisruptionBudget", status={"conditions": blocked})
    assert assess(budget, JUST_NOW) == Verdict(State.Current, "InsufficientPods")


def test_a_job_is_done_when_it_is_complete():
    running = body("batch/v1", "Job", spec={"completions": 3}, status={"startTime": "x", "succeeded": 1, "active": 2})
    assert assess(running, JUST_NOW) == Verdict(State.InProgress, "1 of 3 completions, 2 active")


def test_a_cron_job_is_current_whatever_its_last_run_did():
    status = {"lastScheduleTime": "2026-01-01T01:00:00Z", "lastSuccessfulTime": "2026-01-01T00:00:00Z"}
    late = assess(body("batch/v1", "CronJob", status=status), JUST_NOW)
    assert late.good
    assert "has not succeeded" in late.message
    assert assess(body("batch/v1", "CronJob", spec={"suspend": True}), JUST_NOW).state is State.Suspended


def test_a_custom_object_gets_a_moment_for_its_first_status():
    live = body("example.com/v1", "Widget", metadata={"generation": 1})
    assert assess(live, later(4)) == Verdict(State.InProgress, "no status yet")
    assert recheck_after(live, later(4)) == 1.0
    assert assess(live, later(5)).state is State.Current
    assert assess(live, Context(now=NOW)).state is State.Current


@pytest.mark.parametrize(
    ("api_version", "kind"), [("v1", "ConfigMap"), ("rbac.authorization.k8s.io/v1", "Role"), ("v1", "ServiceAccount")]
)
def test_kinds_without_a_status_are_current_at_once(api_version, kind):
    assert assess(body(api_version, kind), JUST_NOW) == Verdict(State.Current)


def test_our_own_kinds_follow_the_generic_rule():
    def app(status, **spec):
        return body(
            "kustomize.toolkit.fluxcd.io/v1", "Kustomization", metadata={"generation": 2}, spec=spec, status=status
        )

    def told(type_, says, **more):
        return {"observedGeneration": 2, "conditions": [{"type": type_, "status": says, "message": "m", **more}]}

    assert assess(app({"observedGeneration": -1}), JUST_NOW).state is State.InProgress
    assert assess(app(told("Ready", "True")), JUST_NOW) == Verdict(State.Current, "m")
    assert assess(app(told("Ready", "False", reason="BuildFailed")), JUST_NOW).bad
    assert assess(app(told("Ready", "False", reason="DependencyNotReady")), JUST_NOW).state is State.InProgress
    assert assess(app(told("Stalled", "True")), JUST_NOW).bad
    assert assess(app(told("Ready", "False"), suspend=True), JUST_NOW).state is State.Suspended


def test_a_generator_is_suspended_by_its_annotation_and_an_external_artifact_needs_no_observed_generation():
    def made(annotations, says="True"):
        return body(
            "source.extensions.fluxcd.io/v1beta1",
            "ArtifactGenerator",
            metadata={"generation": 2, "annotations": annotations},
            status={
                "observedGeneration": 2,
                "conditions": [{"type": "Ready", "status": says, "reason": "BuildFailed", "message": "m"}],
            },
        )

    assert assess(made({}), JUST_NOW) == Verdict(State.Current, "m")
    assert assess(made({}, "False"), JUST_NOW) == Verdict(State.Failed, "m")
    off = {"source.extensions.fluxcd.io/reconcile": "Disabled"}
    assert assess(made(off, "False"), JUST_NOW).state is State.Suspended
    told = [{"type": "Ready", "status": "True", "message": "there"}]
    external = body(
        "source.toolkit.fluxcd.io/v1", "ExternalArtifact", metadata={"generation": 3}, status={"conditions": told}
    )
    assert assess(external, JUST_NOW) == Verdict(State.Current, "there")


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.text("Ready False", max_size=6)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["conditions", "type", "status", "reason", "phase", "replicas", "state", "waiting", "loadBalancer",
                 "containerStatuses", "restartCount", "terminated", "ingress", "updateStrategy", "rollingUpdate"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=15,
)  # fmt: skip


@given(
    st.sampled_from([*RULES, ("example.com", "Widget")]),
    anything,
    anything,
)
def test_odd_shapes_are_read_as_missing(kind, spec, status):
    group, name = kind
    live = body(f"{group}/v1" if group else "v1", name, spec=spec, status=status)
    assert isinstance(assess(live, JUST_NOW), Verdict)
    recheck_after(live, JUST_NOW)


FIELDS = [
    "conditions", "type", "status", "reason", "message", "phase", "state", "health", "observedGeneration", "statuses",
    "ingress", "parents", "errors", "environments", "active", "proposed", "dry", "sha", "note", "racks", "members",
    "strategy", "canary", "updateStrategy", "rollingUpdate", "partition", "replicas", "job", "jobStatus",
    "brokersState",
    "updateStatus", "printableStatus", "lastOperation", "nodeSets", "count", "expectedNodes", "scale", "statusReplicas",
    "valid", "lastGeneration", "failedNamespaces", "syncedResourceVersion", "refreshInterval", "refreshPolicy",
]  # fmt: skip
odd = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 3),
        st.sampled_from(["Ready", "False", "1/2", "Paused", "SecretSynced"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5)),
    max_leaves=15,
)


@given(st.sampled_from(sorted(TABLE)), st.one_of(odd, st.dictionaries(st.sampled_from(FIELDS), odd)), odd)
@settings(max_examples=300)
def test_rules_of_families_read_odd_shapes_as_missing(kind, status, spec):
    group, name = kind[0].replace("*.", "some."), kind[1].replace("*", "Thing")
    live = body(f"{group}/v1", name, spec=spec, status=status, metadata={"generation": 2})
    assert isinstance(assess(live, JUST_NOW), Verdict)


@pytest.mark.parametrize(
    ("group", "kind", "known"),
    [
        ("rds.aws.crossplane.io", "DBInstance", True),
        ("rabbitmq.com", "Queue", True),
        ("crossplane.io.example.com", "Thing", False),
        ("argoproj.io", "AppProject", False),
    ],
)
def test_a_family_is_known_by_how_its_group_ends(group, kind, known):
    assert (find(group, kind) is not None) is known


ESO, VSO = "external-secrets.io/v1", "secrets.hashicorp.com/v1beta1"


def told(**conditions):
    """Conditions by type: what each says, its reason and its message."""
    return [
        {"type": type_, "status": says, "reason": reason, "message": message}
        for type_, (says, reason, message) in conditions.items()
    ]


def aged(seconds, generation=1):
    return {"generation": generation, "creationTimestamp": (NOW - timedelta(seconds=seconds)).isoformat()}


@pytest.mark.parametrize(
    ("status", "generation", "expected"),
    [
        ({}, 1, Verdict(State.InProgress, "its controller has not unsealed it yet")),
        (
            {"conditions": [], "observedGeneration": 1},
            1,
            Verdict(State.InProgress, "its controller has not unsealed it yet"),
        ),
        ({"conditions": told(Synced=("True", "", "")), "observedGeneration": 1}, 1, Verdict(State.Current, "unsealed")),
        (
            {"conditions": told(Synced=("True", "", "")), "observedGeneration": 1},
            2,
            Verdict(State.InProgress, "generation 2 not observed yet, at 1"),
        ),
        (
            {"conditions": told(Synced=("False", "", "no key could decrypt secret (a)")), "observedGeneration": 2},
            2,
            Verdict(State.Failed, "Synced: no key could decrypt secret (a)"),
        ),
        (
            {"conditions": told(Synced=("False", "", "no key could decrypt secret (a)")), "observedGeneration": 1},
            2,
            Verdict(State.InProgress, "generation 2 not observed yet, at 1"),
        ),
    ],
    ids=["no-status", "no-condition", "unsealed", "behind", "wrong-key", "failed-before"],
)
def test_a_sealed_secret_is_done_when_its_newest_generation_was_unsealed(status, generation, expected):
    live = body("bitnami.com/v1alpha1", "SealedSecret", metadata=aged(3600, generation), status=status)
    assert assess(live, later(3600)) == expected


KINDS_OF_SECRETS = [
    ("bitnami.com/v1alpha1", "SealedSecret"),
    *((ESO, kind) for kind in ("ExternalSecret", "PushSecret", "SecretStore", "ClusterSecretStore")),
    *((ESO, kind) for kind in ("ClusterExternalSecret", "ClusterPushSecret")),
    *((VSO, kind) for kind in ("VaultStaticSecret", "VaultDynamicSecret", "VaultPKISecret", "HCPVaultSecretsApp")),
    *((VSO, kind) for kind in ("VaultAuth", "VaultConnection", "HCPAuth", "SecretTransformation")),
    ("secrets.infisical.com/v1alpha1", "InfisicalSecret"),
]


@pytest.mark.parametrize(("api_version", "kind"), KINDS_OF_SECRETS)
def test_what_makes_secrets_is_awaited_until_its_operator_has_looked_at_it(api_version, kind):
    live = body(api_version, kind, metadata=aged(3600), spec={})
    assert assess(live, Context(now=NOW)).state is State.InProgress
    assert assess({**live, "status": {"conditions": []}}, Context(now=NOW)).state is State.InProgress


def ready(says, reason="", message="", **more):
    return {"conditions": told(Ready=(says, reason, message)), **more}


@pytest.mark.parametrize("kind", ["ExternalSecret", "PushSecret", "SecretStore", "ClusterSecretStore"])
def test_external_secrets_are_ready_when_they_say_so(kind):
    good = body(ESO, kind, metadata=aged(3600), status=ready("True", "Valid", "fine"))
    bad = body(ESO, kind, metadata=aged(3600), status=ready("False", "SecretSyncedError", "no such key"))
    assert assess(good, Context(now=NOW)) == Verdict(State.Current, "fine")
    assert assess(bad, Context(now=NOW)) == Verdict(State.Failed, "Ready: no such key")


@pytest.mark.parametrize(
    ("spec", "state"),
    [
        ({}, State.InProgress),
        ({"refreshInterval": "1h"}, State.InProgress),
        ({"refreshInterval": "10m0s"}, State.InProgress),
        ({"refreshInterval": "0", "refreshPolicy": "OnChange"}, State.InProgress),
        ({"refreshInterval": "0s"}, State.Current),
        ({"refreshInterval": "0h0m0s"}, State.Current),
        ({"refreshInterval": "1h", "refreshPolicy": "CreatedOnce"}, State.Current),
    ],
    ids=["default", "hourly", "ten-minutes", "on-change", "never", "never-at-length", "once"],
)
def test_an_external_secret_is_current_when_its_newest_generation_was_synced(spec, state):
    status = ready("True", syncedResourceVersion="2-8a1d6f2b")
    live = body(ESO, "ExternalSecret", metadata=aged(3600, generation=3), spec=spec, status=status)
    assert assess(live, Context(now=NOW)).state is state
    live["metadata"]["generation"] = 2
    assert assess(live, Context(now=NOW)).state is State.Current


def test_a_cluster_external_secret_names_the_namespaces_it_failed_in():
    status = ready("False", message="one or more namespaces failed")
    status["failedNamespaces"] = [{"namespace": "team-a", "reason": "a secret is in the way"}]
    live = body(ESO, "ClusterExternalSecret", metadata=aged(3600), status=status)
    assert assess(live, Context(now=NOW)) == Verdict(State.Failed, "team-a: a secret is in the way")


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [("generators.external-secrets.io/v1alpha1", "Password"), (VSO, "VaultAuthGlobal")],
)
def test_what_nobody_reports_on_is_current_at_once(api_version, kind):
    assert assess(body(api_version, kind, spec={}), JUST_NOW).state is State.Current


@pytest.mark.parametrize("kind", ["VaultStaticSecret", "VaultDynamicSecret", "VaultPKISecret"])
def test_vault_secrets_tell_by_conditions_or_by_their_generation_alone(kind):
    def verdict(generation=1, **status):
        return assess(body(VSO, kind, metadata=aged(3600, generation), status=status), Context(now=NOW))

    wrong = told(
        SecretSynced=("False", "Synced", "Failed to sync the secret, err=no such role"),
        Healthy=("False", "Unhealthy", f"{kind}Unhealthy"),
        Ready=("False", "Ready", f"{kind}Ready"),
    )
    assert verdict(lastGeneration=1) == Verdict(State.Current, "synced")
    assert verdict(2, lastGeneration=1) == Verdict(State.InProgress, "generation 2 not observed yet, at 1")
    assert verdict(lastGeneration=0).state is State.InProgress
    assert verdict(lastGeneration=1, conditions=wrong) == Verdict(
        State.Failed, "SecretSynced: Failed to sync the secret, err=no such role"
    )
    assert verdict(lastGeneration=1, conditions=wrong[1:]).message == f"Ready: {kind}Ready"
    assert verdict(lastGeneration=1, valid=False, error="no common name") == Verdict(State.Failed, "no common name")
    right = told(SecretSynced=("True", "Synced", ""), Healthy=("True", "", ""), Ready=("True", "", ""))
    assert verdict(lastGeneration=1, conditions=right).state is State.Current


@pytest.mark.parametrize("kind", ["VaultAuth", "VaultConnection"])
def test_ways_to_a_vault_tell_whether_they_are_valid(kind):
    def verdict(**status):
        return assess(body(VSO, kind, metadata=aged(3600), status=status), Context(now=NOW))

    assert verdict(valid=True) == Verdict(State.Current, "valid")
    assert verdict(valid=False, error="no such mount") == Verdict(State.Failed, "no such mount")
    ping = told(VaultPing=("False", "VaultClientError", "connection refused"))
    assert verdict(valid=False, conditions=ping) == Verdict(State.Failed, "connection refused")


def test_infisical_tells_by_a_condition_that_carries_its_group():
    def verdict(says):
        status = {"conditions": told(secrets_infisical=("True", "", ""))}
        status["conditions"][0] |= {"type": "secrets.infisical.com/ReadyToSyncSecrets", "status": says, "message": "m"}
        live = body("secrets.infisical.com/v1alpha1", "InfisicalSecret", metadata=aged(3600), status=status)
        return assess(live, Context(now=NOW)).state

    assert (verdict("True"), verdict("False")) == (State.Current, State.Failed)


def test_others_that_make_secrets_are_read_right_without_a_rule():
    for api_version, kind, type_ in [
        ("onepassword.com/v1", "OnePasswordItem", "Ready"),
        ("ricoberger.de/v1alpha1", "VaultSecret", "SecretCreated"),
    ]:
        good = body(api_version, kind, status={"conditions": told(**{type_: ("True", "Created", "")})})
        bad = body(api_version, kind, status={"conditions": told(**{type_: ("False", "FetchFailed", "no such path")})})
        assert assess(good, JUST_NOW).state is State.Current
        assert assess(bad, JUST_NOW).state is State.Failed


def test_the_first_failures_of_what_makes_secrets_do_not_end_a_wait():
    live = body(ESO, "ExternalSecret", metadata=aged(10), status=ready("False", "SecretSyncedError", "no store"))
    assert assess(live, Context(now=NOW)) == Verdict(State.InProgress, "Ready: no store")
    assert recheck_after(live, Context(now=NOW, first_seen=NOW - timedelta(seconds=10))) == 20
    live["metadata"] = aged(31)
    assert assess(live, Context(now=NOW)).state is State.Failed
    assert recheck_after(live, Context(now=NOW, first_seen=NOW - timedelta(seconds=31))) is None
