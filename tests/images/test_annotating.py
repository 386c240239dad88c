"""Annotations as they are written into files: what is added, changed and taken away, and what is not touched."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sops.conftest import FIXTURES
from trimtab.images import annotating
from trimtab.images.annotating import Unfit, annotate
from trimtab.images.events import Unreadable
from trimtab.images.named import Named
from trimtab.images.nodes import Mapping, parse
from trimtab.images.pauses import annotations_of

CART = Named("Deployment", "shop", "cart")
LOCK = "trimtab.dev/lock"
K = "kind: Deployment\n"
L = f'{LOCK}: "why"'


def locked(text: str, value: str = "why") -> str:
    return annotate(text.encode(), CART, {LOCK: value}).data.decode()


def unlocked(text: str) -> str:
    return annotate(text.encode(), CART, {LOCK: None}).data.decode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            f"{K}metadata:\n  name: cart # c\n  namespace: shop\n",
            f"{K}metadata:\n  name: cart # c\n  annotations:\n    {L}\n  namespace: shop\n",
        ),
        (f"{K}metadata:\n    name: cart", f"{K}metadata:\n    name: cart\n    annotations:\n        {L}"),
        (f"{K}metadata:\r\n  name: 'cart'\r\n", f"{K}metadata:\r\n  name: 'cart'\r\n  annotations:\r\n    {L}\r\n"),
        (f"\ufeff{K}metadata:\n  name: cart\n", f"\ufeff{K}metadata:\n  name: cart\n  annotations:\n    {L}\n"),
        (
            f"{K}metadata:\n  name: cart\n  annotations: # of\n     # us\n     a: b  # x\n  labels: {{}}\n",
            f"{K}metadata:\n  name: cart\n  annotations: # of\n     # us\n     a: b  # x\n     {L}\n  labels: {{}}\n",
        ),
        (
            f"{K}metadata:\n  name: cart\n  annotations:\n    a: |\n      b\n\n  labels: {{}}\n",
            f"{K}metadata:\n  name: cart\n  annotations:\n    {L}\n    a: |\n      b\n\n  labels: {{}}\n",
        ),
        (
            f"{K}metadata: {{name: cart, annotations: {{a: b}}}} # c\n",
            f"{K}metadata: {{name: cart, annotations: {{{L}, a: b}}}} # c\n",
        ),
        (
            f"kind: List\nitems:\n- {K.rstrip()}\n  metadata:\n    name: cart\n- a: 1\n",
            f"kind: List\nitems:\n- {K.rstrip()}\n  metadata:\n    name: cart\n    annotations:\n      {L}\n- a: 1\n",
        ),
        (
            f"a: 1\n---\n{K}metadata:\n  name: cart\n---\nb: 1\n",
            f"a: 1\n---\n{K}metadata:\n  name: cart\n  annotations:\n    {L}\n---\nb: 1\n",
        ),
        (
            '{"kind": "Deployment", "metadata": {\n "name": "cart",\n "annotations": {"a": "b"\n}}}',
            ('{"kind": "Deployment", "metadata": {\n "name": "cart",\n "annotations": '
            f'{{"{LOCK}": "why", "a": "b"\n}}}}}}'),
        ),
    ],
    ids=["none", "deep", "crlf", "bom", "block", "text", "braces", "list", "documents", "json"],
)  # fmt: skip
def test_an_annotation_is_added_and_taken_away_and_every_other_byte_stays(before: str, after: str) -> None:
    assert locked(before) == after
    assert locked(after) == after
    assert unlocked(after) == before
    assert locked(after, "else") == after.replace('"why"', '"else"')


@pytest.mark.parametrize(
    ("before", "after", "back"),
    [
        (
            f"{K}metadata: {{name: cart}}\n",
            f"{K}metadata: {{annotations: {{{L}}}, name: cart}}\n",
            f"{K}metadata: {{annotations: {{}}, name: cart}}\n",
        ),
        (
            f"{K}metadata:\n  annotations:\n  name: cart\n",
            f"{K}metadata:\n  annotations:\n    {L}\n  name: cart\n",
            f"{K}metadata:\n  annotations: {{}}\n  name: cart\n",
        ),
        (
            f"{K}metadata:\n  name: cart\n  annotations: {{}} # c\n",
            f"{K}metadata:\n  name: cart\n  annotations: {{{L}}} # c\n",
            f"{K}metadata:\n  name: cart\n  annotations: {{}} # c\n",
        ),
        (
            f"{K}metadata:\n  name: cart\n  annotations: ~ # c\n",
            f"{K}metadata:\n  name: cart\n  annotations:  # c\n    {L}\n",
            f"{K}metadata:\n  name: cart\n  annotations: {{}}  # c\n",
        ),
    ],
    ids=["braces", "nothing", "empty", "null"],
)  # fmt: skip
def test_empty_annotations_are_filled_and_empty_ones_stay(before: str, after: str, back: str) -> None:
    assert locked(before) == after
    assert unlocked(after) == back


def test_a_value_is_changed_in_its_place_whatever_its_quotes() -> None:
    text = f"{K}metadata:\n  name: cart\n  annotations:\n    {LOCK}: %s # c\n"
    for old in ("'a b'", '"a"', "a", "a\n      b"):
        assert locked(text % old) == text % '"why"'
    assert locked(f"{K}metadata:\n  name: cart\n  annotations:\n    {LOCK}:\n") == (
        f"{K}metadata:\n  name: cart\n  annotations:\n    {L}\n"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{K}metadata:\n  name: other\n", "there is no Deployment/shop/cart"),
        (f"{K}metadata: {{name: cart}}\n---\n{K}metadata: {{name: cart}}\n", "is there 2 times (lines 1, 4)"),
        (f"x: &m {{name: cart}}\n{K}metadata: *m\n", "metadata in an alias"),
        (f"{K}metadata: &m\n  name: cart\n", "metadata at an anchor"),
        (f"{K}metadata:\n  labels: &l {{a: b}}\n  name: cart\n  annotations: *l\n", "an anchor or by an alias"),
        (f"{K}metadata:\n  name: cart\n  annotations: &l\n    a: b\n", "an anchor or by an alias"),
        (f"{K}metadata:\n  <<: {{annotations: {{a: b}}}}\n  name: cart\n", "by a merge"),
        (f"{K}metadata:\n  name: cart\n  annotations:\n    {LOCK}: |\n      x\n", "a block of text"),
        (f"{K}metadata:\n  name: cart\n  annotations: [a]\n", "at an anchor or by an alias"),
    ],
    ids=["missing", "twice", "alias", "anchor", "shared", "shares", "merge", "block", "list"],
)  # fmt: skip
def test_what_would_change_other_places_too_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(Unfit, match=words.replace("(", r"\(").replace(")", r"\)")):
        locked(text)


def test_a_result_that_says_something_else_is_not_handed_out() -> None:
    """The net under all of it: no text is known that falls into it."""
    text = f"{K}metadata: {{name: cart}}\nspec: 1\n"
    patch = annotating._Patch(6, 0, ())
    for pieces in (((len(text) - 2, len(text) - 1, "2"),), ((len(text), len(text), "a: b\n"),), ((0, 4, "["),)):
        with pytest.raises(Unfit, match="with the annotation the file"):
            annotating._carried_out(text, annotating._Edit(pieces, patch, None), 1)
    assert annotating._carried_out(text, annotating._Edit((), patch, None), 1) == text


def test_a_file_that_sops_encrypted_is_refused() -> None:
    for file in (FIXTURES / "rules").glob("*.yaml"):
        if not file.name.startswith("opened-"):
            with pytest.raises(Unfit, match="encrypted by SOPS"):
                annotate(file.read_bytes(), CART, {LOCK: "why"})


def test_a_value_that_is_not_one_line_of_text_is_refused() -> None:
    for value in ("a\nb", "a\x00", "a\u2028b", "\u202eb", "x" * 1025):
        with pytest.raises(Unfit):
            locked(f"{K}metadata: {{name: cart}}\n", value)
    with pytest.raises(Unreadable):
        locked(f"{K}metadata: {{name: cart\n")


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=60), st.booleans())
def test_any_text_is_read_as_what_was_written(value: str, flow: bool) -> None:
    text = f"{K}metadata: {{name: cart}}\n" if flow else f"{K}metadata:\n  name: cart\n"
    (document,) = parse(locked(text, value)).documents
    assert isinstance(document, Mapping)
    assert annotations_of(document) == {LOCK: value}
