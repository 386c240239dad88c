"""Names in a registry: one strict reading of repositories, tags and digests, by the OCI distribution specification."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from yarl import URL

from trimtab.base.errors import Terminal
from trimtab.remotes.shown import shown

TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
"""The one algorithm accepted: every registry has it, and revisions are written with it."""
DOCKER_HUB: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
"""What the one registry is called by."""

_DOCKER_API = "index.docker.io"
_ADDRESS = re.compile(r"oci://(?P<host>\[[0-9A-Fa-f:.]+\]|[^/:@\[\]]+)(?::(?P<port>[^/]*))?/(?P<path>.+)", re.DOTALL)
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62})(?:\.[a-z0-9][a-z0-9-]{0,62})*\.?")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_LONGEST_PATH = 255


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of a registry. `host` is a name or an IP address, without brackets."""

    host: str
    port: int
    path: str
    insecure: bool = False

    @property
    def scheme(self) -> str:
        """https, unless plain HTTP was asked for."""
        return "http" if self.insecure else "https"

    @property
    def origin(self) -> URL:
        """The registry's address."""
        port = None if self.port == (80 if self.insecure else 443) else self.port
        return URL.build(scheme=self.scheme, host=self.host, port=port)

    def at(self, suffix: str, query: str = "") -> URL:
        """The address of something in the repository, such as `manifests/latest`."""
        return URL.build(
            scheme=self.scheme,
            authority=self.origin.raw_authority,
            path=f"/v2/{self.path}/{suffix}",
            query_string=query,
            encoded=True,
        )

    def __str__(self) -> str:
        return f"oci://{self.origin.raw_authority}/{self.path}"


def parse_repository(text: str, *, insecure: bool = False) -> Repository:
    """The repository behind `oci://host[:port]/path`. Raises Terminal (URLInvalid).

    A single name on Docker Hub means one of its official images, as in every client.
    """
    scheme, _, rest = text.partition("://")
    if "@" in rest.partition("/")[0]:
        raise _refused(
            f"{scheme}://***@{rest.rpartition('@')[2]}",
            "credentials do not belong here: name a Secret in spec.secretRef",
        )
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise _refused(text, "expected oci://host[:port]/path")
    host = match["host"].lower()
    if host.startswith("["):
        try:
            host = str(ipaddress.IPv6Address(host.strip("[]")))
        except ValueError:
            raise _refused(text, "what is in brackets is not an IPv6 address") from None
    elif not (_HOST.fullmatch(host) and len(host) <= 253):
        raise _refused(text, "the host is neither a name nor an IP address")
    port = match["port"]
    if port is not None and not (_PORT.fullmatch(port) and int(port) < 65536):
        raise _refused(text, "the port is not a number from 1 to 65535")
    path = match["path"]
    if "@" in path or ":" in path:
        raise _refused(text, "the tag or digest does not belong here: write it in spec.ref")
    parts = path.split("/")
    if len(path) > _LONGEST_PATH or not all(_COMPONENT.fullmatch(part) for part in parts):
        raise _refused(text, "the path is not the name of a repository: lower-case words, joined by slashes")
    if host in DOCKER_HUB:
        host = _DOCKER_API
        path = f"library/{path}" if len(parts) == 1 else path
    default = 80 if insecure else 443
    return Repository(host, int(port) if port else default, path, insecure)


def check_tag(tag: str) -> str:
    """`tag` itself. Raises Terminal (URLInvalid) if it cannot be one."""
    if not TAG.fullmatch(tag):
        raise Terminal("URLInvalid", f"{tag[:200]!a} is not a tag: up to 128 letters, digits, `_`, `.` and `-`")
    return tag


def check_digest(digest: str) -> str:
    """`digest` itself. Raises Terminal (URLInvalid) if it is not `sha256:` and 64 hexadecimal digits."""
    if not DIGEST.fullmatch(digest):
        raise Terminal("URLInvalid", f"{digest[:200]!a} is not a digest: expected sha256: and 64 hexadecimal digits")
    return digest


def _refused(text: str, why: str) -> Terminal:
    return Terminal("URLInvalid", f"{shown(text)} is not the address of an OCI repository: {why}")
