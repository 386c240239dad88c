"""`trimtab why`: where an object comes from and what it waits for; where an app stands, and what is in its way."""

import contextlib
import posixpath
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from trimtab.api.names import REQUESTED_AT
from trimtab.cli import output
from trimtab.cli.connect import Code, Failure, Options, cluster_options, perform
from trimtab.cli.kinds import ALL, APP, RELEASE, SOURCES, Kind, one, shortened
from trimtab.cli.questions.wait import blocked, document, named, stages

if TYPE_CHECKING:
    from trimtab.cli.questions.past import Change, Unknown
    from trimtab.cli.questions.stations import View
    from trimtab.cli.questions.tracing import Traced
    from trimtab.health.blockers import Blocker
    from trimtab.kube.client import Client
    from trimtab.manifests.refs import Ref

_EXAMPLES = """\b
Examples:
  trimtab why shop
  trimtab why helmrelease podinfo -n team-a
  trimtab why source git shop
  trimtab why deployment/web -n shop
  trimtab why pod/shop/web-5d9c7b-x2x4q
  trimtab why certificates.cert-manager.io/shop/tls -o json
"""
_MANAGERS = 8


class Asked(NamedTuple):
    """An object by what a person writes: a kind in any of its forms, a namespace if one was said, a name."""

    kind: str
    namespace: str
    name: str


@click.command("why", epilog=_EXAMPLES)
@click.argument("words", nargs=-1, required=True, metavar="APP | KIND/NAME | KIND/NAMESPACE/NAME")
@click.option("-o", "--output", "form", type=click.Choice(output.FORMS), default="text", help="How to print.")
@cluster_options
def why(options: Options, words: tuple[str, ...], form: output.Form) -> None:
    """Explain an object, or an app.

    Of any live object: which app it is of, the file and line it is declared at, the commit that wrote these lines last,
    when it was applied, how it differs now, who has its fields, how it is and what it waits for. What made it, such as
    the Deployment of a Pod, is found by itself.

    Of an app, a release or a source: how far it is, and what is in its way, through everything it depends on, down to
    the way out.

    The object is read, and its app rendered, with the rights of the kubeconfig; git is asked with the Secret of the
    source. What cannot be known is said so. Exit codes: 0 all is well, 2 it differs, is not ready or something is in
    its way, 3 that cannot be known, 1 an error.
    """
    target = _target(words)

    async def work(client: "Client") -> int:
        if isinstance(target, Asked):
            return await _object(client, options, target, form)
        return await _app(client, options, target, form)

    perform(options, work)


class Ours(NamedTuple):
    """One of our own objects; an empty namespace is that of the options."""

    kind: Kind
    namespace: str
    name: str


def _target(words: Sequence[str]) -> Asked | Ours:
    """What is meant: one of ours, or any object. Raises UsageError."""
    parts = words[0].split("/") if len(words) == 1 else []
    if len(parts) in (2, 3) and all(parts):
        kind, namespace, name = parts[0], parts[1] if len(parts) == 3 else "", parts[-1]
        ours, checked = _ours(kind), _checked(Asked(kind, namespace, name))
        return checked if ours is None else Ours(ours, namespace, named((*ours.words[0], name))[1])
    if len(words) == 2 and "/" not in words[0] + words[1] and _ours(words[0]) is None and not _is_ours(words):
        return _checked(Asked(words[0], "", words[1]))
    kind_, name = named(words)
    if kind_ not in (APP, RELEASE, *SOURCES):
        return Asked(kind_.gvk.kind, "", name)
    return Ours(kind_, "", name)


def _is_ours(words: Sequence[str]) -> bool:
    with contextlib.suppress(Failure):
        return one(words)[1] == words[-1]
    return False


def _ours(word: str) -> Kind | None:
    """The kind of ours that one word names."""
    for kind in (APP, RELEASE, *SOURCES):
        if (word.lower(),) in kind.words or word.lower() in (kind.gvk.kind.lower(), f"{kind.gvk.kind.lower()}s"):
            return kind
    return None


def _checked(asked: Asked) -> Asked:
    import re

    # names of RBAC objects have colons, and upper case
    for part in asked:
        if part and not re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9.:_]{0,251}[A-Za-z0-9])?", part, re.ASCII):
            raise click.UsageError(f"{part[:80]!a} is neither a kind nor a name: KIND/NAME, as deployment/web")
    return asked


