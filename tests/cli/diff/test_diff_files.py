"""`trimtab diff` of files: no cluster, and what kubediff got wrong."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.calling import Done, called

Diff = Callable[..., Done]

PASSWORD = "correct horse"
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 1
  template:
    spec:
      containers:
      - name: app
        image: shop:1.0
        args: [serve, --fast]
        ports: [{containerPort: 80}, {containerPort: 443}]
        resources: {requests: {cpu: "0.5", memory: 1024Mi}, limits: {memory: 1Gi}}
"""
KUSTOMIZATION = """\
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: a, namespace: shop}
spec:
  interval: 1m
  prune: true
  sourceRef: {kind: GitRepository, name: a}
  postBuild: {substituteFrom: [{kind: Secret, name: db}]}
"""
LIVE: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "shop", "uid": "8e1", "creationTimestamp": "2026-01-01T00:00:00Z"},
    "spec": {
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "template": {
            "spec": {
                "restartPolicy": "Always",
                "containers": [
                    {
                        "name": "app",
                        "image": "shop:1.0",
                        "imagePullPolicy": "IfNotPresent",
                        "args": ["serve", "--fast"],
                        "ports": [
                            {"containerPort": 443, "protocol": "TCP"},
                            {"containerPort": 80, "protocol": "TCP"},
                        ],
                        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "1024Mi"}},
                    }
                ],
            }
        },
    },
    "status": {"replicas": 1},
}


@pytest.fixture
def diff(tmp_path: Path) -> Diff:
    """`diff(wanted, live, …)`: texts or objects are written to files first."""

    def written(name: str, content: Any) -> str:
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text)
        return name

    def run(wanted: Any, live: Any, *arguments: str) -> Done:
        files = [written("wanted.yaml", wanted), "--live", written("live.yaml", live)]
        return called("diff", *files, *arguments, cwd=tmp_path)

    return run


def listed(*bodies: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": list(bodies)}


def live(**spec: Any) -> dict[str, Any]:
    """The live Deployment with some fields of its spec changed."""
    body: dict[str, Any] = json.loads(json.dumps(LIVE))
    body["spec"] |= spec
    return body


def config_map(name: str = "settings", **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}, **more}


def secret(**more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "namespace": "shop"}, **more}


def test_what_is_as_declared_exits_with_0_and_says_nothing(diff: Diff) -> None:
    done = diff(DEPLOYMENT, listed(LIVE))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_one_changed_field_is_one_path_with_file_and_line(diff: Diff) -> None:
    done = diff("# the shop\n---\n" + DEPLOYMENT, LIVE | {"spec": live(replicas=3)["spec"]})
    assert done.returncode == 2
    assert done.stdout.splitlines() == ["~ Deployment/shop/web (wanted.yaml:3)", "    spec.replicas: 3 → 1"]
    assert done.stderr == "✗ 1 compared: 1 differ\n"


def test_json_has_the_paths_the_values_and_the_counts(diff: Diff) -> None:
    done = diff(DEPLOYMENT, listed(live(replicas=3)), "-o", "json")
    assert done.returncode == 2
    told = json.loads(done.stdout)
    assert told["verdict"] == "differs"
    assert (told["counts"]["objects"], told["counts"]["differences"], told["counts"]["unknown"]) == (1, 1, 0)
    assert told["observedAt"].endswith("Z")
    [finding] = told["findings"]
    assert (finding["kind"], finding["name"], finding["state"]) == ("Deployment", "web", "differs")
    assert finding["origin"] == {"file": "wanted.yaml", "line": 1}
    assert finding["differences"] == [{"path": "spec.replicas", "kind": "changed", "before": 3, "after": 1}]
    assert json.loads(diff(DEPLOYMENT, LIVE, "-o", "json").stdout)["findings"] == []


def test_an_object_of_one_side_is_named(diff: Diff) -> None:
    done = diff([config_map("a")][0], listed(config_map("b")), "--unmanaged")
    assert done.returncode == 2
    assert done.stdout.splitlines() == [
        "+ ConfigMap/shop/a (wanted.yaml:1): only in git",
        "- ConfigMap/shop/b: only in the cluster",
    ]
    assert "shop/b" not in diff(config_map("a"), listed(config_map("b"))).stdout


