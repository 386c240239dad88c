"""What was changed, what has no proof, and what is for others, is not opened; and no message holds a value."""

import base64
import json
import random
import re

import pytest

from trimtab.sops.errors import BadKeys, Damaged, NoKey, Undecryptable
from trimtab.sops.formats import MAX_BYTES, Format, of_path
from trimtab.sops.keyring import Keyring
from trimtab.sops.metadata import Metadata
from trimtab.sops.opening import open_file
from trimtab.sops.shamir import combine

from .conftest import FIXTURES, KEYS, keyring

FORMATS = ["values.yaml", "values.json", "values.env", "values.ini", "blob.bin", "stream.yaml"]
SEALED = re.compile(rb"ENC\[AES256_GCM,data:([^,]+),iv:([^,]+),tag:([^,]+),type:(\w+)\]")
SECRET = "correct horse"


def fixture(path: str) -> bytes:
    return (FIXTURES / path).read_bytes()


async def refusal(data: bytes, keys: Keyring, name: str = "apps/secret.yaml") -> str:
    with pytest.raises((Undecryptable, NoKey)) as refused:
        await open_file(data, name, of_path(name), keys)
    said = str(refused.value)
    assert said.startswith(f"{name} cannot be decrypted: ")
    assert "ENC[" not in said
    assert SECRET not in said
    return said


@pytest.mark.parametrize("name", FORMATS)
async def test_every_changed_part_of_every_value_is_noticed(name, age):
    data = fixture(f"formats/{name}")
    for match in SEALED.finditer(data):
        if match[4] == b"comment":
            continue  # the MAC is not over comments
        for part in (1, 2, 3):
            at = match.start(part)
            changed = data[:at] + (b"B" if data[at : at + 1] == b"A" else b"A") + data[at + 1 :]
            said = await refusal(changed, age, name)
            assert "changed" in said or "encrypted together" in said


async def test_a_value_under_another_type_is_noticed(age):
    data = fixture("rules/encrypted-regex.yaml")
    assert "its MAC" not in await refusal(data.replace(b"type:str]", b"type:int]", 1), age)
    assert "type" in await refusal(data.replace(b"type:str]", b"type:other]", 1), age)


@pytest.mark.parametrize("text", [b"tier: data", b"kind: Secret", b"name: database"])
async def test_plain_text_beside_encrypted_values_is_proven_too(text, age):
    for name in ("rules/encrypted-regex.yaml", "rules/encrypted-comment-regex.yaml"):
        data = fixture(name)
        assert text in data
        assert "its MAC does not fit" in await refusal(data.replace(text, text + b"x"), age)


async def test_where_a_comment_says_what_is_encrypted_plain_text_cannot_take_its_place(age):
    for name in ("rules/unencrypted-comment-regex.yaml", "rules/encrypted-comment-regex.yaml"):
        data = fixture(name)
        changed = re.sub(SEALED, b"plain", data, count=1)
        assert changed != data
        assert "its MAC does not fit" in await refusal(changed, age)


async def test_where_only_encrypted_values_are_proven_the_others_may_change(age):
    data = fixture("rules/mac-only-encrypted.yaml").replace(b"tier: data", b"tier: other")
    assert b"tier: other" in await open_file(data, "x.yaml", Format.YAML, age)
    match = SEALED.search(data)
    removed = re.sub(rb"\n +password: ENC[^\n]+", b"", data)
    assert match
    assert removed != data
    assert "its MAC does not fit" in await refusal(removed, age)
    said = await refusal(data.replace(b"mac_only_encrypted: true", b"mac_only_encrypted: false"), age)
    assert "its MAC does not fit" in said


async def test_a_value_that_has_to_be_encrypted_and_is_not_is_refused(age):
    data = re.sub(rb"password: ENC[^\n]+", b"password: mine", fixture("rules/encrypted-regex.yaml"))
    said = await refusal(data, age)
    assert "a value that has to be encrypted is not" in said
    assert "stringData.password" in said
    assert "mine" not in said
    assert "not" in await refusal(data.replace(b"password: mine", b"password: 7"), age)


async def test_values_cannot_change_places(age):
    data = fixture("rules/encrypted-regex.yaml")
    swapped = data.replace(b"    password: ", b"    x: ").replace(b"    port: ", b"    password: ")
    assert "moved" in await refusal(swapped.replace(b"    x: ", b"    port: "), age)


async def test_documents_of_a_stream_cannot_be_left_out_or_put_in_another_order(age):
    first, second = fixture("formats/stream.yaml").split(b"\n---\n")
    await refusal(first, age)
    for order in ((second, first), (first, second, second), (first, first)):
        await refusal(b"\n---\n".join(order), age)


