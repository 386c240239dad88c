"""What all apps of a cluster have on record, whoever looks after them, for whoever asks how much is managed."""

from collections.abc import Mapping
from typing import Final

from trimtab.api import names
from trimtab.api.gvk import HELM_RELEASE, KUSTOMIZATION
from trimtab.api.kustomize import Kustomization
from trimtab.base.abreast import abreast
from trimtab.controllers.applyrecords import ApplyRecords
from trimtab.controllers.reading import look
from trimtab.controllers.rivals import RELEASE_PREFIX
from trimtab.diff.report import Finding, State
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, StaleGroup, UnknownKind, Unreachable
from trimtab.manifests.refs import Key, Ref
from trimtab.targets.kubernetes.coverage import Apps
from trimtab.targets.kubernetes.desired import PREFIX
from trimtab.targets.kubernetes.estate import Record

_REFUSALS: Final = (ApiError, StaleGroup, Unreachable)


async def apps(client: Client, applied: ApplyRecords, namespace: str) -> tuple[Apps, list[Finding]]:
    """The records of all apps, and what could not be read of them.

    Apps of other namespaces may have objects in `namespace`, so all are asked for. Who may not list them everywhere is
    told so: what carries their labels then counts as managed, since nobody can tell that it is lost.
    """
    records: dict[str, Mapping[Key, Record] | None] = {}
    blind: list[Finding] = []
    for prefix, kind, read in (
        (PREFIX, Ref(KUSTOMIZATION.group, KUSTOMIZATION.kind, "", ""), _kustomizations),
        (RELEASE_PREFIX, Ref(HELM_RELEASE.group, HELM_RELEASE.kind, "", ""), _releases),
    ):
        try:
            records[prefix] = await read(client)
        except UnknownKind:
            records[prefix] = {}
        except _REFUSALS as failure:
            records[prefix] = None
            blind.append(Finding(kind, State.UNKNOWN, note=f"which apps there are is not known: {failure}"))
    try:
        found = await applied.within_reach(namespace)
        records[names.APPLIED] = {one.key: Record(one.inventory.keys(), one.problem) for one in found}
    except _REFUSALS as failure:
        records[names.APPLIED] = None
        note = f"which apps of `trimtab apply` there are is not known: {failure}"
        blind.append(Finding(Ref("", "Secret", namespace, ""), State.UNKNOWN, note=note))
    return Apps(records), blind


async def _kustomizations(client: Client) -> Mapping[Key, Record]:
    resource = await client.discovery.find(KUSTOMIZATION)
    found = (await client.list(resource, type=Kustomization)).items

    async def one(ks: Kustomization) -> tuple[Key, Record]:
        try:
            reading = await look(client, ks, apart=False)
            return ks.key, Record(reading.entries().keys(), reading.problem)
        except (ValueError, *_REFUSALS) as failure:
            return ks.key, Record((), str(failure))

    return dict(await abreast(one, found))


async def _releases(client: Client) -> Mapping[Key, Record]:
    """HelmReleases have their records in Helm's own Secrets: that one is there has to do."""
    resource = await client.discovery.find(HELM_RELEASE)
    found = (await client.list(resource, type=dict)).items
    keys = (Key(body["metadata"]["namespace"], body["metadata"]["name"]) for body in found)
    return {key: Record((), "its record is Helm's") for key in keys}
