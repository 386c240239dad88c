"""The kind Receiver: an address that the webhooks of other servers may call, and what they then make us look at."""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar, Final

import msgspec

from trimtab.api import gvk
from trimtab.api.meta import LocalRef, ObjectMeta
from trimtab.api.schema import Rule, doc, duration, named
from trimtab.base.durations import parse_duration
from trimtab.manifests.conditions import Condition, find
from trimtab.manifests.refs import Key

PATH_PREFIX: Final = "/hook/"
DEFAULT_INTERVAL: Final = "10m"
DEFAULT_AUDIENCE: Final = "notification-controller"
EVERY: Final = "*"
"""As the name of a resource: all that have the labels."""

_EXPRESSION: Final = 4096
_GROUPS: Final[Mapping[str, str]] = {
    "Bucket": gvk.SOURCE_GROUP,
    "GitRepository": gvk.SOURCE_GROUP,
    "Kustomization": gvk.KUSTOMIZE_GROUP,
    "HelmRelease": "helm.toolkit.fluxcd.io",
    "HelmChart": gvk.SOURCE_GROUP,
    "HelmRepository": gvk.SOURCE_GROUP,
    "ImageRepository": "image.toolkit.fluxcd.io",
    "ImagePolicy": "image.toolkit.fluxcd.io",
    "ImageUpdateAutomation": "image.toolkit.fluxcd.io",
    "OCIRepository": gvk.SOURCE_GROUP,
    "ArtifactGenerator": "source.extensions.fluxcd.io",
    "ExternalArtifact": gvk.SOURCE_GROUP,
}
"""The kinds that can be asked for a look, and where they live."""


class Sender(StrEnum):
    """Values of `spec.type`: who calls, and so how it is known that it is they."""

    GENERIC = "generic"
    GENERIC_HMAC = "generic-hmac"
    GENERIC_OIDC = "generic-oidc"
    GITHUB = "github"
    GITLAB = "gitlab"
    BITBUCKET = "bitbucket"
    HARBOR = "harbor"
    DOCKERHUB = "dockerhub"
    QUAY = "quay"
    GCR = "gcr"
    NEXUS = "nexus"
    ACR = "acr"
    CDEVENTS = "cdevents"


class ReceiverResource(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What is looked at when a delivery came."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.name != '*' || (has(self.matchLabels) && size(self.matchLabels) > 0)",
            "matchLabels is required when name is '*'",
        ),
    )

    api_version: Annotated[
        str, doc("API version of the objects; the one of Flux's kind when empty.", maxLength=317)
    ] = ""
    kind: Annotated[str, doc("Kind of the objects.", enum=list(_GROUPS))]
    name: Annotated[str, named("Name of the object, or `*` for all that have `matchLabels`.")]
    namespace: Annotated[
        str, doc("Namespace of the objects; the one of this object when empty.", minLength=1, maxLength=63)
    ] = ""
    match_labels: Annotated[
        Mapping[str, str], doc("Labels that the objects have; needs `*` as the name.", maxProperties=64)
    ] = msgspec.field(default_factory=dict)
    filter: Annotated[
        str,
        doc(
            "CEL expression over `res`, the metadata of an object, and `req`, the body of the request; only objects "
            "for which it is true are looked at. Of `generic-oidc` also over `claims`.",
            maxLength=_EXPRESSION,
        ),
    ] = ""

    @property
    def group(self) -> str:
        """The group the kind is looked for in. Empty where `apiVersion` names no group that we may ask."""
        if not self.api_version:
            return _GROUPS.get(self.kind, "")
        group, separator, _ = self.api_version.partition("/")
        return group if separator and group == _GROUPS.get(self.kind) else ""


