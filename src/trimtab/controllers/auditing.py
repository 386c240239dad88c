"""What controllers put into the ledger: whose wish it is, where it comes from, and what was done for it.

Where there is no ledger, nothing of this costs anything.
"""

from collections.abc import Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from trimtab.api import names
from trimtab.api.requests import requester
from trimtab.api.source import Artifact, GitTrust
from trimtab.audit.record import (
    MOST_WORDS,
    Actor,
    Cause,
    Committed,
    Drifted,
    Intent,
    Mark,
    Object,
    Settled,
    Source,
    Subject,
    Switched,
    shortened,
)
from trimtab.audit.record import Outcome as Ended
from trimtab.audit.writing import Ledger
from trimtab.controllers.index import Published, SourceId
from trimtab.controllers.offering import Named, about
from trimtab.controllers.place import Place
from trimtab.controllers.repeats import Repeats
from trimtab.controllers.standing import Standing
from trimtab.manifests import codec
from trimtab.manifests.refs import Ref
from trimtab.remotes.shown import shown
from trimtab.targets import contract
from trimtab.targets.contract import Action, Change, Effect, Outcome
from trimtab.targets.kubernetes.desired import Desired

_MOST_PATHS: Final = 20
_UNFINISHED: Final = ("partly", "failed")
_NOWHERE: Final = Source()


class Provenance(NamedTuple):
    """Whose wish something is, and where it comes from."""

    actor: Actor = Actor()
    source: Source = _NOWHERE

    def of_chart(self, chart: str, values: str) -> "Provenance":
        """The same, as a chart with values whose digest is `values`."""
        return self._replace(source=msgspec.structs.replace(self.source, chart=chart, values=values))

    def rendered(self, digest: str) -> "Provenance":
        """The same, built to what has `digest`."""
        return self._replace(source=msgspec.structs.replace(self.source, rendered=digest))


NOBODY: Final = Provenance()


def subject_of(item: Named) -> Subject:
    """`item` as the ledger names it."""
    said = about(item)
    generation = item.metadata.generation
    return Subject(kind=said.kind, namespace=said.namespace, name=said.name, uid=said.uid, generation=generation)


def object_id(ref: Ref) -> str:
    """`ref` as the ledger names it: kind, group where it has one, namespace and name."""
    kind = f"{ref.kind}.{ref.group}" if ref.group else ref.kind
    return "/".join(part for part in (kind, ref.namespace, ref.name) if part)


