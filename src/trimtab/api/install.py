"""Everything a cluster needs to run Trimtab: definitions, accounts with the least rights, and three Deployments.

Who may do what:

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
from functools import partial
from typing import Final

from trimtab.api.crd import DEFINITIONS, crds, has_status
from trimtab.api.gvk import (
    EXTENSIONS_GROUP,
    HELM_GROUP,
    IMAGE_GROUP,
    KUSTOMIZE_GROUP,
    NOTIFICATION_GROUP,
    SOURCE_GROUP,
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
from trimtab.manifests.refs import Body, Ref

DEFAULT_NAMESPACE: Final = "flux-system"
SYNC: Final = "trimtab-sync"
READER: Final = "trimtab-reader"
APPLIER: Final = "trimtab-applier"
TENANT: Final = "trimtab-tenant"
VIEW: Final = "trimtab-view"
AUTOMATE: Final = "trimtab-automate"
AUTOMATE_TENANT: Final = "trimtab-automate-tenant"
NOTIFY: Final = "trimtab-notify"
NOTIFY_TENANT: Final = "trimtab-notify-tenant"
NOTIFIED: Final = "trimtab-notified"
"""The ConfigMap of what was told last."""
DEPLOYMENT: Final = "trimtab"
LEDGER: Final = "trimtab-ledger"
AUTOMATE_LEDGER: Final = "trimtab-automate-ledger"
"""The claims of the volumes of ledgers: of what writes to the cluster, and of what writes to git."""
LEDGER_PATH: Final = "/ledger"

ARTIFACT_SERVICE: Final = "source-controller"
"""Flux's own name, which is in the URL of every artifact."""
ARTIFACT_PORT: Final = 9790
WEBHOOK_SERVICE: Final = "webhook-receiver"
"""Flux's own name, which an Ingress of the user's leads to."""
WEBHOOK_PORT: Final = 9292
EVENT_SERVICE: Final = "notification-controller"
"""Flux's own name, which its controllers post events to."""
EVENT_PORT: Final = 9090
METRICS_PORT: Final = 8080
NOBODY: Final = 65534
GRACE_S: Final = 30

_PORTS: Final[tuple[Body, ...]] = (
    {"name": "http", "containerPort": ARTIFACT_PORT, "protocol": "TCP"},
    {"name": "http-prom", "containerPort": METRICS_PORT, "protocol": "TCP"},
)
_NOTIFY_PORTS: Final[tuple[Body, ...]] = (
    {"name": "http", "containerPort": EVENT_PORT, "protocol": "TCP"},
    {"name": "http-webhook", "containerPort": WEBHOOK_PORT, "protocol": "TCP"},
    {"name": "http-prom", "containerPort": METRICS_PORT, "protocol": "TCP"},
)
_SHARED_LEASES: Final = (SOURCE_LEASE, KUSTOMIZE_LEASE, HELM_LEASE, WATCHER_LEASE)
"""Of the controllers that may share their work by shards."""
_RBAC: Final = "rbac.authorization.k8s.io"
_MADE: Final = ("externalartifacts", "helmcharts")
_WATCH: Final = ["get", "list", "watch"]
_PART_OF: Final = {"app.kubernetes.io/part-of": "trimtab"}
_POD: Final = {"app.kubernetes.io/name": "trimtab", "app.kubernetes.io/component": "sync"}
_AUTOMATE_POD: Final = {"app.kubernetes.io/name": "trimtab", "app.kubernetes.io/component": "automate"}
_NOTIFY_POD: Final = {"app.kubernetes.io/name": "trimtab", "app.kubernetes.io/component": "notify"}


