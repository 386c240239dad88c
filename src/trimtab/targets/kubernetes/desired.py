"""From rendered manifests to what will be sent: owner labels, per-object rules, and the refusals before any request."""

import re
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from trimtab.api import annotations, names
from trimtab.base.errors import Terminal
from trimtab.manifests import codec
from trimtab.manifests.refs import Body, Gvk, Key, Manifest, Origin, Ref
from trimtab.sops.objects import SWITCH, sealed_entry

PREFIX = "kustomize.toolkit.fluxcd.io/"
MANAGER = names.OBJECT_MANAGER
_SERVER_FIELDS = ("uid", "resourceVersion", "managedFields", "creationTimestamp", "generation", "selfLink")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_NUMBER = re.compile(r"(\bvalue: ?)(?!\")[^:;…]+")
_OUR_GROUPS = (
    "source.toolkit.fluxcd.io",
    "kustomize.toolkit.fluxcd.io",
    "helm.toolkit.fluxcd.io",
    "image.toolkit.fluxcd.io",
    "notification.toolkit.fluxcd.io",
)


class Mode(StrEnum):
    """How server-side apply treats an object (annotation or label `kustomize.toolkit.fluxcd.io/ssa`)."""

    OVERRIDE = "override"
    MERGE = "merge"
    IF_NOT_PRESENT = "ifnotpresent"
    IGNORE = "ignore"


class Owner(NamedTuple):
    """The app that owns objects, as labels say it. `prefix` is the label prefix of the app's kind.

    `manager` is the field manager of its applies. `release` is the Helm release that the objects are of, which Helm's
    own annotations say: by them they are ours also where helm wrote them.
    """

    prefix: str
    key: Key
    manager: str = MANAGER
    release: Key | None = None

    @property
    def labels(self) -> Mapping[str, str]:
        own = {f"{self.prefix}name": self.key.name, f"{self.prefix}namespace": self.key.namespace}
        return own if self.release is None else {**own, names.MANAGED_BY: names.HELM_MANAGED_BY}

    @property
    def annotations(self) -> Mapping[str, str]:
        """What objects of a Helm release say besides, as Helm itself has them say it."""
        if self.release is None:
            return {}
        return {names.HELM_RELEASE_NAME: self.release.name, names.HELM_RELEASE_NAMESPACE: self.release.namespace}

    @classmethod
    def of(cls, body: Body, prefix: str = PREFIX) -> "Owner | None":
        """Who owns a live object, going by its labels."""
        labels = body.get("metadata", {}).get("labels") or {}
        name, namespace = labels.get(f"{prefix}name"), labels.get(f"{prefix}namespace")
        return cls(prefix, Key(namespace, name)) if name and namespace else None


class Desired(NamedTuple):
    """One object as it will be sent. `payload` is its JSON, `digest` that of all that makes it another wish.

    `force`: the object asks to be created anew where it cannot change; `ignored` are the JSON pointers of its fields
    that are left to others once it exists. `secret`: it was decrypted, and no value of it
    is ever shown. `manager` is the field manager that applies it.
    """

    ref: Ref
    gvk: Gvk
    payload: bytes
    digest: str
    origin: Origin
    mode: Mode = Mode.OVERRIDE
    enabled: bool = True
    drift: str = ""
    force: bool = False
    ignored: tuple[str, ...] = ()
    secret: bool = False
    manager: str = MANAGER

    def told(self, message: str) -> str:
        """What somebody says of it, without what may be a value of a secret one. Of Secrets no server quotes any."""
        if not self.secret or self.ref.kind == "Secret":
            return message
        return _NUMBER.sub("\\1…", _QUOTED.sub('"…"', message))

    @property
    def watched(self) -> bool:
        """Whether it carries our labels, so that its health reaches us by watch."""
        return self.enabled and self.mode not in (Mode.IF_NOT_PRESENT, Mode.IGNORE)

    @property
    def wanted(self) -> bool:
        """Whether it is applied at all."""
        return self.enabled and self.mode is not Mode.IGNORE

    @property
    def body(self) -> Body:
        decoded: Body = codec.decode(self.payload)
        return decoded


def rule(body: Body, name: str, prefix: str = PREFIX) -> str:
    """The value of a per-object rule, from annotations or labels, in lower case; empty where it is not set."""
    metadata = body.get("metadata", {})
    value = (metadata.get("annotations") or {}).get(prefix + name) or (metadata.get("labels") or {}).get(prefix + name)
    return str(value or "").lower()


def placed(manifest: Manifest, namespace: str, *, namespaced: bool | None) -> Manifest:
    """`manifest` in `namespace`, if it needs one and names none."""
    body = manifest.body
    if not namespaced or body["metadata"].get("namespace"):
        return manifest
    return manifest._replace(body={**body, "metadata": {**body["metadata"], "namespace": namespace}})


