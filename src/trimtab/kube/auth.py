"""How a request says who sends it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from trimtab.kube.errors import ConfigError, CredentialError
from trimtab.kube.tls import file_signature

_LONGEST_TOKEN = 1 << 16


class Auth(Protocol):
    """Who we are, as headers. Implementations never show their secrets in `repr`."""

    async def headers(self) -> Mapping[str, str]:
        """The headers of a request sent now. Raises CredentialError if there is nothing to show."""
        ...

    def refused(self) -> bool:
        """The server answered 401: forget what may have expired. False: there is nothing newer to try."""
        ...


class Anonymous:
    """No header: the client certificate, if any, speaks for us."""

    async def headers(self) -> Mapping[str, str]:
        return {}

    def refused(self) -> bool:
        # The certificate may have been replaced since; a fresh connection would show the new one.
        return True


class BearerToken:
    """A token that is part of the configuration."""

    def __init__(self, token: str) -> None:
        self._headers = {"Authorization": bearer(token)}

    async def headers(self) -> Mapping[str, str]:
        return self._headers

    def refused(self) -> bool:
        return False


class TokenFile:
    """A token in a file that is replaced before it expires, as the kubelet does for service accounts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: object = None
        self._headers: Mapping[str, str] = {}

    async def headers(self) -> Mapping[str, str]:
        seen = file_signature(self._path)
        if not self._headers or (seen is not None and seen != self._seen):
            try:
                with self._path.open("rb") as file:
                    text = file.read(_LONGEST_TOKEN).decode("ascii").strip()
                self._headers = {"Authorization": bearer(text)}
                self._seen = seen
            except (OSError, ValueError, ConfigError) as failure:
                if not self._headers:
                    cause = failure.strerror if isinstance(failure, OSError) else "it holds no token"
                    raise CredentialError(f"token file {self._path}: {cause}") from failure
        return self._headers

    def refused(self) -> bool:
        self._seen = None
        return True


def bearer(token: str) -> str:
    """The value of an Authorization header. Raises ConfigError for what could not be one; never repeats the token."""
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError("the bearer token is empty or has characters that no token has")
    return f"Bearer {token}"
