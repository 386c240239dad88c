"""Who may post events: the Pods of the install namespace, and this host itself; everybody else is refused.

Whoever may post can have anything said, also that a commit is good. A network policy says the same, where the network
heeds it. The controllers of Flux show nothing that tells who they are, so the address of the Pod is what is asked for.
"""

import ipaddress
from typing import Any, Final, Protocol

from trimtab.base.clock import Clock
from trimtab.base.errors import Transient
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, StaleGroup, UnknownKind, Unreachable
from trimtab.manifests.refs import Gvk

_POD: Final = Gvk("", "v1", "Pod")
_HERE: Final = frozenset({"127.0.0.1", "::1"})
_OVER: Final = frozenset({"Succeeded", "Failed"})
_FRESH_S: Final = 30.0
"""So long an address is believed to be that of the same Pod."""
_AGAIN_S: Final = 2.0


class Callers(Protocol):
    """Says who may post."""

    async def admits(self, address: str) -> bool:
        """Whether events of `address` are taken. Raises Transient where that cannot be found out now."""
        ...


class Everybody:
    """Takes events of whoever gets here."""

    async def admits(self, address: str) -> bool:  # noqa: ARG002 - whoever it is
        """All of them."""
        return True


class Namespace:
    """Takes events of the Pods of one namespace, as the API server has their addresses."""

    def __init__(self, client: Client, namespace: str, clock: Clock) -> None:
        self._client = client
        self._namespace = namespace
        self._clock = clock
        self._known: frozenset[str] = frozenset()
        self._read_at = float("-inf")

    async def admits(self, address: str) -> bool:
        """Whether it is that of a Pod which is there, or this host's own."""
        caller = _plain(address)
        if caller in _HERE:
            return True
        age = self._clock.monotonic() - self._read_at
        if age >= (_FRESH_S if caller in self._known else _AGAIN_S):
            self._known = await self._read()
            self._read_at = self._clock.monotonic()
        return caller in self._known

    async def _read(self) -> frozenset[str]:
        try:
            pods = await self._client.list(await self._client.discovery.find(_POD), self._namespace)
        except (ApiError, Unreachable, UnknownKind, StaleGroup) as failure:
            words = f"who may post events is not known: the Pods of {self._namespace} cannot be listed: {failure}"
            raise Transient("ReadFailed", words) from failure
        return frozenset(_plain(ip) for pod in pods.items for ip in _addresses(pod.get("status") or {}))


def _addresses(status: dict[str, Any]) -> list[str]:
    if status.get("phase") in _OVER:
        return []  # another Pod may have the address by now
    several = [str(one.get("ip", "")) for one in status.get("podIPs") or ()]
    return [one for one in (*several, str(status.get("podIP") or "")) if one]


def _plain(address: str) -> str:
    """An address in one form: without a zone, and IPv4 as that."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)
