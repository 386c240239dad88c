"""The whole way, from a push to a registry to Pods: every hop, and who did it.

Five identities, each of which can do its own part and no other: the builder pushes images; the account
trimtab-automate reads the registry and writes one branch; the robot's key signs; the account trimtab-sync reads the
branch; and trimtab-applier, in whose name it acts, writes to the cluster.
"""

import base64
import json
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from aiohttp import web

from tests.e2e.automations import EMAIL, IMAGES, Automating, count, git, head, installed, key_pair, message
from tests.e2e.conftest import served
from tests.e2e.test_images import push
from tests.e2e.test_least_rights import create
from tests.e2e.test_receivers import HOOKS, Hooked
from tests.e2e.world import Api, Controller, World, condition, free_port, until
from tests.registry.server import RegistryServer
from tests.remotes.world import Authority
from trimtab.api.install import install_manifests
from trimtab.cluster.gitserver import GitServer
from trimtab.cluster.plane import ControlPlane

PASSWORDS = {name: f"the-password-of-{name}" for name in ("builder", "puller", "reader", "writer")}
APP = """apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers:
      - name: app
        image: HOST/shop:1.0.0 # {"$imagepolicy": "NS:shop"}
"""
PLURALS = ("imageupdateautomations", "imagepolicies", "imagerepositories")
HOOK = """#!{python}
import urllib.request
urllib.request.urlopen(urllib.request.Request("{address}", data=b"{{}}", method="POST"), timeout=5)
"""


class Watched(GitServer):
    """A git server that notes who asked for what."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.seen: list[tuple[str, str]] = []

    def _signed_in(self, request: web.Request) -> str | None:
        user = super()._signed_in(request)
        service = request.query.get("service") or request.path.rpartition("/")[2]
        self.seen.append((user or "nobody", service))
        return user


class Whole(Automating, Hooked):
    """A world with both processes, as they are installed."""

    automate: Controller

    def spoken(self, namespace: str) -> Callable[[], str]:
        """All events, in words."""
        path = f"/api/v1/namespaces/{namespace}/events"
        return lambda: "\n".join(f"{one['reason']}: {one['message']}" for one in self.api.get(path)["items"])

    def let_go(self, namespace: str) -> None:
        """Delete all objects of ours, while those who look after them are there."""
        kinds = [f"{IMAGES}/namespaces/{namespace}/{plural}" for plural in PLURALS]
        kinds.append(f"{HOOKS}/namespaces/{namespace}/receivers")
        for path in kinds:
            for item in self.api.get(path)["items"]:
                self.api.delete(f"{path}/{item['metadata']['name']}")
        World.let_go(self, namespace)
        until(lambda: not any(self.api.get(path)["items"] for path in kinds), "they are gone")


def kubeconfig_of(api: Api, account: str, directory: Path) -> Path:
    token = api.create(f"/api/v1/namespaces/flux-system/serviceaccounts/{account}/token", {"spec": {}})
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "kubeconfig"
    user = {"name": "u", "user": {"token": token["status"]["token"]}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    body = {"apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [context], "users": [user]}
    file.write_text(json.dumps({**body, "clusters": [{"name": "c", "cluster": api.cluster}]}))
    return file


@pytest.fixture
def whole(world: World, api: Api, git_root: Path, tmp_path: Path) -> Iterator[Whole]:
    world.controller.stop()
    installed(api)
    for body in install_manifests(namespace="flux-system", image="trimtab:test"):
        if body["kind"] in ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"):
            create(api, body)
    port = free_port()
    sync = Controller(
        kubeconfig_of(api, "trimtab-sync", tmp_path / "sync"),
        tmp_path / "sync",
        "--controllers=source,kustomize,notification",
        f"--receiver-addr=127.0.0.1:{port}",
        "--applier=flux-system/trimtab-applier",
        "--reader=flux-system/trimtab-reader",
    )
    automate = Controller(
        kubeconfig_of(api, "trimtab-automate", tmp_path / "automate"),
        tmp_path / "automate",
        "--controllers=image-reflector,image-automation",
    )
    sync.start()
    automate.start()
    whole = Whole(api, "", git_root, automate)
    whole.port, whole.automate = port, automate
    yield whole
    for controller in (sync, automate):
        assert controller.stop() == 0
        assert "Traceback" not in controller.log, controller.log[-4000:]
        assert "orbidden" not in controller.log, controller.log[-4000:]
        assert not any(password in controller.log for password in PASSWORDS.values())
    world.controller.start()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RegistryServer]:
    """A registry that only the builder and the puller may use."""
    lines = [
        f"{name}:{bcrypt.hashpw(PASSWORDS[name].encode(), bcrypt.gensalt(4)).decode()}\n"
        for name in ("builder", "puller")
    ]
    login = (f"builder:{PASSWORDS['builder']}", "".join(lines))
    server = RegistryServer(tmp_path / "registry", private=True, login=login)
    server.start()
    yield server
    server.stop()


def changes(plane: ControlPlane, since: int, ns: str) -> dict[str, set[str]]:
    """Who changed what in a namespace, as the API server's own log has it from byte `since` on."""
    found: dict[str, set[str]] = {}
    with plane.audit_log.open("rb") as lines:
        lines.seek(since)
        for event in (json.loads(line) for line in lines if line.endswith(b"\n")):
            ref = event.get("objectRef") or {}
            if event["verb"] in ("get", "list", "watch") or event["stage"] != "ResponseComplete":
                continue
            if ref.get("namespace") != ns:
                continue
            user = (event.get("impersonatedUser") or event["user"])["username"].rpartition(":")[2]
            what = "/".join(part for part in (ref["resource"], ref.get("subresource")) if part)
            found.setdefault(what, set()).add(user)
    return found


