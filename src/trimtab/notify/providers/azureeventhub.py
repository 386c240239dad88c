"""The type `azureeventhub`: the event in Flux's JSON, sent to an event hub over HTTPS.

Flux speaks AMQP there. What arrives is the same, and HTTPS goes through proxies and is checked like all else here. The
Secret is Flux's: a connection string as `address`, or the name of the hub as the address, with a token of Entra ID.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import replace
from datetime import datetime
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from trimtab.notify import event as events
from trimtab.notify.notice import Notice
from trimtab.notify.provider import KEY_HEADER, Misconfigured, Request, Settings

_CLOUD: Final = "servicebus.windows.net"
_CONTENT: Final = "application/atom+xml;type=entry;charset=utf-8"
_LASTS_S: Final = 300
_HUB: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,254}[A-Za-z0-9])?")
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,256}")
_WRONG: Final = (
    "set `address` in the Secret of spec.secretRef to a connection string with Endpoint, SharedAccessKeyName, "
    "SharedAccessKey and EntityPath; or spec.address to the name of the hub, spec.channel to its namespace, and "
    "`token` in the Secret to a token of Entra ID"
)


class Hub(NamedTuple):
    """Where the events go, and by which key; without one the token of the Secret counts."""

    url: str
    key_name: str = ""
    key: str = ""


def compose(notice: Notice, settings: Settings) -> Request:
    """One event. Headers of our own are properties of it."""
    hub = hub_of(settings)
    headers = {"Content-Type": _CONTENT, KEY_HEADER: notice.key, "Trimtab-Phase": notice.phase.value}
    if not hub.key:
        headers["Authorization"] = f"Bearer {settings.needed('token')}"
    body = events.encode(events.told(notice.event, notice.text, notice.fields, notice.summary))
    return Request(url=f"{hub.url}/messages?api-version=2014-01", headers=headers, body=body)


def sign(request: Request, settings: Settings, now: datetime) -> Request:
    """With a signature for this hub alone, and for five minutes: the key itself is not sent."""
    hub = hub_of(settings)
    if not hub.key:
        return request
    resource, expires = quote(hub.url.lower(), safe=""), int(now.timestamp()) + _LASTS_S
    digest = hmac.new(hub.key.encode(), f"{resource}\n{expires}".encode(), hashlib.sha256).digest()
    signature = quote(base64.b64encode(digest).decode(), safe="")
    said = f"SharedAccessSignature sr={resource}&sig={signature}&se={expires}&skn={quote(hub.key_name, safe='')}"
    return replace(request, headers={**request.headers, "Authorization": said})


def hub_of(settings: Settings) -> Hub:
    """The hub that the Provider names. Raises Misconfigured."""
    address = settings.needed("address", _WRONG)
    if "SharedAccessKey" not in address:
        host = settings.needed("channel", "set spec.channel to the namespace of the hub")
        host = host if "." in host else f"{host}.{_CLOUD}"
        if not _HUB.fullmatch(address) or not _HOST.fullmatch(host):
            raise Misconfigured(_WRONG)
        return Hub(f"https://{host}/{address}")
    if settings.token:
        raise Misconfigured("a connection string and a token are two ways to sign in: take one of them out")
    said = dict(part.split("=", 1) for part in address.strip().strip(";").split(";") if "=" in part)
    name, key, path = (said.get(one, "") for one in ("SharedAccessKeyName", "SharedAccessKey", "EntityPath"))
    path = path or settings.channel
    try:
        endpoint = urlsplit(said.get("Endpoint", ""))
        port = f":{endpoint.port}" if endpoint.port else ""
    except ValueError:
        raise Misconfigured(_WRONG) from None
    host = endpoint.hostname or ""
    sound = endpoint.scheme in ("sb", "https") and _HOST.fullmatch(host) and not endpoint.username
    if not sound or not _NAME.fullmatch(name) or not key.isascii() or not key or not _HUB.fullmatch(path):
        raise Misconfigured(_WRONG)
    return Hub(f"https://{host}{port}/{path}", name, key)
