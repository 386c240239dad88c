"""`trimtab build`: a directory of this machine, as the controller would render it."""

import json
import subprocess
import sys

import pytest

from tests.sops.conftest import FIXTURES, KEYS

from .conftest import config_map, write

PROGRAM = "from trimtab.cli.render.build import build; build(prog_name='trimtab build')"


@pytest.fixture
def build(kustomize, tmp_path):
    def run(*arguments, cwd=tmp_path):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *map(str, arguments)],
            cwd=cwd,
            env={"PATH": f"{kustomize.parent}:/usr/bin:/bin", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout, done.stderr

    return run


REPOSITORY = {
    "repo/apps/over/kustomization.yaml": "namePrefix: p-\nresources: [../base]",
    "repo/apps/base/kustomization.yaml": "resources: [a.yaml]",
    "repo/apps/base/a.yaml": config_map("a"),
}


def test_the_objects_are_printed_as_yaml_or_json(build, tmp_path):
    write(tmp_path, REPOSITORY)
    assert build("repo/apps/over") == (0, "---\n" + config_map("p-a"), "")
    code, out, _ = build("repo/apps/base", "-o", "json")
    assert (code, json.loads(out)["metadata"]) == (0, {"name": "a"})


def test_the_fields_of_a_kustomization_object_are_worked_in(build, tmp_path):
    write(tmp_path, REPOSITORY)
    write(
        tmp_path,
        {
            "ks.yaml": "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: a}\n"
            "spec: {interval: 1m, prune: true, sourceRef: {kind: GitRepository, name: a}, targetNamespace: apps, "
            "commonMetadata: {labels: {l: v}}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n"
        },
    )
    code, out, _ = build("repo/apps/over", "--kustomization-file", "ks.yaml", "-o", "json")
    assert code == 0
    assert json.loads(out)["metadata"] == {"name": "p-a", "namespace": "apps", "labels": {"l": "v"}}
    code, out, _ = build("repo/apps/over", "--kustomization-file", "ks.yaml", "--show-kustomization", "-o", "json")
    assert code == 0
    assert json.loads(out) == {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namePrefix": "p-",
        "namespace": "apps",
        "resources": ["../base"],
    }


def test_the_repository_is_the_limit_of_what_is_read(build, tmp_path):
    write(tmp_path, {**REPOSITORY, "repo/.git/HEAD": "", "repo/out/kustomization.yaml": "resources: [../../apart]"})
    write(tmp_path, {"apart/kustomization.yaml": "resources: []"})
    assert build("repo/apps/over")[0] == 0
    code, out, error = build("repo/out")
    assert (code, out) == (1, "")
    assert "out/kustomization.yaml: resources[0] names ../../apart, which lies outside the artifact" in error
    code, _, error = build("repo/apps/over", "--root", "repo/apps/over")
    assert code == 1
    assert "--root" in error


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a: 1\na: 2", "bad/x.yaml:2:1: duplicate key 'a'"), ("kind: A", "bad/x.yaml:1:1: object has no apiVersion")],
)
def test_mistakes_are_told_with_file_and_line(build, tmp_path, text, expected):
    write(tmp_path, {"repo/.git/HEAD": "", "repo/bad/x.yaml": text})
    code, out, error = build("repo/bad")
    assert (code, out) == (1, "")
    assert expected in error
    assert "Traceback" not in error


def test_what_a_source_leaves_out_is_left_out(build, tmp_path):
    write(tmp_path, {"repo/.git/HEAD": "", "repo/.sourceignore": "app/skip/", "repo/app/a.yaml": config_map("a")})
    write(tmp_path, {"repo/app/.sops.yaml": "creation_rules: []", "repo/app/skip/x.yaml": "not an object"})
    assert build("repo/app") == (0, "---\n" + config_map("a"), "")


def test_a_file_without_a_kustomization_object_is_refused(build, tmp_path):
    write(tmp_path, {"a/a.yaml": config_map("a")})
    code, _, error = build("a", "--kustomization-file", "a/a.yaml")
    assert code == 1
    assert "holds 0 Kustomization objects" in error


def test_help_has_examples(build):
    code, out, _ = build("--help")
    assert code == 0
    assert "trimtab build apps/podinfo" in out


