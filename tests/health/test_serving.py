"""Whether anybody looks after an object, as far as the Leases tell."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from trimtab.api import gvk, names, shards
from trimtab.api.names import KUSTOMIZE_LEASE, SHARD_LABEL, SOURCE_LEASE
from trimtab.health.serving import DRIVERS, gap

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = shards.lease_name(KUSTOMIZE_LEASE, shards.selector_of("first"))
REST = shards.lease_name(KUSTOMIZE_LEASE, shards.REST)


def lease(holder: str = "trimtab-7d9_4711", age_s: float = 1, selector: str = "") -> dict[str, Any]:
    renewed = (NOW - timedelta(seconds=age_s)).isoformat()
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed}
    return {"metadata": {"annotations": {shards.SELECTOR: selector} if selector else {}}, "spec": spec}


def why(leases: dict[str, dict[str, Any]], shard: str | None = None, kind: str = gvk.KUSTOMIZATION.kind) -> str:
    found = gap(kind, {} if shard is None else {SHARD_LABEL: shard}, leases, NOW)
    return found.why if found is not None else ""


def test_one_process_without_a_selector_looks_after_all() -> None:
    assert not why({KUSTOMIZE_LEASE: lease()})
    assert not why({KUSTOMIZE_LEASE: lease()}, "first")


@pytest.mark.parametrize(
    ("shard", "words"),
    [
        ("first", ""),
        (None, ""),
        ("second", "no process serves the shard second as controller kustomize"),
    ],
    ids=["named", "rest", "nobody's"],
)
def test_a_shard_is_looked_after_by_who_has_its_lease(shard: str | None, words: str) -> None:
    assert why({KUSTOMIZE_LEASE: lease(shards.TOGETHER), FIRST: lease(), REST: lease()}, shard) == words


def test_any_selector_that_is_said_counts() -> None:
    several = {f"{KUSTOMIZE_LEASE}-0000": lease(selector=f"{SHARD_LABEL} in (first, second)")}
    assert not why(several, "second")
    assert why(several) == "no process serves objects without a shard as controller kustomize"
    assert why({f"{KUSTOMIZE_LEASE}-0000": lease(selector="(((")}, "second")


def test_who_is_gone_looks_after_nothing() -> None:
    told = gap(gvk.KUSTOMIZATION.kind, {}, {KUSTOMIZE_LEASE: lease(age_s=3600), SOURCE_LEASE: lease()}, NOW)
    assert told is not None
    assert told.why == "nobody runs the controller kustomize"
    assert "trimtab run --controllers kustomize" in told.way_out
    assert why({KUSTOMIZE_LEASE: lease(holder="")})
    assert not why({KUSTOMIZE_LEASE: lease(age_s=40)}), "late, and perhaps only by another clock"


def test_nothing_is_claimed_where_the_leases_do_not_tell() -> None:
    assert not why({})
    assert not why({"somebody-elses": lease()})
    assert not why({SOURCE_LEASE: lease()}, kind="Deployment")
    odd = lease()
    odd["spec"]["renewTime"] = "yesterday"
    assert not why({KUSTOMIZE_LEASE: odd})


def test_every_kind_that_somebody_drives_has_a_lease() -> None:
    driven = {one.lease for one in DRIVERS.values()}
    assert driven == {value for name, value in vars(names).items() if name.endswith("_LEASE")}
