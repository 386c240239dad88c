"""Credentials: what a Secret holds, in Flux's keys, and what may be done with them."""

import base64
import hashlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from yarl import URL

from trimtab.base.certificates import load_pair
from trimtab.base.errors import Transient
from trimtab.remotes.git.address import Address
from trimtab.remotes.proxy import shown

APP_KEYS = ("githubAppID", "githubAppPrivateKey")
"""Keys of a Secret that signs in as a GitHub App; one of them is enough to mean it."""


class AuthenticationFailed(Transient):
    """Signing in did not work, or cannot. Retried: a Secret may be repaired without any change to our object."""

    def __init__(self, message: str, *, hopeless: bool = False) -> None:
        super().__init__("AuthenticationFailed", message, hopeless=hopeless)


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to sign in to one repository, and over which proxy. Nothing of it is ever printed.

    `account` stands for the password where that is a token which changes by the hour: who signs in is still the same.
    """

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    bearer: str = field(default="", repr=False)
    ca: bytes = field(default=b"", repr=False)
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    identity: bytes = field(default=b"", repr=False)
    passphrase: bytes = field(default=b"", repr=False)
    known_hosts: bytes = field(default=b"", repr=False)
    proxy: URL | None = field(default=None, repr=False)
    account: str = field(default="", repr=False)

    @classmethod
    def from_secret(cls, data: Mapping[str, bytes]) -> "Credentials":
        """Read the decoded `data` of a Secret. Raises AuthenticationFailed naming the key that is wrong."""
        if any(key in data for key in APP_KEYS):
            raise AuthenticationFailed(
                "the Secret signs in as a GitHub App, and spec.provider is not github: set it, or use another Secret"
            )
        certificate = data.get("tls.crt") or data.get("certFile") or b""
        key = data.get("tls.key") or data.get("keyFile") or b""
        if bool(certificate) is not bool(key):
            raise AuthenticationFailed("the Secret has one of tls.crt and tls.key; a client certificate needs both")
        identity = data.get("identity", b"")
        password = data.get("password", b"")
        return cls(
            username=_text(data, "username"),
            password="" if identity else _text(data, "password"),
            bearer=_text(data, "bearerToken").strip(),
            ca=data.get("ca.crt") or data.get("caFile") or b"",
            certificate=certificate,
            key=key,
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
        parts = (
            self.account.encode() or self.authorization.encode(),
            self.ca,
            self.certificate,
            self.key,
            self.identity,
            self.passphrase,
            self.known_hosts,
            str(self.proxy or "").encode(),
        )
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()

    def within(self, origin: Address, other: Address) -> "Credentials":
        """What of these, which are for `origin`, may be used with `other`: all at the same origin, else the proxy."""
        return self if origin.origin == other.origin else Credentials(proxy=self.proxy)

    def over(self, proxy: URL | None) -> "Credentials":
        """These, by way of a proxy."""
        return replace(self, proxy=proxy)

    def check(self, address: Address) -> None:
        """Raise AuthenticationFailed if these must not, or cannot, be used with `address`."""
        if address.scheme == "http" and self.authorization:
            raise AuthenticationFailed(
                f"{address}: credentials are not sent over plain http, where anyone can read them; use https://"
            )
        if address.scheme == "ssh" and self.proxy is not None:
            raise AuthenticationFailed(
                f"{address}: ssh does not go over the proxy {shown(self.proxy)}; use https://, or remove "
                "spec.proxySecretRef"
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

    @property
    def has_tls(self) -> bool:
        """Whether there is an authority or a certificate of one's own."""
        return bool(self.ca or self.certificate)

    def tls(self) -> ssl.SSLContext:
        """A context with the authority and the client certificate of these. Raises AuthenticationFailed."""
        try:
            context = ssl.create_default_context(cadata=self.ca.decode("ascii") or None)
        except (ssl.SSLError, ValueError) as failure:
            raise AuthenticationFailed(f"ca.crt in the Secret is not a certificate in PEM: {failure}") from failure
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate:
            try:
                load_pair(context, self.certificate, self.key)
            except (OSError, ValueError) as failure:
                raise AuthenticationFailed(f"tls.crt and tls.key in the Secret cannot be used: {failure}") from failure
        return context


ANONYMOUS = Credentials()


def _text(data: Mapping[str, bytes], key: str) -> str:
    try:
        text = data.get(key, b"").decode()
    except UnicodeDecodeError:
        raise AuthenticationFailed(f"the key {key} of the Secret is not text") from None
    if any(char in text.strip() for char in "\r\n\0"):
        raise AuthenticationFailed(f"the key {key} of the Secret has more than one line")
    return text
