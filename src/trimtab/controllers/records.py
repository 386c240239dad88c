"""Where the inventory of an app is kept: in its status, or in Secrets that the app owns (ENGINE.md §4).

Secrets hold the parts of a list that is too long for a status, and the whole record where the definitions that the
cluster serves are Flux's, which prune the fields of a status that are ours alone. The order of writes is such that a
crash between any two of them leaves a list that is complete and trusted: new parts first, under names that were never
used before, then the one write that refers to them, then the removal of what nothing refers to any more.
"""

import base64
import logging
import secrets
from collections.abc import Sequence
from typing import Any

from trimtab.api import names
from trimtab.api.gvk import CRD, KUSTOMIZATION
from trimtab.api.kustomize import Kustomization
from trimtab.api.meta import ObjectMeta
from trimtab.base.errors import Transient
from trimtab.controllers.app import App
from trimtab.controllers.intents import Intents
from trimtab.controllers.reading import FIELD, SECRET, Holder, head_of, look
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import ApiError, Forbidden, NotFound, UnknownKind, Unreachable
from trimtab.manifests import codec
from trimtab.manifests.refs import Body, Key, Ref
from trimtab.runtime.finalizers import drop
from trimtab.targets.kubernetes import inventory
from trimtab.targets.kubernetes.inventory import Line

log = logging.getLogger(__name__)

TYPE = "trimtab.dev/inventory"
LABEL = "trimtab.dev/inventory"
"""On every Secret that holds a part of an inventory: the name of the app."""
KEEP = "trimtab.dev/inventory"
"""The finalizer on them: nobody's deletion loses the record while the app is there."""
_MANAGER = names.STATUS_MANAGER
_REFUSALS = (ApiError, Unreachable, UnknownKind, StaleGroup)


