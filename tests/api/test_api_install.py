"""The installation: who may do what on a real API server, what the pod is allowed, and what the command prints.

`golden/rbac.txt` is what each account may do beyond what everybody may. A line more is a right more: it has to be
justified in the review that changes the file.
"""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trimtab.api.crd import DEFINITIONS
from trimtab.api.install import install_manifests, superseded
from trimtab.api.installed import APPLIER, AUTOMATE, DEFAULT_NAMESPACE, NOTIFY, READER, SYNC
from trimtab.cluster.plane import ControlPlane
from trimtab.manifests.codec import encode
from trimtab.manifests.refs import Body, Ref

GOLDEN = Path(__file__).parent / "golden" / "rbac.txt"
IMAGE = "registry.example.com/trimtab:test"
Kubectl = Callable[..., str]


def apply(kubectl: Kubectl, bodies: list[Body]) -> None:
    text = encode({"apiVersion": "v1", "kind": "List", "items": bodies}).decode()
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)


def remove(kubectl: Kubectl, bodies: list[Body]) -> None:
    for body in bodies:
        ref = Ref.of(body)
        scope = ["-n", ref.namespace] if ref.namespace else []
        kubectl("delete", ref.kind, ref.name, *scope, "--ignore-not-found", "--wait=false")


@pytest.fixture(scope="module")
def installed(served: Kubectl) -> Iterator[Kubectl]:
    """A server with the usual installation, but for the Deployment, which has nothing to run here."""
    bodies = [body for body in install_manifests(image=IMAGE) if body["kind"] != "Deployment"]
    apply(served, bodies)
    yield served
    remove(served, [body for body in bodies if "rbac.authorization.k8s.io" in body["apiVersion"]])


def in_order(line: str) -> str:
    """A rule as one can compare it: the server names verbs, resources and names in no order."""
    ordered = re.sub(r"\[([^\[\]]*)\]", lambda listed: f"[{' '.join(sorted(listed[1].split()))}]", line.strip())
    return re.sub(r"\s{2,}", "  ", ordered)


def rights(kubectl: Kubectl, account: str, namespace: str) -> list[str]:
    """What an account may do in a namespace and an account without any binding may not."""

    def listed(name: str) -> set[str]:
        user = f"system:serviceaccount:{DEFAULT_NAMESPACE}:{name}"
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{DEFAULT_NAMESPACE}", "system:authenticated"]
        acting = [f"--as={user}", *(f"--as-group={group}" for group in groups)]
        text = kubectl("auth", "can-i", "--list", "--no-headers", "-n", namespace, *acting)
        return {in_order(line) for line in text.splitlines() if line.strip()}

    return sorted(listed(account) - listed("nobody"))


def chapter(kubectl: Kubectl, tenancy: str) -> str:
    text = ""
    for account in (SYNC, READER, APPLIER, AUTOMATE, NOTIFY):
        for namespace in (DEFAULT_NAMESPACE, "default"):
            text += f"# {tenancy}: {account} in {namespace}\n"
            text += "".join(f"{line}\n" for line in rights(kubectl, account, namespace)) + "\n"
    return text


def settled(kubectl: Kubectl, tenancy: str, golden: str) -> str:
    """The rights once the authorizer has seen the last change: it follows the roles with a small delay."""
    for _ in range(5):
        found = chapter(kubectl, tenancy)
        if found in golden:
            break
    return found


def test_no_account_can_do_more_than_the_golden_file_says(installed: Kubectl) -> None:
    golden = GOLDEN.read_text()
    found = settled(installed, "single tenant", golden)
    strict = [body for body in install_manifests(image=IMAGE, multi_tenant=True) if body["kind"] != "Deployment"]
    try:
        remove(installed, superseded(multi_tenant=True))
        apply(installed, strict)
        found += settled(installed, "multi-tenant", golden)
    finally:
        remove(installed, superseded(multi_tenant=False))
        apply(installed, [body for body in install_manifests(image=IMAGE) if body["kind"] != "Deployment"])
    assert found == golden


