"""The kind ImageUpdateAutomation: chosen images are written into a repository, as commits."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import msgspec

from trimtab.api import gvk
from trimtab.api.image import ImageRef
from trimtab.api.meta import LocalRef, ObjectMeta
from trimtab.api.schema import doc, duration, moment, named
from trimtab.api.source import GitRef
from trimtab.base.durations import parse_duration
from trimtab.manifests.conditions import Condition, find
from trimtab.manifests.refs import Key

_TEMPLATE = 65_536


class UpdateStrategyName(StrEnum):
    """Values of `spec.update.strategy`."""

    SETTERS = "Setters"


class SigningKeyType(StrEnum):
    """Values of `spec.git.commit.signingKey.type`."""

    GPG = "gpg"
    SSH = "ssh"


class SelectorOperator(StrEnum):
    """Values of `operator` in a selector."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class AutomationSourceRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Names the repository that is written to."""

    api_version: Annotated[str, doc("API version of the source.", maxLength=317)] = ""
    kind: Annotated[
        str, doc("Kind of the source.", enum=[gvk.GIT_REPOSITORY.kind], default=gvk.GIT_REPOSITORY.kind)
    ] = gvk.GIT_REPOSITORY.kind
    name: Annotated[str, named("Name of the source.")]
    namespace: Annotated[str, doc("Namespace of the source; the one of this object when empty.", maxLength=63)] = ""


class CheckoutSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What the commit is made on."""

    ref: Annotated[GitRef, doc("Branch, tag or commit.")]


class CommitUser(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Whose name a commit bears."""

    name: Annotated[str, doc("Name.", maxLength=256)] = ""
    email: Annotated[str, doc("Address for mail.", maxLength=320)]


class SigningKey(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The key that signs commits."""

    secret_ref: Annotated[
        LocalRef,
        doc("Secret with the key: `git.asc` and its `passphrase`, or with `type: ssh` `identity` and its `password`."),
    ]
    type: Annotated[str, doc("Kind of the key; `gpg` when empty.", enum=list(SigningKeyType))] = ""


class CommitSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a commit says, and who makes it."""

    author: Annotated[CommitUser, doc("The author.")]
    signing_key: Annotated[SigningKey | None, doc("The key that signs; without it, commits are not signed.")] = None
    message_template: Annotated[str, doc("Template of the message, over what has changed.", maxLength=_TEMPLATE)] = ""
    message_template_values: Annotated[
        Mapping[str, str], doc("Values that the template has as `.Values`.", maxProperties=64)
    ] = msgspec.field(default_factory=dict)


class PushSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Where commits are pushed."""

    branch: Annotated[str, doc("Branch; the one that was checked out when empty.", maxLength=2048)] = ""
    refspec: Annotated[
        str, doc("Refspec to push as well; never one that deletes or forces.", pattern="^$|^[^+:]", maxLength=2048)
    ] = ""
    options: Annotated[Mapping[str, str], doc("Options for the server, as of git push -o.", maxProperties=64)] = (
        msgspec.field(default_factory=dict)
    )


class GitSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How a commit is made and pushed."""

    checkout: Annotated[CheckoutSpec | None, doc("What it is made on; what the source says when empty.")] = None
    commit: Annotated[CommitSpec, doc("What it says, and who makes it.")]
    push: Annotated[PushSpec | None, doc("Where it is pushed; back to where it came from when empty.")] = None


class SelectorRequirement(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One requirement of a selector."""

    key: Annotated[str, doc("Name of the label.", maxLength=317)]
    operator: Annotated[str, doc("How it is compared.", enum=list(SelectorOperator))]
    values: Annotated[tuple[str, ...], doc("With what.", maxItems=64)] = ()


class PolicySelector(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """ImagePolicies by their labels."""

    match_labels: Annotated[Mapping[str, str], doc("Labels that they have.", maxProperties=64)] = msgspec.field(
        default_factory=dict
    )
    match_expressions: Annotated[
        tuple[SelectorRequirement, ...], doc("Requirements on their labels, all of which hold.", maxItems=64)
    ] = ()


class UpdateStrategy(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What is written, and where."""

    strategy: Annotated[
        str, doc("Fields are found by markers in comments.", enum=list(UpdateStrategyName), default="Setters")
    ] = "Setters"
    path: Annotated[str, doc("Directory whose files are edited; the whole repository when empty.", maxLength=1024)] = ""


class ImageUpdateAutomationSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Which images are written into which repository, and how."""

    source_ref: Annotated[AutomationSourceRef, doc("The repository that is written to.")]
    git: Annotated[GitSpec | None, doc("How a commit is made and pushed.")] = None
    interval: Annotated[str, duration("How often it is looked whether there is something to write.")]
    policy_selector: Annotated[
        PolicySelector | None, doc("Which ImagePolicies of the namespace count; all when empty.")
    ] = None
    update: Annotated[UpdateStrategy | None, doc("What is written, and where.", default={"strategy": "Setters"})] = (
        UpdateStrategy()
    )
    suspend: Annotated[bool, doc("Do not write anything.")] = False

    @property
    def interval_s(self) -> float:
        """Seconds between looks. Raises ValueError."""
        return parse_duration(self.interval)


class HeldImage(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An image that was written once and undone by somebody: it is not written there again."""

    policy: Annotated[str, doc("Namespace and name of the ImagePolicy.")]
    image: Annotated[str, doc("The image.")]
    path: Annotated[str, doc("The file.")]
    commit: Annotated[str, doc("The head of the branch where that was seen first.")] = ""


class ImageUpdateAutomationStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What was written last, and how it goes."""

    observed_generation: Annotated[
        int, doc("Generation of the object that was reconciled last; -1 before the first time.", format="int64")
    ] = -1
    conditions: Annotated[tuple[Condition, ...], doc("How it goes.")] = ()
    last_automation_run_time: Annotated[str, moment("When it was looked last, to the end.")] = ""
    last_push_commit: Annotated[str, doc("The commit that was pushed last.")] = ""
    last_push_time: Annotated[str, moment("When that was.")] = ""
    observed_policies: Annotated[
        Mapping[str, ImageRef], doc("The ImagePolicies that counted, by name, and what each had chosen.")
    ] = msgspec.field(default_factory=dict)
    observed_source_revision: Annotated[str, doc("Revision of the source that was looked at last.")] = ""
    held: Annotated[
        tuple[HeldImage, ...],
        doc(
            "What was undone by somebody, and is left so until there is another image. Ours alone; where it is lost, "
            "the last commits tell it again."
        ),
    ] = ()
    last_handled_reconcile_at: Annotated[
        str, doc("Value of the annotation reconcile.fluxcd.io/requestedAt that was honoured last.")
    ] = ""


class ImageUpdateAutomation(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Writes chosen images into a git repository."""

    api_version: str = msgspec.field(default_factory=lambda: gvk.IMAGE_UPDATE_AUTOMATION.api_version)
    kind: str = msgspec.field(default_factory=lambda: gvk.IMAGE_UPDATE_AUTOMATION.kind)
    metadata: ObjectMeta
    spec: ImageUpdateAutomationSpec
    status: ImageUpdateAutomationStatus = ImageUpdateAutomationStatus()

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.metadata.key

    @property
    def source_key(self) -> Key:
        """Namespace and name of the source."""
        return Key(self.spec.source_ref.namespace or self.metadata.namespace, self.spec.source_ref.name)

    @property
    def ready(self) -> Condition | None:
        """The Ready condition, if there is one."""
        return find(self.status.conditions, "Ready")
