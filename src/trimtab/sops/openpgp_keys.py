"""Private keys of OpenPGP, as gpg exports them: the parts of each that can decrypt.

Sequoia takes a file apart; the numbers in it are read here, since its Python side opens a message with one key of a
certificate only, the first, and files are often encrypted to another.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

import pysequoia  # noqa: F401 - its packets are of no use without it
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x25519
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap
from pysequoia.packet import PacketPile, Tag

from trimtab.sops.errors import BadKeys, Locked

MAX_BYTES: Final = 1 << 20
_MOST: Final = 100
_SENDER: Final = b"Anonymous Sender    "
_ECDH: Final = 18
_CURVE25519: Final = bytes.fromhex("2b060104019755010501")
_CURVES: dict[bytes, ec.EllipticCurve] = {
    bytes.fromhex("2a8648ce3d030107"): ec.SECP256R1(),
    bytes.fromhex("2b81040022"): ec.SECP384R1(),
    bytes.fromhex("2b81040023"): ec.SECP521R1(),
}
_HASHES: dict[int, hashes.HashAlgorithm] = {8: hashes.SHA256(), 9: hashes.SHA384(), 10: hashes.SHA512()}
_KEY_BYTES: Final = {7: 16, 8: 24, 9: 32}
"""Of AES, by its number in OpenPGP."""
_SECRET: Final = (Tag.SecretKey, Tag.SecretSubkey)

Unwrap: TypeAlias = Callable[["Reader"], bytes]
"""From the rest of an encrypted session key to the session key with its frame. Raises ValueError."""


class SecretKey(NamedTuple):
    """One key that can decrypt, and the `certificate` it belongs to, by their fingerprints (upper case)."""

    fingerprint: str
    certificate: str
    algorithm: int
    unwrap: Unwrap


class Reader:
    """Numbers and bytes of OpenPGP from the front. Raises ValueError where they end too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        taken = self._data[self._at : self._at + size]
        if len(taken) != size:
            raise ValueError("it ends too early")
        self._at += size
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> bytes:
        """A number of many bits, as its bytes."""
        return self.take((int.from_bytes(self.take(2), "big") + 7) // 8)

    def short(self) -> bytes:
        """Bytes whose count comes first, in one byte."""
        return self.take(self.byte())

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)


def secret_keys(data: bytes) -> list[SecretKey]:
    """The keys in an export of gpg that can decrypt, expired ones too. Raises BadKeys, which quotes nothing."""
    if len(data) > MAX_BYTES:
        raise BadKeys(f"it has {len(data)} bytes, and the limit is {MAX_BYTES}")
    found: list[SecretKey] = []
    private = False
    certificate = ""
    try:
        for block in _blocks(data):
            for packet in PacketPile.from_bytes(block):
                if packet.tag in (Tag.SecretKey, Tag.PublicKey):
                    certificate = (packet.fingerprint or "").upper()
                if packet.tag in _SECRET:
                    private = True
                    key = _key(bytes(packet.body), (packet.fingerprint or "").upper(), certificate)
                    found += [key] if key else []
    except RuntimeError:
        raise BadKeys("it is not a private key of OpenPGP; export it by gpg --export-secret-keys --armor") from None
    if not private:
        raise BadKeys("there is no private key in it; export it by gpg --export-secret-keys --armor")
    if not found:
        raise BadKeys("none of the keys in it can decrypt, or is of a kind that is served (RSA, ECDH, X25519)")
    if len(found) > _MOST:
        raise BadKeys(f"there are more than {_MOST} keys in it")
    return found


def _key(body: bytes, fingerprint: str, certificate: str) -> SecretKey | None:
    reader = Reader(body)
    try:
        version, _, algorithm = reader.byte(), reader.take(4), reader.byte()
        if version != 4:
            return None
        reading = {1: _rsa, 2: _rsa, _ECDH: _ecdh, 25: _x25519}.get(algorithm)
        if reading is None:
            return None
        unwrap = reading(reader, fingerprint)
    except _Protected:
        raise BadKeys(f"the key {fingerprint} is protected by a passphrase; export it without one") from None
    except ValueError:
        raise BadKeys(f"the key {fingerprint} is damaged") from None
    return SecretKey(fingerprint, certificate, algorithm, unwrap)


