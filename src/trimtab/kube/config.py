"""Which cluster, and as whom: kubeconfig files and the service account of a Pod.

A *trusted* kubeconfig is the user's own file. An untrusted one comes from a Secret: it may hold an address and
credentials, but nothing that makes this process run a program, read a file or take another road.
"""

import base64
import binascii
import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
from yarl import URL

from trimtab.base.clock import Clock, SystemClock
from trimtab.kube.auth import Anonymous, Auth, BearerToken, TokenFile
from trimtab.kube.errors import ConfigError, NoCluster
from trimtab.kube.exec import ExecAuth, Plugin
from trimtab.kube.proxy import from_environment
from trimtab.kube.tls import Pem, Trust
from trimtab.manifests import yaml

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LARGEST = 1 << 20
_CLOCK = SystemClock()

T = TypeVar("T")


class Impersonation(NamedTuple):
    """Whom the server shall take us for. The account we really have needs the verb `impersonate`."""

    user: str
    groups: tuple[str, ...] = ()
    uid: str = ""


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """One cluster and one identity on it."""

    server: URL
    auth: Auth
    trust: Trust | None = field(default=None, repr=False)
    tls_server_name: str | None = None
    namespace: str = "default"
    proxy: URL | None = None
    impersonate: Impersonation | None = None

    @property
    def tls(self) -> ssl.SSLContext | None:
        """The TLS context for a connection opened now; it changes when certificate files do. None: plain HTTP."""
        return self.trust.context() if self.trust is not None else None


class _Cluster(msgspec.Struct, frozen=True, rename="kebab"):
    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""


class _User(msgspec.Struct, frozen=True, rename="kebab"):
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    token: str = ""
    token_file: str = msgspec.field(default="", name="tokenFile")
    username: str = ""
    password: str = ""
    exec: Plugin | None = None
    auth_provider: dict[str, object] | None = None
    act_as: str = msgspec.field(default="", name="as")
    as_uid: str = ""
    as_groups: tuple[str, ...] | None = None
    as_user_extra: dict[str, object] | None = None


class _Context(msgspec.Struct, frozen=True):
    cluster: str = ""
    user: str = ""
    namespace: str = ""


class _NamedCluster(msgspec.Struct, frozen=True):
    name: str
    cluster: _Cluster | None = None


class _NamedUser(msgspec.Struct, frozen=True):
    name: str
    user: _User | None = None


class _NamedContext(msgspec.Struct, frozen=True):
    name: str
    context: _Context | None = None


class _File(msgspec.Struct, frozen=True, rename="kebab"):
    clusters: tuple[_NamedCluster, ...] | None = None
    users: tuple[_NamedUser, ...] | None = None
    contexts: tuple[_NamedContext, ...] | None = None
    current_context: str | None = None


class _Read(NamedTuple):
    """A file, where it came from, and the directory that its relative paths start at (None: it may name no files)."""

    label: str
    directory: Path | None
    content: _File


def load(
    kubeconfig: Path | None = None,
    context: str | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    clock: Clock = _CLOCK,
) -> ClusterConfig:
    """The user's cluster: `kubeconfig`, else the files of $KUBECONFIG, else ~/.kube/config, else the Pod's account.

    Of several files the first to name something wins, as with kubectl. Raises ConfigError.
    """
    if kubeconfig is not None:
        return _choose([_read(kubeconfig)], context, clock, environment)
    if named := [Path(part) for part in environment.get("KUBECONFIG", "").split(os.pathsep) if part]:
        if not (present := [path for path in named if path.exists()]):
            raise ConfigError(f"none of the files of $KUBECONFIG exists: {', '.join(map(str, named))}")
        return _choose([_read(path) for path in present], context, clock, environment)
    own = Path(environment.get("HOME") or Path.home()) / ".kube" / "config"
    if own.exists():
        return _choose([_read(own)], context, clock, environment)
    if environment.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster(environment=environment, clock=clock)
    raise NoCluster(f"no cluster: {own} does not exist; use --kubeconfig or set KUBECONFIG")


