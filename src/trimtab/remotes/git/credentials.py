"""Credentials: what a Secret holds, in Flux's keys, and what may be done with them."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from trimtab.base.errors import Transient
from trimtab.remotes.git.address import Address


class AuthenticationFailed(Transient):
    """Signing in did not work, or cannot. Retried: a Secret may be repaired without any change to our object."""

    def __init__(self, message: str, *, hopeless: bool = False) -> None:
        super().__init__("AuthenticationFailed", message, hopeless=hopeless)


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to sign in to one repository. Nothing of it is ever printed."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    bearer: str = field(default="", repr=False)
    ca: bytes = field(default=b"", repr=False)
    identity: bytes = field(default=b"", repr=False)
    passphrase: bytes = field(default=b"", repr=False)
    known_hosts: bytes = field(default=b"", repr=False)

    @classmethod
    def from_secret(cls, data: Mapping[str, bytes]) -> "Credentials":
        """Read the decoded `data` of a Secret. Raises AuthenticationFailed naming the key that is wrong."""
        if "githubAppID" in data or "tls.crt" in data or "certFile" in data:
            raise AuthenticationFailed(
                "the Secret signs in as a GitHub App or with a client certificate, which is not supported yet; "
                "use username and password, bearerToken, or identity and known_hosts"
            )
        identity = data.get("identity", b"")
        password = data.get("password", b"")
        return cls(
            username=_text(data, "username"),
            password="" if identity else _text(data, "password"),
            bearer=_text(data, "bearerToken").strip(),
            ca=data.get("ca.crt") or data.get("caFile") or b"",
            identity=identity,
            passphrase=password if identity else b"",
            known_hosts=data.get("known_hosts", b""),
        )

    @property
    def authorization(self) -> str:
        """The value of the Authorization header, or nothing."""
        if self.bearer:
            return f"Bearer {self.bearer}"
        if self.username or self.password:
            return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        return ""

    @property
    def digest(self) -> str:
        """Tells credentials apart without giving them away: what one could read, another may not be shown."""
        parts = (self.authorization.encode(), self.ca, self.identity, self.passphrase, self.known_hosts)
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()

    def check(self, address: Address) -> None:
        """Raise AuthenticationFailed if these must not, or cannot, be used with `address`."""
        if address.scheme == "http" and self.authorization:
            raise AuthenticationFailed(
                f"{address}: credentials are not sent over plain http, where anyone can read them; use https://"
            )
        if address.scheme == "ssh" and not self.identity:
            raise AuthenticationFailed(
                f"{address}: ssh needs a private key: the key identity in the Secret of spec.secretRef"
            )
        if address.scheme == "ssh" and not self.known_hosts.strip():
            raise AuthenticationFailed(
                f"{address}: nothing tells the right host from a wrong one; put the host's key into the key "
                "known_hosts of the Secret (ssh-keyscan prints it; compare it with what the host publishes)"
            )


ANONYMOUS = Credentials()


def _text(data: Mapping[str, bytes], key: str) -> str:
    try:
        text = data.get(key, b"").decode()
    except UnicodeDecodeError:
        raise AuthenticationFailed(f"the key {key} of the Secret is not text") from None
    if any(char in text.strip() for char in "\r\n\0"):
        raise AuthenticationFailed(f"the key {key} of the Secret has more than one line")
    return text
