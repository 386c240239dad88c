"""Which tag each container is to run, by those who decide that, and by what registries have."""

import asyncio
import ipaddress
import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import DecodeError

from trimtab.api.image import ImageRepository
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Terminal, Transient
from trimtab.base.http import AiohttpTransport
from trimtab.cli import output
from trimtab.cli.connect import Code, Failure
from trimtab.images import naming
from trimtab.images.ages import Ages
from trimtab.images.deciding import Decision, Policies
from trimtab.images.reference import is_tag, name_of
from trimtab.images.releasing import Asked, Choice, Chosen, Pick, Refusal
from trimtab.images.running import canonical
from trimtab.images.scanning import Scanner, ScanSpec
from trimtab.images.tagstore import TagStore
from trimtab.images.workloads import Container, Workload, WorkloadKey
from trimtab.manifests import codec
from trimtab.remotes.oci.credentials import Logins
from trimtab.remotes.oci.wire import Access, NotThere
from trimtab.remotes.outbound import Outbound

if TYPE_CHECKING:
    from trimtab.kube.client import Client

_TIMEOUT_S: Final = 60.0
_SECRETS: Final = ("auth", "username", "identitytoken", "registrytoken")
_OTHERS: Final = 5
"""So many more candidates are told to who chooses by hand."""
_MAX_CONFIG: Final = 1 << 20


class Place(NamedTuple):
    """A repository of images, and the way there."""

    spec: ScanSpec
    access: Access


