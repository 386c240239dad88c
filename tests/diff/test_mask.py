"""A secret's value, its length, and even a part of it never reach a reader; that it differs does."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.diff.compare import Difference, compare
from trimtab.diff.mask import LAST_APPLIED, mask_secret, masked, shown
from trimtab.diff.text import render
from trimtab.manifests import codec
from trimtab.manifests.pointers import Member, format_path

CASES = Path(__file__).parents[2].parent / "shared" / "conformance" / "diff" / "mask.jsonl"


def secret(**fields):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, **fields}


def test_differences_of_a_secret_keep_their_keys_and_lose_their_values():
    before = secret(data={"a": "QQ==", "b": "QUFBQUFBQUFB", "c": "Qw=="}, type="Opaque")
    after = secret(data={"a": "QQ==", "b": "Qg==", "d": "RERERERE"}, type="Other")
    shown = render(masked(compare(before, after)))
    assert shown.splitlines() == [
        'data.b: "++++++++++++" → "++++++++"',
        'data.c: removed "++++++++++++"',
        'data.d: added "++++++++"',
        'type: "Opaque" → "Other"',
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (secret(), secret(data={"k": "aHVudGVyMg=="})),
        (secret(data={"k": "x"}), secret(data={"k": "aHVudGVyMg=="})),
        (secret(data=None), secret(data="aHVudGVyMg==")),
        (secret(), secret(stringData={"k": "aHVudGVyMg=="})),
        (secret(), secret(data={"k": ["aHVudGVyMg=="]})),
        (secret(), secret(metadata={"name": "x", "annotations": {LAST_APPLIED: "aHVudGVyMg=="}})),
        (secret(metadata={"annotations": {}}), secret(metadata={"annotations": {LAST_APPLIED: "aHVudGVyMg=="}})),
        (
            secret(metadata={"annotations": {LAST_APPLIED: "1"}}),
            secret(metadata={"annotations": {LAST_APPLIED: "aHVudGVyMg=="}}),
        ),
        ({}, {"x": secret(data={"k": "aHVudGVyMg=="})}["x"]),
        ([], secret(data={"k": "aHVudGVyMg=="})),
        ({"metadata": 1}, secret(metadata={"annotations": {LAST_APPLIED: "aHVudGVyMg=="}})),
    ],
)  # fmt: skip
def test_no_value_survives_at_any_level(before, after):
    found = compare(before, after)
    assert found
    assert "aHVudGVyMg" in repr(found)
    assert "aHVudGVyMg" not in repr(masked(found))
    assert "aHVudGVyMg" not in repr(masked(compare(after, before)))


@given(st.text(max_size=40), st.text(max_size=40))
def test_the_mask_says_nothing_about_the_value(one, other):
    (shown,) = masked(compare(secret(data={"k": "x"}), secret(data={"k": "y" + one})))
    (also_shown,) = masked(compare(secret(data={"k": "z"}), secret(data={"k": "v" + other})))
    assert shown == also_shown


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_side_by_side_only_equality_shows(wanted, there):
    target, live = mask_secret(secret(stringData={"k": wanted}), secret(stringData={"k": there}))
    assert (target["data"] == live["data"]) == (wanted == there)
    assert set(target["data"]["k"] + live["data"]["k"]) == {"+"}


def test_plain_and_encoded_values_are_the_same_value():
    target, live = mask_secret(secret(stringData={"k": "v"}), secret(data={"k": "dg=="}))
    assert target == live


def test_the_bodies_are_not_changed():
    target, live = secret(stringData={"k": "v"}), secret(data={"k": "dg=="})
    before = codec.encode([target, live])
    mask_secret(target, live, annotations=["x"])
    assert codec.encode([target, live]) == before


@pytest.mark.skipif(not CASES.exists(), reason=f"no conformance cases at {CASES}")
def test_conformance():
    for line in CASES.read_text().splitlines():
        case = json.loads(line)
        shown = mask_secret(case["target"], case["live"], annotations=case.get("hideAnnotations", ()))
        for body, expected in zip(shown, (case["expectTarget"], case["expectLive"]), strict=True):
            if expected is None:
                assert body is None, case["id"]
                continue
            if "data" in expected:
                assert body["data"] == expected["data"], case["id"]
            notes = body["metadata"].get("annotations", {})
            for name, note in expected.get("annotations", {}).items():
                if note == "<fully masked>":
                    assert set(notes[name]) == {"+"}, case["id"]
                else:
                    assert notes[name] == note, case["id"]
            if "lastApplied" in expected:
                applied = json.loads(notes[LAST_APPLIED])
                assert applied["data"] == expected["lastApplied"]["data"], case["id"]
        assert case.get("absentText", "<absent>") not in repr(shown), case["id"]


def test_of_what_was_decrypted_nothing_is_shown_whatever_its_kind():
    before = {"data": {"a": "hunter1"}, "metadata": {"annotations": {"x": "hunter2"}}, "n": 12345}
    after = {"data": {"a": "hunter3"}, "metadata": {"annotations": {"x": "hunter4"}}, "n": 54321}
    for kind in ("Secret", "ConfigMap"):
        told = render(shown(kind, compare(before, after), secret=True))
        assert [line.partition(":")[0] for line in told.splitlines()] == ["data.a", "metadata.annotations.x", "n"]
        assert not any(word in told for word in ("hunter", "12345", "54321"))


def test_the_path_of_a_hidden_difference_names_no_value():
    member = format_path(("spec", "hosts", Member("hunter2")))
    [told] = shown("Thing", [Difference(member, "added", None, "hunter2")], secret=True)
    assert "hunter2" not in str(told)
    assert shown("Thing", [Difference(member, "added", None, "x")], secret=False)[0].path == member


def test_a_note_of_kubectl_is_masked_in_any_kind():
    path = format_path(("metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration"))
    [told] = shown("ConfigMap", [Difference(path, "removed", '{"data":{"a":"hunter2"}}', None)], secret=False)
    assert "hunter2" not in str(told)
