"""Files from anybody: told of with their line, never a traceback, never for long."""

import time

import pytest

from tests.validate.conftest import Validate

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}\n"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"\xef\xbb\xbf" + CONFIG.replace("\n", "\r\n").encode(), []),
        (CONFIG.encode() + b"# \xff\n", [("file", "a.yaml", 5)]),
        (CONFIG.encode("utf-16"), [("file", "a.yaml", 1)]),
        (b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
            b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % (c, c, *[c - 1] * 9) for c in range(98, 110)
        ), [("file", "a.yaml", 6)]),
        (b"[" * 200_000, [("file", "a.yaml", 1)]),
        (b"x" * (11 << 20), [("file", "a.yaml", 1)]),
        (b"kind: ConfigMap\nmetadata: {name: a}\n", [("object", "a.yaml", 1)]),
        (b"apiVersion: v1\nkind: ConfigMap\nmetadata: [a]\n", [("object", "a.yaml", 1)]),
        (b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: 1, a: 2}\n", [("file", "a.yaml", 4)]),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", [("file", "a.yaml", 1)]),
    ],
    ids=["crlf and bom", "not utf-8", "utf-16", "bomb", "deep", "huge", "no version", "odd metadata", "twice", "lfs"],
)  # fmt: skip
def test_a_bad_file_is_a_finding_with_a_line(validate: Validate, content: bytes, found: list[object]) -> None:
    began = time.monotonic()
    said = validate({"a.yaml": content}, "a.yaml")
    assert said.findings == found
    assert time.monotonic() - began < 60


def test_names_with_what_shells_and_terminals_take_for_theirs_are_shown_harmless(validate: Validate) -> None:
    name = "a $(id); 'x' \x1b[31m.yaml"
    said = validate({name: CONFIG.replace("data:", "dota:")}, "-o", "text")
    assert (said.code, "\x1b[31m" in said.out, "$(id)" in said.out) == (2, False, True)


def test_links_below_a_directory_are_told_of_and_not_followed(
    validate: Validate, tmp_path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.yaml").write_text("kind: 3\n")
    (tmp_path / "link.yaml").symlink_to(outside / "secret.yaml")
    (tmp_path / "directory").symlink_to(outside)
    said = validate({"a.yaml": CONFIG})
    assert (said.code, said.findings) == (0, [("file", "directory", 1), ("file", "link.yaml", 1)])


def test_a_kustomization_that_leads_out_of_the_repository_reads_nothing_there(
    validate: Validate, tmp_path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (tmp_path / "repo/.git").mkdir(parents=True)
    files = {"repo/app/kustomization.yaml": "resources: [../../outside.yaml]\n", "outside.yaml": CONFIG}
    said = validate(files, "repo")
    assert (said.code, [rule for rule, *_ in said.findings]) == (2, ["build"])


def test_values_of_the_wrong_type_anywhere_are_findings(validate: Validate) -> None:
    text = """\
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: a, labels: [x], annotations: {b: 1}}
spec: {selector: 3, template: {spec: {containers: {a: b}, volumes: x}}, volumeClaimTemplates: [x, null]}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: a}
spec: 7
"""
    said = validate({"a.yaml": text.replace("labels: [x], ", "")})
    assert said.code == 2
    assert {rule for rule, *_ in said.findings} == {"schema"}


def test_no_definition_among_the_files_replaces_a_built_in_kind(validate: Validate) -> None:
    definition = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: deployments.apps}
spec:
  group: apps
  scope: Namespaced
  names: {kind: Deployment, plural: deployments, singular: deployment, listKind: DeploymentList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
    odd = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: x}\n"
    said = validate({"crd.yaml": definition, "web.yaml": odd})
    assert ("consistency", "crd.yaml", 5) in said.findings
    assert ("schema", "web.yaml", 4) in said.findings
