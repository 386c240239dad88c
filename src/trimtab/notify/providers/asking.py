"""Requests as most providers make them: JSON to an address, signed in with what the Secret says."""

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

from trimtab.notify.notice import Notice
from trimtab.notify.provider import KEY_HEADER, Misconfigured, Request, Settings, json_request


def post(
    notice: Notice, url: str, body: Any, headers: Mapping[str, str] | None = None, *, method: str = "POST"
) -> Request:
    """`body` as JSON. The key goes along in a header, also to those who do not look at it yet."""
    return json_request(url, msgspec.json.encode(body), {KEY_HEADER: notice.key, **(headers or {})}, method=method)


def authorization(settings: Settings) -> dict[str, str]:
    """A token, or a user and a password, as a header; nothing where the Secret has neither."""
    if settings.token:
        return {"Authorization": f"Bearer {settings.token}"}
    if settings.username and settings.password:
        return basic(settings.username, settings.password)
    return {}


def basic(username: str, password: str) -> dict[str, str]:
    """A user and a password as a header."""
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


def below(address: str, path: str, query: str = "") -> str:
    """The address of `path` below `address`, which may already name it. Raises Misconfigured."""
    try:
        parts = urlsplit(address)
    except ValueError:
        raise Misconfigured("the address of the Provider is none: write one such as https://host/path") from None
    whole = parts.path.rstrip("/")
    if not whole.endswith(path):
        whole += path
    asked = "&".join(one for one in (parts.query, query) if one)
    return urlunsplit((parts.scheme, parts.netloc, whole, asked, ""))
