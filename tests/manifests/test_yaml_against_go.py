"""Our reading of YAML against that of the programs whose place we take: zero differences.

Scalars go through in one document each way, since both programs are processes; documents that ought to be refused go
one by one.
"""

import json
import subprocess

import pytest

from trimtab.manifests import codec
from trimtab.manifests.yaml import YamlError, load, manifests_of

from .corpus import KEYS, VALUES

HEAD = "apiVersion: example.com/v1\nkind: Widget\nmetadata:\n  name: x\nspec:\n"


def readable(scalar, dialect):
    """Only what both sides read goes into the common document; what is refused is tested one by one."""
    try:
        load(f"{HEAD}  k: {scalar}\n".encode(), "f", dialect=dialect)
    except YamlError:
        return False
    return True


def kustomized(binary, folder, text):
    """What `kustomize build` makes of a resource, or None where it refuses it; read by the API server's rules."""
    folder.mkdir(exist_ok=True)
    (folder / "resource.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    (folder / "kustomization.yaml").write_text("resources: [resource.yaml]\n")
    done = subprocess.run([binary, "build", folder], capture_output=True, check=False, timeout=60)
    if done.returncode:
        return None
    return [document.value for document in load(done.stdout, "kustomize", dialect="kubernetes")]


def labelled(binary, folder, text):
    """What kubectl reads, or None where it refuses."""
    folder.mkdir(exist_ok=True)
    file = folder / "object.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = subprocess.run(
        [binary, "label", "--local", "-o", "json", "-f", file, "x-=", "--kubeconfig=/dev/null"],
        capture_output=True,
        check=False,
        timeout=60,
    )
    if done.returncode:
        return None
    return json.loads(done.stdout)


def same(one, other):
    """Equal, and 1.0 is 1, but True is not."""
    return codec.canonical(floats(one)) == codec.canonical(floats(other))


