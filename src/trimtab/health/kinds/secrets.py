"""Operators that make Secrets: Sealed Secrets, External Secrets, Vault Secrets, Infisical.

None of these is current before its operator has looked at it: whoever waits for the object waits for the Secret. Where
several are applied at once, an operator often tries before what it needs is there, fails, and tries again. So that a
failure in the first moments of an object does not end a wait, it is in progress until then.
"""

from typing import Any, Final

from trimtab.health.context import Context
from trimtab.health.generic import behind
from trimtab.health.kinds.contract import KindRule, Rules
from trimtab.health.shape import Condition, condition, created, explained, is_number, says, section, sections
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Body

FIRST_TRY_S: Final = 30.0
_NOBODY_YET: Final = "its operator has not looked at it yet"


def sealed(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001 - a rule's signature
    """What cannot be opened fails at once: its controller gives up after five tries within a second."""
    item = condition(body, "Synced")
    late = behind(body)
    if late is not None:
        return late
    if says(item) == "True":
        return Verdict(State.Current, "unsealed")
    if item is not None and says(item) == "False":
        return Verdict(State.Failed, f"Synced: {explained(item)}")
    return Verdict(State.InProgress, "its controller has not unsealed it yet")


def external(body: Body, context: Context) -> Verdict | None:
    """External Secrets: Ready, for the generation that was synced last, unless it is never to be synced again."""
    spec = section(body, "spec")
    verdict = _by_ready(body, context)
    once = body.get("kind") == "ExternalSecret" and (
        spec.get("refreshPolicy") == "CreatedOnce"
        or (spec.get("refreshPolicy") != "OnChange" and _is_zero(spec.get("refreshInterval")))
    )
    if verdict.state is State.Current and not once:
        return _synced_behind(body) or verdict
    return verdict


def in_namespaces(body: Body, context: Context) -> Verdict | None:
    """External Secrets for several namespaces: they name those that they failed in, and why."""
    verdict = _by_ready(body, context)
    failures = [
        f"{item.get('namespace')}: {item.get('reason')}"
        for item in sections(section(body, "status"), "failedNamespaces")
    ]
    return verdict if verdict.state is State.Current or not failures else verdict._replace(message="; ".join(failures))


def ready(body: Body, context: Context) -> Verdict | None:
    """Stores: Ready."""
    return _by_ready(body, context)


def description(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """Generators of External Secrets, and what several VaultAuths have in common: nobody reports on them."""
    return Verdict(State.Current, "what refers to it is reported on")


def synced(body: Body, context: Context) -> Verdict | None:
    """Vault Secrets: Ready, Healthy and SecretSynced, where they are there; old releases tell the generation only."""
    status = section(body, "status")
    generation, seen = section(body, "metadata").get("generation"), status.get("lastGeneration")
    if not is_number(seen) or seen == 0:
        return Verdict(State.InProgress, _NOBODY_YET)
    if is_number(generation) and seen < generation:
        return Verdict(State.InProgress, f"generation {generation} not observed yet, at {seen}")
    why = condition(body, "SecretSynced")
    for item in (condition(body, "Ready"), condition(body, "Healthy"), why):
        if item is not None and says(item) != "True":
            return _failed(body, context, why if why is not None and says(why) == "False" else item)
    return _by_validity(body, context) or Verdict(State.Current, "synced")


def valid(body: Body, context: Context) -> Verdict | None:
    """Vault Secrets: how to reach and to enter a Vault; `valid` says whether that works."""
    verdict = _by_validity(body, context)
    if verdict is not None:
        return verdict
    if section(body, "status").get("valid") is True:
        return Verdict(State.Current, "valid")
    return Verdict(State.InProgress, _NOBODY_YET)


def infisical(body: Body, context: Context) -> Verdict | None:
    """Conditions are named with the group in front; one says whether the last sync went well."""
    item = condition(body, "secrets.infisical.com/ReadyToSyncSecrets")
    if item is None:
        return Verdict(State.InProgress, _NOBODY_YET)
    return Verdict(State.Current, explained(item)) if says(item) == "True" else _failed(body, context, item)


def _by_ready(body: Body, context: Context) -> Verdict:
    item = condition(body, "Ready")
    if says(item) == "True" and item is not None:
        return Verdict(State.Current, str(item.get("message") or ""))
    if item is not None and says(item) == "False":
        return _failed(body, context, item)
    return Verdict(State.InProgress, _NOBODY_YET)


def _by_validity(body: Body, context: Context) -> Verdict | None:
    status = section(body, "status")
    if status.get("valid") is not False:
        return None
    told = next((item for item in sections(status, "conditions") if says(item) == "False" and item.get("message")), {})
    why = str(status.get("error") or told.get("message") or "status.valid is false")
    return Verdict(_tried(body, context), why)


def _synced_behind(body: Body) -> Verdict | None:
    """`syncedResourceVersion` begins with the generation that was synced."""
    generation = section(body, "metadata").get("generation")
    text = str(section(body, "status").get("syncedResourceVersion") or "").partition("-")[0]
    if is_number(generation) and text.isdecimal() and int(text) < generation:
        return Verdict(State.InProgress, f"generation {generation} not synced yet, at {text}")
    return None


def _failed(body: Body, context: Context, item: Condition) -> Verdict:
    return Verdict(_tried(body, context), f"{item['type']}: {explained(item)}")


def _tried(body: Body, context: Context) -> State:
    """What a failure means: not much, in the first moments."""
    since = created(body)
    young = since is not None and since.tzinfo is not None and (context.now - since).total_seconds() < FIRST_TRY_S
    return State.InProgress if young else State.Failed


def _is_zero(interval: Any) -> bool:
    """`0`, `0s`, `0h0m`."""
    return isinstance(interval, str) and bool(interval) and not interval.strip("0hmsunµ.")


PATIENT: Final[frozenset[KindRule]] = frozenset({external, in_namespaces, ready, synced, valid, infisical})
"""Rules whose verdict may change `FIRST_TRY_S` after the object was created."""

_STORES: Final[dict[tuple[str, str], KindRule]] = {
    ("external-secrets.io", kind): ready for kind in ("SecretStore", "ClusterSecretStore")
}
_SYNCED: Final[dict[tuple[str, str], KindRule]] = {
    ("secrets.hashicorp.com", kind): synced
    for kind in ("VaultStaticSecret", "VaultDynamicSecret", "VaultPKISecret", "HCPVaultSecretsApp")
}
_VALID: Final[dict[tuple[str, str], KindRule]] = {
    ("secrets.hashicorp.com", kind): valid
    for kind in ("VaultAuth", "VaultConnection", "HCPAuth", "SecretTransformation")
}
RULES: Final[Rules] = {
    **_STORES,
    **_SYNCED,
    **_VALID,
    ("bitnami.com", "SealedSecret"): sealed,
    ("external-secrets.io", "ExternalSecret"): external,
    ("external-secrets.io", "PushSecret"): external,
    ("external-secrets.io", "ClusterExternalSecret"): in_namespaces,
    ("external-secrets.io", "ClusterPushSecret"): in_namespaces,
    ("generators.external-secrets.io", "*"): description,
    ("secrets.hashicorp.com", "VaultAuthGlobal"): description,
    ("secrets.infisical.com", "InfisicalSecret"): infisical,
}
