"""Whether images are in their registries, asked as a node would: with pull secrets, else with docker's own logins."""

import asyncio
import base64
import binascii
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from trimtab.base.abreast import abreast
from trimtab.base.errors import Terminal, TrimtabError
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import NO_ANSWER, NotFound, UnknownKind
from trimtab.manifests.refs import Body, Gvk, Ref
from trimtab.preview.needs import Image, pull_secrets
from trimtab.preview.verdict import Judgement, Verdict
from trimtab.remotes.oci.credentials import Logins
from trimtab.remotes.oci.reference import Repository, check_digest, check_tag, parse_repository
from trimtab.remotes.oci.registry import Registry
from trimtab.remotes.oci.wire import Access, NotThere
from trimtab.remotes.outbound import AuthenticationFailed

_CONFIG: Final = ".dockerconfigjson"
_LEGACY: Final = ".dockercfg"
_HUB: Final = "docker.io"
_MAX_CONFIG: Final = 1 << 20
_TIMEOUT_S: Final = 20.0
_AT_ONCE: Final = 8
_LONGEST: Final = 512


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


class _Account(msgspec.Struct, frozen=True, rename="camel"):
    image_pull_secrets: tuple[_Named, ...] | None = None


class _Secret(msgspec.Struct, frozen=True):
    data: Mapping[str, bytes] | None = None


class Asked(NamedTuple):
    """One image of one object."""

    image: Image
    body: Body
    namespace: str


class _Reference(NamedTuple):
    repository: Repository
    version: str  # a tag or a digest


@dataclass(frozen=True, slots=True)
class Imagery:
    """Asks registries. `insecure` are those that are spoken to over plain HTTP, by host and port.

    `bodies` are the objects that the change brings, where a Secret is looked for before the cluster; without `client`
    only there. `config` is what docker keeps about its logins.
    """

    registry: Registry
    client: Client | None
    bodies: Mapping[Ref, Body]
    insecure: Collection[str] = ()
    config: bytes = b""
    _configs: dict[Ref, "bytes | str"] = field(default_factory=dict)
    _accounts: dict[Ref, "tuple[str, ...]"] = field(default_factory=dict)
    _locks: dict[object, asyncio.Lock] = field(default_factory=dict)
    _answers: dict[tuple[str, str], Judgement] = field(default_factory=dict)

    async def judge(self, asked: Sequence[Asked]) -> list[Judgement]:
        """What is to be said of each. An image whose registry does not say is unknown, never fine."""
        return await abreast(self._one, asked, _AT_ONCE)

    async def _one(self, asked: Asked) -> Judgement:
        name = asked.image.name
        try:
            reference = _parsed(name, self.insecure)
        except Terminal as wrong:
            return _said(asked, Verdict.IMAGE_MISSING, f"{name[:_LONGEST]} is not the name of an image: {wrong}")
        logins, problem = await self._logins(asked)
        key = (name, logins.digest)
        async with self._locks.setdefault(key, asyncio.Lock()):
            if key not in self._answers:
                self._answers[key] = await self._ask(asked, reference, logins, problem)
        return self._answers[key]._replace(path=asked.image.path)

    async def _ask(self, asked: Asked, reference: _Reference, logins: Logins, problem: str) -> Judgement:
        name = asked.image.name
        access = Access(logins=logins, timeout_s=_TIMEOUT_S)
        try:
            digest = await self.registry.digest(reference.repository, access, reference.version)
        except NotThere:
            return _said(asked, Verdict.IMAGE_MISSING, f"{name} is not in its registry")
        except TrimtabError as failure:
            words = f"whether {name} exists is not known: {failure}"
            return _said(asked, Verdict.UNKNOWN, f"{words}; {problem}" if problem else words)
        return _said(asked, Verdict.FINE, f"{name} is {digest}")._replace(digest=digest)

    async def _logins(self, asked: Asked) -> tuple[Logins, str]:
        """With what a node would sign in, then docker's own; and why not all of that could be read."""
        names, account = pull_secrets(asked.body)
        problems: list[str] = []
        if account:
            names = [*names, *await self._of_account(Ref("", "ServiceAccount", asked.namespace, account))]
        configs: list[bytes] = []
        for name in dict.fromkeys(names):
            ref = Ref("", "Secret", asked.namespace, name)
            match await self._config(ref):
                case bytes() as config:
                    configs.append(config)
                case problem:
                    problems.append(f"{ref}: {problem}")
        usable: list[bytes] = []
        for config in [*configs, *([self.config] if self.config else [])]:
            try:
                Logins.parse(config)
                usable.append(config)
            except AuthenticationFailed as wrong:
                problems.append(str(wrong))
        return Logins.parse(*usable), "; ".join(problems)

    async def _of_account(self, ref: Ref) -> tuple[str, ...]:
        if (body := self.bodies.get(ref)) is not None:
            named = body.get("imagePullSecrets")
            those = named if isinstance(named, list) else []
            return tuple(one["name"] for one in those if isinstance(one, dict) and isinstance(one.get("name"), str))
        async with self._locks.setdefault(ref, asyncio.Lock()):
            if ref not in self._accounts:
                self._accounts[ref] = await self._account(ref)
        return self._accounts[ref]

    async def _account(self, ref: Ref) -> tuple[str, ...]:
        if self.client is None:
            return ()
        try:
            resource = await self.client.discovery.find(Gvk("", "v1", ref.kind))
            read = await self.client.get(resource, ref.name, ref.namespace, type=_Account)
        except (*NO_ANSWER, UnknownKind, StaleGroup):
            # what it may have besides is a help, not a need
            return ()
        return tuple(one.name for one in read.image_pull_secrets or () if one.name)

    async def _config(self, ref: Ref) -> bytes | str:
        """The logins in a Secret, or why there are none."""
        async with self._locks.setdefault(ref, asyncio.Lock()):
            if ref not in self._configs:
                self._configs[ref] = await self._read(ref)
        return self._configs[ref]

    async def _read(self, ref: Ref) -> bytes | str:
        if (body := self.bodies.get(ref)) is not None:
            data = body.get("data")
            return _decoded(data if isinstance(data, dict) else {})
        if self.client is None:
            return "no cluster is asked for it"
        try:
            resource = await self.client.discovery.find(Gvk("", "v1", ref.kind))
            read = await self.client.get(resource, ref.name, ref.namespace, type=_Secret)
        except NotFound:
            return "it does not exist"
        except (*NO_ANSWER, UnknownKind, StaleGroup) as failure:
            return f"it cannot be read: {failure}"
        found = read.data or {}
        return _config(found.get(_CONFIG), found.get(_LEGACY))


