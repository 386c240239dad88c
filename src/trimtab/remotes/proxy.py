"""Proxies: what a Secret says of one, in Flux's keys."""

from collections.abc import Mapping

from yarl import URL

from trimtab.base.errors import Transient


def from_secret(data: Mapping[str, bytes], where: str) -> URL:
    """The proxy that the decoded `data` of a Secret names; user and password are part of the URL.

    Raises Transient (AuthenticationFailed) saying `where` it was written: a Secret may be repaired at any time.
    """
    try:
        url = URL(data.get("address", b"").decode("ascii").strip())
        host, port = url.host, url.port
        if username := data.get("username", b"").decode().strip():
            url = url.with_user(username).with_password(data.get("password", b"").decode().strip())
    except ValueError:
        url, host, port = URL(), None, None
    plain = url.scheme == "http" and host and port and url.path in ("", "/") and not url.query_string
    if not plain or any(char in f"{url.user}{url.password}" for char in "\r\n\0"):
        raise Transient(
            "AuthenticationFailed",
            f"{where}: address must be http://host:port; other proxies are not supported",
        )
    return url.with_path("/")


def shown(proxy: URL) -> str:
    """The proxy as it may be told: without user and password."""
    return f"{proxy.scheme}://{proxy.host}:{proxy.port}"
