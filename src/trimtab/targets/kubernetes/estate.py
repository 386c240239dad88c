"""What a cluster has beside what is wished: objects that no app manages, and objects that an app has lost.

Only metadata is read. What belongs to another object is that object's, and what the cluster makes for itself in every
namespace is nobody's.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from trimtab.api import names
from trimtab.base.abreast import abreast
from trimtab.diff import fields
from trimtab.diff.report import Finding, State
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, Gone, NotFound, Unreachable
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Body, Key, Ref
from trimtab.targets.kubernetes.desired import MANAGER, PREFIX, Owner
from trimtab.targets.kubernetes.inventory import SUFFIX

PREFIXES: Final = (PREFIX, names.RELEASE_OWNER_NAME.removesuffix("name"), names.APPLIED)
"""Of the labels that say whose an object is: of a Kustomization, of a HelmRelease, of an app of `trimtab apply`."""
_NOBODYS_KINDS: Final = frozenset(
    {
        ("", "Endpoints"),
        ("", "Event"),
        ("coordination.k8s.io", "Lease"),
        ("discovery.k8s.io", "EndpointSlice"),
        ("events.k8s.io", "Event"),
        ("metrics.k8s.io", "PodMetrics"),
    }
)
"""They come and go without anybody's wish."""
_NOBODYS_NAMES: Final = frozenset({("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")})
_OF_AN_ACCOUNT: Final = "kubernetes.io/service-account.name"
_RELEASE: Final = "sh.helm.release.v1."
_PAGE: Final = 500


class Live(NamedTuple):
    """The name and the metadata of a live object."""

    ref: Ref
    metadata: Body

    @property
    def body(self) -> Body:
        """As much of the object as there is."""
        return {"metadata": self.metadata}


class Record(NamedTuple):
    """What an app is known to have. `problem`: why that is not known."""

    refs: Collection[Ref] = ()
    problem: str = ""


async def unmanaged(client: Client, namespaces: Iterable[str], wanted: Collection[Ref]) -> list[Finding]:
    """What is in `namespaces`, is not `wanted`, and carries the labels of no app; and what could not be listed."""
    seen = await survey(client, sorted(set(namespaces) - {""}))
    extra = [live for live in seen.found if live.ref not in wanted and _is_unmanaged(live)]
    return [*seen.blind, *(Finding(live.ref, State.EXTRA, note="no app manages it") for live in extra)]


async def orphans(client: Client, records: Mapping[Key, Record], namespace: str | None) -> list[Finding]:
    """Objects with the labels of an app that has them on no record.

    `namespace` is that of the apps, empty for all: then, or with a name in it, apps that are gone count as well. None:
    only those of `records` are looked for.
    """
    selector = f"{PREFIX}name,{PREFIX}namespace"
    if namespace is None and len(records) == 1:
        [key] = records
        selector = ",".join(f"{name}={value}" for name, value in Owner(PREFIX, key).labels.items())
    elif namespace:
        selector = f"{PREFIX}name,{PREFIX}namespace={namespace}"
    seen = await survey(client, [""], selector, namespaced_only=False)
    found: list[Finding] = list(seen.blind)
    for live in seen.found:
        owner = Owner.of(live.body)
        if owner is None or _is_controlled(live) or fields.owned_entry(live.body, MANAGER) is None:
            continue
        record = records.get(owner.key)
        if record is None:
            if namespace is None:
                continue
            words = f"an orphan: it carries the labels of {owner.key}, which is gone"
            found.append(Finding(live.ref, State.EXTRA, note=words))
        elif not record.problem and live.ref not in record.refs:
            words = f"an orphan: it carries the labels of {owner.key}, which has it on no record"
            found.append(Finding(live.ref, State.EXTRA, note=words, app=owner.key))
    return found


@dataclass(slots=True)
class Survey:
    """What was listed, and what could not be."""

    found: list[Live] = field(default_factory=list)
    blind: list[Finding] = field(default_factory=list)


async def survey(
    client: Client, namespaces: Sequence[str], selector: str = "", *, namespaced_only: bool = True
) -> Survey:
    """The metadata of what there is in `namespaces`, an empty name standing for all of them."""
    seen = Survey()
    try:
        resources = await client.discovery.all()
    except (ApiError, Unreachable) as failure:
        seen.blind += [
            Finding(Ref("", "Object", namespace, ""), State.UNKNOWN, note=str(failure)) for namespace in namespaces
        ]
        return seen
    for group, version in sorted(client.discovery.silent):
        note = f"the server behind the API {group}/{version} does not answer, so its kinds are unknown"
        seen.blind.append(Finding(Ref(group, "Object", "", ""), State.UNKNOWN, note=note))
    kinds = [
        resource
        for resource in resources
        if "list" in resource.verbs
        and (resource.namespaced or not namespaced_only)
        and (resource.gvk.group, resource.gvk.kind) not in _NOBODYS_KINDS
    ]

    async def look(place: tuple[Resource, str]) -> None:
        resource, namespace = place
        try:
            seen.found += await _listed(client, resource, namespace, selector)
        except NotFound:
            return  # the kind has just gone
        except (ApiError, Unreachable) as failure:
            ref = Ref(resource.gvk.group, resource.gvk.kind, namespace, "")
            seen.blind.append(Finding(ref, State.UNKNOWN, note=str(failure)))

    await abreast(look, [(resource, namespace) for resource in kinds for namespace in namespaces])
    return seen


async def _listed(client: Client, resource: Resource, namespace: str, selector: str) -> list[Live]:
    for again in (True, False):
        try:
            return await _pages(client, resource, namespace, selector)
        except Gone:
            if not again:
                raise
    raise AssertionError("unreachable")


async def _pages(client: Client, resource: Resource, namespace: str, selector: str) -> list[Live]:
    found: list[Live] = []
    token = ""
    while True:
        page = await client.page(
            resource, namespace, token, label_selector=selector, limit=_PAGE, metadata_only=True, type=dict
        )
        for item in page.items or ():
            metadata = item["metadata"]
            ref = Ref(resource.gvk.group, resource.gvk.kind, metadata.get("namespace") or "", metadata["name"])
            found.append(Live(ref, metadata))
        token = page.metadata.continue_
        if not token:
            return found


def _is_unmanaged(live: Live) -> bool:
    labels = live.metadata.get("labels") or {}
    if live.metadata.get("ownerReferences") or any(f"{prefix}name" in labels for prefix in PREFIXES):
        return False
    return not is_nobodys(live)


def is_nobodys(live: Live) -> bool:
    """Whether the cluster makes such an object for itself, or keeps in it what somebody has applied."""
    notes = live.metadata.get("annotations") or {}
    if live.ref.kind == "Secret" and (_OF_AN_ACCOUNT in notes or live.ref.name.startswith(_RELEASE)):
        return True
    return (live.ref.kind, live.ref.name) in _NOBODYS_NAMES or live.ref.name.endswith(SUFFIX)


def _is_controlled(live: Live) -> bool:
    return any(owner.get("controller") for owner in live.metadata.get("ownerReferences") or ())
