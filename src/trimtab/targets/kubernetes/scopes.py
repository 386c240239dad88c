"""Which kinds live in namespaces: as the server says, or as a CRD of the same set declares."""

from collections.abc import Iterable

from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import UnknownKind
from trimtab.manifests.definition import definition
from trimtab.manifests.refs import Gvk, Manifest


async def scopes(client: Client, manifests: Iterable[Manifest]) -> dict[Gvk, bool]:
    """Kind → whether it is namespaced. A kind that nobody knows yet is left out."""
    found: dict[Gvk, bool] = {}
    declared: dict[tuple[str, str], bool] = {}
    kinds = set()
    for manifest in manifests:
        kinds.add(manifest.gvk)
        if (defined := definition(manifest.body)) is not None:
            declared[defined.group, defined.kind] = defined.namespaced
    for gvk in kinds:
        try:
            found[gvk] = (await client.discovery.find(gvk)).namespaced
        except (UnknownKind, StaleGroup):
            if (gvk.group, gvk.kind) in declared:
                found[gvk] = declared[gvk.group, gvk.kind]
    return found
