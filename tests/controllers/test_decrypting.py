"""The keys that an app may use: from the Secret it names, the one for all, or a Vault that an account signs in to."""

import asyncio
import base64
import contextlib
import json

import msgspec
import pytest
from tests.sops.clouds_double import google_credentials
from tests.sops.conftest import FIXTURES, KEYS, out, vault
from tests.sops.make_fixtures import VAULT
from tests.sops.vault_double import LOGGED_IN

from trimtab.api.kustomize import Decryption, Kustomization, KustomizationSpec, SourceRef
from trimtab.api.meta import LocalRef, ObjectMeta
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Terminal, Transient
from trimtab.controllers.decrypting import Decrypting
from trimtab.controllers.vaultlogin import VaultLogin
from trimtab.manifests.refs import Gvk, Key
from trimtab.sops.errors import NoKey
from trimtab.sops.formats import Format
from trimtab.sops.opening import open_file

__all__ = ["out", "vault"]

SECRET, CONFIG_MAP = Gvk("", "v1", "Secret"), Gvk("", "v1", "ConfigMap")
SEALED = (FIXTURES / "keyed" / "age.yaml").read_bytes()
SEALED_BY_VAULT = (FIXTURES / "keyed" / "vault.yaml").read_bytes()
KEY = (KEYS / "age.agekey").read_bytes()


def app(home, **decryption):
    return Kustomization(
        metadata=ObjectMeta(name="shop", namespace=home),
        spec=KustomizationSpec(
            source_ref=SourceRef(kind="GitRepository", name="repo"),
            interval="1m",
            prune=True,
            decryption=Decryption(provider="sops", **decryption) if decryption is not None else None,
        ),
    )


async def put(client, gvk, home, name, **data):
    if gvk is SECRET:
        data = {entry: base64.b64encode(value).decode() for entry, value in data.items()}
    body = {"apiVersion": "v1", "kind": gvk.kind, "metadata": {"name": name, "namespace": home}, "data": data}
    await client.create(await client.discovery.find(gvk), body, home)


async def test_an_app_that_asks_for_nothing_costs_nothing(client, out, home):
    item = app(home)
    plain = msgspec.structs.replace(item, spec=msgspec.structs.replace(item.spec, decryption=None))
    assert await Decrypting(None, out, SystemClock()).keys(plain) is None


async def test_the_secret_of_the_app_is_read_and_comes_before_that_of_all(client, out, home):
    await put(client, SECRET, home, "mine", **{"a.agekey": (KEYS / "other.agekey").read_bytes()})
    await put(client, SECRET, home, "all", **{"a.agekey": KEY, "sops.vault-token": b"never used"})
    decrypting = Decrypting(client, out, SystemClock(), Key(home, "all"))
    shared = await decrypting.keys(app(home))
    own = await decrypting.keys(app(home, secret_ref=LocalRef(name="mine")))
    assert await open_file(SEALED, "x.yaml", Format.YAML, shared)
    assert "hc_vault" not in shared.services
    with pytest.raises(NoKey):
        await open_file(SEALED, "x.yaml", Format.YAML, own)
    nothing = await Decrypting(client, out, SystemClock()).keys(app(home))
    with pytest.raises(NoKey, match="there is no age key"):
        await open_file(SEALED, "x.yaml", Format.YAML, nothing)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (None, "does not exist"),
        ({"a.agekey": b"AGE-SECRET-KEY-1MINE"}, "a.agekey: line 1"),
        ({"a.asc": b"MINE"}, "a.asc: "),
        ({"sops.aws-kms": b"MINE"}, "sops.aws-kms: "),
        ({"sops.gcp-kms": b"MINE"}, "sops.gcp-kms: "),
        ({"sops.azure-kv": b"clientId: MINE"}, "managed identity, which is not served"),
        ({"sops.vault-token": b""}, "sops.vault-token: "),
    ],
)
async def test_a_secret_that_cannot_be_used_is_named_and_looked_at_again(client, out, home, data, told):
    if data is not None:
        await put(client, SECRET, home, "mine", **data)
    with pytest.raises(Transient, match=f"Secret {home}/mine of spec.decryption.secretRef") as refused:
        await Decrypting(client, out, SystemClock()).keys(app(home, secret_ref=LocalRef(name="mine")))
    assert told in str(refused.value)
    assert "MINE" not in str(refused.value)
    assert refused.value.hopeless


