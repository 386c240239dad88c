"""The type `alertmanager`: what begins fires, and its end resolves it.

An alert there is what its labels say, so that they are the same from beginning to end: reasons are annotations.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from trimtab.base.clock import rfc3339
from trimtab.notify.notice import Notice, Phase
from trimtab.notify.provider import Request, Settings
from trimtab.notify.providers.asking import authorization, below, post
from trimtab.notify.providers.saying import details, seconds
from trimtab.notify.text import shortened

_STANDS: Final = timedelta(days=30)
"""An end is always told. Without one Alertmanager would take silence for it, after five minutes."""
_PASSES: Final = timedelta(minutes=5)
_MOST_TEXT: Final = 30_000
_STRANGE: Final = re.compile("^(?=[0-9])|[^a-zA-Z0-9_]|^$")
"""What a name of Prometheus may not have: an alert with one such annotation is refused as a whole."""


def compose(notice: Notice, settings: Settings) -> Request | Sequence[Request]:
    """One alert, to the API v2. What only happened passes by itself; a success is no alert."""
    if notice.phase is Phase.ONCE and not notice.event.error:
        return ()
    event, involved = notice.event, notice.event.involved_object
    moment = datetime.fromtimestamp(seconds(notice), UTC)
    match notice.phase:
        case Phase.CLOSED:
            ends = moment
        case Phase.ONCE:
            ends = moment + _PASSES
        case _:
            ends = moment + _STANDS
    labels = {
        "alertname": f"Trimtab{involved.kind}",
        "severity": "error",
        "kind": involved.kind,
        "namespace": involved.namespace,
        "name": involved.name,
        "cluster": notice.cluster,
        "state": notice.state or notice.key,
    }
    alert = {
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": {
            **{_STRANGE.sub("_", name): value for name, value in details(notice).items()},
            "reason": event.reason,
            "message": shortened(notice.text, _MOST_TEXT),
            "controller": event.reporting_controller,
        },
        "startsAt": rfc3339(moment),
        "endsAt": rfc3339(ends),
    }
    headers = {**settings.headers, **authorization(settings)}
    return post(notice, below(settings.needed("address"), "/api/v2/alerts"), [alert], headers)