@pytest.mark.parametrize(
    ("verb", "resource", "answer"),
    [
        ("get", "secrets", "yes"),
        ("list", "secrets", "no"),
        ("watch", "secrets", "no"),
        ("create", "secrets", "no"),
        ("create", "deployments.apps", "no"),
        ("delete", "namespaces", "no"),
        ("delete", "kustomizations.kustomize.toolkit.fluxcd.io", "no"),
        ("patch", "kustomizations.kustomize.toolkit.fluxcd.io", "yes"),
        ("impersonate", "serviceaccounts", "yes"),
        ("impersonate", "users", "no"),
        ("impersonate", "groups", "no"),
        ("create", "serviceaccounts/token", "no"),
        ("escalate", "clusterroles.rbac.authorization.k8s.io", "no"),
    ],
)
def test_the_process_s_own_account_writes_nothing_but_its_own_kinds(
    installed: Kubectl, verb: str, resource: str, answer: str
) -> None:
    user = f"system:serviceaccount:{DEFAULT_NAMESPACE}:{SYNC}"
    try:
        said = installed("auth", "can-i", verb, resource, "-n", "default", f"--as={user}")
    except subprocess.CalledProcessError as refused:
        said = refused.output
    assert said.strip() == answer


def test_a_tenant_is_let_in_by_binding_one_role(installed: Kubectl, namespace: Callable[[], str]) -> None:
    tenant = namespace()
    installed("create", "namespace", tenant)
    try:
        remove(installed, superseded(multi_tenant=True))
        before = rights(installed, SYNC, tenant)
        role, account = "--clusterrole=trimtab-tenant", f"--serviceaccount={DEFAULT_NAMESPACE}:{SYNC}"
        installed("create", "rolebinding", "trimtab-tenant", "-n", tenant, role, account)
        after = rights(installed, SYNC, tenant)
    finally:
        apply(installed, [body for body in install_manifests(image=IMAGE) if body["kind"] == "ClusterRoleBinding"])
    assert sorted(set(after) - set(before)) == [
        "configmaps  []  []  [get]",
        "secrets  []  []  [get]",
        "serviceaccounts  []  []  [get impersonate]",
    ]


def test_the_pod_runs_where_only_restricted_pods_may(served: Kubectl, namespace: Callable[[], str]) -> None:
    home = namespace()
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    apply(served, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": home, "labels": label}}])
    bodies = install_manifests(namespace=home, image=IMAGE)
    apply(served, [body for body in bodies if body["kind"] == "ServiceAccount"])
    deployment = next(body for body in bodies if body["kind"] == "Deployment")
    template = deployment["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": home}, "spec": template["spec"]}
    served("create", "--dry-run=server", "-f", "-", stdin=encode(pod).decode())
    container = template["spec"]["containers"][0]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert template["spec"]["securityContext"]["runAsUser"] == 65534
    writable = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert writable == {"/data", "/tmp"}


