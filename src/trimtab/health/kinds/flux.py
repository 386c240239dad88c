"""Flux: Ready is the verdict; Reconciling with it only says that the controller has not given up."""

from typing import Final

from trimtab.api import names
from trimtab.health.context import Context
from trimtab.health.generic import behind
from trimtab.health.kinds.contract import KindRule, Rules
from trimtab.health.shape import condition, explained, says, section
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Body

_AT_WORK: Final = frozenset({"Progressing", "ProgressingWithRetry", "ArtifactUpToDate", "ReconcilePending"})


def source(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001 - a rule's signature
    """Sources, image policies and receivers wait for nobody: not ready with a reason of its own is broken.

    A fetch that failed is retried for ever; who waits for the object is told of the failure, not of the retry.
    """
    if section(body, "spec").get("suspend") is True:
        return Verdict(State.Suspended, "spec.suspend is true")
    ready, stalled = condition(body, "Ready"), condition(body, "Stalled")
    if stalled is not None and says(stalled) == "True":
        return Verdict(State.Failed, explained(stalled))
    late = behind(body)
    if late is not None:
        return late
    if ready is not None and says(ready) == "False" and str(ready.get("reason")) not in _AT_WORK:
        return Verdict(State.Failed, explained(ready))
    return None


def helm_repository(body: Body, context: Context) -> Verdict | None:
    """One that points to a registry is only an address: nothing is fetched, and nothing told."""
    if section(body, "spec").get("type") == "oci":
        return Verdict(State.Current, "an address; nothing is fetched")
    return source(body, context)


def generator(body: Body, context: Context) -> Verdict | None:
    """One that is suspended says so by an annotation."""
    notes = section(body, "metadata", "annotations")
    if str(notes.get(names.GENERATOR_RECONCILE, "")).lower() == names.DISABLED:
        return Verdict(State.Suspended, f"the annotation {names.GENERATOR_RECONCILE} is disabled")
    return source(body, context)


def address(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """Providers and alerts have had no status since v1beta3."""
    return None if section(body, "status").get("conditions") else Verdict(State.Current)


_SOURCES: Final[dict[tuple[str, str], KindRule]] = {
    ("source.toolkit.fluxcd.io", "*"): source,
    ("image.toolkit.fluxcd.io", "*"): source,
    ("notification.toolkit.fluxcd.io", "Receiver"): source,
}
RULES: Final[Rules] = {
    **_SOURCES,
    ("source.toolkit.fluxcd.io", "HelmRepository"): helm_repository,
    ("source.extensions.fluxcd.io", "ArtifactGenerator"): generator,
    ("notification.toolkit.fluxcd.io", "Provider"): address,
    ("notification.toolkit.fluxcd.io", "Alert"): address,
}
