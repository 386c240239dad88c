"""How much of a cluster is managed: each object by the app that has it on record, by another tool, or by nobody.

What belongs to another object is as managed as that: a Pod of a ReplicaSet of a managed Deployment is managed. What a
cluster makes for itself does not count. Only metadata is read.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from trimtab.api import names
from trimtab.api.installed import DEFAULT_NAMESPACE
from trimtab.diff.report import Finding
from trimtab.kube.client import Client
from trimtab.manifests.refs import Key, Ref
from trimtab.targets.kubernetes import estate
from trimtab.targets.kubernetes.desired import PREFIX, Owner
from trimtab.targets.kubernetes.estate import PREFIXES, Live, Record

SYSTEM: Final = frozenset({"kube-system", "kube-public", "kube-node-lease"})
_RELEASES: Final = names.RELEASE_OWNER_NAME.removesuffix("name")
_TITLES: Final = {PREFIX: "Kustomization", _RELEASES: "HelmRelease", names.APPLIED: "app"}
_OWN_KINDS: Final = frozenset(
    {
        ("", "ComponentStatus"),
        ("", "Node"),
        ("certificates.k8s.io", "CertificateSigningRequest"),
        ("internal.apiserver.k8s.io", "StorageVersion"),
        ("networking.k8s.io", "IPAddress"),
        ("storage.k8s.io", "CSINode"),
        ("storage.k8s.io", "CSIStorageCapacity"),
        ("storage.k8s.io", "VolumeAttachment"),
    }
)
"""What only the cluster itself makes."""
_OWN_NAMES: Final = frozenset({("Service", "default", "kubernetes"), ("ServiceCIDR", "", "kubernetes")})
_OWN_LABELS: Final = ("kubernetes.io/bootstrapping", "kube-aggregator.kubernetes.io/automanaged")
_OWN_NOTES: Final = ("apf.kubernetes.io/autoupdate-spec", "pv.kubernetes.io/provisioned-by")
_PART_OF: Final = "app.kubernetes.io/part-of"
_OUR_PARTS: Final = frozenset({"trimtab", "flux"})
_OUR_KINDS: Final = frozenset(
    {
        ("", "ConfigMap"),
        ("", "ResourceQuota"),
        ("", "Service"),
        ("", "ServiceAccount"),
        ("apps", "Deployment"),
        ("monitoring.coreos.com", "PodMonitor"),
        ("monitoring.coreos.com", "PrometheusRule"),
        ("monitoring.coreos.com", "ServiceMonitor"),
        ("networking.k8s.io", "NetworkPolicy"),
        ("rbac.authorization.k8s.io", "Role"),
        ("rbac.authorization.k8s.io", "RoleBinding"),
    }
)
"""What Trimtab and Flux have in the namespace they are installed in."""
_OUR_RULES: Final = frozenset(
    {("rbac.authorization.k8s.io", "ClusterRole"), ("rbac.authorization.k8s.io", "ClusterRoleBinding")}
)
_OUR_DEFINITION: Final = re.compile(r".*\.toolkit\.fluxcd\.io|.*\.extensions\.fluxcd\.io")
_LONGEST_CHAIN: Final = 16


class Share(StrEnum):
    """How an object stands. Orphaned: it carries the labels of an app that is gone, or has it on no record."""

    MANAGED = "managed"
    UNMANAGED = "unmanaged"
    ORPHANED = "orphaned"


class Covered(NamedTuple):
    """One object, and `by` whom it is managed, or who else seems to have made it.

    `owned`: it belongs to another object, which decides.
    """

    ref: Ref
    share: Share
    by: str = ""
    owned: bool = False


class Apps(NamedTuple):
    """What is known of the apps, by the prefix of their labels. None for a kind of apps that cannot be read."""

    records: Mapping[str, Mapping[Key, Record] | None]

    def has(self, prefix: str, key: Key, ref: Ref) -> bool | None:
        """Whether the app has `ref` on record; None where nobody can tell, which is not to be called a loss."""
        apps = self.records.get(prefix)
        if apps is None:
            return None
        record = apps.get(key)
        return record is not None and (bool(record.problem) or ref in record.refs)


class Estate(NamedTuple):
    """All that counts, and the kinds that could not be looked at."""

    objects: Sequence[Covered]
    blind: Sequence[Finding]


async def survey(client: Client, namespace: str, apps: Apps, *, system: bool = False) -> Estate:
    """What is in `namespace`, or in all that are not the system's. Raises nothing for what cannot be listed."""
    seen = await estate.survey(client, [namespace], namespaced_only=bool(namespace))
    everything = system or namespace in SYSTEM
    return Estate(judged(seen.found, apps, counts=lambda live: everything or not _is_systems(live)), seen.blind)


