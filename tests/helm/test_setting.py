"""Values set at a path: what the real helm makes of the same text, and what no error may show."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helm.conftest import write_chart
from trimtab.helm.setting import MAX_LEVELS, BadSetting, set_literal, set_text, set_value

CASES = (
    "a=b",
    "a=",
    "a=true",
    "a=TRUE",
    "a=null",
    "a=0",
    "a=017",
    "a=42",
    "a=-7",
    "a=9223372036854775808",
    "a=1.5",
    "a.b.c=d",
    "a\\.b=c",
    "a=b\\,c",
    "a=b,c=d",
    "a={x,1,true}",
    "a={x,y},b=2",
    "a[0]=x",
    "a[2]=x",
    "a[0].b=c,a[0].d=e",
    "a[0][1]=x",
    "a[1].b[0]=x",
    "known.inner=new",
    "known.other=new",
    "list[0]=new",
    "list[3]=new",
    "a=b=c",
    "a=\\\\",
    "a b=c d",
    "nodeSelector.kubernetes\\.io/role=master",
)
BASE = {"known": {"inner": 1}, "list": ["one", "two"]}


@pytest.mark.parametrize(("flag", "ours"), [("--set", set_value), ("--set-string", set_text)])
def test_helm_sets_the_same(helm, tmp_path, flag, ours):
    chart = write_chart(tmp_path / "app", {"values.yaml": "seen: {{ .Values | toJson | quote }}\n"})
    (tmp_path / "base.json").write_text(json.dumps(BASE))
    for text in CASES:
        mine = json.loads(json.dumps(BASE))
        ours(mine, text)
        assert seen(helm("template", chart, "-f", tmp_path / "base.json", flag, text)) == mine, text


LITERAL = ("a=b,c=d", "a.b={x,y}", "a[1]=x\\,y", "a=line\nline: 2\n", "a=", "known.inner=true", "list[0]==")


def test_helm_sets_the_same_literally(helm, tmp_path):
    chart = write_chart(tmp_path / "app", {"values.yaml": "seen: {{ .Values | toJson | quote }}\n"})
    (tmp_path / "base.json").write_text(json.dumps(BASE))
    for text in LITERAL:
        mine = json.loads(json.dumps(BASE))
        set_literal(mine, text)
        assert seen(helm("template", chart, "-f", tmp_path / "base.json", "--set-literal", text)) == mine, text


def seen(output: str):
    line = next(line for line in output.splitlines() if line.startswith("seen: "))
    return json.loads(json.loads(line.removeprefix("seen: ")))


BAD = (
    "a",
    "s3cret,",
    "a=s3cret,s3cret",
    "a={s3cret",
    "known.inner.deeper=s3cret",
    "known[0]=s3cret",
    "list.a=s3cret",
    "a[x]=s3cret",
    "a[-1]=s3cret",
    "a[65537]=s3cret",
    "a[99999999999999999999]=s3cret",
    "a[0]b=s3cret",
    ".".join(["a"] * (MAX_LEVELS + 2)) + "=s3cret",
)


@pytest.mark.parametrize("text", BAD)
def test_what_helm_refuses_is_refused_without_showing_it(text):
    with pytest.raises(BadSetting) as problem:
        set_value(json.loads(json.dumps(BASE)), text)
    assert "s3cret" not in str(problem.value)


def test_a_list_that_grows_is_another_list():
    shared = {"list": ["one"]}
    copy = dict(shared)
    set_value(copy, "list[1]=two")
    assert (shared, copy) == ({"list": ["one"]}, {"list": ["one", "two"]})


@given(st.text(alphabet="ab.=[]{},\\01 n", max_size=40))
def test_any_text_is_set_or_refused(text):
    for setter in (set_value, set_text, set_literal):
        with contextlib.suppress(BadSetting):
            setter(json.loads(json.dumps(BASE)), text)