# --- an app


async def _app(client: "Client", options: Options, target: Ours, form: output.Form) -> int:
    from trimtab.cli.questions.looking import Looking
    from trimtab.cli.questions.stations import Stations
    from trimtab.health.blockers import Known
    from trimtab.health.revisions import Wish
    from trimtab.health.stages import Mark, Stage
    from trimtab.manifests.refs import Ref

    kind, name = target.kind, target.name
    ref = Ref(kind.gvk.group, kind.gvk.kind, target.namespace or options.namespace, name)
    async with deadline(options.timeout_s, ref):
        view = await Stations(client, kind, ref, Wish(), None, Stage.HEALTHY).once()
        if view.app is None:
            words = f"there is no {kind.human} {name} in namespace {ref.namespace}: `trimtab get all -A` lists all"
            raise Failure(Code.WRONG, words)
        seen = {ref: Known(view.app)}
        if view.source is not None:
            seen[view.source.ref] = Known(view.source.body, view.source.problem)
        blockers = await Looking(client).blockers(ref, seen=seen)
    goal = Stage.FETCHED if kind in SOURCES else Stage.HEALTHY
    good = view.account.reached(goal)
    if form == "text":
        click.echo("\n".join(_app_told(kind, ref, view, blockers, good=good)))
    else:
        told = {
            "object": _named(ref),
            "ready": good,
            "revision": view.revision,
            "commit": commit_of(view),
            "request": request_of(view.app),
            **document(view, blockers),
        }
        click.echo(output.document(told, form))
    step = view.account.blocked(goal)
    if step is not None and step.mark is Mark.UNKNOWN:
        return Code.UNKNOWN
    return Code.OK if good and not blockers else Code.DIFFERS


@contextlib.asynccontextmanager
async def deadline(seconds: float, what: "Ref") -> AsyncIterator[None]:
    """Give up on the block after `seconds`."""
    import asyncio

    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Failure(Code.UNKNOWN, f"{what}: no answer within {seconds:g} s (--timeout)") from None


def _app_told(kind: Kind, ref: "Ref", view: "View", blockers: "Sequence[Blocker]", *, good: bool) -> list[str]:
    state = click.style("is as it should be", fg="green") if good else click.style("is not ready", fg="yellow")
    at = f" at {shortened(view.revision)}" if view.revision else ""
    lines = [*output.hanging(f"{kind.human} {ref.namespace}/{ref.name} {state}", at.strip()), *stages(view)]
    for laggard in (view.objects.laggards if view.objects is not None else ())[:_MANAGERS]:
        lines += output.hanging(f"    {laggard.ref}  {laggard.verdict.state}", laggard.verdict.message)
    if (commit := commit_of(view)) is not None:
        words = "  ".join(filter(None, (commit["author"], commit["committedAt"], commit["subject"])))
        lines += output.hanging("  commit   ", f"{shortened(view.revision)}  {words}")
    if (request := request_of(view.app or {})) is not None:
        by = f" by {request['by']}" if request["by"] else f" (with {request['with']})" if request["with"] else ""
        state = "honoured" if request["honoured"] else "not honoured yet"
        lines += output.hanging("  asked    ", f"for a reconcile{by}, {request['at']}: {state}")
    return [*lines, *blocked(blockers)]


def commit_of(view: "View") -> dict[str, str] | None:
    """What the commit that the object is at says of itself, where that is recorded."""
    from trimtab.cli.questions import chronicle

    if view.app is None or view.source is None or not view.revision:
        return None
    known = chronicle.with_commits(chronicle.entries(view.app), chronicle.newest(view.source))
    found = next((row for row in known if row.revision == view.revision and (row.author or row.subject)), None)
    if found is None and view.source.body is view.app and (said := chronicle.newest(view.source)):
        found = chronicle.Entry(view.revision, "", author=said[0].author, subject=said[0].subject)
        found = found._replace(committed=said[0].committed)
    if found is None or not (found.author or found.subject):
        return None
    return {"author": found.author, "subject": found.subject, "committedAt": found.committed}


