"""`trimtab apply` against a real API server: once, again, moved, killed, and refused."""

import base64
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cluster, allowed, as_user_of, command_line
from tests.e2e.conftest import served as listening
from tests.e2e.world import Repo, until
from trimtab.cli.demo import repository as demo_repository
from trimtab.cluster.gitserver import GitServer
from trimtab.cluster.plane import ControlPlane

Done = subprocess.CompletedProcess[str]


class Ground:
    """A repository of directories, a namespace, and the command."""

    def __init__(self, root: Path, plane: ControlPlane, kubectl: Callable[..., str], namespace: str) -> None:
        self.root = root
        self.plane = plane
        self.kubectl = kubectl
        self.namespace = namespace
        (root / ".git").mkdir(parents=True)
        kubectl("create", "namespace", namespace)

    def write(self, app: str, **files: Any) -> None:
        """Write `name=object` as app/name.yaml; None removes the file."""
        directory = self.root / app
        directory.mkdir(exist_ok=True)
        for name, body in files.items():
            file = directory / f"{name}.yaml"
            if body is None:
                file.unlink()
            else:
                file.write_text(body if isinstance(body, str) else json.dumps(body, indent=1))

    def line(self, app: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
        words = ("apply", str(self.root / app), "--app", app, "-n", self.namespace, *arguments)
        return command_line(self.plane.kubeconfig, *words)

    def apply(self, app: str, *arguments: str, kubeconfig: Path | None = None) -> Done:
        words = ("apply", str(self.root / app), "--app", app, "-n", self.namespace, "--yes", *arguments)
        return as_user_of(kubeconfig or self.plane.kubeconfig, *words)

    def get(self, kind: str, name: str) -> Any:
        found = self.kubectl("get", kind, name, "-n", self.namespace, "-o", "json", "--ignore-not-found")
        return json.loads(found) if found else None

    def record(self, app: str) -> set[str]:
        """The names of the objects that an app has on record."""
        secret = self.get("secret", f"{app}.apply.inventory.trimtab.dev")
        if secret is None:
            return set()
        document = json.loads(base64.b64decode(secret["data"]["inventory"]))
        return {entry["id"].split("_")[1] for entry in document["entries"]}

    def mine(self, app: str) -> set[str]:
        """The names of the objects in the cluster that carry the labels of an app."""
        selector = f"apply.trimtab.dev/name={app}"
        found = self.kubectl("get", "configmap,deployment", "-n", self.namespace, "-l", selector, "-o", "name")
        return {line.partition("/")[2] for line in found.split()}

    def writes(self, since: int) -> list[str]:
        """What we have written since so many lines of the API server's own audit log."""
        lines = self.plane.audit_log.read_text().splitlines(keepends=True)[since:]
        asked = (json.loads(line) for line in lines if line.endswith("\n"))
        ours = (one for one in asked if one.get("userAgent", "").startswith("trimtab"))
        writes = (one for one in ours if one["verb"] in ("create", "patch", "update", "delete"))
        return [one["requestURI"] for one in writes if "dryRun" not in one["requestURI"]]

    def uid(self, name: str) -> str:
        return str(self.get("configmap", name)["metadata"]["uid"])


@pytest.fixture
def ground(plane: ControlPlane, kubectl: Callable[..., str], namespace: Callable[[], str], tmp_path: Path) -> Ground:
    return Ground(tmp_path / "repository", plane, kubectl, namespace())


def config(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data or {"colour": "blue"}}


def deployment(name: str = "web", image: str = "web:1.0", **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": image}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template, **spec},
    }


def test_what_is_declared_comes_to_be_and_a_second_apply_writes_nothing(ground: Ground) -> None:
    windows = "\ufeffapiVersion: v1\r\nkind: ConfigMap\r\nmetadata:\r\n  name: windows\r\n"
    ground.write("shop", web=deployment(), settings=config("settings"), windows=windows)
    first = ground.apply("shop", "--prune")
    assert (first.returncode, ground.record("shop")) == (0, {"web", "settings", "windows"}), first.stderr
    assert "all 3 objects are healthy" in first.stderr
    web = ground.get("deployment", "web")
    assert web["status"]["readyReplicas"] == 1
    assert web["metadata"]["labels"]["apply.trimtab.dev/name"] == "shop"
    many = len(ground.plane.audit_log.read_text().splitlines())
    again = ground.apply("shop", "--prune")
    assert (again.returncode, again.stdout) == (0, ""), again.stderr
    same = as_user_of(ground.plane.kubeconfig, "diff", str(ground.root / "shop"), "-n", ground.namespace)
    assert (same.returncode, same.stdout) == (0, "")
    assert ground.writes(many) == []


def test_what_moves_from_one_app_to_another_is_never_deleted_whichever_is_applied_first(ground: Ground) -> None:
    ground.write("a", kept=config("kept"), moved=config("moved"))
    ground.write("b", other=config("other"))
    assert [ground.apply(app, "--prune").returncode for app in "ab"] == [0, 0]
    uid = ground.uid("moved")
    ground.write("a", moved=None)
    ground.write("b", moved=config("moved"))
    left = ground.apply("a", "--prune")
    assert (left.returncode, ground.uid("moved")) == (0, uid), left.stderr
    assert f"kept for app {ground.namespace}/b" in left.stdout
    taken = ground.apply("b", "--prune")
    assert (taken.returncode, ground.uid("moved"), ground.record("b")) == (0, uid, {"other", "moved"}), taken.stderr
    # and back, the other way round: the new owner comes first
    ground.write("b", moved=None)
    ground.write("a", moved=config("moved"))
    back = ground.apply("a", "--prune")
    assert (back.returncode, ground.uid("moved")) == (0, uid), back.stderr
    released = ground.apply("b", "--prune")
    assert (released.returncode, ground.uid("moved")) == (0, uid), released.stderr
    assert (ground.record("a"), ground.record("b")) == ({"kept", "moved"}, {"other"})
    # what both declare is refused, and nothing is written, unless one stands in the place of the other
    ground.write("b", moved=config("moved", colour="red"))
    both = ground.apply("b", "--prune")
    assert (both.returncode, ground.get("configmap", "moved")["data"]) == (1, {"colour": "blue"})
    assert f"ConfigMap/{ground.namespace}/moved is managed by app {ground.namespace}/a" in both.stderr
    heir = ground.apply("b", "--prune", "--take-over", "a")
    assert (heir.returncode, ground.get("configmap", "moved")["data"]) == (0, {"colour": "red"}), heir.stderr


SUICIDE = """
import asyncio, os, signal, sys
from trimtab.base.direct import Direct
from trimtab.cli.main import cli

method, left, send = sys.argv[1], int(sys.argv[2]), Direct.send
one_by_one = asyncio.Lock()

async def counted(self, request):
    global left
    writes = request.method == method and "/configmaps/" in str(request.url) and "dryRun" not in str(request.url)
    if not writes:
        return await send(self, request)
    async with one_by_one:
        answer = await send(self, request)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

Direct.send = counted
cli.main(sys.argv[3:])
"""
"""The command, which kills itself when the server has answered so many writes."""


def killed(ground: Ground, method: str, after: int) -> None:
    command, env = ground.line("shop", "--yes", "--prune")
    command = [sys.executable, "-c", SUICIDE, method, str(after), *command[3:]]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    # or the next run would wait until it runs out
    ground.kubectl("delete", "lease", "shop.apply.trimtab.dev", "-n", ground.namespace)


def test_a_record_that_leads_out_of_the_repository_or_is_damaged_holds_deletions_and_harms_nothing(
    ground: Ground,
) -> None:
    ground.write("a", kept=config("kept"), old=config("old"))
    ground.write("b", other=config("other"))
    assert [ground.apply(app).returncode for app in "ab"] == [0, 0]
    ground.write("a", old=None)
    head = "b.apply.inventory.trimtab.dev"
    about = json.loads(base64.b64decode(ground.get("secret", head)["data"]["app"]))
    for forged, told in ((about | {"path": "../.."}, "no directory inside the repository"), ("?", "cannot be trusted")):
        text = base64.b64encode(json.dumps(forged).encode()).decode()
        patch = json.dumps({"data": {"app": text}})
        ground.kubectl("patch", "secret", head, "-n", ground.namespace, "--type=merge", "-p", patch)
        held = ground.apply("a", "--prune")
        assert (held.returncode, ground.mine("a")) == (2, {"kept", "old"}), held.stderr
        assert told in held.stderr
    assert f"If there is no such app, delete Secret {ground.namespace}/{head}, or say --disregard" in held.stderr
    freed = ground.apply("a", "--prune", "--disregard", f"{ground.namespace}/b")
    assert (freed.returncode, ground.mine("a")) == (0, {"kept"}), freed.stderr


def test_p13_a_record_that_cannot_be_trusted_is_built_anew_and_the_app_goes_on(ground: Ground) -> None:
    ground.write("shop", **{name: config(name) for name in ("one", "two", "three")})
    assert ground.apply("shop").returncode == 0
    head = "shop.apply.inventory.trimtab.dev"
    document = json.loads(base64.b64decode(ground.get("secret", head)["data"]["inventory"]))
    del document["entries"][0]
    patch = json.dumps({"data": {"inventory": base64.b64encode(json.dumps(document).encode()).decode()}})
    ground.kubectl("patch", "secret", head, "-n", ground.namespace, "--type=merge", "-p", patch)
    ground.write("shop", two=None)
    stopped = ground.apply("shop", "--prune")
    assert stopped.returncode == 1
    assert f"`trimtab repair inventory shop -n {ground.namespace}` builds it anew" in stopped.stderr
    words = ("repair", "inventory", "shop", "-n", ground.namespace)
    asked = as_user_of(ground.plane.kubeconfig, *words)
    assert (asked.returncode, asked.stdout.count("as recorded"), asked.stdout.count("found in")) == (1, 2, 1)
    repaired = as_user_of(ground.plane.kubeconfig, *words, "--yes")
    assert repaired.returncode == 0, repaired.stderr
    assert ground.record("shop") == {"one", "two", "three"}
    assert "nothing to repair" in as_user_of(ground.plane.kubeconfig, *words).stderr
    gone_on = ground.apply("shop", "--prune")
    assert (gone_on.returncode, ground.mine("shop")) == (0, {"one", "three"}), gone_on.stderr


def test_a_run_that_was_killed_leaves_no_orphan_and_the_next_goes_on(ground: Ground) -> None:
    names = [f"c{number}" for number in range(20)]
    ground.write("shop", **{name: config(name) for name in names})
    killed(ground, "PATCH", after=7)
    there = ground.mine("shop")
    assert len(there) == 7
    assert ground.record("shop") == set(names)
    ground.write("shop", **dict.fromkeys(sorted(there)[:5]))
    rest = set(names) - set(sorted(there)[:5])
    after = ground.apply("shop", "--prune")
    assert after.returncode == 0, after.stderr
    assert ground.mine("shop") == ground.record("shop") == rest

    gone = sorted(rest)[:6]
    ground.write("shop", **dict.fromkeys(gone))
    killed(ground, "DELETE", after=3)
    assert len(ground.mine("shop")) == len(rest) - 3
    assert ground.mine("shop") < ground.record("shop")
    assert ground.apply("shop", "--prune").returncode == 0
    assert ground.mine("shop") == ground.record("shop") == rest - set(gone)


def test_two_runs_at_once_take_turns_and_both_end_well(ground: Ground) -> None:
    ground.write("shop", **{f"c{number}": config(f"c{number}") for number in range(10)})
    command, env = ground.line("shop", "--yes", "--prune")
    both = [subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [run.communicate(timeout=60)[1] for run in both]
    assert [run.returncode for run in both] == [0, 0], told
    assert "".join(told).count(" created") == 11  # ten objects and one sum
    assert len(ground.mine("shop")) == len(ground.record("shop")) == 10


def test_deletions_beyond_the_budget_are_held_until_exactly_they_are_approved(ground: Ground) -> None:
    ground.write("shop", **{f"c{number}": config(f"c{number}") for number in range(3)}, kept=config("kept"))
    assert ground.apply("shop").returncode == 0
    ground.write("shop", c0=None, c1=None, c2=None)
    unasked = ground.apply("shop")
    assert (unasked.returncode, unasked.stdout.count("--prune deletes it")) == (0, 3), unasked.stderr
    held = ground.apply("shop", "--prune", "--deletion-budget", "2")
    assert (held.returncode, len(ground.mine("shop"))) == (2, 4)
    assert "3 deletions are held" in held.stderr
    digest = held.stderr.partition("--approve-prune ")[2].partition(".")[0]
    ground.kubectl("create", "configmap", "trimtab-freeze", "-n", ground.namespace)
    frozen = ground.apply("shop", "--prune", "--approve-prune", digest)
    assert (frozen.returncode, len(ground.mine("shop"))) == (2, 4)
    assert "freezes all deletions" in frozen.stderr
    ground.kubectl("delete", "configmap", "trimtab-freeze", "-n", ground.namespace)
    done = ground.apply("shop", "--prune", "--deletion-budget", "2", "--approve-prune", digest)
    assert (done.returncode, ground.mine("shop"), ground.record("shop")) == (0, {"kept"}, {"kept"}), done.stderr
    ground.write("shop", kept=None, nothing="# nothing\n")
    empty = ground.apply("shop", "--prune")
    assert (empty.returncode, ground.mine("shop")) == (1, {"kept"})
    assert "--allow-empty" in empty.stderr
    gone = ground.apply("shop", "--prune", "--allow-empty")
    assert (gone.returncode, ground.mine("shop"), ground.get("secret", "shop.apply.inventory.trimtab.dev")) == (
        *(0, set(), None),
    ), gone.stderr


def test_what_the_server_refuses_writes_nothing_at_all(ground: Ground) -> None:
    ground.write("shop", good=config("good"), bad=deployment(replicas=-1))
    refused = ground.apply("shop")
    assert (refused.returncode, ground.mine("shop"), ground.record("shop")) == (1, set(), set())
    assert f"Deployment/{ground.namespace}/web (shop/bad.yaml:1)" in refused.stderr
    assert "nothing was applied" in refused.stderr


def test_without_a_terminal_nothing_is_applied_unless_that_was_said(ground: Ground) -> None:
    ground.write("shop", settings=config("settings"))
    words = ("apply", str(ground.root / "shop"), "--app", "shop", "-n", ground.namespace)
    done = as_user_of(ground.plane.kubeconfig, *words)
    assert (done.returncode, ground.mine("shop")) == (1, set())
    assert "say --yes" in done.stderr
    looked = ground.apply("shop", "--dry-run")
    assert (looked.returncode, ground.record("shop")) == (2, set())
    assert looked.stdout == f"+ ConfigMap/{ground.namespace}/settings (shop/settings.yaml:1): only in git\n"


def test_a_definition_and_an_object_of_its_kind_come_in_one_go_and_what_is_ill_is_told(ground: Ground) -> None:
    group = f"{ground.namespace}.example.org"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {"group": group, "names": names, "scope": "Namespaced", "versions": [version]},
    }
    widget = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 3}}
    ground.write("shop", definition=definition, widget=widget)
    done = ground.apply("shop")
    assert done.returncode == 0, done.stderr
    assert ground.get(f"widgets.{group}", "w")["spec"] == {"size": 3}
    ill = deployment("ill", progressDeadlineSeconds=1)
    ill["spec"]["template"]["spec"]["nodeSelector"] = {"no": "where"}
    ground.write("shop", ill=ill)
    late = ground.apply("shop", "--timeout", "20s")
    assert (late.returncode, "Deployment" in late.stderr) == (2, True), late.stderr


