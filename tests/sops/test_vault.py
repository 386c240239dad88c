"""Vault and OpenBao, by a double that hvac and the real sops take for one: who is asked, with what, and who is not."""

import base64
import os
import subprocess

import hvac
import pytest

from tests.remotes.listener import Listener
from tests.sops.conftest import FIXTURES
from tests.sops.make_fixtures import VAULT
from tests.sops.vault_double import TOKEN
from trimtab.manifests.yaml import load
from trimtab.sops.errors import BadKeys, NoKey
from trimtab.sops.formats import Format
from trimtab.sops.keyring import Keyring
from trimtab.sops.metadata import Wrapped
from trimtab.sops.opening import open_file
from trimtab.sops.vault import ADDRESS, NAMESPACE, Vault
from trimtab.sops.vault import TOKEN as TOKEN_ENTRY

SEALED = (FIXTURES / "keyed" / "vault.yaml").read_bytes()


def entries(*addresses, token=TOKEN, **more):
    return {TOKEN_ENTRY: f"{token}\n".encode(), ADDRESS: "\n".join(addresses).encode(), **more}


def ring(out, held):
    service = Vault.of(out, held)
    return Keyring.of(held, {"hc_vault": service} if service else {})


def at(address: str) -> bytes:
    """The fixture, as if it had been encrypted at `address`; the sops block is not under the MAC."""
    return SEALED.replace(VAULT.encode(), address.encode())


async def refusal(data, keys):
    with pytest.raises(NoKey) as refused:
        await open_file(data, "secret.yaml", Format.YAML, keys)
    assert TOKEN not in str(refused.value)
    return refused.value


def test_hvac_takes_the_double_for_a_vault(vault):
    client = hvac.Client(url=vault.address, token=TOKEN)
    assert client.is_authenticated()
    client.secrets.transit.create_key("any")
    plain = base64.b64encode(b"the plain text").decode()
    sealed = client.secrets.transit.encrypt_data("any", plain)["data"]["ciphertext"]
    assert client.secrets.transit.decrypt_data("any", sealed)["data"]["plaintext"] == plain
    with pytest.raises(hvac.exceptions.InvalidRequest):
        client.secrets.transit.decrypt_data("another", sealed)
    assert client.auth.kubernetes.login("ns_name", "a.b.c")["auth"]["client_token"]
    with pytest.raises(hvac.exceptions.Forbidden):
        hvac.Client(url=vault.address, token="wrong").secrets.transit.decrypt_data("any", sealed)


async def test_what_hvac_encrypts_is_opened(vault, out):
    client = hvac.Client(url=vault.address, token=TOKEN)
    sealed = client.secrets.transit.encrypt_data("any", base64.b64encode(b"k" * 32).decode())["data"]["ciphertext"]
    details = {"vault_address": vault.address, "engine_path": "transit", "key_name": "any"}
    service = Vault.of(out, entries(vault.address))
    assert service
    assert await service.unlock(Wrapped("hc_vault", "any", sealed, details)) == b"k" * 32


async def test_a_file_of_the_real_sops_is_opened_by_the_token_of_the_secret(vault, out):
    opened = await open_file(at(vault.address), "x.yaml", Format.YAML, ring(out, entries(vault.address)))
    wanted = (FIXTURES / "keyed" / "opened-vault.yaml").read_bytes()
    assert [one.value for one in load(opened, "x")] == [one.value for one in load(wanted, "x")]
    [(path, headers, body)] = vault.asked
    assert path == "transit/decrypt/fixtures"
    assert headers["X-Vault-Token"] == TOKEN
    assert [*body] == ["ciphertext"]


async def test_the_real_sops_and_we_agree_on_a_vault(vault, out, sops, tmp_path):
    plain = tmp_path / "plain.yaml"
    plain.write_text("a: secret\n")
    key = f"{vault.address}/v1/some/engine/keys/mine"
    done = subprocess.run(
        [sops, "encrypt", "--hc-vault-transit", key, plain],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "VAULT_TOKEN": TOKEN},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    opened = await open_file(done.stdout, "x.yaml", Format.YAML, ring(out, entries(vault.address)))
    assert opened == b"a: secret\n"


async def test_a_namespace_goes_along(vault, out):
    vault.namespace = "team/one"
    held = entries(vault.address, **{NAMESPACE: b"team/one"})
    assert await open_file(at(vault.address), "x.yaml", Format.YAML, ring(out, held))
    assert "404" in str(await refusal(at(vault.address), ring(out, entries(vault.address))))


