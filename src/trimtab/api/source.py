"""The kind GitRepository, and the artifact that every source publishes."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from trimtab.api import gvk
from trimtab.api.meta import LocalRef, ObjectMeta
from trimtab.api.schema import Rule, doc, duration, moment
from trimtab.base.durations import parse_duration
from trimtab.manifests.conditions import Condition, find
from trimtab.manifests.refs import Key

DEFAULT_TIMEOUT_S = 60.0
LONGEST_TIMEOUT_S = 600.0
"""So long one operation takes at most, whatever an object says: it holds a slot that others wait for."""
DEFAULT_BRANCH = "master"


class GitProvider(StrEnum):
    """Values of `spec.provider`: how a repository's host wants to be spoken to."""

    GENERIC = "generic"
    AWS = "aws"
    AZURE = "azure"
    GITHUB = "github"


class VerifyMode(StrEnum):
    """Values of `spec.verify.mode`: what must be signed. `head` is an older spelling of `HEAD`."""

    HEAD = "HEAD"
    HEAD_LOWER = "head"
    TAG = "Tag"
    TAG_AND_HEAD = "TagAndHEAD"


class Artifact(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a source published last: an archive that anyone who may read the URL can fetch and check."""

    path: Annotated[str, doc("Path of the archive below the root of the artifact server.")]
    url: Annotated[str, doc("Address the archive is served at.")]
    revision: Annotated[str, doc("Human-readable version: `main@sha1:…`, `v1.0@sha1:…` or a digest.")]
    digest: Annotated[
        str, doc("Digest of the archive as `algorithm:hex`.", pattern="^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$")
    ] = ""
    last_update_time: Annotated[str, moment("When the archive was made.")]
    size: Annotated[int, doc("Bytes of the archive.", format="int64")] = 0
    metadata: Annotated[
        Mapping[str, str],
        doc("What the producer says beyond that, such as the origin of an image or the files that were left out."),
    ] = msgspec.field(default_factory=dict)


class GitRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What to check out. When several are set: commit before name before semver before tag before branch."""

    branch: Annotated[str, doc("Branch; `master` when nothing is named.", maxLength=2048)] = ""
    tag: Annotated[str, doc("Tag.", maxLength=2048)] = ""
    semver: Annotated[str, doc("Range of versions; the highest tag in it is taken.", maxLength=2048)] = ""
    name: Annotated[
        str, doc("Full name of a reference, such as `refs/heads/main` or `refs/pull/420/head`.", maxLength=2048)
    ] = ""
    commit: Annotated[
        str, doc("Commit, as its full hash. With a branch, only that branch is fetched.", maxLength=128)
    ] = ""


class GitVerification(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Which signatures are demanded, and whose."""

    mode: Annotated[
        str, doc("What must be signed: the commit, the tag, or both.", enum=list(VerifyMode), default="HEAD")
    ] = "HEAD"
    secret_ref: Annotated[LocalRef, doc("Secret with the public keys trusted: `*.asc` for PGP, `*.sshpub` for SSH.")]


class GitTrust(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What was verified last, and what waits to be. Ours alone; where it is lost, all is verified again."""

    revision: Annotated[str, doc("The revision that was verified last, as in the artifact.")] = ""
    tag: Annotated[str, doc("The annotated tag that was verified with it.")] = ""
    terms: Annotated[str, doc("What had to be signed.")] = ""
    keys: Annotated[str, doc("Digest of the keys that were trusted.")] = ""
    signer: Annotated[str, doc("Who signed, by the name that the trusted keys give, and with which key.")] = ""
    followed: Annotated[str, doc("The address and the reference it was found under.")] = ""
    seen: Annotated[str, moment("When it was first seen: expiry is judged by that.")] = ""
    held: Annotated[str, doc("The commit or tag that was seen last and not verified.")] = ""
    held_seen: Annotated[str, moment("When that was first seen.")] = ""

    @property
    def commit(self) -> str:
        """The commit of the revision."""
        return self.revision.rpartition(":")[2]


class GitInclude(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The artifact of another GitRepository, laid into this one."""

    repository: Annotated[LocalRef, doc("The other GitRepository, in the same namespace.")]
    from_path: Annotated[str, doc("Directory to take from it; all of it when empty.", maxLength=1024)] = ""
    to_path: Annotated[str, doc("Directory to put it in; the repository's name when empty.", maxLength=1024)] = ""

    @property
    def destination(self) -> str:
        """The directory it is laid into."""
        return self.to_path or self.repository.name


class GitRepositorySpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Where a repository is, what to take from it, and how often to look."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.serviceAccountName) || (has(self.provider) && self.provider in ['aws', 'azure'])",
            "serviceAccountName can only be set when provider is 'aws' or 'azure'",
        ),
    )

    url: Annotated[
        str, doc("Address of the repository, by http, https or ssh.", pattern="^(http|https|ssh)://.*$", maxLength=4096)
    ]
    secret_ref: Annotated[
        LocalRef | None,
        doc(
            "Secret with the credentials: `username` and `password`, `bearerToken`, `identity` and `known_hosts`, "
            "`ca.crt`, `tls.crt` and `tls.key`, or those of a GitHub App."
        ),
    ] = None
    provider: Annotated[
        str,
        doc(
            "How to sign in: with the Secret, or by the identity of a cloud or of a GitHub App. `generic` when empty.",
            enum=list(GitProvider),
        ),
    ] = ""
    service_account_name: Annotated[
        str, doc("ServiceAccount whose identity signs in; for aws and azure.", maxLength=253)
    ] = ""
    interval: Annotated[str, duration("How often the repository is looked at.")]
    timeout: Annotated[str, duration("How long one operation may take.", hours=False, default="60s")] = "60s"
    ref: Annotated[GitRef | None, doc("What to check out; the branch `master` when empty.")] = None
    verify: Annotated[GitVerification | None, doc("Which signatures are demanded; none when empty.")] = None
    proxy_secret_ref: Annotated[
        LocalRef | None, doc("Secret with the `address`, and `username` and `password`, of a proxy.")
    ] = None
    ignore: Annotated[
        str | None, doc("Files to leave out, in the syntax of .gitignore. Replaces the default exclusions.")
    ] = None
    suspend: Annotated[bool, doc("Do not look for new commits. The artifact stays.")] = False
    recurse_submodules: Annotated[bool, doc("Take submodules along, with the same credentials.")] = False
    include: Annotated[tuple[GitInclude, ...], doc("Artifacts of other GitRepositories to lay into this one.")] = ()
    sparse_checkout: Annotated[tuple[str, ...], doc("Directories to take; all when empty.")] = ()

    @property
    def interval_s(self) -> float:
        """Seconds between looks. Raises ValueError."""
        return parse_duration(self.interval)

    @property
    def timeout_s(self) -> float:
        """Seconds one operation may take: `timeout`, 60 when empty. Raises ValueError."""
        return parse_duration(self.timeout) if self.timeout else DEFAULT_TIMEOUT_S

    @property
    def branch(self) -> str:
        """The branch to follow when nothing more precise is named."""
        return (self.ref and self.ref.branch) or DEFAULT_BRANCH


class GitRepositoryStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What was fetched last, and how it went."""

    observed_generation: Annotated[
        int, doc("Generation of the object that was reconciled last; -1 before the first time.", format="int64")
    ] = -1
    conditions: Annotated[tuple[Condition, ...], doc("How it goes.")] = ()
    artifact: Annotated[Artifact | None, doc("What was published last.")] = None
    included_artifacts: Annotated[
        tuple[Artifact, ...], doc("The artifacts of `spec.include` that went in, in its order.")
    ] = ()
    observed_ignore: Annotated[str | None, doc("The `spec.ignore` the artifact was made with.")] = None
    observed_recurse_submodules: Annotated[bool, doc("The `spec.recurseSubmodules` the artifact was made with.")] = (
        False
    )
    observed_include: Annotated[tuple[GitInclude, ...], doc("The `spec.include` the artifact was made with.")] = ()
    observed_sparse_checkout: Annotated[
        tuple[str, ...], doc("The `spec.sparseCheckout` the artifact was made with.")
    ] = ()
    source_verification_mode: Annotated[
        str, doc("What was found signed: the mode of `spec.verify` at the last success.", enum=list(VerifyMode))
    ] = ""
    trust: Annotated[GitTrust | None, doc("What was verified last, and what waits to be.")] = None
    last_handled_reconcile_at: Annotated[
        str, doc("Value of the annotation reconcile.fluxcd.io/requestedAt that was honoured last.")
    ] = ""


class GitRepository(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A git repository whose files become an artifact."""

    api_version: str = msgspec.field(default_factory=lambda: gvk.GIT_REPOSITORY.api_version)
    kind: str = msgspec.field(default_factory=lambda: gvk.GIT_REPOSITORY.kind)
    metadata: ObjectMeta
    spec: GitRepositorySpec
    status: GitRepositoryStatus = GitRepositoryStatus()

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.metadata.key

    @property
    def ready(self) -> Condition | None:
        """The condition Ready, if there is one."""
        return find(self.status.conditions, "Ready")