class _Protected(Exception):
    pass


def _open(reader: Reader) -> None:
    if reader.byte() != 0:
        raise _Protected


def _rsa(reader: Reader, _: str) -> Unwrap:
    modulus, exponent = reader.number(), reader.number()
    _open(reader)
    d, p, q = (int.from_bytes(reader.number(), "big") for _ in range(3))
    numbers = rsa.RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big"))
    key = rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), numbers
    ).private_key()
    size = (key.key_size + 7) // 8

    def unwrap(wrapped: Reader) -> bytes:
        return key.decrypt(wrapped.number().rjust(size, b"\0"), padding.PKCS1v15())

    return unwrap


def _ecdh(reader: Reader, fingerprint: str) -> Unwrap:
    curve, _, derivation = reader.short(), reader.number(), reader.short()
    _open(reader)
    scalar = reader.number()
    if len(derivation) != 3 or derivation[1] not in _HASHES or derivation[2] not in _KEY_BYTES:
        raise ValueError("a way to derive keys that is not known")
    agree = _agreement(curve, scalar)
    bound = bytes([len(curve), *curve, _ECDH, 3, *derivation]) + _SENDER + bytes.fromhex(fingerprint)

    def unwrap(wrapped: Reader) -> bytes:
        point, sealed = wrapped.number(), wrapped.short()
        digest = hashes.Hash(_HASHES[derivation[1]])
        digest.update(b"\0\0\0\1" + agree(point) + bound)
        padded = _unwrapped(digest.finalize()[: _KEY_BYTES[derivation[2]]], sealed)
        count = padded[-1]
        if not 1 <= count <= 8 * 8 or padded[-count:] != bytes([count]) * count:
            raise ValueError("a frame that is not one")
        return padded[:-count]

    return unwrap


def _agreement(curve: bytes, scalar: bytes) -> Callable[[bytes], bytes]:
    if curve == _CURVE25519:
        montgomery = x25519.X25519PrivateKey.from_private_bytes(scalar.rjust(32, b"\0")[::-1])

        def agree(point: bytes) -> bytes:
            if len(point) != 33 or point[0] != 0x40:
                raise ValueError("a point that is not on the curve")
            return montgomery.exchange(x25519.X25519PublicKey.from_public_bytes(point[1:]))

        return agree
    if curve not in _CURVES:
        raise ValueError("a curve that is not known")
    group = _CURVES[curve]
    weierstrass = ec.derive_private_key(int.from_bytes(scalar, "big"), group)
    return lambda point: weierstrass.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(group, point))


def _x25519(reader: Reader, _: str) -> Unwrap:
    public = reader.take(32)
    _open(reader)
    key = x25519.X25519PrivateKey.from_private_bytes(reader.take(32))

    def unwrap(wrapped: Reader) -> bytes:
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        ephemeral, rest = wrapped.take(32), Reader(wrapped.short())
        algorithm = rest.take(1)
        shared = key.exchange(x25519.X25519PublicKey.from_public_bytes(ephemeral))
        derived = HKDF(hashes.SHA256(), 16, None, b"OpenPGP X25519").derive(ephemeral + public + shared)
        session = _unwrapped(derived, rest.rest())
        return algorithm + session + (sum(session) % 65536).to_bytes(2, "big")

    return unwrap


def _unwrapped(key: bytes, sealed: bytes) -> bytes:
    try:
        return aes_key_unwrap(key, sealed)
    except InvalidUnwrap:
        raise ValueError("it was made for another key") from None


def session_key(framed: bytes) -> bytes:
    """The key of AES in its frame: the algorithm in front, a sum behind. Raises Locked."""
    if not framed or framed[0] not in _KEY_BYTES or len(framed) != 3 + _KEY_BYTES[framed[0]]:
        raise Locked("it was made for another key, or with a cipher that is not served (AES is)")
    key = framed[1:-2]
    if sum(key) % 65536 != int.from_bytes(framed[-2:], "big"):
        raise Locked("it was made for another key")
    return key


def _blocks(data: bytes) -> list[bytes]:
    """Armored keys one by one; a file may hold several."""
    begin = b"-----BEGIN PGP P"
    return [begin + block for block in data.split(begin)[1:]] or [data]
