"""Signatures of commits: what ssh-keygen, gpg and our own verification say of them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from tests.crypto.signing import Gpg, SshPair, call, needs_gpg, needs_ssh
from trimtab.commits import SigningFailed, signing_key
from trimtab.crypto import openpgp, sshsig

PAYLOAD = b"tree 0\n\nmessage\n"


@needs_ssh
@pytest.mark.parametrize(("kind", "bits"), [("ed25519", 0), ("ecdsa", 256), ("ecdsa", 521), ("rsa", 2048)])
def test_ssh_keygen_accepts_the_signature(tmp_path: Path, kind: str, bits: int):
    pair = SshPair.create(tmp_path / "key", kind, bits)
    signer = signing_key(pair.path.read_bytes())
    armored = signer.sign(PAYLOAD)
    (tmp_path / "allowed").write_bytes(pair.allowed())
    (tmp_path / "sig").write_bytes(armored)
    words = ["-n", "git", "-I", "alice@example.org", "-s", str(tmp_path / "sig"), "-f", str(tmp_path / "allowed")]
    assert b"Good" in call("ssh-keygen", "-Y", "verify", *words, stdin=PAYLOAD)
    assert signer.fingerprint == pair.fingerprint
    sshsig.parse(armored).check(PAYLOAD)


@needs_ssh
def test_a_key_with_a_passphrase_signs_only_with_it(tmp_path: Path):
    call("ssh-keygen", "-q", "-t", "ed25519", "-N", "open", "-f", str(tmp_path / "key"))
    locked = (tmp_path / "key").read_bytes()
    sshsig.parse(signing_key(locked, b"open").sign(PAYLOAD)).check(PAYLOAD)
    with pytest.raises(SigningFailed, match="passphrase is wrong"):
        signing_key(locked, b"shut")
    with pytest.raises(SigningFailed, match="locked by a passphrase"):
        signing_key(locked)


@needs_ssh
def test_a_passphrase_is_of_no_harm_to_a_key_without_one_and_pem_is_read(tmp_path: Path):
    pair = SshPair.create(tmp_path / "key")
    key = serialization.load_ssh_private_key(pair.path.read_bytes(), None)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for data in (pair.path.read_bytes().replace(b"\n", b"\r\n").rstrip(), pem):
        sshsig.parse(signing_key(data, b"not needed").sign(PAYLOAD)).check(PAYLOAD)


@pytest.mark.parametrize("data", [b"", b"nonsense", b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", b"x" * (2 << 20)])
def test_what_is_no_key_signs_nothing_and_is_not_quoted(data: bytes):
    with pytest.raises(SigningFailed, match="Secret prod/key") as failure:
        signing_key(data, where="the key identity in Secret prod/key")
    assert "nonsense" not in str(failure.value)


@pytest.fixture(scope="module")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpg]:
    gpg = Gpg.create(tmp_path_factory.mktemp("gpg") / "home")
    yield gpg
    gpg.stop()


@needs_gpg
def test_gpg_accepts_the_signature_and_so_do_we(gpg: Gpg, tmp_path: Path):
    key = gpg.key("Robot <robot@example.org>", "ed25519")
    signer = signing_key(gpg.run("--armor", "--export-secret-keys", key.user))
    armored = signer.sign(PAYLOAD)
    assert signer.fingerprint == key.fingerprint
    (tmp_path / "sig").write_bytes(armored)
    (tmp_path / "payload").write_bytes(PAYLOAD)
    gpg.run("--verify", str(tmp_path / "sig"), str(tmp_path / "payload"))
    openpgp.judge(openpgp.parse_certificates(key.public), PAYLOAD, armored, datetime.now(UTC))


@needs_gpg
def test_an_openpgp_key_with_a_passphrase_signs_only_with_it(gpg: Gpg):
    words = ["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "open"]
    call("gpg", "--homedir", str(gpg.home), *words, "--quick-gen-key", "l@example.org", "ed25519", "sign", "never")
    locked = call("gpg", "--homedir", str(gpg.home), *words, "--armor", "--export-secret-keys", "l@example.org")
    assert signing_key(locked, b"open").sign(PAYLOAD)
    for passphrase in (b"", b"shut"):
        with pytest.raises(SigningFailed, match="cannot sign"):
            signing_key(locked, passphrase)


@needs_gpg
def test_a_public_key_signs_nothing(gpg: Gpg):
    key = gpg.key("Only public <p@example.org>", "ed25519")
    with pytest.raises(SigningFailed):
        signing_key(key.public)
