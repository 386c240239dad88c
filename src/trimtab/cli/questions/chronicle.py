"""What an app has been through, as its status tells it: one entry for each state, the newest first. Pure.

What is not recorded is empty here, and shown as unknown. The entries of a Kustomization are its rendered states, so a
commit that changed nothing of it, or was overtaken by the next one, has none: those are known from git alone.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from trimtab.api.gvk import HELM_RELEASE
from trimtab.api.names import COMMIT_AUTHOR, COMMIT_SUBJECT, COMMIT_TIME, Reason
from trimtab.health.revisions import digest_of
from trimtab.health.shape import condition, number, says, section, sections
from trimtab.health.stages import Source
from trimtab.manifests.refs import Body

SKIPPED: Final = "skipped"
"""Outcome of a commit that was never tried for itself."""
_GOOD: Final = (Reason.RECONCILIATION_SUCCEEDED, "deployed", "superseded")


class Commit(NamedTuple):
    """A commit as git has it."""

    oid: str
    author: str
    subject: str
    committed: str


class Entry(NamedTuple):
    """One state, or one commit that was none. Moments are RFC 3339. `total`: how often it was reconciled so.

    `now`: it is what the app is at. `recorded`: the status has it. `message` is told of what is under way or failed.
    """

    revision: str
    outcome: str
    good: bool = False
    now: bool = False
    recorded: bool = True
    first_at: str = ""
    last_at: str = ""
    took: str = ""
    total: int = 0
    author: str = ""
    subject: str = ""
    committed: str = ""
    fetched: str = ""
    rendered: str = ""
    applied: str = ""
    changes: str = ""
    objects: tuple[str, ...] = ()
    requested_by: str = ""
    chart: str = ""
    message: str = ""


def entries(app: Body) -> list[Entry]:
    """What `app` has been through."""
    history = sections(section(app, "status"), "history")
    if app.get("kind") == HELM_RELEASE.kind:
        stands = next((one for one in history if one.get("status") == "deployed"), None)
        return [*_under_way(app, ""), *(_released(one, now=one is stands) for one in history)]
    at = str(section(app, "status").get("lastAppliedRevision") or "")
    found = [_entry(one) for one in history]
    newest = next((place for place, one in enumerate(found) if one.good), None)
    if newest is not None:
        found[newest] = found[newest]._replace(now=True)
    told = found[0].revision if found else ""
    if newest == 0 and at and at != told:
        # the app is at a later revision, which made the same of it
        same = Entry(at, "unchanged", good=True, now=True, recorded=False)
        found = [same, found[0]._replace(now=False), *found[1:]]
    return [*_under_way(app, told), *found]


def _entry(one: Body) -> Entry:
    said = section(one, "metadata")
    reason = str(one.get("lastReconciledStatus") or "")
    return Entry(
        revision=_text(said, "revision"),
        outcome=reason,
        good=reason in _GOOD,
        first_at=_text(one, "firstReconciled"),
        last_at=_text(one, "lastReconciled"),
        took=_text(one, "lastReconciledDuration"),
        total=number(one, "totalReconciliations"),
        author=_text(said, "author"),
        subject=_text(said, "subject"),
        committed=_text(said, "committed"),
        fetched=_text(said, "fetched"),
        rendered=_text(said, "rendered"),
        applied=_text(said, "applied"),
        changes=_text(said, "changes"),
        objects=tuple(_text(said, "objects").split()),
        requested_by=_text(said, "requestedBy"),
    )


def _released(one: Body, *, now: bool) -> Entry:
    status = _text(one, "status")
    return Entry(
        revision=f"v{number(one, 'version')}",
        outcome=status,
        good=status in _GOOD,
        now=now,
        first_at=_text(one, "firstDeployed"),
        last_at=_text(one, "lastDeployed"),
        chart=f"{_text(one, 'chartName')}@{_text(one, 'chartVersion')}",
        changes=_text(one, "action"),
    )


def _under_way(app: Body, told: str) -> list[Entry]:
    """What is being tried now, or failed before there was a state to record."""
    status, ready = section(app, "status"), condition(app, "Ready") or {}
    attempted, state = _text(status, "lastAttemptedRevision"), says(ready or None)
    if state in ("", "True") or not attempted or (attempted == told and state == "False"):
        return []
    entry = Entry(
        revision=attempted,
        outcome=_text(ready, "reason"),
        recorded=False,
        last_at=_text(ready, "lastTransitionTime"),
        message=_text(ready, "message"),
    )
    return [entry._replace(revision="", chart=attempted) if app.get("kind") == HELM_RELEASE.kind else entry]


def newest(source: Source) -> list[Commit]:
    """The commit that `source` has now, as it tells of it itself."""
    artifact = section(source.body or {}, "status", "artifact")
    said, oid = section(artifact, "metadata"), digest_of(_text(artifact, "revision"))
    return [Commit(oid, *(_text(said, name) for name in (COMMIT_AUTHOR, COMMIT_SUBJECT, COMMIT_TIME)))] if oid else []


def with_commits(found: Sequence[Entry], log: Sequence[Commit]) -> list[Entry]:
    """`found` with what `log`, the commits of its branch from the newest on, has between its entries and around them.

    The entries stay in their own order, in which things happened. A commit stands where git has it, between the entry
    of a later commit and the next entry; where entries are not in the order of git (a branch was set back), nothing is
    said of the commits between them.
    """
    place = {commit.oid: number for number, commit in enumerate(log)}
    tried = {digest_of(one.revision) for one in found}
    rows: list[Entry] = []
    before = -1
    for one in found:
        at = place.get(digest_of(one.revision))
        if at is not None and at > before:
            rows += [_skipped(commit) for commit in log[before + 1 : at] if commit.oid not in tried]
        rows.append(_said(one, log[at]) if at is not None else one)
        before = at if at is not None and at > before else len(log) if at is None else before
    return rows


def _skipped(commit: Commit) -> Entry:
    return _said(Entry(f"sha1:{commit.oid}", SKIPPED, recorded=False), commit)


def _said(one: Entry, commit: Commit) -> Entry:
    """`one` with what git says, where the record says nothing."""
    return one._replace(
        author=one.author or commit.author,
        subject=one.subject or commit.subject,
        committed=one.committed or commit.committed,
    )


def structured(one: Entry) -> dict[str, Any]:
    """An entry for programs (docs/questions.md); what is not known is null."""
    return {
        "revision": one.revision or None,
        "chart": one.chart or None,
        "outcome": one.outcome or None,
        "succeeded": one.good,
        "current": one.now,
        "recorded": one.recorded,
        "author": one.author or None,
        "subject": one.subject or None,
        "committedAt": one.committed or None,
        "fetchedAt": one.fetched or None,
        "renderedAt": one.rendered or None,
        "appliedAt": one.applied or None,
        "firstAt": one.first_at or None,
        "lastAt": one.last_at or None,
        "took": one.took or None,
        "reconciliations": one.total or None,
        "changes": one.changes or None,
        "objects": list(one.objects),
        "requestedBy": one.requested_by or None,
        "message": one.message or None,
    }


def _text(part: Body, field: str) -> str:
    value = part.get(field)
    return value if isinstance(value, str) else ""
