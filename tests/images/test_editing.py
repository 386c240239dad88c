"""Edits by markers: what each of them sets, what stays as it is, and what is said where nothing can be set."""

import json
import time
from pathlib import Path

import pytest

from trimtab.images import editing, events
from trimtab.images.editing import Kind, edit
from trimtab.images.reference import Image
from trimtab.images.sweep import sweep
from trimtab.manifests.refs import Key

DIGEST = "sha256:" + "0123456789abcdef" * 4
APP = Key("ns", "p")
NEW = Image.of("registry.example.org/team/app", "v2.0.0")
M = '# {"$imagepolicy": "ns:p"}'
TAG = '# {"$imagepolicy": "ns:p:tag"}'
NAME = '# {"$imagepolicy": "ns:p:name"}'
SUM = '# {"$imagepolicy": "ns:p:digest"}'


def edited(text: str, image: Image = NEW, **more: Image):
    return edit(text.encode(), {APP: image, **{Key("ns", name): other for name, other in more.items()}})


def becomes(text: str, image: Image = NEW) -> str:
    """What `text` becomes; nothing may be left to say, and the second edit changes nothing."""
    result = edited(text, image)
    assert [note for note in result.notes if note.kind is not Kind.UNKNOWN] == []
    again = edit(result.data, {APP: image})
    assert (again.data, again.changes) == (result.data, ())
    return result.data.decode()


def refused(text: str, image: Image = NEW) -> str:
    """What is said; the text stays."""
    result = edited(text, image)
    assert (result.data, result.changes) == (text.encode(), ())
    (note,) = result.notes
    return f"{note.line} {note.kind}: {note.text}"


CONFORMANCE = Path(__file__).parents[2].parent / "shared" / "conformance" / "setters"


def conformance():
    file = CONFORMANCE / "cases.json"
    return json.loads(file.read_text()) if file.exists() else {"policies": [], "cases": []}


@pytest.mark.parametrize("case", conformance()["cases"], ids=lambda case: case["id"])
def test_folders_become_what_flux_makes_of_them(case):
    def read(folder):
        root = CONFORMANCE / folder
        return {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*") if file.is_file()}

    wishes = {Key(one["namespace"], one["name"]): Image.of(**one["latestRef"]) for one in conformance()["policies"]}
    before = read(case["original"])
    after = read(case["expected"]) if case["expected"] else before
    result = sweep(before.items(), wishes)
    assert {**before, **result.changed} == after
    assert sorted(result.changed) == case["written"]
    changes = {}
    for file, change in result.changes:
        told = {"old": change.old, "new": change.new, "setter": change.setter}
        changes.setdefault(file, {}).setdefault(change.object, []).append(told)
    assert changes == case["changes"]


# What Flux sets, as its own parser attaches comments: tried with kyaml 0.21.
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"a: app:v1 {M}\n", f"a: {NEW} {M}\n"),
        (f"a: app:v1\t{M}\n", f"a: {NEW}\t{M}\n"),
        (f"a: app:v1 #{M}\n", f"a: {NEW} #{M}\n"),
        ('a: app:v1 #{"$imagepolicy":"ns:p"}\n', f'a: {NEW} #{{"$imagepolicy":"ns:p"}}\n'),
        ('a: app:v1 # {"$imagepolicy": "ns:p", "o": "x"}\n', f'a: {NEW} # {{"$imagepolicy": "ns:p", "o": "x"}}\n'),
        (f"a: v1 {TAG}\nb: app {NAME}\n", f"a: v2.0.0 {TAG}\nb: {NEW.name} {NAME}\n"),
        (f'a: "app:v1"   {M}\n', f'a: "{NEW}"   {M}\n'),
        (f"a: 'app:v1' {M}\n", f"a: '{NEW}' {M}\n"),
        (f"a: &x app:v1 {M}\nb: *x\n", f"a: &x {NEW} {M}\nb: *x\n"),
        (f"a: !!str app:v1 {M}\n", f"a: !!str {NEW} {M}\n"),
        (f"a: !!str &x 'app:v1' {M}\n", f"a: !!str &x '{NEW}' {M}\n"),
        (f"- app:v1 {M}\n- app:v1\n", f"- {NEW} {M}\n- app:v1\n"),
        (f"l:\n{M}\n- app:v1\n- app:v1\n", f"l:\n{M}\n- {NEW}\n- app:v1\n"),
        (f"l:\n- app:v1\n  {M}\n  # and\n- app:v1\n", f"l:\n- app:v1\n  {M}\n  # and\n- {NEW}\n"),
        (f"a:\n  {M}\n  app:v1\n", f"a:\n  {M}\n  {NEW}\n"),
        (f"a: app\n  more {M}\nb: 1\n", f"a: {NEW} {M}\nb: 1\n"),
        (f"a: |- {M}\n  app:v1\nb: 1\n", f"a: |- {M}\n  {NEW}\nb: 1\n"),
        (f"a: >- {M}\n    app:v1\n\n", f"a: >- {M}\n    {NEW}\n\n"),
        (f"a: {{n: app, {NAME}\n  t: v1 {TAG}\n  }}\n", f"a: {{n: {NEW.name}, {NAME}\n  t: v2.0.0 {TAG}\n  }}\n"),
        (f"a: {{t: v1, {TAG}\n }}\n", f"a: {{t: v2.0.0, {TAG}\n }}\n"),
        (f"b: [\n x:v1, {M}\n 'x:v1', {M}\n x:v1 {M}\n]\n", f"b: [\n {NEW}, {M}\n '{NEW}', {M}\n {NEW} {M}\n]\n"),
        (f'{{"a": "app:v1", {M}\n "b": 1}}\n', f'{{"a": "{NEW}", {M}\n "b": 1}}\n'),
        (f"a: app:v1 {M}", f"a: {NEW} {M}"),
        (f"app:v1 {M}\n", f"{NEW} {M}\n"),
    ],
)  # fmt: skip
def test_a_marked_value_is_replaced_and_every_other_byte_stays(before: str, after: str) -> None:
    assert becomes(before) == after


