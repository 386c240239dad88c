"""`trimtab install`: definitions, accounts and the Deployment, applied or printed."""

import asyncio
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

import trimtab
from trimtab.base.clock import SystemClock
from trimtab.cli.connect import Code, Failure, Options, cluster_options, perform
from trimtab.cli.output import say
from trimtab.manifests.refs import Body, Gvk, Ref

if TYPE_CHECKING:
    from trimtab.api.monitoring import Part
    from trimtab.kube.client import Client

_MANAGER = "trimtab"
_LOOK_AGAIN_S = 0.2
_QUANTITY = re.compile(r"[1-9][0-9]{0,5}(Mi|Gi|Ti|M|G|T)", re.ASCII)
_SHARD = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", re.ASCII)
"""It becomes part of the names of a Deployment and a Service."""
_PARTS = ("scrape", "rules", "dashboards")


def _parts(value: str | None) -> "frozenset[Part]":
    from trimtab.api.monitoring import Part

    named = [name.strip() for name in (value or "").split(",") if name.strip()]
    if strange := [name for name in named if name not in _PARTS]:
        raise click.BadParameter(f"there is no {', '.join(strange)}; the parts are {', '.join(_PARTS)}")
    return frozenset(Part(name) for name in named)


def _size(value: str) -> str:
    if value and not _QUANTITY.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not a size such as 5Gi")
    return value


def _shards(value: str) -> tuple[str, ...]:
    named = tuple(name.strip() for name in value.split(",") if name.strip())
    for name in named:
        if not _SHARD.fullmatch(name):
            raise click.BadParameter(f"{name!r}: the name of a shard is a-z, 0-9 and -, 40 characters at most")
    if len(set(named)) != len(named):
        raise click.BadParameter(f"{value!r} names one of them twice")
    return named


@click.command(epilog="\b\nExample:\n  trimtab install --export --multi-tenant > trimtab.yaml")
@click.option("--export", is_flag=True, help="Print the objects as YAML instead of applying them.")
@click.option("--crds-only", is_flag=True, help="Only the definitions of our kinds.")
@click.option("--multi-tenant", is_flag=True, help="Bind nobody to cluster-admin; tenants bring their own accounts.")
@click.option("--deny-private-addresses", is_flag=True, help="Fetch sources from public addresses only.")
@click.option(
    "--ledger-volume",
    default="",
    metavar="SIZE",
    callback=lambda _context, _option, value: _size(value),
    help="Keep the ledgers on persistent volumes of this size, such as 5Gi. Without it they go with the Pods.",
)
@click.option(
    "--shards",
    metavar="NAME,…",
    default="",
    callback=lambda _context, _option, value: _shards(value),
    help="A process of its own for the objects with each of these values of the label sharding.fluxcd.io/key; the "
    "usual one does those without the label (example: --shards shard1,shard2).",
)
@click.option("--image", help=f"The image to run (trimtab:{trimtab.__version__}).")
@click.option(
    "--monitoring",
    metavar="PART,…",
    is_flag=False,
    flag_value=",".join(_PARTS),
    callback=lambda _context, _option, value: _parts(value),
    help=f"Also how Trimtab is watched: {', '.join(_PARTS)}; without a value all of them.",
)
@cluster_options
def install(
    options: Options,
    export: bool,
    crds_only: bool,
    multi_tenant: bool,
    deny_private_addresses: bool,
    ledger_volume: str,
    shards: tuple[str, ...],
    image: str | None,
    monitoring: "frozenset[Part]",
) -> None:
    """Install Trimtab on a cluster, or print what that takes.

    Applies with server-side apply, so it may be repeated and also upgrades, and waits until the API server serves our
    kinds. Under --multi-tenant the administrator lets a tenant in by RoleBindings in the tenant's namespace: of the
    ClusterRole trimtab-tenant to the service account trimtab-sync, of trimtab-reader to trimtab-reader, and, for
    images, of trimtab-automate-tenant to trimtab-automate.

    \b
    --monitoring adds:
      scrape      a Service and a ServiceMonitor for the metrics of all processes
      rules       the alert rules as a PrometheusRule
      dashboards  two dashboards for Grafana as ConfigMaps with the label grafana_dashboard
    Kinds of Prometheus' operator that the cluster does not serve are left out, and that is said.
    """
    from trimtab.api.install import install_manifests, superseded
    from trimtab.api.monitoring import monitoring_manifests
    from trimtab.manifests.emit import to_yaml

    if crds_only and (monitoring or ledger_volume):
        raise click.UsageError("--crds-only excludes --monitoring and --ledger-volume")
    watching = monitoring_manifests(options.namespace, monitoring)
    bodies = install_manifests(
        namespace=options.namespace,
        image=image or f"trimtab:{trimtab.__version__}",
        multi_tenant=multi_tenant,
        deny_private=deny_private_addresses,
        crds_only=crds_only,
        ledger=ledger_volume,
        shards=shards,
    )
    if export:
        click.echo("---\n".join(to_yaml(body) for body in [*bodies, *watching]), nl=False)
        return
    obsolete = () if crds_only else superseded(options.namespace, multi_tenant=multi_tenant)

    async def work(client: "Client") -> int:
        await _install(client, options, bodies, obsolete)
        for body in watching:
            await _add(client, body, options)
        return Code.OK

    perform(options, work)


async def _install(client: "Client", options: Options, bodies: list[Body], obsolete: Iterable[Body]) -> None:
    from trimtab.api.gvk import CRD

    for body in bodies:
        ref = Ref.of(body)
        resource = await client.discovery.find(Gvk.of(body["apiVersion"], ref.kind))
        await client.apply(resource, ref.name, ref.namespace, body, field_manager=_MANAGER, force=True)
        say("✔", f"{ref} applied", quiet=options.quiet)
    for body in obsolete:
        await _remove(client, body, options)
    definitions = [body["metadata"]["name"] for body in bodies if body["kind"] == CRD.kind]
    say("◎", "waiting for the kinds to be served", quiet=options.quiet)
    await _established(client, definitions, options.timeout_s)
    say("✔", "the API server serves our kinds", quiet=options.quiet)


async def _add(client: "Client", body: Body, options: Options) -> None:
    """Apply what watches Trimtab, if the cluster serves its kind."""
    from trimtab.kube.errors import UnknownKind

    ref = Ref.of(body)
    try:
        resource = await client.discovery.find(Gvk.of(body["apiVersion"], ref.kind))
    except UnknownKind:
        say("◎", f"{ref} left out: the cluster does not serve {ref.kind} ({body['apiVersion']})", quiet=options.quiet)
        return
    await client.apply(resource, ref.name, ref.namespace, body, field_manager=_MANAGER, force=True)
    say("✔", f"{ref} applied", quiet=options.quiet)


async def _remove(client: "Client", body: Body, options: Options) -> None:
    """Remove a binding that an installation with other flags has left, if it is there and carries our label."""
    from trimtab.kube.errors import NotFound

    ref = Ref.of(body)
    resource = await client.discovery.find(Gvk.of(body["apiVersion"], ref.kind))
    try:
        live = await client.get(resource, ref.name, ref.namespace)
        if body["metadata"]["labels"].items() <= live["metadata"].get("labels", {}).items():
            await client.delete(resource, ref.name, ref.namespace, uid=live["metadata"]["uid"])
            say("✔", f"{ref} removed: it belongs to an installation with other flags", quiet=options.quiet)
    except NotFound:
        return


async def _established(client: "Client", names: Iterable[str], timeout_s: float) -> None:
    """Return when the API server serves every definition of `names`; fail when it refuses one or takes too long."""
    from trimtab.api.gvk import CRD

    resource = await client.discovery.find(CRD)
    waiting = list(names)
    try:
        async with asyncio.timeout(timeout_s):
            while waiting:
                live = await client.get(resource, waiting[0])
                # A definition just made has a status whose conditions are null.
                conditions = {one["type"]: one for one in live.get("status", {}).get("conditions") or ()}
                for refusal in ("NonStructuralSchema", "NamesAccepted"):
                    _check(waiting[0], refusal, conditions)
                if conditions.get("Established", {}).get("status") == "True":
                    waiting.pop(0)
                else:
                    await SystemClock().sleep(_LOOK_AGAIN_S)
    except TimeoutError:
        raise Failure(
            Code.DIFFERS,
            f"CustomResourceDefinition/{waiting[0]} is not Established after {timeout_s:g} s: "
            f"`kubectl describe crd {waiting[0]}` says why; --timeout allows more time",
        ) from None


def _check(name: str, type_: str, conditions: Body) -> None:
    """Fail when the condition says that the API server refuses the definition."""
    bad = "True" if type_ == "NonStructuralSchema" else "False"
    condition = conditions.get(type_, {})
    if condition.get("status") == bad:
        raise Failure(Code.WRONG, f"CustomResourceDefinition/{name} is refused: {condition.get('message', type_)}")
