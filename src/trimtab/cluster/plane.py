"""A real control plane on this machine: etcd, API server, controller-manager, scheduler, and kwok so that Pods run.

Everything it is lies in one directory; several run side by side in several directories. What is in it survives a
stop and a crash: the next start goes on with the same objects, tokens and certificate authority.
"""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from yarl import URL

from trimtab.base.errors import Terminal
from trimtab.cluster import children, components, pki, port, record
from trimtab.cluster.children import Child
from trimtab.cluster.components import Component
from trimtab.cluster.kubeconfig import kubeconfig
from trimtab.cluster.layout import Layout, write_private
from trimtab.cluster.probe import Probe
from trimtab.toolchain import binaries as toolchain

_READY_S = 60.0
_POLL_S = 0.05
_PATIENCE_S = 5.0
_LOG_LINES = 6

_ADMIN = ("admin", ("system:masters",))
_IDENTITIES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "kube-controller-manager": ("system:kube-controller-manager", ()),
    "kube-scheduler": ("system:kube-scheduler", ()),
    "kwok": ("kwok", ("system:masters",)),
}


class ControlPlane:
    """A control plane in `dir`: started by `async with`, or by `start` and `stop`.

    `port` is that of the API server on loopback; without it the last one is taken again, else any that is free. With
    `kwok` there is a Node on which every Pod becomes Ready; without, Pods stay Pending. With `audit` every request is
    in `audit_log` with the user who made it, by the time it is answered. Must be started from the main thread.
    """

    def __init__(
        self,
        dir: Path,  # noqa: A002 - what it is called on the command line
        *,
        port: int | None = None,
        kwok: bool = True,
        audit: bool = False,
        binaries: Mapping[str, Path] | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self.layout = Layout(dir.absolute())
        self.server = ""
        self._port = port
        self._kwok = kwok
        self._audit = audit
        self._binaries = binaries
        self._progress = progress
        self._children: dict[str, Child] = {}
        self._components: dict[str, Component] = {}
        self._authority: pki.Authority | None = None
        self._held = contextlib.ExitStack()

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, complete in itself."""
        return self.layout.kubeconfig

    @property
    def ca(self) -> bytes:
        """The certificate authority, PEM."""
        return self._trusted().pem

    @property
    def token(self) -> str:
        """A bearer token of the administrator."""
        return pki.admin_token(self.layout)

    @property
    def audit_log(self) -> Path:
        """One JSON event per line; there with `audit` only."""
        return self.layout.audit_log

    @property
    def pids(self) -> Mapping[str, int]:
        """The processes by component, for those that measure or harm them."""
        return {name: child.pid for name, child in self._children.items()}

    @property
    def binaries(self) -> Mapping[str, Path]:
        """What it runs, and kubectl."""
        return self._binaries or {}

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> bytes:
        """The text of a kubeconfig for any user and groups; RBAC decides what it is good for."""
        return kubeconfig(self.server, self.ca, user, self._trusted().client(user, groups))

    async def __aenter__(self) -> "ControlPlane":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Return when it serves, `default` is furnished and the Node is Ready.

        Raises AlreadyRunning if another process runs one here, and Terminal with the last words of a component that
        did not come up.
        """
        self.layout.make()
        self._held.enter_context(record.claim(self.layout))
        try:
            await self._bury_leftovers()
            self._write_record(ready=False)
            if self._binaries is None:
                self._binaries = await toolchain.ensure("controlplane", progress=self._progress)
            await self._start(self._binaries)
            self._write_record(ready=True)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End all processes, clients before servers. Objects stay in the directory."""
        try:
            for names in (("kwok", "kube-scheduler", "kube-controller-manager"), ("kube-apiserver",), ("etcd",)):
                ending = [self._children[name] for name in names if name in self._children]
                await children.end(ending, patience_s=_PATIENCE_S)
            self._children.clear()
        finally:
            # A cancellation in the middle must not leave the others behind.
            await children.end(self._children.values(), patience_s=0)
            self._children.clear()
            self.layout.record.unlink(missing_ok=True)
            self._held.close()

    async def restart(self, name: str, *, number: signal.Signals = signal.SIGKILL) -> None:
        """End one component with a signal and start it again; returns when the API server serves. For fault tests."""
        ending = self._children[name]
        ending.signal(number)
        await self._until(lambda: _now(ending.code is not None), f"{name} to end")
        self._launch(self._components[name])
        self._write_record(ready=True)
        async with contextlib.aclosing(self._probe()) as probe:
            await self._until(probe.ready, "the API server to be ready")

    def dead(self) -> Mapping[str, str]:
        """Components that ended although nobody asked them to, with how and their last words."""
        return {name: self._epitaph(child) for name, child in self._children.items() if child.code is not None}

    async def _start(self, binaries: Mapping[str, Path]) -> None:
        with port.reserve(self._port, preferred=_last_port(self.layout)) as number:
            self.server = f"https://127.0.0.1:{number}"
            self._furnish()
            self._launch(components.etcd(binaries, self.layout))
            self._launch(components.apiserver(binaries, self.layout, number, audit=self._audit))
            self._write_record(ready=False)
            async with contextlib.aclosing(self._probe()) as probe:
                await self._until(probe.ready, "the API server to be ready", ask=probe.complaints)
                self._launch(components.controller_manager(binaries, self.layout))
                self._launch(components.scheduler(binaries, self.layout))
                if self._kwok:
                    self._launch(components.kwok(binaries, self.layout))
                    await self._until(
                        lambda: probe.create("/api/v1/nodes", components.node()), "the Node to be created"
                    )
                self._write_record(ready=False)
                account = "/api/v1/namespaces/default/serviceaccounts/default"
                await self._until(lambda: probe.exists(account), "the service account default/default")
                if self._kwok:
                    await self._until(lambda: probe.node_ready(components.NODE), f"Node {components.NODE} to be Ready")

    def _furnish(self) -> None:
        """Write what the components read."""
        layout = self.layout
        self._authority = authority = pki.authority(layout)
        pki.service_account_keys(layout)
        pki.admin_token(layout)
        serving = authority.server("kube-apiserver", components.SERVICE_HOSTS)
        write_private(layout.pki / "apiserver.crt", serving.certificate)
        write_private(layout.pki / "apiserver.key", serving.key)
        for name, (user, groups) in _IDENTITIES.items():
            write_private(layout.component_kubeconfig(name), self.kubeconfig_for(user, groups))
        write_private(layout.kubeconfig, self.kubeconfig_for(*_ADMIN))
        write_private(layout.config / "scheduler.yaml", components.scheduler_config(layout))
        write_private(layout.config / "audit-policy.yaml", components.AUDIT_POLICY)

    def _launch(self, component: Component) -> None:
        self._components[component.name] = component
        self._children[component.name] = children.start(
            component.name,
            component.argv,
            cwd=self.layout.root,
            # kwok reads ~/.kwok: nothing of the user's must get in here.
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.layout.root)},
            log=self.layout.log(component.name),
        )

    def _probe(self) -> Probe:
        return Probe(self.server, self.layout.pki / "ca.crt", self.token)

    async def _until(
        self,
        met: Callable[[], Awaitable[bool]],
        what: str,
        *,
        ask: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        try:
            async with asyncio.timeout(_READY_S):
                while not await met():
                    if dead := self.dead():
                        raise Terminal("ComponentFailed", f"waiting for {what}: {'; '.join(dead.values())}")
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            words = f": {await ask()}" if ask else ""
            raise Terminal(
                "NotReady",
                f"waited {_READY_S:.0f} s for {what} in vain{words}; the logs are in {self.layout.logs}",
            ) from None

    def _epitaph(self, child: Child) -> str:
        log = self.layout.log(child.name)
        words = log.read_text(errors="replace").strip().splitlines()[-_LOG_LINES:] if log.exists() else []
        return f"{child.name} ended with {child.code}: {' | '.join(words)} (all of it in {log})"

    def _write_record(self, *, ready: bool) -> None:
        running = (record.Running(name=name, identity=child.identity) for name, child in self._children.items())
        record.write(self.layout, record.Record(server=self.server, ready=ready, components=tuple(running)))

    async def _bury_leftovers(self) -> None:
        """End what a crashed predecessor left: etcd's data must not have two owners."""
        last = record.read(self.layout)
        for component in last.components if last else ():
            component.identity.signal(signal.SIGKILL)
            while component.identity.alive:  # noqa: ASYNC110 - killed: this takes an instant
                await asyncio.sleep(_POLL_S)

    def _trusted(self) -> pki.Authority:
        if self._authority is None:
            self._authority = pki.authority(self.layout)
        return self._authority


async def _now(met: bool) -> bool:
    return met


def _last_port(layout: Layout) -> int | None:
    """The port of the last start, so that a kubeconfig somebody copied stays good."""
    if not layout.kubeconfig.exists():
        return None
    lines = (line.strip() for line in layout.kubeconfig.read_text().splitlines())
    server = next((line.removeprefix("server: ") for line in lines if line.startswith("server: ")), "")
    return URL(server).port if server else None
