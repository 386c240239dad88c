"""Whether what a repository offers was signed by somebody who is trusted, and follows what was trusted before."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from trimtab.api.names import AncestryMode, Reason
from trimtab.api.source import VerifyMode
from trimtab.base.errors import Transient
from trimtab.crypto.keyring import Keyring
from trimtab.crypto.trust import BadSignature, Signer
from trimtab.remotes.git.history import TooLong
from trimtab.remotes.git.objects import BadObject, parse_commit, parse_tag
from trimtab.sources.git import Credentials, GitSource, GitSpec, Head

MAX_COMMITS = 10_000
"""Commits that are judged for one new head, and generations in which the last trusted one is looked for."""
_NEAR = 100


@dataclass(frozen=True, slots=True)
class Terms:
    """What has to be signed. With `committer`, the signer has to be the one who the commit or tag says made it."""

    mode: VerifyMode = VerifyMode.HEAD
    ancestry: AncestryMode = AncestryMode.HEAD
    committer: bool = False

    @property
    def of_commit(self) -> bool:
        return self.mode is not VerifyMode.TAG

    @property
    def of_tag(self) -> bool:
        return self.mode in (VerifyMode.TAG, VerifyMode.TAG_AND_HEAD)

    def __str__(self) -> str:
        return f"{self.mode} {self.ancestry}{' committer' if self.committer else ''}"


class Refused(Transient):
    """A head that is not trusted: the last one that was stays in force.

    Trying again does not help; the next look does, if the repository or the keys are others by then. `hopeless` says
    that this reference cannot become good as it is.
    """

    def __init__(self, message: str, *, hopeless: bool = False) -> None:
        super().__init__(Reason.VERIFICATION_ERROR, message)
        self.hopeless = hopeless


class Evidence(NamedTuple):
    """What there is to judge `head` by: the commits, the head in front, and the tag, as git stores them."""

    head: Head
    commits: Sequence[tuple[str, bytes]]
    tag: bytes | None


async def gather(
    source: GitSource,
    spec: GitSpec,
    credentials: Credentials,
    head: Head,
    terms: Terms,
    *,
    trusted: str = "",
    must_follow: bool = False,
    rollback: str = "",
) -> Evidence:
    """Fetch what is needed to judge `head`, and no more.

    `trusted` is the commit that was trusted last; everything before it was judged then. With `must_follow`, a head that
    does not descend from it is Refused, unless it is the commit `rollback`; as is one whose history cannot be judged to
    its end. Raises what GitSource.fetch raises.
    """
    whole = terms.of_commit and terms.ancestry is not AncestryMode.HEAD
    if terms.of_tag and not head.tag:
        shown = head.ref.removeprefix("refs/tags/")
        if not head.ref.startswith("refs/tags/"):
            raise Refused(
                f"spec.verify.mode {terms.mode} needs a tag, and spec.ref names none: set spec.ref.tag or "
                "spec.ref.semver, or the mode HEAD",
                hopeless=True,
            )
        raise Refused(f"the tag {shown!r} is lightweight: it cannot be signed; make it by git tag -s", hopeless=True)
    first = _NEAR if trusted and trusted != head.commit else 1
    for depth, deeper in ((first, False), (_NEAR, True), (MAX_COMMITS, True)):
        async with source.history(spec, credentials, head, tag=terms.of_tag, depth=depth, deeper=deeper) as (
            came,
            history,
        ):
            last = depth == MAX_COMMITS or await history.whole(came.commit)
            follows = must_follow and trusted and came.commit != rollback
            if follows and not await history.descends(came.commit, trusted):
                if not last:
                    continue
                raise Refused(_rewound(came.commit, trusted))
            try:
                oids = [came.commit]
                if whole and came.commit != trusted:
                    first_parent = terms.ancestry is AncestryMode.FIRST_PARENT
                    oids = await history.between(came.commit, trusted, first_parent=first_parent, most=MAX_COMMITS)
                commits = list(zip(oids, await history.contents(oids), strict=True))
                tag = (await history.contents([head.tag]))[0] if terms.of_tag else None
            except TooLong as problem:
                if not last:
                    continue
                raise Refused(_too_long(came.commit, trusted, problem)) from problem
            return Evidence(came, commits, tag)
    raise AssertionError("the last round ends in an answer")


async def judge(evidence: Evidence, terms: Terms, keyring: Keyring, seen: datetime) -> Signer:
    """Who answers for the head of `evidence`, which came at the moment `seen`. Raises Refused."""
    return await asyncio.to_thread(_judge, evidence, terms, keyring, seen)


def _judge(evidence: Evidence, terms: Terms, keyring: Keyring, seen: datetime) -> Signer:
    signer: Signer | None = None
    if terms.of_commit:
        # The oldest first: the one that broke the line is named, not one that was put on top of it.
        for oid, raw in reversed(evidence.commits):
            signer = _signer_of_commit(oid, raw, terms, keyring, seen)
    if terms.of_tag:
        signer = _signer_of_tag(evidence, terms, keyring, seen)
    if signer is None:
        raise Refused(f"nothing of {evidence.head.revision} was judged")
    return signer


def _signer_of_commit(oid: str, raw: bytes, terms: Terms, keyring: Keyring, seen: datetime) -> Signer:
    subject = f"commit '{oid}'"
    try:
        commit = parse_commit(raw)
        signer = _signer(commit.payload, commit.signature, keyring, seen)
    except (BadObject, BadSignature) as problem:
        raise _failed(subject, str(problem)) from problem
    if terms.committer and not signer.is_(commit.committer):
        raise _failed(subject, f"it was signed by {signer}, and says that {commit.committer!a} committed it")
    return signer


def _signer_of_tag(evidence: Evidence, terms: Terms, keyring: Keyring, seen: datetime) -> Signer:
    shown = evidence.head.ref.removeprefix("refs/tags/")
    subject = f"tag '{shown}'"
    try:
        tag = parse_tag(evidence.tag or b"")
        if tag.name != shown:
            raise BadObject(f"it was made as the tag {tag.name[:100]!a}, and put in the place of this one")
        if (tag.kind, tag.target) != ("commit", evidence.head.commit):
            raise BadObject(f"it was made for {tag.kind} {tag.target}, not for commit {evidence.head.commit}")
        signer = _signer(tag.payload, tag.signature, keyring, seen)
    except (BadObject, BadSignature) as problem:
        raise _failed(subject, str(problem)) from problem
    if terms.committer and not signer.is_(tag.tagger):
        raise _failed(subject, f"it was signed by {signer}, and says that {tag.tagger!a} made it")
    return signer


def _signer(payload: bytes, signature: bytes | None, keyring: Keyring, seen: datetime) -> Signer:
    if signature is None:
        raise BadSignature("it is not signed")
    return keyring.judge(payload, signature, seen)


def _failed(subject: str, why: str) -> Refused:
    return Refused(f"signature verification of {subject} failed: {why}")


def _rewound(commit: str, trusted: str) -> str:
    return (
        f"commit '{commit}' does not follow '{trusted}', the last one that was verified: the history was rewound or "
        f"rewritten. If that is meant, set the annotation trimtab.dev/allow-rollback: {commit}"
    )


def _too_long(commit: str, trusted: str, problem: TooLong) -> str:
    since = f"since '{trusted}', the last one that was verified" if trusted else "from the first commit on"
    return (
        f"the commits before '{commit}' cannot all be judged {since}: {problem}. To begin here, verify it once with "
        "the annotation trimtab.dev/verify: head"
    )
