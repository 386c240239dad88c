"""Variables in built objects: what Flux makes of them, and that nothing leaves the place it was put into."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trimtab.api.kustomize import PostBuild
from trimtab.base.errors import Terminal
from trimtab.manifests.refs import Manifest, Origin
from trimtab.manifests.yaml import load
from trimtab.render import substitution, written
from trimtab.render.options import Options
from trimtab.render.variables import Found, Variables, collected

from .conftest import config_map


def substituted(manifests, variables):
    return substitution.filled(manifests, variables)[0]


def object_of(data, **metadata):
    metadata = {"name": "c", "namespace": "apps", **metadata}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def fill(data, strict=False, metadata=None, **values):
    body = object_of(data, **(metadata or {}))
    (found,) = substituted([Manifest(body, Origin("app/c.yaml", 7))], Variables(values, strict=strict))
    return found.body


def filled(text, value):
    return fill({"a": text, "z": "last"}, V=value)["data"]["a"]


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        # what a text becomes depends on how it is written in YAML: plain
        ("${V}", "9797", 9797),
        ("${V}", '"9797"', "9797"),
        ("${V}", "true", True),
        ("${V}", "yes", True),
        ("${V}", "012", 10),
        ("${V}", "1e3", 1000),
        ("${V}", "2024-01-01", "2024-01-01"),
        ("${V}", "", None),
        ("${V}", "~", None),
        ("${V}", "{a: b}", {"a": "b"}),
        ("${V}", "[a, {b: 1}]", ["a", {"b": 1}]),
        ("${V}", "a # b", "a"),
        ("${V}", "  a  ", "a"),
        ("${V}", "9797\r", 9797),
        ("${V}", "!!str 5", "5"),
        ("${V}", "&x 5", 5),
        ("v${V}", "5", "v5"),
        ("https://${V}/x?a=b#c", "h", "https://h/x?a=b#c"),
        # single quotes, because of the colon, the quote or the blank
        ("a: ${V}", "5", "a: 5"),
        ('"${V}"', "5", '"5"'),
        ("'${V}'", "5", "'5'"),
        (" ${V}", "", " "),
        ("# ${V}", "a # b", "# a # b"),
        ("a: ${V}", "it''s", "a: it's"),
        # double quotes, because of the tab
        ("\t${V}", "5", "\t5"),
        ("\t${V}", "\\x41", "\tA"),
        # a block, because of the lines
        ("a: 1\nb: ${V}\n", "{c: 'd'}", "a: 1\nb: {c: 'd'}\n"),
        ("${V}\n\n", "x", "x\n\n"),
        (" ${V}\ny", "x", " x\ny"),
        ("x\n${V}", "", "x"),
        # within brackets and braces no such rule
        ("{${V}}", "a", "{a}"),
        ("😀 ${V}", "a", "😀 a"),
    ],
)
def test_a_value_becomes_what_flux_makes_of_it(text, value, expected):
    # each is what the serialiser of kustomize and the library of Flux make of it, checked with them
    assert filled(text, value) == expected
    assert fill({"l": [text, "last"]}, V=value)["data"]["l"] == [expected, "last"]


@pytest.mark.parametrize(
    ("value", "key"), [("b", "b"), ("8080", "8080"), ("true", "true"), ('"x y"', "x y"), ("a/b.c", "a/b.c")]
)
def test_keys_count_too(value, key):
    assert fill({"${V}": "${V:+x}", "z": 1}, V=value)["data"].keys() == {key, "z"}
    assert fill({"k" * 130 + "${V}": 1}, V="v")["data"] == {"k" * 130 + "v": 1}


HOSTILE = [
    "a: b",
    "a\rz: evil",
    "a\x85z: evil",
    "a\u2028z: evil",
    "'",
    '"',
    '"a" b',
    "|\r z",
    "- a",
    "? a",
    "*a",
    "[",
    "{a: b",
    "a\r---\rkind: Secret",
    "a\r...\r",
    "a\r%YAML 1.1\r---",
    "!!python/object:os.system x",
    "!x",
    "!!int x",
    ".inf",
    "\0",
    "@a",
    "`a",
    "%a",
    "{<<: *a}",
    "{a: 1, a: 2}",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_what_would_reach_beyond_its_place_is_an_error_without_the_value(value):
    with pytest.raises(Terminal) as error:
        filled("${V}", value)
    assert str(error.value).startswith("app/c.yaml:7: ConfigMap/apps/c: data.a: the value of V does not fit in here")
    assert value.strip("'\"[") not in str(error.value).replace("a line break or the like", "") or len(value) < 3


@pytest.mark.parametrize("value", ["a: b", "a: b #", "{a: b}", "[a]", "a\rb", "", "<<", "#", "z", "null"])
def test_a_key_that_is_none_or_is_there_already_is_an_error(value):
    with pytest.raises(Terminal, match=r"ConfigMap/apps/c: data\.\$\{V\}: "):
        fill({"${V}": {"x": "y"}, "z": "last"}, V=value)


def test_the_identity_of_an_object_cannot_be_taken_by_a_key():
    with pytest.raises(Terminal, match="the key becomes one that is there already"):
        fill({}, metadata={"${V}": "other"}, V="name")
    with pytest.raises(Terminal, match=r"ConfigMap has no metadata\.name"):
        fill({}, metadata={"name": "${V}"}, V="5")


VALUES = st.text(alphabet=st.sampled_from(list("ab: \t\r\x85\u2028'\"\\{}[],&*!|>%@`#-?~.0$\0é😀")), max_size=12)
TEXTS = st.text(alphabet=st.sampled_from(list("ab: \n\t'\"\\{}[]#-?.é😀")), max_size=6)


@given(VALUES, TEXTS, TEXTS)
@example("x\rz: 1", "", "")
@example("x", "\n", " ")
def test_whatever_a_value_holds_its_neighbours_stay(value, before, after):
    """Property: a place becomes something, or there is an error; all around it stays what it was."""
    text = before + "${V}" + after
    around = {"b": {"c": "first"}, "l": ["x", text, "y"], "m": text, "z": "last"}
    try:
        body = fill(around, V=value)
    except Terminal:
        return
    data = body.pop("data")
    assert body == {name: part for name, part in object_of({}).items() if name != "data"}
    assert (list(data), data["b"], data["z"]) == (["b", "l", "m", "z"], {"c": "first"}, "last")
    assert (len(data["l"]), data["l"][0], data["l"][2], data["l"][1]) == (3, "x", "y", data["m"])


@given(VALUES)
def test_whatever_a_key_becomes_the_others_stay(value):
    around = {"b": "first", "k${V}": {"x": "inner"}, "z": "last"}
    try:
        data = fill(around, V=value)["data"]
    except Terminal:
        return
    (key,) = data.keys() - {"b", "z"}
    assert data == {"b": "first", key: {"x": "inner"}, "z": "last"}


@given(st.text().map(lambda text: text.replace("$", "")), st.text(max_size=5))
def test_what_is_written_is_read_back_as_it_was(text, more):
    text = f"{text}$ {more}"
    for form in (f"k: {written.value(text)}", f"- {written.value(text)}", f"{written.key(text)}: k"):
        try:
            data = form.encode()
        except UnicodeEncodeError:
            return
        (document,) = load(data, "", dialect="kubernetes")
        assert document.value in ({"k": text}, [text], {text: "k"})


def test_very_long_values_are_taken_and_what_explodes_is_not():
    assert len(filled("x${V}", "y" * 2_000_000)) == 2_000_001
    with pytest.raises(Terminal, match="become more than 67,108,864 characters"):
        fill({str(n): "${V}" for n in range(80)}, V="y" * 1_000_000)


def test_objects_without_expressions_and_those_that_opted_out_stay_as_they_are():
    assert fill({"a": "$x $"})["data"] == {"a": "$x $"}
    for field in ("labels", "annotations"):
        for word in ("disabled", "Disabled"):
            metadata = {field: {"kustomize.toolkit.fluxcd.io/substitute": word}}
            assert fill({"a": "${V}$$"}, metadata=metadata, V="1")["data"] == {"a": "${V}$$"}
    metadata = {"labels": {"kustomize.toolkit.fluxcd.io/substitute": "enabled"}}
    assert fill({"a": "${V}$$"}, metadata=metadata, V="1")["data"] == {"a": "1$"}


def test_an_unset_variable_is_an_error_that_names_it_the_object_and_the_line_in_strict_mode_only():
    assert fill({"a": ["${V}"]})["data"] == {"a": [None]}
    with pytest.raises(Terminal) as error:
        fill({"x.y": {"a": ["${V}"]}}, strict=True)
    assert str(error.value) == (
        "app/c.yaml:7: ConfigMap/apps/c: data['x.y'].a[0]: variable not set: V (strict mode); give it a value in "
        "spec.postBuild or a default, ${V:=…}, or write $${V} if it is not meant for us"
    )


def test_a_broken_expression_is_told_with_its_place():
    with pytest.raises(Terminal, match=r"app/c.yaml:7: ConfigMap/apps/c: data.a: missing closing brace"):
        fill({"a": "${V"})


def test_later_sources_win_and_the_spec_wins_over_all_and_what_is_given_over_that():
    post_build = PostBuild(substitute={"c": "spec", "d": "spec"})
    found = [
        Found("ConfigMap one", {"a": "1", "b": "1\n\n2\n"}),
        Found("Secret two", {"b": b"2\n", "c": b"2", "x": b"\xff", "y": b"\xff"}, confidential=True),
        Found("ConfigMap three", {"y": "3"}),
    ]
    variables = collected(post_build, found, strict=False, given={"d": "given"})
    assert variables.values == {"a": "1", "b": "2", "c": "spec", "d": "given", "y": "3"}
    assert (variables.confidential, variables.unreadable) == ({"b", "x"}, {"x"})
    assert "spec" not in repr(variables)


def test_an_entry_that_is_no_text_is_an_error_only_where_it_is_used():
    variables = collected(None, [Found("Secret s", {"x": b"\xff", "y": b"1"}, confidential=True)])
    (found,) = substituted([Manifest(object_of({"a": "${y}"}), Origin("f"))], variables)
    assert found.body["data"] == {"a": 1}
    with pytest.raises(Terminal, match=r"variable not set: x: its value is not UTF-8"):
        substituted([Manifest(object_of({"a": "${x}"}), Origin("f"))], variables)


@pytest.mark.parametrize("name", ["a.b", "a-b", "1a", "", "é", "a\n"])
def test_a_name_that_no_variable_can_have_is_an_error(name):
    with pytest.raises(Terminal, match=r"ConfigMap apps/vars: .* cannot be the name of a variable"):
        collected(None, [Found("ConfigMap apps/vars", {"ok": "1", name: "1"})])


def test_too_much_is_an_error():
    with pytest.raises(Terminal, match="at most 8,388,608 are taken"):
        collected(PostBuild(substitute={"a": "x" * (9 << 20)}))


def test_the_digest_moves_with_every_value_and_with_the_mode():
    def digest(strict=True, **values):
        return collected(PostBuild(substitute=values), strict=strict).digest

    assert digest(a="1") == digest(a="1")
    assert len({digest(), digest(a="1"), digest(a="2"), digest(b="1"), digest(a="1", strict=False)}) == 5
    assert digest(a="bc") != digest(ab="c")


async def test_what_is_kept_of_a_build_has_no_values(artifact, kustomize, store, tmp_path):
    from trimtab.render.render import Renderer

    files = artifact(
        {
            "kustomization.yaml": "namePrefix: p-\nresources: [a.yaml]",
            "a.yaml": config_map("a") + "data: {a: '${V}'}\n",
        }
    )
    renderer = Renderer(store, kustomize, tmp_path / "work")
    for value in ("hunter-two-canary", "another-canary"):
        rendered = await renderer.render(files, "", Options(), Variables({"V": value}))
        assert [one.body["data"] for one in rendered.manifests] == [{"a": value}]
    plain = await renderer.render(files, "", Options())
    assert plain.manifests[0].body["data"] == {"a": "${V}"}
    kept = [path.read_bytes() for path in (*tmp_path.rglob("*"), *store.root.rglob("*")) if path.is_file()]
    assert kept
    assert not any(b"canary" in data for data in kept)
    assert json.loads(json.dumps(plain.manifests[0].body))


def test_what_a_value_of_a_secret_went_into_is_secret_itself():
    """Also where the value was cut or changed on the way, so that nobody could find it again."""
    variables = Variables({"pw": "correct horse", "n": "x"}, confidential=frozenset({"pw"}))
    texts = ("${pw}", "${pw:0:4}", "${pw^^}", "${n}", "${none:=${pw}}", "plain")
    manifests = [
        Manifest({**object_of({"a": text}), "metadata": {"name": f"m{place}"}}, Origin("f"))
        for place, text in enumerate(texts)
    ]
    _, secret = substitution.filled(manifests, variables)
    assert {ref.name for ref in secret} == {"m0", "m1", "m2", "m4"}
    _, secret = substitution.filled(manifests, variables, {manifests[5].ref})
    assert {ref.name for ref in secret} == {"m0", "m1", "m2", "m4", "m5"}
