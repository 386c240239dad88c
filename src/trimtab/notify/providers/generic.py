"""The type `generic`: the event itself, in Flux's JSON, posted to any address; `generic-hmac` signs it."""

import hashlib
import hmac

from trimtab.notify import event
from trimtab.notify.notice import Notice
from trimtab.notify.provider import KEY_HEADER, TOLD_HEADER, Request, Settings, json_request


def compose(notice: Notice, settings: Settings) -> Request:
    """One POST of the event with the headers of the Secret. What is told and what it belongs to is in headers."""
    return _request(notice, settings, {})


def compose_signed(notice: Notice, settings: Settings) -> Request:
    """As `compose`, with the HMAC of the body by the token."""
    token = settings.needed("token").encode()
    digest = hmac.new(token, _body(notice), hashlib.sha256).hexdigest()
    return _request(notice, settings, {"X-Signature": f"sha256={digest}"})


def _request(notice: Notice, settings: Settings, more: dict[str, str]) -> Request:
    headers = {
        **settings.headers,
        "gotk-component": notice.event.reporting_controller,
        KEY_HEADER: notice.key,
        TOLD_HEADER: notice.phase.value,
        **more,
    }
    return json_request(settings.needed("address"), _body(notice), headers)


def _body(notice: Notice) -> bytes:
    return event.encode(event.told(notice.event, notice.text, notice.fields, notice.summary))
