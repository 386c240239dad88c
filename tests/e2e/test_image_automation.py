"""Images that policies chose become commits: small, signed, once, and never against what a person has decided."""

import base64
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.e2e.automations import (
    EMAIL,
    IMAGES,
    Automating,
    count,
    git,
    head,
    installed,
    key_pair,
    message,
    played,
    shown,
)
from tests.e2e.conftest import served
from tests.e2e.world import SOURCES, Api, Controller, Repo, until
from tests.remotes.pull_forge import TOKEN, PullForge
from tests.remotes.world import Authority
from trimtab.audit.reading import records
from trimtab.audit.record import Committed
from trimtab.cli.main import cli
from trimtab.cluster.gitserver import GitServer

APP = """# who edits this by hand keeps the marker
apiVersion: apps/v1
kind: Deployment
metadata:   {name: app,   namespace: shop}
spec:
    template:
        spec:
          containers:
            - name: app
              image: 'ghcr.io/acme/app:1.0.0'   # {"$imagepolicy": "NS:app"}
"""
TEMPLATE = "{{ range .Changed.Changes }}{{ .OldValue }} -> {{ .NewValue }}{{ end }}\n\nby {{ .Values.who }}"
PULL = "Update {{ len .Changed.Changes }} image\n\nto {{ (index .Changed.Changes 0).NewValue }}"
NEW, NEWER = "ghcr.io/acme/app:1.1.0", "ghcr.io/acme/app:1.2.0"


@pytest.fixture(scope="module")
def auto(
    api: Api, kubeconfig: Path, git_root: Path, git_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Automating]:
    installed(api)
    directory = tmp_path_factory.mktemp("automation")
    controller = Controller(kubeconfig, directory, "--controllers=image-automation", "--no-leader-elect")
    controller.start()
    yield Automating(api, git_url, git_root, controller)
    assert controller.stop() == 0, controller.log[-3000:]
    assert "Traceback" not in controller.log, controller.log[-6000:]


@pytest.fixture
def ns(auto: Automating, request: pytest.FixtureRequest) -> Iterator[str]:
    stem = "".join(c if c.isalnum() else "-" for c in request.node.name.lower()).removeprefix("test-")
    name = auto.namespace(stem)
    yield name
    auto.let_go(name)


@pytest.fixture
def repo(auto: Automating, ns: str) -> Repo:
    """A repository with one app, and the source that names it."""
    repo = auto.repo(ns)
    repo.commit({"apps/app.yaml": APP.replace("NS", ns), "README.md": "hands off\n"})
    auto.source(ns, repo.url)
    return repo


def commits(auto: Automating, ns: str, repo: Repo, many: int, branch: str = "main") -> None:
    until(lambda: count(repo, branch) == many, lambda: f"{count(repo, branch)} commits: {auto.why(ns)}")


