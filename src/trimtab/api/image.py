"""The kinds ImageRepository and ImagePolicy: whose tags are looked at, and which of them is the one to run."""

from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from trimtab.api import gvk
from trimtab.api.helm import AccessFrom
from trimtab.api.meta import LocalRef, ObjectMeta
from trimtab.api.oci import OciProvider
from trimtab.api.schema import Rule, doc, duration, moment, named
from trimtab.base.durations import parse_duration
from trimtab.manifests.conditions import Condition, find
from trimtab.manifests.refs import Key

SIGNATURES = r"^.*\.sig$"
"""What cosign adds to a repository: no image anybody runs. Left out where nothing else is said."""
DEFAULT_DIGEST_INTERVAL_S = 600.0
_PATTERN = 1024
_LEAST_TIMEOUT_S = 1.0


class ReflectionPolicy(StrEnum):
    """Values of `spec.digestReflectionPolicy`: when the digest of the chosen tag is looked up."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class TagOrder(StrEnum):
    """Values of `order`: of a, b and c, `asc` takes c and `desc` takes a."""

    ASC = "asc"
    DESC = "desc"


class ImageRepositorySpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Which repository is looked at, how often, and by whom."""

    image: Annotated[
        str, doc("Name of the repository, without a tag: `registry.example.org/team/app`.", minLength=1, maxLength=512)
    ]
    interval: Annotated[str, duration("How often the tags are listed.")]
    timeout: Annotated[
        str, duration("How long one listing may take; as long as the interval when empty.", hours=False)
    ] = ""
    secret_ref: Annotated[
        LocalRef | None, doc("Secret of type kubernetes.io/dockerconfigjson with the credentials.")
    ] = None
    proxy_secret_ref: Annotated[
        LocalRef | None, doc("Secret with the `address`, and `username` and `password`, of a proxy.")
    ] = None
    service_account_name: Annotated[str, doc("ServiceAccount whose `imagePullSecrets` sign in.", maxLength=253)] = ""
    cert_secret_ref: Annotated[
        LocalRef | None,
        doc("Secret with `ca.crt`, to trust a certificate, and `tls.crt` and `tls.key`, to show one."),
    ] = None
    suspend: Annotated[bool, doc("Do not look for new tags. What was found stays.")] = False
    access_from: Annotated[
        AccessFrom | None, doc("Whose ImagePolicies may refer to it from other namespaces; nobody's when empty.")
    ] = None
    exclusion_list: Annotated[
        tuple[str, ...],
        doc("Regular expressions (RE2); tags in which one is found are left out.", default=[SIGNATURES], maxItems=25),
    ] = (SIGNATURES,)
    provider: Annotated[
        str,
        doc(
            "How to sign in: with the Secret, or by the identity of a cloud.",
            enum=list(OciProvider),
            default="generic",
        ),
    ] = "generic"
    insecure: Annotated[bool, doc("Speak plain HTTP with the registry.")] = False

    @property
    def interval_s(self) -> float:
        """Seconds between looks. Raises ValueError."""
        return parse_duration(self.interval)

    @property
    def timeout_s(self) -> float:
        """Seconds one listing may take. Raises ValueError."""
        return max(_LEAST_TIMEOUT_S, parse_duration(self.timeout or self.interval))

    @property
    def exclusions(self) -> tuple[str, ...]:
        """The expressions that leave tags out: those of signatures where none is given, as in Flux."""
        return self.exclusion_list or (SIGNATURES,)


