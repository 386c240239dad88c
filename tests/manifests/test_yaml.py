"""What the loader refuses, how it says so, and that nothing from outside can make it slow or shared."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.base.errors import Terminal
from trimtab.manifests import builder, codec
from trimtab.manifests.refs import Origin, Ref
from trimtab.manifests.yaml import YamlError, load, manifests_of


def refusal(data, *, dialect="kustomize"):
    with pytest.raises(YamlError) as caught:
        load(data if isinstance(data, bytes) else data.encode(), "app/file.yaml", dialect=dialect)
    return str(caught.value)


def value(text, *, dialect="kustomize"):
    (document,) = load(text.encode(), "f", dialect=dialect)
    return document.value


def test_errors_are_terminal_and_name_the_place():
    with pytest.raises(Terminal) as caught:
        load(b"a: 1\nb: [1\nc: 2\n", "app/file.yaml")
    assert caught.value.reason == "BuildFailed"
    assert caught.value.message.startswith("app/file.yaml:3:2: while parsing a flow sequence, ")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: 1\nb: 2\na: 3\n", "app/file.yaml:3:1: duplicate key 'a', first at line 1"),
        (b"x:\n  k: 1\n  j: 2\n  k: 3\n", "app/file.yaml:4:3: duplicate key 'k', first at line 2"),
        (b'{"a": 1,\n "b": {"c": 1, "c": 2}}', "app/file.yaml:2:16: duplicate key 'c', first at line 2"),
        ("a: é".encode("latin-1"), "app/file.yaml:1:4: byte 0xe9 is not UTF-8"),
        ("ü: 1\nb: é".encode() + b"\xff", "app/file.yaml:2:5: byte 0xff is not UTF-8"),
        ("a: 1".encode("utf-16"), "app/file.yaml:1:1: is UTF-16; save it as UTF-8"),
        (b"\xef\xbb\xbfa: 1\n---\n\xef\xbb\xbfb: 1\n", "app/file.yaml:3:1: a second byte order mark"),
        (b"\xef\xbb\xbf\xef\xbb\xbfa: 1\n", "app/file.yaml:1:1: a second byte order mark"),
        (b"a: 1\nb: x\0\n", "app/file.yaml:2:5: control characters are not allowed (#x0000)"),
        ("ä: \x07\n".encode(), "app/file.yaml:1:4: control characters are not allowed (#x0007)"),
        (b"a: .inf", "app/file.yaml:1:4: .inf has no value in JSON"),
        (b"a: &x {b: *x}", "app/file.yaml:1:11: anchor 'x' contains itself"),
        (b"a: *x", "app/file.yaml:1:4: unknown anchor 'x'"),
        (b"a: !ruby/object x", "app/file.yaml:1:4: the tag !ruby/object is not supported here"),
        (b"a: !!python/name:os.system ''", "app/file.yaml:1:4: the tag !!python/name:os.system is not supported here"),
        (b"a: !!set {b: }", "app/file.yaml:1:4: the tag !!set is not supported here"),
        (b"a: ! 1", "app/file.yaml:1:4: the tag ! is not supported here"),
        (b"a: !!int x", "app/file.yaml:1:4: a plain scalar that reads as !!str cannot be tagged !!int"),
        (b"1: a", "app/file.yaml:1:1: the key 1 reads as a number, and keys have to be strings; quote it"),
        (b"{[a]: b}", "app/file.yaml:1:2: a list as a key; keys have to be strings"),
        (b'"<<": {a: b}', "app/file.yaml:1:1: a quoted << as a key"),
        (b"a: 1\n--- {b: 2}\n", "app/file.yaml:2:1: only a comment may follow --- on its line"),
        (b"%YAML 1.2\n---\na: 1\n", "app/file.yaml:1:1: directives"),
    ],
)
def test_refusals(data, message):
    assert refusal(data).startswith(message)


def test_a_value_is_never_quoted_in_an_error():
    assert "hunter2" not in refusal("password: [hunter2, .nan]")
    assert "hunter2" not in refusal("password: !!int hunter2")
    assert "hunter2" not in refusal("password: !!binary hunter2")


def chain(length):
    return "a0: &a0 [x]\n" + "".join(f"a{number}: &a{number} [*a{number - 1}]\n" for number in range(1, length))


def bomb(width, levels):
    lines = ["a0: &a0 [" + ",".join("x" * width) + "]"]
    lines += [f"a{level}: &a{level} [" + ",".join([f"*a{level - 1}"] * width) + "]" for level in range(1, levels)]
    return "\n".join(lines)


def merge_bomb(levels):
    lines = ["a0: &a0 {k: 1}"]
    for level in range(1, levels):
        last = level - 1
        lines.append(f"a{level}: &a{level} {{<<: [*a{last}, *a{last}], x{level}: *a{last}, y{level}: *a{last}}}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("[" * 1_000_000, "more than 200 levels deep"),
        ("[" * 25_000 + "]" * 25_000, "more than 200 levels deep"),
        ("[\n" * 500_000, "more than 200 levels deep"),
        ("{a: " * 250_000, "more than 200 levels deep"),
        ("- " * 500_000, "more than 200 levels deep"),
        ("? " * 500_000, "a map as a key"),
        ("{" * 1_000_000, "a map as a key"),
        ("".join(" " * depth + "a:\n" for depth in range(1_000)), "more than 200 levels deep"),
        (bomb(9, 9), "ten times the file"),
        (bomb(2, 40), "ten times the file"),
        (merge_bomb(22), "ten times the file"),
        ("a: &a " + "x" * 100_000 + "\nb: [" + "*a," * 10_000 + "]", "ten times the file"),
        ("a: &a {" + "k" * 1_000 + ": 1}\nb: [" + "*a," * 10_000 + "]", "ten times the file"),
        (chain(1_000), "more than 200 levels deep, counted through aliases"),
        ("---\n" * 2_000, "more than 1,000 documents"),
        (":" * 1_000_000, "mapping values are not allowed"),
        ("\t" * 1_000_000 + "a", "cannot start any token"),
        ("a" * (10 << 20) + "a", "has 10,485,761 bytes"),
    ],
    ids=lambda text: text[:20],
)
def test_hostile_input_ends_soon(data, message):
    started = time.process_time()
    assert message in refusal(data)
    assert time.process_time() - started < 4, "the target is one second on a quiet machine"


def test_values_are_counted(monkeypatch):
    monkeypatch.setattr(builder, "MAX_NODES", 10_000)
    assert "more than 10,000 values in one file" in refusal("[" + "1," * 10_001 + "]")
    assert load(b"[" + b"1," * 9_999 + b"]", "f")


def test_the_limits_admit_what_stays_below_them():
    assert load(b"[" * 200 + b"]" * 200, "f")
    assert load(b"a: 1\n---\n" * 999 + b"a: 1\n", "f")
    many = value("a: &a {" + ", ".join(f"k{number}: v" for number in range(40)) + "}\nb: [" + "*a, " * 40 + "]")
    assert len(many["b"]) == 40


def test_aliases_are_copies():
    read = value("a: &x {p: {q: [1]}}\nb: *x\nc: {<<: *x}\nd: [*x, *x]\n")
    read["a"]["p"]["q"].append(2)
    assert read["b"] == read["c"] == read["d"][0] == read["d"][1] == {"p": {"q": [1]}}
    read["d"][0]["p"]["q"].clear()
    assert read["d"][1] == read["c"] == {"p": {"q": [1]}}


def test_origins_count_empty_documents_and_skip_comments():
    text = "# head\n---\n---\n# comment\n\na: 1\n---\n~\n--- # next\nb: 2\n"
    assert [document.origin for document in load(text.encode(), "f")] == [Origin("f", 6, 2), Origin("f", 10, 4)]


def test_the_dialects_differ_where_the_programs_do():
    text = "{a: yes, b: y, c: 2001-01-01, d: , e: 1e3}"
    assert value(text) == {"a": "yes", "b": "y", "c": "2001-01-01T00:00:00Z", "d": "", "e": 1000}
    kubernetes = value(text, dialect="kubernetes")
    assert kubernetes == {"a": True, "b": True, "c": "2001-01-01", "d": None, "e": 1000}
    assert value("{on: 1, 1: a, 1.5: b}", dialect="kubernetes") == {"true": 1, "1": "a", "1.5": "b"}


def test_a_merge_gives_way_to_explicit_keys():
    text = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz: {a: 0, <<: [*x, *y], c: 0}\n"
    assert value(text)["z"] == {"a": 0, "b": 1, "c": 0}
    assert value(text, dialect="kubernetes")["z"] == {"a": 1, "b": 1, "c": 0}, "there, what stands before a << yields"


def test_kubernetes_takes_several_merges_in_one_map():
    text = "x: &x {a: 1}\ny: &y {a: 2, b: 2}\nz: {<<: *x, <<: *y}\n"
    assert value(text, dialect="kubernetes")["z"] == {"a": 2, "b": 2}


@pytest.mark.parametrize("dialect", ["kustomize", "kubernetes"])
def test_escaped_slashes_of_json_are_read_though_go_yaml_does_not(dialect):
    assert value('{"a": "b\\/c"}', dialect=dialect) == {"a": "b/c"}


def test_numbers_are_those_the_server_would_hold():
    read = value("[1.0, -0.0, 1e20, 18446744073709551615, 9223372036854775807, 0.1, 1e400]")
    assert read == [1, 0, 1e20, 18446744073709551615.0, 9223372036854775807, 0.1, "1e400"]
    assert [type(item) for item in read] == [int, int, float, float, int, float, str]


def test_folded_scalars_gain_what_kustomize_gives_them():
    text = "a: >-\n  one\n    more\n  two\n"
    assert value(text, dialect="kubernetes")["a"] == "one\n  more\ntwo"
    assert value(text)["a"] == "one\n\n  more\ntwo"


def test_a_stream_of_a_thousand_manifests_is_read_quickly():
    manifest = b"""---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app
  labels: {app.kubernetes.io/name: app, app.kubernetes.io/part-of: shop}
