"""What a commit says of itself, read for people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.remotes.git.said import MOST_NAME, MOST_SUBJECT, Said, said_in

HEAD = (
    b"tree 9bdd7d0f5e2b7c4e7f2c1f7cf8f4d2a1b0c9d8e7\n"
    b"author Ann Author <ann@example.org> 1767225600 +0200\n"
    b"committer Carl <carl@example.org> 1767225661 +0000\n"
)


def test_a_commit_says_who_wrote_it_when_it_was_made_and_in_which_words():
    assert said_in(HEAD + b"\nScale web\nto three\n\nBecause of the sale.\n") == Said(
        "Ann Author", "Scale web to three", "2026-01-01T00:01:01Z"
    )


def test_the_address_of_the_author_is_not_told():
    assert "ann@" not in repr(said_in(HEAD + b"\nx\n"))


@pytest.mark.parametrize(
    "raw",
    [b"", b"\n\n", b"author nobody\n\n", b"author X <x> 99999999999 +0000\n\n", b"\xff\xfe"],
    ids=["nothing", "empty lines", "no address", "far future", "no text"],
)
def test_what_cannot_be_read_is_not_known(raw):
    assert said_in(raw).committed == ""


def test_a_terminal_obeys_nothing_of_it():
    told = said_in(HEAD.replace(b"Ann", b"\x1b[31mAnn") + b"\n\x1b]0;title\x07hello\n")
    assert "\x1b" not in told.author + told.subject
    assert told.subject.isprintable()


@given(st.binary(max_size=2000))
def test_it_is_always_short_and_on_one_line(raw):
    for commit in (raw, HEAD + b"\n" + raw):
        told = said_in(commit)
        assert len(told.author) <= MOST_NAME
        assert len(told.subject) <= MOST_SUBJECT
        assert (told.author + told.subject).isprintable()
