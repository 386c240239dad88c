"""The ground of the process faults: a control plane of its own, which may be harmed, and `trimtab run` as a process."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.e2e.world import APPS, SOURCES, Api, ApiFailure, Controller, Repo, World, condition, until
from trimtab.api.crd import crds
from trimtab.cluster import components, pki
from trimtab.cluster.layout import Layout
from trimtab.cluster.plane import ControlPlane

LABEL = "kustomize.toolkit.fluxcd.io/name"
PATIENCE_S = 90.0
_OWN = ((APPS, "kustomizations"), (SOURCES, "gitrepositories"))


class Asked(NamedTuple):
    """One answered request, as the API server recorded it."""

    user: str
    verb: str
    resource: str
    namespace: str
    name: str
    code: int
    rehearsal: bool
    """A dry-run, which writes nothing."""


class Ground:
    """A control plane with our kinds, whose components may be ended and whose data may be exchanged."""

    def __init__(self, plane: ControlPlane, loop: asyncio.AbstractEventLoop, git_root: Path, git_url: str) -> None:
        self.plane = plane
        self._loop = loop
        self._git_root, self._git_url = git_root, git_url
        self.api = Api(plane.kubeconfig)
        for crd in crds():
            self.api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
        until(lambda: self.api.get("/apis/kustomize.toolkit.fluxcd.io/v1"), "the kinds are served", PATIENCE_S)
        until(lambda: self.api.get("/apis/source.toolkit.fluxcd.io/v1"), "the kinds are served", PATIENCE_S)

    def kubeconfig(self, user: str, directory: Path) -> Path:
        """A file for a user of that name who may do everything."""
        path = directory / f"{user}.kubeconfig"
        path.write_bytes(self.plane.kubeconfig_for(user, ["system:masters"]))
        return path

    def controller(self, user: str, directory: Path, *extra: str, lead: bool = False) -> Controller:
        """A process that is not started yet."""
        flags = extra if lead else ("--no-leader-elect", *extra)
        return Controller(self.kubeconfig(user, directory), directory / user, *flags)

    def world(self, controller: Controller) -> World:
        return World(self.api, self._git_url, self._git_root, controller)

    def clear(self) -> None:
        """Remove all apps and sources without anybody's help, so that the next controller has its own only."""
        for group, plural in _OWN:
            for item in self.api.get(f"{group}/{plural}")["items"]:
                namespace, name = item["metadata"]["namespace"], item["metadata"]["name"]
                with contextlib.suppress(ApiFailure):
                    place = f"{group}/namespaces/{namespace}/{plural}/{name}"
                    self.api.merge(place, {"metadata": {"finalizers": None}})
                    self.api.delete(place)

    def admit(self, **tokens: str) -> None:
        """From now on these users may do everything with these tokens, and nobody with those of before."""
        file = self.plane.layout.tokens
        own, *_ = file.read_text().splitlines()
        lines = [own, *(f'{token},{user},{user},"system:masters"' for user, token in tokens.items())]
        file.write_text("\n".join(lines) + "\n")
        self.restart("kube-apiserver")

    def asked(self, user: str) -> list[Asked]:
        """What `user` was answered so far, watches left out."""
        found: list[Asked] = []
        for line in self.plane.audit_log.read_text().splitlines(keepends=True):
            if f'"{user}"' not in line or not line.endswith("\n"):
                continue
            event = json.loads(line)
            if event["user"]["username"] != user or event["verb"] == "watch" or event["stage"] != "ResponseComplete":
                continue
            thing = event.get("objectRef") or {}
            found.append(
                Asked(
                    user,
                    event["verb"],
                    "/".join(filter(None, (thing.get("resource", ""), thing.get("subresource", "")))),
                    thing.get("namespace", ""),
                    thing.get("name", ""),
                    event.get("responseStatus", {}).get("code", 0),
                    "dryRun=" in event["requestURI"],
                )
            )
        return found

    def restart(self, name: str) -> None:
        """Kill a component and start it again; return when our kinds are served."""
        self._loop.run_until_complete(self.plane.restart(name))

        def served() -> bool:
            try:
                return all(self.api.get(f"{group}/{plural}") is not None for group, plural in _OWN)
            except (OSError, ApiFailure):
                return False  # for some seconds: storage is (re)initializing

        until(served, "our kinds are served again", PATIENCE_S)

    def backup(self, place: Path) -> None:
        """Copy the data of etcd, which stands still meanwhile."""
        etcd = self.plane.pids["etcd"]
        os.kill(etcd, signal.SIGSTOP)
        try:
            shutil.copytree(self.plane.layout.etcd, place)
        finally:
            os.kill(etcd, signal.SIGCONT)

    def restore(self, place: Path) -> None:
        """Put a copy back: etcd and then the API server are started anew on it."""
        os.kill(self.plane.pids["etcd"], signal.SIGSTOP)
        shutil.rmtree(self.plane.layout.etcd)
        shutil.copytree(place, self.plane.layout.etcd)
        self._loop.run_until_complete(self.plane.restart("etcd"))
        self.restart("kube-apiserver")

    @contextlib.contextmanager
    def another_authority(self, place: Path) -> Iterator[tuple[bytes, bytes]]:
        """The API server shows a certificate of another authority; that one's certificate, and both.

        `api` knows both, and who showed a certificate of the old authority is known as before.
        """
        own = self.plane.layout.pki
        elsewhere = Layout(place / "authority")
        elsewhere.make()
        other = pki.authority(elsewhere)
        serving = other.server("kube-apiserver", components.SERVICE_HOSTS)
        before = {name: (own / name).read_bytes() for name in ("ca.crt", "apiserver.crt", "apiserver.key")}
        both = before["ca.crt"] + other.pem
        self.api._tls.load_verify_locations(cadata=other.pem.decode())
        try:
            (own / "ca.crt").write_bytes(both)
            (own / "apiserver.crt").write_bytes(serving.certificate)
            (own / "apiserver.key").write_bytes(serving.key)
            self.restart("kube-apiserver")
            yield other.pem, both
        finally:
            for name, content in before.items():
                (own / name).write_bytes(content)
            self.restart("kube-apiserver")

    # --- what is there

    def live(self, namespace: str) -> dict[str, str]:
        """The ConfigMaps that carry our labels: uids by name."""
        items = self.api.get(f"/api/v1/namespaces/{namespace}/configmaps?labelSelector={LABEL}")["items"]
        return {item["metadata"]["name"]: item["metadata"]["uid"] for item in items}

    def values(self, namespace: str) -> dict[str, str]:
        items = self.api.get(f"/api/v1/namespaces/{namespace}/configmaps?labelSelector={LABEL}")["items"]
        return {item["metadata"]["name"]: item["data"]["value"] for item in items}

    def recorded(self, namespace: str, app: str) -> dict[str, str]:
        """The inventory of an app that owns ConfigMaps only: uids by name."""
        status = self.api.get(f"{APPS}/namespaces/{namespace}/kustomizations/{app}")["status"]
        entries = (status.get("inventory") or {}).get("entries") or []
        return {entry["id"].split("_")[1]: entry.get("uid", "") for entry in entries}

    def at(self, namespace: str, app: str, commit: str) -> Callable[[], bool]:
        """Whether the app is Ready at `commit`; no answer is no."""

        def reached() -> bool:
            try:
                found = self.api.get(f"{APPS}/namespaces/{namespace}/kustomizations/{app}")
            except (OSError, ApiFailure):
                return False
            current = found["status"].get("observedGeneration") == found["metadata"]["generation"]
            applied = str(found["status"].get("lastAppliedRevision"))
            return current and commit in applied and condition(found, "Ready").get("status") == "True"

        return reached

    def converged(
        self, namespace: str, app: str, commit: str, values: Mapping[str, str], why: Callable[[], str]
    ) -> None:
        """Wait until the app is Ready at `commit`; then exactly `values` are there, on record with the right uid."""
        until(self.at(namespace, app, commit), lambda: f"{app} is not at {commit}: {why()[-3000:]}", PATIENCE_S)
        until(lambda: self.values(namespace) == values, lambda: f"{self.values(namespace)} != {values}", PATIENCE_S)
        live = self.live(namespace)
        until(
            lambda: self.recorded(namespace, app) == live,
            lambda: f"on record {self.recorded(namespace, app)}, there {live}",
            PATIENCE_S,
        )


def config(name: str, value: str = "1") -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{value: '{value}'}}\n"


def commit(repo: Repo, values: Mapping[str, str], before: Mapping[str, str] = {}) -> str:
    """Commit ConfigMaps with these values below `app/`, and nothing that is only in `before`."""
    files: dict[str, str | bytes | None] = {f"app/{name}.yaml": None for name in before if name not in values}
    files |= {f"app/{name}.yaml": config(name, value) for name, value in values.items() if before.get(name) != value}
    return repo.commit(files)


def started(loop: asyncio.AbstractEventLoop, directory: Path, binaries: Mapping[str, Path]) -> Iterator[ControlPlane]:
    """A control plane that is audited; it ends with the generator."""
    plane = ControlPlane(directory, audit=True, kwok=False, binaries=binaries)
    loop.run_until_complete(plane.start())
    try:
        yield plane
    finally:
        loop.run_until_complete(plane.stop())
