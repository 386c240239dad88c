"""`trimtab preview --offline`: what can be known of files alone, and what is no good to be asked about."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.cli.preview.test_preview import config_map, deployment, git
from trimtab.cli.connect import Options
from trimtab.cli.diff.diff import diff
from trimtab.cli.preview.preview import preview
from trimtab.cli.preview.previewed import WorkingTree
from trimtab.cli.preview.previews import Asked, _Previewing
from trimtab.cli.render.rendering import Recipe
from trimtab.cli.render.validate import validate
from trimtab.kube.errors import Forbidden
from trimtab.preview.verdict import Verdict

Preview = Callable[..., Result]
NO_CLUSTER = (
    "no cluster is asked: what is live, what would be pruned, and whether schema, policies, quotas and fields that "
    "cannot change allow it is not known"
)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit: an app `shop`."""
    root = tmp_path / "a repository; $(touch owned)"
    (root / "shop").mkdir(parents=True)
    git(root, "init", "--quiet")
    write(root, web=deployment("web:1"), settings=config_map(colour="blue"))
    commit(root)
    return root


@pytest.fixture
def offline(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Preview:
    """The command, called in the repository, without a cluster."""
    monkeypatch.chdir(repository)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(preview, ["--offline", *arguments])

    return run


def write(root: Path, **files: Any) -> None:
    for name, body in files.items():
        path = root / "shop" / f"{name}.yaml"
        path.write_bytes(body if isinstance(body, bytes) else json.dumps(body, indent=1).encode())


def commit(root: Path) -> str:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "a change")
    return git(root, "rev-parse", "HEAD").strip()


def objects(done: Result) -> dict[str, Any]:
    return {f"{one['kind']}/{one['name']}": one for one in json.loads(done.stdout)["objects"]}


def test_a_tree_that_declares_what_its_base_declares_needs_nobody_to_be_asked(offline: Preview) -> None:
    done = offline("shop", "--base", "main")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "✔ it will succeed: 0 of 2 objects change\n"


def test_the_source_may_be_a_part_of_the_repository(offline: Preview, repository: Path) -> None:
    git(repository, "mv", "shop", "web")
    (repository / "part").mkdir()
    git(repository, "mv", "web", "part/shop")
    commit(repository)
    (repository / "part" / "shop" / "settings.yaml").write_text(json.dumps(config_map(colour="red")))
    for head in ((), ("--head", "HEAD")):
        done = offline("part/shop", "--root", "part", "--base", "HEAD", *head, "-o", "json")
        places = [found["origin"]["file"] for found in objects(done).values()]
        assert places == ([] if head else ["shop/settings.yaml"])
    assert "is not below" in offline(".", "--root", "part", "--base", "HEAD").stderr


def test_what_changes_is_told_by_path_and_what_nobody_was_asked_is_unknown(offline: Preview, repository: Path) -> None:
    write(repository, web=deployment("web:2"), settings=config_map(colour="red"))
    done = offline("shop", "--base", "HEAD")
    assert done.exit_code == 3
    assert done.stdout.splitlines() == [
        "~ Deployment/web (shop/web.yaml:1): changes [restart]",
        "    ! restart: spec.template: 3 Pods are replaced: the template changes",
        '    spec.template.spec.containers[name=web].image: "web:1" → "web:2"',
        "~ ConfigMap/settings (shop/settings.yaml:1): changes",
        '    data.colour: "blue" → "red"',
        f"? {NO_CLUSTER}",
        "? no registry is asked: whether the images exist is not known",
    ]


def test_what_fails_in_any_case_fails_without_a_cluster(offline: Preview, repository: Path) -> None:
    (repository / "shop" / "settings.yaml").unlink()
    removed = offline("shop", "--base", "HEAD", "-o", "json")
    assert removed.exit_code == 2
    [judgement] = objects(removed)["Deployment/web"]["judgements"]
    assert judgement["verdict"] == "reference-missing"
    assert judgement["message"] == "ConfigMap/settings is deleted by the same change"
    write(repository, settings=b"data: [\n")
    broken = offline("shop", "-o", "json")
    assert broken.exit_code == 2
    [one] = json.loads(broken.stdout)["objects"]
    assert (one["verdict"], one["kind"], one["name"]) == ("build-failed", "Directory", "shop")
    assert "shop/settings.yaml:2" in one["judgements"][0]["message"]


