"""One live object traced back: who made it, which app, which lines of which commit, and how it is now."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from trimtab.api.gvk import HELM_RELEASE, KUSTOMIZATION
from trimtab.api.kustomize import Kustomization
from trimtab.api.names import HELM_MANAGER
from trimtab.cli.diff.apps import Trace, apps
from trimtab.cli.questions.looking import Looking, source_ref
from trimtab.cli.questions.past import Change, Unknown, past
from trimtab.cli.render.rendering import Recipe
from trimtab.diff.fields import FIELD_MANAGER, owned_entry
from trimtab.health.blockers import Blocker, Known
from trimtab.health.shape import condition, says, section, sections
from trimtab.health.verdict import Verdict
from trimtab.kube.errors import ApiError, NotFound, StaleGroup, UnknownKind
from trimtab.manifests.inventory import encode_id
from trimtab.manifests.refs import Body, Gvk, Ref
from trimtab.render.files import parent
from trimtab.targets.kubernetes.comparing import Terms
from trimtab.targets.kubernetes.desired import PREFIX, Owner

if TYPE_CHECKING:
    from trimtab.kube.client import Client
    from trimtab.kube.resource import Resource

_HIGHEST: Final = 5
"""So many controllers above each other are followed: Pod, ReplicaSet, Deployment, and what operators add."""
_OWNERS: Final = (
    (KUSTOMIZATION, PREFIX, FIELD_MANAGER),
    (HELM_RELEASE, "helm.toolkit.fluxcd.io/", HELM_MANAGER),
)


_NOTHING: Final = Known()


class Share(NamedTuple):
    """What one field manager has of an object: so many fields, and when it wrote them last."""

    manager: str
    operation: str
    subresource: str
    time: str
    fields: int


class Drift(NamedTuple):
    """One field that is not as declared: `text` leads from what is live to what is declared, `owners` have it now."""

    text: str
    owners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Traced:
    """What is known of an object. `made_by` leads from it to the one that an app applied, which all the rest is about.

    `app` is who that one's labels name; `applied_by` is empty where its controller has applied nothing of it. `drift`
    is None where it cannot be known, `told` why. `commit` wrote the lines that declare it, `layer` is the last that
    changed the kustomization they go through. `gone`: it is on the record of the app and not in the cluster.
    """

    ref: Ref
    verdict: Verdict
    made_by: tuple[Ref, ...] = ()
    app: Ref | None = None
    known: Known = _NOTHING
    applied_by: str = ""
    applied_at: str = ""
    shares: tuple[Share, ...] = ()
    trace: Trace | None = None
    chart: str = ""
    drift: tuple[Drift, ...] | None = None
    told: str = ""
    commit: Change | Unknown | None = None
    layer: Change | Unknown | None = None
    blockers: tuple[Blocker, ...] = ()
    gone: bool = False


async def traced(
    client: "Client", resource: "Resource", namespace: str, name: str, timeout_s: float
) -> Traced | Unknown | None:
    """The object traced; None where there is none, and no app has one of the name on record (Unknown: perhaps one has).

    Raises what the client raises for the object itself; of all else it is said what could not be looked at.
    """
    gvk, looking = resource.gvk, Looking(client)
    ref = Ref(gvk.group, gvk.kind, namespace if resource.namespaced else "", name)
    try:
        body: Body = await client.get(resource, name, ref.namespace, type=dict)
    except NotFound:
        return await _gone(client, looking, ref)
    live = {"apiVersion": gvk.api_version, "kind": gvk.kind, **body}
    verdict = looking.verdict(Known(live))
    top, made_by = await _climb(looking, live)
    found = Traced(ref, verdict, made_by, shares=shares(top))
    owner = _owner(top)
    if owner is None:
        return found
    app, manager = owner
    entry = owned_entry(top, manager)
    known = await looking.of(app)
    found = replace(
        found,
        app=app,
        known=known,
        applied_by=manager if entry else "",
        applied_at=entry.time if entry else "",
        blockers=await looking.blockers(app) if known.body else (),
    )
    of = made_by[-1] if made_by else ref
    if known.body is None:
        return replace(found, told=known.problem or f"{app} is gone: nobody looks after the object any more")
    if app.kind == HELM_RELEASE.kind:
        return _of_release(found, known.body, of)
    return await _of_app(client, found, known.body, of, timeout_s)


async def _of_app(client: "Client", found: Traced, body: Body, of: Ref, timeout_s: float) -> Traced:
    """What rendering the source of the app tells, and git."""
    terms = Terms(owners=True, timeout_s=timeout_s, until=asyncio.get_running_loop().time() + timeout_s)
    recipe = Recipe(None, None, (), (), strict=True, age_key=(), gpg_key=())
    async with apps(client, terms, recipe, None) as looking:
        trace = await looking.trace(msgspec.convert(body, Kustomization), of)
    if isinstance(trace, str):
        return replace(found, told=trace)
    drift, told = _drift(trace)
    found = replace(found, trace=trace, drift=drift, told=told)
    origin, lines = trace.finding.origin, trace.lines
    if origin is None or not all(lines):
        return replace(found, commit=Unknown("the lines that declare it are not known"))
    source = await Looking(client).of(source_ref(body))
    if source.body is None:
        return replace(found, commit=Unknown(source.problem or "its source is gone"))
    async with past(client) as git:
        found = replace(found, commit=await git.last_change(source.body, trace.revision, origin.file, *lines))
        if trace.layers:
            layer = await git.last_touch(source.body, trace.revision, parent(trace.layers))
            found = replace(found, layer=layer)
    return found


def _drift(trace: Trace) -> tuple[tuple[Drift, ...] | None, str]:
    from trimtab.diff.report import State

    finding = trace.finding
    if finding.state is State.UNKNOWN:
        return None, finding.note
    owners = finding.owners or ((),) * len(finding.differences)
    found = [
        Drift(str(difference), tuple(" ".join(filter(None, writer)) for writer in writers))
        for difference, writers in zip(finding.differences, owners, strict=True)
    ]
    if finding.state is State.MISSING:
        found.append(Drift("it is declared, and not in the cluster"))
    return tuple(found), finding.note


def _of_release(found: Traced, body: Body, of: Ref) -> Traced:
    """What a HelmRelease says itself: its templates are in a chart, and the comparison is its controller's."""
    stood = next((one for one in sections(section(body, "status"), "history")), {})
    chart = f"{stood.get('chartName')}@{stood.get('chartVersion')}" if stood else ""
    said = condition(body, "Drifted")
    found = replace(found, chart=chart, commit=Unknown("charts are versions, not commits"))
    if said is None:
        return replace(found, told="the release does not look for drift: spec.driftDetection.mode is disabled")
    message = str(said.get("message") or "")
    if says(said) == "True" and str(of) in message.replace(",", " ").split():
        return replace(found, drift=(Drift("its controller has found that it differs"),), told=message)
    return replace(found, drift=(), told=f"as its controller found: {message}")