def install_manifests(
    *,
    namespace: str = DEFAULT_NAMESPACE,
    image: str,
    multi_tenant: bool = False,
    deny_private: bool = False,
    crds_only: bool = False,
    ledger: str = "",
    shards: Sequence[str] = (),
) -> list[Body]:
    """The objects of an installation, in the order they have to be applied.

    `ledger` is the size of the volumes that the ledgers of what writes are kept on; without one they go with the Pods.
    With `shards`, each has a process of its own for sources, apps and releases; the usual one does what has no label.
    """
    if crds_only:
        return crds()
    arguments = partial(_arguments, namespace, multi_tenant=multi_tenant, deny_private=deny_private)
    return [
        _namespace(namespace),
        *crds(),
        *(_service_account(name, namespace) for name in (SYNC, READER, APPLIER, AUTOMATE, NOTIFY)),
        *_roles(multi_tenant=multi_tenant),
        *_bindings(namespace, multi_tenant=multi_tenant, shards=shards),
        _service(ARTIFACT_SERVICE, "http", namespace, _POD),
        _service(WEBHOOK_SERVICE, "http-webhook", namespace, _NOTIFY_POD),
        _service(EVENT_SERVICE, "http", namespace, _NOTIFY_POD),
        _network_policy(DEPLOYMENT, _POD, ("http-prom",), namespace),
        _network_policy(NOTIFY, _NOTIFY_POD, ("http-prom", "http-webhook"), namespace),
        _metrics_policy(AUTOMATE, _AUTOMATE_POD, namespace),
        *(_claim(name, ledger, namespace) for name in (LEDGER, AUTOMATE_LEDGER, *map(_ledger_of, shards)) if ledger),
        _kept(
            _deployment(namespace, image, [*arguments(), *_selecting(REST if shards else "")]),
            LEDGER if ledger else "",
        ),
        *(
            one
            for shard in shards
            for one in _shard(
                namespace, image, shard, arguments(_service_of(shard)), _ledger_of(shard) if ledger else ""
            )
        ),
        _kept(
            _automate(namespace, image, multi_tenant=multi_tenant, deny_private=deny_private),
            AUTOMATE_LEDGER if ledger else "",
        ),
        _notify(namespace, image, multi_tenant=multi_tenant, deny_private=deny_private),
    ]


def superseded(namespace: str = DEFAULT_NAMESPACE, *, multi_tenant: bool) -> list[Body]:
    """Bindings that an earlier installation with the other tenancy made, and that this one must not leave in force."""
    wanted = {Ref.of(body) for body in _bindings(namespace, multi_tenant=multi_tenant)}
    return [body for body in _bindings(namespace, multi_tenant=not multi_tenant) if Ref.of(body) not in wanted]


def _object(api_version: str, kind: str, name: str, namespace: str = "", labels: dict[str, str] | None = None) -> Body:
    metadata: Body = {"name": name, "labels": _PART_OF | (labels or {})}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _namespace(name: str) -> Body:
    # A warning, not enforcement: other tools may live here already, and this pod fulfils it anyway.
    labels = {"pod-security.kubernetes.io/warn": "restricted", "pod-security.kubernetes.io/warn-version": "latest"}
    return _object("v1", "Namespace", name, labels=labels)


def _service_account(name: str, namespace: str) -> Body:
    # Only the processes' own accounts have their tokens in a pod; the others are acted for.
    return _object("v1", "ServiceAccount", name, namespace) | {
        "automountServiceAccountToken": name in (SYNC, AUTOMATE, NOTIFY)
    }


def _rule(group: str, resources: list[str], verbs: list[str], names: list[str] | None = None) -> Body:
    rule: Body = {"apiGroups": [group], "resources": resources, "verbs": verbs}
    return rule | {"resourceNames": names} if names else rule


def _cluster_role(name: str, rules: list[Body], labels: dict[str, str] | None = None) -> Body:
    return _object(f"{_RBAC}/v1", "ClusterRole", name, labels=labels) | {"rules": rules}


def _roles(*, multi_tenant: bool) -> list[Body]:
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


