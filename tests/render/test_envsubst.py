"""Expressions in a text: what Flux's do, and what bounds them."""

import contextlib
import json
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.render.envsubst import ExpressionError, parse
from trimtab.render.operators import Budget

from .conftest import SHARED

FILE = SHARED / "conformance" / "envsubst" / "cases.json"
CASES = json.loads(FILE.read_text()) if FILE.is_file() else []


def expand(text, strict=False, budget=None, **values):
    return parse(text).expand(values, strict=strict, budget=budget)


def envsubst(text, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "trimtab.cli.main", "envsubst", *arguments],
        input=text if isinstance(text, bytes) else text.encode(),
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path), **environment},
        capture_output=True,
        timeout=30,
    )


@pytest.mark.skipif(not CASES, reason="the shared conformance cases are not there")
@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_case(case):
    if case.get("error"):
        with pytest.raises(ExpressionError, match=case["reason"]):
            expand(case["input"], strict=case["strict"], **case["vars"])
    else:
        assert expand(case["input"], strict=case["strict"], **case["vars"]) == case["expected"]


@pytest.mark.skipif(not CASES, reason="the shared conformance cases are not there")
def test_the_command_agrees_with_every_case():
    # each start costs a tenth of a second: one for all of a mode and its variables would not be what users call
    for case in CASES[::6]:
        options = [f"--var={name}={value}" for name, value in case["vars"].items()]
        done = envsubst(case["input"], *options, *(["--strict"] if case["strict"] else []))
        if case.get("error"):
            assert (done.returncode, done.stdout) == (1, b"")
            assert case["reason"] in done.stderr.decode()
        else:
            assert (done.returncode, done.stdout.decode()) == (0, case["expected"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # found with the reference's library, 140,000 random texts of which agree
        ("${x:+other}", "abcABC"),
        ("${e:?other}", "other"),
        ("${x:-2}${x: -2}", "abcABCabcABC"),
        ("${x:1:-1}${x:5:-3}${x:9}", "bcAB"),
        ("${x:::2}", None),
        ("${x:1:::2}", "bc"),
        ("${x:one}", "abcABC"),
        ("${x,^}", "abcABC"),
        ("${x/#/<}${x/%/>}", "<abcABCabcABC>"),
        ("${x//b}", None),
        ("${x/#abc/}", "abcABC"),
        ("${x/a//}", "bcABC"),
        ("${x/a/$$\\/\\\\}", "$/\\bcABC"),
        ("${x#[a-b]}${x##*[^C]}", "bcABCC"),
        ("${x#[b-}${x%\\}", "abcABCabcABC"),
        ("${x%[A-C]}", "abcABC"),
        ("${x%]C-A[}", "abcAB"),
        ("${x##*}${x#*}", "bcABC"),
        ("${x#}", None),
        ("${x##}", None),
        ("${e:=}", ""),
        ("${e:=a${x:=b}c}", "aabcABCc"),
        ("${e:=$$}", "$$"),
        ("${}", None),
        ("${x", None),
        ("${x-default}", None),
        ("${x y}", None),
        ("${é1:=letters count}", "letters count"),
        ("$x $ $$$ $${x} $$${x}", "$x $ $$ ${x} $abcABC"),
        ("${#u}${u:0:2}${u^^}${u,}", "3éÉIéi"),
        ("${u:1}", None),
    ],
)
def test_what_flux_does_is_done(text, expected):
    values = {"x": "abcABC", "e": "", "u": "éi"}
    if expected is None:
        with pytest.raises(ExpressionError):
            expand(text, **values)
    else:
        assert expand(text, **values) == expected


def test_a_value_is_never_looked_at_for_expressions():
    assert expand("${a}$${a}", a="${b} $$ ${", b="no") == "${b} $$ ${${a}"


def test_strict_looks_also_into_a_default_that_is_not_needed():
    assert expand("${a:=${b:=c}}", strict=True, a="1") == "1"
    with pytest.raises(ExpressionError, match="variable not set: b") as error:
        expand("x ${a:=${b}}", strict=True, a="1")
    assert (error.value.unset, error.value.position) == ("b", 7)


@given(st.text(alphabet="ab${}:=-#%/^,*[]\\!é0 ", max_size=40))
def test_whatever_is_written_ends_in_a_text_or_an_error(text):
    for strict in (True, False):
        with contextlib.suppress(ExpressionError):
            assert isinstance(expand(text, strict=strict, a="ab*", b=""), str)


@given(st.text(), st.text(alphabet="ab${}", max_size=10))
def test_a_text_without_expressions_stays_as_it_is(text, value):
    doubled = text.replace("$", "$$")
    assert expand(doubled, a=value) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("${a}" * 50, "become more than 10,485,760 characters"),
        ("${a//x/${a}}", "become more than 10,485,760 characters"),
        ("${a##*x*x*x*x*x*x*x*y}" * 60, "look at more than 67,108,864 characters"),
        ("${b:=" * 40 + "}" * 40, "more than 32 expressions within each other"),
        (f"${{a#{'?' * 1001}}}", "a pattern of more than 1,000 characters"),
    ],
)
def test_an_expansion_that_explodes_is_stopped_soon_and_the_limit_named(text, words):
    began = time.monotonic()
    with pytest.raises(ExpressionError, match=words):
        expand(text, a="x" * 400_000)
    assert time.monotonic() - began < 60


def test_a_pattern_with_many_stars_takes_no_time():
    began = time.process_time()
    assert expand("${a##" + "*x" * 400 + "y}", a="x" * 5_000) == "x" * 5_000
    assert time.process_time() - began < 30


def test_a_budget_holds_for_all_that_it_is_given_to():
    budget = Budget(output=10, work=1_000)
    assert expand("${a}", budget=budget, a="123456") == "123456"
    with pytest.raises(ExpressionError, match="become more than 10 characters"):
        expand("${a}", budget=budget, a="123456")


def test_a_mistake_is_told_with_its_place_and_without_values():
    done = envsubst("one\ntwo ${SECRET}${\n", "--var", "SECRET=hunter2")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"standard input, 2:14: bad substitution" in done.stderr
    assert b"hunter2" not in done.stderr


def test_the_environment_counts_only_where_it_is_asked_to():
    assert envsubst("${A}${B:=none}", B="env").stdout == b"none"
    assert envsubst("${A}${B}", "--env", "--var", "A=var", A="env", B="env").stdout == b"varenv"


def test_output_is_the_input_to_the_last_byte():
    assert envsubst(b"a\r\n\x00\xc3\xa9 no newline").stdout == b"a\r\n\x00\xc3\xa9 no newline"
    assert b"not UTF-8 at byte 1" in envsubst(b"a\xff").stderr


@pytest.mark.parametrize("option", ["A", "=x", "a.b=c", "1a=b"])
def test_a_variable_without_a_proper_name_is_refused_without_its_value(option):
    done = envsubst("", "--var", option)
    assert done.returncode == 1
    assert b"NAME=VALUE" in done.stderr
    assert b"b=c" not in done.stderr
