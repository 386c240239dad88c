"""A look at a repository: its tags in one request, the digest behind one, and whether one is there at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from trimtab.api.image import ImageRepositorySpec
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient, Waiting
from trimtab.images import naming
from trimtab.images.pace import LONGEST_HOLD_S, Held, Pace
from trimtab.remotes.oci.reference import Repository, check_tag
from trimtab.remotes.oci.registry import Listed, Registry
from trimtab.remotes.oci.wire import Access, NotThere, PullFailed, Wire
from trimtab.remotes.outbound import Outbound

FAILED: Final = "ReadOperationFailed"
_LONGEST_TIMEOUT_S: Final = 600.0
_PATIENCE_S: Final = 2 * LONGEST_HOLD_S


class Later(Waiting):
    """The registry has asked us for patience before: nothing was sent, and nothing is wrong with who wanted to ask."""


@dataclass(frozen=True, slots=True)
class ScanSpec:
    """Which repository is looked at; `canonical` is its name in full, `timeout_s` bounds one request with its pages."""

    repository: Repository
    canonical: str
    timeout_s: float

    @classmethod
    def from_api(cls, spec: ImageRepositorySpec) -> "ScanSpec":
        """Read an ImageRepository's spec. Raises Terminal (ImageURLInvalid) for what is wrong."""
        named = naming.parse(spec.image, insecure=spec.insecure)
        try:
            timeout_s = min(spec.timeout_s, _LONGEST_TIMEOUT_S)
        except ValueError as problem:
            raise Terminal("ValidationFailed", f"spec.timeout or spec.interval: {problem}") from None
        return cls(named.repository, named.canonical, timeout_s)


class Scanner:
    """Looks at repositories. One per process: it keeps tokens, and the distance between requests.

    All methods raise Transient (ReadOperationFailed, AuthenticationFailed), Terminal (ImageURLInvalid) and Later.
    """

    def __init__(self, out: Outbound, clock: Clock) -> None:
        self.registry = Registry(Wire(out, clock))
        self._pace = Pace(clock)

    async def tags(self, spec: ScanSpec, access: Access, *, etag: str = "", digest: str = "") -> Listed | None:
        """All tags, or None where the list is the one with that `etag` or `digest`."""
        async with self.asking(spec, access):
            return await self.registry.listed(spec.repository, access, etag=etag, digest=digest)

    async def digest(self, spec: ScanSpec, access: Access, tag: str) -> str:
        """The digest that `tag` stands for now."""
        check_tag(tag)
        async with self.asking(spec, access):
            return await self.registry.digest(spec.repository, access, tag)

    async def is_gone(self, spec: ScanSpec, access: Access, tag: str) -> bool:
        """Whether the registry says that there is no `tag`. That it says nothing is no such answer."""
        check_tag(tag)
        async with self.asking(spec, access):
            try:
                await self.registry.digest(spec.repository, access, tag)
            except NotThere:
                return True
            return False

    @asynccontextmanager
    async def asking(self, spec: ScanSpec, access: Access) -> AsyncIterator[None]:
        """One request, in its turn and in its time."""
        host = spec.repository.origin.raw_authority
        try:
            async with asyncio.timeout(_PATIENCE_S), self._pace.turn(host, access.identity):
                try:
                    async with asyncio.timeout(spec.timeout_s):
                        yield
                except TimeoutError as problem:
                    words = f"{spec.repository}: not done after {spec.timeout_s:g} s (spec.timeout bounds it)"
                    raise Transient(FAILED, words) from problem
        except Held as patience:
            raise Later(FAILED, f"{spec.repository}: the registry has {patience}", after=patience.seconds) from patience
        except PullFailed as problem:
            raise Transient(FAILED, problem.message, retry_after=problem.retry_after) from problem
        except Terminal as problem:
            raise Terminal("ImageURLInvalid", problem.message) from problem
        except TimeoutError as problem:
            words = f"{spec.repository}: the registry has had no time for it in {_PATIENCE_S:g} s"
            raise Transient(FAILED, words) from problem
