"""Locks and holds: how they are read, and that no edit goes over them."""

import pytest

from trimtab.images.editing import Kind, edit
from trimtab.images.pauses import Kind as Paused
from trimtab.images.pauses import pause_of, unlocking, words_of
from trimtab.images.places import InKustomization, InWorkload
from trimtab.images.reference import Image
from trimtab.manifests.refs import Key

NEW = Image.of("ghcr.io/acme/cart", "1.5.0")


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ({}, "None"),
        ({"trimtab.dev/lock": "migration (Ann)", "trimtab.dev/hold": "x"}, "locked: migration (Ann)"),
        ({"trimtab.dev/hold": "soon"}, "held: soon"),
        ({"trimtab.dev/lock": ""}, "locked (trimtab.dev/lock)"),
        (
            {"fluxcd.io/locked": "true", "fluxcd.io/locked_msg": "why", "fluxcd.io/locked_user": "Ann"},
            "locked: why (Ann)",
        ),
        ({"flux.weave.works/locked": "yes"}, "locked (flux.weave.works/locked)"),
        ({"fluxcd.io/locked": "false"}, "None"),
        ({"fluxcd.io/ignore": "sync_only"}, "ignored (fluxcd.io/ignore)"),
        ({"fluxcd.io/ignore": "false", "fluxcd.io/automated": "true"}, "None"),
    ],
    ids=["none", "lock", "hold", "empty", "v1", "older", "off", "ignore", "on"],
)  # fmt: skip
def test_locks_of_flux_v1_count_as_ours(annotations: dict[str, str], said: str) -> None:
    assert str(pause_of(annotations)) == said


def test_a_lock_says_why_and_who_and_is_not_written_without_a_reason() -> None:
    assert words_of(" the  migration\n", "Ann <ann@example.org>") == "the migration (Ann <ann@example.org>)"
    with pytest.raises(ValueError, match="give the reason"):
        words_of(" ", "Ann")
    assert "fluxcd.io/locked_user" in unlocking()


WORKLOAD = """\
kind: Deployment
metadata:
  name: cart
  annotations: {%s: why}
spec:
  template:
    spec:
      containers:
      - name: app
        image: ghcr.io/acme/cart:1.4.1 # {"$imagepolicy": "ns:p"}
"""


@pytest.mark.parametrize("name", ["trimtab.dev/hold", "trimtab.dev/lock", "fluxcd.io/locked"])
def test_a_marker_on_a_paused_workload_is_left_and_told(name: str) -> None:
    data = (WORKLOAD % name).encode()
    for wish in (Key("ns", "p"), InWorkload("Deployment", "", "cart")):
        edited = edit(data, {wish: NEW})
        assert (edited.data, edited.changes, edited.served) == (data, (), frozenset({wish}))
        (note,) = [note for note in edited.notes if note.kind is not Kind.UNKNOWN]
        assert (note.line, note.kind) == (10, Kind.PAUSED)
    forced = edit(data, {Key("ns", "p"): NEW}, (Paused.HOLD,))
    assert bool(forced.changes) is (name == "trimtab.dev/hold")
    assert edit(data.replace(b"1.4.1", b"1.5.0"), {Key("ns", "p"): NEW}).notes == ()


def test_a_hold_on_one_object_leaves_the_others_of_its_file() -> None:
    other = WORKLOAD.replace("name: cart", "name: other", 1) % "a"
    edited = edit(f"{WORKLOAD % 'trimtab.dev/hold'}---\n{other}".encode(), {Key("ns", "p"): NEW})
    assert [change.object for change in edited.changes] == ["Deployment/other"]


def test_a_kustomization_is_held_by_its_own_annotation() -> None:
    text = b"metadata: {annotations: {trimtab.dev/hold: why}}\n"
    text += b"images:\n- name: cart\n  newName: ghcr.io/acme/cart\n  newTag: 1.4.1\n"
    assert edit(text, {InKustomization("cart"): NEW}).changes == ()
    assert edit(text.replace(b"hold", b"held"), {InKustomization("cart"): NEW}).changes