def test_everything_hangs_together() -> None:
    bodies = {str(Ref.of(body)): body for body in install_manifests(namespace="gitops", image=IMAGE)}
    deployment = bodies["Deployment/gitops/trimtab"]["spec"]
    labels = deployment["template"]["metadata"]["labels"].items()
    container = deployment["template"]["spec"]["containers"][0]
    service = bodies["Service/gitops/source-controller"]["spec"]
    policy = bodies["NetworkPolicy/gitops/trimtab"]["spec"]
    for selector in (
        service["selector"],
        deployment["selector"]["matchLabels"],
        policy["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert service["ports"][0]["port"] == 80
    assert ports[service["ports"][0]["targetPort"]] == 9790
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == set(ports)
    assert container["image"] == IMAGE
    assert "--applier=gitops/trimtab-applier" in container["args"]
    assert "--storage-adv-addr=source-controller.gitops.svc.cluster.local." in container["args"]
    notify = bodies["Deployment/gitops/trimtab-notify"]["spec"]
    known = notify["template"]["metadata"]["labels"].items()
    ports = {port["name"]: port["containerPort"] for port in notify["template"]["spec"]["containers"][0]["ports"]}
    for name, number in (("webhook-receiver", 9292), ("notification-controller", 9090)):
        service = bodies[f"Service/gitops/{name}"]["spec"]
        assert service["selector"].items() <= known
        assert service["ports"][0]["port"] == 80
        assert ports[service["ports"][0]["targetPort"]] == number
    policy = bodies["NetworkPolicy/gitops/trimtab-notify"]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= known
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == set(ports)
    # Events are for the pods of this namespace: whoever may post them may have anything said.
    anybody = next(rule for rule in policy["ingress"] if "namespaceSelector" in rule["from"][0])
    assert "http" not in {port["port"] for port in anybody["ports"]}
    for process in ("trimtab", "trimtab-automate"):
        arguments = bodies[f"Deployment/gitops/{process}"]["spec"]["template"]["spec"]["containers"][0]["args"]
        assert "--events-addr=http://notification-controller.gitops.svc.cluster.local./" in arguments
    for body in bodies.values():
        for subject in body.get("subjects", ()):
            assert f"ServiceAccount/{subject['namespace']}/{subject['name']}" in bodies


@pytest.mark.parametrize("multi_tenant", [False, True])
def test_the_pod_s_arguments_are_ones_the_command_knows(multi_tenant: bool) -> None:
    ledger = "5Gi" if multi_tenant else ""
    bodies = install_manifests(image=IMAGE, multi_tenant=multi_tenant, deny_private=multi_tenant, ledger=ledger)
    help_ = trimtab("run", "--help").stdout
    for deployment in [body for body in bodies if body["kind"] == "Deployment"]:
        command, *arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
        assert command == "run"
        for argument in arguments:
            assert argument.partition("=")[0] in help_
        assert ("--deny-private-addresses" in arguments) is multi_tenant
        assert ("--multi-tenant" in arguments) is multi_tenant


def test_each_ledger_has_a_volume_of_its_own_where_that_is_asked_for() -> None:
    bodies = install_manifests(namespace="gitops", image=IMAGE, ledger="5Gi")
    claims = [body for body in bodies if body["kind"] == "PersistentVolumeClaim"]
    assert {body["spec"]["resources"]["requests"]["storage"] for body in claims} == {"5Gi"}
    used = []
    for deployment in [body for body in bodies if body["kind"] == "Deployment"]:
        pod = deployment["spec"]["template"]["spec"]
        names = [one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if "persistentVolumeClaim" in one]
        [path] = [one.partition("=")[2] for one in pod["containers"][0]["args"] if "--ledger-path" in one] or [""]
        mounts = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
        assert ("ledger" in mounts) is bool(names) is path.startswith(mounts.get("ledger", "nowhere"))
        used += names
    assert sorted(used) == sorted(body["metadata"]["name"] for body in claims)
    assert len(set(used)) == 2
    assert not [body for body in install_manifests(image=IMAGE) if body["kind"] == "PersistentVolumeClaim"]


def test_multi_tenancy_binds_nobody_to_cluster_admin() -> None:
    bodies = install_manifests(image=IMAGE, multi_tenant=True)
    bound = {body["roleRef"]["name"] for body in bodies if body["kind"] == "ClusterRoleBinding"}
    assert bound == {"trimtab-sync", "trimtab-automate", "trimtab-notify"}
    deployment = next(body for body in bodies if body["kind"] == "Deployment")
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--multi-tenant" in arguments
    assert not any(argument.startswith("--applier") for argument in arguments)
    left = {str(Ref.of(body)) for body in superseded(multi_tenant=True)}
    assert "ClusterRoleBinding/trimtab-applier" in left, "a stricter installation takes the earlier right away"


def trimtab(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from trimtab.cli.main import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_export_prints_what_kubectl_takes_and_needs_no_cluster(served: Kubectl) -> None:
    done = trimtab("install", "--export", "--kubeconfig", "/nonexistent", "-n", "gitops", "--image", "x/y:1e3")
    assert done.returncode == 0, done.stderr
    printed = served("create", "--dry-run=client", "-o", "json", "-f", "-", stdin=done.stdout)
    # kubectl prints one object after the other.
    decoder, items, text = json.JSONDecoder(), [], printed.strip()
    while text:
        item, end = decoder.raw_decode(text)
        items += item["items"] if item["kind"] == "List" else [item]
        text = text[end:].lstrip()
    assert items == install_manifests(namespace="gitops", image="x/y:1e3")


def test_export_of_the_definitions_alone() -> None:
    done = trimtab("install", "--export", "--crds-only")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^kind: (.*)$", done.stdout, re.MULTILINE) == ["CustomResourceDefinition"] * len(DEFINITIONS)


@pytest.fixture(scope="module")
def empty(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of this module's own: what is tested here would pull the ground from under other tests."""
    own = ControlPlane(tmp_path_factory.mktemp("empty"), kwok=False, binaries=plane.binaries)
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(own.start())
        yield own
        loop.run_until_complete(own.stop())
    finally:
        loop.close()


def at(plane: ControlPlane, *arguments: str, stdin: str = "") -> str:
    command = [str(plane.binaries["kubectl"]), f"--kubeconfig={plane.kubeconfig}", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=True).stdout


def test_a_definition_the_server_refuses_is_said_and_not_waited_for(empty: ControlPlane) -> None:
    squatter = "squatters.kustomize.toolkit.fluxcd.io"
    schema = {"openAPIV3Schema": {"type": "object"}}
    other = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": squatter},
        "spec": {
            "group": "kustomize.toolkit.fluxcd.io",
            "names": {"kind": "Kustomization", "plural": "squatters", "singular": "squatter"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    at(empty, "create", "-f", "-", stdin=encode(other).decode())
    at(empty, "wait", "--for=condition=Established", "--timeout=60s", f"crd/{squatter}")
    flags = ["install", "--crds-only", "--kubeconfig", str(empty.kubeconfig), "--timeout", "20s"]
    done = trimtab(*flags)
    at(empty, "delete", "crd", squatter)
    assert done.returncode == 1
    assert "CustomResourceDefinition/kustomizations.kustomize.toolkit.fluxcd.io is refused" in done.stderr
    assert "is already in use" in done.stderr
    done = trimtab(*flags)
    assert done.returncode == 0, done.stderr


def test_install_applies_waits_and_may_be_repeated(empty: ControlPlane) -> None:
    flags = ["install", "--kubeconfig", str(empty.kubeconfig), "-n", "gitops", "--image", IMAGE]
    for _ in range(2):
        done = trimtab(*flags)
        assert done.returncode == 0, done.stderr
        assert "✔ the API server serves our kinds" in done.stderr
        assert at(empty, "get", "kustomizations", "-A", "-o", "name") == ""
    assert at(empty, "get", "deployment", "trimtab", "-n", "gitops", "-o", "name")
    assert at(empty, "get", "clusterrolebinding", "trimtab-applier", "-o", "name")
    done = trimtab(*flags, "--multi-tenant")
    assert done.returncode == 0, done.stderr
    assert "ClusterRoleBinding/trimtab-applier removed" in done.stderr
    assert not at(empty, "get", "clusterrolebinding", "trimtab-applier", "--ignore-not-found", "-o", "name")


def test_what_watches_trimtab_is_added_as_far_as_the_cluster_serves_it(empty: ControlPlane) -> None:
    done = trimtab("install", "--kubeconfig", str(empty.kubeconfig), "-n", "gitops", "--image", IMAGE, "--monitoring")
    assert done.returncode == 0, done.stderr
    assert "ServiceMonitor/gitops/trimtab left out: the cluster does not serve" in done.stderr
    assert "PrometheusRule/gitops/trimtab left out" in done.stderr
    boards = at(empty, "get", "configmaps", "-n", "gitops", "-l", "grafana_dashboard=1", "-o", "name").split()
    assert boards == ["configmap/trimtab-dashboard-app", "configmap/trimtab-dashboard-overview"]
    assert at(empty, "get", "service", "trimtab-metrics", "-n", "gitops", "-o", "name")


def test_export_prints_the_parts_of_the_monitoring_that_are_asked_for() -> None:
    done = trimtab("install", "--export", "--monitoring", "rules,dashboards")
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^kind: (.*)$", done.stdout, re.MULTILINE)
    assert found[-3:] == ["PrometheusRule", "ConfigMap", "ConfigMap"]
    assert "ServiceMonitor" not in found
    done = trimtab("install", "--export", "--monitoring", "rules,logs")
    assert done.returncode == 1
    assert "there is no logs; the parts are scrape, rules, dashboards" in done.stderr


def test_a_binding_somebody_else_made_under_our_name_stays(empty: ControlPlane) -> None:
    at(empty, "delete", "clusterrolebinding", "trimtab-reader", "--ignore-not-found")
    at(empty, "create", "clusterrolebinding", "trimtab-reader", "--clusterrole=view", "--user=auditor")
    done = trimtab("install", "--kubeconfig", str(empty.kubeconfig), "-n", "gitops", "--multi-tenant")
    assert done.returncode == 0, done.stderr
    assert at(empty, "get", "clusterrolebinding", "trimtab-reader", "-o", "name")


def test_a_server_that_cannot_be_reached_is_not_a_success(tmp_path: Path, empty: ControlPlane) -> None:
    text = empty.kubeconfig.read_text()
    (tmp_path / "away").write_text(text.replace(empty.server, "https://127.0.0.1:1"))
    done = trimtab("install", "--kubeconfig", str(tmp_path / "away"))
    assert done.returncode == 3
    assert "cannot be reached" in done.stderr