@pytest.mark.parametrize(
    "address",
    [
        "https://attacker.example.com",
        "http://169.254.169.254",
        "http://127.0.0.1:1",
        "http://127.0.0.1:8200@attacker.example.com",
        "https://127.0.0.1:8200/v1/../../x?",
        "file:///etc/passwd",
        "gopher://x",
        "",
        "http://[::1",
    ],
)
async def test_a_file_cannot_say_where_the_token_goes(vault, out, address):
    failure = await refusal(at(address), ring(out, entries("http://127.0.0.1:8200")))
    assert failure.hopeless
    assert not vault.asked


async def test_a_metadata_service_is_never_asked_even_if_it_is_listed(out):
    failure = await refusal(at("http://169.254.169.254"), ring(out, entries("http://169.254.169.254")))
    assert "never contacted" in str(failure)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("engine_path: transit", "engine_path: ../sys"),
        ("key_name: fixtures", "key_name: ../../auth/token"),
        ("key_name: fixtures", "key_name: x?y"),
        ("key_name: fixtures", "key_name: [x]"),
    ],
)
async def test_a_file_cannot_lead_to_other_paths(vault, out, field, value):
    data = at(vault.address).replace(field.encode(), value.encode())
    assert data != at(vault.address)
    with pytest.raises(Exception, match="cannot be decrypted"):
        await open_file(data, "x.yaml", Format.YAML, ring(out, entries(vault.address)))
    assert not vault.asked


async def test_a_refusal_is_told_in_the_words_of_the_vault_and_without_the_token(vault, out):
    failure = await refusal(at(vault.address), ring(out, entries(vault.address, token="wrong")))
    assert "answers 403: permission denied" in str(failure)
    assert "wrong" not in str(failure).replace("wrong key", "")
    assert failure.hopeless


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_vault_that_is_sealed_or_busy_is_asked_again(vault, out, status):
    vault.answer = (status, {"errors": ["Vault is sealed"]})
    failure = await refusal(at(vault.address), ring(out, entries(vault.address)))
    assert not failure.hopeless


async def test_a_vault_that_is_away_is_asked_again(out):
    listener = Listener()
    listener.close()
    address = f"http://127.0.0.1:{listener.port}"
    failure = await refusal(at(address), ring(out, entries(address)))
    assert not failure.hopeless


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"data": None},
        {"data": {}},
        {"data": {"plaintext": 7}},
        {"data": {"plaintext": "!"}},
        {"data": {"plaintext": "AAAA"}},
    ],
)
async def test_an_odd_answer_opens_nothing(vault, out, answer):
    vault.answer = (200, answer)
    with pytest.raises(Exception, match="cannot be decrypted"):
        await open_file(at(vault.address), "x.yaml", Format.YAML, ring(out, entries(vault.address)))


async def test_a_redirect_is_not_followed(vault, out):
    vault.answer = (307, {})
    assert "307" in str(await refusal(at(vault.address), ring(out, entries(vault.address))))


async def test_without_a_token_nobody_is_asked(vault, out):
    failure = await refusal(at(vault.address), ring(out, {ADDRESS: vault.address.encode()}))
    assert "sops.vault-token" in str(failure)
    assert not vault.asked


@pytest.mark.parametrize(
    ("held", "told"),
    [
        ({TOKEN_ENTRY: b""}, "empty"),
        ({TOKEN_ENTRY: b"a b"}, "cannot be sent"),
        ({TOKEN_ENTRY: b"a\r\nX-Evil: 1"}, "cannot be sent"),
        ({TOKEN_ENTRY: b"t", ADDRESS: b"vault.example.com"}, ADDRESS),
        ({TOKEN_ENTRY: b"t", ADDRESS: b"https://u:p@vault.example.com"}, ADDRESS),
        ({TOKEN_ENTRY: b"t", ADDRESS: b"https://vault.example.com/v1"}, ADDRESS),
        ({TOKEN_ENTRY: b"t", NAMESPACE: b"a\nb"}, NAMESPACE),
    ],
)
def test_bad_entries_are_told_by_name(out, held, told):
    with pytest.raises(BadKeys, match=told):
        Vault.of(out, held)


async def test_a_vault_behind_a_certificate_of_its_own_is_trusted_by_the_bundle_of_the_secret(out, certified):
    double, ca = certified
    held = entries(double.address)
    assert "certificate" in str(await refusal(at(double.address), ring(out, held))).lower()
    assert await open_file(at(double.address), "x.yaml", Format.YAML, ring(out, {**held, "ca.crt": ca}))
    assert "ca.crt" in str(await refusal(at(double.address), ring(out, {**held, "ca.crt": b"not a certificate"})))