class Candidates:
    """Asks registries, each thing once. An asynchronous context manager."""

    def __init__(self, policies: Policies, client: "Client | None", *, force: bool) -> None:
        self._policies = policies
        self._client = client
        self._force = force
        self._own: Logins | None = None
        self._tags: dict[ScanSpec, list[str]] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Candidates":
        transport = AiohttpTransport()
        self._stack.push_async_callback(transport.close)
        directory = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="trimtab-tags-"))
        clock = SystemClock()
        self._scanner = Scanner(Outbound(transport, clock), clock)
        self._ages = Ages(self._scanner, TagStore(Path(directory) / "tags"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def choices(
        self, questions: Iterable[tuple[Workload, Container]], asked: Asked, *, check: bool = True
    ) -> dict[WorkloadKey, Chosen]:
        """What each container in question is to run. Raises Failure for a tag that was named and is not there."""
        found: dict[WorkloadKey, Chosen] = {}
        named = {canonical(pick.name): pick for pick in asked.images if pick.tag}
        for workload, container in questions:
            pick = named.get(canonical(name_of(container.image)))
            if pick is not None:
                found[workload.key(container)] = await self._named(workload, container, pick, check=check)
            else:
                found[workload.key(container)] = await self._decided(workload, container)
        return found

    async def exists(self, workload: Workload, container: Container, tag: str) -> Chosen:
        """A tag that somebody chose by hand, if it is there."""
        if not is_tag(tag):
            return Refusal(f"{tag[:80]!a} is not a tag")
        try:
            return await self._named(workload, container, Pick(name_of(container.image), tag), check=True)
        except Failure as failure:
            return Refusal(failure.message)

    async def _named(self, workload: Workload, container: Container, pick: Pick, *, check: bool) -> Chosen:
        if not check:
            return Choice(pick.tag, pick.digest)
        decision = self._policies.decide(workload, container, force=True)
        repository = decision.repository if isinstance(decision, Decision) else None
        try:
            place = await self._place(container, repository)
            digest = await self._scanner.digest(place.spec, place.access, pick.tag)
        except Transient as problem:
            if isinstance(problem.__cause__, NotThere):
                raise Failure(Code.WRONG, f"there is no image {pick.name}:{pick.tag}: {problem.message}") from problem
            raise Failure(
                Code.UNKNOWN,
                f"whether there is an image {pick.name}:{pick.tag} cannot be told: {problem.message}. --no-check "
                "releases it unseen",
            ) from problem
        return Choice(pick.tag, pick.digest or digest)

    async def _decided(self, workload: Workload, container: Container) -> Chosen:
        decision = self._policies.decide(workload, container, force=self._force)
        if isinstance(decision, Refusal):
            return decision
        try:
            place = await self._place(container, decision.repository)
            if place.spec not in self._tags:
                listed = await self._scanner.tags(place.spec, place.access)
                self._tags[place.spec] = listed.tags if listed is not None else []
            tags = self._tags[place.spec]
            rules = decision.rules({})
            created: Mapping[str, datetime] = {}
            if rules.by_age:
                created = await self._ages.of("here", place.spec, place.access, rules.in_question(tags))
            choice = (await asyncio.to_thread(decision.rules(created).choose, tags)) if tags else None
            if choice is None or choice.tag is None:
                return Refusal(f"{decision.who}: {choice.why if choice else 'the registry has no tags'}")
            digest = ""
            if container.is_pinned:
                digest = await self._scanner.digest(place.spec, place.access, choice.tag)
            others = tuple(one.tag for one in choice.candidates[1 : 1 + _OTHERS])
            return Choice(choice.tag, digest, f"{decision.who}: {choice.why}", decision.policy, others)
        except (Transient, Terminal) as problem:
            return Refusal(f"{decision.who}: {problem.message}", unasked=isinstance(problem, Transient))

    async def _place(self, container: Container, repository: ImageRepository | None) -> Place:
        """Where the tags are, and how to get there. Raises Transient, Terminal, Failure."""
        if repository is not None:
            spec = replace(ScanSpec.from_api(repository.spec), timeout_s=_TIMEOUT_S)
            return Place(spec, await self._access(repository, spec))
        name = name_of(container.image)
        named = naming.parse(name, insecure=_is_here(name))
        place = ScanSpec(named.repository, named.canonical, _TIMEOUT_S)
        return Place(place, Access(logins=self._logins(place)))

    async def _access(self, repository: ImageRepository, place: ScanSpec) -> Access:
        spec = repository.spec
        wanted = spec.secret_ref or spec.service_account_name or spec.cert_secret_ref or spec.proxy_secret_ref
        if self._client is None or not wanted:
            return Access(logins=self._logins(place))
        from trimtab.controllers import registryaccess
        from trimtab.kube.errors import Forbidden

        key = repository.metadata.key
        if not self._policies.is_live(repository):
            # whoever writes to git would choose which Secret is read by the rights of this person, and where it is sent
            output.say(
                "◎",
                f"ImageRepository {key} is not in the cluster, so its Secrets are not read: your own docker signs in",
            )
            return Access(logins=self._logins(place))
        try:
            return await registryaccess.of(self._client, repository, _TIMEOUT_S)
        except Forbidden:
            output.say(
                "◎", f"the Secrets of ImageRepository {key} are not yours to read: signing in by your own docker"
            )
            return Access(logins=self._logins(place))

    def _logins(self, place: ScanSpec) -> Logins:
        """Those of the person, as docker and podman keep them. Helpers that keep them elsewhere are not asked.

        Plain HTTP is what somebody wrote into an object: over that, they leave this machine for nobody.
        """
        if place.repository.insecure and not _is_here(place.canonical):
            return Logins()
        if self._own is None:
            self._own = Logins.parse(*map(_kept_here, _configs()))
        return self._own


def _configs() -> list[bytes]:
    home = Path(os.environ.get("HOME") or "/nonexistent")
    docker = Path(os.environ.get("DOCKER_CONFIG") or home / ".docker")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    files = [docker / "config.json", *([Path(runtime) / "containers" / "auth.json"] if runtime else [])]
    found: list[bytes] = []
    for file in files:
        try:
            with file.open("rb") as opened:
                found.append(opened.read(_MAX_CONFIG + 1))
        except FileNotFoundError:
            continue
        except OSError as problem:
            raise Failure(Code.WRONG, f"{file}: {problem.strerror}") from problem
    return found


def _kept_here(config: bytes) -> bytes:
    """`config` with the logins that are in it; an empty one says that a helper has it, and is no login."""
    try:
        found = codec.decode(config)
    except DecodeError:
        return config  # whoever reads it says what is wrong
    entries = found.get("auths") if isinstance(found, dict) else None
    if not isinstance(entries, dict):
        return b"{}" if isinstance(found, dict) else config
    kept = {
        name: one for name, one in entries.items() if isinstance(one, dict) and any(one.get(key) for key in _SECRETS)
    }
    return codec.encode({"auths": kept})


def _is_here(name: str) -> bool:
    """Whether the registry is on this machine, where nobody has certificates."""
    host = name.partition("/")[0]
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
