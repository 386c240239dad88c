"""`trimtab release`, `hold`, `unhold`, `lock` and `unlock`, on a repository in git and a registry with a password."""

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.cli.conftest import Cluster
from tests.crypto.signing import SshPair, needs_ssh
from tests.registry.server import MANIFEST, RegistryServer, descriptor
from tests.remotes.world import Repository
from trimtab.api.gvk import GIT_REPOSITORY, IMAGE_POLICY, IMAGE_REPOSITORY, IMAGE_UPDATE_AUTOMATION
from trimtab.cli.git.committing import requester
from trimtab.cli.git.ground import Ground
from trimtab.cli.main import cli
from trimtab.cluster.plane import ControlPlane
from trimtab.commits import Snapshot, trailers_of

LOGIN = "reader:right"
CART = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: cart # the shop
  namespace: shop
spec:
  template:
    spec:
      containers:
      - name: app
        image: "{host}/acme/cart:1.4.1" # {{"$imagepolicy": "flux-system:cart"}}
      - name: side
        image: {host}/acme/side:1.0.0
"""
NIGHT = """\
apiVersion: batch/v1
kind: CronJob
metadata:
  name: night
  namespace: jobs
  annotations: {{filter.fluxcd.io/job: 'glob:main-*'}}
spec:
  jobTemplate:
    spec: {{template: {{spec: {{containers: [{{name: job, image: '{host}/acme/cart:main-1'}}]}}}}}}
"""
POLICY = """\
apiVersion: image.toolkit.fluxcd.io/v1
kind: ImagePolicy
metadata: {{name: cart, namespace: flux-system}}
spec:
  imageRepositoryRef: {{name: cart}}
  policy: {{semver: {{range: 1.x}}}}
