"""What this version does not serve, and what makes no sense: refused clearly, never ignored silently. Pure."""

from collections.abc import Mapping

from trimtab.api import annotations, names
from trimtab.api.bucket import Bucket, BucketProvider, StsProvider
from trimtab.api.generator import ArtifactGenerator
from trimtab.api.helm import HelmChart, HelmRepository
from trimtab.api.helmactions import ServerSideApply
from trimtab.api.helmrelease import HelmRelease
from trimtab.api.image import ImageRepository
from trimtab.api.kustomize import Kustomization
from trimtab.api.meta import ObjectMeta
from trimtab.api.oci import OCIRepository
from trimtab.api.source import GitProvider, GitRepository
from trimtab.base.errors import Terminal

_UNSERVED: Mapping[str, tuple[str, ...]] = {
    names.Annotation.FREEZE: (),
}
_UNSERVED_OF_RELEASES: Mapping[str, tuple[str, ...]] = {
    names.Annotation.GATE: (names.GateMode.ATOMIC,),
    names.Annotation.DELETION_BUDGET: (),
    names.Annotation.APPROVE_PRUNE: ("",),
    names.Annotation.ALLOW_EMPTY: ("false",),
    names.Annotation.DEPENDS_ON: (),
}
_SOURCES = frozenset({"GitRepository", "OCIRepository", "Bucket", "ExternalArtifact"})
_CHART_SOURCES = frozenset({"HelmRepository", "GitRepository", "Bucket"})
_INPUTS = _SOURCES | {"HelmChart"}
"""What artifacts are made of: every source of apps, and charts."""


def check(ks: Kustomization) -> None:
    """Raise Terminal for what would be applied wrongly if a field or an annotation of `ks` were ignored."""
    _refuse_nonsense("Kustomization", ks.metadata)
    _refuse("Kustomization", [*_unsupported(ks), *_unserved(ks.metadata, _UNSERVED)])


def check_git(repository: GitRepository) -> None:
    """Raise Terminal for what would be fetched, or trusted, wrongly if a part of `repository` were ignored."""
    _refuse_nonsense("GitRepository", repository.metadata)
    spec = repository.spec
    found = {f"spec.provider {spec.provider}": spec.provider not in ("", GitProvider.GENERIC, GitProvider.GITHUB)}
    _refuse("GitRepository", [name for name, is_set in found.items() if is_set])


def check_oci(repository: OCIRepository) -> None:
    """Raise Terminal for what would be pulled, or trusted, wrongly if a field of `repository` were ignored."""
    _refuse_nonsense("OCIRepository", repository.metadata)
    spec = repository.spec
    found = {f"spec.provider {spec.provider}": spec.provider not in ("", "generic")}
    _refuse("OCIRepository", [name for name, is_set in found.items() if is_set])


def check_bucket(bucket: Bucket) -> None:
    """Raise Terminal for what would be asked for with other rights than meant if a field of `bucket` were ignored."""
    _refuse_nonsense("Bucket", bucket.metadata)
    spec = bucket.spec
    served = spec.provider in ("", BucketProvider.GENERIC, BucketProvider.AWS)
    found = {
        f"spec.provider {spec.provider}": not served,
        f"spec.sts.provider {spec.sts.provider if spec.sts else ''}": spec.sts is not None
        and spec.sts.provider != StsProvider.LDAP,
        "spec.serviceAccountName (the identity of a cloud)": bool(spec.service_account_name),
        "spec.provider aws without a secretRef (the identity of a cloud)": spec.provider == BucketProvider.AWS
        and spec.secret_ref is None,
    }
    _refuse("Bucket", [name for name, is_set in found.items() if is_set])


def check_helm_repository(repository: HelmRepository) -> None:
    """Raise Terminal for what would be fetched wrongly if a field of `repository` were ignored."""
    _refuse_nonsense("HelmRepository", repository.metadata)
    provider = repository.spec.provider
    _refuse("HelmRepository", [f"spec.provider {provider}"] if provider not in ("", "generic") else [])


def check_helm_chart(chart: HelmChart) -> None:
    """Raise Terminal for what would be taken, or trusted, wrongly if a field of `chart` were ignored."""
    _refuse_nonsense("HelmChart", chart.metadata)
    kind = chart.spec.source_ref.kind
    _refuse("HelmChart", [f"spec.sourceRef.kind {kind}"] if kind not in _CHART_SOURCES else [])


def check_image_repository(repository: ImageRepository) -> None:
    """Raise Terminal for what would be asked for with other rights than meant if a field were ignored."""
    _refuse_nonsense("ImageRepository", repository.metadata)
    provider = repository.spec.provider
    _refuse("ImageRepository", [f"spec.provider {provider}"] if provider not in ("", "generic") else [])


def check_generator(generator: ArtifactGenerator) -> None:
    """Raise Terminal for sources of `generator` that nobody fetches."""
    _refuse_nonsense("ArtifactGenerator", generator.metadata)
    found = [f"spec.sources[{one.alias}].kind {one.kind}" for one in generator.spec.sources if one.kind not in _INPUTS]
    _refuse("ArtifactGenerator", found)


def check_release(hr: HelmRelease) -> None:
    """Raise Terminal for what would be released wrongly if a field or an annotation of `hr` were ignored."""
    _refuse_nonsense("HelmRelease", hr.metadata)
    kube_config = hr.spec.kube_config
    install, upgrade, rollback = hr.spec.install, hr.spec.upgrade, hr.spec.rollback
    disabled = ServerSideApply.DISABLED
    found = {
        "spec.kubeConfig.configMapRef": kube_config is not None and kube_config.config_map_ref is not None,
        "spec.install.serverSideApply false": install is not None and install.server_side_apply is False,
        "spec.upgrade.serverSideApply disabled": upgrade is not None and upgrade.server_side_apply == disabled,
        "spec.rollback.serverSideApply disabled": rollback is not None and rollback.server_side_apply == disabled,
    }
    unserved = [name for name, is_set in found.items() if is_set]
    _refuse("HelmRelease", [*unserved, *_unserved(hr.metadata, _UNSERVED_OF_RELEASES)])


def _unsupported(ks: Kustomization) -> list[str]:
    spec = ks.spec
    found = {
        "spec.kubeConfig.configMapRef": spec.kube_config is not None and spec.kube_config.config_map_ref is not None,
        f"spec.sourceRef.kind {spec.source_ref.kind}": spec.source_ref.kind not in _SOURCES,
    }
    return [name for name, is_set in found.items() if is_set]


def _unserved(metadata: ObjectMeta, unserved: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Annotations whose meaning would be lost; a value that asks for nothing is no loss."""
    return [
        f"the annotation {name}"
        for name, harmless in unserved.items()
        if name in metadata.annotations and metadata.annotations[name] not in harmless
    ]


def _refuse_nonsense(kind: str, metadata: ObjectMeta) -> None:
    found = annotations.complaints(kind, metadata.annotations)
    if found:
        raise Terminal(
            names.Reason.VALIDATION_FAILED,
            f"{kind} {metadata.key}: the annotation {'; and '.join(found)}. Correct it, or remove it",
        )


def _refuse(kind: str, found: list[str]) -> None:
    if found:
        article = "an" if kind[0] in "AEIO" else "a"
        raise Terminal(
            names.Reason.FEATURE_GATE_DISABLED,
            f"this version of Trimtab does not serve {', '.join(found)} of {article} {kind}: nothing is applied "
            "without it. Remove it, or suspend the object",
        )
