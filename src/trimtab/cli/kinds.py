"""The kinds a user can name on the command line, and what is read from their objects."""

from collections.abc import Sequence
from typing import NamedTuple

from trimtab.api.gvk import (
    ALERT,
    ARTIFACT_GENERATOR,
    BUCKET,
    EXTERNAL_ARTIFACT,
    GIT_REPOSITORY,
    HELM_CHART,
    HELM_RELEASE,
    HELM_REPOSITORY,
    IMAGE_POLICY,
    IMAGE_REPOSITORY,
    IMAGE_UPDATE_AUTOMATION,
    KUSTOMIZATION,
    OCI_REPOSITORY,
    PROVIDER,
    RECEIVER,
)
from trimtab.api.names import DISABLED, GENERATOR_RECONCILE
from trimtab.cli.connect import Code, Failure
from trimtab.manifests.refs import Body, Gvk


class Kind(NamedTuple):
    """One of our kinds. `words` are what it is called in commands, `human` what it is called in messages."""

    gvk: Gvk
    words: tuple[tuple[str, ...], ...]
    human: str
    done: str  # how a finished reconcile is told, before the revision
    column: str = "REVISION"  # what `get` calls that; nothing where there is none


_SOURCE_WORDS = ("source", "sources")
GIT = Kind(
    GIT_REPOSITORY,
    (*((word, git) for word in _SOURCE_WORDS for git in ("git", "gitrepository")), ("gitrepository",), ("gitrepo",)),
    "source git",
    "fetched revision",
)
OCI = Kind(
    OCI_REPOSITORY,
    (*((word, oci) for word in _SOURCE_WORDS for oci in ("oci", "ocirepository")), ("ocirepository",), ("ocirepo",)),
    "source oci",
    "fetched revision",
)
BUCKETS = Kind(
    BUCKET,
    (*((word, "bucket") for word in _SOURCE_WORDS), ("bucket",), ("buckets",)),
    "source bucket",
    "fetched revision",
)
HELM = Kind(
    HELM_REPOSITORY,
    (
        *((word, helm) for word in _SOURCE_WORDS for helm in ("helm", "helmrepository")),
        ("helmrepository",),
        ("helmrepo",),
    ),
    "source helm",
    "fetched revision",
)
CHART = Kind(
    HELM_CHART,
    (*((word, chart) for word in _SOURCE_WORDS for chart in ("chart", "helmchart")), ("helmchart",), ("hc",)),
    "source chart",
    "fetched revision",
)
EXTERNAL = Kind(
    EXTERNAL_ARTIFACT,
    (
        *((word, external) for word in _SOURCE_WORDS for external in ("external", "externalartifact")),
        ("externalartifact",),
        ("ea",),
    ),
    "source external",
    "found revision",
)
SOURCES = (GIT, OCI, BUCKETS, HELM, CHART, EXTERNAL)
APP = Kind(KUSTOMIZATION, (("kustomization",), ("kustomizations",), ("ks",)), "kustomization", "applied revision")
GENERATOR = Kind(
    ARTIFACT_GENERATOR,
    (
        *((word, generator) for word in ("artifact", "artifacts") for generator in ("generator", "generators")),
        ("artifactgenerator",),
        ("artifactgenerators",),
        ("ag",),
    ),
    "artifact generator",
    "its artifacts are as they should be",
)
RELEASE = Kind(HELM_RELEASE, (("helmrelease",), ("helmreleases",), ("hr",)), "helmrelease", "released chart version")
HOOK = Kind(RECEIVER, (("receiver",), ("receivers",)), "receiver", "", "")
TOLD = Kind(
    PROVIDER, (("alert-provider",), ("alert-providers",), ("provider",), ("providers",)), "alert-provider", "", ""
)
ALARM = Kind(ALERT, (("alert",), ("alerts",)), "alert", "", "")
NOTIFICATIONS = (TOLD, ALARM)
_IMAGE_WORDS = ("image", "images")
REPOSITORY = Kind(
    IMAGE_REPOSITORY,
    (
        *((word, repository) for word in _IMAGE_WORDS for repository in ("repository", "repositories")),
        ("imagerepository",),
        ("imagerepositories",),
        ("imgrepo",),
        ("imagerepo",),
    ),
    "image repository",
    "looked at",
    "LAST SCAN",
)
POLICY = Kind(
    IMAGE_POLICY,
    (
        *((word, policy) for word in _IMAGE_WORDS for policy in ("policy", "policies")),
        ("imagepolicy",),
        ("imagepolicies",),
        ("imgpol",),
        ("imagepol",),
    ),
    "image policy",
    "chose",
    "IMAGE",
)
UPDATE = Kind(
    IMAGE_UPDATE_AUTOMATION,
    (
        *((word, update) for word in _IMAGE_WORDS for update in ("update", "updates")),
        ("imageupdateautomation",),
        ("imageupdateautomations",),
        ("iua",),
        ("imgupd",),
        ("imgauto",),
    ),
    "image update",
    "is up to date, last pushed",
    "LAST PUSH",
)
IMAGES = (REPOSITORY, POLICY, UPDATE)
ALL = (*SOURCES, GENERATOR, APP, RELEASE, HOOK, *NOTIFICATIONS, *IMAGES)
NAMED = (
    "APP | source git|oci|bucket|helm|chart NAME | artifact generator NAME | kustomization NAME | helmrelease NAME | "
    "receiver NAME | alert NAME | alert-provider NAME | image repository|policy|update NAME"
)
"""How commands say what they take."""