---
apiVersion: image.toolkit.fluxcd.io/v1
kind: ImageRepository
metadata: {{name: cart, namespace: flux-system}}
spec: {{image: {host}/acme/cart, interval: 1m, insecure: true}}
"""


class World:
    """A registry that wants a password, a repository, and a clone of it whose owner is Ann."""

    def __init__(self, directory: Path, registry: RegistryServer) -> None:
        self.registry = registry
        self.home = directory / "home"
        self.bare = Repository.create(directory / "apps.git")
        self.clone = directory / "apps"
        files = {"shop/cart.yaml": CART, "jobs/night.yaml": NIGHT, "flux/policy.yaml": POLICY}
        self.bare.commit({path: text.format(host=registry.host).encode() for path, text in files.items()})
        self.home.mkdir()
        (self.home / ".gitconfig").write_text("[user]\nname = Ann\nemail = ann@example.org\n")
        login = base64.b64encode(LOGIN.encode()).decode()
        (self.home / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": login}}}))
        subprocess.run(["git", "clone", "-q", self.bare.path, self.clone], check=True)

    def run(self, *arguments: str, given: str = "", **env: str) -> Result:
        """The command, on the clone."""
        return self.call(*arguments, "--repo", str(self.clone), given=given, **env)

    def call(self, *arguments: str, given: str = "", **env: str) -> Result:
        """The command, of Ann."""
        variables = {
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home),
            "DOCKER_CONFIG": str(self.home),
            "GIT_CONFIG_NOSYSTEM": "1",
            **env,
        }
        return CliRunner().invoke(cli, arguments, env=variables, input=given, catch_exceptions=False)

    def head(self) -> str:
        return self.bare.git("rev-parse", "main")

    def file(self, path: str) -> str:
        return self.bare.git("show", f"main:{path}") + "\n"

    def trailers(self) -> dict[str, str]:
        return dict(trailers_of(self.bare.git("log", "-1", "--format=%B", "main")))


def image(registry: RegistryServer, name: str, tag: str, created: str) -> str:
    config = json.dumps({"created": created, "architecture": "amd64", "os": "linux"}).encode()
    registry.blob(name, config)
    kind = "application/vnd.oci.image.config.v1+json"
    body: dict[str, Any] = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(config, kind), "layers": []}
    return registry.tag(name, tag, json.dumps(body).encode())


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("registry"), private=True)
    server.start()
    for day, tag in enumerate(("1.4.1", "1.5.0", "2.0.0", "main-9", "main-10", "main-2"), 1):
        image(server, "acme/cart", tag, f"2026-01-0{day}T00:00:00Z")
    image(server, "acme/side", "1.0.0", "2026-01-01T00:00:00Z")
    yield server
    server.stop()


@pytest.fixture
def world(tmp_path: Path, registry: RegistryServer) -> World:
    return World(tmp_path, registry)


def test_a_release_is_one_commit_that_changes_the_tag_and_says_who_and_why(world: World) -> None:
    before = world.file("shop/cart.yaml")
    image_ = f"{world.registry.host}/acme/cart:2.0.0"
    done = world.run("release", "Deployment/shop/cart:app", "--image", image_, "--user", "Bob\nTrimtab-Policy: x/y z")
    assert (done.exit_code, done.stdout.strip()) == (0, world.head()), done.stderr
    assert world.file("shop/cart.yaml") == before.replace("1.4.1", "2.0.0")
    assert world.bare.git("diff", "--name-only", "main~1", "main") == "shop/cart.yaml"
    host = world.registry.host
    assert world.trailers()["Trimtab-Release"] == f"Deployment/shop/cart:app {host}/acme/cart:2.0.0 (was 1.4.1)"
    assert world.trailers()["Trimtab-Requested-By"] == f"Bob Trimtab-Policy: x/y z ({requester()})"
    assert world.trailers()["Trimtab-Held"] == f"flux-system/cart {host}/acme/cart:1.4.1"
    assert world.bare.git("log", "-1", "--format=%an <%ae> %s") == (
        f"Ann <ann@example.org> Release {host}/acme/cart:2.0.0 to Deployment/shop/cart"
    )
    header = next(line for line in done.stderr.splitlines() if line.startswith("WORKLOAD"))
    assert header.split() == ["WORKLOAD", "CONTAINER", "IMAGE", "STATUS", "UPDATES"]
    again = world.run("release", "shop/cart:app", "--image", f"{host}/acme/cart:2.0.0")
    assert (again.exit_code, again.stdout) == (0, ""), again.stderr


def test_without_a_tag_the_policy_or_the_workload_s_own_filter_chooses(world: World) -> None:
    done = world.run("release", "--all", "-o", "json")
    said = json.loads(done.stdout)
    assert (done.exit_code, said["commit"]) == (0, world.head())
    updates = {one["workload"]: [(up["container"], up["new"]) for up in one["updates"]] for one in said["results"]}
    host = world.registry.host
    # the policy's range ends before 2.0.0; main-2 was pushed last; nothing is newer than the side's 1.0.0
    assert updates == {
        "Deployment/shop/cart": [("app", f"{host}/acme/cart:1.5.0")],
        "CronJob/jobs/night": [("job", f"{host}/acme/cart:main-2")],
    }
    assert world.file("jobs/night.yaml").count("main-2") == 1
    assert world.trailers()["Trimtab-Policy"] == (
        f"flux-system/cart {host}/acme/cart:1.5.0 (was {host}/acme/cart:1.4.1)"
    )
    assert "Trimtab-Held" not in world.trailers()


def test_a_person_may_choose_for_each_container(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.cli.release.release._on_terminal", lambda: True)
    before = world.head()
    assert world.run("release", "--all", "-i", given="q\n").exit_code == 130
    assert world.run("release", "--all", "-i", given="n\nno\n").exit_code == 0
    assert world.head() == before
    done = world.run("release", "--all", "-i", given="main-11\n$(id)\nmain-9\nn\n")
    assert (done.exit_code, done.stdout.strip().splitlines()[-1]) == (0, world.head()), done.stderr
    assert "there is no image" in done.stderr
    assert "'$(id)' is not a tag" in done.stderr
    assert world.bare.git("diff", "--name-only", before, "main") == "jobs/night.yaml"
    assert "cart:main-9'" in world.file("jobs/night.yaml")


def test_a_dry_run_shows_the_diff_and_commits_nothing(world: World) -> None:
    before = world.head()
    done = world.run("release", "night", "--dry-run")
    assert (done.exit_code, world.head()) == (2, before)
    assert f"-{NIGHT.format(host=world.registry.host).splitlines()[-1]}" in done.stdout


REFUSED = [
    (("release", "cart", "--image", "{host}/acme/cart:9"), "there is no image"),
    (("release", "cart", "--image", "{host}/acme/cart:1.5.0'"), "is not a tag"),
    (("release", "nope"), "nope: it is not in the repository"),
    (("release", "cart", "--image", "nginx:1"), "it does not use the image"),
    (("release", "a b"), "names no object"),
    (("release",), "name workloads, or say --all"),
    (("release", "--all", "--interactive"), "asks on a terminal, and this is none"),
    (("lock", "cart"), "give the reason"),
    (("lock", "cart", "-m", "a\x1bb"), "another character that is not seen"),
    (("lock", "Service/cart", "-m", "x"), "there is no Service/cart in the repository"),
    (("unhold", "cart", "--image", "a:1"), "is of an ImagePolicy"),
    (("unhold", "cart", "--image", "a:b:c"), "--image: "),
    (("hold", "cart", "-m", "x", "--path", "jobs"), "there is no cart below jobs"),
    (("hold", "cart", "-m", "x", "--path", "../jobs"), "is not a directory inside the repository"),
]


def test_what_makes_no_sense_changes_nothing_and_says_why(world: World) -> None:
    before = world.head()
    for arguments, words in REFUSED:
        done = world.run(*(text.format(host=world.registry.host) for text in arguments))
        assert (done.exit_code, world.head()) == (1, before), arguments
        assert words in done.stderr, arguments


def test_a_registry_that_cannot_be_asked_is_not_taken_for_one_that_said_yes(world: World) -> None:
    before = world.head()
    named = f"{world.registry.host}/acme/cart:2.0.0"
    done = world.run("release", "cart:app", "--image", named, DOCKER_CONFIG=str(world.home / "none"))
    assert (done.exit_code, world.head()) == (3, before)
    assert "cannot be told" in done.stderr
    assert "--no-check releases it unseen" in done.stderr
    unseen = world.run("release", "cart:app", "--image", named, "--no-check", DOCKER_CONFIG=str(world.home / "none"))
    assert (unseen.exit_code, unseen.stdout.strip()) == (0, world.head())
    policy = world.run("release", "cart", DOCKER_CONFIG=str(world.home / "none"))
    assert policy.exit_code == 3
    assert "ImagePolicy flux-system/cart" in policy.stderr
    password = LOGIN.partition(":")[2]
    assert password not in done.output + policy.output


def test_what_is_locked_stays_until_it_is_unlocked(world: World) -> None:
    original = world.file("shop/cart.yaml")
    done = world.run("lock", "Deployment/shop/cart", "-m", "the database: moving", "--user", "Bob")
    assert (done.exit_code, done.stdout.strip()) == (0, world.head()), done.stderr
    assert '  annotations:\n    trimtab.dev/lock: "the database: moving (Bob)"\n' in world.file("shop/cart.yaml")
    asked = {"Trimtab-Lock": "Deployment/shop/cart", "Trimtab-Requested-By": f"Bob ({requester()})"}
    assert world.trailers() == asked
    before = world.head()
    refused = world.run("release", "cart", "--force")
    assert (refused.exit_code, world.head()) == (1, before)
    assert "locked: the database: moving (Bob); `trimtab unlock` ends that" in refused.stderr
    assert world.run("lock", "cart", "-m", "the database: moving", "--user", "Bob").stdout == ""
    assert world.run("unlock", "cart").exit_code == 0
    assert world.file("shop/cart.yaml") == original
    assert "it is not locked" in world.run("unlock", "cart").stderr


def test_what_is_held_is_released_by_force_alone(world: World) -> None:
    assert world.run("hold", "cart", "-m", "until Monday").exit_code == 0
    assert '"until Monday (Ann)"' in world.file("shop/cart.yaml")
    assert "--force releases it all the same" in world.run("release", "cart").stderr
    assert world.run("release", "cart", "--force").exit_code == 0
    assert "cart:1.5.0" in world.file("shop/cart.yaml")
    assert world.run("unhold", "cart").exit_code == 0
    assert "annotations" not in world.file("shop/cart.yaml")


def test_a_policy_is_held_and_let_go_with_the_image_that_was_undone(world: World) -> None:
    assert world.run("hold", "ImagePolicy/flux-system/cart", "-m", "soon").exit_code == 0
    assert "the ImagePolicy flux-system/cart is held: soon (Ann)" in world.run("release", "cart").stderr
    named = f"{world.registry.host}/acme/cart:1.5.0"
    assert world.run("unhold", "ImagePolicy/cart", "--image", named).exit_code == 0
    policy = world.file("flux/policy.yaml")
    assert f'annotations: {{trimtab.dev/unhold: "{named}"}}' in policy
    assert "trimtab.dev/hold" not in policy


def test_what_others_push_meanwhile_stays_and_nobody_is_overrun(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    text, look = world.file("shop/cart.yaml"), Ground.look
    pushed: list[str] = []

    def meanwhile(old: str, new: str) -> None:
        async def looked(ground: Ground) -> Snapshot:
            snapshot = await look(ground)
            pushed.append(world.bare.commit({"shop/cart.yaml": text.replace(old, new).encode(), "other": b"x"}))
            return snapshot

        monkeypatch.setattr(Ground, "look", looked)

    meanwhile("side:1.0.0", "side:1.0.9")
    named = f"{world.registry.host}/acme/cart:2.0.0"
    assert world.run("release", "cart:app", "--image", named).exit_code == 0
    assert world.bare.git("rev-parse", "main~1") == pushed[0]
    assert world.file("shop/cart.yaml") == text.replace("side:1.0.0", "side:1.0.9").replace("1.4.1", "2.0.0")
    text = world.file("shop/cart.yaml")
    meanwhile("cart:2.0.0", "cart:1.5.0")
    done = world.run("release", "cart:app", "--image", f"{world.registry.host}/acme/cart:1.4.1")
    assert (done.exit_code, world.head()) == (1, pushed[1])
    assert "acme/cart:1.5.0 by now: somebody was faster" in done.stderr


def test_a_login_that_a_helper_keeps_is_none_and_a_broken_file_is_told_without_its_content(world: World) -> None:
    before = world.head()
    config = world.home / "config.json"
    for text, words in (
        (json.dumps({"auths": {world.registry.host: {}}, "credsStore": "desktop"}), "ImagePolicy flux-system/cart"),
        ('{"auths": "s3cret"', ".dockerconfigjson"),
        (json.dumps({"auths": {world.registry.host: {"auth": "s3cret!"}}}), "is not base64 of user:password"),
    ):
        config.write_text(text)
        done = world.run("release", "cart:app")
        assert (done.exit_code, world.head(), words in done.stderr) == (3, before, True), done.stderr
        assert "s3cret" not in done.output


@needs_ssh
def test_a_release_is_signed_or_not_made(world: World, tmp_path: Path) -> None:
    pair = SshPair.create(tmp_path / "ann")
    assert world.run("release", "night", "--sign", str(pair.path)).exit_code == 0
    assert "-----BEGIN SSH SIGNATURE-----" in world.bare.git("cat-file", "commit", "main")
    (tmp_path / "broken").write_text("no key")
    before = world.head()
    done = world.run("release", "cart", "--sign", str(tmp_path / "broken"))
    assert (done.exit_code, world.head()) == (1, before)


def test_a_branch_that_takes_no_commit_has_answered(world: World) -> None:
    hook = world.bare.path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho this branch is protected >&2\nexit 1\n")
    hook.chmod(0o755)
    before = world.head()
    for arguments in (("release", "night"), ("hold", "cart", "-m", "until Monday"), ("lock", "cart", "-m", "audit")):
        done = world.run(*arguments)
        assert (done.exit_code, world.head()) == (1, before), done.stderr
        assert "this branch is protected" in done.stderr


OVERLAY = """\
namespace: shop
resources: [../base]
images:
- name: {host}/acme/cart
  newTag: 1.4.1
  digest: {digest}
