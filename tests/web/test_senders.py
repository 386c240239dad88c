"""Who is let in by what: every kind of caller with what its documentation says, and everything that only looks so."""

import dataclasses
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web.deliveries import (
    ACR_PUSH,
    BITBUCKET_PUSH,
    CDEVENT,
    CDEVENTS_MERGED,
    DOCKERHUB_PUSH,
    GCR_EVENT,
    GCR_PUSH,
    GITHUB_PING,
    GITHUB_PUSH,
    GITLAB_PUSH,
    NEXUS_PUSH,
    PUSHES,
    QUAY_PUSH,
    TOKEN,
    bare,
    delivery,
    encoded,
    sign,
)
from trimtab.api.receiver import Sender
from trimtab.web import payloads, senders
from trimtab.web.delivery import Delivery, Refused, Why
from trimtab.web.signatures import check_signature


def refused(sender: str, one: Delivery, events: tuple[str, ...] = (), token: bytes = TOKEN) -> tuple[int, Why]:
    with pytest.raises(Refused) as refusal:
        senders.check(sender, events, one, token)
    assert TOKEN.decode() not in refusal.value.words
    return refusal.value.status, refusal.value.why


UNPROVEN = (401, Why.UNPROVEN)


def test_there_are_rules_for_every_kind_of_caller() -> None:
    assert set(senders.RULES) == set(Sender)
    assert set(PUSHES) == set(Sender) - {Sender.GENERIC_OIDC, Sender.GCR}


@pytest.mark.parametrize("sender", PUSHES)
def test_what_the_documentation_of_the_caller_says_is_taken(sender: str) -> None:
    body, headers = PUSHES[sender]
    senders.check(sender, (), delivery(body, headers), TOKEN)
    senders.check(sender, (), delivery(body, {name.upper(): value for name, value in headers.items()}), TOKEN)


@pytest.mark.parametrize("sender", ["generic-hmac", "github", "gitlab", "bitbucket", "harbor", "nexus"])
def test_without_its_proof_or_with_another_secret_nobody_is_let_in(sender: str) -> None:
    body, headers = PUSHES[sender]
    assert refused(sender, delivery(body)) == UNPROVEN
    assert refused(sender, delivery(body, headers), token=b"another") == UNPROVEN
    assert refused(sender, delivery(body, headers), token=b"") == UNPROVEN
    empty = dict.fromkeys(headers, "")
    assert refused(sender, delivery(body, empty), token=b"") == UNPROVEN


def test_an_empty_secret_signs_nothing() -> None:
    nothing = hmac.new(b"", b"{}", hashlib.sha1).hexdigest()
    assert refused("generic-hmac", delivery(b"{}", {"X-Signature": sign(b"{}", token=b"")}), token=b"") == UNPROVEN
    assert refused("nexus", delivery(b"{}", {"X-Nexus-Webhook-Signature": nothing}), token=b"") == UNPROVEN


@pytest.mark.parametrize("sender", ["generic-hmac", "github", "bitbucket", "nexus"])
def test_a_signature_is_over_the_bytes_as_they_came(sender: str) -> None:
    body, headers = PUSHES[sender]
    for changed in (body + b"\n", body.replace(b" ", b"", 1), b"", body[:-1]):
        if changed != body:
            assert refused(sender, delivery(changed, headers)) == UNPROVEN


@pytest.mark.parametrize("sender", [Sender.GENERIC_OIDC, Sender.GCR])
def test_whom_no_issuer_vouches_for_is_not_let_in_by_the_path(sender: str) -> None:
    assert refused(sender, delivery(GCR_PUSH)) == UNPROVEN
    senders.check(sender, (), dataclasses.replace(delivery(GCR_PUSH), claims={}), b"")


GOOD = sign(b"{}")
DIGITS = GOOD.partition("=")[2]


