"""`trimtab doctor` of a real installation: what is fine, what is wrong, what nobody could look at."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from trimtab.api import names, shards
from trimtab.api.install import install_manifests
from trimtab.cli.main import cli
from trimtab.cluster.plane import ControlPlane
from trimtab.doctor.workload import ledger
from trimtab.manifests.refs import Gvk

HOME = "doctor"
Kubectl = Callable[..., str]


class Doctor:
    """Asks in the name of the administrator, or with another kubeconfig; in this process, which is quicker."""

    def __init__(self, kubeconfig: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.kubeconfig = kubeconfig
        self.capsys = capsys
        self.code = -1

    def __call__(self, *checks: str, kubeconfig: Path | None = None) -> dict[str, list[tuple[str, str]]]:
        """By check, outcome and message of each answer."""
        arguments = ["doctor", *checks, f"--kubeconfig={kubeconfig or self.kubeconfig}", "-n", HOME, "-o", "json"]
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments, standalone_mode=False)
        said = self.capsys.readouterr()
        assert said.out, said.err
        self.code = int(ended.value.code or 0)
        found: dict[str, list[tuple[str, str]]] = {}
        for one in json.loads(said.out)["findings"]:
            assert one["wayOut"] or one["outcome"] in ("ok", "note")
            found.setdefault(one["check"], []).append((one["outcome"], one["message"]))
        return found


@pytest.fixture(scope="module")
def installed(plane: ControlPlane, kubectl: Kubectl) -> Iterator[None]:
    """An installation in a namespace of its own; the Pod is run by kwok, which is all that is asked of it here."""
    bodies = install_manifests(namespace=HOME, image="registry.example.com/trimtab:1")
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(listed(bodies)))
    kubectl("wait", "--for=condition=Available", f"--namespace={HOME}", "deployment/trimtab", "--timeout=60s")
    yield
    everywhere = [body for body in bodies if body["kind"] in ("ClusterRole", "ClusterRoleBinding")]
    kubectl("delete", "--ignore-not-found", "-f", "-", stdin=json.dumps(listed(everywhere)))
    kubectl("delete", "namespace", HOME, "--wait=false")


def listed(bodies: list[Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": bodies}


@pytest.fixture
def doctor(plane: ControlPlane, installed: None, capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(plane.kubeconfig, capsys)


@pytest.fixture
def make(kubectl: Kubectl) -> Iterator[Callable[..., None]]:
    """`make(body, …)`: objects that are gone after the test."""
    made: list[str] = []

    def create(*bodies: Any) -> None:
        text = json.dumps(listed(list(bodies)))
        made.append(text)
        kubectl("apply", "--server-side", "-f", "-", stdin=text)

    yield create
    for text in made:
        kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", stdin=text)


def lease(controller: str, holder: str, age_s: float) -> dict[str, Any]:
    renewed = (datetime.now(UTC) - timedelta(seconds=age_s)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": f"{controller}-leader-election", "namespace": HOME},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed},
    }


def app(name: str, **spec: Any) -> dict[str, Any]:
    source = {"kind": "GitRepository", "name": "somewhere"}
    return {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": name, "namespace": HOME},
        "spec": {"interval": "1h", "prune": True, "path": "./", "sourceRef": source, **spec},
    }


def test_a_fresh_installation_has_no_problems_but_that_nothing_is_on_a_disk(doctor: Doctor) -> None:
    found = doctor("server", "clocks", "apis", "definitions", "workload", "rights", "storage", "ledger")
    assert {check: {outcome for outcome, _ in answers} for check, answers in found.items()} == {
        **{key: {"ok"} for key in ("server", "clocks", "apis", "definitions", "workload", "rights")},
        "storage": {"note"},
        "ledger": {"note"},
    }
    assert doctor.code == 0
    assert "is an emptyDir" in found["storage"][0][1]


class Installed:
    """A patient of which only the Deployments are known."""

    namespace = "gitops"

    def __init__(self, **how: str) -> None:
        bodies = install_manifests(namespace=self.namespace, image="x", **how)
        self.bodies = {body["metadata"]["name"]: body for body in bodies if body["kind"] == "Deployment"}

    async def one(self, _kind: Gvk, name: str, _namespace: str) -> Any:
        return self.bodies.get(name)


async def test_a_ledger_that_goes_with_its_pod_is_worth_a_note_and_one_on_a_volume_is_fine() -> None:
    for how, expected in (({}, "note"), ({"ledger": "5Gi"}, "ok")):
        answers = await ledger(Installed(**how))
        assert [(answer.outcome, "trimtab-automate" in answer.words) for answer in answers] == [
            (expected, False),
            (expected, True),
        ]


def test_the_leases_tell_who_drives_what_and_who_is_gone(doctor: Doctor, make: Callable[..., None]) -> None:
    make(
        lease("kustomize-controller", "trimtab-7d9_4711", 1),
        lease("source-controller", "source-controller-5c_8ba1-11ee-9c3d", 3600),
        lease("helm-controller", "trimtab-7d9_4711", -120),
    )
    told = [words for _, words in doctor("leases")["leases"]]
    assert doctor.code == 2
    assert any(w.startswith("the controller kustomize is run by Trimtab (trimtab-7d9_4711), renewed") for w in told)
    assert any(w.startswith("the controller source was run by Flux (source-controller-5c") for w in told)
    assert any("helm of Trimtab (trimtab-7d9_4711) renews its Lease" in w and "in the future" in w for w in told)


@pytest.mark.parametrize(
    ("binding", "lacking"),
    [
        (("clusterrolebinding", "trimtab-reader"), "the account doctor/trimtab-reader may not list *.*, watch *.*"),
        (
            ("rolebinding", "trimtab-notify", f"--namespace={HOME}"),
            (
                "the account doctor/trimtab-notify may not create leases.coordination.k8s.io in doctor, "
                "update leases.coordination.k8s.io notification-controller-leader-election in doctor, "
                "create configmaps in doctor"
            ),
        ),
        (
            ("rolebinding", "trimtab-automate", f"--namespace={HOME}"),
            (
                "the account doctor/trimtab-automate may not create leases.coordination.k8s.io in doctor, "
                "update leases.coordination.k8s.io image-reflector-controller-leader-election in doctor"
            ),
        ),
    ],
    ids=["reader", "notify", "automate"],
)
def test_a_missing_binding_is_a_right_that_is_lacking(
    doctor: Doctor, kubectl: Kubectl, binding: tuple[str, ...], lacking: str
) -> None:
    body = json.loads(kubectl("get", *binding, "-o", "json"))
    kubectl("delete", *binding)

    def problems(wanted: int) -> list[str]:
        """A server has heard of a binding, or of its end, a moment later."""
        deadline = time.monotonic() + 60
        while True:
            said = [words for outcome, words in doctor("rights")["rights"] if outcome == "problem"]
            if len(said) == wanted or time.monotonic() > deadline:
                return said

    try:
        said = problems(1)
        code = doctor.code
    finally:
        for name in ("resourceVersion", "uid", "managedFields", "creationTimestamp"):
            body["metadata"].pop(name, None)
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(body))
    assert [words.startswith(lacking) for words in said] == [True], said
    assert code == 2
    assert problems(0) == []


def test_who_may_not_look_is_told_so_and_gets_the_rest(doctor: Doctor, plane: ControlPlane, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "nobody"
    kubeconfig.write_bytes(plane.kubeconfig_for("nobody"))
    found = doctor(kubeconfig=kubeconfig)
    assert doctor.code == 3
    assert [outcome for outcome, _ in found["server"]] == ["ok", "ok"]
    assert {outcome for outcome, _ in found["leases"] + found["webhooks"] + found["rights"]} == {"unknown"}


def test_what_does_not_answer_is_unknown_and_not_waited_for(
    doctor: Doctor, plane: ControlPlane, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "closed"
    kubeconfig.write_text(plane.kubeconfig.read_text().replace(plane.server, "https://127.0.0.1:1"))
    found = doctor(kubeconfig=kubeconfig)
    assert (doctor.code, len(found)) == (3, 13)
    assert {outcome for answers in found.values() for outcome, _ in answers} == {"unknown"}


def test_references_that_would_be_denied_are_told_with_the_label_that_allows_them(
    doctor: Doctor, make: Callable[..., None]
) -> None:
    make(app("far", sourceRef={"kind": "GitRepository", "name": "a", "namespace": "kube-system"}))
    found = [words for outcome, words in doctor("references")["references"] if outcome == "problem"]
    words = "sources of namespace kube-system may not be used from namespace doctor"
    assert f"Kustomization {HOME}/far: spec.sourceRef is denied: {words}" in found


def test_apps_that_act_as_nobody_are_told(doctor: Doctor, make: Callable[..., None]) -> None:
    make(app("ghost", serviceAccountName="missing"))
    found = doctor("accounts")["accounts"]
    assert ("problem", f"there is no ServiceAccount {HOME}/missing, which Kustomization {HOME}/ghost acts as") in found


def test_webhooks_without_a_pod_are_a_problem_where_they_may_not_fail(
    doctor: Doctor, make: Callable[..., None]
) -> None:
    def hook(name: str, policy: str) -> dict[str, Any]:
        return {
            "name": f"{name}.example.com",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": policy,
            "clientConfig": {"service": {"name": name, "namespace": HOME}},
            "rules": [
                {"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["things"]}
            ],
        }

    make(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "doctor-test"},
            "webhooks": [hook("hard", "Fail"), hook("soft", "Ignore"), hook("source-controller", "Fail")],
        }
    )
    found = dict(doctor("webhooks")["webhooks"])
    assert f"hard.example.com (Service {HOME}/hard)" in found["problem"]
    assert f"soft.example.com (Service {HOME}/soft)" in found["note"]
    # the Service of the installation has a Pod
    assert "source-controller.example.com" not in str(found)


def test_stalled_failing_and_suspended_objects_are_counted_apart(
    doctor: Doctor, make: Callable[..., None], kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    # other tests leave objects as well, and all of them are to be named here
    monkeypatch.setattr("trimtab.doctor.objects.several", ", ".join)
    make(app("stuck"), app("asleep", suspend=True), app("broken"), app("odd"))
    kubectl("annotate", "kustomizations.kustomize.toolkit.fluxcd.io", "odd", "-n", HOME, "trimtab.dev/drift=perhaps")
    for name, condition, reason in (("stuck", "Stalled", "AccessDenied"), ("broken", "Ready", "BuildFailed")):
        status = "True" if condition == "Stalled" else "False"
        one = {"type": condition, "status": status, "reason": reason, "message": "",
               "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
        kubectl("patch", "kustomizations.kustomize.toolkit.fluxcd.io", name, "-n", HOME, "--subresource=status",
                "--type=merge", "-p", json.dumps({"status": {"conditions": [one]}}))  # fmt: skip
    told = " | ".join(words for _, words in doctor("objects")["objects"])
    for part in ("stuck (AccessDenied)", "broken (BuildFailed)", "asleep", "odd: trimtab.dev/drift"):
        assert part in told


def test_a_definition_of_flux_and_one_that_lacks_our_version_are_told(doctor: Doctor, kubectl: Kubectl) -> None:
    name = "buckets.source.toolkit.fluxcd.io"
    label = "app.kubernetes.io/part-of"
    kubectl("label", "crd", name, f"{label}=flux", "--overwrite")
    try:
        found = doctor("definitions")["definitions"]
    finally:
        kubectl("label", "crd", name, f"{label}=trimtab", "--overwrite")
    assert ("ok", "the definitions of Bucket are Flux's") in found
    assert doctor.code == 0


def test_a_shard_without_a_process_is_named(doctor: Doctor, make: Callable[..., None]) -> None:
    served = lease("kustomize-controller", "trimtab-7d9_4711", 1)
    served["metadata"]["name"] = shards.lease_name(names.KUSTOMIZE_LEASE, shards.selector_of("served"))
    apps = [app(f"of-{shard}", suspend=True) for shard in ("served", "forgotten")]
    for body in apps:
        body["metadata"]["labels"] = {names.SHARD_LABEL: body["metadata"]["name"].removeprefix("of-")}
    make(served, *apps)
    told = [words for outcome, words in doctor("leases")["leases"] if outcome == "problem"]
    # the server has objects of other tests, without a label and without a process
    assert [words for words in told if "the shard " in words] == [
        "no process serves the shard forgotten as controller kustomize: 1 objects of Kustomization are left alone"
    ]
