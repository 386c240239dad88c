"""The type `sentry`: an event for the project that a DSN names."""

import re
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from trimtab.notify.notice import Notice
from trimtab.notify.provider import KEY_HEADER, Answer, Misconfigured, Outcome, Request, Settings
from trimtab.notify.providers import answers
from trimtab.notify.providers.saying import bad, details
from trimtab.notify.text import cut, shortened

_MOST_TEXT: Final = 8000
_MOST_TAGS: Final = 40
_PROJECT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEY: Final = re.compile(r"[A-Za-z0-9]{1,64}")
_NO_TAG: Final = re.compile(r"[^A-Za-z0-9_.:-]")
_WRONG: Final = (
    "the address of a Provider of type sentry is a DSN, such as https://KEY@sentry.example.org/42: set `address` in "
    "the Secret of spec.secretRef"
)


def compose(notice: Notice, settings: Settings) -> Request:
    """One envelope with one event. Its id is the key: a repeat is known as one there."""
    try:
        dsn = urlsplit(settings.needed("address", _WRONG))
        key, port = dsn.username or "", dsn.port
    except ValueError:
        raise Misconfigured(_WRONG) from None
    prefix, _, project = dsn.path.rstrip("/").rpartition("/")
    if not _KEY.fullmatch(key) or not _PROJECT.fullmatch(project) or not dsn.hostname:
        raise Misconfigured(_WRONG)
    host = f"[{dsn.hostname}]" if ":" in dsn.hostname else dsn.hostname
    authority = host if port is None else f"{host}:{port}"
    event = notice.event
    tags = {"kind": event.involved_object.kind, "namespace": event.involved_object.namespace, "reason": event.reason}
    body: dict[str, Any] = {
        "event_id": notice.key,
        "timestamp": event.timestamp,
        "platform": "other",
        "level": "error" if bad(notice) else "info",
        "logger": event.reporting_controller,
        "server_name": notice.cluster or notice.title,
        "transaction": notice.title,
        "message": {"formatted": shortened(f"{notice.title}: {notice.text}", _MOST_TEXT)},
        "fingerprint": [notice.state] if notice.state else [notice.title, event.reason],
        "tags": {name: cut(value.replace("\n", " "), 200) for name, value in tags.items() if value},
        "extra": {_NO_TAG.sub("_", name): value for name, value in list(details(notice).items())[:_MOST_TAGS]},
    }
    if settings.channel:
        body["environment"] = settings.channel
    if notice.revision:
        body["release"] = cut(_NO_TAG.sub("_", notice.revision), 200)
    item = msgspec.json.encode(body)
    parts = (
        msgspec.json.encode({"event_id": notice.key}),
        msgspec.json.encode({"type": "event", "length": len(item)}),
        item,
    )
    return Request(
        url=f"{dsn.scheme}://{authority}{prefix}/api/{project}/envelope/",
        headers={
            "Content-Type": "application/x-sentry-envelope",
            "X-Sentry-Auth": f"Sentry sentry_version=7, sentry_client=trimtab/1, sentry_key={key}",
            KEY_HEADER: notice.key,
        },
        body=b"\n".join(parts) + b"\n",
    )


def judge(answer: Answer) -> Outcome:
    """How long to wait may be in `X-Sentry-Rate-Limits`: seconds, categories, scope; several by commas."""
    limits = answer.headers.get("x-sentry-rate-limits", "")
    waits = [answers.seconds(one.strip().partition(":")[0]) for one in limits.split(",")[:20] if one.strip()]
    outcome = answers.patient(answer, max((one for one in waits if one is not None), default=None))
    return answers.worded(outcome, answers.fields(answer).get("detail"))
