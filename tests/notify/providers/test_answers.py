"""What services answer, and how long each asks us to wait."""

import pytest

from trimtab.notify.provider import Answer, Composed, Delivered, Outcome, Refused, Retry
from trimtab.notify.providers.table import TABLE

CASES = {
    "slack is content": ("slack", Answer(200, {}, b"ok"), Delivered()),
    "slack has too many": ("slack", Answer(200, {}, b'{"ok":false,"error":"ratelimited"}', 30.0), Retry),
    "slack knows no channel": ("slack", Answer(200, {}, b'{"ok":false,"error":"channel_not_found"}'), Refused),
    "discord waits": ("discord", Answer(429, {}, b'{"message":"slow","retry_after":1.5}', 1.0), 1.5),
    "teams says it failed": ("msteams", Answer(200, {}, b"Webhook message delivery failed with error: 413"), Refused),
    "teams has too many": ("msteams", Answer(200, {}, b"Webhook message delivery failed ... HTTP error 429"), Retry),
    "rocket waits": ("rocket", Answer(429, {}, b'{"error":"You must wait 46 seconds before"}'), 46.0),
    "rocket fails": ("rocket", Answer(200, {}, b'{"success":false,"error":"no room"}'), Refused),
    "webex waits": ("webex", Answer(429, {}, b"", 7.0), 7.0),
    "telegram waits": ("telegram", Answer(429, {}, b'{"ok":false,"parameters":{"retry_after":35}}'), 35.0),
    "matrix waits": ("matrix", Answer(429, {}, b'{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":2500}'), 2.5),
    "zulip waits": ("zulip", Answer(429, {}, b'{"msg":"limit","retry-after":28.7}'), 28.7),
    "sentry waits": ("sentry", Answer(429, {"x-sentry-rate-limits": "60:error:org, 120:transaction:key"}), 120.0),
    "datadog waits": ("datadog", Answer(429, {"x-ratelimit-reset": "12"}), 12.0),
    "lark is content": ("lark", Answer(200, {}, b'{"code":0,"msg":"success"}'), Delivered()),
    "lark was content before": ("lark", Answer(200, {}, b'{"StatusCode":0}'), Delivered()),
    "lark has too many": ("lark", Answer(200, {}, b'{"code":11232,"msg":"frequency limited"}'), Retry),
    "lark knows no bot": ("lark", Answer(200, {}, b'{"code":19001,"msg":"param invalid"}'), Refused),
    "github waits": ("githubdispatch", Answer(403, {"x-ratelimit-remaining": "0"}), 60.0),
    "github refuses": ("githubdispatch", Answer(403, {}), Refused),
    "a collector rejects": ("otel", Answer(200, {}, b'{"partialSuccess":{"rejectedLogRecords":"1"}}'), Refused),
    "a collector is content": ("otel", Answer(200, {}, b'{"partialSuccess":{}}'), Delivered()),
    "pagerduty refuses": ("pagerduty", Answer(400, {}, b'{"message":"Event object is invalid"}'), Refused),
    "opsgenie takes it": ("opsgenie", Answer(202, {}, b'{"result":"Request will be processed"}'), Delivered()),
}


def judged(name: str, answer: Answer) -> Outcome:
    provider = TABLE[name]
    assert isinstance(provider, Composed)
    return provider.judge(answer)


@pytest.mark.parametrize("case", sorted(CASES))
def test_an_answer_is_understood(case: str) -> None:
    name, answer, expected = CASES[case]
    outcome = judged(name, answer)
    match expected:
        case float():
            assert isinstance(outcome, Retry)
            assert outcome.after == pytest.approx(expected)
        case type():
            assert isinstance(outcome, expected)
        case _:
            assert outcome == expected


@pytest.mark.parametrize("name", sorted(name for name, one in TABLE.items() if isinstance(one, Composed)))
def test_no_answer_breaks_a_provider_or_makes_it_wait_for_ever(name: str) -> None:
    bodies = (
        b"",
        b"null",
        b"[1]",
        b'{"retry_after":1e999}',
        b'{"retry_after":-1,"retry_after_ms":"nan","retry-after":true,"message":{"a":1},"error":[1],"errors":{"a":1}}',
        b'{"parameters":[],"msg":7,"code":"x","partialSuccess":{"rejectedLogRecords":"inf"},"description":null}',
        b'{"retry_after":99999999,"retry_after_ms":1e18,"retry-after":1e18,"parameters":{"retry_after":1e12}}',
        b"[" * 5000,
        b"\xff\xfe",
    )
    headers = {"x-sentry-rate-limits": "x:,,:9e9," * 50, "x-ratelimit-reset": "-1", "x-ogw-ratelimit-reset": "1e400"}
    for status in (200, 204, 302, 400, 401, 403, 429, 500, 503):
        for body in bodies:
            outcome = judged(name, Answer(status, headers, body))
            if isinstance(outcome, Retry):
                assert outcome.after is None or 0 <= outcome.after <= 3600
            assert isinstance(outcome, Delivered) or outcome.why.isprintable()
