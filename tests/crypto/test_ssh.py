"""Signatures by SSH keys: what ssh-keygen and git sign is accepted, everything else is refused and says why."""

import base64
import contextlib
import hashlib
import struct
import subprocess
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.crypto.signing import SshPair, needs_ssh
from trimtab.crypto import sshsig
from trimtab.crypto.allowed_signers import parse_allowed_signers, parse_public_keys
from trimtab.crypto.keyring import Keyring
from trimtab.crypto.sshwire import string
from trimtab.crypto.trust import BadKeys, BadSignature, matches

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PAYLOAD = b"tree 0\nwhat was signed\n"


def trusting(*lines: bytes) -> Keyring:
    return Keyring.from_secret({"allowed_signers": b"".join(lines)})


def rearmored(signature: bytes, change) -> bytes:
    """The signature with its inner bytes changed."""
    lines = signature.decode().splitlines()
    blob = change(base64.b64decode("".join(lines[1:-1])))
    return f"{lines[0]}\n{base64.b64encode(blob).decode()}\n{lines[-1]}\n".encode()


# What is accepted


@needs_ssh
@pytest.mark.parametrize(
    ("kind", "bits"),
    [("ed25519", 0), ("ecdsa", 256), ("ecdsa", 384), ("ecdsa", 521), ("rsa", 2048), ("rsa", 3072)],
)
def test_every_kind_of_key_is_accepted_and_its_owner_named(tmp_path, kind, bits):
    pair = SshPair.create(tmp_path / "key", kind, bits)
    signer = trusting(pair.allowed()).judge(PAYLOAD, pair.sign(PAYLOAD), NOW)
    assert (signer.fingerprint, signer.name) == (pair.fingerprint, "alice@example.org")
    with pytest.raises(BadSignature, match="does not fit"):
        trusting(pair.allowed()).judge(PAYLOAD + b"x", pair.sign(PAYLOAD), NOW)


@needs_ssh
def test_bare_keys_of_sshpub_files_are_trusted_without_a_name(alice, mallory):
    keyring = Keyring.from_secret({"team.sshpub": b"# the team\n\n" + mallory.public + alice.public})
    signer = keyring.judge(PAYLOAD, alice.sign(PAYLOAD), NOW)
    assert (signer.name, signer.patterns) == ("alice@example.org", ())
    assert not signer.is_("alice@example.org"), "the comment of a key proves nothing"


