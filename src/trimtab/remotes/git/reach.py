"""Where a git server is: `remotes.reach`, in the words of git's errors."""

from trimtab.base.errors import Terminal, Transient
from trimtab.remotes.git.address import Address
from trimtab.remotes.reach import NotAllowed, Unresolved, addresses


async def resolve(address: Address, *, deny_private: bool = False) -> tuple[str, ...]:
    """The IP addresses of the host, all of them allowed, in the system's order of preference.

    Raises Transient (GitOperationFailed) if there are none, Terminal (URLInvalid) if one of them is not allowed.
    """
    try:
        return await addresses(address.host, address.port, deny_private=deny_private)
    except Unresolved as failure:
        raise Transient("GitOperationFailed", f"{address}: {failure}") from failure
    except NotAllowed as failure:
        raise Terminal("URLInvalid", f"{address}: {failure}") from failure
