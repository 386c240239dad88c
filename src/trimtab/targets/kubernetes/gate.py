"""The gate: nothing is written unless everything that can be judged passes (ENGINE.md §2).

Every new or changed object is sent as a server-side dry-run, since only the server knows its webhooks and policies. A
refusal that is caused only by something the same set creates is deferred: such an object is judged by schema now, as
far as that is possible before its namespace is there, and by a real dry-run right before its own stage.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple, TypeAlias

from trimtab.base.abreast import abreast
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import ApiError, BadRequest, Forbidden, Invalid, NotFound, UnknownKind, Unreachable
from trimtab.manifests import codec
from trimtab.manifests.definition import definition
from trimtab.manifests.refs import Ref
from trimtab.targets.contract import Change, Effect, Outcome, Plan
from trimtab.targets.kubernetes import recreate
from trimtab.targets.kubernetes.apply import rehearse
from trimtab.targets.kubernetes.desired import Desired
from trimtab.targets.kubernetes.schemas import Definitions
from trimtab.targets.kubernetes.takeover import is_foreign

_PROBE_NAMESPACE = "default"
_RBAC = "rbac.authorization.k8s.io"


class Passed(NamedTuple):
    """The server would take it. `foreign`: it is there, and kubectl owns fields of it."""

    item: Desired
    foreign: bool = False


class Refused(NamedTuple):
    """The server would not; `message` has its words. `transient`: it may change its mind by itself.

    `stuck`: something of the live object cannot change, which only a person can mend. `unheard`: the server was too
    busy or away, so that nothing is said about the object, or about others.
    """

    item: Desired
    message: str
    transient: bool
    stuck: bool = False
    unheard: bool = False

    def __str__(self) -> str:
        return f"{self.item.ref} ({self.item.origin}): {self.message}"


class Deferred(NamedTuple):
    """It can be judged only after what it waits for has been created."""

    item: Desired
    message: str


Judgement: TypeAlias = Passed | Refused | Deferred


class Providers(NamedTuple):
    """What a set creates that others in it may lean on."""

    namespaces: frozenset[str]
    kinds: frozenset[tuple[str, str]]
    roles: frozenset[str]
    definitions: Definitions = Definitions({})

    @classmethod
    def of(cls, items: Collection[Desired], known: Callable[[Desired], bool] = lambda _: False) -> "Providers":
        """What `items` bring; of definitions that the cluster has in this very form, `known`, the server judges."""
        namespaces, kinds, roles = set(), set(), set()
        for item in items:
            if item.ref.kind == "Namespace" and not item.ref.group:
                namespaces.add(item.ref.name)
            elif item.ref.kind == "CustomResourceDefinition":
                if (defined := definition(item.body)) is not None:
                    kinds.add((defined.group, defined.kind))
            elif item.ref.kind in ("Role", "ClusterRole"):
                roles.add(item.ref.name)
        defining = (item for item in items if item.ref.kind == "CustomResourceDefinition")
        brought = Definitions.of(item for item in defining if not known(item))
        return cls(frozenset(namespaces), frozenset(kinds), frozenset(roles), brought)


def words(refused: Iterable[Refused]) -> str:
    """Every refusal in one message: object, file and line, and the server's words, once for those who share them."""
    shared: dict[str, list[str]] = {}
    for refusal in refused:
        shared.setdefault(refusal.message, []).append(f"{refusal.item.ref} ({refusal.item.origin})")
    return "; ".join(f"{', '.join(places)}: {message}" for message, places in shared.items())


def admitted(plan: Plan[Desired], judgements: Iterable[Judgement]) -> tuple[Plan[Desired], list[Outcome]]:
    """What is left of `plan` where every object is judged for itself, and what to say of the others.

    With something refused nothing is deleted: what left the desired state may have left for its sake.
    """
    refused = {judged.item.ref: judged for judged in judgements if isinstance(judged, Refused)}
    if not refused:
        return plan, []
    stages = tuple(tuple(change for change in stage if change.ref not in refused) for stage in plan.stages)
    return Plan(stages, ()), [
        Outcome(refusal.item.ref, Effect.FAILED, refusal.message, refusal.item.origin, refusal.transient)
        for refusal in refused.values()
    ]


