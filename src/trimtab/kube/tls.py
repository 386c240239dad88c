"""How the server proves itself to us, and we to it: certificates that are read again when their files change."""

import ssl
from pathlib import Path
from typing import TypeAlias

from trimtab.base.certificates import load_pair
from trimtab.base.clock import Clock
from trimtab.kube.errors import ConfigError

Pem: TypeAlias = bytes | Path
"""Certificates or a key: the bytes themselves, or the file that holds them and may be replaced at any time."""

_LOOK_EVERY_S = 1.0


class Trust:
    """What TLS contexts to one server are made of.

    `context()` returns the same object until a file behind it changes, then a fresh one: connections opened from then
    on use the new certificates, the others end as they would have.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        ca: Pem | None = None,
        certificate: Pem | None = None,
        key: Pem | None = None,
        verify: bool = True,
    ) -> None:
        if (certificate is None) != (key is None):
            raise ConfigError("a client certificate needs its key, and a key its certificate: the user has only one")
        self._clock = clock
        self._ca = ca
        self._certificate = certificate
        self._key = key
        self._verify = verify
        self._context: ssl.SSLContext | None = None
        self._seen: tuple[object, ...] = ()
        self._looked = 0.0

    def context(self) -> ssl.SSLContext:
        """The context for a connection opened now. Raises ConfigError if there has never been a usable one."""
        now = self._clock.monotonic()
        if self._context is not None and now - self._looked < _LOOK_EVERY_S:
            return self._context
        self._looked = now
        seen = tuple(_signature(source) for source in (self._ca, self._certificate, self._key))
        if self._context is None or seen != self._seen:
            try:
                self._context = self._build()
                self._seen = seen
            except ConfigError:
                # Certificate and key are replaced one after the other: until they fit again the old pair serves.
                if self._context is None:
                    raise
        return self._context

    def show(self, certificate: bytes, key: bytes) -> None:
        """Use another client certificate from now on: a credential plugin brought it."""
        if (certificate, key) != (self._certificate, self._key):
            self._certificate, self._key, self._context = certificate, key, None

    def _build(self) -> ssl.SSLContext:
        context = ssl.create_default_context() if self._ca is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if not self._verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self._ca is not None:
            try:
                context.load_verify_locations(cadata=_read(self._ca).decode("ascii"))
            except (ssl.SSLError, ValueError) as failure:
                raise ConfigError(f"the cluster's certificate authority is not usable PEM: {failure}") from failure
        if self._certificate is not None and self._key is not None:
            _load_pair(context, _read(self._certificate), _read(self._key))
        return context


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    try:
        load_pair(context, certificate, key)
    except (OSError, ValueError) as failure:
        raise ConfigError(f"the client certificate and key cannot be used: {failure}") from failure


def _read(source: Pem) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return source.read_bytes()
    except OSError as failure:
        raise ConfigError(f"{source}: {failure.strerror}") from failure


def _signature(source: Pem | None) -> object:
    return file_signature(source) if isinstance(source, Path) else None


def file_signature(path: Path) -> tuple[int, int, int] | None:
    """What tells that a file was replaced or rewritten; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
