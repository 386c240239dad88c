"""Events from outside: what is taken of them, what is refused, and that nothing can hide in their words."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.notify.event import (
    LONGEST_VALUE,
    MOST_BODY,
    MOST_MESSAGE,
    MOST_METADATA,
    Event,
    NotAnEvent,
    clean,
    encode,
    parse,
)

PLAIN: dict[str, Any] = {
    "involvedObject": {
        "kind": "Kustomization",
        "namespace": "apps",
        "name": "shop",
        "uid": "1",
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "resourceVersion": "7",
    },
    "severity": "info",
    "timestamp": "2026-11-26T22:00:00Z",
    "message": "Applied revision: main@sha1:1",
    "reason": "ReconciliationSucceeded",
    "metadata": {"kustomize.toolkit.fluxcd.io/revision": "main@sha1:1"},
    "reportingController": "kustomize-controller",
    "reportingInstance": "kustomize-controller-0",
}
HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def body(**changes: Any) -> bytes:
    return json.dumps({name: value for name, value in (PLAIN | changes).items() if value is not None}).encode()


def test_an_event_of_flux_s_comes_out_as_it_came_in() -> None:
    assert json.loads(encode(parse(body()))) == PLAIN
    without = {name: value for name, value in PLAIN.items() if name not in ("metadata", "reportingInstance")}
    assert json.loads(encode(parse(json.dumps(without).encode()))) == without


def test_what_a_later_version_adds_is_left_out() -> None:
    assert json.loads(encode(parse(body(later={"deep": [1, {"a": None}]})))) == PLAIN


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is no event"),
        (b"[]", "is no event"),
        (b"\xff\xfe", "is no event"),
        (b"[" * 200_000, "is no event"),
        (b'{"a":' * 50_000, "is no event"),
        (b" " * (MOST_BODY + 1), f"more than {MOST_BODY} bytes"),
        (body(message=7), r"`int` - at `\$.message`"),
        (body(metadata={"a": 1}), r"at `\$.metadata\[...\]`"),
        (body(metadata=["a"]), r"at `\$.metadata`"),
        (body(involvedObject=[]), r"at `\$.involvedObject`"),
        (body(involvedObject={"kind": "Kustomization", "namespace": "apps"}), "involvedObject.name"),
        (body(involvedObject={"name": "a", "namespace": "apps"}), "involvedObject.kind"),
        (body(severity="fatal"), "severity 'fatal'"),
        (body(severity=None), "severity"),
        (body(message="  \n"), "no message"),
        (body(reason=""), "no reason"),
        (body(timestamp="yesterday"), "not a time of RFC 3339"),
        (body(timestamp="2026-11-26T22:00:00"), "not a time of RFC 3339"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_makes_no_sense_is_refused_with_the_reason(data: bytes, words: str) -> None:
    with pytest.raises(NotAnEvent, match=words) as refused:
        parse(data)
    assert len(str(refused.value)) < 800


def test_a_body_of_exactly_the_limit_is_read_and_its_message_cut() -> None:
    short = len(body(message=""))
    event = parse(body(message="x" * (MOST_BODY - short)))
    assert len(event.message) == MOST_MESSAGE
    assert event.message.endswith("…")


def test_long_names_and_many_metadata_have_an_end() -> None:
    many = {f"key-{number}": "v" * (LONGEST_VALUE + 1) for number in range(MOST_METADATA + 10)}
    event = parse(body(metadata=many, reportingController="a" * 100_000))
    assert len(event.metadata) == MOST_METADATA
    assert {len(value) for value in event.metadata.values()} == {LONGEST_VALUE}
    assert len(event.reporting_controller) == 253


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m\x1b]0;title\x07", "red"),
        ("two\nlines\tand a tab\r\n", "two\nlines\tand a tab\n"),
        ("over\rwritten", "over\\rwritten"),
        ("\u202eevil", "\\u202eevil"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("bell\x07", "bell\\x07"),
        ("https://user:secret@host/x", "https://user:***@host/x"),
        ("<!channel> @everyone [a](http://b)", "<!channel> @everyone [a](http://b)"),
    ],
    ids=["ansi", "lines", "return", "bidi", "zero width", "bell", "password", "of sinks"],
)
def test_nothing_in_a_message_moves_the_cursor_or_reorders_it(text: str, shown: str) -> None:
    assert parse(body(message=f".{text}")).message == f".{shown}"


@given(st.text(max_size=300), st.integers(5, 200))
def test_whatever_is_said_is_clean_and_within_the_limit(text: str, most: int) -> None:
    found = clean(text, most)
    assert len(found) <= most
    assert not HIDDEN.search(found.replace("…", ""))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=20,
    ),
    st.sampled_from([*PLAIN, "later"]),
)
def test_any_json_is_an_event_or_refused(value: Any, name: str) -> None:
    try:
        event = parse(json.dumps(PLAIN | {name: value}).encode())
    except NotAnEvent:
        return
    assert isinstance(event, Event)
    assert parse(encode(event)) == event