def test_what_is_written_without_quotes_gets_them_only_where_it_would_be_read_as_something_else() -> None:
    for tag in ("1.10", "20260105", "1e3", "0x1f", "null", "yes", "on", "2026-01-05", "1_000", "true", "017", ".5"):
        assert becomes(f"t: v1 {TAG}\n", Image.of("app", tag)) == f't: "{tag}" {TAG}\n'
        assert becomes(f"t: 'v1' {TAG}\n", Image.of("app", tag)) == f"t: '{tag}' {TAG}\n"
    for tag in ("v1.10", "1.10.0", "main-1", "a_b", "1.2.3-rc.1", "nullable"):
        assert becomes(f"t: 1.9 {TAG}\n", Image.of("app", tag)) == f"t: {tag} {TAG}\n"
    # twelve hours and thirty minutes, to a parser of YAML 1.1
    assert becomes(f"t: x {M}\n", Image.of("12", "30")) == f't: "12:30" {M}\n'


def test_a_right_value_that_is_read_as_a_number_is_told_and_left() -> None:
    result = edited(f"newTag: 1.10 {TAG}\n", Image.of("app", "1.10"))
    assert (result.changes, [note.kind for note in result.notes]) == ((), [Kind.CAUTION])
    assert "put it in quotes" in result.notes[0].text


def test_an_empty_value_is_filled() -> None:
    assert becomes(f"t: {TAG}\nu: 1\n") == f"t: v2.0.0 {TAG}\nu: 1\n"
    assert becomes(f't: "" {TAG}\n') == f't: "v2.0.0" {TAG}\n'


def test_a_digest_is_part_of_the_whole_and_can_be_asked_for_alone() -> None:
    pinned = Image.of("app", "v2", DIGEST)
    assert becomes(f"a: app:v1 {M}\n", pinned) == f"a: app:v2@{DIGEST} {M}\n"
    assert becomes(f"a: x {SUM}\n", pinned) == f"a: {DIGEST} {SUM}\n"
    # as in Flux: a policy that resolves none takes the old one away
    assert becomes(f"a: {DIGEST} {SUM}\n") == f'a: "" {SUM}\n'


@pytest.mark.parametrize("ends", ["\r\n", "\r", "\n"])
def test_line_ends_and_a_byte_order_mark_stay(ends: str) -> None:
    text = f"# ä€😀{ends}a: app:v1 {M}{ends}b: | {ends}  text{ends}c: 'app:v1' {M}{ends}---{ends}- app:v1 {M}{ends}"
    for mark in (b"", b"\xef\xbb\xbf"):
        data = mark + text.encode()
        assert edit(data, {APP: NEW}).data == data.replace(b"app:v1", str(NEW).encode())


