"""Azure Key Vault: what it is asked, which vaults see a token, and whose credentials are taken."""

import base64
import json

import pytest

from tests.sops import clouds_double as double
from trimtab.base.clock import SystemClock
from trimtab.sops.azurekv import CREDENTIALS, AzureKeyVault
from trimtab.sops.errors import BadKeys, Locked
from trimtab.sops.metadata import Wrapped

HELD = {"tenantId": double.TENANT, "clientId": double.CLIENT, "clientSecret": double.CLIENT_SECRET}
SENT = base64.urlsafe_b64encode(b"any ciphertext").rstrip(b"=").decode()
VALUE = base64.urlsafe_b64encode(b"k" * 32).rstrip(b"=").decode()


def made(out, clouds, held=None, **more):
    written = json.dumps((HELD if held is None else held) | more).encode()
    service = AzureKeyVault.of(out, SystemClock(), {CREDENTIALS: written}, clouds.to)
    assert service
    return service


def wrapped(url=f"https://{double.VAULT}", name=double.KEY, version=double.VERSION, enc=SENT):
    return Wrapped("azure_kv", name, enc, {"vault_url": url, "version": version})


async def test_the_vault_is_asked_as_microsoft_describes_it(clouds, out):
    clouds.answers[double.VAULT] = (200, {"kid": "x", "value": VALUE})
    assert await made(out, clouds).unlock(wrapped()) == b"k" * 32
    assert [str(url) for url in clouds.meant] == [
        f"https://login.microsoftonline.com/{double.TENANT}/oauth2/v2.0/token",
        f"https://{double.VAULT}/keys/{double.KEY}/{double.VERSION}/decrypt?api-version=7.4",
    ]
    [(_, _, signing, form), (_, _, headers, body)] = clouds.asked
    assert signing["Content-Type"] == "application/x-www-form-urlencoded"
    assert b"grant_type=client_credentials" in form
    assert b"scope=https%3A%2F%2Fvault.azure.net%2F.default" in form
    assert headers["Authorization"] == f"Bearer {double.MICROSOFT_TOKEN}"
    assert json.loads(body) == {"alg": "RSA-OAEP-256", "value": SENT}


@pytest.mark.parametrize(
    "held",
    [
        json.dumps(HELD),
        "\n".join(f"{name}: {value}" for name, value in HELD.items()),
        json.dumps(
            {"appId": double.CLIENT, "displayName": "x", "password": double.CLIENT_SECRET, "tenant": double.TENANT}
        ),
        json.dumps(HELD | {"authorityHost": "https://login.microsoftonline.com/"}),
        json.dumps(HELD | {"clientCertificate": "not looked at beside a secret"}),
    ],
    ids=["json", "yaml", "az", "authority", "secret-first"],
)
async def test_credentials_are_taken_in_the_forms_of_flux(clouds, out, held):
    service = AzureKeyVault.of(out, SystemClock(), {CREDENTIALS: held.encode()}, clouds.to)
    assert service
    clouds.answers[double.VAULT] = (200, {"value": VALUE})
    assert await service.unlock(wrapped()) == b"k" * 32


@pytest.mark.parametrize(
    "url",
    [
        "https://attacker.example.com",
        "https://vault.azure.net.attacker.example.com",
        "https://x.vault.azure.net.attacker.example.com/",
        "https://xvault.azure.net",
        "https://vault.azure.net",
        "https://.vault.azure.net",
        "https://a.b.vault.azure.net",
        "https://attacker.example.com#x.vault.azure.net",
        "https://attacker.example.com/x.vault.azure.net",
        "https://attacker.example.com?x.vault.azure.net",
        "https://x.vault.azure.net@attacker.example.com",
        "https://attacker.example.com\\x.vault.azure.net",
        "https://u:p@x.vault.azure.net",
        "https://x.vault.azure.net:8443",
        "https://x.vault.azure.net/keys/../..",
        "https://x.vault.azure.net?y",
        "https://x.vault.azure.net\n",
        "http://x.vault.azure.net",
        "https://x.vault.azure.cn",
        "https://x.vault.usgovcloudapi.net",
        "https://x.managedhsm.azure.net",
        "https://169.254.169.254",
        "https://127.0.0.1",
        "https://x.v\u0430ult.azure.net",
        "file:///etc/passwd",
        "",
        None,
        7,
        ["https://x.vault.azure.net"],
    ],
    ids=[f"hostile-{number}" for number in range(29)],
)
async def test_a_file_cannot_say_where_the_token_goes(clouds, out, url):
    with pytest.raises(Locked, match=r"no other server is shown a token") as refused:
        await made(out, clouds).unlock(wrapped(url))
    assert not refused.value.passing
    assert not clouds.meant


