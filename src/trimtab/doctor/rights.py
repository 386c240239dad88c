"""What the accounts of the installation may do: asked in their names, where we may speak in them."""

from typing import Final, NamedTuple

from trimtab.api.crd import DEFINITIONS, has_status
from trimtab.api.gvk import HELM_RELEASE, IMAGE_GROUP, KUSTOMIZATION, NOTIFICATION_GROUP, SOURCE_GROUP
from trimtab.api.installed import APPLIER, AUTOMATE, NOTIFIED, NOTIFY, READER, SYNC
from trimtab.api.names import AUTOMATION_LEASE, NOTIFICATION_LEASE, REFLECTOR_LEASE
from trimtab.base.abreast import abreast
from trimtab.doctor.contract import Answer, Patient, arguments, flag, named, note, ok, problem, several, unknown
from trimtab.kube.client import Client
from trimtab.kube.errors import Forbidden, StaleGroup, UnknownKind
from trimtab.manifests import codec
from trimtab.manifests.refs import Gvk, Key

_REVIEW: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_ACCOUNT: Final = Gvk("", "v1", "ServiceAccount")
_IMAGE_LEASES: Final = (REFLECTOR_LEASE, AUTOMATION_LEASE)
_AT_ONCE: Final = 16
_WAY: Final = "`trimtab install` writes the roles and bindings anew"


