"""The namespace transformer of kustomize 5.8, for objects that were written without kustomize.

It sets metadata.namespace on all that is not certainly cluster-scoped, renames core Namespaces, and follows the
references that carry a namespace: subjects of role bindings, services of webhooks, API services, CRD conversion.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from trimtab.base.errors import Terminal
from trimtab.manifests.refs import Body, Manifest, Origin
from trimtab.render.scopes import CLUSTER_SCOPED
from trimtab.render.unsure import Unsure

_RBAC: Final = "rbac.authorization.k8s.io"
_BINDINGS: Final = ("RoleBinding", "ClusterRoleBinding")
_WEBHOOKS: Final = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")


class _Target(NamedTuple):
    """An object that others may refer to, as it was before its namespace changed."""

    name: str
    namespace: str


def set_namespace(manifests: Sequence[Manifest], namespace: str) -> None:
    """Move `manifests` to `namespace`, in place. Raises Terminal, Unsure."""
    for body, _ in manifests:
        _check_shape(body)
    accounts: list[_Target] = []
    services: list[_Target] = []
    for body, _ in manifests:
        if not _cluster_scoped(body):
            target = _Target(body["metadata"]["name"], body["metadata"].get("namespace") or "default")
            version = body["apiVersion"].rpartition("/")[2]
            if version == "v1" and body["kind"] == "ServiceAccount":
                accounts.append(target)
            elif version == "v1" and body["kind"] == "Service":
                services.append(target)
    for body, _ in manifests:
        _move(body, namespace)
    for body, origin in manifests:
        for reference, wanted in _references(body, origin):
            candidates = accounts if wanted == "ServiceAccount" else services
            _follow(reference, candidates, namespace)


def check_references(body: Body, origin: Origin) -> None:
    """Raise Terminal where kustomize cannot follow a reference: it looks at each, also if no namespace changes."""
    _references(body, origin)


def _move(body: Body, namespace: str) -> None:
    if not _cluster_scoped(body):
        body["metadata"]["namespace"] = namespace
    kind = body["kind"]
    group = body["apiVersion"].rpartition("/")[0]
    if kind == "Namespace" and body["apiVersion"] == "v1":
        body["metadata"]["name"] = namespace
    elif kind == "APIService" and group == "apiregistration.k8s.io":
        spec = body["spec"] = body.get("spec") or {}
        service = spec["service"] = spec.get("service") or {}
        service["namespace"] = namespace
    elif kind == "CustomResourceDefinition" and group == "apiextensions.k8s.io":
        at: Any = body
        for part in ("spec", "conversion", "webhook", "clientConfig", "service"):
            at = at.get(part) or {}
        if "namespace" in at:
            at["namespace"] = namespace
    elif kind in _BINDINGS:
        for subject in body.get("subjects") or ():
            if subject.get("name") == "default":
                subject["namespace"] = namespace


def _references(body: Body, origin: Origin) -> list[tuple[dict[str, Any], str]]:
    """The parts of `body` that name another object and its namespace, and the kind of that object."""
    group = body["apiVersion"].rpartition("/")[0]
    found: list[tuple[dict[str, Any], str]] = []
    if body["kind"] in _BINDINGS and group == _RBAC:
        subjects = body.get("subjects") or ()
        if not isinstance(subjects, list | tuple):
            raise Unsure("subjects that are not a list")
        found = [(subject, "ServiceAccount") for subject in subjects]
    elif body["kind"] in _WEBHOOKS and group == "admissionregistration.k8s.io":
        webhooks = body.get("webhooks") or ()
        if not isinstance(webhooks, list | tuple):
            raise Unsure("webhooks that are not a list")
        for webhook in webhooks:
            config = webhook.get("clientConfig") if isinstance(webhook, dict) else {}
            service = config.get("service") if isinstance(config, dict) else None
            if service is not None:
                found.append((service, "Service"))
    for reference, kind in found:
        if not isinstance(reference, dict):
            raise Unsure("a reference that is not a mapping")
        if "name" not in reference:
            raise Terminal("BuildFailed", f"{origin}: a reference to a {kind} in this {body['kind']} has no name")
    return found


def _follow(reference: dict[str, Any], candidates: list[_Target], namespace: str) -> None:
    """Write the new namespace into `reference` if it means one of `candidates`."""
    named = [one for one in candidates if one.name == reference["name"]]
    if "namespace" in reference:
        named = [one for one in named if one.namespace == reference["namespace"]]
    if named:
        reference["namespace"] = namespace


def _cluster_scoped(body: Body) -> bool:
    return (body["apiVersion"], body["kind"]) in CLUSTER_SCOPED


def _check_shape(body: Body) -> None:
    """Raise Unsure unless every part on the way to a namespace is what its kind wants."""
    kind = body["kind"]
    if kind == "APIService":
        _mappings(body, "spec", "service")
    elif kind == "CustomResourceDefinition":
        _mappings(body, "spec", "conversion", "webhook", "clientConfig", "service")
    elif kind in _BINDINGS:
        subjects = body.get("subjects")
        if subjects is not None and (
            not isinstance(subjects, list) or not all(isinstance(subject, dict) for subject in subjects)
        ):
            raise Unsure("subjects that are not a list of mappings")
        for subject in subjects or ():
            place = subject.get("namespace", "")
            if not isinstance(place, str) or not isinstance(subject.get("name", ""), str):
                raise Unsure("a subject whose name or namespace is not text")


def _mappings(body: Body, *path: str) -> None:
    at: Any = body
    for part in path:
        at = at.get(part)
        if at is None:
            return
        if not isinstance(at, dict):
            raise Unsure(f"{part} of a {body['kind']} is not a mapping")