def test_what_is_encrypted_is_opened_with_the_key_that_is_given_and_never_shown(ground: Ground) -> None:
    fixtures = Path(__file__).parents[2] / "sops" / "fixtures"
    ground.write("shop", sealed=(fixtures / "keyed" / "age.yaml").read_text())
    shut = ground.apply("shop")
    assert (shut.returncode, "--age-key" in shut.stderr) == (1, True), shut.stderr
    key = str(fixtures / "keys" / "age.agekey")
    done = ground.apply("shop", "--age-key", key)
    assert done.returncode == 0, done.stderr
    found = ground.kubectl("get", "secrets", "-n", ground.namespace, "-l", "apply.trimtab.dev/name=shop", "-o", "json")
    [secret] = json.loads(found)["items"]
    words = [base64.b64decode(value).decode() for value in secret["data"].values()]
    assert "correct horse battery staple" in words
    ground.kubectl("patch", "secret", secret["metadata"]["name"], "-n", ground.namespace, "-p", '{"data": null}')
    again = ground.apply("shop", "--age-key", key)
    assert (again.returncode, "correct horse" in again.stdout + again.stderr + done.stdout + done.stderr) == (0, False)


def test_without_a_namespace_for_the_record_nothing_is_applied(ground: Ground) -> None:
    ground.write("shop", settings=config("settings"))
    ground.namespace += "-none"
    done = ground.apply("shop")
    assert (done.returncode, f"create namespace {ground.namespace} first" in done.stderr) == (1, True), done.stderr