def prepare(
    manifests: Iterable[Manifest],
    owner: Owner | None,
    *,
    namespaced: Mapping[Gvk, bool],
    protected_namespace: str,
    installs_us: bool = False,
    secret: Collection[Ref] = (),
) -> list[Desired]:
    """Stamp the owner, if there is one, on `manifests` and refuse what must never be sent (ENGINE.md §3).

    `namespaced` tells the scope of the kinds that are known; a kind that is not known yet keeps what it declares.
    `secret` are the manifests of which no value is ever shown, besides Secrets.
    Raises Terminal (ValidationFailed) that names every refused object with its file and line.
    """
    wanted: list[Desired] = []
    refused: list[str] = []
    seen: dict[Ref, Origin] = {}
    for manifest in manifests:
        item = _prepare_one(manifest, owner, namespaced.get(manifest.gvk), secret=manifest.ref in secret)
        complaint = _complaint(item, manifest.body, namespaced.get(manifest.gvk), protected_namespace, installs_us)
        if not complaint and item.ref in seen:
            complaint = f"is declared twice, first at {seen[item.ref]}"
        if complaint:
            refused.append(f"{item.ref} ({manifest.origin}) {complaint}")
        seen.setdefault(item.ref, manifest.origin)
        wanted.append(item)
    if refused:
        raise Terminal("ValidationFailed", f"{len(refused)} refused before any request: " + "; ".join(refused))
    return wanted


def _prepare_one(manifest: Manifest, owner: Owner | None, namespaced: bool | None, *, secret: bool) -> Desired:
    body: Body = {name: value for name, value in manifest.body.items() if name != "status"}
    metadata = dict(body["metadata"])
    metadata.pop("creationTimestamp", None)
    if namespaced is False:
        metadata.pop("namespace", None)
    if owner is not None:
        metadata["labels"] = {**(metadata.get("labels") or {}), **owner.labels}
        if owner.annotations:
            metadata["annotations"] = {**(metadata.get("annotations") or {}), **owner.annotations}
    body["metadata"] = metadata
    if body["kind"] == "Secret" and body["apiVersion"] == "v1" and "stringData" in body:
        body = _fold_string_data(body)
    if body["kind"] == "ClusterRole" and body.get("aggregationRule") and "rules" in body:
        # the aggregation controller refills rules for ever (ENGINE.md §8, D8)
        body = {name: value for name, value in body.items() if name != "rules"}
    payload = codec.canonical(body)
    item = Desired(
        ref=Ref.of(body),
        gvk=manifest.gvk,
        payload=payload,
        digest=codec.digest(payload),
        origin=manifest.origin,
        drift=rule(body, "drift", names.OURS),
        secret=secret,
        manager=owner.manager if owner is not None else MANAGER,
    )
    if owner is not None and owner.release is not None:
        left = rule(body, "driftDetection", owner.prefix) == names.DISABLED
        return item._replace(drift=names.DriftMode.IGNORE) if left else item
    mode = rule(body, "ssa")
    return item._replace(
        mode=Mode(mode) if mode in set(Mode) else Mode.OVERRIDE,
        enabled=rule(body, "reconcile") != names.DISABLED,
        force=rule(body, "force") == names.ENABLED,
    )


def _fold_string_data(body: Body) -> Body:
    """`stringData` is write-only: drift behind it could not be seen, so it becomes `data` before it is sent.

    What is no map of texts stays as it is: the server says what is wrong with it.
    """
    import base64

    data, texts = body.get("data") or {}, body["stringData"] or {}
    if not (
        isinstance(data, dict) and isinstance(texts, dict) and all(isinstance(text, str) for text in texts.values())
    ):
        return body
    folded = {name: value for name, value in body.items() if name != "stringData"}
    folded["data"] = {**data, **{name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}}
    return folded


def _complaint(item: Desired, body: Body, namespaced: bool | None, protected: str, installs_us: bool) -> str:
    metadata = body["metadata"]
    foreign = [name for name in _SERVER_FIELDS[:3] if metadata.get(name)]
    if namespaced and not item.ref.namespace:
        return "has no namespace: set metadata.namespace, or spec.targetNamespace of the Kustomization"
    if foreign:
        return f"sets metadata.{foreign[0]}, which only the server may: remove it from the file"
    if metadata.get("ownerReferences"):
        return "sets metadata.ownerReferences, which would let the garbage collector delete it: remove them"
    labels = metadata.get("labels") or {}
    if nonsense := annotations.object_complaint(body["kind"], metadata.get("annotations") or {}, labels):
        return f"has {nonsense}"
    if body["kind"] == "Secret" and "sops" in body:
        return "is still encrypted by SOPS: set spec.decryption, or decrypt the file"
    if entry := sealed_entry(body):
        return f"has the entry {entry}, still encrypted by SOPS: set spec.decryption, or annotate {SWITCH}: disabled"
    if installs_us:
        return ""
    if body["kind"] == "CustomResourceDefinition" and str(metadata["name"]).endswith(
        tuple("." + g for g in _OUR_GROUPS)
    ):
        return "is one of the controller's own CRDs: `trimtab install` manages those"
    if body["kind"] == "Namespace" and metadata["name"] == protected:
        return "is the controller's own namespace: `trimtab install` manages it"
    if body["kind"] == "Lease" and item.ref.namespace == protected:
        return "is a Lease in the controller's own namespace"
    return ""