@pytest.mark.parametrize("line", [rb"\n +mac: [^\n]+", rb"\n    lastmodified: [^\n]+"])
async def test_a_missing_mac_is_no_excuse(line, age):
    await refusal(re.sub(line, b"", fixture("rules/encrypted-regex.yaml")), age)


async def test_an_empty_a_plain_and_a_foreign_mac_are_refused(age):
    data = fixture("rules/encrypted-regex.yaml")
    foreign = re.search(rb"mac: (ENC[^\n]+)", fixture("rules/unencrypted-regex.yaml"))
    assert foreign
    for mac in (b'""', b"AAAA", b"0" * 128, foreign[1]):
        await refusal(re.sub(rb"mac: ENC[^\n]+", b"mac: " + mac, data), age)
    assert "no MAC" in await refusal(re.sub(rb"mac: ENC[^\n]+", b'mac: ""', data), age)


async def test_the_time_is_bound_to_the_mac(age):
    data = fixture("rules/encrypted-regex.yaml")
    await refusal(re.sub(rb"lastmodified: \"20", b'lastmodified: "19', data), age)


async def test_a_file_without_a_sops_block_is_not_taken_for_an_encrypted_one(age):
    assert "no sops block" in await refusal(b"a: 1", age)
    for name, data in (("x.json", b"{}"), ("x.env", b"A=1\n"), ("x.ini", b"[a]\nb = 1\n"), ("x.bin", b"{}")):
        assert "no sops block" in await refusal(data, age, name)


@pytest.mark.parametrize(
    ("name", "keys", "told"),
    [
        ("age.yaml", ("other.agekey",), "none of the age keys is its"),
        ("age.yaml", ("rsa.asc",), "there is no age key"),
        ("rsa.yaml", ("cv25519.asc",), "none of the OpenPGP keys is its"),
        ("cv25519.yaml", ("nistp256.asc",), "none of the OpenPGP keys is its"),
        ("rsa.yaml", ("age.agekey",), "there is no OpenPGP key"),
        ("hybrid.yaml", ("other-hybrid.agekey",), "none of the age keys is its"),
        ("hybrid.yaml", ("age.agekey",), "none of the age keys is its"),
        ("age.yaml", ("hybrid.agekey",), "none of the age keys is its"),
        ("ssh-ed25519.yaml", ("ssh-rsa.agekey",), "none of the age keys is its"),
    ],
)
async def test_the_key_of_somebody_else_opens_nothing_and_the_right_one_is_named(name, keys, told):
    data = fixture(f"keyed/{name}")
    said = await refusal(data, keyring(*keys))
    assert told in said
    wanted = re.search(rb"(?:recipient|fp): (\S+)", data)
    assert wanted
    assert wanted[1].decode()[:100] in said


@pytest.mark.parametrize(
    ("kind", "entry", "told"),
    [
        ("gcp_kms", {"resource_id": "projects/attacker/locations/x/keyRings/y/cryptoKeys/z"}, "sops.gcp-kms"),
        ("azure_kv", {"vault_url": "https://attacker.example.com", "name": "k", "version": "1"}, "sops.azure-kv"),
        ("hckms", {"key_id": "x"}, "Huawei"),
        ("kms", {"arn": "arn:aws:kms:us-east-1:1:key/x"}, "sops.aws-kms"),
        (
            "hc_vault",
            {"vault_address": "https://x.example.com", "engine_path": "t", "key_name": "k"},
            "sops.vault-token",
        ),
    ],
)
async def test_nobody_is_asked_with_the_identity_of_the_machine(monkeypatch, kind, entry, told):
    for name in (
        "VAULT_TOKEN",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "GOOGLE_CREDENTIALS",
        "GOOGLE_OAUTH_ACCESS_TOKEN",
        "AZURE_TENANT_ID",
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_SECRET",
    ):
        monkeypatch.setenv(name, "ambient")
    block = json.dumps({**BLOCK, "mac": "ENC[x]", kind: [{**entry, "enc": "x", "created_at": "x"}]})
    said = await refusal(f"a: 1\nsops: {block}\n".encode(), Keyring.of({}))
    assert told in said


async def test_a_key_that_fits_is_enough_beside_those_that_nobody_asks(age):
    cloud = b"sops:\n    gcp_kms:\n        - resource_id: projects/x\n          created_at: x\n          enc: x\n"
    data = fixture("rules/encrypted-regex.yaml").replace(b"sops:\n", cloud)
    assert await open_file(data, "x.yaml", Format.YAML, age)


