"""OpenPGP signatures, by Sequoia; what it leaves to its caller is decided here.

Sequoia judges a key by the time that the signature claims for itself, which its maker chose. So expiry and revocation
are judged again: by the moment we saw the signed object first, and for ever.
"""

from datetime import UTC, datetime
from typing import NamedTuple

import pysequoia
from pysequoia.packet import Packet, PacketPile, SignatureType, Tag

from trimtab.crypto.trust import BadKeys, BadSignature, Signer

BEGIN, END = "-----BEGIN PGP SIGNATURE-----", "-----END PGP SIGNATURE-----"
MAX_BYTES = 64 << 10
MAX_KEYS_BYTES = 4 << 20
_SECRET = (Tag.SecretKey, Tag.SecretSubkey)
_PRIVATE = "it holds a private key; put the public half there (gpg --armor --export)"


class Certificate(NamedTuple):
    """A trusted certificate, and until when each of its keys is good: None for ever, a moment, or False if revoked."""

    cert: pysequoia.Cert
    until: dict[str, datetime | bool | None]


def parse_certificates(data: bytes) -> list[Certificate]:
    """Read public keys, armored or not. Raises BadKeys."""
    if len(data) > MAX_KEYS_BYTES:
        raise BadKeys(f"{len(data)} bytes; the limit is {MAX_KEYS_BYTES}")
    if b"PRIVATE KEY" in data:
        raise BadKeys(_PRIVATE)
    found: list[Certificate] = []
    try:
        for block in _blocks(data):
            there = len(found)
            tags = [packet.tag for packet in PacketPile.from_bytes(block)]
            if any(tag in _SECRET for tag in tags):
                raise BadKeys(_PRIVATE)
            found += [Certificate(cert, _until(cert)) for cert in pysequoia.Cert.split_bytes(block)]
            # What Sequoia does not accept it leaves out silently.
            if len(found) - there != tags.count(Tag.PublicKey) or len(found) == there:
                raise BadKeys("not, or not only, public keys of OpenPGP; export them by gpg --armor --export")
    except RuntimeError as problem:
        raise BadKeys(f"not a public key of OpenPGP: {_first_line(problem)}") from problem
    return found


def judge(certificates: list[Certificate], payload: bytes, armored: bytes, seen: datetime) -> Signer:
    """Who made this signature of `payload`, which came at the moment `seen`. Raises BadSignature."""
    signature = _signature(armored)
    claimed = (signature.issuer_fingerprint or signature.issuer_key_id or "unknown").upper()
    try:
        done = pysequoia.verify(
            bytes=payload, store=lambda _: [known.cert for known in certificates], signature=signature
        )
    except RuntimeError as problem:
        made = [
            until for known in certificates for key, until in known.until.items() if claimed.lower() in (key, key[-16:])
        ]
        if not made:
            raise BadSignature(f"the key {claimed} is not among the trusted ones") from problem
        if False in made:
            raise BadSignature(f"the key {claimed} is revoked") from problem
        raise BadSignature(
            f"the signature by key {claimed} does not fit: what was signed is not what is here, or the key or its "
            "hash is too weak"
        ) from problem
    if len(done.valid_sigs) != 1:
        raise BadSignature(f"{len(done.valid_sigs)} signatures where one is expected")
    certificate, key = done.valid_sigs[0].certificate, done.valid_sigs[0].signing_key
    known = next(known for known in certificates if known.cert.fingerprint == certificate)
    for part in {certificate, key}:
        _check_time(part, known.until.get(part, False), seen)
    users = [str(user) for user in known.cert.user_ids]
    addresses = tuple(user.rpartition("<")[2].removesuffix(">") for user in users)
    return Signer(key.upper(), users[0] if users else "", addresses=addresses)


def _check_time(key: str, until: datetime | bool | None, seen: datetime) -> None:
    if until is False:
        raise BadSignature(f"the key {key.upper()} is revoked")
    if isinstance(until, datetime) and seen >= until:
        raise BadSignature(
            f"the key {key.upper()} expired at {until:%Y-%m-%d %H:%MZ}, and this came at {seen:%Y-%m-%d %H:%MZ}"
        )


def _signature(armored: bytes) -> pysequoia.Sig:
    if len(armored) > MAX_BYTES:
        raise BadSignature(f"the signature has {len(armored)} bytes; none is that long")
    lines = armored.decode("ascii", errors="replace").removesuffix("\n").split("\n")
    if lines[0].rstrip() != BEGIN:
        raise BadSignature("the signature does not begin as an OpenPGP signature")
    ends = [number for number, line in enumerate(lines) if line.rstrip() == END]
    if not ends:
        raise BadSignature("the signature is cut off: its last line is missing")
    if ends[0] != len(lines) - 1:
        raise BadSignature("something follows the end of the signature")
    try:
        packets = list(PacketPile.from_bytes(armored))
        if len(packets) != 1 or packets[0].tag != Tag.Signature:
            raise BadSignature(f"{len(packets)} packets where one signature is expected")
        signature = pysequoia.Sig.from_bytes(armored)
    except RuntimeError as problem:
        raise BadSignature(f"the OpenPGP signature cannot be read: {_first_line(problem)}") from problem
    if signature.signature_type != SignatureType.Binary:
        raise BadSignature("the OpenPGP signature is not one of a file")
    return signature


def _until(cert: pysequoia.Cert) -> dict[str, datetime | bool | None]:
    """Until when each key of a certificate is good; for a subkey by its newest binding."""
    packets = list(PacketPile.from_bytes(bytes(cert)))
    primary = key = packets[0]
    found: dict[str, datetime | bool | None] = {_name(primary): False if cert.is_revoked else cert.expiration}
    newest: dict[str, datetime] = {}
    for packet in packets:
        name = _name(key)
        if packet.tag == Tag.PublicSubkey:
            key = packet
            found[_name(key)] = None
        elif packet.tag != Tag.Signature or key is primary or not _own(packet, primary):
            continue
        elif packet.signature_type == SignatureType.SubkeyRevocation:
            found[name] = False
        elif packet.signature_type == SignatureType.SubkeyBinding and found[name] is not False:
            made = packet.signature_created or datetime.min.replace(tzinfo=UTC)
            if made >= newest.get(name, made):
                newest[name] = made
                lasts, created = packet.key_validity_period, key.key_created
                found[name] = created + lasts if lasts and created else None
    return found


def _own(packet: Packet, primary: Packet) -> bool:
    """Whether `packet` claims to be a signature of the primary key; those of other people say nothing about time."""
    issuer, name = packet.issuer_fingerprint, _name(primary)
    return issuer == name if issuer else (packet.issuer_key_id or name[-16:]) == name[-16:]


def _name(key: Packet) -> str:
    return key.fingerprint or ""


def _blocks(data: bytes) -> list[bytes]:
    begin = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"
    return [begin + block for block in data.split(begin)[1:]] or [data]


def _first_line(problem: Exception) -> str:
    return str(problem).partition("\n")[0][:200]