class Token:
    """A key in hardware, played by software: the format is OpenSSH's PROTOCOL.u2f."""

    application = b"ssh:"

    def __init__(self, kind: str, flags: int = 1) -> None:
        self.kind, self.flags = kind, flags
        if kind == "sk-ssh-ed25519@openssh.com":
            self.key = ed25519.Ed25519PrivateKey.generate()
            point = [self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)]
        else:
            self.key = ec.generate_private_key(ec.SECP256R1())
            public = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            point = [b"nistp256", public]
        self.blob = b"".join(string(part) for part in (kind.encode(), *point, self.application))

    def line(self, principal: str = "alice@example.org") -> bytes:
        return f"{principal} {self.kind} {base64.b64encode(self.blob).decode()}\n".encode()

    def sign(self, payload: bytes) -> bytes:
        parts = (b"git", b"", b"sha512", hashlib.sha512(payload).digest())
        data = b"SSHSIG" + b"".join(string(part) for part in parts)
        seen = struct.pack(">BI", self.flags, 7)
        signed = hashlib.sha256(self.application).digest() + seen + hashlib.sha256(data).digest()
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            inner = self.key.sign(signed)
        else:
            r, s = utils.decode_dss_signature(self.key.sign(signed, ec.ECDSA(hashes.SHA256())))
            inner = b"".join(string(number.to_bytes(number.bit_length() // 8 + 1, "big")) for number in (r, s))
        signature = string(self.kind.encode()) + string(inner) + seen
        blob = b"SSHSIG" + struct.pack(">I", 1) + string(self.blob)
        blob += string(b"git") + string(b"") + string(b"sha512") + string(signature)
        return f"{sshsig.BEGIN}\n{base64.b64encode(blob).decode()}\n{sshsig.END}\n".encode()


@needs_ssh
@pytest.mark.parametrize("kind", ["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"])
def test_keys_in_hardware_are_accepted_as_ssh_keygen_accepts_them(tmp_path, kind):
    token = Token(kind)
    signature = token.sign(PAYLOAD)
    (tmp_path / "allowed").write_bytes(token.line())
    (tmp_path / "sig").write_bytes(signature)
    verify = ["ssh-keygen", "-Y", "verify", "-n", "git", "-I", "alice@example.org"]
    done = subprocess.run(
        [*verify, "-f", str(tmp_path / "allowed"), "-s", str(tmp_path / "sig")], input=PAYLOAD, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert trusting(token.line()).judge(PAYLOAD, signature, NOW).name == "alice@example.org"
    with pytest.raises(BadSignature, match="does not fit"):
        trusting(token.line()).judge(b"other", signature, NOW)


def test_a_key_in_hardware_that_nobody_touched_is_refused():
    token = Token("sk-ssh-ed25519@openssh.com", flags=0)
    with pytest.raises(BadSignature, match="nobody touched"):
        trusting(token.line()).judge(PAYLOAD, token.sign(PAYLOAD), NOW)


# What is refused


@needs_ssh
def test_a_signature_for_another_purpose_is_refused(alice):
    with pytest.raises(BadSignature, match=r"made for 'file', not for git"):
        trusting(alice.allowed()).judge(PAYLOAD, alice.sign(PAYLOAD, namespace="file"), NOW)


@needs_ssh
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ('namespaces="file"', "not for git"),
        ('namespaces="git*,!git"', "not for git"),
        ('valid-before="20200101Z"', "was valid until 2020-01-01"),
        ('valid-before="20260601"', "was valid until"),
        ('valid-after="20270101120000Z"', "valid from 2027-01-01 12:00:00Z"),
    ],
)
def test_a_key_outside_its_purpose_or_time_does_not_count(alice, options, words):
    with pytest.raises(BadSignature, match=words):
        trusting(alice.allowed(options=options)).judge(PAYLOAD, alice.sign(PAYLOAD), NOW)


@needs_ssh
@pytest.mark.parametrize(
    "options",
    ['namespaces="file,git"', 'namespaces="g?t"', 'valid-before="20260601000001Z",valid-after="20260601Z"'],
)
def test_a_key_inside_its_purpose_and_time_counts(alice, options):
    assert trusting(alice.allowed(options=options)).judge(PAYLOAD, alice.sign(PAYLOAD), NOW)


@needs_ssh
def test_one_good_line_for_a_key_is_enough(alice):
    expired = alice.allowed("old@example.org", 'valid-before="20200101Z"')
    signer = trusting(expired, alice.allowed("new@example.org")).judge(PAYLOAD, alice.sign(PAYLOAD), NOW)
    assert signer.name == "new@example.org"
    assert not signer.is_("old@example.org")


@needs_ssh
def test_a_stranger_is_named_by_his_fingerprint(alice, mallory):
    with pytest.raises(BadSignature) as refusal:
        trusting(alice.allowed()).judge(PAYLOAD, mallory.sign(PAYLOAD), NOW)
    assert mallory.fingerprint in str(refusal.value)


@needs_ssh
def test_a_signature_with_somebody_elses_public_key_in_it_is_refused(alice, mallory):
    signature = mallory.sign(PAYLOAD)
    own, other = (base64.b64decode(pair.public.split()[1]) for pair in (mallory, alice))
    with pytest.raises(BadSignature, match="does not fit"):
        trusting(alice.allowed()).judge(PAYLOAD, rearmored(signature, lambda blob: blob.replace(own, other)), NOW)


@needs_ssh
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: b"", "empty"),
        (lambda text: b"\n \n", "empty"),
        (lambda text: text[:60], "cut off"),
        (lambda text: text + b"more\n", "follows the end"),
        (lambda text: text + text, "follows the end"),
        (lambda text: b"x" + text, "neither of SSH"),
        (lambda text: b"\n" + text, "neither of SSH"),
        (lambda text: text.replace(b"U", b"*"), "not base64|neither"),
        (lambda text: rearmored(text, lambda blob: blob + b"\0"), "follows its end"),
        (lambda text: rearmored(text, lambda blob: blob[:-3]), "too early"),
        (lambda text: rearmored(text, lambda blob: b"SSHSIX" + blob[6:]), "does not begin"),
        (lambda text: rearmored(text, lambda blob: blob[:9] + b"\2" + blob[10:]), "version 2"),
        (lambda text: rearmored(text, lambda blob: blob.replace(b"sha512", b"sha384")), "hash 'sha384'"),
        (lambda text: rearmored(text, lambda blob: blob[:10] + b"\xff\xff\xff\xff" + blob[14:]), "too early"),
        (lambda text: text[:40] + b"A" * 70000 + text[40:], "none is that long"),
    ],
)
def test_a_malformed_signature_is_refused_with_the_reason(alice, change, words):
    with pytest.raises(BadSignature, match=words):
        trusting(alice.allowed()).judge(PAYLOAD, change(alice.sign(PAYLOAD)), NOW)


@needs_ssh
def test_an_rsa_signature_over_sha1_is_refused(tmp_path):
    pair = SshPair.create(tmp_path / "key", "rsa", 2048)
    blob = base64.b64decode("".join(pair.sign(PAYLOAD).decode().splitlines()[1:-1]))
    at = blob.index(string(b"rsa-sha2-512"))
    inner = string(b"ssh-rsa") + blob[at + 16 :]
    weak = rearmored(pair.sign(PAYLOAD), lambda whole: whole[: at - 4] + string(inner))
    with pytest.raises(BadSignature, match="'ssh-rsa' is not trusted"):
        trusting(pair.allowed()).judge(PAYLOAD, weak, NOW)


