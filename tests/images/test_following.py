"""Workloads of Flux v1 that follow their images without a marker: what is set, and what keeps it from that."""

import pytest

from trimtab.images.editing import Kind, edit
from trimtab.images.reference import Image
from trimtab.manifests.refs import Key

POLICY = Key("ns", "cart")
NEW = Image.of("docker.io/acme/cart", "1.5.0")
WORKLOAD = """\
kind: Deployment
metadata:
  name: cart
  annotations:
    fluxcd.io/automated: "true"
    %s
spec:
  template:
    spec:
      containers:
      - name: app
        image: acme/cart:1.4.1 # pushed by hand
      - {name: side, image: 'nginx:1'}
"""
PLAIN = WORKLOAD % "a: b"


def edited(text: str, image: Image = NEW, **more: Image):
    return edit(text.encode(), {POLICY: image, **{Key("ns", name): other for name, other in more.items()}})


def test_an_automated_workload_follows_the_policy_of_its_image_by_the_name_that_it_has() -> None:
    result = edited(PLAIN)
    assert result.data.decode() == PLAIN.replace("acme/cart:1.4.1", "acme/cart:1.5.0")
    (change,) = result.changes
    assert (change.setter, change.old, change.new) == ("ns:cart", "acme/cart:1.4.1", "acme/cart:1.5.0")
    assert result.served == {POLICY}
    assert edited(result.data.decode()).changes == ()
    for other in ("fluxcd.io/automated: 'false'", "x.io/automated: 'true'"):
        assert edited(PLAIN.replace('fluxcd.io/automated: "true"', other)).served == frozenset()


@pytest.mark.parametrize(
    ("filtered", "words"),
    [
        ("filter.fluxcd.io/app: semver:~1.4", "filter.fluxcd.io/app: '1.5.0' is not in the range ~1.4"),
        ("fluxcd.io/tag.app: glob:main-*", "fluxcd.io/tag.app: main-* does not match it"),
        ("fluxcd.io/tag.app: regexp:^2", "fluxcd.io/tag.app: ^2 is not found in it"),
    ],
    ids=["semver", "glob", "regexp"],
)
def test_a_filter_keeps_away_what_it_does_not_admit(filtered: str, words: str) -> None:
    result = edited(WORKLOAD % filtered)
    assert (result.changes, result.served) == ((), {POLICY})
    (note,) = result.notes
    assert (note.line, note.kind) == (12, Kind.PAUSED)
    assert words in note.text
    admitted = edited(WORKLOAD % filtered.replace("1.4", "1").replace("main-*", "1.*").replace("^2", "^1"))
    assert [change.new for change in admitted.changes] == ["acme/cart:1.5.0"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("filter.fluxcd.io/app: 'regexp:(a'", "filter.fluxcd.io/app"),
        ("filter.fluxcd.io/apple: glob:*", "there is no container apple"),
    ],
    ids=["pattern", "container"],
)
def test_annotations_that_make_no_sense_are_told_and_nothing_follows(line: str, words: str) -> None:
    result = edited(WORKLOAD % line)
    assert (result.changes, result.served) == ((), frozenset())
    assert [(note.kind, words in note.text) for note in result.notes] == [(Kind.BROKEN, True)]


def test_a_lock_a_marker_and_a_second_policy_go_before_that() -> None:
    locked = edited(WORKLOAD % "fluxcd.io/locked: 'true'")
    assert (locked.changes, [note.kind for note in locked.notes]) == ((), [Kind.PAUSED])
    marked = PLAIN.replace("# pushed by hand", '# {"$imagepolicy": "ns:other"}')
    by_marker = edited(marked, other=Image.of("acme/other", "9"))
    assert ([change.setter for change in by_marker.changes], by_marker.notes) == (["ns:other"], ())
    two = edited(PLAIN, other=Image.of("acme/cart", "9"))
    assert two.changes == ()
    assert "ns/cart and ns/other are policies of acme/cart" in two.notes[0].text


def test_an_image_that_is_made_of_a_variable_is_not_written_over() -> None:
    result = edited(PLAIN.replace("cart:1.4.1", "cart:${TAG}"))
    assert (result.changes, [note.kind for note in result.notes]) == ((), [Kind.REFUSED])


def test_the_values_of_a_release_follow_too() -> None:
    text = "kind: HelmRelease\nmetadata: {name: x, annotations: {fluxcd.io/automated: 'true'}}\n"
    text += "spec: {values: {web: {image: {repository: acme/cart, tag: 1.4.1}}}}\n"
    assert edited(text).data.decode() == text.replace("1.4.1", "1.5.0")