def request_of(body: dict[str, Any]) -> dict[str, Any] | None:
    """The last request for a reconcile, who made it as far as that is said, and whether it was honoured."""
    from trimtab.api.requests import requester

    annotations = body.get("metadata", {}).get("annotations") or {}
    token = annotations.get(REQUESTED_AT)
    if not token:
        return None
    honoured = body.get("status", {}).get("lastHandledReconcileAt") == token
    return {"at": token, "by": requester(annotations), "with": _asked_with(body), "honoured": honoured}


def _asked_with(body: dict[str, Any]) -> str:
    """The program that wrote the request, as the server has it: all that is known where nobody is named."""
    for entry in body["metadata"].get("managedFields") or ():
        fields = (entry.get("fieldsV1") or {}).get("f:metadata") or {}
        if f"f:{REQUESTED_AT}" in (fields.get("f:annotations") or {}):
            return str(entry.get("manager") or "")
    return ""


# --- any object


async def _object(client: "Client", options: Options, asked: Asked, form: output.Form) -> int:
    from trimtab.cli.questions.past import Unknown
    from trimtab.cli.questions.tracing import traced
    from trimtab.kube.errors import UnknownKind
    from trimtab.manifests.refs import Ref

    try:
        resource = await client.discovery.find_by_name(asked.kind)
    except UnknownKind as unknown:
        ours = ", ".join(sorted({kind.gvk.kind for kind in ALL}))
        words = f"{unknown}. `kubectl api-resources` lists the kinds of the cluster; ours are {ours}"
        raise Failure(Code.WRONG, words) from None
    namespace = asked.namespace or options.asked or client.config.namespace
    async with deadline(options.timeout_s, Ref("", resource.gvk.kind, namespace, asked.name)):
        found = await traced(client, resource, namespace, asked.name, options.timeout_s)
    if isinstance(found, Unknown):
        words = (
            f"there is no {resource.gvk.kind} {asked.name}; whether an app has one on record is unknown: {found.why}"
        )
        raise Failure(Code.UNKNOWN, words)
    if found is None:
        place = f" in namespace {namespace}" if resource.namespaced else ""
        words = f"there is no {resource.gvk.kind} {asked.name}{place}, and no app has one on record"
        raise Failure(Code.WRONG, f"{words}; another namespace is named with -n" if resource.namespaced else words)
    click.echo("\n".join(object_told(found)) if form == "text" else output.document(structured(found), form))
    return code_of(found)


def code_of(found: "Traced") -> Code:
    """How an object stands: unknown where its health or, of an app's, its drift is, whoever applies it."""
    from trimtab.health.verdict import State

    if found.verdict.state is State.Unknown or (found.app is not None and found.drift is None):
        return Code.UNKNOWN
    well = found.verdict.good and not found.drift and not found.blockers
    return Code.OK if well else Code.DIFFERS


def object_told(found: "Traced") -> list[str]:
    """The object in words."""
    from trimtab.cli.questions.past import Change

    def line(label: str, *words: str) -> list[str]:
        return output.hanging(f"  {label:<9}", "  ".join(filter(None, words)))

    lines = [click.style(output.escape(str(found.ref)), bold=True)]
    if found.made_by:
        lines += line("made by", " ← ".join(map(str, found.made_by)))
    if found.app is None:
        lines += line("app", "none: it carries the labels of no app")
    else:
        lines += line("app", *_app_words(found))
    if found.trace is not None:
        origin, layers = found.trace.finding.origin, found.trace.layers
        way = f"(changed on the way by {layers})" if layers else ""
        ahead = "" if _applied(found) else f"(in {shortened(found.trace.revision)}, which the app is not at yet)"
        lines += line("written", str(origin or "unknown"), way, ahead)
    elif found.chart:
        lines += line("written", f"in the chart {found.chart}")
    where = posixpath.dirname(found.trace.layers) if found.trace is not None else ""
    for label, change, about in (("commit", found.commit, ""), ("", found.layer, f"(in {where or 'the root'})")):
        match change:
            case Change(commit, said, or_before):
                if not label and isinstance(found.commit, Change) and found.commit.commit == commit:
                    continue
                early = " or an earlier one" if or_before else ""
                lines += line(label, f"{commit[:8]}{early}", said.author, said.committed, said.subject, about)
            case None:
                pass
            case unknown if label:
                lines += line(label, f"unknown: {unknown.why}")
    if found.app is not None and not found.gone:
        by = f"by {found.applied_by}" if found.applied_by else "not by the controller of the app, by all it left here"
        lines += line("applied", found.applied_at, by)
        lines += _drift_told(found)
    shown = [share for share in found.shares if share.fields][:_MANAGERS]
    for place, share in enumerate(shown):
        part = f"of its {share.subresource}" if share.subresource else ""
        many = f"{share.fields} field{'' if share.fields == 1 else 's'}"
        lines += line("fields" if not place else "", f"{share.manager}: {many}", part, share.operation, share.time)
    state, message = found.verdict
    waits = "" if found.verdict.good else "waits for: " if message else ""
    lines += line("health", state.value, f"{waits}{message}" if message else "")
    return [*lines, *blocked(found.blockers)]