class ScanResult(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What the last look found."""

    revision: Annotated[str, doc("Digest over the tags.")] = ""
    tag_count: Annotated[int, doc("How many tags there are, without those that are left out.")] = 0
    scan_time: Annotated[str, moment("When that was.")] = ""
    latest_tags: Annotated[
        tuple[str, ...], doc("Ten of the tags: the last in alphabetical order, the last one first.")
    ] = ()


class ImageRepositoryStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Which tags there are, and how it goes."""

    observed_generation: Annotated[
        int, doc("Generation of the object that was reconciled last; -1 before the first time.", format="int64")
    ] = -1
    conditions: Annotated[tuple[Condition, ...], doc("How it goes.")] = ()
    canonical_image_name: Annotated[str, doc("The name in full, such as `docker.io/library/alpine` for `alpine`.")] = ""
    last_scan_result: Annotated[ScanResult | None, doc("What the last look found.")] = None
    observed_exclusion_list: Annotated[
        tuple[str, ...], doc("The `spec.exclusionList` that the last look left tags out by.")
    ] = ()
    last_handled_reconcile_at: Annotated[
        str, doc("Value of the annotation reconcile.fluxcd.io/requestedAt that was honoured last.")
    ] = ""


class ImageRepository(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A repository of images in a registry, whose tags are looked at."""

    api_version: str = msgspec.field(default_factory=lambda: gvk.IMAGE_REPOSITORY.api_version)
    kind: str = msgspec.field(default_factory=lambda: gvk.IMAGE_REPOSITORY.kind)
    metadata: ObjectMeta
    spec: ImageRepositorySpec
    status: ImageRepositoryStatus = ImageRepositoryStatus()

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.metadata.key

    @property
    def ready(self) -> Condition | None:
        """The Ready condition, if there is one."""
        return find(self.status.conditions, "Ready")


class ImageRepositoryRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Names the repository whose tags are chosen from."""

    name: Annotated[str, named("Name of the ImageRepository.")]
    namespace: Annotated[str, doc("Its namespace; the one of this object when empty.", maxLength=63)] = ""


class SemVerPolicy(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The highest version in a range."""

    range: Annotated[str, doc("Range of versions, such as `^1.4` or `>=1.0.0 <2.0.0`.", maxLength=512)]


class AlphabeticalPolicy(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The last, or the first, in alphabetical order."""

    order: Annotated[
        str, doc("`asc` takes the last in the order, `desc` the first.", enum=list(TagOrder), default="asc")
    ] = "asc"


class NumericalPolicy(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The greatest, or the least, number."""

    order: Annotated[
        str, doc("`asc` takes the greatest number, `desc` the least.", enum=list(TagOrder), default="asc")
    ] = "asc"


class ImagePolicyChoice(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How one tag is chosen: exactly one of these."""

    semver: Annotated[SemVerPolicy | None, doc("The highest version in a range.")] = None
    alphabetical: Annotated[AlphabeticalPolicy | None, doc("By alphabetical order.")] = None
    numerical: Annotated[NumericalPolicy | None, doc("By number.")] = None


class TagFilterSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Which tags take part, and by which part of them."""

    pattern: Annotated[
        str,
        doc("Regular expression (RE2); only tags in which it is found take part.", default="", maxLength=_PATTERN),
    ] = ""
    extract: Annotated[
        str,
        doc(
            "What is ordered in place of the tag: `$1`, `$name` and `${name}` stand for groups of the pattern.",
            default="",
            maxLength=_PATTERN,
        ),
    ] = ""


class ImagePolicySpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Which tag of which repository is the one to run."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.interval) || (has(self.digestReflectionPolicy) && self.digestReflectionPolicy == 'Always')",
            "spec.interval is only accepted when spec.digestReflectionPolicy is set to 'Always'",
        ),
        Rule(
            "has(self.interval) || !has(self.digestReflectionPolicy) || self.digestReflectionPolicy != 'Always'",
            "spec.interval must be set when spec.digestReflectionPolicy is set to 'Always'",
        ),
    )

    image_repository_ref: Annotated[ImageRepositoryRef, doc("Whose tags are chosen from.")]
    policy: Annotated[ImagePolicyChoice, doc("How one of them is chosen.")]
    filter_tags: Annotated[TagFilterSpec | None, doc("Which tags take part; all when empty.")] = None
    digest_reflection_policy: Annotated[
        str,
        doc(
            "When the digest of the chosen tag is looked up: never, when the tag is another one, or every interval.",
            enum=list(ReflectionPolicy),
            default="Never",
        ),
    ] = "Never"
    interval: Annotated[str, duration("How often the digest is looked up; with `Always` only.")] = ""
    suspend: Annotated[bool, doc("Do not choose anew. What was chosen stays.")] = False

    @property
    def interval_s(self) -> float:
        """Seconds between two looks at the digest. Raises ValueError."""
        return parse_duration(self.interval) if self.interval else DEFAULT_DIGEST_INTERVAL_S


class ImageRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One image."""

    name: Annotated[str, doc("Its name, without a tag.")]
    tag: Annotated[str, doc("Its tag.")]
    digest: Annotated[str, doc("Its digest, where one was looked up.")] = ""


class ImagePolicyStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What was chosen last, and how it goes."""

    observed_generation: Annotated[
        int, doc("Generation of the object that was reconciled last; -1 before the first time.", format="int64")
    ] = -1
    conditions: Annotated[tuple[Condition, ...], doc("How it goes.")] = ()
    latest_ref: Annotated[ImageRef | None, doc("What was chosen last.")] = None
    observed_previous_ref: Annotated[ImageRef | None, doc("What had been chosen before.")] = None
    last_handled_reconcile_at: Annotated[
        str, doc("Value of the annotation reconcile.fluxcd.io/requestedAt that was honoured last.")
    ] = ""


class ImagePolicy(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Chooses one tag of an ImageRepository."""

    api_version: str = msgspec.field(default_factory=lambda: gvk.IMAGE_POLICY.api_version)
    kind: str = msgspec.field(default_factory=lambda: gvk.IMAGE_POLICY.kind)
    metadata: ObjectMeta
    spec: ImagePolicySpec
    status: ImagePolicyStatus = ImagePolicyStatus()

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.metadata.key

    @property
    def repository_key(self) -> Key:
        """Namespace and name of the ImageRepository."""
        ref = self.spec.image_repository_ref
        return Key(ref.namespace or self.metadata.namespace, ref.name)

    @property
    def ready(self) -> Condition | None:
        """The Ready condition, if there is one."""
        return find(self.status.conditions, "Ready")