def test_who_may_not_write_is_told_and_it_is_unknown_what_there_is(ground: Ground) -> None:
    ground.write("shop", settings=config("settings"))
    stranger = ground.root.parent / "stranger.kubeconfig"
    stranger.write_bytes(ground.plane.kubeconfig_for("stranger"))
    done = ground.apply("shop", kubeconfig=stranger)
    assert (done.returncode, "forbidden" in done.stderr) == (3, True), done.stderr


def test_an_agent_follows_a_branch_brings_back_what_drifts_and_ends_cleanly(ground: Ground) -> None:
    served_from = ground.root.parent / "git"
    served_from.mkdir()
    with listening(GitServer(served_from)) as url:
        repo = Repo(served_from, "shop", url)
        repo.commit(
            {"deploy/settings.yaml": json.dumps(config("settings")), "deploy/old.yaml": json.dumps(config("old"))}
        )
        words = ("apply", repo.url, "--path", "deploy", "--app", "shop", "-n", ground.namespace, "--yes", "--prune")
        command, env = command_line(ground.plane.kubeconfig, *words, "--watch", "--interval", "1s")
        agent = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            until(lambda: ground.mine("shop") == {"settings", "old"} == ground.record("shop"), "all is applied")
            patch = '{"data": {"colour": "red"}}'
            ground.kubectl("patch", "configmap", "settings", "-n", ground.namespace, "--type=merge", "-p", patch)
            until(lambda: ground.get("configmap", "settings")["data"] == {"colour": "blue"}, "the drift is undone")
            repo.commit({"deploy/bad.yaml": json.dumps(deployment(replicas=-1))})
            repo.commit(
                {"deploy/bad.yaml": None, "deploy/old.yaml": None, "deploy/new.yaml": json.dumps(config("new"))}
            )
            until(lambda: ground.mine("shop") == {"settings", "new"} == ground.record("shop"), "the branch is followed")
            agent.send_signal(signal.SIGTERM)
            told, _ = agent.communicate(timeout=60)
        finally:
            agent.kill()
    assert agent.returncode == 0, told
    assert ground.get("lease", "shop.apply.trimtab.dev")["spec"]["holderIdentity"] == "", told
    assert 'data.colour: "blue" → "red"' in told