def _bindings(namespace: str, *, multi_tenant: bool, shards: Sequence[str] = ()) -> list[Body]:
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
    posting = [_rule("", ["pods"], ["list"])]
    here = [
        _object(f"{_RBAC}/v1", "Role", SYNC, namespace) | {"rules": leases + switch + told},
        _binding("RoleBinding", SYNC, "Role", SYNC, SYNC, namespace),
        _object(f"{_RBAC}/v1", "Role", AUTOMATE, namespace) | {"rules": _leases(REFLECTOR_LEASE, AUTOMATION_LEASE)},
        _binding("RoleBinding", AUTOMATE, "Role", AUTOMATE, AUTOMATE, namespace),
        _object(f"{_RBAC}/v1", "Role", NOTIFY, namespace) | {"rules": _leases(NOTIFICATION_LEASE) + told + posting},
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
    return _object(f"{_RBAC}/v1", kind, name, namespace if kind == "RoleBinding" else "") | {
        "roleRef": {"apiGroup": _RBAC, "kind": role_kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }


def _service(name: str, port: str, namespace: str, pod: dict[str, str]) -> Body:
    return _object("v1", "Service", name, namespace) | {
        "spec": {
            "type": "ClusterIP",
            "selector": dict(pod),
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": port}],
        }
    }


def _network_policy(name: str, pod: dict[str, str], public: tuple[str, ...], namespace: str) -> Body:
    """Artifacts and events for the pods of this namespace, what is public for any pod; nothing else comes in."""
    return _object("networking.k8s.io/v1", "NetworkPolicy", name, namespace) | {
        "spec": {
            "podSelector": {"matchLabels": dict(pod)},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": "http"}]},
                {
                    "from": [{"namespaceSelector": {}}],
                    "ports": [{"protocol": "TCP", "port": port} for port in public],
                },
            ],
        }
    }


def _metrics_policy(name: str, pod: dict[str, str], namespace: str) -> Body:
    """Metrics for any pod; nothing else comes in."""
    return _object("networking.k8s.io/v1", "NetworkPolicy", name, namespace) | {
        "spec": {
            "podSelector": {"matchLabels": dict(pod)},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"namespaceSelector": {}}], "ports": [{"protocol": "TCP", "port": "http-prom"}]},
            ],
        }
    }


def _arguments(namespace: str, service: str = ARTIFACT_SERVICE, *, multi_tenant: bool, deny_private: bool) -> list[str]:
    denied = ["--deny-private-addresses"] if deny_private else []
    return [
        "run",
        f"--reader={namespace}/{READER}",
        # An app that names no account gets one of its own namespace, or works for all with the applier's rights.
        "--multi-tenant" if multi_tenant else f"--applier={namespace}/{APPLIER}",
        "--storage-path=/data",
        f"--storage-addr=:{ARTIFACT_PORT}",
        # The closing dot keeps the name out of the search list of every pod's resolver.
        f"--storage-adv-addr={service}.{namespace}.svc.cluster.local.",
        f"--metrics-addr=:{METRICS_PORT}",
        "--controllers=source,kustomize,helm,source-watcher",
        f"--events-addr={_event_address(namespace)}",
        *denied,
    ]


def _selecting(selector: str) -> list[str]:
    return [f"--watch-label-selector={selector}"] if selector else []


def _service_of(shard: str) -> str:
    return f"{ARTIFACT_SERVICE}-{shard}"


def _shard(namespace: str, image: str, shard: str, arguments: list[str], ledger: str) -> list[Body]:
    """The process of one shard, and where its artifacts are; its account is that of the usual one."""
    pod = _POD | {"app.kubernetes.io/component": f"sync-{shard}"}
    name = f"{DEPLOYMENT}-{shard}"
    return [
        _service(_service_of(shard), "http", namespace, pod),
        _network_policy(name, pod, ("http-prom",), namespace),
        _kept(_deployment(namespace, image, [*arguments, *_selecting(selector_of(shard))], name, pod), ledger),
    ]


def _ledger_of(shard: str) -> str:
    return f"{LEDGER}-{shard}"