async def test_the_clouds_that_the_secret_has_credentials_for_are_asked(client, out, home):
    entries = {
        "sops.aws-kms": b"aws_access_key_id: some-id\naws_secret_access_key: some-key\n",
        "sops.gcp-kms": google_credentials(),
        "sops.azure-kv": b"{tenantId: tenant, clientId: client, clientSecret: some-secret}",
    }
    await put(client, SECRET, home, "mine", **entries)
    keys = await Decrypting(client, out, SystemClock()).keys(app(home, secret_ref=LocalRef(name="mine")))
    assert set(keys.services) == {"kms", "gcp_kms", "azure_kv"}


async def test_an_account_and_a_provider_that_are_not_served_are_refused_by_name(client, out, home):
    with pytest.raises(Terminal, match=r"spec\.decryption\.serviceAccountName"):
        await Decrypting(client, out, SystemClock()).keys(app(home, service_account_name="someone"))
    item = app(home)
    spec = msgspec.structs.replace(item.spec, decryption=Decryption(provider="age"))
    with pytest.raises(Terminal, match=r"spec\.decryption\.provider age"):
        await Decrypting(client, out, SystemClock()).keys(msgspec.structs.replace(item, spec=spec))


async def vaults(client, home, out, vault, path="auth/kubernetes/login"):
    listed = f"instances:\n- address: {vault.address}\n  loginPath: {path}\n"
    await put(client, CONFIG_MAP, home, "vaults", **{"config.yaml": listed})
    return Decrypting(client, out, SystemClock(), None, VaultLogin(client, out, Key(home, "vaults")))


async def test_an_account_signs_in_to_a_listed_vault_with_a_token_for_that_vault(client, out, home, vault):
    decrypting = await vaults(client, home, out, vault)
    account = {"metadata": {"name": "opener", "namespace": home}}
    await client.create(await client.discovery.find(Gvk("", "v1", "ServiceAccount")), account, home)
    keys = await decrypting.keys(app(home, service_account_name="opener"))
    data = SEALED_BY_VAULT.replace(VAULT.encode(), vault.address.encode())
    # It asks for its token itself: until it may, nothing is opened.
    with pytest.raises(NoKey, match="serviceaccounts/token") as refused:
        await open_file(data, "x.yaml", Format.YAML, keys)
    assert not refused.value.hopeless
    rbac = "rbac.authorization.k8s.io"
    rule = {"apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": ["opener"], "verbs": ["create"]}
    meta = {"name": "opener", "namespace": home}
    await client.create(await client.discovery.find(Gvk(rbac, "v1", "Role")), {"metadata": meta, "rules": [rule]}, home)
    subject = {"kind": "ServiceAccount", **meta}
    role = {"apiGroup": rbac, "kind": "Role", "name": "opener"}
    binding = {"metadata": meta, "roleRef": role, "subjects": [subject]}
    await client.create(await client.discovery.find(Gvk(rbac, "v1", "RoleBinding")), binding, home)
    async with asyncio.timeout(60):
        while not vault.asked:  # a binding takes effect a little later
            with contextlib.suppress(NoKey):
                assert b"correct horse" in await open_file(data, "x.yaml", Format.YAML, keys)
    assert b"correct horse" in await open_file(data, "x.yaml", Format.YAML, keys)
    [login, first, second] = vault.asked
    assert login[0] == "auth/kubernetes/login"
    assert login[2]["role"] == f"{home}_opener"
    claims = json.loads(base64.urlsafe_b64decode(login[2]["jwt"].split(".")[1] + "=="))
    assert claims["sub"] == f"system:serviceaccount:{home}:opener"
    assert claims["aud"] == [vault.address]
    assert {one[1]["X-Vault-Token"] for one in (first, second)} == {LOGGED_IN}


async def test_a_vault_that_is_not_listed_sees_no_token(client, out, home, vault):
    decrypting = await vaults(client, home, out, vault)
    keys = await decrypting.keys(app(home, service_account_name="opener"))
    with pytest.raises(NoKey, match="not one that a token may be shown to"):
        await open_file(SEALED_BY_VAULT, "x.yaml", Format.YAML, keys)
    assert not vault.asked


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "instances"),
        ("instances: x", "instances"),
        ("instances:\n- address: https://vault.example.com\n  loginPath: ../sys\n", "loginPath"),
        ("instances:\n- address: vault\n  loginPath: auth/x/login\n", "address"),
        ("a: [", "config.yaml"),
    ],
)
async def test_a_list_of_vaults_that_cannot_be_read_is_told(client, out, home, text, told):
    await put(client, CONFIG_MAP, home, "vaults", **{"config.yaml": text})
    login = VaultLogin(client, out, Key(home, "vaults"))
    with pytest.raises(Transient, match=f"ConfigMap {home}/vaults of --sops-vault-configmap.*{told}"):
        await Decrypting(client, out, SystemClock(), None, login).keys(app(home, service_account_name="opener"))
