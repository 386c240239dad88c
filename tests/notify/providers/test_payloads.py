"""What each provider sends, to the letter."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tests.notify.providers.notices import NOTICES, SETTINGS, composed, shown
from trimtab.notify.provider import KEY_HEADER, Composed, Misconfigured, Settings
from trimtab.notify.providers.table import TABLE, unserved

GOLDEN = Path(__file__).parent / "golden"


def _text(body: bytes, *path: str | int) -> str:
    found = json.loads(body)
    for step in path:
        found = found[step]
    assert isinstance(found, str)
    return found


LIMITS: dict[str, tuple[Callable[[bytes], int], int]] = {
    "datadog": (lambda body: len(_text(body, "text")), 4_000),
    "discord": (lambda body: len(_text(body, "embeds", 0, "description")), 4_096),
    "googlechat": (len, 32_000),
    "lark": (len, 20_000),
    "matrix": (len, 65_536),
    "msteams": (len, 28_000),
    "slack": (lambda body: len(_text(body, "attachments", 0, "text")), 40_000),
    "telegram": (lambda body: len(_text(body, "text").encode("utf-16-le")) // 2, 4_096),
    "webex": (lambda body: len(_text(body, "text").encode()), 7_439),
    "zoom": (lambda body: len(_text(body, "content", "body", 0, "text")), 4_096),
    "zulip": (lambda body: len(parse_qs(body.decode())["content"][0]), 10_000),
}
"""What the service measures, and how much of it is taken."""


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_request_is_what_the_service_expects(name: str) -> None:
    expected = json.loads((GOLDEN / f"{name}.json").read_text())
    assert {case: [shown(one) for one in composed(name, notice)] for case, notice in NOTICES.items()} == expected


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_repeat_is_the_same_request_with_the_same_key(name: str) -> None:
    for notice in NOTICES.values():
        first, again = composed(name, notice), composed(name, notice)
        assert [(one.url, one.headers, one.body) for one in first] == [
            (one.url, one.headers, one.body) for one in again
        ]
        assert all(one.headers[KEY_HEADER] == notice.key for one in first)


def test_all_composed_providers_are_in_these_tests() -> None:
    assert {name for name, provider in TABLE.items() if isinstance(provider, Composed)} == SETTINGS.keys()


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_a_long_message_is_cut_to_what_the_service_takes_and_says_so(name: str) -> None:
    measured, most = LIMITS[name]
    many = {f"field-{number}" * 20: "<" * 4000 for number in range(60)}
    for char in "xü[@`<😀":
        for fields in ({}, many):
            (request,) = composed(name, replace(NOTICES["opened"], message=char * 39_000, fields=fields))
            assert measured(request.body) <= most
            assert b"cut;" in request.body or b"cut%3B" in request.body


NEEDED = [
    *((name, "address") for name in ("alertmanager", "discord", "generic", "googlechat", "lark", "matrix", "otel")),
    *((name, "address") for name in ("generic-hmac", "grafana", "msteams", "rocket", "sentry", "slack", "zulip")),
    *((name, "token") for name in ("datadog", "githubdispatch", "generic-hmac", "matrix", "opsgenie", "slack")),
    *((name, "address") for name in ("azureeventhub", "googlepubsub", "incident.io", "zoom")),
    *((name, "token") for name in ("incident.io", "zoom")),
    *(("googlepubsub", "channel"),),
    *(("telegram", "token"), ("webex", "token"), ("zulip", "password"), ("pagerduty", "channel")),
    *((name, "channel") for name in ("matrix", "slack", "telegram", "webex", "zulip")),
]


@pytest.mark.parametrize(("name", "field"), NEEDED)
def test_what_is_missing_is_named_with_the_way_out_and_without_a_secret(name: str, field: str) -> None:
    settings = replace(SETTINGS[name], **{field: ""})
    with pytest.raises(Misconfigured, match=r"\bset ") as caught:
        composed(name, NOTICES["opened"], settings)
    for secret in (settings.token, settings.password, settings.address):
        assert not secret or secret not in caught.value.message


def test_a_dsn_that_is_none_is_refused_without_showing_it() -> None:
    for address in ("https://sentry.example/42", "https://k3y@sentry.example/", "nonsense", "https://[k3y@x/1"):
        with pytest.raises(Misconfigured) as caught:
            composed("sentry", NOTICES["once"], replace(SETTINGS["sentry"], address=address))
        assert "k3y" not in caught.value.message


def test_what_a_provider_of_flux_names_is_understood() -> None:
    (request,) = composed("telegram", NOTICES["once"], replace(SETTINGS["telegram"], channel="-100123:7"))
    assert (_text(request.body, "chat_id"), _text(request.body, "message_thread_id")) == ("-100123", "7")
    (request,) = composed("otel", NOTICES["once"], replace(SETTINGS["otel"], address="https://otel.example/v1/traces"))
    assert request.url == "https://otel.example/v1/logs"
    (request,) = composed("alertmanager", NOTICES["opened"], _at("alertmanager", "https://am.example/x/api/v2/alerts/"))
    assert request.url == "https://am.example/x/api/v2/alerts"
    (request,) = composed("zulip", NOTICES["once"], _at("zulip", "https://zulip.example/api/v1/messages"))
    assert request.url == "https://zulip.example/api/v1/messages"


def test_a_record_is_in_the_trace_that_the_event_names_and_people_are_not_told_of_it() -> None:
    place = {"trimtab.dev/traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    notice = replace(NOTICES["once"], fields={**NOTICES["once"].fields, **place})
    (request,) = composed("otel", notice, SETTINGS["otel"])
    (record,) = json.loads(request.body)["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert (record["traceId"], record["spanId"]) == ("a" * 32, "b" * 16)
    (request,) = composed("slack", notice, SETTINGS["slack"])
    assert b"traceparent" not in request.body
    (request,) = composed("otel", replace(notice, fields={"trimtab.dev/traceparent": "nonsense"}), SETTINGS["otel"])
    assert b"traceId" not in request.body


def _at(name: str, address: str) -> Settings:
    return replace(SETTINGS[name], address=address)


def test_a_token_cannot_lead_telegram_elsewhere() -> None:
    with pytest.raises(Misconfigured):
        composed("telegram", NOTICES["once"], replace(SETTINGS["telegram"], token="1:a/../../x?"))


def test_a_type_that_is_not_served_is_refused_with_a_way_out() -> None:
    """Such as one that a later Flux has, where its definitions are installed."""
    words = unserved("pigeon")
    assert "Providers of type pigeon" in words
    assert "use the type generic-hmac" in words


def test_the_room_of_matrix_is_in_the_path_as_it_is_written() -> None:
    [request] = composed("matrix", NOTICES["once"])
    assert "/rooms/!room:example.org/send/" in unquote(urlsplit(request.url).path), "written in octets once, not twice"
