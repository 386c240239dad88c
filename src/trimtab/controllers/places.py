"""Which cluster each app's objects go to; other clusters are connected when an app asks, and left when none does.

Apps with the same kubeconfig share one connection: discovery, watches and what is tracked. Another kubeconfig in the
Secret makes another connection. What is wrong with one cluster is the trouble of its apps alone: no worker waits for
it, and those apps get another pass when it answers again.
"""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterator
from typing import Final

from trimtab.api.names import Reason
from trimtab.base.clock import Clock
from trimtab.base.errors import Transient, TrimtabError, Waiting
from trimtab.base.fuse import Fuse
from trimtab.base.http import Transport
from trimtab.base.tasks import Tasks
from trimtab.controllers import kubeconfig
from trimtab.controllers.acting import Acting
from trimtab.controllers.kubeconfig import Entry
from trimtab.controllers.place import Place
from trimtab.kube.client import Client
from trimtab.kube.config import ClusterConfig
from trimtab.kube.errors import NO_ANSWER, ApiError, StaleGroup, UnknownKind
from trimtab.kube.limiter import Limiter
from trimtab.manifests.refs import Gvk, Key
from trimtab.targets.kubernetes.target import KubernetesTarget

log = logging.getLogger(__name__)

PATIENCE_S: Final = 2.0
"""How long a pass waits for a connection before it makes room for others."""
GRACE_S: Final = 4.0
"""A cluster that does not answer for so long makes its apps not ready."""
LOOK_S: Final = 2.0
_SECRETS_EVERY_S = 15.0
_SECRET_FRESH_S = 2.0
_BACKOFF_S = (1.0, 30.0)
_PROBE_S = 10.0
_IN_FLIGHT = 16
_NAMESPACE = Gvk("", "v1", "Namespace")

Furnish = Callable[[Client, Tasks, str], KubernetesTarget]
"""Makes the target of a cluster: its client, the tasks that live as long as it, the namespace to protect."""


class Remote:
    """The connection to one cluster with one set of credentials, kept open by a task of its own.

    `place` is there once it was reached, `problem` says why it cannot be used now. `moved` is called when one of the
    two changes.
    """

    def __init__(
        self,
        config: ClusterConfig,
        transport: Transport,
        clock: Clock,
        furnish: Furnish,
        own: Place,
        moved: Callable[["Remote"], None],
    ) -> None:
        self.config = config
        self.place: Place | None = None
        self.problem = ""
        self.first = asyncio.Event()
        self._clock = clock
        self._furnish = furnish
        self._own = own
        self._moved = moved
        self._fuse = Fuse(transport, clock)
        self._tasks = Tasks(f"cluster {config.server}")
        self._client = Client(config, self._fuse, limiter=Limiter(slots=_IN_FLIGHT), clock=clock)

    def start(self) -> None:
        """Begin to connect."""
        self._tasks.keep(self._live, name="connection")

    async def close(self) -> None:
        """End everything that it keeps open."""
        await self._tasks.close()

    async def _live(self) -> None:
        pause, longest = _BACKOFF_S
        while self.place is None:
            try:
                await kubeconfig.check_address(self.config)
                self.place, self.problem = await self._connect(), ""
                log.info("connected to the cluster at %s", self._client.server)
            except (*NO_ANSWER, UnknownKind, StaleGroup) as failure:
                self.problem = str(failure)
                self.first.set()
                self._moved(self)
                await self._clock.sleep(pause)
                pause = min(pause * 2, longest)
        self.first.set()
        self._moved(self)
        while True:
            await self._clock.sleep(LOOK_S)
            await self._look()

    async def _connect(self) -> Place:
        await self._client.discovery.start(self._tasks)
        address = "address-" + hashlib.sha256(str(self.config.server).encode()).hexdigest()
        ids: tuple[str, ...] = (address,)
        try:
            body = await self._client.get(await self._client.discovery.find(_NAMESPACE), "kube-system")
            ids = (str(body["metadata"]["uid"]), address)
        except ApiError as failure:
            if failure.transient or failure.status == 401:
                raise
            # who may not look at kube-system knows the cluster by its address alone
            log.info("the cluster at %s is known by its address: %s", self._client.server, failure)
        home = ids[0] in self._own.ids
        protected = self._own.protected if home else ""
        return Place(self._client, self._furnish(self._client, self._tasks, protected), ids, home, protected)

    async def _look(self) -> None:
        """Notice that it went silent, or that it answers again."""
        if self._fuse.problem:
            with contextlib.suppress(TimeoutError, *NO_ANSWER):
                async with asyncio.timeout(_PROBE_S):
                    await self._client.request("GET", "/version", priority=0)
        silent = self._fuse.problem if self._clock.monotonic() - self._fuse.since >= GRACE_S else ""
        if bool(silent) != bool(self.problem):
            self.problem = silent
            log.info("the cluster at %s %s", self._client.server, silent or "answers again")
            self._moved(self)


