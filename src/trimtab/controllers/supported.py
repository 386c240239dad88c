"""Fields that are part of the API and not served by this version: refused clearly, never ignored silently. Pure."""

from collections.abc import Iterator

from trimtab.api import names
from trimtab.api.kustomize import Kustomization
from trimtab.api.source import GitRepository
from trimtab.base.errors import Terminal


def check(ks: Kustomization) -> None:
    """Raise Terminal for what would be applied wrongly if a field of `ks` were ignored."""
    _refuse("Kustomization", [*_unsupported(ks), *_nonsense(ks)])


def check_git(repository: GitRepository) -> None:
    """Raise Terminal for what would be fetched, or trusted, wrongly if a field of `repository` were ignored."""
    spec = repository.spec
    found = {
        "spec.verify": spec.verify is not None,
        "spec.include": bool(spec.include),
        "spec.recurseSubmodules": spec.recurse_submodules,
        "spec.proxySecretRef": spec.proxy_secret_ref is not None,
        f"spec.provider {spec.provider}": spec.provider not in ("", "generic"),
    }
    _refuse("GitRepository", [name for name, is_set in found.items() if is_set])


def _unsupported(ks: Kustomization) -> list[str]:
    spec = ks.spec
    post_build = spec.post_build
    found = {
        "spec.kubeConfig": spec.kube_config is not None,
        "spec.decryption": spec.decryption is not None,
        "spec.postBuild": post_build is not None
        and bool(post_build.substitute or post_build.substitute_from or post_build.substitute_strategy == "Always"),
        f"spec.sourceRef.kind {spec.source_ref.kind}": spec.source_ref.kind != "GitRepository",
    }
    return [name for name, is_set in found.items() if is_set]


def _nonsense(ks: Kustomization) -> Iterator[str]:
    drift = ks.metadata.annotations.get(names.Annotation.DRIFT, "correct")
    if drift not in set(names.DriftMode):
        yield f"the annotation {names.Annotation.DRIFT}: {drift!r} (it must be correct, alert or ignore)"
    gate = ks.metadata.annotations.get(names.Annotation.GATE, "atomic")
    if gate not in set(names.GateMode):
        yield f"the annotation {names.Annotation.GATE}: {gate!r} (it must be atomic or each)"
    for name in (names.Annotation.DEPENDS_ON, names.Annotation.FREEZE):
        if name in ks.metadata.annotations:
            yield f"the annotation {name}"


def _refuse(kind: str, found: list[str]) -> None:
    if found:
        raise Terminal(
            names.Reason.FEATURE_GATE_DISABLED,
            f"this version of Trimtab does not serve {', '.join(found)} of a {kind}: nothing is applied without it. "
            "Remove it, or suspend the object",
        )