def test_a_new_choice_becomes_one_signed_commit_of_one_line(
    auto: Automating, ns: str, repo: Repo, tmp_path: Path
) -> None:
    private, public = key_pair(tmp_path, "opensesame")
    auto.secret(ns, "key", identity=private, password="opensesame")
    auto.policy(ns, "app")
    auto.automation(
        ns,
        commit={
            "signingKey": {"type": "ssh", "secretRef": {"name": "key"}},
            "messageTemplate": TEMPLATE,
            "messageTemplateValues": {"who": "us"},
        },
    )
    status = auto.is_ready(ns)
    assert (count(repo), status.get("lastPushCommit")) == (1, None)
    before = head(repo)
    started = auto.choose(ns, "app", f"{NEW}@sha256:{'a' * 64}")
    commits(auto, ns, repo, 2)
    print(f"from the choice to the commit: {time.monotonic() - started:.2f} s")
    assert time.monotonic() - started < 60, "the next look by itself is an hour away"
    value = f"{NEW}@sha256:{'a' * 64}"
    assert git(repo, "diff", "--numstat", before, "main") == "1\t1\tapps/app.yaml"
    assert shown(repo, "apps/app.yaml") + "\n" == APP.replace("NS", ns).replace("ghcr.io/acme/app:1.0.0", value)
    assert message(repo).splitlines() == [
        f"ghcr.io/acme/app:1.0.0 -> {value}",
        "",
        "by us",
        "",
        f"Trimtab-Policy: {ns}/app {value} (was ghcr.io/acme/app:1.0.0)",
        f"Trimtab-Automation: {ns}/auto",
    ]
    assert git(repo, "log", "-1", "--format=%an <%ae>", "main") == f"Robot <{EMAIL}>"
    signers = tmp_path / "signers"
    signers.write_text(f'{EMAIL} namespaces="git" {public}')
    config = ["-c", f"gpg.ssh.allowedSignersFile={signers}"]
    git(repo, *config, "verify-commit", "main")
    until(lambda: auto.get_automation(ns)["status"].get("lastPushCommit") == head(repo), lambda: auto.why(ns))
    status = auto.get_automation(ns)["status"]
    assert status["observedPolicies"] == {
        "app": {"name": "ghcr.io/acme/app", "tag": "1.1.0", "digest": f"sha256:{'a' * 64}"}
    }
    assert status["observedSourceRevision"] == f"main@sha1:{head(repo)}"
    assert [one["message"] for one in status["conditions"] if one["type"] == "Ready"] == ["repository up-to-date"]
    words = until(lambda: auto.events(ns, "Succeeded"), "the event")
    assert words[0].startswith(f"pushed commit '{head(repo)[:7]}' to branch 'main'\nghcr.io/acme/app:1.0.0 -> {NEW}")
    ledger = auto.controller.directory / "data" / "ledger"
    committed = until(lambda: [one for one in written(ledger) if one.commit == head(repo)], "it is on record")
    assert [(one.actor.signer, one.actor.author, one.url, one.branch, one.paths) for one in committed] == [
        (fingerprint(public), f"Robot {EMAIL}", repo.url, "main", ("apps/app.yaml",))
    ]


def written(ledger: Path) -> list[Committed]:
    return [one for line in records(ledger) if isinstance(one := line.record.event, Committed)]