@pytest.mark.parametrize(
    "header",
    [
        DIGITS,
        f"SHA256={DIGITS}",
        f"sha256={DIGITS} ",
        f" sha256={DIGITS}",
        f"sha256= {DIGITS}",
        f"sha256={DIGITS[:-2]}",
        f"sha256={DIGITS}00",
        f"sha256={DIGITS[:10]} {DIGITS[10:]}",
        f"sha256={DIGITS[:-1]}g",
        f"sha256={DIGITS},{GOOD}",
        f"{GOOD};{GOOD}",
        "sha256=",
        "=",
        f"md5={DIGITS}",
        f"sha512={DIGITS}",
        f"sha1={DIGITS}",
        "sha256=RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=",
        "sha256=" + "0" * 64,
        "sha256=" + "a" * 30_000,
        "sha256=" + "٠" * 64,
        "sha256=ﬀ" * 16,
        "\ufeff" + GOOD,
        b"sha256=\xff\xfe" + DIGITS.encode()[4:],
        b"\x80\x81",
    ],
)
def test_whatever_is_not_a_signature_is_unproven_and_never_an_accident(header: str | bytes) -> None:
    one = delivery(b"{}", {"X-Signature": header})
    if isinstance(header, str) and header.strip() == GOOD:
        # Blanks around the value of a header are no part of it (RFC 9110, 5.5).
        senders.check("generic-hmac", (), one, TOKEN)
    else:
        assert refused("generic-hmac", one) == UNPROVEN


def test_hexadecimal_digits_may_be_capitals() -> None:
    senders.check("generic-hmac", (), delivery(b"{}", {"X-Signature": f"sha256={DIGITS.upper()}"}), TOKEN)
    headers = {"X-Nexus-Webhook-Signature": bare(NEXUS_PUSH).upper()}
    senders.check("nexus", (), delivery(NEXUS_PUSH, headers), TOKEN)


@pytest.mark.parametrize("name", ["X-Signature", "X-Hub-Signature-256", "X-Gitlab-Token", "Authorization"])
def test_a_header_that_is_there_twice_proves_nothing(name: str) -> None:
    sender = {"X-Signature": "generic-hmac", "X-Hub-Signature-256": "github", "X-Gitlab-Token": "gitlab"}.get(
        name, "harbor"
    )
    right = GOOD if "Signature" in name else TOKEN.decode()
    twice = Delivery(((name.lower().encode(), right.encode()), (name.lower().encode(), right.encode())), b"{}")
    assert refused(sender, twice) == (400, Why.HEADERS)


def test_a_megabyte_in_a_header_is_refused_before_it_is_looked_at() -> None:
    assert refused("generic-hmac", delivery(b"{}", {"X-Signature": "a" * (1 << 20)})) == (400, Why.HEADERS)
    assert refused("gitlab", delivery(b"{}", {"X-Gitlab-Token": "a" * (1 << 20)})) == (400, Why.HEADERS)


@pytest.mark.parametrize(
    ("sender", "header", "algorithms"),
    [
        ("generic-hmac", "X-Signature", {"sha1", "sha256", "sha512"}),
        ("github", "X-Hub-Signature-256", {"sha256"}),
        ("github", "X-Hub-Signature", {"sha1", "sha256"}),
        ("bitbucket", "X-Hub-Signature", {"sha256"}),
    ],
)
def test_a_signature_weaker_than_the_caller_s_own_is_not_taken(sender: str, header: str, algorithms: set[str]) -> None:
    for algorithm in ("sha1", "sha224", "sha256", "sha384", "sha512", "md5"):
        one = delivery(b"{}", {header: sign(b"{}", algorithm)})
        if algorithm in algorithms:
            senders.check(sender, (), one, TOKEN)
        else:
            assert refused(sender, one) == UNPROVEN


def test_a_good_weak_signature_does_not_save_a_bad_strong_one() -> None:
    headers = {"X-Hub-Signature-256": "sha256=" + "0" * 64, "X-Hub-Signature": sign(GITHUB_PUSH, "sha1")}
    assert refused("github", delivery(GITHUB_PUSH, headers)) == UNPROVEN