def docker_config() -> bytes:
    """What docker keeps about its logins; nothing where there is no such file. No program is asked for them."""
    directory = os.environ.get("DOCKER_CONFIG") or str(Path.home() / ".docker")
    try:
        with (Path(directory) / "config.json").open("rb") as stream:
            found = stream.read(_MAX_CONFIG + 1)
    except OSError:
        return b""
    return found if len(found) <= _MAX_CONFIG else b""


def _parsed(name: str, insecure: Collection[str]) -> _Reference:
    """Where an image is. Raises Terminal."""
    if len(name) > _LONGEST:
        raise Terminal("URLInvalid", f"it has more than {_LONGEST} characters")
    rest, at, digest = name.partition("@")
    head, slash, last = rest.rpartition("/")
    last, colon, tag = last.partition(":")
    path = f"{head}{slash}{last}"
    host, slash, below = path.partition("/")
    if not (slash and ("." in host or ":" in host or host == "localhost")):
        host, below = _HUB, path
    repository = parse_repository(f"oci://{host}/{below}", insecure=host in insecure)
    if at:
        return _Reference(repository, check_digest(digest))
    return _Reference(repository, check_tag(tag) if colon else "latest")


def _decoded(data: Mapping[str, object]) -> bytes | str:
    """The logins in a Secret of the change."""
    found: dict[str, bytes] = {}
    for entry in (_CONFIG, _LEGACY):
        if isinstance(text := data.get(entry), str):
            try:
                found[entry] = base64.b64decode(text, validate=True)
            except binascii.Error:
                return f"{entry} is not base64"
    return _config(found.get(_CONFIG), found.get(_LEGACY))


def _config(config: bytes | None, legacy: bytes | None) -> bytes | str:
    if config:
        return config
    return b'{"auths":' + legacy + b"}" if legacy else f"it has no {_CONFIG}"


def _said(asked: Asked, verdict: Verdict, message: str) -> Judgement:
    return Judgement(verdict, message, path=asked.image.path, image=asked.image.name)
