"""The processes of a control plane and how each is told what to do. Pure: paths in, command lines out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trimtab.cluster.layout import Layout
from trimtab.toolchain import families

SERVICE_RANGE = "10.96.0.0/14"
SERVICE_HOSTS = (
    "127.0.0.1",
    "localhost",
    "10.96.0.1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)

NODE = "trimtab-node"

AUDIT_POLICY = b"""\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
"""

# The default of 50 requests/s would stretch the binding of a thousand Pods to twenty seconds.
_SCHEDULER_CONFIG = """\
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection:
  leaderElect: false
clientConnection:
  kubeconfig: {kubeconfig}
  qps: 2000
  burst: 4000
"""


@dataclass(frozen=True, slots=True)
class Component:
    """One process: its name (that of its binary, its log and its record) and its command line."""

    name: str
    argv: tuple[str, ...]


# etcd listens on a socket in the control plane's directory, which only this user can enter: no port to collide, no
# certificates to present. The names are relative (every component runs in that directory) because the kernel allows
# 108 bytes for them.
_ETCD = "unix://etcd.sock"
_PEER = "unix://peer.sock"


def etcd(binaries: Mapping[str, Path], layout: Layout) -> Component:
    flags = (
        "--name=trimtab",
        f"--data-dir={layout.etcd}",
        f"--listen-client-urls={_ETCD}",
        f"--advertise-client-urls={_ETCD}",
        f"--listen-peer-urls={_PEER}",
        f"--initial-advertise-peer-urls={_PEER}",
        f"--initial-cluster=trimtab={_PEER}",
        # A lone member waits for its own election, a second by default.
        "--heartbeat-interval=20",
        "--election-timeout=200",
        # What this loses when the machine (not the process) crashes is a cluster for tests and demonstrations.
        "--unsafe-no-fsync",
        "--quota-backend-bytes=4294967296",
        "--log-level=error",
    )
    return Component("etcd", (str(binaries["etcd"]), *flags))


def apiserver(binaries: Mapping[str, Path], layout: Layout, port: int, *, audit: bool) -> Component:
    flags = [
        f"--etcd-servers={_ETCD}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        # Lets us hold the port from the moment it is chosen until the server has it.
        "--permit-port-sharing=true",
        f"--tls-cert-file={layout.pki / 'apiserver.crt'}",
        f"--tls-private-key-file={layout.pki / 'apiserver.key'}",
        f"--client-ca-file={layout.pki / 'ca.crt'}",
        f"--token-auth-file={layout.tokens}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-signing-key-file={layout.pki / 'sa.key'}",
        f"--service-account-key-file={layout.pki / 'sa.pub'}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        # A loopback address is not allowed in Endpoints; without this, it is tried and logged every ten seconds.
        "--endpoint-reconciler-type=none",
        "--allow-privileged=true",
        "--profiling=false",
        "-v=0",
    ]
    if audit:
        flags += [
            f"--audit-policy-file={layout.config / 'audit-policy.yaml'}",
            f"--audit-log-path={layout.audit_log}",
            # Not batched: a request that was answered is in the log.
            "--audit-log-mode=blocking",
            "--audit-log-maxsize=1024",
        ]
    return Component("kube-apiserver", (str(binaries["kube-apiserver"]), *flags))


def controller_manager(binaries: Mapping[str, Path], layout: Layout) -> Component:
    flags = (
        f"--kubeconfig={layout.component_kubeconfig('kube-controller-manager')}",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={layout.pki / 'sa.key'}",
        f"--root-ca-file={layout.pki / 'ca.crt'}",
        f"--cluster-signing-cert-file={layout.pki / 'ca.crt'}",
        f"--cluster-signing-key-file={layout.pki / 'ca.key'}",
        "--leader-elect=false",
        "--secure-port=0",
        # Its default of 20 requests/s alone stretches 100 Deployments to 19 s.
        "--kube-api-qps=2000",
        "--kube-api-burst=4000",
        "--concurrent-deployment-syncs=20",
        "--concurrent-replicaset-syncs=20",
        "--concurrent-service-endpoint-syncs=20",
        "--concurrent-serviceaccount-token-syncs=20",
        "--concurrent-namespace-syncs=20",
        "--profiling=false",
        "-v=0",
    )
    return Component("kube-controller-manager", (str(binaries["kube-controller-manager"]), *flags))


def scheduler(binaries: Mapping[str, Path], layout: Layout) -> Component:
    flags = (f"--config={layout.config / 'scheduler.yaml'}", "--secure-port=0", "-v=0")
    return Component("kube-scheduler", (str(binaries["kube-scheduler"]), *flags))


def scheduler_config(layout: Layout) -> bytes:
    return _SCHEDULER_CONFIG.format(kubeconfig=layout.component_kubeconfig("kube-scheduler")).encode()


def kwok(binaries: Mapping[str, Path], layout: Layout) -> Component:
    flags = (
        f"--kubeconfig={layout.component_kubeconfig('kwok')}",
        "--manage-all-nodes=true",
        "--node-lease-duration-seconds=40",
        "--node-ip=127.0.0.1",
        "--cidr=10.244.0.0/16",
        *(f"--config={stage}" for stage in families.stages(binaries["kwok"])),
    )
    return Component("kwok", (str(binaries["kwok"]), *flags))


def node() -> dict[str, object]:
    """The fake Node all Pods run on: larger than any test or demonstration."""
    room = {"cpu": "1000", "memory": "4Ti", "ephemeral-storage": "4Ti", "pods": "100000"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": NODE,
            "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
            "labels": {
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": NODE,
                "kubernetes.io/os": "linux",
                "node-role.kubernetes.io/agent": "",
                "type": "kwok",
            },
        },
        "status": {"allocatable": room, "capacity": room},
    }
