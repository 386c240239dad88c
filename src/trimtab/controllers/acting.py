"""What is common to apps of every kind, where it decides which cluster their objects go to and in whose name."""

from typing import Protocol

from trimtab.api.kustomize import KubeConfig
from trimtab.api.meta import ObjectMeta
from trimtab.manifests.refs import Key


class _Spec(Protocol):
    @property
    def kube_config(self) -> KubeConfig | None: ...
    @property
    def service_account_name(self) -> str: ...


class Acting(Protocol):
    """An app: a Kustomization or a HelmRelease."""

    @property
    def metadata(self) -> ObjectMeta: ...
    @property
    def key(self) -> Key: ...
    @property
    def spec(self) -> _Spec: ...