@given(
    header=st.one_of(
        st.binary(max_size=200),
        st.text(alphabet="sha1256=0123456789abcdefABCDEF -,;\x00é", max_size=200).map(str.encode),
        st.builds(lambda cut, junk: GOOD.encode()[:cut] + junk, st.integers(0, 71), st.binary(max_size=80)),
    ),
    body=st.binary(max_size=64),
)
def test_of_all_headers_only_the_right_signature_is_taken(header: bytes, body: bytes) -> None:
    right = {f"{name}={sign(body, name).partition('=')[2]}".encode() for name in ("sha1", "sha256", "sha512")}
    answered = 200
    try:
        check_signature(header, body, TOKEN, ("sha1", "sha256", "sha512"))
    except Refused as refusal:
        answered = refusal.status
    name, _, digits = header.partition(b"=")
    assert answered == (200 if name + b"=" + digits.lower() in right else 401)


@given(body=st.binary(max_size=64), algorithm=st.sampled_from(["sha1", "sha256", "sha512"]), position=st.integers(0))
def test_one_changed_digit_is_enough(body: bytes, algorithm: str, position: int) -> None:
    right = sign(body, algorithm)
    check_signature(right.encode(), body, TOKEN, (algorithm,))
    place = len(algorithm) + 1 + position % (2 * hashlib.new(algorithm).digest_size)
    wrong = right[:place] + ("1" if right[place] != "1" else "2") + right[place + 1 :]
    with pytest.raises(Refused):
        check_signature(wrong.encode(), body, TOKEN, (algorithm,))


# Events


@pytest.mark.parametrize(
    ("sender", "events", "wanted"),
    [
        ("github", ("push",), True),
        ("github", ("ping", "PUSH"), True),
        ("github", ("ping",), False),
        ("gitlab", ("Push Hook", "Tag Push Hook"), True),
        ("gitlab", ("push hook",), True),
        ("gitlab", ("push",), False),
        ("bitbucket", ("repo:refs_changed",), True),
        ("bitbucket", ("pr:merged",), False),
        ("cdevents", ("dev.cdevents.change.merged.0.2.0",), True),
        ("cdevents", ("dev.cdevents.change.merged",), False),
        ("harbor", ("anything",), True),
        ("generic-hmac", ("anything",), True),
    ],
)
def test_only_the_listed_events_count_where_the_caller_names_them(
    sender: str, events: tuple[str, ...], wanted: bool
) -> None:
    body, headers = PUSHES[sender]
    if wanted:
        senders.check(sender, events, delivery(body, headers), TOKEN)
    else:
        assert refused(sender, delivery(body, headers), events) == (400, Why.EVENT)


def test_an_event_that_is_not_named_is_none_of_the_listed() -> None:
    body, headers = PUSHES["github"]
    nameless = {name: value for name, value in headers.items() if name != "X-GitHub-Event"}
    assert refused("github", delivery(body, nameless), ("push",)) == (400, Why.EVENT)
    senders.check("github", (), delivery(body, nameless), TOKEN)


def test_the_ping_of_github_is_an_event_like_others() -> None:
    headers = {"X-GitHub-Event": "ping", "X-Hub-Signature-256": sign(GITHUB_PING)}
    senders.check("github", ("ping", "push"), delivery(GITHUB_PING, headers), TOKEN)
    assert refused("github", delivery(GITHUB_PING, headers), ("push",)) == (400, Why.EVENT)


def test_who_is_not_proven_is_not_told_which_events_count() -> None:
    one = delivery(GITHUB_PUSH, {"X-GitHub-Event": "nonsense", "X-Hub-Signature-256": "sha256=" + "0" * 64})
    assert refused("github", one, ("push",)) == UNPROVEN


# Bodies


@pytest.mark.parametrize("sender", ["dockerhub", "quay", "acr", "nexus", "cdevents", "gcr"])
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"1", b'"text"', b"{}}", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 5000, b"9" * 5000],
    ids=lambda body: repr(body[:12]),
)
def test_a_body_that_is_something_else_is_refused_and_not_an_accident(sender: str, body: bytes) -> None:
    headers = {"X-Nexus-Webhook-Signature": bare(body)}
    one = dataclasses.replace(delivery(body, headers), claims={})
    assert refused(sender, one) == (400, Why.PAYLOAD)


def test_a_body_is_not_parsed_before_it_is_proven() -> None:
    assert refused("nexus", delivery(b"[" * 100_000, {"X-Nexus-Webhook-Signature": "0" * 40})) == UNPROVEN