async def test_one_group_of_two_is_not_enough():
    said = await refusal(fixture("keyed/groups.yaml"), keyring("rsa.asc"))
    assert said.count("none of") + said.count("there is no") >= 2


async def test_what_was_locked_for_a_key_may_not_be_damaged(age):
    data = fixture("keyed/age.yaml")
    body = re.search(rb"AGE ENCRYPTED FILE-----\n +(\S{60})", data)
    assert body
    at = body.end(1) + 80
    changed = data[:at] + (b"x" if data[at : at + 1] != b"x" else b"y") + data[at + 1 :]
    await refusal(changed, age)
    pgp = fixture("keyed/rsa.yaml")
    lines = pgp.split(b"\n")
    at = next(number for number, line in enumerate(lines) if b"-----END PGP" in line)
    lines[at - 3] = lines[at - 3][:-4] + bytes(reversed(lines[at - 3][-4:]))
    await refusal(b"\n".join(lines), keyring("rsa.asc"))


async def test_no_byte_of_what_was_locked_for_a_hybrid_key_may_change():
    data, keys = fixture("keyed/hybrid.yaml"), keyring("hybrid.agekey")
    body = re.search(rb"AGE ENCRYPTED FILE-----\n(.*?)-----END", data, re.DOTALL)
    assert body
    for at in range(body.start(1) + 20, body.end(1), 37):
        if data[at : at + 1].isalnum():
            changed = data[:at] + (b"x" if data[at : at + 1] != b"x" else b"y") + data[at + 1 :]
            await refusal(changed, keys)
    assert await open_file(data, "x.yaml", Format.YAML, keys)


async def test_the_header_of_what_was_locked_for_a_hybrid_key_may_not_change():
    data, keys = fixture("keyed/hybrid.yaml"), keyring("hybrid.agekey")
    body = re.search(rb"(?<=AGE ENCRYPTED FILE-----\n)(.*?)(?= *-----END)", data, re.DOTALL)
    assert body
    whole = base64.b64decode(b"".join(body[0].split()))
    stanza = whole.index(b"\n---")
    line = whole.index(b"--- ") + 4
    other = b"B" if whole[line : line + 1] == b"A" else b"A"
    for changed in (
        whole[:line] + other + whole[line + 1 :],
        whole[:stanza] + b"\n-> grease x\nAAAA" + whole[stanza:],
        whole.replace(b"org/v1\n", b"org/v2\n"),
        whole[:-1],
        whole + b"x",
        whole[:stanza],
    ):
        armored = b"\n".join(b" " * 12 + part for part in base64.encodebytes(changed).split())
        assert await refusal(data[: body.start()] + armored + b"\n" + data[body.end() :], keys)
    same = b"\n".join(b" " * 12 + part for part in base64.encodebytes(whole).split())
    assert await open_file(data[: body.start()] + same + b"\n" + data[body.end() :], "x.yaml", Format.YAML, keys)


def test_a_data_key_of_another_length_is_none():
    with pytest.raises(Damaged, match="data key"):
        combine([b"\1\1", b"\1\1"])


BLOCK = {"lastmodified": "2026-01-01T00:00:00Z", "mac": "ENC[x]", "version": "3.13.3"}
AGE = {"recipient": "age1x", "enc": "x"}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"age": "text"},
        {"age": ["text"]},
        {"age": [AGE] * 201},
        {"key_groups": [{"age": [AGE]}] * 1000},
        {"key_groups": [{"age": [AGE]}], "shamir_threshold": 2},
        {"key_groups": [{"age": [AGE]}] * 2, "shamir_threshold": -1},
        {"age": [AGE], "shamir_threshold": "many"},
        {"age": [AGE], "mac": 7},
        {"age": [AGE], "lastmodified": "yesterday"},
        {"age": [{"recipient": "x" * (1 << 17), "enc": "x"}]},
        {"age": [AGE], "encrypted_regex": "(", "mac": "ENC[x]"},
        {"age": [AGE], "encrypted_regex": "a" * 2000},
        {"age": [AGE], "encrypted_regex": "a", "encrypted_suffix": "b"},
    ],
)
def test_an_odd_sops_block_is_refused(more):
    with pytest.raises(Damaged):
        Metadata.of({**BLOCK, **more})


async def test_a_thousand_groups_cost_nothing(age):
    groups = b"    key_groups:\n" + b"        - age:\n            - {recipient: age1x, enc: x}\n" * 1000
    data = re.sub(rb"    age:\n(?:        [^\n]*\n|$)+", groups, fixture("rules/encrypted-regex.yaml"))
    assert "1000 groups of keys" in await refusal(data, age)