"""


@pytest.mark.cluster
def test_an_app_is_released_by_what_its_cluster_and_its_repository_say(
    world: World, cluster: Cluster, served: ControlPlane
) -> None:
    host, ns = world.registry.host, cluster.namespace
    old, new = (world.registry.call("HEAD", f"/v2/acme/cart/manifests/{tag}", headers={"Accept": MANIFEST})[0]
                ["Docker-Content-Digest"] for tag in ("1.4.1", "1.5.0"))  # fmt: skip
    base = (
        CART.format(host=host).replace(' # {"$imagepolicy": "flux-system:cart"}', "").replace("  namespace: shop\n", "")
    )
    world.bare.commit(
        {
            "base/kustomization.yaml": b"resources: [cart.yaml]\n",
            "base/cart.yaml": base.encode(),
            "prod/kustomization.yaml": OVERLAY.format(host=host, digest=old).encode(),
            "dev/kustomization.yaml": b"namespace: dev\nresources: [../base]\n",
            "flux/policy.yaml": POLICY.format(host=host).replace("flux-system", ns).encode(),
        },
        replace=True,
    )
    url = "https://git.example.org/shop"
    cluster._create(
        GIT_REPOSITORY.api_version, "GitRepository", "shop", {"url": url, "interval": "1h", "ref": {"branch": "main"}}
    )
    cluster.app("shop", path="./prod")
    login = {"auths": {host: {"username": "reader", "password": "right"}}}
    secret = {"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": json.dumps(login)}}
    secret |= {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull"}}
    cluster.kubectl("-n", ns, "apply", "-f", "-", stdin=json.dumps(secret))
    image_ = {"image": f"{host}/acme/cart", "interval": "1h", "insecure": True, "secretRef": {"name": "pull"}}
    cluster._create(IMAGE_REPOSITORY.api_version, "ImageRepository", "cart", image_)
    policy = {"imageRepositoryRef": {"name": "cart"}, "policy": {"semver": {"range": "1.x"}}}
    cluster._create(IMAGE_POLICY.api_version, "ImagePolicy", "cart", policy)

    def run(*arguments: str, app: tuple[str, ...] = ("--app", "shop")) -> Result:
        words = (*arguments, *app, "-n", ns, "--remote", str(world.bare.path))
        return world.call(*words, KUBECONFIG=str(served.kubeconfig), DOCKER_CONFIG="/nonexistent")

    done = run("release", "cart:app")
    assert (done.exit_code, done.stdout.strip()) == (0, world.head()), done.stderr
    assert f"ImagePolicy {ns}/cart: the highest version in 1.x" in done.stderr
    # the kustomization says the image, pinned; so it is there that the tag and the digest change
    written = OVERLAY.format(host=host, digest=new).replace("1.4.1", "1.5.0")
    assert world.file("prod/kustomization.yaml") == written
    assert world.file("base/cart.yaml") == base
    shared = run("release", "cart:side", "--image", f"{host}/acme/side:1.0.1", "--no-check", "--dry-run")
    assert shared.exit_code == 2
    assert "Deployment/dev/cart gets its image from the same place, and changes too" in shared.stderr
    images = json.dumps({"spec": {"images": [{"name": f"{host}/acme/side", "newTag": "1"}]}})
    cluster.kubectl("-n", ns, "patch", "kustomization", "shop", "--type=merge", f"-p={images}")
    vain = run("release", "cart:side", "--image", f"{host}/acme/side:1.0.1", "--no-check")
    assert vain.exit_code == 1
    assert "is set by spec.images of the Kustomization" in vain.stderr
    assert run("lock", "cart", "-m", "audit").exit_code == 0
    assert world.file("base/cart.yaml").count("trimtab.dev/lock") == 1
    # where nothing is said of the repository, the live object tells its app
    labels = {"kustomize.toolkit.fluxcd.io/name": "shop", "kustomize.toolkit.fluxcd.io/namespace": ns}
    pod = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "app", "image": "x"}]}}
    live = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": pod}
    meta = {"name": "cart", "namespace": ns, "labels": labels}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": live}
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(body))
    assert run("unlock", "deploy/cart", app=()).exit_code == 0
    assert "trimtab.dev/lock" not in world.file("base/cart.yaml")
    missing = run("unlock", "deploy/nope", app=())
    assert (missing.exit_code, "there is no Deployment/nope in namespace" in missing.stderr) == (1, True)
    git = {"commit": {"author": {"email": "robot@example.org"}}}
    spec = {"sourceRef": {"kind": "GitRepository", "name": "shop"}, "interval": "1h", "git": git}
    cluster._create(IMAGE_UPDATE_AUTOMATION.api_version, "ImageUpdateAutomation", "shop", spec)
    undone = {
        "policy": f"{ns}/cart",
        "image": f"{host}/acme/cart:1.5.0",
        "path": "prod/kustomization.yaml",
        "commit": "1" * 40,
    }
    cluster.status("imageupdateautomation", "shop", held=[undone])
    assert run("unhold", "ImagePolicy/cart", "--path", "flux").exit_code == 0
    assert f'trimtab.dev/unhold: "{host}/acme/cart:1.5.0 after {"1" * 40}"' in world.file("flux/policy.yaml")
