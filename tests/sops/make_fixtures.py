"""Make the files in `fixtures/` with the real sops, age's and gpg's own keys: `python -m tests.sops.make_fixtures`.

They are committed, so that most tests need none of these programs. The keys in them protect nothing. With the argument
`clouds` only those are made that doubles of clouds open.
"""

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyrage
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.sops import clouds_double as clouds
from tests.sops.vault_double import TOKEN, running
from trimtab.toolchain import binaries

FIXTURES = Path(__file__).parent / "fixtures"
PLAIN = FIXTURES / "plain"
KEYS = FIXTURES / "keys"
SECRET = "plain/secret.yaml"
REGEX = ("--encrypted-regex", "^(data|stringData)$")
VAULT = "http://vault.example.com:8200"
OF_CANARIES = ("--encrypted-regex", "^(data|stringData|port|sessionAffinity)$")
GPG_KEYS = {"rsa": ("rsa3072", "rsa3072"), "cv25519": ("ed25519", "cv25519"), "nistp256": ("nistp256", "nistp256")}


class Maker:
    """Runs the programs in a home of their own."""

    def __init__(self, sops: Path, home: Path) -> None:
        self.sops = sops
        self.home = home
        self.environment = {"HOME": str(home), "GNUPGHOME": str(home / "gnupg"), "PATH": os.environ["PATH"]}
        (home / "gnupg").mkdir(mode=0o700)

    def run(self, *command: str | Path, **more: str) -> bytes:
        done = subprocess.run(
            list(map(str, command)), env={**self.environment, **more}, cwd=FIXTURES, capture_output=True, timeout=120
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def encrypt(self, source: str, target: str, *arguments: str, **more: str) -> None:
        """Encrypt `source` as `target`, and keep beside it what sops itself makes of that again."""
        out = FIXTURES / target
        out.parent.mkdir(exist_ok=True)
        (FIXTURES / target).write_bytes(self.run(self.sops, "encrypt", *arguments, source, **more))
        typed = [argument for argument in arguments if argument.endswith(("-type", "json"))]
        opened = self.run(
            self.sops, "decrypt", *typed, target, **{"SOPS_AGE_KEY_FILE": str(KEYS / "age.agekey")} | more
        )
        (out.parent / f"opened-{out.name}").write_bytes(opened)

    def config(self, rule: dict[str, Any]) -> dict[str, str]:
        """The environment for a configuration with this one rule."""
        file = self.home / "config.yaml"
        file.write_text(json.dumps({"creation_rules": [rule]}))
        return {"SOPS_CONFIG": str(file)}

    def gpg(self, name: str) -> str:
        """A key pair of OpenPGP without a passphrase; its fingerprint."""
        primary, subkey = GPG_KEYS[name]
        who = f"{name} <{name}@example.com>"
        quiet = ("gpg", "--batch", "--quiet", "--passphrase", "")
        self.run(*quiet, "--quick-generate-key", who, primary, "sign,cert", "never")
        listed = self.run("gpg", "--batch", "--with-colons", "--list-keys", who).decode().splitlines()
        fingerprint = next(line.split(":")[9] for line in listed if line.startswith("fpr:"))
        self.run(*quiet, "--quick-add-key", fingerprint, subkey, "encr", "never")
        exported = self.run(*quiet, "--armor", "--export-secret-keys", fingerprint)
        (KEYS / f"{name}.asc").write_bytes(exported)
        return fingerprint


def age_key(name: str) -> str:
    """An age key pair as age-keygen writes it; its recipient."""
    identity = pyrage.x25519.Identity.generate()
    (KEYS / f"{name}.agekey").write_text(f"# public key: {identity.to_public()}\n{identity}\n")
    return str(identity.to_public())


def hybrid_key(name: str) -> str:
    """A post-quantum key pair of age, which age-keygen -pq would make; its recipient."""
    seed = os.urandom(32)
    expanded = hashlib.shake_256(seed).digest(96)
    mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64]).public_key().public_bytes_raw()
    curve = X25519PrivateKey.from_private_bytes(expanded[64:]).public_key().public_bytes_raw()
    (KEYS / f"{name}.agekey").write_text(bech32("age-secret-key-pq-", seed).upper() + "\n")
    return bech32("age1pq", mlkem + curve)


def bech32(prefix: str, data: bytes) -> str:
    """BIP 173."""
    bits = "".join(f"{byte:08b}" for byte in data)
    values = [int(bits[at : at + 5].ljust(5, "0"), 2) for at in range(0, len(bits), 5)]
    letters = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    total = 1
    head = [*(ord(letter) >> 5 for letter in prefix), 0, *(ord(letter) & 31 for letter in prefix)]
    for value in [*head, *values, 0, 0, 0, 0, 0, 0]:
        top = total >> 25
        total = (total & 0x1FFFFFF) << 5 ^ value
        for at, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            total ^= generator if top >> at & 1 else 0
    total ^= 1
    return (
        prefix + "1" + "".join(letters[value] for value in [*values, *(total >> 5 * (5 - at) & 31 for at in range(6))])
    )


