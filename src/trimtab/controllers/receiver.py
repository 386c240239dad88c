"""The story of a Receiver: is what it says sound, is its token there, and under which path are deliveries taken.

The deliveries themselves are taken elsewhere, by every replica (`web`); this one says in the status where.
"""

import base64
from dataclasses import dataclass

import msgspec

from trimtab.api import annotations, names
from trimtab.api.gvk import RECEIVER
from trimtab.api.receiver import EVERY, OidcProvider, Receiver, ReceiverStatus, Sender, webhook_path
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient, TrimtabError
from trimtab.controllers import progress
from trimtab.controllers.access import Access
from trimtab.controllers.state import ObjectState
from trimtab.controllers.voice import Voice
from trimtab.health.expressions import ExpressionError, compile_term
from trimtab.health.expressions import compile as compile_expression
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, NotFound
from trimtab.kube.informer import Informer
from trimtab.manifests.conditions import find, truth
from trimtab.manifests.refs import Gvk, Key
from trimtab.remotes.oidc import is_issuer
from trimtab.runtime.controller import LEAST_INTERVAL_S, Again, Done, Result
from trimtab.runtime.events import Recorder
from trimtab.runtime.finalizers import drop, ensure

_SECRET = Gvk("", "v1", "Secret")
_CLAIMS = ("claims", "vars")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the controller of Receivers works with."""

    client: Client
    objects: Informer[Receiver]
    access: Access
    recorder: Recorder
    clock: Clock


class Receivers:
    """Reconciles every Receiver."""

    def __init__(self, world: Surroundings) -> None:
        self._world = world
        self._voice = Voice(world.client, world.recorder, RECEIVER, names.NOTIFICATION_MANAGER)
        self._strange: dict[Key, list[str]] = {}

    def backoff_cap(self, key: Key) -> float:
        """The longest wait between two tries: the interval."""
        item = self._world.objects.store.get(key)
        return _interval(item) if item else 60.0

    def state(self, key: Key) -> ObjectState | None:
        """How `key` is doing; None if it is gone."""
        item = self._world.objects.store.get(key)
        if item is None:
            return None
        ready = truth(item.ready)
        return ObjectState(ready, "", item.spec.suspend, _interval(item))

    async def reconcile(self, key: Key) -> Result:
        """One pass. What it raises decides when the next one is; the status says the same before."""
        item = self._world.objects.store.get(key)
        if item is None:
            self._strange.pop(key, None)
            return Done()
        resource = await self._world.client.discovery.find(RECEIVER)
        if item.metadata.deleted:
            await drop(self._world.client, resource, item.metadata, names.FINALIZER)
            return Done()
        if item.spec.suspend:
            return Done()
        await ensure(self._world.client, resource, item.metadata, names.FINALIZER)
        self._strange[item.key] = self._voice.strangers(item, self._strange.get(item.key, []))
        try:
            await self._check(item)
            path = webhook_path(await self._token(item), key)
        except TrimtabError as failure:
            await self._tell_failure(item, failure)
            if failure.reason == names.Reason.ACCESS_DENIED:
                return Again(_interval(item))  # nobody tells of what a namespace allows
            raise
        except ApiError as refusal:
            told = Transient(names.Reason.READ_OPERATION_FAILED, str(refusal))
            await self._tell_failure(item, told)
            raise told from refusal
        await self._tell(item, path)
        return Again(_interval(item))

    async def _check(self, item: Receiver) -> None:
        if found := annotations.complaints(RECEIVER.kind, item.metadata.annotations):
            raise _invalid(f"the annotation {'; and '.join(found)}. Correct it, or remove it")
        check(item)
        own = item.metadata.namespace
        for resource in item.spec.resources:
            await self._world.access.check_trigger(own, resource.namespace or own)

    async def _token(self, item: Receiver) -> bytes:
        """What is shared with the caller. Raises Transient (TokenNotFound)."""
        reference = item.spec.secret_ref
        if reference is None:
            return b""
        where = f"Secret {item.metadata.namespace}/{reference.name} of spec.secretRef"
        try:
            body = await self._world.client.get(
                await self._world.client.discovery.find(_SECRET), reference.name, item.metadata.namespace
            )
        except NotFound:
            raise _token_not_found(f"{where} does not exist: create it with a `token`") from None
        data = {key: base64.b64decode(value) for key, value in (body.get("data") or {}).items()}
        wanted = ("token", "email", "audience") if item.spec.type == Sender.GCR else ("token",)
        for name in wanted:
            if not data.get(name, b"").strip():
                raise _token_not_found(f"{where} has no {name}, or an empty one")
        return data["token"]

    async def _tell(self, item: Receiver, path: str) -> None:
        now, generation = self._world.clock.now(), item.metadata.generation
        message = f"Receiver initialized for path: {path}"
        status = progress.ready(item.status, generation, names.Reason.SUCCEEDED, message, now)
        status = msgspec.structs.replace(status, webhook_path=path)
        if await self._write(item, status) and item.status.webhook_path != path:
            # The path is a secret: who may read the status may know it, who reads events need not.
            self._voice.say(item, "Normal", names.Reason.SUCCEEDED, "takes deliveries at the path of its status")

    async def _tell_failure(self, item: Receiver, failure: TrimtabError) -> None:
        now, stalled = self._world.clock.now(), isinstance(failure, Terminal)
        status = progress.failed(
            item.status, item.metadata.generation, failure.reason, failure.message, now, stalled=stalled
        )
        if failure.reason == names.Reason.TOKEN_NOT_FOUND:
            status = msgspec.structs.replace(status, webhook_path="")
        news = find(status.conditions, "Ready") != item.ready
        if await self._write(item, status) and news:
            self._voice.say(item, "Warning", failure.reason, failure.message)

    async def _write(self, item: Receiver, status: ReceiverStatus) -> bool:
        requested = item.metadata.requested_at or status.last_handled_reconcile_at
        status = msgspec.structs.replace(status, last_handled_reconcile_at=requested)
        return await self._voice.write(item, item.status, status)


def check(item: Receiver) -> None:
    """Raise Terminal for what makes no sense. Most of it the API server refuses; an older definition lets it in."""
    spec = item.spec
    if spec.type not in frozenset(Sender):
        raise _invalid(f"spec.type {spec.type!r} is not known here")
    if spec.type == Sender.GENERIC_OIDC and spec.secret_ref is not None:
        raise _invalid("spec.secretRef has no meaning for generic-oidc: who calls is known by the token of an issuer")
    if spec.type != Sender.GENERIC_OIDC and spec.secret_ref is None:
        raise _invalid(f"spec.secretRef is missing: a Receiver of type {spec.type} needs a token")
    if (spec.type == Sender.GENERIC_OIDC) != bool(spec.oidc_providers):
        raise _invalid("spec.oidcProviders belong to the type generic-oidc, and it needs one")
    for place, resource in enumerate(spec.resources):
        where = f"spec.resources[{place}]"
        if not resource.group:
            raise _invalid(
                f"{where}: {resource.kind} of {resource.api_version or 'no apiVersion'} cannot be asked for a look"
            )
        if resource.name == EVERY and not resource.match_labels:
            raise _invalid(f"{where}: the name * needs matchLabels, so that it does not mean everything")
        _compiled(f"{where}.filter", resource.filter, spec.filter_variables)
    _compiled("spec.resourceFilter", spec.resource_filter, spec.filter_variables)
    issuers = [provider.issuer_url for provider in spec.oidc_providers]
    for place, provider in enumerate(spec.oidc_providers):
        where = f"spec.oidcProviders[{place}]"
        if issuers.count(provider.issuer_url) > 1:
            raise _invalid(f"{where}: the issuer {provider.issuer_url} is there more than once")
        _check_provider(where, provider)


def _check_provider(where: str, provider: OidcProvider) -> None:
    if not is_issuer(provider.issuer_url):
        raise _invalid(f"{where}.issuerURL must be an https address without a query: its keys decide who may call")
    if not provider.validations:
        raise _invalid(f"{where}: without validations, everybody whom the issuer knows could call")
    for number, variable in enumerate(provider.variables):
        try:
            compile_term(variable.expression, _CLAIMS)
        except ExpressionError as wrong:
            raise _bad_expression(f"{where}.variables[{number}].expression: {wrong}") from wrong
    for number, validation in enumerate(provider.validations):
        if not validation.expression:
            raise _invalid(f"{where}.validations[{number}] has no expression")
        _compiled(f"{where}.validations[{number}].expression", validation.expression, _CLAIMS)


def _compiled(where: str, text: str, variables: tuple[str, ...]) -> None:
    if not text:
        return
    try:
        compile_expression(text, variables)
    except ExpressionError as wrong:
        raise _bad_expression(f"{where}: {wrong}") from wrong


def _interval(item: Receiver) -> float:
    return max(item.spec.interval_s, LEAST_INTERVAL_S)


def _invalid(message: str) -> Terminal:
    return Terminal(names.Reason.VALIDATION_FAILED, message)


def _bad_expression(message: str) -> Terminal:
    return Terminal(names.Reason.INVALID_CEL_EXPRESSION, message)


def _token_not_found(message: str) -> Transient:
    return Transient(names.Reason.TOKEN_NOT_FOUND, message)