# Files of keys


@needs_ssh
def test_short_rsa_keys_and_foreign_kinds_are_refused_as_trusted_keys(tmp_path):
    pair = SshPair.create(tmp_path / "key", "rsa", 1024)
    with pytest.raises(BadKeys, match=r"line 1: .*1024 bits; at least 2048"):
        parse_public_keys(pair.public)
    for line in (b"ssh-dss AAAAB3NzaC1kc3M= x", b"ssh-ed25519 AAAAB3NzaC1yc2E= x"):
        with pytest.raises(BadKeys, match="line 1"):
            parse_public_keys(line)


@needs_ssh
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{good}broken\n", "allowed_signers: line 2"),
        ("a@b ssh-ed25519 !!!\n{good}", "line 1: the key is not base64"),
        ("a@b cert-authority {key}\n", "cert-authority is not supported"),
        ('a@b CERT-AUTHORITY,namespaces="git" {key}\n', "cert-authority is not supported"),
        ("a@b sudo {key}\n", "lacks its value|not known"),
        ('a@b touch="no" {key}\n', "'touch' is not known"),
        ('a@b namespaces="git {key}\n', "a quote is not closed"),
        ("a@b namespaces=git {key}\n", "options cannot be read"),
        ('a@b namespaces="git",namespaces="file" {key}\n', "twice"),
        ('a@b valid-before="2020" {key}\n', "not a time"),
        ('a@b valid-before="20201301" {key}\n', "not a time"),
        ("{key}\n", "line 1"),
        ("a@b ssh-rsa {blob}\n", "the line says 'ssh-rsa'"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n", "private key"),
    ],
)
def test_one_wrong_line_spoils_the_file_and_is_named(alice, text, words):
    kind, blob = alice.public.decode().split()[:2]
    data = text.format(good=alice.allowed().decode(), key=f"{kind} {blob}", blob=blob).encode()
    with pytest.raises(BadKeys, match=words) as refusal:
        Keyring.from_secret({"allowed_signers": data})
    assert blob not in str(refusal.value)


def test_a_secret_without_keys_says_what_to_put_in():
    for data in ({}, {"id.pub": b"ssh-ed25519 AAAA"}, {"empty.sshpub": b"# nobody\n"}):
        with pytest.raises(BadKeys, match=r"no keys in it.*\*\.asc"):
            Keyring.from_secret(data)


@needs_ssh
def test_the_digest_of_a_keyring_moves_with_its_keys_only(alice, mallory):
    one = Keyring.from_secret({"allowed_signers": alice.allowed(), "password": b"x"})
    assert one.digest == Keyring.from_secret({"allowed_signers": alice.allowed(), "password": b"y"}).digest
    assert one.digest != Keyring.from_secret({"allowed_signers": alice.allowed() + mallory.allowed()}).digest


@needs_ssh
def test_principals_are_patterns(alice):
    [line] = parse_allowed_signers(b'"*@example.org,!ceo@example.org" ' + alice.public)
    assert matches(line.principals, "alice@example.org")
    assert not matches(line.principals, "ceo@example.org")
    assert not matches(line.principals, "alice@example.com")
    assert not matches(("[ab]",), "a")


# Whatever comes, the only errors are the documented ones


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_as_a_signature_are_refused_cleanly(blob):
    armored = f"{sshsig.BEGIN}\n{base64.b64encode(blob).decode()}\n{sshsig.END}\n".encode()
    for text in (armored, blob):
        with pytest.raises(BadSignature):
            sshsig.parse(text)


_GOOD_BLOB = Token("sk-ecdsa-sha2-nistp256@openssh.com").sign(PAYLOAD)


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=2000), st.binary(min_size=1, max_size=8), st.booleans())
def test_a_signature_with_some_bytes_changed_never_does_anything_but_fail(at, junk, insert):
    def change(blob: bytes) -> bytes:
        place = at % len(blob)
        return blob[:place] + junk + blob[place if insert else place + len(junk) :]

    changed = rearmored(_GOOD_BLOB, change)
    if changed == rearmored(_GOOD_BLOB, lambda blob: blob):
        return
    with pytest.raises(BadSignature):
        sshsig.parse(changed).check(PAYLOAD)


@settings(deadline=None)
@given(st.one_of(st.text(max_size=200).map(str.encode), st.binary(max_size=200)))
def test_any_bytes_as_a_file_of_keys_are_read_or_refused_cleanly(data):
    for parse in (parse_allowed_signers, parse_public_keys):
        with contextlib.suppress(BadKeys):
            parse(data)
