"""Whole files: what the real sops encrypts is opened to what the real sops makes of it."""

import pytest

from trimtab.manifests.yaml import load
from trimtab.sops import opening
from trimtab.sops.formats import Format, detected, of_path
from trimtab.sops.keyring import Keyring
from trimtab.sops.opening import open_file, prove

from .conftest import FIXTURES, KEYS, keyring

EXACT = ["values.json", "registry.dockerconfigjson", "values.env", "values.ini", "blob.bin", "stream.yaml"]
RULES = sorted(path.name for path in (FIXTURES / "rules").glob("*.yaml") if not path.name.startswith("opened-"))
KEYED = {
    "age.yaml": "age.agekey",
    "age-second.yaml": "age.agekey",
    "hybrid.yaml": "hybrid.agekey",
    "ssh-ed25519.yaml": "ssh-ed25519.agekey",
    "ssh-rsa.yaml": "ssh-rsa.agekey",
    "rsa.yaml": "rsa.asc",
    "cv25519.yaml": "cv25519.asc",
    "nistp256.yaml": "nistp256.asc",
}


def trees(data: bytes) -> list:
    return [document.value for document in load(data, "x")]


@pytest.mark.parametrize("name", EXACT)
async def test_a_file_is_opened_to_the_very_bytes_that_sops_writes(name, age):
    sealed, wanted = ((FIXTURES / "formats" / file).read_bytes() for file in (name, f"opened-{name}"))
    assert await open_file(sealed, name, of_path(name), age) == wanted


async def test_yaml_keeps_values_types_order_and_comments(age, monkeypatch):
    monkeypatch.delattr(opening.yamltext, "to_yaml")  # it is opened in its own text, not written anew
    sealed, wanted = ((FIXTURES / "formats" / file).read_bytes() for file in ("values.yaml", "opened-values.yaml"))
    opened = await open_file(sealed, "values.yaml", Format.YAML, age)
    assert opened == wanted
    [tree] = trees(opened)
    assert [*tree] == [*trees((FIXTURES / "plain" / "values.yaml").read_bytes())[0]]
    assert (tree["digits"], tree["truth"], tree["day"], tree["number"]) == ("0123", "true", "2024-01-01", 42)
    assert b"# between the items" in opened


@pytest.mark.parametrize("wrong", [None, "evil: true\n", "a: [", "string: plain text\n"])
async def test_where_the_text_cannot_be_kept_the_proven_tree_is_written_anew(age, monkeypatch, wrong):
    monkeypatch.setattr(opening.yamltext, "_edited", lambda *_: wrong)
    sealed, wanted = ((FIXTURES / "formats" / file).read_bytes() for file in ("values.yaml", "opened-values.yaml"))
    assert trees(await open_file(sealed, "values.yaml", Format.YAML, age)) == trees(wanted)


@pytest.mark.parametrize("change", [lambda data: b"\xef\xbb\xbf" + data, lambda data: data.replace(b"\n", b"\r\n")])
async def test_marks_and_line_ends_of_other_systems_change_no_value(age, change):
    sealed, wanted = ((FIXTURES / "formats" / file).read_bytes() for file in ("values.yaml", "opened-values.yaml"))
    assert trees(await open_file(change(sealed), "values.yaml", Format.YAML, age)) == trees(wanted)


@pytest.mark.parametrize("name", RULES)
async def test_every_rule_of_what_is_encrypted_is_followed(name, age):
    sealed, wanted = ((FIXTURES / "rules" / file).read_bytes() for file in (name, f"opened-{name}"))
    assert trees(await open_file(sealed, name, Format.YAML, age)) == trees(wanted)


@pytest.mark.parametrize(("name", "key"), KEYED.items())
async def test_every_kind_of_key_opens_what_was_encrypted_for_it(name, key):
    sealed, wanted = ((FIXTURES / "keyed" / file).read_bytes() for file in (name, f"opened-{name}"))
    assert trees(await open_file(sealed, name, Format.YAML, keyring(key))) == trees(wanted)


@pytest.mark.parametrize(
    "keys", [("age.agekey", "other.agekey"), ("rsa.asc", "age.agekey"), ("other.agekey", "rsa.asc")]
)
async def test_two_of_three_groups_of_keys_open_a_shared_file(keys):
    sealed = (FIXTURES / "keyed" / "groups.yaml").read_bytes()
    wanted = (FIXTURES / "keyed" / "opened-groups.yaml").read_bytes()
    assert trees(await open_file(sealed, "groups.yaml", Format.YAML, keyring(*keys))) == trees(wanted)


async def test_documents_that_were_encrypted_apart_are_proven_apart(age):
    folder = FIXTURES / "keyed"
    joined = (folder / "age.yaml").read_bytes() + b"---\n" + (folder / "age-second.yaml").read_bytes()
    plain = b"---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: plain\n"
    assert len(await prove(joined + plain, "joined.yaml", Format.YAML, age)) == 2


async def test_what_was_built_of_a_proven_file_is_opened_and_loses_its_sops_block(age):
    data = (FIXTURES / "rules" / "encrypted-regex.yaml").read_bytes()
    [proven] = await prove(data, "secret.yaml", Format.YAML, age)
    [body] = trees(data)
    body["metadata"]["namespace"] = "added"
    opened = proven.open(body)
    assert "sops" not in opened
    assert opened["stringData"]["password"] == "correct horse battery staple"
    assert opened["metadata"] == {"name": "database", "labels": {"tier": "data"}, "namespace": "added"}
    assert body["stringData"]["password"].startswith("ENC[")


def test_formats_are_told_by_name_and_by_mark():
    names = ["a.yaml", "a.yml", "a.json", ".dockerconfigjson", "a.ini", "a.env", "a.txt", "a"]
    yaml, json = Format.YAML, Format.JSON
    assert [of_path(name) for name in names] == [
        *(yaml, yaml, json, json),
        *(Format.INI, Format.DOTENV, Format.BINARY, Format.BINARY),
    ]
    marks = {name: detected((FIXTURES / "formats" / name).read_bytes()) for name in EXACT}
    assert [*marks.values()] == [json, json, Format.DOTENV, Format.INI, json, yaml]
    assert detected(b"mac: not encrypted") is None
    assert detected(b"[sops]\nis a band") is None


async def test_nothing_of_a_keyring_shows_in_its_words(age):
    assert "AGE-SECRET" not in repr(age)
    assert "PRIVATE" not in repr(keyring("rsa.asc", "ssh-rsa.agekey"))
    assert Keyring.of({"a.agekey": (KEYS / "age.agekey").read_bytes()}).digest != age.digest
