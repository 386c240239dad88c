"""The type `otel`: log records over OTLP/HTTP, in JSON, in the trace of the revision where one is recorded."""

import re
from typing import Any, Final

from trimtab.base.traces import TRACEPARENT
from trimtab.notify.notice import Notice, Phase
from trimtab.notify.provider import Answer, Delivered, Outcome, Refused, Request, Settings
from trimtab.notify.provider import judge as by_status
from trimtab.notify.providers import answers
from trimtab.notify.providers.asking import authorization, below, post
from trimtab.notify.providers.saying import bad, details, seconds

_INFO: Final = 9
_ERROR: Final = 17
_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-01")


def compose(notice: Notice, settings: Settings) -> Request:
    """One record, with the words of OpenTelemetry for what is in Kubernetes."""
    event, involved = notice.event, notice.event.involved_object
    nanos = str(int(seconds(notice) * 1000) * 1_000_000)
    attributes = {
        "event.name": f"trimtab.{event.reason}",
        "k8s.namespace.name": involved.namespace,
        "k8s.object.kind": involved.kind,
        "k8s.object.name": involved.name,
        "k8s.object.uid": involved.uid,
        "k8s.event.reason": event.reason,
        "trimtab.key": notice.key,
        "trimtab.phase": notice.phase.value,
        "trimtab.state": notice.state,
        **{f"trimtab.metadata.{name}": value for name, value in details(notice).items()},
    }
    if notice.phase is Phase.REPEATED:
        attributes["trimtab.count"] = str(notice.count)
    record = {
        "timeUnixNano": nanos,
        "observedTimeUnixNano": nanos,
        "severityNumber": _ERROR if bad(notice) else _INFO,
        "severityText": "ERROR" if bad(notice) else "INFO",
        "body": {"stringValue": notice.text},
        "attributes": _attributes(attributes),
        **_place(notice.fields.get(TRACEPARENT, "")),
    }
    resource = {"service.name": event.reporting_controller, "k8s.cluster.name": notice.cluster}
    body = {
        "resourceLogs": [
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeLogs": [{"scope": {"name": "trimtab"}, "logRecords": [record]}],
            }
        ]
    }
    headers = {**settings.headers, **authorization(settings)}
    # Flux sends spans, so that its Providers may name the door for them.
    address = settings.needed("address").rstrip("/").removesuffix("/v1/traces")
    return post(notice, below(address, "/v1/logs"), body, headers)


def judge(answer: Answer) -> Outcome:
    """A success may be partial, and there is one record only."""
    outcome = by_status(answer)
    partial = answers.fields(answer).get("partialSuccess")
    if isinstance(outcome, Delivered) and isinstance(partial, dict):
        rejected = answers.seconds(partial.get("rejectedLogRecords"))
        if rejected:
            return answers.worded(Refused("the collector rejected the record"), partial.get("errorMessage"))
    return outcome


def _place(traceparent: str) -> dict[str, Any]:
    """The trace and the span in which it was said."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return {"traceId": found[1], "spanId": found[2], "flags": 1} if found is not None else {}


def _attributes(found: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": name, "value": {"stringValue": value}} for name, value in found.items() if value]
