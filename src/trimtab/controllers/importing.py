"""Entries without a uid: which of the objects they name are ours is asked of the server, once per start (ENGINE.md §4).

Flux records no uids, and after a crash some of ours may be missing. An object is ours if it carries our labels, was
applied by the manager that Flux and we share, and nobody else controls it (P9).
"""

import logging
from functools import partial

from trimtab.base.abreast import abreast
from trimtab.controllers.app import App
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import ApiError, NotFound, UnknownKind, Unreachable
from trimtab.manifests.refs import Body, Ref
from trimtab.targets.kubernetes import identity, prune
from trimtab.targets.kubernetes.desired import PREFIX, Owner
from trimtab.targets.kubernetes.inventory import Entry

log = logging.getLogger(__name__)


async def resolve(client: Client, app: App) -> None:
    """Put the uids on record that can be had. What Flux listed and is not there, or is not ours, leaves the record.

    Of our own lists nothing leaves: an apply whose answer was lost may still be under way. What cannot be looked at
    stays as it is. Never raises for what the server or the network says.
    """
    if app.resolved:
        return
    owner, imported = Owner(PREFIX, app.key), app.imported
    unknown = [entry for entry in app.inventory.values() if not entry.uid]
    found = await abreast(partial(_look, client, owner), unknown)
    foreign: list[Ref] = []
    for entry, uid in zip(unknown, found, strict=True):
        if uid:
            app.inventory[entry.ref] = entry._replace(uid=uid)
        elif uid is not None and imported:
            foreign.append(entry.ref)
            del app.inventory[entry.ref]
    if foreign:
        listed = ", ".join(map(str, sorted(foreign)[:20]))
        log.info("Kustomization %s: %d recorded by Flux are gone or not ours: %s", app.key, len(foreign), listed)
    app.resolved, app.imported = True, False


async def _look(client: Client, owner: Owner, entry: Entry) -> str | None:
    """The uid of the object; empty if it is not there or not ours, None if that cannot be known."""
    try:
        resource = await prune.served(client, entry)
        if identity.out_of_scope(entry.ref, resource):
            return ""
        live: Body = await client.get(resource, entry.ref.name, entry.ref.namespace)
    except NotFound:
        return ""
    except (ApiError, Unreachable, UnknownKind, StaleGroup):
        return None
    return "" if prune.foreign(live, entry, owner) else str(live["metadata"]["uid"])