spec:
  replicas: 3
  selector:
    matchLabels: {app: app}
  template:
    metadata:
      labels: {app: app}
    spec:
      containers:
        - name: app
          image: ghcr.io/example/app:1.2.3
          args: ["--verbose", "--port=8080"]
          ports: [{containerPort: 8080, name: http}]
          env:
            - name: MODE
              value: "production"
            - {name: LEVEL, value: info}
          resources:
            requests: {cpu: 100m, memory: 128Mi}
          readinessProbe:
            httpGet: {path: /healthz, port: http}
"""
    started = time.process_time()
    documents = load(manifest * 1_000, "stream")
    assert len(manifests_of(documents)) == 1_000
    assert time.process_time() - started < 2, "the target is 200 ms on a quiet machine"


# YAML knows more line breaks than JSON, and no controls and non-characters outside of escapes.
texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn", "Zl", "Zp"]), max_size=8)
names = texts.filter(lambda name: name != "<<")
plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=4)),
    max_leaves=20,
)


@given(plain.filter(lambda read: read is not None))
def test_json_is_read_as_json(read):
    assert load(codec.encode(read), "f")[0].value == read


@given(st.binary(max_size=60) | st.text("{}[]:,-&*!|>'\"%#?\n\t ab1<~=\r.", max_size=60).map(str.encode))
def test_any_input_gives_documents_or_a_refusal(data):
    for dialect in ("kustomize", "kubernetes"):
        try:
            documents = load(data, "f", dialect=dialect)
        except YamlError:
            continue
        codec.decode(codec.encode([document.value for document in documents]))


def body(name, kind="Widget"):
    return f"{{apiVersion: example.com/v1, kind: {kind}, metadata: {{name: {name}, namespace: shop}}}}"


def refs(text):
    return [(str(manifest.ref), manifest.origin) for manifest in manifests_of(load(text.encode(), "f"))]


def test_lists_are_taken_apart_in_order():
    nested = f"{{apiVersion: v1, kind: List, items: [{body('b')}, {body('c')}]}}"
    text = f"{body('a')}\n---\n{{apiVersion: v1, kind: WidgetList, items: [{nested}, {body('d')}]}}\n---\n{body('e')}\n"
    assert [name for name, _ in refs(text)] == [f"Widget/shop/{name}" for name in "abcde"]
    assert refs(text)[1][1] == Origin("f", 3, 2)


def test_a_kind_may_end_in_list_without_being_one():
    assert refs(body("a", kind="AllowList")) == [("AllowList/shop/a", Origin("f", 1, 1))]


def test_manifests_know_what_they_are():
    (manifest,) = manifests_of(load(body("a").encode(), "f"))
    assert manifest.ref == Ref("example.com", "Widget", "shop", "a")
    assert manifest.gvk.version == "v1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1", "f:1:1: object has no apiVersion"),
        ("apiVersion: v1", "f:1:1: object has no kind"),
        ("apiVersion: v1\nkind: 3", "f:1:1: object has no kind"),
        ("# x\napiVersion: v1\nkind: Widget", "f:2:1: Widget has no metadata.name"),
        ("apiVersion: v1\nkind: Widget\nmetadata: x", "f:1:1: Widget has no metadata.name"),
        ("apiVersion: v1\nkind: Widget\nmetadata: {name: 1}", "f:1:1: Widget has no metadata.name"),
        (
            "apiVersion: v1\nkind: Widget\nmetadata: {name: a, namespace: 1}",
            "f:1:1: Widget a: metadata.namespace is not a string",
        ),
        ("- a", "f:1:1: expected a Kubernetes object, found a list"),
        ("hello", "f:1:1: expected a Kubernetes object, found a string"),
        ("apiVersion: v1\nkind: List\nitems: {a: 1}", "f:1:1: items of a List is not a list"),
        ("apiVersion: v1\nkind: List\nitems: [{}, {a: 1}]", "f:1:1: items[1]: object has no apiVersion"),
    ],
)
def test_what_is_no_object_is_named(text, message):
    with pytest.raises(YamlError) as caught:
        manifests_of(load(text.encode(), "f"))
    assert str(caught.value) == message
