"""Images from outside: Debian's docker-registry, a pusher of the tests' own, and the process that looks at images.

It runs with the account and the rights that `trimtab install` gives it, and nothing more.
"""

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.e2e.test_least_rights import create
from tests.e2e.test_receivers import Hooked, signed
from tests.e2e.world import Api, Controller, condition, free_port, until
from tests.registry.server import RegistryServer, descriptor
from trimtab.api.install import install_manifests
from trimtab.cli.main import cli

IMAGES = "/apis/image.toolkit.fluxcd.io/v1"
CONFIG = "application/vnd.oci.image.config.v1+json"


def push(registry: RegistryServer, repository: str, tag: str, created: str = "", **labels: str) -> str:
    """An image without files, made anew for each tag; the digest of its manifest."""
    config = {"architecture": "amd64", "os": "linux", "created": created, "config": {"Labels": {"tag": tag, **labels}}}
    body = json.dumps(config).encode()
    registry.blob(repository, body)
    described = {"schemaVersion": 2, "config": descriptor(body, CONFIG), "layers": []}
    media_type = "application/vnd.oci.image.manifest.v1+json"
    return registry.tag(repository, tag, json.dumps({**described, "mediaType": media_type}).encode())


def trimtab(kubeconfig: Path, *arguments: str) -> str:
    """What the command says, in this process: one of its own costs seconds."""
    done = CliRunner().invoke(cli, ["--kubeconfig", str(kubeconfig), *arguments], prog_name="trimtab")
    assert done.exit_code == 0, done.output
    return done.output


