"""What `trimtab run` was told."""

from dataclasses import dataclass
from pathlib import Path

from trimtab.manifests.refs import Key


@dataclass(frozen=True, slots=True)
class Settings:
    """The flags of `trimtab run`, read. An account that is None stands for the rights of the process itself.

    `selector` selects the objects that are looked after; empty for all of them. `lease_s` are the duration of a Lease,
    the deadline and the period of its renewals.
    `watched_configs` selects the ConfigMaps and Secrets whose changes are told at once; none where it is empty.
    `ledger` is the directory that the ledger is written to; None: there is none.
    """

    controllers: frozenset[str]
    kubeconfig: Path | None
    context: str | None
    storage_path: Path
    storage_addr: str
    storage_adv_addr: str
    metrics_addr: str
    concurrent: int
    namespace: str
    cross_namespace_refs: str
    default_service_account: str
    applier: Key | None
    reader: Key | None
    leader_elect: bool
    selector: str = ""
    lease_s: tuple[float, float, float] = (15.0, 10.0, 5.0)
    recheck_every_s: float = 6 * 3600.0
    multi_tenant: bool = False
    receiver_addr: str = "127.0.0.1:9292"
    deny_private: bool = False
    remote_bases: tuple[str, ...] = ()
    strict_substitution: bool = True
    watched_configs: str = ""
    helm_lookup: bool = True
    sops_age_secret: str = ""
    sops_vault_configmap: str = ""
    events_addr: str = ""
    events_to: str = ""
    events_from: str = "namespace"
    cluster_name: str = ""
    tracing: bool = False
    ledger: Path | None = None
    suspended_too_long_s: float = 24 * 3600.0
    unknown_too_long_s: float = 900.0