async def test_a_file_that_is_too_large_is_not_read(age):
    data = fixture("rules/encrypted-regex.yaml")
    assert str(MAX_BYTES) in await refusal(data + b"#" * (MAX_BYTES + 1 - len(data)), age)
    assert await open_file(data + b"#" * (MAX_BYTES - len(data)), "x.yaml", Format.YAML, age)


@pytest.mark.parametrize(
    "text",
    [
        b"a: [" * 5000,
        b'{"a":' * 5000,
        b"a: &x 1\nb: *x\nsops: {}",
        b"a: !!python/object:x 1",
        b"%YAML 1.1\n---\na: 1",
        b"a: 1\na: 2",
        b"? [a]\n: 1",
        b"- a",
        b"text",
        b"a: \xff",
        b"a: \x00",
        b"sops: 1",
        b"sops:\n  - 1",
    ],
)
async def test_bad_yaml_is_refused(text, age):
    await refusal(text, age)


@pytest.mark.parametrize(
    "text", [b"", b"[", b"[" * 100_000, b"[]", b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":' + b"1" * 500 + b"}"]
)
async def test_bad_json_is_refused(text, age):
    await refusal(text, age, "x.json")


@pytest.mark.parametrize(
    "text",
    [b"sops_age__list_1__map_enc=x\n", b"sops_age=1\nsops_age__map_x=2\n", b"sops_a__list_x=1\n", b"just text\n"],
)
async def test_a_bad_flat_block_is_refused(text, age):
    await refusal(text + b"sops_mac=ENC[\n", age, "x.env")


@pytest.mark.parametrize(
    ("entry", "content", "told"),
    [
        ("a.agekey", b"", "no key in it"),
        ("a.agekey", b"AGE-SECRET-KEY-1NOTAKEY", "line 1 is not a whole key"),
        ("a.agekey", b"# x\nAGE-SECRET-KEY-PQ-1QQQ", "line 2 is not a whole post-quantum key"),
        ("a.agekey", b"AGE-PLUGIN-YUBIKEY-1QQ", "plugin"),
        ("a.agekey", b"mypassword", "line 1 is not a key of age"),
        ("a.agekey", b"\xff\xfe", "not text"),
        ("a.agekey", b"-----BEGIN OPENSSH PRIVATE KEY-----\nxx\n-----END OPENSSH PRIVATE KEY-----\n", "SSH"),
        ("a.asc", b"", "private key"),
        ("a.asc", b"mypassword", "private key"),
        ("a.asc", b"x" * (2 << 20), "bytes"),
    ],
)
def test_a_bad_key_is_told_by_its_entry_and_never_by_its_content(entry, content, told):
    with pytest.raises(BadKeys, match=told) as refused:
        Keyring.of({entry: content, "other": b"ignored"})
    assert str(refused.value).startswith(entry)
    assert "mypassword" not in str(refused.value)
    assert "NOTAKEY" not in str(refused.value)


def test_a_public_key_alone_is_no_key():
    import pysequoia

    public = bytes(pysequoia.Cert.from_bytes((KEYS / "rsa.asc").read_bytes()))
    with pytest.raises(BadKeys, match="private key"):
        Keyring.of({"a.asc": public})


@pytest.mark.parametrize("name", FORMATS)
async def test_whatever_becomes_of_a_file_it_is_opened_as_it_was_or_refused(name, age):
    whole, chance = fixture(f"formats/{name}"), random.Random(name)
    values = set(VALUE.findall(await open_file(whole, name, of_path(name), age)))
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 5))):
            at = chance.randrange(len(data))
            match chance.randrange(4):
                case 0:
                    data[at] = chance.choice(b"AB[]{}:,#\"'\n -=\\\x00\xff|>&*!%")
                case 1:
                    del data[at : at + chance.randrange(1, 200)]
                case 2:
                    data[at:at] = whole[at : at + chance.randrange(1, 200)]
                case 3:
                    data[at:at] = chance.choice(
                        [b"\n---\n", b"a: &x [*x]\n", b"\xef\xbb\xbf", b"\r\n", b"{{{{", b"- " * 50]
                    )
        try:
            opened = await open_file(bytes(data), name, of_path(name), age)
        except (Undecryptable, NoKey):
            continue
        # The MAC is over values: not over the names of plain ones, nor over comments.
        assert values - set(VALUE.findall(opened)) <= {b"readable_unencrypted", b"nothing", b"none", b"void"} | COMMENTS


VALUE = re.compile(rb"[\w ]{4,}")
COMMENTS = {
    b" the head of it",
    b" the foot of it",
    b" between the items",
    b" about A",
    b" of the section",
    b" of the key",
}
