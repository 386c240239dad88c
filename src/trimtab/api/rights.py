"""Who may do what in an installation: accounts, roles and bindings, with the least rights.

- `trimtab-sync`, the process's own account: its own kinds, Events, Leases, and the look of namespaces and definitions.
- `trimtab-tenant`, a role for that account: read a Secret or ConfigMap it is told the name of, and act in the name of
  service accounts. Bound everywhere by default; under multi-tenancy in the install namespace only, and by the
  administrator in each tenant's namespace.
- `trimtab-reader`: reads everything, for the shared watches. Under multi-tenancy the administrator binds it.
- `trimtab-applier`: writes for apps without an account of their own. Bound to cluster-admin, as nearly every existing
  repository expects; not bound at all under multi-tenancy, so that such an app gets an error.
- `trimtab-automate`, the account of the process that looks at images and writes them to git: the status of its own
  kinds, Events, its Leases, the look of namespaces and GitRepositories. It may write nothing else in the cluster, and
  act for nobody. What writes to git are Secrets that it is told the names of.
- `trimtab-automate-tenant`, a role for that account: read a Secret it is told the name of, and the names of Secrets in
  a service account. Bound as `trimtab-tenant` is.
- `trimtab-notify`, the account of the process that tells of events and takes webhooks: it sees our own kinds, asks them
  for a look, and writes the status of Receivers, Events, its Lease and the one ConfigMap of what was told. It lists the
  Pods of its own namespace, whose events it takes. It may change nothing else in the cluster, act for nobody and write
  to no git.
- `trimtab-notify-tenant`, a role for that account: read a Secret or ConfigMap it is told the name of. Bound as
  `trimtab-tenant` is.
"""

from collections.abc import Sequence
from typing import Final

from trimtab.api.crd import DEFINITIONS, has_status
from trimtab.api.gvk import (
    EXTENSIONS_GROUP,
    HELM_GROUP,
    IMAGE_GROUP,
    KUSTOMIZE_GROUP,
    NOTIFICATION_GROUP,
    SOURCE_GROUP,
)
from trimtab.api.installed import (
    APPLIER,
    AUTOMATE,
    AUTOMATE_TENANT,
    INTENTS,
    NOTIFIED,
    NOTIFY,
    NOTIFY_TENANT,
    READER,
    SYNC,
    TENANT,
    VIEW,
    labelled,
)
from trimtab.api.names import (
    AUTOMATION_LEASE,
    HELM_LEASE,
    KUSTOMIZE_LEASE,
    NOTIFICATION_LEASE,
    REFLECTOR_LEASE,
    SOURCE_LEASE,
    WATCHER_LEASE,
)
from trimtab.api.shards import REST, lease_name, selector_of
from trimtab.manifests.refs import Body

_SHARED_LEASES: Final = (SOURCE_LEASE, KUSTOMIZE_LEASE, HELM_LEASE, WATCHER_LEASE)
"""Of the controllers that may share their work by shards."""
_RBAC: Final = "rbac.authorization.k8s.io"
_MADE: Final = ("externalartifacts", "helmcharts")
_WATCH: Final = ["get", "list", "watch"]


def service_account(name: str, namespace: str) -> Body:
    """An account of the installation."""
    # Only the processes' own accounts have their tokens in a pod; the others are acted for.
    return labelled("v1", "ServiceAccount", name, namespace) | {
        "automountServiceAccountToken": name in (SYNC, AUTOMATE, NOTIFY)
    }


def _rule(group: str, resources: list[str], verbs: list[str], names: list[str] | None = None) -> Body:
    rule: Body = {"apiGroups": [group], "resources": resources, "verbs": verbs}
    return rule | {"resourceNames": names} if names else rule


def _cluster_role(name: str, rules: list[Body], labels: dict[str, str] | None = None) -> Body:
    return labelled(f"{_RBAC}/v1", "ClusterRole", name, labels=labels) | {"rules": rules}