@pytest.mark.parametrize(
    "more",
    [
        {"name": "../secrets/x"},
        {"name": "x/y"},
        {"name": "x?y"},
        {"name": ""},
        {"version": ".."},
        {"version": ""},
        {"version": None},
        {"version": 7},
        {"version": "x/y?"},
        {"enc": 'x"'},
        {"enc": ""},
    ],
    ids=str,
)
async def test_a_file_cannot_lead_to_other_paths(clouds, out, more):
    with pytest.raises(Locked, match=r"not those of a key|not base64url"):
        await made(out, clouds).unlock(wrapped(**more))
    assert not clouds.meant


@pytest.mark.parametrize("url", [f"https://{double.VAULT}/", f"https://{double.VAULT.title()}"])
async def test_a_vault_is_known_in_every_spelling_of_its_name(clouds, out, url):
    clouds.answers[double.VAULT] = (200, {"value": VALUE})
    assert await made(out, clouds).unlock(wrapped(url)) == b"k" * 32
    assert clouds.meant[-1].host == double.VAULT


@pytest.mark.parametrize(
    ("authority", "domain"),
    [
        ("login.microsoftonline.us", "vault.usgovcloudapi.net"),
        ("login.chinacloudapi.cn", "vault.azure.cn"),
        ("login.partner.microsoftonline.cn", "vault.azure.cn"),
    ],
)
async def test_the_clouds_of_countries_are_asked_by_who_signs_in_there(clouds, out, authority, domain):
    clouds.answers[authority] = (200, {"access_token": "theirs", "token_type": "Bearer", "expires_in": 3599})
    clouds.answers[f"x.{domain}"] = (200, {"value": VALUE})
    service = made(out, clouds, authorityHost=f"https://{authority}")
    assert await service.unlock(wrapped(f"https://x.{domain}")) == b"k" * 32
    assert f"scope=https%3A%2F%2F{domain}%2F.default".encode() in clouds.asked[0][3]
    with pytest.raises(Locked, match=f"https://NAME.{domain}"):
        await service.unlock(wrapped())
    assert len(clouds.meant) == 2


@pytest.mark.parametrize(
    ("held", "told"),
    [
        ({}, "it needs tenantId, clientId, clientSecret"),
        ({"clientId": "MINE"}, "managed identity"),
        ({"tenantId": "t", "clientId": "c", "clientCertificate": "MINE"}, "clientCertificate is not served"),
        ({"tenantId": "t", "clientId": "c"}, "it needs"),
        (HELD | {"tenantId": "../MINE"}, "tenantId"),
        (HELD | {"tenantId": "a/MINE?"}, "tenantId"),
        (HELD | {"tenantId": None}, "tenantId"),
        (HELD | {"clientId": "MINE MINE"}, "clientId"),
        (HELD | {"clientSecret": "MINE\r\n"}, "clientSecret"),
        (HELD | {"clientSecret": 7}, "clientSecret"),
        ({"appId": "a", "password": "MINE"}, "tenant is missing"),
        (HELD | {"authorityHost": "https://attacker.example.com/MINE"}, "authorityHost"),
        (HELD | {"authorityHost": "https://attacker.example.com"}, "authorityHost"),
        (HELD | {"authorityHost": "http://login.microsoftonline.com"}, "authorityHost"),
        (HELD | {"authorityHost": "https://169.254.169.254"}, "authorityHost"),
        (HELD | {"authorityHost": 7}, "authorityHost"),
    ],
    ids=[f"bad-{number}" for number in range(16)],
)
def test_credentials_of_another_kind_are_refused_by_the_entry(clouds, out, held, told):
    with pytest.raises(BadKeys, match=r"sops\.azure-kv: ") as refused:
        made(out, clouds, held)
    assert told in str(refused.value)
    assert "MINE" not in str(refused.value)


@pytest.mark.parametrize(
    "data", [b"", b"MINE", b"[]", b"a: [MINE", b"\xff\xfea", b"a: 1\n---\nb: 2\n"], ids=list("abcdef")
)
def test_what_is_no_document_is_refused_by_the_entry(out, data):
    with pytest.raises(BadKeys, match=r"sops\.azure-kv: it has to be YAML or JSON") as refused:
        AzureKeyVault.of(out, SystemClock(), {CREDENTIALS: data})
    assert "MINE" not in str(refused.value)
