"""The program that tells one thing by apprise: run in a confined process, over an address that a tenant wrote.

It imports nothing of ours and has no network. Every request that apprise would make is handed out at a door on the
loopback address, and the answer comes in by it (`apprising.py`, which decides what goes where). What it is to tell
comes on its standard input, since an address of apprise is a secret; what became of it goes to its standard output, in
one word, since all that apprise would say may have the address in it.
"""

import base64
import http.client
import importlib
import json
import logging
import os
import sys
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import apprise
import requests
from apprise.apprise_attachment import AppriseAttachment
from requests.adapters import HTTPAdapter

_TIMEOUT_S = 120


def main() -> str:
    """Tell it, and say in a word what became of it: `told`, `untold`, or `unknown` for an address that is none."""
    logging.disable(logging.CRITICAL)
    order = json.load(sys.stdin)
    with open(os.path.join(os.environ["HOME"], "door"), encoding="utf-8") as file:  # noqa: PTH118, PTH123 - quick to start
        door = json.load(file)
    HTTPAdapter.send = lambda _self, request, **_: _asked(door, request)  # type: ignore[method-assign]
    AppriseAttachment.instantiate = staticmethod(lambda *_, **__: None)  # type: ignore[method-assign]
    asset = apprise.AppriseAsset(http_redirects=False, async_mode=False, secure_logging=True)
    module = importlib.import_module(f"apprise.plugins.{order['module']}")
    service = _service(module, order["scheme"])
    found = service.parse_url(order["address"]) if service is not None else None
    if service is None or not found or set(order["refused"]) & {name.lower() for name in found.get("qsd", {})}:
        return "unknown"
    found |= {"asset": asset, "overflow": "truncate", "redirect": False, "verify": True, "retry": 0}
    try:
        one = service(**found)
    except (TypeError, ValueError):
        return "unknown"
    told = apprise.Apprise(asset=asset)
    told.add(one)
    done = told.notify(
        title=order["title"], body=order["body"], notify_type=order["kind"], body_format=apprise.NotifyFormat.TEXT
    )
    return "told" if done else "untold"


def _service(module: Any, scheme: str) -> Any:
    """The class of the module that serves the scheme."""
    for one in vars(module).values():
        if isinstance(one, type) and issubclass(one, apprise.NotifyBase) and one.__module__ == module.__name__:
            names: list[Any] = [getattr(one, "protocol", None), getattr(one, "secure_protocol", None)]
            if any(scheme in ((name,) if isinstance(name, str) else name or ()) for name in names):
                return one
    return None


def _asked(door: dict[str, Any], request: requests.PreparedRequest) -> requests.Response:
    """The answer to `request`, by the door."""
    body = request.body.encode() if isinstance(request.body, str) else request.body or b""
    if not isinstance(body, bytes):
        raise requests.RequestException("only what is known as a whole is sent")
    parts = urlsplit(request.url or "")
    url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))
    headers = {str(name): _text(value) for name, value in request.headers.items()}
    wish = {"method": request.method, "url": url, "headers": headers, "body": base64.b64encode(body).decode()}
    connection = http.client.HTTPConnection("127.0.0.1", door["port"], timeout=_TIMEOUT_S)
    try:
        connection.request("POST", f"/{door['token']}", json.dumps(wish))
        said = json.loads(connection.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException) as failure:
        raise requests.ConnectionError(str(failure)) from failure
    finally:
        connection.close()
    if "status" not in said:
        raise requests.ConnectionError("there is no answer")
    answer = requests.Response()
    answer.status_code, answer.url, answer.request = said["status"], url, request
    answer.headers.update(said["headers"])
    answer._content = base64.b64decode(said["body"])  # noqa: SLF001 - there is no other way to make one
    answer.encoding = requests.utils.get_encoding_from_headers(answer.headers)
    return answer


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


if __name__ == "__main__":
    sys.stdout.write(main())
