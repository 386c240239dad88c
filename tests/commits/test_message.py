"""What a commit says, and who says it."""

import pytest

from trimtab.base.errors import Terminal
from trimtab.commits import Message, Person, held_in, trailers_of


def test_trailers_follow_the_text_and_are_read_back():
    said = str(Message("Use web:2\n\nBecause.", (("Trimtab-Policy", "prod/web"), ("Trimtab-Change", "7"))))
    assert said == "Use web:2\n\nBecause.\n\nTrimtab-Policy: prod/web\nTrimtab-Change: 7\n"
    assert trailers_of(said) == (("Trimtab-Policy", "prod/web"), ("Trimtab-Change", "7"))


def test_trailers_join_those_that_the_text_has():
    said = str(Message("Use web:2\n\nSigned-off-by: A <a@b>", (("Trimtab-Change", "7"),)))
    assert said.endswith("\n\nSigned-off-by: A <a@b>\nTrimtab-Change: 7\n")


def test_a_subject_that_looks_like_a_trailer_is_none():
    said = str(Message("fix: it", (("Trimtab-Change", "7"),)))
    assert said == "fix: it\n\nTrimtab-Change: 7\n"


def test_a_value_cannot_add_a_trailer_or_steer_a_terminal():
    said = str(Message("x\x1b[2J\u202e", (("Trimtab-Who", "a\nTrimtab-Change: 8\x1b"),)))
    assert said == "x[2J\n\nTrimtab-Who: a Trimtab-Change: 8\n"


@pytest.mark.parametrize("person", [Person("A\n<x>", " a@b> "), Person("", "a@b"), Person("A <a@b", "a@b")])
def test_a_person_is_one_line_whatever_the_name(person: Person):
    line = person.line(5)
    assert line.count("<") == line.count(">") == 1
    assert line.endswith(" <a@b> 5 +0000")
    assert "\n" not in line


def test_what_cannot_be_said_is_refused():
    for message in (Message(" \n"), Message("x", (("Bad key", "v"),)), Message("x" * 70_000)):
        with pytest.raises(Terminal):
            str(message)
    with pytest.raises(Terminal, match="no mail address"):
        Person("A", "<>").line(0)


def test_what_a_commit_holds_is_read_from_its_trailers():
    said = str(Message("Roll back", (("Trimtab-Held", "prod/web r/web:2"), ("Trimtab-Held", "prod/api 7"), ("X", "y"))))
    assert held_in(said) == (("prod/web", "r/web:2"), ("prod/api", "7"))
    assert held_in("Trimtab-Held: nonsense") == ()
