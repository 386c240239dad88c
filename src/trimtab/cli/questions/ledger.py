"""What a ledger says, for `trimtab history --ledger`: chosen, told as a table or as it stands, and verified."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import msgspec

from trimtab.audit.reading import Line, records
from trimtab.audit.record import (
    Actor,
    Cause,
    Committed,
    Event,
    Intent,
    Missed,
    Object,
    Outcome,
    Settled,
    Source,
    Subject,
    Switched,
    Unfamiliar,
)
from trimtab.audit.verifying import Report, verify
from trimtab.cli import output
from trimtab.cli.connect import Code, Failure
from trimtab.cli.kinds import shortened

_SHOWN: Final = 3
_SIGNS: Final[Mapping[str, str]] = {"created": "+", "configured": "~", "corrected": "~", "deleted": "-", "drifted": "≠"}
_LONGEST: Final = 80
_NO_OUTCOME: Final = "no outcome on record"


class Choice(NamedTuple):
    """What is asked for: records of one of our objects, about one object, in a time. What is empty chooses all."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    about: str = ""
    since: str = ""
    until: str = ""

    def takes(self, line: Line) -> bool:
        """Whether `line` is asked for."""
        record, subject = line.record, getattr(line.record.event, "subject", None)
        if (self.since and record.time < self.since) or (self.until and record.time >= self.until):
            return False
        if self.about and not any(_is_meant(one.id, self.about) for one in getattr(record.event, "objects", ())):
            return False
        wanted = self.kind, self.namespace, self.name
        if not any(wanted):
            return True
        found = (subject.kind, subject.namespace, subject.name) if isinstance(subject, Subject) else ("", "", "")
        return all(not want or want == have for want, have in zip(wanted, found, strict=True))


def moment(text: str, flag: str, now: datetime | None = None) -> str:
    """A moment as records have it, from one that is written out, or from how long ago it was (`24h`, `7d`)."""
    from trimtab.base.durations import parse_duration

    now = now or datetime.now(UTC)
    try:
        if text.endswith("d") and text[:-1].isdigit():
            then = now - timedelta(days=int(text[:-1]))
        elif text[:4].isdigit() and "-" in text:
            then = datetime.fromisoformat(text)
            then = then if then.tzinfo is not None else then.replace(tzinfo=UTC)
        else:
            then = now - timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError):
        words = f"{text!r} is neither a moment such as 2026-11-27T01:30:00Z nor a time ago such as 24h or 7d"
        raise click.BadParameter(words, param_hint=flag) from None
    return then.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def tell(directory: Path, choice: Choice, form: output.Form) -> int:
    """Print what is chosen of the ledger in `directory`, oldest first; exit code."""
    found = sorted(filter(choice.takes, _read(directory)), key=lambda line: line.record.time)
    if form != "text":
        click.echo(output.document({"records": [_structured(line) for line in found]}, form))
        return Code.OK
    rows = list(_rows(found))
    if not rows:
        click.echo("nothing of that is in the ledger", err=True)
        return Code.OK
    click.echo(output.table(["WHEN", "WHAT", "APP", "REVISION", "RESULT", "BY", "OBJECTS"], rows))
    return Code.OK


def check(directory: Path, form: output.Form, *, quiet: bool) -> int:
    """Say whether the ledger in `directory` is what was written; exit code."""
    try:
        reports = verify(directory)
    except OSError as failure:
        raise _unreadable(directory, failure) from failure
    if not reports:
        words = f"there is no ledger in {directory}: its chains are directories whose names begin with `chain-`"
        raise Failure(Code.UNKNOWN, words)
    if form != "text":
        click.echo(output.document({"chains": [_reported(one) for one in reports]}, form))
    for one in reports if form == "text" else ():
        for note in one.notes:
            output.say("◎", note, quiet=quiet)
        if one.broken is not None:
            output.say("✗", str(one.broken))
        else:
            click.echo(f"{one.chain}: {one.records} records, {one.first} to {one.last} ({one.until}), head {one.head}")
    return Code.DIFFERS if any(one.broken for one in reports) else Code.OK