class Looked:
    """What tests see of images: a cluster, and the process that looks at them."""

    def __init__(self, api: Api, controller: Controller) -> None:
        self.api, self.controller = api, controller

    def create(self, plural: str, kind: str, ns: str, name: str, spec: Any, **annotations: str) -> None:
        metadata = {"name": name, "namespace": ns, "annotations": annotations}
        body = {"apiVersion": "image.toolkit.fluxcd.io/v1", "kind": kind, "metadata": metadata, "spec": spec}
        self.api.create(f"{IMAGES}/namespaces/{ns}/{plural}", body)

    def repository(self, ns: str, image: str, name: str = "app", **spec: Any) -> None:
        spec = {"image": image, "interval": "60m", "insecure": True, **spec}
        self.create("imagerepositories", "ImageRepository", ns, name, spec)

    def policy(self, ns: str, name: str = "app", annotations: dict[str, str] | None = None, **spec: Any) -> None:
        spec = {"imageRepositoryRef": {"name": "app"}, "policy": {"semver": {"range": "*"}}, **spec}
        self.create("imagepolicies", "ImagePolicy", ns, name, spec, **(annotations or {}))

    def get(self, ns: str, plural: str = "imagepolicies", name: str = "app") -> Any:
        return self.api.get(f"{IMAGES}/namespaces/{ns}/{plural}/{name}")

    def ask(self, ns: str) -> None:
        annotations = {"reconcile.fluxcd.io/requestedAt": str(time.time_ns())}
        self.api.merge(f"{IMAGES}/namespaces/{ns}/imagerepositories/app", {"metadata": {"annotations": annotations}})

    def chosen(self, ns: str, tag: str, name: str = "app", timeout: float = 20.0) -> Any:
        """Wait until the policy has chosen `tag`; what it chose."""

        def reached() -> Any:
            found = self.get(ns, name=name)
            latest = found["status"].get("latestRef") or {}
            return latest if latest.get("tag") == tag and condition(found, "Ready")["status"] == "True" else None

        return until(reached, lambda: self.why(ns), timeout)

    def failed(self, ns: str, reason: str, plural: str = "imagerepositories") -> str:
        def reached() -> str | None:
            ready = condition(self.get(ns, plural), "Ready")
            return ready["message"] if (ready.get("status"), ready.get("reason")) == ("False", reason) else None

        message: str = until(reached, lambda: self.why(ns), 20)
        return message

    def why(self, ns: str) -> str:
        both = [self.get(ns, plural) for plural in ("imagerepositories", "imagepolicies")]
        return json.dumps([one and one["status"] for one in both], indent=1) + self.controller.log[-2000:]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("registry"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("private"), private=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def looked(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    for body in install_manifests(namespace="flux-system", image="trimtab:test"):
        if body["kind"] in ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"):
            create(api, body)
    token = api.create("/api/v1/namespaces/flux-system/serviceaccounts/trimtab-automate/token", {"spec": {}})
    directory = tmp_path_factory.mktemp("images")
    account = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": api.cluster}],
        "users": [{"name": "u", "user": {"token": token["status"]["token"]}}],
    }
    (directory / "kubeconfig").write_text(json.dumps(account))
    controller = Controller(directory / "kubeconfig", directory / "run", "--controllers=image-reflector")
    controller.start()
    yield Looked(api, controller)
    assert controller.stop() == 0
    assert "Traceback" not in controller.log, controller.log[-4000:]
    assert "orbidden" not in controller.log, controller.log[-4000:]


@pytest.fixture
def ns(looked: Looked, namespace: Any) -> Iterator[str]:
    name = namespace()
    looked.api.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": {"team": "shop"}}})
    yield name
    for plural in ("imagepolicies", "imagerepositories"):
        for item in looked.api.get(f"{IMAGES}/namespaces/{name}/{plural}")["items"]:
            looked.api.delete(f"{IMAGES}/namespaces/{name}/{plural}/{item['metadata']['name']}")
        until(lambda p=plural: not looked.api.get(f"{IMAGES}/namespaces/{name}/{p}")["items"], "they are gone")


def test_a_pushed_image_is_chosen_at_once_after_a_webhook(
    looked: Looked, ns: str, registry: RegistryServer, kubeconfig: Path, tmp_path: Path
) -> None:
    push(registry, "shop", "1.0.0")
    push(registry, "shop", "2.0.0")
    looked.repository(ns, f"{registry.host}/shop")
    looked.policy(ns, policy={"semver": {"range": "1.x"}}, digestReflectionPolicy="IfNotPresent")
    looked.chosen(ns, "1.0.0")
    port = free_port()
    hooks = Controller(
        kubeconfig, tmp_path / "hooks", "--controllers=notification", f"--receiver-addr=127.0.0.1:{port}"
    )
    hooks.start()
    try:
        hooked = Hooked(looked.api, "", tmp_path, hooks)
        hooked.port = port
        hooked.token(ns)
        hooked.receiver(ns, resources=[{"kind": "ImageRepository", "name": "app"}])
        path = hooked.path(ns)
        pushed = push(registry, "shop", "1.10.0")
        begun = time.monotonic()
        assert hooked.post(path, b"{}", signed(b"{}"))[0] == 200
        latest = looked.chosen(ns, "1.10.0", timeout=30)
        took = time.monotonic() - begun
        looked.api.delete(f"/apis/notification.toolkit.fluxcd.io/v1/namespaces/{ns}/receivers/hook")
        until(lambda: hooked.get_receiver(ns) is None, "the receiver is gone")
    finally:
        hooks.stop()
    assert latest == {"name": f"{registry.host}/shop", "tag": "1.10.0", "digest": pushed}
    assert took < 60, "the next look by itself is an hour away"
    found = looked.get(ns)
    assert found["status"]["observedPreviousRef"]["tag"] == "1.0.0"
    until(
        lambda: [
            one
            for one in looked.api.get(f"/api/v1/namespaces/{ns}/events")["items"]
            if one["involvedObject"]["kind"] == "ImagePolicy" and "resolved to 1.10.0" in one["message"]
        ],
        "an event says so",
    )


def test_a_registry_that_wants_to_know_who_asks_is_told_by_the_secret_or_by_the_account(
    looked: Looked, ns: str, private: RegistryServer
) -> None:
    push(private, "team/app", "1.0.0")
    looked.repository(ns, f"{private.host}/team/app")
    looked.policy(ns)
    assert "name a Secret in spec.secretRef" in looked.failed(ns, "AuthenticationFailed")
    assert "has not been looked at with success yet" in looked.failed(ns, "DependencyNotReady", "imagepolicies")
    auth = {"auths": {private.host: {"username": "reader", "password": "right"}}}
    data = {".dockerconfigjson": base64.b64encode(json.dumps(auth).encode()).decode()}
    secret = {"metadata": {"name": "pull"}, "type": "kubernetes.io/dockerconfigjson", "data": data}
    looked.api.create(f"/api/v1/namespaces/{ns}/secrets", secret)
    account = {"metadata": {"name": "puller"}, "imagePullSecrets": [{"name": "pull"}]}
    looked.api.create(f"/api/v1/namespaces/{ns}/serviceaccounts", account)
    path = f"{IMAGES}/namespaces/{ns}/imagerepositories/app"
    looked.api.merge(path, {"spec": {"serviceAccountName": "puller"}})
    looked.chosen(ns, "1.0.0")
    push(private, "team/app", "1.1.0")
    looked.api.merge(path, {"spec": {"serviceAccountName": None, "secretRef": {"name": "pull"}}})
    looked.chosen(ns, "1.1.0")


def test_the_image_that_was_built_last_is_chosen_whatever_it_is_called(
    looked: Looked, ns: str, registry: RegistryServer
) -> None:
    push(registry, "built", "dev-b", "2026-03-01T00:00:00Z")
    push(registry, "built", "dev-z", "2026-01-01T00:00:00.123456789Z")
    push(registry, "built", "other", "2027-01-01T00:00:00Z")
    looked.repository(ns, f"{registry.host}/built")
    newest = {"trimtab.dev/policy": "newest", "trimtab.dev/filter-glob": "dev-*"}
    looked.policy(ns, annotations=newest, policy={"alphabetical": {"order": "asc"}})
    looked.chosen(ns, "dev-b")
    # built reproducibly: the true time is in a label
    label = {"org.opencontainers.image.created": "2026-06-01T00:00:00Z"}
    push(registry, "built", "dev-a", "1970-01-01T00:00:00Z", **label)
    looked.ask(ns)
    looked.chosen(ns, "dev-a")


def test_what_was_withdrawn_is_kept_until_that_is_certain_and_a_stopped_registry_changes_nothing(
    looked: Looked, ns: str, tmp_path: Path
) -> None:
    mortal = RegistryServer(tmp_path / "mortal")
    mortal.start()
    push(mortal, "app", "1.0.0")
    digest = push(mortal, "app", "1.1.0")
    looked.repository(ns, f"{mortal.host}/app")
    looked.policy(ns)
    looked.chosen(ns, "1.1.0")
    mortal.call("DELETE", f"/v2/app/manifests/{digest}")
    looked.ask(ns)

    def told() -> Any:
        message = condition(looked.get(ns, "imagerepositories"), "Ready")["message"]
        return "1.1.0 is not listed any more" in message

    until(told, lambda: looked.why(ns))
    looked.chosen(ns, "1.1.0")
    mortal.stop()
    looked.ask(ns)
    assert "the 2 tags of" in looked.failed(ns, "ReadOperationFailed")
    looked.chosen(ns, "1.1.0")


def test_a_restart_asks_for_nothing_that_is_known_and_the_command_shows_it(
    looked: Looked, ns: str, registry: RegistryServer, kubeconfig: Path
) -> None:
    push(registry, "known", "1.0.0")
    looked.repository(ns, f"{registry.host}/known")
    looked.policy(ns)
    looked.chosen(ns, "1.0.0")
    push(registry, "known", "1.0.1")
    assert looked.controller.stop() == 0
    looked.controller.start()
    looked.policy(ns, "second")
    looked.chosen(ns, "1.0.0", "second")
    shown = trimtab(kubeconfig, "get", "images", "-n", ns).split()
    assert shown[shown.index("imagepolicy/second") :][1:4] == [f"{registry.host}/known", "1.0.0", "True"]
    assert "looked at 2" in trimtab(kubeconfig, "reconcile", "image", "repository", "app", "-n", ns, "--timeout", "60s")
    looked.chosen(ns, "1.0.1")
    trimtab(kubeconfig, "suspend", "image", "policy", "second", "-n", ns)
    assert looked.get(ns, name="second")["spec"]["suspend"] is True
    said = trimtab(kubeconfig, "resume", "imgpol", "second", "-n", ns, "--timeout", "60s")
    assert f"chose {registry.host}/known:1.0.1" in said


def test_the_look_at_a_workload_shows_what_it_runs_and_why_another_is_chosen(
    looked: Looked, ns: str, registry: RegistryServer, kubeconfig: Path
) -> None:
    for day, version in enumerate(("1.0.0", "1.0.1", "1.1.0", "2.0.0"), 1):
        push(registry, "cart", version, f"2026-01-0{day}T00:00:00Z")
    looked.repository(ns, f"{registry.host}/cart")
    looked.policy(ns, policy={"semver": {"range": "1.x"}})
    looked.chosen(ns, "1.1.0")
    pod = {
        "containers": [{"name": "app", "image": f"{registry.host}/cart:1.0.0"}, {"name": "side", "image": "busybox"}]
    }
    template = {"metadata": {"labels": {"app": "cart"}}, "spec": pod}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "cart"}}, "template": template}
    looked.api.create(f"/apis/apps/v1/namespaces/{ns}/deployments", {"metadata": {"name": "cart"}, "spec": spec})

    table = [line.split() for line in trimtab(kubeconfig, "images", "-n", ns).splitlines()]
    assert table[1:] == [
        ["Deployment/cart", "app", f"{registry.host}/cart", "1.0.0", "1.1.0", f"{ns}/app"],
        ["Deployment/cart", "side", "busybox", "latest", "-", "-"],
    ]
    said = trimtab(kubeconfig, "images", "cart", "-n", ns)
    assert f"{ns}/app: 1.1.0\nthe highest version in 1.x, of 3 that are left of 4 tags; next 1.0.1" in said
    assert ["1.1.0", "1.1.0", "2026-01-03T00:00:00Z"] in [line.split() for line in said.splitlines()]
    assert "'2.0.0' is not in the range 1.x" in said
    assert "Deployment/cart runs 1.0.0; 2 candidates are better, 2 days between them" in said
    [app, _] = json.loads(trimtab(kubeconfig, "images", "deployment/cart", "-n", ns, "-o", "json"))
    assert (app["tag"], app["choice"]["tag"], app["state"]) == ("1.0.0", "1.1.0", "another is chosen")