class Right(NamedTuple):
    """Something an account has to be allowed. An empty namespace means everywhere, an empty name any object."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        what = f"{self.resource}.{self.group}" if self.group else self.resource
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.verb} {what}{f' {self.name}' if self.name else ''}{where}"


async def rights(patient: Patient) -> list[Answer]:
    """Whether the accounts of our processes, and that of the shared watches, may do what they have to."""
    found: list[Answer] = []
    wanted = {
        SYNC: _of_sync(patient.namespace),
        AUTOMATE: _of_automate(patient.namespace),
        NOTIFY: _of_notify(patient.namespace),
        READER: [Right("list", "*", "*"), Right("watch", "*", "*")],
    }
    workload = await patient.workload()
    tenants = workload is not None and flag(arguments(workload), "--multi-tenant") is not None
    if tenants:
        # there, whom it reads for is bound by the administrator, namespace by namespace
        del wanted[READER]
    for name, needed in wanted.items():
        if await patient.one(_ACCOUNT, name, patient.namespace) is None:
            words = f"there is no account {patient.namespace}/{name}: the controllers run as somebody else"
            found.append(note(words, f"{_WAY}, and the accounts"))
            continue
        found.append(await _asked(patient, Key(patient.namespace, name), needed))
    return found


async def accounts(patient: Patient) -> list[Answer]:
    """Whether the accounts exist that apps act as."""
    workload = await patient.workload()
    given = arguments(workload) if workload is not None else []
    tenants = flag(given, "--multi-tenant") is not None
    default = flag(given, "--default-service-account") or ("default" if tenants else "")
    applier = flag(given, "--applier") or ""
    missing: dict[Key, list[str]] = {}
    count = 0
    for kind in (KUSTOMIZATION, HELM_RELEASE):
        try:
            bodies = await patient.all(kind)
        except (UnknownKind, StaleGroup):
            continue
        for body in bodies:
            namespace, _, name = applier.partition("/")
            spec = body.get("spec") or {}
            own = spec.get("serviceAccountName") or default
            key = Key(body["metadata"]["namespace"], own) if own else Key(namespace, name)
            if not key.name or spec.get("kubeConfig"):
                continue
            count += 1
            if await patient.one(_ACCOUNT, key.name, key.namespace) is None:
                missing.setdefault(key, []).append(f"{kind.kind} {named(body)}")
    if missing:
        return [
            problem(
                f"there is no ServiceAccount {key}, which {several(apps)} act{'s' if len(apps) == 1 else ''} as",
                "create it and bind it to a role, or change spec.serviceAccountName: nothing is applied without it"
                if key.name != APPLIER
                else _WAY,
            )
            for key, apps in missing.items()
        ]
    return [ok(f"the accounts of all {count} apps and releases that act as one are there")]


def _of_sync(namespace: str) -> list[Right]:
    """What the controllers do under their own name."""
    own = [
        right
        for one in DEFINITIONS
        for right in (
            Right("watch", one.gvk.group, one.plural),
            *((Right("patch", one.gvk.group, one.plural),) if has_status(one) else ()),
            # how images stand is said by another process
            *(
                (Right("patch", one.gvk.group, f"{one.plural}/status"),)
                if has_status(one) and one.gvk.group != IMAGE_GROUP
                else ()
            ),
        )
    ]
    leases = [Right(verb, "coordination.k8s.io", "leases", namespace) for verb in ("create",)]
    watched = [
        Right("watch", "", "namespaces"),
        Right("watch", "apiextensions.k8s.io", "customresourcedefinitions"),
        Right("create", "", "events"),
    ]
    acting = [Right("impersonate", "", "serviceaccounts", namespace), Right("get", "", "secrets", namespace)]
    return [*own, *leases, *watched, *acting]


def _of_automate(namespace: str) -> list[Right]:
    """What the process does that looks at images and writes them to git."""
    own = [
        right
        for one in DEFINITIONS
        if one.gvk.group == IMAGE_GROUP
        for right in (
            Right("watch", one.gvk.group, one.plural),
            Right("patch", one.gvk.group, one.plural),
            Right("patch", one.gvk.group, f"{one.plural}/status"),
        )
    ]
    leases = [
        Right("create", "coordination.k8s.io", "leases", namespace),
        *(Right("update", "coordination.k8s.io", "leases", namespace, name) for name in _IMAGE_LEASES),
    ]
    watched = [Right("watch", SOURCE_GROUP, "gitrepositories"), Right("watch", "", "namespaces")]
    return [*own, *leases, *watched, Right("create", "", "events"), Right("get", "", "secrets", namespace)]


def _of_notify(namespace: str) -> list[Right]:
    """What the process does that tells of events and takes webhooks."""
    own = [
        right
        for one in DEFINITIONS
        for right in (
            Right("watch", one.gvk.group, one.plural),
            # a webhook asks for a look
            *((Right("patch", one.gvk.group, one.plural),) if has_status(one) else ()),
            *(
                (Right("patch", one.gvk.group, f"{one.plural}/status"),)
                if has_status(one) and one.gvk.group == NOTIFICATION_GROUP
                else ()
            ),
        )
    ]
    here = [
        Right("create", "coordination.k8s.io", "leases", namespace),
        Right("update", "coordination.k8s.io", "leases", namespace, NOTIFICATION_LEASE),
        # what was told last
        Right("create", "", "configmaps", namespace),
        Right("patch", "", "configmaps", namespace, NOTIFIED),
        # whose events are taken
        Right("list", "", "pods", namespace),
        Right("get", "", "secrets", namespace),
    ]
    return [*own, *here, Right("watch", "", "namespaces"), Right("create", "", "events")]


async def _asked(patient: Patient, account: Key, needed: list[Right]) -> Answer:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{account.namespace}", "system:authenticated")
    acting = patient.client.acting_as(f"system:serviceaccount:{account.namespace}:{account.name}", groups)

    async def may(right: Right) -> bool:
        return await _may(acting, right)

    try:
        answers = await abreast(may, needed, _AT_ONCE)
    except Forbidden as failure:
        words = f"what the account {account} may do cannot be asked: {failure}"
        return unknown(words, "ask as somebody who may impersonate it, such as a cluster-admin")
    lacking = [str(right) for right, allowed in zip(needed, answers, strict=True) if not allowed]
    if lacking:
        return problem(f"the account {account} may not {several(lacking)}", _WAY)
    return ok(f"the account {account} has the {len(needed)} rights it needs")


async def _may(client: Client, right: Right) -> bool:
    resource, _, subresource = right.resource.partition("/")
    attributes = {
        "verb": right.verb,
        "group": right.group,
        "resource": resource,
        "subresource": subresource,
        "namespace": right.namespace,
        "name": right.name,
    }
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {name: value for name, value in attributes.items() if value}},
    }
    answer = codec.decode(await client.request("POST", _REVIEW, body=codec.encode(body)))
    return bool((answer.get("status") or {}).get("allowed"))
