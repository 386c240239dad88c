"""References of a remote repository over smart HTTP, in process: what a poll costs is one request.

Protocol version 2 (gitprotocol-v2) is asked for. A server that spoke it once is asked `ls-refs` at once the next time,
without the advertisement before it. Anything unexpected falls back to the whole conversation, which also reads the
answer of servers that only know the older protocol.
"""

import hashlib
import itertools
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from yarl import URL

from trimtab.base.errors import Terminal, Transient
from trimtab.base.http import BodyTooLarge, Request, Response, Transport, TransportError
from trimtab.remotes.git.address import Address
from trimtab.remotes.git.credentials import AuthenticationFailed, Credentials
from trimtab.remotes.git.names import COMMIT
from trimtab.remotes.git.pktline import Mark, Packet, decode, encode
from trimtab.remotes.git.reach import resolve, resolve_proxy

MAX_ANSWER = 32 << 20
_INFO = "/info/refs"
_SERVICE = "/git-upload-pack"
_AGENT = b"agent=trimtab"
_ADVERTISEMENT = "application/x-git-upload-pack-advertisement"
_RESULT = "application/x-git-upload-pack-result"
_MOST_REMEMBERED = 10_000
_MOST_CONTEXTS = 200


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a repository really is: the address after a redirect, and the IP addresses that were checked.

    Over a proxy, those are the addresses in `proxies`, and in `hosts` is what the proxy is asked for.
    """

    address: Address
    hosts: tuple[str, ...]
    proxies: tuple[URL, ...] = ()


@dataclass(frozen=True, slots=True)
class Refs:
    """Object ids by full reference name; `name^{}` is what an annotated tag points to."""

    ids: Mapping[str, str]
    remote: Remote

    def commit(self, name: str) -> str | None:
        """The id behind `name`, tags peeled."""
        return self.ids.get(f"{name}^{{}}") or self.ids.get(name)


class RefReader:
    """Reads references, and remembers how each server wants to be spoken to."""

    def __init__(self, transport: Transport, *, deny_private: bool = False) -> None:
        self._transport = transport
        self._deny_private = deny_private
        # By who asks as well: what a proxy, or somebody's account, is told must not lead anybody else.
        self._speaks_v2: dict[tuple[Address, str], Address] = {}
        self._contexts: dict[bytes, ssl.SSLContext] = {}

    async def read(
        self,
        address: Address,
        credentials: Credentials,
        prefixes: Iterable[str],
        *,
        timeout: float = 60.0,
        deny_private: bool = False,
    ) -> Refs:
        """References whose names start with one of `prefixes` (with others, from servers that cannot select).

        `deny_private`: for an address that the owner of the object did not write.

        Raises AuthenticationFailed, Transient (GitOperationFailed) and Terminal (URLInvalid).
        """
        call = _Call(self, credentials, timeout, deny_private)
        wanted, known = tuple(prefixes), (address, credentials.digest)
        if final := self._speaks_v2.get(known):
            remote = await call.remote(final)
            if (ids := await call.ls_refs(remote, wanted)) is not None:
                return Refs(ids, remote)
            del self._speaks_v2[known]
        remote, advertised = await call.advertisement(address)
        if advertised is not None:
            return Refs(advertised, remote)
        ids = await call.ls_refs(remote, wanted)
        if ids is None:
            raise _failed(address, "the server offers protocol version 2 and does not answer in it")
        self._remember(known, remote.address)
        return Refs(ids, remote)

    async def locate(
        self, address: Address, credentials: Credentials, *, timeout: float = 60.0, deny_private: bool = False
    ) -> Remote:
        """Where `address` leads to, without asking for references. Raises as `read`."""
        call = _Call(self, credentials, timeout, deny_private)
        if final := self._speaks_v2.get((address, credentials.digest)):
            return await call.remote(final)
        remote, advertised = await call.advertisement(address)
        if advertised is None:
            self._remember((address, credentials.digest), remote.address)
        return remote

    async def remote(self, address: Address, proxy: URL | None, *, deny_private: bool) -> Remote:
        """`address` at the checked IP addresses of its host, or by way of those of the proxy."""
        deny_here = deny_private or self._deny_private
        hosts = await resolve(address, proxy=proxy, deny_private=deny_here)
        if proxy is None:
            return Remote(address, hosts)
        return Remote(address, hosts, await resolve_proxy(address, proxy, deny_private=self._deny_private))

    def _remember(self, known: tuple[Address, str], final: Address) -> None:
        if len(self._speaks_v2) >= _MOST_REMEMBERED:
            self._speaks_v2.clear()
        self._speaks_v2[known] = final

    async def send(self, remote: Remote, request: Request, credentials: Credentials) -> Response:
        """Send `request` to the first of the checked IP addresses that accepts it."""
        host = remote.address.host
        server_name = host if remote.address.scheme == "https" and host not in remote.hosts else None
        tls = self._tls(credentials) if remote.address.scheme == "https" else None
        failure: TransportError | None = None
        for ip, proxy in itertools.product(remote.hosts, remote.proxies or (None,)):
            pinned = Request(
                request.method,
                request.url.with_host(ip),
                headers=request.headers,
                body=request.body,
                timeout=request.timeout,
                tls=tls,
                tls_server_name=server_name,
                proxy=proxy,
            )
            try:
                return await self._transport.send(pinned)
            except TransportError as error:
                failure = error
        raise _failed(remote.address, str(failure)) from failure

    def _tls(self, credentials: Credentials) -> ssl.SSLContext | None:
        # One context per authority and certificate: connections are pooled by it, and making one takes milliseconds.
        if not credentials.has_tls:
            return None
        parts = (credentials.ca, credentials.certificate, credentials.key)
        known = b"".join(hashlib.sha256(part).digest() for part in parts)
        if known not in self._contexts:
            while len(self._contexts) >= _MOST_CONTEXTS:
                self._contexts.pop(next(iter(self._contexts)))
            self._contexts[known] = credentials.tls()
        return self._contexts[known]


async def ls_refs(
    address: Address, credentials: Credentials, transport: Transport, prefixes: Iterable[str]
) -> dict[str, str]:
    """References of one repository, once. Who polls keeps a RefReader."""
    return dict((await RefReader(transport).read(address, credentials, prefixes)).ids)


@dataclass(frozen=True, slots=True)
class _Call:
    reader: RefReader
    credentials: Credentials
    timeout: float
    deny_private: bool = False

    async def remote(self, address: Address) -> Remote:
        """`address`, where it may be contacted."""
        return await self.reader.remote(address, self.credentials.proxy, deny_private=self.deny_private)

    async def advertisement(self, address: Address) -> tuple[Remote, dict[str, str] | None]:
        """Ask what the server speaks. The references are there only if it speaks the old protocol."""
        self.credentials.check(address)
        remote = await self.remote(address)
        response = await self._get(remote)
        if response.status in (301, 302, 303, 307, 308):
            await response.close()
            target = address.redirected(response.headers.get("Location", ""), _INFO)
            remote = await self.remote(target)
            response = await self._get(remote)
        body = await self._body(remote.address, response)
        if response.status != 200:
            raise _refused(remote.address, response, bool(self.credentials.authorization))
        if response.headers.get("Content-Type", "").partition(";")[0] != _ADVERTISEMENT:
            raise _failed(address, "this is not a git repository (no smart HTTP); check the path")
        packets = _packets(address, body)
        if packets and packets[0] == b"# service=git-upload-pack":
            packets = packets[2:]
        if packets and packets[0] == b"version 2":
            if any(one == b"object-format=sha256" for one in packets):
                raise Terminal("URLInvalid", f"{address}: repositories with SHA-256 object names are not supported yet")
            return remote, None
        return remote, _advertised(address, packets)

    async def ls_refs(self, remote: Remote, prefixes: tuple[str, ...]) -> dict[str, str] | None:
        """Ask for references in protocol version 2; None if the answer is not in it."""
        self.credentials.check(remote.address)
        ask: list[Packet] = [b"command=ls-refs\n", _AGENT, b"object-format=sha1", Mark.DELIMITER, b"peel\n"]
        ask += [f"ref-prefix {prefix}\n".encode() for prefix in prefixes]
        request = self._request(remote, "POST", _SERVICE, body=encode([*ask, Mark.FLUSH]))
        response = await self.reader.send(remote, request, self.credentials)
        body = await self._body(remote.address, response)
        if response.status != 200 or response.headers.get("Content-Type", "").partition(";")[0] != _RESULT:
            return None
        packets = _packets(remote.address, body)
        if not packets or packets[-1] is not Mark.FLUSH:
            return None
        ids: dict[str, str] = {}
        for packet in packets[:-1]:
            if isinstance(packet, Mark):
                return None
            oid, name, *attributes = packet.decode(errors="surrogateescape").split(" ")
            if not COMMIT.fullmatch(oid):
                return None
            ids[name] = oid
            for attribute in attributes:
                key, _, value = attribute.partition(":")
                if key == "peeled" and COMMIT.fullmatch(value):
                    ids[f"{name}^{{}}"] = value
        return ids

    async def _get(self, remote: Remote) -> Response:
        request = self._request(remote, "GET", _INFO, query="service=git-upload-pack")
        return await self.reader.send(remote, request, self.credentials)

    def _request(
        self, remote: Remote, method: str, suffix: str, *, query: str = "", body: bytes | None = None
    ) -> Request:
        headers = {"Host": remote.address.authority, "Git-Protocol": "version=2"}
        if self.credentials.authorization:
            headers["Authorization"] = self.credentials.authorization
        if body is not None:
            headers |= {"Content-Type": "application/x-git-upload-pack-request", "Accept": _RESULT}
        return Request(method, remote.address.at(remote.address.host, suffix, query), headers, body, self.timeout)

    async def _body(self, address: Address, response: Response) -> bytes:
        try:
            return await response.read(MAX_ANSWER)
        except BodyTooLarge as failure:
            raise _failed(address, f"the list of references is larger than {MAX_ANSWER} bytes") from failure
        except TransportError as failure:
            raise _failed(address, str(failure)) from failure


def _advertised(address: Address, packets: list[Packet]) -> dict[str, str]:
    """References in the answer of protocol versions 0 and 1."""
    ids: dict[str, str] = {}
    for packet in packets:
        if isinstance(packet, Mark) or packet == b"version 1" or packet.startswith(b"shallow "):
            continue
        oid, _, name = packet.partition(b"\0")[0].decode(errors="surrogateescape").partition(" ")
        if not COMMIT.fullmatch(oid):
            raise _failed(address, "an answer that is not in git's protocol")
        if name != "capabilities^{}":
            ids[name] = oid
    return ids


def _packets(address: Address, body: bytes) -> list[Packet]:
    try:
        packets = list(decode(body))
    except ValueError as failure:
        raise _failed(address, f"an answer that is not in git's protocol: {failure}") from failure
    if packets and isinstance(packets[0], bytes) and packets[0].startswith(b"ERR "):
        raise _failed(address, packets[0][4:300].decode(errors="replace"))
    return packets


def _refused(address: Address, response: Response, signed_in: bool) -> Transient:
    status = response.status
    if status == 407:
        return AuthenticationFailed(
            f"{address}: the proxy wants other credentials (407); check the Secret of spec.proxySecretRef"
        )
    if status in (401, 403):
        cause = "refuses these credentials" if signed_in else "wants credentials"
        way_out = "check the Secret of spec.secretRef" if signed_in else "name a Secret in spec.secretRef"
        return AuthenticationFailed(f"{address}: the server {cause} ({status}); {way_out}")
    if status in (404, 410):
        hint = "" if signed_in else ", or it is private and needs spec.secretRef"
        return _failed(address, f"there is no such repository ({status}); check the path{hint}")
    if status in (301, 302, 303, 307, 308):
        return _failed(address, f"the server redirects a second time ({status}); write the final address")
    after = response.headers.get("Retry-After", "")
    return _failed(address, f"the server answered {status}", float(after) if after.isdecimal() else None)


def _failed(address: Address, why: str, retry_after: float | None = None) -> Transient:
    return Transient("GitOperationFailed", f"{address}: {why}", retry_after=retry_after)