def judged(found: Iterable[Live], apps: Apps, counts: Callable[[Live], bool] = lambda _live: True) -> list[Covered]:
    """How each of `found` stands, in their order by reference. Pure."""
    seen = {live.ref: live for live in found}
    by_uid = {str(live.metadata.get("uid", "")): live for live in seen.values()}
    homes = _homes(seen.values())
    covered: list[Covered] = []
    for ref in sorted(seen):
        live = seen[ref]
        if _is_clusters(live, homes) or not counts(live):
            continue
        root, stranger = _root(live, by_uid)
        share, by = _judge(root, apps)
        if stranger and share is Share.UNMANAGED:
            by = f"{stranger}, its owner"
        if root is not live and _is_clusters(root, homes):
            continue  # what the cluster has for itself goes with it
        covered.append(Covered(ref, share, by, owned=root is not live or bool(stranger)))
    return covered


def _root(live: Live, by_uid: Mapping[str, Live]) -> tuple[Live, str]:
    """The object that `live` belongs to in the end, and the owner that was not found, if one was not."""
    for _ in range(_LONGEST_CHAIN):
        owners = live.metadata.get("ownerReferences") or ()
        owner = next((one for one in owners if one.get("controller")), owners[0] if owners else None)
        if owner is None:
            return live, ""
        above = by_uid.get(str(owner.get("uid", "")))
        if above is None:
            return live, f"{owner.get('kind')}/{owner.get('name')}"
        live = above
    return live, ""


def _judge(live: Live, apps: Apps) -> tuple[Share, str]:
    for prefix in PREFIXES:
        owner = Owner.of(live.body, prefix)
        if owner is None:
            continue
        name = f"{_TITLES[prefix]} {owner.key}"
        known = apps.has(prefix, owner.key, live.ref)
        if known is False:
            records = apps.records.get(prefix) or {}
            why = "has it on no record" if owner.key in records else "is gone"
            return Share.ORPHANED, f"{name}, which {why}"
        return Share.MANAGED, name
    return Share.UNMANAGED, maker(live)


def maker(live: Live) -> str:
    """Which other tool an object was made by, as far as it says."""
    metadata = live.metadata
    labels, notes = metadata.get("labels") or {}, metadata.get("annotations") or {}
    if release := notes.get(names.HELM_RELEASE_NAME):
        return f"helm release {notes.get(names.HELM_RELEASE_NAMESPACE, '')}/{release}"
    if tracked := notes.get("argocd.argoproj.io/tracking-id"):
        return f"Argo CD application {str(tracked).partition(':')[0]}"
    if instance := labels.get("argocd.argoproj.io/instance"):
        return f"Argo CD application {instance}"
    if names.KUBECTL_LAST_APPLIED in notes:
        return "kubectl apply"
    managers = [
        str(one.get("manager", "")) for one in metadata.get("managedFields") or () if not one.get("subresource")
    ]
    return managers[0] if managers else ""


def _is_clusters(live: Live, homes: Collection[str]) -> bool:
    """Whether the cluster has it for itself, or it is what we ourselves are installed with or keep."""
    labels, notes = live.metadata.get("labels") or {}, live.metadata.get("annotations") or {}
    ref = live.ref
    if estate.is_nobodys(live) or (ref.group, ref.kind) in _OWN_KINDS:
        return True
    if (ref.kind, ref.namespace, ref.name) in _OWN_NAMES or ref.name.startswith("system:"):
        return True
    if any(label in labels for label in _OWN_LABELS) or any(note in notes for note in _OWN_NOTES):
        return True
    if ref.kind == "CustomResourceDefinition" and _OUR_DEFINITION.fullmatch(ref.name):
        return True
    return _is_ours(live, homes) and not _is_labelled(labels)


def _homes(found: Iterable[Live]) -> frozenset[str]:
    """Where Trimtab or Flux are installed, as far as is seen: where they usually are, and Namespaces that say so."""
    told = (live.ref.name for live in found if live.ref.kind == "Namespace" and not live.ref.group and _says_ours(live))
    return frozenset({DEFAULT_NAMESPACE, *told})


def _says_ours(live: Live) -> bool:
    return (live.metadata.get("labels") or {}).get(_PART_OF) in _OUR_PARTS


def _is_ours(live: Live, homes: Collection[str]) -> bool:
    """Whether it is of an installation. Anybody may write its label, which alone takes nothing out of the count."""
    ref, kind = live.ref, (live.ref.group, live.ref.kind)
    if not _says_ours(live):
        return False
    if kind in _OUR_RULES:
        return ref.name.startswith("trimtab-") or any(ref.name.endswith(f"-{home}") for home in homes)
    return kind == ("", "Namespace") or (kind in _OUR_KINDS and ref.namespace in homes)


def _is_labelled(labels: Collection[str]) -> bool:
    return any(f"{prefix}name" in labels for prefix in PREFIXES)


def _is_systems(live: Live) -> bool:
    ref = live.ref
    if ref.kind == "Namespace" and not ref.group:
        return ref.name in SYSTEM or ref.name == "default"
    return ref.namespace in SYSTEM or (not ref.namespace and ref.name.startswith("system-"))