def test_what_stays_encrypted_is_unknown_unless_it_is_declared_as_before(offline: Preview, repository: Path) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "data": {"a": "ENC[AES256_GCM,data:x]"}}
    write(repository, secret={**secret, "sops": {"mac": "ENC[AES256_GCM,data:one]"}})
    assert objects(offline("shop", "--base", "HEAD", "-o", "json"))["Secret/db"]["verdict"] == "unknown"
    commit(repository)
    assert offline("shop", "--base", "HEAD").exit_code == 0
    write(repository, secret={**secret, "sops": {"mac": "ENC[AES256_GCM,data:two]"}})
    assert objects(offline("shop", "--base", "HEAD", "-o", "json"))["Secret/db"]["verdict"] == "unknown"


def test_what_two_apps_declare_is_a_conflict(offline: Preview, repository: Path) -> None:
    spec = {"interval": "1h", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "shop"}}
    api = "kustomize.toolkit.fluxcd.io/v1"
    for name in ("one", "two"):
        metadata = {"name": name, "namespace": "team"}
        app = {"apiVersion": api, "kind": "Kustomization", "metadata": metadata, "spec": {**spec, "path": f"./{name}"}}
        write(repository, **{name: app})
        (repository / name).mkdir()
        (repository / name / "all.yaml").write_text(json.dumps(config_map("shared")))
    done = offline("shop", "--app", "team/one", "--app", "team/two", "-o", "json")
    found = json.loads(done.stdout)["objects"]
    assert done.exit_code == 2
    assert [(one["app"]["name"], one["verdict"]) for one in found] == [("one", "conflict"), ("two", "conflict")]
    assert found[0]["judgements"][0]["message"] == "it is declared by team/two too: only one can own it"


def test_an_app_whose_name_is_a_value_of_a_secret_is_neither_followed_nor_named(
    offline: Preview, repository: Path, tmp_path: Path
) -> None:
    source = {"kind": "GitRepository", "name": "shop"}
    spec = {"interval": "1h", "prune": True, "sourceRef": source, "path": "./inner"}
    app = {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "spec": spec}
    write(repository, app={**app, "metadata": {"name": "${HORSE}", "namespace": "team"}})
    (repository / "inner").mkdir()
    (repository / "inner" / "all.yaml").write_text(json.dumps(config_map("inner")))
    filled = {"substituteFrom": [{"kind": "Secret", "name": "variables"}]}
    outer = {**app, "metadata": {"name": "outer", "namespace": "team"}, "spec": {**spec, "postBuild": filled}}
    (tmp_path / "outer.yaml").write_text(json.dumps(outer))
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "variables", "namespace": "team"}}
    write(repository, secret={**secret, "stringData": {"HORSE": "battery"}})
    (tmp_path / "secret.yaml").write_bytes((repository / "shop" / "secret.yaml").read_bytes())
    options = ("--kustomization-file", str(tmp_path / "outer.yaml"), "--substitute-from", str(tmp_path / "secret.yaml"))
    done = offline("shop", *options, "-o", "json")
    assert done.exit_code == 3
    assert "battery" not in done.output
    assert "an app that is declared with a value of a Secret is not looked into" in json.loads(done.stdout)["unasked"]


