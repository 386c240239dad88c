"""Google Cloud KMS: the data key behind a key of a project, asked for with the key of a service account.

Both servers are Google's and stand here, so nothing in a file leads elsewhere, and nothing in the credentials. The
identity of the machine is never used, and no other kind of credentials: some kinds name addresses, or programs to run.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from yarl import URL

from trimtab.base.clock import Clock
from trimtab.remotes.outbound import Outbound
from trimtab.sops.bearer import FORM, Bearer, To, as_written, code
from trimtab.sops.errors import BadKeys, Locked
from trimtab.sops.metadata import Wrapped
from trimtab.sops.services import Answer, ask

CREDENTIALS: Final = "sops.gcp-kms"
SIGN_IN: Final = "https://oauth2.googleapis.com/token"
SERVER: Final = "https://cloudkms.googleapis.com"
SCOPE: Final = "https://www.googleapis.com/auth/cloudkms"
"""Less than the account may do: keys, and nothing else of the cloud."""
_UNIVERSE: Final = "googleapis.com"
_NAME = re.compile(
    r"projects/[A-Za-z0-9][A-Za-z0-9.:_-]{0,127}/locations/[A-Za-z0-9-]{1,63}/keyRings/[A-Za-z0-9_-]{1,63}"
    r"/cryptoKeys/[A-Za-z0-9_-]{1,63}",
    re.ASCII,
)
_EMAIL = re.compile(r"[A-Za-z0-9._+-]{1,128}@[A-Za-z0-9.-]{1,253}", re.ASCII)
_KEY_ID = re.compile(r"[\x21-\x7e]{0,128}", re.ASCII)
_LASTS_S: Final = 3600
_SMALLEST_KEY_BITS: Final = 2048
_LARGEST_KEY_BITS: Final = 4096
_MAX_KEY: Final = 4096
"""Bytes of a private key in PEM: one of 4096 bits has 3300."""


@dataclass(frozen=True, slots=True)
class GcpKms:
    """Asks for any key, as one service account."""

    out: Outbound
    bearer: Bearer
    to: To = as_written

    @classmethod
    def of(cls, out: Outbound, clock: Clock, entries: Mapping[str, bytes], to: To = as_written) -> "GcpKms | None":
        """What a Secret has for it; None if there are no credentials. Raises BadKeys."""
        if CREDENTIALS not in entries:
            return None
        email, key_id, key = _account(entries[CREDENTIALS])

        async def sign_in() -> Answer:
            statement = _statement(email, key_id, key, int(clock.now().timestamp()))
            form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": statement}
            return await ask(out, to(URL(SIGN_IN)), FORM, urlencode(form).encode())

        return cls(out, Bearer(clock, "Google", sign_in), to)

    async def unlock(self, wrapped: Wrapped) -> bytes:
        """The data key. Raises Locked."""
        if not _NAME.fullmatch(wrapped.name):
            raise Locked("its resource_id is not the name of a key")
        url = URL(f"{SERVER}/v1/{wrapped.name}:decrypt", encoded=True)
        headers = await self.bearer.headers()
        answer = await ask(self.out, self.to(url), headers, msgspec.json.encode({"ciphertext": wrapped.enc}))
        if answer.status != 200:
            error = answer.body.get("error")
            said = code(error.get("status")) if isinstance(error, dict) else ""
            raise Locked(f"GCP KMS answers {answer.status} {said}".rstrip(), passing=answer.passing)
        try:
            return base64.b64decode(str(answer.body.get("plaintext")), validate=True)
        except ValueError:
            raise Locked("GCP KMS answers with something that is no key") from None


def _account(data: bytes) -> tuple[str, str, rsa.RSAPrivateKey]:
    """The address of an account, and its key with the name of that."""
    try:
        written = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadKeys(f"{CREDENTIALS}: it has to be the key of a service account, in JSON as Google gives it") from None
    if written.get("type") != "service_account":
        raise BadKeys(
            f"{CREDENTIALS}: its type is not service_account, the only kind of credentials that is served: create a "
            "key for a service account"
        )
    if written.get("token_uri", SIGN_IN) != SIGN_IN:
        raise BadKeys(f"{CREDENTIALS}: its token_uri is not {SIGN_IN}, and its key signs for no other")
    if written.get("universe_domain", _UNIVERSE) != _UNIVERSE:
        raise BadKeys(f"{CREDENTIALS}: its universe_domain is not {_UNIVERSE}, the only one that is served")
    email, key_id, pem = (written.get(name, "") for name in ("client_email", "private_key_id", "private_key"))
    if not isinstance(email, str) or not _EMAIL.fullmatch(email):
        raise BadKeys(f"{CREDENTIALS}: client_email is missing, or is not one")
    if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
        raise BadKeys(f"{CREDENTIALS}: private_key_id is not one")
    return email, key_id, _key(pem if isinstance(pem, str) else "")


# Reading a key takes 30 ms and more, for it is checked; the Secret is read in every pass.
@lru_cache(maxsize=100)
def _key(pem: str) -> rsa.RSAPrivateKey:
    # Before it is read: the check of a key of 16384 bits takes ten seconds, in which nothing else is done.
    if len(pem) > _MAX_KEY:
        raise BadKeys(f"{CREDENTIALS}: private_key has more than {_MAX_KEY} bytes")
    try:
        key = load_pem_private_key(pem.strip().encode() + b"\n", password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Not what the library says of it, and not chained: nothing of a key belongs into a message.
        raise BadKeys(f"{CREDENTIALS}: private_key is not a private key in PEM") from None
    if not isinstance(key, rsa.RSAPrivateKey) or not _SMALLEST_KEY_BITS <= key.key_size <= _LARGEST_KEY_BITS:
        raise BadKeys(
            f"{CREDENTIALS}: private_key is not an RSA key of {_SMALLEST_KEY_BITS} to {_LARGEST_KEY_BITS} bits"
        )
    return key


def _statement(email: str, key_id: str, key: rsa.RSAPrivateKey, now: int) -> str:
    """Who asks, signed: a JSON Web Token as RFC 7523 has it."""
    head = {"alg": "RS256", "typ": "JWT"} | ({"kid": key_id} if key_id else {})
    claims = {"iss": email, "scope": SCOPE, "aud": SIGN_IN, "iat": now, "exp": now + _LASTS_S}
    signed = f"{_encoded(msgspec.json.encode(head))}.{_encoded(msgspec.json.encode(claims))}"
    return f"{signed}.{_encoded(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
