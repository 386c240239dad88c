"""Which kinds live in namespaces: as the server says, or as a CRD of the same set declares."""

from collections.abc import Iterable

from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import UnknownKind
from trimtab.manifests.refs import Gvk, Manifest


async def scopes(client: Client, manifests: Iterable[Manifest]) -> dict[Gvk, bool]:
    """Kind → whether it is namespaced. A kind that nobody knows yet is left out."""
    found: dict[Gvk, bool] = {}
    declared: dict[tuple[str, str], bool] = {}
    kinds = set()
    for manifest in manifests:
        kinds.add(manifest.gvk)
        if manifest.ref.kind == "CustomResourceDefinition":
            spec = manifest.body.get("spec") or {}
            kind = (spec.get("names") or {}).get("kind", "")
            declared[spec.get("group", ""), kind] = spec.get("scope") == "Namespaced"
    for gvk in kinds:
        try:
            found[gvk] = (await client.discovery.find(gvk)).namespaced
        except (UnknownKind, StaleGroup):
            if (gvk.group, gvk.kind) in declared:
                found[gvk] = declared[gvk.group, gvk.kind]
    return found