def roles(*, multi_tenant: bool) -> list[Body]:
    """The roles, whoever has them."""
    kinds = [(definition.gvk.group, definition.plural) for definition in DEFINITIONS if has_status(definition)]
    # what only says something is looked after by reading it
    said = [
        _rule(definition.gvk.group, [definition.plural], _WATCH)
        for definition in DEFINITIONS
        if not has_status(definition)
    ]
    own = [*said, *(rule for group, plural in kinds if group != IMAGE_GROUP for rule in _own(group, plural))]
    images = [plural for group, plural in kinds if group == IMAGE_GROUP]
    sync = [
        *own,
        # a webhook asks them for a look; what they found is said by others
        _rule(IMAGE_GROUP, images, [*_WATCH, "patch"]),
        _rule("", ["events"], ["create", "patch"]),
        _rule("", ["namespaces"], _WATCH),
        _rule("apiextensions.k8s.io", ["customresourcedefinitions"], _WATCH),
        _rule("apiregistration.k8s.io", ["apiservices"], _WATCH),
    ]
    # RBAC cannot say "those an object of ours names"; `get` without `list` is the nearest: the name must be known.
    tenant = [
        _rule("", ["secrets", "configmaps"], ["get"]),
        _rule("", ["serviceaccounts"], ["get", "impersonate"]),
    ]
    if multi_tenant:
        # Long inventories are kept in Secrets. Otherwise the applier writes them; here this account does, in the
        # namespaces it is let into, where it may act as any account anyway.
        tenant.append(_rule("", ["secrets"], ["list", "create", "patch", "delete"]))
    automate = [
        *(rule for plural in images for rule in _own(IMAGE_GROUP, plural)),
        # where commits go; what is there is nobody's to change but git's
        _rule(SOURCE_GROUP, ["gitrepositories"], _WATCH),
        _rule("", ["events"], ["create", "patch"]),
        _rule("", ["namespaces"], _WATCH),
    ]
    automate_tenant = [_rule("", ["secrets", "serviceaccounts"], ["get"])]
    hooks = [rule for group, plural in kinds if group == NOTIFICATION_GROUP for rule in _own(group, plural)]
    notify = [
        *said,
        *hooks,
        # a webhook asks them for a look; how they stand is told
        *(_rule(group, [plural], [*_WATCH, "patch"]) for group, plural in kinds if group != NOTIFICATION_GROUP),
        _rule("", ["events"], ["create", "patch"]),
        _rule("", ["namespaces"], _WATCH),
    ]
    notify_tenant = [_rule("", ["secrets", "configmaps"], ["get"])]
    groups = (SOURCE_GROUP, EXTENSIONS_GROUP, KUSTOMIZE_GROUP, HELM_GROUP, NOTIFICATION_GROUP, IMAGE_GROUP)
    aggregate = {f"{_RBAC}/aggregate-to-{role}": "true" for role in ("view", "edit", "admin")}
    return [
        _cluster_role(SYNC, sync),
        _cluster_role(TENANT, tenant),
        _cluster_role(READER, [_rule("*", ["*"], _WATCH)]),
        _cluster_role(AUTOMATE, automate),
        _cluster_role(AUTOMATE_TENANT, automate_tenant),
        _cluster_role(NOTIFY, notify),
        _cluster_role(NOTIFY_TENANT, notify_tenant),
        _cluster_role(VIEW, [_rule(group, ["*"], _WATCH) for group in groups], aggregate),
    ]


def _own(group: str, plural: str) -> list[Body]:
    """What is done to objects of a kind that is looked after."""
    return [
        # what generators and releases make is made and cleared away by us
        _rule(group, [plural], [*_WATCH, "patch", *(["create", "delete"] if plural in _MADE else [])]),
        _rule(group, [f"{plural}/status"], ["get", "patch"]),
        _rule(group, [f"{plural}/finalizers"], ["update"]),
    ]


def bindings(namespace: str, *, multi_tenant: bool, shards: Sequence[str] = ()) -> list[Body]:
    """Who has which role, and where."""
    everywhere = [(SYNC, SYNC, SYNC), (AUTOMATE, AUTOMATE, AUTOMATE), (NOTIFY, NOTIFY, NOTIFY)]
    if not multi_tenant:
        everywhere += [
            (TENANT, TENANT, SYNC),
            (READER, READER, READER),
            (APPLIER, "cluster-admin", APPLIER),
            (AUTOMATE_TENANT, AUTOMATE_TENANT, AUTOMATE),
            (NOTIFY_TENANT, NOTIFY_TENANT, NOTIFY),
        ]
    selectors = [REST, *map(selector_of, shards)] if shards else []
    shared = [lease_name(lease, one) for lease in _SHARED_LEASES for one in selectors]
    leases = _leases(*_SHARED_LEASES, NOTIFICATION_LEASE, *shared)
    switch = [_rule("", ["configmaps"], _WATCH, ["trimtab-freeze"])]
    told = [
        _rule("", ["configmaps"], ["create"]),
        _rule("", ["configmaps"], ["get", "patch"], [NOTIFIED]),
    ]
    intended = [_rule("", ["configmaps"], ["get", "patch"], list(INTENTS))]
    posting = [_rule("", ["pods"], ["list"])]
    here = [
        labelled(f"{_RBAC}/v1", "Role", SYNC, namespace) | {"rules": leases + switch + told + intended},
        _binding("RoleBinding", SYNC, "Role", SYNC, SYNC, namespace),
        labelled(f"{_RBAC}/v1", "Role", AUTOMATE, namespace) | {"rules": _leases(REFLECTOR_LEASE, AUTOMATION_LEASE)},
        _binding("RoleBinding", AUTOMATE, "Role", AUTOMATE, AUTOMATE, namespace),
        labelled(f"{_RBAC}/v1", "Role", NOTIFY, namespace) | {"rules": _leases(NOTIFICATION_LEASE) + told + posting},
        _binding("RoleBinding", NOTIFY, "Role", NOTIFY, NOTIFY, namespace),
    ]
    if multi_tenant:
        here.append(_binding("RoleBinding", TENANT, "ClusterRole", TENANT, SYNC, namespace))
        here.append(_binding("RoleBinding", AUTOMATE_TENANT, "ClusterRole", AUTOMATE_TENANT, AUTOMATE, namespace))
        here.append(_binding("RoleBinding", NOTIFY_TENANT, "ClusterRole", NOTIFY_TENANT, NOTIFY, namespace))
    return [
        *(
            _binding("ClusterRoleBinding", name, "ClusterRole", role, account, namespace)
            for name, role, account in everywhere
        ),
        *here,
    ]


def _leases(*names: str) -> list[Body]:
    return [
        _rule("coordination.k8s.io", ["leases"], ["create"]),
        _rule("coordination.k8s.io", ["leases"], ["get", "update", "patch"], list(names)),
    ]


def _binding(kind: str, name: str, role_kind: str, role: str, account: str, namespace: str) -> Body:
    return labelled(f"{_RBAC}/v1", kind, name, namespace if kind == "RoleBinding" else "") | {
        "roleRef": {"apiGroup": _RBAC, "kind": role_kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }
