"""Flags of Flux's controllers that platforms pass: taken where they have a meaning, else refused with a reason."""

from collections.abc import Callable
from typing import Any, Final

import click

from trimtab.api.names import WATCH_ENABLED, WATCH_LABEL
from trimtab.base.durations import parse_duration
from trimtab.manifests import selectors

STRICT_SUBSTITUTION: Final = "StrictPostBuildSubstitutions"
NO_CONFIG_WATCHES: Final = "DisableConfigWatchers"
_GATES: Final = {STRICT_SUBSTITUTION: True, NO_CONFIG_WATCHES: False}
"""Gates of Flux that are served, and their defaults there."""

_WITHOUT_EFFECT: Final = {
    "concurrent-ssa": "objects of a stage go side by side anyway",
    "requeue-dependency": "dependents are woken when what they wait for moves",
    "http-retry": "artifacts are fetched again with a growing pause",
    "interval-jitter-percentage": "an interval at rest costs no requests that would have to be spread",
    "kube-api-qps": "requests are bounded by what is in flight",
    "kube-api-burst": "requests are bounded by what is in flight",
    "token-cache-max-size": "no tokens of clouds are asked for",
    "min-retry-delay": "the pause between two tries grows by itself, up to the retry interval of the object",
    "max-retry-delay": "the pause between two tries grows by itself, up to the retry interval of the object",
    "artifact-retention-ttl": "a superseded artifact stays for a minute",
    "artifact-retention-records": "two superseded artifacts stay at most",
    "log-encoding": "lines are written for people",
    "health-addr": "/healthz and /readyz are at --metrics-addr",
    "graceful-shutdown-timeout": "what is under way gets twenty seconds",
    "leader-election-release-on-cancel": "the Leases are always let go",
}
_NOT_SERVED: Final = {
    "default-kubeconfig-service-account": "kubeconfigs hold their credentials",
    "default-decryption-service-account": "an app names the account that asks for its keys",
    "override-manager": "of other field managers only those of kubectl are taken over",
    "custom-apply-stage-kinds": "the order of kinds is fixed",
    "insecure-kubeconfig-exec": "kubeconfigs from Secrets never run programs",
    "insecure-kubeconfig-tls": "the certificates of other clusters are always checked",
    "export-http-path-metrics": "the paths of webhooks are secrets",
}


def flux_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let `command` be called with them; those with a meaning arrive as parameters."""
    for name, why in _WITHOUT_EFFECT.items():
        command = _hidden(name, _say(why))(command)
    for name, why in _NOT_SERVED.items():
        command = _hidden(name, _refuse(why))(command)
    command = _switch("watch-all-namespaces", _must_be(True, "all namespaces are watched"))(command)
    command = _switch(
        "enable-leader-election", _must_be(True, "Leases are held; --no-leader-elect is for one process")
    )(command)
    command = _switch(
        "no-remote-bases", _must_be(True, "remote bases are followed where --remote-bases names their repository")
    )(command)
    command = click.option(
        "--feature-gates",
        metavar="NAME=true|false,…",
        default="",
        callback=_gates,
        help="As in Flux; served are " + ", ".join(f"{name} ({str(on).lower()})" for name, on in _GATES.items()) + ".",
    )(command)
    command = click.option(
        "--watch-configs-label-selector",
        metavar="SELECTOR",
        default=f"{WATCH_LABEL}={WATCH_ENABLED}",
        show_default=True,
        help="As in Flux: ConfigMaps and Secrets whose changes are told at once to whoever refers to them.",
    )(command)
    command = click.option(
        "--watch-label-selector",
        metavar="SELECTOR",
        default="",
        callback=_selector,
        help="As in Flux: look after the objects that it selects only; other processes do the others "
        "(example: --watch-label-selector='sharding.fluxcd.io/key=shard1').",
    )(command)
    for name, default, what in (
        ("retry-period", "5s", "how often it is renewed, or looked at"),
        ("renew-deadline", "10s", "without a renewal for so long the holder gives up"),
        ("lease-duration", "15s", "so long a Lease that nobody renews keeps others waiting"),
    ):
        command = click.option(
            f"--leader-election-{name}",
            metavar="DURATION",
            default=default,
            show_default=True,
            callback=_seconds,
            help=f"As in Flux: {what}.",
        )(command)
    command = click.option(
        "--sops-age-secret",
        default="",
        help="As in Flux: Secret in our namespace with age keys, for apps that name none.",
    )(command)
    command = click.option(
        "--sops-vault-configmap",
        default="",
        help="As in Flux: ConfigMap, in our own namespace, that lists the Vaults that service accounts sign in to.",
    )(command)
    return click.option(
        "--no-cross-namespace-refs",
        type=click.BOOL,
        is_flag=False,
        flag_value="true",
        default="false",
        help="As in Flux: the same as --cross-namespace-refs=none.",
    )(command)


Check = Callable[[click.Context, click.Parameter, Any], Any]


def _hidden(name: str, check: Check) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(f"--{name}", hidden=True, expose_value=False, callback=check)


def _switch(name: str, check: Check) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        f"--{name}",
        type=click.BOOL,
        is_flag=False,
        flag_value="true",
        hidden=True,
        expose_value=False,
        callback=check,
    )


def _say(why: str) -> Check:
    def check(_context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is not None:
            click.echo(f"{parameter.opts[0]} has no effect here: {why}", err=True)

    return check


def _refuse(why: str) -> Check:
    def check(_context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is not None:
            raise click.BadParameter(
                f"this flag of Flux is not served: {why}; leave it out", param_hint=parameter.opts[0]
            )

    return check


def _gates(_context: click.Context, parameter: click.Parameter, value: str) -> dict[str, bool]:
    """The gates with what was said about them."""
    found = dict(_GATES)
    for one in filter(None, map(str.strip, value.split(","))):
        name, _, said = one.partition("=")
        if name not in _GATES:
            words = f"the gate {name!r} of Flux is not served; served are {', '.join(_GATES)}"
            raise click.BadParameter(words, param_hint=parameter.opts[0])
        if said.lower() not in ("true", "false"):
            raise click.BadParameter(f"{name} is true or false, not {said!r}", param_hint=parameter.opts[0])
        found[name] = said.lower() == "true"
    return found


def _selector(_context: click.Context, parameter: click.Parameter, value: str) -> str:
    """A selector that makes sense; the API server is who selects."""
    try:
        selectors.parse(value)
    except ValueError as failure:
        raise click.BadParameter(str(failure), param_hint=parameter.opts[0]) from None
    return value.strip()


def _seconds(_context: click.Context, parameter: click.Parameter, value: str) -> float:
    try:
        return parse_duration(value)
    except ValueError as failure:
        raise click.BadParameter(str(failure), param_hint=parameter.opts[0]) from None


def _must_be(wanted: bool, why: str) -> Check:
    def check(_context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is not None and value is not wanted:
            raise click.BadParameter(f"{why}; this cannot be changed", param_hint=parameter.opts[0])

    return check