def test_where_no_namespace_is_named_the_object_is_found_all_the_same(diff: Diff) -> None:
    bare = config_map()
    del bare["metadata"]["namespace"]
    assert diff(bare, listed(config_map())).returncode == 0
    elsewhere = {**config_map(), "metadata": {"name": "settings", "namespace": "other"}}
    two = listed(config_map(data={"a": "1"}), elsewhere)
    assert diff(bare, two, "-n", "other").returncode == 0
    assert "only in git" in diff(bare, two).stdout
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"}}
    assert diff({**role, "metadata": {"name": "r", "namespace": "shop"}}, listed(role)).returncode == 0


def test_what_kubectl_applied_and_git_declares_no_more_is_a_removal(diff: Diff) -> None:
    before = config_map(data={"a": "1", "b": "2"})
    there = config_map(data={"a": "1", "b": "2", "c": "of somebody else"})
    note = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(before)}
    there["metadata"] = {**there["metadata"], "annotations": note}
    done = diff(config_map(data={"a": "1"}), there)
    assert done.stdout.splitlines()[1:] == ['    data.b: removed "2"']


def test_the_labels_of_an_owner_are_no_difference(diff: Diff) -> None:
    there = config_map(data={"a": "1"})
    labels = {"kustomize.toolkit.fluxcd.io/name": "shop", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}
    owned = {"f:metadata": {"f:labels": {f"f:{name}": {} for name in labels}}, "f:data": {"f:a": {}, "f:b": {}}}
    entry = {"manager": "kustomize-controller", "operation": "Apply", "apiVersion": "v1", "fieldsV1": owned}
    there["metadata"] = {**there["metadata"], "labels": labels, "managedFields": [entry]}
    assert diff(config_map(data={"a": "1"}), there).returncode == 0
    there["data"]["b"] = "2"
    assert 'data.b: removed "2"' in diff(config_map(data={"a": "1"}), there).stdout


def test_a_directory_is_rendered_and_a_stream_is_read(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "web.yaml").write_text(DEPLOYMENT)
    (tmp_path / "live.json").write_text(json.dumps(listed(live(replicas=2))))
    done = called("diff", "app", "--root", ".", "--live", "-", stdin=(tmp_path / "live.json").read_text(), cwd=tmp_path)
    assert done.stdout.splitlines()[0] == "~ Deployment/shop/web (app/web.yaml:1)"
    done = called("diff", "-", "--live", "live.json", stdin=DEPLOYMENT, cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[0]) == (2, "~ Deployment/shop/web (stdin.yaml:1)")


