"""Credentials for registries, as Docker writes them down and Kubernetes keeps them in Secrets."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from trimtab.remotes.oci.reference import DOCKER_HUB
from trimtab.remotes.outbound import AuthenticationFailed

_MAX_CONFIG = 1 << 20
_LEGACY = re.compile(r"v[12]/")


@dataclass(frozen=True, slots=True)
class Login:
    """Who to sign in as. Nothing of it is ever printed."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header for these."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()

    @property
    def digest(self) -> str:
        """Tells logins apart without giving them away."""
        parts = (self.username, self.password, self.identity_token, self.registry_token)
        return hashlib.sha256(repr(parts).encode()).hexdigest()


class _Entry(msgspec.Struct, frozen=True):
    auth: str | None = None
    username: str | None = None
    password: str | None = None
    identitytoken: str | None = None
    registrytoken: str | None = None


class _Config(msgspec.Struct, frozen=True):
    auths: dict[str, _Entry] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Rule:
    host: str
    port: int | None
    path: str
    login: Login

    def covers(self, host: str, port: int | None, path: str) -> bool:
        return (
            _host_matches(self.host, host)
            and self.port == port
            and (not self.path or path == self.path or path.startswith(self.path + "/"))
        )


class Logins:
    """All the logins one object may use, found by registry and repository."""

    def __init__(self, rules: Iterable[_Rule] = ()) -> None:
        # The longest path is the most precise; a host that is written out goes before a pattern.
        self._rules = sorted(rules, key=lambda rule: (-len(rule.path), "*" in rule.host))

    @classmethod
    def parse(cls, *configs: bytes) -> "Logins":
        """Read documents in the format of `.dockerconfigjson`; earlier ones win. Raises AuthenticationFailed."""
        return cls(rule for config in configs for rule in _rules(config))

    @property
    def digest(self) -> str:
        """Tells sets of logins apart without giving them away."""
        parts = [(rule.host, rule.port, rule.path, rule.login.digest) for rule in self._rules]
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def find(self, host: str, port: int | None, path: str = "") -> Login | None:
        """The login for a repository, as Kubernetes chooses one for an image. `port` is None where it is the usual."""
        host = "docker.io" if host in DOCKER_HUB else host
        return next((rule.login for rule in self._rules if rule.covers(host, port, path)), None)


def _rules(config: bytes) -> Iterable[_Rule]:
    if len(config) > _MAX_CONFIG:
        raise AuthenticationFailed(f".dockerconfigjson is larger than {_MAX_CONFIG} bytes")
    try:
        decoded = msgspec.json.decode(config, type=_Config)
    except (msgspec.DecodeError, ValueError) as failure:
        # The words of the decoder name a place, never a value.
        raise AuthenticationFailed(f".dockerconfigjson of the Secret cannot be read: {failure}") from None
    for name, entry in decoded.auths.items():
        address = name.partition("://")[2] if "://" in name else name
        authority, _, path = address.partition("/")
        # The version of the protocol is no part of a repository's name, and Docker writes it into its own address.
        path = (path + "/").removeprefix(version[0] if (version := _LEGACY.match(path + "/")) else "").strip("/")
        host, _, port = authority.partition(":") if not authority.startswith("[") else _split_ip(authority)
        host = host.lower()
        host = "docker.io" if host in DOCKER_HUB else host
        number = int(port) if port.isdecimal() and len(port) < 6 else None
        if host and (port == "" or number is not None):
            yield _Rule(host, None if number in (443, None) else number, path, _login(name, entry))


def _split_ip(authority: str) -> tuple[str, str, str]:
    host, _, rest = authority[1:].partition("]")
    return host, ":", rest.removeprefix(":")


def _login(name: str, entry: _Entry) -> Login:
    username, password = entry.username or "", entry.password or ""
    if entry.auth:
        try:
            username, colon, password = base64.b64decode(entry.auth, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            raise AuthenticationFailed(f".dockerconfigjson: auth of {name!a} is not base64 of user:password") from None
        if not colon:
            raise AuthenticationFailed(f".dockerconfigjson: auth of {name!a} is not base64 of user:password")
    login = Login(username, password.strip("\0"), entry.identitytoken or "", entry.registrytoken or "")
    for value in (login.username, login.password, login.registry_token):
        if any(char in value for char in "\r\n\0"):
            raise AuthenticationFailed(f".dockerconfigjson: the entry {name!a} has more than one line")
    return login


def _host_matches(pattern: str, host: str) -> bool:
    """Label by label; `*` stands for characters of one label."""
    if "*" not in pattern:
        return pattern == host
    wanted, given = pattern.split("."), host.split(".")
    return len(wanted) == len(given) and all(
        _label_matches(one, other) for one, other in zip(wanted, given, strict=True)
    )


def _label_matches(pattern: str, label: str) -> bool:
    head, *rest = pattern.split("*")
    if not rest:
        return pattern == label
    if not label.startswith(head):
        return False
    at = len(head)
    for part in rest[:-1]:
        found = label.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return label.endswith(rest[-1]) and len(label) - len(rest[-1]) >= at


def from_secret(data: dict[str, bytes]) -> bytes:
    """The document in the decoded `data` of a Secret. Raises AuthenticationFailed."""
    if (config := data.get(".dockerconfigjson")) is None:
        raise AuthenticationFailed(
            "the Secret has no key .dockerconfigjson; make one by `kubectl create secret docker-registry`"
        )
    return config
