"""The real kubeseal, and the real controller of Sealed Secrets at work on the tests' control plane."""

import base64
import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.world import Api, condition, free_port, until
from trimtab.cluster import children
from trimtab.cluster.children import Child
from trimtab.manifests.yaml import load
from trimtab.toolchain import binaries
from trimtab.toolchain.families import sealed_secrets_kind

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DEFINITION = f"{DEFINITIONS}/sealedsecrets.bitnami.com"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ACCOUNT = "sealed-secrets"
PLACE = "/run/secrets/kubernetes.io/serviceaccount"
# It reads its account where a Pod has it, and nowhere else: so it gets a view of the files with a /run of its own.
LAUNCH = (
    'mount -t tmpfs tmpfs /run && mkdir -p "$1" && cp "$0"/token "$0"/ca.crt "$0"/namespace "$1" && shift && exec "$@"'
)
RULES = [
    {"apiGroups": ["bitnami.com"], "resources": ["sealedsecrets"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["bitnami.com"], "resources": ["sealedsecrets/status"], "verbs": ["update"]},
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch", "create", "update"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
]
"""It has no right to delete Secrets, and needs none."""


def tools() -> tuple[Path, Path]:
    """kubeseal and the controller, if they were built: that takes minutes."""
    found = binaries.present("secrets")
    if not {"kubeseal", "sealed-secrets-controller"} <= found.keys():
        pytest.skip("the real sealed-secrets is not built (python -m trimtab.toolchain secrets)")
    return found["kubeseal"], found["sealed-secrets-controller"]


def unshared() -> list[str]:
    """The words before a command that runs in a view of the file system of its own."""
    command = [shutil.which("unshare") or "unshare", "--map-root-user", "--mount", "--"]
    shell = shutil.which("sh") or "/bin/sh"
    try:
        done = subprocess.run([*command, shell, "-c", "mount -t tmpfs tmpfs /run"], capture_output=True, timeout=20)
    except OSError as failure:
        pytest.skip(f"the sealed-secrets controller needs a mount namespace: {failure}")
    if done.returncode != 0:
        pytest.skip(f"the sealed-secrets controller needs a mount namespace: {done.stderr.decode().strip()}")
    return [*command, shell, "-c", LAUNCH]


class SealedSecrets:
    """One installation, in a namespace of its own, for all namespaces."""

    def __init__(self, api: Api, namespace: str, home: Path, ca: bytes) -> None:
        self.api, self.namespace, self.home, self.ca = api, namespace, home, ca
        self.kubeseal, self.controller = tools()
        self.certificate = home / "certificate.pem"
        self.child: Child | None = None

    def install(self) -> None:
        """The kind, as it is published with the controller, and an account with the rights that it needs."""
        [document] = load(sealed_secrets_kind(self.controller).read_bytes(), "crd", dialect="kubernetes")
        self.api.create(DEFINITIONS, document.value)
        until(lambda: condition(self.api.get(DEFINITION), "Established").get("status") == "True", "it is served")
        metadata = {"name": self.namespace}
        self.api.create(f"/api/v1/namespaces/{self.namespace}/serviceaccounts", {"metadata": {"name": ACCOUNT}})
        self.api.create(f"{RBAC}/clusterroles", {"metadata": metadata, "rules": RULES})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": self.namespace}
        subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": self.namespace}
        binding = {"metadata": metadata, "roleRef": role, "subjects": [subject]}
        self.api.create(f"{RBAC}/clusterrolebindings", binding)

    def start(self) -> None:
        """Start the controller, and wait until there is a key to seal for."""
        account = self.home / "account"
        account.mkdir(mode=0o700, exist_ok=True)
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{ACCOUNT}/token"
        token = self.api.create(path, {"spec": {"expirationSeconds": 3600}})["status"]["token"]
        for name, content in (("token", token), ("namespace", self.namespace), ("ca.crt", self.ca.decode())):
            (account / name).write_text(content)
        host, port = self.api.server.removeprefix("https://").split(":")
        self.child = children.start(
            "sealed-secrets",
            [
                *(*unshared(), str(account), PLACE, str(self.controller)),
                *("--key-size", "2048", "--key-renew-period", "0"),
                *("--listen-addr", f"127.0.0.1:{free_port()}", "--listen-metrics-addr", f"127.0.0.1:{free_port()}"),
            ],
            cwd=self.home,
            env={
                "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
                "KUBERNETES_SERVICE_HOST": host,
                "KUBERNETES_SERVICE_PORT": port,
                "POD_NAMESPACE": self.namespace,
            },
            log=self.log,
        )
        self.certificate.write_bytes(until(self._certificate, lambda: f"it has no key: {self.log.read_text()[-2000:]}"))

    @property
    def log(self) -> Path:
        return self.home / "controller.log"

    def _certificate(self) -> bytes | None:
        label = "labelSelector=sealedsecrets.bitnami.com%2Fsealed-secrets-key%3Dactive"
        keys = self.api.get(f"/api/v1/namespaces/{self.namespace}/secrets?{label}")["items"]
        return base64.b64decode(keys[0]["data"]["tls.crt"]) if keys else None

    def seal(self, namespace: str, name: str, labels: dict[str, str] | None = None, **texts: str) -> str:
        """The SealedSecret of a Secret, as kubeseal writes it: with the certificate alone, without a cluster."""
        metadata = {"name": name, "namespace": namespace, "labels": labels or {}}
        plain: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": texts}
        done = subprocess.run(
            [self.kubeseal, "--cert", self.certificate, "--format", "yaml", "--kubeconfig", "/dev/null"],
            input=json.dumps(plain).encode(),
            capture_output=True,
            env={"HOME": "/nonexistent", "PATH": ""},
            timeout=60,
        )
        assert done.returncode == 0, done.stderr.decode()
        text = done.stdout.decode()
        assert not [value for value in texts.values() if value in text]
        return text

    def signal(self, number: signal.Signals) -> None:
        assert self.child is not None
        self.child.signal(number)

    def remove(self) -> None:
        """End the controller, and take away all that is not in a namespace."""
        if self.child is not None:
            self.child.signal(signal.SIGKILL)
            until(lambda: self.child.code is not None, "it has ended")
        for path in (
            DEFINITION,
            f"{RBAC}/clusterroles/{self.namespace}",
            f"{RBAC}/clusterrolebindings/{self.namespace}",
        ):
            self.api.delete(path)
        until(lambda: self.api.get(DEFINITION) is None, "the kind is gone")