def test_a_value_of_a_secret_is_in_no_name_of_an_object_or_a_field_neither_whole_nor_cut(
    offline: Preview, repository: Path, tmp_path: Path
) -> None:
    data = {"key-${HORSE}": "1", "cut-${HORSE:0:3}": "2", "one-${HORSE:0:1}": "3"}
    write(repository, settings=config_map(**data), named=config_map("name-${HORSE:1:5}"))
    spec = {"interval": "1h", "prune": True, "path": "./shop", "sourceRef": {"kind": "GitRepository", "name": "shop"}}
    filled = {**spec, "postBuild": {"substituteFrom": [{"kind": "Secret", "name": "variables"}]}}
    app = {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "spec": filled}
    (tmp_path / "app.yaml").write_text(json.dumps({**app, "metadata": {"name": "shop", "namespace": "team"}}))
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "variables", "namespace": "team"}}
    (tmp_path / "secret.yaml").write_text(json.dumps({**secret, "stringData": {"HORSE": "battery"}}))
    options = ("--kustomization-file", str(tmp_path / "app.yaml"), "--substitute-from", str(tmp_path / "secret.yaml"))
    for form in ("text", "json", "markdown", "sarif"):
        done = offline("shop", "--base", "HEAD", *options, "-o", form)
        assert done.exit_code == 3
        assert not any(word in done.output for word in ("batt", "key-", "cut-", "one-b", "attery", "name-"))
    live = json.dumps(config_map())
    (tmp_path / "live.json").write_text(live)
    done = CliRunner().invoke(diff, ["shop", "--live", str(tmp_path / "live.json"), *options])
    assert done.exit_code == 2
    assert 'data["++++++++"]' in done.stdout
    assert not any(word in done.output for word in ("batt", "key-", "cut-", "one-b", "attery", "name-"))