def _applied(found: "Traced") -> bool:
    """Whether the app is at the revision that was rendered to compare it with."""
    status = (found.known.body or {}).get("status") or {}
    return found.trace is not None and status.get("lastAppliedRevision") == found.trace.revision


def _app_words(found: "Traced") -> tuple[str, ...]:
    from trimtab.health.shape import condition, says, section

    app, body = found.app, found.known.body
    assert app is not None  # noqa: S101 - asked before
    if body is None:
        return f"{app}", found.known.problem or "which does not exist"
    status = section(body, "status")
    at = shortened(str(status.get("lastAppliedRevision") or status.get("lastAttemptedRevision") or ""))
    ready = says(condition(body, "Ready")) == "True"
    held = "suspended, " if section(body, "spec").get("suspend") else ""
    return str(app), f"{held}{'ready' if ready else 'not ready'}{f' at {at}' if at else ''}"


def _drift_told(found: "Traced") -> list[str]:
    label = f"  {'drift':<9}"
    if found.drift is None:
        return output.hanging(label, f"unknown: {found.told}")
    if not found.drift:
        return output.hanging(label, f"none{f': {found.told}' if found.told else ''}")
    lines = []
    for place, drift in enumerate(found.drift):
        who = f"  (now {', '.join(drift.owners)})" if drift.owners else ""
        lines += output.hanging(label if not place else " " * len(label), f"{drift.text}{who}")
    return [*lines, *(output.hanging(" " * len(label), found.told) if found.told else ())]


def structured(found: "Traced") -> dict[str, Any]:
    """The object for programs (docs/questions.md); what is not known is null."""
    from trimtab.cli.questions.past import Change

    trace, commit = found.trace, found.commit
    origin = trace.finding.origin if trace is not None else None
    return {
        "object": _named(found.ref),
        "madeBy": [_named(ref) for ref in found.made_by],
        "app": _named(found.app) if found.app is not None else None,
        "revision": trace.revision if trace is not None else None,
        "chart": found.chart or None,
        "origin": {
            "file": origin.file,
            "line": origin.line,
            "lastLine": trace.lines[1] or None,
            "changedBy": trace.layers or None,
        }
        if origin is not None and trace is not None
        else None,
        "commit": _change(commit),
        "layerCommit": _change(found.layer),
        "commitUnknown": commit.why if commit is not None and not isinstance(commit, Change) else None,
        "applied": {"by": found.applied_by or None, "at": found.applied_at or None},
        "drift": None
        if found.drift is None
        else [{"difference": one.text, "owners": list(one.owners)} for one in found.drift],
        "message": found.told or None,
        "fields": [share._asdict() for share in found.shares],
        "health": {"state": found.verdict.state.value, "message": found.verdict.message},
        "blockers": [
            {"object": _named(one.ref), "why": one.why, "wayOut": one.way_out, "depth": one.depth}
            for one in found.blockers
        ],
    }


def _change(change: "Change | Unknown | None") -> dict[str, Any] | None:
    from trimtab.cli.questions.past import Change

    if not isinstance(change, Change):
        return None
    return {
        "id": change.commit,
        "orEarlier": change.or_before,
        "author": change.said.author or None,
        "subject": change.said.subject or None,
        "committedAt": change.said.committed or None,
    }


def _named(ref: "Ref") -> dict[str, str]:
    return {"group": ref.group, "kind": ref.kind, "namespace": ref.namespace, "name": ref.name}