@dataclass(frozen=True, slots=True)
class Auditor:
    """Writes to the `ledger`; `standing` knows the sources."""

    ledger: Ledger
    standing: Standing
    repeats: Repeats = field(default_factory=Repeats)

    def provenance(self, source: SourceId, published: Published, requester: str = "", path: str = "") -> Provenance:
        """Whose wish it is what `source` has published."""
        return self.of_artifact(source, published.artifact, requester, path)

    def of_artifact(
        self, source: SourceId, artifact: Artifact | None, requester: str = "", path: str = ""
    ) -> Provenance:
        """Whose wish `artifact` of `source` is; without one, where it would come from."""
        offering = self.standing.stores.get(source.kind, {}).get(source.key)
        trust = getattr(getattr(offering, "status", None), "trust", None)
        url = getattr(getattr(offering, "spec", None), "url", "")
        place = Source(
            kind=source.kind,
            namespace=source.key.namespace,
            name=source.key.name,
            url=shown(url, MOST_WORDS)[1:-1] if url else "",
            path=path,
        )
        if artifact is None:
            return Provenance(Actor(requester=shortened(requester)), place)
        trust = trust if isinstance(trust, GitTrust) and trust.revision == artifact.revision else GitTrust()
        actor = Actor(
            author=shortened(artifact.metadata.get(names.COMMIT_AUTHOR, "")),
            signer=shortened(trust.signer),
            demanded=trust.terms,
            requester=shortened(requester),
        )
        origin = msgspec.structs.replace(
            place,
            revision=artifact.revision,
            origin=artifact.metadata.get(names.ORIGIN_REVISION, ""),
            digest=artifact.digest,
            subject=shortened(artifact.metadata.get(names.COMMIT_SUBJECT, "")),
        )
        return Provenance(actor, origin)

    def witness(
        self,
        item: Named,
        provenance: Provenance,
        hide: Callable[[str], str],
        place: Place | None,
        cause: Cause | None = None,
    ) -> "Attestor":
        """Who attests to what is written for `item` in `place`. `hide` keeps out of words what nobody may read."""
        elsewhere = place.cluster if place is not None and not place.home else ""
        return Attestor(self.ledger, subject_of(item), provenance, hide, self.repeats, cause, elsewhere)

    def settled(
        self, item: Named, provenance: Provenance, result: str, message: str = "", seconds: float = 0.0
    ) -> None:
        """What `item` came to."""
        actor, source = provenance
        words, took = shortened(message), round(seconds, 3)
        told = Settled(subject=subject_of(item), actor=actor, source=source, result=result, message=words, seconds=took)
        self.ledger.add(told)

    def committed(
        self,
        item: Named,
        actor: Actor,
        url: str,
        branch: str,
        result: str,
        commit: str = "",
        paths: Sequence[str] = (),
        message: str = "",
    ) -> None:
        """A commit of `item` was pushed to `branch` of the repository at `url`."""
        place, words = shown(url, MOST_WORDS)[1:-1], shortened(message)
        told = Committed(
            subject=subject_of(item),
            actor=actor,
            url=place,
            branch=branch,
            commit=commit,
            result=result,
            paths=tuple(paths),
            message=words,
        )
        self.ledger.add(told)

    def observe(self, item: Named, known: MutableMapping[str, str], handled: str, *, suspended: bool) -> str:
        """Put on record that `item` is suspended or asked for a look, or no longer; who asked for what is to be done.

        `handled` is the request that was honoured last, `known` what is on record.
        """
        metadata = item.metadata
        asked = metadata.requested_at if metadata.requested_at != handled else ""
        who = requester(metadata.annotations) if asked else ""
        if asked:
            self.switched(item, known, "requested", asked, who)
        self.switched(item, known, "suspended", "true" if suspended else "")
        return who

    def switched(
        self, item: Named, known: MutableMapping[str, str], what: str, value: str, requester: str = ""
    ) -> None:
        """`what` of `item` is `value` now; that is on record already if it is what is `known`."""
        if known.get(what, "") == value:
            return
        before, known[what] = known.get(what, ""), value
        actor = Actor(requester=shortened(requester))
        self.ledger.add(Switched(subject=subject_of(item), what=what, before=before, after=value, actor=actor))


