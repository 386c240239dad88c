"""`trimtab run`: the controllers, until told to stop."""

import asyncio
import gc
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trimtab.cli.connect import DEFAULT_NAMESPACE, Options
from trimtab.roles.flux_flags import NO_CONFIG_WATCHES, STRICT_SUBSTITUTION, flux_flags
from trimtab.roles.tenancy import Tenancy, account_of

if TYPE_CHECKING:
    from trimtab.roles.settings import Settings


_GARBAGE = (10_000, 20, 20)
"""So many more objects before the young ones are looked through for garbage; so many times before older ones are."""
_CONTROLLERS = (
    "source",
    "kustomize",
    "helm",
    "source-watcher",
    "notification",
    "image-reflector",
    "image-automation",
)


@click.command(epilog="\b\nExample:\n  trimtab run --kubeconfig ~/.kube/config --storage-path /var/lib/trimtab")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="The kubeconfig to use ($KUBECONFIG, in-cluster).")
@click.option("--context", help="The context of the kubeconfig to use.")
@click.option(
    "-n",
    "--namespace",
    default=lambda: os.environ.get("RUNTIME_NAMESPACE", DEFAULT_NAMESPACE),
    show_default=DEFAULT_NAMESPACE,
    help="The controller's own namespace: Leases, shared sources ($RUNTIME_NAMESPACE).",
)
@click.option(
    "--controllers",
    default="source,kustomize,helm,source-watcher",
    show_default=True,
    help="Which of them run here: source, kustomize, helm, source-watcher (ArtifactGenerators), notification "
    "(webhooks, alerts), image-reflector (scans of registries), image-automation (commits of new images). Flux's own "
    "may do the others.",
)
@click.option(
    "--storage-path",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/data"),
    show_default=True,
    help="Directory of the cache: mirrors, contents, artifacts. It may be lost at any time.",
)
@click.option(
    "--ledger-path",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of the ledger of all that is done (`ledger` in --storage-path). It should outlive the Pod.",
)
@click.option("--no-ledger", is_flag=True, help="Keep no ledger.")
@click.option("--storage-addr", default="127.0.0.1:9790", show_default=True, help="Where artifacts are served.")
@click.option("--storage-adv-addr", default="", help="The address under which others reach that (default: the same).")
@click.option(
    "--receiver-addr",
    "--receiverAddr",
    "receiver_addr",
    default="127.0.0.1:9292",
    show_default=True,
    help="Where webhooks are taken, with the controller notification.",
)
@click.option(
    "--events-listen-addr",
    default="",
    metavar="HOST:PORT",
    help="Where events of controllers in other processes are taken, with the controller notification (default: "
    "nowhere; those of this process need no address).",
)
@click.option(
    "--events-addr",
    default="",
    metavar="URL",
    help="Where events are posted to that are told by another process (Flux's flag; example: "
    "--events-addr=http://notification-controller.flux-system.svc.cluster.local./).",
)
@click.option(
    "--events-from",
    type=click.Choice(["namespace", "any"]),
    default="namespace",
    show_default=True,
    help="Whose events are taken there: of the Pods of the controller's own namespace and of this host, or of anybody.",
)
@click.option("--cluster-name", default="", help="What this cluster is called in notifications and commit statuses.")
@click.option(
    "--suspended-too-long",
    default="24h",
    show_default=True,
    metavar="DURATION",
    help="Alerts are told of an object that has been suspended for so long (0s: never).",
)
@click.option(
    "--unknown-too-long",
    default="15m",
    show_default=True,
    metavar="DURATION",
    help="Alerts are told of an object that has been neither ready nor failed for so long (0s: never).",
)
@click.option(
    "--metrics-addr", default="127.0.0.1:8080", show_default=True, help="Where /healthz, /readyz and /metrics are."
)
@click.option(
    "--concurrent", type=click.IntRange(1, 1000), default=32, show_default=True, help="Apps worked on side by side."
)
@click.option(
    "--cross-namespace-refs",
    type=click.Choice(["all", "platform", "none"]),
    help="Which references to objects of other namespaces are followed (platform; with --multi-tenant: none).",
)
@flux_flags
@click.option(
    "--multi-tenant",
    is_flag=True,
    help="Keep tenants apart: every app acts as an account of its own namespace (--default-service-account, or "
    "`default`), applies to that namespace only unless the Namespace object allows more, and refers to no other.",
)
@click.option("--default-service-account", default="", help="Account, in its own namespace, of an app that names none.")
@click.option(
    "--applier",
    default="",
    metavar="NAMESPACE/NAME",
    help="Account of an app that names none, where there is no default (default: this process's own rights).",
)
@click.option(
    "--reader",
    default="",
    metavar="NAMESPACE/NAME",
    help="Account of the shared watches on applied objects (default: this process's own rights).",
)
@click.option(
    "--recheck-every",
    default="6h",
    show_default=True,
    help="How often everything applied is applied again, a little at a time, for changes that raise no event "
    "(example: --recheck-every 30m; 0s never).",
)
@click.option(
    "--deny-private-addresses",
    is_flag=True,
    help="Fetch from public addresses only. Without it a source may be at a private one, if its own address says so: "
    "most git servers and registries are. For installations that strangers may make sources in.",
)
@click.option(
    "--remote-bases",
    "remote_bases",
    multiple=True,
    metavar="URL",
    help="A repository that kustomizations may name bases in; /* at the end allows all below "
    "(example: --remote-bases 'https://github.com/fluxcd/*'). May be given often. Without it, none is fetched.",
)
@click.option(
    "--no-helm-lookup",
    is_flag=True,
    help="Let no chart look objects up while it is rendered; one release says so with trimtab.dev/helm-lookup.",
)
@click.option(
    "--tracing",
    is_flag=True,
    help="Record a trace of every revision, from fetch to healthy, and send it over OTLP/HTTP; where to is said by "
    "$OTEL_EXPORTER_OTLP_ENDPOINT and its like. Needs the extra trimtab[tracing].",
)
@click.option("--leader-elect/--no-leader-elect", default=True, show_default=True, help="Hold Flux's Leases.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@click.pass_obj
def run(
    before: Options | None,
    kubeconfig: Path | None,
    context: str | None,
    namespace: str,
    controllers: str,
    storage_path: Path,
    ledger_path: Path | None,
    no_ledger: bool,
    storage_addr: str,
    storage_adv_addr: str,
    receiver_addr: str,
    events_listen_addr: str,
    events_addr: str,
    events_from: str,
    cluster_name: str,
    suspended_too_long: str,
    unknown_too_long: str,
    metrics_addr: str,
    concurrent: int,
    cross_namespace_refs: str | None,
    no_cross_namespace_refs: bool,
    feature_gates: dict[str, bool],
    watch_configs_label_selector: str,
    watch_label_selector: str,
    leader_election_lease_duration: float,
    leader_election_renew_deadline: float,
    leader_election_retry_period: float,
    sops_age_secret: str,
    sops_vault_configmap: str,
    multi_tenant: bool,
    default_service_account: str,
    applier: str,
    reader: str,
    recheck_every: str,
    deny_private_addresses: bool,
    remote_bases: tuple[str, ...],
    no_helm_lookup: bool,
    tracing: bool,
    leader_elect: bool,
    log_level: str,
) -> None:
    """Run the controllers: pull, render, apply, watch, heal, until told to stop."""
    from trimtab.base import logs
    from trimtab.roles.settings import Settings

    logs.setup(log_level.upper())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # secrets of every app are in our memory
    tenancy = Tenancy.given(
        multi_tenant, cross_namespace_refs, no_cross_namespace_refs, default_service_account, applier
    )
    reached = Options.given(kubeconfig, context, namespace, None, before=before)
    settings = Settings(
        controllers=_controllers(controllers),
        kubeconfig=reached.kubeconfig,
        context=reached.context,
        storage_path=storage_path,
        storage_addr=storage_addr,
        storage_adv_addr=storage_adv_addr or storage_addr,
        metrics_addr=metrics_addr,
        concurrent=concurrent,
        namespace=namespace,
        cross_namespace_refs=tenancy.cross_namespace_refs,
        default_service_account=tenancy.default_service_account,
        applier=tenancy.applier,
        reader=account_of(reader, "--reader"),
        leader_elect=leader_elect,
        selector=_shared(watch_label_selector, controllers),
        lease_s=_lease(leader_election_lease_duration, leader_election_renew_deadline, leader_election_retry_period),
        recheck_every_s=_duration(recheck_every, "--recheck-every"),
        multi_tenant=tenancy.strict,
        receiver_addr=receiver_addr,
        events_addr=events_listen_addr,
        events_to=_events_to(events_addr),
        events_from=events_from,
        cluster_name=cluster_name,
        tracing=_tracing(asked=tracing),
        ledger=None if no_ledger else ledger_path or storage_path / "ledger",
        suspended_too_long_s=_duration(suspended_too_long, "--suspended-too-long"),
        unknown_too_long_s=_duration(unknown_too_long, "--unknown-too-long"),
        deny_private=deny_private_addresses,
        remote_bases=_repositories(remote_bases),
        strict_substitution=feature_gates[STRICT_SUBSTITUTION],
        watched_configs="" if feature_gates[NO_CONFIG_WATCHES] else watch_configs_label_selector,
        helm_lookup=not no_helm_lookup,
        sops_age_secret=sops_age_secret,
        sops_vault_configmap=sops_vault_configmap,
    )
    sys.exit(asyncio.run(_until_told(settings)))


def _controllers(text: str) -> frozenset[str]:
    chosen = frozenset(name.strip() for name in text.split(","))
    if not chosen or chosen - set(_CONTROLLERS):
        words = f"{text!r}: choose from {', '.join(_CONTROLLERS[:-1])} and {_CONTROLLERS[-1]}"
        raise click.BadParameter(words, param_hint="--controllers")
    return chosen


def _shared(selector: str, controllers: str) -> str:
    """The selector, for controllers that can share their work."""
    if selector and "notification" in _controllers(controllers):
        raise click.BadParameter(
            "Alerts and Receivers are for the objects of all shards: run the controller notification in a process of "
            "its own, without a selector",
            param_hint="--watch-label-selector",
        )
    return selector


def _lease(duration_s: float, deadline_s: float, period_s: float) -> tuple[float, float, float]:
    if not 0 < period_s < deadline_s < duration_s:
        words = "must be longer than --leader-election-renew-deadline, and that than --leader-election-retry-period"
        raise click.BadParameter(words, param_hint="--leader-election-lease-duration")
    if duration_s < 1:
        raise click.BadParameter("must be a second at least", param_hint="--leader-election-lease-duration")
    return duration_s, deadline_s, period_s


def _repositories(patterns: tuple[str, ...]) -> tuple[str, ...]:
    from trimtab.base.errors import Terminal
    from trimtab.remotes.git.address import parse_address

    for pattern in patterns:
        try:
            address = parse_address(pattern.removesuffix("/*") + ("/x" if pattern.endswith("/*") else ""))
        except Terminal as failure:
            raise click.BadParameter(str(failure), param_hint="--remote-bases") from None
        if not address.over_http:
            words = f"{pattern!r}: repositories of bases are fetched over https only, without credentials"
            raise click.BadParameter(words, param_hint="--remote-bases")
    return patterns


def _events_to(text: str) -> str:
    if text and not text.startswith(("http://", "https://")):
        words = f"{text!r} is not an address of http; where events are taken is --events-listen-addr"
        raise click.BadParameter(words, param_hint="--events-addr")
    return text


def _duration(text: str, flag: str) -> float:
    from trimtab.base.durations import parse_duration

    try:
        return parse_duration(text)
    except ValueError as failure:
        raise click.BadParameter(str(failure), param_hint=flag) from None


def _tracing(*, asked: bool) -> bool:
    from trimtab.roles.recording import obstacle

    if asked and (why := obstacle(os.environ)):
        raise click.BadParameter(why, param_hint="--tracing")
    return asked


async def _until_told(settings: "Settings") -> int:
    """Run until SIGTERM or SIGINT; finish what is in flight."""
    from trimtab.roles.process import Process

    # What is loaded by now stays: to look through it, and as often as Python does, took a twelfth of our CPU.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stop.set)
    return await Process(settings, identity=f"{socket.gethostname()}_{os.getpid()}").run(stop)
