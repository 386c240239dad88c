"""What an installation consists of, by its names, and what all of its objects have in common."""

from typing import Final

from trimtab.manifests.refs import Body

DEFAULT_NAMESPACE: Final = "flux-system"
SYNC: Final = "trimtab-sync"
READER: Final = "trimtab-reader"
APPLIER: Final = "trimtab-applier"
TENANT: Final = "trimtab-tenant"
VIEW: Final = "trimtab-view"
AUTOMATE: Final = "trimtab-automate"
AUTOMATE_TENANT: Final = "trimtab-automate-tenant"
NOTIFY: Final = "trimtab-notify"
NOTIFY_TENANT: Final = "trimtab-notify-tenant"
NOTIFIED: Final = "trimtab-notified"
"""The ConfigMap of what was told last."""
INTENTS: Final = tuple(f"trimtab-intents-{number}" for number in range(8))
"""The ConfigMaps of what new apps are about to apply."""
DEPLOYMENT: Final = "trimtab"
LEDGER: Final = "trimtab-ledger"
AUTOMATE_LEDGER: Final = "trimtab-automate-ledger"
"""The claims of the volumes of ledgers: of what writes to the cluster, and of what writes to git."""
LEDGER_PATH: Final = "/ledger"

ARTIFACT_SERVICE: Final = "source-controller"
"""Flux's own name, which is in the URL of every artifact."""
ARTIFACT_PORT: Final = 9790
WEBHOOK_SERVICE: Final = "webhook-receiver"
"""Flux's own name, which an Ingress of the user's leads to."""
WEBHOOK_PORT: Final = 9292
EVENT_SERVICE: Final = "notification-controller"
"""Flux's own name, which its controllers post events to."""
EVENT_PORT: Final = 9090
METRICS_PORT: Final = 8080
NOBODY: Final = 65534
GRACE_S: Final = 30
PART_OF: Final = {"app.kubernetes.io/part-of": "trimtab"}


def labelled(api_version: str, kind: str, name: str, namespace: str = "", labels: dict[str, str] | None = None) -> Body:
    """An object of the installation, as far as its metadata."""
    metadata: Body = {"name": name, "labels": PART_OF | (labels or {})}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}