def test_what_a_kustomization_has_is_left_to_it(served: ControlPlane, ground: Ground, cluster: Cluster) -> None:
    ground.namespace = cluster.namespace
    cluster.app("shop")
    ground.write("shop", settings=config("settings"))
    same = ground.apply("shop")
    assert (same.returncode, "is a Kustomization, which its controller applies" in same.stderr) == (1, True)
    ground.write("other", settings=config("settings", colour="red"))
    theirs = config("settings")
    labels = {"name": "shop", "namespace": cluster.namespace}
    theirs["metadata"]["labels"] = {f"kustomize.toolkit.fluxcd.io/{name}": value for name, value in labels.items()}
    how = ("apply", "--server-side", "--field-manager=kustomize-controller", "-n", cluster.namespace, "-f", "-")
    ground.kubectl(*how, stdin=json.dumps(theirs))
    entry = {"id": f"{cluster.namespace}_settings__ConfigMap", "v": "v1"}
    cluster.status("kustomization", "shop", inventory={"entries": [entry]})
    held = ground.apply("other")
    assert (held.returncode, ground.get("configmap", "settings")["data"]) == (1, {"colour": "blue"}), held.stderr
    assert f"is managed by Kustomization {cluster.namespace}/shop" in held.stderr
    cluster.status("kustomization", "shop", inventory={"entries": []})
    taken = ground.apply("other")
    assert (taken.returncode, ground.get("configmap", "settings")["data"]) == (0, {"colour": "red"}), taken.stderr
    assert "kustomize.toolkit.fluxcd.io/name" not in ground.get("configmap", "settings")["metadata"]["labels"]
    # and back: what a controller has taken over is let go
    ground.kubectl(*how, stdin=json.dumps(theirs))
    assert ground.mine("other") == set()
    ground.write("other", settings=None, kept=config("kept"))
    left = ground.apply("other", "--prune")
    assert (left.returncode, ground.record("other"), ground.get("configmap", "settings") is None) == (
        *(0, {"kept"}, False),
    ), left.stderr


