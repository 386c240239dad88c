"""Messages of OpenPGP as the real gpg makes them, opened with keys as gpg exports them."""

import os
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESOCB3
from pysequoia.packet import PacketPile, Tag

from tests.sops.conftest import KEYS
from trimtab.sops import openpgp
from trimtab.sops.errors import BadKeys, Locked
from trimtab.sops.metadata import Wrapped
from trimtab.sops.openpgp_keys import Reader, secret_keys

DATA_KEY = bytes(range(32))
NAMES = ["rsa", "cv25519", "nistp256"]


@pytest.fixture(scope="module")
def gpg(tmp_path_factory):
    if shutil.which("gpg") is None:
        pytest.skip("gpg is not installed")
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)
    environment = {"GNUPGHOME": str(home), "PATH": os.environ["PATH"]}

    def run(*arguments, stdin=b""):
        command = ["gpg", "--batch", "--quiet", "--no-tty", "--trust-model", "always", *arguments]
        done = subprocess.run(command, input=stdin, env=environment, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    for name in NAMES:
        run("--import", stdin=(KEYS / f"{name}.asc").read_bytes())
    yield run
    subprocess.run(["gpgconf", "--kill", "all"], env=environment)


def keys(*names):
    return [key for name in names for key in secret_keys((KEYS / f"{name}.asc").read_bytes())]


def wrapped(message: bytes) -> Wrapped:
    return Wrapped("pgp", "ABC", message.decode(), {})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--compress-algo", "none"),
        ("--compress-algo", "zip"),
        ("--compress-algo", "bzip2"),
        ("--cipher-algo", "AES128"),
        ("--cipher-algo", "AES192"),
        ("--throw-keyids",),
    ],
    ids="-".join,
)
def test_what_gpg_encrypts_is_opened(gpg, name, options):
    message = gpg("--armor", *options, "--encrypt", "--recipient", f"{name}@example.com", stdin=DATA_KEY)
    assert openpgp.unlock(wrapped(message), keys(*NAMES)) == DATA_KEY
    others = [other for other in NAMES if other != name]
    with pytest.raises(Locked):
        openpgp.unlock(wrapped(message), keys(*others))


def test_a_message_for_several_is_opened_by_each(gpg):
    whom = [part for name in NAMES for part in ("--recipient", f"{name}@example.com")]
    message = gpg("--armor", "--encrypt", *whom, stdin=DATA_KEY)
    for name in NAMES:
        assert openpgp.unlock(wrapped(message), keys(name)) == DATA_KEY


def test_another_cipher_than_aes_is_refused_by_name(gpg):
    message = gpg("--armor", "--cipher-algo", "TWOFISH", "--encrypt", "-r", "rsa@example.com", stdin=DATA_KEY)
    with pytest.raises(Locked, match="AES"):
        openpgp.unlock(wrapped(message), keys("rsa"))


def test_a_password_and_plain_text_are_no_message_for_keys(gpg):
    by_password = gpg("--armor", "--symmetric", "--passphrase", "x", "--pinentry-mode", "loopback", stdin=DATA_KEY)
    for message in (by_password, b"text", b"", b"-----BEGIN PGP MESSAGE-----\n\n-----END PGP MESSAGE-----\n"):
        with pytest.raises(Locked):
            openpgp.unlock(wrapped(message), keys("rsa"))


def test_every_changed_byte_is_noticed(gpg):
    message = gpg("--encrypt", "--recipient", "cv25519@example.com", stdin=DATA_KEY)
    for at in range(len(message)):
        changed = message[:at] + bytes([message[at] ^ 1]) + message[at + 1 :]
        armored = Wrapped("pgp", "ABC", "", {})._replace(enc=_armored(changed))
        try:
            assert openpgp.unlock(armored, keys("cv25519")) == DATA_KEY, at
        except Locked:
            continue
        # The version of the id, and who it is for, are hints: what they lead to is the same key.
        assert at < 12


def _armored(message: bytes) -> str:
    import pysequoia

    return str(pysequoia.armor(message, pysequoia.ArmorKind.Message))


def test_a_key_with_a_passphrase_is_refused_by_its_fingerprint(gpg):
    arguments = ("--passphrase", "x", "--pinentry-mode", "loopback", "--quick-generate-key", "locked@example.com")
    gpg(*arguments, "rsa2048", "encr", "never")
    exported = gpg(
        "--armor", "--passphrase", "x", "--pinentry-mode", "loopback", "--export-secret-keys", "locked@example.com"
    )
    with pytest.raises(BadKeys, match=r"[0-9A-F]{40} is protected by a passphrase"):
        secret_keys(exported)


def ocb(session: bytes, plain: bytes, chunk_bits: int = 0) -> bytes:
    """An encrypted packet as GnuPG 2.4 makes it (LibrePGP): OCB over chunks, and an end that counts."""
    head, start = bytes([1, 9, 2, chunk_bits]), bytes(range(15))
    aead, bound, size = AESOCB3(session), b"\xd4" + head, 1 << (chunk_bits + 6)
    parts = [plain[at : at + size] for at in range(0, len(plain), size)]
    body = head + start
    for index, part in enumerate(parts):
        body += aead.encrypt(nonce(start, index), part, bound + index.to_bytes(8, "big"))
    counted = bound + len(parts).to_bytes(8, "big") + len(plain).to_bytes(8, "big")
    return body + aead.encrypt(nonce(start, len(parts)), b"", counted)


def nonce(start: bytes, index: int) -> bytes:
    return start[:-8] + (int.from_bytes(start[-8:], "big") ^ index).to_bytes(8, "big")


def packet(tag: int, body: bytes) -> bytes:
    return bytes([0xC0 | tag, 255]) + len(body).to_bytes(4, "big") + body


def ocb_message(chunk_bits: int = 0, cut: int = 0) -> bytes:
    """Such a message to the RSA key."""
    session = bytes(range(32, 64))
    [secret] = [one for one in PacketPile.from_bytes((KEYS / "rsa.asc").read_bytes()) if one.tag == Tag.SecretSubkey]
    reader = Reader(bytes(secret.body)[6:])
    modulus, exponent = (int.from_bytes(reader.number(), "big") for _ in range(2))
    framed = b"\x09" + session + (sum(session) % 65536).to_bytes(2, "big")
    sealed = rsa.RSAPublicNumbers(exponent, modulus).public_key().encrypt(framed, padding.PKCS1v15())
    number = int.from_bytes(sealed, "big")
    sealed = number.to_bytes((number.bit_length() + 7) // 8, "big")
    to = b"\x03" + bytes.fromhex(secret.fingerprint)[-8:] + b"\x01" + number.bit_length().to_bytes(2, "big") + sealed
    literal = packet(11, b"b\x00\x00\x00\x00\x00" + DATA_KEY + b"." * 100)
    body = ocb(session, literal, chunk_bits)
    return packet(1, to) + packet(20, body[: len(body) - cut])


@pytest.mark.parametrize("chunk_bits", [0, 16])
def test_what_gnupg_2_4_writes_is_opened_and_gpg_agrees(gpg, chunk_bits):
    message = ocb_message(chunk_bits)
    assert gpg("--decrypt", stdin=message) == DATA_KEY + b"." * 100
    assert openpgp.unlock(wrapped(_armored(message).encode()), keys("rsa")) == DATA_KEY + b"." * 100


@pytest.mark.parametrize("cut", [1, 16, 17, 100])
def test_a_message_that_was_cut_is_noticed(cut):
    with pytest.raises(Locked):
        openpgp.unlock(wrapped(_armored(ocb_message(cut=cut)).encode()), keys("rsa"))
