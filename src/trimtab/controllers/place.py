"""Where the objects of an app go: this cluster, or another one that a kubeconfig leads to."""

from dataclasses import dataclass

from trimtab.kube.client import Client
from trimtab.targets.kubernetes.target import KubernetesTarget


@dataclass(frozen=True, slots=True)
class Place:
    """One cluster as one set of credentials reaches it. Apps with the same credentials share it.

    `client` has the rights of those credentials; in our own cluster they are the process's own and no app acts with
    them unless it was set up so. `ids` are the names of the cluster in inventories, the one that is written first.
    `home` says that it is our own cluster, `protected` is the namespace in it that no app may harm.
    """

    client: Client
    target: KubernetesTarget
    ids: tuple[str, ...]
    home: bool
    protected: str

    @property
    def cluster(self) -> str:
        """What inventories call the cluster."""
        return self.ids[0]

    def holds(self, recorded: str) -> bool:
        """Whether a list that was recorded for the cluster `recorded` is about this one; Flux's lists do not say."""
        return recorded in ("", *self.ids)
