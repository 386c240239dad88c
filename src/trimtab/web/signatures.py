"""Proofs that lean on a secret both sides know, compared in constant time, on bytes. Pure.

A signature is judged over the body exactly as it came. What cannot be a signature is refused like a wrong one: always
with 401, whatever is in the header.
"""

import hashlib
import hmac
import re
from collections.abc import Collection
from typing import Final

from trimtab.web.delivery import unproven

_SIGNED: Final = re.compile(rb"(sha1|sha256|sha512)=([0-9A-Fa-f]{1,128})")
_BARE: Final = re.compile(rb"[0-9A-Fa-f]{40}")


def check_signature(header: bytes, body: bytes, token: bytes, algorithms: Collection[str]) -> None:
    """Raise Refused unless `header` is `ALGORITHM=HEX`, an HMAC of `body` by one of `algorithms`."""
    matched = _SIGNED.fullmatch(header)
    if matched is None:
        raise unproven("the signature is missing" if not header else "the signature is not ALGORITHM=HEX")
    algorithm = matched[1].decode()
    if algorithm not in algorithms:
        raise unproven(f"signatures by {algorithm} are not taken here, only by {' or '.join(sorted(algorithms))}")
    _check(matched[2], body, token, algorithm)


def check_bare_signature(header: bytes, body: bytes, token: bytes) -> None:
    """Raise Refused unless `header` is an HMAC-SHA1 of `body` in hexadecimal, without a prefix."""
    if not _BARE.fullmatch(header):
        raise unproven("the signature is missing" if not header else "the signature is not 40 hexadecimal digits")
    _check(header, body, token, "sha1")


def check_token(header: bytes, token: bytes) -> None:
    """Raise Refused unless `header` is `token`."""
    # Of digests, so that not even the length of the secret is to be measured.
    if not token or not hmac.compare_digest(hashlib.sha256(header).digest(), hashlib.sha256(token).digest()):
        raise unproven("the token is missing" if not header else "the token is not the one of the Secret")


def _check(digits: bytes, body: bytes, token: bytes, algorithm: str) -> None:
    expected = hmac.digest(token, body, algorithm)
    if not token or len(digits) != 2 * len(expected):
        raise unproven("the signature is not one of the body by the token of the Secret")
    if not hmac.compare_digest(expected, bytes.fromhex(digits.decode())):
        raise unproven("the signature is not one of the body by the token of the Secret")