def test_documents_and_lists_are_told_apart_by_their_objects() -> None:
    def item(name: str) -> str:
        return f"- apiVersion: v1\n  kind: Pod\n  metadata: {{name: {name}, namespace: n}}\n  spec: app:v1 {M}\n"

    text = (
        f"kind: List\napiVersion: v1\nitems:\n{item('a')}{item('b')}---\nkind: Pod\napiVersion: v1\nspec: app:v1 {M}\n"
    )
    result = edited(text)
    assert [change.object for change in result.changes] == ["v1/Pod/n/a", "v1/Pod/n/b", "v1/Pod"]
    assert [change.path for change in result.changes] == ["items[0].spec", "items[1].spec", "spec"]
    assert [change.line for change in result.changes] == [7, 11, 15]
    assert result.data.decode() == text.replace("app:v1", str(NEW))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"a: {{n: app, t: v1}} {TAG}\n", "1 refused: the marker stands behind a list or a mapping"),
        (f"a: [app:v1] {M}\n", "1 refused: the marker stands behind a list or a mapping"),
        (f"a: &x app:v1\nb: *x {M}\n", "2 refused: the marker marks an alias of x"),
        (f"a: &x app:v1\nb: *x {M}\n", "where the value is written, at line 1"),
        (f"a: &x app:v1\nb:\n- *x {M}\n", "3 refused: the marker marks an alias of x"),
        (f"a: {M}\n  app:v1\n", "1 refused: the marker marks nothing: put it behind the value, at line 2"),
        (f"a: {M}\n  - app:v1\n", "1 refused: the marker marks a list"),
        (f"{M}\na: app:v1\n", "1 refused: the marker marks nothing"),
        (f"l:\n- app:v1\n{M}\n", "3 refused: the marker marks nothing"),
        (f"l:\n{M}\n- a: app:v1\n", "3 refused: what the marker at line 2 marks is no image in a form"),
        (f"l:\n{M}\n  a: app:v1\n", "2 refused: the marker marks nothing"),
        (f"l:\n{M}\n\n- app:v1\n", "2 refused: the marker marks nothing"),
        (f"l:\n{M}\n- - app:v1\n", "2 refused: the marker marks nothing"),
        (f"? app:v1 {M}\n: x\n", "1 refused: the marker marks a key"),
        (f"a: | {M}\n  app:v1\nb: 1\n", "1 refused: a, which ns:p asks for, is a block of text"),
        (f"a: |- {M}\n  app:v1\n  more\nb: 1\n", "is a block of text that is not just an image"),
        (f"a: !!binary YXBw {M}\n", "1 refused: a, which ns:p asks for, has a tag"),
        (f"a: !env app:v1 {M}\n", "has a tag"),
        (f"a: 'see {M} there'\n", "1 marks nothing: the marker stands in a text"),
        (f"a: |\n  image: x {M}\n", "2 marks nothing: the marker stands in a text"),
        (f"a: app:v1 {M} since then\n", "1 marks nothing: the marker cannot be read"),
        (f"a: app:v1 # see {M}\n", "1 marks nothing: the marker cannot be read"),
        ('a: app:v1 # {"$imagepolicy": 5}\n', "1 marks nothing: the marker cannot be read"),
        ('a: app:v1 # {"$imagepolicy": "p"}\n', "'p' is not NAMESPACE:POLICY"),
        ('a: app:v1 # {"$imagepolicy": "ns:p:version"}\n', "asks for 'version'"),
        ('a: app:v1 # {"$imagepolicy": "other:p"}\n', "1 unknown policy: the marker is of the policy other/p"),
        (f"a: {{{{ .Values.image }}}} {M}\nb: {{{{- if x }}}}\n", "2 skipped: is no YAML"),
        (f"{{{{ if x }}}}\na: app:v1 {M}\n", "skipped: is no YAML"),
        (f"a: \x07 {M}\n", "skipped: is no YAML"),
        ("a: " + "[" * 201 + M, "1 skipped: is more than 200 levels deep"),
    ],
)  # fmt: skip
def test_what_cannot_be_set_stays_and_is_told_with_its_line(text: str, said: str) -> None:
    assert said in refused(text)


