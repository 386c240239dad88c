"""Credential plugins: a program of the user's own kubeconfig that prints a token or a client certificate.

The protocol is client.authentication.k8s.io v1 and v1beta1. A kubeconfig from elsewhere (a Secret) never gets here:
whoever may write it would run programs in this process's place.
"""

import asyncio
import os
import shutil
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec

from trimtab.base.clock import Clock
from trimtab.kube.auth import bearer
from trimtab.kube.errors import ConfigError, CredentialError
from trimtab.kube.tls import Trust
from trimtab.manifests import codec

GROUP = "client.authentication.k8s.io"
_VERSIONS = (f"{GROUP}/v1", f"{GROUP}/v1beta1")
_TIMEOUT_S = 60.0
_MAX_OUTPUT = 1 << 20
_LONGEST_COMPLAINT = 500
_EARLY = timedelta(seconds=10)


class EnvironmentVariable(msgspec.Struct, frozen=True):
    """One variable that the kubeconfig sets for its plugin."""

    name: str
    value: str = ""


class Plugin(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The `exec` of a kubeconfig's user."""

    command: str
    api_version: str
    args: tuple[str, ...] | None = None
    env: tuple[EnvironmentVariable, ...] | None = None
    install_hint: str = ""
    interactive_mode: str = "IfAvailable"
    provide_cluster_info: bool = False


class _Credential(msgspec.Struct, frozen=True, rename="camel"):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class _ExecCredential(msgspec.Struct, frozen=True, rename="camel"):
    kind: str
    api_version: str
    status: _Credential | None = None


_decode = msgspec.json.Decoder(_ExecCredential).decode


class ExecAuth:
    """Runs the plugin when what it said last has expired or was refused; one run serves all that wait."""

    def __init__(
        self, plugin: Plugin, trust: Trust, clock: Clock, *, directory: Path, cluster: dict[str, object]
    ) -> None:
        if plugin.api_version not in _VERSIONS:
            wanted = " or ".join(_VERSIONS)
            raise ConfigError(f"credential plugin {plugin.command}: apiVersion {plugin.api_version!r} is not {wanted}")
        if plugin.interactive_mode == "Always":
            raise ConfigError(f"credential plugin {plugin.command} insists on a terminal (interactiveMode: Always)")
        self._plugin = plugin
        self._trust = trust
        self._clock = clock
        self._directory = directory
        self._cluster = cluster
        self._headers: Mapping[str, str] | None = None
        self._expires: datetime | None = None
        self._running = asyncio.Lock()

    async def headers(self) -> Mapping[str, str]:
        if (known := self._known()) is not None:
            return known
        async with self._running:
            if (known := self._known()) is not None:
                return known
            return await self._ask()

    def refused(self) -> bool:
        self._headers = None
        return True

    def _known(self) -> Mapping[str, str] | None:
        if self._headers is None or (self._expires is not None and self._clock.now() >= self._expires - _EARLY):
            return None
        return self._headers

    async def _ask(self) -> Mapping[str, str]:
        # here, because commands have to answer in less time than it takes to load
        from trimtab.base import process

        plugin = self._plugin
        try:
            done = await process.run(
                [self._program(), *(plugin.args or ())],
                env=self._environment(),
                timeout=_TIMEOUT_S,
                max_output=_MAX_OUTPUT,
            )
        except (OSError, process.ProcessTimeout, process.OutputTooLarge) as failure:
            raise CredentialError(f"credential plugin {plugin.command}: {failure}") from failure
        if done.code != 0:
            said = " ".join(done.stderr.decode("utf-8", "replace").split())[:_LONGEST_COMPLAINT]
            raise CredentialError(f"credential plugin {plugin.command} ended with {done.code}: {said or 'no word'}")
        try:
            answer = _decode(done.stdout)
        except msgspec.DecodeError as failure:
            # The output is not repeated: it may hold the token.
            raise CredentialError(f"credential plugin {plugin.command} printed no ExecCredential") from failure
        return self._accept(answer)

    def _accept(self, answer: _ExecCredential) -> Mapping[str, str]:
        plugin, credential = self._plugin, answer.status
        if answer.kind != "ExecCredential" or answer.api_version != plugin.api_version:
            raise CredentialError(
                f"credential plugin {plugin.command} printed {answer.kind} {answer.api_version}, "
                f"the kubeconfig asks for ExecCredential {plugin.api_version}"
            )
        if credential is None or not (credential.token or credential.client_certificate_data):
            raise CredentialError(f"credential plugin {plugin.command} printed neither a token nor a certificate")
        if bool(credential.client_certificate_data) != bool(credential.client_key_data):
            raise CredentialError(f"credential plugin {plugin.command} printed a certificate without its key")
        if credential.client_certificate_data:
            self._trust.show(credential.client_certificate_data.encode(), credential.client_key_data.encode())
        try:
            self._headers = {"Authorization": bearer(credential.token)} if credential.token else {}
        except ConfigError as failure:
            raise CredentialError(f"credential plugin {plugin.command}: {failure}") from failure
        self._expires = credential.expiration_timestamp
        return self._headers

    def _program(self) -> str:
        command = self._plugin.command
        if os.sep in command:
            return str(self._directory / command)  # relative to the kubeconfig; an absolute path stays
        if (found := shutil.which(command)) is None:
            hint = f": {self._plugin.install_hint.strip()}" if self._plugin.install_hint else ""
            raise CredentialError(f"credential plugin {command} is not on PATH{hint}")
        return found

    def _environment(self) -> dict[str, str]:
        # Plugins find their own login in the user's environment (HOME, AWS_PROFILE, …), so here it is handed on.
        environment = dict(os.environ)
        environment.update({variable.name: variable.value for variable in self._plugin.env or ()})
        spec: dict[str, object] = {"interactive": False}
        if self._plugin.provide_cluster_info:
            spec["cluster"] = self._cluster
        info = {"kind": "ExecCredential", "apiVersion": self._plugin.api_version, "spec": spec}
        environment["KUBERNETES_EXEC_INFO"] = codec.encode(info).decode()
        return environment
