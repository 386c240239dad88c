"""Custom resource definitions, generated from the structs of our kinds.

The schemas are structural and written out in full. Fields we do not know are pruned by the server, as by Flux's own
definitions. Validation may be stricter than Flux's only where Flux itself could not have worked with the value.
"""

import inspect as python
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import inspect

from trimtab.api import gvk
from trimtab.api.bucket import Bucket
from trimtab.api.external import ExternalArtifact
from trimtab.api.generator import ArtifactGenerator
from trimtab.api.helm import HelmChart, HelmRepository
from trimtab.api.helmrelease import HelmRelease
from trimtab.api.image import ImagePolicy, ImageRepository
from trimtab.api.imageupdate import ImageUpdateAutomation
from trimtab.api.kustomize import Kustomization
from trimtab.api.names import DISABLED, OBJECT_SUBSTITUTE
from trimtab.api.notification import Alert, Provider
from trimtab.api.oci import OCIRepository
from trimtab.api.receiver import Receiver
from trimtab.api.schema import Rule
from trimtab.api.source import GitRepository
from trimtab.manifests.codec import clone
from trimtab.manifests.conditions import Condition
from trimtab.manifests.refs import Body, Gvk

NEVER_OBSERVED: Final = {"observedGeneration": -1}
"""Status of an object no controller has seen yet."""

_NAME_WORD: Final = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_DNS_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"

