"""Routes and gateways: Gateway API, Contour, and DNS-SD by Proclaim."""

from typing import Final

from trimtab.health.context import Context
from trimtab.health.generic import behind
from trimtab.health.kinds.contract import NO_STATUS, Rules
from trimtab.health.shape import condition, conditions, explained, is_number, says, section, sections
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Body


def gateway_route(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001 - a rule's signature
    """What every parent says of the newest generation. A parent that lags behind others has forgotten the route."""
    parents = sections(section(body, "status"), "parents")
    if not parents:
        return Verdict(State.InProgress, "no gateway has taken the route yet")
    generation = section(body, "metadata").get("generation")
    told = [item for parent in parents for item in conditions(parent)]
    fresh = [item for item in told if not _stale(item.get("observedGeneration"), generation)]
    if not fresh:
        return Verdict(State.InProgress, f"generation {generation} not observed yet")
    for type_ in ("Accepted", "ResolvedRefs"):
        for item in fresh:
            if item["type"] == type_ and says(item) == "False":
                waits = item.get("reason") == "Pending"
                return Verdict(State.InProgress if waits else State.Failed, f"{type_}: {explained(item)}")
    for item in fresh:
        if item["type"] != "PartiallyInvalid" and says(item) != "True":
            return Verdict(State.InProgress, f"{item['type']}: {explained(item)}")
    return Verdict(State.Current, "accepted")


def _stale(observed: object, generation: object) -> bool:
    return is_number(observed) and is_number(generation) and observed < generation


def contour_proxy(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """Valid; but an include that is not there yet is a matter between a root and its children, not a broken root."""
    status = section(body, "status")
    late = behind(body)
    if late is not None:
        return late
    valid = condition(body, "Valid")
    if valid is None:
        return Verdict(State.InProgress, str(status.get("description") or NO_STATUS.message))
    generation, observed = section(body, "metadata").get("generation"), valid.get("observedGeneration")
    if _stale(observed, generation):
        return Verdict(State.InProgress, f"generation {generation} not observed yet, at {observed}")
    if says(valid) == "True":
        return Verdict(State.Current, explained(valid))
    errors = sections(valid, "errors")
    if errors and all(error.get("type") == "IncludeError" for error in errors):
        return Verdict(State.Current, "; ".join(str(error.get("message")) for error in errors))
    return Verdict(State.Failed, explained(valid))


def service_instance(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """Proclaim: adopted by a provider, advertised, then seen; how it is seen is unknown where DNS itself fails."""
    late = behind(body)
    if late is not None:
        return late
    for type_ in ("Adopted", "Advertised"):
        item = condition(body, type_)
        if item is not None and says(item) == "False":
            return Verdict(State.Failed, explained(item))
    seen = condition(body, "Discoverable")
    if seen is not None and says(seen) == "Unknown" and seen.get("reason") == "DiscoveryError":
        return Verdict(State.Unknown, explained(seen))
    return None


RULES: Final[Rules] = {
    ("gateway.networking.k8s.io", "HTTPRoute"): gateway_route,
    ("gateway.networking.k8s.io", "GRPCRoute"): gateway_route,
    ("gateway.networking.k8s.io", "TLSRoute"): gateway_route,
    ("gateway.networking.k8s.io", "TCPRoute"): gateway_route,
    ("gateway.networking.k8s.io", "UDPRoute"): gateway_route,
    ("projectcontour.io", "HTTPProxy"): contour_proxy,
    ("proclaim.dogmatiq.io", "DNSSDServiceInstance"): service_instance,
}
