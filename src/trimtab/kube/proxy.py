"""The proxy that the environment asks for, with the rules of Go programs, so that kubectl and we take one road."""

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from yarl import URL

from trimtab.kube.errors import ConfigError


def from_environment(address: URL, environment: Mapping[str, str]) -> URL | None:
    """HTTPS_PROXY or HTTP_PROXY unless NO_PROXY or a loopback address says otherwise.

    NO_PROXY as golang.org/x/net/http/httpproxy reads it: `*`, hosts, `.suffix`, `host:port`, addresses and networks.
    Raises ConfigError for a proxy that cannot be used.
    """
    text = _variable(environment, f"{address.scheme}_proxy")
    host = (address.host or "").lower().rstrip(".")
    if not text or _loopback(host) or _excluded(host, address.port, _variable(environment, "no_proxy")):
        return None
    try:
        proxy = URL(text if "://" in text else f"http://{text}")
    except ValueError as failure:
        raise ConfigError(f"{address.scheme.upper()}_PROXY is not an address: {failure}") from failure
    if proxy.scheme not in {"http", "https"} or not proxy.host:
        raise ConfigError(f"{address.scheme.upper()}_PROXY: only http and https proxies are supported")
    return proxy


def _variable(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name.upper()) or environment.get(name) or ""


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _excluded(host: str, port: int | None, rules: str) -> bool:
    return any(_matches(host, port, rule.strip().lower()) for rule in rules.split(",") if rule.strip())


def _matches(host: str, port: int | None, rule: str) -> bool:
    if rule == "*":
        return True
    if (network := _network(rule)) is not None:
        return _address_in(host, network)
    name, colon, wanted = rule.rpartition(":")
    if colon and wanted.isdecimal():
        if port != int(wanted):
            return False
        rule = name.strip("[]")
    if rule.startswith(("*.", ".")):
        return host.endswith(rule.removeprefix("*"))
    return host == rule or host.endswith(f".{rule}")


def _network(rule: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(rule, strict=False)
    except ValueError:
        return None


def _address_in(host: str, network: IPv4Network | IPv6Network) -> bool:
    try:
        return ip_address(host) in network
    except ValueError:
        return False