def test_at_a_terminal_it_is_asked_and_no_means_no(ground: Ground) -> None:
    ground.write("shop", settings=config("settings"))
    command, env = ground.line("shop")
    for answer, code, there in ((b"n\n", 2, set[str]()), (b"y\n", 0, {"settings"})):
        ours, theirs = pty.openpty()
        os.write(ours, answer)
        done = subprocess.run(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs, timeout=60)
        os.close(theirs)
        told = os.read(ours, 1 << 16).decode()
        os.close(ours)
        assert (done.returncode, ground.mine("shop")) == (code, there), told
        assert "1 to apply, 0 to delete?" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--app", "Shop;rm"), "is no name for an app"),
        (("--app", "shop", "--branch", "main"), "go with a URL"),
        (("--app", "shop", "--allow-empty"), "go with --prune"),
        (("--app", "shop", "--watch", "--dry-run"), "looks once"),
        (("--app", "shop", "--prune", "--deletion-budget", "many"), "neither a number"),
        (("--app", "shop", "--watch", "--interval", "1ms"), "is the least"),
    ],
    ids=["name", "branch", "empty", "watch", "budget", "interval"],
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(
    tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    done = as_user_of(tmp_path / "none", "apply", str(tmp_path), *words)
    assert (done.returncode, told in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        ("nowhere", "no directory nowhere"),
        ("ftp://example.org/x", "ftp"),
        ("https://user@", "https://"),
        ("https://git.example.org/x --path ../y", "inside the repository"),
    ],
)
def test_an_origin_that_is_none_is_refused(plane: ControlPlane, origin: str, told: str) -> None:
    done = as_user_of(plane.kubeconfig, "apply", *origin.split(), "--app", "shop", "--yes")
    assert (done.returncode, told in done.stderr) == (1, True), done.stderr