def several(words: Sequence[str]) -> tuple[tuple[Kind, ...], str]:
    """What `get WORDS` asks for: kinds, and the name of one object if there is one. Nothing means everything."""
    if tuple(words) in ((), ("all",)):
        return ALL, ""
    if words[0] in _SOURCE_WORDS and tuple(words[1:]) in ((), ("all",)):
        return SOURCES, ""
    if words[0] in _IMAGE_WORDS and tuple(words[1:]) in ((), ("all",)):
        return IMAGES, ""
    kind, rest = _split(words)
    if kind is None:
        raise Failure(Code.WRONG, f"there is no kind {' '.join(words)!r}; there are: {_known()}, all")
    if len(rest) > 1:
        raise Failure(Code.WRONG, f"one name at most, not {' '.join(rest)!r}")
    return (kind,), rest[0] if rest else ""


def one(words: Sequence[str]) -> tuple[Kind, str]:
    """What a command acts on: `source git|oci|bucket|helm|chart NAME`, `image policy NAME`, or an app's name alone."""
    kind, rest = _split(words)
    if kind is None and len(words) == 1:
        return APP, words[0]
    if kind is None or len(rest) != 1:
        raise Failure(Code.WRONG, f"expected APP, or one of {_known()} followed by a name; got {' '.join(words)!r}")
    return kind, rest[0]


def asked(kind: Kind) -> Kind:
    """`kind`, if somebody here looks after its objects and can be asked to. Raises Failure."""
    if kind is EXTERNAL:
        raise Failure(
            Code.WRONG,
            "an ExternalArtifact is written by its producer, who alone can be asked: see spec.sourceRef of the object",
        )
    return kind


def reconciled(kind: Kind) -> Kind:
    """As `asked`, and there is something to reconcile about it. Raises Failure."""
    if kind in NOTIFICATIONS:
        words = (
            f"a change of an object of the kind {kind.gvk.kind} counts at once: there is nothing to reconcile about it"
        )
        raise Failure(Code.WRONG, words)
    return asked(kind)


def kind_of(words: Sequence[str]) -> Kind:
    """The kind that `words` name, for commands that act on all of it. An app if nothing is named."""
    kind, rest = _split(words)
    if rest or (kind is None and words):
        raise Failure(Code.WRONG, f"with --all expected nothing, or one of {_known()}; got {' '.join(words)!r}")
    return kind or APP