@dataclass(slots=True)
class Attestor:
    """Puts on record what is written for one object of ours. Without a `cause`, the changes tell it."""

    ledger: Ledger
    subject: Subject
    provenance: Provenance
    hide: Callable[[str], str]
    repeats: Repeats
    cause: Cause | None = None
    place: str = ""
    _begun: dict[str, tuple[Cause, float]] = field(default_factory=dict)

    def built(self, items: Iterable[Desired]) -> "Attestor":
        """The same of what was built to `items`, by their order."""
        digest = self.ledger.seal().digest(codec.digest([item.digest for item in items]))
        provenance = self.provenance.rendered(digest)
        return Attestor(self.ledger, self.subject, provenance, self.hide, self.repeats, self.cause, self.place)

    async def announce(self, what: str, user: str) -> str:
        """Put on record that something is about to be done that has parts of its own; a name for it."""
        return await self._intend(self.cause or Cause.REVISION, user, (), what)

    def over(self, attempt: str, what: str, failure: str) -> None:
        """What was announced is over; `failure` is why it did not come to its end."""
        cause, began = self._begun.pop(attempt)
        self.ledger.add(
            Ended(
                attempt=attempt,
                subject=self.subject,
                cause=cause,
                result="failed" if failure else "done",
                source=self.provenance.source,
                what=what,
                place=self.place,
                message=shortened(self.hide(failure)),
                seconds=round(self.ledger.clock.monotonic() - began, 3),
            )
        )

    async def begin(self, changes: Sequence[Change[Any]], user: str) -> str:
        corrects = all(change.action is Action.CORRECT for change in changes)
        cause = self.cause or (Cause.DRIFT if corrects else Cause.REVISION)
        objects = tuple(map(self._meant, changes))
        meant = codec.digest([cause, user, self.place, self.provenance.source, objects])
        if again := self.repeats.attempt(self.subject, meant):
            self._begun[again] = cause, self.ledger.clock.monotonic()
            return again
        attempt = await self._intend(cause, user, objects, "")
        self.repeats.began(self.subject, meant, attempt)
        return attempt

    def end(self, attempt: str, outcomes: Sequence[Outcome], failure: str) -> None:
        cause, began = self._begun.pop(attempt, (self.cause or Cause.DRIFT, self.ledger.clock.monotonic()))
        objects = tuple(self._became(one) for one in outcomes if one.effect is not Effect.UNCHANGED)
        result = _result(outcomes, failure)
        came = codec.digest([result, objects, failure]) if result in _UNFINISHED else ""
        if not self.repeats.ended(self.subject, attempt, came):
            return
        self.ledger.add(
            Ended(
                attempt=attempt,
                subject=self.subject,
                cause=cause,
                result=result,
                source=self.provenance.source,
                objects=objects,
                digest=codec.digest(objects),
                unchanged=len(outcomes) - len(objects),
                place=self.place,
                message=shortened(self.hide(failure)),
                seconds=round(self.ledger.clock.monotonic() - began, 3),
            )
        )

    async def _intend(self, cause: Cause, user: str, objects: tuple[Object, ...], what: str) -> str:
        attempt, (actor, source) = self.ledger.attempt(), self.provenance
        self._begun[attempt] = cause, self.ledger.clock.monotonic()
        await self.ledger.write(
            Intent(
                attempt=attempt,
                subject=self.subject,
                cause=cause,
                actor=msgspec.structs.replace(actor, account=user),
                source=source,
                objects=objects,
                what=what,
                place=self.place,
            )
        )
        return attempt

    def _meant(self, change: Change[Any]) -> Object:
        wish = change.after.digest if isinstance(change.after, Desired) else ""
        return Object(id=object_id(change.ref), effect=change.action, wish=self.ledger.seal().digest(wish))

    def _became(self, outcome: Outcome) -> Object:
        return Object(
            id=object_id(outcome.ref),
            effect=outcome.effect,
            before=self._sealed(outcome.before),
            after=self._sealed(outcome.after),
            drift=_drifted(outcome.drift) if outcome.drift is not None else None,
            message="" if outcome.drift is not None else shortened(self.hide(outcome.message)),
        )

    def _sealed(self, mark: contract.Mark | None) -> Mark | None:
        if mark is None:
            return None
        return Mark(uid=mark.uid, version=mark.version, digest=self.ledger.seal().digest(mark.digest))


def _drifted(drift: contract.Drift) -> Drifted:
    writer = drift.writer
    return Drifted(
        answer=drift.answer,
        manager=writer.manager if writer is not None else "",
        time=writer.time if writer is not None else "",
        paths=tuple(one.path for one in drift.differences[:_MOST_PATHS]),
        gone=drift.gone,
    )


def _result(outcomes: Sequence[Outcome], failure: str) -> str:
    bad = sum(outcome.effect is Effect.FAILED for outcome in outcomes)
    if failure or (bad and bad == len(outcomes)):
        return "failed"
    if bad or any(outcome.effect is Effect.WAITING for outcome in outcomes):
        return "partly"
    return "done" if any(outcome.effect is not Effect.UNCHANGED for outcome in outcomes) else "unchanged"
