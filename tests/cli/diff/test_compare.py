"""`trimtab compare`: paths, git refs, clusters; and what is none of them."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Cluster, command_line

Compare = Callable[..., tuple[int, str, str]]

WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: {namespace}}}
spec:
  replicas: {replicas}
  template:
    spec:
      containers: [{{name: app, image: 'shop:{tag}'}}]
"""
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: staging}\nstringData: {password: hunter2}\n"
APP = """\
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shop, namespace: flux-system}
spec: {interval: 10m, prune: true, path: %s, sourceRef: {kind: GitRepository, name: a}}
"""


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    def run(*arguments: str, kubeconfig: Path = Path(os.devnull)) -> tuple[int, str, str]:
        command, env = command_line(kubeconfig, "compare", *arguments)
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    return run


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def commit(root: Path) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for arguments in (["init", "-q", "-b", "main", "."], ["add", "-A"], [*identity, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True)


def test_two_paths_show_images_objects_and_what_only_one_has(compare: Compare, tmp_path: Path) -> None:
    staging = WEB.format(namespace="staging", replicas=1, tag="1.5")
    production = WEB.format(namespace="production", replicas=3, tag="1.4")
    write(tmp_path, {"staging/web.yaml": staging, "staging/db.yaml": SECRET, "production/web.yaml": production})
    code, out, err = compare("staging", "production")
    assert (code, out.splitlines(), err) == (
        2,
        [
            "~ Deployment/staging/web app: shop:1.5 → shop:1.4",
            "~ Deployment/staging/web → production (web.yaml:1 | web.yaml:1)",
            "    spec.replicas: 1 → 3",
            '    spec.template.spec.containers[name=app].image: "shop:1.5" → "shop:1.4"',
            "- Secret/staging/db (db.yaml:1): only in A",
        ],
        "✗ 1 in both: 1 differ, 1 only in A, 1 images differ\n",
    )
    assert compare("staging", "staging")[0:2] == (0, "")


def test_a_path_at_two_commits_and_in_the_working_tree(compare: Compare, tmp_path: Path) -> None:
    write(
        tmp_path, {"clusters/a.yaml": APP % "./apps", "apps/web.yaml": WEB.format(namespace="a", replicas=1, tag="1")}
    )
    commit(tmp_path)
    write(tmp_path, {"apps/web.yaml": WEB.format(namespace="a", replicas=1, tag="2")})
    # the Kustomization is followed to the directory that it names, at each side's own revision
    code, out, _ = compare("HEAD:clusters", "clusters", "-o", "json")
    found = json.loads(out)
    assert (code, found["verdict"], found["counts"]) == (
        2,
        "differs",
        {"both": 2, "differ": 1, "onlyA": 0, "onlyB": 0, "unknown": 0, "images": 1},
    )
    assert [(one["a"], one["b"]) for one in found["images"]] == [("shop:1", "shop:2")]
    assert compare("main:./apps", "HEAD:apps")[0] == 0


def test_two_apps_of_one_directory_are_compared_each_for_itself(compare: Compare, tmp_path: Path) -> None:
    for side, colour in (("staging", "blue"), ("production", "red")):
        filled = {"one": colour, "two": "green"}
        apps = [
            (APP % "./apps").replace("name: shop", f"name: {name}")
            + f"  postBuild: {{substitute: {{NAME: {name}, COLOUR: {value}}}}}\n"
            for name, value in filled.items()
        ]
        text = "---\n".join(apps).replace("name: a}}\n  postBuild", "name: a}, postBuild").replace("}}\n", "}}}\n")
        write(tmp_path, {f"{side}/apps.yaml": text})
    kind = "apiVersion: v1\nkind: ConfigMap\n"
    write(tmp_path, {"apps/all.yaml": f"{kind}metadata: {{name: '${{NAME}}'}}\ndata: {{colour: '${{COLOUR}}'}}\n"})
    commit(tmp_path)
    code, out, _ = compare("staging", "production")
    assert (code, "ConfigMap/one" in out) == (2, True)
    assert 'data.colour: "blue" → "red"' in out


def test_an_app_whose_values_are_in_a_cluster_is_unknown_where_it_has_expressions(
    compare: Compare, tmp_path: Path
) -> None:
    post = "postBuild: {substituteFrom: [{kind: ConfigMap, name: values}]}"
    app = APP.replace("name: a}}", f"name: a}}, {post}}}")
    for side in ("staging", "production"):
        write(tmp_path, {f"{side}/apps.yaml": app % "./apps"})
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {colour: %s}\n"
    commit(tmp_path)
    for written, code in (("blue", 0), ("'${COLOUR}'", 3)):
        write(tmp_path, {"apps/all.yaml": config % written})
        found, out, err = compare("staging", "production")
        assert (found, "substituteFrom" in out) == (code, code == 3), err


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("missing", "there is no such path; a git ref is written REF:PATH"),
        ("nothing:apps", "there is no commit nothing"),
        ("--upload-pack=x:apps", "No such option"),
        ("HEAD:../../etc", "at HEAD"),
        ("HEAD:missing", "there is no missing at HEAD"),
        ("$(id):apps", "there is no commit $(id)"),
        ("context:nowhere", "none of the files of $KUBECONFIG exists"),
    ],
    ids=["no path", "no commit", "an option", "outside", "not there", "shell", "no cluster"],
)
def test_what_is_no_side_is_refused_with_the_way_to_write_one(
    compare: Compare, tmp_path: Path, word: str, said: str
) -> None:
    write(tmp_path, {"apps/web.yaml": WEB.format(namespace="a", replicas=1, tag="1")})
    commit(tmp_path)
    code, out, err = compare(word, "apps", kubeconfig=Path("/nonexistent"))
    assert (code, out) == (1, "")
    assert said in err


def test_the_app_of_a_cluster_against_a_path(
    compare: Compare, tmp_path: Path, cluster: Cluster, kubectl: Callable[..., str], kubeconfig: Path
) -> None:
    namespace = cluster.namespace
    live = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings, namespace: {namespace}}}\ndata: {{a: live}}\n"
    kubectl("apply", "--server-side", "--field-manager=kustomize-controller", "-f", "-", stdin=live)
    # what somebody else has added is nothing the app declares
    kubectl("label", "configmap", "settings", "-n", namespace, "of=somebody")
    cluster.app("shop")
    ids = [f"{namespace}_settings__ConfigMap", f"{namespace}_gone__ConfigMap"]
    cluster.status("kustomizations", "shop", inventory={"entries": [{"id": one, "v": "v1"} for one in ids]})
    write(tmp_path, {"apps/settings.yaml": live.replace("live", "declared")})
    context = kubectl("config", "current-context").strip()
    code, out, err = compare(f"context:{context}/shop", "apps", "-n", namespace, kubeconfig=kubeconfig)
    assert (code, out.splitlines()[1:]) == (2, ['    data.a: "live" → "declared"']), err
