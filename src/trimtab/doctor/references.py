"""References across namespaces that the installation would deny, and those that lead nowhere."""

from collections.abc import Iterator
from typing import Any, Final

from trimtab.api import gvk
from trimtab.base.errors import Terminal
from trimtab.controllers.access import Access, CrossNamespace
from trimtab.doctor.contract import Answer, Patient, arguments, flag, named, note, ok, problem, several
from trimtab.kube.errors import StaleGroup, UnknownKind
from trimtab.manifests.refs import Body, Gvk, Key

_KINDS: Final = (gvk.KUSTOMIZATION, gvk.HELM_RELEASE, gvk.ARTIFACT_GENERATOR, gvk.EXTERNAL_ARTIFACT)
_DEPENDENCY: Final = "spec.dependsOn"
_SOURCES: Final = {one.kind: one for one in (*gvk.SOURCE_KINDS, gvk.HELM_REPOSITORY, gvk.HELM_CHART)}


async def references(patient: Patient) -> list[Answer]:
    """What apps and releases refer to in other namespaces, by the rule of the installation."""
    workload = await patient.workload()
    rule = rule_of(arguments(workload)) if workload is not None else CrossNamespace.PLATFORM
    access = Access(patient.client, patient.client.clock, namespace=patient.namespace, cross_namespace=rule)
    denied: list[Answer] = []
    lost: list[str] = []
    count = 0
    for kind in _KINDS:
        try:
            bodies = await patient.all(kind)
        except (UnknownKind, StaleGroup):
            continue
        for body in bodies:
            own = body["metadata"]["namespace"]
            for path, wanted, namespace, name in _references(body, kind):
                count += 1
                try:
                    if path.startswith(_DEPENDENCY):
                        await access.check_dependency(own, Key(namespace, name))
                    else:
                        await access.check_source(own, namespace)
                except Terminal as failure:
                    words, _, way = str(failure).partition(": ")
                    denied.append(problem(f"{kind.kind} {named(body)}: {path} is denied: {words}", way))
                    continue
                if wanted is not None and not await _is_there(patient, wanted, namespace, name):
                    lost.append(f"{kind.kind} {named(body)}: {path} {wanted.kind} {namespace}/{name}")
    if lost:
        denied.append(note(f"what is referred to is not there: {several(lost)}", "create it, or correct the reference"))
    said = "all followed" if rule is CrossNamespace.ALL else f"by the rule --cross-namespace-refs={rule}"
    return denied or [ok(f"none of {count} references is denied ({said})")]


def rule_of(given: list[str]) -> CrossNamespace:
    """Which references the controllers follow, by what they are started with."""
    if flag(given, "--multi-tenant") is not None or flag(given, "--no-cross-namespace-refs") is not None:
        return CrossNamespace.NONE
    try:
        return CrossNamespace(flag(given, "--cross-namespace-refs") or CrossNamespace.PLATFORM)
    except ValueError:
        return CrossNamespace.PLATFORM


def _references(body: Body, kind: Gvk) -> Iterator[tuple[str, Gvk | None, str, str]]:
    """Path, kind, namespace and name of each reference; the kind is None for one that need not be there yet."""
    spec, own = body.get("spec") or {}, body["metadata"]["namespace"]
    places = {
        "spec.sourceRef": spec.get("sourceRef"),
        "spec.chartRef": spec.get("chartRef"),
        "spec.chart.spec.sourceRef": ((spec.get("chart") or {}).get("spec") or {}).get("sourceRef"),
    }
    places |= {f"spec.sources[{place}]": one for place, one in enumerate(_list(spec, "sources"))}
    for path, ref in places.items():
        if isinstance(ref, dict) and ref.get("name"):
            yield path, _SOURCES.get(str(ref.get("kind"))), ref.get("namespace") or own, ref["name"]
    for place, ref in enumerate(_list(spec, "dependsOn")):
        if isinstance(ref, dict) and ref.get("name"):
            yield f"{_DEPENDENCY}[{place}]", kind, ref.get("namespace") or own, ref["name"]


def _list(spec: dict[str, Any], field: str) -> list[Any]:
    found = spec.get(field)
    return found if isinstance(found, list) else []


async def _is_there(patient: Patient, kind: Gvk, namespace: str, name: str) -> bool:
    try:
        bodies = await patient.all(kind)
    except (UnknownKind, StaleGroup):
        return False
    return any(one["metadata"]["namespace"] == namespace and one["metadata"]["name"] == name for one in bodies)