_CONDITION: Final[Body] = {
    "type": "object",
    "description": "One observation about the object.",
    "required": ["lastTransitionTime", "message", "reason", "status", "type"],
    "properties": {
        "type": {
            "type": "string",
            "description": "What is observed.",
            "maxLength": 316,
            "pattern": rf"^({_DNS_LABEL}(\.{_DNS_LABEL})*/)?({_NAME_WORD})$",
        },
        "status": {"type": "string", "description": "Whether it is so.", "enum": ["True", "False", "Unknown"]},
        "observedGeneration": {
            "type": "integer",
            "format": "int64",
            "minimum": 0,
            "description": "Generation of the object it was observed of.",
        },
        "lastTransitionTime": {
            "type": "string",
            "format": "date-time",
            "description": "Since when the status is what it is.",
        },
        "reason": {
            "type": "string",
            "description": "Why, in one word for programs.",
            "minLength": 1,
            "maxLength": 1024,
            "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        },
        "message": {"type": "string", "description": "Why, in words for people.", "maxLength": 32768},
    },
}
"""Kubernetes' metav1.Condition, by the limits of the API conventions."""


class Column(NamedTuple):
    """A column of `kubectl get`."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False
    """Shown with `-o wide` only."""


URL: Final = Column("URL", ".spec.url")
ENDPOINT: Final = Column("Endpoint", ".spec.endpoint")
AGE: Final = Column("Age", ".metadata.creationTimestamp", "date")
READY: Final = Column("Ready", '.status.conditions[?(@.type=="Ready")].status')
STATUS: Final = Column("Status", '.status.conditions[?(@.type=="Ready")].message')
SOURCE: Final = Column("Source", ".spec.sourceRef.name")


class Definition(NamedTuple):
    """What a kind's definition says beyond its schema."""

    gvk: Gvk
    struct: type[msgspec.Struct]
    plural: str
    short_names: tuple[str, ...]
    category: str
    columns: tuple[Column, ...]


DEFINITIONS: Final = (
    Definition(
        gvk.GIT_REPOSITORY, GitRepository, "gitrepositories", ("gitrepo",), "fluxcd-sources", (URL, AGE, READY, STATUS)
    ),
    Definition(gvk.KUSTOMIZATION, Kustomization, "kustomizations", ("ks",), "fluxcd-appliers", (AGE, READY, STATUS)),
    Definition(
        gvk.OCI_REPOSITORY, OCIRepository, "ocirepositories", ("ocirepo",), "fluxcd-sources", (URL, READY, STATUS, AGE)
    ),
    Definition(gvk.BUCKET, Bucket, "buckets", (), "fluxcd-sources", (ENDPOINT, AGE, READY, STATUS)),
    Definition(gvk.RECEIVER, Receiver, "receivers", (), "fluxcd-notifications", (AGE, READY, STATUS)),
    Definition(
        gvk.HELM_REPOSITORY,
        HelmRepository,
        "helmrepositories",
        ("helmrepo",),
        "fluxcd-sources",
        (URL, AGE, READY, STATUS),
    ),
    Definition(
        gvk.HELM_CHART,
        HelmChart,
        "helmcharts",
        ("hc",),
        "fluxcd-sources",
        (
            Column("Chart", ".spec.chart"),
            Column("Version", ".spec.version"),
            Column("Source Kind", ".spec.sourceRef.kind"),
            Column("Source Name", ".spec.sourceRef.name"),
            AGE,
            READY,
            STATUS,
        ),
    ),
    Definition(
        gvk.EXTERNAL_ARTIFACT,
        ExternalArtifact,
        "externalartifacts",
        ("ea",),
        "fluxcd-sources",
        (AGE, READY, STATUS, SOURCE),
    ),
    Definition(
        gvk.ARTIFACT_GENERATOR,
        ArtifactGenerator,
        "artifactgenerators",
        ("ag",),
        "fluxcd-sources",
        (AGE, READY, STATUS),
    ),
    Definition(gvk.HELM_RELEASE, HelmRelease, "helmreleases", ("hr",), "fluxcd-appliers", (AGE, READY, STATUS)),
    Definition(
        gvk.IMAGE_REPOSITORY,
        ImageRepository,
        "imagerepositories",
        ("imgrepo", "imagerepo"),
        "fluxcd-images",
        (
            Column("Image", ".spec.image"),
            # A number, and yet a text in Flux's definition, whose clients know it so.
            Column("Tags", ".status.lastScanResult.tagCount"),
            READY,
            STATUS,
            Column("Last scan", ".status.lastScanResult.scanTime", wide=True),
            AGE,
        ),
    ),
    Definition(
        gvk.IMAGE_POLICY,
        ImagePolicy,
        "imagepolicies",
        ("imgpol", "imagepol"),
        "fluxcd-images",
        (Column("Image", ".status.latestRef.name"), Column("Tag", ".status.latestRef.tag"), READY, STATUS, AGE),
    ),
    Definition(
        gvk.IMAGE_UPDATE_AUTOMATION,
        ImageUpdateAutomation,
        "imageupdateautomations",
        ("iua", "imgupd", "imgauto"),
        "fluxcd-images",
        (READY, STATUS, Column("Last run", ".status.lastAutomationRunTime", wide=True), AGE),
    ),
    Definition(gvk.PROVIDER, Provider, "providers", (), "fluxcd-notifications", (AGE,)),
    Definition(gvk.ALERT, Alert, "alerts", (), "fluxcd-notifications", (AGE,)),
)

PLANNED: Final[tuple[Definition, ...]] = ()
"""Kinds whose controller is not there yet: they are not installed, so that nobody is half served."""


def crds() -> list[Body]:
    """The definitions of all our kinds, ready to be applied."""
    return [crd(definition) for definition in DEFINITIONS]


def crd(definition: Definition) -> Body:
    """One kind's definition, with a single version that is served and stored."""
    group, version, kind = definition.gvk
    return {
        "apiVersion": gvk.CRD.api_version,
        "kind": gvk.CRD.kind,
        "metadata": {
            "name": f"{definition.plural}.{group}",
            # The patterns in descriptions and rules contain `$`, which is no variable of anybody's build.
            "annotations": {OBJECT_SUBSTITUTE: DISABLED},
            "labels": {"app.kubernetes.io/part-of": "trimtab"},
        },
        "spec": {
            "group": group,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": definition.plural,
                "singular": kind.lower(),
                "shortNames": list(definition.short_names),
                "categories": ["all", "fluxcd", definition.category],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": [
                        {"name": column.name, "jsonPath": column.path, "type": column.type}
                        | ({"priority": 1} if column.wide else {})
                        for column in definition.columns
                    ],
                    **({"subresources": {"status": {}}} if has_status(definition) else {}),
                    "schema": {"openAPIV3Schema": _root(definition.struct)},
                }
            ],
        },
    }