def test_a_pushed_image_becomes_a_signed_commit_and_the_commit_becomes_pods(
    whole: Whole, registry: RegistryServer, git_root: Path, plane: ControlPlane, namespace: Any, tmp_path: Path
) -> None:
    ns = namespace()
    whole.api.create("/api/v1/namespaces", {"metadata": {"name": ns}})
    push(registry, "shop", "1.0.0")
    authority = Authority.create(tmp_path)
    forge = Watched(
        git_root,
        accounts={name: PASSWORDS[name] for name in ("reader", "writer")},
        readers=frozenset({"reader"}),
        tls=authority.context,
    )
    with served(forge) as url:
        # the repository: a person commits, and signs
        repo = whole.repo(ns)
        _, person_key = key_pair(tmp_path / "person")
        robot, robot_key = key_pair(tmp_path / "robot")
        repo._git("config", "gpg.format", "ssh")
        repo._git("config", "user.signingkey", str(tmp_path / "person" / "key"))
        repo._git("config", "commit.gpgsign", "true")
        first = repo.commit({"app/shop.yaml": APP.replace("HOST", registry.host).replace("NS", ns)})
        # who may do what
        ca = authority.ca.decode()
        whole.secret(ns, "read", username="reader", password=PASSWORDS["reader"], ca__crt=ca)
        whole.secret(ns, "write", username="writer", password=PASSWORDS["writer"], ca__crt=ca)
        whole.secret(ns, "robot", identity=robot)
        whole.secret(ns, "signers", person__sshpub=person_key, robot__sshpub=robot_key)
        auth = {"auths": {registry.host: {"username": "puller", "password": PASSWORDS["puller"]}}}
        data = {".dockerconfigjson": base64.b64encode(json.dumps(auth).encode()).decode()}
        pull = {"metadata": {"name": "pull"}, "type": "kubernetes.io/dockerconfigjson", "data": data}
        whole.api.create(f"/api/v1/namespaces/{ns}/secrets", pull)
        # the synchronizer
        whole.source(
            ns, f"{url}/{ns}.git", secretRef={"name": "read"}, verify={"mode": "HEAD", "secretRef": {"name": "signers"}}
        )
        whole.app(ns, "shop", "./app", wait=True)
        whole.ready(ns, "shop", first)
        # the automator
        look = {"image": f"{registry.host}/shop", "interval": "60m", "insecure": True, "secretRef": {"name": "pull"}}
        kinds = f"{IMAGES}/namespaces/{ns}"
        typed = {"apiVersion": "image.toolkit.fluxcd.io/v1", "metadata": {"name": "shop", "namespace": ns}}
        whole.api.create(f"{kinds}/imagerepositories", {**typed, "kind": "ImageRepository", "spec": look})
        choice = {"imageRepositoryRef": {"name": "shop"}, "policy": {"semver": {"range": "1.x"}}}
        whole.api.create(f"{kinds}/imagepolicies", {**typed, "kind": "ImagePolicy", "spec": choice})
        whole.automation(
            ns,
            annotations={"trimtab.dev/write-secret": "write"},
            commit={"signingKey": {"type": "ssh", "secretRef": {"name": "robot"}}},
        )
        whole.is_ready(ns)
        # the hints: of the registry, and of the forge
        hooks = {}
        for name, kind, target in (("images", "ImageRepository", "shop"), ("commits", "GitRepository", "repo")):
            whole.token(ns, name)
            whole.receiver(
                ns, name, type="generic", secretRef={"name": name}, resources=[{"kind": kind, "name": target}]
            )
            hooks[name] = whole.path(ns, name)
        hook = repo.bare / "hooks" / "post-receive"
        hook.write_text(HOOK.format(python=sys.executable, address=f"http://127.0.0.1:{whole.port}{hooks['commits']}"))
        hook.chmod(0o755)
        assert count(repo) == 1
        mark, asked = plane.audit_log.stat().st_size, len(forge.seen)

        # the builder pushes, and tells of it; that is all that the builder can do
        pushed = push(registry, "shop", "1.1.0")
        began = time.monotonic()
        assert whole.post(hooks["images"], b"{}")[0] == 200
        until(lambda: count(repo) == 2, lambda: whole.why(ns), 20)
        committed = time.monotonic() - began
        commit = head(repo)
        whole.ready(ns, "shop", commit)
        live = time.monotonic() - began
        print(f"from the push of an image: {committed:.2f} s to the commit, {live:.2f} s to Pods that run")
        assert committed < 60, "the next look by itself is an hour away"

        # the commit: one line, signed by the robot
        assert git(repo, "diff", "--numstat", first, "main") == "1\t1\tapp/shop.yaml"
        assert git(repo, "rev-parse", "main~1") == first
        image = f"{registry.host}/shop:1.1.0"
        assert f"Trimtab-Policy: {ns}/shop {image} (was {registry.host}/shop:1.0.0)" in message(repo)
        signers = tmp_path / "signers"
        signers.write_text(f'{EMAIL} namespaces="git" {robot_key}')
        git(repo, "-c", f"gpg.ssh.allowedSignersFile={signers}", "verify-commit", "main")
        # the synchronizer took it for its signature, and the Deployment rolled out
        source = whole.get_source(ns)
        assert condition(source, "SourceVerified")["status"] == "True"
        found = whole.api.get(f"/apis/apps/v1/namespaces/{ns}/deployments/shop")
        assert found["spec"]["template"]["spec"]["containers"][0]["image"] == image
        assert (found["status"]["updatedReplicas"], found["status"]["availableReplicas"]) == (2, 2)
        for reason, words in (
            ("Succeeded", f"pushed commit '{commit[:7]}'"),
            ("Progressing", f"Deployment/{ns}/shop configured"),
            ("ReconciliationSucceeded", f"Applied revision: main@sha1:{commit}"),
        ):
            until(lambda r=reason, w=words: [one for one in whole.events(ns, r) if w in one], whole.spoken(ns))

        # who did it
        who = changes(plane, mark, ns)
        assert who["deployments"] == {"trimtab-applier"}
        assert who["imagepolicies/status"] == {"trimtab-automate"}
        assert who["imageupdateautomations/status"] == {"trimtab-automate"}
        assert who["gitrepositories/status"] == {"trimtab-sync"}
        since = set(forge.seen[asked:])
        assert ("writer", "git-receive-pack") in since
        assert {user for user, service in since if service == "git-receive-pack"} == {"writer"}
        assert ("reader", "git-upload-pack") in since
        # without a hint it is found at the next look
        path = f"{kinds}/imagerepositories/shop"
        whole.api.merge(path, {"spec": {"interval": "3s"}})
        until(
            lambda: (
                (found := whole.api.get(path))["status"].get("observedGeneration") == found["metadata"]["generation"]
            ),
            lambda: whole.why(ns),
        )
        push(registry, "shop", "1.2.0")
        began = time.monotonic()
        until(lambda: count(repo) == 3, lambda: whole.why(ns), 20)
        print(f"without a hint, looked at every 3 s: {time.monotonic() - began:.2f} s to the commit")

        # and could not have done anything else
        assert pushed.startswith("sha256:")
        builder = base64.b64encode(f"builder:{PASSWORDS['builder']}".encode()).decode()
        basic = urllib.request.Request(f"{whole.api.server}/api", headers={"Authorization": f"Basic {builder}"})
        trusting = ssl.create_default_context(
            cadata=base64.b64decode(whole.api.cluster["certificate-authority-data"]).decode()
        )
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(basic, context=trusting, timeout=10)
        for user in ("builder", "reader"):
            address = url.replace("https://", f"https://{user}:{PASSWORDS[user]}@")
            command = ["git", "-c", "http.sslVerify=false", "push", f"{address}/{ns}.git", "HEAD:refs/heads/other"]
            assert subprocess.run(command, cwd=repo.work, capture_output=True).returncode != 0
        may = {"resource": "deployments", "group": "apps", "verb": "patch", "namespace": ns}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": "system:serviceaccount:flux-system:trimtab-automate", "resourceAttributes": may},
        }
        answer = whole.api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        assert answer["status"]["allowed"] is False
        whole.let_go(ns)