class Places:
    """Knows the cluster of every app. `wake` gives an app another pass."""

    def __init__(
        self,
        own: Place,
        transport: Transport,
        clock: Clock,
        tasks: Tasks,
        furnish: Furnish,
        wake: Callable[[Key], None],
    ) -> None:
        self.own = own
        self._tasks = tasks
        self._transport = transport
        self._clock = clock
        self._furnish = furnish
        self._wake = wake
        self._remotes: dict[str, Remote] = {}
        self._using: dict[Key, str] = {}
        self._entries: dict[Key, Entry] = {}
        self._read: dict[Entry, tuple[float, bytes]] = {}
        self._seen: dict[Entry, str] = {}
        self._closing: set[Remote] = set()

    def __iter__(self) -> Iterator[Place]:
        yield self.own
        yield from (remote.place for remote in self._remotes.values() if remote.place is not None)

    async def of(self, ks: Acting) -> Place:
        """The cluster of `ks`, ready to be asked.

        Raises Terminal for a kubeconfig that asks for what it may not, Transient for a cluster that cannot be used
        now, Waiting while it is being connected.
        """
        entry = kubeconfig.entry_of(ks)
        if entry is None:
            self.leave(ks.key)
            return self.own
        self._entries[ks.key] = entry
        remote = await self._remote(ks.key, entry)
        if not remote.first.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await remote.first.wait()
        where = f"the cluster at {remote.config.server}, which the kubeconfig in {entry} leads to,"
        if remote.problem:
            words = f"{where} cannot be used: {remote.problem}"
            raise Transient(Reason.RECONCILIATION_FAILED, words)
        if remote.place is None:
            raise Waiting(Reason.PROGRESSING, f"{where} is being connected")
        return remote.place

    async def confirm(self, ks: Acting, place: Place) -> None:
        """Return if `ks` still leads to `place`, and not only as far as that was read a moment ago.

        Asked before the first deletion of a pass: what somebody has turned to another cluster must lose nothing in the
        old one. Raises Transient.
        """
        entry = kubeconfig.entry_of(ks)
        if entry is None:
            return
        self._read.pop(entry, None)
        if (await self._remote(ks.key, entry)).place is not place:
            words = f"nothing is deleted: {entry} leads to another cluster by now, or with other credentials"
            raise Transient(Reason.PRUNE_FAILED, words)

    def leave(self, key: Key) -> None:
        """The app `key` needs no other cluster, or is gone."""
        self._entries.pop(key, None)
        if self._using.pop(key, None) is not None:
            self._sweep()

    async def run(self) -> None:
        """Look for Secrets that changed, for ever; ends every connection when it is cancelled."""
        try:
            while True:
                await self._clock.sleep(_SECRETS_EVERY_S)
                await asyncio.gather(*map(self._look, set(self._entries.values())))
        except asyncio.CancelledError:
            remotes = [*self._remotes.values(), *self._closing]
            self._remotes.clear()
            await asyncio.gather(*(remote.close() for remote in remotes))
            raise

    async def _remote(self, key: Key, entry: Entry) -> Remote:
        text = await self._text(entry)
        digest = hashlib.sha256(text).hexdigest()
        remote = self._remotes.get(digest)
        if remote is None:
            config = kubeconfig.understood(text, entry, self._clock)
            remote = self._remotes[digest] = Remote(
                config, self._transport, self._clock, self._furnish, self.own, self._moved
            )
            remote.start()
        if self._using.get(key) != digest:
            self._using[key] = digest
            self._sweep()
        return remote

    async def _text(self, entry: Entry) -> bytes:
        known = self._read.get(entry)
        if known is not None and self._clock.monotonic() - known[0] < _SECRET_FRESH_S:
            return known[1]
        try:
            text = await kubeconfig.read(self.own.client, entry)
        except TrimtabError as failure:
            self._read.pop(entry, None)
            self._seen[entry] = str(failure)
            raise
        self._read[entry] = (self._clock.monotonic(), text)
        self._seen[entry] = hashlib.sha256(text).hexdigest()
        return text

    async def _look(self, entry: Entry) -> None:
        """Wake the apps of a Secret that is not what it was."""
        before = self._seen.get(entry)
        with contextlib.suppress(TrimtabError, *NO_ANSWER):
            await self._text(entry)
        if before is not None and self._seen.get(entry) != before:
            for key in [key for key, named in self._entries.items() if named == entry]:
                self._wake(key)

    def _moved(self, remote: Remote) -> None:
        for key, digest in list(self._using.items()):
            if self._remotes.get(digest) is remote:
                self._wake(key)

    def _sweep(self) -> None:
        """Forget what no app refers to."""
        used, named = set(self._using.values()), set(self._entries.values())
        for digest in [digest for digest in self._remotes if digest not in used]:
            remote = self._remotes.pop(digest)
            log.info("no app uses the cluster at %s any more with these credentials", remote.config.server)
            self._closing.add(remote)
            self._tasks.spawn(self._close(remote), name="close")
        for held in (self._read, self._seen):
            for entry in [entry for entry in held if entry not in named]:
                del held[entry]

    async def _close(self, remote: Remote) -> None:
        await remote.close()
        self._closing.discard(remote)