class Records:
    """Reads and writes inventories. `client` acts for whoever may write Secrets where the apps are.

    `cluster` is our own, for apps that name no other; `apart` says that the status cannot hold what is ours alone.
    `intents` are where new apps may have what they are about to apply.
    """

    def __init__(self, client: Client, cluster: str, *, apart: bool = False, intents: Intents | None = None) -> None:
        self.apart = apart
        self._intents = intents
        self._client = client
        self._cluster = cluster

    # --- read

    async def read(self, ks: Kustomization) -> App:
        """What is on record of `ks`. Raises Transient where it cannot be read now."""
        try:
            reading = await look(self._client, ks, apart=self.apart)
        except _REFUSALS as failure:
            words = f"the inventory cannot be read from Secrets of namespace {ks.key.namespace}: {failure}"
            raise Transient(names.Reason.RECONCILIATION_FAILED, words) from failure
        app = reading.app(ks)
        if self._intents is not None and names.FINALIZER in ks.metadata.finalizers:
            try:
                await self._intents.recall(app)
            except _REFUSALS as failure:
                words = f"what it was about to apply cannot be read from the ConfigMaps of intents: {failure}"
                raise Transient(names.Reason.RECONCILIATION_FAILED, words) from failure
        return app

    # --- write

    async def intend(self, app: App) -> bool:
        """Put what a new `app` is about to own on record, elsewhere than in its status. False: that was not done."""
        return self._intents is not None and not self.apart and await self._intents.take(app)

    def intended(self, app: App) -> bool:
        """Whether all that `app` owns now is on record elsewhere than in its status."""
        return self._intents is not None and self._intents.holds(app)

    def settled(self, app: App) -> None:
        """The status of `app` says what it owns: nothing else has to."""
        if self._intents is not None:
            self._intents.settle(app.uid)

    def beside_status(self, app: App) -> bool:
        """Whether `put` writes, or leaves behind, more than what the status says."""
        return self.apart or app.headed or bool(app.parts) or len(app.inventory) > inventory.INLINE

    async def put(self, app: App) -> tuple[Body, str]:
        """Put the inventory of `app` on record as far as Secrets go.

        Answers what its status has to say now, and the checksum of the list. Raises Transient.
        """
        lines = inventory.lines(app.inventory)
        try:
            if len(lines) <= inventory.INLINE:
                parts, recorded = {}, inventory.document(lines, self._cluster_of(app))
            else:
                parts = await self._put_parts(app, lines)
                holders = [Ref("", SECRET.kind, app.key.namespace, name) for name in parts.values()]
                recorded = inventory.index(holders, lines, self._cluster_of(app))
            app.untidy = app.untidy or app.parts != parts or (app.headed and not self.apart)
            app.parts = parts
            if self.apart:
                await self._put_head(app, recorded)
        except _REFUSALS as failure:
            words = (
                f"{len(lines)} objects cannot be put on record in Secrets of namespace {app.key.namespace}, so nothing "
                f"is done for them: {failure}"
            )
            raise Transient(names.Reason.RECONCILIATION_FAILED, words) from failure
        entries: Any = recorded["entries"]
        if self.apart:
            # only what Flux's own definitions keep
            told: Body = {"entries": [{"id": line["id"], "v": line["v"]} for line in entries]}
        else:
            told = {"count": None, **recorded}
        return told, str(recorded["checksum"] if lines or app.recorded else "")

    async def tidy(self, app: App) -> None:
        """Remove the Secrets of `app` that nothing refers to any more. What fails is done with the next write."""
        if not app.untidy:
            return
        kept = {*app.parts.values(), *([head_of(app.key).name] if self.apart else [])}
        try:
            for secret in await self._owned(app.key, app.uid):
                if secret.metadata.name not in kept:
                    await self._remove(secret.metadata)
        except _REFUSALS as failure:
            log.warning("Kustomization %s: old parts of its inventory stay for now: %s", app.key, failure)
            return
        app.untidy, app.headed = False, app.headed and self.apart

    async def release(self, app: App) -> None:
        """Let the Secrets of `app` go with it. They stay readable until it is gone. Raises Transient."""
        try:
            resource = await self._client.discovery.find(SECRET)
            for secret in await self._owned(app.key, app.uid):
                await drop(self._client, resource, secret.metadata, KEEP)
        except Forbidden:
            if app.parts or app.headed:
                raise
        except _REFUSALS as failure:
            raise Transient(names.Reason.PRUNE_FAILED, f"Secrets with its inventory: {failure}") from failure

    def _cluster_of(self, app: App) -> str:
        return app.cluster or self._cluster

    async def _put_parts(self, app: App, lines: Sequence[Line]) -> dict[str, str]:
        parts: dict[str, str] = {}
        for part in inventory.parts(lines):
            content = inventory.document(part, self._cluster_of(app))
            checksum = str(content["checksum"])
            name = app.parts.get(checksum)
            if name is None:
                name = f"{app.key.name}.{secrets.token_hex(4)}{inventory.SUFFIX}"
                await self._create(app, name, content, immutable=True)
                app.untidy = True
            parts[checksum] = name
        return parts

    async def _put_head(self, app: App, content: Body) -> None:
        key = head_of(app.key)
        if not app.headed:
            await self._create(app, key.name, content, immutable=False)
            app.headed = True
            return
        resource = await self._client.discovery.find(SECRET)
        data = _secret(app, key.name, content)["data"]
        await self._client.merge_patch(resource, key.name, key.namespace, {"data": data}, field_manager=_MANAGER)

    async def _create(self, app: App, name: str, content: Body, *, immutable: bool) -> None:
        resource = await self._client.discovery.find(SECRET)
        body = _secret(app, name, content) | ({"immutable": True} if immutable else {})
        await self._client.create(resource, body, app.key.namespace, field_manager=_MANAGER)

    async def _owned(self, key: Key, uid: str) -> list[Holder]:
        resource = await self._client.discovery.find(SECRET)
        selector = f"{LABEL}={key.name}"
        found = await self._client.list(resource, key.namespace, label_selector=selector, type=Holder)
        return [secret for secret in found.items if secret.belongs_to(uid)]

    async def _remove(self, metadata: ObjectMeta) -> None:
        resource = await self._client.discovery.find(SECRET)
        await drop(self._client, resource, metadata, KEEP)
        try:
            await self._client.delete(resource, metadata.name, metadata.namespace, uid=metadata.uid)
        except NotFound:
            return


async def keeps_our_fields(client: Client, *fields: str) -> bool:
    """Whether the definition that the cluster serves has room in a status for what is ours alone.

    `fields` lead to one of those; without, to the checksum of an inventory.
    """
    name = f"kustomizations.{KUSTOMIZATION.group}"
    definition: Body = await client.get(await client.discovery.find(CRD), name)
    for version in definition["spec"]["versions"]:
        if version["name"] == KUSTOMIZATION.version:
            schema = version.get("schema", {}).get("openAPIV3Schema", {})
            *path, last = ("status", *fields) if fields else ("status", "inventory", "checksum")
            for field in path:
                schema = schema.get("properties", {}).get(field, {})
            if last not in schema.get("properties", {}):
                if fields:
                    return False
                log.info("the cluster serves Flux's definitions: what is ours alone of an inventory is kept in Secrets")
                return False
    return True


def _secret(app: App, name: str, content: Body) -> Body:
    owner = {"apiVersion": KUSTOMIZATION.api_version, "kind": KUSTOMIZATION.kind, "name": app.key.name, "uid": app.uid}
    return {
        "apiVersion": "v1",
        "kind": SECRET.kind,
        "type": TYPE,
        "metadata": {
            "name": name,
            "namespace": app.key.namespace,
            "labels": {LABEL: app.key.name},
            "finalizers": [KEEP],
            "ownerReferences": [owner],
        },
        "data": {FIELD: base64.b64encode(codec.encode(content)).decode()},
    }