class OidcVariable(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A part of the validations that has a name."""

    name: Annotated[str, doc("Name, as in `vars.name`.", minLength=1, maxLength=63, pattern="^[A-Za-z_][A-Za-z0-9_]*$")]
    expression: Annotated[
        str,
        doc("CEL expression over `claims` and the variables before it.", minLength=1, maxLength=_EXPRESSION),
    ]


class OidcValidation(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What has to be true of whoever calls."""

    expression: Annotated[
        str, doc("CEL expression over `claims` and `vars` that is true or false.", minLength=1, maxLength=_EXPRESSION)
    ]
    message: Annotated[str, doc("What a caller is told when it is false.", minLength=1, maxLength=1024)]


class OidcProvider(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An issuer of identities, and which of them may call."""

    issuer_url: Annotated[
        str, doc("Address of the issuer, as its tokens say it.", pattern="^https?://", maxLength=2048)
    ] = msgspec.field(name="issuerURL")
    audience: Annotated[str, doc(f"Audience of the tokens; `{DEFAULT_AUDIENCE}` when empty.", maxLength=1024)] = ""
    variables: Annotated[tuple[OidcVariable, ...], doc("Parts of the validations that have names.", maxItems=64)] = ()
    validations: Annotated[
        tuple[OidcValidation, ...],
        doc(
            "What has to be true, all of it. A public issuer gives tokens to anybody, so this has to say who may call.",
            minItems=1,
            maxItems=64,
        ),
    ]


class ReceiverSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Who calls, how that is proven, and what is looked at then."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.type != 'generic-oidc' || (has(self.oidcProviders) && size(self.oidcProviders) > 0)",
            "generic-oidc receivers must define at least one oidcProvider",
        ),
        Rule(
            "self.type == 'generic-oidc' || !has(self.oidcProviders) || size(self.oidcProviders) == 0",
            "oidcProviders can only be set when type is generic-oidc",
        ),
        Rule(
            "self.type != 'generic-oidc' || !has(self.secretRef)",
            "secretRef cannot be set when type is generic-oidc",
        ),
        Rule(
            "self.type == 'generic-oidc' || has(self.secretRef)",
            "secretRef is required when type is not generic-oidc",
        ),
    )

    type: Annotated[str, doc("Who calls.", enum=list(Sender))]
    interval: Annotated[str, duration("How often the Secret is looked at.", default=DEFAULT_INTERVAL)] = (
        DEFAULT_INTERVAL
    )
    events: Annotated[
        tuple[str, ...],
        doc("Events that count, such as `push`; all when empty. Of github, gitlab, bitbucket and cdevents."),
    ] = ()
    resources: Annotated[tuple[ReceiverResource, ...], doc("What is looked at when a delivery came.", maxItems=100)]
    resource_filter: Annotated[
        str, doc("As `filter` of a resource, for all of them; both have to be true.", maxLength=_EXPRESSION)
    ] = ""
    secret_ref: Annotated[
        LocalRef | None,
        doc(
            "Secret with the `token` that is shared with the caller; of `gcr` also with `email` and `audience`. Not "
            "for `generic-oidc`, needed for all others."
        ),
    ] = None
    oidc_providers: Annotated[
        tuple[OidcProvider, ...], doc("Whose tokens are taken, for `generic-oidc`.", maxItems=32)
    ] = ()
    suspend: Annotated[bool, doc("Take no deliveries.")] = False

    @property
    def interval_s(self) -> float:
        """Seconds between looks at the Secret. Raises ValueError."""
        return parse_duration(self.interval or DEFAULT_INTERVAL)

    @property
    def filter_variables(self) -> tuple[str, ...]:
        """What the expressions of filters may speak of."""
        return ("res", "req", "claims") if self.type == Sender.GENERIC_OIDC else ("res", "req")


class ReceiverStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Where deliveries are taken, and how it goes."""

    observed_generation: Annotated[
        int, doc("Generation of the object that was reconciled last; -1 before the first time.", format="int64")
    ] = -1
    conditions: Annotated[tuple[Condition, ...], doc("How it goes.")] = ()
    webhook_path: Annotated[
        str, doc("Path of the address to register with the caller: `/hook/` and a digest of the token and the name.")
    ] = ""
    last_handled_reconcile_at: Annotated[
        str, doc("Value of the annotation reconcile.fluxcd.io/requestedAt that was honoured last.")
    ] = ""


class Receiver(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An address that webhooks call to have something looked at."""

    api_version: str = msgspec.field(default_factory=lambda: gvk.RECEIVER.api_version)
    kind: str = msgspec.field(default_factory=lambda: gvk.RECEIVER.kind)
    metadata: ObjectMeta
    spec: ReceiverSpec
    status: ReceiverStatus = ReceiverStatus()

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.metadata.key

    @property
    def ready(self) -> Condition | None:
        """The condition Ready, if there is one."""
        return find(self.status.conditions, "Ready")


def webhook_path(token: bytes, key: Key) -> str:
    """Where the deliveries of the Receiver `key` are taken; what was registered under Flux stays valid."""
    digest = hashlib.sha256(token + key.name.encode() + key.namespace.encode())
    return f"{PATH_PREFIX}{digest.hexdigest()}"
