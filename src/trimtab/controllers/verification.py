"""Verification of a GitRepository: what its owner demands, the keys, and what is remembered from look to look.

Whatever goes wrong on the way, the answer is no: nothing that was not verified is published.
"""

import binascii
from datetime import datetime
from typing import Any

import msgspec

from trimtab.api.names import AncestryMode, Annotation, Reason
from trimtab.api.source import GitRepository, GitRepositoryStatus, GitTrust, VerifyMode
from trimtab.artifacts.snapshot import Snapshot
from trimtab.base.clock import Clock, rfc3339
from trimtab.base.errors import Terminal, Transient
from trimtab.controllers.credentials import secret
from trimtab.controllers.producing import Status, Withheld
from trimtab.crypto.keyring import Keyring
from trimtab.crypto.trust import BadKeys
from trimtab.kube.client import Client
from trimtab.manifests.semver import Version
from trimtab.sources.git import Credentials, GitSource, GitSpec, Head
from trimtab.sources.trust import Refused, Terms, gather, judge


class Verification:
    """Judges heads of GitRepositories, and remembers in their status what it found."""

    def __init__(self, client: Client, source: GitSource, clock: Clock) -> None:
        self._client = client
        self._source = source
        self._clock = clock

    async def check(
        self,
        repository: GitRepository,
        status: Status,
        spec: GitSpec,
        credentials: Credentials,
        head: Head,
    ) -> tuple[Head, GitTrust | None]:
        """The head that may be published, and what to remember of it; None where nothing is demanded.

        Raises Withheld, Terminal where the demand makes no sense, and what GitSource.fetch raises.
        """
        terms = demanded(repository)
        if terms is None:
            return head, None
        keyring = await self._keyring(repository)
        trust = _trust(status)
        followed = f"{spec.address} {msgspec.json.encode(repository.spec.ref).decode()}"
        known = (trust.revision, trust.tag, trust.terms, trust.keys, trust.followed)
        if known == (head.revision, head.tag, str(terms), keyring.digest, followed):
            return head, msgspec.structs.replace(trust, held="", held_seen="")
        try:
            evidence = await gather(
                self._source,
                spec,
                credentials,
                head,
                terms,
                trusted=trust.commit,
                must_follow=trust.followed == followed and not _is_upgrade(trust.revision, head, terms, spec),
                rollback=repository.metadata.annotations.get(Annotation.ALLOW_ROLLBACK, ""),
            )
            head = evidence.head
            signer = await judge(evidence, terms, keyring, self._seen(trust, head, terms))
        except Refused as refusal:
            held = msgspec.structs.replace(
                trust, held=_judged(head, terms), held_seen=rfc3339(self._seen(trust, head, terms))
            )
            raise Withheld(refusal.message, remember={"trust": held}, hopeless=refusal.hopeless) from refusal
        return head, GitTrust(
            revision=head.revision,
            tag=head.tag,
            terms=str(terms),
            keys=keyring.digest,
            signer=str(signer),
            followed=followed,
            seen=rfc3339(self._seen(trust, head, terms)),
        )

    async def regain(self, status: Status, spec: GitSpec, credentials: Credentials) -> Snapshot | None:
        """The last verified revision again, where the disk has lost it: it is the one to enforce.

        None where there is none, or where the remote hands out another. Raises what GitSource.fetch raises.
        """
        artifact, trust = status.artifact, _trust(status)
        if artifact is None or artifact.revision != trust.revision:
            return None
        snapshot = await self._source.fetch(spec, credentials, Head(trust.revision, trust.commit, ""))
        return snapshot if snapshot.revision == trust.revision else None

    def _seen(self, trust: GitTrust, head: Head, terms: Terms) -> datetime:
        """When we saw first what is judged: what a commit says of its own date is the word of whoever made it."""
        what = _judged(head, terms)
        if what == trust.held and trust.held_seen:
            return datetime.fromisoformat(trust.held_seen)
        if what == (trust.tag if terms.of_tag else trust.commit) and trust.seen:
            return datetime.fromisoformat(trust.seen)
        return self._clock.now()

    async def _keyring(self, repository: GitRepository) -> Keyring:
        assert repository.spec.verify is not None  # noqa: S101 - asked for by whoever demanded something
        name = repository.spec.verify.secret_ref.name
        shown = f"Secret {repository.metadata.namespace}/{name} of spec.verify"
        try:
            return Keyring.from_secret(await secret(self._client, repository.metadata.namespace, name, "spec.verify"))
        except Transient as problem:
            raise Withheld(f"there are no keys to verify by: {problem}", again=True) from problem
        except (BadKeys, binascii.Error) as problem:
            raise Withheld(f"{shown}: {problem}", again=True) from problem


def demanded(repository: GitRepository) -> Terms | None:
    """What has to be signed; None for nothing. Raises Terminal where the parts of the demand do not fit together."""
    verify, annotations = repository.spec.verify, repository.metadata.annotations
    ancestry = AncestryMode(annotations.get(Annotation.VERIFY, AncestryMode.HEAD))
    committer = annotations.get(Annotation.SIGNER_MATCHES_COMMITTER) == "true"
    if verify is None:
        if Annotation.VERIFY in annotations or committer:
            name = Annotation.VERIFY if Annotation.VERIFY in annotations else Annotation.SIGNER_MATCHES_COMMITTER
            raise _nonsense(f"the annotation {name} needs spec.verify, which names the keys")
        return None
    mode = VerifyMode.HEAD if verify.mode in ("", VerifyMode.HEAD_LOWER) else verify.mode
    if mode not in set(VerifyMode):
        raise _nonsense(f"spec.verify.mode {mode[:60]!a} is not known; use HEAD, Tag or TagAndHEAD")
    terms = Terms(VerifyMode(mode), ancestry, committer)
    if ancestry is not AncestryMode.HEAD and not terms.of_commit:
        raise _nonsense(
            f"the annotation {Annotation.VERIFY}: {ancestry} judges commits, and spec.verify.mode {mode} judges none; "
            "use TagAndHEAD"
        )
    return terms


def remembered(repository: GitRepository, trust: GitTrust | None) -> dict[str, Any]:
    """The fields of the status that say what was verified."""
    mode = repository.spec.verify.mode if trust is not None and repository.spec.verify is not None else ""
    return {"trust": trust, "source_verification_mode": mode}


def words(trust: GitTrust, snapshot: Snapshot, spec: GitSpec) -> str:
    """What to say of the revision that was verified. Raises Transient if `snapshot` is another one."""
    if snapshot.revision != trust.revision:
        raise Transient(
            Reason.GIT_OPERATION_FAILED,
            f"{spec.address}: the remote went on from {trust.revision} while that was verified; looking again",
        )
    return f"is signed by {trust.signer}; demanded was {trust.terms}"


def _trust(status: Status) -> GitTrust:
    return (isinstance(status, GitRepositoryStatus) and status.trust) or GitTrust()


def _judged(head: Head, terms: Terms) -> str:
    return head.tag if terms.of_tag and head.tag else head.commit


def _is_upgrade(before: str, head: Head, terms: Terms, spec: GitSpec) -> bool:
    """Whether a range of versions goes to a higher one, which may come from a branch of its own.

    Only where the signature of the tag says which version it is: whoever may push can put any tag on an old commit.
    """
    old = Version.parse(before.rpartition("@")[0])
    new = Version.parse(head.revision.rpartition("@")[0])
    return spec.is_range and terms.of_tag and old is not None and new is not None and old.precedes(new)


def _nonsense(why: str) -> Terminal:
    return Terminal(Reason.VERIFICATION_ERROR, why)
