"""Where a bucket is: one strict reading of an endpoint, a name and a region."""

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from yarl import URL

from trimtab.base.errors import Terminal
from trimtab.remotes.s3 import sigv4

_ENDPOINT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^/:@\[\]?#\s]+)(?::(?P<port>[0-9]{1,5}))?/?")
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*\.?")
# Wider than AWS has it: other servers, and old buckets, have capitals and underscores.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{1,253})[A-Za-z0-9]")
_REGION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62})")
_AWS = re.compile(r"s3(?:[.-](?:dualstack\.)?(?P<region>[a-z]{2}(?:-[a-z]+)+-[0-9]))?\.amazonaws\.com(?:\.cn)?")

DEFAULT_REGION: Final = "us-east-1"


@dataclass(frozen=True, slots=True)
class Place:
    """One bucket of one server. `host` is a name or an IP address, without brackets; `virtual` has the bucket in it."""

    host: str
    port: int
    name: str
    region: str = DEFAULT_REGION
    insecure: bool = False
    virtual: bool = False

    @property
    def origin(self) -> URL:
        """The server's address."""
        scheme, usual = ("http", 80) if self.insecure else ("https", 443)
        host = f"{self.name}.{self.host}" if self.virtual else self.host
        return URL.build(scheme=scheme, host=host, port=None if self.port == usual else self.port)

    def at(self, key: str = "", query: str = "") -> URL:
        """The address of the bucket, or of what it holds under `key`."""
        path = "/" if self.virtual else f"/{self.name}/" if key else f"/{self.name}"
        origin = self.origin
        return URL.build(
            scheme=origin.scheme,
            authority=origin.raw_authority,
            path=path + sigv4.encoded(key, safe="/"),
            query_string=query,
            encoded=True,
        )

    @property
    def identity(self) -> str:
        """Tells buckets apart, in a few characters: the same name and ETag elsewhere is not the same content."""
        return hashlib.sha256(f"{self.host}\0{self.port}\0{self.name}".encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return f"bucket {self.name} at {self.origin.raw_authority if not self.virtual else self.host}"


def parse_place(endpoint: str, name: str, *, region: str = "", insecure: bool = False) -> Place:
    """The bucket `name` at `endpoint`, which is `host[:port]`. Raises Terminal (URLInvalid)."""
    if "@" in endpoint:
        raise _refused(f"***@{endpoint.rpartition('@')[2]}", "credentials do not belong here: use spec.secretRef")
    if "://" in endpoint:
        raise _refused(endpoint, "write host[:port] alone; spec.insecure says whether it is http")
    match = _ENDPOINT.fullmatch(endpoint)
    if match is None:
        raise _refused(endpoint, "expected host[:port]")
    host = match["host"].lower()
    if host.startswith("["):
        try:
            host = str(ipaddress.IPv6Address(host.strip("[]")))
        except ValueError:
            raise _refused(endpoint, "what is in brackets is not an IPv6 address") from None
    elif not (_HOST.fullmatch(host) and len(host) <= 253):
        raise _refused(endpoint, "the host is neither a name nor an IP address")
    port = int(match["port"]) if match["port"] else 80 if insecure else 443
    if not 0 < port < 65536:
        raise _refused(endpoint, "the port is not a number from 1 to 65535")
    if not _NAME.fullmatch(name) or ".." in name:
        raise Terminal("URLInvalid", f"spec.bucketName: {name[:100]!a} is not the name of a bucket")
    if region and not _REGION.fullmatch(region):
        raise Terminal("URLInvalid", f"spec.region: {region[:100]!a} is not the name of a region")
    aws = _AWS.fullmatch(host)
    if aws is None:
        return Place(host, port, name, region or DEFAULT_REGION, insecure)
    if host == "s3.amazonaws.com" and region not in ("", DEFAULT_REGION):
        # The address for all regions sends requests on, and a signature is for one host and region.
        host = f"s3.{region}.amazonaws.com"
    # A dot in the name would not fit the certificate, whose asterisk stands for one label.
    virtual = "." not in name and "_" not in name and name == name.lower()
    return Place(host, port, name, region or aws["region"] or DEFAULT_REGION, insecure, virtual)


def _refused(endpoint: str, why: str) -> Terminal:
    return Terminal("URLInvalid", f"spec.endpoint: {endpoint[:300]!a} is not an endpoint: {why}")