def test_bytes_that_are_no_text_are_told_with_their_line() -> None:
    data = b'a: 1\nb: \xff # {"$imagepolicy": "ns:p"}\n'
    result = edit(data, {APP: NEW})
    assert (result.data, result.notes[0][:2]) == (data, (2, Kind.SKIPPED))


def test_two_markers_for_one_value_are_refused_unless_they_say_the_same() -> None:
    text = f'l:\n# {{"$imagepolicy": "ns:q"}}\n- app:v1 {M}\n'
    assert edited(text, q=NEW).data.decode() == text.replace("app:v1", str(NEW))
    result = edited(text, q=Image.of("app", "v9"))
    assert [note.kind for note in result.notes] == [Kind.REFUSED]
    assert "one value is asked to be two" in result.notes[0].text
    assert len(result.changes) == 1


@pytest.mark.parametrize(
    "wrong",
    [(3, 9, "app:v9"), (0, 9, "b: x"), (3, 9, "app:v2\nb: 1"), (3, 9, "app: v2"), (3, 9, "[x"), (3, 9, "&a app:v2")],
)
def test_what_would_be_read_as_something_else_than_was_meant_is_not_written(
    monkeypatch: pytest.MonkeyPatch, wrong: tuple[int, int, str]
) -> None:
    monkeypatch.setattr(editing, "replacement", lambda *_: wrong)
    said = refused(f"a: app:v1 {M}\n", Image.of("app", "v2"))
    assert said.startswith("1 refused: with the new values it ")
    assert said.endswith(": the file is not changed")


def test_lines_are_counted_as_editors_count_them() -> None:
    other = '# {"$imagepolicy": "o:p"}'
    for end in ("\n", "\r\n", "\r"):
        text = end.join(["", f"a: b {other}", "", "", f"c: d {other}", "e: |", "  f", f"g: h {other}"])
        assert [note.line for note in edited(text).notes] == [2, 5, 8]


def test_an_anchor_of_another_document_is_not_taken_for_one_of_this() -> None:
    assert refused(f"a: &x app:v1\n---\nb: *x {M}\n").endswith("put it where the value is written")


def test_what_is_more_than_is_read_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "has more than 1,000 documents" in refused(f"--- {M}\n" + "--- a\n" * 1_000)
    monkeypatch.setattr(events, "MAX_EVENTS", 20)
    assert "has more than 20 values" in refused(f"a: b {M}\n" + "\n".join(f"k{number}: a" for number in range(9)))


def test_a_hostile_file_is_refused_in_time() -> None:
    for text in ("[" * 100_000, "{a: " * 50_000, "- " * 50_000, "&a [*a]\n" * 3):
        assert edited(f"{text} {M}\n").changes == ()


def test_ten_thousand_markers_are_set_at_once() -> None:
    text = "".join(f"- image: app:v1 {M}\n  n: {number}\n" for number in range(10_000))
    result = edited(text)
    assert len(result.changes) == 10_000
    assert result.data.decode() == text.replace("app:v1", str(NEW))


@pytest.mark.parametrize(
    "line",
    [
        f"{M}\n",
        f"k%d: {M}\n  a: b\n",
        f"k%d: a {M}\n",
        f"- &a%d x\n- *a%d {M}\n",
        f"{M} #" * 5 + "\n",
        f"'# {M}': {M}\n",
    ],
    ids=["comments", "keys", "values", "aliases", "hashes", "quoted"],
)
def test_many_markers_take_no_longer_than_as_many_values(line: str) -> None:
    text = "apiVersion: v1\n" * (not line.startswith("-")) + "".join(line.replace("%d", str(n)) for n in range(10_000))
    start = time.process_time()
    edited(text)
    assert time.process_time() - start < 6


# --- images in parts


HELM = f"""values:
  image: {M}
    registry: ghcr.io # where
    repository: 'acme/app'
    pullPolicy: Always
    tag: v1
"""


def test_a_marker_behind_the_key_of_an_image_sets_its_parts() -> None:
    moved = Image.of("registry.example.org/team/app", "1.10")
    after = HELM.replace("ghcr.io", "registry.example.org").replace("acme/app", "team/app").replace("v1", '"1.10"')
    assert becomes(HELM, moved) == after
    assert becomes(HELM, Image.of("ghcr.io/acme/app", "v2")) == HELM.replace("v1", "v2")


