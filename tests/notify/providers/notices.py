"""Notices and settings for the tests of providers: what begins, what ends, what happens once, and what is hostile."""

import json
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from trimtab.notify.event import Event, Involved
from trimtab.notify.notice import Notice, Phase
from trimtab.notify.provider import Composed, Request, Settings
from trimtab.notify.providers.table import TABLE

COMMIT = "67e2f0b6a2f3a9b1f1d54dbb0f0cb2f2c0a1d9e4"
HOSTILE = (
    "fix <!channel> <!here|x> @everyone @all @**all** [click](https://evil.example) <https://evil.example|safe> "
    "<users/all> <at id=all></at> ![x](https://evil.example/x.png) ```\n@here\n``` ~~~ %%% <b>bold</b> &amp;"
)


def event(*, severity: str = "info", reason: str = "ReconciliationSucceeded", message: str = "it stands") -> Event:
    return Event(
        involved_object=Involved(
            kind="Kustomization",
            namespace="shop",
            name="checkout",
            uid="6a0b1c2d-0000-4000-8000-000000000001",
            api_version="kustomize.toolkit.fluxcd.io/v1",
        ),
        severity=severity,
        timestamp="2026-11-26T20:15:30Z",
        message=message,
        reason=reason,
        metadata={"kustomize.toolkit.fluxcd.io/revision": f"main@sha1:{COMMIT}"},
        reporting_controller="kustomize-controller",
    )


def notice(phase: Phase, told: Event, *, key: str = "0" * 32, fields: dict[str, str] | None = None) -> Notice:
    return Notice(
        event=told,
        key=key,
        phase=phase,
        state="" if phase is Phase.ONCE else "5" * 32,
        message=told.message,
        summary="checkout of the shop",
        fields={"revision": f"main@sha1:{COMMIT}", **(fields or {})},
        cluster="prod-1",
        alert="shop/all",
        alert_labels={"team": "shop"},
    )


NOTICES = {
    "opened": notice(
        Phase.OPENED,
        event(
            severity="error", reason="HealthCheckFailed", message="Deployment/shop/checkout: image\ncannot be pulled"
        ),
        key="a" * 32,
    ),
    "closed": notice(Phase.CLOSED, event(message="Applied revision: main"), key="b" * 32),
    "once": notice(Phase.ONCE, event(message="Applied revision: main"), key="c" * 32),
    "hostile": notice(
        Phase.ONCE,
        event(severity="error", reason="DriftDetected", message=HOSTILE),
        key="d" * 32,
        fields={"author <!channel>": "@everyone [x](https://evil.example)"},
    ),
}


ACCOUNT_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SERVICE_ACCOUNT = json.dumps(
    {
        "type": "service_account",
        "client_email": "tell@acme-prod.iam.gserviceaccount.com",
        "private_key_id": "k1",
        "private_key": ACCOUNT_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    }
)
SETTINGS: dict[str, Settings] = {
    name: Settings(type=name, namespace="shop", name="tell", uid="11112222-3333-4444-8555-666677778888", **more)
    for name, more in {
        "alertmanager": {"address": "https://am.example:9093", "username": "u", "password": "am-password"},
        "azureeventhub": {
            "address": "Endpoint=sb://ns.servicebus.example/;SharedAccessKeyName=send;SharedAccessKey=aGstc2VjcmV0=;"
            "EntityPath=events"
        },
        "datadog": {"address": "https://api.datadoghq.eu", "token": "dd-key"},
        "discord": {"address": "https://discord.example/api/webhooks/1/abc/slack", "username": "trimtab"},
        "generic": {"address": "https://sink.example/hook", "headers": {"X-Own": "yes"}},
        "generic-hmac": {"address": "https://sink.example/hook", "token": "hmac-key"},
        "githubdispatch": {"address": "https://github.com/acme/fleet", "token": "gh-token"},
        "googlechat": {"address": "https://chat.example/v1/spaces/A/messages?key=k&token=t"},
        "googlepubsub": {
            "address": "acme-prod",
            "channel": "trimtab-events",
            "token": SERVICE_ACCOUNT,
            "headers": {"team": "shop"},
        },
        "grafana": {"address": "https://grafana.example/", "token": "gf-token"},
        "incident.io": {"address": "https://incident.example/v2/alert_events/http/01ABC", "token": "io-token"},
        "lark": {"address": "https://lark.example/open-apis/bot/v2/hook/abc"},
        "matrix": {"address": "https://matrix.example", "token": "mx-token", "channel": "!room:example.org"},
        "msteams": {"address": "https://teams.example/workflows/1/triggers/manual/paths/invoke?sig=s"},
        "opsgenie": {"token": "og-key"},
        "otel": {"address": "https://otel.example:4318", "headers": {"X-Tenant": "shop"}},
        "pagerduty": {"channel": "pd-routing-key"},
        "rocket": {"address": "https://rocket.example/hooks/1/abc", "channel": "#ops", "username": "trimtab"},
        "sentry": {"address": "https://abcdef0123@sentry.example/prefix/42", "channel": "production"},
        "slack": {"address": "https://slack.com/api/chat.postMessage", "token": "xoxb-1", "channel": "ops"},
        "telegram": {"token": "123456:ABC-def", "channel": "@ops"},
        "webex": {"token": "wx-token", "channel": "room-id"},
        "zoom": {"address": "https://zoom.example/chat/webhooks/incomingwebhook/abc", "token": "zo-token"},
        "zulip": {
            "address": "https://zulip.example",
            "channel": "ops/deployments",
            "username": "bot@zulip.example",
            "password": "zu-key",
        },
    }.items()
}
"""Settings that work, for each provider over HTTP that needs no conversation."""


def composed(name: str, what: Notice, settings: Settings | None = None) -> list[Request]:
    provider = TABLE[name]
    assert isinstance(provider, Composed)
    made = provider.compose(what, settings or SETTINGS[name])
    return [made] if isinstance(made, Request) else list(made)


def shown(request: Request) -> dict[str, Any]:
    """A request as it is written into a golden file: JSON as JSON, anything else as lines."""
    try:
        body = msgspec.json.decode(request.body)
    except msgspec.DecodeError:
        body = request.body.decode().split("\n")
    return {"method": request.method, "url": request.url, "headers": dict(request.headers), "body": body}
