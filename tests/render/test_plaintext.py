"""Secrets in clear text: which entries count, and which only look like it."""

import base64

import pytest

from tests.render.conftest import config_map
from tests.sops.conftest import FIXTURES, keyring
from trimtab.manifests.refs import Manifest, Origin, Ref
from trimtab.render.memory import Opened
from trimtab.render.options import Options
from trimtab.render.plaintext import Exposed, exposed
from trimtab.render.render import Renderer
from trimtab.render.variables import Found, Variables, collected

NO_VARIABLES = Variables()
HERE = Origin("app/db.yaml", 3)
SEALED = (FIXTURES / "canary" / "secret.yaml").read_text()
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIU\n-----END CERTIFICATE-----\n"
PRIVATE = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----\n"
SEALED_VALUE = "ENC[AES256_GCM,data:AAAA,iv:AAAA,tag:AAAA,type:str]"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def secret(**fields) -> dict:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "namespace": "shop"}, **fields}


def entries(body: dict, variables: Variables = NO_VARIABLES, opened: dict[str, bytes] | None = None) -> tuple[str, ...]:
    files = {path: Opened(plain, b"") for path, plain in (opened or {}).items()}
    found = exposed([Manifest(body, HERE)], files, variables)
    return found[0].entries if found else ()


@pytest.mark.parametrize("field", ["data", "stringData"])
def test_a_value_counts_in_either_field(field):
    value = encoded("hunter2") if field == "data" else "hunter2"
    found = exposed([Manifest(secret(**{field: {"password": value}}), HERE)], {}, NO_VARIABLES)
    assert found == (Exposed(Ref("", "Secret", "shop", "db"), HERE, ("password",)),)
    assert "hunter2" not in repr(found)
    assert value not in repr(found)


@pytest.mark.parametrize(
    "body",
    [
        secret(),
        secret(data=None),
        secret(data={}, type="kubernetes.io/service-account-token"),
        secret(stringData={"password": ""}, data={"token": ""}),
        secret(stringData={"password": "  \n"}),
        {**secret(stringData={"a": "hunter2"}), "apiVersion": "example.org/v1"},
        {**secret(data={"a": "hunter2"}), "kind": "ConfigMap"},
    ],
    ids=["bare", "null", "token", "empty", "blank", "another-group", "config-map"],
)
def test_without_a_value_there_is_nothing_to_read(body):
    assert entries(body) == ()


@pytest.mark.parametrize(
    "text",
    [
        "<path:secret/data/db#password>",
        "<password>",
        "vault:secret/data/db#PASSWORD",
        ">>vault:database/creds/db#password",
        "op://My Vault/database/password",
        "ref+vault://secret/db#/password",
        "secretref+awssecrets://db/password",
        "database@azurekeyvault?password",
        "gcp:secretmanager:projects/1/secrets/db",
        "arn:aws:secretsmanager:eu-central-1:1:secret:db",
        "${PASSWORD}",
    ],
)
def test_what_only_names_a_secret_is_none(text):
    assert entries(secret(stringData={"a": text}, data={"b": encoded(text)})) == ()
    assert entries(secret(stringData={"a": f"hunter2 {text}"})) == ("a",)


@pytest.mark.parametrize(
    ("text", "public"),
    [
        (CERTIFICATE, True),
        (f"# the root\n{CERTIFICATE}\n{CERTIFICATE}", True),
        ("git.example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5\n# and\ngit.example.org ecdsa-sha2-nistp256 AAAA", True),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 somebody@example.org", True),
        (CERTIFICATE + PRIVATE, False),
        (PRIVATE, False),
        (f"{CERTIFICATE}\nhunter2", False),
        ("# hunter2", False),
    ],
    ids=["certificate", "bundle", "known-hosts", "public-key", "pair", "private", "more", "comment-only"],
)
def test_public_keys_and_certificates_are_no_secrets(text, public):
    assert entries(secret(stringData={"a": text})) == (() if public else ("a",))


def test_what_sops_left_in_clear_beside_an_encrypted_entry_is_meant_so():
    body = secret(stringData={"user": "shop", "password": SEALED_VALUE})
    assert entries(body | {"sops": {}}) == ()
    assert entries(body) == ("user",)


def test_a_block_of_sops_over_entries_of_which_none_is_encrypted_hides_nothing():
    assert entries(secret(stringData={"password": "hunter2"}, sops={"encrypted_regex": "^data$"})) == ("password",)


def test_an_entry_that_takes_a_value_from_a_secret_is_none():
    found = [
        Found("Secret shop/vars", {"PASSWORD": b"hunter2"}, confidential=True),
        Found("ConfigMap shop/vars", {"USER": "shop"}),
    ]
    variables = collected(None, found)
    body = secret(
        stringData={"url": "postgres://shop:${PASSWORD}@db", "user": "${USER}", "other": "${TOKEN:=hunter2}"},
        data={"password": "${PASSWORD}"},
    )
    assert entries(body, variables) == ("user", "other")
    body["metadata"]["annotations"] = {"kustomize.toolkit.fluxcd.io/substitute": "disabled"}
    assert entries(body, variables) == ("url", "other")


def test_what_came_out_of_an_encrypted_file_is_known_again_wherever_kustomize_put_it():
    opened = {
        "app/token.env": b"TOKEN='swordfish'\n",
        "app/key.bin": b"\x00\x01binary",
        "app/patch.yaml": b"stringData:\n  long: |\n    one\n    two\n",
    }
    body = secret(
        data={
            "TOKEN": encoded("swordfish"),
            "key.bin": base64.b64encode(b"\x00\x01binary").decode(),
            "plain": encoded("hunter2"),
        },
        stringData={"long": "one\ntwo\n"},
    )
    assert entries(body, opened=opened) == ("plain",)
    assert entries(body) == ("TOKEN", "key.bin", "plain", "long")


KUSTOMIZATION = """\
secretGenerator:
- name: opened
  envs: [token.env]
- name: plain
  literals: [password=hunter2]
- name: both
  files: [token.env, plain.txt]
generatorOptions: {disableNameSuffixHash: true}
resources: [secret.yaml, config.yaml]
"""


async def test_generators_of_plain_sources_count_and_those_of_encrypted_ones_do_not(renderer, artifact):
    files = {
        "app/kustomization.yaml": KUSTOMIZATION,
        "app/token.env": (FIXTURES / "canary" / "token.env").read_text(),
        "app/plain.txt": "hunter2",
        "app/secret.yaml": SEALED,
        "app/config.yaml": config_map("one"),
    }
    rendered = await renderer.render(artifact(files), "app", Options(), keys=keyring("age.agekey"))
    found = {each.ref.name: (str(each.origin), each.entries) for each in rendered.plaintext}
    assert found == {
        "plain": ("app/kustomization.yaml:4", ("password",)),
        "both": ("app/kustomization.yaml:6", ("plain.txt",)),
    }


async def test_a_plain_directory_tells_where_each_one_was_written(artifact, tmp_path):
    plain = "apiVersion: v1\nkind: Secret\nmetadata: {name: plain}\nstringData: {password: hunter2}\n"
    files = {"app/all.yaml": f"{config_map('one')}---\n{plain}", "app/sealed.yaml": SEALED}
    rendered = await Renderer(None, None, tmp_path).render(
        artifact(files), "app", Options(target_namespace="shop"), keys=keyring("age.agekey")
    )
    [found] = rendered.plaintext
    assert (found.ref, found.entries) == (Ref("", "Secret", "shop", "plain"), ("password",))
    assert str(found.origin).startswith("app/all.yaml:")
    assert found.origin.line > 1