VARIABLES = {
    "repo/.git/HEAD": "",
    "repo/app/a.yaml": config_map("a")
    + "data: {plain: '${PLAIN}', from: '${FROM}', none: '${NONE:=nil}', '$${D}': x}\n",
    "ks.yaml": "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: a, namespace: n}\n"
    "spec:\n  interval: 1m\n  prune: true\n  sourceRef: {kind: GitRepository, name: a}\n"
    "  postBuild:\n    substitute: {PLAIN: '1'}\n"
    "    substituteFrom: [{kind: ConfigMap, name: v}, {kind: Secret, name: s}, "
    "{kind: Secret, name: o, optional: true}]\n",
    "vars.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: v}\ndata: {FROM: map, PLAIN: '2'}\n---\n"
    "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {FROM: c2VjcmV0}\n",
}


def test_variables_are_filled_as_the_object_says(build, tmp_path):
    write(tmp_path, VARIABLES)
    code, out, error = build(
        "repo/app", "--kustomization-file", "ks.yaml", "--substitute-from", "vars.yaml", "-o", "json"
    )
    assert (code, error) == (0, "")
    assert json.loads(out)["data"] == {"plain": 1, "from": "secret", "none": "nil", "${D}": "x"}
    code, out, _ = build("repo/app", "--substitute", "PLAIN=3", "--substitute", "FROM='4'", "-o", "json")
    assert json.loads(out)["data"] == {"plain": 3, "from": "4", "none": "nil", "${D}": "x"}
    code, out, _ = build("repo/app", "-o", "json")
    assert json.loads(out)["data"]["plain"] == "${PLAIN}"


def test_objects_that_cannot_be_read_offline_are_named_with_the_way_to_give_them(build, tmp_path):
    write(tmp_path, VARIABLES)
    code, out, error = build("repo/app", "--kustomization-file", "ks.yaml")
    assert (code, out) == (1, "")
    assert "names ConfigMap/v, Secret/s, which a build without a cluster cannot read" in error
    assert "app/a.yaml:1: ConfigMap/a: data.from: variable not set: FROM (strict mode)" in error
    code, out, error = build("repo/app", "--kustomization-file", "ks.yaml", "--no-strict", "-o", "json")
    assert (code, json.loads(out)["data"]["from"]) == (0, None)
    assert "--substitute-from FILE" in error
    arguments = ("--kustomization-file", "ks.yaml", "--substitute", "FROM=x", "--strict", "-o", "json")
    assert json.loads(build("repo/app", *arguments)[1])["data"]["from"] == "x"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (config_map("v") + "data: {a.b: hunter2}", "ConfigMap/v: 'a.b' cannot be the name of a variable"),
        (config_map("v") + "data: {a: 5}", "ConfigMap/v: data.a is not a string"),
        (
            config_map("v").replace("ConfigMap", "Secret").replace("v\n", "s\n") + "data: {a: '%'}",
            "data.a is not base64",
        ),
        (config_map("v").replace("ConfigMap", "Pod"), "holds no ConfigMap and no Secret"),
    ],
)
def test_a_file_of_variables_that_makes_no_sense_is_refused_without_its_values(build, tmp_path, text, words):
    write(tmp_path, {**VARIABLES, "vars.yaml": text})
    code, out, error = build("repo/app", "--kustomization-file", "ks.yaml", "--substitute-from", "vars.yaml")
    assert (code, out) == (1, "")
    assert words in error
    assert "hunter2" not in error


def test_encrypted_files_are_opened_with_the_keys_that_are_given(build, tmp_path):
    sealed = (FIXTURES / "keyed" / "age.yaml").read_text()
    write(tmp_path, {"repo/.git/HEAD": "", "repo/age/a.yaml": sealed, "ks.yaml": DECRYPTED})
    write(tmp_path, {"repo/pgp/a.yaml": (FIXTURES / "keyed" / "rsa.yaml").read_text()})
    for directory, option, key in (("age", "--age-key", "age.agekey"), ("pgp", "--gpg-key", "rsa.asc")):
        code, out, error = build(f"repo/{directory}", option, KEYS / key)
        assert (code, error) == (0, "")
        assert "password: correct horse battery staple" in out
        assert "sops:" not in out
    code, out, error = build("repo/age", "--age-key", KEYS / "other.agekey")
    assert (code, out) == (1, "")
    assert "age/a.yaml cannot be decrypted" in error
    code, out, error = build("repo/age", "--age-key", tmp_path / "ks.yaml")
    assert code == 1
    assert "ks.yaml: line 1 is not a key of age" in error
    # Without a key it is shown as it is, unless the object says that it is to be opened.
    assert 'password: "ENC[' in build("repo/age")[1]
    code, _, error = build("repo/age", "--kustomization-file", "ks.yaml")
    assert code == 1
    assert "there is no age key" in error


DECRYPTED = """\
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: a}
spec: {interval: 1m, prune: true, sourceRef: {kind: GitRepository, name: a}, decryption: {provider: sops}}
"""
