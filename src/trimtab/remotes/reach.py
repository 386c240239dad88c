"""Which IP addresses a host has, and whether they may be contacted.

The name is resolved once and the connection goes to what was checked, so that a name server which answers differently
the second time gains nothing. Link-local addresses and those of cloud metadata services are never contacted; private
ones are, unless denied: the owner of the object wrote the address, and most git servers and registries are private.
"""

import ipaddress
import re
import socket
from collections.abc import Iterator
from typing import TypeAlias

from yarl import URL

from trimtab.remotes.lookup import lookup

_Ip: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?\.?")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_TRANSLATED = ipaddress.IPv6Network("::ffff:0:0:0/96")
_METADATA = {
    ipaddress.ip_address(text)
    for text in (
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::23",
        "fd00:ec2::254",
        "fd20:ce::254",
    )
}
_SHARED = ipaddress.IPv4Network("100.64.0.0/10")


class Unresolved(Exception):
    """The host has no address; the words are the resolver's."""


class NotAllowed(Exception):
    """The host has an address that is never contacted."""


async def addresses(host: str, port: int, *, deny_private: bool = False) -> tuple[str, ...]:
    """The IP addresses of `host`, all of them allowed, in the system's order of preference.

    Raises Unresolved if there are none, NotAllowed if one of them is not allowed.
    """
    try:
        ips = await lookup(host, port)
    except TimeoutError as failure:
        words = "no name server has answered; check the DNS of the cluster"
        raise Unresolved(f"the host {host} cannot be resolved: {words}") from failure
    except (OSError, UnicodeError) as failure:
        why = failure.strerror if isinstance(failure, OSError) else failure
        raise Unresolved(f"the host {host} cannot be resolved: {why}; check the spelling") from failure
    for ip in ips:
        if why := refusal(ip, deny_private=deny_private):
            raise NotAllowed(f"{host} is {ip}, {why}, which is never contacted")
    return ips


def host_of(url: URL) -> str:
    """The host of an address that the other side wrote, as it goes over the wire. Raises ValueError for an odd one.

    Names of storage may have underscores. What is percent-encoded, scoped or empty would be read differently by others.
    """
    host = (url.raw_host or "").lower()
    if ":" in host and "%" not in host:
        return str(ipaddress.IPv6Address(host))
    if not _HOST.fullmatch(host):
        raise ValueError(f"{host[:200]!a} is neither a name nor an IP address")
    return host


def written(host: str) -> str | None:
    """The IP address that `host` is a spelling of, as the system's resolver reads it (`127.1`, `0x7f000001`), or None.

    For the one who cannot look a name up, because a proxy does that: localhost is an address too.
    """
    if host.rstrip(".") == "localhost" or host.rstrip(".").endswith(".localhost"):
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host.rstrip(".")))
    except (OSError, UnicodeError):
        return None


def refusal(host: str, *, deny_private: bool = False) -> str | None:
    """Why the IP address `host` may not be contacted; None if it may."""
    forms = tuple(_forms(ipaddress.ip_address(host.partition("%")[0])))
    if any(ip.is_link_local or ip in _METADATA for ip in forms):
        return "a link-local or metadata address"
    if any(ip.is_multicast or ip.is_unspecified for ip in forms):
        return "not the address of a host"
    if deny_private and any(ip.is_private or ip.is_loopback or _is_local(ip) for ip in forms):
        return "a private address"
    return None


def _forms(ip: _Ip) -> Iterator[_Ip]:
    """The address as it is, and the IPv4 addresses inside the usual wrappings."""
    yield ip
    if isinstance(ip, ipaddress.IPv4Address):
        return
    if any(ip in network for network in (_NAT64, _NAT64_LOCAL, _TRANSLATED)) or (ip in _COMPATIBLE and int(ip) > 1):
        yield ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if (inside := ip.ipv4_mapped or ip.sixtofour) is not None:
        yield inside
    yield from ip.teredo or ()


def _is_local(ip: _Ip) -> bool:
    """Whether the address is of a network of somebody's own that `ipaddress` takes for a public one."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip in _SHARED
    return ip.is_site_local or ip in _NAT64_LOCAL
