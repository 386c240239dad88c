"""ValidatingAdmissionPolicies without a server: what they refuse, and what only a server could tell."""

import json
from typing import Any

import pytest

from tests.validate.conftest import Validate

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {tier: gold}}\n"
WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  replicas: 7
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'nginx:1.27'}]}
"""
RULE = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}


def policy(*validations: Any, constraints: Any = None, **spec: Any) -> dict[str, Any]:
    rules = [one if isinstance(one, dict) else {"expression": one} for one in validations]
    matching = {"resourceRules": [RULE], **(constraints or {})}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "ours"},
        "spec": {"matchConstraints": matching, "validations": rules, **spec},
    }


def binding(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "ours"},
        "spec": {"policyName": "ours", "validationActions": ["Deny"], **spec},
    }


LIMIT = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "limit", "namespace": "rules"},
    "data": {"most": "5"},
}
OWN_LIMIT = {**LIMIT, "metadata": {"name": "limit", "namespace": "shop"}, "data": {"most": "9"}}
UNLABELLED = {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}
PARAMETER = {"apiVersion": "v1", "kind": "ConfigMap"}
FEW = {"expression": "object.spec.replicas <= 5", "message": "no more than five"}


@pytest.mark.parametrize(
    ("policies", "code", "said"),
    [
        ([policy(FEW)], 2, ["the policy ours refuses it: no more than five"]),
        ([policy("object.spec.replicas <= 9")], 0, []),
        ([policy("object.spec.replicas <= 5")], 2,
         ["the policy ours refuses it: failed expression: object.spec.replicas <= 5"]),
        ([policy(FEW), binding(validationActions=["Warn"])], 0, ["the policy ours refuses it: no more than five"]),
        ([policy(FEW), binding(matchResources={"namespaceSelector": {"matchLabels": {"tier": "gold"}}})], 2,
         ["the policy ours refuses it: no more than five"]),
        ([policy(FEW), binding(matchResources={"namespaceSelector": {"matchLabels": {"tier": "lead"}}})], 0, []),
        ([policy(FEW, constraints={"objectSelector": UNLABELLED})], 0, []),
        ([policy(FEW, constraints={"excludeResourceRules": [RULE]})], 0, []),
        ([policy(FEW, matchConditions=[{"name": "a", "expression": "object.metadata.name != 'web'"}])], 0, []),
        ([policy("variables.many", variables=[{"name": "many", "expression": "object.spec.replicas > 6"}])], 0, []),
        ([policy("namespaceObject.metadata.labels.tier == 'lead'")], 2,
         ["the policy ours refuses it: failed expression: namespaceObject.metadata.labels.tier == 'lead'"]),
        ([policy("object.spec.replicas <= int(params.data.most)", paramKind=PARAMETER),
          binding(paramRef={"name": "limit", "namespace": "rules"}), LIMIT], 2,
         ["the policy ours refuses it: failed expression: object.spec.replicas <= int(params.data.most)"]),
        ([policy("int(params.data.most) > 1", paramKind=PARAMETER), binding(paramRef={"name": "x"})], 3,
         ["the policy ours cannot be judged here: its parameters are not among the files: add them to --policies"]),
        ([policy("int(params.data.most) > 1", paramKind=PARAMETER), binding(paramRef={"name": "limit"}), LIMIT], 3,
         ["the policy ours cannot be judged here: its parameters are not among the files: add them to --policies"]),
        ([policy("object.spec.replicas <= int(params.data.most)", paramKind=PARAMETER),
          binding(paramRef={"name": "limit"}), LIMIT, OWN_LIMIT], 0, []),
        ([policy("request.userInfo.username == 'me'")], 3, None),
        ([policy("object.spec.minReadySeconds > 3")], 3, None),
        ([policy("authorizer.group('').resource('pods').check('get').allowed()")], 3, None),
        ([policy("object.spec.replicas <")], 3, None),
    ],
    ids=["refused", "admitted", "without words", "warned", "selected", "not selected", "other labels", "excluded",
         "condition", "variable", "namespace", "parameter", "no parameter",
         "a parameter elsewhere", "a parameter beside it", "who asks", "default", "authorizer",
         "broken"],
)  # fmt: skip
def test_what_a_policy_says_of_an_object(
    validate: Validate, policies: list[Any], code: int, said: list[str] | None
) -> None:
    files = {"app/web.yaml": WEB, "app/namespace.yaml": NAMESPACE, "rules/all.yaml": "---\n".join(
        json.dumps(one) + "\n" for one in policies
    )}  # fmt: skip
    found = validate(files, "app", "--policies=rules")
    assert found.code == code
    messages = [one["message"] for one in found.body["findings"]]
    if said is None:
        assert len(messages) == 1
        assert messages[0].startswith("the policy ours cannot be judged here: ")
    else:
        assert messages == said


def test_a_directory_without_policies_is_an_error_and_not_an_empty_answer(validate: Validate) -> None:
    assert validate({"app/web.yaml": WEB, "rules/values.yaml": "a: 1\n"}, "app", "--policies=rules").code == 1


def test_what_a_policy_says_of_all_resources_holds_for_a_kind_that_nobody_knows(validate: Validate) -> None:
    everything = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}
    refusing = policy("has(object.spec)", constraints={"resourceRules": [everything]})
    asking = policy("request.resource.resource == 'odds'", constraints={"resourceRules": [everything]})
    odd = "apiVersion: example.org/v1\nkind: Odd\nmetadata: {name: a}\n"
    for given, code, level in ((refusing, 2, "error"), (asking, 3, "unknown")):
        files = {"all/odd.yaml": odd, "policies/policy.yaml": json.dumps(given)}
        said = validate(files, "all", "--allow-unknown", "--policies=policies")
        assert said.code == code
        assert [one["level"] for one in said.body["findings"]] == ["warning", level]


@pytest.mark.parametrize(
    ("constraints", "code", "levels"),
    [
        ({"resourceRules": [{**RULE, "apiGroups": ["example.org"], "resources": ["odds"]}]}, 3, ["warning", "unknown"]),
        ({"resourceRules": [{**RULE, "apiGroups": ["*"], "resources": ["*"]}],
          "excludeResourceRules": [{**RULE, "apiGroups": ["*"], "resources": ["odds"]}]}, 3, ["warning", "unknown"]),
        ({"resourceRules": [{**RULE, "apiGroups": ["example.org"], "resources": ["odds/status"]}]}, 0, ["warning"]),
        ({"resourceRules": [{**RULE, "resources": ["odds"]}]}, 0, ["warning"]),
    ],
    ids=["named", "excepted", "its status", "another group"],
)  # fmt: skip
def test_whether_a_policy_that_names_resources_is_about_a_kind_that_nobody_knows_is_unknown(
    validate: Validate, constraints: Any, code: int, levels: list[str]
) -> None:
    odd = "apiVersion: example.org/v1\nkind: Odd\nmetadata: {name: a}\n"
    files = {"all/odd.yaml": odd, "policies/policy.yaml": json.dumps(policy("false", constraints=constraints))}
    said = validate(files, "all", "--allow-unknown", "--policies=policies")
    assert (said.code, [one["level"] for one in said.body["findings"]]) == (code, levels)


def test_what_no_server_serves_is_refused_before_a_policy_is_asked(validate: Validate) -> None:
    odd = "apiVersion: apps/v1\nkind: Odd\nmetadata: {name: a}\n"
    said = validate(
        {"all/odd.yaml": odd, "policies/policy.yaml": json.dumps(policy(FEW))}, "all", "--policies=policies"
    )
    assert (said.code, [one["rule"] for one in said.body["findings"]]) == (2, ["kind"])