def test_a_marker_above_an_entry_of_a_kustomization_sets_its_parts() -> None:
    text = (
        f"images:\n- name: other\n  newTag: v1\n{M}\n# as in the base\n- name: app\n  newName: a\n  newTag: v1 # here\n"
    )
    after = text.replace("newName: a", f"newName: {NEW.name}").replace("v1 # here", "v2.0.0 # here")
    assert becomes(text) == after


@pytest.mark.parametrize(
    ("text", "image", "said"),
    [
        (HELM, Image.of("app", "v2"), "3 refused: what the marker at line 2 marks has the registry ghcr.io"),
        (HELM, Image.of("ghcr.io/acme/app", "v2", DIGEST), 'add the line `digest: ""`'),
        (HELM + f"    digest: {DIGEST}\n", Image.of("ghcr.io/acme/app", "v2"), "7 refused: what the marker at line 2"),
        (HELM.replace("tag", "version"), NEW, "is no image in a form that is known"),
        (HELM.replace(M, TAG), NEW, "2 refused: the marker asks for the tag only"),
        (HELM.replace("'acme/app'", "*x").replace("values:", "x: &x app\nvalues:"), NEW, "such as an alias"),
    ],
    ids=["registry", "no-digest", "pinned", "unknown", "part", "alias"],
)
def test_half_an_image_is_never_written(text: str, image: Image, said: str) -> None:
    assert said in refused(text, image)


def test_a_digest_that_is_there_is_set_with_the_tag() -> None:
    text = HELM + '    digest: ""\n'
    pinned = Image.of("ghcr.io/acme/app", "v2", DIGEST)
    assert becomes(text, pinned) == text.replace("v1", "v2").replace('""', f'"{DIGEST}"')
    inside = HELM.replace("v1", f"v1@{DIGEST}")
    assert becomes(inside, Image.of("ghcr.io/acme/app", "v2", DIGEST)) == inside.replace("v1@", "v2@")
    assert "pinned to a digest in its tag" in refused(inside, Image.of("ghcr.io/acme/app", "v2"))


# --- encrypted files


SOPS = f"""kind: Secret
image: app:v1 {M}
password: ENC[AES256_GCM,data:aaaa,iv:bbbb,tag:cccc,type:str]
sops:
    mac: ENC[AES256_GCM,data:dddd,iv:eeee,tag:ffff,type:str]
    lastmodified: "2026-01-01T00:00:00Z"
"""


def test_a_marker_in_an_encrypted_file_is_refused_with_the_way_out() -> None:
    assert "would break its MAC" in refused(SOPS)
    assert "--mac-only-encrypted" in refused(SOPS)
    # what is right already would not be changed
    assert edited(SOPS.replace("app:v1", str(NEW))).notes == ()


def test_a_file_whose_mac_is_over_encrypted_values_only_can_be_edited_where_it_is_plain() -> None:
    text = SOPS + "    mac_only_encrypted: true\n"
    assert becomes(text) == text.replace("app:v1", str(NEW))
    sealed = text.replace("type:str]\nsops", f"type:str] {M}\nsops").replace(f"app:v1 {M}", "x")
    assert "would break its MAC" in refused(sealed)


def test_a_policy_that_nobody_marks_is_told() -> None:
    result = sweep([("a.yaml", f"a: app:v1 {M}\n".encode())], {APP: NEW, Key("ns", "q"): NEW})
    assert result.unused == (Key("ns", "q"),)
    assert list(result.changed) == ["a.yaml"]


@pytest.mark.parametrize(
    "text",
    ["app", "app:", "app:v 1", 'app:v"1', "app:v1\n", "app:v1:2", "App/X:v1", f"app:{'x' * 129}", "app:v1@", "a b:v1",
     "app:v1@md5:00", f"{'a' * 600}:v1", "app:v1#x", "http://app:v1", "localhost:5000/app"],
)  # fmt: skip
def test_what_is_no_image_is_never_written(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not|names no tag"):
        Image.parse(text)


def test_images_are_read_with_ports_and_digests() -> None:
    assert Image.parse("localhost:5000/app:v1") == Image("localhost:5000/app", "v1")
    assert Image.parse(f"[::1]:5000/a/b:v1@{DIGEST}") == Image("[::1]:5000/a/b", "v1", DIGEST)
    assert str(Image.parse(f"app:v1@{DIGEST}")) == f"app:v1@{DIGEST}"