def lasting(judgements: Collection[Judgement], *, each: bool) -> list[str]:
    """The digests of what passed and need not be asked again in the next pass.

    Where something was refused, all of it is: what makes that good may be another state of the server. But one that was
    too busy for a part of them is asked for that part only, or it would be too busy for ever.
    """
    if not each and any(isinstance(judged, Refused) and not judged.unheard for judged in judgements):
        return []
    return [judged.item.digest for judged in judgements if isinstance(judged, Passed)]


async def judge(
    client: Client, items: Sequence[Desired], providers: Providers, *, force: bool = False
) -> list[Judgement]:
    """Ask the server about each of `items`, side by side.

    `force`: the app asks for a new object where a live one cannot become what is wished, so that is no refusal.
    """

    async def one(item: Desired) -> Judgement:
        return await _judge_one(client, item, providers, force)

    return await abreast(one, items)


def leaned_on(changes: Collection[Change[Desired]], deferred: Collection[Ref]) -> list[Change[Desired]]:
    """What goes first in a stage, since a deferred object of the same stage is refused without it: its roles."""
    if not any(change.ref in deferred and change.ref.kind.endswith("Binding") for change in changes):
        return []
    return [change for change in changes if change.ref.kind == "Role" and change.ref.group == _RBAC]


async def _judge_one(client: Client, item: Desired, providers: Providers, force: bool) -> Judgement:
    if complaint := providers.definitions.complaint(item):
        return Refused(item, item.told(complaint), False)
    try:
        resource = await client.discovery.find(item.gvk)
        answer = await rehearse(client, resource, item)
    except UnknownKind as unknown:
        if (item.gvk.group, item.gvk.kind) in providers.kinds:
            return Deferred(item, "its kind is defined in the same set")
        return Refused(item, str(unknown), True)
    except NotFound as missing:
        if item.ref.namespace in providers.namespaces and f'namespaces "{item.ref.namespace}" not found' in str(
            missing
        ):
            return await _probe(client, item)
        if item.ref.kind.endswith("Binding") and any(f'"{role}" not found' in str(missing) for role in providers.roles):
            return Deferred(item, "its role is in the same set")
        return Refused(item, item.told(missing.message), True)
    except Invalid as failure:
        if providers.definitions.define(item.gvk):
            return Deferred(item, "its definition changes in the same set")
        stuck = await recreate.look(client, item, item.manager, everywhere=force)
        if stuck is None:
            return Refused(item, item.told(failure.message), False)
        return Passed(item) if stuck.may else Refused(item, recreate.words(item, failure), False, stuck=True)
    except ApiError as failure:
        transient = failure.transient or isinstance(failure, Forbidden)
        return Refused(item, item.told(failure.message), transient, unheard=failure.transient)
    except (StaleGroup, Unreachable) as failure:
        return Refused(item, str(failure), True, unheard=True)
    return Passed(item, is_foreign(answer, item.manager))


async def _probe(client: Client, item: Desired) -> Judgement:
    """Judge the form of an object whose namespace is not there yet: a dry-run creation under another namespace.

    Only what cannot depend on the namespace counts: a malformed or invalid object. Anything else the server says about
    the other namespace (quota, policy, rights) is left to the real dry-run before the object's own stage.
    """
    waiting = Deferred(item, f"namespace {item.ref.namespace} is created in the same set")
    resource = await client.discovery.find(item.gvk)
    body = item.body
    body["metadata"] = {
        **{name: value for name, value in body["metadata"].items() if name not in ("name", "namespace")},
        "generateName": "trimtab-probe-",
        "namespace": _PROBE_NAMESPACE,
    }
    try:
        await client.create(resource, codec.clone(body), _PROBE_NAMESPACE, dry_run=True, field_manager=item.manager)
    except (Invalid, BadRequest) as refusal:
        if _about_the_probe(refusal.message):
            return waiting
        return Refused(item, item.told(refusal.message), False)
    except (ApiError, Unreachable):
        return waiting
    return waiting


def _about_the_probe(message: str) -> bool:
    """Refusals that our own change of name and namespace may have caused."""
    return "metadata.name" in message or "generateName" in message or "namespace" in message