def test_offline_without_anything_live_says_what_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(DEPLOYMENT)
    done = called("diff", "web.yaml", "--offline", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stdout.startswith("? Deployment/shop/web (web.yaml:1): unknown: offline, and nothing live")


def test_values_cannot_paint_the_terminal(diff: Diff) -> None:
    done = diff(config_map(data={"a": "\x1b[2J\u202e"}), config_map(data={"a": "1", "\x1b]0;x": "2"}))
    assert done.returncode == 2
    assert not {"\x1b", "\u202e"} & set(done.stdout)


def test_an_empty_dump_is_an_error_and_an_empty_list_is_none(diff: Diff) -> None:
    done = diff(DEPLOYMENT, "")
    assert done.returncode == 1
    assert "live.yaml holds no objects" in done.stderr
    assert diff(DEPLOYMENT, listed()).returncode == 2


@pytest.mark.parametrize("nested", ["[" * 100_000, '{"a":' * 900 + "1" + "}" * 900], ids=["never closed", "very deep"])
def test_a_dump_that_is_nested_without_end_is_an_error_or_compared(diff: Diff, nested: str) -> None:
    text = json.dumps(config_map(data={"a": "1"}))[:-1] + ', "spec": ' + nested + "}"
    done = diff(config_map(data={"a": "1"}), text)
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
    wanted = {**config_map(data={"a": "1"}), "spec": {"a": 1}}
    done = diff(wanted, text)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr


def test_nothing_declared_is_an_error_and_not_a_clean_state(diff: Diff) -> None:
    done = diff("# nothing\n", listed(LIVE))
    assert done.returncode == 1
    assert "declares no object" in done.stderr


def test_what_is_declared_twice_is_an_error(diff: Diff) -> None:
    done = diff(DEPLOYMENT + "---\n" + DEPLOYMENT, listed(LIVE))
    assert done.returncode == 1
    assert "wanted.yaml:1" in done.stderr


def test_what_is_encrypted_is_unknown_without_a_key_and_the_rest_is_compared(diff: Diff) -> None:
    sealed = secret(data={"a": "ENC[AES256_GCM,data:YQ==,iv:YQ==,tag:YQ==,type:str]"}, sops={"mac": "x"})
    done = diff(listed(sealed, config_map(data={"a": "1"})), listed(config_map(data={"a": "2"})))
    assert done.returncode == 3
    assert "? Secret/shop/db (wanted.yaml:1): unknown: it is encrypted by SOPS: give a key" in done.stdout
    assert 'data.a: "2" → "1"' in done.stdout
    assert "1 differ, 1 unknown" in done.stderr


def test_a_value_of_a_secret_is_hidden_where_it_was_put_into(tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text(json.dumps(config_map(data={"url": "postgres://u:${PASSWORD}@db", "a": "1"})))
    (tmp_path / "vars.yaml").write_text(json.dumps(secret(stringData={"PASSWORD": PASSWORD})))
    (tmp_path / "ks.yaml").write_text(KUSTOMIZATION)
    (tmp_path / "live.json").write_text(json.dumps(config_map(data={"url": "postgres://u:before@db"})))
    arguments = ("--live", "live.json", "--kustomization-file", "ks.yaml", "--substitute-from", "vars.yaml")
    for form in ("text", "json"):
        done = called("diff", "app.yaml", *arguments, "-o", form, cwd=tmp_path)
        assert done.returncode == 2
        assert "data.url" in done.stdout
        assert not any(word in done.stdout + done.stderr for word in (PASSWORD, "before@db", "postgres"))


def test_a_value_of_a_secret_is_hidden_where_it_was_put_into_once(tmp_path: Path) -> None:
    wanted = listed(config_map(data={"url": "plain"}), config_map("other", data={"x": "${PASSWORD}"}))
    (tmp_path / "app.yaml").write_text(json.dumps(wanted))
    (tmp_path / "vars.yaml").write_text(json.dumps(secret(stringData={"PASSWORD": PASSWORD})))
    (tmp_path / "ks.yaml").write_text(KUSTOMIZATION)
    there = listed(config_map(data={"url": f"postgres://u:{PASSWORD}@db"}), config_map("other", data={"x": PASSWORD}))
    (tmp_path / "live.json").write_text(json.dumps(there))
    arguments = ("--live", "live.json", "--kustomization-file", "ks.yaml", "--substitute-from", "vars.yaml")
    for form in ("text", "json", "html"):
        done = called("diff", "app.yaml", *arguments, "-o", form, cwd=tmp_path)
        assert done.returncode == 2
        assert "postgres://u:++++++++@db" in done.stdout
        assert PASSWORD not in done.stdout + done.stderr


def test_an_object_is_not_called_by_a_value_of_a_secret(tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text(json.dumps(config_map("x-${PASSWORD}", data={"a": "1"})))
    (tmp_path / "vars.yaml").write_text(json.dumps(secret(stringData={"PASSWORD": "correct-horse"})))
    (tmp_path / "ks.yaml").write_text(KUSTOMIZATION)
    (tmp_path / "live.json").write_text(json.dumps(listed()))
    for live in (("--live", "live.json"), ("--offline",)):
        for form in ("text", "json"):
            arguments = (*live, "--kustomization-file", "ks.yaml", "--substitute-from", "vars.yaml", "-o", form)
            done = called("diff", "app.yaml", *arguments, cwd=tmp_path)
            assert done.returncode in (2, 3)
            assert "correct-horse" not in done.stdout + done.stderr
            assert "ConfigMap" in done.stdout


def test_who_reads_no_further_gets_the_exit_code_all_the_same(tmp_path: Path) -> None:
    many = listed(*(config_map(f"c{number}", data={"a": "1"}) for number in range(3_000)))
    (tmp_path / "wanted.yaml").write_text(json.dumps(many))
    (tmp_path / "live.yaml").write_text(json.dumps(listed()))
    command = [sys.executable, "-m", "trimtab.cli.main", "diff", "wanted.yaml", "--live", "live.yaml"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("+ ConfigMap")
        process.stdout.close()
        assert process.wait(60) == 2


# --- what kubediff got wrong (DIFF.md)


@pytest.mark.parametrize("form", ["text", "json"])
def test_kubediff_1_values_of_secrets_are_masked_in_every_form_also_those_of_many_lines(diff: Diff, form: str) -> None:
    lines = f"-----BEGIN-----\none\ntwo\nthree\n{PASSWORD}\n"
    there = secret(data={"k": "YmVmb3JlaGFuZA==", "same": "c2FtZQ=="})
    done = diff(secret(stringData={"k": lines, "same": "same"}), there, "-o", form)
    assert done.returncode == 2
    assert "data.k" in done.stdout
    assert "data.same" not in done.stdout
    assert not any(word in done.stdout for word in (PASSWORD, "BEGIN", "three", "YmVmb3Jl", "beforehand"))


def test_kubediff_1_a_missing_secret_is_told_without_its_values(diff: Diff) -> None:
    for form in ("text", "json"):
        done = diff(secret(stringData={"k": PASSWORD}), listed(), "-o", form)
        assert done.returncode == 2
        assert PASSWORD not in done.stdout


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("metadata: {name: a}\nkind: ConfigMap\n", "object has no apiVersion"),
        ("apiVersion: v1\nmetadata: {name: a}\n", "object has no kind"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n", "ConfigMap has no metadata.name"),
        ("just text\n", "expected a Kubernetes object, found a string"),
        ("a: [1\n", "wanted.yaml:"),
    ],
)
def test_kubediff_3_a_document_that_is_no_object_is_an_error_with_file_and_line(
    diff: Diff, document: str, words: str
) -> None:
    done = diff(DEPLOYMENT + "---\n" + document, listed(LIVE))
    assert (done.returncode, done.stdout) == (1, "")
    assert "wanted.yaml:" in done.stderr
    assert words in done.stderr


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        (secret(stringData={"k": "v"}), secret(data={"k": "dg=="})),
        (
            {"kind": "ResourceQuota", "spec": {"hard": {"memory": "1Gi"}}},
            {"kind": "ResourceQuota", "spec": {"hard": {"memory": "1024Mi"}}},
        ),
        (config_map(data={}), config_map()),
        (config_map(), config_map(data={"a": "1"})),
        ({"spec": {"a": 1}}, {"spec": {"a": 1.0}}),
        (
            {"spec": {"ports": [{"port": 80}, {"port": 443, "name": "tls"}]}},
            {"spec": {"ports": [{"port": 443, "name": "tls", "protocol": "TCP"}, {"port": 80, "protocol": "TCP"}]}},
        ),
    ],
    ids=["stringData", "quantities", "an empty map", "what is only live", "1 and 1.0", "keyed lists in another order"],
)
def test_kubediff_4_no_noise(diff: Diff, wanted: dict[str, Any], there: dict[str, Any]) -> None:
    done = diff({**config_map(), **wanted}, {**config_map(), **there})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("wanted", "there", "line"),
    [
        ({"args": ["a", "b"]}, {"args": ["b", "a"]}, 'spec.args[0]: "b" → "a"'),
        ({"on": True}, {"on": "True"}, 'spec.on: "True" → true'),
        ({"a": {"b": [{"c": {"d": 1}}]}}, {"a": {"b": [{"c": {"d": 2}}]}}, "spec.a.b[0].c.d: 2 → 1"),
    ],
    ids=["the order of args", "true and a text", "a path is kept in lists"],
)
def test_kubediff_4_nothing_overlooked(diff: Diff, wanted: dict[str, Any], there: dict[str, Any], line: str) -> None:
    done = diff({**config_map(), "spec": wanted}, {**config_map(), "spec": there})
    assert done.returncode == 2
    assert line in done.stdout