@pytest.mark.parametrize(
    ("sender", "body"),
    [
        ("dockerhub", encoded({"push_data": {"tag": 7}})),
        ("dockerhub", encoded({"push_data": "latest"})),
        ("quay", encoded({"docker_url": ["quay.io"]})),
        ("quay", encoded({"updated_tags": {"latest": True}})),
        ("acr", encoded({"action": "push", "target": "shop:v1"})),
        ("gcr", encoded({"message": {"data": 1}})),
    ],
)
def test_fields_of_other_types_than_the_caller_s_are_refused(sender: str, body: bytes) -> None:
    assert refused(sender, dataclasses.replace(delivery(body), claims={})) == (400, Why.PAYLOAD)


@pytest.mark.parametrize("body", [DOCKERHUB_PUSH, QUAY_PUSH, ACR_PUSH, GITLAB_PUSH, BITBUCKET_PUSH])
def test_a_filter_sees_the_body_where_it_is_said_to_be_json(body: bytes) -> None:
    assert payloads.request(delivery(body, {"Content-Type": "application/json; charset=utf-8"}))
    assert payloads.request(delivery(body, {"Content-Type": "application/cloudevents+json"}))
    assert payloads.request(delivery(body, {"Content-Type": "application/x-www-form-urlencoded"})) == {}
    assert payloads.request(delivery(body)) == {}


def test_a_body_that_is_said_to_be_json_and_is_not_is_refused() -> None:
    for body in (b"", b"[1]", b"{"):
        with pytest.raises(Refused) as refusal:
            payloads.request(delivery(body, {"Content-Type": "application/json"}))
        assert refusal.value.status == 400


def test_a_message_of_pub_sub_is_unwrapped_and_what_is_no_event_refused() -> None:
    assert payloads.unwrapped(GCR_PUSH) == GCR_EVENT
    for data in ("!!!", "bm90IGpzb24=", "W10=", "ü"):
        with pytest.raises(Refused) as refusal:
            payloads.unwrapped(encoded({"message": {"data": data}}))
        assert refusal.value.status == 400


@pytest.mark.parametrize("missing", ["version", "id", "source", "type", "timestamp"])
def test_an_envelope_of_a_cdevent_has_all_its_fields(missing: str) -> None:
    context = {name: value for name, value in CDEVENT["context"].items() if name != missing}
    assert refused("cdevents", delivery(encoded(CDEVENT | {"context": context}))) == (400, Why.PAYLOAD)


@pytest.mark.parametrize(
    "changed",
    [
        {"context": CDEVENT["context"] | {"type": "org.example.pushed"}},
        {"context": CDEVENT["context"] | {"id": ""}},
        {"context": CDEVENT["context"] | {"timestamp": "yesterday"}},
        {"subject": {"id": "a"}},
        {"subject": {"content": {}}},
        {"subject": {"id": "a", "content": []}},
    ],
)
def test_what_is_not_a_cdevent_is_refused(changed: dict[str, object]) -> None:
    assert refused("cdevents", delivery(encoded(CDEVENT | changed))) == (400, Why.PAYLOAD)


def test_later_versions_of_cdevents_name_their_version_otherwise() -> None:
    context = {name: value for name, value in CDEVENT["context"].items() if name != "version"}
    senders.check("cdevents", (), delivery(encoded(CDEVENT | {"context": context | {"specversion": "0.5.0"}})), TOKEN)
    senders.check("cdevents", (), delivery(CDEVENTS_MERGED), TOKEN)


def test_a_delivery_is_known_by_the_name_its_caller_gives_it() -> None:
    body, headers = PUSHES["github"]
    assert senders.check("github", (), delivery(body, headers | {"X-GitHub-Delivery": "72d3162e"}), TOKEN) == "72d3162e"
    assert senders.check("github", (), delivery(body, headers), TOKEN) == ""
    body, headers = PUSHES["gitlab"]
    # The name of the hook is the same in all its deliveries.
    assert senders.check("gitlab", (), delivery(body, headers | {"X-Gitlab-Webhook-UUID": "u"}), TOKEN) == ""