def ssh_key(maker: Maker, kind: str) -> str:
    """A key pair of SSH; its public half."""
    path = KEYS / f"ssh-{kind}.agekey"
    path.unlink(missing_ok=True)
    maker.run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", path)
    public = path.with_suffix(".agekey.pub")
    line = public.read_text().strip()
    public.unlink()
    return line


RULES: Mapping[str, dict[str, Any]] = {
    "encrypted-regex": {"encrypted_regex": REGEX[1]},
    "unencrypted-regex": {"unencrypted_regex": "^(apiVersion|kind|metadata)$"},
    "encrypted-suffix": {"encrypted_suffix": "Data"},
    "unencrypted-suffix": {"unencrypted_suffix": "_plain"},
    "encrypted-comment-regex": {"encrypted_comment_regex": "^ about"},
    "unencrypted-comment-regex": {"unencrypted_comment_regex": "^ about"},
    "mac-only-encrypted": {"encrypted_regex": REGEX[1], "mac_only_encrypted": True},
}


def make(maker: Maker) -> None:
    for folder in (KEYS, FIXTURES / "formats", FIXTURES / "rules", FIXTURES / "keyed", FIXTURES / "canary"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    recipient = age_key("age")
    mine = ("--age", recipient)
    for source in sorted(PLAIN.iterdir()):
        typed = ("--input-type", "json", "--output-type", "json") if source.suffix == ".dockerconfigjson" else ()
        maker.encrypt(f"plain/{source.name}", f"formats/{source.name}", *mine, *typed)
    for source in sorted((FIXTURES / "canaries").iterdir()):
        manifest = source.suffix == ".yaml" or source.name == "manifest.json"
        maker.encrypt(f"canaries/{source.name}", f"canary/{source.name}", *mine, *(OF_CANARIES if manifest else ()))
        (FIXTURES / "canary" / f"opened-{source.name}").unlink()
    for name, rule in RULES.items():
        maker.encrypt(SECRET, f"rules/{name}.yaml", **maker.config({"age": recipient, **rule}))
    maker.encrypt("plain/stream.yaml", "rules/stream.yaml", *mine, *REGEX)
    other = age_key("other")
    keyed = {name: ("--pgp", maker.gpg(name)) for name in GPG_KEYS}
    for kind in ("ed25519", "rsa"):
        keyed[f"ssh-{kind}"] = ("--age", ssh_key(maker, kind))
    for name in ("hybrid", "other-hybrid"):
        keyed[name] = ("--age", hybrid_key(name))
    keyed["age"] = mine
    keyed["age-second"] = ("--age", f"{other},{recipient}")
    for name, arguments in keyed.items():
        own = f"{name}.agekey"
        ssh = {"SOPS_AGE_SSH_PRIVATE_KEY_FILE": str(KEYS / f"{name}.agekey")} if name.startswith("ssh") else {}
        age = own if "hybrid" in name else "age.agekey"
        maker.encrypt(SECRET, f"keyed/{name}.yaml", *arguments, *REGEX, SOPS_AGE_KEY_FILE=str(KEYS / age), **ssh)
    groups = [{"age": [recipient]}, {"age": [other]}, {"pgp": [keyed["rsa"][1]]}]
    with running() as vault:
        target = "keyed/vault.yaml"
        at = ("--hc-vault-transit", f"{vault.address}/v1/transit/keys/fixtures")
        maker.encrypt(SECRET, target, *at, *REGEX, VAULT_TOKEN=TOKEN)
        # Where it listens is of this run only.
        path = FIXTURES / target
        path.write_text(path.read_text().replace(vault.address, VAULT))
    shared = {"key_groups": groups, "shamir_threshold": 2, "encrypted_regex": REGEX[1]}
    maker.encrypt(SECRET, "keyed/groups.yaml", **maker.config(shared))


def make_clouds(maker: Maker) -> None:
    """What Google Cloud KMS and Azure Key Vault open, by their doubles."""
    clouds.AZURE_KEY.parent.mkdir(exist_ok=True)
    if not clouds.AZURE_KEY.exists():
        clouds.AZURE_KEY.write_text(clouds.pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)))
    context, authority = clouds.certificate(maker.home)
    with clouds.running(context) as double:
        environment = clouds.environment(double, authority, maker.home)
        for kind, key in clouds.KEYS_OF_SOPS.items():
            maker.encrypt(SECRET, f"clouds/{kind}.yaml", *key, *REGEX, **environment)
        both = [word for key in clouds.KEYS_OF_SOPS.values() for word in key]
        maker.encrypt(SECRET, "clouds/both.yaml", *both, *REGEX, **environment)


def main() -> None:
    found = binaries.find("secrets") or asyncio.run(binaries.ensure("secrets", progress=print))
    with tempfile.TemporaryDirectory() as home:
        maker = Maker(found["sops"], Path(home))
        try:
            if sys.argv[1:] != ["clouds"]:
                make(maker)
            make_clouds(maker)
        finally:
            subprocess.run(["gpgconf", "--kill", "all"], env=maker.environment, check=False)


if __name__ == "__main__":
    main()