def fingerprint(public: str) -> str:
    digest = hashlib.sha256(base64.b64decode(public.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def test_what_somebody_undid_is_left_alone_until_there_is_another_image(auto: Automating, ns: str, repo: Repo) -> None:
    auto.policy(ns, "app", NEW)
    auto.automation(ns)
    commits(auto, ns, repo, 2)
    git(repo, "update-ref", "refs/heads/elsewhere", "main")
    repo._git("pull", "-q", str(repo.bare), "main")
    reverted = repo.revert()
    auto.poke_automation(ns)
    assert head(repo) == reverted
    words = auto.told(ns, "Held")
    assert f"{NEW} of {ns}/app was undone in apps/app.yaml by commit {reverted[:7]} of t <t@example.org>" in words
    held = {"policy": f"{ns}/app", "image": NEW, "path": "apps/app.yaml", "commit": reverted}
    assert auto.get_automation(ns)["status"]["held"] == [held]
    # a marker that was never written is no reverted one
    repo.commit({"apps/other.yaml": APP.replace("NS", ns)})
    auto.poke_automation(ns)
    commits(auto, ns, repo, 5)
    assert (NEW in shown(repo, "apps/other.yaml"), NEW in shown(repo, "apps/app.yaml")) == (True, False)
    # somebody means it
    assert auto.get_automation(ns)["status"]["held"] == [held]
    auto.annotate_policy(ns, "app", unhold=f"{NEW} after {reverted}")
    commits(auto, ns, repo, 6)
    assert NEW in shown(repo, "apps/app.yaml")
    until(lambda: "held" not in auto.get_automation(ns)["status"], lambda: auto.why(ns))
    repo._git("pull", "-q", str(repo.bare), "main")
    repo.commit({"apps/app.yaml": APP.replace("NS", ns)})
    auto.poke_automation(ns)
    until(lambda: auto.get_automation(ns)["status"].get("held", held) != held, lambda: auto.why(ns))
    assert count(repo) == 7
    auto.choose(ns, "app", NEWER)
    commits(auto, ns, repo, 8)
    assert NEWER in shown(repo, "apps/app.yaml")
    until(lambda: not auto.get_automation(ns)["status"].get("held"), lambda: auto.why(ns))


def test_a_workload_of_flux_v1_follows_without_a_marker_and_not_while_it_is_locked(
    auto: Automating, ns: str, repo: Repo
) -> None:
    follows = APP.partition("   # {")[0] + "\n"
    follows = follows.replace("shop}", "shop, annotations: {fluxcd.io/automated: 'true', filter.fluxcd.io/app: '1.*'}}")
    repo.commit({"apps/app.yaml": follows})
    auto.policy(ns, "app", NEW)
    auto.automation(ns)
    commits(auto, ns, repo, 3)
    written = follows.replace("ghcr.io/acme/app:1.0.0", NEW)
    assert shown(repo, "apps/app.yaml") + "\n" == written
    assert f"Trimtab-Policy: {ns}/app {NEW} (was ghcr.io/acme/app:1.0.0)" in message(repo)
    repo._git("pull", "-q", str(repo.bare), "main")
    repo.commit({"apps/app.yaml": written.replace("{fluxcd", "{trimtab.dev/lock: audit (Ann), fluxcd")})
    auto.choose(ns, "app", NEWER)
    words = auto.told(ns, "Held")
    assert "apps/app.yaml:10: spec.template.spec.containers[0].image" in words
    assert "is locked: audit (Ann)" in words
    assert count(repo) == 4


def test_markers_and_policies_that_do_not_meet_are_told_and_nothing_else_is_touched(
    auto: Automating, ns: str, repo: Repo
) -> None:
    theirs = APP.replace("NS", "another")
    repo.commit({"apps/theirs.yaml": theirs, "apps/broken.yaml": 'a: {"$imagepolicy": }\n b: [\n'})
    auto.policy(ns, "app", NEW)
    auto.policy(ns, "unused", "ghcr.io/acme/unused:3")
    auto.policy(ns, "held", "ghcr.io/acme/held:3", annotations={"trimtab.dev/hold": "4.2 is broken"})
    auto.policy(ns, "none")
    auto.automation(ns, update={"strategy": "Setters", "path": "./apps/"})
    commits(auto, ns, repo, 3)
    words = auto.told(ns, "Unmatched")
    assert "apps/theirs.yaml:10: the marker is of the policy another/app" in words
    assert "apps/broken.yaml:" in words
    assert f"no marker names the policy {ns}/unused" in words
    assert f"{ns}/app" not in words
    assert f"{ns}/held has trimtab.dev/hold: 4.2 is broken" in auto.told(ns, "Held")
    assert shown(repo, "apps/theirs.yaml") + "\n" == theirs
    assert git(repo, "diff", "--name-only", "main~1", "main") == "apps/app.yaml"


def test_each_policy_gets_a_commit_of_its_own_where_that_is_asked_for(auto: Automating, ns: str, repo: Repo) -> None:
    repo.commit({"apps/db.yaml": APP.replace("NS:app", f"{ns}:db").replace("acme/app", "acme/db")})
    auto.policy(ns, "app", NEW)
    auto.policy(ns, "db", "ghcr.io/acme/db:2")
    auto.automation(ns, annotations={"trimtab.dev/commits": "policy", "trimtab.dev/skip-ci": "true"})
    commits(auto, ns, repo, 4)
    said = git(repo, "log", "-2", "--format=%s|%(trailers:key=Trimtab-Policy,valueonly,separator=;)", "main")
    assert said.splitlines() == [
        f"Update from image update automation [skip ci]|{ns}/db ghcr.io/acme/db:2 (was ghcr.io/acme/db:1.0.0)",
        f"Update from image update automation [skip ci]|{ns}/app {NEW} (was ghcr.io/acme/app:1.0.0)",
    ]


def test_a_branch_that_is_protected_is_told_and_not_pushed_at_again_and_again(
    auto: Automating, ns: str, repo: Repo
) -> None:
    hook = repo.bare / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho tried >> pushes\necho 'main is protected' >&2\nexit 1\n")
    hook.chmod(0o755)
    auto.policy(ns, "app", NEW)
    auto.automation(ns, interval="1s")
    assert "the branch main does not take the commit. The server said: " in (words := auto.fails(ns, "PushRefused"))
    assert "main is protected" in words
    auto.poke_automation(ns)
    # by itself, after a pause, and for the asking; not once a second
    assert (repo.bare / "pushes").read_text() in ("tried\n" * 2, "tried\n" * 3)
    hook.unlink()
    auto.choose(ns, "app", NEWER)
    commits(auto, ns, repo, 2)
    auto.is_ready(ns)


REFUSED = [
    (
        {"commit": {"messageTemplate": "{{ range .Updated.Images }}{{ end }}"}},
        {},
        "RemovedTemplateField",
        "line 1: .Updated was removed: write .Changed.FileChanges",
    ),
    ({"commit": {"messageTemplate": "{{ now }}"}}, {}, "UpdateFailed", "line 1: there is no function 'now'"),
    (
        {"commit": {"messageTemplate": "{{ range 1000 }}{{ range 1000 }}{{ end }}{{ end }}"}},
        {},
        "UpdateFailed",
        "more than 100,000 steps are not made",
    ),
    ({"commit": {"signingKey": {"secretRef": {"name": "gone"}}}}, {}, "SigningFailed", "/gone does not exist"),
    (
        {"commit": {"signingKey": {"secretRef": {"name": "bad"}}}},
        {},
        "SigningFailed",
        "has no git.asc, or an empty one",
    ),
    ({"update": {"path": "./nowhere"}}, {}, "UpdateFailed", "there is no directory nowhere in commit"),
    ({"update": {"path": "../.."}}, {}, "UpdateFailed", "is not a directory inside the repository"),
    ({"checkout": {"ref": {"tag": "v1"}}}, {}, "InvalidSourceConfiguration", "spec.git.checkout.ref is no branch"),
    ({"sourceRef": {"name": "none"}}, {}, "SourceManagerFailed", "/none does not exist"),
    ({"sourceRef": {"name": "repo", "namespace": "kube-system"}}, {}, "AccessDenied", "kube-system"),
    (
        {"sourceRef": {"name": "platform", "namespace": "flux-system"}},
        {},
        "AccessDenied",
        "credentials of a source of namespace flux-system do not write for namespace",
    ),
    (
        {"policySelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
        {},
        "InvalidPolicySelector",
        "needs a key, and values",
    ),
    ({"push": {"refspec": "main:refs/x"}}, {}, "UpdateFailed", "names no branch and no tag"),
    ({}, {"trimtab.dev/pull-request": "github"}, "InvalidSourceConfiguration", "needs spec.git.push.branch"),
    ({}, {"trimtab.dev/freeze": "whenever"}, "ValidationFailed", "trimtab.dev/freeze: 'whenever'"),
    ({}, {"trimtab.dev/write-secret": "nobody"}, "AuthenticationFailed", "/nobody does not exist"),
]


def test_what_makes_no_sense_is_told_with_its_reason_and_nothing_is_committed(
    auto: Automating, ns: str, repo: Repo
) -> None:
    auto.policy(ns, "app", NEW)
    auto.secret(ns, "bad", identity="x")
    auto.source("flux-system", repo.url, "platform")
    try:
        for number, (spec, annotations, _, _) in enumerate(REFUSED):
            auto.automation(ns, f"auto-{number}", annotations, **dict(spec))
        for number, (_, _, reason, words) in enumerate(REFUSED):
            assert words in auto.fails(ns, reason, f"auto-{number}")
    finally:
        auto.api.delete(f"{SOURCES}/namespaces/flux-system/gitrepositories/platform")
    assert count(repo) == 1


def test_the_command_line_knows_the_kind(auto: Automating, ns: str, repo: Repo, kubeconfig: Path) -> None:
    auto.policy(ns, "app", NEW)
    auto.automation(ns)
    commits(auto, ns, repo, 2)
    auto.is_ready(ns)

    def run(*words: str) -> str:
        done = CliRunner().invoke(cli, ["--kubeconfig", str(kubeconfig), *words, "-n", ns])
        assert done.exit_code == 0, done.output
        return done.output

    assert head(repo)[:8] in run("get", "image", "updates")
    assert f"is up to date, last pushed {head(repo)[:8]}" in run("reconcile", "image", "update", "auto")


def test_a_window_without_commits_holds_them_back_until_it_is_over(auto: Automating, ns: str, repo: Repo) -> None:
    auto.policy(ns, "app", NEW)
    auto.automation(ns, annotations={"trimtab.dev/freeze": "* * * * * 2h UTC"})
    until(lambda: "no commits until " in auto.told(ns, "Ready"), lambda: auto.why(ns))
    assert count(repo) == 1
    path = f"{IMAGES}/namespaces/{ns}/imageupdateautomations/auto"
    auto.api.merge(path, {"metadata": {"annotations": {"trimtab.dev/freeze": None}}})
    commits(auto, ns, repo, 2)


def test_a_run_that_finds_nothing_writes_nothing(auto: Automating, ns: str, repo: Repo) -> None:
    auto.policy(ns, "app", NEW)
    auto.automation(ns, interval="1s")
    commits(auto, ns, repo, 2)
    until(lambda: auto.get_automation(ns)["status"].get("lastPushCommit"), lambda: auto.why(ns))
    before = auto.get_automation(ns)["metadata"]["resourceVersion"]
    runs = auto.runs(ns)
    until(lambda: auto.runs(ns) >= runs + 2, "two more runs")
    assert auto.get_automation(ns)["metadata"]["resourceVersion"] == before


def test_a_key_that_may_only_read_is_told_and_not_tried_again(
    auto: Automating, ns: str, git_root: Path, tmp_path: Path
) -> None:
    authority = Authority.create(tmp_path)
    server = GitServer(
        git_root,
        accounts={"reader": "not-to-be-seen", "writer": "not-to-be-seen"},
        readers=frozenset({"reader"}),
        tls=authority.context,
    )
    repo = auto.repo(ns)
    repo.commit({"apps/app.yaml": APP.replace("NS", ns)})
    with served(server) as url:
        auto.secret(ns, "read", username="reader", password="not-to-be-seen", ca__crt=authority.ca.decode())
        # suspended, so that nobody but the automation asks the server
        auto.source(ns, f"{url}/{ns}.git", secretRef={"name": "read"}, suspend=True)
        auto.policy(ns, "app", NEW)
        auto.automation(ns, interval="1s")
        assert "the credentials may read and not write" in auto.fails(ns, "ReadOnly")
        assert "not-to-be-seen" not in auto.controller.log
        until(lambda: auto.events(ns, "SharedCredential"), "what reads also writes")
        asked, runs = len(server.requests), auto.runs(ns)
        until(lambda: auto.runs(ns) >= runs + 2, "two more runs")
        assert len(server.requests) == asked
        assert count(repo) == 1
        # a key for writing, which is the automation's alone
        auto.secret(ns, "write", username="writer", password="not-to-be-seen", ca__crt=authority.ca.decode())
        path = f"{IMAGES}/namespaces/{ns}/imageupdateautomations/auto"
        auto.api.merge(path, {"metadata": {"annotations": {"trimtab.dev/write-secret": "write"}}})
        commits(auto, ns, repo, 2)
        auto.is_ready(ns)


def test_a_branch_of_its_own_becomes_a_pull_request_that_is_kept_up_to_date(
    auto: Automating, ns: str, tmp_path: Path
) -> None:
    authority = Authority.create(tmp_path)
    repo = auto.repo("acme/shop")
    base = repo.commit({"apps/app.yaml": APP.replace("NS", ns)})
    auto.source(ns, repo.url)
    with played(PullForge("github", authority.context)) as forge:
        auto.secret(ns, "forge", token=TOKEN, address=forge.url, ca__crt=authority.ca.decode())
        auto.policy(ns, "app", NEW)
        auto.automation(
            ns,
            annotations={"trimtab.dev/pull-request": "github", "trimtab.dev/pull-request-secret": "forge"},
            push={"branch": "trimtab/shop"},
            commit={"messageTemplate": PULL},
        )
        until(lambda: forge.pulls, lambda: auto.why(ns))
        assert (head(repo), git(repo, "rev-parse", "trimtab/shop~1")) == (base, base)
        pull = forge.pulls[0]
        assert (pull["head"], pull["base"], pull["title"]) == ("trimtab/shop", "main", "Update 1 image")
        assert pull["body"].startswith(f"to {NEW}\n\nTrimtab-Policy: {ns}/app {NEW} (was ")
        until(lambda: auto.events(ns, "PullRequestOpened"), lambda: auto.why(ns))
        auto.choose(ns, "app", NEWER)
        until(lambda: NEWER in forge.pulls[0]["body"], lambda: auto.why(ns))
        assert (len(forge.pulls), git(repo, "rev-parse", "trimtab/shop~1")) == (1, base)
        # who merges it ends it
        git(repo, "update-ref", "refs/heads/main", "trimtab/shop")
        auto.poke_automation(ns)
        assert auto.is_ready(ns)["observedSourceRevision"] == f"main@sha1:{head(repo)}"