def test_apps_that_declare_ever_more_apps_come_to_an_end(
    offline: Preview, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab.cli.preview.previewed._MOST_APPS", 30)
    monkeypatch.setattr("trimtab.validate.gathering._MOST_APPS", 30)
    (repository / "begin").mkdir()
    apps = [branching("a", "${N}a"), branching("b", "${N}b")]
    (repository / "shop" / "apps.yaml").write_text("\n---\n".join(map(json.dumps, apps)))
    (repository / "begin" / "app.yaml").write_text(json.dumps(branching("first", "n")).replace("${N}", "n"))
    done = offline("begin")
    assert (done.exit_code, "more than 30 apps are declared" in done.stderr) == (1, True)
    judged = CliRunner().invoke(validate, ["--offline", "begin"])
    assert (judged.exit_code, "more than 30 apps are declared" in judged.stderr) == (1, True)


def branching(name: str, value: str) -> dict[str, Any]:
    source = {"kind": "GitRepository", "name": "shop"}
    spec = {"interval": "1h", "prune": True, "path": "./shop", "sourceRef": source}
    spec |= {"postBuild": {"substitute": {"N": value}}}
    metadata = {"name": f"{name}-${{N}}", "namespace": "team"}
    return {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": metadata, "spec": spec}


async def test_where_apps_may_not_be_listed_what_leaves_is_unknown_unless_a_base_tells_of_it(tmp_path: Path) -> None:
    class Discovery:
        async def find(self, _gvk: object) -> None:
            raise Forbidden(403, "Forbidden", "you may not list them")

    class Client:
        discovery = Discovery()

    recipe = Recipe(None, None, (), (), True, (), ())
    tree = WorkingTree(tmp_path, tmp_path, recipe)
    plain, files = (Asked(tmp_path, recipe, Options(), as_files=as_files) for as_files in (False, True))
    told: Any = [(plain, None), (plain, tree), (files, None)]
    steps = [
        await _Previewing(asked, None, None, tree, base, tmp_path)._see_apps(Client())  # type: ignore[arg-type]
        for asked, base in told
    ]
    assert [[step.verdict for step in those] for those in steps] == [[Verdict.UNKNOWN], [], []]


def test_line_ends_of_windows_and_a_byte_order_mark_change_nothing(offline: Preview, repository: Path) -> None:
    text = json.dumps(config_map(colour="blue"), indent=1).replace("\n", "\r\n")
    write(repository, settings=b"\xef\xbb\xbf" + text.encode())
    assert offline("shop", "--base", "HEAD").exit_code == 0


def test_a_detached_head_and_names_with_signs_of_a_shell_are_names_like_others(
    offline: Preview, repository: Path
) -> None:
    first = git(repository, "rev-parse", "HEAD").strip()
    git(repository, "switch", "--quiet", "--create", "a;touch${IFS}owned&&`x`'\"", "main")
    write(repository, **{"$(touch owned) & more": config_map("odd")})
    commit(repository)
    git(repository, "switch", "--quiet", "--detach", "HEAD")
    for base, head in (("main", "HEAD"), (first[:12], "a;touch${IFS}owned&&`x`'\""), ("HEAD~1", "")):
        done = offline("shop", "--base", base, *(["--head", head] if head else []), "-o", "json")
        assert [(one, found["origin"]["file"]) for one, found in objects(done).items()] == [
            ("ConfigMap/odd", "shop/$(touch owned) & more.yaml")
        ]
    assert [path.name for path in repository.iterdir() if path.name != ".git"] == ["shop"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--base", "--upload-pack=touch owned"), "looks like an option"),
        (("--head=-x",), "looks like an option"),
        (("--base", ""), "names no commit"),
        (("--base", "main:shop"), "is not the name of one commit"),
        (("--base", "main..HEAD"), "is not the name of one commit"),
        (("--base", "ma\u200bin"), "is not the name of one commit"),
        (("--base", "nowhere"), "there is no such commit"),
        (("--base", "f" * 40), "there is no such commit"),
        (("--base", "both"), "is ambiguous, it names refs/heads/both and refs/tags/both"),
        (("--app", "a/b/c"), "name a Kustomization as NAMESPACE/NAME"),
        (("--app", "team-a/none"), "declares no kustomization team-a/none"),
    ],
    ids=[
        "an option",
        "an option behind a sign",
        "nothing",
        "a file of a commit",
        "two commits",
        "what cannot be seen",
        "no commit",
        "no object",
        "a branch and a tag",
        "no app",
        "an app that is not there",
    ],
)
def test_what_names_no_commit_or_app_is_a_mistake_and_starts_nothing(
    offline: Preview, repository: Path, arguments: tuple[str, ...], words: str
) -> None:
    if "both" in arguments:
        git(repository, "branch", "both")
        write(repository, settings=config_map(colour="red"))
        commit(repository)
        git(repository, "tag", "both")
    done = offline("shop", *arguments)
    assert done.exit_code in (1, 2)
    assert words in done.stderr
    assert not done.stdout
    assert not (repository / "owned").exists()


def test_what_is_no_repository_or_leads_out_of_it_is_refused(
    offline: Preview, repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "all.yaml").write_text(json.dumps(config_map()))
    assert offline(str(tmp_path / "plain")).exit_code == 3
    outside = offline(str(tmp_path / "plain"), "--base", "main")
    assert (outside.exit_code, "is in no git repository" in outside.stderr) == (1, True)
    (repository / "out").symlink_to(tmp_path / "plain")
    led_out = offline("out", "--base", "main")
    assert (led_out.exit_code, "is in no git repository" in led_out.stderr) == (1, True)
    rooted = offline("shop", "--root", str(tmp_path / "plain"))
    assert (rooted.exit_code, "is not below" in rooted.stdout) == (2, True)


def test_a_linked_work_tree_is_of_its_repository_and_a_pointer_to_nowhere_is_told(
    offline: Preview, repository: Path, tmp_path: Path
) -> None:
    linked = tmp_path / "linked"
    git(repository, "worktree", "add", "--quiet", str(linked), "-b", "aside")
    (linked / "shop" / "settings.yaml").write_text(json.dumps(config_map(colour="red")))
    done = offline(str(linked / "shop"), "--base", "main", "-o", "json")
    assert list(objects(done)) == ["ConfigMap/settings"]
    for words in ("gitdir: /nowhere", "nonsense", ""):
        (linked / ".git").write_text(words)
        broken = offline(str(linked / "shop"), "--base", "main")
        assert (broken.exit_code, "does not lead to a repository" in broken.stderr) == (1, True)


def test_variables_may_be_declared_by_a_neighbour_of_the_app_that_needs_them(
    offline: Preview, repository: Path
) -> None:
    source = {"kind": "GitRepository", "name": "shop"}
    filled = {"postBuild": {"substituteFrom": [{"kind": "ConfigMap", "name": "variables"}]}}
    for name, more in (("a", filled), ("b", {})):
        spec = {"interval": "1h", "prune": True, "sourceRef": source, "path": f"./{name}", **more}
        metadata = {"name": name, "namespace": "team"}
        api = "kustomize.toolkit.fluxcd.io/v1"
        write(repository, **{name: {"apiVersion": api, "kind": "Kustomization", "metadata": metadata, "spec": spec}})
        (repository / name).mkdir()
    (repository / "a" / "all.yaml").write_text(json.dumps(config_map("filled", colour="${COLOUR}")))
    variables = {**config_map("variables", COLOUR="red"), "metadata": {"name": "variables", "namespace": "team"}}
    (repository / "b" / "all.yaml").write_text(json.dumps(variables))
    commit(repository)
    (repository / "b" / "all.yaml").write_text(json.dumps({**variables, "data": {"COLOUR": "blue"}}))
    found = objects(offline("shop", "--base", "HEAD", "-o", "json"))
    assert found["ConfigMap/filled"]["differences"] == [
        {"path": "data.colour", "kind": "changed", "before": "red", "after": "blue"}
    ]


def test_files_with_conflicts_are_nobody_s_wish_and_a_commit_can_be_asked_about_meanwhile(
    offline: Preview, repository: Path
) -> None:
    git(repository, "switch", "--quiet", "--create", "other")
    write(repository, settings=config_map(colour="red"))
    commit(repository)
    git(repository, "switch", "--quiet", "main")
    write(repository, settings=config_map(colour="green"))
    commit(repository)
    merge = ["git", "-c", "user.name=Dev", "-c", "user.email=dev@example.org", "merge", "--quiet", "other"]
    assert subprocess.run(merge, cwd=repository, capture_output=True, env=dict(os.environ)).returncode == 1
    done = offline("shop", "--base", "main~1")
    assert (done.exit_code, "a merge is in progress" in done.stderr, "settings.yaml" in done.stderr) == (1, True, True)
    assert offline("shop", "--base", "main~1", "--head", "other").exit_code == 3


def test_hooks_filters_and_attributes_of_a_repository_do_nothing(offline: Preview, repository: Path) -> None:
    for hook in ("post-checkout", "pre-commit"):
        path = repository / ".git" / "hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\ntouch '{repository}/owned'\n")
        path.chmod(0o755)
    git(repository, "config", "filter.evil.smudge", "touch owned; cat")
    git(repository, "config", "core.fsmonitor", "touch owned")
    (repository / ".gitattributes").write_text("*.yaml filter=evil export-ignore\n")
    git(repository, "add", ".gitattributes")
    git(repository, "commit", "--quiet", "--no-verify", "--message", "attributes")
    (repository / "owned").unlink(missing_ok=True)
    assert offline("shop", "--base", "main", "--head", "HEAD~1").exit_code == 0
    assert not (repository / "owned").exists()


def test_a_huge_change_is_told_in_bounded_forms(offline: Preview, repository: Path) -> None:
    lines = "\n".join(f"line {number} @everyone `code` <b> [x](https://evil.example.org)" for number in range(20_000))
    write(repository, settings=config_map(text=lines), **{f"m{n}": config_map(f"m{n}") for n in range(1_500)})
    done = offline("shop", "--base", "HEAD", "-o", "markdown")
    assert done.exit_code == 3
    assert len(done.stdout) <= 60_000
    assert "\n… and more: " in done.stdout
    assert len(offline("shop", "--base", "HEAD").stdout) < 2_000_000
