"""Composed values: the order of pieces, what wins, and errors that name the place and nothing else."""

import json

import pytest

from tests.helm.conftest import write_chart
from tests.helm.test_setting import seen
from trimtab.artifacts import merging
from trimtab.base.errors import Terminal
from trimtab.helm.values import Piece, Values, compose, digest_of, preserving


def piece(text: str, path: str = "", *, literal: bool = False) -> Piece:
    return Piece("Secret prod/db, key values.yaml", text.encode(), path, literal)


def body(*pieces: Piece, **inline):
    return compose(pieces, inline).body


def test_later_pieces_win_and_what_is_inline_wins_last():
    first, second = piece("a: 1\nb: 1\nc: 1\nm: {one: 1}\n"), piece("b: 2\nc: 2\nm: {two: 2}\n")
    assert body(first, second, c=3) == {"a": 1, "b": 2, "c": 3, "m": {"one": 1, "two": 2}}


def test_lists_take_the_place_of_lists():
    assert body(piece("l: [1, 2, 3]"), l=[4]) == {"l": [4]}


def test_a_null_stays_for_the_defaults_of_the_chart():
    assert body(piece("a: {b: 1}"), a=None) == {"a": None}


def test_a_path_gets_one_value():
    assert body(piece("hunter2", "auth.password")) == {"auth": {"password": "hunter2"}}
    assert body(piece("8080", "port")) == {"port": 8080}
    assert body(piece("'8080'", "port")) == {"port": "8080"}
    assert body(piece("x", "hosts[1].name")) == {"hosts": [None, {"name": "x"}]}


def test_a_path_wins_below_a_map_that_only_the_object_has():
    assert body(piece("new", "auth.password"), auth={"user": "me", "password": "old"}) == {
        "auth": {"user": "me", "password": "new"}
    }
    assert body(piece("auth: {more: 1}"), piece("new", "auth.password"), auth={"password": "old"}) == {
        "auth": {"more": 1, "password": "old"}
    }
    assert body(piece("new", "password"), password="old") == {"password": "old"}


def test_the_object_itself_stays_as_it_was():
    inline = {"auth": {"password": "old"}}
    compose([piece("new", "auth.password")], inline)
    assert inline == {"auth": {"password": "old"}}


def test_a_literal_piece_is_not_looked_into():
    text = "a,b={c}\nd: [1]\n"
    assert body(piece(text, "config.file", literal=True)) == {"config": {"file": text}}
    assert body(piece("'quoted'", "a", literal=True)) == {"a": "'quoted'"}


def test_an_empty_piece_brings_nothing():
    assert body(piece(""), piece("# nothing\n"), a=1) == {"a": 1}


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (piece("s3cret: [s3cret"), "cannot be read as YAML at line"),
        (piece("s3cret: 1\ns3cret: 2\n"), "cannot be read as YAML at line 2"),
        (piece("- s3cret"), "not one map of values"),
        (piece("s3cret: 1\n---\ns3cret: 2\n"), "not one map of values"),
        (piece("s3cret,s3cret", "a"), r"cannot be set at a: .*write it as \\,"),
        (Piece("Secret prod/db, key values.yaml", b"\xffs3cret", "a"), "not text in UTF-8"),
    ],
)
def test_an_error_names_the_piece_and_shows_no_value(bad, says):
    with pytest.raises(Terminal, match=rf"(?s)values in Secret prod/db, key values\.yaml .*{says}") as problem:
        compose([bad], {})
    assert problem.value.reason == "ValuesError"
    assert "s3cret" not in str(problem.value)


def test_the_digest_is_that_of_the_values_and_not_of_their_writing():
    assert compose([piece("b: 1.0\na: x")], {}).digest == digest_of({"a": "x", "b": 1})
    assert digest_of({"a": 1}) != digest_of({"a": "1"})
    assert digest_of({"a": None}) != digest_of({})
    assert digest_of({"a": [1, {"b": 2.0}]}) == digest_of({"a": [1.0, {"b": 2}]})


def test_helm_lays_the_same_values_over_each_other(helm, tmp_path):
    chart = write_chart(
        tmp_path / "app",
        {"values.yaml": "seen: {{ .Values | toJson | quote }}\n"},
        values="keep: 1\ngone: {a: 1}\nmap: {one: 1, two: 2}\nlist: [1, 2]\n",
    )
    pieces = ["map: {two: 3}\nlist: [9]\n", "gone: null\nmap: {three: {deep: x}}\n"]
    files = []
    for number, text in enumerate(pieces):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)
        files += ["-f", path]
    ours = compose([piece(text) for text in pieces], {"map": {"three": {"more": 1}}})
    (tmp_path / "inline.json").write_text(json.dumps({"map": {"three": {"more": 1}}}))
    theirs = seen(helm("template", chart, *files, "-f", tmp_path / "inline.json"))
    defaults = {"keep": 1, "gone": {"a": 1}, "map": {"one": 1, "two": 2}, "list": [1, 2]}
    assert merging.merge(defaults, ours.body) == theirs  # a null deletes what it meets


def test_values_laid_over_preserved_ones_twice_are_what_they_are_once() -> None:
    wished = Values({"a": None, "b": {"c": 1}}, "x")
    once = preserving({"a": 1, "b": {"d": 2}, "e": [3]}, wished)
    assert once.body == {"a": None, "b": {"c": 1, "d": 2}, "e": [3]}
    assert preserving(once.body, wished) == once
    assert once.digest == digest_of(once.body)