def _read(directory: Path) -> Iterator[Line]:
    try:
        yield from records(directory)
    except OSError as failure:
        raise _unreadable(directory, failure) from failure


def _unreadable(directory: Path, failure: OSError) -> Failure:
    words = f"the ledger cannot be read: {failure.strerror or failure}: {failure.filename or directory}"
    return Failure(Code.UNKNOWN, words)


def _is_meant(object_id: str, asked: str) -> bool:
    """Whether `asked`, with or without its group and namespace, is `object_id`."""
    kind, _, rest = object_id.partition("/")
    wanted, _, name = asked.partition("/")
    kinds = {kind.lower(), kind.partition(".")[0].lower()}
    return (wanted.lower() in kinds and (rest == name or rest.endswith(f"/{name}"))) if name else False


def _structured(line: Line) -> dict[str, Any]:
    record: dict[str, Any] = msgspec.to_builtins(line.record)
    if isinstance(line.record.event, Unfamiliar):
        record["event"] = {"kind": line.record.event.kind}
    return {"file": str(line.file), "line": line.number, "hash": line.hash, "record": record}


def _reported(one: Report) -> dict[str, Any]:
    broken = one.broken and {"file": str(one.broken.file), "line": one.broken.line, "why": one.broken.why}
    return {**one._asdict(), "broken": broken, "notes": list(one.notes)}


# --- the table


def _rows(lines: Sequence[Line]) -> Iterator[list[str]]:
    """One row for each thing that happened: an intent is told with its outcome, as long as that is there."""
    intents = {one.attempt: one for line in lines if isinstance(one := line.record.event, Intent)}
    ended = {one.attempt for line in lines if isinstance(one := line.record.event, Outcome)}
    for line in lines:
        told = _told(line.record.event, intents, ended)
        if told is not None:
            when = line.record.time.partition(".")[0] + "Z"
            yield [when, *(cell or "-" for cell in told)]


def _told(event: Event | Unfamiliar, intents: Mapping[str, Intent], ended: Iterable[str]) -> Sequence[str] | None:
    match event:
        case Intent() if event.attempt in ended or not (event.objects or event.what):
            return None
        case Intent():
            what = event.what or event.cause
            return _row(what, event.subject, event.source, _NO_OUTCOME, event.actor, event.objects)
        case Outcome():
            intent = intents.get(event.attempt)
            actor = intent.actor if intent is not None and event.cause != Cause.DRIFT else Actor()
            row = _row(event.cause, event.subject, event.source, _ended(event), actor, event.objects)
            others = {one.drift.manager for one in event.objects if one.drift is not None and one.drift.manager}
            return [*row[:4], row[4] or ", ".join(sorted(others)), row[5]]
        case Settled():
            return _row("settled", event.subject, event.source, _ended(event), event.actor, ())
        case Switched():
            result = event.after or f"no longer ({event.before})"
            return _row(event.what, event.subject, Source(), result, event.actor, ())
        case Committed():
            source = Source(revision=f"{event.branch}@{event.commit[:8]}" if event.commit else event.branch)
            return _row("commit", event.subject, source, event.result, event.actor, ())
        case Missed():
            return ["missing", "", "", f"{event.count} records since {event.since}: {event.why}", "", ""]
        case _:
            return None


def _ended(event: Outcome | Settled) -> str:
    words = " ".join(event.message.split())
    short = words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"
    return f"{event.result}: {short}" if short else event.result


def _row(
    what: str, subject: Subject, source: Source, result: str, actor: Actor, objects: Sequence[Object]
) -> list[str]:
    app = f"{subject.namespace}/{subject.name}"
    app = app if subject.kind == "Kustomization" else f"{subject.kind}/{app}"
    who = ", ".join(
        part for part in (actor.author, f"asked by {actor.requester}" if actor.requester else "", actor.signer) if part
    )
    named = [_SIGNS.get(one.effect, f"{one.effect} ") + one.id for one in objects[:_SHOWN]]
    more = [f"and {len(objects) - _SHOWN} more"] if len(objects) > _SHOWN else []
    return [what, app, shortened(source.revision), result, who, " ".join([*named, *more])]
