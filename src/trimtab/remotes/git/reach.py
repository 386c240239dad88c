"""Which IP addresses a host has, and whether they may be contacted.

The name is resolved once and the connection goes to what was checked, so that a name server which answers differently
the second time gains nothing. Link-local addresses and those of cloud metadata services are never contacted; private
ones are, unless denied: the owner of the object wrote the address, and most git servers are private.
"""

import asyncio
import ipaddress
import socket
from typing import TypeAlias

from trimtab.base.errors import Terminal, Transient
from trimtab.remotes.git.address import Address

_Ip: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_METADATA = {ipaddress.ip_address(text) for text in ("100.100.100.200", "192.0.0.192", "fd00:ec2::254")}
_SHARED = ipaddress.IPv4Network("100.64.0.0/10")


async def resolve(address: Address, *, deny_private: bool = False) -> tuple[str, ...]:
    """The IP addresses of the host, all of them allowed, in the system's order of preference.

    Raises Transient (GitOperationFailed) if there are none, Terminal (URLInvalid) if one of them is not allowed.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as failure:
        why = failure.strerror if isinstance(failure, OSError) else failure
        raise Transient(
            "GitOperationFailed", f"{address}: the host {address.host} cannot be resolved: {why}; check the spelling"
        ) from failure
    hosts = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    for host in hosts:
        if why := refusal(host, deny_private=deny_private):
            raise Terminal("URLInvalid", f"{address}: {address.host} is {host}, {why}, which is never contacted")
    return hosts


def refusal(host: str, *, deny_private: bool = False) -> str | None:
    """Why the IP address `host` may not be contacted; None if it may."""
    outer = ipaddress.ip_address(host.partition("%")[0])
    for ip in (outer, _unwrapped(outer)):
        if ip.is_link_local or ip in _METADATA:
            return "a link-local or metadata address"
        if ip.is_multicast or ip.is_unspecified:
            return "not the address of a host"
        if deny_private and (ip.is_private or ip.is_loopback or (ip.version == 4 and ip in _SHARED)):
            return "a private address"
    return None


def _unwrapped(ip: _Ip) -> _Ip:
    """The IPv4 address inside the usual wrappings."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip
