"""Everything a cluster needs to run Trimtab: definitions, accounts with the least rights, and three Deployments."""

from collections.abc import Sequence
from functools import partial

from trimtab.api.crd import crds
from trimtab.api.ingress import metrics_policy, network_policy, service
from trimtab.api.installed import (
    APPLIER,
    ARTIFACT_PORT,
    ARTIFACT_SERVICE,
    AUTOMATE,
    AUTOMATE_LEDGER,
    DEFAULT_NAMESPACE,
    DEPLOYMENT,
    EVENT_PORT,
    EVENT_SERVICE,
    LEDGER,
    METRICS_PORT,
    NOTIFY,
    READER,
    SYNC,
    WEBHOOK_PORT,
    WEBHOOK_SERVICE,
    labelled,
)
from trimtab.api.rights import bindings, roles, service_account
from trimtab.api.shards import REST, selector_of
from trimtab.api.workloads import (
    AUTOMATE_POD,
    NOTIFY_POD,
    NOTIFY_PORTS,
    SYNC_POD,
    SYNC_PORTS,
    claim_of,
    deployment,
    kept,
)
from trimtab.manifests.refs import Body, Ref


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
        *(service_account(name, namespace) for name in (SYNC, READER, APPLIER, AUTOMATE, NOTIFY)),
        *roles(multi_tenant=multi_tenant),
        *bindings(namespace, multi_tenant=multi_tenant, shards=shards),
        service(ARTIFACT_SERVICE, "http", namespace, SYNC_POD),
        service(WEBHOOK_SERVICE, "http-webhook", namespace, NOTIFY_POD),
        service(EVENT_SERVICE, "http", namespace, NOTIFY_POD),
        network_policy(DEPLOYMENT, SYNC_POD, ("http-prom",), namespace),
        network_policy(NOTIFY, NOTIFY_POD, ("http-prom", "http-webhook"), namespace),
        metrics_policy(AUTOMATE, AUTOMATE_POD, namespace),
        *(claim_of(name, ledger, namespace) for name in (LEDGER, AUTOMATE_LEDGER, *map(_ledger_of, shards)) if ledger),
        kept(
            deployment(namespace, image, [*arguments(), *_selecting(REST if shards else "")]),
            LEDGER if ledger else "",
        ),
        *(
            one
            for shard in shards
            for one in _shard(
                namespace, image, shard, arguments(_service_of(shard)), _ledger_of(shard) if ledger else ""
            )
        ),
        kept(
            _automate(namespace, image, multi_tenant=multi_tenant, deny_private=deny_private),
            AUTOMATE_LEDGER if ledger else "",
        ),
        _notify(namespace, image, multi_tenant=multi_tenant, deny_private=deny_private),
    ]


def superseded(namespace: str = DEFAULT_NAMESPACE, *, multi_tenant: bool) -> list[Body]:
    """Bindings that an earlier installation with the other tenancy made, and that this one must not leave in force."""
    wanted = {Ref.of(body) for body in bindings(namespace, multi_tenant=multi_tenant)}
    return [body for body in bindings(namespace, multi_tenant=not multi_tenant) if Ref.of(body) not in wanted]


def _namespace(name: str) -> Body:
    # A warning, not enforcement: other tools may live here already, and this pod fulfils it anyway.
    labels = {"pod-security.kubernetes.io/warn": "restricted", "pod-security.kubernetes.io/warn-version": "latest"}
    return labelled("v1", "Namespace", name, labels=labels)


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
    pod = SYNC_POD | {"app.kubernetes.io/component": f"sync-{shard}"}
    name = f"{DEPLOYMENT}-{shard}"
    return [
        service(_service_of(shard), "http", namespace, pod),
        network_policy(name, pod, ("http-prom",), namespace),
        kept(deployment(namespace, image, [*arguments, *_selecting(selector_of(shard))], name, pod), ledger),
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
    return deployment(namespace, image, arguments, NOTIFY, NOTIFY_POD, NOTIFY, NOTIFY_PORTS)


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
    return deployment(namespace, image, arguments, AUTOMATE, AUTOMATE_POD, AUTOMATE, SYNC_PORTS[-1:])
