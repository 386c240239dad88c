"""The kinds Provider and Alert: whom to tell, and of what. Neither has a status, as in Flux."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final

import msgspec

from trimtab.api import gvk
from trimtab.api.meta import LocalRef, ObjectMeta
from trimtab.api.schema import Rule, doc, duration, named
from trimtab.base.durations import parse_duration
from trimtab.manifests.refs import Key

EVERY: Final = "*"
"""As the name of an event source: all of the kind."""
DEFAULT_TIMEOUT_S: Final = 15.0
LONGEST_TIMEOUT_S: Final = 60.0
_LONGEST: Final = 2048
COMMIT_STATUS: Final = ("github", "gitlab", "gitea", "bitbucketserver", "bitbucket", "azuredevops")
"""Types that set commit statuses: they are told of every revision, also where it changed nothing."""
TYPES: Final = (
    *("slack", "discord", "msteams", "rocket", "generic", "generic-hmac", "github", "gitlab", "gitea"),
    *("giteapullrequestcomment", "bitbucketserver", "bitbucket", "azuredevops", "googlechat", "googlepubsub", "webex"),
    *("sentry", "azureeventhub", "telegram", "lark", "matrix", "opsgenie", "alertmanager", "grafana"),
    *("githubdispatch", "githubpullrequestcomment", "gitlabmergerequestcomment", "pagerduty", "datadog", "nats"),
    *("zulip", "otel", "zoom", "incident.io", "smtp", "apprise"),
)
"""Flux's types, and the last two, which are ours."""


class ProviderSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Whom to tell, where that is, and by which secrets."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.commitStatusExpr) || self.commitStatusExpr == '' || self.type in ["
            + ", ".join(f"'{name}'" for name in COMMIT_STATUS)
            + "]",
            "spec.commitStatusExpr is only supported for the types that set a commit status",
        ),
    )

    type: Annotated[str, doc("Who is told.", enum=list(TYPES))]
    interval: Annotated[str, duration("Has no meaning any more.")] = ""
    channel: Annotated[str, doc("Channel, room, project or the like.", minLength=1, maxLength=_LONGEST)] = ""
    username: Annotated[str, doc("Name under which it is told.", minLength=1, maxLength=_LONGEST)] = ""
    address: Annotated[
        str, doc("Address to send to; `address` of the Secret comes first.", minLength=1, maxLength=_LONGEST)
    ] = ""
    timeout: Annotated[str, duration("Time for one try.", hours=False)] = ""
    proxy: Annotated[
        str, doc("Has no meaning any more: proxySecretRef.", pattern="^(http|https)://.*$", maxLength=_LONGEST)
    ] = ""
    proxy_secret_ref: Annotated[
        LocalRef | None, doc("Secret with the `address` of a proxy, `username` and `password`.")
    ] = None
    secret_ref: Annotated[
        LocalRef | None, doc("Secret with `address`, `token`, `username`, `password`, `headers`, as they are needed.")
    ] = None
    service_account_name: Annotated[
        str, doc("Account whose identity signs in to a cloud.", minLength=1, maxLength=253)
    ] = ""
    cert_secret_ref: Annotated[
        LocalRef | None, doc("Secret with `ca.crt`, and with `tls.crt` and `tls.key`, as they are needed.")
    ] = None
    suspend: Annotated[bool, doc("Tell nothing.")] = False
    commit_status_expr: Annotated[
        str, doc("CEL expression over `event`, `alert` and `provider` that names the commit status.", maxLength=4096)
    ] = ""

    @property
    def timeout_s(self) -> float:
        """Seconds for one try. Raises ValueError."""
        return min(parse_duration(self.timeout), LONGEST_TIMEOUT_S) if self.timeout else DEFAULT_TIMEOUT_S


class Provider(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Somebody who is told of events."""

    api_version: str = msgspec.field(default_factory=lambda: gvk.PROVIDER.api_version)
    kind: str = msgspec.field(default_factory=lambda: gvk.PROVIDER.kind)
    metadata: ObjectMeta
    spec: ProviderSpec

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.metadata.key


class EventSource(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Objects whose events are told."""

    api_version: Annotated[str, doc("Has no meaning: a kind is enough.", maxLength=317)] = ""
    kind: Annotated[
        str,
        doc(
            "Kind of the objects.",
            enum=[
                *("Bucket", "GitRepository", "Kustomization", "HelmRelease", "HelmChart", "HelmRepository"),
                *("ImageRepository", "ImagePolicy", "ImageUpdateAutomation", "OCIRepository", "ArtifactGenerator"),
                *("ExternalArtifact",),
            ],
        ),
    ]
    name: Annotated[str, named("Name of the object, or `*` for all.")]
    namespace: Annotated[
        str, doc("Namespace of the objects; the one of this object when empty.", minLength=1, maxLength=63)
    ] = ""
    match_labels: Annotated[Mapping[str, str], doc("Labels that the objects have.", maxProperties=64)] = msgspec.field(
        default_factory=dict
    )


class AlertSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Of what, and whom."""

    provider_ref: Annotated[LocalRef, doc("Provider that is told.")]
    event_severity: Annotated[str, doc("Tell everything, or errors only.", enum=["info", "error"], default="info")] = (
        "info"
    )
    event_sources: Annotated[tuple[EventSource, ...], doc("Objects whose events are told.", maxItems=256)]
    inclusion_list: Annotated[
        tuple[str, ...], doc("Regular expressions: one of them has to be found in the message.", maxItems=256)
    ] = ()
    exclusion_list: Annotated[
        tuple[str, ...], doc("Regular expressions: none of them may be found in the message.", maxItems=256)
    ] = ()
    event_metadata: Annotated[
        Mapping[str, str], doc("What is added to the metadata of the events.", maxProperties=64)
    ] = msgspec.field(default_factory=dict)
    summary: Annotated[str, doc("What is affected, in a few words.", maxLength=255)] = ""
    suspend: Annotated[bool, doc("Tell nothing.")] = False


class Alert(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Which events are told to a Provider."""

    api_version: str = msgspec.field(default_factory=lambda: gvk.ALERT.api_version)
    kind: str = msgspec.field(default_factory=lambda: gvk.ALERT.kind)
    metadata: ObjectMeta
    spec: AlertSpec

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.metadata.key
