"""Health by expressions: order, meaning, what is refused, and that no expression can hold us up."""

import time

import pytest

from trimtab.api.kustomize import HealthExpr
from trimtab.health import expressions
from trimtab.health.assess import Context, assess
from trimtab.health.checks import VARIABLES, compiled
from trimtab.health.expressions import Bindings, EvaluationError, ExpressionError, compile_term
from trimtab.health.verdict import State, Verdict

from .test_rules import JUST_NOW, body

READY = "status.conditions.filter(e, e.type == 'Ready').all(e, e.status == 'True')"
FAILED = "status.conditions.exists(e, e.type == 'Ready' && e.status == 'False')"


def answer(text, **variables):
    return expressions.compile(text, variables).evaluate(variables)


def widget(*, metadata=None, **status):
    return body("example.com/v1", "Widget", metadata=metadata, status=status)


def ready(status):
    return {"conditions": [{"type": "Ready", "status": status}]}


def checks(**more):
    return compiled(
        [HealthExpr(api_version="example.com/v1", kind="Widget", **{"current": READY, "failed": FAILED, **more})]
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("has(status.n) && status.n == 3", True),
        ("has(status.other)", False),
        ("status.l.exists(e, e > 1) && size(status.l) == 2", True),
        ("status['n'] in [1, 2]", False),
        ("'a,b'.split(',')[1].upperAscii() == 'B'", True),
        ("timestamp('2026-01-01T00:00:00Z') < timestamp('2026-01-02T00:00:00Z')", True),
        ("status.n > 1 // a remark", True),
        ("'v1.2'.matches('^v[0-9]+\\\\.[0-9]+$')", True),
        ("'v1.2'.matches(r'^v\\d+\\.\\d+$')", True),
        ("'a{2}'.matches(r'^\\p{Ll}\\{2\\}$')", True),
        ("status.l.exists(e, string(e).matches('^[23]$'))", True),
    ],
)
def test_expressions(text, expected):
    assert answer(text, status={"n": 3, "l": [1, 2]}) is expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("status.n ==", "Syntax error"),
        ("", "Syntax error"),
        ("true) || (true", "Syntax error"),
        ("status.?n.orValue(1) == 1", "unsupported syntax"),
        ("stats.n == 1", "undeclared reference to 'stats'"),
        ("quantity('1') == 1", "function 'quantity'"),
        ("'x'.replace('a', 'b') == 'x'", "function 'replace'"),
        ("[1].all(a, [1].all(b, [1].all(c, true)))", "nest deeper than 2"),
        ("(" * 3000 + "true" + ")" * 3000, "characters"),
        ("(" * 120 + "true" + ")" * 120, "ecursion"),
        ("status.a.matches(status.b)", "one pattern that is written out"),
        ("status.a.matches('a' + status.b)", "written out"),
        ("status.a.matches(true ? 'a' : 'b')", "written out"),
        ("['a'].exists(p, status.a . matches /**/(p))", "Syntax error"),
        ("['a'].exists(p, status.a . matches // a\n (p))", "written out"),
        ("matches(status.a, 'a')", "written out"),
        ("br'\\' == b'' || status.a.matches(status.b)", "written out"),
        ("status.a.matches('\\\\w{200}')", "repeats by numbers"),
        ("status.a.matches(r'\\w{200}')", "repeats by numbers"),
        ('status.a.matches("""a{2,}""")', "repeats by numbers"),
        ("status.a.matches('a\\x7b200}')", "repeats by numbers"),
        ("status.a.matches('a\\173200}')", "repeats by numbers"),
        ("status.a.matches(r'(?x)a{ 200}')", "repeats by numbers"),
        ("status.a.matches(r'\\p{L}{200}')", "repeats by numbers"),
        ("status.a.matches(r'\\\\{200}')", "repeats by numbers"),
        ("status.a.matches(r'" + "\\w" * 400 + "')", "too long"),
    ],
)
def test_what_is_refused_when_it_is_compiled(text, words):
    with pytest.raises(ExpressionError) as refusal:
        expressions.compile(text, VARIABLES)
    assert words in str(refusal.value)
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize(
    ("text", "words"),
    [("status.a.b == 1", "no such key"), ("status.n", "overload"), ("status.n + 'x' == ''", "overload")],
)
def test_what_has_no_answer(text, words):
    with pytest.raises(EvaluationError, match=words):
        answer(text, status={"n": 3})


@pytest.mark.parametrize(
    "text",
    [
        "status.l.all(a, status.l.all(b, a + b >= 0))",
        "status.l.map(a, status).size() == 500",
        "status.l.map(a, status)",
        "r'\\' == '' || status.l.all(a, status.l.all(b, true))",
        "status.s + status.s == status.s" + " + status.s" * 300,
        "status.l.all(a, string(a).matches(r'^\\w+$'))",
        "status.s.matches('" + "[xy]" * 300 + "')",
    ],
)
def test_no_expression_takes_long(text):
    status = {"l": list(range(5000)), "s": "x" * 1_000_000}
    begun = time.process_time()
    with pytest.raises(EvaluationError, match="too large"):
        answer(text, status=status)
    assert time.process_time() - begun < 15