def floats(value):
    if isinstance(value, dict):
        return {key: floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [floats(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 63:
        return float(value)
    return value


def differences(ours, theirs):
    assert ours.keys() == theirs.keys()
    return {key: (ours[key], theirs[key]) for key in ours if not same(ours[key], theirs[key])}


def test_the_corpus_is_big_enough():
    assert len(VALUES) >= 500


def test_kustomize_reads_every_scalar_as_we_do(kustomize, tmp_path):
    text = HEAD + "".join(
        f"  k{number}: {scalar}\n" for number, scalar in enumerate(VALUES) if readable(scalar, "kustomize")
    )
    theirs = kustomized(kustomize, tmp_path / "k", text)
    assert theirs is not None
    ours = load(text.encode(), "f")[0].value
    found = differences(ours["spec"], theirs[0]["spec"])
    assert {VALUES[int(key[1:])]: pair for key, pair in found.items()} == {}


def test_kubectl_reads_every_scalar_as_we_do(kubectl, tmp_path):
    text = HEAD + "".join(
        f"  k{number}: {scalar}\n" for number, scalar in enumerate(VALUES) if readable(scalar, "kubernetes")
    )
    theirs = labelled(kubectl, tmp_path / "k", text)
    assert theirs is not None
    ours = load(text.encode(), "f", dialect="kubernetes")[0].value
    found = differences(ours["spec"], theirs["spec"])
    assert {VALUES[int(key[1:])]: pair for key, pair in found.items()} == {}


@pytest.mark.parametrize("scalar", [scalar for scalar in VALUES if not readable(scalar, "kustomize")])
def test_what_we_refuse_kustomize_refuses(kustomize, tmp_path, scalar):
    assert kustomized(kustomize, tmp_path / "k", f"{HEAD}  k: {scalar}\n") is None


@pytest.mark.parametrize("scalar", [scalar for scalar in VALUES if not readable(scalar, "kubernetes")])
def test_what_we_refuse_kubectl_refuses(kubectl, tmp_path, scalar):
    assert labelled(kubectl, tmp_path / "k", f"{HEAD}  k: {scalar}\n") is None


def test_kubectl_names_keys_as_we_do(kubectl, tmp_path):
    text = HEAD + "".join(f"  k{number}: {{{key}: 1}}\n" for number, key in enumerate(KEYS))
    theirs = labelled(kubectl, tmp_path / "k", text)
    ours = load(text.encode(), "f", dialect="kubernetes")[0].value
    assert theirs is not None
    assert differences(ours["spec"], theirs["spec"]) == {}


def widget(name, rest=""):
    return f"apiVersion: example.com/v1\nkind: Widget\nmetadata: {{name: {name}}}\n{rest}"


STREAMS = {
    "two documents": f"{widget('a')}---\n{widget('b')}",
    "a marker first": f"---\n{widget('a')}",
    "an empty list as a document": f"[]\n---\n{widget('a')}",
    "empty documents": f"---\n---\n# nothing\n---\n{widget('a')}---\n\n---\n~\n---\nnull\n---\n{{}}\n",
    "a comment at the marker": f"{widget('a')}--- # second\n{widget('b')}",
    "blanks at the marker": f"{widget('a')}---  \t\n{widget('b')}",
    "an end": f"{widget('a')}...\n",
    "an end and another": f"{widget('a')}...\n---\n{widget('b')}",
    "a marker last": f"{widget('a')}---",
    "no newline at the end": widget("a").rstrip(),
    "windows": f"{widget('a')}---\n{widget('b', 'spec: {x: |}')}".replace("\n", "\r\n").replace("{x: |}", '"\r\n  x"'),
    "windows and a literal": (widget("a", "spec:\n  text: |\n    one\n    two\n") + "---\n" + widget("b")).replace(
        "\n", "\r\n"
    ),
    "a byte order mark": "\ufeff" + widget("a"),
    "comments everywhere": f"# top\n{widget('a', '# tail')}\n---\n# head\n{widget('b')}# end\n",
    "a literal before the marker": f"{widget('a', 'spec: |+')}\n  x\n\n---\n{widget('b', 'spec: |')}\n  y\n",
    "a list": "apiVersion: v1\nkind: List\nitems:\n"
    "- {apiVersion: example.com/v1, kind: Widget, metadata: {name: a}}\n"
    "- {apiVersion: example.com/v1, kind: Widget, metadata: {name: b}}\n",
    "a list of a kind": "apiVersion: example.com/v1\nkind: WidgetList\nitems:\n"
    "- {apiVersion: example.com/v1, kind: Widget, metadata: {name: a}}\n",
    "a list without items": "apiVersion: example.com/v1\nkind: AllowList\nmetadata: {name: a}\nspec: {}\n",
    "an empty list": f"apiVersion: v1\nkind: List\nitems: []\n---\n{widget('a')}",
    "a list with no items": f"apiVersion: v1\nkind: List\nitems:\n---\n{widget('a')}",
    "json": json.dumps(
        {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": {"a": [1.5]}}, indent=2
    ),
    "json in tabs": json.dumps(
        {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}}, indent="\t"
    ),
    "anchors in two documents": f"{widget('a', 'spec: &x 1')}\n---\n{widget('b', 'spec: [&x 2, *x]')}\n",
    "keys of other kinds, quoted": widget("a", 'spec: {"1": a, "true": b, "null": c, "y": d, yes: e, n: f}'),
    "a merge before and after": widget("a", "x: &x {p: 1, q: 2}\ny: {p: 3, <<: *x}\nz: {<<: *x, q: 4}\n"),
}


@pytest.mark.parametrize("name", STREAMS)
def test_kustomize_reads_streams_as_we_do(kustomize, tmp_path, name):
    text = STREAMS[name].encode()
    theirs = kustomized(kustomize, tmp_path / "k", text)
    assert theirs is not None
    ours = [manifest.body for manifest in manifests_of(load(text, "f"))]
    named = sorted(ours, key=lambda body: body["metadata"]["name"])
    assert same(named, sorted(theirs, key=lambda body: body["metadata"]["name"]))


REFUSED = {
    "duplicate keys": widget("a", "spec: {x: 1, x: 2}"),
    "equal keys in other quotes": widget("a", 'spec: {x: 1, "x": 2}'),
    "a number as a key": widget("a", "spec: {1: a}"),
    "a boolean as a key": widget("a", "spec: {true: a}"),
    "nothing as a key": widget("a", "spec: {~: a}"),
    "a date as a key": widget("a", "spec: {2001-01-01: a}"),
    "a list as a key": widget("a", "spec: {[a]: b}"),
    "a map as a key": widget("a", "spec: {{a: b}: c}"),
    "not a number": widget("a", "spec: .nan"),
    "infinity": widget("a", "spec: -.inf"),
    "an unknown anchor": widget("a", "spec: *x"),
    "two merges": widget("a", "x: &x {p: 1}\ny: {<<: *x, <<: *x}\n"),
    "a merge of a string": widget("a", "y: {<<: x}\n"),
    "a merge of nothing": widget("a", "y: {<<: }\n"),
    "a merge of strings": widget("a", "y: {<<: [x]}\n"),
    "text after the marker": f"{widget('a')}--- {{a: b}}\n",
    "a marker that is none": f"{widget('a')}---x\n",
    "a directive": f"%YAML 1.1\n---\n{widget('a')}",
    "a tab for indentation": widget("a", "spec:\n\ta: b\n"),
    "a colon too many": widget("a", "spec: a: b\n"),
    "an open quote": widget("a", "spec: 'a\n"),
    "an open list": widget("a", "spec: [a\n"),
    "a control character": widget("a", "spec: a\x01\n"),
    "a null byte": widget("a", "spec: a\0\n"),
    "an unindented list item": widget("a", "spec:\n  a: b\n - c\n"),
    "half a surrogate pair": widget("a", 'spec: "\\ud800"\n'),
    "a surrogate pair": widget("a", 'spec: "\\ud83d\\ude00"\n'),
    "tag and value that disagree": widget("a", "spec: !!int x\n"),
    "bad base64": widget("a", "spec: !!binary $\n"),
    "no name": "apiVersion: v1\nkind: Widget\nmetadata: {}\n",
    "no kind": "apiVersion: v1\nmetadata: {name: a}\n",
    "a string": "hello\n",
    "a list of lists": "[[]]\n",
    "an item that is a string": "apiVersion: v1\nkind: List\nitems: [a]\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_kustomize_refuses_we_refuse(kustomize, tmp_path, name):
    text = REFUSED[name].encode()
    assert kustomized(kustomize, tmp_path / "k", text) is None
    with pytest.raises(YamlError, match=r"^f:\d+:\d+: "):
        manifests_of(load(text, "f"))
