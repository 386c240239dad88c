"""The kubeconfig of another cluster, read from a Secret in the app's own namespace."""

import base64
import binascii
from typing import NamedTuple

from trimtab.api.names import Reason
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient
from trimtab.controllers.acting import Acting
from trimtab.kube.client import Client
from trimtab.kube.config import ClusterConfig, parse_kubeconfig
from trimtab.kube.errors import ApiError, ConfigError, NotFound, Unreachable
from trimtab.manifests.refs import Gvk, Key
from trimtab.remotes.reach import NotAllowed, Unresolved, addresses

_SECRET = Gvk("", "v1", "Secret")
_DEFAULT_ENTRIES = ("value", "value.yaml")


class Entry(NamedTuple):
    """One entry of a Secret; without a name it is `value`, else `value.yaml`, as in Flux."""

    secret: Key
    name: str = ""

    def __str__(self) -> str:
        return f"Secret {self.secret}"


def entry_of(ks: Acting) -> Entry | None:
    """Where the kubeconfig of `ks` is; None if its objects go to our own cluster."""
    if ks.spec.kube_config is None or ks.spec.kube_config.secret_ref is None:
        return None
    ref = ks.spec.kube_config.secret_ref
    return Entry(Key(ks.metadata.namespace, ref.name), ref.key)


async def read(client: Client, entry: Entry) -> bytes:
    """The kubeconfig itself. Raises Transient where there is none: somebody may be about to create it."""
    try:
        secret = await client.get(await client.discovery.find(_SECRET), entry.secret.name, entry.secret.namespace)
    except NotFound:
        raise _missing(f"{entry}, which spec.kubeConfig names, does not exist: create it") from None
    except ApiError as failure:
        raise _missing(f"{entry}, which spec.kubeConfig names, cannot be read: {failure}") from failure
    data = secret.get("data") or {}
    names = (entry.name,) if entry.name else _DEFAULT_ENTRIES
    found = next((data[name] for name in names if data.get(name)), None)
    if found is None:
        raise _missing(f"{entry} has no entry {' or '.join(names)} with a kubeconfig: spec.kubeConfig names it")
    try:
        return base64.b64decode(found, validate=True)
    except binascii.Error as failure:
        raise _missing(f"{entry}: the entry is not base64") from failure


def understood(text: bytes, entry: Entry, clock: Clock) -> ClusterConfig:
    """The cluster and credentials that a stranger's kubeconfig has inline. Raises Terminal naming the field."""
    try:
        return parse_kubeconfig(text, trusted=False, label=f"the kubeconfig in {entry}", clock=clock)
    except ConfigError as failure:
        raise Terminal(Reason.RECONCILIATION_FAILED, failure.message) from failure


async def check_address(config: ClusterConfig) -> None:
    """Raise Unreachable if the server's name has no address, or one that nobody may be sent to."""
    try:
        await addresses(config.server.host or "", config.server.port or 443)
    except (Unresolved, NotAllowed) as failure:
        raise Unreachable(str(config.server), str(failure)) from failure


def _missing(message: str) -> Transient:
    return Transient(Reason.RECONCILIATION_FAILED, message)
