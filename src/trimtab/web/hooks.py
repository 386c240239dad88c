"""Which Receiver a path belongs to, and the Secret behind it.

A path is a secret. It is looked up by a keyed digest, so that the time of a look-up says nothing about other paths, and
believed only where it follows from the Secret as it is now: a token that was taken back is worth nothing seconds later.
"""

import base64
import binascii
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from trimtab.api.receiver import Receiver, Sender, webhook_path
from trimtab.base.clock import Clock
from trimtab.base.errors import TrimtabError
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, Unreachable
from trimtab.kube.informer import Applied, Event
from trimtab.manifests.refs import Gvk, Key
from trimtab.web.delivery import Refused, Why
from trimtab.web.fresh import Fresh

SECRET_FOR_S: Final = 5.0
_FAILURE_FOR_S: Final = 1.0
_MOST_SECRETS: Final = 10_000
_SECRET: Final = Gvk("", "v1", "Secret")
_VOUCHED: Final = (Sender.GENERIC_OIDC, Sender.GCR)
_OF_SECRETS: Final = ("token", "email", "audience")
"""What of a Secret is kept in memory."""


@dataclass(frozen=True, slots=True)
class Hook:
    """A Receiver, and what its Secret has."""

    receiver: Receiver
    data: Mapping[str, bytes] = field(repr=False)

    @property
    def token(self) -> bytes:
        """What is shared with the caller; empty where an issuer vouches for it."""
        return self.data.get("token", b"")

    def text(self, name: str) -> str:
        """A value of the Secret that is words; empty if it is not there."""
        return self.data.get(name, b"").decode(errors="replace").strip()


class Hooks:
    """The Receivers by their paths; to be told of every event of their kind. `complete`: whether it was, of all."""

    def __init__(self, client: Client, clock: Clock, complete: Callable[[], bool] = lambda: True) -> None:
        self._client = client
        self._complete = complete
        self._salt = secrets.token_bytes(32)
        self._receivers: dict[Key, Receiver] = {}
        self._paths: dict[bytes, set[Key]] = {}
        self._secrets: Fresh[tuple[str, str], Mapping[str, bytes]] = Fresh(
            clock,
            good_s=SECRET_FOR_S,
            bad_s=_FAILURE_FOR_S,
            most=_MOST_SECRETS,
            expected=(ApiError, Unreachable, TrimtabError),
        )

    def hear(self, event: Event[Receiver]) -> None:
        """Take note of what happened to a Receiver."""
        old = event.old
        if old is not None:
            self._receivers.pop(old.key, None)
            if (keys := self._paths.get(self._digest(old.status.webhook_path))) is not None:
                keys.discard(old.key)
                if not keys:
                    del self._paths[self._digest(old.status.webhook_path)]
        if isinstance(event, Applied) and not event.new.metadata.deleted and event.new.status.webhook_path:
            self._receivers[event.new.key] = event.new
            self._paths.setdefault(self._digest(event.new.status.webhook_path), set()).add(event.new.key)

    def claimants(self, path: str) -> list[Receiver]:
        """The Receivers whose status says that `path` is theirs. More than one only if somebody wrote a status.

        Raises Refused if there is none.
        """
        found = [self._receivers[key] for key in sorted(self._paths.get(self._digest(path), ()))]
        if not found and not self._complete():
            # No forge tries again what is not found.
            raise Refused(503, Why.UNAVAILABLE, "it is not known yet who is here")
        if not found:
            raise _unknown()
        return found

    async def open(self, path: str) -> list[Hook]:
        """The Receivers that `path` belongs to, with their Secrets. Raises Refused if there is none.

        More than one where token, name and namespace make the same text: `ab` of `c` and `a` of `bc`. First those where
        others than we vouch for the caller: whoever asks for less must not take what is meant for them.
        """
        hooks: list[Hook] = []
        refusals: list[Refused] = []
        for receiver in self.claimants(path):
            try:
                hook = await self._load(receiver)
            except Refused as refusal:
                # Anybody who may write a status can claim a path: their trouble is not the owner's.
                refusals.append(refusal)
                continue
            if hmac.compare_digest(webhook_path(hook.token, receiver.key).encode(), path.encode(errors="replace")):
                hooks.append(hook)
        if not hooks:
            raise refusals[0] if refusals else _unknown()
        return sorted(hooks, key=lambda hook: hook.receiver.spec.type not in _VOUCHED)

    async def _load(self, receiver: Receiver) -> Hook:
        reference = receiver.spec.secret_ref
        if reference is None:
            return Hook(receiver, {})
        namespace = receiver.metadata.namespace

        async def load() -> Mapping[str, bytes]:
            body = await self._client.get(await self._client.discovery.find(_SECRET), reference.name, namespace)
            data = body.get("data") or {}
            return {key: base64.b64decode(data[key]) for key in _OF_SECRETS if key in data}

        try:
            data = await self._secrets.get((namespace, reference.name), load)
        except (ApiError, Unreachable, TrimtabError, binascii.Error) as failure:
            raise Refused(503, Why.UNAVAILABLE, "the Secret of the Receiver cannot be read") from failure
        if not data.get("token"):
            raise Refused(503, Why.UNAVAILABLE, "the Secret of the Receiver has no token")
        return Hook(receiver, data)

    def _digest(self, path: str) -> bytes:
        return hmac.digest(self._salt, path.encode(errors="replace"), "sha256")


def _unknown() -> Refused:
    """Nobody is there, or nobody who says so."""
    return Refused(404, Why.UNKNOWN, "there is nothing here")
