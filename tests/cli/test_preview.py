"""`trimtab preview` against a real API server and a real registry: four branches get four verdicts, and the like."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import command_line
from tests.e2e.world import until
from tests.registry.server import RegistryServer
from trimtab.cluster.plane import ControlPlane

Done = subprocess.CompletedProcess[str]
APP = "kustomize.toolkit.fluxcd.io"


def git(repository: Path, *words: str) -> str:
    alone = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(repository)}
    who = ("-c", "user.name=Dev", "-c", "user.email=dev@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(
        ["git", *who, *words], cwd=repository, env={**os.environ, **alone}, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def deployment(image: str, replicas: Any = 3, **pod: Any) -> dict[str, Any]:
    labels = {"app": "web"}
    container = {"name": "web", "image": image, "envFrom": [{"configMapRef": {"name": "settings"}}]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], **pod}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def config_map(name: str = "settings", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def policy(namespace: str) -> list[dict[str, Any]]:
    """At most five replicas; a word of warning beyond four."""
    group = "admissionregistration.k8s.io/v1"
    rule = {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["deployments"],
    }
    chosen = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    found = []
    for name, most, action in (("few-replicas", 5, "Deny"), ("fewer-replicas", 4, "Warn")):
        words = f"at most {most} replicas"
        spec = {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": f"object.spec.replicas <= {most}", "message": words}],
        }
        named = {"name": f"{name}-{namespace}"}
        binding = {"policyName": named["name"], "validationActions": [action], "matchResources": chosen}
        found.append({"apiVersion": group, "kind": "ValidatingAdmissionPolicy", "metadata": named, "spec": spec})
        found.append(
            {"apiVersion": group, "kind": "ValidatingAdmissionPolicyBinding", "metadata": named, "spec": binding}
        )
    return found


class Shop:
    """A repository with an app whose branch `main` is live, a registry, and a policy."""

    def __init__(self, root: Path, served: ControlPlane, kubectl: Callable[..., str], registry: RegistryServer) -> None:
        self.root, self.served, self.kubectl, self.registry = root, served, kubectl, registry
        self.namespace = "t-preview"
        kubectl("create", "namespace", self.namespace)
        for body in policy(self.namespace):
            kubectl("create", "-f", "-", stdin=json.dumps(body))
        for tag in ("1", "2"):
            registry.push("web", tag, {"version": tag})
        root.mkdir()
        git(root, "init", "--quiet")
        self.commit({"web": deployment(self.image("1")), "settings": config_map(colour="blue")})
        kubectl("apply", "--server-side", "-n", self.namespace, "-f", str(root / "shop"))
        until(lambda: "at most 5" in self.refusal(), "the policy is enforced")

    def image(self, tag: str) -> str:
        return f"{self.registry.host}/web:{tag}"

    def refusal(self) -> str:
        many = json.dumps(deployment(self.image("1"), 9))
        try:
            self.kubectl("apply", "--server-side", "--dry-run=server", "-n", self.namespace, "-f", "-", stdin=many)
        except subprocess.CalledProcessError as refused:
            return str(refused.cmd)
        return ""

    def write(self, files: dict[str, Any]) -> None:
        (self.root / "shop").mkdir(exist_ok=True)
        for name, body in files.items():
            path = self.root / "shop" / f"{name}.yaml"
            path.write_bytes(body if isinstance(body, bytes) else json.dumps(body, indent=1).encode())

    def commit(self, files: dict[str, Any]) -> None:
        self.write(files)
        git(self.root, "add", "--all")
        git(self.root, "commit", "--quiet", "--message", "a change")

    def branch(self, name: str, files: dict[str, Any]) -> None:
        git(self.root, "switch", "--quiet", "--create", name, "main")
        self.commit(files)
        git(self.root, "switch", "--quiet", "main")

    def preview(self, *arguments: str, path: str = "shop", kubeconfig: Path | None = None) -> Done:
        command, env = command_line(
            kubeconfig or self.served.kubeconfig,
            *("preview", path, "-n", self.namespace, "--insecure-registry", self.registry.host, *arguments),
        )
        env["DOCKER_CONFIG"] = str(self.root)
        return subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, timeout=60)

    def found(self, *arguments: str, **more: Any) -> tuple[int, dict[str, Any]]:
        """The exit code, and the objects by kind and name."""
        done = self.preview(*arguments, "-o", "json", **more)
        assert done.stdout, done.stderr
        objects = json.loads(done.stdout)["objects"]
        return done.returncode, {f"{one['kind']}/{one['name']}": one for one in objects}


@pytest.fixture(scope="module")
def shop(served: ControlPlane, kubectl: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    place = tmp_path_factory.mktemp("preview")
    registry = RegistryServer(place / "registry")
    registry.start()
    try:
        yield Shop(place / "repository", served, kubectl, registry)
    finally:
        registry.stop()


def test_four_branches_get_four_verdicts(shop: Shop) -> None:
    shop.branch("bad-schema", {"web": deployment(shop.image("2"), hostname=["a", "list"])})
    shop.branch("missing-image", {"web": deployment(shop.image("9"))})
    shop.branch("breach", {"web": deployment(shop.image("1"), 6)})
    shop.branch("fine", {"web": deployment(shop.image("2"), 4)})
    answers = {}
    for branch in ("bad-schema", "missing-image", "breach", "fine"):
        code, objects = shop.found("--base", "main", "--head", branch)
        assert list(objects) == ["Deployment/web"]
        answers[branch] = code, objects["Deployment/web"]["verdict"]
        assert objects["Deployment/web"]["origin"] == {"file": "shop/web.yaml", "line": 1}
    assert answers == {
        "bad-schema": (2, "refused-schema"),
        "missing-image": (2, "image-missing"),
        "breach": (2, "refused-policy"),
        "fine": (0, "restart"),
    }
    _, refused = shop.found("--head", "breach")
    [judgement] = [one for one in refused["Deployment/web"]["judgements"] if one["verdict"] == "refused-policy"]
    name = f"few-replicas-{shop.namespace}"
    assert (judgement["policy"], judgement["binding"], judgement["message"]) == (name, name, "at most 5 replicas")
    told = shop.preview("--head", "fine")
    assert told.returncode == 0
    assert f"✔ fine: spec.template.spec.containers[name=web].image: {shop.image('2')} is sha256:" in told.stdout
    assert "! restart: spec.template: 3 Pods are replaced: the template changes" in told.stdout
    assert told.stderr.startswith("✔ it will succeed")
