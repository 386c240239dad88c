"""Which controller looks after an object, and whether any process does: the Leases tell. Pure.

Where processes share the objects by their labels, each holds a Lease of its own, named by its selector (`api.shards`).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

from trimtab.api import gvk, names, shards
from trimtab.health.shape import section
from trimtab.manifests import selectors
from trimtab.manifests.refs import Body

DURATION_S: Final = 15
"""Seconds that a Lease is good for where it does not say."""
_GRACE_S: Final = 30.0
"""Clocks differ, and who is late may only be slow."""


class Driver(NamedTuple):
    """A controller, and the Lease of whoever runs it for all objects."""

    controller: str
    lease: str


_SOURCE: Final = Driver("source", names.SOURCE_LEASE)
_REFLECTOR: Final = Driver("image-reflector", names.REFLECTOR_LEASE)
DRIVERS: Final[Mapping[str, Driver]] = {
    gvk.GIT_REPOSITORY.kind: _SOURCE,
    gvk.OCI_REPOSITORY.kind: _SOURCE,
    gvk.BUCKET.kind: _SOURCE,
    gvk.HELM_REPOSITORY.kind: _SOURCE,
    gvk.HELM_CHART.kind: _SOURCE,
    gvk.KUSTOMIZATION.kind: Driver("kustomize", names.KUSTOMIZE_LEASE),
    gvk.HELM_RELEASE.kind: Driver("helm", names.HELM_LEASE),
    gvk.RECEIVER.kind: Driver("notification", names.NOTIFICATION_LEASE),
    gvk.ARTIFACT_GENERATOR.kind: Driver("source-watcher", names.WATCHER_LEASE),
    gvk.IMAGE_REPOSITORY.kind: _REFLECTOR,
    gvk.IMAGE_POLICY.kind: _REFLECTOR,
    gvk.IMAGE_UPDATE_AUTOMATION.kind: Driver("image-automation", names.AUTOMATION_LEASE),
}


class Gap(NamedTuple):
    """That nobody looks after an object, and what helps."""

    why: str
    way_out: str


def gap(kind: str, labels: Mapping[str, str], leases: Mapping[str, Body], now: datetime) -> Gap | None:
    """Why nobody looks after an object of `kind` with `labels`, by the `leases` of the controllers, by name.

    None where somebody does, for kinds of which no Lease tells, and where there is no Lease of any controller: then
    they are somewhere else, or do without.
    """
    driver = DRIVERS.get(kind)
    if driver is None or not any(name.startswith(one.lease) for one in DRIVERS.values() for name in leases):
        return None
    kept_up = {name: lease for name, lease in leases.items() if holder_of(lease) and not _expired(lease, now)}
    plain = kept_up.get(driver.lease)
    if plain is not None and holder_of(plain) != shards.TOGETHER:
        return None
    shares = shares_of(driver.lease, kept_up)
    if serves(driver.lease, shares, labels):
        return None
    if shares:
        return unserved(driver.controller, labels.get(names.SHARD_LABEL))
    way = f"start it: `trimtab run --controllers {driver.controller}`, or the Deployment"
    return Gap(f"nobody runs the controller {driver.controller}", way)


def unserved(controller: str, shard: str | None) -> Gap:
    """The words for a shard, or None for the objects without one, that no process serves."""
    which = "objects without a shard" if shard is None else f"the shard {shard}"
    way = f"start it: `trimtab run --watch-label-selector='{selector_of(shard)}'`, or label anew"
    return Gap(f"no process serves {which} as controller {controller}", way)


def selector_of(shard: str | None) -> str:
    """What selects a shard, or for None the objects without one."""
    return shards.REST if shard is None else shards.selector_of(shard)


def shares_of(lease: str, leases: Mapping[str, Body]) -> dict[str, Body]:
    """The Leases of those who share what the holder of `lease` would do alone."""
    return {name: body for name, body in leases.items() if name.startswith(f"{lease}-")}


def serves(lease: str, shares: Mapping[str, Body], labels: Mapping[str, str]) -> bool:
    """Whether one of `shares`, all of them held, is for an object with `labels`."""
    if shards.lease_name(lease, selector_of(labels.get(names.SHARD_LABEL))) in shares:
        return True  # the Leases of Flux do not say their selectors
    return any(_selects(share, labels) for share in shares.values())


def holder_of(lease: Body) -> str:
    """Who holds `lease`; empty for nobody."""
    return str(section(lease, "spec").get("holderIdentity") or "")


def selected_by(lease: Body) -> str:
    """The selector of the process that holds `lease`, if it says so."""
    return str(section(lease, "metadata", "annotations").get(shards.SELECTOR) or "")


def _selects(lease: Body, labels: Mapping[str, str]) -> bool:
    selector = selected_by(lease)
    try:
        return bool(selector) and selectors.parse(selector)(labels)
    except ValueError:
        return False


def _expired(lease: Body, now: datetime) -> bool:
    spec = section(lease, "spec")
    try:
        age_s = (now - datetime.fromisoformat(str(spec.get("renewTime")))).total_seconds()
    except ValueError:
        return False
    return age_s > int(spec.get("leaseDurationSeconds") or DURATION_S) + _GRACE_S
