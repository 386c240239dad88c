"""Addresses of repositories: one strict reading, so that the host that is checked is the host that is contacted."""

import ipaddress
import re
from dataclasses import dataclass

from yarl import URL

from trimtab.base.errors import Terminal
from trimtab.remotes.shown import shown

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
    r"(?:(?P<user>[^@/]*)@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]@:/]*)"
    r"(?::(?P<port>[^/]*))?"
    r"(?P<path>/.*)?"
)
_SCP = re.compile(r"(?P<user>[A-Za-z0-9_.-]+@)?(?P<host>[A-Za-z0-9.-]+):(?P<path>(?!//)[^:]+)")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_USER = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,63}")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_PATH = re.compile(r"(?:/(?:[A-Za-z0-9_.~!$&'()*+,;=:@-]|%[2-7][0-9A-Fa-f])+)+")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ssh": 22}
_MAX_CHARS = 4096


@dataclass(frozen=True, slots=True)
class Address:
    """Where a repository is. `user` only for ssh; a user name in an http address is dropped, secrets sign in."""

    scheme: str
    host: str
    port: int
    path: str
    user: str = ""

    def __str__(self) -> str:
        return self.url

    @property
    def url(self) -> str:
        """The one way to write it."""
        user = f"{self.user}@" if self.user else ""
        return f"{self.scheme}://{user}{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        """Host, and port where it is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def over_http(self) -> bool:
        """Whether it is spoken to over HTTP, with or without TLS."""
        return self.scheme != "ssh"

    @property
    def origin(self) -> tuple[str, str, int]:
        """What credentials belong to."""
        return (self.scheme, self.host, self.port)

    def at(self, host: str, suffix: str, query: str = "") -> URL:
        """The URL of a service below the repository, on the given IP address of its host."""
        port = None if self.port == _DEFAULT_PORTS[self.scheme] else self.port
        return URL.build(
            scheme=self.scheme,
            authority=URL.build(scheme=self.scheme, host=host, port=port).raw_authority,
            path=self.path + suffix,
            query_string=query,
            encoded=True,
        )

    def redirected(self, target: str, suffix: str) -> "Address":
        """Where a redirect from `suffix` below this address leads.

        Followed only to the same origin, or from http to https on the same host. Raises Terminal (URLInvalid).
        """
        if not target:
            raise _refused(self.url, "the server redirects without saying where to")
        base = URL(f"{self.scheme}://{self.authority}{self.path}{suffix}", encoded=True)
        try:
            joined = str(base.join(URL(target, encoded=True)).with_fragment(None)).partition("?")[0]
        except ValueError as failure:
            raise _refused(self.url, f"the server redirects to {shown(target)}: {failure}") from failure
        if not joined.endswith(suffix):
            raise _refused(self.url, f"the server redirects to {shown(target)}, which is not a git repository")
        after = parse_address(joined.removesuffix(suffix))
        upgraded = self.scheme == "http" and after.scheme == "https" and after.host == self.host
        if after.origin != self.origin and not upgraded:
            raise _refused(
                self.url,
                f"the server redirects to {after.scheme}://{after.authority}, another origin, which is not followed; "
                "if that is where the repository is, write that address",
            )
        return after


def parse_address(text: str) -> Address:
    """Read the address of a repository. Raises Terminal (URLInvalid) with what to write instead."""
    if len(text) > _MAX_CHARS:
        raise _refused(text, f"longer than {_MAX_CHARS} characters")
    match = _URL.fullmatch(text)
    if not match:
        raise _refused(text, _way_out(text))
    scheme, host, path = match["scheme"], match["host"], match["path"] or ""
    if scheme not in _DEFAULT_PORTS:
        if scheme.lower() in _DEFAULT_PORTS:
            raise _refused(text, f"write {scheme.lower()}:// in lower case")
        raise _refused(text, f"{scheme}:// is not supported; use https://, ssh:// or http://")
    user = match["user"]
    if user is not None and (":" in user or not _USER.fullmatch(user)):
        raise _refused(text, "credentials do not belong into the address; put them into the Secret of spec.secretRef")
    port = match["port"]
    if port is not None and not (_PORT.fullmatch(port) and int(port) < 65536):
        raise _refused(text, "the port is not a number from 1 to 65535")
    path = path.rstrip("/")
    if not _PATH.fullmatch(path) or "%7f" in path.lower():
        raise _refused(text, "the path is missing, or has characters that do not belong into an address")
    if any(part in (".", "..") for part in re.sub("%2e", ".", path, flags=re.IGNORECASE).split("/")):
        raise _refused(text, "the path has a part that is . or ..")
    return Address(
        scheme=scheme,
        host=_host(text, host),
        port=int(port) if port else _DEFAULT_PORTS[scheme],
        path=path,
        user=(user or "git") if scheme == "ssh" else "",
    )


def _host(text: str, host: str) -> str:
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError as failure:
            raise _refused(text, f"{host} is not an IPv6 address") from failure
    if not host:
        raise _refused(text, "the host is missing")
    name = host.removesuffix(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise _refused(text, "the host has characters that do not belong into a name; write it in ASCII (punycode)")
    return name.lower()


def _way_out(text: str) -> str:
    if scp := _SCP.fullmatch(text):
        user, host, path = scp["user"] or "git@", scp["host"], scp["path"].lstrip("/")
        return f"the short form of scp is not supported; write ssh://{user}{host}/{path}"
    return "write https://host/path, ssh://user@host/path or http://host/path"


def _refused(text: str, why: str) -> Terminal:
    return Terminal("URLInvalid", f"the repository address {shown(text)} is refused: {why}")
