"""Where a git server is: `remotes.reach`, in the words of git's errors."""

from yarl import URL

from trimtab.base.errors import Terminal, Transient
from trimtab.remotes.git.address import Address
from trimtab.remotes.proxy import shown
from trimtab.remotes.reach import NotAllowed, Unresolved, addresses, refusal, written


async def resolve(address: Address, *, proxy: URL | None = None, deny_private: bool = False) -> tuple[str, ...]:
    """The IP addresses of the host, all of them allowed, in the system's order of preference.

    Over a proxy it is the name itself: the proxy looks it up, so that only what is written as an address can be judged.
    Raises Transient (GitOperationFailed) if there are none, Terminal (URLInvalid) if one of them is not allowed.
    """
    if proxy is not None:
        if (ip := written(address.host)) and (why := refusal(ip, deny_private=deny_private)):
            raise Terminal("URLInvalid", f"{address}: {address.host} is {ip}, {why}, which is never contacted")
        return (address.host,)
    try:
        return await addresses(address.host, address.port, deny_private=deny_private)
    except Unresolved as failure:
        raise Transient("GitOperationFailed", f"{address}: {failure}") from failure
    except NotAllowed as failure:
        raise Terminal("URLInvalid", f"{address}: {failure}") from failure


async def resolve_proxy(address: Address, proxy: URL, *, deny_private: bool = False) -> tuple[URL, ...]:
    """The proxy at each of its addresses, checked like any other host that an object names. Raises Transient."""
    try:
        ips = await addresses(proxy.host or "", proxy.port or 80, deny_private=deny_private)
    except (Unresolved, NotAllowed) as failure:
        raise Transient(
            "GitOperationFailed", f"{address}: the proxy {shown(proxy)} of spec.proxySecretRef: {failure}"
        ) from failure
    return tuple(proxy.with_host(ip) for ip in ips)