def title(body: Body) -> str:
    """`kind/name` as `get all` shows it."""
    return f"{body.get('kind', '').lower()}/{body['metadata']['name']}"


def revision(body: Body) -> str:
    """The revision an object is at, in full; empty before the first."""
    status = body.get("status", {})
    if body.get("kind") == APP.gvk.kind:
        return str(status.get("lastAppliedRevision", ""))
    if body.get("kind") == RELEASE.gvk.kind:
        stood = [one for one in status.get("history") or () if one.get("status") == "deployed"]
        return str(stood[0].get("chartVersion", "")) if stood else ""
    if body.get("kind") == REPOSITORY.gvk.kind:
        return str((status.get("lastScanResult") or {}).get("scanTime", ""))
    if body.get("kind") == POLICY.gvk.kind:
        return image(status.get("latestRef"))
    if body.get("kind") == UPDATE.gvk.kind:
        return str(status.get("lastPushCommit", ""))
    return str((status.get("artifact") or {}).get("revision", ""))


def image(ref: Body | None) -> str:
    """`name:tag@digest` of an image in a status, as far as it is there."""
    if not ref:
        return ""
    digest = f"@{ref['digest']}" if ref.get("digest") else ""
    return f"{ref.get('name', '')}:{ref.get('tag', '')}{digest}"


def shortened(revision_: str) -> str:
    """`main@sha1:67e2c98a` for the full hash: enough to recognise a commit."""
    name, separator, digest = revision_.rpartition(":")
    return f"{name}{separator}{digest[:8]}" if len(digest) in (40, 64) else revision_


def on_one_line(message: str) -> str:
    """`message` on one line, with the hashes of revisions shortened."""
    return " ".join(_shorten_word(word) for word in message.split())


def _shorten_word(word: str) -> str:
    core = word.strip("'\",.;")
    return word.replace(core, shortened(core)) if "sha1:" in core or "sha256:" in core else word


def condition(body: Body, type_: str) -> Body:
    """The condition of that type (in any case), or an empty one."""
    for entry in body.get("status", {}).get("conditions") or ():
        if entry.get("type", "").lower() == type_.lower():
            found: Body = entry
            return found
    return {}


def static(body: Body) -> bool:
    """Whether the object only says where something is, or whom to tell, so that there is nothing to reconcile."""
    if body.get("kind") in (TOLD.gvk.kind, ALARM.gvk.kind):
        return True
    return body.get("kind") == HELM.gvk.kind and body.get("spec", {}).get("type") == "oci"


def suspended(body: Body) -> bool:
    """Whether nobody looks after the object."""
    if body.get("kind") == GENERATOR.gvk.kind:
        return str(body["metadata"].get("annotations", {}).get(GENERATOR_RECONCILE, "")).lower() == DISABLED
    return bool(body.get("spec", {}).get("suspend"))


def suspension(kind: Kind, *, suspend: bool) -> Body:
    """The patch that suspends an object, or takes that back.

    Removing the field rather than writing false gives it back to whoever declares it in git.
    """
    if kind is GENERATOR:
        return {"metadata": {"annotations": {GENERATOR_RECONCILE: DISABLED if suspend else None}}}
    return {"spec": {"suspend": True if suspend else None}}


def _split(words: Sequence[str]) -> tuple[Kind | None, list[str]]:
    lowered = tuple(word.lower() for word in words)
    for kind in ALL:
        for form in kind.words:
            if lowered[: len(form)] == form:
                return kind, list(words[len(form) :])
    return None, list(words)


def _known() -> str:
    return (
        "source git, source oci, source bucket, source helm, source chart, source external, artifact generator (ag), "
        "kustomization (ks), helmrelease (hr), receiver, alert, alert-provider, image repository (imgrepo), "
        "image policy (imgpol), image update (iua)"
    )
