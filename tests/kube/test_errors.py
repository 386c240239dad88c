"""Refusals: which error, in whose words, and whether it may heal."""

from datetime import UTC, datetime

import msgspec
import pytest

from trimtab.kube import errors

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def refusal(status: int, body: bytes = b"", **headers: str) -> errors.ApiError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return errors.from_answer(status, named, body, request="PATCH /x", server="https://s:6443", now=NOW)


def said(code: int, reason: str, message: str, **details: object) -> bytes:
    body = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details or None}
    return msgspec.json.encode(body)


@pytest.mark.parametrize(
    ("status", "reason", "kind", "transient"),
    [
        (400, "BadRequest", errors.BadRequest, False),
        (401, "Unauthorized", errors.Unauthorized, False),
        (403, "Forbidden", errors.Forbidden, False),
        (404, "NotFound", errors.NotFound, False),
        (405, "MethodNotAllowed", errors.ApiError, False),
        (409, "Conflict", errors.Conflict, True),
        (409, "AlreadyExists", errors.AlreadyExists, False),
        (410, "Expired", errors.Gone, True),
        (413, "RequestEntityTooLarge", errors.RequestTooLarge, False),
        (422, "Invalid", errors.Invalid, False),
        (429, "TooManyRequests", errors.TooManyRequests, True),
        (500, "InternalError", errors.ServerError, True),
        (503, "ServiceUnavailable", errors.ServerError, True),
        (504, "Timeout", errors.ServerError, True),
    ],
)
def test_each_status_has_its_error_with_the_servers_words(status, reason, kind, transient):
    error = refusal(status, said(status, reason, "because"))
    assert type(error) is kind
    assert (error.status, error.reason, error.message, str(error)) == (status, reason, "because", "because")
    assert error.transient is transient
    assert error.terminal is not transient


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("etcdserver: request is too large", errors.RequestTooLarge),
        ("failed to create typed patch object (ns/a; apps/v1, Kind=Deployment): errors: …", errors.Invalid),
        (".dta: field not declared in schema", errors.Invalid),
        ('conversion webhook for example.com/v1, Kind=Foo failed: Post "https://…": refused', errors.Invalid),
    ],
)
def test_internal_errors_that_are_the_users_to_mend_are_terminal(message, kind):
    error = refusal(500, said(500, "InternalError", message))
    assert type(error) is kind
    assert error.terminal


def test_causes_name_their_fields():
    error = refusal(
        422, said(422, "Invalid", "no", causes=[{"reason": "FieldValueInvalid", "message": "bad", "field": "spec.x"}])
    )
    assert [(cause.field, cause.message) for cause in error.causes] == [("spec.x", "bad")]


def test_a_conflict_of_managers_does_not_heal_by_itself():
    error = refusal(409, said(409, "Conflict", "no", causes=[{"reason": "FieldManagerConflict", "field": ".data"}]))
    assert isinstance(error, errors.Conflict)
    assert error.of_managers
    assert error.terminal


def test_what_a_dying_namespace_or_object_refuses_heals_by_itself():
    causes = [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]
    assert refusal(403, said(403, "Forbidden", "no", causes=causes)).transient
    assert refusal(409, said(409, "AlreadyExists", "object is being deleted: a already exists")).transient


def test_what_a_proxy_says_is_quoted_without_its_markup_and_cut():
    page = b"<html><style>p {}</style><h1>502 Bad Gateway</h1>\n<hr>nginx " + b"very " * 1000 + b"\x1b[31m</html>"
    error = refusal(502, page)
    assert error.message.startswith("https://s:6443 answered PATCH /x with HTTP 502: 502 Bad Gateway nginx very")
    assert len(error.message) < 400
    assert error.transient
    assert refusal(404).message == "https://s:6443 answered PATCH /x with HTTP 404"
    assert "\x1b" not in refusal(502, b"a\x1b[31mb").message


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("Thu, 01 Jan 2026 12:00:20 GMT", 20.0), ("soon", None), ("-1", None)]
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    assert refusal(429, Retry_After=value).retry_after == seconds


def test_retry_after_may_stand_in_the_details():
    assert refusal(429, said(429, "TooManyRequests", "wait", retryAfterSeconds=3)).retry_after == 3.0


def test_an_unknown_kind_and_a_silent_group_are_never_taken_for_each_other():
    assert not issubclass(errors.StaleGroup, errors.UnknownKind)
    assert not issubclass(errors.UnknownKind, errors.StaleGroup)
    assert errors.StaleGroup.transient
    assert not errors.UnknownKind.transient
