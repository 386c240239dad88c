"""What a server's words mean."""

import pytest

from trimtab.kube import errors
from trimtab.kube.errors import Status
from trimtab.preview import refusal
from trimtab.preview.verdict import Verdict

PREFIX = 'deployments.apps "web" is forbidden: '


@pytest.mark.parametrize(
    ("code", "message", "verdict", "policy", "words"),
    [
        (
            422,
            PREFIX + "ValidatingAdmissionPolicy 'few' with binding 'few-here' denied request: at most 5\nreplicas",
            Verdict.REFUSED_POLICY,
            "few",
            "at most 5\nreplicas",
        ),
        (
            400,
            'admission webhook "check.example.org" denied the request: no team label',
            Verdict.REFUSED_POLICY,
            "check.example.org",
            "no team label",
        ),
        (
            403,
            'pods "web" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true',
            Verdict.REFUSED_POLICY,
            'PodSecurity "restricted:latest"',
            "runAsNonRoot != true",
        ),
        (
            403,
            'pods "web" is forbidden: exceeded quota: tight, requested: pods=1, used: pods=4, limited: pods=4',
            Verdict.QUOTA_EXCEEDED,
            "tight",
            "requested: pods=1, used: pods=4, limited: pods=4",
        ),
        (
            403,
            'pods "web" is forbidden: failed quota: tight: must specify requests.cpu for: web',
            Verdict.QUOTA_EXCEEDED,
            "tight",
            "must specify requests.cpu for: web",
        ),
        (
            403,
            'pods "web" is forbidden: maximum cpu usage per Container is 1, but limit is 2',
            Verdict.REFUSED_POLICY,
            "LimitRange",
            None,
        ),
        (403, 'User "dev" cannot patch resource "deployments" in API group "apps"', Verdict.UNKNOWN, "", None),
        (403, PREFIX + "user is attempting to grant RBAC permissions not currently held", Verdict.UNKNOWN, "", None),
        (403, PREFIX + "because it is being terminated", Verdict.REFERENCE_MISSING, "", None),
        (403, PREFIX + "an admission plugin says no", Verdict.REFUSED_POLICY, "", None),
        (422, 'Deployment.apps "web" is invalid: spec.replicas', Verdict.REFUSED_SCHEMA, "", None),
        (
            500,
            "failed to create typed patch object: .spec.x: field not declared in schema",
            Verdict.REFUSED_SCHEMA,
            "",
            None,
        ),
        (404, 'namespaces "nowhere" not found', Verdict.REFERENCE_MISSING, "", None),
        (401, "Unauthorized", Verdict.UNKNOWN, "", None),
        (429, "too many requests", Verdict.UNKNOWN, "", None),
        (500, "Internal error occurred: failed calling webhook", Verdict.UNKNOWN, "", None),
        (503, "unavailable", Verdict.UNKNOWN, "", None),
    ],
)
def test_a_refusal_is_taken_for_what_it_is(code, message, verdict, policy, words) -> None:
    failure = errors.from_status(Status(code=code, message=message))
    found = refusal.judged(failure, message)
    assert (found.verdict, found.policy) == (verdict, policy)
    assert words is None or found.message == words
    assert "few-here" in (found.binding, "few-here" if policy != "few" else "")


def test_warnings_are_read_from_all_headers_and_told_with_the_policy_that_warns() -> None:
    headers = [
        (
            "Warning",
            "299 - \"Validation failed for ValidatingAdmissionPolicy 'few' with binding 'b': at most \\\"5\\\"\"",
        ),
        ("content-type", "application/json"),
        ("warning", '299 - "would violate PodSecurity \\"restricted:latest\\": x", 299 - "old is deprecated"'),
        ("Warning", '299 - "old is deprecated"'),
    ]
    found = [refusal.warned(text) for text in refusal.warnings(headers)]
    assert [(one.policy, one.binding, one.message) for one in found] == [
        ("few", "b", 'at most "5"'),
        ('PodSecurity "restricted:latest"', "", "x"),
        ("", "", "old is deprecated"),
    ]


def test_endless_words_are_cut() -> None:
    failure = errors.from_status(Status(code=422, message="x" * 100_000))
    assert len(refusal.judged(failure, failure.message).message) == 2_000
    assert len(refusal.warnings([("Warning", f'299 - "w{n}"') for n in range(100)])) == 20