def in_cluster(
    *, environment: Mapping[str, str] = os.environ, directory: Path = _ACCOUNT, clock: Clock = _CLOCK
) -> ClusterConfig:
    """The cluster that this Pod runs in, as its service account. Raises ConfigError outside of a Pod."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (directory / "token").exists():
        raise ConfigError("not in a Pod with a service account: KUBERNETES_SERVICE_HOST or the token is missing")
    server = URL(f"https://{f'[{host}]' if ':' in host else host}:{port}")
    namespace = directory / "namespace"
    return ClusterConfig(
        server=server,
        auth=TokenFile(directory / "token"),
        trust=Trust(clock, ca=directory / "ca.crt"),
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
        proxy=from_environment(server, environment),
    )


def parse_kubeconfig(
    text: bytes, *, trusted: bool, context: str | None = None, label: str = "kubeconfig", clock: Clock = _CLOCK
) -> ClusterConfig:
    """The cluster that a kubeconfig held in memory names. Raises ConfigError; its words hold no secret.

    Untrusted: exec, auth-provider, file paths, a proxy, plain HTTP and skipped verification are refused.
    """
    read = _Read(label, Path.cwd() if trusted else None, _parse(text, label))
    return _choose([read], context, clock, os.environ)


def _read(path: Path) -> _Read:
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST + 1)
    except OSError as failure:
        raise ConfigError(f"kubeconfig {path}: {failure.strerror}") from failure
    return _Read(str(path), path.absolute().parent, _parse(text, str(path)))


def _parse(text: bytes, label: str) -> _File:
    if len(text) > _LARGEST:
        raise ConfigError(f"{label}: larger than {_LARGEST} bytes, not a kubeconfig")
    try:
        documents = yaml.load(text, label, dialect="kubernetes")
    except yaml.YamlError as failure:
        raise ConfigError(str(failure)) from failure
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        raise ConfigError(f"{label}: a kubeconfig is one mapping with clusters, users and contexts")
    try:
        return msgspec.convert(documents[0].value, _File)
    except msgspec.ValidationError as failure:
        raise ConfigError(f"{label}: {failure}") from failure


def _choose(files: Sequence[_Read], wanted: str | None, clock: Clock, environment: Mapping[str, str]) -> ClusterConfig:
    labels = ", ".join(file.label for file in files)
    name = wanted or next((file.content.current_context for file in files if file.content.current_context), None)
    if not name:
        raise ConfigError(f"{labels}: no current-context; name one, or set it with `kubectl config use-context`")
    context = _find("context", name, [(f, [(c.name, c.context) for c in f.content.contexts or ()]) for f in files])[1]
    home, cluster = _find(
        "cluster", context.cluster, [(f, [(c.name, c.cluster) for c in f.content.clusters or ()]) for f in files]
    )
    user_home, user = home, _User()
    if context.user:
        user_home, user = _find(
            "user", context.user, [(f, [(u.name, u.user or _User()) for u in f.content.users or ()]) for f in files]
        )
    return _Builder(home, cluster, user_home, user, clock).build(context.namespace or "default", environment)


def _find(what: str, name: str, places: list[tuple[_Read, list[tuple[str, T | None]]]]) -> tuple[_Read, T]:
    for file, entries in places:
        for entry, value in entries:
            if entry == name and value is not None:
                return file, value
    known = sorted({entry for _, entries in places for entry, _ in entries})
    labels = ", ".join(file.label for file, _ in places)
    raise ConfigError(f"{labels}: no {what} is named {name!r}; there is {', '.join(known) or 'none'}")


@dataclass(frozen=True, slots=True)
class _Builder:
    """Turns one cluster entry and one user entry into a ClusterConfig, refusing what their file may not ask for."""

    home: _Read
    cluster: _Cluster
    user_home: _Read
    user: _User
    clock: Clock

    def build(self, namespace: str, environment: Mapping[str, str]) -> ClusterConfig:
        cluster, user, label = self.cluster, self.user, self.user_home.label
        if self.home.directory is None:
            self._refuse_what_is_not_inline()
        server = self._server()
        trust = Trust(
            self.clock,
            ca=self._pem(
                self.home, "certificate-authority", cluster.certificate_authority_data, cluster.certificate_authority
            ),
            certificate=self._pem(
                self.user_home, "client-certificate", user.client_certificate_data, user.client_certificate
            ),
            key=self._pem(self.user_home, "client-key", user.client_key_data, user.client_key),
            verify=not cluster.insecure_skip_tls_verify,
        )
        if user.as_user_extra or ((user.as_groups or user.as_uid) and not user.act_as):
            raise ConfigError(f"{label}: as-user-extra, and as-groups or as-uid without as, are not supported")
        return ClusterConfig(
            server=server,
            auth=self._auth(trust),
            trust=trust if server.scheme == "https" else None,
            tls_server_name=cluster.tls_server_name or None,
            namespace=namespace,
            proxy=self._proxy(server, environment),
            impersonate=Impersonation(user.act_as, user.as_groups or (), user.as_uid) if user.act_as else None,
        )

    def _refuse_what_is_not_inline(self) -> None:
        """A stranger's kubeconfig may hold addresses and credentials; anything else is refused, used or not."""
        cluster, user = self.cluster, self.user
        why = {
            "exec": "would run a program here" if user.exec is not None else "",
            "auth-provider": "would run a program here" if user.auth_provider is not None else "",
            "tokenFile": "names a file" if user.token_file else "",
            "client-certificate": "names a file" if user.client_certificate else "",
            "client-key": "names a file" if user.client_key else "",
            "certificate-authority": "names a file" if cluster.certificate_authority else "",
            "proxy-url": "would take another road" if cluster.proxy_url else "",
            "insecure-skip-tls-verify": "would trust any server" if cluster.insecure_skip_tls_verify else "",
        }
        refused = [f"{name}, which {what}" for name, what in why.items() if what]
        if refused:
            raise ConfigError(
                f"{self.home.label} has {' and '.join(refused)}: here only the address of a server, its certificate "
                "authority and credentials are accepted, all of them inline (token, or *-data)"
            )

    def _server(self) -> URL:
        label, cluster = self.home.label, self.cluster
        try:
            server = URL(cluster.server)
        except ValueError as failure:
            raise ConfigError(f"{label}: server {cluster.server!r}: {failure}") from failure
        if server.scheme not in {"https", "http"} or not server.host or server.user is not None or server.query:
            raise ConfigError(f"{label}: server must be an http or https address without user and query")
        if self.home.directory is None:
            if server.scheme != "https":
                raise ConfigError(f"{label}: server {server} is not https, which only the user's own file may ask for")
            if cluster.insecure_skip_tls_verify:
                raise ConfigError(f"{label}: insecure-skip-tls-verify is allowed in the user's own file only")
        return server

    def _auth(self, trust: Trust) -> Auth:
        home, user = self.user_home, self.user
        if user.username or user.password:
            raise ConfigError(f"{home.label}: user name and password are not supported by Kubernetes; use a token")
        if user.auth_provider is not None:
            raise ConfigError(f"{home.label}: auth-provider was removed from Kubernetes 1.26; use an exec plugin")
        if user.token_file:  # precedence as in client-go: the file wins, the token is what it held once
            return TokenFile(self._path(home, "tokenFile", user.token_file))
        if user.token:
            return BearerToken(user.token)
        if user.exec is not None:
            if home.directory is None:
                raise ConfigError(
                    f"{home.label}: exec would run a program here; only the user's own file may ask for it"
                )
            return ExecAuth(user.exec, trust, self.clock, directory=home.directory, cluster=self._for_plugin())
        return Anonymous()

    def _for_plugin(self) -> dict[str, object]:
        ca = self._pem(self.home, "", self.cluster.certificate_authority_data, self.cluster.certificate_authority)
        data = ca.read_bytes() if isinstance(ca, Path) and ca.exists() else ca if isinstance(ca, bytes) else b""
        return {
            "server": self.cluster.server,
            "tls-server-name": self.cluster.tls_server_name,
            "insecure-skip-tls-verify": self.cluster.insecure_skip_tls_verify,
            "certificate-authority-data": base64.b64encode(data).decode(),
        }

    def _proxy(self, server: URL, environment: Mapping[str, str]) -> URL | None:
        if not self.cluster.proxy_url:
            return from_environment(server, environment)
        if self.home.directory is None:
            raise ConfigError(f"{self.home.label}: proxy-url is allowed in the user's own file only")
        proxy = URL(self.cluster.proxy_url)
        if proxy.scheme not in {"http", "https"}:
            raise ConfigError(f"{self.home.label}: a proxy-url with scheme {proxy.scheme!r} is not supported; use http")
        return proxy

    @staticmethod
    def _pem(home: _Read, name: str, data: str, path: str) -> Pem | None:
        if data:
            try:
                return base64.b64decode("".join(data.split()), validate=True)
            except binascii.Error as failure:
                raise ConfigError(f"{home.label}: {name}-data is not base64") from failure
        return _Builder._path(home, name, path) if path else None

    @staticmethod
    def _path(home: _Read, name: str, path: str) -> Path:
        if home.directory is None:
            raise ConfigError(f"{home.label}: {name} names a file; here it must be embedded ({name}-data or token)")
        return home.directory / path
