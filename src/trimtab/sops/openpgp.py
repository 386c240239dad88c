"""OpenPGP: the data key out of a message that was encrypted to one of our keys.

Only what is protected against changes is opened: SEIPD of version 1, which carries a digest, and OCB as GnuPG 2.4
writes it. Signatures are not looked at: whoever could make a message for us could sign it, too.
"""

import bz2
import hashlib
import hmac
import zlib
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESOCB3
from pysequoia.packet import Packet, PacketPile, Tag

from trimtab.sops.errors import Locked
from trimtab.sops.metadata import Wrapped
from trimtab.sops.openpgp_keys import Reader, SecretKey, session_key

_MAX_PLAIN: Final = 64 << 10
_BLOCK: Final = 16
_DIGEST: Final = b"\xd3\x14"
_ANYONE: Final = bytes(8)
_OCB_TAG: Final = 20
_TAG_BYTES: Final = 16
_MAX_CHUNK_BITS: Final = 16
_OCB: Final = 2


def unlock(wrapped: Wrapped, known: Sequence[SecretKey]) -> bytes:
    """The data key, by one of `known`. Raises Locked."""
    if not known:
        raise Locked("there is no OpenPGP key")
    try:
        packets = list(PacketPile.from_bytes(wrapped.enc.encode()))
    except RuntimeError:
        raise Locked("what was encrypted for it is not a message of OpenPGP") from None
    if not packets:
        raise Locked("what was encrypted for it is empty")
    session = _session(packets[:-1], known)
    try:
        return _literal(_opened(packets[-1], session))
    except (ValueError, RuntimeError, InvalidTag, EOFError, OSError, zlib.error):
        raise Locked("what was encrypted for it is damaged") from None


def _session(packets: Sequence[Packet], known: Sequence[SecretKey]) -> bytes:
    failed = Locked("none of the OpenPGP keys is its")
    for packet in packets:
        if packet.tag != Tag.PKESK:
            raise Locked("what was encrypted for it is not made for keys")
        reader = Reader(bytes(packet.body))
        try:
            version, target, algorithm = reader.byte(), reader.take(8), reader.byte()
            rest = reader.rest()
        except ValueError:
            raise Locked("what was encrypted for it is damaged") from None
        if version != 3:
            failed = Locked("it is a message of a newer OpenPGP (RFC 9580), which this version does not read")
            continue
        for key in known:
            fits = target in (_ANYONE, bytes.fromhex(key.fingerprint)[-8:])
            if not fits or (key.algorithm != algorithm and {key.algorithm, algorithm} != {1, 2}):
                continue
            try:
                return session_key(key.unwrap(Reader(rest)))
            except Locked as failure:
                failed = failure
            except ValueError:
                failed = Locked("what was encrypted for it is damaged")
    raise failed


def _opened(packet: Packet, key: bytes) -> bytes:
    """The packets inside an encrypted one. Raises ValueError and what belongs to the ciphers."""
    body = bytes(packet.body)
    if packet.tag == Tag.SEIP and body[:1] == b"\1":
        return _cfb(body[1:], key)
    if packet.tag == Tag.AED:
        return _ocb(body, key)
    raise Locked("it is encrypted in a way that this version does not open, or that does not notice changes")


def _cfb(body: bytes, key: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(key), CFB(bytes(_BLOCK))).decryptor()
    plain = decryptor.update(body) + decryptor.finalize()
    inside, digest = plain[:-20], plain[-20:]
    if not hmac.compare_digest(hashlib.sha1(inside, usedforsecurity=False).digest(), digest):
        raise ValueError("changed")
    if len(inside) < _BLOCK + 4 or inside[-2:] != _DIGEST:
        raise ValueError("cut")
    return inside[_BLOCK + 2 : -2]


def _ocb(body: bytes, key: bytes) -> bytes:
    reader = Reader(body)
    head = reader.take(4)
    if head[0] != 1 or head[2] != _OCB or head[3] > _MAX_CHUNK_BITS:
        raise Locked("it is encrypted in a way that this version does not open")
    start, sealed = reader.take(15), reader.rest()
    chunk = (1 << (head[3] + 6)) + _TAG_BYTES
    aead, bound = AESOCB3(key), bytes([0xC0 | _OCB_TAG]) + head
    last, parts, index = sealed[-_TAG_BYTES:], [], 0
    for at in range(0, len(sealed) - _TAG_BYTES, chunk):
        part = sealed[at : min(at + chunk, len(sealed) - _TAG_BYTES)]
        parts.append(aead.decrypt(_nonce(start, index), part, bound + index.to_bytes(8, "big")))
        index += 1
    plain = b"".join(parts)
    counted = bound + index.to_bytes(8, "big") + len(plain).to_bytes(8, "big")
    aead.decrypt(_nonce(start, index), last, counted)
    return plain


def _nonce(start: bytes, index: int) -> bytes:
    tail = int.from_bytes(start[-8:], "big") ^ index
    return start[:-8] + tail.to_bytes(8, "big")


def _literal(data: bytes) -> bytes:
    """What a message says, at most once compressed."""
    packet = _first(data)
    if packet.tag == Tag.CompressedData:
        packet = _first(_inflated(bytes(packet.body)))
    if packet.tag != Tag.Literal or packet.literal_data is None:
        raise ValueError("no text in it")
    return bytes(packet.literal_data)


def _first(data: bytes) -> Packet:
    packet: Packet
    for packet in PacketPile.from_bytes(data):
        if packet.tag in (Tag.CompressedData, Tag.Literal):
            return packet
    raise ValueError("no text in it")


def _inflated(body: bytes) -> bytes:
    match body[:1]:
        case b"\0":
            return body[1:]
        case b"\1":
            return zlib.decompressobj(-15).decompress(body[1:], _MAX_PLAIN)
        case b"\2":
            return zlib.decompressobj().decompress(body[1:], _MAX_PLAIN)
        case b"\3":
            return bz2.BZ2Decompressor().decompress(body[1:], _MAX_PLAIN)
    raise ValueError("a compression that is not known")