def test_a_simple_expression_may_run_over_a_large_object():
    assert answer("status.l.all(a, a >= 0)", status={"l": list(range(50_000))}) is True


def test_in_progress_failed_current_in_this_order():
    every = checks(in_progress="has(status.busy)")
    assert every.assess(widget(busy=1, **ready("False")), JUST_NOW).state is State.InProgress
    assert every.assess(widget(**ready("False")), JUST_NOW) == Verdict(State.Failed, "the expression failed is true")
    assert every.assess(widget(**ready("True")), JUST_NOW).state is State.Current
    assert every.assess(widget(**ready("Unknown")), JUST_NOW) == Verdict(State.InProgress, "no expression is true yet")


def test_an_expression_without_an_answer_makes_the_verdict_unknown():
    verdict = checks().assess(widget(), JUST_NOW)
    assert verdict == Verdict(State.Unknown, "the expression failed has no answer: no such key: conditions")


def test_deletion_and_a_generation_that_was_not_observed_come_first():
    going = widget(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}, **ready("True"))
    assert checks().assess(going, JUST_NOW).state is State.Terminating
    stale = widget(metadata={"generation": 2}, observedGeneration=1, **ready("True"))
    assert checks().assess(stale, JUST_NOW).state is State.InProgress


def test_objects_that_no_rule_is_meant_for_keep_the_rule_of_their_kind():
    other = body("example.com/v1", "Gadget", status={"phase": "Failed"})
    assert checks().assess(other, JUST_NOW) == assess(other, Context(now=JUST_NOW.now))
    every_kind = compiled([HealthExpr(api_version="example.com/v1beta1", current="true")])
    assert every_kind.assess(other, JUST_NOW).state is State.Current, "no kind is every kind, and of each version"


def test_the_whole_object_is_there_as_self_but_for_its_managers():
    live = widget(metadata={"managedFields": [{}], "name": "w"})
    rule = compiled(
        [HealthExpr(api_version="example.com/v1", current="self.metadata.name == 'w' && !has(metadata.managedFields)")]
    )
    assert rule.assess(live, JUST_NOW).state is State.Current


def test_what_does_not_compile_is_named_by_place_and_name():
    with pytest.raises(ExpressionError, match=r"^\[1\]\.inProgress: Syntax error"):
        compiled(
            [
                HealthExpr(api_version="v1", current="true"),
                HealthExpr(api_version="v1", current="true", in_progress="1 +"),
            ]
        )


def test_values_are_translated_once_and_may_be_exchanged():
    bindings = Bindings({"req": {"name": "shop"}, "res": {}})
    same = expressions.compile("req.name == res.name", ("req", "res"))
    answers = []
    for name in ("docs", "shop", "docs"):
        bindings.set("res", {"name": name})
        answers.append(same.evaluate(bindings))
    assert answers == [False, True, False]


def test_all_evaluations_together_have_a_budget():
    bindings = Bindings({"res": {}}, budget=1000)
    simple = expressions.compile("has(res.name)", ("res",))
    for _ in range(20):
        assert not simple.evaluate(bindings)
    with pytest.raises(EvaluationError, match="more than 1000 steps"):
        simple.evaluate(bindings)
    costly = expressions.compile(r"'x'.matches(r'^\w+$')", ("res",))
    with pytest.raises(EvaluationError, match="more than 1000 steps"):
        costly.evaluate(Bindings({"res": {}}, budget=1000))
    assert costly.evaluate(Bindings({"res": {}}))


def test_a_value_that_grows_makes_an_expression_too_costly_again():
    bindings = Bindings({"res": [1]})
    doubled = expressions.compile("res.all(a, res.exists(b, a == b))", ("res",))
    assert doubled.evaluate(bindings)
    bindings.set("res", list(range(2000)))
    with pytest.raises(EvaluationError, match="too large"):
        doubled.evaluate(bindings)
    bindings.set("res", [1])
    assert doubled.evaluate(bindings)


def test_a_term_may_have_any_answer_and_an_expression_has_two():
    bindings = Bindings({"claims": {"owner": "team"}})
    assert compile_term("[claims.owner + '/shop']", ("claims",)).answer(bindings) == ["team/shop"]
    with pytest.raises(EvaluationError):
        expressions.compile("claims.owner", ("claims",)).evaluate(bindings)
    with pytest.raises(ExpressionError):
        compile_term("nonsense", ("claims",))
    # Both halves are no expressions, together with what is put around them they would be one.
    with pytest.raises(ExpressionError):
        expressions.compile("true) ? true : (false", ("claims",))