def test_an_account_with_the_rights_that_the_docs_list_applies_and_prunes(
    served: ControlPlane, ground: Ground, tmp_path: Path
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "apply.md").read_text()
    rules = page.partition("## Rights")[2].partition("```yaml\n")[2].partition("```")[0]
    user = f"ci-{ground.namespace}"
    roles = rules.replace("shop", ground.namespace).replace("trimtab-apply", user)
    ground.kubectl("apply", "-f", "-", stdin=roles)
    ground.kubectl("create", "role", "objects", "-n", ground.namespace, "--verb=*", "--resource=configmaps")
    for role in (user, "objects"):
        ground.kubectl("create", "rolebinding", role, "-n", ground.namespace, f"--role={role}", f"--user={user}")
    ground.kubectl("create", "clusterrolebinding", user, f"--clusterrole={user}", f"--user={user}")
    allowed(ground.kubectl, user, "create", "configmaps", "-n", ground.namespace)
    allowed(ground.kubectl, user, "create", "secrets", "-n", ground.namespace)
    allowed(ground.kubectl, user, "get", "namespaces/kube-system")
    account = tmp_path / "ci.kubeconfig"
    account.write_bytes(served.kubeconfig_for(user))
    ground.write("shop", settings=config("settings"), old=config("old"))
    first = ground.apply("shop", "--prune", kubeconfig=account)
    assert (first.returncode, ground.mine("shop")) == (0, {"settings", "old"}), first.stderr
    ground.write("shop", old=None)
    second = ground.apply("shop", "--prune", kubeconfig=account)
    assert (second.returncode, ground.mine("shop")) == (0, {"settings"}), second.stderr


REALWORLD = Path(__file__).parents[3].parent / "shared" / "realworld"


@pytest.mark.parametrize(
    ("root", "path", "more"),
    [
        (demo_repository.examples(), "apps/demo/catalog", ("--substitute", "log_level=debug")),
        (REALWORLD / "podinfo", "kustomize", ()),
        (REALWORLD / "microservices-demo", "kustomize/base", ("--dry-run",)),
    ],
    ids=["catalog", "podinfo", "microservices"],
)
def test_what_people_keep_in_git_is_applied_and_again_with_no_write(
    ground: Ground, root: Path, path: str, more: tuple[str, ...]
) -> None:
    if not root.is_dir():
        pytest.skip("the folder shared/realworld is not beside the checkout")
    words = ("apply", str(root / path), "--app", "real", "-n", ground.namespace, "--yes", "--prune", *more)
    looked = "--dry-run" in more
    first = as_user_of(ground.plane.kubeconfig, *words)
    assert (first.returncode, "only in git" in first.stdout) == (2 if looked else 0, True), first.stderr
    many = len(ground.plane.audit_log.read_text().splitlines())
    again = as_user_of(ground.plane.kubeconfig, *words)
    assert (again.returncode, again.stdout) == ((2, first.stdout) if looked else (0, "")), again.stderr
    assert ground.writes(many) == []
