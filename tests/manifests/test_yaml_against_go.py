"""Our reading of YAML against that of the programs whose place we take: zero differences.

Scalars go through in one document each way, since both programs are processes; documents that ought to be refused go
one by one.
"""

import json
import subprocess

import pytest
from corpus import KEYS, VALUES

from trimtab.manifests import codec
from trimtab.manifests.yaml import YamlError, load

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