def has_status(definition: Definition) -> bool:
    """Whether objects of the kind say how it goes. Those of Flux's that only say what is wanted do not."""
    return any(field.encode_name == "status" for field in _fields(definition.struct))


def schema_of(struct: type[msgspec.Struct]) -> Body:
    """The structural schema of a struct: its fields with their words, defaults and rules."""
    return _schema(inspect.type_info(struct))


def _root(struct: type[msgspec.Struct]) -> Body:
    """The schema of a whole object. Its metadata is Kubernetes' own and may not be described here."""
    fields = {field.encode_name: field for field in _fields(struct)}
    observed: Body = {}
    if "status" in fields:
        observed["status"] = _schema(fields["status"].type)
        if "observedGeneration" in observed["status"]["properties"]:
            observed["status"]["default"] = dict(NEVER_OBSERVED)
    root: Body = {
        "type": "object",
        "description": _words(struct),
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of the schema this object is written in."},
            "kind": {"type": "string", "description": "Kind of this object."},
            "metadata": {"type": "object"},
            "spec": _schema(fields["spec"].type),
            **observed,
        },
    }
    if fields["spec"].required:
        root["required"] = ["spec"]
    return root | _rules(struct)


def _fields(struct: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)  # noqa: S101 - what type_info of a struct is
    return info.fields


def _schema(info: inspect.Type) -> Body:
    """The schema of a type. Raises TypeError for one that no kind of ours has used before."""
    match info:
        case inspect.Metadata():
            return _schema(info.type) | (info.extra_json_schema or {})
        case inspect.StrType():
            return {"type": "string"}
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.IntType():
            return {"type": "integer"}
        case inspect.DictType(value_type=inspect.AnyType()):
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        case inspect.DictType(value_type=value):
            return {"type": "object", "additionalProperties": _schema(value)}
        case inspect.VarTupleType(item_type=inspect.StructType(cls=cls)) if cls is Condition:
            # Replaced whole, as in Flux's definitions: merging them by type costs every status write a fifth more.
            return {"type": "array", "items": clone(_CONDITION)}
        case inspect.VarTupleType(item_type=item):
            return {"type": "array", "items": _schema(item)}
        case inspect.UnionType(types=(only, inspect.NoneType())) | inspect.UnionType(types=(inspect.NoneType(), only)):
            return _schema(only)
        case inspect.StructType(cls=cls, fields=fields):
            return _object(cls, fields)
        case _:
            raise TypeError(f"the generator of definitions has no words for {info!r}")


def _object(cls: type[Any], fields: tuple[inspect.Field, ...]) -> Body:
    schema: Body = {
        "type": "object",
        "description": _words(cls),
        "properties": {field.encode_name: _schema(field.type) for field in fields},
    }
    # A required field with a default would let the server fill in what a person has to decide.
    required = sorted(field.encode_name for field in fields if field.required)
    if required:
        schema["required"] = required
    return schema | _rules(cls)


def _words(cls: type[Any]) -> str:
    """The first paragraph of the struct's own words."""
    return " ".join((python.getdoc(cls) or "").split("\n\n", 1)[0].split())


def _rules(cls: type[Any]) -> Body:
    rules: tuple[Rule, ...] = getattr(cls, "rules", ())
    return {"x-kubernetes-validations": [_rule(rule) for rule in rules]} if rules else {}


def _rule(rule: Rule) -> Body:
    if not rule.creation_only:
        return {"rule": rule.rule, "message": rule.message}
    return {"rule": f"oldSelf.hasValue() || ({rule.rule})", "message": rule.message, "optionalOldSelf": True}
