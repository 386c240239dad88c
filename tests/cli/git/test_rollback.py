"""`trimtab rollback`: the commit it makes, what of the repository that is, and when it makes none."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Cluster, command_line
from tests.crypto.signing import SshPair, needs_ssh
from tests.e2e.conftest import served
from tests.remotes.world import WHO, Authority, Repository
from trimtab.api.gvk import IMAGE_POLICY
from trimtab.api.kustomize import Kustomization, KustomizationSpec, SourceRef
from trimtab.api.meta import ObjectMeta
from trimtab.cli.git.gitfiles import GitFiles
from trimtab.cli.git.reverting import closure, reverted
from trimtab.cluster.gitserver import GitServer
from trimtab.cluster.plane import ControlPlane
from trimtab.commits import Entry, Snapshot
from trimtab.commits.writer import LOOKBACK
from trimtab.manifests.refs import Key

Done = subprocess.CompletedProcess[str]
KUSTOMIZATION = b"resources: [../base, web.yaml]\n"
BASE = b"resources: [settings.yaml]\n"


def settings(value: str) -> bytes:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: s}}\ndata: {{v: '{value}'}}\n".encode()


# --- what goes back


def app(name: str, path: str) -> Kustomization:
    spec = KustomizationSpec(source_ref=SourceRef(kind="GitRepository", name="s"), path=path, interval="1m", prune=True)
    return Kustomization(metadata=ObjectMeta(name=name, namespace="n"), spec=spec)


def snapshot(commit: str, **files: bytes) -> Snapshot:
    contents = {name.replace("__", "/").replace("_", "."): data for name, data in files.items()}
    entries = {
        path: Entry("100644", f"{hash(data) & (1 << 160) - 1:040x}", len(data)) for path, data in contents.items()
    }
    return Snapshot(commit * 40, entries, contents)


THEN = snapshot(
    "1",
    shop__kustomization_yaml=KUSTOMIZATION,
    shop__web_yaml=settings("1"),
    base__kustomization_yaml=BASE,
    base__settings_yaml=settings("1"),
    shop__README_md=b"one",
)


def test_what_an_app_is_rendered_from_goes_back_and_nothing_else():
    now = snapshot(
        "2",
        shop__kustomization_yaml=KUSTOMIZATION + b"# more\nnamePrefix: x-\n",
        shop__web_yaml=settings("2"),
        base__kustomization_yaml=BASE,
        base__settings_yaml=settings("2"),
        shop__README_md=b"two",
        other__web_yaml=settings("2"),
    )
    found = reverted(now, THEN, None, app("shop", "./shop"), [app("other", "other")])
    assert set(found.restored) == {"shop/kustomization.yaml", "shop/web.yaml", "base/settings.yaml"}
    assert found.restored["shop/web.yaml"] == THEN.entries["shop/web.yaml"]
    assert found.shared == {}


def test_what_was_added_goes_and_what_was_deleted_comes_back():
    now = snapshot(
        "2",
        shop__kustomization_yaml=b"resources: [new.yaml]\n",
        shop__new_yaml=settings("2"),
        base__kustomization_yaml=BASE,
        base__settings_yaml=settings("1"),
    )
    found = reverted(now, THEN, None, app("shop", "./shop"), [])
    assert found.restored["shop/new.yaml"] is None
    assert found.restored["shop/web.yaml"] == THEN.entries["shop/web.yaml"]


def test_a_broken_commit_can_be_left_and_so_can_a_deleted_app():
    broken = snapshot("2", shop__kustomization_yaml=b"resources: [gone.yaml\n", shop__web_yaml=settings("1"))
    found = reverted(broken, THEN, None, app("shop", "./shop"), [])
    assert found.restored["shop/kustomization.yaml"] == THEN.entries["shop/kustomization.yaml"]
    assert found.restored["base/settings.yaml"] is not None
    empty = snapshot("3", README_md=b"")
    assert set(reverted(empty, THEN, None, app("shop", "./shop"), []).restored) == {
        *(path for path in THEN.entries if not path.endswith(".md"))
    }


def test_files_that_another_app_is_rendered_from_are_named():
    now = Snapshot("2" * 40, dict(THEN.entries), {**THEN.contents})
    contents = {**THEN.contents, "base/settings.yaml": settings("2"), "beta/kustomization.yaml": KUSTOMIZATION}
    contents["beta/web.yaml"] = settings("1")
    now = Snapshot(
        "2" * 40, {path: Entry("100644", f"{hash(d) & 0xFFFF:040x}", 1) for path, d in contents.items()}, contents
    )
    then = Snapshot(
        "1" * 40,
        {p: Entry("100644", f"{hash(d) & 0xFFFF:040x}", 1) for p, d in THEN.contents.items()},
        THEN.contents,
    )
    found = reverted(now, then, None, app("shop", "shop"), [app("beta", "beta")])
    assert found.shared == {"base/settings.yaml": [Key("n", "beta")]}


def test_files_that_the_source_leaves_out_stay():
    now = snapshot("2", shop__a_yaml=settings("2"), shop__b_yaml=settings("2"), _sourceignore=b"b.yaml\n")
    assert closure(GitFiles(now, None), app("shop", "shop")) == {"shop/a.yaml"}
    # As in the artifact, spec.ignore comes last and may take back what the file says.
    assert closure(GitFiles(now, "!b.yaml\n"), app("shop", "shop")) == {"shop/a.yaml", "shop/b.yaml"}


def test_bumps_that_are_undone_are_held():
    def image(tag: str) -> bytes:
        marked = f'image: r/web:{tag} # {{"$imagepolicy": "prod:web"}}\n'
        return marked.encode() + b'tag: "7" # {"$imagepolicy": "prod:api:tag"}\n'

    def parts(tag: str) -> bytes:
        return f'image: # {{"$imagepolicy": "prod:db"}}\n  repository: r/db\n  tag: "{tag}"\n'.encode()

    now = snapshot("2", shop__web_yaml=image("2"), shop__db_yaml=parts("9"))
    then = snapshot("1", shop__web_yaml=image("1"), shop__db_yaml=parts("8"))
    assert reverted(now, then, None, app("shop", "shop"), []).held == ("prod/db r/db:9", "prod/web r/web:2")


# --- the command


class Shop:
    """An app of a repository on disk, as a controller would have left it in the cluster."""

    def __init__(self, directory: Path, cluster: Cluster, plane: ControlPlane) -> None:
        self.bare = Repository.create(directory / "shop.git")
        self.cluster = cluster
        self._plane = plane
        self._home = directory
        (directory / ".gitconfig").write_text("[user]\n\tname = Ann\n\temail = ann@example.org\n")

    def app(self, *good: str) -> None:
        cluster = self.cluster
        cluster._create(
            "source.toolkit.fluxcd.io/v1",
            "GitRepository",
            "shop",
            {"url": "https://git.example.org/shop", "interval": "1h", "ref": {"branch": "main"}},
        )
        cluster.app("shop", path="./shop")
        history = [
            {
                "digest": f"sha256:{number}",
                "firstReconciled": "2026-01-01T00:00:00Z",
                "lastReconciled": "2026-01-01T00:00:00Z",
                "lastReconciledDuration": "1s",
                "lastReconciledStatus": "ReconciliationSucceeded",
                "totalReconciliations": 1,
                "metadata": {"revision": f"main@sha1:{commit}"},
            }
            for number, commit in enumerate(reversed(good))
        ]
        cluster.status("kustomization", "shop", history=history)

    def run(self, *arguments: str, remote: bool = True) -> Done:
        there = ("--remote", str(self.bare.path)) if remote else ()
        command, env = command_line(self._plane.kubeconfig, *arguments, "-n", self.cluster.namespace, *there)
        env = {name: value for name, value in env.items() if not name.startswith("GIT_")}
        env |= {"HOME": str(self._home), "GIT_CONFIG_NOSYSTEM": "1", "USER": "ann"}
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


@pytest.fixture
def shop(tmp_path: Path, cluster: Cluster, plane: ControlPlane) -> Shop:
    return Shop(tmp_path, cluster, plane)


@pytest.mark.cluster
def test_a_rollback_is_one_commit_on_top_that_says_what_and_who(shop: Shop):
    good = shop.bare.commit({"shop/a.yaml": settings("1"), "shop/$(id) b.yaml": settings("1").replace(b"s}", b"b}")})
    shop.bare.commit({"README.md": b"unrelated"})
    bad = shop.bare.commit(
        {
            "shop/a.yaml": settings("2").replace(b"\n", b"\r\n"),
            "shop/new.yaml": settings("2").replace(b"s}", b"n}"),
        }
    )
    shop.bare.git("update-ref", "refs/heads/main", bad)
    shop.app(good, bad)
    planned = shop.run("rollback", "shop", "--dry-run")
    assert planned.returncode == 2, planned.stderr
    assert "+data: {v: '1'}" in planned.stdout
    assert shop.bare.git("rev-parse", "main") == bad
    done = shop.run("rollback", "shop", "-m", "Too slow\n\nSee INC-7.")
    assert done.returncode == 0, done.stderr
    head = shop.bare.git("rev-parse", "main")
    assert done.stdout == f"{head}\n"
    assert shop.bare.git("rev-parse", "main^") == bad
    assert shop.bare.git("rev-parse", "main:shop") == shop.bare.git("rev-parse", f"{good}:shop")
    assert shop.bare.git("show", "main:README.md") == "unrelated"
    said = shop.bare.git("log", "-1", "--format=%an <%ae>%n%B", "main").splitlines()
    key = f"Kustomization/{shop.cluster.namespace}/shop"
    assert said[:5] == ["Ann <ann@example.org>", "Too slow", "", "See INC-7.", ""]
    assert said[5:8] == [f"Trimtab-Rollback: {key}", f"Trimtab-Rollback-From: {bad}", f"Trimtab-Rollback-To: {good}"]
    assert said[8].startswith("Trimtab-Requested-By: ann@")
    # A second time there is nothing that differs: nothing is undone twice, and nothing is committed.
    again = shop.run("rollback", "shop", "--to", good[:10])
    assert (again.returncode, again.stdout) == (0, "")
    assert shop.bare.git("rev-parse", "main") == head


@pytest.mark.cluster
def test_a_commit_that_was_long_ago_is_meant_by_the_first_digits_of_its_id(shop: Shop):
    good = shop.bare.commit({"shop/a.yaml": settings("1")})
    for number in range(LOOKBACK + 2):
        shop.bare.commit({"shop/a.yaml": settings(f"2.{number}")})
    shop.app()
    done = shop.run("rollback", "shop", "--to", good[:10])
    assert done.returncode == 0, done.stderr
    assert shop.bare.git("rev-parse", "main:shop") == shop.bare.git("rev-parse", f"{good}:shop")


@pytest.mark.cluster
def test_an_image_that_its_policy_let_go_is_told_to_come_back_at_once(shop: Shop):
    ns, kubectl = shop.cluster.namespace, shop.cluster.kubectl
    marked = settings("1") + f'x: {{}} # {{"$imagepolicy": "{ns}:web"}}\n'.encode()
    good = shop.bare.commit({"shop/a.yaml": marked.replace(b"x: {}", b"x: r/web:1")})
    shop.bare.commit({"shop/a.yaml": marked.replace(b"x: {}", b"x: r/web:2")})
    shop.app(good)
    policy = {"imageRepositoryRef": {"name": "web"}, "policy": {"semver": {"range": "1.x"}}}
    shop.cluster._create(IMAGE_POLICY.api_version, "ImagePolicy", "web", policy)
    words = f"◎ ImagePolicy {ns}/web has trimtab.dev/unhold: r/web:2, so that image automation writes it again at once"
    assert words not in shop.run("rollback", "shop", "--dry-run").stderr
    kubectl("-n", ns, "annotate", "imagepolicy", "web", "trimtab.dev/unhold=r/web:2 after 1234567")
    assert words not in shop.run("rollback", "shop", "--dry-run").stderr
    kubectl("-n", ns, "annotate", "--overwrite", "imagepolicy", "web", "trimtab.dev/unhold=r/web:2")
    done = shop.run("rollback", "shop", "--dry-run")
    assert done.returncode == 2, done.stderr
    assert words in done.stderr


@pytest.mark.cluster
@needs_ssh
def test_a_rollback_is_signed_if_there_is_a_key_and_never_unsigned_instead(shop: Shop, tmp_path: Path):
    good = shop.bare.commit({"shop/a.yaml": settings("1")})
    bad = shop.bare.commit({"shop/a.yaml": settings("2")})
    shop.app(good)
    pair = SshPair.create(tmp_path / "key")
    config = tmp_path / ".gitconfig"
    config.write_text(config.read_text() + "[commit]\n\tgpgSign = true\n")
    refused = shop.run("rollback", "shop")
    assert refused.returncode == 1
    assert "--sign FILE" in refused.stderr
    (tmp_path / "empty").write_bytes(b"")
    assert shop.run("rollback", "shop", "--sign", str(tmp_path / "empty")).returncode == 1
    assert shop.bare.git("rev-parse", "main") == bad
    config.write_text(config.read_text() + f"[gpg]\n\tformat = ssh\n[user]\n\tsigningkey = {pair.path}.pub\n")
    done = shop.run("rollback", "shop", "--branch", "trimtab/back")
    assert done.returncode == 0, done.stderr
    (tmp_path / "allowed").write_bytes(pair.allowed("ann@example.org"))
    words = ["-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={tmp_path / 'allowed'}"]
    argv = ["git", *words, "--git-dir", str(shop.bare.path), "verify-commit", "trimtab/back"]
    assert subprocess.run(argv, env=WHO, capture_output=True).returncode == 0
    assert shop.bare.git("rev-parse", "main") == bad


@pytest.mark.cluster
def test_what_cannot_go_back_is_said_and_nothing_is_committed(shop: Shop, tmp_path: Path):
    good = shop.bare.commit({"shop/a.yaml": settings("1")})
    shop.app(good)
    head = shop.bare.git("rev-parse", "main")
    said = {
        ("rollback", "shop"): "no good state on record that differs",
        ("rollback", "shop", "--to", "; rm -rf /"): "is no commit",
        ("rollback", "shop", "--repo", str(tmp_path)): "is not in a clone of git",
    }
    for words, why in said.items():
        done = shop.run(*words)
        assert done.returncode == 1, done.stderr
        assert why in done.stderr
    assert shop.bare.git("rev-parse", "main") == head
    gone = shop.run("rollback", "shop", "--remote", str(tmp_path / "none.git"), remote=False)
    assert gone.returncode == 3


@pytest.mark.cluster
def test_a_clone_tells_the_remote_and_stays_as_it_is(shop: Shop, tmp_path: Path):
    good = shop.bare.commit({"shop/a.yaml": settings("1")})
    shop.bare.commit({"shop/a.yaml": settings("2")})
    shop.app(good)
    clone = tmp_path / "a clone; $(id)"

    def git(*words: str) -> str:
        env = {**WHO, "HOME": str(tmp_path)}
        return subprocess.run(["git", "-C", clone, *words], env=env, capture_output=True, text=True, check=True).stdout

    subprocess.run(["git", "clone", "-q", shop.bare.path, clone], env=WHO, check=True)
    git("checkout", "-q", "--detach")
    (clone / ".git" / "MERGE_HEAD").write_text(f"{good}\n")
    (clone / "shop" / "a.yaml").write_text("mine")
    before = (git("status", "--porcelain"), git("rev-parse", "HEAD"))
    done = shop.run("rollback", "shop", "--repo", str(clone / "shop"), remote=False)
    assert done.returncode == 0, done.stderr
    assert "in the middle of a merge" in done.stderr
    assert (git("status", "--porcelain"), git("rev-parse", "HEAD")) == before
    assert shop.bare.git("rev-parse", "main:shop") == shop.bare.git("rev-parse", f"{good}:shop")
    kubectl: Callable[..., str] = shop.cluster.kubectl
    patch = json.dumps({"spec": {"ref": {"branch": None, "tag": "v1"}}})
    kubectl("-n", shop.cluster.namespace, "patch", "gitrepository", "shop", "--type=merge", f"-p={patch}")
    refused = shop.run("rollback", "shop", "--repo", str(clone), "--branch", "trimtab/x", remote=False)
    assert refused.returncode == 1
    assert "HEAD is detached" in refused.stderr
    assert (clone / ".git" / "MERGE_HEAD").exists()


@pytest.mark.cluster
def test_the_secret_of_the_source_may_sign_in_and_a_reader_is_told_so(shop: Shop, tmp_path: Path):
    good = shop.bare.commit({"shop/a.yaml": settings("1")})
    bad = shop.bare.commit({"shop/a.yaml": settings("2")})
    shop.app(good)
    authority = Authority.create(tmp_path)
    server = GitServer(tmp_path, accounts={"reader": "r", "robot": "w"}, readers={"reader"}, tls=authority.context)
    with served(server) as url:
        ns, kubectl = shop.cluster.namespace, shop.cluster.kubectl
        spec = {"url": f"{url}/shop.git", "secretRef": {"name": "git"}}
        kubectl("-n", ns, "patch", "gitrepository", "shop", "--type=merge", f"-p={json.dumps({'spec': spec})}")
        for user, password in (("reader", "r"), ("robot", "w")):
            data = {"username": user, "password": password, "ca.crt": authority.ca.decode()}
            body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "git"}, "stringData": data}
            kubectl("-n", ns, "apply", "-f", "-", stdin=json.dumps(body))
            done = shop.run("rollback", "shop", "--secret", remote=False)
            assert "robot:w" not in done.stderr
            if user == "reader":
                assert done.returncode == 1
                assert "may read and not write" in done.stderr
                assert shop.bare.git("rev-parse", "main") == bad
    assert done.returncode == 0, done.stderr
    assert shop.bare.git("rev-parse", "main:shop") == shop.bare.git("rev-parse", f"{good}:shop")


@pytest.mark.cluster
def test_what_another_app_is_rendered_from_goes_back_only_if_that_is_asked_for(shop: Shop):
    overlay = b"resources: [../base]\n"
    files = {"base/kustomization.yaml": BASE, "base/settings.yaml": settings("1"), "shop/kustomization.yaml": overlay}
    good = shop.bare.commit({**files, "beta/kustomization.yaml": overlay})
    bad = shop.bare.commit({"base/settings.yaml": settings("2")})
    shop.app(good)
    shop.cluster.app("beta", path="./beta")
    refused = shop.run("rollback", "shop")
    assert refused.returncode == 1
    beta = f"{shop.cluster.namespace}/beta"
    assert f"shares what would go back with {beta}: base/settings.yaml. --shared" in refused.stderr
    assert shop.bare.git("rev-parse", "main") == bad
    done = shop.run("rollback", "shop", "--shared")
    assert done.returncode == 0, done.stderr
    assert f"Trimtab-Rollback-Also: Kustomization/{beta}" in shop.bare.git("log", "-1", "--format=%B", "main")