async def _gone(client: "Client", looking: Looking, ref: Ref) -> Traced | Unknown | None:
    """An object that an app has on record and that is not there."""
    wanted = encode_id(ref)
    try:
        items = (await client.list(await client.discovery.find(KUSTOMIZATION), "", type=dict)).items
    except (ApiError, UnknownKind, StaleGroup) as failure:
        return Unknown(str(failure))
    for item in items:
        entries = sections(section(item, "status", "inventory"), "entries")
        if any(entry.get("id") == wanted for entry in entries):
            metadata = item["metadata"]
            app = Ref(KUSTOMIZATION.group, KUSTOMIZATION.kind, metadata["namespace"], metadata["name"])
            known = Known({"apiVersion": KUSTOMIZATION.api_version, "kind": KUSTOMIZATION.kind, **item})
            return Traced(
                ref,
                looking.verdict(Known()),
                app=app,
                known=known,
                drift=(Drift("it is on the record of the app, and not in the cluster"),),
                blockers=await looking.blockers(app),
                gone=True,
            )
    return None


async def _climb(looking: Looking, live: Body) -> tuple[Body, tuple[Ref, ...]]:
    """The object that `live` is made by in the end, and the way to it."""
    at, made_by = live, list[Ref]()
    for _ in range(_HIGHEST):
        owner = next(
            (one for one in sections(section(at, "metadata"), "ownerReferences") if one.get("controller")), None
        )
        if owner is None:
            break
        gvk = Gvk.of(str(owner.get("apiVersion")), str(owner.get("kind")))
        home = str(section(at, "metadata").get("namespace") or "")
        known = await looking.of(Ref(gvk.group, gvk.kind, home, str(owner.get("name"))), gvk.version)
        if known.body is None:
            break
        at = known.body
        made_by.append(Ref.of(at))
    return at, tuple(made_by)


def _owner(body: Body) -> tuple[Ref, str] | None:
    """The app that the labels name, and the field manager of its controller; one that did apply it comes first."""
    named = []
    for gvk, prefix, manager in _OWNERS:
        if (owner := Owner.of(body, prefix)) is not None:
            named.append((Ref(gvk.group, gvk.kind, *owner.key), manager))
    applied = [one for one in named if owned_entry(body, one[1]) is not None]
    return next(iter((*applied, *named)), None)


def shares(body: Body) -> tuple[Share, ...]:
    """Who has how much of `body`, the one with the most in front."""
    found = []
    for entry in sections(section(body, "metadata"), "managedFields"):
        manager, operation, part, time = (
            str(entry.get(name) or "") for name in ("manager", "operation", "subresource", "time")
        )
        found.append(Share(manager, operation, part, time, _leaves(entry.get("fieldsV1"))))
    return tuple(sorted(found, key=lambda share: -share.fields))


def _leaves(fields: object) -> int:
    if not isinstance(fields, Mapping):
        return 0
    below: Sequence[object] = [value for key, value in fields.items() if key != "."]
    return sum(max(1, _leaves(value)) for value in below)