def test_kubediff_5_two_environments_with_different_tags_are_never_equal(tmp_path: Path) -> None:
    (tmp_path / "staging.yaml").write_text(DEPLOYMENT.replace("shop:1.0", "shop:1.1"))
    (tmp_path / "production.yaml").write_text(DEPLOYMENT)
    done = called("diff", "staging.yaml", "--live", "production.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout.splitlines()[1:] == [
        '    spec.template.spec.containers[name=app].image: "shop:1.0" → "shop:1.1"'
    ]


def test_the_page_masks_and_escapes_and_exits_as_text_does(diff: Diff) -> None:
    evil = "<script>alert(1)</script>"
    wanted = listed(secret(stringData={"k": PASSWORD}), config_map(data={"a": evil}))
    done = diff(wanted, listed(secret(data={"k": "YmVmb3JlaGFuZA=="}), config_map(data={"a": "1"})), "-o", "html")
    assert done.returncode == 2
    assert done.stdout.startswith("<!DOCTYPE html>")
    assert "data.k" in done.stdout
    assert not any(word in done.stdout for word in (PASSWORD, "YmVmb3JlaGFuZA", evil))
    clean = diff(wanted, wanted, "-o", "html")
    assert (clean.returncode, "No difference: 2 compared: 2 as declared" in clean.stdout) == (0, True)
