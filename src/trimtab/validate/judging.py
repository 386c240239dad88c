"""All that is said of a set of objects, unit by unit: a unit is what is applied together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from trimtab.api import annotations
from trimtab.api.names import PlaintextSecrets
from trimtab.manifests.openapi import is_open
from trimtab.manifests.refs import Body, Gvk, Origin, Ref
from trimtab.render.plaintext import Exposed
from trimtab.render.scopes import CLUSTER_SCOPED
from trimtab.sops.metadata import BLOCK
from trimtab.sops.objects import is_encrypted
from trimtab.validate import consistency, naming, references
from trimtab.validate.catalog import Catalog
from trimtab.validate.finding import Finding, Level, Rule
from trimtab.validate.reading import Item, Sources

if TYPE_CHECKING:
    # what evaluates expressions takes longer to import than all of the rest
    from trimtab.validate.policies import Policies

_SSA: Final = "kustomize.toolkit.fluxcd.io/ssa"
_OURS: Final = "fluxcd.io"
_PARTIAL: Final = "merge"
_VALUE: Final = ", it is "
_ENTRIES_SHOWN: Final = 5
_LEVELS: Final = {PlaintextSecrets.WARN: Level.WARNING, PlaintextSecrets.REFUSE: Level.ERROR}


class Unit(NamedTuple):
    """Objects that are applied together: a build, or the files of a directory."""

    name: str
    items: Sequence[Item]
    plaintext: Sequence[Exposed] = ()


class Terms(NamedTuple):
    """By what is judged."""

    catalog: Catalog
    sources: Sources
    policies: "Policies | None" = None
    plaintext: PlaintextSecrets = PlaintextSecrets.WARN
    allow_unknown: bool = False
    """A kind that nobody knows here is only told of."""


def judge(units: Sequence[Unit], terms: Terms) -> Iterator[Finding]:
    """Everything there is to say of `units`."""
    everything = [item for unit in units for item in unit.items]
    for unit in units:
        yield from _twice(unit)
        yield from _exposed(unit, terms.plaintext)
        for item in unit.items:
            yield from _object(item, terms)
    known = references.Known(everything)
    for item, reference in references.missing(everything, known):
        where = f" in namespace {reference.namespace}" if reference.namespace else ""
        words = f"{reference.path} names {reference.kind} {reference.name}{where}, which is not declared here"
        yield _finding(Level.WARNING, Rule.REFERENCE, item, terms.sources, reference.path, words)
    yield from _refused(everything, terms)


def _object(item: Item, terms: Terms) -> Iterator[Finding]:
    body, sources, catalog = item.body, terms.sources, terms.catalog
    gvk = Gvk.of(body["apiVersion"], body["kind"])
    partial, sound = _is_partial(body), True
    if (missing := catalog.missing(gvk)) is not None:
        sure, words = missing
        sound = False
        level = Level.ERROR if sure else Level.WARNING if terms.allow_unknown else Level.UNKNOWN
        yield _finding(level, Rule.KIND, item, sources, "kind" if sure else "", words)
    else:
        if catalog.is_unstable(gvk):
            words = f"a server has {gvk} only where it is switched on"
            yield _finding(Level.WARNING, Rule.KIND, item, sources, "apiVersion", words)
        hidden = item.hidden or gvk == ("", "v1", "Secret")
        for misfit in catalog.misfits(_judged(body), gvk):
            sound = sound and misfit.unknown
            if partial and not misfit.unknown:
                continue
            words = misfit.words.partition(_VALUE)[0] if hidden else misfit.words
            rule = Rule.UNKNOWN_FIELD if misfit.unknown else Rule.SCHEMA
            yield _finding(Level.ERROR, rule, item, sources, misfit.path, f"{misfit.path or gvk.kind} {words}")
    if sound and missing is None and not partial:
        for path, words in catalog.broken(body, gvk):
            yield _finding(Level.ERROR, Rule.SCHEMA, item, sources, path, f"{path or gvk.kind}: {words}")
    if gvk.group.endswith(_OURS):
        notes = body["metadata"].get("annotations")
        for words in annotations.complaints(gvk.kind, _texts(notes)):
            yield _finding(Level.ERROR, Rule.CONSISTENCY, item, sources, "metadata.annotations", f"annotation {words}")
    for path, words in naming.complaints(body, gvk.group, gvk.kind):
        yield _finding(Level.ERROR, Rule.NAME, item, sources, path, f"{path} {words}")
    # of what has the wrong shape nothing more can be said
    if sound and not partial:
        for path, words in consistency.complaints(body, gvk.group, gvk.kind):
            yield _finding(Level.ERROR, Rule.CONSISTENCY, item, sources, path, f"{path or gvk.kind} {words}")


def _texts(holder: Any) -> dict[str, str]:
    found = holder.items() if isinstance(holder, dict) else ()
    return {name: value for name, value in found if isinstance(value, str) and not is_open(value)}


def _finding(level: Level, rule: Rule, item: Item, sources: Sources, path: str, words: str) -> Finding:
    return Finding(level, rule, sources.place(item, path), words, item.ref, path)


def _judged(body: Body) -> Body:
    """`body` without what SOPS has added, which is gone before it is applied."""
    return {name: value for name, value in body.items() if name != BLOCK} if is_encrypted(body) else body


def _is_partial(body: Body) -> bool:
    """Whether the object is merged into one that somebody else makes, and need not be complete."""
    metadata = body["metadata"]
    holders = (metadata.get("annotations"), metadata.get("labels"))
    return any(isinstance(holder, dict) and str(holder.get(_SSA, "")).lower() == _PARTIAL for holder in holders)


def _twice(unit: Unit) -> Iterator[Finding]:
    seen: dict[Ref, Origin] = {}
    for item in unit.items:
        ref = item.ref
        if is_open(ref.name) or is_open(ref.namespace):
            continue
        # no namespace and `default` may be one place, and a cluster-scoped object has none, as kustomize sees it
        nowhere = ref.namespace == "default" or (item.body["apiVersion"], ref.kind) in CLUSTER_SCOPED
        first = seen.setdefault(ref._replace(namespace="") if nowhere else ref, item.origin)
        if first is not item.origin:
            words = f"is declared twice, first at {first}: remove one of them"
            yield Finding(Level.ERROR, Rule.DUPLICATE, item.origin, words, ref)


def _exposed(unit: Unit, policy: PlaintextSecrets) -> Iterator[Finding]:
    if (level := _LEVELS.get(policy)) is None:
        return
    for found in unit.plaintext:
        more = len(found.entries) - _ENTRIES_SHOWN
        entries = ", ".join(found.entries[:_ENTRIES_SHOWN]) + (f" and {more} more" if more > 0 else "")
        words = (
            f"stands here in clear text: {entries}. Encrypt it (SOPS, Sealed Secrets) or have an operator fetch it, "
            "and change what could be read until now"
        )
        yield Finding(level, Rule.PLAINTEXT_SECRET, found.origin, words, found.ref)


def _refused(items: Sequence[Item], terms: Terms) -> Iterator[Finding]:
    if terms.policies is None:
        return
    gvks = {Gvk.of(item.body["apiVersion"], item.body["kind"]) for item in items}
    plurals = {gvk: where.plural for gvk in gvks if (where := terms.catalog.where(gvk)) is not None}
    namespaces = _namespaces(items)
    # what no server serves is refused before a policy is asked
    unserved = {gvk for gvk in gvks if (missing := terms.catalog.missing(gvk)) is not None and missing[0]}
    asked = [item for item in items if Gvk.of(item.body["apiVersion"], item.body["kind"]) not in unserved]
    for answer in terms.policies.judge(asked, plurals, namespaces):
        if not answer.known:
            level, words = Level.UNKNOWN, f"the policy {answer.policy} cannot be judged here: {answer.message}"
        else:
            level = Level.ERROR if answer.hard else Level.WARNING
            words = f"the policy {answer.policy} refuses it: {answer.message}"
        yield Finding(level, Rule.POLICY, answer.item.origin, words, answer.item.ref)


def _namespaces(items: Iterable[Item]) -> Mapping[str, Body]:
    return {
        item.body["metadata"]["name"]: item.body
        for item in items
        if item.body["kind"] == "Namespace" and item.body["apiVersion"] == "v1"
    }
