"""What stands in the way of an object of ours, through everything it depends on, down to the way out. Pure.

Sources, dependencies, and the app that an object itself is declared by: what waits for another is followed to that,
until something is found that somebody has to mend.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from trimtab.api import gvk
from trimtab.api.names import (
    OWNER_NAME,
    OWNER_NAMESPACE,
    RELEASE_OWNER_NAME,
    RELEASE_OWNER_NAMESPACE,
    Annotation,
    Reason,
)
from trimtab.health.shape import condition, number, says, section, sections
from trimtab.manifests.refs import Body, Gvk, Ref

KINDS: Final[Mapping[str, Gvk]] = {
    one.kind: one
    for one in (
        gvk.KUSTOMIZATION,
        gvk.HELM_RELEASE,
        gvk.GIT_REPOSITORY,
        gvk.OCI_REPOSITORY,
        gvk.BUCKET,
        gvk.HELM_REPOSITORY,
        gvk.HELM_CHART,
        gvk.EXTERNAL_ARTIFACT,
        gvk.ARTIFACT_GENERATOR,
    )
}
"""What can stand in the way."""
_APPS: Final = (gvk.KUSTOMIZATION.kind, gvk.HELM_RELEASE.kind)
_WORDS: Final = {
    gvk.KUSTOMIZATION.kind: "",
    gvk.HELM_RELEASE.kind: "helmrelease ",
    gvk.GIT_REPOSITORY.kind: "source git ",
    gvk.OCI_REPOSITORY.kind: "source oci ",
    gvk.BUCKET.kind: "source bucket ",
    gvk.HELM_REPOSITORY.kind: "source helm ",
    gvk.HELM_CHART.kind: "source chart ",
    gvk.ARTIFACT_GENERATOR.kind: "artifact generator ",
}
_MOST_DEPENDENCIES: Final = 256
UNSEEN: Final = "its controller has not looked at"
"""Begins what is told of an object of which nobody has said how it is."""


class Known(NamedTuple):
    """An object as it is; without a body there is none, or `problem` says why nobody could look."""

    body: Body | None = None
    problem: str = ""


class Blocker(NamedTuple):
    """Something in the way: which object, what is the matter, and what helps. `depth`: how far it is from the start."""

    ref: Ref
    why: str
    way_out: str
    depth: int


def needs(body: Body) -> list[Ref]:
    """The objects that `body` cannot do without: where it comes from, what it depends on, and who declares it."""
    return [*_sources(body), *_dependencies(body), *_declared_by(body)]


def blockers(start: Ref, known: Mapping[Ref, Known]) -> tuple[Blocker, ...]:
    """Everything in the way of `start`, each after what waits for it. What is not `known` was not looked at."""
    return tuple(_walk(start, known, 0, set()))


def root(found: tuple[Blocker, ...]) -> Blocker | None:
    """The one to begin with: the first that waits for nothing further."""
    for place, blocker in enumerate(found):
        below = found[place + 1] if place + 1 < len(found) else None
        if below is None or below.depth <= blocker.depth:
            return blocker
    return None


def _walk(ref: Ref, known: Mapping[Ref, Known], depth: int, seen: set[Ref]) -> Iterator[Blocker]:
    if ref in seen or ref not in known:
        return
    seen.add(ref)
    body, problem = known[ref]
    if body is None:
        if problem:
            yield Blocker(ref, f"cannot be looked at: {problem}", "look again with the right to get it", depth)
        else:
            yield Blocker(ref, "does not exist", "create it, or correct what refers to it", depth)
        return
    own = list(_own(ref, body, depth))
    yield from own
    deeper = depth + 1 if own else depth
    for other in (*_waited_for(body), *_sources(body)):
        yield from _walk(other, known, deeper, seen)
    for parent in _declared_by(body):
        yield from _walk_up(parent, known, deeper, seen)


def _walk_up(ref: Ref, known: Mapping[Ref, Known], depth: int, seen: set[Ref]) -> Iterator[Blocker]:
    """Who declares an object matters where that one is at a stop: what git says of the object does not arrive then."""
    if ref in seen:
        return
    body = known.get(ref, Known()).body
    if body is not None and section(body, "spec").get("suspend"):
        seen.add(ref)
        why = "declares it and is suspended: what git says of it by now does not arrive"
        yield Blocker(ref, why, f"`{_command('resume', ref)}`", depth)
    elif body is not None and says(condition(body, "Ready")) == "False":
        yield from _walk(ref, known, depth, seen)


def _own(ref: Ref, body: Body, depth: int) -> Iterator[Blocker]:
    """What is the matter with the object itself."""
    metadata, spec = section(body, "metadata"), section(body, "spec")
    ready = condition(body, "Ready") or {}
    reason, message = str(ready.get("reason") or ""), str(ready.get("message") or "")
    generation = number(metadata, "generation")
    observed = number(ready, "observedGeneration", number(section(body, "status"), "observedGeneration", generation))
    if metadata.get("deletionTimestamp"):
        held = ", ".join(map(str, metadata.get("finalizers") or ()))
        yield Blocker(
            ref, f"is being deleted{f', and waits for {held}' if held else ''}", "wait until it is gone", depth
        )
    elif spec.get("suspend"):
        yield Blocker(ref, "is suspended", f"`{_command('resume', ref)}`", depth)
    elif ref.kind == gvk.HELM_REPOSITORY.kind and spec.get("type") == "oci":
        return  # it only says where something is
    elif observed < generation or not ready:
        why = f"{UNSEEN} generation {generation} of it yet"
        yield Blocker(ref, why, "see that the controllers run: `kubectl get pods -n flux-system`", depth)
    elif says(ready) != "True":
        yield Blocker(ref, f"{reason}: {message}" if reason else message, _way_out(ref, reason, body), depth)
    if (held_back := condition(body, "PruneHeld")) is not None and says(held_back) == "True":
        why = f"deletions are held: {held_back.get('reason')}: {held_back.get('message')}"
        yield Blocker(ref, why, "nothing else waits for them; the message says what lets them go on", depth)


def _way_out(ref: Ref, reason: str, body: Body) -> str:
    """What helps against `reason`."""
    of = f"{ref.name} -n {ref.namespace}"
    match reason:
        case Reason.DEPENDENCY_NOT_READY:
            return "it goes on by itself when what it depends on is ready"
        case "DependencyCycle":
            return "take one of the dependencies out of the circle, and push"
        case Reason.PROGRESSING | Reason.PROGRESSING_WITH_RETRY:
            return f"it is at work: `trimtab wait {_WORDS.get(ref.kind, '')}{of}` follows it"
        case Reason.BUILD_FAILED | Reason.ARTIFACT_FAILED if ref.kind in _APPS:
            return "correct the file that the message names, and push; `trimtab build PATH` renders it before"
        case Reason.VALIDATION_FAILED if ref.kind in _APPS:
            return f"correct what the message names, and push; `trimtab diff {of}` rehearses it"
        case Reason.HEALTH_CHECK_FAILED:
            return f"`trimtab tree {of}` shows every object, `trimtab why KIND/NAME` what one of them waits for"
        case Reason.READ_ONLY:
            return f"`trimtab repair inventory {of}` builds its record anew"
        case Reason.ACCESS_DENIED:
            return "grant what the message names, or refer to something that may be used"
        case Reason.AUTHENTICATION_FAILED:
            secret = section(body, "spec", "secretRef").get("name")
            return f"mend the Secret {ref.namespace}/{secret}" if secret else "name a Secret in spec.secretRef"
        case Reason.VERIFICATION_ERROR:
            return "have the commit signed by somebody who is trusted, or trust the one who did (docs/verification.md)"
        case Reason.URL_INVALID | Reason.INVALID_CHART_REFERENCE:
            return "correct its spec"
        case Reason.RETRIES_EXCEEDED | Reason.INSTALL_FAILED | Reason.UPGRADE_FAILED | Reason.TEST_FAILED:
            return f"mend the cause, then `trimtab reconcile helmrelease {of} --reset`"
        case _ if ref.kind not in _APPS:
            return f"it is tried again by itself; at once by `{_command('reconcile', ref)}`"
        case _:
            return (
                f"mend what the message names; it is tried again by itself, at once by `{_command('reconcile', ref)}`"
            )


def _command(verb: str, ref: Ref) -> str:
    return f"trimtab {verb} {_WORDS.get(ref.kind, '')}{ref.name} -n {ref.namespace}"


def _waited_for(body: Body) -> list[Ref]:
    """The dependencies, where the object says that it waits for one."""
    waits = (condition(body, "Ready") or {}).get("reason") == Reason.DEPENDENCY_NOT_READY
    return _dependencies(body) if waits else []


def _sources(body: Body) -> list[Ref]:
    spec, home = section(body, "spec"), _home(body)
    if body.get("kind") == gvk.HELM_RELEASE.kind:
        if section(spec, "chartRef"):
            return _referred(section(spec, "chartRef"), home)
        namespace, _, name = str(section(body, "status").get("helmChart") or "").partition("/")
        return [_ref(gvk.HELM_CHART.kind, namespace, name)] if name else []
    if body.get("kind") == gvk.GIT_REPOSITORY.kind:
        included = [section(one, "repository") for one in sections(spec, "include")]
        return [_ref(gvk.GIT_REPOSITORY.kind, home, str(one["name"])) for one in included if one.get("name")]
    return _referred(section(spec, "sourceRef"), home)


def _dependencies(body: Body) -> list[Ref]:
    kind = body.get("kind", "")
    if kind not in _APPS:
        return []
    home = _home(body)
    declared = [
        _ref(kind, str(one.get("namespace") or home), str(one["name"]))
        for one in sections(section(body, "spec"), "dependsOn")
        if one.get("name")
    ]
    said = str(section(body, "metadata", "annotations").get(Annotation.DEPENDS_ON) or "")
    parts = [re.fullmatch(r"\s*([A-Za-z]+)/([^/\s]+)/([^/\s]+)\s*", part) for part in said.split(",")]
    further = [_ref(found[1], found[2], found[3]) for found in parts if found is not None and found[1] in KINDS]
    return [*declared, *further][:_MOST_DEPENDENCIES]


def _declared_by(body: Body) -> list[Ref]:
    labels = section(body, "metadata", "labels")
    found = []
    for kind, name, namespace in (
        (gvk.KUSTOMIZATION.kind, OWNER_NAME, OWNER_NAMESPACE),
        (gvk.HELM_RELEASE.kind, RELEASE_OWNER_NAME, RELEASE_OWNER_NAMESPACE),
    ):
        if labels.get(name) and labels.get(namespace):
            found.append(_ref(kind, str(labels[namespace]), str(labels[name])))
    # an app that declares itself waits for nobody else
    return [ref for ref in found if ref != _ref(body.get("kind", ""), _home(body), _name(body))]


def _referred(reference: Body, home: str) -> list[Ref]:
    kind, name = str(reference.get("kind") or ""), reference.get("name")
    return [_ref(kind, str(reference.get("namespace") or home), str(name))] if kind in KINDS and name else []


def _ref(kind: str, namespace: str, name: str) -> Ref:
    return Ref(KINDS[kind].group if kind in KINDS else "", kind, namespace, name)


def _home(body: Body) -> str:
    return str(section(body, "metadata").get("namespace") or "")


def _name(body: Body) -> str:
    return str(section(body, "metadata").get("name") or "")