def _event_address(namespace: str) -> str:
    """Where the other processes post their events."""
    return f"http://{EVENT_SERVICE}.{namespace}.svc.cluster.local./"


def _notify(namespace: str, image: str, *, multi_tenant: bool, deny_private: bool) -> Body:
    """The process that tells of events and takes webhooks, with an account of its own."""
    arguments = [
        "run",
        "--controllers=notification",
        "--storage-path=/data",
        f"--metrics-addr=:{METRICS_PORT}",
        f"--receiver-addr=:{WEBHOOK_PORT}",
        f"--events-listen-addr=:{EVENT_PORT}",
        *(["--multi-tenant"] if multi_tenant else []),
        *(["--deny-private-addresses"] if deny_private else []),
    ]
    return _deployment(namespace, image, arguments, NOTIFY, _NOTIFY_POD, NOTIFY, _NOTIFY_PORTS)


def _automate(namespace: str, image: str, *, multi_tenant: bool, deny_private: bool) -> Body:
    """The process that looks at images and writes them to git: with an account of its own, no port but for metrics."""
    arguments = [
        "run",
        "--controllers=image-reflector,image-automation",
        "--storage-path=/data",
        f"--metrics-addr=:{METRICS_PORT}",
        f"--events-addr={_event_address(namespace)}",
        *(["--multi-tenant"] if multi_tenant else []),
        *(["--deny-private-addresses"] if deny_private else []),
    ]
    return _deployment(namespace, image, arguments, AUTOMATE, _AUTOMATE_POD, AUTOMATE, _PORTS[-1:])


def _deployment(
    namespace: str,
    image: str,
    arguments: list[str],
    name: str = DEPLOYMENT,
    pod: dict[str, str] = _POD,
    account: str = SYNC,
    ports: tuple[Body, ...] = _PORTS,
) -> Body:
    return _object("apps/v1", "Deployment", name, namespace, dict(pod)) | {
        "spec": {
            # One process holds the Leases and the artifacts: a second pod would answer for files it does not have.
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": dict(pod)},
            "template": {
                "metadata": {
                    "labels": _PART_OF | pod,
                    "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": str(METRICS_PORT)},
                },
                "spec": {
                    "serviceAccountName": account,
                    "terminationGracePeriodSeconds": GRACE_S,
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": NOBODY,
                        "runAsGroup": NOBODY,
                        "fsGroup": NOBODY,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [_container(image, arguments, ports)],
                    "volumes": [
                        {"name": "data", "emptyDir": {}},
                        {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
                    ],
                },
            },
        }
    }


def _claim(name: str, size: str, namespace: str) -> Body:
    return _object("v1", "PersistentVolumeClaim", name, namespace) | {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    }


def _kept(deployment: Body, claim: str) -> Body:
    """`deployment` with its ledger on the volume of `claim`, if there is one."""
    if claim:
        pod = deployment["spec"]["template"]["spec"]
        [container] = pod["containers"]
        pod["volumes"].append({"name": "ledger", "persistentVolumeClaim": {"claimName": claim}})
        container["volumeMounts"].append({"name": "ledger", "mountPath": LEDGER_PATH})
        # a directory of its own: the root of a volume belongs to whoever made it
        container["args"].append(f"--ledger-path={LEDGER_PATH}/ledger")
    return deployment


def _container(image: str, arguments: list[str], ports: tuple[Body, ...]) -> Body:
    return {
        "name": "trimtab",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": arguments,
        "env": [
            {"name": "RUNTIME_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - the pod's own memory-backed volume
            {"name": "TMPDIR", "value": "/tmp"},  # noqa: S108
        ],
        "ports": [dict(port) for port in ports],
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http-prom"}, "timeoutSeconds": 5},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http-prom"}},
        "resources": {
            "requests": {"cpu": "100m", "memory": "64Mi"},
            # Twice what a renderer may take: where a whole container is killed for memory, the limit of the child
            # has to be met first.
            "limits": {"memory": "2Gi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }
