"""`trimtab validate`: what it takes, what it says, and the code it leaves with."""

import io
import json
from xml.dom import minidom

import pytest

from tests.validate.conftest import Validate

WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
      - name: web
        image: nginx:1.27
        {field}: [a]
"""
GOOD = WEB.format(replicas=2, field="args")
BAD = WEB.format(replicas='"2"', field="argz")
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: b}\n"
APP = """\
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shop, namespace: flux-system}
spec:
  interval: 10m
  path: %s
  prune: true
  sourceRef: {kind: GitRepository, name: flux-system}
  %s
"""
SOURCE = """\
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: flux-system, namespace: flux-system}
spec: {interval: 1m, url: https://example.com/repo}
"""


def test_what_is_valid_is_said_in_a_line_and_leaves_with_0(validate: Validate) -> None:
    said = validate({"web.yaml": GOOD}, "-o", "text")
    assert (said.code, said.out) == (0, "")
    assert said.err.startswith("✔ 1 object in 1 file")


def test_errors_are_told_at_their_lines_and_leave_with_2(validate: Validate) -> None:
    said = validate({"shop/web.yaml": f"---\n{BAD}"}, "-o", "text")
    assert said.code == 2
    assert said.out.splitlines() == [
        "✗ shop/web.yaml:8: Deployment/shop/web: spec.replicas must be an integer, it is '2'",
        (
            "✗ shop/web.yaml:16: Deployment/shop/web: spec.template.spec.containers[0].argz is not a field that is "
            "known here; is args meant?"
        ),
    ]


def test_a_kind_that_nobody_knows_is_unknown_and_more_than_an_error(validate: Validate) -> None:
    thing = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\n"
    said = validate({"thing.yaml": thing, "web.yaml": BAD})
    assert (said.code, said.body["verdict"]) == (3, "unknown")
    assert said.body["counts"] | {"unknown": 1, "error": 2} == said.body["counts"]
    assert validate({}, "--allow-unknown").code == 2


def test_a_definition_beside_the_object_or_given_by_option_makes_its_kind_known(validate: Validate) -> None:
    definition = json.dumps(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "things.example.com"},
            "spec": {
                "group": "example.com",
                "scope": "Namespaced",
                "names": {"plural": "things", "kind": "Thing", "listKind": "ThingList", "singular": "thing"},
                "versions": [
                    {
                        "name": "v1",
                        "served": True,
                        "storage": True,
                        "schema": {
                            "openAPIV3Schema": {
                                "type": "object",
                                "properties": {"spec": {"type": "object", "properties": {"a": {"type": "integer"}}}},
                            }
                        },
                    }
                ],
            },
        }
    )
    thing = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\nspec:\n  a: 1\n  b: 2\n"
    said = validate({"crds/thing.yaml": definition, "app/thing.yaml": thing}, "app", "--schema=crds")
    assert said.findings == [("unknown-field", "app/thing.yaml", 6)]
    assert validate({}, ".").findings == [("unknown-field", "app/thing.yaml", 6)]
    assert "no CustomResourceDefinition" in validate({"x.yaml": CONFIG}, "app", "--schema=x.yaml").err


def test_our_own_kinds_are_known(validate: Validate) -> None:
    said = validate({"apps.yaml": APP % ("./shop", "pruned: true"), "shop/c.yaml": CONFIG, "source.yaml": SOURCE})
    assert said.findings == [("unknown-field", "apps.yaml", 9)]


def test_a_builtin_group_without_the_kind_is_an_error_that_names_what_there_is(validate: Validate) -> None:
    old = "apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: web}\n"
    said = validate({"web.yaml": old})
    assert said.code == 2
    words = "Kubernetes 1.36 serves no Deployment apps/v1beta1; of this kind there is v1"
    assert said.body["findings"][0]["message"] == words


def test_the_version_of_kubernetes_can_be_chosen(validate: Validate) -> None:
    assert "Kubernetes 1.34." in validate({"a.yaml": CONFIG}, "--kubernetes-version=v1.34.2").body["schemas"]
    said = validate({}, "--kubernetes-version=1.20")
    assert (said.code, "there is 1.34, 1.35, 1.36" in said.err) == (1, True)


def test_a_kustomization_is_built_and_what_it_reads_is_not_judged_alone(validate: Validate) -> None:
    files = {
        "base/kustomization.yaml": "resources: [web.yaml]\n",
        "base/web.yaml": GOOD,
        "over/kustomization.yaml": "resources: [../base]\npatches: [{path: patch.yaml}]\n",
        "over/patch.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\n"
        "spec: {replica: 3}\n",
        ".git/HEAD": "",
    }
    said = validate(files)
    assert (said.code, said.body["counts"]["builds"]) == (2, 2)
    # the patch stands elsewhere: the object that it changes is named
    assert said.findings == [("unknown-field", "base/web.yaml", 6)]


def test_a_build_that_fails_is_told_at_the_line_that_is_wrong(validate: Validate) -> None:
    said = validate({"app/kustomization.yaml": "resources: [b.yaml]\n", "app/a.yaml": CONFIG})
    assert (said.code, said.findings) == (2, [("build", "app/kustomization.yaml", 1)])
    said = validate({"app/kustomization.yaml": "resources: [a.yaml]\n", "app/a.yaml": "a: 1\na: 2\n"})
    assert (said.code, said.findings) == (2, [("file", "app/a.yaml", 2)])


def test_a_base_that_would_have_to_be_fetched_makes_the_build_unknown(validate: Validate) -> None:
    files = {"app/kustomization.yaml": "resources: ['https://example.com/a/b//base?ref=v1']\n"}
    said = validate(files)
    assert (said.code, said.findings) == (3, [("build", "app/kustomization.yaml", 1)])


def test_an_app_is_built_as_its_controller_would_with_its_variables(validate: Validate) -> None:
    files = {
        ".git/HEAD": "",
        "clusters/apps.yaml": APP % ("./shop", "postBuild: {substitute: {replicas: many}}"),
        "clusters/source.yaml": SOURCE,
        "shop/web.yaml": GOOD.replace("replicas: 2", "replicas: ${replicas}"),
    }
    said = validate(files)
    assert said.findings == [("schema", "shop/web.yaml", 7)]
    assert validate({"clusters/apps.yaml": APP % ("./shop", "")}).findings == []


def test_a_path_that_is_not_there_and_a_source_that_nobody_declares_are_warnings(validate: Validate) -> None:
    said = validate({".git/HEAD": "", "apps.yaml": APP % ("./missing", "")})
    assert (said.code, said.findings) == (0, [("reference", "apps.yaml", 6), ("reference", "apps.yaml", 8)])


def test_what_is_declared_twice_in_one_place_is_an_error_and_in_two_places_none(validate: Validate) -> None:
    said = validate({"a/one.yaml": CONFIG, "a/two.yaml": f"---\n{CONFIG}", "b/one.yaml": CONFIG})
    assert (said.code, said.findings) == (2, [("duplicate", "a/two.yaml", 2)])


def test_a_secret_in_clear_text_weighs_what_is_asked_for_and_its_value_is_told_nowhere(validate: Validate) -> None:
    secret = (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData:\n  password: hunter2\n  number: 12345678\n"
    )
    codes = {}
    for policy in ("allow", "warn", "refuse"):
        said = validate({"s.yaml": secret}, f"--plaintext-secrets={policy}")
        codes[policy] = [one for one, *_ in said.findings]
        assert "hunter2" not in said.out + said.err
        assert "12345678" not in said.out + said.err
    # the number is an error of its own: a server wants a text
    assert codes == {
        "allow": ["schema"],
        "warn": ["plaintext-secret", "schema"],
        "refuse": ["plaintext-secret", "schema"],
    }


def test_what_is_encrypted_is_judged_but_for_its_values(validate: Validate) -> None:
    sealed = (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\n"
        "data: {a: 'ENC[AES256_GCM,data:x,iv:y,tag:z,type:str]'}\nsops: {mac: x}\n"
    )
    assert validate({"s.yaml": sealed}).findings == []


def test_references_inside_the_set_are_followed_and_optional_ones_left(validate: Validate) -> None:
    uses = GOOD + "        envFrom:\n        - configMapRef: {name: settings}\n        - secretRef: {name: gone}\n"
    uses += "        - secretRef: {name: maybe, optional: true}\n"
    said = validate({"web.yaml": uses, "c.yaml": CONFIG})
    assert said.findings == [("reference", "web.yaml", 18)]
    assert "names Secret gone in namespace shop" in said.body["findings"][0]["message"]


def test_the_parts_of_an_object_have_to_fit(validate: Validate) -> None:
    said = validate({"web.yaml": GOOD.replace("metadata: {labels: {app: web}}", "metadata: {labels: {app: wbe}}")})
    assert said.findings == [("consistency", "web.yaml", 8)]


def test_names_and_labels_are_judged(validate: Validate) -> None:
    said = validate({"c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: Big\n  labels: {a: 'b c'}\n"})
    assert said.findings == [("name", "c.yaml", 4), ("name", "c.yaml", 5)]


def test_sarif_names_rule_file_and_line(validate: Validate) -> None:
    run = validate({"a b/web.yaml": BAD}, "-o", "sarif").body["runs"][0]
    first = run["results"][0]
    assert run["tool"]["driver"]["rules"][first["ruleIndex"]]["id"] == first["ruleId"] == "schema"
    place = first["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "a%20b/web.yaml"}, "region": {"startLine": 7}}


def test_no_words_of_others_are_a_link_in_sarif(validate: Validate) -> None:
    named = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '[a](https://evil.example.org)'}\n"
    texts = [one["message"]["text"] for one in validate({"a.yaml": named}, "-o", "sarif").body["runs"][0]["results"]]
    assert texts
    assert all(r"\[a\](https://" in text and "/[a]" not in text for text in texts)


def test_junit_has_a_case_for_each_file(validate: Validate) -> None:
    said = validate({"good.yaml": CONFIG, "bad/we&b.yaml": BAD}, "-o", "junit")
    document = minidom.parseString(said.out)  # noqa: S318 - our own
    names = {one.getAttribute("name"): len(one.getElementsByTagName("failure")) for one in
             document.getElementsByTagName("testcase")}  # fmt: skip
    assert names == {"good.yaml": 0, "bad/we&b.yaml": 2}


def test_charts_components_and_what_is_no_manifest_are_left_out(validate: Validate) -> None:
    files = {
        "chart/Chart.yaml": "apiVersion: v2\nname: a\nversion: 1.0.0\n",
        "chart/templates/a.yaml": "{{ if }}",
        "part/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n",
        "part/patch.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n",
        "values.yaml": "replicas: 3\n",
        ".github/workflows/ci.yaml": "on: push\n",
        ".sourceignore": "/drafts/\n",
        "drafts/bad.yaml": "a: 1\na: 2\n",
        "c.yaml": CONFIG,
    }
    said = validate(files)
    assert (said.code, said.findings, said.body["counts"]["leftOut"]) == (0, [], 4)


def test_a_stream_is_read_by_the_rules_of_kubectl(validate: Validate, monkeypatch: pytest.MonkeyPatch) -> None:
    text = GOOD.replace("args: [a]", "tty: yes")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{text}---\n{BAD}".encode())))
    said = validate({"-": ""}, "-")
    assert said.findings == [("duplicate", "standard input", 17), ("schema", "standard input", 23),
                             ("unknown-field", "standard input", 31)]  # fmt: skip


def test_annotations_of_ours_that_make_no_sense_are_errors(validate: Validate) -> None:
    app = (APP % ("./", "")).replace(
        "namespace: flux-system}", "namespace: a, annotations: {trimtab.dev/drift: maybe}}", 1
    )
    said = validate({"app.yaml": app})
    assert ("consistency", "app.yaml", 3) in said.findings


def test_nothing_at_all_is_an_error_of_usage(validate: Validate) -> None:
    assert validate({"values.yaml": "a: 1\n"}).code == 1
